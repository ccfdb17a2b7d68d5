// Contractions: `sum(a * b * ..., over: D)` where D stands in at least two factors. The product is never made: factors are folded
// from the left, and a dimension is summed away as soon as no later factor needs it. Factors need not have each other's
// dimensions.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/lowering.h"

namespace nnc {

namespace {

void flatten_product(const ast::Expr& e, std::vector<const ast::Expr*>& factors) {
  if (e.kind == ast::ExprKind::binary && e.binary_op == ast::BinaryOp::multiply) {
    flatten_product(*e.operands[0], factors);
    flatten_product(*e.operands[1], factors);
  } else {
    factors.push_back(&e);
  }
}

bool has_dim(const Dims& dims, uint32_t id) {
  return std::any_of(dims.begin(), dims.end(), [&](const Dim& d) { return d.id == id; });
}

}  // namespace

std::optional<Value> Lowering::try_contraction(const ast::Expr& product, const std::vector<uint32_t>& over, Span span) {
  std::vector<const ast::Expr*> expressions;
  flatten_product(product, expressions);
  // Evaluated in any case: when this is no contraction, the product of the same values is returned for an ordinary reduction.
  std::vector<Value> values;
  for (const ast::Expr* e : expressions) values.push_back(evaluate(*e));
  for (const Value& v : values)
    if (is_poison(v)) return poison();
  bool is_contraction = false;
  for (uint32_t id : over) {
    auto stands = std::count_if(values.begin(), values.end(),
                                [&](const Value& v) { return v.is(ValueKind::tensor) && has_dim(v.tensor.dims, id); });
    is_contraction = is_contraction || stands >= 2;
  }
  if (!is_contraction) return std::nullopt;

  Value scale = Value::of_size(1);
  Span scale_span;
  std::vector<TensorValue> factors;
  std::vector<Span> spans;
  for (size_t i = 0; i < values.size(); ++i) {
    bool is_scalar = !values[i].is(ValueKind::tensor) || values[i].tensor.dims.empty();
    if (is_scalar) {
      Span here = expressions[i]->span;
      scale = scale_span.valid() ? combine(ast::BinaryOp::multiply, scale, values[i], span, scale_span, here) : values[i];
      scale_span = scale_span.valid() ? join(scale_span, here) : here;
      continue;
    }
    factors.push_back(values[i].tensor);
    spans.push_back(expressions[i]->span);
  }
  if (is_poison(scale)) return poison();
  TensorValue result = factors[0];
  Span result_span = spans[0];
  for (size_t i = 1; i < factors.size(); ++i) {
    std::set<uint32_t> summed;
    for (uint32_t id : over) {
      bool later =
          std::any_of(factors.begin() + int64_t(i) + 1, factors.end(), [&](const TensorValue& f) { return has_dim(f.dims, id); });
      if (!later) summed.insert(id);
    }
    std::optional<TensorValue> next = contract(result, factors[i], summed, span, result_span, spans[i]);
    if (!next) return poison();
    result = *next;
    result_span = join(result_span, spans[i]);
  }
  if (!scale_span.valid()) return Value::of(result);
  return combine(ast::BinaryOp::multiply, Value::of(result), scale, span, span, scale_span);
}

std::optional<TensorValue> Lowering::contract(const TensorValue& a, const TensorValue& b, const std::set<uint32_t>& summed,
                                              Span span, Span a_span, Span b_span) {
  std::optional<std::vector<int>> pairs = pair_dimensions(a, b, "`*`", span, a_span, b_span);
  if (!pairs) return std::nullopt;
  auto is_summed = [&](const Dim& d) { return d.named() && summed.count(d.id) > 0; };
  std::vector<int> lhs(a.dims.size()), rhs(b.dims.size()), out;
  TensorValue result;
  std::vector<int> labels_of_result;
  for (size_t i = 0; i < a.dims.size(); ++i) {
    lhs[size_t(axis_of(a.dims, int(i)))] = int(i);
    if (!is_summed(a.dims[i])) {
      result.dims.push_back(a.dims[i]);
      labels_of_result.push_back(int(i));
    }
  }
  for (size_t j = 0; j < b.dims.size(); ++j) {
    int label = (*pairs)[j] >= 0 ? (*pairs)[j] : int(a.dims.size() + j);
    rhs[size_t(axis_of(b.dims, int(j)))] = label;
    if ((*pairs)[j] < 0 && !is_summed(b.dims[j])) {
      result.dims.push_back(b.dims[j]);
      labels_of_result.push_back(label);
    }
  }
  if (!check_rows(result.dims, span)) return std::nullopt;
  out.resize(result.dims.size());
  for (size_t k = 0; k < result.dims.size(); ++k) out[size_t(axis_of(result.dims, int(k)))] = labels_of_result[k];
  result.dtype = a.dtype == DType::f64 || b.dtype == DType::f64 ? DType::f64 : DType::f32;
  NodeId x = cast(a, result.dtype, span).node, y = cast(b, result.dtype, span).node;
  bool sums = result.dims.size() < a.dims.size() + size_t(std::count(pairs->begin(), pairs->end(), -1));
  bool nested = !sums && (result.dims.size() == a.dims.size() || result.dims.size() == b.dims.size());
  if (nested) {  // an ordinary product of aligned operands
    TensorValue left = a, right = b;
    left.node = x;
    right.node = y;
    std::optional<Aligned> aligned = align(left, right, "`*`", span, a_span, b_span);
    if (!aligned) return std::nullopt;
    result.node = builder(span).mul(aligned->a, aligned->b);
    result.dims = aligned->dims;
  } else {
    result.node = builder(span).contract(x, y, lhs, rhs, out);
  }
  result.span = place(span);
  return result;
}

}  // namespace nnc
