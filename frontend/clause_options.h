// Options of clauses, sources and tests: `batch: 32`.
#pragma once

#include <string_view>
#include <vector>

#include "frontend/context.h"

namespace nnc {

/// Whether no option stands twice; each that does is reported where it comes again.
bool check_options_once(EvaluationContext& ctx, const std::vector<ast::Argument>& options, std::string_view of);

}  // namespace nnc
