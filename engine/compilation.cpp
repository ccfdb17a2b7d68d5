// The road from a program's text to the optimised graph of its training step.
#include "engine/compilation.h"

#include <fmt/format.h>

#include "passes/pipeline.h"
#include "runtime/data/atomic_file.h"
#include "runtime/data/text_file.h"

namespace nnc {

std::string read_text_file(const std::string& path) {
  try {
    return read_text(path);
  } catch (const UserError& e) {
    Diagnostic d = e.diagnostic();
    d.code = Code::E0602;
    throw UserError(std::move(d));
  }
}

void write_text_file(const std::string& path, std::string_view text) { write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size()))); }

void Compilation::load_file(const std::string& path, std::vector<Override> given) {
  load_text(path, read_text_file(path), std::move(given));
}

void Compilation::load_text(const std::string& path, std::string text, std::vector<Override> given) {
  name = path;
  overrides = std::move(given);
  LoadOptions options;
  options.overrides = overrides;
  options.read_file = [](const std::string& path) -> std::optional<std::string> {
    try {
      return read_text_file(path);
    } catch (const UserError&) {
      return std::nullopt;
    }
  };
  module = load_module(sources, sources.add(path, std::move(text)), options, diagnostics);
  settle();
  NNC_CHECK(module, "no module, and no error says why");
}

void Compilation::settle() {
  std::vector<Diagnostic> said = diagnostics.sorted();
  bool failed = diagnostics.has_errors();
  diagnostics = Diagnostics{};
  if (failed) throw ProgramErrors(std::move(said));
  for (const Diagnostic& d : said) warn(d);
}

BatchPlan planned_batch(const Compilation& compilation) {
  constexpr int64_t assumed_rows = 256;
  const TrainSpec& spec = compilation.module->train();
  return spec.batch > 0 ? planned_batch(compilation, spec.batch) : plan_batch(spec, assumed_rows);
}

BatchPlan planned_batch(const Compilation& compilation, int64_t rows) {
  const TrainSpec& spec = compilation.module->train();
  const int64_t batch = spec.batch > 0 ? spec.batch : rows;
  if (std::optional<Diagnostic> fault = find_batch_fault(spec, batch)) throw ProgramErrors({*std::move(fault)});
  return plan_batch(spec, batch);
}

void require_pieces(const Compilation& compilation, const BatchPlan& plan) {
  if (compilation.workers <= plan.pieces()) return;
  const TrainSpec& spec = compilation.module->train();
  Diagnostic d;
  d.code = Code::E0315;
  d.span = spec.batch_span.valid() ? spec.batch_span : spec.span;
  d.message = fmt::format("{} workers cannot share {} piece{} of a batch", compilation.workers, plan.pieces(), plan.pieces() == 1 ? "" : "s");
  if (plan.whole() >= compilation.workers) {
    int64_t pieces = compilation.workers;
    while (pieces < plan.whole() && BatchPlan{plan.batch, plan.accumulate, piece_rows(plan.whole(), pieces)}.pieces() < compilation.workers) ++pieces;
    d.help.push_back(fmt::format("`--set data.pieces={}`, for one worker too: the number of pieces decides the bits of the result, and that of workers does not", pieces));
  } else {
    d.help.push_back(fmt::format("a batch of {} row{} is enough for {} worker{}", plan.whole(), plan.whole() == 1 ? "" : "s", plan.whole(), plan.whole() == 1 ? "" : "s"));
  }
  throw ProgramErrors({std::move(d)});
}

void require_rows_of_batch(const BatchPlan& plan, int64_t rows, const std::string& program) {
  if (plan.whole() <= rows && rows > 0) return;
  if (plan.accumulate > 1)
    throw UserError(Code::E0503, fmt::format("{} batches of {} rows are {}, but only {} train", plan.accumulate, plan.batch, plan.whole(), rows), program,
                    "ask for fewer of them, `accumulate: N`, or for smaller ones, `batch: N`");
  throw UserError(Code::E0503, fmt::format("a batch takes {} rows, but only {} train", plan.batch, rows), program,
                  fmt::format("`--set data.batch={}`, or `batch: all` in the data clause", std::max<int64_t>(rows, 1)));
}

Graph make_backward(Compilation& compilation, const Graph& forward, const std::vector<UpdateRule>& rules, bool hand_on_gradients) {
  Graph graph = forward;
  std::vector<std::pair<std::string, const Graph*>> by_parameter;
  for (const UpdateRule& r : rules) by_parameter.push_back({r.parameter, &r.rule});
  std::optional<double> clip = compilation.module->train().clip_norm;
  add_backward(graph, by_parameter, clip, compilation.diagnostics, hand_on_gradients);
  compilation.settle();
  return graph;
}

void warn_if_nothing_trains(const Compilation& compilation, const BuiltGraph& forward) {
  std::vector<std::string> frozen;
  bool has_states = !forward.graph.updates.empty();
  for (const ParameterSpec& p : forward.parameters) {
    if (p.persistent.kind == PersistentKind::parameter) return;
    if (p.persistent.kind == PersistentKind::frozen) frozen.push_back(fmt::format("`{}`", p.persistent.name));
  }
  Diagnostic d;
  d.code = Code::E0308;
  d.severity = Severity::warning;
  d.span = compilation.module->train().span;
  d.message = fmt::format("nothing trains: {}, so {}",
                          frozen.empty()       ? "the loss depends on no parameter"
                          : frozen.size() == 1 ? fmt::format("the one parameter, {}, is frozen", frozen[0])
                                               : fmt::format("all {} parameters are frozen ({}, ...)", frozen.size(), frozen[0]),
                          has_states ? "only layer states change" : "the loss will not fall");
  d.help.push_back(frozen.empty() ? "minimize a loss that is computed from a model's result"
                                  : "take `frozen` away from what is to learn");
  compilation.warn(d);
}

namespace {

[[noreturn]] void refuse_shares(const Compilation& compilation, Span place, const std::string& reason) {
  Diagnostic d;
  d.code = Code::E0313;
  const TrainSpec& spec = compilation.module->train();
  d.span = spec.batch_span.valid() ? spec.batch_span : spec.span;
  const bool several = compilation.workers > 1, in_turn = planned_batch(compilation).accumulate > 1;
  d.message = several ? fmt::format("{} workers cannot share this step, for the rows of all of them are needed at once", compilation.workers)
                      : "a batch cannot be made up of several here, for the rows of all of them are needed at once";
  d.labels.push_back({place, reason});
  if (in_turn) d.help.push_back(fmt::format("take the batch at once: `batch: {}` without `accumulate`", planned_batch(compilation).whole()));
  if (several) d.help.push_back("train with one worker and as many threads");
  throw ProgramErrors({std::move(d)});
}

/// Said once: what `accumulate` means for batch norm.
void warn_of_coupled_rows(const Compilation& compilation, const Graph& forward) {
  const NodeId sum = find_coupling_sum(forward);
  const TrainSpec& spec = compilation.module->train();
  Diagnostic d;
  d.code = Code::E0314;
  d.severity = Severity::warning;
  d.span = spec.batch_span.valid() ? spec.batch_span : spec.span;
  d.message = fmt::format("rows are coupled within their {} rows, not within all {} of an update", spec.batch, planned_batch(compilation).whole());
  const std::string& scope = forward[sum].scope;
  d.labels.push_back({forward[sum].span, scope.empty() ? "by this sum over the rows" : fmt::format("by this sum over the rows, in the layer `{}`", scope)});
  d.notes.push_back("each batch is normalised by itself and updates the layers' states in its turn, as PyTorch does; without such layers the bits are those of one large batch");
  compilation.warn(d);
}

StepStages make_stages(Compilation& compilation, const TrainingGraphs& graphs, const PassOptions& options) {
  RowSplitObstacle obstacle;
  if (graphs.couples_rows && compilation.workers > 1) {
    const NodeId sum = find_coupling_sum(graphs.forward.graph);
    refuse_shares(compilation, graphs.forward.graph[sum].span, "rows read what the rows of their batch add up to, and with `accumulate` batches follow one another");
  }
  Graph whole;
  if (!graphs.couples_rows) {
    whole = graphs.backward;
  } else {
    Graph forward = graphs.forward.graph;
    if (!count_whole_batch(forward, obstacle)) refuse_shares(compilation, graphs.forward.graph[obstacle.node].span, obstacle.reason);
    whole = make_backward(compilation, forward, graphs.rules, true);
  }
  const Shares shares = planned_batch(compilation).accumulate > 1 ? Shares::in_turn : Shares::at_once;
  Graph cut;
  std::optional<StepStages> stages = optimize_in_stages(std::move(whole), options, shares, obstacle, cut);
  if (!stages) refuse_shares(compilation, cut[obstacle.node].span, obstacle.reason);
  return *std::move(stages);
}

}  // namespace

TrainingGraphs make_training_graphs(Compilation& compilation) {
  TrainingGraphs result;
  result.forward = compilation.require(compilation.module->build_train_graph(compilation.diagnostics));
  result.reports = split_epoch(result.forward.graph);
  result.rules = compilation.module->build_update_rules(result.forward.parameters, compilation.diagnostics);
  compilation.settle();
  result.backward = make_backward(compilation, result.forward.graph, result.rules);
  result.optimized = result.backward;
  const BatchPlan plan = planned_batch(compilation);
  const PassOptions options{.rows = plan.whole()};
  optimize_graph(result.optimized, options);
  if (plan.accumulate > 1 || compilation.workers > 1) {
    result.couples_rows = plan.accumulate > 1 && couples_rows(result.forward.graph);
    result.stages = make_stages(compilation, result, options);
    if (result.couples_rows) warn_of_coupled_rows(compilation, result.forward.graph);
  }
  return result;
}

}  // namespace nnc
