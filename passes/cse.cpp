// Value numbering by hashing (Click, "Global Code Motion / Global Value Numbering", PLDI'95, for a graph without control flow):
// nodes are looked up in order by operation, operands as merged so far and attributes. The table is only asked, never
// walked, so that the result does not depend on hashes. Numbers are compared by their bits: 0 and -0 are different constants.
#include "passes/cse.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "passes/dead_code.h"

namespace nnc {
namespace {

bool commutes(Op op) {
  switch (op) {
    case Op::add:
    case Op::mul:
    case Op::maximum:
    case Op::minimum:
    case Op::equal:
    case Op::not_equal:
    case Op::logical_and:
    case Op::logical_or:
      return true;
    default:
      return false;
  }
}

struct Hash {
  uint64_t value = 0xcbf29ce484222325;
  void mix(uint64_t x) { value = (value ^ x) * 0x100000001b3 + (value >> 29); }
  void mix(Number number) {
    mix(std::bit_cast<uint64_t>(double(number)));
    mix(uint64_t(number.rest()));
  }
  void mix(const std::vector<int>& list) {
    mix(list.size());
    for (int x : list) mix(uint64_t(x));
  }
};

uint64_t hash_of(const Node& node, const std::vector<NodeId>& operands) {
  Hash h;
  h.mix(uint64_t(node.op));
  for (NodeId operand : operands) h.mix(operand.value);
  const Attributes& a = node.attributes;
  h.mix(a.axes);
  for (const Extent& e : a.extents) h.mix(uint64_t(e.size) * 2 + e.rows);
  for (int64_t step : {a.begin, a.stride, a.dilation, a.divide}) h.mix(uint64_t(step));
  h.mix(a.number);
  h.mix(a.values.size());
  for (Number v : a.values) h.mix(v);
  for (char c : a.text) h.mix(uint64_t(c));
  h.mix(a.lhs);
  h.mix(a.rhs);
  h.mix(a.out);
  h.mix(uint64_t(a.dtype));
  if (a.body) h.mix(a.body->size() * 2 + a.reverse);
  return h.value;
}

bool same_but_for_operands(const Node& x, const Node& y) {
  if (x.op != y.op) return false;
  const Attributes &a = x.attributes, &b = y.attributes;
  return a.axes == b.axes && a.extents == b.extents && a.begin == b.begin && a.stride == b.stride && a.dilation == b.dilation && a.divide == b.divide &&
         same_bits(a.number, b.number) && a.text == b.text && a.lhs == b.lhs &&
         a.rhs == b.rhs && a.out == b.out && a.dtype == b.dtype && a.carried == b.carried && a.sliced == b.sliced && a.reverse == b.reverse && a.body == b.body && std::ranges::equal(a.values, b.values, [](Number p, Number q) { return same_bits(p, q); });
}

}  // namespace

bool merge_common_subexpressions(Graph& graph) {
  std::vector<NodeId> to(graph.size());  // the first of equal nodes
  auto merged_operands = [&](const Node& node, std::vector<NodeId>& operands) {
    operands = node.operands;
    for (NodeId& operand : operands) operand = to[operand.value];
    if (commutes(node.op)) std::sort(operands.begin(), operands.end());
  };
  std::unordered_multimap<uint64_t, NodeId> known;
  known.reserve(graph.size());
  std::vector<NodeId> operands, others;  // kept, so that their memory is used again
  bool merged = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    merged_operands(node, operands);
    const uint64_t hash = hash_of(node, operands);
    auto [first, last] = known.equal_range(hash);
    auto found = std::find_if(first, last, [&](const auto& entry) {
      const Node& other = graph[entry.second];
      if (!same_but_for_operands(other, node)) return false;
      merged_operands(other, others);
      return others == operands;
    });
    if (found != last) {
      to[i] = found->second;
      merged = true;
      continue;
    }
    known.emplace(hash, NodeId{i});
    to[i] = {i};
  }
  if (merged) replace_nodes(graph, to);
  return merged;
}

}  // namespace nnc
