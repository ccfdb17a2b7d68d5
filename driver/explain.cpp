// nnc explain: what became of a file's layers, as text and as JSON (engine/explanation.h finds it out). With a code instead of a file: what that diagnostic means.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/explanation.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

int explain_code(const std::string& word, bool json) {
  std::string wanted = word;
  std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  std::vector<std::string> names;
  for (Code code : all_codes()) {
    names.emplace_back(code_name(code));
    if (names.back() != wanted) continue;
    if (json) {
      Json line{{"code", wanted}, {"summary", code_summary(code)}, {"explanation", code_explanation(code)}};
      print_json_line(line);
      return exit_done;
    }
    std::printf("%s: %s\n\n%s\n", wanted.c_str(), std::string(code_summary(code)).c_str(), std::string(code_explanation(code)).c_str());
    return exit_done;
  }
  std::string near = nearest(wanted, names);
  throw UserError(Code::E0601, fmt::format("there is no diagnostic `{}`", word), "the command line",
                  near.empty() ? "codes look like E0103; a file of programs ends in .nn" : fmt::format("did you mean `{}`?", near));
}

std::string quantity(double value, std::string_view unit) {
  if (value >= 1e9) return fmt::format("{:.2f} G{}", value / 1e9, unit);
  if (value >= 1e6) return fmt::format("{:.2f} M{}", value / 1e6, unit);
  if (value >= 1e3) return fmt::format("{:.2f} k{}", value / 1e3, unit);
  return fmt::format("{:.0f} {}", value, unit);
}

/// Each word once, with its number: `sub x 2`.
std::string counted(const std::vector<std::string>& words) {
  std::vector<std::pair<std::string, int>> counts;
  for (const std::string& w : words) {
    auto it = std::find_if(counts.begin(), counts.end(), [&](const auto& c) { return c.first == w; });
    if (it == counts.end())
      counts.emplace_back(w, 1);
    else
      ++it->second;
  }
  std::vector<std::string> parts;
  for (auto& [word, count] : counts) parts.push_back(count == 1 ? word : fmt::format("{} x {}", word, count));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// --- text ---

void print_layers(const Explanation& e) {
  size_t path = 12, kind = 4;
  for (const Explanation::Layer& l : e.layers) path = std::max(path, l.path.size()), kind = std::max(kind, l.kind.size());
  fmt::print("{:{}}  {:{}}  {:>8} {:>9} {:>7}  {:>12} {:>10}  {}\n", "layer", path, "kind", kind, "forward", "gradient", "update", "work", "memory", "kernels");
  for (const Explanation::Layer& l : e.layers) {
    const int* count = l.operations;
    if (l.path.empty() && l.kernels == 0 && count[0] + count[1] + count[2] == 0) continue;
    fmt::print("{:{}}  {:{}}  {:>8} {:>9} {:>7}  {:>12} {:>10}  {}\n", l.path.empty() ? "(no layer)" : l.path, path, l.kind, kind, count[0], count[1], count[2],
               quantity(l.flops, "FLOP"), quantity(l.bytes, "B"), l.kernels);
  }
  fmt::print("\n");
}

void print_buffers(const char* what, const std::vector<Explanation::Buffer>& buffers, const char* end) {
  double bytes = 0;
  std::vector<std::string> names;
  for (const Explanation::Buffer& b : buffers) bytes += double(b.bytes), names.push_back(b.name);
  fmt::print("  {:<9} {} ({}){}", what, listed(names, 9), quantity(bytes, "B"), end);
}

void print_kernel(const Session& session, const Explanation::Kernel& kernel, bool everything) {
  std::string line = short_line(session, kernel.span);
  const std::string rounds = kernel.rounds == 1 ? "" : fmt::format(", {} rounds of a scan", kernel.rounds);
  fmt::print("kernel {}: {}{}{}, {}, {}\n", kernel.name, kernel.kind, line.empty() ? "" : ", " + line, rounds, quantity(kernel.flops, "FLOP"), quantity(kernel.bytes, "B"));
  for (size_t role = 0; role < std::size(explained_roles); ++role) {
    std::vector<std::string> own, rest;
    for (const Explanation::Node& n : kernel.nodes)
      if (n.role == role) (n.selected ? own : rest).push_back(everything || !n.selected ? n.op : n.text);
    if (!own.empty()) fmt::print("  {:<9} {}\n", explained_roles[role], counted(own));
    if (!rest.empty()) fmt::print("  +{:<8} {}\n", explained_roles[role], counted(rest));
  }
  print_buffers("reads", kernel.reads, "\n");
  print_buffers("writes", kernel.writes, "\n\n");
}

void print_gradient(const Explanation::Gradient& g) {
  if (g.workers > 1)
    fmt::print("Its gradient is stored: each of the {} workers gives a part of it, and the parts are exchanged and joined before it updates the parameter. What follows is the step of one worker that has "
               "all rows, in which the same sums are added in the same order.\n\n", g.workers);
  else if (g.batches > 1)
    fmt::print("Its gradient is stored: each of the {} batches that make up a whole one (`accumulate`) gives a part of it, and the parts are joined before it updates the parameter. What follows is the step "
               "of one batch of all these rows, in which the same sums are added in the same order.\n\n", g.batches);
  else if (g.stored_in.empty())
    fmt::print("Its gradient is never stored: {} makes it and updates the parameter with it.\n\n", g.kernel);
  else if (g.is_clipped)
    fmt::print("Its gradient is stored ({}): `clip_norm` scales it by the norm of all gradients before {} updates the parameter. See below.\n\n", fmt::join(g.stored_in, ", "), g.kernel);
  else
    fmt::print("Its gradient is stored ({}) before {} updates the parameter: see below.\n\n", fmt::join(g.stored_in, ", "), g.kernel);
}

void print_stored(const std::vector<Explanation::Stored>& stored, bool everything) {
  if (stored.empty()) {
    fmt::print("{}\n", everything ? "No value is stored between kernels." : "None of its values is stored between kernels.");
    return;
  }
  fmt::print("Stored between kernels, and why:\n");
  for (const Explanation::Stored& v : stored) {
    fmt::print("  {} : {}, {}, {} {}, made by {}\n", v.buffer.name, v.node.type, quantity(double(v.buffer.bytes), "B"), explained_roles[v.node.role],
               v.node.text.substr(v.buffer.name.size() + 1), fmt::join(v.writers, ", "));
    for (const Explanation::Read& r : v.reads) fmt::print("    {}: {}\n", r.kernel, r.text);
  }
}

void print_exchanged(const Session& session, const Explanation& e) {
  if (e.exchanged.empty()) return;
  if (e.workers > 1) fmt::print("Exchanged between the {} workers, and why:\n", e.workers);
  else fmt::print("Kept from batch to batch, and why:\n");
  for (const Explanation::Exchanged& x : e.exchanged) {
    const std::string line = short_line(session, x.span);
    fmt::print("  {} : {}, {}{}\n    {}\n", x.what, x.type, quantity(double(x.bytes), "B"), line.empty() ? "" : fmt::format(" ({})", line), x.text);
  }
  fmt::print("\n");
}

void print_as_text(const Session& session, const std::string& name, const Explanation& e) {
  const bool everything = name.empty();
  std::string what = fmt::format("{} of {} rows", e.of_training_step ? "a training step" : e.subject, e.rows);
  fmt::print("{}: {} runs {} kernels, {}, {} of memory touched\n", session.options.file, what, e.kernel_count, quantity(e.flops, "FLOP"), quantity(e.bytes, "B"));
  if (everything) {
    fmt::print("\n");
    print_layers(e);
  } else {
    double flops = 0, bytes = 0;
    for (const Explanation::Kernel& k : e.kernels) flops += k.flops, bytes += k.bytes;
    fmt::print("{} {}: its operations are in {} of them, {}, {}; `+` marks what else is fused there\n\n", e.found_as, name, e.kernels.size(),
               quantity(flops, "FLOP"), quantity(bytes, "B"));
    for (const Explanation::Gradient& g : e.gradients) print_gradient(g);
  }
  print_exchanged(session, e);
  for (const Explanation::Table& t : e.tables) fmt::print("Lookups: {}.\n\n", t.text);
  for (const Explanation::Kernel& k : e.kernels) print_kernel(session, k, everything);
  print_stored(e.stored, everything);
}

// --- for tools ---

Json buffers_as_json(const std::vector<Explanation::Buffer>& buffers) {
  Json result = Json::array();
  for (const Explanation::Buffer& b : buffers) result.push_back({{"name", b.name}, {"bytes", b.bytes}});
  return result;
}

Json node_as_json(const Explanation::Node& n, const SourceMap& sources) {
  return {{"id", n.id}, {"op", n.op}, {"type", n.type}, {"role", explained_roles[n.role]}, {"scope", n.scope}, {"line", sources.describe_line(n.span)},
          {"selected", n.selected}};
}

void print_as_json(const Session& session, const std::string& name, const Explanation& e) {
  const SourceMap& sources = session.sources;
  Json kernels = Json::array(), stored = Json::array(), tables = Json::array();
  for (const Explanation::Table& t : e.tables) tables.push_back({{"parameter", t.parameter}, {"by_entries", t.by_entries}, {"reason", t.reason}, {"text", t.text}});
  for (const Explanation::Kernel& k : e.kernels) {
    Json nodes = Json::array();
    for (const Explanation::Node& n : k.nodes) nodes.push_back(node_as_json(n, sources));
    kernels.push_back({{"name", k.name}, {"kind", k.kind}, {"scope", k.scope}, {"line", sources.describe_line(k.span)}, {"flops", k.flops}, {"bytes", k.bytes}, {"rounds", k.rounds},
                       {"reads", buffers_as_json(k.reads)}, {"writes", buffers_as_json(k.writes)}, {"nodes", nodes}});
  }
  for (const Explanation::Stored& v : e.stored) {
    Json reads = Json::array();
    for (const Explanation::Read& r : v.reads) reads.push_back({{"kernel", r.kernel}, {"reason", r.reason}, {"text", r.text}});
    stored.push_back({{"buffer", v.buffer.name}, {"bytes", v.buffer.bytes}, {"node", node_as_json(v.node, sources)}, {"writers", v.writers}, {"reads", reads}});
  }
  Json exchanged = Json::array();
  for (const Explanation::Exchanged& x : e.exchanged)
    exchanged.push_back({{"what", x.what}, {"parameter", x.parameter}, {"type", x.type}, {"bytes", x.bytes}, {"reason", x.reason}, {"text", x.text}, {"line", sources.describe_line(x.span)}});
  Json line{{"file", session.options.file}, {"name", name}, {"name_is", e.found_as}, {"rows", e.rows}, {"flops", e.flops}, {"bytes", e.bytes},
            {"arena_bytes", e.arena_bytes}, {"local_bytes", e.local_bytes}, {"kernels", kernels}, {"stored", stored}, {"tables", tables},
            {"workers", e.workers}, {"batches", e.batches}, {"exchanged", exchanged}};
  print_json_line(line);
}

/// E0103 rather than a file.
bool is_code(const std::string& word) {
  bool digits = word.size() > 1 && std::all_of(word.begin() + 1, word.end(), [](unsigned char c) { return std::isdigit(c); });
  return digits && (word[0] == 'E' || word[0] == 'e');
}

struct ExplainOptions {
  CommonOptions common;
  DefinitionOptions definition;
  std::string name;
  int workers = 1;
};

int run_explain(const ExplainOptions& options) {
  const CommonOptions& o = options.common;
  std::error_code error;
  bool path = o.file.find('/') != std::string::npos || o.file.find('.') != std::string::npos || std::filesystem::exists(o.file, error);
  if (is_code(o.file) || !path) {
    if (!options.name.empty())
      throw UserError(Code::E0601, fmt::format("`{}` is not a file, so `{}` names nothing in it", o.file, options.name), "the command line",
                      "write `nnc explain FILE.nn NAME`");
    return explain_code(o.file, o.json);
  }
  return with_session(o, [&](Session& session) {
    session.workers = options.workers;
    session.load();
    const std::optional<DefinitionRequest> definition = asked_definition(session, options.definition);
    if (definition && options.workers > 1)
      throw UserError(Code::E0601, "`--workers` is about a training step, and this is one definition", "the command line", "leave out `--workers`, or `--fn`");
    Explanation e = explain(session, definition, options.name);
    o.json ? print_as_json(session, options.name, e) : print_as_text(session, options.name, e);
    return int(exit_done);
  });
}

}  // namespace

Command explain_command() {
  auto o = std::make_shared<ExplainOptions>();
  Command command(
      "explain",
      "what became of a layer: operations, kernels, work, and why not fused where it was not; or what a diagnostic means\n\n"
      "  nnc explain digits.nn                   every layer, kernel and stored value\n"
      "  nnc explain digits.nn dense1            a layer; a parameter (dense1.weight), a definition, a kernel\n"
      "  nnc explain digits.nn digits.nn:10      what a line became\n"
      "  nnc explain layers.nn --fn Block        a definition; without a train block the file's one model\n"
      "  nnc explain digits.nn --workers 2 --set data.pieces=2    also what workers exchange, and why\n"
      "  nnc explain E0103                       the code of a diagnostic\n");
  add_common(command, o->common, "the .nn file, or the code of a diagnostic");
  command.positional("NAME", o->name, "a layer, parameter, definition, kernel, or line");
  add_shown_workers(command, o->workers);
  add_definition(command, o->definition, "with --fn: rows of a batch to plan for (32)");
  command.run = [o] { return run_explain(*o); };
  return command;
}

}  // namespace nnc
