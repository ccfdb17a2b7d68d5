// From the finished program back to the graph: each temporary has a node, each kernel a group, and a read leads from a node of the reading kernel
// down through what that kernel computes for itself to the stored value. A hard view on the way, or a contraction at its top, is the reason;
// without one the fuser's note about the step that leaves the stored value is.
#include "passes/fusion_report.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "passes/fuse.h"
#include "passes/fuse_internal.h"

namespace nnc {
namespace {

std::optional<FusionRefusal> hard_view(const Node& node, size_t operand) {
  switch (node.op) {
    case Op::gather: return operand == 0 ? std::optional(FusionRefusal::gather) : std::nullopt;
    case Op::reshape: return FusionRefusal::reshape;
    case Op::slice: return FusionRefusal::slice;
    case Op::pad: return FusionRefusal::pad;
    case Op::window: return FusionRefusal::window;
    case Op::contract: return FusionRefusal::contraction_operand;
    case Op::scatter_add: return FusionRefusal::scatter_operand;
    default: return std::nullopt;
  }
}

/// How an operation reads `value`, through what its kernel computes for itself.
class ReadSearch {
 public:
  ReadSearch(const Graph& graph, const FusionLog& log, const std::vector<bool>& transparent, NodeId value)
      : graph_(graph), log_(log), transparent_(transparent), value_(value) {}

  std::optional<StoredRead> from(NodeId reader) {
    seen_.clear();
    return descend(reader, reader, reader, std::nullopt, {});
  }

 private:
  // `last` is the lowest operation on the way that was a candidate for fusion; `hard` the first read at other indices, in `hard_at`.
  std::optional<StoredRead> descend(NodeId reader, NodeId at, NodeId last, std::optional<FusionRefusal> hard, NodeId hard_at) {
    const Node& node = graph_[at];
    for (size_t i = 0; i < node.operands.size(); ++i) {
      NodeId o = node.operands[i];
      std::optional<FusionRefusal> here = hard ? hard : hard_view(node, i);
      if (o == value_) {
        if (here) return StoredRead{0, reader, *here, hard ? hard_at : at};
        const FusionNote* note = log_.find(value_, last);
        return note ? StoredRead{0, reader, note->reason, note->witness} : StoredRead{0, reader, FusionRefusal::settled, {}};
      }
      const Node& operand = graph_[o];
      if (operand.group >= 0 || op_class(operand.op) == OpClass::leaf || !seen_.insert({o, here.has_value()}).second) continue;
      if (auto found = descend(reader, o, transparent_[o.value] ? last : o, here, hard ? hard_at : at)) return found;
    }
    return std::nullopt;
  }

  const Graph& graph_;
  const FusionLog& log_;
  const std::vector<bool>& transparent_;
  NodeId value_;
  std::set<std::pair<NodeId, bool>> seen_;
};

}  // namespace

void FusionLog::add(NodeId value, NodeId reader, FusionNote note) {
  auto [it, fresh] = notes_.try_emplace({value, reader}, note);
  if (!fresh && (note.tried || !it->second.tried)) it->second = note;
}

const FusionNote* FusionLog::find(NodeId value, NodeId reader) const {
  auto it = notes_.find({value, reader});
  return it == notes_.end() ? nullptr : &it->second;
}

std::vector<StoredValue> stored_values(const Graph& graph, const Program& program, const FusionLog& log) {
  std::vector<bool> transparent = transparent_nodes(graph);
  std::vector<StoredValue> result;
  std::vector<int> place(program.buffers.size(), -1);
  for (uint32_t b = 0; b < program.buffers.size(); ++b) {
    if (program.buffers[b].kind != BufferKind::temporary || program.buffers[b].slot.valid()) continue;
    place[b] = int(result.size());
    StoredValue& value = result.emplace_back();
    value.buffer = BufferId{b};
    value.node = program.buffers[b].node;
    NNC_CHECK(value.node.value < graph.size(), "a temporary without a node");
  }
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    const Kernel& kernel = program.kernels[k];
    std::set<int> reads, writes;
    for_each_access(kernel, [&](const Instruction& i) {
      int p = place[memory_of(program, i.access.buffer).value];
      if (p >= 0) (writes_memory(i) ? writes : reads).insert(p);
    });
    for (int p : writes) result[size_t(p)].writers.push_back(k);
    for (int p : reads) {
      StoredValue& value = result[size_t(p)];
      if (kernel.nodes.empty()) {
        bool scatter = graph[value.node].op == Op::scatter_add;
        value.reads.push_back({k, {}, scatter ? FusionRefusal::scatter : FusionRefusal::old_value_needed, {}});
        continue;
      }
      auto is_of_scan = [&](NodeId n) { return graph[n].op == Op::scan || graph[n].op == Op::result; };
      if (is_of_scan(kernel.nodes.front()) || is_of_scan(value.node)) {
        value.reads.push_back({k, {}, FusionRefusal::scan, {}});
        continue;
      }
      if (graph[kernel.nodes.front()].group == graph[value.node].group) {
        const bool scatter = graph[value.node].op == Op::scatter_add, chains = program[value.buffer].dtype == index_type && is_float(graph.type(value.node).dtype);
        value.reads.push_back({k, {}, chains ? FusionRefusal::chains : scatter ? FusionRefusal::scatter : FusionRefusal::later_stage, {}});
        continue;
      }
      ReadSearch search(graph, log, transparent, value.node);
      std::optional<StoredRead> found;
      for (NodeId n : kernel.nodes)
        if (auto read = search.from(n)) {
          found = read;
          break;
        }
      NNC_CHECK(found, "a kernel reads a temporary that none of its operations needs");
      found->kernel = k;
      value.reads.push_back(*found);
    }
  }
  return result;
}

std::vector<NodeRole> node_roles(const Graph& graph) {
  std::vector<bool> forward(graph.size(), false), rule = optimizer_rule(graph);
  for (const Output& o : graph.outputs) forward[o.node.value] = true;
  std::vector<NodeRole> roles(graph.size(), NodeRole::gradient);
  for (uint32_t i = graph.size(); i-- > 0;) {
    if (forward[i]) {
      roles[i] = NodeRole::forward;
      for (NodeId o : graph[NodeId{i}].operands) forward[o.value] = true;
    } else if (rule[i]) {
      roles[i] = NodeRole::update;
    }
  }
  return roles;
}

std::vector<std::vector<NodeId>> kernel_nodes(const Graph& graph, const Program& program) {
  std::vector<std::vector<NodeId>> result;
  for (const Kernel& kernel : program.kernels) {
    std::set<NodeId> found(kernel.nodes.begin(), kernel.nodes.end());
    std::vector<NodeId> pending(found.begin(), found.end());
    while (!pending.empty()) {
      NodeId at = pending.back();
      pending.pop_back();
      for (NodeId o : graph[at].operands)
        if (graph[o].group < 0 && op_class(graph[o].op) != OpClass::leaf && found.insert(o).second) pending.push_back(o);
    }
    result.emplace_back(found.begin(), found.end());
  }
  return result;
}

}  // namespace nnc
