// A lookup is a product with a matrix of zeros and ones, and products may be taken in any order: (S E) W = S (E W), E^T (S^T g) = (S E)^T g. Which order is less work follows
// from sizes. Labels do the rest: those of a contraction name the axes of the gather that it reads, so that the table's axis gets a label of its own where the axes of the
// index were.
#include "passes/multiply_tables.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "passes/rewrite.h"

namespace nnc {
namespace {

using Labels = std::vector<int>;

bool overlap(const Labels& a, const Labels& b) {
  return std::any_of(a.begin(), a.end(), [&](int label) { return holds(b, label); });
}

int next_label(const Attributes& a) {
  int next = 0;
  for (const Labels* labels : {&a.lhs, &a.rhs, &a.out})
    for (int label : *labels) next = std::max(next, label + 1);
  return next;
}

/// `labels` with those of `index`, which it holds, replaced by the one `entry` where the first of them stood.
Labels with_entry(const Labels& labels, const Labels& index, int entry) {
  Labels result;
  bool placed = false;
  for (int label : labels) {
    if (!holds(index, label)) {
      result.push_back(label);
    } else if (!placed) {
      result.push_back(entry);
      placed = true;
    }
  }
  return result;
}

class TableMultiplier {
 public:
  TableMultiplier(const Graph& graph, int64_t rows) : graph_(graph), rows_(rows), rebuild_(graph), users_(graph.users()) {}

  Graph run() {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const NodeId n{i};
      NodeId found;
      if (graph_[n].op == Op::contract) {
        for (int own = 0; own < 2 && !found.valid(); ++own) {
          found = gather_of_product(n, own);
          if (!found.valid()) found = product_of_scatter(n, own);
        }
      } else if (graph_[n].op == Op::scatter_add) {
        found = scatter_before_product(n);
      }
      if (found.valid())
        rebuild_.to[i] = found;
      else
        rebuild_.copy(n);
    }
    return rebuild_.finish();
  }

 private:
  // What scatters must save for each number that they add, in multiplications: adding in memory takes that much longer.
  static constexpr int64_t least_width = 16;

  /// A gather that replaces one axis of a table without rows by those of an index of its own.
  bool is_lookup(NodeId n) const {
    const Node& node = graph_[n];
    return node.op == Op::gather && !overlap(node.attributes.lhs, node.attributes.rhs) && !node.attributes.rhs.empty() && !graph_.type(node.operands[0]).has_rows();
  }

  int64_t places(NodeId index) const {
    constexpr int64_t many = 1024;
    return graph_.type(index).elements(rows_ > 0 ? rows_ : many);
  }

  int64_t product(const Labels& labels, NodeId operand, const Labels& of) const {
    int64_t elements = 1;
    for (size_t i = 0; i < labels.size(); ++i)
      if (holds(of, labels[i])) elements *= graph_.type(operand).shape[i].at(std::max<int64_t>(rows_, 1));
    return elements;
  }

  NodeId built(NodeId old) const { return rebuild_.to[old.value]; }

  /// The labels that a contraction gives to the axes of an index, by a gather that is one of its operands.
  static Labels index_labels(const Attributes& gather, const Labels& own) {
    Labels result;
    for (int label : gather.rhs) result.push_back(own[size_t(position_of(gather.out, label))]);
    return result;
  }
  /// ... and to the axes of the table.
  static Labels table_labels(const Attributes& gather, const Labels& own, int entry) {
    Labels result;
    for (int label : gather.lhs) {
      const int at = position_of(gather.out, label);
      result.push_back(at < 0 ? entry : own[size_t(at)]);
    }
    return result;
  }

  // contract(gather(E, t), W) -> gather(contract(E, W), t)
  NodeId gather_of_product(NodeId n, int own) {
    const Node& node = graph_[n];
    const NodeId x = node.operands[size_t(own)], w = node.operands[size_t(1 - own)];
    if (!is_lookup(x) || graph_.type(w).has_rows()) return {};
    const Attributes &a = node.attributes, &g = graph_[x].attributes;
    const Labels &mine = own == 0 ? a.lhs : a.rhs, &other = own == 0 ? a.rhs : a.lhs;
    const Labels index = index_labels(g, mine);
    for (int label : index)
      if (!holds(a.out, label) || holds(other, label)) return {};
    const NodeId table = graph_[x].operands[0], t = graph_[x].operands[1];
    if (graph_.type(table).shape[size_t(g.axes[0])].size >= places(t)) return {};
    const int entry = next_label(a);
    const Labels of_table = table_labels(g, mine, entry), out = with_entry(a.out, index, entry);
    Builder b(rebuild_.result, node.span, node.scope);
    const NodeId product = own == 0 ? b.contract(built(table), built(w), of_table, other, out) : b.contract(built(w), built(table), other, of_table, out);
    Attributes lookup;
    lookup.axes = {position_of(out, entry)};
    lookup.lhs = out;
    lookup.rhs = index;
    lookup.out = a.out;
    return rebuild_.result.add(Op::gather, {product, built(t)}, std::move(lookup), graph_[x].span, graph_[x].scope);
  }

  /// g scattered by `t` into so many entries: labels of g, of t and of the result, whose axis of entries has the label `entry`.
  NodeId scatter(NodeId g, const Labels& labels, NodeId t, const Labels& index, int entry, Extent entries, Span span, const std::string& scope) {
    Attributes a;
    a.lhs = labels;
    a.rhs = index;
    a.out = with_entry(labels, index, entry);
    a.axes = {position_of(a.out, entry)};
    for (int label : a.out) a.extents.push_back(label == entry ? entries : graph_.type(g).shape[size_t(position_of(labels, label))]);
    return rebuild_.result.add(Op::scatter_add, {built(g), built(t)}, std::move(a), span, scope);
  }

  /// Whether a value of these labels leaves one without rows when the index' places are summed by entries.
  bool leaves_no_rows(NodeId g, const Labels& labels, const Labels& index) const {
    for (size_t i = 0; i < labels.size(); ++i)
      if (graph_.type(g).shape[i].rows && !holds(index, labels[i])) return false;
    return true;
  }

  // contract(g, gather(E, t)) -> contract(scatter_add(g, t), E)
  NodeId product_of_scatter(NodeId n, int own) {
    const Node& node = graph_[n];
    const NodeId x = node.operands[size_t(own)], g = node.operands[size_t(1 - own)];
    if (!is_lookup(x)) return {};
    const Attributes &a = node.attributes, &lookup = graph_[x].attributes;
    const Labels &mine = own == 0 ? a.lhs : a.rhs, &other = own == 0 ? a.rhs : a.lhs;
    const Labels index = index_labels(lookup, mine);
    for (int label : index)
      if (holds(a.out, label) || !holds(other, label)) return {};
    const NodeId table = graph_[x].operands[0], t = graph_[x].operands[1];
    const Extent entries = graph_.type(table).shape[size_t(lookup.axes[0])];
    const int entry = next_label(a);
    const Labels of_table = table_labels(lookup, mine, entry);
    Labels width;  // what each number of g is multiplied by
    for (int label : of_table)
      if (label != entry && !holds(other, label)) width.push_back(label);
    if (entries.size >= places(t) || product(of_table, table, width) < least_width || !leaves_no_rows(g, other, index)) return {};
    const NodeId sums = scatter(g, other, t, index, entry, entries, node.span, graph_[x].scope);
    const Labels of_sums = with_entry(other, index, entry);
    Builder b(rebuild_.result, node.span, node.scope);
    return own == 0 ? b.contract(built(table), sums, of_table, of_sums, a.out) : b.contract(sums, built(table), of_sums, of_table, a.out);
  }

  /// `n` is t, be it as another type.
  bool is_index(NodeId n, NodeId t) const {
    while (graph_[n].op == Op::cast) n = graph_[n].operands[0];
    while (graph_[t].op == Op::cast) t = graph_[t].operands[0];
    return n == t;
  }

  /// Looks through the mask of a padding entry that the updates of a scatter may have, select(t == entry, 0, value): the value behind it, and the entry in `masked`.
  NodeId behind_mask(NodeId updates, const Node& scatter, std::optional<int64_t>& masked) const {
    constexpr int64_t exact_in_f32 = int64_t(1) << 24;  // as which t may be compared
    const Attributes& s = scatter.attributes;
    const Node& select = graph_[updates];
    if (splat_value(graph_, select.operands[1]) != Number(0) || users_[updates.value].size() != 1 || is_output(updates)) return {};
    NodeId condition = select.operands[0];
    Labels axes = identity_axes(graph_.type(condition).rank());
    if (graph_[condition].op == Op::broadcast) {
      axes = graph_[condition].attributes.axes;
      condition = graph_[condition].operands[0];
    }
    Labels labels;
    for (int axis : axes) labels.push_back(s.lhs[size_t(axis)]);
    const Node& equal = graph_[condition];
    if (equal.op != Op::equal || labels != s.rhs || !is_index(equal.operands[0], scatter.operands[1])) return {};
    const std::optional<Number> number = splat_value(graph_, equal.operands[1]);
    const int64_t entries = std::min(scatter.type.shape[size_t(s.axes[0])].size, exact_in_f32);
    if (!number || !(double(*number) >= 0 && double(*number) < double(entries)) || double(*number) != std::floor(double(*number))) return {};
    masked = int64_t(double(*number));
    return select.operands[2];
  }

  // scatter_add(contract(g, W), t) -> contract(scatter_add(g, t), W)
  NodeId scatter_before_product(NodeId n) {
    const Node& node = graph_[n];
    const Attributes& s = node.attributes;
    const NodeId t = node.operands[1];
    if (overlap(s.rhs, s.out) || s.rhs.empty() || node.type.has_rows()) return {};
    std::optional<int64_t> masked;
    NodeId x = node.operands[0];
    if (graph_[x].op == Op::select) x = behind_mask(x, node, masked);
    if (!x.valid() || graph_[x].op != Op::contract || users_[x.value].size() != 1 || is_output(x)) return {};
    const Attributes& a = graph_[x].attributes;
    Labels index;
    for (int label : s.rhs) index.push_back(a.out[size_t(position_of(s.lhs, label))]);
    const int own = holds(a.lhs, index[0]) ? 0 : 1;
    const Labels &mine = own == 0 ? a.lhs : a.rhs, &other = own == 0 ? a.rhs : a.lhs;
    for (int label : index)
      if (!holds(mine, label) || holds(other, label)) return {};
    const NodeId g = graph_[x].operands[size_t(own)], w = graph_[x].operands[size_t(1 - own)];
    const Extent entries = node.type.shape[size_t(s.axes[0])];
    Labels width;
    for (int label : other)
      if (!holds(mine, label)) width.push_back(label);
    if (entries.size >= places(t) || product(other, w, width) < least_width || graph_.type(w).has_rows() || !leaves_no_rows(g, mine, index)) return {};
    const int entry = next_label(a);
    const NodeId sums = scatter(g, mine, t, index, entry, entries, graph_[x].span, node.scope);
    Labels out;
    for (int label : s.out) out.push_back(holds(s.lhs, label) ? a.out[size_t(position_of(s.lhs, label))] : entry);
    const Labels of_sums = with_entry(mine, index, entry);
    Builder b(rebuild_.result, node.span, node.scope);
    const NodeId product = own == 0 ? b.contract(sums, built(w), of_sums, other, out) : b.contract(built(w), sums, other, of_sums, out);
    if (!masked) return product;
    const NodeId row = b.iota(node.type.shape, s.axes[0]);
    const NodeId here = b.binary(Op::equal, row, b.constant_like(double(*masked), row));
    const NodeId zero = b.constant_like(0, product);
    return b.select(here, zero, product);
  }

  bool is_output(NodeId n) const {
    return std::any_of(graph_.outputs.begin(), graph_.outputs.end(), [&](const Output& o) { return o.node == n; }) ||
           std::any_of(graph_.updates.begin(), graph_.updates.end(), [&](const Update& u) { return u.node == n; });
  }

  const Graph& graph_;
  const int64_t rows_;
  Rebuild rebuild_;
  Users users_;
};

}  // namespace

void multiply_tables(Graph& graph, int64_t rows) { graph = TableMultiplier(graph, rows).run(); }

}  // namespace nnc
