// The syntax tree as text, for `nnc ir --stage ast` and for tests: one line per statement, every operator in parentheses, so that
// a reader sees how the parser grouped what was written. Close to the language, but not meant to be read back.
#pragma once

#include <string>

#include "frontend/syntax/ast.h"

namespace nnc {

std::string print_ast(const ast::File&);
std::string print_ast(const ast::Expr&);

}  // namespace nnc
