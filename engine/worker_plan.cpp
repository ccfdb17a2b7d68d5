// A worker is measured as training runs it, with workers of the same step that say nothing.
#include "engine/worker_plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>

#include "base/philox.h"
#include "engine/bindings.h"
#include "engine/row_conditions.h"
#include "engine/timed_steps.h"
#include "engine/weights.h"
#include "runtime/workers/silent_transport.h"

namespace nnc {
namespace {

/// Rows of numbers from 0 to 1 and of classes, for every input of the graph: what kernels take does not depend on what is in them, as far as compiled code goes.
RunData made_up_rows(const Graph& graph, const TrainSpec& spec, int64_t rows) {
  RunData data;
  data.rows = rows;
  for (int64_t r = 0; r < rows; ++r) data.split.train.push_back(r);
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::input || std::ranges::find(data.names, node.attributes.text) != data.names.end()) continue;
    const std::string& name = node.attributes.text;
    FieldData field;
    field.dtype = node.type.dtype;
    int64_t width = 1;
    for (size_t axis = 1; axis < node.type.shape.size(); ++axis) field.row_shape.push_back(node.type.shape[axis].size), width *= node.type.shape[axis].size;
    field.rows = rows;
    field.row_stride_bytes = width * int64_t(byte_size(field.dtype));
    const auto declared = std::ranges::find(spec.data.fields, name, &FieldSpec::name);
    const int64_t classes = declared != spec.data.fields.end() && declared->classes > 0 ? declared->classes : field.dtype == DType::u8 ? 256 : 2;
    auto bytes = std::make_shared<std::vector<std::byte>>(size_t(rows * field.row_stride_bytes));
    with_element(field.dtype, [&](auto element) {
      RandomStream random(spec.seed, stable_hash(name));
      for (int64_t i = 0; i < rows * width; ++i) {
        element = is_float(field.dtype) ? decltype(element)(random.next_unit()) : decltype(element)(random.next_below(uint64_t(classes)));
        std::memcpy(bytes->data() + size_t(i) * sizeof element, &element, sizeof element);
      }
    });
    field.data = bytes->data();
    field.owner = bytes;
    data.fields.push_back(std::move(field));
    data.names.push_back(name);
  }
  return data;
}

/// The median of several turns of all workers at once; of each turn that of the slowest.
template <class Turn>
double median_of_slowest(Collectives* beside, int turns, Turn&& turn) {
  std::vector<double> times;
  for (int i = 0; i < turns; ++i) {
    if (beside) beside->barrier();
    double seconds = turn();
    if (beside) {
      const int64_t least = beside->least(-int64_t(seconds * 1e12));  // all turns as long as the longest
      seconds = double(-least) * 1e-12;
    }
    times.push_back(seconds);
  }
  return quantile(times, 0.5);
}

double timed(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Two numbers for the memory that workers of this machine share: of a sum of one number, and of publishing so many bytes that have just been written.
Network measure_memory(Collectives& beside, int64_t bytes, int turns) {
  const int workers = beside.size(), rank = beside.rank();
  const int64_t elements = std::clamp<int64_t>(bytes, 1 << 16, 1 << 26) / 4;
  auto* values = reinterpret_cast<float*>(beside.transport().share(size_t(elements) * 4));
  const std::vector<int64_t> begins = even_ranges(elements, workers);
  Exchange one(beside, {{DType::f32, 1, Combine::sum, {values}, values, even_ranges(1, workers), false}}, nodes_of_workers(workers, workers));
  Publish all(beside, {{values, 4, begins}});
  constexpr int rounds = 50;
  auto exchange = [&] { return timed([&] { for (int i = 0; i < rounds; ++i) one.start(), one.finish(); }); };
  auto publish = [&] {
    std::fill(values + begins[size_t(rank)], values + begins[size_t(rank) + 1], 1.0f);
    beside.barrier();
    return timed([&] { all.start(), all.finish(); });
  };
  exchange(), publish();
  Network network;
  const double round = median_of_slowest(&beside, turns, exchange) / rounds, spread = median_of_slowest(&beside, turns, publish);
  network.latency = round / (workers - 1);
  const double received = double(elements * 4 - (begins[1] - begins[0]) * 4);
  network.bandwidth = received / std::max(spread - round, 0.1 * spread);
  return network;
}

void add_network_times(PlannedStep& step, const StepExchanges& exchanges) {
  const int n = step.workers;
  int64_t summed = 0;
  for (size_t stage = 0; stage < exchanges.share_stages; ++stage) {
    const std::vector<SharedArray> sums = exchanges.sums_of(stage);
    const Traffic traffic = exchanges.busiest_exchange(sums);
    step.exchange_seconds += direct_seconds(step.network, n, exchange_rounds(sums), traffic);
    step.traffic += traffic;
    int64_t bytes = 0;
    for (const SharedArray& a : sums) bytes += a.bytes();
    step.ring_seconds += ring_seconds(step.network, n, bytes);
    step.tree_seconds += tree_seconds(step.network, n, bytes);
    summed += bytes;
  }
  step.exchange_seconds += direct_seconds(step.network, n, exchanges.stops, {});  // each a round of its own; what it carries has been counted
  std::vector<SharedArray> published = exchanges.published();
  published.insert(published.end(), exchanges.handed.begin(), exchanges.handed.end());
  const Traffic traffic = exchanges.busiest_publish(published);
  step.publish_seconds = direct_seconds(step.network, n, published.empty() ? 0 : 1, traffic);
  step.traffic += traffic;
}

}  // namespace

int WorkerHosts::copies() const {
  const int wanted = std::max(1, int(std::lround(double(per_host) * here / cores)));
  return std::min(wanted, std::max(1, 2 * here / threads));
}

double WorkerHosts::crowding() const {
  const double wanted = std::max(1.0, double(per_host) * here / cores);
  const double load = double(per_host) * threads / cores;
  return load > 1 ? std::max(1.0, wanted / copies()) : 1;
}

PlannedStep plan_step(Compilation& compilation, const WorkerHosts& hosts, const std::optional<Network>& network, Collectives* beside, int turns) {
  const TrainSpec& spec = compilation.module->train();
  const BatchPlan plan = planned_batch(compilation);
  require_pieces(compilation, plan);
  const int workers = compilation.workers;
  TrainingGraphs graphs = make_training_graphs(compilation);
  StepPrograms programs = build_step(graphs.optimized, graphs.stages, graphs.couples_rows, plan, compilation.target, {busiest_worker(plan, workers), workers});
  const StepExchanges exchanges = find_exchanges(graphs, programs, workers);
  PlannedStep step;
  step.workers = workers;
  step.hosts = hosts;
  step.rows = exchanges.rows[size_t(exchanges.busiest)];
  step.pieces = (step.rows + plan.piece - 1) / plan.piece;
  step.memory = worker_memory(programs, exchanges);
  require_batches(graphs.forward.row_conditions, plan.whole(), graphs.couples_rows ? plan.batch : plan.whole(), 1);

  const CompiledStep compiled = compile_step(std::move(programs), compilation.sources, compilation.code);
  Team team(hosts.threads);
  const std::unique_ptr<Transport> silence = make_silent_transport(exchanges.busiest, workers);
  Collectives silent(*silence);
  StepRunner runner(compiled.step, team, workers > 1 ? &silent : nullptr);
  initialize(runner, step_persistents(graphs), spec.seed);
  const RunData data = made_up_rows(graphs.forward.graph, spec, plan.whole());
  data.bind(runner, Part::train);
  TimedSteps steps(runner, spec, data.split.train, plan.whole());
  int64_t count = find_steps_per_turn(steps);
  if (beside) count = beside->least(count);
  auto together = [&] {
    if (beside) beside->barrier();
  };
  // Until all are done: of workers that share a core some may begin when others have ended.
  step.own_seconds = median_of_slowest(beside, turns, [&] {
                       steps.prepare(count);
                       together();
                       return timed([&] {
                         steps.run();
                         together();
                       });
                     }) / double(count) * hosts.crowding();
  if (workers == 1) return step;
  int64_t published = 0;
  for (const SharedArray& a : exchanges.published()) published += a.bytes();
  if (network) step.network = *network;
  else if (beside) step.network = measure_memory(*beside, published, turns);
  add_network_times(step, exchanges);
  return step;
}

double efficiency(const PlannedStep& one, const PlannedStep& several) {
  auto cores = [](const PlannedStep& s) {
    const double hosts = std::ceil(double(s.workers) / s.hosts.per_host);
    return std::min(double(s.workers) * s.hosts.threads, hosts * s.hosts.cores);
  };
  return one.seconds() * cores(one) / (several.seconds() * cores(several));
}

}  // namespace nnc
