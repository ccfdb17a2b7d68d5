// Shapes come from the arrays, so a definition is built when they are known. What is bound has the graph's element types: integers may become floats or
// other integers that hold them, floats never integers, but for the numbers of a table, which are of no type.
#include "engine/run_definition.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "engine/bindings.h"
#include "engine/index_bounds.h"
#include "engine/row_conditions.h"
#include "engine/weights_file.h"

namespace nnc {
namespace {

constexpr const char* seed_name = "gradient of the result";  // no name in a program has a space

/// As the graph takes it.
Tensor converted(Tensor value, DType to, const std::string& name) {
  if (value.dtype == to) return value;
  if (is_float(value.dtype) && !is_float(to))
    throw UserError(Code::E0406, fmt::format("`{}` holds {}, but {} is needed", name, dtype_name(value.dtype), dtype_name(to)),
                    "the command line", "save integers");
  Tensor result = make_tensor(to, value.shape);
  for (size_t i = 0; i < value.values.size(); ++i) {
    const Number v = value.at(i), stored = rounded_to(to, v);
    if (is_float(to) ? std::isfinite(v) && !std::isfinite(stored) : !is_value_of(to, v))
      throw UserError(Code::E0410, fmt::format("the value {} of `{}` does not fit {}", number_text(v), name, dtype_name(to)), "the command line");
    result.set(i, stored);
  }
  return result;
}

/// Likewise. A table is read as every reader reads one of that type: each cell must be a value of it.
Tensor converted(const NamedArray& given, DType to) {
  if (given.table.empty() || given.value.dtype == to) return converted(given.value, to, given.name);
  return to_tensor(read_csv(given.table, to).tensors[0]);
}

void check_classes(const Tensor& value, int64_t classes, const std::string& name) {
  if (classes <= 0) return;
  for (size_t i = 0; i < value.values.size(); ++i)
    if (value.values[i] < 0 || value.values[i] >= double(classes))
      throw UserError(Code::E0410,
                      fmt::format("element {} of `{}` is {}, which is not a class of class({})", i, name, number_text(value.at(i)), classes),
                      "the command line", fmt::format("classes are 0 to {}", classes - 1));
}

/// Whether an input of this type may have the shape; `rows`: the number that it stands for, -1 while unknown.
bool fits(const Type& type, const std::vector<int64_t>& shape, int64_t& rows) {
  if (type.shape.size() != shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const Extent& e = type.shape[i];
    if (!e.rows) {
      if (shape[i] != e.size) return false;
      continue;
    }
    if (e.size == 0 || shape[i] % e.size != 0) return false;
    if (rows >= 0 && shape[i] / e.size != rows) return false;
    rows = shape[i] / e.size;
  }
  return true;
}

std::vector<ArgumentSpec> described(const std::vector<NamedArray>& arrays) {
  std::vector<ArgumentSpec> specs;
  for (const NamedArray& a : arrays) {
    ArgumentSpec spec;
    spec.name = a.name;
    spec.type.dtype = a.value.dtype;
    for (int64_t n : a.value.shape) spec.type.shape.push_back({n, false});
    spec.dimension_names.resize(a.value.shape.size());
    specs.push_back(std::move(spec));
  }
  return specs;
}

/// So that of several unknown arrays the same one is named, in whatever order they were given.
std::vector<std::string> sorted_names(const std::vector<NamedArray>& arrays) {
  std::vector<std::string> names;
  for (const NamedArray& a : arrays) names.push_back(a.name);
  std::ranges::sort(names);
  return names;
}

}  // namespace

NamedArray read_array(const std::string& name, const std::string& path) {
  const SourceKind kind = guess_source_kind(path);
  return {name, to_tensor(read_one_tensor(path, kind, name).tensors.at(0)), kind == SourceKind::csv ? path : ""};
}

DefinitionRun::DefinitionRun(Compilation& compilation, const std::string& definition, std::vector<NamedArray> arrays,
                             const std::map<std::string, int64_t>& dims, std::string file)
    : compilation_(compilation), is_definition_(true), file_(std::move(file)), arrays_(std::move(arrays)) {
  built_ = compilation.require(compilation.module->build_definition(definition, described(arrays_), dims, compilation.diagnostics));
  built_.graph.updates.clear();
}

DefinitionRun::DefinitionRun(Compilation& compilation, Graph graph, std::vector<NamedArray> arrays, std::string file)
    : compilation_(compilation), is_definition_(false), file_(std::move(file)), arrays_(std::move(arrays)) {
  built_.graph = std::move(graph);
  built_.graph.updates.clear();
}

const NamedArray* DefinitionRun::array_named(const std::string& name) const {
  auto it = std::ranges::find(arrays_, name, &NamedArray::name);
  return it == arrays_.end() ? nullptr : &*it;
}

std::vector<std::string> DefinitionRun::result_names() const {
  std::vector<std::string> names;
  for (const Output& out : built_.graph.outputs) names.push_back(out.name);
  return names;
}

void DefinitionRun::require_float_results() const {
  for (const Output& result : built_.graph.outputs)
    if (const Type& type = built_.graph.type(result.node); !is_float(type.dtype))
      throw UserError(Code::E0601, fmt::format("`{}` is {}, which has no gradient", result.name, to_string(type)), file_);
}

void DefinitionRun::add_gradients_by(const std::string& seed_input) {
  require_float_results();
  append_gradients(built_.graph, std::vector<Output>(built_.graph.outputs), seed_input);
}

void DefinitionRun::add_gradients() { add_gradients_by(""); }

void DefinitionRun::add_gradients(Tensor seed, std::string place) {
  NNC_CHECK(built_.graph.outputs.size() == 1, "a seed is the gradient of one result");
  add_gradients_by(seed_name);
  arrays_.push_back({seed_name, std::move(seed), ""});
  seed_place_ = std::move(place);
}

void DefinitionRun::bind(const std::string& weights, uint64_t seed) {
  bind_inputs();
  bind_scalars_and_weights(weights, seed);
}

void DefinitionRun::bind_inputs() {
  const Graph& graph = built_.graph;
  bind_scalars(bindings_, graph, {});
  int64_t rows = -1;
  for (const Node& n : graph.nodes()) {
    if (n.op != Op::input) continue;
    const std::string& name = n.attributes.text;
    const NamedArray* given = array_named(name);
    if (!given)
      throw UserError(Code::E0511, fmt::format("the input `{}`, {}, is not given", name, to_string(n.type)), file_,
                      fmt::format("`--input {}=FILE.npy`", name));
    if (!fits(n.type, given->value.shape, rows))
      throw UserError(Code::E0511,
                      fmt::format("`{}` is {} in the file, {} is needed", name, shape_text(given->value.shape), to_string(n.type)),
                      name == seed_name ? seed_place_ : file_);
    bindings_.inputs[name] = converted(*given, n.type.dtype);
  }
  bindings_.rows = std::max<int64_t>(rows, rows == 0 ? 0 : 1);
  require_rows(built_.row_conditions, bindings_.rows, "what is given");
  for (const std::string& name : sorted_names(arrays_))
    if (!is_definition_ && !bindings_.inputs.count(name) && !bindings_.scalars.count(name) && !graph.find_persistent(name))
      throw UserError(Code::E0511, fmt::format("the graph has no input `{}`", name), file_);
  for (const ArgumentSpec& a : built_.inputs)
    if (auto it = bindings_.inputs.find(a.name); it != bindings_.inputs.end()) check_classes(it->second, a.classes, a.name);
}

void DefinitionRun::bind_scalars_and_weights(const std::string& weights, uint64_t seed) {
  const Graph& graph = built_.graph;
  TensorFile file;
  if (!weights.empty()) {
    file = WeightsFile(weights).tensors();
    check_finite(file, weights);
  }
  const ScalarValues trained = trained_so_far(file.metadata);
  for (auto& [name, value] : bindings_.scalars) {
    if (auto it = trained.find(name); it != trained.end()) value = it->second;
    if (const NamedArray* given = array_named(name); given && given->value.values.size() == 1) value = given->value.values[0];
  }
  Diagnostic problem;
  problem.code = Code::E0505;
  problem.place = weights.empty() ? file_ : weights;
  auto note_shape = [&](const Persistent& p, const std::vector<int64_t>& found, const std::vector<int64_t>& wanted) {
    problem.notes.push_back(fmt::format("shape: `{}` is {} in the file, {} in the graph", p.name, shape_text(found), shape_text(wanted)));
  };
  for (const Persistent& p : graph.persistents) {
    const std::vector<int64_t> shape = shape_at(p.type, bindings_.rows);
    if (const NamedArray* given = array_named(p.name)) {
      if (given->value.shape != shape)
        note_shape(p, given->value.shape, shape);
      else
        bindings_.persistents[p.name] = converted(*given, p.type.dtype);
    } else if (!weights.empty()) {
      const TensorView* view = file.find(p.name);
      if (!view)
        problem.notes.push_back(fmt::format("missing: `{}` {}", p.name, shape_text(shape)));
      else if (view->shape != shape)
        note_shape(p, view->shape, shape);
      else
        bindings_.persistents[p.name] = converted(to_tensor(*view), p.type.dtype, p.name);
    } else {
      auto spec = std::find_if(built_.parameters.begin(), built_.parameters.end(),
                               [&](const ParameterSpec& s) { return s.persistent.name == p.name; });
      if (spec == built_.parameters.end())
        problem.notes.push_back(fmt::format("missing: `{}` {} (give --weights, or --input {}=FILE)", p.name, shape_text(shape), p.name));
      else
        bindings_.persistents[p.name] = initial_value(*spec, seed);
    }
  }
  if (problem.notes.empty()) return;
  problem.message = fmt::format("{} of the values that `{}` needs are not there", problem.notes.size(), graph.name);
  keep_first(problem.notes);
  throw UserError(problem);
}

std::vector<StoredTensor> DefinitionRun::evaluate(Engine engine, int threads) {
  if (engine == Engine::jit) check_indices(built_.graph, bindings_);  // the interpreter says itself where it finds one
  const std::vector<std::string> order = result_names();
  Team team(threads);
  std::map<std::string, StoredTensor> values =
      evaluate_graph_stored(engine, std::move(built_.graph), bindings_, compilation_.target, compilation_.sources, team);
  std::vector<StoredTensor> stored;
  for (const std::string& name : order) stored.push_back(values.at(name));
  return stored;
}

}  // namespace nnc
