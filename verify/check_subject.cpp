// A model is taken as training takes it: its data, its initial values or weights, the first batches of the first epoch. A graph comes with values of its
// own, or gets random ones.
#include "verify/check_subject.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include <fmt/format.h>

#include "engine/bindings.h"
#include "engine/graph_runner.h"
#include "engine/row_conditions.h"
#include "engine/weights_file.h"
#include "passes/costs.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"
#include "verify/case_file.h"
#include "verify/gradient_check.h"
#include "verify/route.h"

namespace nnc {
namespace {

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
  drop_updates(g);
  NodeId seed = Builder(g, g[loss].span).constant_like(1, loss);
  std::vector<NodeId> gradients = gradients_of(g, loss, seed, leaves);
  for (size_t i = 0; i < leaves.size(); ++i)
    if (gradients[i].valid()) g.outputs.push_back({"grad." + g[leaves[i]].attributes.text, gradients[i]});
  return g;
}

/// Not a multiple of a vector's width, and few enough for seconds.
int64_t rows_within_seconds(const Graph& step, int64_t rows) {
  rows = std::min<int64_t>(rows, 13);
  while (rows > 2 && work_of(step, rows) > 3e7) --rows;
  return rows;
}

/// The first batches of a run, each of so many rows; beyond the last row it goes on with the first.
std::vector<Bindings> bind_steps(const Graph& graph, const TrainSpec& spec, const RunData& data, int64_t steps, int64_t rows) {
  std::vector<Bindings> all;
  std::vector<int64_t> order = epoch_order(data.split.train, spec.seed, 0, true);
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<int64_t> batch;
    for (int64_t r = 0; r < rows; ++r) batch.push_back(order[size_t(step * rows + r) % order.size()]);
    all.push_back(bind_rows(graph, data, batch));
    bind_scalars(all.back(), graph, with_hyperparameters({{"step", double(step)}, {"epoch", 0}}, spec));
    all.back().draws = {spec.seed, uint64_t(step), 0};
  }
  return all;
}

/// What a run begins with, or the weights in a file and the optimiser's first states.
void bind_start(Bindings& bindings, const TrainingGraphs& graphs, const std::string& weights, uint64_t seed) {
  const std::vector<ParameterSpec> specs = step_persistents(graphs);
  Team team(1);
  StepRunner values(persistents_only(specs), team);
  initialize(values, specs, seed);
  if (!weights.empty()) load_tensors(weights, values, false);
  bind_persistents(bindings, graphs.backward, values);
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

}  // namespace

CheckSubject subject_of_model(Compilation& compilation, const ModelValues& o) {
  const TrainSpec& spec = compilation.module->train();
  RunData data = load_data(spec, o.data, spec.seed);
  if (data.split.train.empty())
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: `{}` has {} rows", spec.data.name, data.rows));
  TrainingGraphs graphs = make_training_graphs(compilation);
  CheckSubject s;
  s.is_model = true;
  s.span = spec.span;
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
  const int64_t train_rows = int64_t(data.split.train.size());
  const int64_t batch = std::min(spec.batch == 0 ? train_rows : spec.batch, train_rows);
  int64_t rows = o.rows ? std::min(*o.rows, train_rows) : rows_within_seconds(graphs.backward, batch);
  if (!o.rows && find_unmet(graphs.forward.row_conditions, rows, "")) rows = batch;  // it may take longer
  require_rows(graphs.forward.row_conditions, rows, "a batch");
  s.steps = bind_steps(graphs.backward, spec, data, o.steps, rows);
  bind_start(s.steps[0], graphs, o.weights, spec.seed);
  s.data = fmt::format("{} row{} of `{}`, seed {}{}", rows, rows == 1 ? "" : "s", spec.data.name, spec.seed,
                       o.weights.empty() ? "" : ", weights from " + o.weights);
  return s;
}

CheckSubject subject_of_graph(const Graph& graph, std::string_view text, const std::string& path, uint64_t seed, int64_t rows) {
  for (const Node& n : graph.nodes()) {
    bool fits = !n.type.has_rows() || n.type.shape[0] == Extent{1, true};
    if (n.op == Op::input && !fits)
      throw UserError(Code::E0601,
                      fmt::format("the input `{}` is {}: rows of a batch must be its first dimension, alone", n.attributes.text,
                                  to_string(n.type)),
                      path);
  }
  CheckSubject s;
  s.forward = merge_reads(graph);
  std::optional<Bindings> values = parse_case_values(text, s.forward, path);
  std::mt19937_64 random(seed);
  s.data = values ? fmt::format("the file's own values, {} row{}", values->rows, values->rows == 1 ? "" : "s")
                  : fmt::format("random values, seed {}, {} rows", seed, rows);
  s.steps = {values ? *values : random_bindings(s.forward, rows, random)};
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

}  // namespace nnc
