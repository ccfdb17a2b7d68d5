// A level's partial results of a batch are results of its step (single numbers) or outputs (all others); what becomes of them is a persistent of later levels. Bits depend on the batches and on
// the order in which their results are combined, which is theirs; never on who computed which.
#include "engine/row_levels.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

namespace nnc {

void combine(Combine how, double& into, double value) {
  switch (how) {
    case Combine::sum:
    case Combine::mean: into += value; break;
    case Combine::max:
      into = std::isnan(into) || std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : std::max(into, value);
      break;
    case Combine::min:
      into = std::isnan(into) || std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : std::min(into, value);
      break;
    case Combine::last: into = value; break;
  }
}

double start_of(Combine how) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return how == Combine::max ? -infinity : how == Combine::min ? infinity : 0;
}

namespace {

/// Where a step leaves the partial result of a batch.
struct PartialResult {
  const Accumulator* accumulator;
  bool is_number;  ///< among the step's results, else an output
  size_t index;
  DType dtype;
  size_t bytes;
};

std::vector<PartialResult> find_partial_results(const std::vector<Accumulator>& accumulators, const StepProgram& program) {
  std::vector<PartialResult> found;
  for (const Accumulator& a : accumulators) {
    if (auto result = std::ranges::find(program.results, a.name); result != program.results.end()) {
      found.push_back({&a, true, size_t(result - program.results.begin()), DType::f64, sizeof(double)});
      continue;
    }
    auto output = std::ranges::find(program.outputs, a.name, &OutputSlot::name);
    NNC_CHECK(output != program.outputs.end(), "a level does not give " + a.name);
    found.push_back({&a, false, size_t(output - program.outputs.begin()), output->dtype, size_t(a.type.elements(0)) * byte_size(output->dtype)});
  }
  return found;
}

size_t bytes_of(const std::vector<PartialResult>& parts) {
  size_t sum = 0;
  for (const PartialResult& part : parts) sum += part.bytes;
  return sum;
}

/// Takes up those of one batch, which stand one behind the other.
void take_up(const std::vector<PartialResult>& parts, const std::byte* batch, std::map<std::string, Tensor>& sums) {
  for (const PartialResult& part : parts) {
    const Combine how = part.accumulator->combine;
    Tensor& into = sums.at(part.accumulator->name);
    for (size_t i = 0; i < into.values.size(); ++i) {
      const Number value = read_element(batch + i * byte_size(part.dtype), part.dtype);
      if (part.dtype != DType::i64)
        combine(how, into.values[i], value);
      else if (how == Combine::sum)
        into.set(i, Number(int64_t(into.at(i).bits() + value.bits())));
      else
        into.set(i, how == Combine::max ? std::max(into.at(i), value) : std::min(into.at(i), value));
    }
    batch += part.bytes;
  }
}

/// What a worker tells the others behind its batches' results.
struct TurnEnd {
  uint64_t is_stopped;
  uint64_t next_share;  ///< what it would make of the next turn; the first one's counts
};

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Batches that a worker takes in a turn, after one of so many seconds: few enough that a stop or an error need not wait for long, enough that talking is cheap.
uint64_t next_share(uint64_t share, double took) { return took < 0.03 ? 2 * share : took > 0.1 ? std::max<uint64_t>(share / 2, 1) : share; }

/// Batches in turns: each worker takes the same number of them in a row, and everybody takes up the results of all in the batches' order. `mine`: where `run_batch` puts results, so many bytes of
/// each. False if some worker is to stop.
bool share_turns(Collectives& workers, uint64_t batches, size_t bytes, std::vector<std::byte>& mine, const std::function<void(uint64_t)>& run_batch, const std::function<bool()>& stop,
                 const std::function<void(const std::vector<std::byte>&)>& take_up_all) {
  constexpr size_t most_bytes = size_t(1) << 20;  // that a worker sends
  const uint64_t size = uint64_t(workers.size()), rank = uint64_t(workers.rank()), most_share = std::max<uint64_t>(1, most_bytes / std::max<size_t>(bytes, 1));
  for (uint64_t begin = 0, share = 1, wanted = 1; begin < batches; begin += share * size) {
    share = std::min({wanted, most_share, (batches - begin + size - 1) / size});
    TurnEnd end{};
    const double start = seconds();
    mine.clear();
    workers.together([&] {
      const uint64_t own_end = std::min(begin + (rank + 1) * share, batches);
      for (uint64_t number = begin + rank * share; !(end.is_stopped = stop && stop()) && number < own_end; ++number) run_batch(number);
    });
    end.next_share = next_share(share, seconds() - start);
    const auto* words = reinterpret_cast<const std::byte*>(&end);
    mine.insert(mine.end(), words, words + sizeof end);
    std::vector<std::vector<std::byte>> all = workers.gather(mine);
    bool is_stopped = false;
    for (uint64_t r = 0; r < size; ++r) {
      std::memcpy(&end, all[r].data() + all[r].size() - sizeof end, sizeof end);
      all[r].resize(all[r].size() - sizeof end);
      is_stopped = is_stopped || end.is_stopped;
      if (r == 0) wanted = end.next_share;
    }
    if (is_stopped) return false;
    for (const std::vector<std::byte>& of_batches : all) take_up_all(of_batches);
  }
  return true;
}

}  // namespace

struct RowLevels::Level {
  Graph batch;  ///< until it is compiled
  std::vector<Accumulator> accumulators;
  CompiledStep compiled;
  std::unique_ptr<StepRunner> runner;
};

RowLevels::RowLevels(Compilation& compilation, std::vector<RowLevel> levels, Graph final_graph, int64_t batch, Layouts layouts, Team& team, Collectives* workers)
    : compilation_(compilation), final_(std::move(final_graph)), batch_(batch), layouts_(std::move(layouts)), team_(team), workers_(workers) {
  for (RowLevel& level : levels) levels_.push_back(std::make_unique<Level>(Level{std::move(level.batch), std::move(level.accumulators), {}, nullptr}));
}
RowLevels::~RowLevels() = default;
RowLevels::RowLevels(RowLevels&&) noexcept = default;

void RowLevels::compile(Level& level) {
  if (level.runner) return;
  level.compiled = compile_step(make_program(std::move(level.batch), "eval", batch_, compilation_.target, layouts_), compilation_.sources);
  level.runner = std::make_unique<StepRunner>(level.compiled.step, team_);
}

bool RowLevels::run(Level& level, const Rows& rows, const StepRunner& from, const ScalarValues& scalars, const DrawPosition& draws,
                    std::map<std::string, Tensor>& accumulated, const std::function<bool()>& stop) {
  compile(level);
  StepRunner& runner = *level.runner;
  const StepProgram& program = runner.program();
  runner.copy_persistents(from);
  for (const auto& [name, value] : accumulated)
    if (int index = runner.find_persistent(name); index >= 0) write_persistent(runner, size_t(index), value);
  rows.bind(runner);
  const std::vector<NncScalar> inputs = step_scalars(program, scalars);
  const std::vector<PartialResult> parts = find_partial_results(level.accumulators, program);
  const size_t bytes = bytes_of(parts);
  std::vector<double> results(program.results.size());
  std::map<std::string, Tensor> sums;
  for (const Accumulator& a : level.accumulators) {
    Tensor t = make_tensor(a.type.dtype, shape_at(a.type, 0));
    std::fill(t.values.begin(), t.values.end(), start_of(a.combine));
    sums[a.name] = std::move(t);
  }
  std::vector<std::byte> mine;
  auto run_batch = [&](size_t number) {
    const size_t begin = number * size_t(batch_);
    int64_t count = int64_t(std::min(rows.numbers.size() - begin, size_t(batch_)));
    runner.run(std::span(&count, 1), rows.numbers.data() + begin, inputs.data(), results.data(), {draws.seed, draws.update, draws.first_row + uint32_t(begin)});
    for (const PartialResult& part : parts) {
      const std::byte* values = part.is_number ? reinterpret_cast<const std::byte*>(&results[part.index]) : runner.output(part.index);
      mine.insert(mine.end(), values, values + part.bytes);
    }
  };
  const uint64_t batches = (rows.numbers.size() + size_t(batch_) - 1) / size_t(batch_);
  auto take_up_all = [&](const std::vector<std::byte>& of_batches) {
    for (size_t at = 0; at < of_batches.size(); at += bytes) take_up(parts, of_batches.data() + at, sums);
  };
  if (!workers_ || workers_->size() == 1) {
    for (uint64_t number = 0; number < batches; ++number) {
      if (stop && stop()) return false;
      mine.clear();
      run_batch(number);
      take_up_all(mine);
    }
  } else if (!share_turns(*workers_, batches, bytes, mine, run_batch, stop, take_up_all)) {
    return false;
  }
  for (auto& [name, value] : sums) accumulated[name] = std::move(value);
  return true;
}

std::map<std::string, Tensor> RowLevels::evaluate(const Rows& rows, const StepRunner& from, const ScalarValues& scalars, const DrawPosition& draws,
                                                  std::map<std::string, Tensor> accumulated, const std::function<bool()>& stop) {
  for (auto& level : levels_)
    if (!run(*level, rows, from, scalars, draws, accumulated, stop)) return {};
  Bindings bindings;
  bindings.rows = int64_t(rows.numbers.size());
  bindings.persistents = std::move(accumulated);
  bindings.draws = draws;
  bind_scalars(bindings, final_, scalars);
  bind_persistents(bindings, final_, from);
  return interpret(final_, bindings).outputs;
}

}  // namespace nnc
