// The train block: what a run needs beside graphs (TrainSpec), and the forward graph with loss and reports.
#include "frontend/train_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "frontend/batch_plan.h"
#include "frontend/clause_options.h"
#include "frontend/class_scores.h"
#include "frontend/data_blocks.h"
#include "frontend/gradient_paths.h"

namespace nnc {

Value TrainBuilder::option_value(const ast::Argument& a, const std::string& path) {
  if (const std::string* text = ctx_.program.override_of(path)) return override_value(*text);
  return eval_.evaluate(*a.value);
}

TrainSpec TrainBuilder::evaluate_spec() {
  TrainSpec spec;
  const ast::Train& train = *ctx_.program.main->train;
  spec.span = train.keyword_span;
  spec.scores_classes = scores_classes(ctx_.program);
  Frame frame;
  frame.file = ctx_.program.main;
  frame.id = ctx_.next_frame();
  FrameScope scope(ctx_, frame);
  eval_.bind_dimension("B", ctx_.rows, train.keyword_span);
  DataBlocks blocks(eval_);
  if (const Global* block = blocks.find_of_train()) {
    spec.data = blocks.evaluate(*block);
    blocks.read_split_data(*block, spec);
  }
  auto count = [&](const Value& v, Span span, std::string_view what, int64_t least) -> std::optional<int64_t> {
    if (is_poison(v)) return std::nullopt;
    constexpr int64_t most = 1'000'000'000'000;
    std::optional<int64_t> n = ctx_.integer_of(v);
    if (n && *n >= least && *n <= most) return n;
    if (v.is(ValueKind::number) && v.number > double(most))  // also one that is no size any more
      ctx_.error(Code::E0304, span, fmt::format("{} must be at most {}", what, most));
    else
      ctx_.error(Code::E0304, span, fmt::format("{} must be a whole number, at least {}", what, least));
    return std::nullopt;
  };
  std::map<std::string, Span> seen;
  bool has_using = false, has_minimize = false;
  for (const ast::StmtPtr& statement : train.statements) {
    const ast::Stmt& s = *statement;
    if (s.kind == ast::StmtKind::dim) eval_.execute(s);
    if (s.kind != ast::StmtKind::clause) continue;
    const std::string& word = s.name.text;
    if (word == "epochs" || word == "steps" || word == "seed" || word == "save") {
      if (auto [it, is_new] = seen.emplace(word == "steps" ? "epochs" : word, s.span); !is_new) {
        ctx_.error(
            Code::E0303, s.span,
            word == "epochs" || word == "steps" ? "`train` has a second length" : fmt::format("`train` has a second `{}`", word))
            .labels.push_back({it->second, "the first"});
        continue;
      }
    }
    auto option = [&](std::string_view name) -> const ast::Argument* {
      const ast::Argument* found = nullptr;
      for (const ast::Argument& a : s.options)
        if (a.name->text == name) found = &a;
      return found;
    };
    auto allow = [&](std::initializer_list<std::string_view> names) {
      check_options_once(ctx_, s.options, word);
      for (const ast::Argument& a : s.options) {
        if (std::find(names.begin(), names.end(), a.name->text) != names.end()) continue;
        std::string similar = nearest(a.name->text, std::vector<std::string>(names.begin(), names.end()));
        Diagnostic& d = ctx_.error(Code::E0204, a.name->span,
                                   fmt::format("`{}` has no option `{}`{}", word, a.name->text,
                                               similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
        if (word == "using")
          d.help.push_back("it has `clip_norm`; hyperparameters stand in the optimizer's brackets: `sgd(lr: 0.01)`");
        else if (similar.empty() && names.size() > 0)
          d.help.push_back(fmt::format("it has `{}`", *names.begin()));
      }
    };
    auto single = [&](int64_t least) -> std::optional<int64_t> {
      if (s.arguments.size() != 1) {
        ctx_.error(Code::E0303, s.span, fmt::format("`{}` needs one number", word));
        return std::nullopt;
      }
      return count(option_value(s.arguments[0], word), s.arguments[0].value->span, fmt::format("`{}`", word), least);
    };
    if (word == "data") {
      allow({"batch", "pieces", "accumulate"});
      if (const ast::Argument* batch = option("batch")) {
        Value v = option_value(*batch, "data.batch");
        if (v.is(ValueKind::symbol) && v.text == "all")
          spec.batch = 0;
        else if (std::optional<int64_t> n = count(v, batch->value->span, "`batch`", 1))
          spec.batch = *n;
      }
      for (auto [name, to] : {std::pair{"pieces", &spec.pieces}, std::pair{"accumulate", &spec.accumulate}})
        if (const ast::Argument* given = option(name))
          if (std::optional<int64_t> n = count(option_value(*given, fmt::format("data.{}", name)), given->value->span, fmt::format("`{}`", name), 1)) {
            *to = *n;
            spec.batch_span = given->span;
          }
    } else if (word == "minimize") {
      has_minimize = true;
      allow({});
    } else if (word == "using") {
      has_using = true;
      allow({"clip_norm"});
      if (const ast::Argument* clip = option("clip_norm")) {
        Value v = option_value(*clip, "using.clip_norm");
        std::optional<double> x = ctx_.number_of(v);
        if (x && *x > 0)
          spec.clip_norm = *x;
        else if (!is_poison(v) && !(v.is(ValueKind::symbol) && v.text == "none"))
          ctx_.error(Code::E0304, clip->value->span, "`clip_norm` must be a number above 0 or `none`");
      }
    } else if (word == "epochs") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.epochs = *n;
    } else if (word == "steps") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.steps = *n;
    } else if (word == "seed") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.seed = uint64_t(*n);
    } else if (word == "save") {
      allow({"every"});
      for (const ast::Argument& a : s.arguments)
        if (a.value->kind != ast::ExprKind::error)
          ctx_.error(Code::E0303, a.value->span, "`save` takes no file")
              .help.push_back("write `save every: 250`; `--out FILE.safetensors` names the file");
      if (const ast::Argument* every = option("every"))
        if (std::optional<int64_t> n = count(option_value(*every, "save.every"), every->value->span, "`every`", 1))
          spec.save_every = *n;
    } else if (word == "report") {
      allow({"every"});
      if (const ast::Argument* every = option("every"))
        if (std::optional<int64_t> n = count(option_value(*every, "report.every"), every->value->span, "`every`", 1))
          spec.report_every = *n;
    }
  }
  // What is not written may still be set.
  auto set = [&](std::string_view path, int64_t least) -> std::optional<int64_t> {
    const std::string* text = ctx_.program.override_of(path);
    if (!text) return std::nullopt;
    return count(override_value(*text), spec.span, fmt::format("`{}`", path), least);
  };
  if (const std::string* batch = ctx_.program.override_of("data.batch"); batch && *batch == "all")
    spec.batch = 0;
  else if (std::optional<int64_t> n = set("data.batch", 1))
    spec.batch = *n;
  if (std::optional<int64_t> n = set("data.pieces", 1)) spec.pieces = *n;
  if (std::optional<int64_t> n = set("data.accumulate", 1)) spec.accumulate = *n;
  if (spec.batch > 0 && ctx_.error_count() == 0)
    if (std::optional<Diagnostic> fault = find_batch_fault(spec, spec.batch)) ctx_.error(fault->code, fault->span, fault->message).help = fault->help;
  if (std::optional<int64_t> n = set("seed", 0)) spec.seed = uint64_t(*n);
  if (std::optional<int64_t> n = set("save.every", 1)) spec.save_every = *n;
  if (std::optional<int64_t> n = set("report.every", 1)) spec.report_every = *n;
  if (std::optional<int64_t> n = set("epochs", 0)) {
    spec.epochs = *n;
    spec.steps = 0;
  } else if (std::optional<int64_t> m = set("steps", 0)) {
    spec.steps = *m;
    spec.epochs = 0;
  }
  if (const std::string* clip = ctx_.program.override_of("using.clip_norm")) {
    spec.clip_norm = ctx_.number_of(override_value(*clip));  // or `none`
  }
  if (is_train_partial(ctx_.program)) return spec;
  if (!has_minimize)
    ctx_.error(Code::E0303, train.keyword_span, "`train` has nothing to minimize")
        .help.push_back("add a line such as `minimize cross_entropy(Net(image), label)`");
  if (!has_using)
    ctx_.error(Code::E0303, train.keyword_span, "`train` has no optimizer").help.push_back("add a line such as `using sgd(lr: 0.01)`");
  if (!seen.count("epochs") && !ctx_.program.override_of("epochs") && !ctx_.program.override_of("steps"))
    ctx_.error(Code::E0303, train.keyword_span, "`train` does not say how long")
        .help.push_back("add a line such as `epochs 10` or `steps 1000`");
  return spec;
}

// --- the forward graph ---

std::optional<BuiltGraph> TrainBuilder::build(const TrainSpec& spec) {
  size_t errors_before = ctx_.error_count();
  const ast::Train& train = *ctx_.program.main->train;
  if (is_train_partial(ctx_.program)) return std::nullopt;  // what misses may be what the rest is about
  Frame frame;
  frame.file = ctx_.program.main;
  frame.id = ctx_.next_frame();
  FrameScope scope(ctx_, frame);
  if (spec.data.name.empty()) return std::nullopt;
  DataBlocks(eval_).bind(spec.data);
  ctx_.graph.name = ctx_.training ? "train" : "eval";
  std::optional<TensorValue> loss;
  Span loss_span;
  bool failed = false;
  std::vector<std::pair<std::string, TensorValue>> reports;
  std::map<std::string, Span> report_names;
  for (const ast::StmtPtr& statement : train.statements) {
    const ast::Stmt& s = *statement;
    if (s.kind != ast::StmtKind::clause) {
      eval_.execute(s);
      continue;
    }
    if (s.name.text == "minimize") {
      for (const ast::Argument& a : s.arguments) {
        Value v = eval_.evaluate(*a.value);
        std::optional<TensorValue> t = tensors_.as_tensor(v, a.value->span);
        if (!t) {
          failed = true;
          continue;
        }
        if (!t->dims.empty()) {
          Diagnostic& d =
              ctx_.error(Code::E0301, a.value->span, fmt::format("the loss must be a single number, found {}", ctx_.dims.show(t->dims)));
          d.help.push_back("wrap it in `mean(...)`");
          failed = true;
          continue;
        }
        TensorValue term = tensors_.to_float(*t, a.value->span);
        if (loss) {
          const Span both = join(loss_span, a.value->span);
          const DType dtype = common_type(*loss, term, false);
          term = tensors_.binary(Op::add, tensors_.cast(*loss, dtype, both), tensors_.cast(term, dtype, both), both);
        }
        loss = std::move(term);
        loss_span = join(loss_span, a.value->span);
      }
    } else if (s.name.text == "report") {
      for (const ast::Argument& a : s.arguments) {
        Value v = eval_.evaluate(*a.value);
        std::string name;
        const ast::Expr* e = a.value.get();
        if (a.name)
          name = a.name->text;
        else if (e->kind == ast::ExprKind::name)
          name = e->text;
        else if (e->kind == ast::ExprKind::call && e->operands[0]->kind == ast::ExprKind::name)
          name = e->operands[0]->text;
        else if (e->kind == ast::ExprKind::pipe && e->stages.back().callee->kind == ast::ExprKind::name)
          name = e->stages.back().callee->text;
        else if (e->kind == ast::ExprKind::pipe && e->stages.back().callee->kind == ast::ExprKind::call &&
                 e->stages.back().callee->operands[0]->kind == ast::ExprKind::name)
          name = e->stages.back().callee->operands[0]->text;
        std::optional<TensorValue> t = tensors_.as_tensor(v, a.value->span);
        if (!t) continue;
        if (name.empty()) {
          ctx_.error(Code::E0305, a.value->span, "this report has no name").help.push_back("write `report name: ...`");
          continue;
        }
        static const std::set<std::string> taken{"epoch", "loss", "rate", "seconds", "step", "test", "valid"};
        if (taken.count(name)) {
          Diagnostic& d = ctx_.error(Code::E0305, a.span, fmt::format("a report cannot be called `{}`", name));
          d.notes.push_back(fmt::format("`--log` and `--json` have keys of their own called {}", fmt::join(taken, ", ")));
          if (name == "loss") d.notes.push_back("what is minimized is reported as `loss` in any case");
          d.help.push_back(a.name ? "choose another name" : "give it a name of its own: `report name: ...`");
          continue;
        }
        if (auto [it, is_new] = report_names.emplace(name, a.span); !is_new) {
          ctx_.error(Code::E0305, a.span, fmt::format("two reports are called `{}`", name))
              .help.push_back("give one another name: `report name: ...`");
          continue;
        }
        if (row_axis(t->dims) >= 0) {
          ctx_.error(Code::E0305, a.value->span,
                     fmt::format("a report cannot have a value for every row, found {}", ctx_.dims.show(t->dims)))
              .help.push_back("wrap it in `mean(...)`");
          continue;
        }
        reports.push_back({name, t->dtype == DType::boolean ? tensors_.to_float(*t, a.value->span) : *t});  // a number keeps all its digits
      }
    }
  }
  if (!loss || failed || ctx_.error_count() != errors_before) return std::nullopt;
  ctx_.graph.outputs.push_back({"loss", loss->node});
  for (const auto& [name, t] : reports) ctx_.graph.outputs.push_back({name, t.node});
  if (ctx_.training) {
    eval_.stored.add_updates();
    check_gradient_paths(eval_, loss->node);
  }
  if (ctx_.error_count() != errors_before) return std::nullopt;
  BuiltGraph built = eval_.built();
  if (ctx_.training && spec.batch > 0)
    if (std::optional<Diagnostic> unmet = find_unmet(built.row_conditions, spec.batch, fmt::format("a batch has {} row{}", spec.batch, spec.batch == 1 ? "" : "s"))) {
      Diagnostic& d = ctx_.error(unmet->code, unmet->span, unmet->message);
      d.span_text = unmet->span_text;
      d.labels = unmet->labels;
      d.help.push_back("give the data clause another size: `batch: N`");
      return std::nullopt;
    }
  for (const FieldSpec& f : spec.data.fields) {
    ArgumentSpec a;
    a.name = f.name;
    a.type.dtype = f.dtype;
    a.type.shape.push_back({1, true});
    for (int64_t n : f.row_shape) a.type.shape.push_back({n, false});
    a.classes = f.classes;
    a.dimension_names.push_back("B");
    a.dimension_names.insert(a.dimension_names.end(), f.dimension_names.begin(), f.dimension_names.end());
    built.inputs.push_back(std::move(a));
  }
  return built;
}

}  // namespace nnc
