// A definition as a graph where nothing calls it: what its inputs look like is said by whoever asks, or by its own head.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/compilation.h"

namespace nnc {

/// Which definition, and what its inputs look like.
struct DefinitionRequest {
  std::string name;
  std::vector<ArgumentSpec> inputs;     ///< those that are described; the others look as declared
  std::map<std::string, int64_t> dims;  ///< sizes that no input gives
  int64_t rows = 32;                    ///< of a batch that kernels are planned for
};

/// The name of the program's only model. UserError E0601 with what there is to choose from if it has none or several.
std::string only_model(const Compilation&);
/// UserError E0601 for an empty name, with what `file` has; of another one the frontend says what is near, since it knows the standard library's names too.
void require_definition(const Module&, const std::string& name, const std::string& file);

/// The definition's graph. An input that is not described has the type and the sizes of its declaration, where `B` is the rows of a batch and other names are the
/// program's dims or those given. ProgramErrors.
BuiltGraph build_declared(Compilation&, const DefinitionRequest&);

}  // namespace nnc
