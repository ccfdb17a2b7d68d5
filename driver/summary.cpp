// nnc summary: the layers of the model, what they hold and what a training step costs. Work and memory are those of the kernels
// as planned, so that a layer's share is what remains after fusion.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

std::string output_text(const LayerSummary& layer) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < layer.output.shape.size(); ++i) {
    std::string name = i < layer.output_names.size() ? layer.output_names[i] : "", size = to_string(layer.output.shape[i]);
    parts.push_back(name.empty() || name == size ? size : name + "=" + size);
  }
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n);
  for (int at = int(digits.size()) - 3; at > 0; at -= 3) digits.insert(size_t(at), 1, ',');
  return digits;
}

/// The kernel belongs to the layer or to one inside it.
bool inside(const std::string& scope, const std::string& layer) {
  return scope == layer ||
         (scope.size() > layer.size() && scope.compare(0, layer.size(), layer) == 0 && scope[layer.size()] == '.');
}

int summary(Session& session, const CommonOptions& o) {
  session.load();
  session.require_train();
  TrainingGraphs graphs = make_training_graphs(session);
  const TrainSpec& spec = session.module->train();
  int64_t rows = spec.batch > 0 ? spec.batch : 256;
  Program program = build_program(graphs.optimized, {"train", rows, session.target, {}});
  int64_t trainable = 0, other = 0, optimizer = 0;
  for (const Persistent& p : graphs.optimized.persistents)
    (p.kind == PersistentKind::parameter         ? trainable
     : p.kind == PersistentKind::optimizer_state ? optimizer
                                                 : other) += p.type.elements(1);
  double flops = 0, bytes = 0;
  for (const Kernel& k : program.kernels) {
    flops += k.flops;
    bytes += k.bytes;
  }
  struct Row {
    std::string path, kind, output;
    int64_t parameters;
    double flops, bytes;
  };
  std::vector<Row> table;
  for (const LayerSummary& layer : graphs.forward.layers) {
    Row row{layer.path, layer.kind, output_text(layer), layer.parameters, 0, 0};
    for (const Kernel& k : program.kernels) {
      if (layer.path.empty() || !inside(k.scope, layer.path)) continue;
      row.flops += k.flops;
      row.bytes += k.bytes;
    }
    table.push_back(std::move(row));
  }
  if (o.json) {
    Json layers = Json::array();
    for (const Row& r : table)
      layers.push_back({{"path", r.path},
                        {"kind", r.kind},
                        {"output", r.output},
                        {"parameters", r.parameters},
                        {"flops", r.flops},
                        {"bytes", r.bytes}});
    Json line{{"layers", layers},
              {"batch", rows},
              {"parameters", trainable},
              {"other_values", other},
              {"optimizer_values", optimizer},
              {"flops", flops},
              {"bytes", bytes},
              {"arena_bytes", program.arena_bytes},
              {"persistent_bytes", program.persistent_bytes},
              {"kernels", program.kernels.size()}};
    print_json_line(line);
    return exit_done;
  }
  size_t widths[3] = {5, 4, 6};
  for (const Row& r : table) {
    widths[0] = std::max(widths[0], r.path.size());
    widths[1] = std::max(widths[1], r.kind.size());
    widths[2] = std::max(widths[2], r.output.size());
  }
  std::printf("%-*s  %-*s  %-*s %12s %14s %14s\n", int(widths[0]), "layer", int(widths[1]), "kind", int(widths[2]), "output",
              "parameters", "FLOP / step", "bytes / step");
  for (const Row& r : table)
    std::printf("%-*s  %-*s  %-*s %12s %14s %14s\n", int(widths[0]), r.path.c_str(), int(widths[1]), r.kind.c_str(),
                int(widths[2]), r.output.c_str(), grouped(r.parameters).c_str(), grouped(int64_t(r.flops)).c_str(),
                grouped(int64_t(r.bytes)).c_str());
  std::printf("\n");
  std::printf("parameters      %s trainable", grouped(trainable).c_str());
  if (other) std::printf(", %s frozen or states", grouped(other).c_str());
  if (optimizer) std::printf(", %s of the optimiser", grouped(optimizer).c_str());
  std::printf("\na step          %s FLOP, %s bytes, batch %lld, in %zu kernels\n", grouped(int64_t(flops)).c_str(),
              grouped(int64_t(bytes)).c_str(), static_cast<long long>(rows), program.kernels.size());
  std::printf("memory          %s bytes of parameters and states, %s bytes of arena\n", grouped(program.persistent_bytes).c_str(),
              grouped(program.arena_bytes).c_str());
  return exit_done;
}

}  // namespace

Command summary_command() {
  auto o = std::make_shared<CommonOptions>();
  Command command("summary",
                  "layers, shapes, parameters; work, traffic and memory of a step\n\n"
                  "  nnc summary digits.nn\n"
                  "  nnc summary digits.nn --set data.batch=256 --json\n");
  add_common(command, *o);
  command.run = [o] { return with_session(*o, [&](Session& session) { return summary(session, *o); }); };
  return command;
}

}  // namespace nnc
