// The evaluation graph is cut at its reductions over rows (passes/split_rows.h). Each level runs batch by batch in compiled code;
// its partial results are combined here in 64 bits; the rest, which no longer depends on single rows, is evaluated once by the
// interpreter.
#include "engine/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "passes/split_rows.h"

namespace nnc {
namespace {

void combine(Combine how, double& into, double value) {
  switch (how) {
    case Combine::sum:
      into += value;
      break;
    case Combine::max:
      into = std::isnan(into) || std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : std::max(into, value);
      break;
    case Combine::min:
      into = std::isnan(into) || std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : std::min(into, value);
      break;
  }
}

}  // namespace

struct Evaluator::Level {
  Graph batch;  ///< compiled when it is first wanted
  CompiledStep compiled;
  std::unique_ptr<StepRunner> runner;
  std::vector<Accumulator> accumulators;
};

Evaluator::~Evaluator() = default;

Evaluator::Evaluator(Compilation& compilation, const BuiltGraph& eval, const RunData& data, const Layouts& layouts, Team& team)
    : compilation_(compilation), data_(data), layouts_(layouts), team_(team) {
  // By the data alone, not by what is evaluated first: the same rows give the same bits in `train` and in `eval`.
  batch_ = std::clamp<int64_t>(int64_t(std::max(data.split.test.size(), data.split.valid.size())), 1, 256);
  for (const Output& o : eval.graph.outputs) names_.push_back(o.name);
  RowSplitObstacle obstacle;
  std::optional<RowSplit> split = split_rows(eval.graph, obstacle);
  if (!split) {
    compilation.diagnostics.report(Code::E0508, eval.graph[obstacle.node].span,
                               obstacle.reason + " cannot be evaluated batch by batch");
    compilation.settle();
  }
  for (RowLevel& level : split->levels)
    levels_.push_back(std::make_unique<Level>(Level{std::move(level.batch), {}, nullptr, level.accumulators}));
  final_ = std::move(split->final_graph);
}

std::map<std::string, Tensor> Evaluator::evaluate(Part part, const StepRunner& from,
                                                  const ScalarValues& scalars) {
  const std::vector<int64_t>& rows = data_.rows_of(part);
  std::map<std::string, Tensor> accumulated;
  ScalarValues known = scalars;
  known["rows"] = double(rows.size());
  for (auto& level : levels_) {
    if (!level->runner) {
      level->compiled =
          compile_step(make_program(std::move(level->batch), "eval", batch_, compilation_.target, layouts_), compilation_.sources);
      level->runner = std::make_unique<StepRunner>(level->compiled.step, team_);
    }
    StepRunner& runner = *level->runner;
    const StepProgram& program = runner.program();
    runner.copy_persistents(from);
    for (const auto& [name, value] : accumulated)
      if (int index = runner.find_persistent(name); index >= 0) write_persistent(runner, size_t(index), value);
    data_.bind(runner, part);
    const std::vector<float> inputs = step_scalars(program, known);
    std::vector<float> results(program.results.size());
    std::map<std::string, Tensor> sums;
    for (const Accumulator& a : level->accumulators) {
      Tensor t;
      t.dtype = a.type.dtype;
      for (const Extent& e : a.type.shape) t.shape.push_back(e.size);
      double start = a.combine == Combine::sum   ? 0
                     : a.combine == Combine::max ? -std::numeric_limits<double>::infinity()
                                                 : std::numeric_limits<double>::infinity();
      t.values.assign(size_t(a.type.elements(0)), start);
      sums[a.name] = std::move(t);
    }
    for (size_t begin = 0; begin < rows.size(); begin += size_t(batch_)) {
      if (stop_ && stop_()) return {};
      int64_t count = int64_t(std::min(rows.size() - begin, size_t(batch_)));
      runner.run(std::span(&count, 1), rows.data() + begin, inputs.data(), results.data());
      for (const Accumulator& a : level->accumulators) {
        Tensor& into = sums.at(a.name);
        auto result = std::find(program.results.begin(), program.results.end(), a.name);
        if (result != program.results.end()) {
          combine(a.combine, into.values[0], double(results[size_t(result - program.results.begin())]));
          continue;
        }
        for (size_t o = 0; o < program.outputs.size(); ++o) {
          const OutputSlot& slot = program.outputs[o];
          if (slot.name != a.name) continue;
          for (size_t i = 0; i < into.values.size(); ++i)
            combine(a.combine, into.values[i], read_element(runner.output(o) + i * byte_size(slot.dtype), slot.dtype));
        }
      }
    }
    for (auto& [name, value] : sums) accumulated[name] = std::move(value);
  }
  Bindings bindings;
  bindings.rows = int64_t(rows.size());
  bindings.persistents = accumulated;
  bind_scalars(bindings, final_, known);
  bind_persistents(bindings, final_, from);
  return interpret(final_, bindings).outputs;
}

}  // namespace nnc
