// The table of costs, and the counts that are made of it.
#include "passes/costs.h"

#include <algorithm>
#include <map>
#include <variant>

#include "ir/chains.h"

namespace nnc {

OpCost op_cost(Op op) {
  switch (op) {
    case Op::exp:
    case Op::expm1:
    case Op::log:
    case Op::log1p:
    case Op::sin:
    case Op::cos:
    case Op::tanh:
    case Op::sigmoid:
    case Op::erf:
    case Op::normal_cdf:
    case Op::pow:
    case Op::random: return OpCost::heavy;
    case Op::div:
    case Op::floor_div:
    case Op::floor_mod:
    case Op::sqrt: return OpCost::slow;
    default: return OpCost::light;
  }
}

namespace {

/// Sums up weight(instruction) over all that a kernel computes; of a contraction products and sums count one each.
template <class Weight>
double count_operations(const Kernel& kernel, int64_t rows, Weight weight) {
  auto points = [&](const std::vector<Axis>& axes, size_t from, size_t to) {
    double n = 1;
    for (size_t i = from; i < to; ++i) n *= double(axes[i].extent.at(rows));
    return n;
  };
  if (const auto* c = std::get_if<ContractKernel>(&kernel.body)) return 2 * points(c->axes, 0, c->axes.size());
  const auto& map = std::get<MapKernel>(kernel.body);
  double outer = points(map.axes, 0, size_t(map.outer)), flops = 0;
  if (find_linked(map)) outer /= points(map.axes, 0, 1);  // each place is one entry's
  const double entries = !find_linked(map) ? 1 : find_touched(map) ? std::min(points(map.axes, 0, 1), points(map.axes, size_t(map.outer), map.axes.size())) : points(map.axes, 0, 1);
  for (const Block& block : map.blocks) {
    double operations = 0;
    for (const Instruction& i : block.code)
      if (i.kind == Instruction::Kind::compute || i.kind == Instruction::Kind::reduce || i.kind == Instruction::Kind::random) operations += weight(i);
    flops += operations * outer * (block.inner ? points(map.axes, size_t(map.outer), map.axes.size()) : entries);
  }
  return flops;
}

}  // namespace

double kernel_flops(const Kernel& kernel, int64_t rows) {
  return count_operations(kernel, rows, [](const Instruction&) { return 1.0; });
}

double kernel_work(const Kernel& kernel, int64_t rows) {
  return count_operations(kernel, rows, [](const Instruction& i) {
    if (i.kind == Instruction::Kind::random) return 20.0;
    if (i.kind == Instruction::Kind::reduce) return 1.0;
    const OpCost cost = op_cost(i.op);
    return cost == OpCost::heavy ? 20.0 : cost == OpCost::slow ? 4.0 : 1.0;
  });
}

double work_of(const Graph& graph, int64_t rows) {
  double work = 0;
  for (const Node& n : graph.nodes()) {
    double own = double(n.type.elements(rows));
    for (NodeId operand : n.operands) own = std::max(own, double(graph.type(operand).elements(rows)));
    if (n.op == Op::scan) own = double(n.attributes.extents[0].size) * work_of(*n.attributes.body, rows);
    if (n.op == Op::contract) {
      own = 1;
      std::map<int, int64_t> sizes;
      for (size_t k = 0; k < 2; ++k) {
        const std::vector<int>& labels = k == 0 ? n.attributes.lhs : n.attributes.rhs;
        for (size_t i = 0; i < labels.size(); ++i) sizes[labels[i]] = graph.type(n.operands[k]).shape[i].at(rows);
      }
      for (auto [label, size] : sizes) own *= double(size);
    }
    work += own;
  }
  return work;
}

}  // namespace nnc
