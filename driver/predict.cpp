// nnc predict: the model of the train block on rows from files (engine/predict.h), or with --prompt writing on as a text begins (generate.cpp).
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/generate.h"
#include "driver/graph_file.h"
#include "driver/outputs.h"
#include "engine/data.h"
#include "engine/predict.h"
#include "engine/weights_file.h"

namespace nnc {
namespace {

struct PredictOptions {
  CommonOptions common;
  std::string weights, output;
  std::vector<std::string> inputs;
  bool classes = false;
  GenerateOptions generate;
};

std::vector<FieldData> read_inputs(const PredictOptions& o, const Predictor& predictor) {
  std::map<std::string, std::string> given;
  std::vector<std::string> names;
  for (const ArgumentSpec& i : predictor.inputs()) names.push_back(i.name);
  for (const std::string& text : o.inputs) {
    auto [name, path] = split_option("--input", text, "NAME=FILE");
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      std::string near = nearest(name, names);
      throw UserError(
          Code::E0601, fmt::format("the model has no input `{}`", name), "the command line",
          near.empty() ? fmt::format("its inputs are {}", fmt::join(names, ", ")) : fmt::format("did you mean `{}`?", near));
    }
    if (!given.emplace(name, path).second)
      throw UserError(Code::E0601, fmt::format("`--input {}` is given twice", name), "the command line");
  }
  std::vector<DataField> requests;
  for (const ArgumentSpec& input : predictor.inputs()) {
    auto it = given.find(input.name);
    if (it == given.end())
      throw UserError(Code::E0601, fmt::format("the model's input `{}` is not given", input.name), "the command line",
                      fmt::format("`--input {}=FILE.npy`", input.name));
    requests.push_back(predictor.request(input, it->second));
  }
  return read_fields(requests);
}

/// A csv has a line for each row, which results without rows are not.
void check_fits_csv(const PredictOptions& o, const std::vector<Predictor::Result>& results) {
  bool is_csv = o.output.empty() ? !o.common.json : o.output == "-" ? !o.common.json : o.output.ends_with(".csv");
  if (!is_csv || results.size() < 2) return;
  for (const Predictor::Result& result : results)
    if (!result.type.has_rows())
      throw UserError(Code::E0601, fmt::format("a csv has a line for each row, and `{}`, {}, has no rows", result.name, to_string(result.type)),
                      "the command line", "`--output NAME.npz` takes results of any shape, `--json` too");
}

Prediction to_classes(const Prediction& prediction, const Predictor& predictor) {
  if (std::optional<Prediction> classes = likeliest_classes(prediction, predictor.gives_probabilities())) return std::move(*classes);
  throw UserError(Code::E0601,
                  fmt::format("`--classes` needs one row of scores per row, the model gives {}", shape_text(prediction.results.at(0).shape)),
                  "the command line");
}

/// One object per row. A result that does not go row by row stands in each of them as a whole.
void print_json_rows(const Prediction& prediction) {
  for (int64_t row = 0; row < prediction.rows; ++row) {
    nlohmann::ordered_json line;
    line["row"] = row;
    for (size_t i = 0; i < prediction.results.size(); ++i) {
      const StoredTensor& result = prediction.results[i];
      line[result.name] = prediction.by_row[i] ? json_row(result, row) : json_value(result);
    }
    print_json_line(line);
  }
}

/// What makes no sense, before anything is read or computed.
void check_options(const Session& session, const PredictOptions& o, const Predictor& predictor) {
  check_results_path(o.output, o.classes ? 2 : predictor.results().size());
  std::vector<std::string> read = source_files(session.sources);
  read.push_back(o.weights);
  for (const std::string& text : o.inputs) read.push_back(split_option("--input", text, "NAME=FILE").second);
  check_not_an_input(o.output, read, "give another name: `--output NAME.npy`");
  if (o.classes && predictor.results().size() != 1)
    throw UserError(Code::E0601, fmt::format("`--classes` needs a model with one result, this one has {}", predictor.results().size()),
                    "the command line");
  if (o.classes && !predictor.gives_classes())
    throw UserError(Code::E0601, fmt::format("`--classes` needs a model of classes: no loss or report of {} takes what the model gives for scores of classes", o.common.file),
                    "the command line", "without `--classes` the numbers themselves are printed; a label field of classes is declared `class(N)`");
  check_fits_csv(o, predictor.results());
}

/// What belongs to the one or the other use of the command.
void check_use(const PredictOptions& o) {
  const GenerateOptions& g = o.generate;
  const auto refuse = [](bool given, const char* option, const char* why, const char* help) {
    if (given) throw UserError(Code::E0601, fmt::format("`{}` {}", option, why), "the command line", help);
  };
  constexpr const char *rows = "goes with rows from files, and `--prompt` asks for text", *text = "goes with `--prompt`";
  if (g.prompt) {
    refuse(!o.inputs.empty(), "--input", rows, "leave out one of them");
    refuse(!o.output.empty(), "--output", rows, "the text goes to standard output: `> text.txt` keeps it");
    refuse(o.classes, "--classes", rows, "leave out one of them");
    return;
  }
  constexpr const char* help = "`--prompt TEXT` is how the text begins";
  refuse(g.length.has_value(), "--length", text, help);
  refuse(g.temperature.has_value(), "--temperature", text, help);
  refuse(g.top_k.has_value(), "--top-k", text, help);
  refuse(g.top_p.has_value(), "--top-p", text, help);
}

int predict(Session& session, const PredictOptions& o) {
  check_use(o);
  if (o.generate.prompt) return generate(session, o.generate, o.weights);
  session.load();
  session.require_train();
  Predictor predictor(session);
  check_options(session, o, predictor);
  std::vector<FieldData> fields = read_inputs(o, predictor);
  Team team(session.thread_count());
  StepRunner weights(model_weights(session), team);
  const std::map<std::string, std::string> metadata = load_tensors(o.weights, weights, false);
  Prediction prediction = predictor.predict(fields, weights, trained_so_far(metadata), trained_draws(metadata, session.seed_of(metadata)), team);
  if (o.classes) prediction = to_classes(prediction, predictor);
  if (o.common.json && (o.output.empty() || o.output == "-"))
    print_json_rows(prediction);
  else
    write_results(o.output, prediction.results, o.classes ? std::vector<std::string>{"class", "probability"} : std::vector<std::string>{});
  if (!o.output.empty() && o.output != "-" && !o.common.quiet)
    std::fprintf(stderr, "%lld rows written to %s\n", static_cast<long long>(prediction.rows), o.output.c_str());
  return exit_done;
}

}  // namespace

Command predict_command() {
  auto o = std::make_shared<PredictOptions>();
  Command command("predict",
                  "run the model on new rows\n\n"
                  "  nnc predict digits.nn --weights digits.safetensors --input image=x.npy --output y.npy\n"
                  "  nnc predict digits.nn --weights digits.safetensors --input image=x.csv --classes\n"
                  "  nnc predict play.nn --weights play.safetensors --prompt \"ROMEO:\" --length 400 --temperature 0.8\n");
  add_common(command, o->common);
  add_threads(command, o->common);
  add_trained_weights(command, o->weights);
  command.option("--input", o->inputs, "NAME=FILE for each input of the model: .npy, .npz, .csv or idx");
  command.option("--output", o->output, ".npy, .npz (several results) or .csv; standard output without it");
  command.flag("--classes", o->classes, "the most likely class of each row and its probability");
  add_generation(command, o->generate);
  command.flag("--quiet", o->common.quiet, "no messages");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return predict(session, *o); }); };
  return command;
}

}  // namespace nnc
