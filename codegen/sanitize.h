// Sanitizers for generated code. When nnc itself is built with AddressSanitizer or ThreadSanitizer, what it generates is instrumented for the same
// one, so that a kernel that leaves its buffer, or two threads that meet in one, are reported as in any other code. Internal to codegen.
#pragma once

#include <string>

#include "ir/program.h"

namespace llvm {
class Module;
class TargetMachine;
}  // namespace llvm

namespace nnc {

/// After the optimiser; does nothing in a plain build.
void instrument_for_sanitizer(llvm::Module&, llvm::TargetMachine&, const Program&);
/// Address of a function of this process' sanitizer that instrumented code calls; 0 for every other name and in a plain build.
uint64_t sanitizer_symbol(const std::string& name);

}  // namespace nnc
