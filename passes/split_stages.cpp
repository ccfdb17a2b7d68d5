// One walk forwards finds the sums and the stage of each: a sum that rows read must be whole one stage before them; any other is made by the last share stage, which has most of the rows' work. Each
// graph then is the cone of what it gives, with sums of earlier stages as leaves.
#include "passes/split_stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "passes/rewrite.h"

namespace nnc {
namespace {

class StageSplitter {
 public:
  explicit StageSplitter(const Graph& graph) : graph_(graph), sum_(graph.size(), -1), level_(graph.size(), 0) {}

  bool find_sums(RowSplitObstacle& obstacle) {
    const std::vector<bool> live = live_nodes(graph_);
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!live[i]) continue;
      const NodeId id{i};
      const Node& node = graph_[id];
      const bool is_row_number = node.op == Op::iota && node.type.shape[size_t(node.attributes.axes[0])].rows;
      const RowUse use = is_row_number ? RowUse::along : row_use(graph_, node, obstacle.reason);
      if (use == RowUse::impossible) {
        obstacle.node = id;
        return false;
      }
      if (use != RowUse::reduces) continue;
      sum_[i] = int(sums_.size());
      sums_.push_back({fmt::format("partial.{}", sums_.size()), combine_of(node.op), node.type, id});
    }
    return assign_stages(live, obstacle);
  }

  StepStages split() const {
    StepStages result;
    for (int stage = 0; stage < stages_; ++stage) {
      ShareStage& share = result.shares.emplace_back();
      std::vector<Update> updates;
      for (const StageSum& s : sums_) {
        if (stage_of(s.node) != stage) continue;
        share.sums.push_back(s);
        updates.push_back({s.name, s.node});
      }
      std::vector<Output> outputs;
      if (stage + 1 == stages_)
        for (const Output& o : graph_.outputs)
          if (graph_.type(o.node).has_rows()) outputs.push_back(o);
      share.graph = cone(outputs, updates, stage, fmt::format("{}.share{}", graph_.name, stage));
    }
    std::vector<Output> outputs;
    for (const Output& o : graph_.outputs)
      if (!graph_.type(o.node).has_rows()) outputs.push_back(o);
    result.last = cone(outputs, graph_.updates, stages_, graph_.name + ".last");
    return result;
  }

 private:
  bool assign_stages(const std::vector<bool>& live, RowSplitObstacle& obstacle) {
    // Whether rows read it, be it through what has none.
    std::vector<bool> feeds_rows(graph_.size(), false);
    for (uint32_t i = graph_.size(); i-- > 0;)
      for (NodeId o : graph_[NodeId{i}].operands)
        if (live[i] && (feeds_rows[i] || graph_[NodeId{i}].type.has_rows() || sum_[i] >= 0)) feeds_rows[o.value] = true;
    std::vector<bool> trains(graph_.size(), false);  // a parameter or a state has a part in it
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!live[i]) continue;
      const Node& node = graph_[NodeId{i}];
      trains[i] = node.op == Op::parameter;
      for (NodeId o : node.operands) {
        trains[i] = trains[i] || trains[o.value];
        level_[i] = std::max(level_[i], level_[o.value] + (is_early_[o.value] ? 1 : 0));
      }
      is_early_[i] = sum_[i] >= 0 && feeds_rows[i];
      if (is_early_[i] && trains[i]) {
        obstacle = {NodeId{i}, "rows read what the rows of the whole batch add up to"};
        return false;
      }
      if (is_early_[i]) stages_ = std::max(stages_, level_[i] + 2);
    }
    return true;
  }

  int stage_of(NodeId sum) const { return is_early_[sum.value] ? level_[sum.value] : stages_ - 1; }

  Graph cone(const std::vector<Output>& outputs, const std::vector<Update>& updates, int stage, std::string name) const {
    auto is_leaf = [&](uint32_t i) { return sum_[i] >= 0 && stage_of(NodeId{i}) < stage; };
    std::vector<bool> needed(graph_.size(), false);
    for (const Output& o : outputs) needed[o.node.value] = true;
    for (const Update& u : updates) needed[u.node.value] = true;
    for (uint32_t i = graph_.size(); i-- > 0;)
      if (needed[i] && !is_leaf(i))
        for (NodeId operand : graph_[NodeId{i}].operands) needed[operand.value] = true;
    Graph result;
    result.name = std::move(name);
    result.persistents = graph_.persistents;
    for (const StageSum& s : sums_) result.persistents.push_back({s.name, s.type, PersistentKind::partial, graph_[s.node].span});
    std::vector<NodeId> to(graph_.size());
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!needed[i]) continue;
      Node node = graph_[NodeId{i}];
      node.group = -1;
      Builder b(result, node.span, node.scope);
      if (is_leaf(i)) {
        to[i] = b.parameter({sums_[size_t(sum_[i])].name, node.type, PersistentKind::partial, node.span});
      } else if (node.op == Op::extent && node.attributes.extents[0].rows) {
        to[i] = b.scalar("rows");
        if (node.attributes.extents[0].size != 1) to[i] = b.mul(to[i], double(node.attributes.extents[0].size));
      } else if (node.op == Op::iota && node.type.shape[size_t(node.attributes.axes[0])].rows) {
        // Several places of a dimension for each row are numbered within all of it.
        NodeId before = b.scalar("first_row");
        if (const int64_t each = node.type.shape[size_t(node.attributes.axes[0])].size; each != 1) before = b.mul(before, double(each));
        const NodeId within = add_node(result, node);
        to[i] = b.add(within, b.cast(before, node.type.dtype));
      } else {
        for (NodeId& operand : node.operands) operand = to[operand.value];
        to[i] = add_node(result, node);
      }
    }
    for (const Output& o : outputs) result.outputs.push_back({o.name, to[o.node.value]});
    for (const Update& u : updates) result.updates.push_back({u.name, to[u.node.value]});
    return result;
  }

  const Graph& graph_;
  std::vector<int> sum_;    // by node: number of the sum that it is, or -1
  std::vector<int> level_;  // by node: stages that must be complete before
  std::vector<bool> is_early_ = std::vector<bool>(graph_.size(), false);  // by node: a sum that rows read
  std::vector<StageSum> sums_;
  int stages_ = 1;
};

}  // namespace

std::optional<StepStages> split_stages(const Graph& graph, RowSplitObstacle& obstacle) {
  StageSplitter splitter(graph);
  if (!splitter.find_sums(obstacle)) return std::nullopt;
  return splitter.split();
}

}  // namespace nnc
