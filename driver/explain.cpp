// nnc explain: what became of a file's layers. For each kernel of the training step: the operations it computes (forward, gradient, update), what it reads
// and writes, and its work; for each value stored between kernels: the rule that kept reader and writer apart, as the fuser noted it
// (passes/fusion_report.h). With a code instead of a file: what that diagnostic means.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "engine/graph_runner.h"
#include "driver/outputs.h"
#include "frontend/syntax/lexer.h"
#include "frontend/syntax/parser.h"
#include "ir/kernel_code.h"
#include "passes/fuse.h"
#include "passes/fusion_report.h"
#include "passes/pipeline.h"

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

bool inside(const std::string& scope, const std::string& path) {
  return scope == path || (scope.size() > path.size() && scope.compare(0, path.size(), path) == 0 && scope[path.size()] == '.');
}

std::string_view role_name(NodeRole role) {
  return role == NodeRole::forward ? "forward" : role == NodeRole::gradient ? "gradient" : "update";
}

/// The first names, and how many more there are.
std::string listed(std::vector<std::string> names, size_t most) {
  size_t more = names.size() > most + 1 ? names.size() - most : 0;
  if (more) names.resize(most);
  return fmt::format("{}{}", fmt::join(names, ", "), more ? fmt::format(" and {} more", more) : "");
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

/// A word for tools; what a person reads is reason_text.
std::string_view reason_name(FusionRefusal reason) {
  switch (reason) {
    case FusionRefusal::settled: return "settled";
    case FusionRefusal::contraction_operand: return "contraction_operand";
    case FusionRefusal::gather: return "gather";
    case FusionRefusal::reshape: return "reshape";
    case FusionRefusal::slice: return "slice";
    case FusionRefusal::pad: return "pad";
    case FusionRefusal::scatter_operand: return "scatter_operand";
    case FusionRefusal::scatter: return "scatter";
    case FusionRefusal::later_operand: return "later_operand";
    case FusionRefusal::other_host: return "other_host";
    case FusionRefusal::read_twice: return "read_twice";
    case FusionRefusal::reduction_of_contraction: return "reduction_of_contraction";
    case FusionRefusal::other_reduction: return "other_reduction";
    case FusionRefusal::other_space: return "other_space";
    case FusionRefusal::crossed_axes: return "crossed_axes";
    case FusionRefusal::contraction_beside: return "contraction_beside";
    case FusionRefusal::own_loops: return "own_loops";
    case FusionRefusal::too_large: return "too_large";
    case FusionRefusal::cycle: return "cycle";
    case FusionRefusal::released: return "released";
    case FusionRefusal::old_value_needed: return "old_value_needed";
    case FusionRefusal::later_stage: return "later_stage";
  }
  return "settled";
}

constexpr std::string_view training_step = "the training step";

struct BufferUse {
  std::vector<BufferId> read, written;
};

class Report {
 public:
  /// Of the training step, or of the definition that is asked for.
  Report(Session& session, const DefinitionOptions& definition, const std::string& name);
  void print_text() const;
  void print_json() const;

 private:
  Session& session_;
  std::string name_;
  std::string found_as_;  ///< what the name is: "layer", "parameter", ...
  std::string subject_;  ///< "the training step", or which definition
  std::vector<LayerSummary> layers_;
  Graph graph_;  ///< optimised, with groups
  Program program_;
  std::vector<StoredValue> stored_;
  std::vector<NodeRole> roles_;
  std::vector<std::vector<NodeId>> nodes_of_;  ///< by kernel
  std::vector<GroupSpace> spaces_;
  std::vector<BufferUse> uses_;
  std::vector<bool> selected_;  ///< nodes the report is about
  std::set<size_t> kernels_;    ///< kernels it is about
  std::vector<NodeId> gradients_;  ///< of the parameter it is about: where the optimiser's arithmetic begins
  double flops_ = 0, bytes_ = 0;

  bool everything() const { return name_.empty(); }
  void find_uses();
  void select();
  bool select_layer();
  bool select_persistent();
  bool select_definition();
  bool select_kernel();
  bool select_line();
  [[noreturn]] void unknown_name();
  std::string line_of(Span span) const { return span.valid() ? session_.sources.describe_line(span) : std::string(); }
  /// For people, who know which file they asked about.
  std::string short_line(Span span) const {
    if (!span.valid() || session_.sources.path(span.file) != session_.options.file) return line_of(span);
    return fmt::format("line {}", session_.sources.position(span.file, span.begin).line);
  }
  std::string node_text(NodeId n) const {
    std::string line = short_line(graph_[n].span);
    return fmt::format("%{} {}{}", n.value, op_name(graph_[n].op), line.empty() ? "" : fmt::format(" ({})", line));
  }
  std::string reason_text(const StoredValue&, const StoredRead&) const;
  std::string kind_of(const Kernel&) const;
  bool concerns(const StoredValue&) const;
  std::string space_text(NodeId n) const;
  double total_bytes(const std::vector<BufferId>& list) const {
    double sum = 0;
    for (BufferId b : list) sum += double(program_[b].bytes);
    return sum;
  }
  std::string names_of(const std::vector<BufferId>& list) const {
    std::vector<std::string> names;
    for (BufferId b : list) names.push_back(program_[b].name);
    return listed(names, 9);
  }
  void print_layers() const;
  void print_kernel(size_t k) const;
  void print_parameter() const;
  void print_stored() const;
};

Report::Report(Session& session, const DefinitionOptions& definition, const std::string& name) : session_(session), name_(name) {
  LowerOptions options{"train", definition.rows, session.target};
  if (session.module->has_train() && definition.fn.empty()) {
    TrainingGraphs graphs = make_training_graphs(session);
    graph_ = std::move(graphs.backward);
    layers_ = std::move(graphs.forward.layers);
    subject_ = training_step;
    options.rows = session.module->train().batch > 0 ? session.module->train().batch : 256;
  } else {
    BuiltGraph built = build_declared(session, definition);
    graph_ = runnable_graph(std::move(built.graph), options.rows);
    layers_ = std::move(built.layers);
    options.name = graph_.name;
    options.typed_scalars = true;
    subject_ = fmt::format("`{}`", graph_.name);
  }
  FusionLog log;
  optimize_graph(graph_, {.log = &log});
  program_ = build_program(graph_, options);
  stored_ = stored_values(graph_, program_, log);
  roles_ = node_roles(graph_);
  nodes_of_ = kernel_nodes(graph_, program_);
  spaces_ = group_spaces(graph_);
  for (const Kernel& k : program_.kernels) flops_ += k.flops, bytes_ += k.bytes;
  find_uses();
  select();
}

void Report::find_uses() {
  for (const Kernel& kernel : program_.kernels) {
    std::set<BufferId> read, written;
    for_each_access(kernel, [&](const Instruction& i) {
      if (i.kind != Instruction::Kind::store) read.insert(i.access.buffer);
      if (i.kind != Instruction::Kind::load) written.insert(i.access.buffer);
    });
    uses_.push_back({{read.begin(), read.end()}, {written.begin(), written.end()}});
  }
}

// --- what a name means ---

void Report::select() {
  selected_.assign(graph_.size(), everything());
  if (!everything() && !select_layer() && !select_persistent() && !select_kernel() && !select_line() && !select_definition()) unknown_name();
  for (size_t k = 0; k < nodes_of_.size(); ++k) {
    bool any = everything();
    for (NodeId n : nodes_of_[k]) any = any || selected_[n.value];
    if (any) kernels_.insert(k);
  }
}

bool Report::select_layer() {
  bool found = false;
  for (const LayerSummary& layer : layers_) found = found || (!layer.path.empty() && layer.path == name_);
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (inside(graph_[NodeId{i}].scope, name_)) selected_[i] = found = true;
  if (found) found_as_ = "layer";
  return found;
}

/// The operations that read it, its gradient, and the optimiser's arithmetic on values of its shape.
bool Report::select_persistent() {
  const Persistent* persistent = graph_.find_persistent(name_);
  if (!persistent) return false;
  found_as_ = persistent->kind == PersistentKind::parameter ? "parameter" : persistent->kind == PersistentKind::frozen ? "frozen parameter" : "state";
  std::vector<std::vector<NodeId>> users = graph_.users();
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (graph_[NodeId{i}].op == Op::parameter && graph_[NodeId{i}].attributes.text == name_)
      for (NodeId u : users[i]) selected_[u.value] = true;
  for (const Update& update : graph_.updates) {
    if (update.name != name_) continue;
    std::set<NodeId> seen{update.node};
    std::vector<NodeId> pending{update.node};
    while (!pending.empty()) {
      NodeId at = pending.back();
      pending.pop_back();
      selected_[at.value] = true;
      if (roles_[at.value] == NodeRole::gradient) gradients_.push_back(at);
      if (roles_[at.value] != NodeRole::update) continue;
      for (NodeId o : graph_[at].operands)
        if (op_class(graph_[o].op) != OpClass::leaf && roles_[o.value] != NodeRole::forward && graph_.type(o).shape == persistent->type.shape &&
            seen.insert(o).second)
          pending.push_back(o);
    }
  }
  return true;
}

bool Report::select_kernel() {
  for (size_t k = 0; k < program_.kernels.size(); ++k) {
    if (program_.kernels[k].name != name_) continue;
    found_as_ = "kernel";
    for (NodeId n : program_.kernels[k].nodes) selected_[n.value] = true;
    kernels_.insert(k);
    return true;
  }
  return false;
}

/// `12`, `:12`, `net.nn:12`.
bool Report::select_line() {
  size_t digits = name_.find_last_not_of("0123456789") + 1;
  if (digits == name_.size() || name_.size() - digits > 9) return false;
  std::string path = name_.substr(0, digits);
  if (!path.empty() && path.back() != ':') return false;
  if (!path.empty()) path.pop_back();
  uint32_t line = uint32_t(std::stoul(name_.substr(digits)));
  auto names_file = [&](const std::string& file) { return path.empty() ? file == session_.options.file : file == path || std::filesystem::path(file).filename() == path; };
  bool found = false;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    Span span = graph_[NodeId{i}].span;
    if (span.valid() && names_file(session_.sources.path(span.file)) && session_.sources.position(span.file, span.begin).line == line)
      selected_[i] = found = true;
  }
  if (!found)
    throw UserError(Code::E0601, fmt::format("no operation of {} comes from line {}", subject_, line), "the command line",
                    "`nnc explain FILE.nn` lists the lines that kernels come from");
  found_as_ = "line";
  return true;
}

/// A kind of layer (`Dense`, all of them), or a definition of the file with all that it contains: what is written inside it, the
/// layers that it makes with everything in them, and the functions that it calls. Functions are expanded without a trace but for
/// their own text and the layer they are expanded in, so that one which is also called from elsewhere in the same layer counts
/// with that.
bool Report::select_definition() {
  struct Text {
    const ast::Callable* callable;
    Span span;
  };
  std::vector<std::unique_ptr<ast::File>> files;
  std::vector<Text> all, own;
  Diagnostics ignored;
  for (uint32_t f = 1; f <= session_.sources.file_count(); ++f) {
    files.push_back(parse(session_.sources, FileId{f}, ignored));
    for (const ast::Item& item : files.back()->items)
      if (auto* callable = std::get_if<ast::Callable>(&item.node)) all.push_back({callable, item.span});
  }
  for (const Text& text : all)
    if (text.callable->name.text == name_) own.push_back(text);
  auto holds = [](Span outer, Span inner) {
    return inner.valid() && inner.file == outer.file && inner.begin >= outer.begin && inner.end <= outer.end;
  };

  std::vector<std::string> paths;     // of layers that are all in it
  std::set<std::string> expanded_in;  // layers, "" for none
  bool is_fn = false;
  for (const Text& text : own) {
    is_fn = is_fn || text.callable->kind == ast::CallableKind::fn;
    if (text.callable->kind == ast::CallableKind::model) expanded_in.insert("");
  }
  for (const LayerSummary& layer : layers_) {
    bool made_here = std::any_of(own.begin(), own.end(), [&](const Text& text) { return holds(text.span, layer.call); });
    if (layer.kind == name_ || made_here) paths.push_back(layer.path);
    if (layer.kind == name_) expanded_in.insert(layer.path);
  }
  bool found = !paths.empty();
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const Node& n = graph_[NodeId{i}];
    bool here = std::any_of(own.begin(), own.end(), [&](const Text& text) { return holds(text.span, n.span); });
    if (here && is_fn) expanded_in.insert(n.scope);
    if (here || std::any_of(paths.begin(), paths.end(), [&](const std::string& path) { return inside(n.scope, path); }))
      selected_[i] = found = true;
  }
  // Functions, and those that they call.
  for (size_t at = 0; at < own.size(); ++at) {
    for (const Token& t : tokenize(session_.sources, own[at].span.file, ignored).tokens) {
      Span word{own[at].span.file, t.begin, t.end};
      if (t.kind != TokenKind::name || !holds(own[at].span, word)) continue;
      for (const Text& text : all) {
        bool known = std::any_of(own.begin(), own.end(), [&](const Text& o) { return o.callable == text.callable; });
        if (known || text.callable->kind != ast::CallableKind::fn || session_.sources.text(word) != text.callable->name.text)
          continue;
        own.push_back(text);
        for (uint32_t i = 0; i < graph_.size(); ++i)
          if (holds(text.span, graph_[NodeId{i}].span) && (expanded_in.empty() || expanded_in.count(graph_[NodeId{i}].scope) > 0))
            selected_[i] = found = true;
      }
    }
  }
  if (found) found_as_ = "definition";
  return found;
}

void Report::unknown_name() {
  std::vector<std::string> layers, parameters, all;
  for (const LayerSummary& layer : layers_)
    if (!layer.path.empty()) layers.push_back(layer.path);
  for (const Persistent& p : graph_.persistents)
    if (p.kind != PersistentKind::optimizer_state) parameters.push_back(p.name);
  for (const auto* list : {&layers, &parameters}) all.insert(all.end(), list->begin(), list->end());
  for (const Kernel& k : program_.kernels) all.push_back(k.name);
  for (const LayerSummary& layer : layers_) all.push_back(layer.kind);
  std::string near = nearest(name_, all);
  Diagnostic d =
      UserError(Code::E0601, fmt::format("`{}` is no layer, parameter, definition, kernel or line of {}", name_, subject_), "the command line").diagnostic();
  if (!near.empty()) d.help.push_back(fmt::format("did you mean `{}`?", near));
  if (!layers.empty()) d.help.push_back("layers: " + listed(layers, 12));
  if (!parameters.empty()) d.help.push_back("parameters: " + listed(parameters, 12));
  throw UserError(d);
}

// --- reasons ---

std::string Report::space_text(NodeId n) const {
  int group = graph_[n].group;
  return group < 0 ? to_string(Type{graph_.type(n).dtype, graph_.type(n).shape}).substr(dtype_name(graph_.type(n).dtype).size())
                   : to_string(Type{DType::f32, spaces_[size_t(group)].space}).substr(3);
}

std::string Report::reason_text(const StoredValue& value, const StoredRead& read) const {
  std::string reader = read.reader.valid() ? std::string(op_name(graph_[read.reader].op)) : "";
  std::string witness = read.witness.valid() ? node_text(read.witness) : "";
  switch (read.reason) {
    case FusionRefusal::settled:
      return witness.empty() ? fmt::format("{} has a kernel of its own, found for it after fusion", reader)
                             : fmt::format("{} had joined {} before: only operations that stand alone move into another kernel", reader, witness);
    case FusionRefusal::contraction_operand: return fmt::format("operand of {}: read at other indices than it is made at, each element many times", witness);
    case FusionRefusal::gather: return fmt::format("read through an index by {}", witness);
    case FusionRefusal::reshape: return fmt::format("viewed in another shape by {}, so read at other indices than it is made at", witness);
    case FusionRefusal::slice:
    case FusionRefusal::pad: return fmt::format("read at shifted indices by {}", witness);
    case FusionRefusal::scatter_operand: return fmt::format("added up at places that are values themselves, by {}", witness);
    case FusionRefusal::scatter: return "made by additions in any order: whole only when all of them are done";
    case FusionRefusal::later_operand:
      return fmt::format("{} also needs {}, which comes from a kernel further down: an operation joins the last of the kernels that feed it", reader, witness);
    case FusionRefusal::other_host: return fmt::format("{} joined another kernel that feeds it, that of {}", reader, witness);
    case FusionRefusal::read_twice: return fmt::format("the same kernel also feeds {} at other indices, through {}", reader, witness);
    case FusionRefusal::reduction_of_contraction:
      return fmt::format("{} reduces what a contraction gives: a tile of the contraction holds a part of each result's elements only", reader);
    case FusionRefusal::other_reduction: return fmt::format("{} reduces along other axes than the kernel that makes the value", reader);
    case FusionRefusal::other_space:
      return fmt::format("the two kernels run over different index spaces, {} and {}", space_text(value.node), space_text(read.reader));
    case FusionRefusal::crossed_axes: return fmt::format("{} reads it along other axes than it is made along", reader);
    case FusionRefusal::contraction_beside: return fmt::format("{} has its kernel already, and a contraction is not moved into another kernel", reader);
    case FusionRefusal::own_loops: return fmt::format("{} has loops of its own", reader);
    case FusionRefusal::too_large: return "a kernel would have more operations than it may";
    case FusionRefusal::cycle: return "one kernel would need a value of the other before it is made";
    case FusionRefusal::released:
      return fmt::format("the value stands in memory for others anyway; {} reads it there and repeats the cheap arithmetic in between", reader);
    case FusionRefusal::old_value_needed: return "the old value is still needed when the new one is made: it is copied over the old one afterwards";
    case FusionRefusal::later_stage: return "a later loop of the same kernel needs it: kept, not computed again";
  }
  return "";
}

std::string Report::kind_of(const Kernel& kernel) const {
  if (kernel.nodes.empty()) return "copy";
  auto* map = std::get_if<MapKernel>(&kernel.body);
  if (!map) return "contraction";
  bool reduces = false;
  for (const Block& b : map->blocks)
    for (const Instruction& i : b.code) {
      if (i.kind == Instruction::Kind::store_add) return "scatter";
      reduces = reduces || i.kind == Instruction::Kind::reduce;
    }
  return reduces ? "row-wise" : "element-wise";
}

/// The value is one of the selected, or a selected operation reads it.
bool Report::concerns(const StoredValue& value) const {
  if (everything() || selected_[value.node.value]) return true;
  for (const StoredRead& read : value.reads)
    if (read.reader.valid() && selected_[read.reader.value]) return true;
  for (size_t k : value.writers)
    if (program_.kernels[k].name == name_) return true;
  return false;
}

// --- text ---

void Report::print_layers() const {
  struct Row {
    std::string path, kind;
    int count[3] = {0, 0, 0};
    double flops = 0, bytes = 0;
    std::vector<std::string> kernels;
  };
  std::vector<Row> rows;
  for (const LayerSummary& layer : layers_)
    if (!layer.path.empty()) rows.push_back({layer.path, layer.kind, {}, 0, 0, {}});
  rows.push_back({"", "", {}, 0, 0, {}});
  for (Row& row : rows) {
    auto mine = [&](const std::string& scope) { return row.path.empty() ? scope.empty() : inside(scope, row.path); };
    for (uint32_t i = 0; i < graph_.size(); ++i)
      if (op_class(graph_[NodeId{i}].op) != OpClass::leaf && mine(graph_[NodeId{i}].scope)) ++row.count[int(roles_[i])];
    for (const Kernel& k : program_.kernels)
      if (mine(k.scope)) row.flops += k.flops, row.bytes += k.bytes, row.kernels.push_back(k.name);
  }
  size_t path = 12, kind = 4;
  for (const Row& r : rows) path = std::max(path, r.path.size()), kind = std::max(kind, r.kind.size());
  fmt::print("{:{}}  {:{}}  {:>8} {:>9} {:>7}  {:>12} {:>10}  {}\n", "layer", path, "kind", kind, "forward", "gradient", "update", "work", "memory", "kernels");
  for (const Row& r : rows) {
    if (r.path.empty() && r.kernels.empty() && r.count[0] + r.count[1] + r.count[2] == 0) continue;
    fmt::print("{:{}}  {:{}}  {:>8} {:>9} {:>7}  {:>12} {:>10}  {}\n", r.path.empty() ? "(no layer)" : r.path, path, r.kind, kind, r.count[0], r.count[1],
               r.count[2], quantity(r.flops, "FLOP"), quantity(r.bytes, "B"), r.kernels.size());
  }
  fmt::print("\n");
}

void Report::print_kernel(size_t k) const {
  const Kernel& kernel = program_.kernels[k];
  std::string line = short_line(kernel.span);
  fmt::print("kernel {}: {}{}, {}, {}\n", kernel.name, kind_of(kernel), line.empty() ? "" : ", " + line, quantity(kernel.flops, "FLOP"),
             quantity(kernel.bytes, "B"));
  for (NodeRole role : {NodeRole::forward, NodeRole::gradient, NodeRole::update}) {
    std::vector<std::string> own, rest;
    for (NodeId n : nodes_of_[k])
      if (roles_[n.value] == role)
        (selected_[n.value] ? own : rest).push_back(everything() || !selected_[n.value] ? std::string(op_name(graph_[n].op)) : node_text(n));
    if (!own.empty()) fmt::print("  {:<9} {}\n", role_name(role), counted(own));
    if (!rest.empty()) fmt::print("  +{:<8} {}\n", role_name(role), counted(rest));
  }
  const BufferUse& use = uses_[k];
  fmt::print("  {:<9} {} ({})\n", "reads", names_of(use.read), quantity(total_bytes(use.read), "B"));
  fmt::print("  {:<9} {} ({})\n\n", "writes", names_of(use.written), quantity(total_bytes(use.written), "B"));
}

/// Whether the parameter's gradient ever stands in memory.
void Report::print_parameter() const {
  for (const Update& update : graph_.updates) {
    if (update.name != name_ || op_class(graph_[update.node].op) == OpClass::leaf) continue;
    // A scalar's gradient cannot be told from the norm that all gradients are clipped by.
    if (gradients_.empty() || (graph_.type(update.node).rank() == 0 && gradients_.size() > 1)) continue;
    std::vector<std::string> kept;
    for (const StoredValue& v : stored_)
      if (std::find(gradients_.begin(), gradients_.end(), v.node) != gradients_.end()) kept.push_back(program_[v.buffer].name);
    int group = graph_[update.node].group;
    bool here = std::all_of(gradients_.begin(), gradients_.end(), [&](NodeId n) { return graph_[n].group == group; });
    std::string kernel;
    for (const Kernel& k : program_.kernels)
      if (!k.nodes.empty() && graph_[k.nodes.front()].group == group) kernel = k.name;
    if (!kept.empty())
      fmt::print("Its gradient is stored ({}) before {} updates the parameter: see below.\n\n", fmt::join(kept, ", "), kernel);
    else if (here)
      fmt::print("Its gradient is never stored: {} makes it and updates the parameter with it.\n\n", kernel);
  }
}

void Report::print_stored() const {
  bool any = false;
  for (const StoredValue& v : stored_) {
    if (!concerns(v)) continue;
    if (!any) fmt::print("Stored between kernels, and why:\n");
    any = true;
    std::vector<std::string> writers;
    for (size_t k : v.writers) writers.push_back(program_.kernels[k].name);
    fmt::print("  {} : {}, {}, {} {}, made by {}\n", program_[v.buffer].name, to_string(graph_.type(v.node)), quantity(double(program_[v.buffer].bytes), "B"),
               role_name(roles_[v.node.value]), node_text(v.node).substr(program_[v.buffer].name.size() + 1), fmt::join(writers, ", "));
    for (const StoredRead& r : v.reads) fmt::print("    {}: {}\n", program_.kernels[r.kernel].name, reason_text(v, r));
  }
  if (!any) fmt::print("{}\n", everything() ? "No value is stored between kernels." : "None of its values is stored between kernels.");
}

void Report::print_text() const {
  std::string what = subject_ == training_step ? fmt::format("a training step of {} rows", program_.rows) : fmt::format("{} of {} rows", subject_, program_.rows);
  fmt::print("{}: {} runs {} kernels, {}, {} of memory touched\n", session_.options.file, what, program_.kernels.size(), quantity(flops_, "FLOP"),
             quantity(bytes_, "B"));
  if (everything()) {
    fmt::print("\n");
    print_layers();
  } else {
    double flops = 0, bytes = 0;
    for (size_t k : kernels_) flops += program_.kernels[k].flops, bytes += program_.kernels[k].bytes;
    fmt::print("{} {}: its operations are in {} of them, {}, {}; `+` marks what else is fused there\n\n", found_as_, name_, kernels_.size(),
               quantity(flops, "FLOP"), quantity(bytes, "B"));
    if (graph_.find_persistent(name_)) print_parameter();
  }
  for (size_t k : kernels_) print_kernel(k);
  print_stored();
}

// --- for tools ---

void Report::print_json() const {
  auto buffers = [&](const std::vector<BufferId>& list) {
    Json result = Json::array();
    for (BufferId b : list) result.push_back({{"name", program_[b].name}, {"bytes", program_[b].bytes}});
    return result;
  };
  auto node = [&](NodeId n) {
    return Json{{"id", n.value}, {"op", op_name(graph_[n].op)}, {"type", to_string(graph_.type(n))}, {"role", role_name(roles_[n.value])},
                {"scope", graph_[n].scope}, {"line", line_of(graph_[n].span)}, {"selected", bool(selected_[n.value])}};
  };
  Json kernels = Json::array(), stored = Json::array();
  for (size_t k : kernels_) {
    const Kernel& kernel = program_.kernels[k];
    Json nodes = Json::array();
    for (NodeId n : nodes_of_[k]) nodes.push_back(node(n));
    kernels.push_back({{"name", kernel.name}, {"kind", kind_of(kernel)}, {"scope", kernel.scope}, {"line", line_of(kernel.span)}, {"flops", kernel.flops},
                       {"bytes", kernel.bytes}, {"reads", buffers(uses_[k].read)}, {"writes", buffers(uses_[k].written)}, {"nodes", nodes}});
  }
  for (const StoredValue& v : stored_) {
    if (!concerns(v)) continue;
    Json writers = Json::array(), reads = Json::array();
    for (size_t k : v.writers) writers.push_back(program_.kernels[k].name);
    for (const StoredRead& r : v.reads)
      reads.push_back({{"kernel", program_.kernels[r.kernel].name}, {"reason", reason_name(r.reason)}, {"text", reason_text(v, r)}});
    stored.push_back({{"buffer", program_[v.buffer].name}, {"bytes", program_[v.buffer].bytes}, {"node", node(v.node)}, {"writers", writers}, {"reads", reads}});
  }
  Json line{{"file", session_.options.file}, {"name", name_}, {"name_is", found_as_}, {"rows", program_.rows}, {"flops", flops_}, {"bytes", bytes_},
            {"arena_bytes", program_.arena_bytes}, {"kernels", kernels}, {"stored", stored}};
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
};

int explain(const ExplainOptions& options) {
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
    session.load();
    Report report(session, options.definition, options.name);
    o.json ? report.print_json() : report.print_text();
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
      "  nnc explain E0103                       the code of a diagnostic\n");
  add_common(command, o->common, "the .nn file, or the code of a diagnostic");
  command.positional("NAME", o->name, "a layer, parameter, definition, kernel, or line");
  add_definition(command, o->definition, "with --fn: rows of a batch to plan for (32)");
  command.run = [o] { return explain(*o); };
  return command;
}

}  // namespace nnc
