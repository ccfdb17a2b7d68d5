// IDX files, and what every binary source has in common: views, conversions, labels, files that are not files.
#include <fcntl.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/data/file_bytes.h"
#include "runtime/data/table.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::string idx(uint8_t type, const std::vector<uint32_t>& sizes, const std::string& elements) {
  std::string file = {0, 0, static_cast<char>(type), static_cast<char>(sizes.size())};
  for (uint32_t s : sizes) file += big(s);
  return file + elements;
}

std::string counting(size_t n) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

DataField request(const std::string& path, std::vector<int64_t> row_shape, DType dtype = DType::u8) {
  DataField r;
  r.name = "image";
  r.source.kind = SourceKind::idx;
  r.source.path = path;
  r.row_shape = std::move(row_shape);
  r.dtype = dtype;
  return r;
}

DataField labels(const std::string& path, int64_t classes) {
  DataField r = request(path, {}, DType::i32);
  r.name = "label";
  r.classes = classes;
  return r;
}

std::string problem(const DataField& r) {
  return error_of([&] { read_field(r); });
}

template <class T>
T at(const FieldData& f, size_t i) {
  T value;
  std::memcpy(&value, f.data + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

TEST_CASE("idx: bytes stay bytes, plain and compressed") {
  TempFolder folder;
  std::string elements = counting(5 * 28 * 28), file = idx(8, {5, 28, 28}, elements);
  for (std::string path : {folder.write("a.idx3", file), folder.write("a.idx3.gz", gzip(file))}) {
    FieldData field = read_field(request(path, {784}));
    CHECK(field.rows == 5);
    CHECK(field.row_stride_bytes == 784);
    CHECK(field.dtype == DType::u8);
    CHECK(std::memcmp(field.data, elements.data(), elements.size()) == 0);
  }
}

TEST_CASE("idx: a row may be viewed in coarser or finer groups, never in others of the same size") {
  TempFolder folder;
  std::string path = folder.write("train-images.idx3", idx(8, {2, 32, 24}, counting(2 * 32 * 24)));
  for (std::vector<int64_t> shape :
       {std::vector<int64_t>{32, 24}, {768}, {1, 32, 24}, {32, 24, 1}, {4, 8, 24}, {32, 6, 4}, {8, 4, 6, 4}}) {
    CAPTURE(shape);
    CHECK(problem(request(path, shape)).empty());
    CHECK(read_field(request(path, shape)).row_shape == shape);
  }
  CHECK(problem(request(path, {28, 28})) ==
        "E0401 train-images.idx3 holds 32x24 images (header bytes 8-15); `image` is declared 28x28");
  CHECK_THAT(
      problem(request(path, {24, 32})),
      starts_with("E0401 train-images.idx3 holds 32x24 images (header bytes 8-15); `image` is declared 24x32 | the number"));
  CHECK_THAT(problem(request(path, {})), contains("`image` is declared one value per row"));
  CHECK_THAT(problem(request(path, {12, 64})), starts_with("E0401"));
  std::string single = folder.write("l.idx1", idx(8, {2}, counting(2)));
  CHECK(problem(request(single, {})).empty());
  CHECK(problem(request(single, {1})).empty());
  CHECK(problem(request(single, {28, 28})) ==
        "E0401 l.idx1 holds single values (one dimension, header byte 3); `image` is declared 28x28");
}

TEST_CASE("idx: every element type is read from its big-endian bytes") {
  TempFolder folder;
  auto read = [&](uint8_t type, const std::string& element, DType to) {
    return read_field(request(folder.write("t", idx(type, {1}, element)), {}, to));
  };
  CHECK(at<uint8_t>(read(0x08, "\xFE", DType::u8), 0) == 254);
  CHECK(at<float>(read(0x08, "\xFE", DType::f32), 0) == 254.0f);
  CHECK(at<int32_t>(read(0x09, "\xFE", DType::i32), 0) == -2);
  CHECK(at<int64_t>(read(0x0B, big<int16_t>(-1234), DType::i64), 0) == -1234);
  CHECK(at<int32_t>(read(0x0C, big<int32_t>(-123456789), DType::i32), 0) == -123456789);
  CHECK(at<float>(read(0x0D, big(1.25f), DType::f32), 0) == 1.25f);
  CHECK(at<double>(read(0x0E, big(0.1), DType::f64), 0) == 0.1);
  CHECK(at<float>(read(0x0E, big(0.1), DType::f32), 0) == 0.1f);
  CHECK(at<uint8_t>(read(0x0B, big<int16_t>(255), DType::u8), 0) == 255);
  CHECK(at<uint8_t>(read(0x08, std::string(1, '\1'), DType::boolean), 0) == 1);
}

TEST_CASE("idx: values that the declared type cannot hold") {
  TempFolder folder;
  std::string shorts = folder.write("s", idx(0x0B, {3}, big<int16_t>(1) + big<int16_t>(300) + big<int16_t>(2)));
  CHECK(problem(request(shorts, {})) == "E0410 value 300 in row 2 of `s` does not fit u8, the type of `image`");
  std::string bytes = folder.write("b", idx(0x08, {2}, counting(3).substr(1)));
  CHECK_THAT(problem(request(bytes, {}, DType::boolean)), starts_with("E0410 value 2 in row 2"));
  std::string floats = folder.write("f", idx(0x0D, {1}, big(1.0f)));
  CHECK_THAT(problem(request(floats, {})), starts_with("E0406 `image` is u8, but f holds f32"));
  CHECK_THAT(problem(labels(floats, 10)), starts_with("E0406 `label` is class(10), but f holds f32: labels are integers"));
  std::string nan =
      folder.write("n", idx(0x0D, {2, 3}, big(1.0f) + big(INFINITY) + big(2.0f) + big(3.0f) + big(NAN) + big(4.0f)));
  CHECK_THAT(problem(request(nan, {3}, DType::f32)), starts_with("E0410 row 2 of `n` holds NaN (value 2 of 3)"));
  std::string infinite = folder.write("i", idx(0x0D, {1}, big(-INFINITY)));
  CHECK(problem(request(infinite, {}, DType::f32)).empty());
}

TEST_CASE("idx: labels out of range name their row") {
  TempFolder folder;
  std::string path = folder.write("l", idx(8, {4}, std::string("\1\2\0\4", 4)));
  CHECK(problem(labels(path, 5)).empty());
  CHECK(at<int32_t>(read_field(labels(path, 5)), 3) == 4);
  CHECK(problem(labels(path, 4)) ==
        "E0409 label 4 in row 4 of `l` is out of range: `label` is class(4), 0 to 3 | the largest label is 4: class(5) would "
        "hold it");
  std::string from_one = folder.write("o", idx(8, {3}, "\1\3\2"));
  CHECK_THAT(problem(labels(from_one, 3)), contains("the labels count from 1: declare class(4)"));
  std::string negative = folder.write("m", idx(9, {1}, "\xFF"));
  CHECK_THAT(problem(labels(negative, 3)), starts_with("E0409 label -1 in row 1 of `m`"));
}

TEST_CASE("idx: damaged files") {
  TempFolder folder;
  auto damaged = [&](const std::string& bytes) { return problem(request(folder.write("x.idx", bytes), {28, 28})); };
  std::string good = idx(8, {3, 28, 28}, counting(3 * 784));
  CHECK(damaged(good).empty());
  CHECK_THAT(damaged(""), starts_with("E0403 `x.idx` is empty"));
  CHECK_THAT(damaged("\0\0"), starts_with("E0403"));  // a string literal's length ends at its first zero
  CHECK_THAT(damaged(std::string("\0\0\x08", 3)), starts_with("E0404"));
  CHECK_THAT(damaged("1,2,3\n4,5,6\n"), contains("it looks like text with commas: read it with csv(...), or let its name end in .csv"));
  CHECK_THAT(damaged("<!DOCTYPE html><title>404</title>"), contains("it looks like a web page"));
  CHECK_THAT(damaged(std::string("\0\0\x07\1", 4) + good.substr(4)),
             starts_with("E0404 `x.idx` is not an idx file: byte 2 names no element type (0x07)"));
  CHECK_THAT(damaged(idx(8, {}, "")), starts_with("E0404"));
  CHECK_THAT(damaged(good.substr(0, 9)), starts_with("E0405 `x.idx` ends inside its header: 9 of 16 bytes"));
  CHECK(damaged(good.substr(0, good.size() - 1)) ==
        "E0405 `x.idx` is cut short: its header promises 2352 bytes of data (3x28x28 of u8), it holds 2351");
  CHECK_THAT(damaged(good + "zz"), starts_with("E0405 `x.idx` holds 2 bytes more than its header promises"));
  CHECK_THAT(damaged(idx(8, {0, 28, 28}, "")), starts_with("E0403 `x.idx` holds no rows"));
  uint32_t huge = 0xFFFFFFFF;
  CHECK_THAT(damaged(idx(0x0E, {huge, huge, huge}, "12345678")), starts_with("E0405 `x.idx` promises"));
  CHECK_THAT(damaged(idx(0x0E, {huge, huge}, "12345678")), starts_with("E0405 `x.idx` promises"));
  CHECK_THAT(damaged(idx(8, {0, huge, huge, huge}, "")), starts_with("E0405"));
  CHECK_THAT(damaged(idx(8, {huge, 28, 28}, "12345678")), contains("is cut short"));
}

TEST_CASE("idx: damaged compression") {
  TempFolder folder;
  std::string good = gzip(idx(8, {3, 28, 28}, counting(3 * 784)));
  auto damaged = [&](const std::string& bytes) { return problem(request(folder.write("x.gz", bytes), {28, 28})); };
  CHECK(damaged(good).empty());
  CHECK_THAT(damaged(good.substr(0, good.size() / 2)), starts_with("E0405 `x.gz` ends in the middle of its gzip data"));
  CHECK_THAT(damaged(good.substr(0, good.size() - 3)), starts_with("E0405 `x.gz` ends in the middle"));
  CHECK_THAT(damaged(good + "garbage"), starts_with("E0405 `x.gz` holds other bytes after its gzip data"));
  CHECK_THAT(damaged(gzip("")), starts_with("E0403 `x.gz` is empty once decompressed"));
  std::string changed = good;
  changed[changed.size() / 2] = static_cast<char>(changed[changed.size() / 2] ^ 0x55);
  CHECK_THAT(damaged(changed), starts_with("E0405"));
  std::string wrong_sum = good;
  wrong_sum[wrong_sum.size() - 6] ^= 1;
  CHECK_THAT(damaged(wrong_sum), starts_with("E0405 `x.gz` holds damaged gzip data"));
  std::string forged = good;  // a trailer that promises 4 GB allocates no 4 GB, and does not agree with the data
  forged.replace(forged.size() - 4, 4, "\xFF\xFF\xFF\xFF");
  CHECK_THAT(damaged(forged), starts_with("E0405"));
}

TEST_CASE("data files that are not files") {
  TempFolder folder;
  CHECK_THAT(problem(request(folder.path("none.idx"), {})),
             starts_with("E0402 cannot read `none.idx`: no such file or directory"));
  CHECK_THAT(problem(request(folder.path(), {})), contains("it is a folder, not a file"));
  std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THAT(problem(request(pipe, {})), contains("it is a pipe"));
  CHECK_THAT(problem(request("/dev/zero", {})), contains("it is a device"));
  CHECK_THAT(problem(request(folder.write("file", "x") + "/below", {})), starts_with("E0402"));
}

TEST_CASE("fields of one block must have the same number of rows") {
  TempFolder folder;
  std::vector<DataField> both = {request(folder.write("i", idx(8, {3, 2}, counting(6))), {2}),
                                    labels(folder.write("l", idx(8, {2}, counting(2))), 10)};
  CHECK(error_of([&] { read_fields(both); }) == "E0412 `image` has 3 rows in i, but `label` has 2 in l");
}

TEST_CASE("a file too large to copy is mapped, and may be read past its last row") {
  map_large_files();
  TempFolder folder;
  size_t rows = (size_t{33} << 20) / 4096;  // the data ends 16 bytes into a page
  std::string path = folder.write("big.idx", idx(8, {static_cast<uint32_t>(rows), 4096}, counting(rows * 4096)));
  FieldData field = read_field(request(path, {4096}));
  CHECK(field.mapped);
  CHECK(field.rows == static_cast<int64_t>(rows));
  CHECK(at<uint8_t>(field, rows * 4096 - 1) == (rows * 4096 - 1) % 251);
  CHECK(at<uint8_t>(field, rows * 4096 + 63) == 0);
  std::string whole_pages =
      folder.write("pages.idx", idx(8, {static_cast<uint32_t>((size_t{32} << 20) - 8)}, counting((size_t{32} << 20) - 8)));
  REQUIRE(std::filesystem::file_size(whole_pages) == size_t{32} << 20);
  FieldData full = read_field(request(whole_pages, {}));
  CHECK(full.mapped);
  CHECK(at<uint8_t>(full, static_cast<size_t>(full.rows) + 63) == 0);
}
