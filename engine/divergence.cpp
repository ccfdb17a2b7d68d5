// Runs are reproducible to the bit, so nothing has to be watched while training is fast: the last snapshot is run again, and only the step that first
// gives something not finite (the loss, or a parameter or state after its update) is interpreted node by node. It is nearly always the last one or the
// one before, so the search goes back from there in growing strides and then bisects. From the element that is not finite the interpreted values are
// followed back to where that began (divergence_cause.cpp).
#include "engine/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include <fmt/format.h>

#include "engine/bindings.h"
#include "ir/interpreter_ops.h"
#include "passes/unroll.h"
#include "runtime/row_order.h"

namespace nnc {
namespace {

struct Observer : TrainObserver {
  const std::function<void(const StepRecord&)>* told = nullptr;
  void on_step(const StepRecord& r) override {
    if (told) (*told)(r);
  }
  void on_progress(const StepRecord&, bool) override {}
  void on_save(int64_t) override {}
};

/// The values of the step after so many updates, and the numbers of the batch's rows.
Bindings bind_step(const StepRunner& runner, const TrainPlan& plan, const RunData& data, const Graph& graph, int64_t step,
                   std::vector<int64_t>& rows) {
  int64_t epoch = step / plan.steps_per_epoch(), first = step % plan.steps_per_epoch() * plan.batch;
  std::vector<int64_t> order = epoch_order(plan.rows, plan.seed, epoch, plan.shuffle);
  rows.assign(order.begin() + first, order.begin() + first + std::min<int64_t>(plan.batch, int64_t(order.size()) - first));
  Bindings bindings = bind_rows(graph, data, rows);
  ScalarValues scalars;
  for (size_t i = 0; i < plan.scalars.size(); ++i) scalars[runner.program().scalars[i]] = number_of(runner.program().scalars[i], plan.scalars[i]);
  scalars["step"] = double(step);
  scalars["epoch"] = double(epoch);
  bind_scalars(bindings, graph, scalars);
  bind_persistents(bindings, graph, runner);
  bindings.draws = {plan.seed, uint64_t(step), 0};
  return bindings;
}

/// What an f32 makes of a number.
void round_to_f32(Tensor& t) {
  for (double& v : t.values) v = rounded_to(t.dtype, v);
}

/// What an f32 cannot hold is infinite; all else is as exact as it can be.
void overflow_f32(Tensor& t) {
  if (t.dtype != DType::f32) return;
  for (double& v : t.values)
    if (std::abs(v) > double(std::numeric_limits<float>::max())) v = std::copysign(std::numeric_limits<double>::infinity(), v);
}

std::optional<size_t> first_non_finite(const Tensor& t) {
  if (!is_float(t.dtype)) return std::nullopt;
  for (size_t i = 0; i < t.values.size(); ++i)
    if (!std::isfinite(t.values[i])) return i;
  return std::nullopt;
}

class CauseNamer {
 public:
  CauseNamer(const Compilation& compilation, const TrainingGraphs& graphs, const StepRunner& runner, const Trainer& trainer)
      : sources_(compilation.sources), graphs_(graphs), written_(write_out_scans(graphs.optimized)), graph_(written_.graph), runner_(runner), trainer_(trainer),
        forward_(graph_.size(), false) {
    for (const Output& o : graph_.outputs) forward_[o.node.value] = true;
    for (uint32_t i = graph_.size(); i-- > 0;)
      for (NodeId o : graph_[NodeId{i}].operands)
        if (forward_[i]) forward_[o.value] = true;
  }

  /// The step's graph, scans written out.
  const Graph& graph() const { return graph_; }

  /// Names what made the loss, or else a persistent, of these values not finite; false if all are finite.
  bool name(const std::vector<Tensor>& values, const std::vector<int64_t>& batch_rows, Divergence& result) const {
    std::string update;
    std::optional<ValuePlace> end = find_end(values, update);
    if (!end) return false;
    ValuePlace at = find_origin(graph_, values, *end);
    result.cause = describe_origin(graph_, values, at, sources_, part_of(at.node, update));
    const std::vector<int64_t>& steps = written_.steps[at.node.value];
    for (size_t i = steps.size(); i-- > 0;) result.cause += fmt::format(", in step {} of {}", steps[i], i > 0 ? "the inner scan" : "the scan");
    if (!steps.empty()) result.cause += ", counted from 0";
    const Node& n = graph_[at.node];
    result.in_data = n.op == Op::input;
    bool of_a_row = n.type.rank() > 0 && n.type.shape[0] == Extent{1, true};
    size_t row = of_a_row ? size_t(index_of(at.element, values[at.node.value].shape)[0]) : 0;
    if (of_a_row && row < batch_rows.size())
      result.row = fmt::format("[{}{}] is of row {} of the data, counted from 1", row, n.type.rank() > 1 ? ", ..." : "", batch_rows[row] + 1);
    return true;
  }

 private:
  /// The loss if it is not finite, else the first such element of a new value.
  std::optional<ValuePlace> find_end(const std::vector<Tensor>& values, std::string& update) const {
    for (const Output& o : graph_.outputs)
      if (o.name == "loss" && first_non_finite(values[o.node.value])) return ValuePlace{o.node, 0};
    for (const Update& u : graph_.updates) {
      int index = runner_.find_persistent(u.name);
      if (index < 0 || (size_t(index) < trainer_.ignored().size() && trainer_.ignored()[size_t(index)])) continue;
      std::optional<size_t> element = first_non_finite(values[u.node.value]);
      if (!element) continue;
      update = u.name;
      return ValuePlace{u.node, *element};
    }
    return std::nullopt;
  }

  /// An operation that the user did not write stands at the line of one that was written.
  std::string part_of(NodeId node, const std::string& update) const {
    if (forward_[node.value]) return "";
    for (const UpdateRule& rule : graphs_.rules)
      for (const Node& n : rule.rule.nodes())
        if (n.span.valid() && n.span == graph_[node].span) return update.empty() ? " in an update" : fmt::format(" in the update of `{}`", update);
    return " in the gradient";
  }

  const SourceMap& sources_;
  const TrainingGraphs& graphs_;
  const WrittenOut written_;
  const Graph& graph_;
  const StepRunner& runner_;
  const Trainer& trainer_;
  std::vector<bool> forward_;  ///< by node: an output is computed from it
};

void find_cause(const CauseNamer& namer, const Bindings& bindings, const std::vector<int64_t>& rows, StepRunner& runner, Divergence& result) {
  // Rounded to f32 after every operation a step is nearly what the compiled one is: the same values overflow, and vanish where a logarithm is taken.
  // Where a fused operation rounds otherwise, the exact one may still show it.
  struct Interrupted {};
  try {
    for (auto* as_f32 : {round_to_f32, overflow_f32}) {
      auto hook = [&](InterpreterCall& call) {
        if (runner.stop_requested()) throw Interrupted{};
        as_f32(call.result);
      };
      if (namer.name(interpret(namer.graph(), bindings, true, hook).values, rows, result)) break;
    }
  } catch (const Interrupted&) {
  } catch (const UserError&) {        // an index outside its table
  } catch (const std::bad_alloc&) {   // every value of a step, in 64 bits
  }
}

}  // namespace

Divergence find_divergence(Compilation& compilation, StepRunner& runner, const TrainPlan& given, int loss, const TrainingGraphs& graphs, const RunData& data,
                           const Trainer& trainer, const std::function<void(const StepRecord&)>& on_step) {
  Divergence result;
  TrainPlan plan = given;
  plan.save_every = 0;
  plan.watch = false;
  std::span<const std::byte> from = trainer.last_finite_state();
  int64_t from_step = trainer.last_finite_step(), diverged_step = trainer.diverged_at().step;
  Observer observer;
  auto run_to = [&](int64_t updates) {
    runner.set_persistent_block(from);
    plan.first_step = from_step;
    plan.total_steps = updates;
    Trainer(runner, plan, loss).run(observer);
  };
  // Whether every persistent is finite after so many updates. Few that are not become so again, and those did no harm: the search ends between a
  // step before which all was finite and one that was followed by what was seen.
  auto is_good = [&](int64_t updates) {
    run_to(updates);
    return runner.find_non_finite(trainer.ignored()) < 0;
  };
  int64_t good = diverged_step - 1, bad = diverged_step, back = 1;
  while (good > from_step && !is_good(good)) {
    bad = good;
    good = std::max(from_step, good - back);
    back *= 2;
  }
  while (bad - good > 1) {
    int64_t middle = good + (bad - good) / 2;
    (is_good(middle) ? good : bad) = middle;
  }
  observer.told = &on_step;
  run_to(good);
  observer.told = nullptr;
  std::span<const std::byte> block = runner.persistent_block();
  result.state.assign(block.begin(), block.end());
  result.step = good;
  std::vector<int64_t> rows;
  CauseNamer namer(compilation, graphs, runner, trainer);
  // Of several workers the first has all values, and looks for all of them.
  const Bindings bindings = bind_step(runner, plan, data, namer.graph(), good, rows);
  Collectives* workers = runner.workers();
  if (!workers) {
    find_cause(namer, bindings, rows, runner, result);
    return result;
  }
  if (runner.is_first()) workers->while_others_wait([&] { find_cause(namer, bindings, rows, runner, result); });
  result.cause = workers->tell(result.cause);
  result.row = workers->tell(result.row);
  result.in_data = runner.as_first_says(result.in_data) != 0;
  return result;
}

Diagnostic describe_divergence(const StepRunner& runner, const Trainer& trainer, const Divergence* found, int64_t saved_step, const std::string& saved,
                               Span span) {
  const StepRecord& at = trainer.diverged_at();
  int persistent = trainer.diverged_persistent();
  std::string what = persistent < 0 ? "loss" : fmt::format("`{}`", runner.program().persistents[size_t(persistent)].name);
  Diagnostic d;
  d.code = Code::E0501;
  d.span = span;
  d.message = fmt::format("{} became {} at epoch {}, step {}", what, trainer.diverged_to_nan() ? "NaN" : "infinite", at.epoch + 1, at.step_in_epoch);
  if (found && !found->cause.empty()) d.message += ": " + found->cause;
  if (found && !found->row.empty()) d.notes.push_back(found->row);
  if (found && !found->cause.empty() && found->step + 1 != at.step)
    d.notes.push_back(fmt::format("that was in step {} of the run, {} earlier: its update made a parameter or state infinite or NaN", found->step + 1,
                                  at.step - found->step - 1));
  if (!found) d.notes.push_back("the search for the operation that it came from was interrupted");
  if (!saved.empty()) d.notes.push_back(fmt::format("the last finite state (step {}) is saved in {}", saved_step, saved));
  d.help.push_back(found && found->in_data ? "the data is not finite: leave such rows out, or write a number there"
                                           : "a smaller learning rate often helps: `--set using.lr=...`");
  return d;
}

}  // namespace nnc
