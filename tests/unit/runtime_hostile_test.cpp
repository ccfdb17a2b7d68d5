// Small valid files of every binary format, cut at every length and with every byte changed: never a crash, and never other data
// where the format has a check sum that tells.
#include <optional>

#include "runtime/readers.h"
#include "runtime/tensor_file.h"
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
