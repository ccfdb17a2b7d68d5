// Which parameter each argument of a call is for. A named argument says so; a positional one takes the first parameter that no
// argument before it took, by place or by name. Whoever looks at arguments asks here, so that all agree: the call itself, the
// choice between definitions of one name, the paths of hyperparameters.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "frontend/syntax/ast.h"
#include "frontend/value.h"

namespace nnc {

inline std::string_view written_name(const ast::Argument& a) {
  return a.name ? std::string_view(a.name->text) : std::string_view();
}
inline std::string_view written_name(const CallArgument& a) { return a.name; }

/// The arguments as they are written, their values still to be worked out.
inline std::vector<CallArgument> unevaluated(const std::vector<ast::Argument>& arguments) {
  std::vector<CallArgument> result;
  for (const ast::Argument& a : arguments) {
    CallArgument c;
    if (a.name) {
      c.name = a.name->text;
      c.name_span = a.name->span;
    }
    c.expr = a.value.get();
    c.span = a.value->span;
    result.push_back(std::move(c));
  }
  return result;
}

/// For each argument the index of its parameter; parameters.size() for a name that none has, and for what comes after the last. A
/// parameter that is named after it was taken stands there twice.
template <class Argument>
std::vector<size_t> argument_places(const std::vector<ast::Parameter>& parameters, const std::vector<Argument>& arguments) {
  std::vector<bool> is_taken(parameters.size(), false);
  std::vector<size_t> places;
  size_t next = 0;
  for (const Argument& a : arguments) {
    std::string_view name = written_name(a);
    size_t place = 0;
    if (name.empty()) {
      while (next < parameters.size() && is_taken[next]) ++next;
      place = next;
    } else {
      while (place < parameters.size() && parameters[place].name.text != name) ++place;
    }
    if (place < parameters.size()) is_taken[place] = true;
    places.push_back(place);
  }
  return places;
}

}  // namespace nnc
