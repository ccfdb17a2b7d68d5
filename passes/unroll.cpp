// Copies of the body stand one behind the other, the carries of each the operands of the next.
#include "passes/unroll.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/check.h"
#include "ir/regions.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// How many scans stand one in the other, this one included.
size_t depth_of(const Node& scan) {
  size_t depth = 0;
  for (const Node& node : scan.attributes.body->nodes())
    if (node.op == Op::scan) depth = std::max(depth, depth_of(node));
  return depth + 1;
}

class Unroller {
 public:
  explicit Unroller(const Graph& graph, bool all) : rebuild_(graph), all_(all) {}

  Graph run(std::vector<NodeId>& nodes) {
    const Graph& graph = rebuild_.old;
    for (uint32_t i = 0; i < graph.size(); ++i) rebuild_.to[i] = place(graph, rebuild_.to, {i});
    for (NodeId& node : nodes) node = rebuild_.to[node.value];
    note_steps();
    return rebuild_.finish();
  }

  std::vector<std::vector<int64_t>> take_steps() { return std::move(steps_); }

 private:
  /// What a scan has come to, by its number: carries as they are at last, stacked values slice by slice.
  struct Results {
    std::vector<NodeId> carries;
    std::vector<std::vector<NodeId>> stacks;
    std::vector<NodeId> joined;  ///< stacked values as wholes; invalid until someone reads one
  };

  Graph& result() { return rebuild_.result; }

  /// A node of `graph`, a body or the whole, with its operands by `to`, in the result. Of a scan: its number.
  NodeId place(const Graph& graph, const std::vector<NodeId>& to, NodeId id) {
    Node node = graph[id];
    if (node.op == Op::result && is_written_out(to[node.operands[0].value])) return of_result(to[node.operands[0].value], size_t(node.attributes.begin), node);
    for (NodeId& operand : node.operands) operand = to[operand.value];
    node.group = -1;
    const bool write = node.op == Op::scan && (all_ || node.attributes.extents[0].size < fewest_rolled || depth_of(node) > max_region_depth);
    return write ? write_out(node) : add_node(result(), node);
  }

  // A scan that is written out is no node: its number stands for it, with this bit.
  static constexpr uint32_t mark = uint32_t(1) << 31;
  static bool is_written_out(NodeId scan) { return (scan.value & mark) != 0; }

  NodeId of_result(NodeId scan, size_t number, const Node& node) {
    Results& r = scans_[scan.value & ~mark];
    if (number < r.carries.size()) return r.carries[number];
    number -= r.carries.size();
    NodeId& joined = r.joined[number];
    if (!joined.valid()) {
      joined = join(r.stacks[number], node);
      stacked_.emplace(joined, r.stacks[number]);
    }
    return joined;
  }

  /// Slice t of a sequence.
  NodeId slice_of(NodeId sequence, int64_t t, const Node& scan) {
    if (auto known = stacked_.find(sequence); known != stacked_.end()) return known->second[size_t(t)];
    const Type type = result().type(sequence);
    Builder b(result(), scan.span, scan.scope);
    return b.reshape(b.slice(sequence, step_axis(type), t, {1, false}), slice_type(type).shape);
  }

  /// Halves are joined to wholes.
  NodeId join(const std::vector<NodeId>& slices, const Node& node) {
    const int axis = step_axis(node.type);
    const DType dtype = node.type.dtype, padded = is_arithmetic(dtype) ? dtype : DType::i32;
    Builder b(result(), node.span, node.scope);
    std::vector<NodeId> parts;
    for (NodeId slice : slices) parts.push_back(b.cast(b.reshape(slice, sequence_type(b.graph.type(slice), 1).shape), padded));
    while (parts.size() > 1) {
      std::vector<NodeId> pairs;
      for (size_t i = 0; i + 1 < parts.size(); i += 2) {
        Shape shape = b.graph.type(parts[i]).shape;
        const int64_t first = shape[size_t(axis)].size;
        shape.set_size(size_t(axis), first + b.graph.type(parts[i + 1]).shape[size_t(axis)].size);
        const NodeId place = b.iota(shape, axis);
        const NodeId is_before = b.binary(Op::less, place, b.constant_like(first, place));
        const NodeId before = b.pad(parts[i], axis, 0, shape[size_t(axis)]), behind = b.pad(parts[i + 1], axis, first, shape[size_t(axis)]);
        pairs.push_back(b.select(is_before, before, behind));
      }
      if (parts.size() % 2 == 1) pairs.push_back(parts.back());
      parts = std::move(pairs);
    }
    return b.cast(parts[0], dtype);
  }

  NodeId write_out(const Node& scan) {
    const Attributes& a = scan.attributes;
    const Graph& body = *a.body;
    const int64_t steps = a.extents[0].size;
    Results results;
    results.carries.assign(scan.operands.begin(), scan.operands.begin() + a.carried);
    results.stacks.assign(body.outputs.size() - size_t(a.carried), std::vector<NodeId>(static_cast<size_t>(steps)));
    results.joined.resize(results.stacks.size());
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t t = a.reverse ? steps - 1 - step : step;
      note_steps();
      now_.push_back(t);
      std::vector<NodeId> to(body.size());
      for (uint32_t i = 0; i < body.size(); ++i) {
        const Node& node = body[NodeId{i}];
        if (node.op != Op::input) {
          to[i] = place(body, to, {i});
          continue;
        }
        const size_t operand = size_t(*operand_of_input(scan, node));
        switch (place_of_operand(a, int(operand)).kind) {
          case BodyInput::carry: to[i] = results.carries[operand]; break;
          case BodyInput::slice: to[i] = slice_of(scan.operands[operand], t, scan); break;
          case BodyInput::capture: to[i] = scan.operands[operand]; break;
        }
      }
      for (size_t k = 0; k < body.outputs.size(); ++k) {
        const NodeId made = to[body.outputs[k].node.value];
        if (k < results.carries.size())
          results.carries[k] = made;
        else
          results.stacks[k - results.carries.size()][size_t(t)] = made;
      }
      note_steps();
      now_.pop_back();
    }
    scans_.push_back(std::move(results));
    return {uint32_t(scans_.size() - 1) | mark};
  }

  /// Nodes since the last time belong to the steps at hand.
  void note_steps() { steps_.resize(result().size(), now_); }

  Rebuild rebuild_;
  std::vector<int64_t> now_;
  std::vector<std::vector<int64_t>> steps_;  ///< by node of the result
  bool all_;
  std::vector<Results> scans_;
  std::map<NodeId, std::vector<NodeId>> stacked_;  ///< joined values, by node of the result: their slices
};

}  // namespace

void unroll_scans(Graph& graph) {
  std::vector<NodeId> none;
  unroll_and_follow(graph, none);
}

static bool has_scans(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const Node& node) { return node.op == Op::scan; });
}

void unroll_and_follow(Graph& graph, std::vector<NodeId>& nodes) {
  if (has_scans(graph)) graph = Unroller(graph, true).run(nodes);
}

WrittenOut write_out_scans(const Graph& graph) {
  Unroller unroller(graph, true);
  std::vector<NodeId> none;
  WrittenOut written{unroller.run(none), {}};
  written.steps = unroller.take_steps();
  return written;
}

void unroll_short(Graph& graph) {
  std::vector<NodeId> none;
  if (has_scans(graph)) graph = Unroller(graph, false).run(none);
}

}  // namespace nnc
