// What single tokens are to the parser: a `-` may be a sign or a difference, a name a keyword. The lexer cannot tell, the tree can.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "frontend/syntax/ast.h"

namespace nnc {

/// Tokens by the byte at which they begin.
struct TokenRoles {
  std::unordered_set<uint32_t> names;     ///< names of things; a name token that is not among them is a keyword in its place
  std::unordered_set<uint32_t> binary;    ///< operators between two operands, `and` and `or` too; not `..`
  std::unordered_set<uint32_t> unary;     ///< the sign of `-x`
  std::unordered_set<uint32_t> percents;  ///< the `%` of `20%`
  std::unordered_set<uint32_t> clauses;   ///< the words that begin the clauses of `train`
  std::unordered_set<uint32_t> fields;    ///< the first names of the fields of `data`
  std::vector<Span> broken;               ///< snippets of `expect error` that are not syntactically right, with their braces
};

TokenRoles token_roles(const ast::File&);

}  // namespace nnc
