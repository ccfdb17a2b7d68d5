// Sharing as text and by chance; a graph's step by several workers.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "engine/bindings.h"
#include "engine/graph_runner.h"
#include "engine/step.h"
#include "passes/pipeline.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/shared_steps.h"
#include "tests/workers/local_run.h"
#include "verify/route.h"

namespace nnc::fuzz {

std::string Sharing::encode() const {
  std::string s = fmt::format("workers={}", workers);
  if (accumulate > 1) s += fmt::format(" accumulate={}", accumulate);
  s += fmt::format(" pieces={}", pieces);
  if (more_rows > 0) s += fmt::format(" more_rows={}", more_rows);
  if (threads > 1) s += fmt::format(" threads={}", threads);
  return s;
}

bool Sharing::take(const std::string& key, const std::string& value) {
  if (key == "workers") workers = std::stoi(value);
  else if (key == "accumulate") accumulate = std::stoi(value);
  else if (key == "pieces") pieces = std::stoi(value);
  else if (key == "more_rows") more_rows = std::stoi(value);
  else if (key == "threads" && workers > 0) threads = std::stoi(value);
  else return false;
  return true;
}

Tensor read_for_all(const StepRunner& runner, size_t index) {
  const PersistentSlot& slot = runner.program().persistents[index];
  std::vector<std::byte> bytes(byte_size(slot.dtype) * size_t(slot.elements()));
  runner.get_persistent(index, bytes.data());
  if (runner.is_in_parts(index)) runner.workers()->broadcast_into(bytes, 0);
  return to_tensor(slot.dtype, slot.shape, bytes.data());
}

Sharing random_sharing(Random& random) {
  Sharing s;
  s.workers = random.chance(15) ? 1 : random.between(2, 6);
  s.accumulate = s.workers == 1 ? random.between(2, 4) : random.chance(60) ? 1 : random.between(2, 4);
  s.pieces = std::max(s.workers, s.accumulate) + random.pick({0, 0, 1, 2, 5, 10});
  s.more_rows = random.chance(60) ? 0 : random.between(1, 7);
  s.threads = random.chance(70) ? 1 : 2;
  return s;
}

namespace {

// The plan of a batch that holds at least so many rows and has at least so many pieces.
BatchPlan plan_for(const Sharing& s, int64_t rows) {
  const int64_t most = rows + s.more_rows, piece = std::max<int64_t>(1, (most + s.pieces - 1) / s.pieces);
  if (s.accumulate == 1) return {std::max(most, piece * (s.pieces - 1) + 1), 1, piece};  // the last piece may be short
  return {piece * ((s.pieces + s.accumulate - 1) / s.accumulate), s.accumulate, piece};
}

Bindings of_first_rows(const Graph& graph, const Bindings& all, int64_t rows) {
  Bindings b = all;
  b.rows = rows;
  for (const Node& n : graph.nodes()) {
    if (n.op != Op::input || !n.type.has_rows()) continue;
    Tensor& t = b.inputs[n.attributes.text];
    t.shape = shape_at(n.type, rows);
    t.values.resize(size_t(element_count(t.shape)));
  }
  return b;
}

struct StepValues {
  std::map<std::string, Tensor> outputs, updates;
};

/// One worker's part of a step over the bindings: values of its own rows, and all else.
StepValues run_once(StepRunner& runner, const Graph& graph, const Bindings& bindings) {
  StepValues values;
  values.outputs = run_step_in_numbers(runner, bindings);
  for (const Update& u : graph.updates) values.updates[u.name] = read_for_all(runner, size_t(runner.find_persistent(u.name)));
  return values;
}

std::optional<std::string> first_difference(const std::string& what, const Tensor& found, const Tensor& expected) {
  if (found.values.size() != expected.values.size()) return fmt::format("{} has {} elements instead of {}", what, found.values.size(), expected.values.size());
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const double a = found.values[i], b = expected.values[i];
    if (std::memcmp(&a, &b, sizeof a) != 0 && !(std::isnan(a) && std::isnan(b))) return fmt::format("{} at {} is {:.17g} instead of {:.17g}", what, i, a, b);
  }
  return std::nullopt;
}

/// What a worker has, rows of the others with it, held against one worker's.
std::optional<std::string> difference_of_worker(const StepValues& found, const StepValues& expected) {
  for (const auto& [name, tensor] : expected.outputs)
    if (auto d = first_difference("output " + name, found.outputs.at(name), tensor)) return d;
  for (const auto& [name, tensor] : expected.updates)
    if (auto d = first_difference("update " + name, found.updates.at(name), tensor)) return d;
  return std::nullopt;
}

/// A step as training has it: what it exchanges is not known yet.
void forget_exchanges(Graph& graph) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    if (node.op != Op::exchange) continue;
    node.op = Op::stop_gradient;
    node.attributes = {};
  }
  std::erase_if(graph.updates, [&](const Update& u) { return graph.find_persistent(u.name)->kind == PersistentKind::partial; });
  std::erase_if(graph.persistents, [](const Persistent& p) { return p.kind == PersistentKind::partial; });
}

class SharedGraph {
 public:
  SharedGraph(const GraphCase& c, const Sharing& sharing, VectorLevel level, Coverage* coverage) : sharing_(sharing), coverage_(coverage), graph_(c.graph), bindings_(c.bindings) {
    target_ = host_target_with_cpu();
    if (level != target_.level) target_ = target_by_name(std::string(vector_level_name(level)));
    plan_ = plan_for(sharing, bindings_.rows);
  }

  std::optional<Failure> run() {
    forget_places(graph_);
    forget_exchanges(graph_);
    hold_inputs(graph_);
    bindings_ = bind_held_inputs(graph_, bindings_);
    // Rows that are not outermost are an output's of a graph alone; no program has one.
    std::erase_if(graph_.outputs, [&](const Output& o) {
      const Shape& shape = graph_.type(o.node).shape;
      return std::any_of(shape.begin(), shape.end(), [&](const Extent& e) { return e.rows && &e != shape.data(); });
    });
    const PassOptions options{.rows = plan_.whole()};
    RowSplitObstacle obstacle;
    Graph cut;
    const Shares shares = plan_.accumulate > 1 ? Shares::in_turn : Shares::at_once;
    std::optional<StepStages> stages = optimize_in_stages(graph_, options, shares, obstacle, cut);
    if (!stages) {
      if (obstacle.reason.empty()) return fault("refused without a reason");
      if (coverage_) coverage_->refused("graph", obstacle.reason);
      return std::nullopt;
    }
    Graph optimized = graph_;
    optimize_graph(optimized, options);
    const CompiledStep one = compile_step(build_step(optimized, std::nullopt, false, {plan_.whole(), 1, plan_.piece}, target_), sources_);
    std::vector<CompiledStep> shared;
    for (int rank = 0; rank < sharing_.workers; ++rank) {
      StepPrograms programs = build_step(optimized, stages, false, plan_, target_, {rank, sharing_.workers});
      if (rank == 0) add_coverage(*stages, programs);
      shared.push_back(compile_step(std::move(programs), sources_));
    }
    std::vector<Bindings> batches{bindings_};
    if (bindings_.rows > 1) batches.push_back(of_first_rows(graph_, bindings_, fewer_rows_than(bindings_.rows)));
    std::vector<StepValues> expected;
    {
      Team team(1);
      StepRunner runner(one.step, team);
      for (const Bindings& b : batches) expected.push_back(run_once(runner, graph_, b));
    }
    auto work = [&](Transport& transport) -> std::string {
      transport.set_stall_seconds(300);
      Collectives workers(transport);
      Team team(sharing_.threads);
      StepRunner runner(shared[size_t(transport.rank())].step, team, &workers);
      for (size_t i = 0; i < batches.size(); ++i) {
        const StepValues found = run_once(runner, graph_, batches[i]);
        if (auto d = difference_of_worker(found, expected[i]))
          return fmt::format("worker {} of {}, {} of {} rows: {}\n", transport.rank(), transport.size(), batches[i].rows, plan_.whole(), *d);
        transport.barrier();
      }
      return "";
    };
    if (std::string wrong = test::run_threads(sharing_.workers, work); !wrong.empty()) return fault(wrong);
    hit("graph.same");
    return std::nullopt;
  }

 private:
  static Failure fault(const std::string& detail) { return {"workers", "bits", detail, "", ""}; }

  void hit(const std::string& what) {
    if (coverage_) coverage_->hit("share." + what);
  }

  void add_coverage(const StepStages& stages, const StepPrograms& programs) {
    hit(fmt::format("workers_{}", sharing_.workers));
    if (sharing_.accumulate > 1) hit("accumulate");
    if (sharing_.threads > 1) hit("threads");
    if (plan_.piece > 1) hit("pieces_of_rows");
    if (bindings_.rows < plan_.whole()) hit("short_batch");
    if ((bindings_.rows + plan_.piece - 1) / plan_.piece < sharing_.workers) hit("worker_without_rows");
    hit(stages.shares.size() > 1 ? "several_stages" : "one_stage");
    for (const ShareStage& share : stages.shares)
      for (const StageSum& s : share.sums) {
        hit(s.combine == Combine::sum ? "sum" : s.combine == Combine::max ? "max" : "min");
        if (s.exchanged) hit("exchange");
      }
    if (!stages.handed.empty()) hit("handed_rows");
    for (const OwnedRange& o : programs.owned) hit(!o.updated ? "owned_sum" : o.read_whole ? "owned_and_read_whole" : "owned_update");
    for (const Output& o : graph_.outputs)
      if (graph_.type(o.node).has_rows()) hit("output_with_rows");
  }

  const Sharing sharing_;
  Coverage* coverage_;
  Graph graph_;
  Bindings bindings_;
  Target target_;
  BatchPlan plan_;
  SourceMap sources_;
};

}  // namespace

std::optional<Failure> run_shared_graph(const GraphCase& c, const Sharing& sharing, VectorLevel level, Coverage* coverage) { return SharedGraph(c, sharing, level, coverage).run(); }

}  // namespace nnc::fuzz
