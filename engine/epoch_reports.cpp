// Each report has its own values among the sums, also where two read one output of the step: with `every` they count other steps. Which rows a report has counted
// is not recorded, for it follows: they are those of the last steps that count, as many as it has rows.
#include "engine/epoch_reports.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "runtime/row_order.h"

namespace nnc {
namespace {

int64_t row_bytes(const Type& type) {
  int64_t bytes = int64_t(byte_size(type.dtype));
  for (size_t i = 1; i < type.shape.size(); ++i) bytes *= type.shape[i].size;
  return bytes;
}

template <class Names>
std::optional<size_t> place_of(const Names& names, const std::string& name) {
  auto it = std::ranges::find(names, name);
  return it == names.end() ? std::nullopt : std::optional(size_t(it - names.begin()));
}

}  // namespace

EpochReports::EpochReports(Compilation& compilation, std::vector<EpochSplit> reports, const RunData& data, const StepRunner& runner,
                           const TrainPlan& plan, const Layouts& layouts, Team& team, Options options)
    : compilation_(compilation), data_(data), runner_(runner), plan_(plan), layouts_(layouts), team_(team), options_(options) {
  for (EpochSplit& split : reports) {
    Report report;
    report.is_loss = split.name == "loss";
    const bool is_number = place_of(runner.program().results, split.name).has_value();
    report.is_wanted = is_number || options_.keeps_outputs;
    (is_number ? numbers_ : outputs_).push_back(split.name);
    (is_number ? index_of_number_ : index_of_output_).push_back(reports_.size());
    report.split = std::move(split);
    if (report.is_wanted && report.split.obstacle.empty()) prepare(report);
    reports_.push_back(std::move(report));
  }
}

EpochReports::Source EpochReports::find_source(const std::string& output, const Type& type) const {
  const StepProgram& program = runner_.program();
  Source source;
  source.name = output;
  source.type = type;
  if (std::optional<size_t> result = place_of(program.results, output)) {
    source.is_result = true;
    source.index = *result;
    return source;
  }
  auto it = std::ranges::find(program.outputs, output, &OutputSlot::name);
  NNC_CHECK(it != program.outputs.end(), "the step does not give " + output);
  source.index = size_t(it - program.outputs.begin());
  return source;
}

void EpochReports::prepare(Report& report) {
  EpochSplit& split = report.split;
  int64_t bytes = 0;
  for (const KeptRows& rows : split.kept) bytes += row_bytes(rows.type) * data_.rows;
  if (kept_bytes_ + bytes > most_kept_bytes) {
    split.obstacle = fmt::format("its rows would have to be kept for an epoch, which takes {} MB, and {} MB are kept at most", (bytes + (1 << 20) - 1) >> 20, most_kept_bytes >> 20);
    return;
  }
  kept_bytes_ += bytes;
  for (const StepValue& value : split.values) {
    Source source = find_source(value.output, value.type);
    const std::string name = split.is_direct() ? value.output : split.name + "/" + value.output;
    source.value = start_.add_value(name, size_t(value.type.elements(0)), value.combine);
    report.values.push_back(std::move(source));
  }
  for (const KeptRows& rows : split.kept) {
    Source source = find_source(rows.output, rows.type);
    source.value = start_.add_rows(data_.rows, row_bytes(rows.type));
    report.kept.push_back(std::move(source));
  }
  if (!split.is_direct()) {
    const int64_t batch = std::clamp<int64_t>(int64_t(plan_.rows.size()), 1, 256);
    report.levels.emplace(compilation_, std::move(split.levels), split.final_graph, batch, layouts_, team_, options_.workers);
  }
}

bool EpochReports::needs_single_steps() const {
  return std::ranges::any_of(reports_, [](const Report& r) {
    return !r.kept.empty() || std::ranges::any_of(r.values, [](const Source& s) { return !s.is_result; });
  });
}

bool EpochReports::counts(const Report& report, int64_t step) const { return report.is_loss || options_.every <= 1 || step % options_.every == 0; }

void EpochReports::add(EpochSums& sums, const StepRecord& r) const {
  for (const Report& report : reports_) {
    if (!counts(report, r.step)) continue;
    for (const Source& s : report.values) {
      if (s.is_result)
        sums.add(s.value, r.results.subspan(s.index, 1), double(r.rows));
      else
        sums.add(s.value, to_numbers(runner_.output(s.index), size_t(s.type.elements(0)), s.type.dtype), double(r.rows));
    }
    for (const Source& s : report.kept) sums.keep(s.value, r.row_numbers, runner_.output(s.index));
  }
}

/// The rows that it has counted in the epoch of the last of so many updates, in their order.
std::vector<int64_t> EpochReports::rows_of(const Report& report, double wanted, int64_t steps) const {
  const int64_t per_epoch = plan_.steps_per_epoch(), epoch = (steps - 1) / per_epoch;
  const std::vector<int64_t> order = epoch_order(plan_.rows, plan_.seed, epoch, plan_.shuffle);
  std::vector<int64_t> rows;
  for (int64_t step = steps; step > epoch * per_epoch && double(rows.size()) < wanted; --step) {
    if (!counts(report, step)) continue;
    const int64_t begin = (step - 1 - epoch * per_epoch) * plan_.batch, end = std::min(begin + plan_.batch, int64_t(order.size()));
    rows.insert(rows.end(), std::make_reverse_iterator(order.begin() + end), std::make_reverse_iterator(order.begin() + begin));
  }
  std::ranges::reverse(rows);
  return rows;
}

std::optional<Tensor> EpochReports::evaluate(Report& report, const EpochSums& sums, const StepRecord& last, const std::function<bool()>& stop) {
  const EpochSplit& split = report.split;
  if (report.values.empty() && report.kept.empty()) return std::nullopt;
  if (split.is_direct()) {
    const Source& s = report.values[0];
    if (sums.rows(s.value) <= 0) return std::nullopt;
    return Tensor{DType::f64, shape_at(s.type, 0), sums.combined(s.value)};
  }
  std::map<std::string, Tensor> accumulated;
  double count = 0;
  for (const Source& s : report.values) {
    count = sums.rows(s.value);
    accumulated[s.name] = {s.type.dtype, shape_at(s.type, 0), sums.combined(s.value)};
  }
  if (count <= 0) return std::nullopt;
  std::vector<FieldData> fields = data_.fields;
  std::vector<std::string> names = data_.names;
  for (const Source& s : report.kept) {
    FieldData field;
    field.dtype = s.type.dtype;
    for (size_t i = 1; i < s.type.shape.size(); ++i) field.row_shape.push_back(s.type.shape[i].size);
    field.rows = data_.rows;
    field.data = sums.kept(s.value);
    field.row_stride_bytes = sums.row_bytes(s.value);
    fields.push_back(std::move(field));
    names.push_back(s.name);
  }
  std::vector<int64_t> rows;
  if (report.levels->reads_rows()) rows = rows_of(report, count, last.step);
  const ScalarValues scalars{{"rows", count}};  // and no draws: what was drawn was kept by its step
  std::map<std::string, Tensor> found =
      report.levels->evaluate({rows, [&](StepRunner& runner) { bind_fields(runner, fields, names); }}, runner_, scalars, {}, std::move(accumulated), stop);
  auto it = found.find(split.name);
  if (it == found.end()) return std::nullopt;
  return std::move(it->second);
}

std::optional<double> EpochReports::number(size_t number, const EpochSums& sums, const StepRecord& last, const std::function<bool()>& stop) {
  const std::optional<Tensor> value = evaluate(reports_[index_of_number_[number]], sums, last, stop);
  return value ? std::optional(value->values[0]) : std::nullopt;
}

std::optional<Tensor> EpochReports::output(size_t output, const EpochSums& sums, const StepRecord& last, const std::function<bool()>& stop) {
  return evaluate(reports_[index_of_output_[output]], sums, last, stop);
}

EpochRecord EpochReports::record(const EpochSums& sums, int64_t steps) const {
  EpochRecord record{sums.to_text(), {}};
  for (const Report& report : reports_)
    for (const Source& s : report.kept) {
      const std::vector<int64_t> rows = rows_of(report, report.values.empty() ? double(plan_.rows.size()) : sums.rows(report.values[0].value), steps);
      StoredTensor t{name_of_kept(report, s), s.type.dtype, shape_at(s.type, int64_t(rows.size())), {}};
      for (int64_t row : rows) {
        const std::byte* from = sums.kept(s.value) + row * sums.row_bytes(s.value);
        t.bytes.insert(t.bytes.end(), from, from + sums.row_bytes(s.value));
      }
      record.rows.push_back(std::move(t));
    }
  return record;
}

std::optional<EpochSums> EpochReports::begin(const EpochRecord& record, int64_t steps) {
  EpochSums sums = std::move(start_);
  if (!sums.go_on_from(record.sums)) return std::nullopt;
  if (record.sums.empty()) return sums;
  for (const Report& report : reports_) {
    bool is_whole = true;
    for (const Source& s : report.kept) {
      const double count = report.values.empty() ? double(plan_.rows.size()) : sums.rows(report.values[0].value);
      const std::vector<int64_t> rows = rows_of(report, count, steps);
      auto it = std::ranges::find(record.rows, name_of_kept(report, s), &StoredTensor::name);
      is_whole = is_whole && it != record.rows.end() && it->dtype == s.type.dtype && it->shape == shape_at(s.type, int64_t(rows.size()));
      if (is_whole) sums.keep(s.value, rows, it->bytes.data());
    }
    if (!is_whole)
      for (const Source& s : report.values) sums.clear(s.value);
  }
  return sums;
}

}  // namespace nnc
