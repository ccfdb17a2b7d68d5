// What changed in LLVM's interface between the versions that nnc builds with, 19 to 22, said once. Internal to codegen.
#pragma once

#include <llvm/Config/llvm-config.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/TargetParser/Triple.h>

#include <string>

namespace nnc {

// Triples, which were text, became llvm::Triple: in 21 where a machine or a module is made for one, in 22 where a target is
// looked up by one.
#if LLVM_VERSION_MAJOR >= 21
inline llvm::Triple machine_triple(const std::string& text) { return llvm::Triple(text); }
#else
inline std::string machine_triple(const std::string& text) { return text; }
#endif
#if LLVM_VERSION_MAJOR >= 22
inline llvm::Triple target_triple(const std::string& text) { return llvm::Triple(text); }
#else
inline std::string target_triple(const std::string& text) { return text; }
#endif

/// A call of an intrinsic without types or operands (which `{}` stands for has become ambiguous in 20).
inline llvm::CallInst* call_intrinsic(llvm::IRBuilderBase& ir, llvm::Intrinsic::ID id) {
  return ir.CreateIntrinsic(id, llvm::ArrayRef<llvm::Type*>(), llvm::ArrayRef<llvm::Value*>());
}

}  // namespace nnc
