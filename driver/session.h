// What every command begins with: its common options, and a compilation whose diagnostics are printed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"
#include "engine/compilation.h"
#include "engine/step.h"

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

/// A compilation as a command has it: by its options, from a file, with what is wrong printed.
class Session : public Compilation {
 public:
  explicit Session(const CommonOptions&);
  CommonOptions options;

  /// Reads and checks the file.
  void load();
  /// Checks its text.
  void load(std::string text);
  /// UserError E0603 if the file has no train block.
  void require_train();
  int thread_count() const;
  /// The seed of the run that trained these weights (their metadata), unless the options give one.
  uint64_t seed_of(const std::map<std::string, std::string>& metadata) const;
  void print(const Diagnostic&) const;
};

/// A command's work on one compilation; prints the diagnostics that it throws (UserError, ProgramErrors) with the text that their places are in.
int with_session(const CommonOptions&, const std::function<int(Session&)>& work);

std::string read_standard_input();                    ///< to its end; UserError likewise

}  // namespace nnc
