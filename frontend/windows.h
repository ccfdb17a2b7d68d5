// Windows: selections whose index is affine in index(D), `x[H: 2*index(OH) + index(KH) - 1, outside: 0]`.
#pragma once

#include <optional>
#include <vector>

#include "frontend/value.h"

namespace nnc {

class SymbolicEvaluator;

/// An index that counts along dimensions: (sum of factors[i] * index along axis i + constant) / divide.
struct AffineIndex {
  std::vector<int64_t> factors;  ///< by axis of the node
  int64_t constant = 0;
  int64_t divide = 1;  ///< at least 1
};

/// What the graph says of an index: empty where it is made of anything but indices along dimensions without rows, whole numbers, sums, products with a number and, last of
/// all, one `/` by a number.
std::optional<AffineIndex> read_affine(const Graph&, NodeId);

/// Whether a window can express it: at most two dimensions count, and at most one of them is one of the value's others.
struct WindowPlan {
  std::optional<size_t> along, by;  ///< dimensions of the index: what takes the selected one's place, and what runs along the elements
};
std::optional<WindowPlan> plan_window(const TensorValue& t, int index, const TensorValue& by, const AffineIndex&);

/// E0114 if an index that no window expresses leaves the dimension: a lookup has no outside.
bool check_inside(SymbolicEvaluator&, const Dim&, const TensorValue& by, const AffineIndex&, Span selector_span);

/// E0114 if something outside of the dimension is read and `outside` is missing.
std::optional<TensorValue> make_window(SymbolicEvaluator&, const TensorValue& t, int index, const TensorValue& by, const AffineIndex&, const WindowPlan&,
                                       std::optional<Number> outside, Span span, Span selector_span);

}  // namespace nnc
