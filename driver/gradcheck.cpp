// nnc gradcheck: whether this model, on this data, is differentiated and compiled right. Three questions, each answered with
// numbers: does every gradient rule that the model uses agree with finite differences, does the gradient of the loss, and does
// compiled code agree with the 64-bit interpreter. Whatever does not is narrowed down to a file of a few lines.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "verify/bisect.h"
#include "verify/case_file.h"
#include "driver/commands.h"
#include "engine/bindings.h"
#include "engine/data.h"
#include "verify/difference_quotient.h"
#include "engine/divergence.h"
#include "verify/gradient_check.h"
#include "driver/graph_file.h"
#include "engine/graph_runner.h"
#include "driver/outputs.h"
#include "driver/signals.h"
#include "engine/tensors.h"
#include "engine/weights.h"
#include "passes/costs.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"
#include "runtime/data/atomic_file.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

struct GradcheckOptions {
  CommonOptions common;
  std::string weights, out;
  std::optional<int64_t> rows;
  int64_t steps = 3;
};

/// What is checked: a model's training step, or a graph from a file.
struct Subject {
  Graph forward;                                        ///< each input and parameter read by one node
  std::vector<NodeId> results;                          ///< what is differentiated
  std::vector<NodeId> leaves;                           ///< with respect to what
  NodeId loss;                                          ///< invalid: no scalar is called so
  std::vector<std::pair<std::string, Graph>> compiled;  ///< what is compiled, by name
  std::vector<Bindings> steps;                          ///< values; of the later ones only inputs and scalars count
  std::string data;                                     ///< "12 rows of `digits`, seed 0"
};

/// Nodes that read the same input or persistent become one.
Graph merge_reads(const Graph& graph) {
  Rebuild rebuild(graph);
  std::map<std::pair<Op, std::string>, NodeId> first;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& n = graph[NodeId{i}];
    if (n.op != Op::input && n.op != Op::parameter) {
      rebuild.copy(NodeId{i});
      continue;
    }
    auto [it, fresh] = first.emplace(std::pair(n.op, n.attributes.text), NodeId{});
    if (fresh) it->second = rebuild.copy(NodeId{i});
    rebuild.to[i] = it->second;
  }
  return rebuild.finish();
}

/// The forward graph with the gradient of the loss as outputs, which a step does not show.
Graph gradient_graph(const Graph& forward, NodeId loss, const std::vector<NodeId>& leaves) {
  Graph g = forward;
  g.name = "gradients";
  g.updates.clear();
  NodeId seed = Builder(g, g[loss].span).constant_like(1, loss);
  std::vector<NodeId> gradients = gradients_of(g, loss, seed, leaves);
  for (size_t i = 0; i < leaves.size(); ++i)
    if (gradients[i].valid()) g.outputs.push_back({"grad." + g[leaves[i]].attributes.text, gradients[i]});
  return g;
}

Subject subject_of_model(Session& session, const GradcheckOptions& o) {
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  RunData data = load_data(spec, o.common.data, spec.seed);
  if (data.split.train.empty())
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: `{}` has {} rows", spec.data.name, data.rows));
  TrainingGraphs graphs = make_training_graphs(session);
  Subject s;
  s.forward = merge_reads(graphs.forward.graph);
  for (const Output& out : s.forward.outputs)
    if (out.name == "loss") s.loss = out.node;
  s.results = {s.loss};
  for (uint32_t i = 0; i < s.forward.size(); ++i) {
    const Node& n = s.forward[NodeId{i}];
    if (n.op == Op::parameter && s.forward.find_persistent(n.attributes.text)->kind == PersistentKind::parameter)
      s.leaves.push_back(NodeId{i});
  }
  s.compiled = {{"the training step", graphs.backward}, {"the gradients", gradient_graph(s.forward, s.loss, s.leaves)}};

  int64_t train_rows = int64_t(data.split.train.size()), rows = std::min(spec.batch == 0 ? train_rows : spec.batch, train_rows);
  if (o.rows) {
    rows = std::min(*o.rows, train_rows);
  } else {
    // Not a multiple of a vector's width, and few enough for seconds.
    rows = std::min<int64_t>(rows, 13);
    while (rows > 2 && work_of(graphs.backward, rows) > 3e7) --rows;
  }
  std::vector<int64_t> order = epoch_order(data.split.train, spec.seed, 0, true);
  for (int64_t step = 0; step < o.steps; ++step) {
    std::vector<int64_t> batch;
    for (int64_t r = 0; r < rows; ++r) batch.push_back(order[size_t(step * rows + r) % order.size()]);
    s.steps.push_back(bind_rows(graphs.backward, data, batch));
    bind_scalars(s.steps.back(), graphs.backward, rounded_to_f32(with_hyperparameters({{"step", double(step)}, {"epoch", 0}}, spec)));
  }

  std::vector<ParameterSpec> specs = graphs.forward.parameters;
  for (const UpdateRule& rule : graphs.rules) specs.insert(specs.end(), rule.states.begin(), rule.states.end());
  Team team(1);
  StepProgram program = persistents_only(specs);
  StepRunner values(program, team);
  initialize(values, specs, spec.seed);
  if (!o.weights.empty()) load_tensors(o.weights, values, false);
  bind_persistents(s.steps[0], graphs.backward, values);
  s.data = fmt::format("{} row{} of `{}`, seed {}{}", rows, rows == 1 ? "" : "s", spec.data.name, spec.seed,
                       o.weights.empty() ? "" : ", weights from " + o.weights);
  return s;
}

/// Random indices that lie within their tables.
void fit_indices(const Graph& graph, Bindings& bindings) {
  for (const Node& n : graph.nodes()) {
    if (op_class(n.op) != OpClass::indexing) continue;
    const Shape& table = n.op == Op::gather ? graph.type(n.operands[0]).shape : n.type.shape;
    double length = double(table[size_t(n.attributes.axes[0])].at(bindings.rows));
    NodeId index = n.operands[1];
    while (graph[index].operands.size() == 1) index = graph[index].operands[0];
    const Node& leaf = graph[index];
    auto& bound = leaf.op == Op::input ? bindings.inputs : bindings.persistents;
    if (auto it = bound.find(leaf.attributes.text); it != bound.end() && !is_float(leaf.type.dtype))
      for (double& v : it->second.values) v = std::fmod(v, length);
  }
}

Subject subject_of_graph(Session& session, const GradcheckOptions& o) {
  Graph graph = load_graph(session, o.common.file);
  for (const Node& n : graph.nodes()) {
    bool fits = !n.type.has_rows() || n.type.shape[0] == Extent{1, true};
    if (n.op == Op::input && !fits)
      throw UserError(Code::E0601,
                      fmt::format("the input `{}` is {}: rows of a batch must be its first dimension, alone", n.attributes.text,
                                  to_string(n.type)),
                      o.common.file);
  }
  Subject s;
  s.forward = merge_reads(graph);
  std::optional<Bindings> values =
      parse_case_values(o.common.file == "-" ? "" : read_text_file(o.common.file), s.forward, o.common.file);
  uint64_t seed = o.common.seed ? uint64_t(*o.common.seed) : 0;
  std::mt19937_64 random(seed);
  s.data = values ? fmt::format("the file's own values, {} row{}", values->rows, values->rows == 1 ? "" : "s")
                  : fmt::format("random values, seed {}, {} rows", seed, o.rows.value_or(5));
  s.steps = {values ? *values : random_bindings(s.forward, o.rows.value_or(5), random)};
  if (!values) fit_indices(s.forward, s.steps[0]);
  s.results = float_results(s.forward);
  s.leaves = float_leaves(s.forward);
  for (const Output& out : s.forward.outputs)
    if (out.name == "loss" && is_float(s.forward.type(out.node).dtype) && s.forward.type(out.node).rank() == 0) s.loss = out.node;
  s.compiled = {{"the graph", s.forward}};
  if (!s.results.empty() && s.forward.updates.empty()) {
    Graph g = s.forward;
    append_gradients(g, std::vector<Output>(g.outputs), "");
    s.compiled.emplace_back("the gradients", std::move(g));
  }
  return s;
}

std::string error_text_of(double e) { return e == 0 ? "0" : fmt::format("{:.1e}", e); }
Json json_error(double e) { return std::isfinite(e) ? Json(e) : Json(fmt::format("{}", e)); }

class Gradcheck {
 public:
  Gradcheck(Session& session, const GradcheckOptions& o, Subject subject) : session_(session), o_(o), s_(std::move(subject)) {
    out_ = !o.out.empty() ? o.out : std::filesystem::path(o.common.file).stem().string() + ".gradcheck.nnir";
    if (o.common.file == out_) out_ = std::filesystem::path(out_).stem().string() + ".smaller.nnir";
  }

  int run() {
    bool has_gradient = !s_.results.empty() && !s_.leaves.empty();
    check_rule_table();
    if (has_gradient)
      check_whole();
    else
      print("no gradient: {}\n", s_.results.empty() ? "there is no result of float type" : "there is no parameter that trains");
    check_compiled();
    if (s_.steps.size() > 1 && !failed_) check_steps();
    if (o_.common.json)
      line({{"verdict", failed_ ? "wrong" : not_finite_ ? "not finite" : !unchecked_.empty() ? "unchecked" : "ok"}});
    else if (failed_)
      std::printf("WRONG: see above\n");
    else if (not_finite_)
      std::printf("not finite: see above; %s\n",
                  loss_is_finite_ ? "the rest of the gradient agrees with finite differences, compiled code with the interpreter"
                                  : "no gradient was compared; compiled code agrees with the interpreter");
    else if (!has_gradient)
      std::printf("ok: compiled code agrees with the interpreter\n");
    else
      std::printf("ok: gradients agree with finite differences%s, compiled code with the interpreter\n",
                  unchecked_.empty() ? "" : (", but for what could not be compared (" + unchecked_ + ")").c_str());
    return failed_ || (not_finite_ && is_model()) ? exit_user_error : exit_done;
  }

 private:
  static void line(const Json& j) { print_json_line(j); }
  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    if (!o_.common.json) fmt::print(format, std::forward<Args>(args)...);
  }

  std::string place_of(NodeId node) const { return node.valid() ? session_.sources.describe_line(s_.forward[node].span) : ""; }

  void report(const Diagnostic& d) {
    std::fflush(stdout);
    session_.print(d);
  }

  void check_rule_table() {
    GradientCheckOptions options;
    std::vector<bool> nodes = nodes_with_gradient(s_.forward, s_.results, s_.leaves);
    std::vector<RuleReport> reports = check_rules(s_.forward, s_.steps[0], nodes, options);
    print("gradient rules against finite differences ({})\n", s_.data);
    print("  {:<14} {:>5} {:>9} {:>6} {:>8} {:>11}  {}\n", "rule", "nodes", "elements", "kinks", "skipped", "worst error", "at");
    for (const RuleReport& r : reports) {
      print("  {:<14} {:>5} {:>9} {:>6} {:>8} {:>11}  {}{}\n", op_name(r.op), r.nodes, r.elements, r.kinks, r.undefined,
            error_text_of(r.worst.error), place_of(r.worst.node), r.failed ? "  WRONG" : "");
      if (o_.common.json)
        line({{"rule", op_name(r.op)},
              {"nodes", r.nodes},
              {"elements", r.elements},
              {"kinks", r.kinks},
              {"skipped", r.undefined},
              {"cut", r.cut_nodes},
              {"worst", json_error(r.worst.error)},
              {"at", place_of(r.worst.node)},
              {"ok", !r.failed}});
    }
    for (const RuleReport& r : reports)
      if (r.failed) report_rule(r, options);
  }

  void report_rule(const RuleReport& r, const GradientCheckOptions& options) {
    failed_ = true;
    Diagnostic d;
    d.code = Code::E0520;
    d.span = s_.forward[r.worst.node].span;
    d.message = fmt::format("the gradient of `{}` is wrong: the rule gives {:g}, finite differences {:g} ({})", op_name(r.op),
                            r.worst.rule, r.worst.difference, r.worst.what);
    write_case(reduce_rule_fault(s_.forward, s_.steps[0], r.worst.node, options), d,
               fmt::format("the gradient rule of {} disagrees with finite differences here", op_name(r.op)));
    report(d);
  }

  void check_whole() {
    bool rules_failed = failed_;
    std::vector<NodeId> results = s_.loss.valid() ? std::vector{s_.loss} : s_.results;
    LossReport r = check_loss(s_.forward, s_.steps[0], results, s_.leaves, {});
    std::string whole = s_.loss.valid() ? "the loss" : "the results", notes;
    if (r.kinks > 0) notes += fmt::format("; {} across a kink, compared with its decisions held", r.kinks);
    if (r.skipped > 0) notes += fmt::format("; {} skipped", r.skipped);
    print("gradient of {}: {} directions and {} single elements of {} parameters ({} elements); worst error {}{}{}\n", whole,
          r.directions, r.elements, r.parameters, r.parameter_elements, error_text_of(r.worst.error), notes,
          r.failed ? "  WRONG" : "");
    std::vector<std::string> unchecked, not_finite;
    for (NodeId leaf : r.unchecked) unchecked.push_back(s_.forward[leaf].attributes.text);
    for (const NotFinite& n : r.not_finite) not_finite.push_back(n.is_gradient ? s_.forward[n.node].attributes.text : whole);
    if (!unchecked.empty()) unchecked_ = fmt::format("`{}`", fmt::join(unchecked, "`, `"));
    if (!unchecked.empty()) print("  nothing could be compared for {}: no difference quotient settles there\n", unchecked_);
    if (o_.common.json)
      line({{"loss",
             {{"directions", r.directions},
              {"elements", r.elements},
              {"kinks", r.kinks},
              {"skipped", r.skipped},
              {"unchecked", unchecked},
              {"not_finite", not_finite},
              {"worst", json_error(r.worst.error)},
              {"ok", !r.failed && r.not_finite.empty()}}}});
    if (!r.not_finite.empty()) report_not_finite(r, whole);
    if (!r.failed) return;
    failed_ = true;
    Diagnostic d;
    d.code = Code::E0521;
    d.message = fmt::format("the gradient of {} is wrong: {:g} by the rules, {:g} by finite differences ({})", whole, r.worst.rule,
                            r.worst.difference, r.worst.what);
    if (rules_failed) {
      d.span = s_.forward[r.worst.node.valid() ? r.worst.node : results[0]].span;
      d.notes.push_back("a rule that it is made of is wrong by itself: see above");
    } else {
      GraphCase small = reduce_loss_fault(s_.forward, s_.steps[0], results, {});
      note_operations(small.graph, d);
      write_case(small, d, "every gradient rule is right here, but not what they give together");
    }
    report(d);
  }

  /// Names where the first of it began: the results, else the gradient by the first leaf.
  void report_not_finite(const LossReport& r, const std::string& whole) {
    not_finite_ = true;
    loss_is_finite_ = r.is_loss_finite();
    const NotFinite& first = r.not_finite[0];
    Diagnostic d;
    d.code = Code::E0524;
    // Another step than the first, or random values: they say nothing of training.
    if (!is_model()) d.severity = Severity::warning;
    Graph g = s_.forward;
    std::string name = whole;
    ValuePlace from{first.node, first.element};
    if (first.is_gradient) {
      name = fmt::format("the gradient of {} with respect to `{}`", whole, s_.forward[first.node].attributes.text);
      std::vector<NodeId> results = s_.loss.valid() ? std::vector{s_.loss} : s_.results;
      for (NodeId result : results) {
        Graph with = s_.forward;
        NodeId gradient = gradients_of(with, result, Builder(with, with[result].span).constant_like(1, result), {first.node})[0];
        if (!gradient.valid()) continue;
        g = std::move(with);
        from = {gradient, first.element};
        if (!std::isfinite(interpret(g, s_.steps[0], true).values[gradient.value].values[first.element])) break;
      }
    }
    std::vector<Tensor> values = interpret(g, s_.steps[0], true).values;
    d.message = fmt::format("{} is {}{}", name, std::isnan(first.value) ? "NaN" : "infinite",
                            index_text(first.element, values[from.node.value].shape));
    if (!std::isfinite(values[from.node.value].values[from.element])) {
      ValuePlace origin = find_origin(g, values, from);
      d.span = g[origin.node].span;
      d.message += ": " + describe_origin(g, values, origin, session_.sources, part_of(g, origin.node));
    }
    std::vector<std::string> all;
    for (const NotFinite& n : r.not_finite)
      if (n.is_gradient)
        all.push_back(fmt::format("{} of {} elements for `{}`", n.count, s_.forward[n.node].type.elements(s_.steps[0].rows),
                                  s_.forward[n.node].attributes.text));
    if (first.is_gradient) d.notes.push_back(fmt::format("not finite are {}", fmt::join(all, ", ")));
    d.notes.push_back(is_model() ? "`nnc train` stops where it gets there (E0501); this is the model's, not a wrong derivative"
                                 : "this is the graph's at these values, not a wrong derivative");
    d.help.push_back(
        "keep the argument away from where the operation has no finite slope, as in `sqrt(x + 1e-8)` or `log(maximum(x, 1e-6))`, "
        "or "
        "let parameters begin elsewhere");
    report(d);
  }

  /// " in the gradient of `sqrt`": of the operation that the gradient's stands for, if one alone has its place.
  std::string part_of(const Graph& with_gradient, NodeId node) const {
    if (node.value < s_.forward.size()) return "";
    std::vector<Op> there;
    for (const Node& n : s_.forward.nodes())
      if (op_class(n.op) != OpClass::leaf && op_differentiable(n.op) == Differentiable::yes && n.span == with_gradient[node].span)
        there.push_back(n.op);
    return there.size() == 1 ? fmt::format(" in the gradient of `{}`", op_name(there[0])) : " in the gradient";
  }

  void row(const std::string& what, const Comparison& c) {
    print("  {:<42} {:>10} {:>11} {:>10.2g}{}\n", what, c.elements, error_text_of(c.worst_error), c.worst,
          c.difference ? "  WRONG" : "");
    if (o_.common.json)
      line({{"compared", what},
            {"elements", c.elements},
            {"worst", json_error(c.worst_error)},
            {"of_allowed", json_error(c.worst)},
            {"ok", !c.difference}});
  }

  void check_compiled() {
    CompilerUnderTest compiler = CompilerUnderTest::product(session_.target.level, session_.thread_count());
    print("compiled code ({}, {} thread{}) against the 64-bit interpreter\n", vector_level_name(compiler.level), compiler.threads,
          compiler.threads == 1 ? "" : "s");
    print("  {:<42} {:>10} {:>11} {:>10}\n", "", "values", "worst error", "of allowed");
    for (const auto& [name, graph] : s_.compiled) {
      GraphCase c{graph, s_.steps[0]};
      RoundingModel model(graph, c.bindings);
      size_t all = compiler.passes.size();
      bool wrong = false;
      auto stage = [&](const char* what, size_t passes, Carrier carrier) {
        if (wrong) return;
        Comparison compared;
        try {
          compared = model.compare(compiler.run(graph, c.bindings, passes, carrier),
                                   carrier == Carrier::compiled ? Precision::f32 : Precision::f64);
        } catch (const InternalError& e) {
          compared.difference = Difference{};
          compared.worst = compared.worst_error = INFINITY;
        }
        row(fmt::format("{}, {}", name, what), compared);
        wrong = compared.difference.has_value();
      };
      stage("passes, in 64 bits", all, Carrier::graph_interpreter);
      stage("kernels, in 64 bits", all, Carrier::program_interpreter);
      stage("machine code", all, Carrier::compiled);
      stage("machine code, no passes", 0, Carrier::compiled);
      if (wrong) {
        report_culprit(compiler, c, name);
        return;
      }
    }
  }

  std::string element_text(const Difference& d, const Graph& graph) const {
    std::vector<int64_t> shape;
    for (const Output& out : graph.outputs)
      if (!d.update && out.name == d.name) shape = shape_at(graph.type(out.node), s_.steps[0].rows);
    for (const Update& u : graph.updates)
      if (d.update && u.name == d.name) shape = shape_at(graph.type(u.node), s_.steps[0].rows);
    std::vector<int64_t> index(shape.size());
    size_t element = d.index;
    for (size_t a = shape.size(); a-- > 0; element /= size_t(shape[a])) index[a] = int64_t(element % size_t(shape[a]));
    return fmt::format("{} `{}`{}", d.update ? "the new value of" : "the output", d.name,
                       shape.empty() ? "" : " at " + shape_text(index));
  }

  /// The operations that are left of a reduced graph, the one nearest the results first: its place becomes the diagnostic's.
  std::vector<std::string> note_operations(const Graph& small, Diagnostic& d) const {
    std::vector<std::string> operations;
    for (uint32_t i = small.size(); i-- > 0;) {
      const Node& n = small[NodeId{i}];
      if (op_class(n.op) == OpClass::leaf) continue;
      if (!d.span.valid()) d.span = n.span;
      std::string place = session_.sources.describe_line(n.span);
      operations.push_back(fmt::format("`{}`{}", op_name(n.op), place.empty() ? "" : " at " + place));
    }
    if (operations.size() > 1 && operations.size() <= 8)
      d.notes.push_back(fmt::format("what it needs to show: {}", fmt::join(operations.rbegin(), operations.rend(), ", ")));
    return operations;
  }

  void report_culprit(const CompilerUnderTest& compiler, const GraphCase& c, const std::string& name) {
    failed_ = true;
    Diagnostic d;
    d.code = Code::E0522;
    std::optional<Culprit> culprit = find_culprit(compiler, c);
    if (!culprit) {
      d.message = fmt::format("{}: a difference came and went; it does not show when looked for again", name);
      report(d);
      return;
    }
    GraphCase small = reduce_culprit(compiler, c, *culprit);
    std::vector<std::string> operations = note_operations(small.graph, d);
    d.message = fmt::format("{} is wrong{}", culprit->text(), operations.empty() ? "" : ": " + operations[0]);
    if (!culprit->crash.empty())
      d.notes.push_back("it stops with: " + culprit->crash);
    else
      d.notes.push_back(fmt::format("{}: {} is {:.9g} and should be {:.9g}; rounding explains {:.1e}, not {:.1e}", name,
                                    element_text(culprit->difference, c.graph), culprit->difference.found,
                                    culprit->difference.expected, culprit->allowed, culprit->difference.error));
    write_case(small, d, culprit->text() + " gives a wrong value here");
    report(d);
  }

  void write_case(const GraphCase& c, Diagnostic& d, const std::string& what) {
    std::string command = fmt::format("nnc gradcheck {}", out_);
    if (!o_.common.cpu.empty()) command += " --cpu " + o_.common.cpu;
    if (o_.common.threads) command += fmt::format(" --threads {}", *o_.common.threads);
    std::string text = print_case(c, &session_.sources, what + "\n" + command);
    write_file_atomically(out_, std::as_bytes(std::span(text.data(), text.size())));
    size_t operations = 0;
    for (const Node& n : c.graph.nodes()) operations += op_class(n.op) != OpClass::leaf;
    d.notes.push_back(
        fmt::format("the smallest graph that shows it ({} operation{}) is in {}", operations, operations == 1 ? "" : "s", out_));
    d.help.push_back(fmt::format("this is a bug of nnc; please report it with that file, which `{}` checks again", command));
  }

  /// Several steps, each from what the one before left.
  std::vector<Results> chain(const std::function<Results(const Bindings&, size_t)>& step) const {
    std::vector<Results> all;
    Bindings b = s_.steps[0];
    for (size_t i = 0; i < s_.steps.size(); ++i) {
      b.inputs = s_.steps[i].inputs;
      b.scalars = s_.steps[i].scalars;
      all.push_back(step(b, i));
      for (const auto& [name, value] : all.back().updates) b.persistents[name] = value;
    }
    return all;
  }

  void check_steps() {
    const Graph& graph = s_.compiled[0].second;
    RoundingModel model([&](const ValueHook& hook) {
      return chain([&](const Bindings& b, size_t) { return interpret(graph, b, false, hook); }).back();
    });
    Route route = Route::optimized();
    route.level = session_.target.level;
    route.threads = session_.thread_count();
    RoutedGraph compiled(graph, route, s_.steps[0].rows);
    std::vector<Bindings> starts;
    std::vector<Results> found = chain([&](const Bindings& b, size_t) {
      starts.push_back(b);
      return compiled.run(b);
    });
    Comparison compared = model.compare(found.back(), Precision::f32);
    row(fmt::format("{}, {} times in a row", s_.compiled[0].first, s_.steps.size()), compared);
    if (!compared.difference) return;
    // The step that is wrong by itself, from where compiled code stood.
    CompilerUnderTest compiler = CompilerUnderTest::product(session_.target.level, session_.thread_count());
    for (size_t i = 1; i < starts.size(); ++i) {
      if (!RoundingModel(graph, starts[i]).compare(found[i], Precision::f32).difference) continue;
      return report_culprit(compiler, {graph, starts[i]}, fmt::format("step {}", i + 1));
    }
    failed_ = true;
    Diagnostic d;
    d.code = Code::E0523;
    d.span = session_.module ? session_.module->train().span : Span{};
    d.message =
        fmt::format("after {} steps {} is {:.9g}, the interpreter says {:.9g}; each step by itself agrees", s_.steps.size(),
                    element_text(*compared.difference, graph), compared.difference->found, compared.difference->expected);
    report(d);
  }

  Session& session_;
  const GradcheckOptions& o_;
  Subject s_;
  bool is_model() const { return session_.module != nullptr; }

  std::string out_, unchecked_;  ///< leaves of which nothing could be compared
  bool failed_ = false, not_finite_ = false, loss_is_finite_ = true;
};

int gradcheck(Session& session, const GradcheckOptions& o) {
  SignalScope signals;
  bool lone = is_graph_file(o.common.file) || o.common.file == "-";
  if (lone) require_none_given(o.common.file, {{"--set", !o.common.set.empty()}, {"--data", !o.common.data.empty()}});
  Subject subject = lone ? subject_of_graph(session, o) : subject_of_model(session, o);
  std::vector<std::string> read = files_read(session);
  read.insert(read.end(), {o.common.file, o.weights});
  check_not_an_input(o.out, read, "give another name: --out NAME.nnir");
  return Gradcheck(session, o, std::move(subject)).run();
}

}  // namespace

Command gradcheck_command() {
  auto o = std::make_shared<GradcheckOptions>();
  Command command("gradcheck",
                  "whether this model is differentiated and compiled right\n\n"
                  "  nnc gradcheck digits.nn\n"
                  "  nnc gradcheck digits.nn --weights digits.safetensors --rows 32 --set Hidden=64\n"
                  "  nnc gradcheck digits.gradcheck.nnir          what a failed check has written\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  command.option("--weights,--init", o->weights, "at these weights (.safetensors) instead of the initial values");
  command.option("--rows", o->rows, "rows of the batch (default: up to 13, fewer for large models)")
      .in_range(1, int64_t{1} << 20);
  command.option("--steps", o->steps, "steps in a row that compiled code is followed for (3)").in_range(1, 1000);
  command.option("--out", o->out,
                 "where the smallest failing graph is written (default: FILE.gradcheck.nnir in the current folder)");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return gradcheck(session, *o); }); };
  return command;
}

}  // namespace nnc
