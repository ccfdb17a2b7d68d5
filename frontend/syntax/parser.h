// Text to syntax tree. Every syntax error of a file is reported in one run: after an error the parser goes on at the next
// statement, clause or definition.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "frontend/syntax/ast.h"

namespace nnc {

/// Always returns a tree, partial after errors (ast::File::has_errors), and never throws. Errors: codes E0001 to E0099.
std::unique_ptr<ast::File> parse(const SourceMap& sources, FileId file, Diagnostics& diagnostics);

/// The words that begin a clause of `train`, in the order in which the manual explains them.
const std::vector<std::string_view>& clause_words();

}  // namespace nnc
