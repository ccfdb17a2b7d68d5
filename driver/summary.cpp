// nnc summary: the layers of the model, what they hold and what a training step costs (engine/model_summary.h).
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/model_summary.h"

namespace nnc {
namespace {

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

std::string path_text(const LayerSummary& layer) { return layer.path.empty() ? "(model)" : layer.path; }

void print_as_json(const ModelSummary& s) {
  using Json = nlohmann::ordered_json;
  Json layers = Json::array();
  for (const ModelSummary::Layer& l : s.layers)
    layers.push_back({{"path", l.layer.path},
                      {"kind", l.layer.kind},
                      {"output", output_text(l.layer)},
                      {"parameters", l.layer.parameters},
                      {"flops", l.flops},
                      {"bytes", l.bytes}});
  Json line{{"layers", layers},
            {"batch", s.batch},
            {"accumulate", s.accumulate},
            {"pieces", s.pieces},
            {"batch_is_known", s.batch_is_assumed.empty()},
            {"parameters", s.trainable},
            {"other_values", s.other},
            {"optimizer_values", s.optimizer},
            {"flops", s.flops},
            {"bytes", s.bytes},
            {"arena_bytes", s.arena_bytes},
            {"local_bytes", s.local_bytes},
            {"persistent_bytes", s.persistent_bytes},
            {"kernels", s.kernels}};
  print_json_line(line);
}

void print_as_text(const ModelSummary& s) {
  size_t widths[3] = {5, 4, 6};
  for (const ModelSummary::Layer& l : s.layers) {
    widths[0] = std::max(widths[0], path_text(l.layer).size());
    widths[1] = std::max(widths[1], l.layer.kind.size());
    widths[2] = std::max(widths[2], output_text(l.layer).size());
  }
  std::printf("%-*s  %-*s  %-*s %12s %14s %14s\n", int(widths[0]), "layer", int(widths[1]), "kind", int(widths[2]), "output",
              "parameters", "FLOP / step", "bytes / step");
  for (const ModelSummary::Layer& l : s.layers)
    std::printf("%-*s  %-*s  %-*s %12s %14s %14s\n", int(widths[0]), path_text(l.layer).c_str(), int(widths[1]), l.layer.kind.c_str(),
                int(widths[2]), output_text(l.layer).c_str(), grouped(l.layer.parameters).c_str(), grouped(int64_t(l.flops)).c_str(),
                grouped(int64_t(l.bytes)).c_str());
  std::printf("\n");
  std::printf("parameters      %s trainable", grouped(s.trainable).c_str());
  if (s.other) std::printf(", %s frozen or states", grouped(s.other).c_str());
  if (s.optimizer) std::printf(", %s of the optimiser", grouped(s.optimizer).c_str());
  const std::string times = s.accumulate > 1 ? fmt::format("{} x ", s.accumulate) : "", pieces = s.pieces > 1 ? fmt::format(" in {} pieces", s.pieces) : "";
  std::printf("\na step          %s FLOP, %s bytes, batch %s%lld%s, in %zu kernels\n", grouped(int64_t(s.flops)).c_str(),
              grouped(int64_t(s.bytes)).c_str(), times.c_str(), static_cast<long long>(s.batch), pieces.c_str(), s.kernels);
  if (!s.batch_is_assumed.empty())
    std::printf("                these rows are assumed, `batch: all` asks for all of the data: %s\n", s.batch_is_assumed.c_str());
  std::printf("memory          %s bytes of parameters and states, %s bytes of arena", grouped(s.persistent_bytes).c_str(), grouped(s.arena_bytes).c_str());
  if (s.local_bytes) std::printf(", %s bytes for each thread", grouped(s.local_bytes).c_str());
  std::printf("\n");
}

int summary(Session& session, const CommonOptions& o) {
  session.load();
  session.require_train();
  ModelSummary s = summarize_model(session);
  if (o.json)
    print_as_json(s);
  else
    print_as_text(s);
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
