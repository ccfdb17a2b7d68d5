// A definition as a graph where nothing calls it: what its inputs look like is said on the command line or by its own head.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "driver/session.h"

namespace nnc {

/// Which definition, and what its inputs look like.
struct DefinitionOptions {
  std::string fn;                   ///< "": none was named
  std::vector<std::string> inputs;  ///< NAME=TYPE: "x=f32[B, 64]"
  std::vector<std::string> dims;    ///< N=64
  int64_t rows = 32;                ///< of a batch that kernels are planned for
};

/// The definition's graph; without a name that of the file's one model. An input that is not described has the type and the sizes
/// of its declaration, where `B` is the rows of a batch and other names are the file's dims or --dim. Prints what is wrong and
/// throws CommandFailed, or throws UserError.
BuiltGraph build_declared(Session&, const DefinitionOptions&);

}  // namespace nnc
