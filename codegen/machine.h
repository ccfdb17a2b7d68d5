// LLVM's description of the machine that code is generated for, and the passes that code goes through. Internal to codegen.
#pragma once

#include <memory>

#include "base/target.h"

namespace llvm {
class Module;
class TargetMachine;
}  // namespace llvm

namespace nnc {

/// LLVM's global tables; once, before threads use them.
void initialize_llvm();
/// For the target's CPU (that of its level where none is named). Position-independent, small code model.
std::unique_ptr<llvm::TargetMachine> make_target_machine(const Target&);
/// Gives the module the machine's triple and data layout; to be done before code is emitted that depends on them.
void set_machine(llvm::Module&, llvm::TargetMachine&);
/// The middle end: a short list of function passes, see machine.cpp.
void optimize(llvm::Module&, llvm::TargetMachine&);

}  // namespace nnc
