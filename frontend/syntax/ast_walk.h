// The parts of an expression, for walks over the tree that look for names.
#pragma once

#include "frontend/syntax/ast.h"

namespace nnc::ast {

/// visit(part) for every expression that stands in `e` itself; its blocks (branches with their conditions, the body of a `scan`) are
/// the caller's, who knows what is in scope there.
template <class Visit>
void for_each_part(const Expr& e, Visit visit) {
  for (const ExprPtr& o : e.operands) visit(*o);
  for (const Argument& a : e.arguments) visit(*a.value);
  for (const Selector& s : e.selectors) {
    if (s.dim) visit(*s.dim);
    visit(*s.value);
  }
  for (const Stage& s : e.stages) visit(*s.callee);
  for (const ExprPtr& d : e.dims.entries) visit(*d);
}

}  // namespace nnc::ast
