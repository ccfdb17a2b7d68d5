// Files are compared by what they are, not by their names: links and other spellings of a path are seen.
#include "driver/outputs.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "base/diagnostics.h"
#include "driver/progress.h"
#include "driver/session.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

/// Elements from `next` on as nested lists of the dimensions from `axis` on.
template <class Element>
Json nested_lists(const std::vector<int64_t>& shape, size_t axis, size_t& next, const Element& element) {
  if (axis == shape.size()) return element(next++);
  Json list = Json::array();
  for (int64_t i = 0; i < shape[axis]; ++i) list.push_back(nested_lists(shape, axis + 1, next, element));
  return list;
}

Json stored_lists(const StoredTensor& t, size_t axis, size_t next) {
  return nested_lists(t.shape, axis, next, [&](size_t i) -> Json {
    const std::byte* at = t.bytes.data() + i * byte_size(t.dtype);
    Number v = read_element(at, t.dtype);
    if (t.dtype == DType::boolean) return v != 0;
    if (!is_float(t.dtype)) return int64_t(v);
    return json_number(t.dtype == DType::f32 && std::isfinite(double(v)) ? std::strtod(fmt::format("{}", float(double(v))).c_str(), nullptr) : double(v));
  });
}

bool path_ends_with(const std::string& path, std::string_view ending) { return path.size() > ending.size() && path.ends_with(ending); }

}  // namespace

void check_not_an_input(const std::string& output, const std::vector<std::string>& inputs, const std::string& help) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(output, error)) return;
  for (const std::string& input : inputs)
    if (std::filesystem::equivalent(input, output, error))
      throw UserError(Code::E0413, fmt::format("cannot write `{}`: this run reads `{}`", output, input), output, help);
}

void check_results_path(const std::string& path, size_t tensors) {
  if (path.empty() || path == "-" || path_ends_with(path, ".csv") || path_ends_with(path, ".npz")) {
  } else if (path_ends_with(path, ".npy")) {
    if (tensors > 1)
      throw UserError(Code::E0601, fmt::format("a .npy file holds one array, but there are {} results", tensors), path,
                      fmt::format("`--output {}.npz` holds them all", path.substr(0, path.size() - 4)));
  } else {
    throw UserError(Code::E0601, fmt::format("the ending of `--output {}` does not say which format to write", path),
                    "the command line", "end it in .npy, .npz or .csv");
  }
  if (!path.empty() && path != "-") check_output_writable(path);
}

void write_results(const std::string& path, const std::vector<StoredTensor>& tensors, const std::vector<std::string>& header) {
  std::vector<TensorView> views;
  for (const StoredTensor& t : tensors) views.push_back(t.view());
  auto rows_of = [](const TensorView& t) { return t.shape.empty() ? int64_t{1} : t.shape[0]; };
  for (const TensorView& t : views)
    if (path_ends_with(path, ".csv") && rows_of(t) != rows_of(views[0]))
      throw UserError(Code::E0601,
                      fmt::format("a line of a csv holds a row of each result, but `{}` has {} and `{}` has {}", views[0].name,
                                  rows_of(views[0]), t.name, rows_of(t)),
                      path, "a name that ends in .npz takes results of any shape");
  if (path_ends_with(path, ".npz")) return write_npz(path, views);
  if (path_ends_with(path, ".npy")) return write_npy(path, views.at(0));
  if (path_ends_with(path, ".csv")) return write_csv(path, views, header);
  std::string text = format_csv(views, header);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

std::vector<std::string> source_files(const SourceMap& sources) {
  std::vector<std::string> paths;
  for (uint32_t i = 1; i <= sources.file_count(); ++i) paths.push_back(sources.path(FileId{i}));
  return paths;
}

std::vector<std::string> files_read(const Session& session) {
  std::vector<std::string> files = source_files(session.sources);
  if (!session.module || !session.module->has_train()) return files;
  const TrainSpec& spec = session.module->train();
  for (const FieldSpec& f : spec.data.fields) files.push_back(f.source.path);
  for (const DataSpec& other : spec.other_data)
    for (const FieldSpec& f : other.fields) files.push_back(f.source.path);
  for (const std::string& replacement : session.options.data)
    if (size_t equals = replacement.find('='); equals != std::string::npos) files.push_back(replacement.substr(equals + 1));
  return files;
}

std::string json_line(const Json& line) { return line.dump(-1, ' ', false, Json::error_handler_t::replace); }

void print_json_line(const Json& line) { std::printf("%s\n", json_line(line).c_str()); }

Json json_number(double v) {
  if (std::isfinite(v)) return v;
  return std::isnan(v) ? "nan" : v < 0 ? "-inf" : "inf";
}

Json json_value(const Tensor& t) {
  size_t next = 0;
  return nested_lists(t.shape, 0, next,
                      [&](size_t i) { return is_float(t.dtype) ? json_number(t.values[i]) : Json(int64_t(t.at(i))); });
}

Json json_value(const StoredTensor& t) { return stored_lists(t, 0, 0); }

Json json_row(const StoredTensor& t, int64_t row) {
  size_t width = 1;
  for (size_t axis = 1; axis < t.shape.size(); ++axis) width *= size_t(t.shape[axis]);
  return stored_lists(t, 1, size_t(row) * width);
}

void print_report(const std::string& name, const Tensor& t) {
  if (t.shape.empty()) {
    std::printf("%s: %s\n", name.c_str(), is_float(t.dtype) ? format_metric(t.values[0]).c_str() : fmt::format("{}", int64_t(t.at(0))).c_str());
    return;
  }
  std::printf("%s %s:\n", name.c_str(), shape_text(t.shape).c_str());
  std::vector<std::string> cells;
  size_t width = 1;
  for (size_t i = 0; i < t.values.size(); ++i) {
    const double v = t.values[i];
    cells.push_back(!is_float(t.dtype)                             ? fmt::format("{}", int64_t(t.at(i)))
                    : v == std::floor(v) && std::abs(v) < 1e15 ? fmt::format("{:.0f}", v)
                                                               : format_metric(v));
    width = std::max(width, cells.back().size());
  }
  size_t columns = size_t(std::max<int64_t>(t.shape.back(), 1));
  for (size_t i = 0; i < cells.size(); ++i)
    std::printf("%s%*s%s", i % columns == 0 ? "  " : " ", int(width), cells[i].c_str(), i % columns == columns - 1 ? "\n" : "");
}

std::string in_units(double value, const char* unit) {
  const char* prefixes[] = {"", "K", "M", "G", "T"};
  size_t p = 0;
  while (value >= 1000 && p + 1 < std::size(prefixes)) {
    value /= 1000;
    ++p;
  }
  return fmt::format("{:.{}f} {}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, prefixes[p], unit);
}

}  // namespace nnc
