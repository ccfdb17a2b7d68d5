// Emission of a program: its kernels and the step function `run(context, thread, steps)` around them. See step.cpp.
#pragma once

#include <llvm/IR/Module.h>

#include <memory>
#include <vector>

#include "codegen/emitter.h"

namespace llvm {
class TargetMachine;
}

namespace nnc {

/// A program, or a part of it, as an LLVM module. `part` says which of its kernels' functions it defines (empty: all); the others are only
/// declared. The part that holds `entry` has what is called from outside: "run" (NncRun in runtime/step_abi.h), and where there are several `segments`,
/// given by their first kernels, "run.0", "run.1", ...
/// What a thread's scratch needs for these kernels goes to `scratch_bytes`.
std::unique_ptr<llvm::Module> emit_program(const Program&, const KernelSharing&, const SourceMap* sources, llvm::TargetMachine&,
                                           llvm::LLVMContext&, int64_t& scratch_bytes, const std::vector<bool>& part = {}, bool entry = true, std::vector<size_t> segments = {0});

/// Cuts a program into at most `parts` parts of about equal work for the code generator, by function; part 0 is to hold the entry.
std::vector<std::vector<bool>> split_program(const Program&, const KernelSharing&, size_t parts);

}  // namespace nnc
