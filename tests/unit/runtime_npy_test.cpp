// NPY and NPZ: numpy's own layouts, read and written, and damaged in every place.
#include <cmath>
#include <cstring>
#include <random>

#include "runtime/data/tensor_file.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// A version 1 file with the given header literal.
std::string npy(std::string dict, const std::string& elements) {
  dict += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + little<uint16_t>(static_cast<uint16_t>(dict.size())) + dict + elements;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& elements,
                const std::string& fortran = "False") {
  return npy("{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }", elements);
}

DataField request(const std::string& path, std::vector<int64_t> row_shape, DType dtype = DType::f32,
                     const std::string& key = {}) {
  DataField r;
  r.name = "x";
  r.source.kind = guess_source_kind(path);
  r.source.path = path;
  r.source.key = key;
  r.row_shape = std::move(row_shape);
  r.dtype = dtype;
  return r;
}

template <class T>
std::vector<T> values(const TensorView& t) {
  std::vector<T> all(t.element_count());
  if (!all.empty()) std::memcpy(all.data(), t.data, t.byte_count());
  return all;
}

template <class T>
TensorView view(std::string name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& data) {
  return {std::move(name), dtype, std::move(shape), reinterpret_cast<const std::byte*>(data.data())};
}

}  // namespace

TEST_CASE("npy: element types of numpy, both byte orders, widened where nnc has no such type") {
  TempFolder folder;
  auto read = [&](const std::string& descr, const std::string& element) {
    return read_npy(folder.write("t.npy", npy(descr, "(1,)", element)));
  };
  CHECK(values<float>(read("<f4", little(1.5f)).tensors[0])[0] == 1.5f);
  CHECK(values<float>(read(">f4", big(1.5f)).tensors[0])[0] == 1.5f);
  CHECK(values<double>(read("<f8", little(0.1)).tensors[0])[0] == 0.1);
  CHECK(values<float>(read("<f2", little<uint16_t>(0x3E00)).tensors[0])[0] == 1.5f);
  CHECK(values<float>(read("<f2", little<uint16_t>(0x0001)).tensors[0])[0] == 0x1p-24f);
  CHECK(values<float>(read("<f2", little<uint16_t>(0xFC00)).tensors[0])[0] == -INFINITY);
  CHECK(std::isnan(values<float>(read("<f2", little<uint16_t>(0x7E00)).tensors[0])[0]));
  CHECK(values<float>(read("<f2", little<uint16_t>(0x8400)).tensors[0])[0] == -0x1p-14f);
  CHECK(values<int32_t>(read("|i1", "\x80").tensors[0])[0] == -128);
  CHECK(values<int32_t>(read("<u2", little<uint16_t>(65535)).tensors[0])[0] == 65535);
  CHECK(values<int64_t>(read(">u4", big<uint32_t>(4000000000)).tensors[0])[0] == 4000000000);
  CHECK(values<int64_t>(read("<u8", little<uint64_t>(7)).tensors[0])[0] == 7);
  CHECK(values<uint8_t>(read("|u1", "\xFF").tensors[0])[0] == 255);
  CHECK(values<uint8_t>(read("|b1", "\1").tensors[0])[0] == 1);
  CHECK(read("|b1", "\1").tensors[0].dtype == DType::boolean);
  CHECK_THAT(error_of([&] { read("<u8", little<uint64_t>(UINT64_MAX)); }),
             starts_with("E0410 value 18446744073709551615 of `t.npy` does not fit i64"));
}

TEST_CASE("npy: versions 2 and 3, other quotes and spacing, no dimensions, no elements") {
  TempFolder folder;
  std::string dict = "{\"shape\": ( 2 ,3 ), 'fortran_order':False,'descr' : '<i4'}";
  std::string six;
  for (int32_t i = 0; i < 6; ++i) six += little(i);
  for (char version : {2, 3}) {
    std::string file =
        std::string("\x93NUMPY") + version + '\0' + little<uint32_t>(static_cast<uint32_t>(dict.size())) + dict + six;
    TensorFile read = read_npy(folder.write("v.npy", file));
    CHECK(read.tensors[0].shape == std::vector<int64_t>{2, 3});
    CHECK(values<int32_t>(read.tensors[0]) == std::vector<int32_t>{0, 1, 2, 3, 4, 5});
  }
  CHECK(read_npy(folder.write("s.npy", npy("<f8", "()", little(2.0)))).tensors[0].shape.empty());
  CHECK(read_npy(folder.write("z.npy", npy("<f8", "(0, 3)", ""))).tensors[0].element_count() == 0);
}

TEST_CASE("npy: column-major arrays become row-major") {
  TempFolder folder;
  std::string stored;  // element [i, j, k] = 100 i + 10 j + k of a 2x3x4 array, first index fastest
  for (int k = 0; k < 4; ++k)
    for (int j = 0; j < 3; ++j)
      for (int i = 0; i < 2; ++i) stored += little(static_cast<float>(100 * i + 10 * j + k));
  std::vector<float> read = values<float>(read_npy(folder.write("f.npy", npy("<f4", "(2, 3, 4)", stored, "True"))).tensors[0]);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 4; ++k)
        CHECK(read[static_cast<size_t>((i * 3 + j) * 4 + k)] == static_cast<float>(100 * i + 10 * j + k));
}

TEST_CASE("npy: as a data field") {
  TempFolder folder;
  std::string elements;
  for (int i = 0; i < 6; ++i) elements += little(static_cast<double>(i) / 3);
  std::string path = folder.write("x.npy", npy("<f8", "(2, 3)", elements));
  FieldData field = read_field(request(path, {3}, DType::f64));
  CHECK(field.rows == 2);
  CHECK(field.row_stride_bytes == 24);
  CHECK(std::memcmp(field.data, elements.data(), elements.size()) == 0);
  CHECK(read_field(request(path, {3})).row_stride_bytes == 12);
  auto problem = [&](const DataField& r) { return error_of([&] { read_field(r); }); };
  CHECK(problem(request(path, {4})) == "E0401 x.npy holds rows of 3 (shape (2, 3) in its header); `x` is declared 4");
  CHECK_THAT(problem(request(path, {3}, DType::i32)), starts_with("E0406 `x` is i32, but x.npy holds f64"));
  // A float that was finite stays finite; infinity is the file's own word.
  std::string large = folder.write("l.npy", npy("<f8", "(2, 2)", little(1.0) + little(HUGE_VAL) + little(-3.5e38) + little(1e-60)));
  CHECK(problem(request(large, {2})) == "E0410 value -3.5e+38 in row 2 of `l.npy` does not fit f32, the type of `x`");
  CHECK(problem(request(large, {2}, DType::f64)).empty());
  CHECK(problem(request(folder.write("i.npy", npy("<f8", "(1, 2)", little(HUGE_VAL) + little(1e-60))), {2})).empty());
  CHECK_THAT(problem(request(folder.write("s.npy", npy("<f8", "()", little(2.0))), {})),
             starts_with("E0401 s.npy holds a single number"));
  CHECK_THAT(problem(request(folder.write("z.npy", npy("<f8", "(0, 3)", "")), {3})), starts_with("E0403 `z.npy` holds no rows"));
}

TEST_CASE("npy: damaged and foreign files") {
  TempFolder folder;
  auto problem = [&](const std::string& bytes) { return error_of([&] { read_npy(folder.write("x.npy", bytes)); }); };
  std::string good = npy("<f4", "(2,)", little(1.0f) + little(2.0f));
  CHECK(problem(good).empty());
  CHECK_THAT(problem(""), starts_with("E0403"));
  CHECK_THAT(problem("PK\x03\x04rest of it"),
             starts_with("E0404 `x.npy` is not a numpy array: it does not begin with \\x93NUMPY | it looks like a zip archive"));
  CHECK_THAT(problem(good.substr(0, 7)), starts_with("E0405 `x.npy` ends inside its header"));
  CHECK_THAT(problem(good.substr(0, 40)), starts_with("E0405 `x.npy` ends inside its header"));
  CHECK_THAT(problem(good.substr(0, good.size() - 1)),
             contains("is cut short: its header promises 8 bytes of data (2 of f32), it holds 7"));
  CHECK_THAT(problem(good + "x"), contains("holds 1 bytes more than its header promises"));
  std::string version = good;
  version[6] = 9;
  CHECK_THAT(problem(version), contains("format version 9"));
  CHECK_THAT(problem(npy("|O", "(2,)", "xxxx")), starts_with("E0406 `x.npy` holds Python objects, not numbers"));
  CHECK_THAT(problem(npy("<U5", "(2,)", "xxxx")), starts_with("E0406 `x.npy` has element type `<U5`"));
  CHECK_THAT(problem(npy("<c8", "(1,)", "12345678")), starts_with("E0406"));
  CHECK_THAT(problem(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234")),
             contains("records of named fields"));
  CHECK_THAT(problem(npy("<f4", "(9223372036854775807, 2)", "")), contains("more than any file holds"));
  CHECK_THAT(problem(npy("<f4", "(0, 9223372036854775807, 2)", "")), contains("more than any file holds"));
  CHECK_THAT(problem(npy("<f4", "(99999999999999999999,)", "")), starts_with("E0405"));
  for (std::string dict :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1)(2)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "{'descr: 1", "{'other': 1}",
        "__import__('os')"}) {
    CAPTURE(dict);
    CHECK_THAT(problem(npy(dict, little(1.0f))), starts_with("E0405 `x.npy` has a header that is not numpy's"));
  }
}

TEST_CASE("npy: what is written is read back, and is numpy's layout to the byte") {
  TempFolder folder;
  std::vector<float> data = {1, -2.5f, 3e30f, 0, -0.0f, 1e-40f};
  write_npy(folder.path("w.npy"), view("", DType::f32, {2, 3}, data));
  std::string bytes = TempFolder::read(folder.path("w.npy"));
  std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  CHECK(bytes == std::string("\x93NUMPY\x01\x00v\x00", 10) + dict + std::string(117 - dict.size(), ' ') + "\n" +
                     std::string(reinterpret_cast<const char*>(data.data()), 24));
  CHECK(bytes == format_npy(view("", DType::f32, {2, 3}, data)));
  CHECK(values<float>(read_npy(folder.path("w.npy")).tensors[0]) == data);
  std::vector<int64_t> one = {42};
  for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {1}, {1, 1}}) {
    write_npy(folder.path("o.npy"), view("", DType::i64, shape, one));
    CHECK(read_npy(folder.path("o.npy")).tensors[0].shape == shape);
    CHECK(values<int64_t>(read_npy(folder.path("o.npy")).tensors[0]) == one);
  }
  // Many dimensions make a long header.
  write_npy(folder.path("m.npy"), view("", DType::i64, std::vector<int64_t>(60, 1), one));
  CHECK(read_npy(folder.path("m.npy")).tensors[0].shape.size() == 60);
}

TEST_CASE("npz: what is written is read back, by name and as fields") {
  TempFolder folder;
  std::vector<float> a = {1, 2, 3, 4};
  std::vector<uint8_t> b = {7, 8};
  std::vector<TensorView> both = {view("result.0", DType::f32, {2, 2}, a), view("grad.fc1.weight", DType::u8, {2}, b)};
  write_npz(folder.path("w.npz"), both);
  TensorFile read = read_npz(folder.path("w.npz"));
  REQUIRE(read.tensors.size() == 2);
  CHECK(read.tensors[0].name == "result.0");
  CHECK(values<float>(*read.find("result.0")) == a);
  CHECK(values<uint8_t>(*read.find("grad.fc1.weight")) == b);
  CHECK(read.find("result") == nullptr);
  CHECK(read_field(request(folder.path("w.npz"), {2}, DType::f32, "result.0")).rows == 2);
  CHECK(error_of([&] { read_field(request(folder.path("w.npz"), {}, DType::u8, "result.1")); }) ==
        "E0411 `w.npz` holds no array `result.1` | an array with a similar name exists: `result.0`");
  CHECK(error_of([&] { read_field(request(folder.path("w.npz"), {}, DType::u8)); }) ==
        "E0411 `w.npz` holds 2 arrays, and none is named | it holds `result.0`, `grad.fc1.weight`");
  std::string first = TempFolder::read(folder.path("w.npz"));
  write_npz(folder.path("w.npz"), both);
  CHECK(first == TempFolder::read(folder.path("w.npz")));
  write_npz(folder.path("e.npz"), {});
  CHECK(read_npz(folder.path("e.npz")).tensors.empty());
  CHECK_THAT(error_of([&] { read_field(request(folder.path("e.npz"), {}, DType::u8, "x")); }),
             starts_with("E0403 `e.npz` holds no arrays"));
  write_npz(folder.path("one.npz"), {&both[1], 1});
  CHECK(read_field(request(folder.path("one.npz"), {}, DType::u8)).rows == 2);  // the only array needs no name
}

namespace {

/// A zip archive of one member, deflated; with 64-bit sizes in extra fields if asked, as numpy may write them.
std::string deflated_npz(const std::string& content, bool wide) {
  std::string packed = gzip(content);
  packed = packed.substr(10, packed.size() - 18);  // raw deflate between gzip's header and trailer
  auto crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
  uint32_t packed_size = static_cast<uint32_t>(packed.size()), size = static_cast<uint32_t>(content.size());
  std::string name = "x.npy";
  std::string extra =
      wide ? little<uint16_t>(1) + little<uint16_t>(16) + little<uint64_t>(size) + little<uint64_t>(packed_size) : std::string();
  if (wide) packed_size = size = 0xFFFFFFFF;
  std::string fields = little<uint16_t>(45) + little<uint16_t>(0) + little<uint16_t>(8) + little<uint32_t>(0) + little(crc) +
                       little(packed_size) + little(size) + little<uint16_t>(static_cast<uint16_t>(name.size())) +
                       little<uint16_t>(static_cast<uint16_t>(extra.size()));
  std::string local = "PK\x03\x04" + fields + name + extra + packed;
  std::string central = "PK\x01\x02" + little<uint16_t>(45) + fields + little<uint16_t>(0) + little<uint16_t>(0) +
                        little<uint16_t>(0) + little<uint32_t>(0) + little<uint32_t>(0) + name + extra;
  return local + central + "PK\x05\x06" + little<uint32_t>(0) + little<uint16_t>(1) + little<uint16_t>(1) +
         little(static_cast<uint32_t>(central.size())) + little(static_cast<uint32_t>(local.size())) + little<uint16_t>(0);
}

uint32_t check_sum(const std::string& content) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
}

/// A zip archive of stored members.
std::string stored_zip(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string file, directory;
  for (const auto& [name, content] : members) {
    std::string fields = little<uint16_t>(20) + little<uint16_t>(0) + little<uint16_t>(0) + little<uint32_t>(0) + little(check_sum(content)) +
                         little(static_cast<uint32_t>(content.size())) + little(static_cast<uint32_t>(content.size())) +
                         little(static_cast<uint16_t>(name.size())) + little<uint16_t>(0);
    directory += "PK\x01\x02" + little<uint16_t>(20) + fields + std::string(10, '\0') + little(static_cast<uint32_t>(file.size())) + name;
    file += "PK\x03\x04" + fields + name + content;
  }
  auto count = little(static_cast<uint16_t>(members.size()));
  return file + directory + "PK\x05\x06" + little<uint32_t>(0) + count + count + little(static_cast<uint32_t>(directory.size())) +
         little(static_cast<uint32_t>(file.size())) + little<uint16_t>(0);
}

}  // namespace

TEST_CASE("npz: what else an archive holds is passed over, unless it is asked for by its name") {
  TempFolder folder;
  std::string one = npy("<f4", "(1,)", little(1.0f)), two = npy("<f4", "(1,)", little(2.0f));
  std::string path = folder.write("x.npz", stored_zip({{"readme.txt", "text"}, {"data/", ""}, {"x.npy", one}, {"__MACOSX/._x.npy", "junk"}, {"x", "no array"}}));
  TensorFile read = read_npz(path);
  REQUIRE(read.tensors.size() == 1);
  CHECK(read.tensors[0].name == "x");
  CHECK(values<float>(read.tensors[0]) == std::vector<float>{1});
  CHECK(tensor_names(path, SourceKind::npz) == std::vector<std::string>{"x"});
  CHECK(read_field(request(path, {}, DType::f32)).rows == 1);
  CHECK(read_field(request(path, {}, DType::f32, "x")).rows == 1);
  CHECK_THAT(error_of([&] { read_field(request(path, {}, DType::f32, "readme.txt")); }), starts_with("E0404"));
  CHECK(error_of([&] { read_field(request(path, {}, DType::f32, "y")); }) == "E0411 `x.npz` holds no array `y` | it holds `x`");
  // An array under another name, and one that cannot be read beside one that can.
  path = folder.write("y.npz", stored_zip({{"bare", two}, {"x.npy", one}, {"names.npy", npy("|O", "(1,)", "pickled")}}));
  CHECK(values<float>(read_one_tensor(path, SourceKind::npz, "bare").tensors.at(0)) == std::vector<float>{2});
  CHECK(values<float>(read_one_tensor(path, SourceKind::npz, "x").tensors.at(0)) == std::vector<float>{1});
  CHECK_THAT(error_of([&] { read_one_tensor(path, SourceKind::npz, "z"); }), starts_with("E0411 `y.npz` holds no array `z`"));
  path = folder.write("z.npz", stored_zip({{"readme.txt", "text"}}));
  CHECK_THAT(error_of([&] { read_field(request(path, {}, DType::f32, "x")); }), starts_with("E0403 `z.npz` holds no arrays"));
  CHECK_THAT(error_of([&] { read_npz(folder.write("d.npz", stored_zip({{"x.npy", one}, {"x.npy", two}}))); }), starts_with("E0405"));
}

TEST_CASE("npz: an array without elements has the check sum of its header") {
  TempFolder folder;
  std::vector<float> none;
  std::vector<TensorView> arrays = {{"empty", DType::f32, {0, 3}, nullptr}, {"also", DType::i64, {2, 0}, reinterpret_cast<const std::byte*>(none.data())}};
  write_npz(folder.path("e.npz"), arrays);
  TensorFile read = read_npz(folder.path("e.npz"));
  REQUIRE(read.tensors.size() == 2);
  CHECK(read.tensors[0].shape == std::vector<int64_t>{0, 3});
  CHECK(read.tensors[1].shape == std::vector<int64_t>{2, 0});
  CHECK(read.tensors[1].dtype == DType::i64);
}

TEST_CASE("npz: compressed members, with 32-bit and 64-bit sizes") {
  TempFolder folder;
  std::string elements;
  for (float i = 0; i < 100; ++i) elements += little(i);
  for (bool wide : {false, true}) {
    TensorFile read = read_npz(folder.write("c.npz", deflated_npz(npy("<f4", "(100,)", elements), wide)));
    REQUIRE(read.tensors.size() == 1);
    CHECK(read.tensors[0].name == "x");
    CHECK(values<float>(read.tensors[0])[99] == 99);
  }
}

TEST_CASE("npz: damaged archives") {
  TempFolder folder;
  std::string elements;
  for (float i = 0; i < 100; ++i) elements += little(i);
  std::string good = deflated_npz(npy("<f4", "(100,)", elements), false);
  auto problem = [&](const std::string& bytes) { return error_of([&] { read_npz(folder.write("x.npz", bytes)); }); };
  CHECK(problem(good).empty());
  CHECK_THAT(problem("1,2\n"), starts_with("E0404 `x.npz` is not an npz archive"));
  CHECK_THAT(problem(good.substr(0, good.size() / 2)), starts_with("E0405 `x.npz` is cut short"));
  CHECK_THAT(problem(good.substr(20)), starts_with("E040"));
  std::string encrypted = good;
  encrypted[good.find("PK\x01\x02") + 8] = 1;
  CHECK_THAT(problem(encrypted), contains("encrypted member `x.npy`"));
  std::string method = good;
  method[good.find("PK\x01\x02") + 10] = 12;
  CHECK_THAT(problem(method), contains("compresses `x.npy` by method 12"));
  std::string sum = good;
  sum[good.find("PK\x01\x02") + 16] ^= 1;
  CHECK_THAT(problem(sum), contains("check sum of `x.npy` does not agree"));
  std::string huge = good;  // a promise of 4 GB from a few hundred bytes
  huge.replace(good.find("PK\x01\x02") + 24, 4, "\xFE\xFF\xFF\xFF");
  CHECK_THAT(problem(huge), contains("promises an impossible size"));
  std::string beyond = good;
  beyond.replace(good.find("PK\x01\x02") + 42, 4, "\xFF\xFF\xFF\x7F");
  CHECK_THAT(problem(beyond), contains("points past its end"));
  unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    for (unsigned n = 1 + random() % 3; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    refused += problem(bytes).empty() ? 0 : 1;
  }
  CHECK(refused > 1000);
}
