// Files that one worker reads and the others are sent.
#pragma once

#include "runtime/data/file_bytes.h"
#include "runtime/workers/collectives.h"

namespace nnc {

/// A loader that all workers call alike, with the same paths in the same order: worker `from` loads the file, the others get its bytes. What is wrong with the file is thrown on all of them.
/// The workers outlive it.
FileLoader load_on(Collectives& workers, int from);

}  // namespace nnc
