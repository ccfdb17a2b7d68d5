// Value numbering by hashing (Click, "Global Code Motion / Global Value Numbering", PLDI'95, for a graph without control flow):
// nodes are looked up in order by operation, operands as merged so far and attributes. The table is only asked, never
// walked, so that the result does not depend on hashes. Numbers are compared by their bits: 0 and -0 are different constants.
#include "passes/cse.h"

#include <algorithm>
#include <bit>

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

uint64_t hash_of(const Node& node, const NodeList& operands) {
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

void KnownNodes::make_slots(size_t entries) {
  slots_.assign(std::bit_ceil(2 * entries + 16), no_entry);
  entries_.reserve(entries);
  for (uint32_t e = 0; e < entries_.size(); ++e) {
    size_t at = first_slot(entries_[e].hash);
    while (slots_[at] != no_entry) at = next_slot(at);
    slots_[at] = e;
  }
}

NodeId KnownNodes::find_or_enter(const Node& node, NodeList operands, NodeId fresh) {
  if (commutes(node.op)) std::sort(operands.begin(), operands.end());
  const uint64_t hash = hash_of(node, operands);
  size_t at = first_slot(hash);
  for (; slots_[at] != no_entry; at = next_slot(at)) {
    const Entry& known = entries_[slots_[at]];
    if (known.hash == hash && known.operands == operands && same_but_for_operands(graph_[known.node], node)) return known.node;
  }
  slots_[at] = uint32_t(entries_.size());
  entries_.push_back({hash, fresh, std::move(operands)});
  if (entries_.size() * 2 > slots_.size()) make_slots(entries_.size() * 2);
  return fresh;
}

bool merge_common_subexpressions(Graph& graph) {
  std::vector<NodeId> to(graph.size());  // the first of equal nodes
  KnownNodes known(graph, graph.size());
  bool merged = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    NodeList operands = node.operands;
    for (NodeId& operand : operands) operand = to[operand.value];
    to[i] = known.find_or_enter(node, std::move(operands), {i});
    merged = merged || to[i] != NodeId{i};
  }
  if (merged) replace_nodes(graph, to);
  return merged;
}

}  // namespace nnc
