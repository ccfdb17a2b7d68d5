// A graph that is evaluated once has no data block to read rows from. Inputs whose first dimension is the rows of the batch
// become fields, as in training; all others become persistents, which take any shape. Where the rows stand elsewhere in an input,
// the graph is first fixed to the number of rows at hand.
#include "driver/graph_runner.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"
#include "driver/tensors.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "runtime/file_bytes.h"

namespace nnc {
namespace {

std::string held_name(const std::string& input) { return "<" + input + ">"; }

bool is_row_input(const Type& type) {
  if (type.shape.empty() || !(type.shape[0] == Extent{1, true})) return false;
  return std::none_of(type.shape.begin() + 1, type.shape.end(), [](const Extent& e) { return e.rows; });
}

std::map<std::string, Tensor> run_compiled(Graph graph, const Bindings& bindings, const Target& target, const SourceMap& sources,
                                           Team& team) {
  bool fix = bindings.rows == 0;
  for (const Node& n : graph.nodes()) fix = fix || (n.op == Op::input && n.type.has_rows() && !is_row_input(n.type));
  if (fix) graph = with_fixed_rows(graph, bindings.rows);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& n = graph[NodeId{i}];
    if (n.op != Op::input || is_row_input(n.type)) continue;
    Persistent held{held_name(n.attributes.text), n.type, PersistentKind::state, n.span};
    graph.add_persistent(held);
    n.op = Op::parameter;
    n.attributes.text = held.name;
  }
  // Scalar results are f32 in compiled code.
  std::map<std::string, DType> scalar_types;
  for (Output& o : graph.outputs) {
    if (graph.type(o.node).rank() != 0) continue;
    scalar_types[o.name] = graph.type(o.node).dtype;
    o.node = Builder(graph, graph[o.node].span, graph[o.node].scope).cast(o.node, DType::f32);
  }
  int64_t rows = std::max<int64_t>(bindings.rows, 1);
  CompiledStep compiled = compile_step(make_program(std::move(graph), "run", rows, target), sources);
  StepRunner runner(compiled.step, team);
  const StepProgram& program = runner.program();
  for (size_t i = 0; i < program.persistents.size(); ++i) {
    const std::string& name = program.persistents[i].name;
    const Tensor* value = nullptr;
    for (const auto& [input, tensor] : bindings.inputs)
      if (held_name(input) == name) value = &tensor;
    if (auto it = bindings.persistents.find(name); it != bindings.persistents.end()) value = &it->second;
    if (!value) throw UserError(Code::E0511, fmt::format("no value was given for `{}`", name));
    write_persistent(runner, i, *value);
  }
  std::vector<std::vector<std::byte>> fields;
  for (size_t i = 0; i < program.fields.size(); ++i) {
    auto it = bindings.inputs.find(program.fields[i]);
    if (it == bindings.inputs.end())
      throw UserError(Code::E0511, fmt::format("no value was given for the input `{}`", program.fields[i]));
    fields.push_back(to_bytes(it->second.values, it->second.dtype));
    int64_t row_bytes = int64_t(fields.back().size()) / rows;
    fields.back().resize(fields.back().size() + FileBytes::readable_past_end);
    runner.bind_field(i, fields.back().data(), row_bytes);
  }
  std::vector<int64_t> row_index(static_cast<size_t>(rows));
  std::iota(row_index.begin(), row_index.end(), int64_t{0});
  std::vector<float> scalars, results(program.results.size());
  for (const std::string& name : program.scalars) {
    auto it = bindings.scalars.find(name);
    if (it == bindings.scalars.end()) throw UserError(Code::E0511, fmt::format("no value was given for the scalar `{}`", name));
    scalars.push_back(float(it->second));
  }
  runner.run(std::span(&rows, 1), row_index.data(), scalars.data(), results.data());
  std::map<std::string, Tensor> outputs;
  for (size_t i = 0; i < results.size(); ++i)
    outputs[program.results[i]] = {scalar_types[program.results[i]], {}, {double(results[i])}};
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    const OutputSlot& slot = program.outputs[i];
    outputs[slot.name] = {slot.dtype, slot.shape, to_numbers(runner.output(i), size_t(element_count(slot.shape)), slot.dtype)};
  }
  return outputs;
}

}  // namespace

Graph with_fixed_rows(const Graph& graph, int64_t rows) {
  Graph result;
  result.name = graph.name;
  result.persistents = graph.persistents;
  for (const Node& n : graph.nodes()) {
    Attributes attributes = n.attributes;
    for (Extent& e : attributes.extents) e = {e.at(rows), false};
    result.add(n.op, n.operands, std::move(attributes), n.span, n.scope);
  }
  result.outputs = graph.outputs;
  result.updates = graph.updates;
  return result;
}

std::map<std::string, Tensor> evaluate_graph(Engine engine, Graph graph, const Bindings& bindings, const Target& target,
                                             const SourceMap& sources, Team& team) {
  graph.updates.clear();
  remove_dead_code(graph);
  if (engine == Engine::interpreter) return interpret(graph, bindings).outputs;
  return run_compiled(std::move(graph), bindings, target, sources, team);
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
