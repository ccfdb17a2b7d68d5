// What values are as arguments: whether two of them are the same, and what of them can leave the evaluation that they were
// evaluated in.
#include "frontend/value.h"

#include <algorithm>

namespace nnc {
namespace {

bool same_dims(const Dims& a, const Dims& b) {
  return std::ranges::equal(a, b, [](const Dim& x, const Dim& y) { return x.id == y.id && x.extent == y.extent; });
}

bool same_template(const LayerTemplate* a, const LayerTemplate* b) {
  if (a == b) return true;
  auto same_static = [](const CallArgument& x, const CallArgument& y) {
    return x.name == y.name && same_value(x.value, y.value);
  };
  return a && b && a->definition == b->definition && a->path == b->path && a->is_instance == b->is_instance &&
         a->frozen == b->frozen && a->count == b->count && std::ranges::equal(a->statics, b->statics, same_static) &&
         same_template(a->inner.get(), b->inner.get());
}

}  // namespace

bool is_poison(const Value& v) {
  if (v.is(ValueKind::poison)) return true;
  if (v.is(ValueKind::tuple) || v.is(ValueKind::array) || v.is(ValueKind::range)) return std::any_of(v.items.begin(), v.items.end(), is_poison);
  return false;
}

bool same_value(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case ValueKind::poison:
      return false;
    case ValueKind::tensor:
      return a.tensor.node == b.tensor.node && same_dims(a.tensor.dims, b.tensor.dims) && a.tensor.dtype == b.tensor.dtype &&
             a.tensor.is_class == b.tensor.is_class && a.tensor.classes.id == b.tensor.classes.id &&
             a.tensor.classes.extent == b.tensor.classes.extent && a.tensor.free == b.tensor.free;
    case ValueKind::number:
      return a.number == b.number && a.is_size == b.is_size && a.sum == b.sum;
    case ValueKind::boolean:
      return a.boolean == b.boolean;
    case ValueKind::string:
    case ValueKind::symbol:
    case ValueKind::builtin:
      return a.text == b.text;
    case ValueKind::callable:
      return a.overloads == b.overloads;
    case ValueKind::layer:
      return same_template(a.layer.get(), b.layer.get());
    case ValueKind::tuple:
    case ValueKind::array:
    case ValueKind::range:
      return std::ranges::equal(a.items, b.items, same_value);
    case ValueKind::distribution:
      return a.initializer == b.initializer;
  }
  return false;
}

std::optional<Value> constant_value(Value v, const DimTable& dims) {
  if (v.is(ValueKind::tensor) || v.is(ValueKind::poison)) return std::nullopt;
  if (v.is(ValueKind::number) && v.is_size) {
    std::optional<Extent> size = dims.evaluate(v.sum);
    if (!size || size->rows) return std::nullopt;
    return Value::of_size(size->size);
  }
  for (Value& item : v.items) {
    std::optional<Value> constant = constant_value(std::move(item), dims);
    if (!constant) return std::nullopt;
    item = std::move(*constant);
  }
  if (v.layer) {
    auto layer = std::make_shared<LayerTemplate>(*v.layer);
    for (CallArgument& a : layer->statics) {
      std::optional<Value> constant = constant_value(std::move(a.value), dims);
      if (!constant) return std::nullopt;
      a.value = std::move(*constant);
    }
    if (layer->inner) {
      Value inner;
      inner.kind = ValueKind::layer;
      inner.layer = layer->inner;
      std::optional<Value> constant = constant_value(std::move(inner), dims);
      if (!constant) return std::nullopt;
      layer->inner = constant->layer;
    }
    v.layer = std::move(layer);
  }
  return v;
}

}  // namespace nnc
