// Programs from a string, evaluated by the interpreter: what the tests of the frontend share.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"
#include "frontend/frontend.h"
#include "ir/graph.h"
#include "ir/interpreter.h"
#include "tests/unit/catch.h"

namespace nnc::frontend_tests {

struct Loaded {
  std::unique_ptr<SourceMap> sources = std::make_unique<SourceMap>();
  Diagnostics diagnostics;
  std::unique_ptr<Module> module;

  std::string errors() const {
    std::string text;
    for (const Diagnostic& d : diagnostics.sorted()) text += render_text(d, *sources, false);
    return text;
  }
  bool has(Code code) const {
    for (const Diagnostic& d : diagnostics.items())
      if (d.code == code) return true;
    return false;
  }
};

inline Loaded load(std::string text, std::vector<Override> overrides = {}, std::map<std::string, std::string> files = {}) {
  Loaded l;
  LoadOptions options;
  options.overrides = std::move(overrides);
  options.read_file = [files](const std::string& path) -> std::optional<std::string> {
    auto it = files.find(path);
    return it == files.end() ? std::nullopt : std::optional(it->second);
  };
  FileId id = l.sources->add("t.nn", std::move(text));
  l.module = load_module(*l.sources, id, options, l.diagnostics);
  return l;
}

inline ArgumentSpec argument(std::string name, std::vector<int64_t> shape, int64_t classes = 0) {
  ArgumentSpec a;
  a.name = std::move(name);
  for (int64_t n : shape) a.type.shape.push_back({n, false});
  a.type.dtype = classes ? DType::i32 : DType::f32;
  a.classes = classes;
  return a;
}

inline Tensor tensor(std::vector<int64_t> shape, std::vector<double> values, DType dtype = DType::f32) {
  return Tensor{dtype, std::move(shape), std::move(values)};
}

/// Evaluates fn, layer or model `name` on inputs; persistents must be given.
inline Tensor run(const std::string& text, const std::string& name, const std::vector<std::pair<std::string, Tensor>>& inputs,
                  std::map<std::string, Tensor> persistents = {}, std::map<std::string, int64_t> classes = {},
                  std::map<std::string, int64_t> dims = {}) {
  Loaded l = load(text);
  INFO(l.errors());
  REQUIRE(l.module);
  std::vector<ArgumentSpec> arguments;
  Bindings bindings;
  for (const auto& [n, t] : inputs) {
    arguments.push_back(argument(n, t.shape, classes.count(n) ? classes[n] : 0));
    bindings.inputs[n] = t;
    if (classes.count(n)) bindings.inputs[n].dtype = DType::i32;
  }
  Diagnostics diagnostics;
  std::optional<BuiltGraph> built = l.module->build_definition(name, arguments, dims, diagnostics);
  for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(d.message);
  REQUIRE(built);
  REQUIRE(verify_graph(built->graph).empty());
  bindings.persistents = std::move(persistents);
  return interpret(built->graph, bindings).outputs.at("result");
}

inline void check_values(const Tensor& t, const std::vector<double>& expected, double tolerance = 1e-9) {
  REQUIRE(t.values.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO("element " << i);
    CHECK(t.values[i] == Approx(expected[i]).margin(tolerance));
  }
}

}  // namespace nnc::frontend_tests
