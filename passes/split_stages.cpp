// One walk forwards finds the sums and the stage of each: a sum that rows read must be whole one stage before them; any other is made by the last share stage, which has most of the rows' work. Each
// graph then is the cone of what it gives, with sums of earlier stages as leaves. What is exchanged within a stage is one of its own sums, which others of its nodes read.
#include "passes/split_stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "passes/dead_code.h"
#include "passes/fuse_internal.h"
#include "passes/prune_scans.h"
#include "passes/rewrite.h"
#include "passes/touched_rows.h"

namespace nnc {
namespace {

constexpr std::string_view gradient_prefix = "partial.gradient.";

bool hands_on_gradients(const Graph& graph) {
  return std::ranges::any_of(graph.updates, [](const Update& u) { return u.name.starts_with(gradient_prefix); });
}

class StageSplitter {
 public:
  StageSplitter(const Graph& graph, Shares shares, int64_t rows) : graph_(graph), rows_(rows), coupled_(hands_on_gradients(graph)), may_exchange_(shares == Shares::at_once && !coupled_), sum_(graph.size(), -1), level_(graph.size(), 0), is_early_(graph.size(), false), handed_(graph.size(), -1) {}

  bool find_sums(RowSplitObstacle& obstacle) {
    const std::vector<bool> wanted = coupled_ ? needed_by_outputs() : live_nodes(graph_);
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!wanted[i]) continue;
      const NodeId id{i};
      const Node& node = graph_[id];
      const bool is_row_number = node.op == Op::iota && node.type.shape[size_t(node.attributes.axes[0])].rows;
      RowUse use = is_row_number ? RowUse::along : row_use(graph_, node, obstacle.reason);
      if (coupled_ && use == RowUse::impossible) use = RowUse::along;  // of a share's own rows anything may be made
      if (use == RowUse::impossible) {
        obstacle.node = id;
        return false;
      }
      if (use != RowUse::reduces) continue;
      if (node.op == Op::scatter_add && is_float(node.type.dtype) && !sums_by_entry(graph_, node)) {
        obstacle = {id, "sums by entries of a table which shares a dimension with its index are added row by row"};
        return false;
      }
      sum_[i] = int(sums_.size());
      sums_.push_back({fmt::format("partial.{}", sums_.size()), combine_of(node.op), {part_type(node), node.type.shape}, id});
    }
    for (const Update& u : graph_.updates)
      if (u.name.starts_with(gradient_prefix)) sums_.push_back({u.name, Combine::sum, graph_.type(u.node), u.node});
    if (!assign_stages(wanted, obstacle)) return false;
    hand_on_rows();
    return true;
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
      if (stage + 1 == stages_) {
        for (const Output& o : graph_.outputs)
          if (graph_.type(o.node).has_rows()) outputs.push_back(o);
        for (const Update& u : graph_.updates)
          if (is_of_share(u) && !u.name.starts_with(gradient_prefix)) updates.push_back(u);
      }
      share.graph = cone(outputs, updates, stage, fmt::format("{}.share{}", graph_.name, stage));
    }
    std::vector<Output> outputs;
    for (const Output& o : graph_.outputs)
      if (!graph_.type(o.node).has_rows()) outputs.push_back(o);
    std::vector<Update> updates;
    for (const Update& u : graph_.updates)
      if (!is_of_share(u)) updates.push_back(u);
    result.last = cone(outputs, updates, stages_, graph_.name + ".last");
    for (const Handed& h : all_handed_) result.handed.push_back({h.name, h.type});
    return result;
  }

 private:
  struct Handed {
    std::string name;
    Type type;  // as rows: [B, ...]
    NodeId node;
  };

  /// Rows of which few name entries of a large table go to the last stage in place of the table's sums.
  void hand_on_rows() {
    if (rows_ <= 0 || coupled_) return;
    std::vector<bool> gone(graph_.size(), false);
    for (const StageSum& s : sums_) {
      const Node& node = graph_[s.node];
      if (node.op != Op::scatter_add || is_early_[s.node.value] || s.exchanged || !updates_touched_entries(s.node)) continue;
      int64_t bytes = 0;
      for (NodeId operand : node.operands) bytes += rows_ * graph_.type(operand).elements(1) * int64_t(byte_size(graph_.type(operand).dtype));
      const int64_t table = node.type.elements(1), of_table = table * int64_t(byte_size(part_type(node)) + byte_size(node.type.dtype));  // a part, and the new values
      if (bytes >= of_table || !std::ranges::all_of(node.operands, [&](NodeId o) { return graph_.type(o).has_rows(); })) continue;
      gone[s.node.value] = true;
      for (NodeId operand : node.operands) hand_on(operand);
    }
    drop_sums([&](const StageSum& s) { return gone[s.node.value]; });
  }

  void hand_on(NodeId node) {
    if (handed_[node.value] >= 0) return;
    handed_[node.value] = int(all_handed_.size());
    Type type = graph_.type(node);
    if (const int64_t each = type.shape[0].size; each != 1) {
      Shape shape{Extent{1, true}, Extent{each}};
      shape.insert(shape.end(), type.shape.begin() + 1, type.shape.end());
      type.shape = std::move(shape);
    }
    all_handed_.push_back({fmt::format("rows.{}", all_handed_.size()), std::move(type), node});
  }

  /// Whether all that is made of the gradient is a step of one parameter, which leaves entries alone that no row names.
  bool updates_touched_entries(NodeId scatter) const {
    const auto update = std::ranges::find_if(graph_.updates, [&](const Update& u) { return find_steady_update(graph_, u, scatter).has_value(); });
    if (update == graph_.updates.end() || !sums_by_entry(graph_, graph_[scatter])) return false;
    std::vector<bool> depends(graph_.size(), false);
    depends[scatter.value] = true;
    for (uint32_t i = scatter.value + 1; i < graph_.size(); ++i) {
      const Node& node = graph_[NodeId{i}];
      depends[i] = std::ranges::any_of(node.operands, [&](NodeId o) { return depends[o.value]; });
      if (depends[i] && !is_elementwise(node.op) && !is_soft_view(node.op)) return false;
    }
    return std::ranges::none_of(graph_.updates, [&](const Update& u) { return depends[u.node.value] && u.name != update->name; }) &&
           std::ranges::none_of(graph_.outputs, [&](const Output& o) { return depends[o.node.value]; });
  }

  template <class Gone>
  void drop_sums(Gone gone) {
    for (const StageSum& s : sums_)
      if (sum_[s.node.value] >= 0 && gone(s)) sum_[s.node.value] = -1;
    std::erase_if(sums_, gone);
    for (size_t i = 0; i < sums_.size(); ++i)
      if (sum_[sums_[i].node.value] >= 0) sum_[sums_[i].node.value] = int(i);
  }

  /// Where rows are coupled: gradients, and layer states, which are no part of an optimiser's rule.
  bool is_of_share(const Update& u) const {
    if (!coupled_) return false;
    const PersistentKind kind = graph_.find_persistent(u.name)->kind;
    return kind == PersistentKind::partial || kind == PersistentKind::state;
  }

  /// Nodes that an output without rows, or the update of a parameter, needs.
  std::vector<bool> needed_by_outputs() const {
    std::vector<bool> needed(graph_.size(), false);
    for (const Output& o : graph_.outputs)
      if (!graph_.type(o.node).has_rows()) needed[o.node.value] = true;
    for (const Update& u : graph_.updates)
      if (!is_of_share(u)) needed[u.node.value] = true;
    mark_needed(graph_, needed);
    return needed;
  }

  bool assign_stages(const std::vector<bool>& live, RowSplitObstacle& obstacle) {
    // Whether rows read it, be it through what has none.
    std::vector<bool> feeds_rows(graph_.size(), false);
    for (uint32_t i = graph_.size(); i-- > 0;)
      for (NodeId o : graph_[NodeId{i}].operands)
        if (live[i] && (feeds_rows[i] || graph_[NodeId{i}].type.has_rows() || sum_[i] >= 0)) feeds_rows[o.value] = true;
    if (coupled_) {
      // What rows read stays in the share, and with it all sums that stand before rows.
      drop_sums([&](const StageSum& s) { return feeds_rows[s.node.value] && !s.name.starts_with(gradient_prefix); });
      return last_reads_sums_alone(obstacle);
    }
    std::vector<bool> trains(graph_.size(), false);  // a parameter or a state has a part in it
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!live[i]) continue;
      const Node& node = graph_[NodeId{i}];
      trains[i] = node.op == Op::parameter;
      for (NodeId o : node.operands) {
        trains[i] = trains[i] || trains[o.value];
        level_[i] = std::max(level_[i], level_[o.value] + (is_early_[o.value] ? 1 : 0));
      }
      const bool is_read = sum_[i] >= 0 && feeds_rows[i];
      if (is_read && trains[i] && !may_exchange_) {
        obstacle = {NodeId{i}, "rows read what the rows of the whole batch add up to"};
        return false;
      }
      if (is_read && trains[i]) sums_[size_t(sum_[i])].exchanged = true;
      is_early_[i] = is_read && !trains[i];
      if (is_early_[i]) stages_ = std::max(stages_, level_[i] + 2);
    }
    return true;
  }

  /// Where rows are coupled: whether the last stage needs no rows beyond the sums.
  bool last_reads_sums_alone(RowSplitObstacle& obstacle) const {
    std::vector<bool> needed(graph_.size(), false);
    for (const Output& o : graph_.outputs)
      if (!graph_.type(o.node).has_rows()) needed[o.node.value] = true;
    for (uint32_t i = graph_.size(); i-- > 0;) {
      if (!needed[i] || sum_[i] >= 0) continue;
      const Node& node = graph_[NodeId{i}];
      if (node.type.has_rows() || node.op == Op::input) {
        obstacle = {NodeId{i}, "a report shows what rows of one share read of all its rows"};
        return false;
      }
      for (NodeId o : node.operands) needed[o.value] = true;
    }
    return true;
  }

  /// A sum by entries is made in f64 and rounded once, at its end: its parts are not rounded.
  static DType part_type(const Node& sum) { return sum.op == Op::scatter_add && sum.type.dtype == DType::f32 ? DType::f64 : sum.type.dtype; }

  int stage_of(NodeId sum) const { return is_early_[sum.value] ? level_[sum.value] : stages_ - 1; }

  Graph cone(const std::vector<Output>& outputs, const std::vector<Update>& updates, int stage, std::string name) const {
    auto is_leaf = [&](uint32_t i) { return (sum_[i] >= 0 && stage_of(NodeId{i}) < stage) || (handed_[i] >= 0 && stage == stages_); };
    const bool hands_on = stage + 1 == stages_;
    std::vector<bool> needed(graph_.size(), false);
    for (const Output& o : outputs) needed[o.node.value] = true;
    for (const Update& u : updates) needed[u.node.value] = true;
    for (const Handed& h : all_handed_)
      if (hands_on) needed[h.node.value] = true;
    mark_needed(graph_, needed, is_leaf);
    Graph result;
    result.name = std::move(name);
    result.persistents = graph_.persistents;
    std::ranges::stable_partition(result.persistents, [](const Persistent& p) { return p.kind != PersistentKind::partial; });
    for (const StageSum& s : sums_)
      if (!s.name.starts_with(gradient_prefix)) result.persistents.push_back({s.name, s.type, PersistentKind::partial, graph_[s.node].span});
    std::vector<NodeId> to(graph_.size());
    std::map<std::string, NodeId> parts;  // of this stage's sums
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (!needed[i]) continue;
      Node node = graph_[NodeId{i}];
      node.group = -1;
      Builder b(result, node.span, node.scope);
      if (is_leaf(i) && handed_[i] >= 0) {
        const Handed& handed = all_handed_[size_t(handed_[i])];
        to[i] = b.reshape(b.input(handed.name, handed.type), node.type.shape);
      } else if (is_leaf(i)) {
        to[i] = b.cast(b.parameter({sums_[size_t(sum_[i])].name, {part_type(node), node.type.shape}, PersistentKind::partial, node.span}), node.type.dtype);
      } else if (!coupled_ && node.op == Op::extent && node.attributes.extents[0].rows) {
        to[i] = count_all_rows(b, node);
      } else if (!coupled_ && node.op == Op::iota && node.type.shape[size_t(node.attributes.axes[0])].rows) {
        // Several places of a dimension for each row are numbered within all of it.
        NodeId before = b.scalar("first_row");
        if (const int64_t each = node.type.shape[size_t(node.attributes.axes[0])].size; each != 1) before = b.mul(before, double(each));
        const NodeId within = add_node(result, node);
        to[i] = b.add(within, b.cast(before, node.type.dtype));
      } else {
        for (NodeId& operand : node.operands) operand = to[operand.value];
        if (sum_[i] >= 0 && part_type(node) != node.type.dtype) {
          node.operands[0] = b.cast(node.operands[0], part_type(node));
          node.type.dtype = part_type(node);
        }
        to[i] = add_node(result, node);
        if (sum_[i] < 0 || stage == stages_) continue;
        const StageSum& sum = sums_[size_t(sum_[i])];
        parts[sum.name] = to[i];
        if (!sum.exchanged) continue;
        Attributes whole;
        whole.text = sum.name;
        to[i] = b.cast(result.add(Op::exchange, {to[i]}, std::move(whole), b.span, b.scope), graph_[NodeId{i}].type.dtype);
      }
    }
    for (const Output& o : outputs) result.outputs.push_back({o.name, to[o.node.value]});
    for (const Handed& h : all_handed_)
      if (hands_on) result.outputs.push_back({h.name, Builder(result, graph_[h.node].span, graph_[h.node].scope).reshape(to[h.node.value], h.type.shape)});
    for (const Update& u : updates) {
      const auto part = parts.find(u.name);
      result.updates.push_back({u.name, part == parts.end() ? to[u.node.value] : part->second});
    }
    // Of a scan a stage may need less than the step does.
    prune_scans(result);
    remove_dead_code(result);
    return result;
  }

  const Graph& graph_;
  const int64_t rows_;
  const bool coupled_, may_exchange_;
  std::vector<int> sum_;    // by node: number of the sum that it is, or -1
  std::vector<int> level_;  // by node: stages that must be complete before
  std::vector<bool> is_early_;  // by node: a sum that rows of later stages read
  std::vector<int> handed_;  // by node: number of the rows that it hands on, or -1
  std::vector<Handed> all_handed_;
  std::vector<StageSum> sums_;
  int stages_ = 1;
};

/// reads[n]: a value with rows, of those in `among`, depends on node n.
std::vector<bool> read_by_rows(const Graph& graph, const std::vector<bool>& among) {
  std::vector<bool> reads(graph.size(), false);
  for (uint32_t i = graph.size(); i-- > 0;)
    if (among[i] && (reads[i] || graph[NodeId{i}].type.has_rows()))
      for (NodeId o : graph[NodeId{i}].operands) reads[o.value] = true;
  return reads;
}

NodeId loss_of(const Graph& forward) {
  return std::ranges::find(forward.outputs, "loss", &Output::name)->node;
}

bool is_sum_over_rows(const Graph& graph, NodeId n) {
  std::string reason;
  return row_use(graph, graph[n], reason) == RowUse::reduces;
}

}  // namespace

NodeId find_coupling_sum(const Graph& forward) {
  std::vector<bool> trained(forward.size(), false);  // reports decide nothing
  trained[loss_of(forward).value] = true;
  for (const Update& u : forward.updates) trained[u.node.value] = true;
  mark_needed(forward, trained);
  const std::vector<bool> reads = read_by_rows(forward, trained);
  for (uint32_t i = 0; i < forward.size(); ++i)
    if (trained[i] && reads[i] && is_sum_over_rows(forward, NodeId{i})) return {i};
  return {};
}

bool couples_rows(const Graph& forward) { return find_coupling_sum(forward).valid(); }

bool count_whole_batch(Graph& forward, RowSplitObstacle& obstacle) {
  const std::vector<bool> reads = read_by_rows(forward, std::vector<bool>(forward.size(), true));
  std::vector<bool> for_loss(forward.size(), false), of_sum(forward.size(), false);
  for_loss[loss_of(forward).value] = true;
  mark_needed(forward, for_loss, [&](uint32_t i) { return is_sum_over_rows(forward, NodeId{i}); });
  // What a layer's state is made of counts the rows of its share, as rows do: there it is made a second time, where the two differ.
  std::vector<bool> for_state(forward.size(), false);
  for (const Update& u : forward.updates) for_state[u.node.value] = true;
  mark_needed(forward, for_state);
  Rebuild rebuild(forward);
  std::vector<NodeId> of_share(forward.size());
  for (uint32_t i = 0; i < forward.size(); ++i) {
    const NodeId n{i};
    const Node& node = forward[n];
    of_sum[i] = !reads[i] && is_sum_over_rows(forward, n);
    size_t sums = 0;
    for (NodeId o : node.operands) sums += of_sum[o.value];
    if (!of_sum[i] && sums > 0) {
      of_sum[i] = true;
      const bool is_linear = is_linear_view(node.op) || node.op == Op::add || node.op == Op::sub || node.op == Op::neg || node.op == Op::cast || node.op == Op::reshape || node.op == Op::reduce_sum ||
                             (node.op == Op::mul && sums == 1) || (node.op == Op::div && sums == 1 && of_sum[node.operands[0].value]);
      if (for_loss[i] && !is_linear) {
        obstacle = {n, "the loss is more than a sum of what rows give"};
        return false;
      }
    }
    Node copy = rebuild.translated(n);
    // Who counts rows for itself or for rows counts those of its share.
    if (!reads[i] && !node.type.has_rows())
      for (size_t k = 0; k < node.operands.size(); ++k) {
        const Node& operand = forward[node.operands[k]];
        if (operand.op != Op::extent || !operand.attributes.extents[0].rows) continue;
        Builder b(rebuild.result, operand.span, operand.scope);
        copy.operands[k] = count_all_rows(b, operand);
      }
    Node own = rebuild.translated(n);
    for (size_t k = 0; k < node.operands.size(); ++k) own.operands[k] = of_share[node.operands[k].value];
    rebuild.to[i] = add_node(rebuild.result, copy);
    of_share[i] = for_state[i] && own.operands != copy.operands ? add_node(rebuild.result, own) : rebuild.to[i];
  }
  std::vector<NodeId> states;
  for (const Update& u : forward.updates) states.push_back(of_share[u.node.value]);
  forward = rebuild.finish();
  for (size_t i = 0; i < states.size(); ++i) forward.updates[i].node = states[i];
  return true;
}

std::vector<NodeId> hand_on_gradients(Graph& graph, const std::vector<std::pair<std::string, NodeId>>& gradients) {
  std::vector<NodeId> handed;
  for (const auto& [parameter, gradient] : gradients) {
    const Node& node = graph[gradient];
    Builder b(graph, node.span, node.scope);
    const std::string name = std::string(gradient_prefix) + parameter;
    handed.push_back(b.parameter({name, node.type, PersistentKind::partial, node.span}));
    graph.updates.push_back({name, gradient});
  }
  return handed;
}

std::optional<StepStages> split_stages(const Graph& graph, Shares shares, RowSplitObstacle& obstacle, int64_t rows) {
  StageSplitter splitter(graph, shares, rows);
  if (!splitter.find_sums(obstacle)) return std::nullopt;
  return splitter.split();
}

}  // namespace nnc
