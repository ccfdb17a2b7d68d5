// Spelling shared by the printers and the parser of both textual representations.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// "..." with \" \\ \n \t \r and \xNN for other control characters.
std::string quote(std::string_view);
/// @fc1.weight, or @"..." where the name is not made of letters, digits, _ and dots.
std::string at_name(std::string_view);
bool is_plain_name(std::string_view);
std::string numbers_text(const std::vector<Number>&, DType);  ///< [1, -0.5, inf, nan], each as number_text writes it
/// {0, 1} -> "ab".
std::string labels_text(const std::vector<int>&);
/// param, frozen, state, optimizer_state.
std::string_view persistent_keyword(PersistentKind);

}  // namespace nnc
