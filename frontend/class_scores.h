// Whether a train block is about classes: what `predict --classes` may ask for.
#pragma once

#include "frontend/program.h"

namespace nnc {

/// Loss or reports, or a definition that they call, call one of the standard library's functions of scores of classes (`cross_entropy`,
/// `binary_accuracy`, ...). The program has a train block.
bool scores_classes(const Program& program);

}  // namespace nnc
