// nnc summary: the layers of the model, what they hold and what a training step costs (engine/model_summary.h).
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
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

// --- what workers exchange ---

using Json = nlohmann::ordered_json;

/// Sums of one kind, or what is published.
struct ExchangeRow {
  std::string what;
  size_t arrays = 0;
  int64_t bytes = 0;
  Traffic traffic;
};

std::string_view words_of(const ExchangedSum& sum) {
  switch (sum.use) {
    case SumUse::rows: return "sums that rows read";
    case SumUse::gradient: return sum.array.whole ? "gradients, needed whole by all" : "gradients, to owners of ranges";
    case SumUse::updates: return "sums of several updates";
    case SumUse::result: return "loss, reports";
  }
  NNC_UNREACHABLE("a use without words");
}

/// In the order of a step.
std::vector<ExchangeRow> exchange_rows(const StepExchanges& e) {
  std::vector<ExchangeRow> rows;
  std::vector<std::vector<SharedArray>> arrays;
  for (const ExchangedSum& sum : e.sums) {
    const std::string what(words_of(sum));
    size_t at = size_t(std::ranges::find(rows, what, &ExchangeRow::what) - rows.begin());
    if (at == rows.size()) rows.push_back({what, 0, 0, {}}), arrays.emplace_back();
    arrays[at].push_back(sum.array);
  }
  for (size_t i = 0; i < rows.size(); ++i) rows[i].traffic = e.busiest_exchange(arrays[i]);
  rows.push_back({"new values, from their owners", 0, 0, e.busiest_publish(e.published())});
  arrays.push_back(e.published());
  if (!e.handed.empty()) {
    rows.push_back({"rows that name table entries", 0, 0, e.busiest_publish(e.handed)});
    arrays.push_back(e.handed);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].arrays = arrays[i].size();
    for (const SharedArray& a : arrays[i]) rows[i].bytes += a.bytes();
  }
  return rows;
}

Traffic all_of(const std::vector<ExchangeRow>& rows) {
  Traffic all;
  for (const ExchangeRow& row : rows) all += row.traffic;
  return all;
}

Json traffic_as_json(Json line, const Traffic& t) {
  line["sent"] = t.sent, line["received"] = t.received;
  return line;
}

Json workers_as_json(const ModelSummary::Workers& w) {
  const StepExchanges& e = w.exchanges;
  Json sums = Json::array(), published = Json::array();
  for (const ExchangedSum& sum : e.sums)
    sums.push_back(traffic_as_json({{"use", sum_use_name(sum.use)}, {"parameter", sum.parameter}, {"type", to_string(sum.type)}, {"stage", sum.stage}, {"bytes", sum.array.bytes()}, {"whole", sum.array.whole}},
                                   e.busiest_exchange({sum.array})));
  for (const OwnedArray& o : e.owned)
    if (o.is_published) published.push_back(traffic_as_json({{"name", o.name}, {"bytes", o.array.bytes()}}, e.busiest_publish({o.array})));
  Json line{{"workers", e.workers}, {"rows", e.rows[size_t(e.busiest)]}, {"pieces", w.pieces}};
  line = traffic_as_json(line, all_of(exchange_rows(e)));
  line["sums"] = sums, line["published"] = published;
  line["memory"] = {{"parameters", w.memory.parameters}, {"optimizer", w.memory.optimizer}, {"partials", w.memory.partials}, {"arena", w.memory.arena}, {"local", w.memory.local}};
  return line;
}

void print_workers(const ModelSummary::Workers& w) {
  const StepExchanges& e = w.exchanges;
  std::printf("\n%d workers       of which the busiest has %s row%s of a batch, %lld piece%s of %lld; what it sends and receives in a step:\n\n", e.workers, grouped(e.rows[size_t(e.busiest)]).c_str(), e.rows[size_t(e.busiest)] == 1 ? "" : "s",
              static_cast<long long>(w.pieces), w.pieces == 1 ? "" : "s", static_cast<long long>(e.pieces));
  const std::vector<ExchangeRow> rows = exchange_rows(e);
  std::printf("%-30s  %6s %14s %14s %14s\n", "exchanged", "arrays", "bytes", "bytes sent", "received");
  for (const ExchangeRow& row : rows)
    std::printf("%-30s  %6zu %14s %14s %14s\n", row.what.c_str(), row.arrays, grouped(row.bytes).c_str(), grouped(row.traffic.sent).c_str(), grouped(row.traffic.received).c_str());
  const Traffic all = all_of(rows);
  std::printf("%-30s  %6s %14s %14s %14s\n", "a step", "", "", grouped(all.sent).c_str(), grouped(all.received).c_str());
  std::printf("\nof each worker  %s bytes of parameters and states, %s of the optimiser, %s of parts of sums, %s of arena", grouped(w.memory.parameters).c_str(), grouped(w.memory.optimizer).c_str(),
              grouped(w.memory.partials).c_str(), grouped(w.memory.arena).c_str());
  if (w.memory.local) std::printf(", %s for each thread", grouped(w.memory.local).c_str());
  std::printf("\n");
}

// --- the summary ---

void print_as_json(const ModelSummary& s) {
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
  if (s.workers) line["shared"] = workers_as_json(*s.workers);
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
  if (s.workers) print_workers(*s.workers);
}

int summary(Session& session, const CommonOptions& o, int workers) {
  session.workers = workers;
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
  struct SummaryOptions {
    CommonOptions common;
    int workers = 1;
  };
  auto o = std::make_shared<SummaryOptions>();
  Command command("summary",
                  "layers, shapes, parameters; work, traffic and memory of a step, and what workers exchange\n\n"
                  "  nnc summary digits.nn\n"
                  "  nnc summary digits.nn --set data.batch=256 --json\n"
                  "  nnc summary digits.nn --workers 4 --set data.pieces=4\n");
  add_common(command, o->common);
  add_shown_workers(command, o->workers);
  command.run = [o] { return with_session(o->common, [&](Session& session) { return summary(session, o->common, o->workers); }); };
  return command;
}

}  // namespace nnc
