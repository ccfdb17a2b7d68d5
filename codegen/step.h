// Emission of the step function `run(context, thread, steps)`. See step.cpp.
#pragma once

#include <llvm/IR/Module.h>

#include <memory>

#include "codegen/emitter.h"

namespace llvm {
class TargetMachine;
}

namespace nnc {

/// The whole program as an LLVM module with one external function, "run" (NncRun in runtime/step_abi.h). Adds what a thread's scratch needs to `scratch_bytes`.
std::unique_ptr<llvm::Module> emit_program(const Program&, const SourceMap* sources, llvm::TargetMachine&, llvm::LLVMContext&,
                                           int64_t& scratch_bytes);

}  // namespace nnc
