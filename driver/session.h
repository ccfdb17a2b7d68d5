// One compilation, as every command needs it: the file, its diagnostics, the module, and the way from graphs to running code.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"
#include "base/target.h"
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "ir/graph.h"
#include "ir/program.h"
#include "passes/lower.h"
#include "runtime/step_runner.h"

namespace nnc {

/// Exit statuses of the command line.
enum ExitStatus : int { exit_done = 0, exit_user_error = 1, exit_usage = 2, exit_internal = 70, exit_interrupted = 130 };

/// One diagnostic for the user: on standard error, or with `json` as a line on standard output. Where memory is short, without layout.
void print_diagnostic(const Diagnostic&, const SourceMap&, bool json);

/// Options that most commands share.
struct CommonOptions {
  std::string file;
  std::vector<std::string> set;        ///< PATH=VALUE
  std::vector<std::string> data;       ///< FIELD=PATH
  std::optional<int64_t> seed;             ///< checked with the other counts, so that a wrong one is reported at the option
  std::optional<int64_t> epochs, steps;
  std::optional<int> threads;
  std::string cpu;                     ///< "": the host
  bool perf_map = false;               ///< tell perf and gdb the kernels' names
  bool json = false;
  bool quiet = false;
};

/// Thrown after diagnostics have been printed: ends the command with its status.
struct CommandFailed {
  int status = exit_user_error;
};

class Session {
 public:
  explicit Session(const CommonOptions&);
  CommonOptions options;
  SourceMap sources;
  Diagnostics diagnostics;
  std::unique_ptr<Module> module;
  Target target;

  /// Reads and checks the file; prints every diagnostic and throws CommandFailed if there is an error.
  void load();
  /// Prints what was reported; throws CommandFailed if there is an error.
  void finish_diagnostics();
  /// As above, if `value` is empty.
  template <class T>
  T require(std::optional<T> value) {
    finish_diagnostics();
    if (!value) throw CommandFailed{};
    return std::move(*value);
  }
  /// E-coded error about the train block if the file has none.
  void require_train();
  int thread_count() const;
  void print(const Diagnostic&);

 private:
  FileId file_;
};

/// A command's work on one compilation. A fault that ends it and names a place in a file (the interpreter's do) is printed here, where the
/// file's text is known.
int with_session(const CommonOptions&, const std::function<int(Session&)>& work);

/// The training graph at each stage of its way.
struct TrainingGraphs {
  BuiltGraph forward;
  std::vector<UpdateRule> rules;
  Graph backward;   ///< with gradients and updates
  Graph optimized;  ///< simplified and grouped into kernels
};
TrainingGraphs make_training_graphs(Session&);
/// Prints a warning if no parameter of the training step's forward graph trains.
void warn_if_nothing_trains(Session&, const BuiltGraph& forward);
/// Reports E0203 and E0302 for parameters that cannot train.
Graph make_backward(Session&, const BuiltGraph& forward, const std::vector<UpdateRule>& rules);

/// Program -> running code in this process.
struct CompiledStep {
  Program program;
  std::unique_ptr<CompiledProgram> code;
  StepProgram step;  ///< for a StepRunner
};
CompiledStep compile_step(Program, const SourceMap&, const CompileOptions& = {});
/// What the command line asks of code generation.
CompileOptions compile_options(const CommonOptions&);
/// Graph (not yet simplified) -> program for `rows` rows, whose scalar results keep their types.
Program make_program(Graph, const std::string& name, int64_t rows, const Target&, const Layouts& = {});

std::string read_text_file(const std::string& path);  ///< UserError if it cannot be read
std::string read_standard_input();                    ///< to its end; UserError likewise

}  // namespace nnc
