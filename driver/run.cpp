// nnc run: one definition, or one graph from a .nnir file, on arrays from files; with --grad the gradients of every input and
// parameter too.
#include <algorithm>
#include <cstdio>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "driver/commands.h"
#include "driver/graph_file.h"
#include "engine/graph_runner.h"
#include "engine/index_bounds.h"
#include "driver/outputs.h"
#include "engine/tensors.h"
#include "engine/weights.h"

namespace nnc {
namespace {

struct RunOptions {
  CommonOptions common;
  std::string fn, grad, output, weights, engine = "jit";
  std::vector<std::string> inputs, dims;
};

/// The array in a file; of an .npz the one of that name, or the only one.
Tensor read_array(const std::string& name, const std::string& path) {
  TensorFile file = read_tensors(path, guess_source_kind(path));
  if (const TensorView* view = file.find(name)) return to_tensor(*view, path);
  if (file.tensors.size() == 1) return to_tensor(file.tensors[0], path);
  std::vector<std::string> names;
  for (const TensorView& t : file.tensors) names.push_back(t.name);
  throw UserError(Code::E0411, fmt::format("{} holds {} arrays, none of them `{}`", path, names.size(), name), path,
                  names.empty() ? "" : fmt::format("it has {}", fmt::join(names, ", ")));
}

/// As the graph takes it: integers may become floats or other integers that hold them, floats never integers; but the numbers of
/// a csv are of no type, and whole ones may become integers.
Tensor converted(Tensor value, DType to, const std::string& name, bool from_csv = false) {
  if (value.dtype == to) return value;
  if (is_float(value.dtype) && !is_float(to) && !from_csv)
    throw UserError(Code::E0406, fmt::format("`{}` holds {}, but {} is needed", name, dtype_name(value.dtype), dtype_name(to)),
                    "the command line", "save integers");
  for (double& v : value.values) {
    double stored = to == DType::f32 ? double(float(v)) : v;
    if (!is_float(to) && convert_number(v, DType::f64, to) != v)
      throw UserError(Code::E0410, fmt::format("the value {} of `{}` does not fit {}", v, name, dtype_name(to)),
                      "the command line");
    v = stored;
  }
  value.dtype = to;
  return value;
}

void check_classes(const Tensor& value, int64_t classes, const std::string& name) {
  if (classes <= 0) return;
  for (size_t i = 0; i < value.values.size(); ++i)
    if (value.values[i] < 0 || value.values[i] >= double(classes))
      throw UserError(
          Code::E0410,
          fmt::format("element {} of `{}` is {}, which is not a class of class({})", i, name, value.values[i], classes),
          "the command line", fmt::format("classes are 0 to {}", classes - 1));
}

/// Number of rows that an input of this type and shape stands for; nothing if they do not fit.
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

int run(Session& session, const RunOptions& o) {
  bool lone = is_graph_file(o.common.file);
  if (lone)
    require_none_given(o.common.file, {{"--fn", !o.fn.empty()},
                                       {"--dim", !o.dims.empty()},
                                       {"--set", !o.common.set.empty()},
                                       {"--seed", o.common.seed.has_value()}});
  std::vector<std::string> read{o.common.file, o.weights, o.grad == "ones" ? "" : o.grad};
  std::map<std::string, Tensor> given;
  std::set<std::string> tables;  // inputs that stand in csv files
  std::vector<ArgumentSpec> actual;
  for (const std::string& text : o.inputs) {
    auto [name, path] = split_option("--input", text, "NAME=FILE");
    read.push_back(path);
    if (guess_source_kind(path) == SourceKind::csv) tables.insert(name);
    Tensor value = read_array(name, path);
    ArgumentSpec spec;
    spec.name = name;
    spec.type.dtype = value.dtype;
    for (int64_t n : value.shape) spec.type.shape.push_back({n, false});
    spec.dimension_names.resize(value.shape.size());
    actual.push_back(std::move(spec));
    if (!given.emplace(name, std::move(value)).second)
      throw UserError(Code::E0601, fmt::format("`--input {}` is given twice", name), "the command line");
  }
  BuiltGraph built;
  uint64_t seed = uint64_t(o.common.seed.value_or(0));
  if (lone) {
    built.graph = load_graph(session, o.common.file);
  } else {
    session.load();
    require_definition(*session.module, o.fn, o.common.file);
    if (session.module->has_train()) seed = session.module->train().seed;
    built = session.require(session.module->build_definition(o.fn, actual, parse_dims(o.dims), session.diagnostics));
  }
  Graph& graph = built.graph;
  graph.updates.clear();
  std::vector<Output> results = graph.outputs;
  std::string seed_input;
  if (!o.grad.empty()) {
    if (results.empty()) throw UserError(Code::E0601, "`--grad` needs a result", o.common.file);
    for (const Output& result : results)
      if (!is_float(graph.type(result.node).dtype))
        throw UserError(Code::E0601,
                        fmt::format("`{}` is {}, which has no gradient", result.name, to_string(graph.type(result.node))),
                        o.common.file);
    if (o.grad != "ones") {
      if (results.size() != 1)
        throw UserError(Code::E0601,
                        fmt::format("`--grad {}` is the gradient of one result, but there are {}", o.grad, results.size()),
                        o.common.file, "`--grad ones` takes all of them");
      seed_input = "gradient of the result";
      given[seed_input] = read_array("grad", o.grad);
    }
    append_gradients(graph, results, seed_input);
  }
  Bindings bindings;
  int64_t rows = -1;
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::scalar) bindings.scalars[n.attributes.text] = 0;
    if (n.op != Op::input) continue;
    const std::string& name = n.attributes.text;
    auto it = given.find(name);
    if (it == given.end())
      throw UserError(Code::E0511, fmt::format("the input `{}`, {}, is not given", name, to_string(n.type)), o.common.file,
                      fmt::format("`--input {}=FILE.npy`", name));
    if (!fits(n.type, it->second.shape, rows))
      throw UserError(Code::E0511,
                      fmt::format("`{}` is {} in the file, {} is needed", name, shape_text(it->second.shape), to_string(n.type)),
                      name == seed_input ? o.grad : o.common.file);
    bindings.inputs[name] = converted(it->second, n.type.dtype, name, tables.count(name) > 0);
  }
  bindings.rows = std::max<int64_t>(rows, rows == 0 ? 0 : 1);
  for (const auto& [name, value] : given)
    if (lone && !bindings.inputs.count(name) && !bindings.scalars.count(name) && !graph.find_persistent(name))
      throw UserError(Code::E0511, fmt::format("the graph has no input `{}`", name), o.common.file);
  for (const ArgumentSpec& a : built.inputs)
    if (auto it = bindings.inputs.find(a.name); it != bindings.inputs.end()) check_classes(it->second, a.classes, a.name);
  // Weights: from the file, else as a run with this seed begins.
  TensorFile weights;
  if (!o.weights.empty()) {
    weights = read_safetensors(o.weights);
    check_finite(weights, o.weights);
  }
  const std::map<std::string, double> trained = trained_so_far(weights.metadata);
  for (auto& [name, value] : bindings.scalars) {
    if (auto it = trained.find(name); it != trained.end()) value = it->second;
    if (auto it = given.find(name); it != given.end() && it->second.values.size() == 1) value = it->second.values[0];
  }
  Diagnostic problem;
  problem.code = Code::E0505;
  problem.place = o.weights.empty() ? o.common.file : o.weights;
  for (const Persistent& p : graph.persistents) {
    std::vector<int64_t> shape = shape_at(p.type, bindings.rows);
    if (auto it = given.find(p.name); it != given.end()) {
      if (it->second.shape != shape)
        problem.notes.push_back(fmt::format("shape: `{}` is {} in the file, {} in the graph", p.name,
                                            shape_text(it->second.shape), shape_text(shape)));
      else
        bindings.persistents[p.name] = converted(it->second, p.type.dtype, p.name, tables.count(p.name) > 0);
      continue;
    }
    if (!o.weights.empty()) {
      const TensorView* view = weights.find(p.name);
      if (!view)
        problem.notes.push_back(fmt::format("missing: `{}` {}", p.name, shape_text(shape)));
      else if (view->shape != shape)
        problem.notes.push_back(
            fmt::format("shape: `{}` is {} in the file, {} in the graph", p.name, shape_text(view->shape), shape_text(shape)));
      else
        bindings.persistents[p.name] = converted(to_tensor(*view, o.weights), p.type.dtype, p.name);
      continue;
    }
    auto spec = std::find_if(built.parameters.begin(), built.parameters.end(),
                             [&](const ParameterSpec& s) { return s.persistent.name == p.name; });
    if (spec == built.parameters.end())
      problem.notes.push_back(
          fmt::format("missing: `{}` {} (give --weights, or --input {}=FILE)", p.name, shape_text(shape), p.name));
    else {
      Tensor start = initial_value(*spec, seed);
      if (p.type.dtype == DType::f32)
        for (double& v : start.values) v = double(float(v));
      bindings.persistents[p.name] = std::move(start);
    }
  }
  if (!problem.notes.empty()) {
    problem.message = fmt::format("{} of the values that `{}` needs are not there", problem.notes.size(), graph.name);
    keep_first(problem.notes);
    throw UserError(problem);
  }
  check_results_path(o.output, graph.outputs.size());
  for (const std::string& path : source_files(session.sources)) read.push_back(path);
  check_not_an_input(o.output, read, "give another name: `--output NAME.npz`");
  std::vector<std::string> order;
  for (const Output& out : graph.outputs) order.push_back(out.name);
  if (o.engine == "jit") check_indices(graph, bindings);  // the interpreter says itself where it finds one
  Team team(session.thread_count());
  Engine engine = o.engine == "jit" ? Engine::jit : Engine::interpreter;
  std::map<std::string, StoredTensor> values =
      evaluate_graph_stored(engine, std::move(graph), bindings, session.target, session.sources, team);
  std::vector<StoredTensor> stored;
  for (const std::string& name : order) stored.push_back(values.at(name));
  if (!o.output.empty() && o.output != "-") {
    write_results(o.output, stored, {});
    return exit_done;
  }
  if (o.common.json) {
    nlohmann::ordered_json line;
    for (const StoredTensor& t : stored) line[t.name] = json_value(t);
    print_json_line(line);
    return exit_done;
  }
  for (const StoredTensor& t : stored) {
    std::printf("%s %s%s\n", t.name.c_str(), std::string(dtype_name(t.dtype)).c_str(), shape_text(t.shape).c_str());
    TensorView view = t.view();
    if (!t.bytes.empty()) std::fputs(format_csv(std::span(&view, 1)).c_str(), stdout);
  }
  return exit_done;
}

}  // namespace

Command run_command() {
  auto o = std::make_shared<RunOptions>();
  Command command("run",
                  "evaluate one definition or graph on arrays, with gradients\n\n"
                  "  nnc run net.nn --fn Block --input x=x.npy --weights net.safetensors --output y.npz\n"
                  "  nnc run net.nn --fn gelu --input x=x.npy --grad ones --engine interpreter\n"
                  "  nnc run graph.nnir --input x=x.npy\n");
  add_common(command, o->common);
  add_threads(command, o->common);
  command.option("--fn", o->fn, "the definition: a fn, layer or model");
  command.option("--input", o->inputs, "NAME=FILE for each input: .npy, .npz, .csv or idx");
  command.option("--dim", o->dims, "N=64: a size that no input gives");
  command.option("--grad", o->grad,
                 "gradient of the result (.npy), or `ones`: gradients of inputs and parameters are computed too");
  command.option("--output", o->output, ".npz, .npy or .csv for the results; standard output without it");
  command.option("--weights", o->weights, "values of the parameters (.safetensors); without it those that a run begins with");
  command.option("--engine", o->engine, "jit (compiled code) or interpreter (64-bit)").one_of({"jit", "interpreter"});
  command.run = [o] { return with_session(o->common, [&](Session& session) { return run(session, *o); }); };
  return command;
}

}  // namespace nnc
