// nnc test: the `test` blocks of a file. Shapes and error texts have been decided by the checker. Values are computed twice, by
// the 64-bit interpreter, which decides, and by compiled code, which has to agree with it to the accuracy of 32 bits. Gradients
// that `check_gradients` asks for are held against central finite differences in the interpreter; at a kink (relu at 0), where those
// are of neither side, against differences of the function whose decisions are held as they are there (gradient_check.h).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "driver/commands.h"
#include "verify/gradient_check.h"
#include "engine/graph_runner.h"
#include "driver/outputs.h"
#include "engine/tensors.h"
#include "engine/weights.h"
#include "passes/differentiate.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;
using Expectation = Module::Expectation;

class TestRun {
 public:
  TestRun(Session& session, Team& team) : session_(session), team_(team) {}
  /// Empty if the expectation holds, else why not.
  std::string check(const Expectation& x) {
    if (x.kind == Expectation::Kind::decided) return x.passed ? "" : x.message;
    Bindings bindings = bind(x);
    return x.kind == Expectation::Kind::equal ? check_equal(x, bindings) : check_gradients(x, bindings);
  }

 private:
  std::map<std::string, Tensor> evaluate(Engine engine, const Graph& graph, const Bindings& bindings) {
    return evaluate_graph(engine, graph, bindings, session_.target, session_.sources, team_);
  }

  Bindings bind(const Expectation& x) {
    Bindings bindings;
    for (const Node& n : x.graph.nodes()) {
      if (n.op == Op::scalar) bindings.scalars[n.attributes.text] = 0;
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
    std::map<std::string, Tensor> values[2];
    for (Engine engine : {Engine::interpreter, Engine::jit}) {
      Bindings bindings = given;
      feed_gradients(x, engine, bindings);
      values[size_t(engine)] = evaluate(engine, x.graph, bindings);
    }
    const auto& exact = values[size_t(Engine::interpreter)];
    const auto& compiled = values[size_t(Engine::jit)];
    const Tensor &left = exact.at("left"), &right = exact.at("right");
    for (size_t i = 0; i < left.values.size(); ++i) {
      double a = left.values[i], b = right.values[i];
      if (a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= x.tolerance * std::max(1.0, std::abs(b))) continue;
      if (auto first = exact.find("first"); first != exact.end()) {
        std::string place = left.shape.empty() ? "" : element(left, i) + ": ";
        return fmt::format("{}{:.9g} {} {:.9g} is false", place, first->second.values[i], x.message,
                           exact.at("second").values[i]);
      }
      if (!x.message.empty()) return fmt::format("{} is false", element(left, i));
      return fmt::format("{} is {:.9g}, expected {:.9g} (tolerance {:g})", element(left, i), a, b, x.tolerance);
    }
    for (const char* side : {"left", "right"}) {
      double scale = 1;
      for (double v : exact.at(side).values)
        if (std::isfinite(v)) scale = std::max(scale, std::abs(v));
      for (size_t i = 0; i < left.values.size(); ++i) {
        double a = exact.at(side).values[i], b = compiled.at(side).values[i];
        if (a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= 1e-4 * scale) continue;
        return fmt::format("compiled code and interpreter differ: {} of the {} side is {:.9g}, and {:.9g} in 64 bits",
                           element(left, i), side, b, a);
      }
    }
    return "";
  }

  static std::string element(const Tensor& t, size_t i) {
    if (t.shape.empty()) return "it";
    std::vector<int64_t> index(t.shape.size());
    for (size_t a = t.shape.size(); a-- > 0;) {
      index[a] = int64_t(i) % t.shape[a];
      i /= size_t(t.shape[a]);
    }
    return "element " + shape_text(index);
  }

  std::string check_gradients(const Expectation& x, Bindings bindings) {
    feed_gradients(x, Engine::interpreter, bindings);
    Graph graph = x.graph;
    graph.updates.clear();
    append_gradients(graph, std::vector<Output>(graph.outputs), "");
    std::map<std::string, Tensor> gradients = evaluate(Engine::interpreter, graph, bindings);
    GraphCase held = hold(x.graph, bindings, {x.graph.outputs.at(0).node}, {.branches = true});
    Graph free = x.graph;
    free.outputs = {{"0", free.outputs.at(0).node}};
    auto total = [&](const Graph& of) {
      const Tensor t = evaluate(Engine::interpreter, of, bindings).at("0");
      double sum = 0;
      for (double v : t.values) sum += v;
      return sum;
    };
    for (const auto& [name, value] : held.bindings.inputs) bindings.inputs.emplace(name, value);
    for (const auto& [name, gradient] : gradients) {
      if (name.rfind("grad.", 0) != 0) continue;
      std::string of = name.substr(5);
      if (std::any_of(x.gradients.begin(), x.gradients.end(), [&](const auto& r) { return r.input == of; })) continue;
      bool input = bindings.inputs.count(of) > 0;
      std::vector<double>& values = input ? bindings.inputs.at(of).values : bindings.persistents.at(of).values;
      // Of a large tensor some elements, the same ones in every run.
      RandomStream random(0, stable_hash(of));
      size_t count = std::min<size_t>(values.size(), 64);
      for (size_t n = 0; n < count; ++n) {
        size_t i = count == values.size() ? n : size_t(random.next_below(values.size()));
        double at = values[i], step = 1e-5 * std::max(1.0, std::abs(at));
        auto difference = [&](const Graph& of) {
          values[i] = at + step;
          double above = total(of);
          values[i] = at - step;
          double below = total(of);
          values[i] = at;
          return (above - below) / (2 * step);
        };
        double exact = gradient.values[i];
        auto agrees = [&](double numeric) { return std::abs(numeric - exact) <= x.tolerance * std::max(1.0, std::abs(numeric)); };
        double numeric = difference(free);
        if (agrees(numeric) || agrees(difference(held.graph))) continue;
        return fmt::format("the gradient of {} at {} is {:.9g}, finite differences give {:.9g} (tolerance {:g})",
                           input ? "the argument" : "`" + of + "`", element(gradient, i), exact, numeric, x.tolerance);
      }
    }
    return "";
  }

  Session& session_;
  Team& team_;
};

int test(Session& session, const CommonOptions& o) {
  session.load();
  std::vector<Module::Test> tests = session.module->build_tests(session.diagnostics);
  session.settle();
  Team team(session.thread_count());
  TestRun run(session, team);
  int failed = 0;
  for (const Module::Test& t : tests) {
    std::vector<std::pair<Span, std::string>> faults;
    for (const Expectation& x : t.expectations) {
      std::string why = run.check(x);
      if (!why.empty()) faults.push_back({x.span, why});
    }
    failed += !faults.empty();
    if (o.json) {
      Json line{{"test", t.name},
                {"place", session.sources.describe_line(t.span)},
                {"passed", faults.empty()},
                {"expectations", t.expectations.size()}};
      for (const auto& [span, why] : faults)
        line["failures"].push_back({{"place", session.sources.describe(span)}, {"message", why}});
      print_json_line(line);
      continue;
    }
    std::printf("%s %s \"%s\"\n", faults.empty() ? "PASS" : "FAIL", session.sources.describe_line(t.span).c_str(),
                t.name.c_str());
    for (const auto& [span, why] : faults) std::printf("  %s: %s\n", session.sources.describe(span).c_str(), why.c_str());
  }
  if (!o.json) std::printf("%zu passed, %d failed\n", tests.size() - size_t(failed), failed);
  return failed ? exit_user_error : exit_done;
}

}  // namespace

Command test_command() {
  auto o = std::make_shared<CommonOptions>();
  Command command("test",
                  "run the test blocks of a file\n\n"
                  "  nnc test own_optimizer.nn\n");
  add_common(command, *o);
  add_threads(command, *o);
  command.run = [o] { return with_session(*o, [&](Session& session) { return test(session, *o); }); };
  return command;
}

}  // namespace nnc
