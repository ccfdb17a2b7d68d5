// A diagnostic on its way from one worker to another.
#pragma once

#include <string>

#include "base/diagnostics.h"

namespace nnc {

/// Everything of it, as text. Places in sources are kept, since all workers have read the same program.
std::string diagnostic_to_text(const Diagnostic&);
Diagnostic diagnostic_from_text(const std::string&);

}  // namespace nnc
