// What is remembered while the arguments of one call are bound, for messages that name both places.
#pragma once

#include <map>
#include <string>

#include "frontend/lowering.h"

namespace nnc {

struct Lowering::Binding {
  std::map<std::string, Conflict> bound_by;  ///< by dimension name: the argument that bound it
  Conflict ellipsis_by;
  std::set<uint32_t> nameless;  ///< dimensions of `...` that had no name in the argument that bound it
  std::map<const ast::Parameter*, TensorValue> values;  ///< arguments as the caller sees them; looked up, never iterated
};

}  // namespace nnc
