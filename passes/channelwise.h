// Contractions that treat each channel by itself: depthwise convolutions and their gradients. They are no products of matrices (a register tile would use an element that
// it has loaded once), so lanes are channels, and each channel's few taps are a row-wise kernel's inner loop: what it takes is reading the image.
#pragma once

#include "ir/graph.h"
#include "ir/program.h"

namespace nnc {

/// The label of the channels, which both operands and the result have, or -1: of a contraction whose operand is seen through a window and one of whose operands has no
/// further axis that the result has, or a short one.
int channel_label(const Graph&, const Node& contract);

/// Whether the guards of such a contraction's kernel can be bounds of its inner loops (verify_program.cpp, P5).
bool can_bound_loops(const MapKernel&);
/// How many neighbouring points of the kernel's outer axes are in registers at once (Axis::together), from target and shapes alone: what they share is loaded once.
void choose_blocks(const Program&, MapKernel&);

}  // namespace nnc
