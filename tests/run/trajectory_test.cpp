// Fifty steps of training against PyTorch in double precision, by the 64-bit interpreter (tests/trajectories/README.md). Graphs, gradients and update
// rules are the ones that training compiles; only the engine differs, so that what is left is the rounding of doubles: a wrong gradient, a wrong factor
// in an optimiser's rule or a hyperparameter rounded to single precision stands far above it. The same again after each pass that rewrites graphs.
// The compiled code is held against the same figures by check_trajectories.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/data.h"
#include "frontend/frontend.h"
#include "ir/interpreter.h"
#include "passes/cse.h"
#include "passes/fold.h"
#include "passes/pipeline.h"
#include "passes/simplify.h"
#include "runtime/data/tensor_file.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// A number beside a value of f32 is one of f32, in the interpreter as well. PyTorch has selu's two and the log(2 * pi) of likelihoods, which no f32 is, in double; what their
/// rounding (3e-8 of them) makes of fifty steps is measured. The examples' rates and decays are no numbers of f32 either. All other numbers of the programs are.
double relative_tolerance(std::string_view program, const nlohmann::json& expected) {
  if (expected.contains("interpreted")) return 4e-7;
  return program == "std_rectified" || program == "std_likelihood" ? 4e-9 : 1e-9;
}

std::string folder() { return std::string(NNC_SOURCE_DIR) + "/tests/trajectories/"; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double element(DType dtype, const std::byte* at) {
  auto as = [&](auto t) {
    std::memcpy(&t, at, sizeof t);
    return double(t);
  };
  switch (dtype) {
    case DType::f32: return as(float());
    case DType::f64: return as(double());
    case DType::i32: return as(int32_t());
    case DType::i64: return as(int64_t());
    default: return as(uint8_t());
  }
}

/// What one training run needs: the graph of a step, data in memory, persistents before the first step.
struct Training {
  SourceMap sources;
  std::unique_ptr<Module> module;
  Graph graph;
  std::vector<FieldData> fields;
  std::map<std::string, Tensor> persistents;
  int64_t batch = 0, rows = 0;
};

std::string errors(const Diagnostics& diagnostics, const SourceMap& sources) {
  std::string text;
  for (const Diagnostic& d : diagnostics.items()) text += render_text(d, sources, false);
  return text;
}

void read_data(Training& t) {
  RunData data = load_data(t.module->train(), {}, 0);
  t.fields = std::move(data.fields);
  t.rows = int64_t(data.split.train.size());  // no case sets any aside
  t.batch = t.module->train().batch;
}

/// Initial weights from the file; the states of layers and optimisers from their initialisers, which are constants here.
void set_persistents(Training& t, const std::vector<ParameterSpec>& parameters, const std::vector<UpdateRule>& rules, const std::string& init) {
  auto fill = [&](const ParameterSpec& p) {
    REQUIRE(p.initializer.kind == Initializer::Kind::constant);
    Tensor state = make_tensor(p.persistent.type.dtype, shape_at(p.persistent.type, 1));
    for (double& v : state.values) v = p.initializer.a;
    t.persistents[p.persistent.name] = state;
  };
  TensorFile file = read_safetensors(folder() + init);
  for (const ParameterSpec& p : parameters) {
    const TensorView* view = file.find(p.persistent.name);
    if (!view) {
      fill(p);
      continue;
    }
    Tensor weights = make_tensor(p.persistent.type.dtype, shape_at(p.persistent.type, 1));
    REQUIRE(view->shape == weights.shape);
    for (size_t i = 0; i < weights.values.size(); ++i) weights.values[i] = element(view->dtype, view->data + i * byte_size(view->dtype));
    t.persistents[p.persistent.name] = weights;
  }
  for (const UpdateRule& r : rules)
    for (const ParameterSpec& s : r.states) fill(s);
}

Training prepare(const std::string& program, const std::string& init) {
  Training t;
  Diagnostics diagnostics;
  std::string path = folder() + program;
  LoadOptions options;
  options.read_file = [](const std::string& file) -> std::optional<std::string> { return read_text(file); };
  t.module = load_module(t.sources, t.sources.add(path, read_text(path)), options, diagnostics);
  INFO(errors(diagnostics, t.sources));
  REQUIRE(t.module);
  std::optional<BuiltGraph> forward = t.module->build_train_graph(diagnostics);
  REQUIRE(forward);
  std::vector<UpdateRule> rules = t.module->build_update_rules(forward->parameters, diagnostics);
  std::vector<std::pair<std::string, const Graph*>> views;
  for (const UpdateRule& r : rules) views.push_back({r.parameter, &r.rule});
  t.graph = forward->graph;
  add_backward(t.graph, views, t.module->train().clip_norm, diagnostics);
  REQUIRE(!diagnostics.has_errors());
  read_data(t);
  set_persistents(t, forward->parameters, rules, init);
  return t;
}

/// Rows [first, first + count) of a field.
Tensor rows_of(const FieldData& field, int64_t first, int64_t count) {
  std::vector<int64_t> shape{count};
  shape.insert(shape.end(), field.row_shape.begin(), field.row_shape.end());
  Tensor t = make_tensor(field.dtype, shape);
  int64_t per_row = element_count(field.row_shape);
  size_t size = byte_size(field.dtype);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < per_row; ++i)
      t.values[size_t(r * per_row + i)] = element(field.dtype, field.data + (first + r) * field.row_stride_bytes + size_t(i) * size);
  return t;
}

/// Of every step, before its update: loss and reports by name.
using Course = std::map<std::string, std::vector<double>>;

/// Trains in file order, the last batch of an epoch as small as it is.
Course train(Training& t, int64_t steps) {
  Course course;
  Bindings b;
  b.persistents = t.persistents;
  b.draws.seed = uint64_t(t.module->train().seed);
  for (const ScalarSpec& s : t.module->train().scalars) b.scalars[s.name] = s.value;
  int64_t first = 0, epoch = 0;
  for (int64_t step = 0; step < steps; ++step) {
    b.rows = std::min(t.batch, t.rows - first);
    b.scalars["step"] = double(step);
    b.scalars["epoch"] = double(epoch);
    b.draws.update = uint64_t(step);
    for (size_t i = 0; i < t.fields.size(); ++i) b.inputs[t.module->train().data.fields[i].name] = rows_of(t.fields[i], first, b.rows);
    Results r = interpret(t.graph, b);
    for (const auto& [name, value] : r.outputs)
      if (value.shape.empty()) course[name].push_back(value.values.at(0));
    for (auto& [name, value] : r.updates) b.persistents[name] = std::move(value);
    first += b.rows;
    if (first == t.rows) {
      first = 0;
      ++epoch;
    }
  }
  t.persistents = std::move(b.persistents);
  return course;
}

/// Of a run that is shorter than PyTorch's, what there is.
void compare_values(const std::string& name, const std::vector<double>& found, const nlohmann::json& expected, int64_t steps, double tolerance) {
  REQUIRE(int64_t(found.size()) == steps);
  REQUIRE(int64_t(expected.size()) >= steps);
  double worst = 0;
  size_t worst_step = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    double right = expected[i].get<double>(), gap = std::fabs(found[i] - right) / (right == 0 ? 1 : std::fabs(right));
    if (!(gap <= worst)) worst = gap, worst_step = i;
  }
  INFO(fmt::format("`{}` of step {} is off by {:.2e}", name, worst_step, worst));
  CHECK(worst <= tolerance);
}

/// How the first steps have changed each tensor: the norm of the change, and its product with -3, -2, ... 3, -3, ...
void compare_changes(const Training& t, const nlohmann::json& expected, const std::string& init, double tolerance) {
  TensorFile before = read_safetensors(folder() + init);
  REQUIRE(before.tensors.size() == expected.size());
  for (const TensorView& view : before.tensors) {
    INFO(view.name);
    const std::vector<double>& after = t.persistents.at(view.name).values;
    double squares = 0, product = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      const double change = after[i] - element(view.dtype, view.data + i * byte_size(view.dtype));
      squares += change * change;
      product += change * (double(i % 7) - 3);
    }
    const double norm = expected.at(view.name)[0].get<double>(), right = expected.at(view.name)[1].get<double>();
    INFO(fmt::format("changed by {}, {}", std::sqrt(squares), product));
    CHECK(std::fabs(std::sqrt(squares) - norm) <= tolerance * norm);
    CHECK(std::fabs(product - right) <= tolerance * norm * 3 * std::sqrt(double(after.size())));
  }
}

void compare(const Training& t, const Course& course, const nlohmann::json& expected, int64_t steps, double tolerance) {
  compare_values("loss", course.at("loss"), expected["losses"], steps, tolerance);
  if (expected.contains("reports"))
    for (const auto& [name, values] : expected["reports"].items()) {
      INFO(name);
      REQUIRE(course.count(name));
      compare_values(name, course.at(name), values, steps, tolerance);
    }
  if (expected.contains("interpreted")) return compare_changes(t, expected["interpreted"]["changes"], expected["init"], tolerance);
  TensorFile final = read_safetensors(folder() + expected["final"].get<std::string>());
  REQUIRE(!final.tensors.empty());
  for (const TensorView& view : final.tensors) {
    INFO(view.name);
    REQUIRE(t.persistents.count(view.name));
    const Tensor& weights = t.persistents.at(view.name);
    REQUIRE(view.shape == weights.shape);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < weights.values.size(); ++i) {
      double right = element(view.dtype, view.data + i * byte_size(view.dtype));
      difference += (weights.values[i] - right) * (weights.values[i] - right);
      norm += right * right;
    }
    INFO(fmt::format("off by {:.2e} of its norm", std::sqrt(difference / norm)));
    CHECK(std::sqrt(difference) <= tolerance * std::sqrt(norm));
  }
}

struct Rewriting {
  const char* name;
  std::function<void(Graph&)> run;
};

}  // namespace

TEST_CASE("the interpreter follows PyTorch's double precision for fifty steps", "[run][trajectory]") {
  nlohmann::json all = nlohmann::json::parse(read_text(folder() + "expected.json"));
  const Rewriting rewritings[] = {
      {"as built", [](Graph&) {}},
      {"simplified", [](Graph& g) { simplify(g); }},
      {"folded", [](Graph& g) { fold_constants(g); }},
      {"common subexpressions merged", [](Graph& g) { merge_common_subexpressions(g); }},
      {"optimised", [](Graph& g) { optimize_graph(g); }},
  };
  int programs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    if (entry.path().extension() != ".nn") continue;
    std::string name = entry.path().stem().string();
    ++programs;
    REQUIRE(all.contains(name));
    const nlohmann::json& expected = all[name];
    if (expected.contains("made_up")) continue;  // no graph computes it at once: passes_split_stages_test.cpp interprets its stages
    // Of a large network the first steps: the interpreter is no compiler.
    const int64_t steps = expected.contains("interpreted") ? expected["interpreted"]["steps"] : expected["steps"];
    for (const Rewriting& rewriting : rewritings) {
      INFO(name << ", " << rewriting.name);
      Training t = prepare(expected["program"], expected["init"]);
      rewriting.run(t.graph);
      REQUIRE(verify_graph(t.graph).empty());
      Course course = train(t, steps);
      compare(t, course, expected, steps, relative_tolerance(name, expected));
    }
  }
  CHECK(programs == int(all.size()));
}
