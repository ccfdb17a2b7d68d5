// Numbers of any type, exactly: the borders of the types, and those between which doubles lie thin.
#include "base/number.h"

#include <bit>
#include <cmath>
#include <limits>

#include "base/philox.h"
#include "tests/unit/catch.h"

namespace nnc {
namespace {

const int64_t borders[] = {0,
                           1,
                           -1,
                           (int64_t(1) << 24) + 1,
                           (int64_t(1) << 31) - 1,
                           int64_t(1) << 31,
                           -(int64_t(1) << 31),
                           (int64_t(1) << 53) - 1,
                           int64_t(1) << 53,
                           (int64_t(1) << 53) + 1,
                           -(int64_t(1) << 53) - 1,
                           (int64_t(1) << 62) + 511,
                           INT64_MAX - 1,
                           INT64_MAX,
                           INT64_MIN,
                           INT64_MIN + 1};

}  // namespace

TEST_CASE("every whole number of 64 bits is itself", "[base]") {
  RandomStream random(1, 1);
  auto check = [](int64_t v) {
    INFO(v);
    Number n = v;
    CHECK(int64_t(n) == v);
    CHECK(n.bits() == uint64_t(v));
    CHECK(double(n) == double(v));
    CHECK(std::abs(n.rest()) <= 512);
    CHECK(number_text(n, DType::i64) == std::to_string(v));
    CHECK(is_value_of(DType::i64, n));
    CHECK(is_value_of(DType::i32, n) == (v >= INT32_MIN && v <= INT32_MAX));
    CHECK(is_value_of(DType::u8, n) == (v >= 0 && v <= 255));
    CHECK(int64_t(convert_number(n, DType::i64, DType::i32)) == int32_t(uint32_t(uint64_t(v))));
    CHECK(int64_t(convert_number(n, DType::i64, DType::u8)) == uint8_t(v));
    CHECK(double(rounded_to(DType::f32, n)) == double(float(v)));
    CHECK(double(rounded_to(DType::f64, n)) == double(v));
    CHECK(same_bits(rounded_to(DType::i64, n), n));
  };
  for (int64_t v : borders) check(v);
  for (int i = 0; i < 10000; ++i) check(int64_t(random.next_u64()) >> random.next_below(64));
}

TEST_CASE("the order of numbers is that of what they stand for", "[base]") {
  for (int64_t a : borders)
    for (int64_t b : borders) {
      INFO(a << " and " << b);
      CHECK((Number(a) < Number(b)) == (a < b));
      CHECK((Number(a) <= b) == (a <= b));
      CHECK((Number(a) == Number(b)) == (a == b));
      CHECK((Number(a) > Number(b)) == (a > b));
    }
  Number nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(nan == nan);
  CHECK_FALSE(nan < Number(1));
  CHECK_FALSE(nan >= Number(1));
  CHECK(same_bits(nan, nan));
  CHECK(Number(0.0) == Number(-0.0));
  CHECK_FALSE(same_bits(0.0, -0.0));
}

TEST_CASE("floats become integers by truncation, and stay at the ends of the type", "[base]") {
  auto converted = [](double v, DType to) { return int64_t(convert_number(v, DType::f64, to)); };
  CHECK(converted(2.9, DType::i64) == 2);
  CHECK(converted(-2.9, DType::i64) == -2);
  CHECK(converted(0x1p63, DType::i64) == INT64_MAX);
  CHECK(converted(0x1.fffffffffffffp62, DType::i64) == 0x7ffffffffffffc00);
  CHECK(converted(-0x1p63, DType::i64) == INT64_MIN);
  CHECK(converted(-1e300, DType::i64) == INT64_MIN);
  CHECK(converted(std::numeric_limits<double>::infinity(), DType::i64) == INT64_MAX);
  CHECK(converted(std::numeric_limits<double>::quiet_NaN(), DType::i64) == 0);
  CHECK(converted(2147483648.0, DType::i32) == INT32_MAX);
  CHECK(converted(-1, DType::u8) == 0);
  CHECK_FALSE(std::signbit(double(convert_number(-0.5, DType::f32, DType::i32))));
}

TEST_CASE("a number of f32 is written as briefly as f32 allows, and reads back", "[base]") {
  CHECK(number_text(double(0.1f), DType::f32) == "0.1");
  CHECK(number_text(double(0.1f), DType::f64) == "0.10000000149011612");
  CHECK(number_text(0.1, DType::f64) == "0.1");
  CHECK(number_text(double(16777216.0f), DType::f32) == "16777216");
  CHECK(number_text(-std::numeric_limits<double>::infinity(), DType::f32) == "-inf");
  CHECK(number_text(std::numeric_limits<double>::quiet_NaN(), DType::f32) == "nan");
  CHECK(number_text(-0.0, DType::f32) == "-0");
  CHECK(number_text(1e18, DType::i64) == "1000000000000000000");
  RandomStream random(2, 2);
  for (int i = 0; i < 20000; ++i) {
    float v = std::bit_cast<float>(uint32_t(random.next_u64()));
    if (!std::isfinite(v)) continue;
    CHECK(float(std::strtod(number_text(double(v), DType::f32).c_str(), nullptr)) == v);
  }
}

}  // namespace nnc
