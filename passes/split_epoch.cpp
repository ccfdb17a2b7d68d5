// A report whose rows do not depend on one another is asked how it behaves when batches are put together (Behaviour): if it is a mean, a sum or the largest of
// something over rows, the steps' own values are enough. The rest is cut into levels as in split_rows.cpp, with two more kinds of leaves: values without rows, which differ from step to
// step, and rows that weights or draws have a part in, which nothing but their step can make.
#include "passes/split_epoch.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/check.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

enum class Behaviour : uint8_t {
  steady,   // has no rows: a number of each step
  count,    // a multiple of the number of rows
  inverse,  // something steady divided by it
  sum,      // of all batches together: the sum of theirs
  mean,     // their mean, weighted by rows
  largest,
  smallest,
  other,
};

bool is_view(Op op) {
  return op == Op::broadcast || op == Op::transpose || op == Op::reshape || op == Op::slice || op == Op::window || op == Op::stop_gradient;
}

class EpochSplitter {
 public:
  explicit EpochSplitter(Graph& graph) : graph_(graph), has_data_(graph.size()), has_count_(graph.size()), has_state_(graph.size()), given_(graph.size()) {
    mark_dependences();
    mark_given();
    for (const Output& o : graph.outputs) output_of_.try_emplace(o.node, o.name);
  }

  EpochSplit split(const Output& report) {
    EpochSplit result;
    result.name = report.name;
    level_.assign(graph_.size(), 0);
    reduces_.assign(graph_.size(), false);
    cuts_.clear();
    values_.clear();
    kept_.clear();
    last_level_ = 0;
    std::vector<bool> cone = cone_of(report.node);
    for (uint32_t i = 0; i < cone.size(); ++i)
      if (cone[i] && !assign_level(NodeId{i}, result.obstacle)) return result;
    if (std::optional<Combine> combine = combined(behaviour(report.node), report.node); combine && last_level_ == 0) {
      result.values.push_back({report.name, *combine, graph_.type(report.node)});
      return result;
    }
    build(report, result);
    return result;
  }

 private:
  bool rows(NodeId n) const { return graph_.type(n).has_rows(); }
  bool is_steady(NodeId n) const { return !has_data_[n.value] && !has_count_[n.value]; }
  // Neither data nor a weight nor a scalar of the run nor a draw has a part in it.
  bool is_constant(NodeId n) const { return is_steady(n) && !has_state_[n.value]; }
  // Rows that only their step can make.
  bool is_made_by_step(NodeId n) const { return rows(n) && level_[n.value] == 0 && has_state_[n.value] && !reduces_[n.value]; }

  void mark_dependences() {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const Node& node = graph_[NodeId{i}];
      has_data_[i] = node.op == Op::input || node.type.has_rows();
      has_count_[i] = node.op == Op::extent && node.attributes.extents[0].rows;
      has_state_[i] = node.op == Op::parameter || node.op == Op::scalar || node.op == Op::random;
      for (NodeId o : node.operands) {
        has_data_[i] = has_data_[i] || has_data_[o.value];
        has_count_[i] = has_count_[i] || has_count_[o.value];
        has_state_[i] = has_state_[i] || has_state_[o.value];
      }
    }
  }

  void mark_given() {
    std::vector<bool> trains(graph_.size(), false);
    for (const Output& o : graph_.outputs)
      if (o.name == "loss") trains[o.node.value] = true;
    for (const Update& u : graph_.updates) trains[u.node.value] = true;
    for (uint32_t i = graph_.size(); i-- > 0;) {
      if (!trains[i]) continue;
      given_[i] = rows({i}) && has_state_[i];
      for (NodeId o : graph_[NodeId{i}].operands) trains[o.value] = true;
    }
  }

  std::optional<Combine> combined(Behaviour b, NodeId n) const {
    switch (b) {
      case Behaviour::steady:
      case Behaviour::inverse: return is_float(graph_.type(n).dtype) ? Combine::mean : Combine::last;
      case Behaviour::mean: return Combine::mean;
      case Behaviour::count:
      case Behaviour::sum: return Combine::sum;
      case Behaviour::largest: return Combine::max;
      case Behaviour::smallest: return Combine::min;
      case Behaviour::other: return std::nullopt;
    }
    NNC_UNREACHABLE("behaviour of a report");
  }

  Behaviour behaviour(NodeId n) {
    auto [it, fresh] = behaviour_.try_emplace(n, Behaviour::other);
    if (fresh) {
      Behaviour found = rows(n) ? Behaviour::other : is_steady(n) ? Behaviour::steady : behaviour_of(graph_[n]);
      it = behaviour_.insert_or_assign(n, found).first;
    }
    return it->second;
  }

  Behaviour behaviour_of(const Node& node) {
    using B = Behaviour;
    std::string reason;
    bool from_rows = std::any_of(node.operands.begin(), node.operands.end(), [&](NodeId o) { return rows(o); });
    if (from_rows) {
      if (row_use(graph_, node, reason) != RowUse::reduces) return B::other;
      return node.op == Op::reduce_max ? B::largest : node.op == Op::reduce_min ? B::smallest : B::sum;
    }
    if (node.op == Op::extent) return B::count;
    std::vector<B> in;
    for (NodeId o : node.operands) in.push_back(behaviour(o));
    auto adds_up = [](B b) { return b == B::sum || b == B::count || b == B::mean; };
    if (is_view(node.op)) return in[0];
    switch (node.op) {
      case Op::cast: {
        bool keeps = is_float(node.type.dtype) || !is_float(graph_.type(node.operands[0]).dtype);
        return keeps ? in[0] : B::other;
      }
      case Op::neg: return adds_up(in[0]) || in[0] == B::inverse ? in[0] : B::other;
      case Op::reduce_sum: return adds_up(in[0]) ? in[0] : B::other;
      case Op::add:
      case Op::sub:
        if (in[0] == in[1]) return adds_up(in[0]) || in[0] == B::inverse ? in[0] : B::other;
        if ((in[0] == B::mean && in[1] == B::steady) || (in[0] == B::steady && in[1] == B::mean)) return B::mean;
        return (in[0] == B::sum && in[1] == B::count) || (in[0] == B::count && in[1] == B::sum) ? B::sum : B::other;
      case Op::mul:
      case Op::contract:
        if (in[1] == B::steady) std::swap(in[0], in[1]);
        if (in[0] == B::steady) return adds_up(in[1]) || in[1] == B::inverse ? in[1] : B::other;
        if (in[1] == B::inverse) std::swap(in[0], in[1]);
        return in[0] == B::inverse && (in[1] == B::sum || in[1] == B::count) ? B::mean : B::other;
      case Op::div:
        if (in[1] == B::steady) return adds_up(in[0]) || in[0] == B::inverse ? in[0] : B::other;
        if (in[1] != B::count) return B::other;
        return in[0] == B::sum || in[0] == B::count ? B::mean : in[0] == B::steady ? B::inverse : B::other;
      case Op::select: return in[0] == B::steady && in[1] == in[2] && adds_up(in[1]) ? in[1] : B::other;
      default: return B::other;
    }
  }

  /// What the report needs, down to what its steps made.
  std::vector<bool> cone_of(NodeId report) const {
    std::vector<bool> needed(graph_.size(), false);
    needed[report.value] = true;
    for (uint32_t i = report.value + 1; i-- > 0;)
      if (needed[i] && !given_[i] && !is_steady({i}))
        for (NodeId o : graph_[NodeId{i}].operands) needed[o.value] = true;
    return needed;
  }

  bool assign_level(NodeId n, std::string& obstacle) {
    if (given_[n.value] || is_steady(n)) return true;
    const Node& node = graph_[n];
    RowUse use = row_use(graph_, node, obstacle);
    if (use == RowUse::impossible) return false;
    for (NodeId o : node.operands) level_[n.value] = std::max(level_[n.value], level_[o.value] + (reduces_[o.value] ? 1 : 0));
    if (use != RowUse::reduces) return true;
    reduces_[n.value] = true;
    cuts_.push_back(n);
    last_level_ = std::max(last_level_, level_[n.value]);
    return true;
  }

  void build(const Output& report, EpochSplit& result) {
    for (int level = 1; level <= last_level_; ++level) {
      RowLevel next;
      std::vector<Output> outputs;
      for (NodeId cut : cuts_) {
        if (level_[cut.value] != level) continue;
        std::string name = fmt::format("level.{}", cut.value);
        next.accumulators.push_back({name, combine_of(graph_[cut].op), graph_.type(cut)});
        outputs.push_back({name, cut});
      }
      next.batch = copy(outputs, level, fmt::format("{}.level{}", report.name, level));
      result.levels.push_back(std::move(next));
    }
    result.final_graph = copy({report}, last_level_ + 1, report.name + ".final");
    for (const auto& [node, value] : values_) result.values.push_back(value);
    for (const auto& [node, rows] : kept_) result.kept.push_back(rows);
    for (const auto& [node, rows] : kept_)
      if (rows.type.shape[0] != Extent{1, true}) result = {report.name, {}, {}, {}, {}, "several values in one dimension for each row"};
  }

  /// An output of the step's graph for the value, which is added if there is none yet.
  const std::string& output(NodeId n, std::string_view kind) {
    auto [it, fresh] = output_of_.try_emplace(n);
    if (fresh) {
      it->second = fmt::format("{}.{}", kind, added_.size());
      added_.push_back({it->second, n});
    }
    return it->second;
  }

  std::optional<NodeId> leaf(NodeId n, int level, Builder& b) {
    const Node& node = graph_[n];
    auto combined_value = [&](Combine combine) {
      const StepValue& value = values_.try_emplace(n, StepValue{output(n, "accumulated"), combine, node.type}).first->second;
      return b.parameter({value.output, node.type, PersistentKind::state, node.span});
    };
    if (node.op == Op::extent && node.attributes.extents[0].rows) {
      NodeId rows = b.scalar("rows");
      return node.attributes.extents[0].size == 1 ? rows : b.mul(rows, double(node.attributes.extents[0].size));
    }
    if (is_steady(n) && !is_constant(n)) return combined_value(is_float(node.type.dtype) ? Combine::mean : Combine::last);
    if (reduces_[n.value] && level_[n.value] == 0) return combined_value(combine_of(node.op));
    if (reduces_[n.value] && level_[n.value] < level)
      return b.parameter({fmt::format("level.{}", n.value), node.type, PersistentKind::state, node.span});
    if (is_made_by_step(n)) {
      const KeptRows& rows = kept_.try_emplace(n, KeptRows{output(n, "kept"), node.type}).first->second;
      return b.input(rows.output, node.type);
    }
    return std::nullopt;
  }

  Graph copy(const std::vector<Output>& outputs, int level, std::string name) {
    Graph result;
    result.name = std::move(name);
    std::map<NodeId, NodeId> to;
    auto visit = [&](auto& self, NodeId n) -> NodeId {
      if (auto it = to.find(n); it != to.end()) return it->second;
      Node node = graph_[n];
      Builder b(result, node.span, node.scope);
      std::optional<NodeId> made = leaf(n, level, b);
      if (!made) {
        for (NodeId& operand : node.operands) operand = self(self, operand);
        made = add_node(result, node);
      }
      return to[n] = *made;
    };
    for (const Output& o : outputs) result.outputs.push_back({o.name, visit(visit, o.node)});
    return result;
  }

 public:
  std::vector<Output> added_;

 private:
  Graph& graph_;
  std::vector<bool> has_data_, has_count_, has_state_, given_;
  std::map<NodeId, Behaviour> behaviour_;
  std::map<NodeId, std::string> output_of_;
  // Of the report at hand.
  std::vector<int> level_;
  std::vector<bool> reduces_;
  std::vector<NodeId> cuts_;
  std::map<NodeId, StepValue> values_;
  std::map<NodeId, KeptRows> kept_;
  int last_level_ = 0;
};

}  // namespace

std::vector<EpochSplit> split_epoch(Graph& forward) {
  EpochSplitter splitter(forward);
  std::vector<EpochSplit> reports;
  for (const Output& o : forward.outputs) reports.push_back(splitter.split(o));
  forward.outputs.insert(forward.outputs.end(), splitter.added_.begin(), splitter.added_.end());
  return reports;
}

}  // namespace nnc
