// nnc eval: loss and reports of trained weights on the test split, which is the one that training set aside: its seed is stored
// with the weights.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/data.h"
#include "driver/evaluate.h"
#include "driver/progress.h"
#include "driver/tensors.h"
#include "driver/weights.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
  CommonOptions common;
  std::string weights;
};

Json json_values(const Tensor& t, size_t axis, size_t& next) {
  if (axis == t.shape.size()) {
    double v = t.values[next++];
    if (!std::isfinite(v)) return fmt::format("{}", v);
    return is_float(t.dtype) ? Json(v) : Json(int64_t(v));
  }
  Json list = Json::array();
  for (int64_t i = 0; i < t.shape[axis]; ++i) list.push_back(json_values(t, axis + 1, next));
  return list;
}

/// Rows of the last dimension, numbers right-aligned.
void print_table(const std::string& name, const Tensor& t) {
  std::printf("%s %s:\n", name.c_str(), shape_text(t.shape).c_str());
  std::vector<std::string> cells;
  size_t width = 1;
  for (double v : t.values) {
    cells.push_back(v == std::floor(v) && std::abs(v) < 1e15 ? fmt::format("{:.0f}", v) : format_metric(v));
    width = std::max(width, cells.back().size());
  }
  size_t columns = size_t(std::max<int64_t>(t.shape.back(), 1));
  for (size_t i = 0; i < cells.size(); ++i)
    std::printf("%s%*s%s", i % columns == 0 ? "  " : " ", int(width), cells[i].c_str(), i % columns == columns - 1 ? "\n" : "");
}

int eval(Session& session, const EvalOptions& o) {
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  BuiltGraph graph = session.require(session.module->build_eval_graph(session.diagnostics));
  Team team(session.thread_count());
  StepRunner weights(model_weights(session), team);
  std::map<std::string, std::string> metadata = load_tensors(o.weights, weights, false);
  uint64_t seed = spec.seed;
  if (auto it = metadata.find("nnc.seed"); it != metadata.end() && !o.common.seed)
    seed = std::strtoull(it->second.c_str(), nullptr, 10);
  RunData data = load_data(spec, o.common.data, seed);
  if (data.split.test.empty())
    throw UserError(Code::E0507, fmt::format("the data block `{}` sets no test rows aside", spec.data.name), o.common.file,
                    "add `test 20%` to the data block");
  Evaluator evaluator(session, graph, std::min<int64_t>(256, int64_t(data.split.test.size())), {}, team);
  std::map<std::string, double> scalars{{"step", 0}, {"epoch", 0}};
  for (const ScalarSpec& s : spec.scalars) scalars.try_emplace(s.name, s.value);
  std::map<std::string, Tensor> values = evaluator.evaluate(data, data.split.test, true, weights, scalars);
  if (o.common.json) {
    Json line;
    for (const std::string& name : evaluator.names()) {
      size_t next = 0;
      line[name] = json_values(values.at(name), 0, next);
    }
    std::printf("%s\n", line.dump().c_str());
    return exit_done;
  }
  for (const std::string& name : evaluator.names()) {
    const Tensor& t = values.at(name);
    if (t.shape.empty())
      std::printf("%s: %s\n", name.c_str(), format_metric(t.values[0]).c_str());
    else
      print_table(name, t);
  }
  return exit_done;
}

}  // namespace

Command eval_command() {
  auto o = std::make_shared<EvalOptions>();
  Command command("eval",
                  "loss and metrics on the test split\n\n"
                  "  nnc eval digits.nn --weights digits.safetensors\n"
                  "  nnc eval digits.nn --weights digits.safetensors --json\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  add_trained_weights(command, o->weights);
  command.run = [o] { return with_session(o->common, [&](Session& session) { return eval(session, *o); }); };
  return command;
}

}  // namespace nnc
