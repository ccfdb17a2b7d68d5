// The step is planned once more with the fuser's log; what the log, the graph and the program say is put together for the part that was asked for.
#include "engine/explanation.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/explained_step.h"
#include "engine/graph_runner.h"
#include "engine/model_summary.h"
#include "ir/chains.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "passes/pipeline.h"
#include "passes/touched_rows.h"

namespace nnc {
namespace {

ExplainedStep plan(Compilation& compilation, const std::optional<DefinitionRequest>& definition) {
  ExplainedStep step;
  LowerOptions options{"train", 0, compilation.target};
  if (definition) {
    BuiltGraph built = build_declared(compilation, *definition);
    options.rows = definition->rows;
    step.graph = runnable_graph(std::move(built.graph), options.rows);
    step.layers = std::move(built.layers);
    options.name = step.graph.name;
    options.typed_scalars = true;
    step.subject = fmt::format("`{}`", step.graph.name);
  } else {
    const BatchPlan batch = planned_batch(compilation);
    require_pieces(compilation, batch);
    TrainingGraphs graphs = make_training_graphs(compilation);
    if (graphs.stages) {
      const int workers = compilation.workers;
      step.exchanges = find_exchanges(graphs, build_step(graphs.optimized, graphs.stages, graphs.couples_rows, batch, compilation.target, {busiest_worker(batch, workers), workers}), workers);
    }
    step.graph = std::move(graphs.backward);
    step.layers = std::move(graphs.forward.layers);
    step.subject = training_step;
    options = lower_options("train", batch, compilation.target);
  }
  FusionLog log;
  optimize_graph(step.graph, {.log = &log, .rows = std::max(options.rows, options.whole_rows)});
  step.program = build_program(step.graph, options);
  step.stored = stored_values(step.graph, step.program, log);
  step.roles = node_roles(step.graph);
  step.nodes_of = kernel_nodes(step.graph, step.program);
  step.spaces = group_spaces(step.graph);
  return step;
}

std::string kind_of(const Kernel& kernel) {
  if (kernel.nodes.empty()) return "copy";
  auto* map = std::get_if<MapKernel>(&kernel.body);
  if (!map) return "contraction";
  bool reduces = false;
  for (const Block& b : map->blocks)
    for (const Instruction& i : b.code) {
      if (i.kind == Instruction::Kind::store_add || is_of_chains(i)) return "scatter";
      reduces = reduces || i.kind == Instruction::Kind::reduce;
    }
  return reduces ? "row-wise" : "element-wise";
}

/// Puts an explanation together from a step and the part of it that is asked for.
class Teller {
 public:
  Teller(const Compilation& compilation, const ExplainedStep& step, const ExplainedPart& part, const std::string& name)
      : compilation_(compilation), step_(step), part_(part), name_(name) {}
  Explanation tell() const;

 private:
  const Compilation& compilation_;
  const ExplainedStep& step_;
  const ExplainedPart& part_;
  const std::string& name_;

  Explanation::Node node(NodeId) const;
  Explanation::Buffer buffer(BufferId b) const { return {step_.program[b].name, step_.program[b].bytes}; }
  Explanation::Layer layer(const std::string& path, const std::string& kind) const;
  Explanation::Kernel kernel(size_t k) const;
  bool concerns(const StoredValue&) const;
  Explanation::Stored stored(const StoredValue&) const;
  std::optional<Explanation::Gradient> gradient(const Update&) const;
  std::vector<Explanation::Exchanged> exchanged() const;
  std::optional<Explanation::Table> table(const Update&) const;
};

Explanation::Node Teller::node(NodeId n) const {
  const Node& of = step_.graph[n];
  return {n.value, std::string(op_name(of.op)), to_string(of.type), of.scope, size_t(step_.roles[n.value]), of.span, part_.nodes[n.value],
          node_text(compilation_, step_.graph, n)};
}

Explanation::Layer Teller::layer(const std::string& path, const std::string& kind) const {
  Explanation::Layer result{path, kind};
  auto mine = [&](const std::string& scope) { return path.empty() ? scope.empty() : inside_layer(scope, path); };
  for (uint32_t i = 0; i < step_.graph.size(); ++i)
    if (op_class(step_.graph[NodeId{i}].op) != OpClass::leaf && mine(step_.graph[NodeId{i}].scope)) ++result.operations[size_t(step_.roles[i])];
  for (size_t k = 0; k < step_.program.kernels.size(); ++k) {
    const Kernel& of = step_.program.kernels[k];
    if (!mine(of.scope)) continue;
    const double rounds = double(rounds_of(step_.program, k));
    result.flops += rounds * of.flops, result.bytes += rounds * of.bytes, ++result.kernels;
  }
  return result;
}

Explanation::Kernel Teller::kernel(size_t k) const {
  const Kernel& of = step_.program.kernels[k];
  const double rounds = double(rounds_of(step_.program, k));
  Explanation::Kernel result{of.name, kind_of(of), of.scope, of.span, rounds * of.flops, rounds * of.bytes, {}, {}, {}, rounds_of(step_.program, k)};
  std::set<BufferId> read, written;
  for_each_access(of, [&](const Instruction& i) {
    if (reads_memory(i)) read.insert(i.access.buffer);
    if (writes_memory(i)) written.insert(i.access.buffer);
  });
  for (BufferId b : read) result.reads.push_back(buffer(b));
  for (BufferId b : written) result.writes.push_back(buffer(b));
  for (NodeId n : step_.nodes_of[k]) result.nodes.push_back(node(n));
  return result;
}

/// The value is one of the part's, or an operation of the part reads it.
bool Teller::concerns(const StoredValue& value) const {
  if (part_.nodes[value.node.value]) return true;
  for (const StoredRead& read : value.reads)
    if (read.reader.valid() && part_.nodes[read.reader.value]) return true;
  return std::ranges::any_of(value.writers, [&](size_t k) { return step_.program.kernels[k].name == name_; });
}

Explanation::Stored Teller::stored(const StoredValue& value) const {
  Explanation::Stored result{buffer(value.buffer), node(value.node), {}, {}};
  for (size_t k : value.writers) result.writers.push_back(step_.program.kernels[k].name);
  for (const StoredRead& read : value.reads)
    result.reads.push_back({step_.program.kernels[read.kernel].name, std::string(reason_name(read.reason)), reason_text(compilation_, step_, value, read)});
  return result;
}

std::optional<Explanation::Gradient> Teller::gradient(const Update& update) const {
  const Graph& graph = step_.graph;
  if (op_class(graph[update.node].op) == OpClass::leaf) return std::nullopt;
  // A scalar's gradient cannot be told from the norm that all gradients are clipped by.
  if (part_.gradients.empty() || (graph.type(update.node).rank() == 0 && part_.gradients.size() > 1)) return std::nullopt;
  Explanation::Gradient result;
  for (const StoredValue& v : step_.stored)
    if (std::ranges::find(part_.gradients, v.node) != part_.gradients.end()) result.stored_in.push_back(step_.program[v.buffer].name);
  int group = graph[update.node].group;
  bool here = std::ranges::all_of(part_.gradients, [&](NodeId n) { return graph[n].group == group; });
  for (const Kernel& k : step_.program.kernels)
    if (!k.nodes.empty() && graph[k.nodes.front()].group == group) result.kernel = k.name;
  if (result.stored_in.empty() && !here) return std::nullopt;
  if (step_.subject == training_step) result.batches = compilation_.module->train().accumulate;
  result.workers = step_.exchanges.workers;
  result.is_clipped = step_.subject == training_step && compilation_.module->train().clip_norm.has_value();
  return result;
}

std::vector<Explanation::Exchanged> Teller::exchanged() const {
  std::vector<Explanation::Exchanged> result;
  const bool is_clipped = compilation_.module->has_train() && compilation_.module->train().clip_norm.has_value();
  for (const ExchangedSum& sum : step_.exchanges.sums) {
    if (!name_.empty() && (sum.parameter.empty() || !inside_layer(sum.parameter, name_))) continue;
    const auto [what, reason, text] = exchange_reason(step_.exchanges, sum, is_clipped);
    result.push_back({what, sum.parameter, to_string(sum.type), sum.array.bytes(), reason, text, sum.span});
  }
  return result;
}

std::optional<Explanation::Table> Teller::table(const Update& update) const {
  const Persistent* persistent = step_.graph.find_persistent(update.name);
  if (!persistent || persistent->kind != PersistentKind::parameter) return std::nullopt;
  const Kernel* kernel = nullptr;  // that makes the new value
  bool in_place = false;
  for (const Kernel& k : step_.program.kernels) {
    if (k.nodes.empty() || step_.graph[k.nodes.front()].group != step_.graph[update.node].group) continue;
    kernel = &k;
    for_each_access(k, [&](const Instruction& i) { in_place = in_place || (writes_memory(i) && step_.program[i.access.buffer].name == update.name); });
  }
  const std::optional<TableUpdate> reached = table_update(step_.graph, update, in_place);
  if (!reached || !kernel) return std::nullopt;
  const int64_t entries = step_.graph.type(update.node).shape.front().size;
  Explanation::Table result{update.name, *reached == TableUpdate::touched_rows, "", ""};
  const auto all = [&](std::string_view why) { return fmt::format("all {} entries of {} are updated: {}", entries, update.name, why); };
  switch (*reached) {
    case TableUpdate::touched_rows:
      result.reason = "touched_rows";
      result.text = fmt::format("{} updates the entries of {} that the batch names and leaves the others alone: for a gradient of 0 the rule changes nothing", kernel->name, update.name);
      break;
    case TableUpdate::moves_others:
      result.reason = "moves_others";
      result.text = all("the rule moves those whose gradient is 0, too, as momentum, moments and decay do");
      break;
    case TableUpdate::other_gradient:
      result.reason = "other_gradient";
      result.text = all("the table is used elsewhere, too, so that its gradient has other parts than those of one lookup");
      break;
    case TableUpdate::kept_gradient:
      result.reason = "kept_gradient";
      result.text = all("the whole gradient is kept, for what else reads it");
      break;
    case TableUpdate::copied:
      result.reason = "copied";
      result.text = all("the new values cannot be made in place");
      break;
  }
  return result;
}

Explanation Teller::tell() const {
  const Program& program = step_.program;
  Explanation e;
  e.subject = step_.subject;
  e.of_training_step = e.subject == training_step;
  e.rows = program.rows;
  e.kernel_count = program.kernels.size();
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    const double rounds = double(rounds_of(program, k));
    e.flops += rounds * program.kernels[k].flops, e.bytes += rounds * program.kernels[k].bytes;
  }
  e.arena_bytes = program.arena_bytes, e.local_bytes = program.local_bytes;
  e.found_as = part_.found_as;
  e.workers = step_.exchanges.workers, e.batches = step_.exchanges.batches;
  e.exchanged = exchanged();
  for (const LayerSummary& l : step_.layers)
    if (!l.path.empty()) e.layers.push_back(layer(l.path, l.kind));
  e.layers.push_back(layer("", ""));
  for (size_t k : part_.kernels) e.kernels.push_back(kernel(k));
  for (const StoredValue& v : step_.stored)
    if (concerns(v)) e.stored.push_back(stored(v));
  for (const Update& update : step_.graph.updates)
    if (name_.empty() || update.name == name_)
      if (std::optional<Explanation::Table> t = table(update)) e.tables.push_back(std::move(*t));
  for (const Update& update : step_.graph.updates)
    if (update.name == name_)
      if (std::optional<Explanation::Gradient> g = gradient(update)) e.gradients.push_back(std::move(*g));
  return e;
}

}  // namespace

Explanation explain(Compilation& compilation, const std::optional<DefinitionRequest>& definition, const std::string& name) {
  ExplainedStep step = plan(compilation, definition);
  ExplainedPart part = find_part(compilation, step, name);
  return Teller(compilation, step, part, name).tell();
}

std::string short_line(const Compilation& compilation, Span span) {
  if (!span.valid()) return "";
  if (compilation.sources.path(span.file) != compilation.name) return compilation.sources.describe_line(span);
  return fmt::format("line {}", compilation.sources.position(span.file, span.begin).line);
}

std::string node_text(const Compilation& compilation, const Graph& graph, NodeId n) {
  std::string line = short_line(compilation, graph[n].span);
  return fmt::format("%{} {}{}", n.value, op_name(graph[n].op), line.empty() ? "" : fmt::format(" ({})", line));
}

std::string listed(std::vector<std::string> names, size_t most) {
  size_t more = names.size() > most + 1 ? names.size() - most : 0;
  if (more) names.resize(most);
  return fmt::format("{}{}", fmt::join(names, ", "), more ? fmt::format(" and {} more", more) : "");
}

}  // namespace nnc
