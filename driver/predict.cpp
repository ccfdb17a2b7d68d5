// nnc predict: the model of the train block on rows from files, batch by batch in compiled code.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "driver/commands.h"
#include "engine/bindings.h"
#include "engine/data.h"
#include "driver/graph_file.h"
#include "engine/index_bounds.h"
#include "driver/outputs.h"
#include "engine/tensors.h"
#include "engine/weights.h"
#include "passes/dead_code.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

struct PredictOptions {
  CommonOptions common;
  std::string weights, output;
  std::vector<std::string> inputs;
  bool classes = false;
};

/// What is asked of the file given for a model's input: any file for the data field that training gives it, or one that holds
/// these values alone.
DataField request_of(const ArgumentSpec& input, const std::string& path, const TrainSpec& spec) {
  DataField r;
  r.name = input.name;
  r.source.path = path;
  auto field = std::ranges::find(spec.data.fields, input.field, &FieldSpec::name);
  r.source.kind = field == spec.data.fields.end() ? guess_source_kind(path) : guess_source_kind(path, declared_kind(*field));
  r.dtype = input.type.dtype;
  r.classes = input.classes;
  int64_t values = 1;
  for (size_t i = 1; i < input.type.shape.size(); ++i) {
    r.row_shape.push_back(input.type.shape[i].size);
    values *= input.type.shape[i].size;
  }
  if (r.source.kind == SourceKind::npz || r.source.kind == SourceKind::safetensors) {
    TensorFile file = read_tensors(path, r.source.kind);
    if (file.find(input.name))
      r.source.key = input.name;
    else if (file.tensors.size() == 1)
      r.source.key = file.tensors[0].name;
    else
      r.source.key = input.name;
  }
  if (r.source.kind == SourceKind::csv) {
    // Columns that have names go by them, in whatever order they stand. Else a table that is wider than the input is taken to be laid
    // out like the training data.
    std::vector<std::string> wanted;
    for (const FieldSpec& f : spec.data.fields)
      if (f.name == input.field) wanted = f.source.column_names;
    CsvHead head = read_csv_head(load_file(path), path, wanted);
    auto positions_fit = [&](const DataSource& s) {
      int64_t end = s.has_range ? s.end_column : s.columns.empty() ? 0 : *std::max_element(s.columns.begin(), s.columns.end()) + 1;
      return head.columns != values && end > 0 && end <= head.columns;
    };
    for (const FieldSpec& f : spec.data.fields) {
      if (f.name != input.field || f.source.kind != SourceKind::csv) continue;
      if (f.source.column_names.empty() ? !positions_fit(f.source) : head.names.empty()) continue;
      r.source = f.source;
      r.source.path = path;
    }
  }
  return r;
}

std::vector<FieldData> read_inputs(const PredictOptions& o, const std::vector<ArgumentSpec>& inputs, const TrainSpec& spec) {
  std::map<std::string, std::string> given;
  std::vector<std::string> names;
  for (const ArgumentSpec& i : inputs) names.push_back(i.name);
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
  for (const ArgumentSpec& input : inputs) {
    auto it = given.find(input.name);
    if (it == given.end())
      throw UserError(Code::E0601, fmt::format("the model's input `{}` is not given", input.name), "the command line",
                      fmt::format("`--input {}=FILE.npy`", input.name));
    if (input.type.shape.empty() || !(input.type.shape[0] == Extent{1, true}))
      throw UserError(Code::E0506, fmt::format("the model's input `{}` has no rows: prediction goes row by row", input.name),
                      o.common.file, "`nnc run --fn` evaluates any definition");
    requests.push_back(request_of(input, it->second, spec));
  }
  return read_fields(requests);
}

/// Whether a row's result depends on the rows beside it, so that they must all be in one batch.
bool mixes_rows(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [&](const Node& node) {
    const Attributes& a = node.attributes;
    if (node.op == Op::extent) return a.extents[0].rows;
    if (node.op == Op::iota) return a.extents[size_t(a.axes[0])].rows;
    if (node.op == Op::gather && graph.type(node.operands[0]).shape[size_t(a.axes[0])].rows) return true;
    return !node.type.has_rows() &&
           std::ranges::any_of(node.operands, [&](NodeId operand) { return graph.type(operand).has_rows(); });
  });
}

/// Collects what each batch gives, rows one after the other.
class Results {
 public:
  Results(const StepProgram& program, int64_t rows) : program_(program) {
    for (size_t o = 0; o < program.outputs.size(); ++o) {
      by_row_.push_back(program.outputs[o].row_axis == 0);
      tensors_.push_back(output_tensor(program, o, rows));
    }
    for (const std::string& name : program.results) tensors_.push_back({name, DType::f32, {}, std::vector<std::byte>(4)});
    by_row_.resize(tensors_.size(), false);
  }
  void take(const StepRunner& runner, const std::vector<float>& results, int64_t first, int64_t count) {
    for (size_t o = 0; o < program_.outputs.size(); ++o) copy_output(runner, o, count, tensors_[o], first);
    for (size_t r = 0; r < results.size(); ++r) std::memcpy(tensors_[program_.outputs.size() + r].bytes.data(), &results[r], 4);
  }
  /// In the order of `names`, with whether each goes row by row.
  std::pair<std::vector<StoredTensor>, std::vector<bool>> take_ordered(const std::vector<std::string>& names) && {
    std::vector<StoredTensor> ordered;
    std::vector<bool> by_row;
    for (const std::string& name : names) {
      auto it = std::ranges::find(tensors_, name, &StoredTensor::name);
      NNC_CHECK(it != tensors_.end(), "no result " + name);
      by_row.push_back(by_row_[size_t(it - tensors_.begin())]);
      ordered.push_back(std::move(*it));
    }
    return {std::move(ordered), std::move(by_row)};
  }

 private:
  const StepProgram& program_;
  std::vector<StoredTensor> tensors_;
  std::vector<bool> by_row_;
};

/// A csv has a line for each row, which results without rows are not.
void check_fits_csv(const PredictOptions& o, const Graph& graph) {
  bool is_csv = o.output.empty() ? !o.common.json : o.output == "-" ? !o.common.json : o.output.ends_with(".csv");
  if (!is_csv || graph.outputs.size() < 2) return;
  for (const Output& output : graph.outputs)
    if (!graph.type(output.node).has_rows())
      throw UserError(Code::E0601,
                      fmt::format("a csv has a line for each row, and `{}`, {}, has no rows", output.name,
                                  to_string(graph.type(output.node))),
                      "the command line", "`--output NAME.npz` takes results of any shape, `--json` too");
}

/// What the model's own last operation says of its result.
enum class Meaning : uint8_t { scores, probabilities };

Meaning meaning_of(const Graph& graph) {
  auto behind = [&](NodeId id, std::initializer_list<Op> seen_through) {
    while (std::ranges::find(seen_through, graph[id].op) != seen_through.end()) id = graph[id].operands[0];
    return id;
  };
  const Node& last = graph[behind(graph.outputs.at(0).node, {Op::reshape, Op::transpose, Op::cast, Op::stop_gradient})];
  if (last.op == Op::sigmoid) return Meaning::probabilities;
  // A softmax: exponentials divided by their own sum.
  if (last.op != Op::div || graph[last.operands[0]].op != Op::exp) return Meaning::scores;
  const Node& sum = graph[behind(last.operands[1], {Op::broadcast, Op::reshape, Op::transpose})];
  return sum.op == Op::reduce_sum && sum.operands[0] == last.operands[0] ? Meaning::probabilities : Meaning::scores;
}

/// The likeliest class of each row and its probability. One score per row is that of class 1 against class 0.
std::vector<StoredTensor> to_classes(const StoredTensor& result, Meaning meaning) {
  if (!is_float(result.dtype) || result.shape.empty() || result.shape.size() > 2)
    throw UserError(Code::E0601,
                    fmt::format("`--classes` needs one row of scores per row, the model gives {}", shape_text(result.shape)),
                    "the command line");
  size_t rows = size_t(result.shape[0]), columns = result.shape.size() == 2 ? size_t(result.shape[1]) : 1;
  std::vector<double> values = to_numbers(result.bytes.data(), rows * columns, result.dtype);
  Tensor classes{DType::i32, {int64_t(rows)}, {}}, probabilities{DType::f32, {int64_t(rows)}, {}};
  for (size_t r = 0; r < rows; ++r) {
    const double* row = values.data() + r * columns;
    if (columns == 1) {
      double p = meaning == Meaning::probabilities ? row[0] : 1 / (1 + std::exp(-row[0]));
      classes.values.push_back(p >= 0.5 ? 1 : 0);
      probabilities.values.push_back(p >= 0.5 ? p : 1 - p);
      continue;
    }
    size_t best = size_t(std::max_element(row, row + columns) - row);
    double sum = 0;
    for (size_t c = 0; c < columns; ++c) sum += std::exp(row[c] - row[best]);
    classes.values.push_back(double(best));
    probabilities.values.push_back(meaning == Meaning::probabilities ? row[best] : 1 / sum);
  }
  return {to_stored("class", classes), to_stored("probability", probabilities)};
}

/// One object per row. A result that does not go row by row stands in each of them as a whole.
void print_json_rows(const std::vector<StoredTensor>& tensors, const std::vector<bool>& by_row, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    nlohmann::ordered_json line;
    line["row"] = row;
    for (size_t i = 0; i < tensors.size(); ++i)
      line[tensors[i].name] = by_row[i] ? json_row(tensors[i], row) : json_value(tensors[i]);
    print_json_line(line);
  }
}

int predict(Session& session, const PredictOptions& o) {
  session.load();
  session.require_train();
  BuiltGraph graph = session.require(session.module->build_predict_graph(session.diagnostics));
  check_results_path(o.output, o.classes ? 2 : graph.graph.outputs.size());
  std::vector<std::string> read = source_files(session.sources);
  read.push_back(o.weights);
  for (const std::string& text : o.inputs) read.push_back(split_option("--input", text, "NAME=FILE").second);
  check_not_an_input(o.output, read, "give another name: `--output NAME.npy`");
  if (o.classes && graph.graph.outputs.size() != 1)
    throw UserError(Code::E0601,
                    fmt::format("`--classes` needs a model with one result, this one has {}", graph.graph.outputs.size()),
                    "the command line");
  check_fits_csv(o, graph.graph);
  std::vector<FieldData> fields = read_inputs(o, graph.inputs, session.module->train());
  int64_t rows = fields.empty() ? 0 : fields[0].rows;
  Team team(session.thread_count());
  StepRunner weights(model_weights(session), team);
  const std::map<std::string, double> trained = trained_so_far(load_tensors(o.weights, weights, false));
  remove_dead_code(graph.graph);  // statistics for training alone are no reason for one large batch
  Meaning meaning = meaning_of(graph.graph);
  std::vector<std::string> names;
  for (const Output& output : graph.graph.outputs) names.push_back(output.name);
  std::vector<std::string> inputs;
  for (const ArgumentSpec& input : graph.inputs) inputs.push_back(input.name);
  check_indices(graph.graph, fields, inputs);
  const int64_t batch = mixes_rows(graph.graph) ? std::max<int64_t>(rows, 1) : std::clamp<int64_t>(rows, 1, 256);
  CompiledStep compiled = compile_step(make_program(std::move(graph.graph), "predict", batch, session.target), session.sources);
  StepRunner runner(compiled.step, team);
  runner.copy_persistents(weights);
  const StepProgram& program = runner.program();
  for (const PersistentSlot& slot : program.persistents)
    NNC_CHECK(weights.find_persistent(slot.name) >= 0, "training has no weights for " + slot.name);
  bind_fields(runner, fields, inputs);
  const std::vector<float> scalars = step_scalars(program, with_hyperparameters(trained, session.module->train()));
  std::vector<float> numbers(program.results.size());
  Results results(program, rows);
  std::vector<int64_t> index(static_cast<size_t>(program.rows_capacity));
  for (int64_t first = 0; first < rows; first += program.rows_capacity) {
    int64_t count = std::min(program.rows_capacity, rows - first);
    for (int64_t r = 0; r < count; ++r) index[size_t(r)] = first + r;
    runner.run(std::span(&count, 1), index.data(), scalars.data(), numbers.data());
    results.take(runner, numbers, first, count);
  }
  auto [written, by_row] = std::move(results).take_ordered(names);
  std::vector<std::string> header;
  if (o.classes) {
    written = to_classes(written.at(0), meaning);
    by_row.assign(written.size(), true);
    header = {"class", "probability"};
  }
  if (o.common.json && (o.output.empty() || o.output == "-"))
    print_json_rows(written, by_row, rows);
  else
    write_results(o.output, written, header);
  if (!o.output.empty() && o.output != "-" && !o.common.quiet)
    std::fprintf(stderr, "%lld rows written to %s\n", static_cast<long long>(rows), o.output.c_str());
  return exit_done;
}

}  // namespace

Command predict_command() {
  auto o = std::make_shared<PredictOptions>();
  Command command("predict",
                  "run the model on new rows\n\n"
                  "  nnc predict digits.nn --weights digits.safetensors --input image=x.npy --output y.npy\n"
                  "  nnc predict digits.nn --weights digits.safetensors --input image=x.csv --classes\n");
  add_common(command, o->common);
  add_threads(command, o->common);
  add_trained_weights(command, o->weights);
  command.option("--input", o->inputs, "NAME=FILE for each input of the model: .npy, .npz, .csv or idx");
  command.option("--output", o->output, ".npy, .npz (several results) or .csv; standard output without it");
  command.flag("--classes", o->classes, "the most likely class of each row and its probability");
  command.flag("--quiet", o->common.quiet, "no messages");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return predict(session, *o); }); };
  return command;
}

}  // namespace nnc
