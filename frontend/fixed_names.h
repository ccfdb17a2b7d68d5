// Which names of a fn or an optimizer must be known while its body is built.
#pragma once

#include <set>
#include <string>

#include "frontend/program.h"

namespace nnc {

/// The names whose values an `if`, a `repeat`, a size or a state's first value asks for, be it through a `let` or inside a fn
/// that they are given to. What they stand for cannot be a scalar of the run. Where it is not certain, the name is among them.
std::set<std::string> fixed_names(const Program& program, const Definition& definition);

/// Whether one of the names stands in the expression.
bool mentions(const ast::Expr& e, const std::set<std::string>& names);
bool mentions(const ast::Block& block, const std::set<std::string>& names);

}  // namespace nnc
