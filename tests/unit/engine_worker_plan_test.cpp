// What a step's workers exchange, read off the step; and the arithmetic of a plan, against figures made by hand.
#include "engine/worker_plan.h"

#include <algorithm>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// 6 numbers to 3 classes: a weight of 18 and a bias of 3.
Compilation linear(const std::string& clauses, int workers, const std::string& batch = "batch: 8, pieces: 4") {
  Compilation c(host_target());
  c.workers = workers;
  c.load_text("linear.nn", "data rows {\n  x[6] = csv(\"rows.csv\", columns: 0..6)\n  label : class(3) = csv(\"rows.csv\", columns: 6)\n}\n"
                           "model Net(x[B, 6]) -> [B, 3] { x |> fc: Dense(3) }\n"
                           "train {\n  data rows, " + batch + "\n" + clauses + "\n  epochs 1\n}\n");
  return c;
}

struct Shared {
  StepExchanges exchanges;
  WorkerMemory memory;
  int64_t arena = 0;  ///< of the largest stage
};

Shared share(Compilation& c) {
  const BatchPlan plan = planned_batch(c);
  TrainingGraphs graphs = make_training_graphs(c);
  const StepPrograms programs = build_step(graphs.optimized, graphs.stages, graphs.couples_rows, plan, c.target, {busiest_worker(plan, c.workers), c.workers});
  Shared result{find_exchanges(graphs, programs, c.workers), {}};
  for (const Program& stage : programs.stages) result.arena = std::max(result.arena, stage.arena_bytes);
  result.memory = worker_memory(programs, result.exchanges);
  return result;
}

std::string described(const StepExchanges& e) {
  std::vector<std::string> lines;
  for (const ExchangedSum& s : e.sums)
    lines.push_back(std::string(sum_use_name(s.use)) + (s.parameter.empty() ? "" : " of " + s.parameter) + " " + std::to_string(s.array.bytes()) + (s.array.whole ? " whole" : ""));
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "; ";
  return text;
}

}  // namespace

TEST_CASE("gradients go to the owners of their ranges, the loss to everybody") {
  Compilation c = linear("  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)", 2);
  const Shared s = share(c);
  CHECK(described(s.exchanges) == "gradient of fc.bias 12; gradient of fc.weight 72; result 4 whole; ");
  CHECK(s.exchanges.share_stages == 1);
  CHECK(s.exchanges.rows == std::vector<int64_t>{4, 4});
  CHECK(s.exchanges.published().size() == 2);
  // Each value of the gradients is sent to one of two, the loss to the other; what is updated goes the same way back.
  Traffic sent;
  for (int w = 0; w < 2; ++w)
    for (const SharedArray& a : s.exchanges.sums_of(0)) sent += exchange_traffic(a, s.exchanges.nodes, w);
  CHECK(sent == Traffic{72 + 12 + 2 * 4, 72 + 12 + 2 * 4});
}

TEST_CASE("clipping needs gradients whole, and owners keep their moments") {
  Compilation c = linear("  minimize cross_entropy(Net(x), label)\n  using adam(lr: 0.1), clip_norm: 1", 2);
  const Shared s = share(c);
  CHECK(described(s.exchanges) == "gradient of fc.bias 12 whole; gradient of fc.weight 72 whole; result 4 whole; ");
  std::vector<std::string> kept;
  for (const OwnedArray& o : s.exchanges.owned)
    if (!o.is_published) kept.push_back(o.name);
  CHECK(kept.size() >= 2);
  for (const std::string& name : kept) CHECK(name.starts_with("optimizer."));
  CHECK(s.memory.parameters >= 72 + 12);
  // Of two moments the first worker has half of fc.weight's, three lines of three, and none of fc.bias's, which is shorter than a cache line.
  CHECK(s.memory.optimizer == 72);
  CHECK(s.memory.partials >= 72 + 12 + 4);
}

TEST_CASE("a loss that is divided by a sum of its weights hands that on before") {
  Compilation c = linear("  minimize cross_entropy(Net(x), label, ignore: 2)\n  using sgd(lr: 0.1)", 2);
  const Shared s = share(c);
  CHECK(s.exchanges.share_stages == 2);
  const std::string text = described(s.exchanges);
  CHECK(text.find("rows 4 whole; ") != std::string::npos);
  for (const ExchangedSum& sum : s.exchanges.sums) CHECK((sum.stage == 0) == (sum.use == SumUse::rows));
}

TEST_CASE("what rows read of all others stops the step, and shares then stand side by side") {
  for (const auto& [mean, stops, shares] : {std::tuple{"0 * y", 0, 1}, std::tuple{"mean(y, over: B)", 2, 2}}) {  // forward and back
    INFO(mean);
    Compilation c = linear(std::string("  let y = Net(x)\n  minimize cross_entropy(y - ") + mean + ", label)\n  using sgd(lr: 0.1)", 3, "batch: 7, pieces: 7");
    const Shared s = share(c);
    CHECK(s.exchanges.share_stages == 1);
    CHECK(s.exchanges.stops == stops);
    CHECK(s.memory.arena == shares * s.arena);  // of three pieces, two and one
  }
}

TEST_CASE("the busiest worker is the first with the most pieces") {
  CHECK(busiest_worker({8, 1, 2}, 2) == 0);  // 2 and 2 of 4
  CHECK(busiest_worker({8, 1, 2}, 3) == 0);  // 2, 1, 1
  CHECK(busiest_worker({8, 1, 8}, 1) == 0);
}

TEST_CASE("workers of a host ask as much of this machine as of their own") {
  const auto hosts = [](int cores, int per_host, int threads, int here) { return WorkerHosts{cores, per_host, threads, here}; };
  CHECK(hosts(2, 2, 1, 2).copies() == 2);
  CHECK(hosts(2, 4, 1, 2).copies() == 4);
  CHECK(hosts(2, 4, 1, 2).crowding() == 1);
  CHECK(hosts(2, 8, 1, 2).copies() == 4);  // and twice as long as 4 of them
  CHECK(hosts(2, 8, 1, 2).crowding() == 2);
  CHECK(hosts(64, 32, 2, 2).copies() == 1);  // full hosts, as this machine is with one
  CHECK(hosts(64, 32, 2, 2).crowding() == 1);
  CHECK(hosts(8, 1, 2, 2).copies() == 1);
  CHECK(hosts(8, 1, 2, 2).crowding() == 1);
  CHECK(hosts(2, 1, 2, 2).copies() == 1);
  CHECK(hosts(4, 16, 1, 2).copies() == 4);
  CHECK(hosts(4, 16, 1, 2).crowding() == 2);
}

TEST_CASE("efficiency is speed for each core in use") {
  auto step = [](int workers, WorkerHosts hosts, double own, double exchange, double publish) {
    PlannedStep s;
    s.workers = workers, s.hosts = hosts;
    s.own_seconds = own, s.exchange_seconds = exchange, s.publish_seconds = publish;
    return s;
  };
  const PlannedStep one = step(1, {2, 1, 2, 2}, 8, 0, 0);
  CHECK(step(2, {2, 1, 2, 2}, 4, 0.5, 0.5).seconds() == 5);
  CHECK(efficiency(one, one) == 1);
  CHECK(efficiency(one, step(2, {2, 1, 2, 2}, 4, 0.5, 0.5)) == 8.0 * 2 / (5 * 4));
  // Two hosts of two cores with four crowded workers have four cores in use, not eight threads.
  CHECK(efficiency(one, step(4, {2, 2, 2, 2}, 4, 0, 0)) == 8.0 * 2 / (4 * 4));
  CHECK(efficiency(one, step(2, {2, 2, 1, 2}, 8, 0, 0)) == 1);
}

TEST_CASE("a plan of a step adds what is measured and what is modelled") {
  const std::string clauses = "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)";
  Compilation alone = linear(clauses, 1);
  const PlannedStep one = plan_step(alone, {1, 1, 1, 1}, Network{1e-3, 1e6}, nullptr, 1);
  CHECK(one.own_seconds > 0);
  CHECK(one.seconds() == one.own_seconds);
  CHECK(one.traffic == Traffic{0, 0});
  CHECK(one.rows == 8);
  Compilation two = linear(clauses, 2);
  const PlannedStep step = plan_step(two, {1, 1, 1, 1}, Network{1e-3, 1e6}, nullptr, 1);
  CHECK(step.rows == 4);
  CHECK(step.pieces == 2);
  CHECK(step.own_seconds > 0);
  CHECK(step.traffic.sent >= (72 + 12) / 2 + 4);
  CHECK(step.exchange_seconds > 1e-3);   // a latency and some bytes
  CHECK(step.exchange_seconds < 1.2e-3);
  CHECK(step.publish_seconds > 1e-3);
  CHECK(step.ring_seconds > 2 * 1e-3);
  Compilation many = linear(clauses, 5);
  CHECK_THROWS_AS(plan_step(many, {1, 1, 1, 1}, Network{1e-3, 1e6}, nullptr, 1), ProgramErrors);
}
