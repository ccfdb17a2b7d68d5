// A definition in place of the training step: which one, and what its inputs look like, as the command line says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "driver/session.h"
#include "engine/definition.h"

namespace nnc {

/// Which definition, and what its inputs look like.
struct DefinitionOptions {
  std::string fn;                   ///< "": none was named
  std::vector<std::string> inputs;  ///< NAME=TYPE: "x=f32[B, 64]"
  std::vector<std::string> dims;    ///< N=64
  int64_t rows = 32;                ///< of a batch that kernels are planned for
};

/// What a command works on: nothing is the training step, the subject of a file with a train block unless a definition was named; without both it is the file's one
/// model. UserError E0601 for what does not say which, or does not describe an input.
std::optional<DefinitionRequest> asked_definition(const Session&, const DefinitionOptions&);

}  // namespace nnc
