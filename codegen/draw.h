// Random leaves in kernels: Philox4x32-10 over lanes, with the numbers of base/philox.h. One for each kernel being emitted.
#pragma once

#include <map>
#include <string>

#include "codegen/emitter.h"

namespace nnc {

class DrawEmitter {
 public:
  explicit DrawEmitter(Emitter& e) : e_(e) {}
  /// The value of a `random` instruction: one number where all lanes draw the same, else a vector. Absent lanes hold some number.
  llvm::Value* draw(const Instruction&, Point&);

 private:
  /// What a kernel keeps of a site: the words of 64 neighbouring elements of a row, and which they are.
  struct Kept {
    llvm::Value* key = nullptr;
    llvm::AllocaInst* words = nullptr;
    llvm::AllocaInst* place = nullptr;
  };
  Kept& kept(const std::string& site);
  void require_block(const Kept&, llvm::Value* row, llvm::Value* element);
  llvm::Value* row_of(const Access&, Point&);
  llvm::Value* word_address(const Kept&, llvm::Value* element);
  llvm::Value* to_unit(llvm::Value* words);
  llvm::Function* block_function();

  Emitter& e_;
  std::map<std::string, Kept> kept_;
};

}  // namespace nnc
