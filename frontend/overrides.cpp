// --set PATH=VALUE: a path names a `dim` of the file or an option of the train block. What exists is listed when a path is wrong.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "frontend/program.h"

namespace nnc {

namespace {

// The arguments of a definition, and of the schedules given for them.
void add_arguments(const Program& program, const ast::Expr& call, const Definition& d, const std::string& prefix, std::vector<std::string>& paths) {
  const auto& parameters = d.ast->arguments;
  for (const ast::Parameter& p : parameters) paths.push_back(prefix + "." + p.name.text);
  if (call.kind != ast::ExprKind::call) return;
  size_t position = 0;
  for (const ast::Argument& a : call.arguments) {
    std::string name = a.name ? a.name->text : position < parameters.size() ? parameters[position++].name.text : "";
    if (a.value->kind != ast::ExprKind::call || a.value->operands[0]->kind != ast::ExprKind::name) continue;
    const Global* g = program.find(*program.main, a.value->operands[0]->text);
    if (g && !g->definitions.empty() && g->definitions[0]->ast->kind == ast::CallableKind::fn) add_arguments(program, *a.value, *g->definitions[0], prefix + "." + name, paths);
  }
}

std::vector<std::string> override_paths(const Program& program) {
  std::vector<std::string> paths;
  for (const auto& [name, g] : program.main->globals)
    if (g.dim && g.file == program.main) paths.push_back(name);
  if (!program.main->train) return paths;
  for (const char* p : {"data.batch", "epochs", "steps", "seed", "save.every", "report.every", "using.clip_norm"})
    paths.push_back(p);
  size_t groups = 0;
  for (const ast::StmtPtr& s : program.main->train->statements) {
    if (s->kind != ast::StmtKind::clause || s->name.text != "using") continue;
    for (const ast::Argument& a : s->arguments) {
      std::string prefix = ++groups == 1 ? "using" : fmt::format("using{}", groups);
      const ast::Expr* callee = a.value->kind == ast::ExprKind::call ? a.value->operands[0].get() : a.value.get();
      const Global* g = callee->kind == ast::ExprKind::name ? program.find(*program.main, callee->text) : nullptr;
      if (!g || g->definitions.empty()) continue;
      add_arguments(program, *a.value, *g->definitions[0], prefix, paths);
    }
  }
  return paths;
}

// `train.epochs` and `epochs.N` are ways to say `epochs`.
std::string normal_path(std::string path) {
  if (path.starts_with("train.")) path = path.substr(6);
  if (path == "batch") path = "data.batch";
  return path;
}

}  // namespace

void check_overrides(Program& program, Diagnostics& diagnostics) {
  std::vector<std::string> paths = override_paths(program);
  for (Override& o : program.overrides) {
    o.path = normal_path(o.path);
    if (std::find(paths.begin(), paths.end(), o.path) != paths.end()) continue;
    std::string similar = nearest(o.path, paths);
    Diagnostic& d = diagnostics.report(Code::E0610, {},
                                       fmt::format("nothing that can be set is called `{}`{}", o.path,
                                                   similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
    d.place = "--set " + o.path + "=" + o.value;
    d.help.push_back(paths.empty() ? "this file has no `dim` and no `train` block"
                                   : fmt::format("there are {}", fmt::join(paths, ", ")));
  }
}

}  // namespace nnc
