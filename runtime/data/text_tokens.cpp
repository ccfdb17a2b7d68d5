// Two passes over the bytes: one finds which characters there are (and that all are well-formed UTF-8), one writes their numbers. Both go by tables over code points, so that a
// text costs the same whatever its alphabet.
#include "runtime/data/text_tokens.h"

#include <algorithm>
#include <new>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/diagnostics.h"
#include "base/utf8.h"
#include "runtime/data/file_bytes.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

constexpr char32_t code_points = 0x110000;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// The code point of a well-formed sequence.
char32_t decode(std::string_view text, size_t at, size_t length) {
  const auto byte = [&](size_t i) { return char32_t(static_cast<unsigned char>(text[at + i])); };
  if (length == 1) return byte(0);
  char32_t point = byte(0) & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) point = point << 6 | (byte(i) & 0x3F);
  return point;
}

void encode(char32_t point, std::string& text) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (point < 0x80) return add(point);
  if (point < 0x800) {
    add(0xC0 | point >> 6);
  } else if (point < 0x10000) {
    add(0xE0 | point >> 12);
    add(0x80 | (point >> 6 & 0x3F));
  } else {
    add(0xF0 | point >> 18);
    add(0x80 | (point >> 12 & 0x3F));
    add(0x80 | (point >> 6 & 0x3F));
  }
  add(0x80 | (point & 0x3F));
}

/// "poems.txt:3, column 7": columns count characters. What stands before `at` is well-formed.
std::string place_of(const std::string& path, std::string_view text, size_t at) {
  size_t line = 1, begin = 0;
  for (size_t i = 0; i < at; ++i)
    if (text[i] == '\n') ++line, begin = i + 1;
  size_t column = 1;
  for (size_t i = begin; i < at; i += std::max<size_t>(1, utf8_length(text, i))) ++column;
  return fmt::format("{}:{}, column {}", path, line, column);
}

[[noreturn]] void refuse_bytes(const FileBytes& file, const std::string& path, std::string_view text, size_t at, bool is_nul) {
  const std::string what = is_nul ? "a NUL, which no text does" : fmt::format("the byte 0x{:02X}, which is no UTF-8", static_cast<unsigned char>(text[at]));
  std::string help = recognise_format(file);
  if (help.empty()) help = is_nul ? "a text source reads text, in UTF-8" : "save the text as UTF-8";
  throw UserError(Code::E0404, fmt::format("`{}` holds {}", file_name(path), what), place_of(path, text, at), std::move(help));
}

}  // namespace

std::string show_character(char32_t c) {
  std::string shown;
  const bool is_control = c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029;
  if (!is_control) encode(c, shown);
  if (is_control || c == '`') return fmt::format("U+{:04X}", uint32_t(c));
  return c < 0x7F ? fmt::format("`{}`", shown) : fmt::format("`{}` (U+{:04X})", shown, uint32_t(c));
}

TextTokens read_text_tokens(const std::string& path, const KnownVocabulary* known, const FileLoader& load) {
  const FileBytes file = load(path);
  std::string_view text = file.text();
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  if (text.empty()) throw UserError(Code::E0403, fmt::format("`{}` holds no characters", file_name(path)), path);
  std::vector<int32_t> number(code_points, -1);  // of each character
  TextTokens result;
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const size_t length = utf8_length(text, i);
    if (length == 0 || text[i] == 0) refuse_bytes(file, path, text, i, length > 0);
    number[decode(text, i, length)] = 0;
    i += length;
  }
  if (known) {
    result.vocabulary = known->characters;
    std::fill(number.begin(), number.end(), -1);
  } else {
    for (char32_t c = 0; c < code_points; ++c)
      if (number[c] == 0) result.vocabulary += c;
  }
  for (size_t i = 0; i < result.vocabulary.size(); ++i) number[result.vocabulary[i]] = int32_t(i);
  OwnedBytes memory = allocate_bytes(count * sizeof(int32_t));
  auto* numbers = reinterpret_cast<int32_t*>(memory.data.get());
  for (size_t i = 0, at = 0; i < text.size(); ++at) {
    const size_t length = utf8_length(text, i);
    const char32_t c = decode(text, i, length);
    if (number[c] < 0)
      throw UserError(Code::E0415, fmt::format("`{}` holds {}, which is none of the {} characters of {}", file_name(path), show_character(c), result.vocabulary.size(), known->owner),
                      place_of(path, text, i), "a model knows the characters that it was trained on");
    numbers[at] = number[c];
    i += length;
  }
  result.numbers = std::shared_ptr<const int32_t>(memory.data, numbers);
  result.count = int64_t(count);
  return result;
}

std::string encode_character(char32_t c) {
  std::string text;
  encode(c, text);
  return text;
}

std::string show_characters(const Vocabulary& characters) {
  std::string text;
  for (size_t i = 0; i < characters.size();) {
    size_t end = i + 1;
    while (end < characters.size() && characters[end] == characters[end - 1] + 1) ++end;
    text += (i ? ", " : "") + show_character(characters[i]);
    if (end - i > 2) {
      text += " to " + show_character(characters[end - 1]);
      i = end;
    } else {
      ++i;
    }
  }
  return text;
}

std::vector<int32_t> number_characters(std::string_view text, const KnownVocabulary& known, const std::string& name) {
  std::vector<int32_t> numbers;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const std::string place = fmt::format("{}, character {}", name, numbers.size() + 1);
    if (length == 0) throw UserError(Code::E0404, fmt::format("{} holds the byte 0x{:02X}, which is no UTF-8", name, static_cast<unsigned char>(text[i])), place);
    const char32_t c = decode(text, i, length);
    const Vocabulary& all = known.characters;
    const auto at = std::ranges::lower_bound(all, c);
    if (at == all.end() || *at != c) {
      Diagnostic d;
      d.code = Code::E0415;
      d.place = place;
      d.message = fmt::format("{} holds {}, which is none of the {} characters of {}", name, show_character(c), all.size(), known.owner);
      d.notes.push_back("its characters are " + show_characters(all));
      const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (const char32_t other = c ^ 0x20; is_letter && std::ranges::binary_search(all, other)) d.help.push_back(fmt::format("it knows {}", show_character(other)));
      throw UserError(std::move(d));
    }
    numbers.push_back(int32_t(at - all.begin()));
    i += length;
  }
  return numbers;
}

FieldData text_field(const TextTokens& text, const DataField& f, int64_t rows) {
  NNC_CHECK(f.dtype == DType::i32 && f.row_shape == std::vector<int64_t>{f.source.context}, "a text's field is its context, in numbers of 32 bits");
  NNC_CHECK(rows == 0 || rows - 1 + f.source.offset + f.source.context <= text.count, "rows beyond the end of a text");
  FieldData field;
  field.dtype = f.dtype;
  field.row_shape = f.row_shape;
  field.rows = rows;
  field.row_stride_bytes = sizeof(int32_t);
  field.data = reinterpret_cast<const std::byte*>(text.numbers.get() + f.source.offset);
  field.owner = text.numbers;
  return field;
}

std::string vocabulary_as_json(const Vocabulary& vocabulary) {
  nlohmann::json list = nlohmann::json::array();
  for (char32_t c : vocabulary) {
    std::string character;
    encode(c, character);
    list.push_back(character);
  }
  return list.dump();
}

std::optional<Vocabulary> vocabulary_from_json(const std::string& text) {
  const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
  if (!list.is_array() || list.empty()) return std::nullopt;
  Vocabulary vocabulary;
  for (const nlohmann::json& item : list) {
    if (!item.is_string()) return std::nullopt;
    const std::string& character = item.get_ref<const std::string&>();
    const size_t length = utf8_length(character, 0);
    if (length == 0 || length != character.size()) return std::nullopt;
    const char32_t c = decode(character, 0, length);
    if (!vocabulary.empty() && c <= vocabulary.back()) return std::nullopt;
    vocabulary += c;
  }
  return vocabulary;
}

std::string describe_difference(const Vocabulary& first, const Vocabulary& second, std::string_view then, std::string_view now) {
  if (first == second) return {};
  const auto list = [](const Vocabulary& characters) {
    constexpr size_t most = 8;
    std::string text;
    for (size_t i = 0; i < std::min(most, characters.size()); ++i) text += (i ? ", " : "") + show_character(characters[i]);
    return characters.size() > most ? fmt::format("{} and {} more", text, characters.size() - most) : text;
  };
  Vocabulary gone, added;
  std::ranges::set_difference(first, second, std::back_inserter(gone));
  std::ranges::set_difference(second, first, std::back_inserter(added));
  std::string text = fmt::format("{} characters {}, {} {}", first.size(), then, second.size(), now);
  if (!gone.empty()) text += fmt::format("; {} alone: {}", then, list(gone));
  if (!added.empty()) text += fmt::format("; {} alone: {}", now, list(added));
  return text;
}

}  // namespace nnc
