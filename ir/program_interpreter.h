// The interpreter of programs: one element at a time, in 64 bits, in the order the program states. Held against interpret(graph) it tells whether
// lowering is right; held against compiled code, whether code generation is.
#pragma once

#include "ir/interpreter.h"
#include "ir/program.h"

namespace nnc {

/// One step. `bindings.inputs` are the fields by name, row r of the batch being row r of the tensor; rows is at most the planned number.
/// Results: `outputs` holds scalar results (rank 0) and tensor outputs, `updates` every persistent as it is after the step. Memory is NaN until it
/// is written. Numbers as in ir/interpreter.h. Throws UserError E0511 where something is unbound; InternalError where an access leaves its buffer.
Results interpret_program(const Program&, const Bindings&);

}  // namespace nnc
