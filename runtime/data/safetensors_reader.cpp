// safetensors: an 8-byte header length, a JSON object of names, types, shapes and byte ranges, then the elements.
// Source: the format's description in the README of huggingface/safetensors. Everything the description demands is checked:
// unique names, ranges inside the file that agree with type and shape, no overlap and no holes.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

using Json = nlohmann::json;
constexpr uint64_t largest_header = 100'000'000;  // as the reference implementation limits it

constexpr std::pair<std::string_view, StoredType> type_names[] = {
    {"F64", StoredType::f64},     {"F32", StoredType::f32}, {"F16", StoredType::f16}, {"BF16", StoredType::bf16},
    {"I64", StoredType::i64},     {"I32", StoredType::i32}, {"I16", StoredType::i16}, {"I8", StoredType::i8},
    {"U8", StoredType::u8},       {"U16", StoredType::u16}, {"U32", StoredType::u32}, {"U64", StoredType::u64},
    {"BOOL", StoredType::boolean}};

/// The names in a header: those of its tensors in the file's order, which a finished object does not keep, and one that occurs twice,
/// which it could not show. What else is wrong is left to the parser.
class NameCollector : public nlohmann::json_sax<Json> {
 public:
  std::vector<std::string> order;
  std::string twice;

  bool key(string_t& name) override {
    if (open_.size() == 1) order.push_back(name);
    if (!open_.back().insert(name).second) twice = name;
    return true;
  }
  bool start_object(size_t) override {
    open_.emplace_back();
    return true;
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  std::vector<std::set<std::string>> open_;  ///< names of each object that is not closed yet
};

/// The header as JSON, and the names in it in the file's order. The text is read twice because every way of learning this from one
/// parse costs n^2: ordered objects look for each name among all before it, and a parse with a callback looks through all that the
/// header holds whenever a tensor's description ends.
Json parse_header(std::string_view text, const std::string& path, std::vector<std::string>& order) {
  NameCollector names;
  Json::sax_parse(text, &names);
  if (!names.twice.empty()) refuse_damaged(path, fmt::format("names `{}` twice in its header", names.twice));
  Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) refuse_damaged(path, "has a header that is not a JSON object");
  order = std::move(names.order);
  return header;
}

}  // namespace

SafetensorsContent parse_safetensors(const FileBytes& file, const std::string& path) {
  if (file.size < 8)
    refuse_format(path, "is not a safetensors file: it is shorter than the 8 bytes of a header length", recognise_format(file));
  uint64_t length;
  std::memcpy(&length, file.data, 8);
  bool object = file.size > 8 && file.data[8] == std::byte{'{'};
  if (!object) refuse_format(path, "is not a safetensors file: no header begins at byte 8", recognise_format(file));
  if (length > largest_header)
    refuse_damaged(path, fmt::format("promises a header of {} bytes, more than a safetensors file may have", length));
  if (length > file.size - 8)
    refuse_damaged(path, fmt::format("is cut short inside its header: {} of {} bytes", file.size - 8, length));
  std::vector<std::string> order;
  Json header = parse_header(file.text().substr(8, length), path, order);
  uint64_t data_begin = 8 + length, data_size = file.size - data_begin;

  SafetensorsContent content;
  struct Range {
    uint64_t begin, end;
    size_t tensor;
  };
  std::vector<Range> ranges;
  for (const std::string& name : order) {
    const Json& entry = header.at(name);
    if (name == "__metadata__") {
      if (entry.is_null()) continue;  // as some writers say that there is none; a null entry likewise
      if (!entry.is_object()) refuse_damaged(path, "has __metadata__ that is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (value.is_null()) continue;
        if (!value.is_string()) refuse_damaged(path, fmt::format("has metadata `{}` that is not a string", key));
        content.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    auto refuse = [&](const std::string& what) { refuse_damaged(path, fmt::format("describes `{}` wrongly: {}", name, what)); };
    auto part = [&](const char* key) -> const Json& {
      if (!entry.is_object() || !entry.contains(key)) refuse(fmt::format("it has no {}", key));
      return entry[key];
    };
    const Json &dtype = part("dtype"), &shape = part("shape"), &offsets = part("data_offsets");
    StoredArray array;
    if (!dtype.is_string()) refuse("its dtype is not a text");
    const std::string& type = dtype.get_ref<const std::string&>();
    auto known = std::find_if(std::begin(type_names), std::end(type_names), [&](const auto& t) { return t.first == type; });
    if (known == std::end(type_names))
      throw UserError(
          Code::E0406,
          fmt::format("`{}` holds `{}` with element type {}, which is not supported", file_name(path), name, type.size() <= 40 ? Json(type).dump() : "of another kind"), path);
    array.type = known->second;
    auto sizes = [&](const Json& list, const char* what) {
      std::vector<int64_t> values;
      if (!list.is_array()) refuse(fmt::format("its {} is not a list", what));
      for (const Json& v : list) {
        if (!v.is_number_unsigned() || v.get<uint64_t>() > INT64_MAX) refuse(fmt::format("its {} is not a list of sizes", what));
        values.push_back(v.get<int64_t>());
      }
      return values;
    };
    array.shape = sizes(shape, "shape");
    std::vector<int64_t> range = sizes(offsets, "data_offsets");
    if (range.size() != 2) refuse("its data_offsets are not two numbers");
    uint64_t begin = range[0], end = range[1];
    if (begin > end || end > data_size)
      refuse_damaged(path,
                     fmt::format("is cut short or damaged: `{}` stands at bytes {} to {} of {}", name, begin, end, data_size));
    std::optional<uint64_t> count = checked_product(array.shape), bytes = checked_product(array.shape, byte_size(array.type));
    if (!count || !bytes || *bytes != end - begin)
      refuse(
          fmt::format("{} of {} do not take {} bytes", shape_as_product(array.shape), stored_type_name(array.type), end - begin));
    array.count = *count;
    array.offset = data_begin + begin;
    array.bytes = file;
    array.header = fmt::format("shape {} in its header", shape_as_tuple(array.shape));
    ranges.push_back({begin, end, content.tensors.size()});
    content.tensors.emplace_back(name, std::move(array));
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  uint64_t covered = 0;
  for (const Range& r : ranges) {
    const std::string& name = content.tensors[r.tensor].first;
    if (r.begin < covered)
      refuse_damaged(path, fmt::format("is damaged: the data of `{}` overlaps that of another tensor", name));
    if (r.begin > covered)
      refuse_damaged(path, fmt::format("is damaged: nothing describes {} bytes before `{}`", r.begin - covered, name));
    covered = r.end;
  }
  if (covered != data_size)
    refuse_damaged(path, fmt::format("is damaged: nothing describes its last {} bytes", data_size - covered));
  return content;
}

}  // namespace nnc
