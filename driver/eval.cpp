// nnc eval: loss and reports of trained weights on the test split, which is the one that training set aside: its seed is stored
// with the weights.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "engine/checkpoint.h"
#include "engine/data.h"
#include "engine/evaluate.h"
#include "engine/text_data.h"
#include "driver/outputs.h"
#include "engine/weights_file.h"

namespace nnc {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string weights, split = "test";
};

/// Files for a data block whose rows are not those that this evaluates.
void check_replacements(const TrainSpec& spec, const SplitSpec& split, const std::vector<std::string>& replacements) {
  const std::string& evaluated = split.kind == SplitSpec::Kind::from ? split.other : spec.data.name;
  for (const std::string& text : replacements) {
    size_t dot = text.substr(0, text.find('=')).find('.');
    std::string block = dot == std::string::npos ? spec.data.name : text.substr(0, dot), field = dot == std::string::npos ? text : text.substr(dot + 1);
    bool is_read = block == spec.data.name || std::ranges::count(spec.other_data, block, &DataSpec::name) > 0;
    if (is_read && block != evaluated)
      throw UserError(Code::E0601, fmt::format("`--data {}` changes nothing here: `eval` reads the rows of `{}`", text, evaluated), "the command line",
                      fmt::format("write `--data {}.{}`", evaluated, field));
  }
}

/// Whether rows that are scored may be among those that trained. Rows of another block never are.
void warn_if_trained_on(Session& session, const SplitSpec& split, const std::string& part, const RunData& data, uint64_t seed,
                        std::map<std::string, std::string>& metadata) {
  auto trained = metadata.find("nnc.trained");
  if (trained == metadata.end() || split.kind == SplitSpec::Kind::from) return;
  std::vector<std::string> changes = compare_trained_rows(trained->second, describe_trained_rows(data.split.train, session.module->train().data, data));
  if (changes.empty()) return;
  Diagnostic d;
  d.code = Code::E0512;
  d.severity = Severity::warning;
  d.span = split.span;
  d.message = fmt::format("some of the {} rows may have been trained on, so the numbers below may be too good", part);
  if (metadata["nnc.seed"] != std::to_string(seed)) changes.push_back(fmt::format("the seed was {}, and is {} now", metadata["nnc.seed"], seed));
  d.notes = std::move(changes);
  d.help.push_back("evaluate with the data, the shares and the seed of the run (without `--seed` it is the one that the weights record)");
  session.warn(d);
}

int eval(Session& session, const EvalOptions& o) {
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  const Part part = o.split == "valid" ? Part::valid : Part::test;
  const SplitSpec& split = part == Part::valid ? spec.data.valid : spec.data.test;
  check_replacements(spec, split, o.common.data);
  BuiltGraph graph = session.require(session.module->build_eval_graph(session.diagnostics));
  Team team(session.thread_count());
  StepRunner weights(model_weights(session), team);
  std::map<std::string, std::string> metadata = load_tensors(o.weights, weights, false);
  const uint64_t seed = session.seed_of(metadata);
  const std::optional<KnownVocabulary> vocabulary = recorded_vocabulary(metadata, o.weights);
  RunData data = load_data(spec, o.common.data, seed, vocabulary ? &*vocabulary : nullptr);
  data.check(graph.graph);
  warn_if_trained_on(session, split, o.split, data, seed, metadata);
  if (data.rows_of(part).empty())
    throw UserError(Code::E0507, fmt::format("the data block `{}` sets no {} rows aside", spec.data.name, o.split), o.common.file,
                    fmt::format("add `{} 20%` to the data block", o.split));
  Evaluator evaluator(session, graph, data, {}, team);
  const ScalarValues scalars = with_hyperparameters(trained_so_far(metadata), spec);
  std::map<std::string, Tensor> values = evaluator.evaluate(part, weights, scalars, trained_draws(metadata, seed));
  if (o.common.json) {
    nlohmann::ordered_json line;
    for (const std::string& name : evaluator.names()) line[name] = json_value(values.at(name));
    print_json_line(line);
    return exit_done;
  }
  for (const std::string& name : evaluator.names()) print_report(name, values.at(name));
  return exit_done;
}

}  // namespace

Command eval_command() {
  auto o = std::make_shared<EvalOptions>();
  Command command("eval",
                  "loss and metrics on the rows set aside\n\n"
                  "  nnc eval digits.nn --weights digits.safetensors\n"
                  "  nnc eval digits.nn --weights digits.safetensors --split valid\n"
                  "  nnc eval digits.nn --weights digits.safetensors --json\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  add_trained_weights(command, o->weights);
  command.option("--split", o->split, "the part of the data: test or valid").one_of({"test", "valid"});
  command.when_memory_is_short = smaller_batch;
  command.run = [o] { return with_session(o->common, [&](Session& session) { return eval(session, *o); }); };
  return command;
}

}  // namespace nnc
