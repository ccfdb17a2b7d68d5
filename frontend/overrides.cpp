// --set PATH=VALUE: a path names a `dim` of the file (or of one that it uses) or an option of the train block. What exists is
// listed when a path is wrong. Options of their own (`--epochs 3`) arrive as overrides whose path is the option. Values are
// checked here, once each, since a wrong one stands on the command line and not in the file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <set>

#include "base/check.h"
#include "frontend/builtin_names.h"
#include "frontend/argument_places.h"
#include "frontend/program.h"

namespace nnc {

namespace {

/// What can be set, and whether it is true or false rather than a number.
struct Settable {
  std::string path;
  bool is_switch = false;
  bool is_dim = false;
  const ast::Expr* schedule = nullptr;  ///< the call that the file gives in its place
};

bool is_switch(const ast::Parameter& p) {
  const ast::Expr* value = p.default_value.get();
  return value && value->kind == ast::ExprKind::name && (value->text == "true" || value->text == "false");
}

// The arguments of a definition, and of the schedules given for them.
void add_arguments(const Program& program, const ast::Expr& call, const Definition& d, const std::string& prefix,
                   std::vector<Settable>& all) {
  const auto& parameters = d.ast->arguments;
  const size_t first = all.size();
  for (const ast::Parameter& p : parameters) all.push_back({prefix + "." + p.name.text, is_switch(p)});
  if (call.kind != ast::ExprKind::call) return;
  std::vector<size_t> places = argument_places(parameters, call.arguments);
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    const ast::Argument& a = call.arguments[i];
    if (places[i] == parameters.size()) continue;
    if (a.value->kind != ast::ExprKind::call || a.value->operands[0]->kind != ast::ExprKind::name) continue;
    const Global* g = program.find(*program.main, a.value->operands[0]->text);
    if (!g || g->definitions.empty() || g->definitions[0]->ast->kind != ast::CallableKind::fn) continue;
    all[first + places[i]].schedule = a.value.get();
    add_arguments(program, *a.value, *g->definitions[0], prefix + "." + parameters[places[i]].name.text, all);
  }
}

std::vector<Settable> list_settable(const Program& program) {
  std::vector<Settable> all;
  std::set<std::string> dims;
  for (const SourceFile& file : program.files)
    for (const auto& [name, g] : file.globals)
      if (g.dim && !file.is_std && program.settable_dims(name).size() == 1) dims.insert(name);
  for (const std::string& name : dims) all.push_back({name, false, true});
  if (!program.main->train) return all;
  for (const char* p : {"data.batch", "data.pieces", "data.accumulate", "epochs", "steps", "seed", "save.every", "report.every", "using.clip_norm"})
    all.push_back({p});
  size_t groups = 0;
  for (const ast::StmtPtr& s : program.main->train->statements) {
    if (s->kind != ast::StmtKind::clause || s->name.text != "using") continue;
    for (const ast::Argument& a : s->arguments) {
      std::string prefix = ++groups == 1 ? "using" : fmt::format("using{}", groups);
      const ast::Expr* callee = a.value->kind == ast::ExprKind::call ? a.value->operands[0].get() : a.value.get();
      const Global* g = callee->kind == ast::ExprKind::name ? program.find(*program.main, callee->text) : nullptr;
      if (!g || g->definitions.empty()) continue;
      add_arguments(program, *a.value, *g->definitions[0], prefix, all);
    }
  }
  return all;
}

// `train.epochs` and `epochs.N` are ways to say `epochs`.
std::string normal_path(std::string path) {
  if (path.starts_with("--")) path = path.substr(2);
  if (path.starts_with("train.")) path = path.substr(6);
  for (const char* of_data : {"batch", "pieces", "accumulate"})
    if (path == of_data) path = fmt::format("data.{}", of_data);
  return path;
}

/// As it was written: `--set data.batch=3`, `--epochs 3`.
std::string written_form(const Override& o) {
  return o.path.starts_with("--") ? o.path + " " + o.value : "--set " + o.path + "=" + o.value;
}

/// A finite decimal number. strtod alone would take `nan`, `inf` and hexadecimal digits too.
std::optional<double> decimal_number(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() || !std::isfinite(number)) return std::nullopt;
  return number;
}

/// Counts of the train block and the least that each may be.
constexpr std::pair<std::string_view, int64_t> counts[] = {{"data.batch", 1}, {"data.pieces", 1}, {"data.accumulate", 1}, {"epochs", 0},
                                                           {"steps", 0},      {"seed", 0},        {"save.every", 1},      {"report.every", 1}};
constexpr int64_t largest_dim = int64_t(1) << 40;
constexpr int64_t largest_count = 1'000'000'000'000;

bool is_count(std::string_view path) {
  return std::any_of(std::begin(counts), std::end(counts), [&](const auto& c) { return c.first == path; });
}

/// What is wrong with an override's value: nothing, or a code and a message.
std::optional<std::pair<Code, std::string>> fault_of(const Override& o, const std::string& name, const Settable& target) {
  bool is_truth = o.value == "true" || o.value == "false";
  if (target.is_switch)
    return is_truth ? std::nullopt
                    : std::optional(std::pair{Code::E0611, fmt::format("`{}` is true or false, found `{}`", name, o.value)});
  std::optional<double> number = decimal_number(o.value);
  bool is_word = is_truth || is_option_word(o.value);
  bool may_be_word = o.path == "data.batch" || o.path == "using.clip_norm";
  if (!number && (!is_word || is_truth || !may_be_word) && !is_count(o.path))
    return std::pair{Code::E0611, fmt::format("`{}` needs a number{}, found `{}`", name,
                                              o.path == "using.clip_norm" ? " or `none`" : "", o.value)};
  if (!number && !is_word)
    return std::pair{Code::E0611,
                     fmt::format("`{}` needs a number{}, found `{}`", name, o.path == "data.batch" ? " or `all`" : "", o.value)};
  if (o.path == "using.clip_norm" && (number ? *number <= 0 : o.value != "none"))
    return std::pair{Code::E0304, fmt::format("`{}` must be a number above 0 or `none`, found `{}`", name, o.value)};
  if (target.is_dim && (std::floor(*number) != *number || *number < 1 || *number >= double(largest_dim)))
    return std::pair{Code::E0111, fmt::format("`{}` must be a whole number, at least 1 and below {}, found `{}`", name, largest_dim,
                                              o.value)};
  for (auto [path, least] : counts) {
    if (o.path != path || (path == "data.batch" && o.value == "all")) continue;
    if (!number || std::floor(*number) != *number || *number < double(least))
      return std::pair{Code::E0304, fmt::format("`{}` must be a whole number, at least {}, found `{}`", name, least, o.value)};
    if (*number > double(largest_count))
      return std::pair{Code::E0304, fmt::format("`{}` must be at most {}, found `{}`", name, largest_count, o.value)};
  }
  return std::nullopt;
}

/// One number stands in for a whole schedule, which may be what is wanted, but not what the file says.
void warn_of_schedule(const Program& program, const Settable& target, const std::string& written, const std::vector<std::string>& paths,
                      Diagnostics& diagnostics) {
  Diagnostic& d = diagnostics.warn(Code::E0612, target.schedule->span,
                                   fmt::format("`{}` replaces the schedule `{}`", written, program.sources->text(target.schedule->span)));
  std::vector<std::string> inside;
  for (const std::string& path : paths)
    if (path.starts_with(target.path + ".")) inside.push_back(fmt::format("`{}`", path));
  if (!inside.empty()) d.help.push_back(fmt::format("to change a number of the schedule, set {}", fmt::join(inside, ", ")));
}

}  // namespace

void check_overrides(Program& program, Diagnostics& diagnostics) {
  std::vector<Settable> settable = list_settable(program);
  std::vector<std::string> paths;
  for (const Settable& s : settable) paths.push_back(s.path);
  bool is_partial =
      std::any_of(program.files.begin(), program.files.end(), [](const SourceFile& f) { return f.tree->has_errors; });
  std::string epochs, steps;  // as written
  for (Override& o : program.overrides) {
    std::string written = written_form(o), name = o.path.starts_with("--") ? o.path : normal_path(o.path);
    o.path = normal_path(o.path);
    if (auto it = std::find(paths.begin(), paths.end(), o.path); it != paths.end()) {
      if (o.path == "epochs") epochs = written;
      if (o.path == "steps") steps = written;
      const Settable& target = settable[size_t(it - paths.begin())];
      if (auto fault = fault_of(o, name, target))
        diagnostics.report(fault->first, {}, fault->second).place = written;
      else if (target.schedule)
        warn_of_schedule(program, target, written, paths, diagnostics);
      continue;
    }
    if (std::vector<const Global*> meant = program.settable_dims(o.path); !meant.empty()) {
      std::vector<std::string> places;
      for (const Global* g : meant) places.push_back(program.sources->describe_line(g->span));
      Diagnostic& d = diagnostics.report(
          Code::E0610, {}, fmt::format("`{}` could be any of {} dims: {}", o.path, meant.size(), fmt::join(places, ", ")));
      d.place = written;
      const std::string &path = meant[0]->file->path, &folder = program.main->folder;
      d.help.push_back(fmt::format("take the one that is meant into {}: `use \"{}\" {{ {} }}`", program.main->path,
                                   path.starts_with(folder) ? path.substr(folder.size()) : path, o.path));
      continue;
    }
    if (is_partial) continue;  // it may stand in what could not be read
    std::string similar = nearest(o.path, paths);
    Diagnostic& d = diagnostics.report(Code::E0610, {},
                                       fmt::format("nothing that can be set is called `{}`{}", o.path,
                                                   similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
    d.place = written;
    std::vector<std::string> inside;
    for (const std::string& path : paths)
      if (path.starts_with(o.path + ".")) inside.push_back(path);
    if (!inside.empty())
      d.help.push_back(fmt::format("`{}` is a clause; its options are {}", o.path, fmt::join(inside, ", ")));
    else
      d.help.push_back(paths.empty() ? "this file has no `dim` and no `train` block"
                                     : fmt::format("there are {}", fmt::join(paths, ", ")));
  }
  if (!epochs.empty() && !steps.empty()) {
    Diagnostic& d = diagnostics.report(
        Code::E0303, {}, fmt::format("`{}` and `{}` contradict each other: both say how long to train", epochs, steps));
    d.place = "the command line";
    d.help.push_back("give one of them; it replaces the length that the file gives");
  }
}

Value override_value(const std::string& text) {
  if (text == "true" || text == "false") return Value::of_bool(text == "true");
  if (is_option_word(text)) return Value::of_text(ValueKind::symbol, text);
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  NNC_CHECK(!text.empty() && end == text.c_str() + text.size(), "an override that check_overrides let pass: " + text);
  if (std::floor(number) == number && std::abs(number) < 1e15 && text.find_first_of(".eE") == std::string::npos)
    return Value::of_size(int64_t(number));
  return Value::of_number(number);
}

}  // namespace nnc
