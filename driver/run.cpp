// nnc run: one definition, or one graph from a .nnir file, on arrays from files; with --grad the gradients of every input and
// parameter too.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "driver/commands.h"
#include "driver/graph_file.h"
#include "driver/outputs.h"
#include "engine/definition.h"
#include "engine/run_definition.h"

namespace nnc {
namespace {

struct RunOptions {
  CommonOptions common;
  std::string fn, grad, output, weights, engine = "jit";
  std::vector<std::string> inputs, dims;
};

/// Their paths join `read`.
std::vector<NamedArray> read_arrays(const std::vector<std::string>& options, std::vector<std::string>& read) {
  std::vector<NamedArray> arrays;
  for (const std::string& text : options) {
    auto [name, path] = split_option("--input", text, "NAME=FILE");
    read.push_back(path);
    NamedArray array = read_array(name, path);
    if (std::ranges::count(arrays, array.name, &NamedArray::name) > 0)
      throw UserError(Code::E0601, fmt::format("`--input {}` is given twice", name), "the command line");
    arrays.push_back(std::move(array));
  }
  return arrays;
}

void add_gradients(DefinitionRun& run, const RunOptions& o) {
  if (o.grad.empty()) return;
  const size_t results = run.result_names().size();
  if (results == 0) throw UserError(Code::E0601, "`--grad` needs a result", o.common.file);
  if (o.grad == "ones") return run.add_gradients();
  run.require_float_results();
  if (results != 1)
    throw UserError(Code::E0601, fmt::format("`--grad {}` is the gradient of one result, but there are {}", o.grad, results), o.common.file,
                    "`--grad ones` takes all of them");
  run.add_gradients(read_array("grad", o.grad).value, o.grad);
}

void print(const std::vector<StoredTensor>& results) {
  for (const StoredTensor& t : results) {
    std::printf("%s %s%s\n", t.name.c_str(), std::string(dtype_name(t.dtype)).c_str(), shape_text(t.shape).c_str());
    if (!t.bytes.empty()) write_results("", {t}, {});
  }
}

int run(Session& session, const RunOptions& o) {
  const bool lone = is_graph_file(o.common.file);
  if (lone)
    require_none_given(o.common.file, {{"--fn", !o.fn.empty()},
                                       {"--dim", !o.dims.empty()},
                                       {"--set", !o.common.set.empty()},
                                       {"--seed", o.common.seed.has_value()}});
  std::vector<std::string> read{o.common.file, o.weights, o.grad == "ones" ? "" : o.grad};
  std::vector<NamedArray> arrays = read_arrays(o.inputs, read);
  uint64_t seed = uint64_t(o.common.seed.value_or(0));
  auto definition = [&] {
    session.load();
    require_definition(*session.module, o.fn, o.common.file);
    if (session.module->has_train()) seed = session.module->train().seed;
    return DefinitionRun(session, o.fn, std::move(arrays), parse_dims(o.dims), o.common.file);
  };
  DefinitionRun run = lone ? DefinitionRun(session, load_graph(session, o.common.file), std::move(arrays), o.common.file) : definition();
  add_gradients(run, o);
  run.bind(o.weights, seed);
  check_results_path(o.output, run.result_names().size());
  for (const std::string& path : source_files(session.sources)) read.push_back(path);
  check_not_an_input(o.output, read, "give another name: `--output NAME.npz`");
  std::vector<StoredTensor> results = run.evaluate(o.engine == "jit" ? Engine::jit : Engine::interpreter, session.thread_count());
  if (!o.output.empty() && o.output != "-") {
    write_results(o.output, results, {});
  } else if (o.common.json) {
    nlohmann::ordered_json line;
    for (const StoredTensor& t : results) line[t.name] = json_value(t);
    print_json_line(line);
  } else {
    print(results);
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
