// Runs are reproducible to the bit, so nothing has to be watched while training is fast: the last snapshot is run again, and only
// the step that first gives something not finite (the loss, or a parameter after its update) is interpreted node by node. It is
// nearly always the last one or the one before, so the search goes back from there in growing strides and then bisects. The
// interpreter holds 64 bits; what an f32 could not hold counts as infinite.
#include "driver/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "driver/tensors.h"
#include "runtime/row_order.h"

namespace nnc {
namespace {

bool is_finite(double v, DType dtype) {
  return std::isfinite(v) && (dtype != DType::f32 || std::abs(v) <= double(std::numeric_limits<float>::max()));
}

bool persistents_finite(const StepRunner& runner) {
  for (size_t i = 0; i < runner.program().persistents.size(); ++i) {
    if (!is_float(runner.program().persistents[i].dtype)) continue;
    for (double v : read_persistent(runner, i).values)
      if (!std::isfinite(v)) return false;
  }
  return true;
}

class Watcher : public TrainObserver {
 public:
  explicit Watcher(int loss) : loss_(loss) {}
  void on_step(const StepRecord& r) override { loss = double(r.results[size_t(loss_)]); }
  void on_progress(const StepRecord&, std::span<const double>, bool) override {}
  void on_save(int64_t) override {}
  double loss = 0;

 private:
  int loss_;
};

Bindings bind_step(const StepRunner& runner, const TrainPlan& plan, const RunData& data, const Graph& graph, int64_t step) {
  Bindings bindings;
  int64_t epoch = step / plan.steps_per_epoch(), first = step % plan.steps_per_epoch() * plan.batch;
  std::vector<int64_t> order = epoch_order(plan.rows, plan.seed, epoch, plan.shuffle);
  bindings.rows = std::min<int64_t>(plan.batch, int64_t(order.size()) - first);
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::scalar) {
      const std::string& name = n.attributes.text;
      const auto& names = runner.program().scalars;
      auto it = std::find(names.begin(), names.end(), name);
      double value = it == names.end() ? 0 : double(plan.scalars[size_t(it - names.begin())]);
      bindings.scalars[name] = name == "step" ? double(step) : name == "epoch" ? double(epoch) : value;
    }
    if (n.op != Op::input || bindings.inputs.count(n.attributes.text)) continue;
    auto it = std::find(data.names.begin(), data.names.end(), n.attributes.text);
    NNC_CHECK(it != data.names.end(), "an input without a field");
    const FieldData& field = data.fields[size_t(it - data.names.begin())];
    Tensor t{n.type.dtype, shape_at(n.type, bindings.rows), {}};
    size_t per_row = size_t(element_count(field.row_shape));
    for (int64_t r = 0; r < bindings.rows; ++r) {
      std::vector<double> row = to_numbers(field.data + order[size_t(first + r)] * field.row_stride_bytes, per_row, field.dtype);
      t.values.insert(t.values.end(), row.begin(), row.end());
    }
    bindings.inputs[n.attributes.text] = std::move(t);
  }
  for (size_t i = 0; i < runner.program().persistents.size(); ++i)
    bindings.persistents[runner.program().persistents[i].name] = read_persistent(runner, i);
  return bindings;
}

std::vector<int64_t> index_of(size_t element, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t a = shape.size(); a-- > 0;) {
    index[a] = int64_t(element) % shape[a];
    element /= size_t(shape[a]);
  }
  return index;
}

std::string name_cause(const Graph& graph, const std::vector<Tensor>& values, const SourceMap& sources) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& n = graph[NodeId{i}];
    const Tensor& value = values[i];
    if (n.operands.empty() || !is_float(n.type.dtype)) continue;
    auto bad = std::find_if(value.values.begin(), value.values.end(), [&](double v) { return !is_finite(v, n.type.dtype); });
    if (bad == value.values.end()) continue;
    bool operands_finite = true;
    for (NodeId o : n.operands)
      for (double v : values[o.value].values) operands_finite = operands_finite && is_finite(v, graph.type(o).dtype);
    if (!operands_finite) continue;
    size_t at = size_t(bad - value.values.begin());
    std::string where = value.shape.empty() ? "" : " at " + shape_text(index_of(at, value.shape));
    std::string place = fmt::format("`{}`{}", op_name(n.op), n.span.valid() ? " at " + sources.describe_line(n.span) : "");
    if (!is_elementwise(n.op)) return fmt::format("{} gave {:g}{}", place, *bad, where);
    std::vector<std::string> received;
    for (NodeId o : n.operands) received.push_back(fmt::format("{:g}", values[o.value].values[at]));
    return fmt::format("{} received {}{}", place, fmt::join(received, " and "), where);
  }
  return "";
}

}  // namespace

Divergence find_divergence(Session& session, StepRunner& runner, TrainPlan plan, int loss, const Graph& graph,
                           const RunData& data, std::span<const std::byte> from, int64_t from_step, int64_t diverged_step) {
  Divergence result;
  runner.clear_stop();
  plan.save_every = 0;
  auto run_to = [&](int64_t first, int64_t updates) {
    Watcher watcher(loss);
    plan.first_step = first;
    plan.total_steps = updates;
    Trainer(runner, plan, loss).run(watcher);
    return watcher.loss;
  };
  // Whether every persistent is finite after so many updates. Those that are not never become so again, which allows bisection.
  auto is_good = [&](int64_t updates) {
    runner.set_persistent_block(from);
    run_to(from_step, updates);
    return persistents_finite(runner);
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
  runner.set_persistent_block(from);
  run_to(from_step, good);
  std::span<const std::byte> block = runner.persistent_block();
  result.state.assign(block.begin(), block.end());
  result.step = good;
  result.cause = name_cause(graph, interpret(graph, bind_step(runner, plan, data, graph, good), true).values, session.sources);
  result.loss = std::isnan(run_to(good, diverged_step)) ? "NaN" : "infinite";
  return result;
}

}  // namespace nnc
