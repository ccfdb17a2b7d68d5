// Places in source text, checks and element types.
#include "base/check.h"
#include "base/source.h"
#include "base/types.h"
#include "tests/unit/catch.h"

using namespace nnc;

TEST_CASE("positions count lines and code points from one") {
  SourceMap sources;
  FileId file = sources.add("net.nn", "ab\r\n\xC3\xA9x\n\nlast");
  auto at = [&](uint32_t offset) {
    LineColumn p = sources.position(file, offset);
    return std::pair(p.line, p.column);
  };
  CHECK(at(0) == std::pair(1u, 1u));
  CHECK(at(1) == std::pair(1u, 2u));
  CHECK(at(4) == std::pair(2u, 1u));
  CHECK(at(6) == std::pair(2u, 2u));  // after the two bytes of one character
  CHECK(at(8) == std::pair(3u, 1u));
  CHECK(at(9) == std::pair(4u, 1u));
  CHECK(at(13) == std::pair(4u, 5u));
  CHECK(at(4000) == std::pair(4u, 5u));
  CHECK(sources.line(file, 1) == "ab");
  CHECK(sources.line(file, 2) == "\xC3\xA9x");
  CHECK(sources.line(file, 3).empty());
  CHECK(sources.line(file, 4) == "last");
  CHECK(sources.line(file, 5).empty());
  CHECK(sources.line(file, 0).empty());
  CHECK(sources.text(Span{file, 9, 13}) == "last");
  CHECK(sources.text(Span{file, 9, 400}) == "last");
  CHECK(sources.describe(Span{file, 6, 7}) == "net.nn:2:2");
  CHECK(sources.describe_line(Span{file, 6, 7}) == "net.nn:2");
  CHECK(sources.describe(Span{}).empty());
  CHECK(sources.describe_line(Span{}).empty());
}

TEST_CASE("an empty file has one empty line") {
  SourceMap sources;
  FileId file = sources.add("empty.nn", "");
  CHECK(sources.position(file, 0).line == 1);
  CHECK(sources.position(file, 0).column == 1);
  CHECK(sources.line(file, 1).empty());
  CHECK(sources.path(file) == "empty.nn");
}

TEST_CASE("spans join to the smallest that covers both") {
  FileId one{1}, two{2};
  CHECK(join({one, 3, 5}, {one, 1, 4}) == Span{one, 1, 5});
  CHECK(join({one, 3, 5}, {}) == Span{one, 3, 5});
  CHECK(join({}, {one, 3, 5}) == Span{one, 3, 5});
  CHECK(join({one, 3, 5}, {two, 0, 9}) == Span{one, 3, 5});
}

TEST_CASE("a failed check names its condition and place and is an internal error") {
  CHECK_NOTHROW([] { NNC_CHECK(1 + 1 == 2, "arithmetic"); }());
  try {
    NNC_CHECK(1 + 1 == 3, "arithmetic");
    FAIL("the check passed");
  } catch (const InternalError& e) {
    std::string text = e.what();
    CHECK(text.find("1 + 1 == 3") != std::string::npos);
    CHECK(text.find("base_source_test.cpp") != std::string::npos);
    CHECK(text.find("arithmetic") != std::string::npos);
  }
  CHECK_THROWS_AS(SourceMap().path(FileId{1}), InternalError);
}

TEST_CASE("element types have the sizes and names of the language") {
  for (DType t : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean})
    CHECK(parse_dtype(dtype_name(t)) == t);
  CHECK(byte_size(DType::f32) == 4);
  CHECK(byte_size(DType::f64) == 8);
  CHECK(byte_size(DType::i32) == 4);
  CHECK(byte_size(DType::i64) == 8);
  CHECK(byte_size(DType::u8) == 1);
  CHECK(byte_size(DType::boolean) == 1);
  CHECK(dtype_name(DType::boolean) == "bool");
  CHECK_FALSE(parse_dtype("float").has_value());
}
