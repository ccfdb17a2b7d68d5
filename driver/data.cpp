// The data block becomes requests to the readers; every field is read once, and the rows are split by the seed of the run.

#include "driver/data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"

namespace nnc {
namespace {

FieldRequest to_request(const FieldSpec& f) {
  FieldRequest r;
  r.name = f.name;
  switch (f.source.kind) {
    case SourceSpec::Kind::csv: r.kind = SourceKind::csv; break;
    case SourceSpec::Kind::idx: r.kind = SourceKind::idx; break;
    case SourceSpec::Kind::npy: r.kind = SourceKind::npy; break;
    case SourceSpec::Kind::npz: r.kind = SourceKind::npz; break;
    case SourceSpec::Kind::safetensors: r.kind = SourceKind::safetensors; break;
    case SourceSpec::Kind::text:
      throw UserError(Code::E0506, fmt::format("field `{}`: this version of nnc does not read text sources", f.name));
  }
  r.path = f.source.path;
  r.key = f.source.key;
  r.has_range = f.source.has_range;
  r.first_column = f.source.first_column;
  r.end_column = f.source.end_column;
  r.columns = f.source.columns;
  r.column_names = f.source.column_names;
  r.dtype = f.dtype;
  r.classes = f.classes;
  r.row_shape = f.shape;
  return r;
}

std::vector<FieldData> read_block(const DataSpec& data, const std::vector<std::string>& replacements) {
  std::vector<FieldRequest> requests;
  for (const FieldSpec& f : data.fields) requests.push_back(to_request(f));
  for (const std::string& text : replacements) {
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size()) throw UserError(Code::E0601, fmt::format("`--data {}` has no path", text), "the command line", "write `--data FIELD=PATH`");
    std::string name = text.substr(0, equals);
    auto it = std::find_if(requests.begin(), requests.end(), [&](const FieldRequest& r) { return r.name == name; });
    if (it == requests.end()) {
      std::vector<std::string> names;
      for (const FieldRequest& r : requests) names.push_back(r.name);
      std::string near = nearest(name, names);
      throw UserError(Code::E0601, fmt::format("`--data`: the data block `{}` has no field `{}`", data.name, name), "the command line",
                      near.empty() ? fmt::format("its fields are {}", fmt::join(names, ", ")) : fmt::format("did you mean `{}`?", near));
    }
    it->path = text.substr(equals + 1);
    it->kind = guess_source_kind(it->path);
  }
  return read_fields(requests);
}

// A share that sets no row aside: its reports would be of nothing.
void check_split(const SplitSpec& s, const char* word, int64_t rows) {
  bool is_share = s.kind == SplitSpec::Kind::random || s.kind == SplitSpec::Kind::last;
  if (!is_share || rows == 0 || std::llround(s.fraction * double(rows)) > 0) return;
  const char* last = s.kind == SplitSpec::Kind::last ? "last " : "";
  Diagnostic d;
  d.code = Code::E0509;
  d.span = s.span;
  d.message = fmt::format("`{} {}{:g}%` of {} row{} sets none aside", word, last, s.fraction * 100, rows, rows == 1 ? "" : "s");
  if (rows > 1) {
    double scale = 1;  // of percents, written with as few digits as there may be
    while (scale * 100 / double(rows) < 1) scale *= 10;
    double percent = std::ceil(scale * 100 / double(rows)) / scale;
    d.help.push_back(fmt::format("`{} {}{:g}%` sets {} aside", word, last, percent, std::llround(percent / 100 * double(rows))));
  }
  throw UserError(d);
}

SplitRequest to_request(const SplitSpec& s) {
  if (s.kind == SplitSpec::Kind::random) return {SplitRequest::Kind::random, s.fraction};
  if (s.kind == SplitSpec::Kind::last) return {SplitRequest::Kind::last, s.fraction};
  return {};
}

}  // namespace

RunData load_data(const TrainSpec& train, const std::vector<std::string>& replacements, uint64_t seed) {
  RunData data;
  data.fields = read_block(train.data, replacements);
  for (const FieldSpec& f : train.data.fields) data.names.push_back(f.name);
  data.rows = data.fields.empty() ? 0 : data.fields[0].rows;
  check_split(train.data.test, "test", data.rows);
  check_split(train.data.valid, "valid", data.rows);
  data.split = split_rows_of_data(data.rows, to_request(train.data.test), to_request(train.data.valid), seed);
  if (train.data.test.kind == SplitSpec::Kind::from) {
    for (const DataSpec& other : train.other_data) {
      if (other.name != train.data.test.other) continue;
      data.test_fields = read_block(other, {});
      data.split.test.resize(size_t(data.test_fields.empty() ? 0 : data.test_fields[0].rows));
      std::iota(data.split.test.begin(), data.split.test.end(), int64_t{0});
    }
  }
  return data;
}

void RunData::bind(StepRunner& runner, bool test) const {
  const std::vector<FieldData>& from = test && !test_fields.empty() ? test_fields : fields;
  for (size_t i = 0; i < runner.program().fields.size(); ++i) {
    auto it = std::find(names.begin(), names.end(), runner.program().fields[i]);
    NNC_CHECK(it != names.end(), "the program reads a field that the data block lacks");
    const FieldData& field = from[size_t(it - names.begin())];
    runner.bind_field(i, field.data, field.row_stride_bytes);
  }
}

}  // namespace nnc
