// Text as training data: characters as numbers, rows that overlap, parts that no row of another reads, vocabularies as JSON.
#include <cstring>

#include "runtime/data/file_bytes.h"
#include "runtime/data/text_tokens.h"
#include "runtime/row_order.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::vector<int32_t> numbers(const TextTokens& text) { return {text.numbers.get(), text.numbers.get() + text.count}; }

/// "E0404 message | place | help".
std::string problem(const std::string& path, const KnownVocabulary* known = nullptr) {
  try {
    read_text_tokens(path, known);
  } catch (const UserError& e) {
    const Diagnostic& d = e.diagnostic();
    return std::string(code_name(d.code)) + " " + d.message + " | " + d.place + (d.help.empty() ? "" : " | " + d.help[0]);
  }
  return {};
}

SplitSpec share(double fraction) {
  SplitSpec split;
  split.kind = SplitSpec::Kind::random;
  split.fraction = fraction;
  return split;
}

}  // namespace

TEST_CASE("text: characters are code points, and their numbers places among the sorted ones") {
  TempFolder folder;
  TextTokens text = read_text_tokens(folder.write("a.txt", "b\xC3\xA9\x61\n\xE2\x82\xAC\xF0\x9F\x98\x80" "bb"));
  CHECK(text.vocabulary == U"\nab\u00E9\u20AC\U0001F600");
  CHECK(numbers(text) == std::vector<int32_t>{2, 3, 1, 0, 4, 5, 2, 2});
}

TEST_CASE("text: a byte order mark is no character, a compressed file is its text") {
  TempFolder folder;
  TextTokens text = read_text_tokens(folder.write("a.txt", "\xEF\xBB\xBFxy\xEF\xBB\xBF"));
  CHECK(text.vocabulary == U"xy\uFEFF");
  CHECK(text.count == 3);
  CHECK(read_text_tokens(folder.write("a.txt.gz", gzip("to be"))).count == 5);
}

TEST_CASE("text: a known vocabulary gives the numbers, and refuses what it lacks") {
  TempFolder folder;
  const KnownVocabulary known{U"\nabc", "w.safetensors"};
  TextTokens text = read_text_tokens(folder.write("a.txt", "cab\n"), &known);
  CHECK(text.vocabulary == known.characters);
  CHECK(numbers(text) == std::vector<int32_t>{3, 1, 2, 0});
  const std::string path = folder.write("b.txt", "ab\nc\xC3\xA9");
  CHECK(problem(path, &known) == "E0415 `b.txt` holds `\xC3\xA9` (U+00E9), which is none of the 4 characters of w.safetensors | " + path + ":2, column 2 | "
                                 "a model knows the characters that it was trained on");
}

TEST_CASE("text: what is no text") {
  TempFolder folder;
  std::string path = folder.write("a.txt", "\xC3\xA9\nx\xC3\xA9\xFFz");
  CHECK(problem(path) == "E0404 `a.txt` holds the byte 0xFF, which is no UTF-8 | " + path + ":2, column 3 | save the text as UTF-8");
  path = folder.write("b.txt", "cut \xE2\x82");
  CHECK(problem(path) == "E0404 `b.txt` holds the byte 0xE2, which is no UTF-8 | " + path + ":1, column 5 | save the text as UTF-8");
  path = folder.write("c.txt", std::string("a\0b", 3));
  CHECK(problem(path) == "E0404 `c.txt` holds a NUL, which no text does | " + path + ":1, column 2 | a text source reads text, in UTF-8");
  path = folder.write("d.txt", "\x93NUMPY\x01");
  CHECK(problem(path).find("it looks like a numpy array") != std::string::npos);
  path = folder.write("e.txt", "");
  CHECK(problem(path).starts_with("E0403"));
  path = folder.write("f.txt", "\xEF\xBB\xBF");
  CHECK(problem(path) == "E0403 `f.txt` holds no characters | " + path);
}

TEST_CASE("text: rows of all fields are one array") {
  TempFolder folder;
  TextTokens text = read_text_tokens(folder.write("a.txt", "abcdef"));
  DataField field;
  field.dtype = DType::i32;
  field.classes = 6;
  field.source.kind = SourceKind::text;
  field.source.context = 3;
  field.row_shape = {3};
  FieldData tokens = text_field(text, field, 3);
  field.source.offset = 1;
  FieldData next = text_field(text, field, 3);
  CHECK(tokens.rows == 3);
  CHECK(tokens.row_stride_bytes == 4);
  CHECK(tokens.row_shape == std::vector<int64_t>{3});
  CHECK(next.data == tokens.data + 4);
  int32_t row[3];
  std::memcpy(row, next.data + 2 * next.row_stride_bytes, sizeof row);
  CHECK(row[0] == 3);
  CHECK(row[2] == 5);
}

TEST_CASE("text: parts of rows read no character of another part") {
  // 100 characters, rows of 8 and one more: 20 for the test, 30 for the validation.
  DataSplit split = split_rows_of_text(100, 8, 9, share(0.2), share(0.3));
  CHECK(split.test == std::vector<int64_t>{80, 88});
  CHECK(split.valid == std::vector<int64_t>{50, 58, 66});
  CHECK(split.train.size() == 42);
  CHECK(split.train.front() == 0);
  CHECK(split.train.back() == 41);  // reads 41 to 49
  CHECK(split_rows_of_text(100, 8, 9, {}, {}).train.size() == 92);
  CHECK(split_rows_of_text(100, 8, 9, share(0.08), {}).test.empty());
  CHECK(split_rows_of_text(100, 8, 9, share(0.09), {}).test == std::vector<int64_t>{91});
  CHECK(split_rows_of_text(8, 8, 9, {}, {}).train.empty());
  CHECK(rows_of_text(0, 17, 8, 8) == std::vector<int64_t>{0, 8});
}

TEST_CASE("text: vocabularies as JSON") {
  const Vocabulary vocabulary = U"\n\"\\a\u00E9\U0001F600";
  CHECK(vocabulary_as_json(vocabulary) == "[\"\\n\",\"\\\"\",\"\\\\\",\"a\",\"\xC3\xA9\",\"\xF0\x9F\x98\x80\"]");
  CHECK(vocabulary_from_json(vocabulary_as_json(vocabulary)) == vocabulary);
  for (const char* wrong : {"", "[", "{}", "[]", "[1]", "[\"ab\"]", "[\"\"]", "[\"b\",\"a\"]", "[\"a\",\"a\"]", "null", "\"a\""}) CHECK(!vocabulary_from_json(wrong));
}

TEST_CASE("text: how vocabularies differ") {
  CHECK(describe_difference(U"ab", U"ab", "then", "now").empty());
  CHECK(describe_difference(U"abc", U"bcd", "then", "now") == "3 characters then, 3 now; then alone: `a`; now alone: `d`");
  CHECK(describe_difference(U"\nabcdefghij", U"`", "then", "now") == "11 characters then, 1 now; then alone: U+000A, `a`, `b`, `c`, `d`, `e`, `f`, `g` and 3 more; now alone: U+0060");
}
