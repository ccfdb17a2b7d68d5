// A level's partial results of a batch are results of its step (single numbers) or outputs (all others); what becomes of them is a persistent of later levels.
#include "engine/row_levels.h"

#include <algorithm>
#include <cmath>
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

struct RowLevels::Level {
  Graph batch;  ///< until it is compiled
  std::vector<Accumulator> accumulators;
  CompiledStep compiled;
  std::unique_ptr<StepRunner> runner;
};

RowLevels::RowLevels(Compilation& compilation, std::vector<RowLevel> levels, Graph final_graph, int64_t batch, Layouts layouts, Team& team)
    : compilation_(compilation), final_(std::move(final_graph)), batch_(batch), layouts_(std::move(layouts)), team_(team) {
  for (RowLevel& level : levels) levels_.push_back(std::make_unique<Level>(Level{std::move(level.batch), std::move(level.accumulators), {}, nullptr}));
}
RowLevels::~RowLevels() = default;
RowLevels::RowLevels(RowLevels&&) noexcept = default;

bool RowLevels::run(Level& level, const Rows& rows, const StepRunner& from, const ScalarValues& scalars, const DrawPosition& draws,
                    std::map<std::string, Tensor>& accumulated, const std::function<bool()>& stop) {
  if (!level.runner) {
    level.compiled = compile_step(make_program(std::move(level.batch), "eval", batch_, compilation_.target, layouts_), compilation_.sources);
    level.runner = std::make_unique<StepRunner>(level.compiled.step, team_);
  }
  StepRunner& runner = *level.runner;
  const StepProgram& program = runner.program();
  runner.copy_persistents(from);
  for (const auto& [name, value] : accumulated)
    if (int index = runner.find_persistent(name); index >= 0) write_persistent(runner, size_t(index), value);
  rows.bind(runner);
  const std::vector<NncScalar> inputs = step_scalars(program, scalars);
  std::vector<double> results(program.results.size());
  std::map<std::string, Tensor> sums;
  for (const Accumulator& a : level.accumulators) {
    Tensor t = make_tensor(a.type.dtype, shape_at(a.type, 0));
    std::fill(t.values.begin(), t.values.end(), start_of(a.combine));
    sums[a.name] = std::move(t);
  }
  for (size_t begin = 0; begin < rows.numbers.size(); begin += size_t(batch_)) {
    if (stop && stop()) return false;
    int64_t count = int64_t(std::min(rows.numbers.size() - begin, size_t(batch_)));
    runner.run(std::span(&count, 1), rows.numbers.data() + begin, inputs.data(), results.data(), {draws.seed, draws.update, draws.first_row + uint32_t(begin)});
    for (const Accumulator& a : level.accumulators) {
      Tensor& into = sums.at(a.name);
      auto result = std::find(program.results.begin(), program.results.end(), a.name);
      if (result != program.results.end()) {
        combine(a.combine, into.values[0], results[size_t(result - program.results.begin())]);
        continue;
      }
      for (size_t o = 0; o < program.outputs.size(); ++o) {
        const OutputSlot& slot = program.outputs[o];
        if (slot.name != a.name) continue;
        for (size_t i = 0; i < into.values.size(); ++i) {
          const Number value = read_element(runner.output(o) + i * byte_size(slot.dtype), slot.dtype);
          if (slot.dtype == DType::i64 && a.combine == Combine::sum)
            into.set(i, Number(int64_t(into.at(i).bits() + value.bits())));
          else if (slot.dtype == DType::i64)
            into.set(i, a.combine == Combine::max ? std::max(into.at(i), value) : std::min(into.at(i), value));
          else
            combine(a.combine, into.values[i], value);
        }
      }
    }
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
