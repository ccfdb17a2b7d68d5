// Multiplications that a loop repeats become sums.
#pragma once

#include <llvm/IR/PassManager.h>

namespace nnc {

/// In innermost loops: a product of the loop's counter and what does not change in it is carried from round to round by adding, instead of being computed anew (J. Cocke, K. Kennedy,
/// "An algorithm for reduction of operator strength", 1977). Shifts that an address can hold (times 2, 4, 8) stay. Changes no value.
///
/// This is the part of LLVM's own loop strength reduction that generated code needs. The emitters make addresses as they should be (pointers that advance, constant offsets);
/// LLVM's pass weighs all formulas of all addresses of a loop nest against each other, which took a quarter of the time to compile and made nothing faster.
struct StrengthReduction : llvm::PassInfoMixin<StrengthReduction> {
  llvm::PreservedAnalyses run(llvm::Function& function, llvm::FunctionAnalysisManager& analyses);
};

}  // namespace nnc
