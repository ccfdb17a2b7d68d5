// Value numbering by hashing (Click, "Global Code Motion / Global Value Numbering", PLDI'95, for a graph without control flow):
// nodes are copied in order and looked up by operation, translated operands and attributes. The table is only asked, never
// walked, so that the result does not depend on hashes. Numbers are compared by their bits: 0 and -0 are different constants.
#include "passes/cse.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "passes/rewrite.h"

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

uint64_t hash_of(const Node& node) {
  Hash h;
  h.mix(uint64_t(node.op));
  for (NodeId operand : node.operands) h.mix(operand.value);
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

bool same(const Node& x, const Node& y) {
  if (x.op != y.op || x.operands != y.operands) return false;
  const Attributes &a = x.attributes, &b = y.attributes;
  return a.axes == b.axes && a.extents == b.extents && a.begin == b.begin && a.stride == b.stride && a.dilation == b.dilation && a.divide == b.divide &&
         same_bits(a.number, b.number) && a.text == b.text && a.lhs == b.lhs &&
         a.rhs == b.rhs && a.out == b.out && a.dtype == b.dtype && a.carried == b.carried && a.sliced == b.sliced && a.reverse == b.reverse && a.body == b.body && std::ranges::equal(a.values, b.values, [](Number p, Number q) { return same_bits(p, q); });
}

}  // namespace

bool merge_common_subexpressions(Graph& graph) {
  Rebuild rebuild(graph);
  std::unordered_multimap<uint64_t, NodeId> known;  // keys of the nodes in the result, with operands in order
  std::vector<Node> keys;
  bool merged = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node key = rebuild.translated({i});
    if (commutes(key.op)) std::sort(key.operands.begin(), key.operands.end());
    uint64_t hash = hash_of(key);
    auto [first, last] = known.equal_range(hash);
    auto found = std::find_if(first, last, [&](const auto& entry) { return same(keys[entry.second.value], key); });
    if (found != last) {
      rebuild.to[i] = found->second;
      merged = true;
      continue;
    }
    known.emplace(hash, rebuild.copy({i}));
    keys.push_back(std::move(key));
  }
  if (merged) graph = rebuild.finish();
  return merged;
}

}  // namespace nnc
