// Which optimizer updates which parameter.
#pragma once

#include <string_view>
#include <vector>

#include "frontend/program.h"

namespace nnc {

/// The rules for the trainable ones among `parameters`, in their order; a scalar of the run for every hyperparameter is added to
/// `scalars` if given. Without parameters the optimizers are checked against a made-up one.
std::vector<UpdateRule> make_update_rules(const Program& program, const std::vector<ParameterSpec>& parameters,
                                          Diagnostics& diagnostics, std::vector<ScalarSpec>* scalars);

/// `*` in the pattern stands for any text.
bool matches_pattern(std::string_view pattern, std::string_view name);

}  // namespace nnc
