// safetensors: what PyTorch loads strictly, and every rule of the format that a file can break.
#include <cmath>
#include <cstring>
#include <ctime>
#include <random>

#include <fmt/format.h>

#include "base/check.h"
#include "runtime/data/tensor_file.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
  return little<uint64_t>(header.size()) + header + data;
}

template <class T>
TensorView view(std::string name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& data) {
  return {std::move(name), dtype, std::move(shape), reinterpret_cast<const std::byte*>(data.data())};
}

template <class T>
std::vector<T> values(const TensorView& t) {
  std::vector<T> all(t.element_count());
  if (!all.empty()) std::memcpy(all.data(), t.data, t.byte_count());
  return all;
}

}  // namespace

TEST_CASE("safetensors: every type, shape and metadata come back as written") {
  TempFolder folder;
  std::string path = folder.path("w.safetensors");
  std::vector<float> f = {1, -2, NAN, INFINITY, 0, 3};
  std::vector<double> d = {0.1};
  std::vector<int32_t> i = {1, -2};
  std::vector<int64_t> l = {INT64_MIN};
  std::vector<uint8_t> b = {1, 2, 3}, truth = {0, 1};
  std::vector<TensorView> all = {view("mask", DType::boolean, {2}, truth),
                                 view("bytes", DType::u8, {3, 1}, b),
                                 view("blocks.0.query.weight", DType::f32, {2, 3}, f),
                                 view("count", DType::i64, {}, l),
                                 view("rate", DType::f64, {1}, d),
                                 view("index", DType::i32, {2}, i),
                                 view("none", DType::f32, {0, 4}, f)};
  std::map<std::string, std::string> metadata = {{"seed", "7"}, {"text", "line\n\"quoted\" \xC3\xA9"}};
  write_safetensors(path, all, metadata);
  TensorFile read = read_safetensors(path);
  CHECK(read.metadata == metadata);
  REQUIRE(read.tensors.size() == all.size());
  for (const TensorView& t : all) {
    const TensorView* r = read.find(t.name);
    REQUIRE(r != nullptr);
    CHECK(r->dtype == t.dtype);
    CHECK(r->shape == t.shape);
    CHECK(std::memcmp(r->data, t.data, t.byte_count()) == 0);
    CHECK(reinterpret_cast<uintptr_t>(r->data) % byte_size(t.dtype) == 0);
  }
  CHECK(read.find("nothing") == nullptr);
  std::string bytes = TempFolder::read(path);
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  write_safetensors(path, all, metadata);
  CHECK(bytes == TempFolder::read(path));
  CHECK_THROWS_AS(write_safetensors(path, std::vector<TensorView>{all[0], all[0]}), InternalError);
  write_safetensors(path, {});
  CHECK(read_safetensors(path).tensors.empty());
}

TEST_CASE("safetensors: elements that are asked for are written as those that are there") {
  TempFolder folder;
  const std::vector<float> f = {1, -2, 3};
  const std::vector<double> d = {0.5, 4};
  const std::vector<uint8_t> b = {7};
  const std::vector<TensorView> all = {view("few", DType::u8, {1}, b), view("single", DType::f32, {3}, f), view("none", DType::f32, {0, 2}, f), view("wide", DType::f64, {2}, d)};
  const std::map<std::string, std::string> metadata = {{"seed", "7"}};
  write_safetensors(folder.path("there.safetensors"), all, metadata);
  // Some have no data; the one without elements is not asked for.
  std::vector<TensorView> asked = all;
  for (size_t i : {0, 2, 3}) asked[i].data = nullptr;
  std::vector<size_t> order;
  auto elements = [&](size_t i) {
    order.push_back(i);
    return std::vector<std::byte>(all[i].data, all[i].data + all[i].byte_count());
  };
  write_safetensors(folder.path("asked.safetensors"), asked, metadata, elements);
  CHECK(TempFolder::read(folder.path("asked.safetensors")) == TempFolder::read(folder.path("there.safetensors")));
  CHECK(order == std::vector<size_t>{3, 0});  // as they stand in the file: the largest type first
  // Of another number they are a bug, and nothing is written.
  for (const size_t bytes : {0, 8, 24}) {
    CHECK_THROWS_AS(write_safetensors(folder.path("wrong.safetensors"), asked, metadata, [&](size_t) { return std::vector<std::byte>(bytes); }), InternalError);
    CHECK(folder.list() == std::vector<std::string>{"asked.safetensors", "there.safetensors"});
  }
  // What cannot be had is not a file, either.
  CHECK(error_of([&] {
          write_safetensors(folder.path("wrong.safetensors"), asked, metadata, [](size_t) -> std::vector<std::byte> { throw UserError(Code::E0540, "worker 1 has died"); });
        }) == "E0540 worker 1 has died");
  CHECK(folder.list() == std::vector<std::string>{"asked.safetensors", "there.safetensors"});
}

TEST_CASE("safetensors: half precision and small integers are widened, unaligned data is copied") {
  TempFolder folder;
  std::string path = folder.write(
      "h.safetensors",
      file_of(R"({"o":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"h":{"dtype":"F16","shape":[1],"data_offsets":[1,3]},)"
              R"("b":{"dtype":"BF16","shape":[1],"data_offsets":[3,5]},"f":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})",
              "\xFF" + little<uint16_t>(0x3E00) + little<uint16_t>(0xC020) + little(2.5f)));
  TensorFile read = read_safetensors(path);
  CHECK(values<int32_t>(*read.find("o"))[0] == -1);
  CHECK(values<float>(*read.find("h"))[0] == 1.5f);
  CHECK(values<float>(*read.find("b"))[0] == -2.5f);
  CHECK(values<float>(*read.find("f"))[0] == 2.5f);
}

TEST_CASE("safetensors: reading a header takes time by its length") {
  // Work that grows with the square of the number of names takes minutes here, other work well below a second.
  TempFolder folder;
  constexpr int count = 60000;
  std::string header = "{";
  for (int i = 0; i < count; ++i)
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i ? "," : "", count - i, i, i + 1);
  std::string path = folder.write("many.safetensors", file_of(header + "}", std::string(count, '\1')));
  std::clock_t start = std::clock();
  TensorFile read = read_safetensors(path);
  CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < 20);
  REQUIRE(read.tensors.size() == count);
  CHECK(read.tensors.front().name == "t60000");  // in the file's order
  CHECK(read.tensors.back().name == "t1");
}

TEST_CASE("safetensors: as a data field") {
  TempFolder folder;
  std::vector<float> data = {1, 2, 3, 4};
  std::vector<int64_t> label = {0, 1};
  std::string path = folder.path("d.safetensors");
  write_safetensors(path, std::vector<TensorView>{view("x", DType::f32, {2, 2}, data), view("y", DType::i64, {2}, label)});
  DataField r;
  r.name = "label";
  r.source.kind = SourceKind::safetensors;
  r.source.path = path;
  r.source.key = "y";
  r.dtype = DType::i32;
  r.classes = 2;
  FieldData field = read_field(r);
  CHECK(field.rows == 2);
  CHECK(reinterpret_cast<const int32_t*>(field.data)[1] == 1);
  r.source.key = "z";
  CHECK_THAT(error_of([&] { read_field(r); }), starts_with("E0411 `d.safetensors` holds no array `z`"));
  r.source.key = "x";
  CHECK_THAT(error_of([&] { read_field(r); }),
             starts_with("E0401 d.safetensors holds rows of 2 (shape (2, 2) in its header); `label` is declared one value"));
}

TEST_CASE("safetensors: metadata that is null is none") {
  TempFolder folder;
  auto metadata = [&](const std::string& text) { return read_safetensors(folder.write("n.safetensors", file_of(text, ""))).metadata; };
  CHECK(metadata(R"({"__metadata__":null})").empty());
  CHECK(metadata(R"({"__metadata__":{"format":"pt","note":null}})") == std::map<std::string, std::string>{{"format", "pt"}});
}

TEST_CASE("safetensors: damaged files") {
  TempFolder folder;
  auto problem = [&](const std::string& bytes) {
    return error_of([&] { read_safetensors(folder.write("w.safetensors", bytes)); });
  };
  auto header = [&](const std::string& text, const std::string& data = "12345678") { return problem(file_of(text, data)); };
  CHECK(header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )").empty());
  CHECK(header(R"({"__metadata__":{"k":"v"}})", "").empty());
  CHECK_THAT(problem(""), starts_with("E0403"));
  CHECK_THAT(problem("abc"), starts_with("E0404 `w.safetensors` is not a safetensors file"));
  CHECK_THAT(problem("PK\x03\x04"
                     "123456789"),
             contains("it looks like a zip archive"));
  CHECK_THAT(problem(little<uint64_t>(2) + "[]"), starts_with("E0404"));
  CHECK_THAT(problem(little<uint64_t>(UINT64_MAX) + "{}"), contains("promises a header of 18446744073709551615 bytes"));
  CHECK_THAT(problem(little<uint64_t>(99) + "{}"), contains("is cut short inside its header: 2 of 99 bytes"));
  CHECK_THAT(header("{nonsense}"), contains("a header that is not a JSON object"));
  CHECK_THAT(header("{\"a\":"), contains("a header that is not a JSON object"));
  CHECK_THAT(
      header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
      contains("names `a` twice"));
  CHECK_THAT(
      header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
      contains("the data of `b` overlaps that of another tensor"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
             contains("nothing describes 4 bytes before `a`"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"), contains("nothing describes its last 4 bytes"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
             contains("is cut short or damaged: `a` stands at bytes 0 to 16 of 8"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})"), contains("is cut short or damaged"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})"), contains("3 of f32 do not take 8 bytes"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[4611686018427387906,2],"data_offsets":[0,8]}})"),
             contains("do not take 8 bytes"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})"), contains("its shape is not a list of sizes"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})"), contains("its shape is not a list of sizes"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})"), contains("its shape is not a list"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})"), contains("data_offsets are not two numbers"));
  CHECK_THAT(header(R"({"a":{"dtype":"F32","shape":[2]}})"), contains("it has no data_offsets"));
  CHECK_THAT(header(R"({"a":7})"), contains("it has no dtype"));
  CHECK_THAT(header(R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})"),
             starts_with("E0406 `w.safetensors` holds `a` with element type \"F8_E4M3\""));
  CHECK_THAT(header(R"({"__metadata__":{"k":1}})", ""), contains("has metadata `k` that is not a string"));
  CHECK_THAT(header(R"({"__metadata__":[]})", ""), contains("__metadata__ that is not an object"));
  CHECK_THAT(header("{" + std::string(100000, '{'), ""), contains("a header that is not a JSON object"));
}

TEST_CASE("safetensors: any damage gives a diagnostic or tensors inside the file") {
  TempFolder folder;
  unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  std::vector<float> f = {1, 2, 3, 4, 5, 6};
  std::vector<uint8_t> b = {1, 2, 3};
  write_safetensors(folder.path("g"),
                    std::vector<TensorView>{view("weight", DType::f32, {2, 3}, f), view("b", DType::u8, {3}, b)}, {{"k", "v"}});
  std::string good = TempFolder::read(folder.path("g"));
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    for (unsigned n = 1 + random() % 2; n > 0; --n)
      bytes[random() % (good.size() - 27)] = static_cast<char>(random() % 3 ? "0123456789[]{},:\""[random() % 17] : random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    std::string path = folder.write("x", bytes);
    refused += error_of([&] {
                 for (const TensorView& t : read_safetensors(path).tensors) REQUIRE(t.byte_count() <= 8 * bytes.size());
               }).empty()
                   ? 0
                   : 1;
  }
  CHECK(refused > 1000);
}
