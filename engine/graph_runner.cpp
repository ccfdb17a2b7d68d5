// A graph that is evaluated once has no data block to read rows from. Inputs whose first dimension is the rows of the batch
// become fields, as in training; all others become persistents, which take any shape. Where the rows stand elsewhere in an input,
// the graph is first fixed to the number of rows at hand. What shows code, or takes a graph along routes, does the same, so that
// it shows and checks what runs.
#include "engine/graph_runner.h"

#include <algorithm>

#include <fmt/format.h>

#include "engine/bindings.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

std::string held_name(const std::string& input) { return "<" + input + ">"; }

bool is_row_input(const Type& type) {
  if (type.shape.empty() || !(type.shape[0] == Extent{1, true})) return false;
  return std::none_of(type.shape.begin() + 1, type.shape.end(), [](const Extent& e) { return e.rows; });
}

/// Every input's rows can be looked up one by one, or it has none.
bool has_plain_rows(const Graph& graph) {
  return std::none_of(graph.nodes().begin(), graph.nodes().end(),
                      [](const Node& n) { return n.op == Op::input && n.type.has_rows() && !is_row_input(n.type); });
}

/// What both engines evaluate.
void prepare(Graph& graph, const Bindings& bindings) {
  drop_updates(graph);
  remove_dead_code(graph);
  if (bindings.rows == 0) graph = with_fixed_rows(graph, 0);  // an operation may have no meaning for no rows
}

/// The values and a step that runs on them, each of its inputs a field of rows or held.
struct Prepared {
  Bindings bindings;
  CompiledStep compiled;
};

Prepared compile_for(Graph graph, const Bindings& given, const Target& target, const SourceMap& sources) {
  graph = runnable_graph(std::move(graph), given.rows);
  Bindings bindings = bind_held_inputs(graph, given);
  bindings.rows = std::max<int64_t>(bindings.rows, 1);
  const int64_t rows = bindings.rows;
  return {std::move(bindings), compile_step(make_program(std::move(graph), "run", rows, target), sources)};
}

}  // namespace

Graph with_fixed_rows(const Graph& graph, int64_t rows) {
  Graph result;
  result.name = graph.name;
  result.persistents = graph.persistents;
  auto refuse = [&](const Node& n, const std::string& why) {
    Diagnostic d;
    d.code = Code::E0511;
    d.span = n.span;
    d.message =
        fmt::format("`{}` cannot be evaluated on {} row{}: {}: {}", graph.name, rows, rows == 1 ? "" : "s", op_name(n.op), why);
    throw UserError(d);
  };
  for (const Node& n : graph.nodes()) {
    Attributes attributes = n.attributes;
    for (size_t axis = 0; axis < attributes.extents.size(); ++axis) {
      const Extent e = attributes.extents[axis];
      int64_t size = 0;
      if (__builtin_mul_overflow(e.size, e.rows ? rows : 1, &size)) refuse(n, fmt::format("{} is too large", to_string(n.type)));
      attributes.extents.set(axis, {size, false});
    }
    std::vector<Type> types;
    for (NodeId o : n.operands) types.push_back(result.type(o));
    if (std::string error; !infer_type(n.op, types, attributes, error)) refuse(n, error);
    result.add(n.op, n.operands, std::move(attributes), n.span, n.scope);
  }
  result.outputs = graph.outputs;
  result.updates = graph.updates;
  return result;
}

void hold_inputs(Graph& graph) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& n = graph[NodeId{i}];
    if (n.op != Op::input || is_row_input(n.type)) continue;
    Persistent held{held_name(n.attributes.text), n.type, PersistentKind::state, n.span};
    graph.add_persistent(held);
    n.op = Op::parameter;
    n.attributes.text = held.name;
  }
}

Bindings bind_held_inputs(const Graph& graph, const Bindings& given) {
  Bindings bindings = given;
  for (const auto& [name, value] : given.inputs)
    if (graph.find_persistent(held_name(name))) bindings.persistents[held_name(name)] = value;
  return bindings;
}

Graph runnable_graph(Graph graph, int64_t rows) {
  if (!has_plain_rows(graph)) graph = with_fixed_rows(graph, rows);
  hold_inputs(graph);
  return graph;
}

std::map<std::string, StoredTensor> evaluate_graph_stored(Engine engine, Graph graph, const Bindings& bindings,
                                                          const Target& target, const SourceMap& sources, Team& team) {
  prepare(graph, bindings);
  if (engine == Engine::jit) {
    Prepared step = compile_for(std::move(graph), bindings, target, sources);
    StepRunner runner(step.compiled.step, team);
    return run_step(runner, step.bindings);
  }
  std::map<std::string, StoredTensor> outputs;
  for (const auto& [name, value] : interpret(graph, bindings).outputs) outputs[name] = to_stored(name, value);
  return outputs;
}

std::map<std::string, Tensor> evaluate_graph(Engine engine, Graph graph, const Bindings& bindings, const Target& target,
                                             const SourceMap& sources, Team& team) {
  prepare(graph, bindings);
  if (engine == Engine::interpreter) return interpret(graph, bindings).outputs;
  Prepared step = compile_for(std::move(graph), bindings, target, sources);
  StepRunner runner(step.compiled.step, team);
  return run_step_in_numbers(runner, step.bindings);
}

void append_gradients(Graph& graph, const std::vector<Output>& results, const std::string& seed) {
  struct Wanted {
    std::string name;
    Type type;
    std::vector<NodeId> reads;
  };
  std::vector<Wanted> wanted;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& n = graph[NodeId{i}];
    if ((n.op != Op::input && n.op != Op::parameter) || !is_float(n.type.dtype)) continue;
    if (n.op == Op::parameter && graph.find_persistent(n.attributes.text)->kind != PersistentKind::parameter) continue;
    std::string name = "grad." + n.attributes.text;
    auto it = std::find_if(wanted.begin(), wanted.end(), [&](const Wanted& w) { return w.name == name; });
    if (it == wanted.end()) it = wanted.insert(wanted.end(), {name, n.type, {}});
    it->reads.push_back(NodeId{i});
  }
  std::vector<NodeId> reads;
  for (const Wanted& w : wanted) reads.insert(reads.end(), w.reads.begin(), w.reads.end());
  std::vector<NodeId> sums(wanted.size());
  for (const Output& result : results) {
    if (!is_float(graph.type(result.node).dtype)) continue;
    Builder b(graph, graph[result.node].span, graph[result.node].scope);
    NodeId of = seed.empty() ? b.constant_like(1, result.node) : b.input(seed, graph.type(result.node));
    std::vector<NodeId> gradients = gradients_of(graph, result.node, of, reads);
    size_t next = 0;
    for (size_t w = 0; w < wanted.size(); ++w)
      for (size_t r = 0; r < wanted[w].reads.size(); ++r) {
        NodeId g = gradients[next++];
        if (g.valid()) sums[w] = sums[w].valid() ? b.add(sums[w], g) : g;
      }
  }
  for (size_t w = 0; w < wanted.size(); ++w) {
    NodeId node = sums[w].valid() ? sums[w] : Builder(graph).constant(0, wanted[w].type);
    graph.outputs.push_back({wanted[w].name, node});
  }
}

}  // namespace nnc
