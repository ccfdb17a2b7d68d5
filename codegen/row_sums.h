// The sums that a contraction's epilogue makes over the rows of its tiles (ContractKernel::after_rows), while a column of tiles passes: for each line of the piece's block
// and each column one accumulator in scratch memory, to which rows are added in ascending order, whatever tile they came in.
#pragma once

#include "codegen/contract_plan.h"
#include "codegen/partial_sums.h"

namespace nnc {

class RowSums {
 public:
  RowSums(Emitter&, const ContractPlan&);
  /// body(first row, end) for each chain of `rows` rows (i64, at least 1), in order; joins them. Behind it the places hold the sums.
  void each_chain(llvm::Value* rows, llvm::function_ref<void(llvm::Value* begin, llvm::Value* end)> body);
  /// Where the vector of sum `number` stands that begins at `column` of the tiles, of a line of the block.
  llvm::Value* place(size_t number, llvm::Value* line, llvm::Value* column);

 private:
  /// body(offset) for each vector of a level.
  void each_vector(llvm::function_ref<void(llvm::Value* offset)> body);
  llvm::Value* level_base(llvm::Value* level);  ///< of what waits

  Emitter& e_;
  const ContractPlan& plan_;
  llvm::Value* sums_;
};

}  // namespace nnc
