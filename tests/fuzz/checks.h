// A check takes a graph along one route (verify/route.h) and holds what comes out against the interpreter within the error model; checks_for draws
// the routes of a case, so that over many cases every pass, order of passes, executor, vector level, number of threads and capacity comes up.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "verify/route.h"
#include "verify/reduce.h"
#include "tests/fuzz/coverage.h"
#include "tests/fuzz/random.h"
#include "tests/fuzz/shared_steps.h"

namespace nnc::fuzz {

/// How many rows the same code is run on in a second run.
inline int64_t fewer_rows_than(int64_t rows) { return rows < 3 ? 1 : rows * 2 / 3; }

struct Check {
  Route route;
  std::vector<std::string> rules;  ///< simplification rules that run, one by one, before the passes
  int other_threads = 0;           ///< so many threads must give the same bits as the route's; 0: not asked
  bool fewer_rows = false;         ///< the same code on fewer rows as well
  bool text = false;               ///< print, parse and print again instead of running
  Sharing sharing;                 ///< with workers: the step shared instead, at the route's vector level, against one worker
  std::string encode() const;      ///< for --route: "executor=compiled level=avx2 passes=simplify,cse"
  static Check decode(const std::string&);  ///< std::runtime_error on what encode does not write
};

std::vector<VectorLevel> host_levels();

/// What a graph is put through by default: a handful, drawn at random.
std::vector<Check> checks_for(Random&, const Graph&);
/// All there is, for kept failures.
std::vector<Check> every_check(const Graph&);

struct Failure {
  std::string kind;    ///< "difference", "exception", "crash", "hang": together with `what` the name of its group
  std::string what;    ///< "out1" for a difference, the condition for a failed check, the signal
  std::string detail;  ///< for people
  std::string check;   ///< encoded
  std::string graph;   ///< a program's: the graph that the check took, with its values (verify/case_file.h); empty where the program as a whole is at fault
  bool same_fault(const Failure& other) const { return kind == other.kind && (kind == "difference" || what == other.what); }
};

/// In this process: an exception is a failure, a crash is not survived. Coverage is added to, if given.
std::optional<Failure> run_check(const GraphCase&, const Check&, Coverage* = nullptr);
/// All of them, with one error model; stops at the first failure.
std::optional<Failure> run_checks(const GraphCase&, const std::vector<Check>&, Coverage* = nullptr);

}  // namespace nnc::fuzz
