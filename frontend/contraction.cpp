// Contractions: `sum(a * b * ..., over: D)` where D stands in at least two factors. The value is that of the product, reduced:
// its dimensions, their order and the type are found as the products themselves would, except that factors need not have each
// other's dimensions. But the product is never made: every factor's dimensions are known by their places in the whole product,
// factors are folded from the left, and a dimension is summed away as soon as no later factor has it. Single numbers multiply
// the sum.
#include "frontend/contraction.h"

#include <algorithm>
#include <numeric>

#include "frontend/builtins.h"
#include "frontend/evaluator.h"

namespace nnc {

namespace {

/// A factor or a product in the tree of a product.
struct ProductPart {
  const ast::Expr* e = nullptr;
  size_t left = 0, right = 0;                  ///< of a product: the parts it multiplies, which stand before it
  bool is_product = false;                     ///< false also of a product of single numbers, which is a factor
  bool is_bad = false;                         ///< a product whose operands do not align, or of one such
  Value value{};                               ///< of a factor
  TensorValue type{};                          ///< dimensions and type; only a factor has a node
  std::vector<int> from_left{}, from_right{};  ///< of a product: where the dimensions of `left` and `right` stand in it
  std::vector<int> places{};  ///< of each dimension in the whole product; empty where nothing multiplies it into that
};

void flatten_product(const ast::Expr& e, std::vector<ProductPart>& parts) {
  ProductPart part{&e};
  part.is_product = e.kind == ast::ExprKind::binary && e.binary_op == ast::BinaryOp::multiply;
  if (part.is_product) {
    flatten_product(*e.operands[0], parts);
    part.left = parts.size() - 1;
    flatten_product(*e.operands[1], parts);
    part.right = parts.size() - 1;
  }
  parts.push_back(std::move(part));
}

/// A number, of this moment or of the run; the value of a product that is not made is poison.
bool is_single(const ProductPart& part) {
  return part.value.is(ValueKind::number) || (part.value.is(ValueKind::tensor) && part.value.tensor.dims.empty());
}

bool has_dim(const Dims& dims, uint32_t id) {
  return std::any_of(dims.begin(), dims.end(), [&](const Dim& d) { return d.id == id; });
}

std::optional<TensorValue> contract(SymbolicEvaluator& eval, const std::vector<ProductPart>& parts, const std::vector<bool>& is_summed,
                                    Span span) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  const TensorValue& whole = parts.back().type;
  std::vector<const ProductPart*> factors;
  for (const ProductPart& part : parts)
    if (!part.is_product && !part.places.empty()) factors.push_back(&part);
  auto labels = [](const Dims& dims, const std::vector<int>& places) {
    std::vector<int> result(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) result[size_t(axis_of(dims, int(i)))] = places[i];
    return result;
  };
  auto among = [](const std::vector<int>& places, const std::vector<int>& all) {
    std::vector<int> result;
    for (int p : places) result.push_back(int(std::find(all.begin(), all.end(), p) - all.begin()));
    return result;
  };
  TensorValue result = tensors.cast(factors[0]->type, whole.dtype, span);
  std::vector<int> places = factors[0]->places;
  for (size_t i = 1; i < factors.size(); ++i) {
    TensorValue next = tensors.cast(factors[i]->type, whole.dtype, span);
    auto stays = [&](int place) {
      return !is_summed[size_t(place)] || std::any_of(factors.begin() + int64_t(i) + 1, factors.end(), [&](const ProductPart* f) {
        return std::find(f->places.begin(), f->places.end(), place) != f->places.end();
      });
    };
    std::vector<int> all = places, kept;
    for (int p : factors[i]->places)
      if (std::find(all.begin(), all.end(), p) == all.end()) all.push_back(p);
    std::copy_if(all.begin(), all.end(), std::back_inserter(kept), stays);
    bool sums = kept.size() < all.size();
    bool nested = !sums && (all.size() == places.size() || all.size() == factors[i]->places.size());
    if (i + 1 == factors.size()) std::sort(kept.begin(), kept.end());  // the order of the whole product
    Dims dims;
    for (int p : kept) dims.push_back(whole.dims[size_t(p)]);
    if (!tensors.check_rows(dims, span)) return std::nullopt;
    if (nested) {  // an ordinary product of aligned operands
      NodeId x = places.empty() ? result.node : tensors.expand(result, among(places, kept), dims, span);
      result.node = ctx.builder(span).mul(x, tensors.expand(next, among(factors[i]->places, kept), dims, span));
    } else {
      result.node = ctx.builder(span).contract(result.node, next.node, labels(result.dims, places),
                                               labels(next.dims, factors[i]->places), labels(dims, kept));
    }
    result.dims = std::move(dims);
    places = std::move(kept);
  }
  result.dtype = whole.dtype;
  result.is_class = false;
  result.free = false;
  result.span = ctx.place(span);
  return result;
}

}  // namespace

Value sum_of_product(SymbolicEvaluator& eval, const ast::Expr& e, Span name_span) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  std::vector<ProductPart> parts;
  flatten_product(*e.arguments[0].value, parts);
  bool is_poisoned = false;
  for (ProductPart& part : parts)
    if (!part.is_product) {
      part.value = eval.evaluate(*part.e);
      is_poisoned = is_poisoned || is_poison(part.value);
    }
  const ast::Argument& named = e.arguments[1];
  CallArgument over{"over", named.name->span, eval.evaluate(*named.value), named.value.get(), named.value->span};
  if (is_poisoned || is_poison(over.value)) return poison();

  bool is_contraction = false;
  for (const Value& v : over.value.is(ValueKind::tuple) ? over.value.items : std::vector<Value>{over.value}) {
    if (!v.is(ValueKind::number) || !v.is_size) continue;
    Dim d = ctx.dims.to_dim(v.sum);
    auto stands = std::count_if(parts.begin(), parts.end(), [&](const ProductPart& p) {
      return !p.is_product && p.value.is(ValueKind::tensor) && has_dim(p.value.tensor.dims, d.id);
    });
    is_contraction = is_contraction || (d.named() && stands >= 2);
  }

  // The type of every product. Only products of one floating type are a contraction: in others each product rounds or wraps.
  DType dtype = DType::f32, met = DType::f32;
  for (const ProductPart& part : parts)
    if (part.value.is(ValueKind::tensor)) {
      met = met_type({&part.value});
      break;
    }
  bool is_uniform = is_contraction;
  for (ProductPart& part : parts) {
    if (!is_uniform) break;
    if (!part.is_product) {
      if (part.value.is(ValueKind::array)) {
        std::optional<TensorValue> t = tensors.as_tensor(part.value, part.e->span, met);
        is_uniform = t.has_value();
        if (!t) break;
        part.value = Value::of(*t);
      }
      if (part.value.is(ValueKind::tensor)) part.type = part.value.tensor;
      is_uniform = part.value.is(ValueKind::tensor) || part.value.is(ValueKind::number);
      continue;
    }
    const ProductPart &a = parts[part.left], &b = parts[part.right];
    if (is_single(a) && is_single(b)) {
      part.value = eval.operators.combine(ast::BinaryOp::multiply, a.value, b.value, part.e->span, a.e->span, b.e->span);
      is_uniform = !is_poison(part.value);
      part.is_product = !is_uniform;
      if (part.value.is(ValueKind::tensor)) part.type = part.value.tensor;
      continue;
    }
    part.type.dtype = a.value.is(ValueKind::number)   ? arithmetic_type(b.type)
                      : b.value.is(ValueKind::number) ? arithmetic_type(a.type)
                                                      : common_type(a.type, b.type, false);
    is_uniform = is_float(part.type.dtype);
    dtype = part.type.dtype;
  }
  for (const ProductPart& part : parts) is_uniform = is_uniform && (!part.is_product || part.type.dtype == dtype);

  BuiltinCall call{"sum", e.span, name_span, {{"", {}, {}, parts.back().e, parts.back().e->span}, over}};
  if (!is_uniform) {  // made and reduced
    for (ProductPart& part : parts) {
      if (!part.is_product) continue;
      const ProductPart &a = parts[part.left], &b = parts[part.right];
      part.value = poison();
      if (is_poison(a.value) || is_poison(b.value)) continue;  // errors of other parts are reported too
      bool numbers = a.value.is(ValueKind::number) && b.value.is(ValueKind::number);
      part.value = numbers ? eval.operators.combine(ast::BinaryOp::multiply, a.value, b.value, part.e->span, a.e->span, b.e->span)
                           : eval.operators.combine_tensors(ast::BinaryOp::multiply, a.value, b.value, part.e->span, a.e->span, b.e->span,
                                                            is_contraction);
    }
    if (is_poison(parts.back().value)) return poison();
    call.arguments[0].value = std::move(parts.back().value);
    return builtins().at("sum")(eval, call);
  }

  for (ProductPart& part : parts) {
    if (!part.is_product) continue;
    const ProductPart &a = parts[part.left], &b = parts[part.right];
    part.is_bad = a.is_bad || b.is_bad;
    if (part.is_bad) continue;
    std::optional<Alignment> found = tensors.find_alignment(a.type, b.type, "`*`", part.e->span, a.e->span, b.e->span, true);
    part.is_bad = !found;
    if (part.is_bad) continue;
    part.from_left = std::move(found->from_a);
    part.from_right = std::move(found->from_b);
    part.type.dims = std::move(found->dims);
    part.type.free = (is_single(a) || a.type.free) && (is_single(b) || b.type.free);
    part.type.span = ctx.place(part.e->span);
  }
  if (parts.back().is_bad) return poison();
  std::vector<int> indices;
  if (!read_over(eval, call, &over, parts.back().type, parts.back().e->span, indices)) return poison();
  std::vector<bool> is_summed(parts.back().type.dims.size(), false);
  for (int i : indices) is_summed[size_t(i)] = true;

  // From the whole product down to its factors.
  parts.back().places.resize(is_summed.size());
  std::iota(parts.back().places.begin(), parts.back().places.end(), 0);
  std::vector<const ProductPart*> numbers;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!part->is_product) continue;
    for (int i : part->from_left) parts[part->left].places.push_back(part->places[size_t(i)]);
    for (int i : part->from_right) parts[part->right].places.push_back(part->places[size_t(i)]);
    for (size_t factor : {part->right, part->left})
      if (is_single(parts[factor])) numbers.push_back(&parts[factor]);
  }
  std::optional<TensorValue> sum = contract(eval, parts, is_summed, e.span);
  if (!sum) return poison();
  if (numbers.empty()) return Value::of(*sum);
  std::reverse(numbers.begin(), numbers.end());
  Value scale;
  Span scale_span;
  for (const ProductPart* n : numbers) {
    Value v = n->value.is(ValueKind::tensor) && !n->type.is_run_number ? Value::of(tensors.cast(n->type, dtype, n->e->span)) : n->value;
    scale = scale_span.valid() ? eval.operators.combine(ast::BinaryOp::multiply, scale, v, e.span, scale_span, n->e->span) : v;
    scale_span = scale_span.valid() ? join(scale_span, n->e->span) : n->e->span;
    if (is_poison(scale)) return poison();
  }
  Value result = eval.operators.combine(ast::BinaryOp::multiply, Value::of(*sum), scale, e.span, e.span, scale_span);
  if (result.is(ValueKind::tensor)) result.tensor.span = ctx.place(e.span);
  return result;
}

}  // namespace nnc
