// Passes by name, then what carries their result out. Compiled code runs on values as it does where a graph is evaluated (engine/bindings.h); what a step
// leaves behind becomes results to compare, each of its own type.
#include "verify/route.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "engine/bindings.h"
#include "engine/graph_runner.h"
#include "engine/step.h"
#include "ir/program_interpreter.h"
#include "passes/lower.h"
#include "passes/optimize_bodies.h"
#include "passes/pass_manager.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

Target target_of(VectorLevel level) {
  Target target = host_target_with_cpu();
  return level == target.level ? target : target_by_name(std::string(vector_level_name(level)));
}

std::string_view executor_name(Executor executor) {
  switch (executor) {
    case Executor::graph_interpreter:
      return "graph interpreter";
    case Executor::program_interpreter:
      return "program interpreter";
    case Executor::compiled:
      break;
  }
  return "compiled";
}

}  // namespace

void forget_places(Graph& graph) {
  for (Persistent& p : graph.persistents) p.span = {};
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    node.span = {};
    if (node.op != Op::scan) continue;
    Graph body = *node.attributes.body;
    forget_places(body);
    node.attributes.body = {std::make_shared<const Graph>(std::move(body))};
  }
}

Route Route::optimized() {
  Route route;
  route.passes.assign(default_passes().begin(), default_passes().end());
  return route;
}

Route Route::plain() { return {}; }

std::string Route::text() const {
  std::string text =
      fmt::format("{}: {}", passes.empty() ? "no passes" : fmt::format("{}", fmt::join(passes, ",")), executor_name(executor));
  if (executor == Executor::compiled) {
    text += fmt::format(", {}, {} thread{}", vector_level_name(level), threads, threads == 1 ? "" : "s");
    if (split_all) text += ", all kernels split";
  }
  if (capacity > 0) text += fmt::format(", capacity {}", capacity);
  return text;
}

struct RoutedGraph::State {
  Graph graph;
  Executor executor = Executor::compiled;
  std::vector<Update> updates;
  SourceMap sources;
  CompiledStep compiled;  ///< its program alone, for the program interpreter
  std::unique_ptr<Team> team;
  std::unique_ptr<StepRunner> runner;

  Results run_compiled(const Bindings&);
};

RoutedGraph::~RoutedGraph() = default;
RoutedGraph::RoutedGraph(RoutedGraph&&) noexcept = default;
RoutedGraph& RoutedGraph::operator=(RoutedGraph&&) noexcept = default;

RoutedGraph::RoutedGraph(Graph graph, const Route& route, int64_t rows) : state_(std::make_unique<State>()) {
  if (route.executor != Executor::graph_interpreter) hold_inputs(graph);
  std::vector<NamedPass> passes;
  auto is_run = [&](std::string_view pass) { return std::ranges::find(route.passes, pass) != route.passes.end(); };
  const bool writes_out = route.executor != Executor::graph_interpreter && !is_run("unroll") && !is_run("optimize_bodies") && !has_grouped_bodies(graph);
  if (writes_out) passes.push_back(named_pass("unroll"));
  for (const std::string& name : route.passes) passes.push_back(named_pass(name));
  bool needs_groups = route.executor != Executor::graph_interpreter && (passes.empty() || passes.back().name != "finish_groups");
  if (needs_groups) passes.push_back(named_pass("finish_groups"));
  run_passes(graph, passes);
  state_->executor = route.executor;
  state_->updates = graph.updates;
  if (route.executor == Executor::graph_interpreter) {
    state_->graph = std::move(graph);
    return;
  }
  forget_places(graph);
  int64_t capacity = route.capacity > 0 ? route.capacity : std::max<int64_t>(rows, 1);
  LowerOptions options{"step", capacity, target_of(route.level), route.layouts};
  options.typed_scalars = true;
  Program program = build_program(graph, options, route.regions);
  if (route.split_all) {
    share_all_kernels(program);
    std::vector<std::string> violations = verify_program(program);
    NNC_CHECK(violations.empty(), "the program is not sound: " + violations.front());
  }
  state_->graph = std::move(graph);
  if (route.executor == Executor::program_interpreter) {
    state_->compiled.program = std::move(program);
    return;
  }
  state_->compiled = compile_step(std::move(program), state_->sources);
  use_threads(route.threads);
}

void RoutedGraph::use_threads(int threads) {
  if (state_->executor != Executor::compiled) return;
  state_->runner.reset();
  state_->team = std::make_unique<Team>(threads);
  state_->runner = std::make_unique<StepRunner>(state_->compiled.step, *state_->team);
}

const Graph& RoutedGraph::graph() const { return state_->graph; }
const Program* RoutedGraph::program() const {
  return state_->executor == Executor::graph_interpreter ? nullptr : &state_->compiled.program;
}

Results RoutedGraph::run(const Bindings& given) {
  if (state_->executor == Executor::graph_interpreter) return interpret(state_->graph, given);
  const Bindings bindings = bind_held_inputs(state_->graph, given);
  Results results = state_->executor == Executor::compiled ? state_->run_compiled(bindings)
                                                         : interpret_program(state_->compiled.program, bindings);
  std::erase_if(results.updates, [&](const auto& entry) {
    return std::none_of(state_->updates.begin(), state_->updates.end(), [&](const Update& u) { return u.name == entry.first; });
  });
  return results;
}

Results RoutedGraph::State::run_compiled(const Bindings& bindings) {
  Results out;
  out.outputs = run_step_in_numbers(*runner, bindings);
  for (const Update& u : updates) out.updates[u.name] = read_persistent(*runner, size_t(runner->find_persistent(u.name)));
  return out;
}

Results run_route(Graph graph, const Bindings& bindings, const Route& route) {
  return RoutedGraph(std::move(graph), route, bindings.rows).run(bindings);
}

std::optional<Difference> find_difference(const Results& found, const Results& expected, double tolerance) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  auto compare = [&](const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b,
                     bool update) -> std::optional<Difference> {
    for (const auto& [name, want] : b) {
      auto it = a.find(name);
      if (it == a.end() || it->second.values.size() != want.values.size()) return Difference{name, update, 0, 0, 0, wrong};
      double scale = 1;
      for (double v : want.values)
        if (std::isfinite(v)) scale = std::max(scale, std::fabs(v));
      for (size_t i = 0; i < want.values.size(); ++i) {
        double x = it->second.values[i], y = want.values[i];
        if (it->second.at(i) == want.at(i) || (std::isnan(x) && std::isnan(y))) continue;
        double error = is_float(want.dtype) && std::isfinite(x) && std::isfinite(y) ? std::fabs(x - y) / scale : wrong;
        if (!(error <= tolerance)) return Difference{name, update, i, x, y, error};
      }
    }
    return std::nullopt;
  };
  if (auto d = compare(found.outputs, expected.outputs, false)) return d;
  return compare(found.updates, expected.updates, true);
}

Bindings random_bindings(const Graph& graph, int64_t rows, std::mt19937_64& random, double low, double high) {
  Bindings b;
  b.rows = rows;
  std::uniform_real_distribution<double> real(low, high);
  auto fill = [&](const Type& type) {
    Tensor t = make_tensor(type.dtype, shape_at(type, rows));
    for (double& v : t.values)
      v = is_float(type.dtype) ? double(float(real(random))) : double(random() % (type.dtype == DType::boolean ? 2 : 3));
    return t;
  };
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::input && !b.inputs.count(n.attributes.text)) b.inputs[n.attributes.text] = fill(n.type);
    if (n.op == Op::scalar && !b.scalars.count(n.attributes.text)) b.scalars[n.attributes.text] = fill(n.type).values[0];
  }
  for (const Persistent& p : graph.persistents) b.persistents[p.name] = fill(p.type);
  return b;
}

}  // namespace nnc
