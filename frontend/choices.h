// The words that an option goes by: what a definition, and the fns that it hands the option to, compare it with.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "frontend/program.h"

namespace nnc {

/// `nearest` and `bilinear` for `mode` of `upsample2d`: each once, as they come. None where the option is no choice.
std::vector<std::string> choices_of(const Program& program, const Definition& definition, std::string_view option);

/// For a name that nobody knows in `callee(option: name)`: the words that could stand there, as a help; "" where there are none. The callee is looked up in the file.
std::string choices_help(const Program& program, const SourceFile& file, const ast::Expr& callee, std::string_view option);

}  // namespace nnc
