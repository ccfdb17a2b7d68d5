// Levels by one forward walk: a value's level is the number of passes over the data that must be complete before a batch of it
// can be computed. A reduction over rows of level k gives an accumulator that may be read at level k + 1. Each graph then is the
// cone of its outputs with accumulators of lower levels as leaves; what two levels share is computed in both.
#include "passes/split_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "passes/dead_code.h"
#include "passes/rewrite.h"

namespace nnc {

RowUse row_use(const Graph& graph, const Node& node, std::string& reason) {
  auto impossible = [&](std::string why) {
    reason = std::move(why);
    return RowUse::impossible;
  };
  auto rows_first = [&](size_t operand) { return graph.type(node.operands[operand]).has_rows(); };
  const Attributes& a = node.attributes;
  switch (node.op) {
    case Op::iota:
      return node.type.shape[size_t(a.axes[0])].rows ? impossible("the index of a row within a batch") : RowUse::along;
    case Op::argmax:
      return rows_first(0) && a.axes[0] == 0 ? impossible("`argmax` over the rows") : RowUse::along;
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min:
      return rows_first(0) && a.axes[0] == 0 ? RowUse::reduces : RowUse::along;
    case Op::transpose:
      return RowUse::along;
    case Op::contract: {
      bool left = rows_first(0), right = rows_first(1);
      if (!left && !right) return RowUse::along;
      if (left && right && a.lhs[0] != a.rhs[0]) {
        if (!holds(a.out, a.lhs[0]) && !holds(a.out, a.rhs[0])) return impossible("a contraction that sums two row dimensions");
        return impossible("a contraction of every row with every row");
      }
      return holds(a.out, left ? a.lhs[0] : a.rhs[0]) ? RowUse::along : RowUse::reduces;
    }
    case Op::gather: {
      if (rows_first(0) && a.axes[0] == 0) return impossible("selecting rows by an index");
      if (rows_first(0) && rows_first(1) && a.lhs[0] != a.rhs[0]) return impossible("selecting from every row for every row");
      return RowUse::along;
    }
    case Op::scatter_add: {
      if (!rows_first(0)) return RowUse::along;
      if (!node.type.has_rows()) return RowUse::reduces;
      if (a.axes[0] == 0) return impossible("adding up into rows by an index");
      return RowUse::along;
    }
    case Op::scan:
      for (const Node& step : a.body->nodes())
        if (RowUse use = row_use(*a.body, step, reason); use != RowUse::along)
          return use == RowUse::impossible ? use : impossible("a scan whose steps combine the rows");
      return RowUse::along;
    default:
      return RowUse::along;
  }
}

Combine combine_of(Op op) { return op == Op::reduce_max ? Combine::max : op == Op::reduce_min ? Combine::min : Combine::sum; }

NodeId count_all_rows(Builder& b, const Node& extent) {
  const NodeId rows = b.scalar("rows");
  const int64_t each = extent.attributes.extents[0].size;
  return each == 1 ? rows : b.mul(rows, double(each));
}

namespace {

class Splitter {
 public:
  explicit Splitter(const Graph& graph) : graph_(graph), level_(graph.size(), 0), accumulator_(graph.size(), -1) {}

  bool assign_levels(RowSplitObstacle& obstacle) {
    std::vector<bool> live = live_nodes(graph_);
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!live[i]) continue;
      NodeId id{i};
      RowUse use = row_use(graph_, graph_[id], obstacle.reason);
      if (use == RowUse::impossible) {
        obstacle.node = id;
        return false;
      }
      for (NodeId operand : graph_[id].operands)
        level_[i] = std::max(level_[i], level_[operand.value] + (accumulator_[operand.value] >= 0 ? 1 : 0));
      if (use == RowUse::reduces) {
        accumulator_[i] = int(cuts_.size());
        cuts_.push_back(id);
        levels_ = std::max(levels_, level_[i] + 1);
      }
    }
    for (const Output& o : graph_.outputs)
      if (graph_.type(o.node).has_rows()) {
        obstacle = {o.node, fmt::format("`{}` has one value per row", o.name)};
        return false;
      }
    return true;
  }

  RowSplit split() const {
    RowSplit result;
    for (int level = 0; level < levels_; ++level) {
      RowLevel next;
      std::vector<Output> outputs;
      for (NodeId cut : cuts_) {
        if (level_[cut.value] != level) continue;
        std::string name = accumulator_name(cut);
        next.accumulators.push_back({name, combine_of(graph_[cut].op), graph_.type(cut)});
        outputs.push_back({name, cut});
      }
      next.batch = cone(outputs, level, fmt::format("{}.level{}", graph_.name, level));
      result.levels.push_back(std::move(next));
    }
    result.final_graph = cone(graph_.outputs, levels_, graph_.name + ".final");
    return result;
  }

 private:
  std::string accumulator_name(NodeId cut) const { return fmt::format("accumulated.{}", accumulator_[cut.value]); }

  // The nodes that `outputs` need, accumulators of levels below `level` being leaves.
  Graph cone(const std::vector<Output>& outputs, int level, std::string name) const {
    auto is_leaf = [&](uint32_t i) { return accumulator_[i] >= 0 && level_[i] < level; };
    std::vector<bool> needed(graph_.size(), false);
    for (const Output& o : outputs) needed[o.node.value] = true;
    mark_needed(graph_, needed, is_leaf);
    Graph result;
    result.name = std::move(name);
    std::vector<NodeId> to(graph_.size());
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!needed[i]) continue;
      Node node = graph_[NodeId{i}];
      Builder b(result, node.span, node.scope);
      if (is_leaf(i)) {
        to[i] = b.parameter({accumulator_name({i}), node.type, PersistentKind::state, node.span});
      } else if (node.op == Op::extent && node.attributes.extents[0].rows) {
        to[i] = count_all_rows(b, node);
      } else {
        if (node.op == Op::parameter) result.add_persistent(*graph_.find_persistent(node.attributes.text));
        for (NodeId& operand : node.operands) operand = to[operand.value];
        to[i] = add_node(result, node);
      }
    }
    for (const Output& o : outputs) result.outputs.push_back({o.name, to[o.node.value]});
    return result;
  }

  const Graph& graph_;
  std::vector<int> level_;        // by node: passes over the data that must be complete before
  std::vector<int> accumulator_;  // by node: number of the accumulator it is, or -1
  std::vector<NodeId> cuts_;
  int levels_ = 0;
};

}  // namespace

std::optional<RowSplit> split_rows(const Graph& graph, RowSplitObstacle& obstacle) {
  NNC_CHECK(graph.updates.empty(), "split_rows is for graphs without updates");
  Splitter splitter(graph);
  if (!splitter.assign_levels(obstacle)) return std::nullopt;
  return splitter.split();
}

}  // namespace nnc
