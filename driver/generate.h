// nnc predict --prompt: a model of text writes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "driver/options.h"
#include "driver/session.h"

namespace nnc {

struct GenerateOptions {
  std::optional<std::string> prompt;             ///< without one nothing is generated
  std::optional<int64_t> length, top_k;
  std::optional<std::string> temperature, top_p; ///< numbers, as they are written
};

/// --prompt, --length, --temperature, --top-k, --top-p.
void add_generation(Command&, GenerateOptions&);

/// Writes the prompt and what follows to standard output, character by character. `weights`: their file.
int generate(Session&, const GenerateOptions&, const std::string& weights);

}  // namespace nnc
