// What a program is put through: its layout, the frontend, training steps, evaluation with the weights' orders of training, prediction.
#include "tests/fuzz/programs.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <fmt/format.h>

#include "base/check.h"
#include "verify/case_file.h"
#include "verify/rounding.h"
#include "frontend/frontend.h"
#include "passes/pipeline.h"
#include "tests/fuzz/graph_builder.h"

namespace nnc::fuzz {
namespace {

Failure fault(std::string kind, std::string what, std::string detail, std::string check) {
  return {std::move(kind), std::move(what), std::move(detail), std::move(check), ""};
}

// Training keeps f32: what one step leaves is what the next begins with.
void round_to_storage(Tensor& t) {
  if (t.dtype == DType::f32)
    for (double& v : t.values) v = double(float(v));
}

class ProgramCase {
 public:
  ProgramCase(const std::string& text, uint64_t seed, bool valid, Coverage* coverage) : text_(text), seed_(seed), valid_(valid), coverage_(coverage), random_(seed, "program values") {}

  std::optional<Failure> run() {
    std::string stage = "fmt";
    try {
      if (auto f = check_layout(text_, seed_, valid_)) return f;
      stage = "frontend";
      if (!load()) {
        if (!valid_ || failed_) return failed_;
        return fault("refused", first_code_, "a program that should be valid is refused:\n" + errors_, "frontend");
      }
      if (auto f = training(stage)) return f;
      if (auto f = evaluation(stage)) return f;
      if (auto f = sharing(stage)) return f;
    } catch (const InternalError& e) {
      std::string words = e.what();
      return fault("exception", words.substr(0, words.find('\n')).substr(0, 160), words, stage);
    } catch (const UserError& e) {
      // Values may leave a table's range only through a bug: indices are generated below the class count.
      return fault("exception", std::string(code_name(e.diagnostic().code)), e.diagnostic().message, stage);
    }
    return std::nullopt;
  }

 private:
  bool load() {
    LoadOptions options;
    options.read_file = [](const std::string&) { return std::nullopt; };
    module_ = load_module(sources_, sources_.add("fuzz.nn", text_), options, diagnostics_);
    if (module_ && module_->has_train()) train_ = module_->build_train_graph(diagnostics_);
    if (train_) rules_ = module_->build_update_rules(train_->parameters, diagnostics_);
    if (train_ && !diagnostics_.has_errors()) {
      backward_ = train_->graph;
      std::vector<std::pair<std::string, const Graph*>> by_parameter;
      for (const UpdateRule& r : rules_) by_parameter.push_back({r.parameter, &r.rule});
      add_backward(backward_, by_parameter, module_->train().clip_norm, diagnostics_);
    }
    if (diagnostics_.has_errors() || !module_ || !train_) {
      for (const Diagnostic& d : diagnostics_.sorted()) {
        if (first_code_.empty()) first_code_ = std::string(code_name(d.code)) + " " + d.message.substr(0, 60);
        errors_ += render_text(d, sources_, false);
        render_json(d, sources_);
      }
      // Nothing given and nothing said is a fault of its own.
      if (errors_.empty() && (!module_ || module_->has_train())) failed_ = fault("silent", "no diagnostic", "neither a module nor a diagnostic", "frontend");
      return false;
    }
    return true;
  }

  void bind() {
    const TrainSpec& spec = module_->train();
    bindings_.rows = random_.pick({1, 2, 3, 4, 5, 7, 8, 9, 16, 17});
    auto are_enough = [&](int64_t rows) { return !find_unmet(train_->row_conditions, rows, ""); };
    while (bindings_.rows < 100 && !(are_enough(bindings_.rows) && are_enough(fewer_rows_than(bindings_.rows)))) ++bindings_.rows;
    auto classes_of = [&](const std::string& name) -> int64_t {
      for (const FieldSpec& f : spec.data.fields)
        if (f.name == name) return f.classes;
      return 0;
    };
    auto fill = [&](const Type& t, int64_t limit) {
      Tensor tensor = make_tensor(t.dtype, shape_at(t, bindings_.rows));
      for (double& v : tensor.values) v = random_number(random_, t.dtype, limit, false);
      return tensor;
    };
    for (const FieldSpec& f : spec.data.fields) {
      Type t{f.dtype, {{1, true}}};
      for (int64_t n : f.row_shape) t.shape.push_back({n});
      bindings_.inputs[f.name] = fill(t, classes_of(f.name));
    }
    for (const ScalarSpec& s : spec.scalars) bindings_.scalars[s.name] = s.value;
    bindings_.scalars["step"] = 0;
    bindings_.scalars["epoch"] = 0;
    auto start = [&](const ParameterSpec& p) {
      Tensor t = fill(p.persistent.type, 0);
      if (p.initializer.kind == Initializer::Kind::constant && random_.chance(60))
        for (double& v : t.values) v = p.initializer.a;
      else if (p.persistent.kind == PersistentKind::optimizer_state || p.persistent.kind == PersistentKind::state)
        for (double& v : t.values) v = p.initializer.a;  // second moments and variances are not negative
      else
        for (double& v : t.values) v *= 0.5;
      round_to_storage(t);
      bindings_.persistents[p.persistent.name] = t;
    };
    for (const ParameterSpec& p : train_->parameters) start(p);
    for (const UpdateRule& r : rules_)
      for (const ParameterSpec& p : r.states) start(p);
  }

  bool finite(const Results& r) const {
    for (const auto& [name, t] : r.updates)
      for (double v : t.values)
        if (!std::isfinite(v)) return false;
    return true;
  }

  std::optional<Failure> training(std::string& stage) {
    stage = "training";
    bind();
    if (coverage_) coverage_->add_graph(backward_);
    GraphCase c{backward_, bindings_};
    Random choice(seed_, "checks");
    std::vector<Check> checks = checks_for(choice, backward_);
    if (auto f = run_checks(c, checks, coverage_)) {
      f->graph = print_case(c, nullptr, "");
      return f;
    }
    // Several steps by the default road; each begins with what the interpreter left.
    Check steps;
    steps.route = Route::optimized();
    steps.route.level = choice.pick(host_levels());
    RoutedGraph routed(backward_, steps.route, bindings_.rows);
    if (const Program* p = routed.program())
      for (const PersistentPlace& place : p->persistents)
        if (!(*p)[place.buffer].order.empty()) layouts_[place.persistent.name] = (*p)[place.buffer].order;
    for (int step = 0; step < 3; ++step) {
      bindings_.scalars["step"] = step;
      bindings_.scalars["epoch"] = step / 2;
      RoundingModel model(backward_, bindings_);
      if (auto d = model.compare(routed.run(bindings_), Precision::f32).difference) {
        std::string detail = fmt::format("step {}: {} at {} is {:.9g} instead of {:.9g}", step, d->name, d->index, d->found, d->expected);
        Failure f = fault("difference", "value", detail, steps.encode());
        f.graph = print_case({backward_, bindings_}, nullptr, "");
        return f;
      }
      if (!finite(model.expected())) break;
      for (auto [name, t] : model.expected().updates) {
        round_to_storage(t);
        bindings_.persistents[name] = t;
      }
    }
    return std::nullopt;
  }

  std::optional<Failure> evaluation(std::string& stage) {
    std::optional<BuiltGraph> eval = module_->build_eval_graph(diagnostics_), predict = module_->build_predict_graph(diagnostics_);
    if (diagnostics_.has_errors() || !eval || !predict) {
      for (const Diagnostic& d : diagnostics_.sorted()) errors_ += render_text(d, sources_, false);
      return fault("refused", "evaluation", "training is accepted, evaluation is not:\n" + errors_, "frontend");
    }
    for (const auto& [graph, name] : {std::pair<const Graph*, std::string>{&eval->graph, "eval"}, {&predict->graph, "predict"}}) {
      stage = name;
      if (!graph->updates.empty()) return fault("state", "evaluation", fmt::format("`{}` would be updated", graph->updates[0].name), "frontend");
      GraphCase c{*graph, bindings_};
      for (const Node& n : graph->nodes())  // a model may take as f32 what is stored as bytes
        if (n.op == Op::input) c.bindings.inputs.at(n.attributes.text).dtype = n.type.dtype;
      Check check;
      check.route = Route::optimized();
      check.route.level = random_.pick(host_levels());
      // With the weights as training laid them out.
      if (random_.chance(70)) check.route.layouts = layouts_;
      check.fewer_rows = random_.chance(50);
      std::vector<Check> checks{check};
      check.route.executor = Executor::program_interpreter;
      checks.push_back(check);
      if (auto f = run_checks(c, checks, coverage_)) {
        f->detail = name + ": " + f->detail;
        f->graph = print_case(c, nullptr, "");
        return f;
      }
    }
    return std::nullopt;
  }

  std::optional<Failure> sharing(std::string& stage) {
    Random random(seed_, "sharing");
    const Sharing drawn = random_sharing(random);
    stage = drawn.encode();
    return train_shared(text_, seed_, drawn, random.pick(host_levels()), coverage_);
  }

  const std::string& text_;
  uint64_t seed_;
  bool valid_;
  Coverage* coverage_;
  Random random_;
  SourceMap sources_;
  Diagnostics diagnostics_;
  std::unique_ptr<Module> module_;
  std::optional<BuiltGraph> train_;
  std::vector<UpdateRule> rules_;
  Graph backward_;
  Bindings bindings_;
  Layouts layouts_;
  std::string errors_, first_code_;
  std::optional<Failure> failed_;
};

}  // namespace

std::optional<Failure> run_program_checks(const std::string& text, uint64_t seed, bool valid, Coverage* coverage) {
  return ProgramCase(text, seed, valid, coverage).run();
}

}  // namespace nnc::fuzz
