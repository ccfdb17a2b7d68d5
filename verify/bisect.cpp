// Three roads out of one graph, each a little longer than the one before: passes and then the graph interpreter; the same,
// lowered, and then the program interpreter; the same, compiled. What the first road already changes is a pass's doing; what only
// the second changes is lowering's, scheduling's or memory planning's; what only the third changes is code generation's. Along
// each road the number of passes is raised from none until the value changes, so that the last of them names the pass, or the
// kind of kernel that lowering or code generation gets wrong. Every pass is checked, not halved: passes are few, and an early
// pass may hide what a later one does.
//
// Passes keep the mathematics, so that in 64 bits nothing but 64-bit roundings may change; compiled code is held to f32.
#include "verify/bisect.h"

#include <cmath>
#include <exception>

#include <fmt/format.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

Precision precision_of(Executor executor) { return executor == Executor::compiled ? Precision::f32 : Precision::f64; }

/// One stage held against the interpreter.
std::optional<Culprit> compare_stage(const CompilerUnderTest& compiler, const GraphCase& c, size_t count, Executor executor,
                                     RoundingModel& model) {
  Culprit culprit;
  culprit.executor = executor;
  culprit.passes = count;
  culprit.pass = count > 0 ? compiler.passes[count - 1].name : "";
  try {
    Comparison compared = model.compare(compiler.run(c.graph, c.bindings, count, executor), precision_of(executor));
    if (!compared.difference) return std::nullopt;
    culprit.difference = *compared.difference;
    culprit.allowed = compared.allowed;
  } catch (const InternalError& e) {
    culprit.crash = e.what();
  }
  return culprit;
}

std::string ordinal(size_t n) {
  std::string_view ending = n % 100 / 10 == 1 ? "th" : n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
  return fmt::format("{}{}", n, ending);
}

bool all_finite(const Results& results) {
  for (const auto* map : {&results.outputs, &results.updates})
    for (const auto& [name, t] : *map)
      for (double v : t.values)
        if (!std::isfinite(v)) return false;
  return true;
}

}  // namespace

CompilerUnderTest CompilerUnderTest::product(VectorLevel level, int threads) {
  CompilerUnderTest c;
  for (std::string_view name : default_passes()) c.passes.push_back(named_pass(name));
  c.level = level;
  c.threads = threads;
  return c;
}

Results CompilerUnderTest::run(const Graph& graph, const Bindings& bindings, size_t count, Executor executor) const {
  Graph g = graph;
  run_passes(g, {passes.begin(), passes.begin() + long(count)});
  if (executor == Executor::graph_interpreter) return interpret(g, bindings);
  if (execute) return execute(g, bindings, executor);
  Route route;
  route.executor = executor;
  route.level = level;
  route.threads = threads;
  return run_route(std::move(g), bindings, route);
}

std::string Culprit::text() const {
  std::string after =
      pass.empty() ? "with no pass run" : fmt::format("after the pass `{}` ({} of the pipeline)", pass, ordinal(passes));
  switch (executor) {
    case Executor::graph_interpreter:
      return fmt::format("the pass `{}` ({} of the pipeline)", pass, ordinal(passes));
    case Executor::program_interpreter:
      return fmt::format("lowering (kernels, schedule or memory plan) {}", after);
    case Executor::compiled:
      break;
  }
  return fmt::format("code generation {}", after);
}

std::optional<Culprit> find_culprit(const CompilerUnderTest& compiler, const GraphCase& c, const BisectOptions& options) {
  auto poll = [&] {
    if (options.poll) options.poll();
  };
  size_t all = compiler.passes.size();
  RoundingModel model(c.graph, c.bindings);
  for (size_t count = 1; count <= all; ++count) {
    poll();
    if (auto culprit = compare_stage(compiler, c, count, Executor::graph_interpreter, model)) return culprit;
  }
  for (Executor executor : {Executor::program_interpreter, Executor::compiled}) {
    // Without any pass too: that is a way of its own, and simplification may remove what is wrong.
    poll();
    std::optional<Culprit> whole = compare_stage(compiler, c, all, executor, model);
    std::optional<Culprit> plain = compare_stage(compiler, c, 0, executor, model);
    if (plain) return plain;
    if (!whole) continue;
    for (size_t count = 1; count < all; ++count) {
      poll();
      if (auto culprit = compare_stage(compiler, c, count, executor, model)) return culprit;
    }
    return whole;
  }
  return std::nullopt;
}

std::optional<Culprit> check_stage(const CompilerUnderTest& compiler, const GraphCase& c, const Culprit& culprit) {
  RoundingModel model(c.graph, c.bindings);
  return compare_stage(compiler, c, culprit.passes, culprit.executor, model);
}

GraphCase reduce_culprit(const CompilerUnderTest& compiler, const GraphCase& c, const Culprit& culprit,
                         const BisectOptions& options, const ReduceOptions& reduce) {
  // Numbers that are not finite have ways of their own to differ: the search does not wander there unless it began there.
  bool finite = culprit.crash.empty() && all_finite(interpret(c.graph, c.bindings));
  bool stopped = false;
  auto fails = [&](const GraphCase& candidate) {
    if (stopped) return false;
    if (options.poll) try {
        options.poll();
      } catch (...) {
        stopped = true;
        return false;
      }
    RoundingModel model(candidate.graph, candidate.bindings);
    if (finite && !all_finite(model.expected())) return false;
    // What was right before this stage has to be right still: another fault is another case.
    if (culprit.executor == Executor::graph_interpreter &&
        compare_stage(compiler, candidate, culprit.passes - 1, culprit.executor, model))
      return false;
    std::optional<Culprit> found = compare_stage(compiler, candidate, culprit.passes, culprit.executor, model);
    if (!found || found->crash.empty() != culprit.crash.empty()) return false;
    if (culprit.executor != Executor::graph_interpreter) {
      if (compare_stage(compiler, candidate, culprit.passes, Executor::graph_interpreter, model)) return false;
      if (culprit.executor == Executor::compiled && !compiler.execute &&
          compare_stage(compiler, candidate, culprit.passes, Executor::program_interpreter, model))
        return false;
    }
    return true;
  };
  return reduce_case(c, fails, reduce);
}

}  // namespace nnc
