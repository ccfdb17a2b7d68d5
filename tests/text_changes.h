// A text with changes, each at the first place where what it replaces stands.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace nnc::test {

using TextChanges = std::vector<std::pair<std::string, std::string>>;  ///< from, to

inline std::string with_changes(std::string text, const TextChanges& changes) {
  for (const auto& [from, to] : changes) {
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::logic_error("no such text: " + from);
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace nnc::test
