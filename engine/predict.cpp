// A model whose rows do not see each other runs in batches of some hundred rows; one that mixes them gets all of them at once.
#include "engine/predict.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "engine/data.h"
#include "engine/index_bounds.h"
#include "engine/row_conditions.h"
#include "passes/dead_code.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

constexpr int64_t largest_batch = 256;

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

bool goes_by_rows(const Type& type) { return !type.shape.empty() && type.shape[0] == Extent{1, true}; }

UserError no_rows(const ArgumentSpec& input, const Compilation& compilation) {
  return UserError(Code::E0506, fmt::format("the model's input `{}` has no rows: prediction goes row by row", input.name),
                   compilation.name, "`nnc run --fn` evaluates any definition");
}

std::vector<int64_t> row_shape(const ArgumentSpec& input) {
  std::vector<int64_t> shape;
  for (size_t i = 1; i < input.type.shape.size(); ++i) shape.push_back(input.type.shape[i].size);
  return shape;
}

/// Columns that have names go by them, in whatever order they stand. Else a table that is wider than the input is taken to be laid out like the training data.
void request_columns(DataField& r, const std::string& field, const TrainSpec& spec) {
  std::vector<std::string> wanted;
  for (const FieldSpec& f : spec.data.fields)
    if (f.name == field) wanted = f.source.column_names;
  CsvHead head = read_csv_head(load_file(r.source.path), r.source.path, wanted);
  const int64_t values = element_count(r.row_shape);
  auto positions_fit = [&](const DataSource& s) {
    int64_t end = s.has_range ? s.end_column : s.columns.empty() ? 0 : *std::max_element(s.columns.begin(), s.columns.end()) + 1;
    return head.columns != values && end > 0 && end <= head.columns;
  };
  for (const FieldSpec& f : spec.data.fields) {
    if (f.name != field || f.source.kind != SourceKind::csv) continue;
    if (f.source.column_names.empty() ? !positions_fit(f.source) : head.names.empty()) continue;
    std::string path = std::move(r.source.path);
    r.source = f.source;
    r.source.path = std::move(path);
  }
}

/// Collects what each batch gives, rows one after the other.
class Collected {
 public:
  Collected(const StepProgram& program, int64_t rows) : program_(program) {
    for (size_t o = 0; o < program.outputs.size(); ++o) {
      by_row_.push_back(program.outputs[o].row_axis == 0);
      tensors_.push_back(output_tensor(program, o, rows));
    }
    for (const std::string& name : program.results) tensors_.push_back({name, scalar_type, {}, std::vector<std::byte>(scalar_bytes)});
    by_row_.resize(tensors_.size(), false);
  }
  void take(const StepRunner& runner, const std::vector<double>& results, int64_t first, int64_t count) {
    for (size_t o = 0; o < program_.outputs.size(); ++o) copy_output(runner, o, count, tensors_[o], first);
    for (size_t r = 0; r < results.size(); ++r) std::memcpy(tensors_[program_.outputs.size() + r].bytes.data(), &results[r], sizeof results[r]);
  }
  /// In the order of the model's results.
  Prediction finish(const std::vector<Predictor::Result>& results, int64_t rows) && {
    Prediction prediction{rows, {}, {}};
    for (const Predictor::Result& result : results) {
      auto it = std::ranges::find(tensors_, result.name, &StoredTensor::name);
      NNC_CHECK(it != tensors_.end(), "no result " + result.name);
      prediction.by_row.push_back(by_row_[size_t(it - tensors_.begin())]);
      prediction.results.push_back(std::move(*it));
    }
    return prediction;
  }

 private:
  const StepProgram& program_;
  std::vector<StoredTensor> tensors_;
  std::vector<bool> by_row_;
};

}  // namespace

Predictor::Predictor(Compilation& compilation) : compilation_(compilation) {
  BuiltGraph built = compilation.require(compilation.module->build_predict_graph(compilation.diagnostics));
  graph_ = std::move(built.graph);
  row_conditions_ = std::move(built.row_conditions);
  inputs_ = std::move(built.inputs);
  remove_dead_code(graph_);  // statistics for training alone are no reason for one large batch
  for (const Output& o : graph_.outputs) results_.push_back({o.name, graph_.type(o.node)});
}

DataField Predictor::request(const ArgumentSpec& input) const {
  if (!goes_by_rows(input.type)) throw no_rows(input, compilation_);
  DataField r;
  r.name = input.name;
  r.dtype = input.type.dtype;
  r.classes = input.classes;
  r.row_shape = row_shape(input);
  return r;
}

DataField Predictor::request(const ArgumentSpec& input, const HostArray& array) const {
  DataField r = request(input);
  r.source.kind = SourceKind::memory;
  r.source.path = "memory";
  r.source.array = array;
  return r;
}

DataField Predictor::request(const ArgumentSpec& input, const std::string& path) const {
  const TrainSpec& spec = compilation_.module->train();
  DataField r = request(input);
  r.source.path = path;
  auto field = std::ranges::find(spec.data.fields, input.field, &FieldSpec::name);
  r.source.kind = field == spec.data.fields.end() ? guess_source_kind(path) : guess_source_kind(path, field->source.kind);
  if (r.source.kind == SourceKind::text)
    throw UserError(Code::E0506, fmt::format("the model's input `{}` is given a text, and prediction takes numbers", input.name), path,
                    "give the places of its characters in the vocabulary, which the weights record as `nnc.vocabulary`, as a .npy");
  if (r.source.kind == SourceKind::npz || r.source.kind == SourceKind::safetensors) {
    const std::vector<std::string> names = tensor_names(path, r.source.kind);
    r.source.key = names.size() == 1 ? names[0] : input.name;
  }
  if (r.source.kind == SourceKind::csv) request_columns(r, input.field, spec);
  return r;
}

void Predictor::check_fields(const std::vector<FieldData>& fields) const {
  NNC_CHECK(fields.size() == inputs_.size(), "a prediction takes a field for each input of the model");
  for (size_t i = 0; i < fields.size(); ++i) {
    const ArgumentSpec& input = inputs_[i];
    if (!goes_by_rows(input.type)) throw no_rows(input, compilation_);
    if (fields[i].dtype != input.type.dtype || fields[i].row_shape != row_shape(input))
      throw UserError(Code::E0511, fmt::format("the model's input `{}` is {}, but a row of {} {} was given", input.name, to_string(input.type),
                                               dtype_name(fields[i].dtype), shape_text(fields[i].row_shape)));
    if (fields[i].rows != fields[0].rows)
      throw UserError(Code::E0511, fmt::format("the model's input `{}` was given {} rows, but `{}` {}", input.name, fields[i].rows, inputs_[0].name, fields[0].rows));
  }
}

int64_t Predictor::batch_for(int64_t rows) const {
  return mixes_rows(graph_) ? std::max<int64_t>(rows, 1) : std::clamp<int64_t>(rows, 1, largest_batch);
}

Prediction Predictor::predict(const std::vector<FieldData>& fields, const StepRunner& weights, const ScalarValues& scalars, const DrawPosition& draws,
                              Team& team) {
  check_fields(fields);
  std::vector<std::string> names;
  for (const ArgumentSpec& input : inputs_) names.push_back(input.name);
  check_indices(graph_, fields, names);
  const int64_t rows = fields.empty() ? 0 : fields[0].rows, batch = batch_for(rows);
  require_rows(row_conditions_, rows, "the prediction");
  if (!compiled_.code || compiled_.step.rows_capacity != batch)
    compiled_ = compile_step(make_program(graph_, "predict", batch, compilation_.target), compilation_.sources);
  StepRunner runner(compiled_.step, team);
  runner.copy_persistents(weights);
  const StepProgram& program = runner.program();
  for (const PersistentSlot& slot : program.persistents)
    NNC_CHECK(weights.find_persistent(slot.name) >= 0, "training has no weights for " + slot.name);
  bind_fields(runner, fields, names);
  const std::vector<NncScalar> values = step_scalars(program, with_hyperparameters(scalars, compilation_.module->train()));
  std::vector<double> numbers(program.results.size());
  Collected collected(program, rows);
  std::vector<int64_t> index(static_cast<size_t>(batch));
  for (int64_t first = 0; first < rows; first += batch) {
    int64_t count = std::min(batch, rows - first);
    for (int64_t r = 0; r < count; ++r) index[size_t(r)] = first + r;
    runner.run(std::span(&count, 1), index.data(), values.data(), numbers.data(), {draws.seed, draws.update, draws.first_row + uint32_t(first)});
    collected.take(runner, numbers, first, count);
  }
  return std::move(collected).finish(results_, rows);
}

bool gives_probabilities(const Graph& graph) {
  auto behind = [&](NodeId id, std::initializer_list<Op> seen_through) {
    while (std::ranges::find(seen_through, graph[id].op) != seen_through.end()) id = graph[id].operands[0];
    return id;
  };
  const Node& last = graph[behind(graph.outputs.at(0).node, {Op::reshape, Op::transpose, Op::cast, Op::stop_gradient})];
  if (last.op == Op::sigmoid) return true;
  // A softmax: exponentials divided by their own sum.
  if (last.op != Op::div || graph[last.operands[0]].op != Op::exp) return false;
  const Node& sum = graph[behind(last.operands[1], {Op::broadcast, Op::reshape, Op::transpose})];
  return sum.op == Op::reduce_sum && sum.operands[0] == last.operands[0];
}

bool Predictor::gives_classes() const {
  const TrainSpec& spec = compilation_.module->train();
  const Shape& shape = results_.at(0).type.shape;
  const int64_t scores = shape.size() == 2 ? shape[1].size : 1, classes = scores == 1 ? 2 : scores;
  return spec.scores_classes || gives_probabilities() || std::ranges::count(spec.data.fields, classes, &FieldSpec::classes) > 0;
}

std::optional<Prediction> likeliest_classes(const Prediction& prediction, bool are_probabilities) {
  const StoredTensor& result = prediction.results.at(0);
  if (!is_float(result.dtype) || result.shape.empty() || result.shape.size() > 2) return std::nullopt;
  size_t rows = size_t(result.shape[0]), columns = result.shape.size() == 2 ? size_t(result.shape[1]) : 1;
  std::vector<double> values = to_numbers(result.bytes.data(), rows * columns, result.dtype);
  Tensor classes{DType::i32, {int64_t(rows)}, {}}, probabilities{DType::f32, {int64_t(rows)}, {}};
  for (size_t r = 0; r < rows; ++r) {
    const double* row = values.data() + r * columns;
    if (columns == 1) {
      double p = are_probabilities ? row[0] : 1 / (1 + std::exp(-row[0]));
      classes.values.push_back(p >= 0.5 ? 1 : 0);
      probabilities.values.push_back(p >= 0.5 ? p : 1 - p);
      continue;
    }
    size_t best = size_t(std::max_element(row, row + columns) - row);
    double sum = 0;
    for (size_t c = 0; c < columns; ++c) sum += std::exp(row[c] - row[best]);
    classes.values.push_back(double(best));
    probabilities.values.push_back(are_probabilities ? row[best] : 1 / sum);
  }
  return Prediction{prediction.rows, {to_stored("class", classes), to_stored("probability", probabilities)}, {true, true}};
}

}  // namespace nnc
