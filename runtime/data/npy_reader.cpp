// NPY: magic, version, header length, a Python dict literal with descr, fortran_order and shape, then the elements.
// Source: the format's description in numpy.lib.format (NEP 1). The literal is parsed strictly; nothing of Python is evaluated.
#include <fmt/format.h>

#include <charconv>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

struct Descr {
  StoredType type;
  bool big_endian;
};

/// The three entries of the header. Any deviation from the grammar throws E0405 through `refuse`.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  void parse(StoredArray& array) {
    bool have_descr = false, have_order = false, have_shape = false;
    expect('{');
    while (!accept('}')) {
      std::string key = parse_string();
      expect(':');
      if (key == "descr" && !have_descr) {
        have_descr = true;
        parse_descr(array);
      } else if (key == "fortran_order" && !have_order) {
        have_order = true;
        array.fortran_order = parse_bool();
      } else if (key == "shape" && !have_shape) {
        have_shape = true;
        array.shape = parse_shape();
      } else {
        refuse();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size() || !have_descr || !have_order || !have_shape) refuse();
  }

 private:
  [[noreturn]] void refuse() const {
    refuse_damaged(path_, "has a header that is not numpy's: " + std::string(text_.substr(0, 60)));
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse();
  }

  std::string parse_string() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) refuse();
    size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) refuse();
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  bool parse_bool() {
    skip_space();
    for (auto [word, value] : {std::pair{std::string_view("True"), true}, std::pair{std::string_view("False"), false}})
      if (text_.substr(at_).starts_with(word)) return at_ += word.size(), value;
    refuse();
  }

  std::vector<int64_t> parse_shape() {
    std::vector<int64_t> shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t size = 0;
      auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0) refuse();
      at_ = static_cast<size_t>(end - text_.data());
      accept('L');  // Python 2 wrote long integers so
      shape.push_back(size);
      if (shape.size() > 64) refuse();
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  void parse_descr(StoredArray& array) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[')
      throw UserError(Code::E0406, fmt::format("`{}` holds records of named fields (a structured numpy array)", file_name(path_)),
                      path_, "save each field as an array of its own");
    std::string descr = parse_string();
    std::string_view kind = descr;
    char order = '|';
    if (!kind.empty() && (kind[0] == '<' || kind[0] == '>' || kind[0] == '|' || kind[0] == '=')) {
      order = kind[0];
      kind.remove_prefix(1);
    }
    static constexpr std::pair<std::string_view, StoredType> known[] = {
        {"f2", StoredType::f16}, {"f4", StoredType::f32}, {"f8", StoredType::f64}, {"i1", StoredType::i8},
        {"i2", StoredType::i16}, {"i4", StoredType::i32}, {"i8", StoredType::i64}, {"u1", StoredType::u8},
        {"u2", StoredType::u16}, {"u4", StoredType::u32}, {"u8", StoredType::u64}, {"b1", StoredType::boolean}};
    for (auto [name, type] : known) {
      if (name != kind) continue;
      array.type = type;
      array.big_endian = order == '>';
      return;
    }
    if (kind.starts_with("O"))
      throw UserError(Code::E0406, fmt::format("`{}` holds Python objects, not numbers", file_name(path_)), path_,
                      "save a plain array: np.save(file, array.astype(np.float32))");
    throw UserError(Code::E0406, fmt::format("`{}` has element type `{}`, which is not supported", file_name(path_), descr),
                    path_, "supported are bool, integers of 8 to 64 bits, and floats of 16 to 64 bits");
  }

  std::string_view text_;
  const std::string& path_;
  size_t at_ = 0;
};

}  // namespace

StoredArray parse_npy(const FileBytes& file, const std::string& path) {
  std::string_view text = file.text();
  if (!text.starts_with("\x93NUMPY"))
    refuse_format(path, "is not a numpy array: it does not begin with \\x93NUMPY", recognise_format(file));
  auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(text[i])); };
  if (text.size() < 10) refuse_damaged(path, "ends inside its header");
  size_t version = byte(6);
  if (version < 1 || version > 3)
    refuse_format(path, fmt::format("is a numpy array of format version {}; 1 to 3 are known", version));
  size_t begin = version == 1 ? 10 : 12;
  if (text.size() < begin) refuse_damaged(path, "ends inside its header");
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > text.size() - begin)
    refuse_damaged(path, fmt::format("ends inside its header: {} of {} bytes", text.size(), begin + length));
  StoredArray array;
  HeaderParser(text.substr(begin, length), path).parse(array);
  array.header = fmt::format("shape {} in its header", shape_as_tuple(array.shape));
  array.offset = begin + length;
  array.bytes = file;
  std::optional<uint64_t> count = checked_product(array.shape), bytes = checked_product(array.shape, byte_size(array.type));
  if (!count || !bytes)
    refuse_damaged(path,
                   fmt::format("promises {} elements in its header, more than any file holds", shape_as_product(array.shape)));
  size_t held = text.size() - array.offset;
  if (held < *bytes)
    refuse_damaged(path, fmt::format("is cut short: its header promises {} bytes of data ({} of {}), it holds {}", *bytes,
                                     shape_as_product(array.shape), stored_type_name(array.type), held));
  if (held > *bytes)
    refuse_damaged(path, fmt::format("holds {} bytes more than its header promises ({} of {})", held - *bytes,
                                     shape_as_product(array.shape), stored_type_name(array.type)));
  array.count = *count;
  return array;
}

}  // namespace nnc
