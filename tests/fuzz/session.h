// A run of the fuzzer: cases one after the other, each in a sandbox; failures shrunk, written down and grouped; coverage added up.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/fuzz/checks.h"
#include "tests/fuzz/coverage.h"
#include "tests/fuzz/sandbox.h"

namespace nnc::fuzz {

enum class Kind { graph, program };

struct SessionOptions {
  uint64_t seed = 1;
  int64_t count = 0;        ///< cases; 0: no limit
  bool reach_all = false;   ///< go on beyond `count`, up to four times as many, until each operation was reached in every element type
  double seconds = 0;       ///< 0: no limit
  bool graphs = true, programs = true;
  std::string out = "fuzz-failures";
  std::string command = "nnc-fuzz";  ///< for the line that replays
  bool shrink = true;
  bool quiet = false;       ///< no line of progress
  double shrink_seconds = 60;
  Kind kind_of(uint64_t case_seed) const { return programs && (!graphs || case_seed % 3 == 0) ? Kind::program : Kind::graph; }
};

struct Found {
  Kind kind{};
  uint64_t seed = 0;
  Failure failure;
  std::string file, group;
};

/// What a seed means, as text that --replay takes: the graph with its values, or the program. It follows from the seed alone,
/// whatever compiler built this.
std::string case_text(Kind, uint64_t seed);

/// A failure as text through the sandbox's pipe.
std::string encode(const std::optional<Failure>&);
/// Reads one back; what ended the child otherwise is a failure of its own.
std::optional<Failure> outcome(const SandboxResult&, std::string* rest = nullptr);

class FuzzSession {
 public:
  explicit FuzzSession(SessionOptions o) : options_(std::move(o)) {}
  /// Until count, time or `stop` (set by Ctrl-C).
  void run(const volatile bool& stop);
  std::string summary() const;
  const std::vector<Found>& found() const { return found_; }
  const Coverage& coverage() const { return coverage_; }

 private:
  void run_graph(uint64_t seed);
  void run_program(uint64_t seed);
  void shrink_graph(Kind, uint64_t seed, GraphCase, Failure);
  void report(Found);
  bool known(const std::string& group) const;

  SessionOptions options_;
  Coverage coverage_;
  std::vector<Found> found_;
  std::map<std::string, int> groups_;
  int64_t graphs_ = 0, programs_ = 0, checks_ = 0;
  double seconds_ = 0;
};

/// A graph's text with values in comments (verify/case_file.h), or without: random ones then.
GraphCase read_case(const std::string& text, const std::string& path);

/// Replays a kept case: every check, or those given. The first failure, if any. `path` ends in .nnir or .nn.
std::vector<Failure> replay(const std::string& path, const std::vector<Check>&);

}  // namespace nnc::fuzz
