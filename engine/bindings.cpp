// A graph knows its leaves by name: inputs, scalars, persistents. A step knows them by place: fields of rows that are looked up one by one, a row of numbers of 64 bits,
// slots of a block of memory. Here one becomes the other. Where a step is run on tensors that are at hand, each is a field of its own whose rows are
// looked up in their order.
#include "engine/bindings.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

/// `kind` as it stands before the name: "", "the input ", ...
template <class T>
const T& given(const std::map<std::string, T>& values, const std::string& name, const char* kind) {
  auto it = values.find(name);
  if (it == values.end()) throw UserError(Code::E0511, fmt::format("no value was given for {}`{}`", kind, name));
  return it->second;
}

const FieldData& field_named(const std::string& name, const std::vector<FieldData>& fields, const std::vector<std::string>& names) {
  auto it = std::ranges::find(names, name);
  NNC_CHECK(it != names.end(), "nothing holds the rows of " + name);
  return fields[size_t(it - names.begin())];
}

NncScalar step_scalar(const std::string& name, double value) {
  NncScalar scalar;
  if (type_of_scalar(name) == count_type)
    scalar.count = int64_t(value);
  else
    scalar.number = value;
  return scalar;
}

/// Fields of a runner that stand in memory of this object; none is bound after it.
class HeldFields {
 public:
  HeldFields(StepRunner& runner, const std::map<std::string, Tensor>& inputs) : runner_(runner) {
    const std::vector<std::string>& names = runner.program().fields;
    for (size_t i = 0; i < names.size(); ++i) {
      const Tensor& t = given(inputs, names[i], "the input ");
      NNC_CHECK(!t.shape.empty(), "an input without rows has not been held: " + names[i]);
      bytes_.push_back(to_bytes(t));
      int64_t stride = t.shape[0] > 0 ? int64_t(bytes_.back().size()) / t.shape[0] : 0;
      bytes_.back().resize(bytes_.back().size() + FileBytes::readable_past_end);
      runner.bind_field(i, bytes_.back().data(), stride);
    }
  }
  HeldFields(const HeldFields&) = delete;
  HeldFields& operator=(const HeldFields&) = delete;
  ~HeldFields() {
    for (size_t i = 0; i < bytes_.size(); ++i) runner_.bind_field(i, nullptr, 0);
  }

 private:
  StepRunner& runner_;
  std::vector<std::vector<std::byte>> bytes_;
};

}  // namespace

ScalarValues with_hyperparameters(ScalarValues known, const TrainSpec& spec) {
  for (const ScalarSpec& s : spec.scalars) known.try_emplace(s.name, s.value);
  return known;
}

void bind_scalars(Bindings& bindings, const Graph& graph, const ScalarValues& values) {
  for (const auto& [name, value] : values) bindings.scalars[name] = value;
  for (const Node& n : graph.nodes())
    if (n.op == Op::scalar) bindings.scalars.try_emplace(n.attributes.text, 0);
}

void bind_persistents(Bindings& bindings, const Graph& graph, const StepRunner& runner) {
  for (const Persistent& p : graph.persistents) {
    int index = runner.find_persistent(p.name);
    if (index >= 0 && !bindings.persistents.count(p.name)) bindings.persistents[p.name] = read_persistent(runner, size_t(index));
  }
}

Bindings bind_rows(const Graph& graph, const RunData& data, std::span<const int64_t> rows) {
  Bindings bindings;
  bindings.rows = int64_t(rows.size());
  for (const Node& n : graph.nodes()) {
    if (n.op != Op::input || bindings.inputs.count(n.attributes.text)) continue;
    const FieldData& field = field_named(n.attributes.text, data.fields, data.names);
    const size_t width = size_t(element_count(field.row_shape)), bytes = byte_size(field.dtype);
    Tensor t = make_tensor(n.type.dtype, shape_at(n.type, bindings.rows));
    for (size_t r = 0; r < rows.size(); ++r)
      for (size_t i = 0; i < width; ++i)
        t.set(r * width + i, read_element(field.data + rows[r] * field.row_stride_bytes + int64_t(i * bytes), field.dtype));
    bindings.inputs[n.attributes.text] = std::move(t);
  }
  return bindings;
}

std::vector<NncScalar> step_scalars(const StepProgram& program, const ScalarValues& values) {
  std::vector<NncScalar> scalars;
  for (const std::string& name : program.scalars) {
    auto it = values.find(name);
    scalars.push_back(step_scalar(name, it == values.end() ? 0 : it->second));
  }
  return scalars;
}

double number_of(const std::string& name, NncScalar scalar) {
  return type_of_scalar(name) == count_type ? double(scalar.count) : scalar.number;
}

void bind_fields(StepRunner& runner, const std::vector<FieldData>& fields, const std::vector<std::string>& names) {
  for (size_t i = 0; i < runner.program().fields.size(); ++i) {
    const FieldData& field = field_named(runner.program().fields[i], fields, names);
    runner.bind_field(i, field.data, field.row_stride_bytes);
  }
}

StoredTensor output_tensor(const StepProgram& program, size_t output, int64_t rows) {
  const OutputSlot& slot = program.outputs[output];
  StoredTensor t{slot.name, slot.dtype, slot.shape, {}};
  if (slot.row_axis >= 0) t.shape[size_t(slot.row_axis)] = slot.shape[size_t(slot.row_axis)] / program.rows_capacity * rows;
  t.bytes.resize(size_t(element_count(t.shape)) * byte_size(t.dtype));
  return t;
}

void copy_output(const StepRunner& runner, size_t output, int64_t count, StoredTensor& into, int64_t first) {
  const OutputSlot& slot = runner.program().outputs[output];
  const std::byte* from = runner.output(output);
  if (slot.row_axis < 0) {
    std::copy_n(from, into.bytes.size(), into.bytes.begin());
    return;
  }
  const size_t axis = size_t(slot.row_axis);
  const int64_t capacity = runner.program().rows_capacity;
  int64_t outer = 1, row_bytes = slot.shape[axis] / capacity * int64_t(byte_size(slot.dtype));
  for (size_t a = 0; a < axis; ++a) outer *= slot.shape[a];
  for (size_t a = axis + 1; a < slot.shape.size(); ++a) row_bytes *= slot.shape[a];
  const int64_t from_stride = row_bytes * capacity, to_stride = outer > 0 ? int64_t(into.bytes.size()) / outer : 0;
  for (int64_t i = 0; i < outer; ++i) std::copy_n(from + i * from_stride, count * row_bytes, into.bytes.begin() + i * to_stride + first * row_bytes);
}

std::map<std::string, StoredTensor> run_step(StepRunner& runner, const Bindings& bindings) {
  const StepProgram& program = runner.program();
  for (size_t i = 0; i < program.persistents.size(); ++i)
    write_persistent(runner, i, given(bindings.persistents, program.persistents[i].name, ""));
  HeldFields fields(runner, bindings.inputs);
  std::vector<int64_t> index(static_cast<size_t>(program.rows_capacity));
  std::iota(index.begin(), index.end(), int64_t{0});
  std::vector<NncScalar> scalars;
  std::vector<double> results(program.results.size());
  for (const std::string& name : program.scalars) scalars.push_back(step_scalar(name, given(bindings.scalars, name, "the scalar ")));
  int64_t done = runner.run(std::span(&bindings.rows, 1), index.data(), scalars.data(), results.data(), bindings.draws);
  NNC_CHECK(done == 1, "a step was not done");
  std::map<std::string, StoredTensor> outputs;
  for (size_t i = 0; i < results.size(); ++i) {
    StoredTensor t{program.results[i], scalar_type, {}, std::vector<std::byte>(sizeof results[i])};
    std::memcpy(t.bytes.data(), &results[i], sizeof results[i]);
    outputs[t.name] = std::move(t);
  }
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    StoredTensor t = output_tensor(program, i, bindings.rows);
    copy_output(runner, i, bindings.rows, t, 0);
    outputs[t.name] = std::move(t);
  }
  return outputs;
}

std::map<std::string, Tensor> run_step_in_numbers(StepRunner& runner, const Bindings& bindings) {
  std::map<std::string, Tensor> numbers;
  for (const auto& [name, t] : run_step(runner, bindings)) numbers[name] = to_tensor(t);
  return numbers;
}

}  // namespace nnc
