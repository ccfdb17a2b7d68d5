// Small valid files of every binary format, cut at every length and with every byte changed: never a crash, and never other data
// where the format has a check sum that tells.
#include <cmath>
#include <optional>

#include "runtime/data/readers.h"
#include "runtime/data/tensor_file.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

const float numbers[] = {1, -2, 0.5f, 3, 4, 5};

TensorView tensor_of_numbers() { return {"x", DType::f32, {2, 3}, reinterpret_cast<const std::byte*>(numbers)}; }

/// What a file gives: the tensors' names, shapes and bytes as one text; nothing if it is refused.
std::optional<std::string> content(const TempFolder& folder, const std::string& name, SourceKind kind) {
  try {
    std::string all;
    TensorFile file = read_tensors(folder.path(name), kind);
    for (const TensorView& t : file.tensors) {
      all += t.name + shape_as_tuple(t.shape) + std::string(dtype_name(t.dtype)) + ":";
      all.append(reinterpret_cast<const char*>(t.data), t.byte_count());
    }
    return all;
  } catch (const UserError& e) {
    CHECK(e.diagnostic().message.find(name) != std::string::npos);
    return std::nullopt;
  }
}

struct Damage {
  size_t taken_whole = 0;    ///< changed files that give the same
  size_t taken_changed = 0;  ///< ... that give something else
};

/// Cut at every length, which must be refused, and with every byte changed in three ways.
Damage damage_everywhere(const std::string& name, SourceKind kind, const std::string& valid) {
  TempFolder folder;
  folder.write(name, valid);
  std::optional<std::string> expected = content(folder, name, kind);
  REQUIRE(expected);
  for (size_t length = 0; length < valid.size(); ++length) {
    folder.write(name, valid.substr(0, length));
    INFO("cut to " << length << " of " << valid.size() << " bytes");
    CHECK_FALSE(content(folder, name, kind));
  }
  Damage damage;
  for (size_t at = 0; at < valid.size(); ++at)
    for (int change : {0x01, 0x80, 0xFF}) {
      std::string changed = valid;
      changed[at] = static_cast<char>(changed[at] ^ change);
      folder.write(name, changed);
      std::optional<std::string> found = content(folder, name, kind);
      if (found) ++(*found == *expected ? damage.taken_whole : damage.taken_changed);
    }
  return damage;
}

std::string idx_file() { return std::string("\0\0\x08\2\0\0\0\2\0\0\0\3", 12) + "abcdef"; }

}  // namespace

TEST_CASE("hostile: npy cut short or changed") {
  Damage damage = damage_everywhere("x.npy", SourceKind::npy, format_npy(tensor_of_numbers()));
  CHECK(damage.taken_changed >= 3 * sizeof numbers);  // the format has no check sum: the elements themselves may be anything
}

TEST_CASE("hostile: idx cut short or changed") {
  CHECK(damage_everywhere("x-idx", SourceKind::idx, idx_file()).taken_changed >= 18);
}

TEST_CASE("hostile: safetensors cut short or changed") {
  TempFolder folder;
  TensorView x = tensor_of_numbers();
  write_safetensors(folder.path("w.safetensors"), {&x, 1}, {{"k", "v"}});
  CHECK(
      damage_everywhere("w.safetensors", SourceKind::safetensors, TempFolder::read(folder.path("w.safetensors"))).taken_changed >=
      3 * sizeof numbers);
}

TEST_CASE("hostile: npz cut short or changed gives the same data or none") {
  TempFolder folder;
  TensorView x = tensor_of_numbers();
  write_npz(folder.path("x.npz"), {&x, 1});
  std::string valid = TempFolder::read(folder.path("x.npz"));
  Damage damage = damage_everywhere("x.npz", SourceKind::npz, valid);
  // Only the member's name, which the directory holds outside of the check sum, can come out changed: 5 letters in 3 ways.
  CHECK(damage.taken_changed <= 15);
  CHECK(damage.taken_whole > 0);  // dates, versions, the local copy of the name
}

TEST_CASE("hostile: gzip cut short or changed gives the same data or none") {
  Damage damage = damage_everywhere("x-idx.gz", SourceKind::idx, gzip(idx_file()));
  CHECK(damage.taken_changed == 0);
  CHECK(damage.taken_whole > 0);  // time and system in the header
}

TEST_CASE("hostile: what unpacks to too much is refused before it is unpacked") {
  CHECK(largest_inflated(10) == size_t{64} << 20);
  CHECK(largest_inflated(size_t{1} << 30) == size_t{200} << 30);
  CHECK(largest_inflated(SIZE_MAX) == SIZE_MAX);
  TempFolder folder;
  std::string zeros((size_t{64} << 20) + 1, '\0');
  folder.write("zeros.gz", gzip(zeros));
  CHECK(error_of([&] {
          load_file(folder.path("zeros.gz"));
        }).find("E0402 cannot read `zeros.gz`: it unpacks to more than 64 MB") == 0);
  folder.write("zeros.gz", gzip(zeros.substr(0, 1 << 20)));
  CHECK(load_file(folder.path("zeros.gz")).size == 1 << 20);
}

TEST_CASE("hostile: a file of another kind is told by what it looks like") {
  TempFolder folder;
  TensorView x = tensor_of_numbers();
  write_safetensors(folder.path("w"), {&x, 1});
  write_npz(folder.path("z"), {&x, 1});
  folder.write("i", idx_file());
  folder.write("n", format_npy(x));
  auto help = [&](const std::string& name, SourceKind kind) {
    std::string error = error_of([&] { read_tensors(folder.path(name), kind); });
    CHECK(error.substr(0, 12 + name.size()) == "E0404 `" + name + "` is ");
    size_t bar = error.find(" | ");
    return bar == std::string::npos ? std::string() : error.substr(bar + 3);
  };
  CHECK(help("w", SourceKind::npy) == "it looks like a safetensors file: read it with safetensors(...), or let its name end in .safetensors");
  CHECK(help("z", SourceKind::npy) == "it looks like a zip archive: read it with npz(...), or let its name end in .npz");
  CHECK(help("i", SourceKind::npy) == "it looks like an idx file: read it with idx(...)");
  CHECK(help("n", SourceKind::npz) == "it looks like a numpy array: read it with npy(...), or let its name end in .npy");
  for (const char* page : {"<!DOCTYPE html>\n<html>", "<!doctype html>", "\r\n  <HTML lang=en>", "<html"}) {
    folder.write("page", page);
    CHECK(help("page", SourceKind::npy) == "it looks like a web page: the download gave an error page");
  }
  folder.write("c", "1,2,3\n");
  CHECK(help("c", SourceKind::npz) == "it looks like text with commas: read it with csv(...), or let its name end in .csv");
  for (const std::string& unknown :
       {std::string("plain text"), std::string("   \n"), std::string("\0\0\x20\1,,", 6), std::string("\1\0\0\0\0\0\0\0x{", 10)}) {
    folder.write("u", unknown);
    CHECK(help("u", SourceKind::npy).empty());
  }
}

TEST_CASE("hostile: labels beyond their classes get the help that fits") {
  CHECK(label_help(1, 10, 10) == "the labels count from 1: declare class(11), or subtract one in the file");
  CHECK(label_help(1, 11, 10) == "the largest label is 11: class(12) would hold it");
  CHECK(label_help(0, 10, 10) == "the largest label is 10: class(11) would hold it");
  CHECK(label_help(-1, 3, 10).empty());
  TempFolder folder;
  DataField request;
  request.name = "digit";
  request.source.kind = SourceKind::npy;
  request.source.path = folder.path("l.npy");
  request.classes = 3;
  auto problem = [&](auto values, DType type) {
    request.dtype = type;
    folder.write("l.npy", format_npy({"l", type, {3}, reinterpret_cast<const std::byte*>(values.data())}));
    return error_of([&] { read_field(request); });
  };
  CHECK(problem(std::vector<uint8_t>{0, 1, 2}, DType::u8).empty());
  CHECK(problem(std::vector<int64_t>{0, 1, 2}, DType::i64).empty());
  CHECK(problem(std::vector<uint8_t>{0, 3, 2}, DType::u8) ==
        "E0409 label 3 in row 2 of `l.npy` is out of range: `digit` is class(3), 0 to 2 | the largest label is 3: class(4) would "
        "hold it");
  CHECK(problem(std::vector<int64_t>{1, 2, 3}, DType::i64) ==
        "E0409 label 3 in row 3 of `l.npy` is out of range: `digit` is class(3), 0 to 2 | the labels count from 1: declare "
        "class(4), or subtract one in the file");
  CHECK(problem(std::vector<int64_t>{0, int64_t{1} << 32, -1}, DType::i64) ==
        "E0409 label 4294967296 in row 2 of `l.npy` is out of range: `digit` is class(3), 0 to 2");
  CHECK(problem(std::vector<int32_t>{0, 1, -1}, DType::i32) ==
        "E0409 label -1 in row 3 of `l.npy` is out of range: `digit` is class(3), 0 to 2");
  request.classes = 0;
  request.dtype = DType::f64;
  std::vector<double> values = {1, INFINITY, 2};
  folder.write("l.npy", format_npy({"l", DType::f64, {3}, reinterpret_cast<const std::byte*>(values.data())}));
  CHECK(read_field(request).rows == 3);
  values[2] = NAN;
  folder.write("l.npy", format_npy({"l", DType::f64, {3}, reinterpret_cast<const std::byte*>(values.data())}));
  CHECK(error_of([&] { read_field(request); }) ==
        "E0410 row 3 of `l.npy` holds NaN (value 1 of 1), which data must not hold");
}
