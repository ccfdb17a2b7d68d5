// Between the two halves of verify_program: every access of every kernel, and the check of the memory plan that looks at nothing else.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// Where a piece of a kernel's code stands, which decides what it may do.
enum class CodePlace : uint8_t { outer_block, inner_block, operand_a, operand_b, epilogue, after_rows };

/// One load or store instruction.
struct Touch {
  size_t kernel = 0;
  bool load = false;  ///< otherwise a store
  bool add = false;   ///< store_add
  bool of_chains = false;  ///< chains.h
  CodePlace place{};
  size_t block = 0;
  size_t instruction = 0;  ///< in the kernel, in the order of for_each_instruction
  const Access* access = nullptr;
  const std::vector<Axis>* axes = nullptr;
  std::vector<bool> loops;  ///< axes the code runs over
};

/// By buffer, in order of execution.
using BufferTouches = std::vector<std::vector<Touch>>;

/// What find_faults has found, up to a number of faults that says enough.
class FaultList {
 public:
  /// Where the faults that are added next are.
  ProgramFault where;
  void add(std::string text);
  bool empty() const { return faults_.empty(); }
  bool full() const;
  std::vector<ProgramFault> take() { return std::move(faults_); }

 private:
  std::vector<ProgramFault> faults_;
};

/// Do two buffers of one block share a byte? Both must lie within their block.
bool buffers_overlap(const Buffer& a, const Buffer& b);
/// Invariants P8 to P12 and P15 of verify_program.cpp; buffers must lie within their blocks, accesses within their buffers.
void check_memory(const Program&, const BufferTouches&, FaultList&);

}  // namespace nnc
