// A definition where nothing calls it and nobody gives it arrays: what its inputs look like is said by its own head.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/evaluator.h"

namespace nnc {

void report_missing_size(EvaluationContext& ctx, const Definition& d, const ast::Parameter& p);
/// A size given for a name that is no size of the definition would change nothing: false after an error.
bool check_given_sizes(EvaluationContext& ctx, const Definition& d, const std::map<std::string, int64_t>& dims);
/// A size given by hand and the same size of an input must be one: false after an error.
bool check_sizes_agree(EvaluationContext& ctx, const Definition& d, const std::vector<ArgumentSpec>& inputs,
                       const std::map<std::string, int64_t>& dims);
/// Of several definitions of one name, described inputs decide, as arguments do at a call; null after an error.
const Definition* choose_declared(EvaluationContext& ctx, const Global& g, const std::vector<ArgumentSpec>& described);
/// The described inputs and, behind them, the others as the head declares them; nothing after an error.
std::optional<std::vector<ArgumentSpec>> declared_inputs(SymbolicEvaluator& eval, const Definition& d, std::vector<ArgumentSpec> described,
                                                         const std::map<std::string, int64_t>& dims);

}  // namespace nnc
