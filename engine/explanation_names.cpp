// What a name stands for: the first of a layer, a parameter or state, a kernel, a line, and a definition or kind of layer.
#include <algorithm>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "engine/explained_step.h"
#include "engine/model_summary.h"
#include "frontend/syntax/lexer.h"
#include "frontend/syntax/parser.h"

namespace nnc {
namespace {

class Finder {
 public:
  Finder(const Compilation& compilation, const ExplainedStep& step, const std::string& name) : compilation_(compilation), step_(step), name_(name) {
    part_.nodes.assign(step.graph.size(), name.empty());
  }
  ExplainedPart find() {
    if (!name_.empty() && !find_layer() && !find_persistent() && !find_kernel() && !find_line() && !find_definition()) fail();
    for (size_t k = 0; k < step_.nodes_of.size(); ++k)
      if (name_.empty() || std::ranges::any_of(step_.nodes_of[k], [&](NodeId n) { return part_.nodes[n.value]; })) part_.kernels.insert(k);
    return std::move(part_);
  }

 private:
  const Compilation& compilation_;
  const ExplainedStep& step_;
  const std::string& name_;
  ExplainedPart part_;

  bool find_layer();
  bool find_persistent();
  void follow_update(const Update&, const Shape&);
  bool find_kernel();
  bool find_line();
  bool find_definition();
  [[noreturn]] void fail() const;
};

bool Finder::find_layer() {
  bool found = false;
  for (const LayerSummary& layer : step_.layers) found = found || (!layer.path.empty() && layer.path == name_);
  for (uint32_t i = 0; i < step_.graph.size(); ++i)
    if (inside_layer(step_.graph[NodeId{i}].scope, name_)) part_.nodes[i] = found = true;
  if (found) part_.found_as = "layer";
  return found;
}

/// The operations that read it, its gradient, and the optimiser's arithmetic on values of its shape.
bool Finder::find_persistent() {
  const Graph& graph = step_.graph;
  const Persistent* persistent = graph.find_persistent(name_);
  if (!persistent) return false;
  part_.found_as = persistent->kind == PersistentKind::parameter ? "parameter" : persistent->kind == PersistentKind::frozen ? "frozen parameter" : "state";
  Users users = graph.users();
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (graph[NodeId{i}].op == Op::parameter && graph[NodeId{i}].attributes.text == name_)
      for (NodeId u : users[i]) part_.nodes[u.value] = true;
  for (const Update& update : graph.updates)
    if (update.name == name_) follow_update(update, persistent->type.shape);
  return true;
}

/// From the new value back to the gradient.
void Finder::follow_update(const Update& update, const Shape& shape) {
  const Graph& graph = step_.graph;
  std::set<NodeId> seen{update.node};
  std::vector<NodeId> pending{update.node};
  while (!pending.empty()) {
    NodeId at = pending.back();
    pending.pop_back();
    part_.nodes[at.value] = true;
    if (step_.roles[at.value] == NodeRole::gradient) part_.gradients.push_back(at);
    if (step_.roles[at.value] != NodeRole::update) continue;
    for (NodeId o : graph[at].operands)
      if (op_class(graph[o].op) != OpClass::leaf && step_.roles[o.value] != NodeRole::forward && graph.type(o).shape == shape && seen.insert(o).second)
        pending.push_back(o);
  }
}

bool Finder::find_kernel() {
  for (size_t k = 0; k < step_.program.kernels.size(); ++k) {
    if (step_.program.kernels[k].name != name_) continue;
    part_.found_as = "kernel";
    for (NodeId n : step_.program.kernels[k].nodes) part_.nodes[n.value] = true;
    part_.kernels.insert(k);
    return true;
  }
  return false;
}

/// `12`, `:12`, `net.nn:12`.
bool Finder::find_line() {
  size_t digits = name_.find_last_not_of("0123456789") + 1;
  if (digits == name_.size() || name_.size() - digits > 9) return false;
  std::string path = name_.substr(0, digits);
  if (!path.empty() && path.back() != ':') return false;
  if (!path.empty()) path.pop_back();
  uint32_t line = uint32_t(std::stoul(name_.substr(digits)));
  auto names_file = [&](const std::string& file) { return path.empty() ? file == compilation_.name : file == path || std::filesystem::path(file).filename() == path; };
  bool found = false;
  for (uint32_t i = 0; i < step_.graph.size(); ++i) {
    Span span = step_.graph[NodeId{i}].span;
    if (span.valid() && names_file(compilation_.sources.path(span.file)) && compilation_.sources.position(span.file, span.begin).line == line)
      part_.nodes[i] = found = true;
  }
  if (!found)
    throw UserError(Code::E0601, fmt::format("no operation of {} comes from line {}", step_.subject, line), "the command line",
                    "`nnc explain FILE.nn` lists the lines that kernels come from");
  part_.found_as = "line";
  return true;
}

/// A kind of layer (`Dense`, all of them), or a definition of the file with all that it contains: what is written inside it, the
/// layers that it makes with everything in them, and the functions that it calls. Functions are expanded without a trace but for
/// their own text and the layer they are expanded in, so that one which is also called from elsewhere in the same layer counts
/// with that.
bool Finder::find_definition() {
  struct Text {
    const ast::Callable* callable;
    Span span;
  };
  std::vector<std::unique_ptr<ast::File>> files;
  std::vector<Text> all, own;
  Diagnostics ignored;
  for (uint32_t f = 1; f <= compilation_.sources.file_count(); ++f) {
    files.push_back(parse(compilation_.sources, FileId{f}, ignored));
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
  for (const LayerSummary& layer : step_.layers) {
    if (layer.path.empty()) continue;  // the model: in no layer
    bool made_here = std::any_of(own.begin(), own.end(), [&](const Text& text) { return holds(text.span, layer.call); });
    if (layer.kind == name_ || made_here) paths.push_back(layer.path);
    if (layer.kind == name_) expanded_in.insert(layer.path);
  }
  bool found = !paths.empty();
  for (uint32_t i = 0; i < step_.graph.size(); ++i) {
    const Node& n = step_.graph[NodeId{i}];
    bool here = std::any_of(own.begin(), own.end(), [&](const Text& text) { return holds(text.span, n.span); });
    if (here && is_fn) expanded_in.insert(n.scope);
    if (here || std::any_of(paths.begin(), paths.end(), [&](const std::string& path) { return inside_layer(n.scope, path); }))
      part_.nodes[i] = found = true;
  }
  // Functions, and those that they call.
  for (size_t at = 0; at < own.size(); ++at) {
    for (const Token& t : tokenize(compilation_.sources, own[at].span.file, ignored).tokens) {
      Span word{own[at].span.file, t.begin, t.end};
      if (t.kind != TokenKind::name || !holds(own[at].span, word)) continue;
      for (const Text& text : all) {
        bool known = std::any_of(own.begin(), own.end(), [&](const Text& o) { return o.callable == text.callable; });
        if (known || text.callable->kind != ast::CallableKind::fn || compilation_.sources.text(word) != text.callable->name.text)
          continue;
        own.push_back(text);
        for (uint32_t i = 0; i < step_.graph.size(); ++i)
          if (holds(text.span, step_.graph[NodeId{i}].span) && (expanded_in.empty() || expanded_in.count(step_.graph[NodeId{i}].scope) > 0))
            part_.nodes[i] = found = true;
      }
    }
  }
  if (found) part_.found_as = "definition";
  return found;
}

void Finder::fail() const {
  std::vector<std::string> layers, parameters, all;
  for (const LayerSummary& layer : step_.layers)
    if (!layer.path.empty()) layers.push_back(layer.path);
  for (const Persistent& p : step_.graph.persistents)
    if (p.kind != PersistentKind::optimizer_state) parameters.push_back(p.name);
  for (const auto* list : {&layers, &parameters}) all.insert(all.end(), list->begin(), list->end());
  for (const Kernel& k : step_.program.kernels) all.push_back(k.name);
  for (const LayerSummary& layer : step_.layers) all.push_back(layer.kind);
  std::string near = nearest(name_, all);
  Diagnostic d =
      UserError(Code::E0601, fmt::format("`{}` is no layer, parameter, definition, kernel or line of {}", name_, step_.subject), "the command line").diagnostic();
  if (!near.empty()) d.help.push_back(fmt::format("did you mean `{}`?", near));
  if (!layers.empty()) d.help.push_back("layers: " + listed(layers, 12));
  if (!parameters.empty()) d.help.push_back("parameters: " + listed(parameters, 12));
  throw UserError(d);
}

}  // namespace

ExplainedPart find_part(const Compilation& compilation, const ExplainedStep& step, const std::string& name) {
  return Finder(compilation, step, name).find();
}

}  // namespace nnc
