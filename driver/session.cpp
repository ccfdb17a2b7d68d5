// Loading a file, reporting what is wrong with it, and the road from a module to running code.
#include "driver/session.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "driver/terminal.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "runtime/cores.h"
#include "runtime/file_bytes.h"
#include "runtime/text_file.h"

namespace nnc {
namespace {

Override parse_override(const std::string& text) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw UserError(Code::E0601, fmt::format("`--set {}` has no value", text), "the command line", "write `--set PATH=VALUE`, as in `--set data.batch=64`");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// Code for another CPU may be shown; an instruction that this one does not know would end the process.
void require_host_runs(const Target& target) {
  std::vector<std::string> missing = features_missing_here(target);
  VectorLevel host = host_target().level;
  if (target.level <= host && missing.empty()) return;
  std::string why = target.level > host ? fmt::format("it has {}", vector_level_name(host))
                                        : fmt::format("it lacks {}", fmt::join(missing, ", "));
  throw UserError(Code::E0620, fmt::format("this machine cannot run code for {}: {}", target.cpu, why), "the command line",
                  "`nnc ir --cpu` shows code for any CPU");
}

}  // namespace

std::string read_text_file(const std::string& path) {
  try {
    return read_text(path);
  } catch (const UserError& e) {
    Diagnostic d = e.diagnostic();
    d.code = Code::E0602;
    throw UserError(std::move(d));
  }
}

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

Session::Session(const CommonOptions& o) : options(o), target(o.cpu.empty() ? host_target_with_cpu() : target_by_name(o.cpu)) {}

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

void Session::print(const Diagnostic& d) { print_diagnostic(d, sources, options.json); }

void Session::finish_diagnostics() {
  bool failed = diagnostics.has_errors();
  for (const Diagnostic& d : diagnostics.sorted()) print(d);
  diagnostics = Diagnostics{};
  if (failed) throw CommandFailed{};
}

void Session::load() {
  LoadOptions load;
  for (const std::string& s : options.set) load.overrides.push_back(parse_override(s));
  // The seed is read as unsigned, which turns -1 into 2^64 - 1: it is shown as given.
  if (options.seed) load.overrides.push_back({"--seed", std::to_string(int64_t(*options.seed))});
  if (options.epochs) load.overrides.push_back({"--epochs", std::to_string(*options.epochs)});
  if (options.steps) load.overrides.push_back({"--steps", std::to_string(*options.steps)});
  load.read_file = [](const std::string& path) -> std::optional<std::string> {
    try {
      return read_text_file(path);
    } catch (const UserError&) {
      return std::nullopt;
    }
  };
  file_ = sources.add(options.file, read_text_file(options.file));
  module = load_module(sources, file_, load, diagnostics);
  finish_diagnostics();
  if (!module) throw CommandFailed{};
}

void Session::require_train() {
  if (module->has_train()) return;
  throw UserError(Code::E0603, fmt::format("{} has no `train` block", options.file), options.file,
                  "add one: `train { data ..., minimize ..., using sgd(lr: 0.01), epochs 10 }`");
}

int Session::thread_count() const { return options.threads ? *options.threads : usable_cores(); }

int with_session(const CommonOptions& o, const std::function<int(Session&)>& work) {
  Session session(o);
  try {
    return work(session);
  } catch (const UserError& e) {
    std::fflush(stdout);
    session.print(e.diagnostic());
    return exit_user_error;
  }
}

Graph make_backward(Session& session, const BuiltGraph& forward, const std::vector<UpdateRule>& rules) {
  Graph graph = forward.graph;
  std::vector<std::pair<std::string, const Graph*>> by_parameter;
  for (const UpdateRule& r : rules) by_parameter.push_back({r.parameter, &r.rule});
  std::optional<double> clip = session.module->train().clip_norm;
  add_backward(graph, by_parameter, clip, session.diagnostics);
  session.finish_diagnostics();
  return graph;
}

void warn_if_nothing_trains(Session& session, const BuiltGraph& forward) {
  std::vector<std::string> frozen;
  bool has_states = !forward.graph.updates.empty();
  for (const ParameterSpec& p : forward.parameters) {
    if (p.persistent.kind == PersistentKind::parameter) return;
    if (p.persistent.kind == PersistentKind::frozen) frozen.push_back(fmt::format("`{}`", p.persistent.name));
  }
  Diagnostic d;
  d.code = Code::E0308;
  d.severity = Severity::warning;
  d.span = session.module->train().span;
  d.message = fmt::format("nothing trains: {}, so {}",
                          frozen.empty()       ? "the loss depends on no parameter"
                          : frozen.size() == 1 ? fmt::format("the one parameter, {}, is frozen", frozen[0])
                                               : fmt::format("all {} parameters are frozen ({}, ...)", frozen.size(), frozen[0]),
                          has_states ? "only layer states change" : "the loss will not fall");
  d.help.push_back(frozen.empty() ? "minimize a loss that is computed from a model's result"
                                  : "take `frozen` away from what is to learn");
  session.print(d);
}

TrainingGraphs make_training_graphs(Session& session) {
  TrainingGraphs result;
  result.forward = session.require(session.module->build_train_graph(session.diagnostics));
  result.rules = session.module->build_update_rules(result.forward.parameters, session.diagnostics);
  session.finish_diagnostics();
  result.backward = make_backward(session, result.forward, result.rules);
  result.optimized = result.backward;
  optimize_graph(result.optimized);
  return result;
}

Program make_program(Graph graph, const std::string& name, int64_t rows, const Target& target, const Layouts& layouts) {
  optimize_graph(graph);
  LowerOptions options{name, rows, target, layouts};
  options.typed_scalars = true;
  return build_program(graph, options);
}

CompileOptions compile_options(const CommonOptions& o) {
  CompileOptions options;
  options.perf_map = options.debugger = o.perf_map;
  return options;
}

CompiledStep compile_step(Program program, const SourceMap& sources, const CompileOptions& options) {
  require_host_runs(program.target);
  CompiledStep result;
  result.program = std::move(program);
  constexpr int64_t red_zone = 128;
  if (code_sanitizer() == Sanitizer::address) spread_memory(result.program, red_zone);
  const Program& p = result.program;
  result.code = compile(p, &sources, options);
  StepProgram& step = result.step;
  step.run = result.code->run();
  step.rows_capacity = p.rows;
  step.arena_bytes = p.arena_bytes;
  step.persistent_bytes = p.persistent_bytes;
  step.scratch_bytes = result.code->scratch_bytes();
  step.fields = p.fields;
  step.scalars = p.scalars;
  step.results = p.results;
  step.kernel_count = p.kernels.size();
  step.parallel = std::any_of(p.kernels.begin(), p.kernels.end(), [](const Kernel& k) { return k.parallel; });
  auto sizes = [&](const Shape& shape) {
    std::vector<int64_t> s;
    for (const Extent& e : shape) s.push_back(e.at(p.rows));
    return s;
  };
  for (const PersistentPlace& place : p.persistents) {
    const Buffer& b = p[place.buffer];
    step.persistents.push_back({b.name, b.dtype, sizes(b.shape), b.order, b.offset, place.persistent.kind != PersistentKind::optimizer_state});
  }
  step.outputs.resize(p.outputs.size());
  for (const Buffer& b : p.buffers) {
    if (b.kind != BufferKind::output) continue;
    OutputSlot& slot = step.outputs[size_t(b.offset)];
    slot = {b.name, b.dtype, sizes(b.shape), -1, b.bytes};
    for (size_t a = 0; a < b.shape.size(); ++a)
      if (b.shape[a].rows) slot.row_axis = int(a);
  }
  return result;
}

}  // namespace nnc
