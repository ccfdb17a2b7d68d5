// Reading what a command is given, and printing what is wrong with it.
#include "driver/session.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <fmt/format.h>

#include "base/system_error.h"
#include "driver/terminal.h"

namespace nnc {
namespace {

Override parse_override(const std::string& text) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw UserError(Code::E0601, fmt::format("`--set {}` has no value", text), "the command line", "write `--set PATH=VALUE`, as in `--set data.batch=64`");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace

std::string read_standard_input() {
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    ssize_t taken = read(STDIN_FILENO, buffer, sizeof buffer);
    if (taken == 0) return text;
    if (taken > 0)
      text.append(buffer, size_t(taken));
    else if (errno != EINTR)
      throw UserError(Code::E0602, fmt::format("cannot read standard input: {}", error_text(errno)), "standard input");
  }
}

Session::Session(const CommonOptions& o) : Compilation(o.cpu.empty() ? host_target_with_cpu() : target_by_name(o.cpu)), options(o) {
  code.perf_map = code.debugger = o.perf_map;
  on_warning = [this](const Diagnostic& d) { print(d); };
}

void print_diagnostic(const Diagnostic& d, const SourceMap& sources, bool json) {
  try {
    std::string text = json ? render_json(d, sources) : render_text(d, sources, terminal(stderr).colour);
    if (text.empty() || text.back() != '\n') text += '\n';
    std::fputs(text.c_str(), json ? stdout : stderr);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s[%s]: %s\n", d.severity == Severity::error ? "error" : "warning", code_name(d.code).data(), d.message.c_str());
    for (const std::string& note : d.notes) std::fprintf(stderr, "   = note: %s\n", note.c_str());
  }
}

void Session::print(const Diagnostic& d) const { print_diagnostic(d, sources, options.json); }

void Session::load() { load(read_text_file(options.file)); }

void Session::load(std::string text) {
  std::vector<Override> overrides;
  for (const std::string& s : options.set) overrides.push_back(parse_override(s));
  // The seed is read as unsigned, which turns -1 into 2^64 - 1: it is shown as given.
  if (options.seed) overrides.push_back({"--seed", std::to_string(int64_t(*options.seed))});
  if (options.epochs) overrides.push_back({"--epochs", std::to_string(*options.epochs)});
  if (options.steps) overrides.push_back({"--steps", std::to_string(*options.steps)});
  load_text(options.file, std::move(text), std::move(overrides));
}

void Session::require_train() {
  if (module->has_train()) return;
  throw UserError(Code::E0603, fmt::format("{} has no `train` block", options.file), options.file,
                  "add one: `train { data ..., minimize ..., using sgd(lr: 0.01), epochs 10 }`");
}

uint64_t Session::seed_of(const std::map<std::string, std::string>& metadata) const {
  const bool given = options.seed || std::ranges::any_of(options.set, [](const std::string& text) { return text.starts_with("seed="); });
  auto it = metadata.find("nnc.seed");
  return given || it == metadata.end() ? module->train().seed : std::strtoull(it->second.c_str(), nullptr, 10);
}

int Session::thread_count() const { return options.threads ? *options.threads : default_threads(); }

int with_session(const CommonOptions& o, const std::function<int(Session&)>& work) {
  Session session(o);
  try {
    return work(session);
  } catch (const UserError& e) {
    std::fflush(stdout);
    session.print(e.diagnostic());
  } catch (const ProgramErrors& e) {
    std::fflush(stdout);
    for (const Diagnostic& d : e.diagnostics()) session.print(d);
  }
  return exit_user_error;
}

}  // namespace nnc
