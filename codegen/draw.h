// Random leaves in kernels: Philox4x32-10 over lanes, with the numbers of base/philox.h. One for each kernel being emitted.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "codegen/emitter.h"

namespace nnc {

class DrawEmitter {
 public:
  explicit DrawEmitter(Emitter& e) : e_(e) {}
  /// The value of a `random` instruction: one number where all lanes draw the same, else a vector. Absent lanes hold some number.
  llvm::Value* draw(const Instruction&, Point&);

 private:
  /// How far the lanes of a vector are from one another; width 1: they are neighbours, or all the same.
  struct Lanes {
    int width = 1;
    int64_t stride = 0;        ///< in elements
    bool across_rows = false;  ///< each is another row
    auto operator<=>(const Lanes&) const = default;
  };
  /// What a kernel keeps of a site: the words of 64 neighbouring elements of a row, or of each lane's, and which they are.
  struct Kept {
    llvm::Value* words = nullptr;
    llvm::Value* place = nullptr;
    int rows = 1;              ///< for so many rows of a block, one after the other
  };
  /// Words for lanes apart: one each, or 64 each, which are a block of Philox's or parts of two.
  enum class Form { one, blocks, apart };

  llvm::Value* draw_apart(const Instruction&, Point&, llvm::Value* row, llvm::Value* element, Lanes);
  bool loops_along(const Access&, const Point&) const;
  Kept kept(const std::string& site, const Lanes&, int rows);
  int rows_kept(const Point&) const;
  void require_block(const Kept&, llvm::Value* row, llvm::Value* element, llvm::function_ref<void(llvm::Value* block)> make);
  llvm::Value* key(const std::string& site);
  llvm::Value* update();
  llvm::Value* row_of(const Access&, Point&);
  llvm::Value* word_address(const Kept&, llvm::Value* element, int width);
  llvm::Value* to_unit(llvm::Value* words);
  llvm::Value* lane_numbers();
  llvm::Function* function(const std::string& name, const std::vector<llvm::Type*>& parameters, llvm::function_ref<void(llvm::Function*)> body);
  llvm::Function* block_function();
  llvm::Function* lanes_function(Form);
  llvm::Function* forget_function();

  Emitter& e_;
  std::map<std::string, llvm::Value*> keys_;
  std::map<std::pair<std::string, Lanes>, Kept> kept_;
};

}  // namespace nnc
