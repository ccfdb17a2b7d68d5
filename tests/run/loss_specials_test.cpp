// Softmax, log-sum-exp, losses and activations where a careless formula overflows: logits of +-1e4, rows with some or nothing but
// -inf, infinities and NaN. Values and gradients, in the interpreter and in compiled code with every operation a kernel of its
// own and fully fused (on every vector level), against PyTorch's in double precision (extremes/generate.py).
#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "passes/differentiate.h"
#include "tests/run/graph_runner.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/frontend_fixture.h"

using namespace nnc;
using namespace nnc::test;

namespace {

using Json = nlohmann::json;

Tensor read_tensor(const Json& json, DType dtype) {
  Tensor t{dtype, json["shape"].get<std::vector<int64_t>>(), {}};
  for (const Json& v : json["values"]) {
    if (v.is_number()) {
      t.values.push_back(v.get<double>());
    } else {
      t.values.push_back(v == "nan" ? std::nan("") : v == "inf" ? INFINITY : -INFINITY);
    }
  }
  return t;
}

/// "" or what is wrong. Each element is held to its own magnitude; `smallest` is what stands for nothing beside the others.
std::string difference(const Tensor& found, const Tensor& expected, double tolerance, double smallest) {
  if (found.values.size() != expected.values.size()) return "another size";
  for (size_t i = 0; i < expected.values.size(); ++i) {
    double x = found.values[i], y = expected.values[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (std::isfinite(x) && std::isfinite(y) && std::fabs(x - y) <= tolerance * std::fabs(y) + smallest) continue;
    return fmt::format("element {} is {} instead of {}", i, x, y);
  }
  return "";
}

struct Case {
  Graph graph;
  Bindings bindings;
  std::map<std::string, Tensor> expected;
};

/// With inputs of f32 or f64; numbers written in the library are of the same type.
Case make_case(const Json& json, DType dtype) {
  std::string source = json["source"];
  for (size_t at; (at = source.find("float")) != std::string::npos;) source.replace(at, 5, dtype_name(dtype));
  frontend_tests::Loaded loaded = frontend_tests::load(source);
  INFO(loaded.errors());
  REQUIRE(loaded.module);
  Case c;
  std::vector<ArgumentSpec> arguments;
  auto bind = [&](const Json& tensors, DType dtype, int64_t classes) {
    for (const auto& [name, value] : tensors.items()) {
      c.bindings.inputs[name] = read_tensor(value, dtype);
      arguments.push_back(frontend_tests::argument(name, c.bindings.inputs[name].shape, classes));
      arguments.back().type.shape.set(0, {1, true});
      c.bindings.rows = c.bindings.inputs[name].shape[0];
    }
  };
  bind(json["inputs"], dtype, 0);
  bind(json["labels"], DType::i32, json["classes"]);
  Diagnostics diagnostics;
  std::optional<BuiltGraph> built = loaded.module->build_definition("f", arguments, {}, diagnostics);
  for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(d.message);
  REQUIRE(built);
  c.graph = std::move(built->graph);
  for (uint32_t i = 0; i < c.graph.size(); ++i) c.graph[NodeId{i}].span = {};  // the source goes with `loaded`
  REQUIRE(c.graph.outputs.size() == 1);
  NodeId result = c.graph.outputs[0].node;
  c.expected[c.graph.outputs[0].name] = read_tensor(json["result"], dtype);
  if (json["gradients"].empty()) return c;
  // The gradient of sum(seed * result).
  Builder b(c.graph);
  bool number = c.graph.type(result).rank() == 0;  // inputs are fields, with rows
  NodeId seed = number ? b.constant(0.5, c.graph.type(result)) : b.input("seed", c.graph.type(result));
  if (!number) {
    Tensor weights = read_tensor(json["result"], dtype);
    for (size_t i = 0; i < weights.values.size(); ++i) weights.values[i] = 0.5 + 0.25 * double(i % 5);
    c.bindings.inputs["seed"] = weights;
  }
  std::vector<std::string> names;
  std::vector<NodeId> inputs;
  for (uint32_t i = 0; i < c.graph.size(); ++i) {
    const Node& node = c.graph[NodeId{i}];
    if (node.op != Op::input || !json["gradients"].contains(node.attributes.text)) continue;
    names.push_back(node.attributes.text);
    inputs.push_back(NodeId{i});
  }
  std::vector<NodeId> gradients = gradients_of(c.graph, result, seed, inputs);
  for (size_t i = 0; i < names.size(); ++i) {
    Tensor expected = read_tensor(json["gradients"][names[i]], dtype);
    if (!gradients[i].valid()) {
      // Nothing leads there: a target behind stop_gradient.
      for (double v : expected.values) CHECK(v == 0);
      continue;
    }
    c.graph.outputs.push_back({"gradient of " + names[i], gradients[i]});
    c.expected["gradient of " + names[i]] = expected;
  }
  return c;
}

void check(const std::string& how, const Results& results, const Case& c, double tolerance, double smallest) {
  for (const auto& [name, expected] : c.expected) {
    REQUIRE(results.outputs.count(name));
    std::string wrong = difference(results.outputs.at(name), expected, tolerance, smallest);
    INFO(how << ", " << name << ": " << wrong);
    CHECK(wrong.empty());
  }
}

}  // namespace

TEST_CASE("softmax, losses and activations neither overflow nor lose infinities and NaN", "[run][specials]") {
  std::ifstream file(NNC_SOURCE_DIR "/tests/run/extremes/extremes.json");
  Json cases = Json::parse(file);
  REQUIRE(cases.size() > 60);
  for (const Json& json : cases) {
    INFO(json["name"].get<std::string>());
    Case exact = make_case(json, DType::f64), c = make_case(json, DType::f32);
    check("interpreter", interpret(exact.graph, exact.bindings), exact, 1e-9, 1e-12);
    for (VectorLevel level : host_levels())
      for (bool optimize : {false, true}) {
        if (!optimize && level != host_levels().back()) continue;  // the fused form is what differs between levels
        GraphRunOptions options;
        options.level = level;
        options.optimize = optimize;
        check(fmt::format("{}, {}", vector_level_name(level), optimize ? "fused" : "every operation alone"),
              run_compiled(c.graph, c.bindings, options), c, 2e-6, 1e-7);
      }
  }
}
