// Compiled code is looked at in stages, each of which adds one way to be wrong: passes, then kernels, then machine code. The first that differs ends the
// comparison, and bisection takes over. Steps in a row are followed only where one step is right: what is wrong by then comes from going on.
#include "verify/model_check.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "base/check.h"
#include "passes/unroll.h"

namespace nnc {
namespace {

class ModelCheck {
 public:
  ModelCheck(const CheckSubject& subject, const SourceMap& sources, VectorLevel level, int threads, const CaseOutput& output, CheckObserver& observer)
      : s_(subject), rules_(step_by_step(subject)), compiler_(CompilerUnderTest::product(level, threads)), faults_(sources, subject, output),
        rule_faults_(sources, rules_, output), observer_(observer) {}

  Verdict run() {
    check_rule_table();
    if (s_.has_gradient())
      check_gradient();
    else
      observer_.on_no_gradient();
    check_compiled();
    if (s_.steps.size() > 1 && !verdict_.failed) check_steps();
    return std::move(verdict_);
  }

 private:
  void fail(const Diagnostic& d) {
    verdict_.failed = true;
    observer_.on_fault(d);
  }

  /// Rules are checked at each step of a scan, on the values that it has there.
  static CheckSubject step_by_step(CheckSubject subject) {
    std::vector<NodeId> nodes = subject.results;
    nodes.insert(nodes.end(), subject.leaves.begin(), subject.leaves.end());
    unroll_and_follow(subject.forward, nodes);
    std::copy_n(nodes.begin(), subject.results.size(), subject.results.begin());
    std::copy_n(nodes.end() - ptrdiff_t(subject.leaves.size()), subject.leaves.size(), subject.leaves.begin());
    return subject;
  }

  void check_rule_table() {
    GradientCheckOptions options;
    std::vector<bool> nodes = nodes_with_gradient(rules_.forward, rules_.results, rules_.leaves);
    std::vector<RuleReport> reports = check_rules(rules_.forward, s_.steps[0], nodes, options);
    observer_.on_rules(reports);
    for (const RuleReport& r : reports)
      if (r.failed) fail(rule_faults_.of_rule(r, options));
  }

  void check_gradient() {
    const bool rules_failed = verdict_.failed;
    LossReport r = check_loss(s_.forward, s_.steps[0], s_.differentiated(), s_.leaves, {});
    std::vector<std::string> not_finite;
    for (NodeId leaf : r.unchecked) verdict_.unchecked.push_back(s_.forward[leaf].attributes.text);
    for (const NotFinite& n : r.not_finite)
      not_finite.push_back(n.is_gradient ? s_.forward[n.node].attributes.text : s_.differentiated_text());
    observer_.on_gradient(r, verdict_.unchecked, not_finite);
    if (!r.not_finite.empty()) {
      verdict_.finite = false;
      verdict_.loss_finite = r.is_loss_finite();
      observer_.on_fault(faults_.of_not_finite(r));
    }
    if (r.failed) fail(faults_.of_gradient(r, rules_failed));
  }

  void check_compiled() {
    observer_.on_compiler(compiler_.level, compiler_.threads);
    const size_t all = compiler_.passes.size();
    for (const auto& [name, graph] : s_.compiled) {
      GraphCase c{graph, s_.steps[0]};
      RoundingModel model(c.graph, c.bindings);
      bool agrees = check_stage_of(c, model, name + ", passes, in 64 bits", all, Executor::graph_interpreter) &&
                    check_stage_of(c, model, name + ", kernels, in 64 bits", all, Executor::program_interpreter) &&
                    check_stage_of(c, model, name + ", machine code", all, Executor::compiled) &&
                    check_stage_of(c, model, name + ", machine code, no passes", 0, Executor::compiled);
      if (!agrees) return fail(faults_.of_compiler(compiler_, c, name));
    }
  }

  bool check_stage_of(const GraphCase& c, RoundingModel& model, const std::string& what, size_t passes, Executor executor) {
    Comparison compared;
    try {
      compared = model.compare(compiler_.run(c.graph, c.bindings, passes, executor), executor == Executor::compiled ? Precision::f32 : Precision::f64);
    } catch (const InternalError&) {
      compared.difference = Difference{};
      compared.worst = compared.worst_error = INFINITY;
    }
    observer_.on_comparison(what, compared);
    return !compared.difference;
  }

  /// Several steps, each from what the one before left.
  std::vector<Results> chain(const std::function<Results(const Bindings&)>& step) const {
    std::vector<Results> all;
    Bindings b = s_.steps[0];
    for (const Bindings& given : s_.steps) {
      b.inputs = given.inputs;
      b.scalars = given.scalars;
      all.push_back(step(b));
      for (const auto& [name, value] : all.back().updates) b.persistents[name] = value;
    }
    return all;
  }

  void check_steps() {
    const Graph& graph = s_.compiled[0].second;
    const Graph steps = written_out(graph);
    RoundingModel model([&](const ValueHook& hook) {
      return chain([&](const Bindings& b) { return interpret(steps, b, false, hook); }).back();
    });
    Route route = Route::optimized();
    route.level = compiler_.level;
    route.threads = compiler_.threads;
    RoutedGraph compiled(graph, route, s_.steps[0].rows);
    std::vector<Bindings> starts;
    std::vector<Results> found = chain([&](const Bindings& b) {
      starts.push_back(b);
      return compiled.run(b);
    });
    Comparison compared = model.compare(found.back(), Precision::f32);
    observer_.on_comparison(fmt::format("{}, {} times in a row", s_.compiled[0].first, s_.steps.size()), compared);
    if (!compared.difference) return;
    // The step that is wrong by itself, from where compiled code stood.
    for (size_t i = 1; i < starts.size(); ++i) {
      if (!RoundingModel(graph, starts[i]).compare(found[i], Precision::f32).difference) continue;
      return fail(faults_.of_compiler(compiler_, {graph, starts[i]}, fmt::format("step {}", i + 1)));
    }
    fail(faults_.of_steps(graph, *compared.difference));
  }

  const CheckSubject& s_;
  const CheckSubject rules_;
  const CompilerUnderTest compiler_;
  FaultReporter faults_, rule_faults_;
  CheckObserver& observer_;
  Verdict verdict_;
};

}  // namespace

Verdict check_model(const CheckSubject& subject, const SourceMap& sources, VectorLevel level, int threads, const CaseOutput& output,
                    CheckObserver& observer) {
  return ModelCheck(subject, sources, level, threads, output, observer).run();
}

}  // namespace nnc
