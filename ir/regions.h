// Regions: operations that own a body, a graph closed in itself.
//
// scan runs its body for t = 0, 1, ..., steps - 1, or in reverse from steps - 1 to 0. Operands, in this order:
//   carries    `carried` of them, their values before the first step; what the body makes of them is what the next step reads
//   sequences  `sliced` of them, of which step t reads slice t
//   captures   all others: the same at each step
// The body reads them as its inputs carry.K, slice.K and capture.K (not all need be read) and nothing else from outside: it has no persistents, scalars, draws or
// updates. Its outputs are, in this order, carry.0, carry.1, ... for the next step, of the types of the carries, and then stack.0, stack.1, ...: what step t gives stands at
// t of a sequence, whatever the direction.
//
// The steps of a sequence are axis 0, or axis 1 behind the rows of the batch: rows are neither sliced nor stacked, and a body computes with all of them.
//
// A scan's own type says nothing (bool[]): its value is read by `result` alone. Results are numbered as the body's outputs: the carries after the last step, then the sequences.
#pragma once

#include <optional>
#include <string>

#include "ir/graph.h"

namespace nnc {

/// So many scans may stand one in the other where they are to become regions of a program, around one kernel.
inline constexpr size_t max_region_depth = 4;

enum class BodyInput : uint8_t { carry, slice, capture };

/// Of the type of a sequence or of one of its slices: which axis of the sequence its steps are.
inline int step_axis(const Type& type) { return type.has_rows() ? 1 : 0; }
/// The type of a slice; the sequence has an axis of steps.
Type slice_type(Type sequence);
Type sequence_type(Type slice, int64_t steps);

/// "carry.0"
std::string body_input_name(BodyInput kind, int number);
/// Which operand of the scan an input of its body reads; nothing if the name says none.
std::optional<int> operand_of_input(const Node& scan, const Node& input);
/// Likewise for the operand with number k: what it is, and its number among those.
struct BodyInputPlace {
  BodyInput kind;
  int number;
};
BodyInputPlace place_of_operand(const Attributes& scan, int operand);
/// The type in which the body reads an operand.
Type body_input_type(const Attributes& scan, int operand, const Type& type);
/// "carry.0" or "stack.0": of output number k.
std::string body_output_name(const Attributes& scan, int output);
/// Of result number k of a scan.
Type result_type(const Node& scan, int result);

}  // namespace nnc
