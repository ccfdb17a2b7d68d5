// One step of a program in memory that cannot be left unseen: every block of it (arena, persistents, scratch, each data field, each output, scalars, results,
// row numbers) stands directly before or directly after pages that no access survives. Tests of the memory plan and of the edges of kernels run in it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codegen/codegen.h"
#include "ir/interpreter.h"
#include "ir/program.h"

namespace nnc::test {

/// Where memory stands between its guards.
enum class Placement : uint8_t {
  planned,         ///< buffers where the memory plan put them; each block ends at a guard
  each_at_end,     ///< every temporary and persistent on pages of its own, its last byte the last before a guard: aligned to its elements alone
  each_at_begin,   ///< the same, its first byte the first after a guard
};

/// Pages with guards around them. Bytes are 0xFF at first: NaN to who reads them as floats, -1 as integers.
class GuardedBlock {
 public:
  GuardedBlock(int64_t bytes, bool at_end);
  ~GuardedBlock();
  GuardedBlock(GuardedBlock&&) noexcept;
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool covers(const void* address) const;  ///< with its guards
  /// Makes the whole pages of a block inaccessible but for these ranges, which begin and end at pages.
  void forbid_all_but(const std::vector<std::pair<int64_t, int64_t>>& offset_and_bytes);

 private:
  uint8_t *base_ = nullptr, *data_ = nullptr;
  int64_t bytes_ = 0, mapped_ = 0;
};

class GuardedStep {
 public:
  /// Compiles the program once. Its arena and persistents are laid out anew but for Placement::planned.
  GuardedStep(Program, Placement);
  const Program& program() const { return program_; }

  struct Options {
    int threads = 1;
    int steps = 1;               ///< of the same rows; persistents carry over, results are those of the last
    int64_t scratch_shift = 0;   ///< bytes that the scratch stands before its guard, a multiple of 64: another alignment that the ABI allows
    int64_t field_slack = 0;     ///< readable bytes after the last row of a field
  };
  /// Runs on the bindings' rows (each field's rows stored backwards, and found through the row numbers). Empty if a kernel touched a guard; fault() then says
  /// where. With more than one thread a touch ends the process.
  std::optional<Results> run(const Bindings&, const Options&);
  std::optional<Results> run(const Bindings& b) { return run(b, Options{}); }
  const std::string& fault() const { return fault_; }

 private:
  Program program_;
  Placement placement_;
  std::unique_ptr<CompiledProgram> code_;
  std::string fault_;
};

/// The bits of all values are the same, those of NaN aside. Otherwise what differs.
std::string first_difference(const Results& found, const Results& expected);

}  // namespace nnc::test
