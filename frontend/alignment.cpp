// Alignment by name. Two operands meet where their dimensions are the same dimension; a dimension that has only a size meets one
// of equal size in the same place counted from the right. One operand must have all dimensions of the other, so that nothing
// grows by accident.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "frontend/tensors.h"

namespace nnc {

int row_axis(const Dims& dims) {
  for (size_t i = 0; i < dims.size(); ++i)
    if (dims[i].extent.rows) return int(i);
  return -1;
}

// The row dimension stands first in the graph; those before it move up by one.
int axis_of(const Dims& dims, int index) {
  int row = row_axis(dims);
  if (index == row) return 0;
  return index < row ? index + 1 : index;
}

Dims graph_order(const Dims& dims) {
  Dims ordered = dims;
  if (int row = row_axis(dims); row > 0) std::rotate(ordered.begin(), ordered.begin() + row, ordered.begin() + row + 1);
  return ordered;
}

Shape shape_of(const Dims& dims) {
  Shape shape(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) shape.set(size_t(axis_of(dims, int(i))), dims[i].extent);
  return shape;
}

bool TensorBuilder::check_rows(const Dims& dims, Span span) {
  constexpr int64_t most = int64_t(1) << 40;
  int64_t elements = 1;
  for (const Dim& d : dims) {
    if (d.extent.size <= 0 || elements <= most / d.extent.size) {
      elements *= std::max<int64_t>(d.extent.size, 1);
      continue;
    }
    ctx_.error(Code::E0111, span, fmt::format("{} would have more than 2^40 elements", ctx_.dims.show(dims)));
    return false;
  }
  if (std::count_if(dims.begin(), dims.end(), [](const Dim& d) { return d.extent.rows; }) < 2) return true;
  ctx_.error(Code::E0113, span, fmt::format("{} would pair the rows of a batch with each other", ctx_.dims.show(dims)))
      .notes.push_back("the number of rows is known only at run time, and only one dimension of a value can count them");
  return false;
}

bool TensorBuilder::check_distinct(const TensorValue& t, std::string_view what, Span span) {
  for (size_t i = 0; i < t.dims.size(); ++i)
    for (size_t j = i + 1; j < t.dims.size(); ++j)
      if (t.dims[i].named() && t.dims[i].id == t.dims[j].id) {
        std::string name = ctx_.dims.show(t.dims[i]);
        Diagnostic& d = ctx_.error(Code::E0103, span,
                                   fmt::format("{} cannot align {}: dimension `{}` appears twice", what, ctx_.dims.show(t.dims), name));
        d.help.push_back(fmt::format("give one its own name: `dim S = {}`", name));
        return false;
      }
  return true;
}

std::optional<std::vector<int>> TensorBuilder::pair_dimensions(const TensorValue& a, const TensorValue& b, std::string_view what,
                                                               Span span, Span a_span, Span b_span) {
  std::vector<int> pairs(b.dims.size(), -1);
  if (a.dims.empty() || b.dims.empty()) return pairs;
  if (!check_distinct(a, what, a_span) || !check_distinct(b, what, b_span)) return std::nullopt;
  std::vector<bool> taken(a.dims.size(), false);
  for (size_t j = 0; j < b.dims.size(); ++j)
    for (size_t i = 0; i < a.dims.size(); ++i)
      if (b.dims[j].named() && a.dims[i].id == b.dims[j].id) {
        pairs[j] = int(i);
        taken[i] = true;
      }
  for (size_t p = 1; p <= std::min(a.dims.size(), b.dims.size()); ++p) {
    size_t i = a.dims.size() - p, j = b.dims.size() - p;
    const Dim &x = a.dims[i], &y = b.dims[j];
    if (taken[i] || pairs[j] >= 0 || (x.named() && y.named()) || x.extent.rows || y.extent.rows) continue;
    if (x.extent.size == y.extent.size) {
      pairs[j] = int(i);
      taken[i] = true;
    } else if (!a.free && !b.free) {
      auto text = [&](const Dim& d) { return d.named() ? fmt::format("{} ({})", ctx_.dims.show(d), d.extent.size) : ctx_.dims.show(d); };
      Diagnostic& d = ctx_.error(Code::E0101, span,
                                 fmt::format("{} cannot align {} with {}: {} against {}", what, ctx_.dims.show(a.dims), ctx_.dims.show(b.dims),
                                             text(x), text(y)));
      d.labels.push_back({ctx_.place(a_span), ctx_.describe_dims_with_origin(a)});
      d.labels.push_back({ctx_.place(b_span), ctx_.describe_dims_with_origin(b)});
      ctx_.settle(d, {x.extent.size, y.extent.size});
      if (x.extent.size == 1 || y.extent.size == 1) d.notes.push_back("a dimension of size 1 is never stretched");
      return std::nullopt;
    }
  }
  return pairs;
}

std::optional<Alignment> TensorBuilder::find_alignment(const TensorValue& a, const TensorValue& b, std::string_view what,
                                                       Span span, Span a_span, Span b_span, bool pairs_freely) {
  std::optional<std::vector<int>> pairs = pair_dimensions(a, b, what, span, a_span, b_span);
  if (!pairs) return std::nullopt;
  std::vector<int> inverse(a.dims.size(), -1);
  for (size_t j = 0; j < pairs->size(); ++j)
    if ((*pairs)[j] >= 0) inverse[size_t((*pairs)[j])] = int(j);
  bool a_has_all = std::count(pairs->begin(), pairs->end(), -1) == 0;
  bool b_has_all = std::count(inverse.begin(), inverse.end(), -1) == 0;
  Alignment result{{}, std::vector<int>(a.dims.size()), *pairs};
  if (a_has_all || (!b_has_all && (pairs_freely || a.free || b.free))) {
    result.dims = a.dims;
    std::iota(result.from_a.begin(), result.from_a.end(), 0);
    for (size_t j = 0; j < pairs->size(); ++j) {
      if ((*pairs)[j] >= 0) {
        Dim& d = result.dims[size_t((*pairs)[j])];
        if (!d.named()) d = b.dims[j];
      } else {
        result.from_b[j] = int(result.dims.size());
        result.dims.push_back(b.dims[j]);
      }
    }
  } else if (b_has_all) {
    result.dims = b.dims;
    result.from_a = inverse;
    for (size_t i = 0; i < inverse.size(); ++i)
      if (Dim& d = result.dims[size_t(inverse[i])]; !d.named()) d = a.dims[i];
    std::iota(result.from_b.begin(), result.from_b.end(), 0);
  } else {
    std::string only_a, only_b;
    const Dim *nameless_a = nullptr, *nameless_b = nullptr;
    for (size_t i = 0; i < inverse.size(); ++i)
      if (inverse[i] < 0) {
        only_a += (only_a.empty() ? "" : ", ") + ctx_.dims.show(a.dims[i]);
        if (!a.dims[i].named()) nameless_a = &a.dims[i];
      }
    for (size_t j = 0; j < pairs->size(); ++j)
      if ((*pairs)[j] < 0) {
        only_b += (only_b.empty() ? "" : ", ") + ctx_.dims.show(b.dims[j]);
        if (!b.dims[j].named()) nameless_b = &b.dims[j];
      }
    Diagnostic& d = ctx_.error(Code::E0106, span, fmt::format("{} would pair every {} with every {}", what, only_a, only_b));
    d.labels.push_back({ctx_.place(a_span), ctx_.describe_dims_with_origin(a)});
    d.labels.push_back({ctx_.place(b_span), ctx_.describe_dims_with_origin(b)});
    // Only a dimension with a name can be spread over.
    if (nameless_a && nameless_b) {
      d.notes.push_back("dimensions without a name align only in the same place, counted from the right");
      d.help.push_back(
          fmt::format("give each of them a name, as in `dim D = {}`; equal names align in any order", ctx_.dims.show(*nameless_a)));
      return std::nullopt;
    }
    std::string text = nameless_a ? ctx_.quote(ctx_.place(a_span), "`x`") : ctx_.quote(ctx_.place(b_span), "`y`");
    const std::string& over = nameless_a ? only_b : only_a;
    bool many = over.find(',') != std::string::npos;
    d.help.push_back(fmt::format("if that is meant, write `spread({}, over: {}{}{})`", text.substr(1, text.size() - 2),
                                 many ? "(" : "", over, many ? ")" : ""));
    return std::nullopt;
  }
  return result;
}

std::optional<Aligned> TensorBuilder::align(const TensorValue& a, const TensorValue& b, std::string_view what, Span span,
                                            Span a_span, Span b_span, bool pairs_freely) {
  std::optional<Alignment> found = find_alignment(a, b, what, span, a_span, b_span, pairs_freely);
  if (!found || !check_rows(found->dims, span)) return std::nullopt;
  auto brought = [&](const TensorValue& t, const std::vector<int>& from) {
    return t.dims.empty() ? t.node : expand(t, from, found->dims, span);
  };
  return Aligned{brought(a, found->from_a), brought(b, found->from_b), found->dims};
}

NodeId TensorBuilder::expand(const TensorValue& t, const std::vector<int>& from, const Dims& dims, Span span) {
  std::vector<int> axes(t.dims.size());
  for (size_t i = 0; i < t.dims.size(); ++i) axes[size_t(axis_of(t.dims, int(i)))] = axis_of(dims, from[i]);
  std::vector<int> order(axes.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int x, int y) { return axes[size_t(x)] < axes[size_t(y)]; });
  std::sort(axes.begin(), axes.end());
  Builder b = ctx_.builder(span);
  return b.broadcast(b.transpose(t.node, order), shape_of(dims), axes);
}

TensorValue TensorBuilder::reorder(const TensorValue& t, const std::vector<int>& order, Span span) {
  TensorValue result = t;
  for (size_t i = 0; i < order.size(); ++i) result.dims[i] = t.dims[size_t(order[i])];
  std::vector<int> axes(order.size());
  for (size_t i = 0; i < order.size(); ++i) axes[size_t(axis_of(result.dims, int(i)))] = axis_of(t.dims, order[i]);
  result.node = ctx_.builder(span).transpose(t.node, axes);
  return result;
}

}  // namespace nnc
