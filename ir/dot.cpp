// Graphs as Graphviz text: a node each, edges from operands, kernels as clusters.

#include "ir/dot.h"

#include <map>
#include <set>

#include <fmt/format.h>

#include "ir/text.h"

namespace nnc {
namespace {

std::string escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string label_of(const Graph& graph, uint32_t i) {
  const Node& n = graph[NodeId{i}];
  std::string label = fmt::format("%{} {}", i, op_name(n.op));
  if (!n.attributes.text.empty()) label += " " + n.attributes.text;
  if (n.op == Op::constant) label += " " + number_text(n.attributes.number, n.attributes.dtype);
  return escape(label) + "\\n" + escape(to_string(n.type));
}

/// Buffers that the code of a kernel loads and stores.
struct Touched {
  std::set<uint32_t> loads, stores;
  void add(const std::vector<Instruction>& code) {
    for (const Instruction& i : code) {
      if (!i.access.buffer.valid()) continue;
      (writes_memory(i) ? stores : loads).insert(i.access.buffer.value);
    }
  }
};

Touched touched_by(const Kernel& kernel) {
  Touched t;
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
    for (const Block& b : map->blocks) t.add(b.code);
  } else {
    const auto& contract = std::get<ContractKernel>(kernel.body);
    t.add(contract.a.code);
    t.add(contract.b.code);
    t.add(contract.epilogue);
  }
  return t;
}

}  // namespace

std::string dot_graph(const Graph& graph) {
  std::string out = fmt::format("digraph \"{}\" {{\n  node [shape=box, fontname=\"monospace\"];\n", escape(graph.name));
  std::map<int, std::vector<uint32_t>> groups;
  for (uint32_t i = 0; i < graph.size(); ++i) groups[graph[NodeId{i}].group].push_back(i);
  for (const auto& [group, nodes] : groups) {
    if (group >= 0) out += fmt::format("  subgraph cluster_{} {{\n    label=\"kernel {}\";\n", group, group);
    for (uint32_t i : nodes) out += fmt::format("    n{} [label=\"{}\"];\n", i, label_of(graph, i));
    if (group >= 0) out += "  }\n";
  }
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (NodeId operand : graph[NodeId{i}].operands) out += fmt::format("  n{} -> n{};\n", operand.value, i);
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    out += fmt::format("  out{} [label=\"output {}\", shape=ellipse];\n  n{} -> out{};\n", i, escape(graph.outputs[i].name),
                       graph.outputs[i].node.value, i);
  for (size_t i = 0; i < graph.updates.size(); ++i)
    out += fmt::format("  update{} [label=\"update {}\", shape=ellipse];\n  n{} -> update{};\n", i, escape(graph.updates[i].name),
                       graph.updates[i].node.value, i);
  return out + "}\n";
}

std::string dot_program(const Program& program) {
  std::string out = fmt::format("digraph \"{}\" {{\n  node [shape=box, fontname=\"monospace\"];\n", escape(program.name));
  std::map<uint32_t, size_t> writer;
  std::set<uint32_t> drawn;
  auto is_inner = [&](uint32_t buffer) { return program.buffers[buffer].kind == BufferKind::temporary || program.buffers[buffer].kind == BufferKind::local; };
  auto draw_buffer = [&](uint32_t buffer) {
    if (drawn.insert(buffer).second)
      out += fmt::format("  b{} [label=\"{}\", shape=ellipse];\n", buffer, escape(program.buffers[buffer].name));
  };
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    const Kernel& kernel = program.kernels[k];
    Touched t = touched_by(kernel);
    out += fmt::format("  k{} [label=\"{}\\n{:.0f} flops\", style=bold];\n", k, escape(kernel.name), kernel.flops);
    for (uint32_t touched : t.loads) {
      const uint32_t b = memory_of(program, BufferId{touched}).value;
      auto from = writer.find(b);
      if (is_inner(b) && from != writer.end()) {
        out += fmt::format("  k{} -> k{} [label=\"{}\"];\n", from->second, k, escape(program.buffers[b].name));
      } else if (!is_inner(b)) {
        draw_buffer(b);
        out += fmt::format("  b{} -> k{};\n", b, k);
      }
    }
    for (uint32_t touched : t.stores) {
      const uint32_t b = memory_of(program, BufferId{touched}).value;
      if (is_inner(b)) {
        writer[b] = k;
        continue;
      }
      draw_buffer(b);
      out += fmt::format("  k{} -> b{};\n", k, b);
    }
  }
  return out + "}\n";
}

}  // namespace nnc
