// Values are computed twice, by the 64-bit interpreter, which decides, and by compiled code, which has to agree with it to the accuracy of 32 bits.
// Gradients that `check_gradients` asks for are held against central finite differences in the interpreter; at a kink (relu at 0), where those are of
// neither side, against differences of the function whose decisions are held as they are there (hold_branches.h).
#include "engine/test_blocks.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/philox.h"
#include "engine/bindings.h"
#include "engine/graph_runner.h"
#include "engine/hold_branches.h"
#include "engine/weights.h"
#include "passes/differentiate.h"

namespace nnc {
namespace {

using Expectation = Module::Expectation;
using Values = std::map<std::string, Tensor>;

bool same(Number a, Number b) { return a == b || (std::isnan(a) && std::isnan(b)); }

double distance(Number a, Number b) { return std::abs((double(a) - double(b)) + double(a.rest() - b.rest())); }

std::string value_text(const Tensor& t, size_t i) { return is_float(t.dtype) ? fmt::format("{:.9g}", t.values[i]) : number_text(t.at(i)); }

/// "element [0, 2]"; of a scalar "it".
std::string element_text(const Tensor& t, size_t i) { return t.shape.empty() ? "it" : "element " + shape_text(index_of(i, t.shape)); }

/// By the interpreter alone: whether left is right.
std::string compare_sides(const Expectation& x, const Values& exact) {
  const Tensor &left = exact.at("left"), &right = exact.at("right");
  for (size_t i = 0; i < left.values.size(); ++i) {
    const Number a = left.at(i), b = right.at(i);
    if (same(a, b) || distance(a, b) <= x.tolerance * std::max(1.0, std::abs(double(b)))) continue;
    if (auto first = exact.find("first"); first != exact.end()) {
      std::string place = left.shape.empty() ? "" : element_text(left, i) + ": ";
      return fmt::format("{}{} {} {} is false", place, value_text(first->second, i), x.message, value_text(exact.at("second"), i));
    }
    if (!x.message.empty()) return fmt::format("{} is false", element_text(left, i));
    std::string tolerance = x.tolerance > 0 ? fmt::format(" (tolerance {:g})", x.tolerance) : "";
    return fmt::format("{} is {}, expected {}{}", element_text(left, i), value_text(left, i), value_text(right, i), tolerance);
  }
  return "";
}

std::string compare_engines(const Values& exact, const Values& compiled) {
  const Tensor& left = exact.at("left");
  for (const char* side : {"left", "right"}) {
    double scale = 1;
    for (double v : exact.at(side).values)
      if (std::isfinite(v)) scale = std::max(scale, std::abs(v));
    for (size_t i = 0; i < left.values.size(); ++i) {
      const Tensor &held = exact.at(side), &stored = compiled.at(side);
      if (same(held.at(i), stored.at(i)) || (is_float(held.dtype) && distance(held.at(i), stored.at(i)) <= 1e-4 * scale)) continue;
      return fmt::format("compiled code and interpreter differ: {} of the {} side is {}, and {} in 64 bits", element_text(left, i), side,
                         value_text(stored, i), value_text(held, i));
    }
  }
  return "";
}

class Expectations {
 public:
  Expectations(const Compilation& compilation, Team& team) : compilation_(compilation), team_(team) {}

  /// Empty if the expectation holds, else why not.
  std::string check(const Expectation& x) {
    if (x.kind == Expectation::Kind::decided) return x.passed ? "" : x.message;
    Bindings bindings = bind(x);
    return x.kind == Expectation::Kind::equal ? check_equal(x, bindings) : check_gradients(x, bindings);
  }

 private:
  Values evaluate(Engine engine, const Graph& graph, const Bindings& bindings) {
    return evaluate_graph(engine, graph, bindings, compilation_.target, compilation_.sources, team_);
  }

  static Bindings bind(const Expectation& x) {
    Bindings bindings;
    bind_scalars(bindings, x.graph, {});
    for (const Node& n : x.graph.nodes()) {
      if (n.op != Op::input) continue;
      for (const auto& [name, values] : x.inputs)
        if (name == n.attributes.text) bindings.inputs[name] = {n.type.dtype, shape_at(n.type, 1), values};
    }
    for (const ParameterSpec& p : x.parameters) bindings.persistents[p.persistent.name] = initial_value(p, 0);
    return bindings;
  }

  /// Computes the gradients that the expectation mentions, in order, and adds them to the inputs.
  void feed_gradients(const Expectation& x, Engine engine, Bindings& bindings) {
    for (const Expectation::GradientRequest& request : x.gradients) {
      Graph graph = x.graph;
      graph.outputs.clear();
      Builder b(graph, graph[request.of].span);
      NodeId gradient = gradients_of(graph, request.of, b.constant_like(1, request.of), {request.wrt})[0];
      if (!gradient.valid()) gradient = b.constant(0, graph.type(request.wrt));
      graph.outputs = {{"gradient", gradient}};
      bindings.inputs[request.input] = evaluate(engine, graph, bindings).at("gradient");
    }
  }

  std::string check_equal(const Expectation& x, const Bindings& given) {
    Values values[2];
    for (Engine engine : {Engine::interpreter, Engine::jit}) {
      Bindings bindings = given;
      feed_gradients(x, engine, bindings);
      values[size_t(engine)] = evaluate(engine, x.graph, bindings);
    }
    const Values &exact = values[size_t(Engine::interpreter)], &compiled = values[size_t(Engine::jit)];
    std::string why = compare_sides(x, exact);
    return why.empty() ? compare_engines(exact, compiled) : why;
  }

  double sum_of_result(const Graph& graph, const Bindings& bindings) {
    const Tensor result = evaluate(Engine::interpreter, graph, bindings).at("0");
    double sum = 0;
    for (double v : result.values) sum += v;
    return sum;
  }

  std::string check_gradients(const Expectation& x, Bindings bindings) {
    feed_gradients(x, Engine::interpreter, bindings);
    Graph graph = x.graph;
    graph.updates.clear();
    append_gradients(graph, std::vector<Output>(graph.outputs), "");
    Values gradients = evaluate(Engine::interpreter, graph, bindings);
    GraphCase held = hold(x.graph, bindings, {x.graph.outputs.at(0).node}, {.branches = true});
    Graph free = x.graph;
    free.outputs = {{"0", free.outputs.at(0).node}};
    for (const auto& [name, value] : held.bindings.inputs) bindings.inputs.emplace(name, value);
    for (const auto& [name, gradient] : gradients) {
      if (name.rfind("grad.", 0) != 0) continue;
      std::string of = name.substr(5);
      if (std::any_of(x.gradients.begin(), x.gradients.end(), [&](const auto& r) { return r.input == of; })) continue;
      std::string why = check_gradient(x, of, gradient, {&free, &held.graph}, bindings);
      if (!why.empty()) return why;
    }
    return "";
  }

  /// Of one input or parameter; agreement with the differences of one of the graphs is enough.
  std::string check_gradient(const Expectation& x, const std::string& of, const Tensor& gradient, std::initializer_list<const Graph*> graphs,
                             Bindings& bindings) {
    bool input = bindings.inputs.count(of) > 0;
    std::vector<double>& values = input ? bindings.inputs.at(of).values : bindings.persistents.at(of).values;
    // Of a large tensor some elements, the same ones in every run.
    RandomStream random(0, stable_hash(of));
    size_t count = std::min<size_t>(values.size(), 64);
    for (size_t n = 0; n < count; ++n) {
      size_t i = count == values.size() ? n : size_t(random.next_below(values.size()));
      double at = values[i], step = 1e-5 * std::max(1.0, std::abs(at)), exact = gradient.values[i];
      std::vector<double> differences;
      bool agrees = std::any_of(graphs.begin(), graphs.end(), [&](const Graph* graph) {
        values[i] = at + step;
        double above = sum_of_result(*graph, bindings);
        values[i] = at - step;
        double below = sum_of_result(*graph, bindings);
        values[i] = at;
        double numeric = differences.emplace_back((above - below) / (2 * step));
        return std::abs(numeric - exact) <= x.tolerance * std::max(1.0, std::abs(numeric));
      });
      if (agrees) continue;
      return fmt::format("the gradient of {} at {} is {:.9g}, finite differences give {:.9g} (tolerance {:g})",
                         input ? "the argument" : "`" + of + "`", element_text(gradient, i), exact, differences[0], x.tolerance);
    }
    return "";
  }

  const Compilation& compilation_;
  Team& team_;
};

}  // namespace

void run_tests(Compilation& compilation, int threads, const std::function<void(const TestResult&)>& on_result) {
  std::vector<Module::Test> tests = compilation.module->build_tests(compilation.diagnostics);
  compilation.settle();
  Team team(threads);
  Expectations expectations(compilation, team);
  for (const Module::Test& t : tests) {
    TestResult result{t.name, t.span, t.expectations.size(), {}};
    for (const Expectation& x : t.expectations)
      if (std::string why = expectations.check(x); !why.empty()) result.faults.push_back({x.span, std::move(why)});
    on_result(result);
  }
}

}  // namespace nnc
