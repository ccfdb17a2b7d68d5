// `scan t in T with h[B, H] = 0 { ... update h = ... yield h }`: a recurrence along a dimension, one operation of the graph (ir/regions.h).
//
// The body is evaluated once, into the same graph as everything else, with inputs that stand for the position and for what is carried; so a value is a value everywhere. Then the body is
// cut out: nodes that depend on these inputs are copied into the body, and the rest (parameters, what is the same at each step) stays outside and is captured. `x[T: t]` of a
// value from outside is a slice of a sequence. A draw in the body is one for each step, drawn outside as a whole.
#pragma once

#include <optional>
#include <vector>

#include "frontend/value.h"

namespace nnc {

class SymbolicEvaluator;

/// The scan whose body is being evaluated, of a frame.
struct ScanScope {
  struct Carry {
    size_t local = 0;  ///< among the frame's locals
    TensorValue like;  ///< type and dimensions, which each step keeps
  };
  Span head;  ///< up to the dimension
  std::vector<Carry> carries;
  size_t first_local = 0;  ///< names from before are not changed
  std::optional<std::vector<Value>> yielded;
  Span yield_span;
  std::vector<Span> yield_spans;  ///< of its values, where they are written one by one
};

Value evaluate_scan(SymbolicEvaluator&, const ast::Expr&);
void execute_yield(SymbolicEvaluator&, const ast::Stmt&);
/// Whether the state (or the value of an optimizer) may be updated here; an error if not.
bool may_change_state(SymbolicEvaluator&, const ast::Name&);
/// `update` of a value in the innermost scan of the frame. False if it is a value of the body itself, which is updated as elsewhere.
bool update_in_scan(SymbolicEvaluator&, const ast::Stmt&, const Value&, size_t local);

}  // namespace nnc
