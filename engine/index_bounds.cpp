// From each index back through what hands elements on as they are, to the input that they come from.
#include "engine/index_bounds.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include "base/diagnostics.h"

namespace nnc {
namespace {

struct Bound {
  int64_t entries;  ///< of the smallest table
  Span span;        ///< of the lookup
};

std::map<std::string, Bound> index_bounds(const Graph& graph) {
  std::map<std::string, Bound> bounds;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::gather && node.op != Op::scatter_add) continue;
    const Shape& table = node.op == Op::gather ? graph.type(node.operands[0]).shape : node.type.shape;
    Extent entries = table[size_t(node.attributes.axes[0])];
    const Node* index = &graph[node.operands[1]];
    auto hands_on = [&] {
      return index->op == Op::reshape || index->op == Op::transpose || index->op == Op::broadcast ||
             index->op == Op::stop_gradient || (index->op == Op::cast && !is_float(graph.type(index->operands[0]).dtype));
    };
    while (hands_on()) index = &graph[index->operands[0]];
    if (index->op != Op::input || entries.rows) continue;
    auto [it, is_new] = bounds.emplace(index->attributes.text, Bound{entries.size, node.span});
    if (!is_new && entries.size < it->second.entries) it->second = {entries.size, node.span};
  }
  return bounds;
}

[[noreturn]] void fail(const std::string& name, int64_t value, int64_t row, const Bound& bound) {
  Diagnostic d;
  d.code = Code::E0510;
  d.span = bound.span;
  d.message = fmt::format("`{}` is {} in row {}, but the table has {} entries (0..{})", name, value, row + 1, bound.entries,
                          bound.entries - 1);
  throw UserError(std::move(d));
}

template <class T>
void check_rows(const FieldData& field, const std::string& name, const Bound& bound) {
  size_t width = 1;
  for (int64_t n : field.row_shape) width *= size_t(n);
  // Rows that overlap have the rest of their elements in common with the next ones, which are looked at there.
  const size_t own = std::min(width, size_t(field.row_stride_bytes) / sizeof(T));
  for (int64_t row = 0; row < field.rows; ++row)
    for (size_t i = 0; i < (row + 1 < field.rows ? own : width); ++i) {
      T value;
      std::memcpy(&value, field.data + row * field.row_stride_bytes + int64_t(i * sizeof value), sizeof value);
      if (int64_t(value) < 0 || int64_t(value) >= bound.entries) fail(name, int64_t(value), row, bound);
    }
}

}  // namespace

void check_indices(const Graph& graph, const std::vector<FieldData>& fields, const std::vector<std::string>& names) {
  for (const auto& [name, bound] : index_bounds(graph)) {
    auto it = std::ranges::find(names, name);
    if (it == names.end()) continue;
    const FieldData& field = fields[size_t(it - names.begin())];
    if (is_integer(field.dtype)) with_element(field.dtype, [&](auto zero) { check_rows<decltype(zero)>(field, name, bound); });
  }
}

void check_indices(const Graph& graph, const Bindings& bindings) {
  for (const auto& [name, bound] : index_bounds(graph)) {
    auto it = bindings.inputs.find(name);
    if (it == bindings.inputs.end()) continue;
    const Tensor& t = it->second;
    int64_t width = t.shape.empty() || t.shape[0] == 0 ? 1 : int64_t(t.values.size()) / t.shape[0];
    for (size_t i = 0; i < t.values.size(); ++i)
      if (!(t.values[i] >= 0 && t.values[i] < double(bound.entries))) fail(name, int64_t(t.at(i)), int64_t(i) / width, bound);
  }
}

}  // namespace nnc
