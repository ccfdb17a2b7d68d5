// Code generation: Program -> LLVM IR -> machine code, loaded into this process or shown as text for `nnc ir`. The only folder that sees LLVM.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/source.h"
#include "base/target.h"
#include "ir/program.h"
#include "runtime/step_abi.h"

namespace nnc {

/// The host with LLVM's name of its CPU.
Target host_target_with_cpu();
/// A target by CPU name ("znver4", "haswell", "x86-64", "native") or level ("portable", "avx2", "avx512"); UserError for an unknown one and for one of 32 bits.
Target target_by_name(const std::string& name);
/// What code for the target may use and this machine lacks, by LLVM's names ("fma4"), sorted. None: the code runs here.
std::vector<std::string> features_missing_here(const Target&);
std::string llvm_version();

enum class Sanitizer : uint8_t { none, address, thread };
/// The one that nnc was built with: compiled programs are instrumented for it too. Under `address` a program should have gone through
/// spread_memory (passes/poison.h), or a kernel that leaves one buffer lands unseen in the next.
Sanitizer code_sanitizer();

struct CodegenStatistics {
  double ir_ms = 0, optimize_ms = 0, compile_ms = 0;
  int64_t code_bytes = 0;
  int64_t functions = 0;  ///< of kernels: equal ones share
};

/// Machine code in this process; the code lives as long as the object.
class CompiledProgram {
 public:
  virtual ~CompiledProgram() = default;
  virtual NncRun run() const = 0;
  virtual const std::vector<NncRun>& segments() const = 0;  ///< the same in parts (CompileOptions::segments)
  virtual int64_t scratch_bytes() const = 0;  ///< of one thread
  virtual const CodegenStatistics& statistics() const = 0;
};

struct CompileOptions {
  bool debugger = false;  ///< tell gdb of the code
  bool perf_map = false;  ///< write names and places of the functions to /tmp/perf-PID.map, where perf looks for them
  int threads = 0;        ///< that compile; 0: as many as the machine has, up to eight
  bool verify = false;    ///< have LLVM check the IR as emitted (a bug of nnc if it objects)
  std::vector<size_t> segments = {};  ///< the first kernel of each part that can be run by itself, from 0, regions whole; empty: segments_of (ir/program_regions.h)
  bool share = true;      ///< equal kernels are one function; else each has its own, to compare with
};

/// Compiles for the program's target, which must be one that this machine can run. Kernels become functions named after kernel and source
/// line ("nnc.train.fc1.contract@mlp.nn:12"), visible to gdb and perf.
std::unique_ptr<CompiledProgram> compile(const Program&, const SourceMap* sources, const CompileOptions& = {});

enum class CodeStage : uint8_t { llvm, llvm_optimized, assembly };
/// The program's text at a stage of code generation.
std::string emit_text(const Program&, const SourceMap* sources, CodeStage);

}  // namespace nnc
