// Output files: old or new, never half; nothing left behind; and tables of results as text.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "runtime/data/tensor_file.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;
namespace fs = std::filesystem;

namespace {

void write_text(const std::string& path, const std::string& text) {
  write_file_atomically(path, [&](FileSink& sink) { sink.write(text); });
}

}  // namespace

TEST_CASE("output: new files, replaced files, links, permissions") {
  TempFolder folder;
  write_text(folder.path("a"), "one");
  CHECK(TempFolder::read(folder.path("a")) == "one");
  mode_t mask = umask(0);
  umask(mask);
  struct stat status{};
  REQUIRE(stat(folder.path("a").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == (0666 & ~mask));
  REQUIRE(chmod(folder.path("a").c_str(), 0640) == 0);
  write_text(folder.path("a"), "two");
  CHECK(TempFolder::read(folder.path("a")) == "two");
  REQUIRE(stat(folder.path("a").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
  fs::create_symlink("a", folder.path("link"));
  write_text(folder.path("link"), "three");
  CHECK(fs::is_symlink(folder.path("link")));
  CHECK(TempFolder::read(folder.path("a")) == "three");
  CHECK(folder.list() == std::vector<std::string>{"a", "link"});
  write_text("/dev/null", "anything");
  CHECK_FALSE(fs::is_regular_file("/dev/null"));
}

TEST_CASE("output: a failure leaves the old file and nothing else") {
  TempFolder folder;
  folder.write("a", "old");
  CHECK_THROWS_AS(write_file_atomically(folder.path("a"),
                                        [](FileSink& sink) {
                                          sink.write("half");
                                          throw std::runtime_error("stop");
                                        }),
                  std::runtime_error);
  CHECK(TempFolder::read(folder.path("a")) == "old");
  CHECK(folder.list() == std::vector<std::string>{"a"});
  // A full disk, as far as a process can make one for itself.
  struct rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit small = before;
  small.rlim_cur = 1000;
  auto old_handler = signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string error = error_of([&] { write_text(folder.path("a"), std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  CHECK_THAT(error, starts_with("E0413 cannot write `" + folder.path("a") + "`: file too large"));
  CHECK(TempFolder::read(folder.path("a")) == "old");
  CHECK(folder.list() == std::vector<std::string>{"a"});
}

TEST_CASE("output: a path that cannot be written is refused before any work") {
  TempFolder folder;
  auto problem = [&](const std::string& path) {
    std::string before = error_of([&] { check_output_writable(path); });
    CHECK(before == error_of([&] { write_text(path, "x"); }));
    return before;
  };
  CHECK(error_of([&] { check_output_writable(folder.path("w")); }).empty());
  CHECK(folder.list().empty());
  CHECK(problem(folder.path("none/w")) == "E0413 cannot write `" + folder.path("none/w") + "`: there is no folder `" +
                                              folder.path("none") + "` | create it: mkdir -p " + folder.path("none"));
  CHECK_THAT(problem(folder.path()), contains("it is a folder | name a file in it"));
  CHECK_THAT(problem(folder.path("new/")), contains("it names a folder that does not exist"));
  CHECK_THAT(problem(""), contains("the name is empty"));
  folder.write("file", "x");
  CHECK_THAT(problem(folder.path("file/w")), contains("`" + folder.path("file") + "` is not a folder"));
  CHECK_THAT(problem(folder.path(std::string(300, 'n'))), contains("file name too long"));
  CHECK(error_of([&] {
          write_text(folder.path(std::string(255, 'n')), "x");
        }).empty());  // the longest name leaves room for the temporary one
  CHECK_THAT(problem("/proc/w.safetensors"), starts_with("E0413 cannot write `/proc/w.safetensors`: "));
  if (geteuid() != 0) {
    fs::create_directory(folder.path("locked"));
    REQUIRE(chmod(folder.path("locked").c_str(), 0555) == 0);
    CHECK_THAT(problem(folder.path("locked/w")), contains("permission denied"));
  }
}

TEST_CASE("output: many writers at once leave one whole file") {
  TempFolder folder;
  std::vector<std::thread> writers;
  for (char c : {'a', 'b', 'c', 'd'})
    writers.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) write_text(folder.path("w"), std::string(3000, c));
    });
  for (std::thread& t : writers) t.join();
  std::string text = TempFolder::read(folder.path("w"));
  CHECK(text == std::string(3000, text[0]));
  CHECK(folder.list() == std::vector<std::string>{"w"});
}

TEST_CASE("output: csv holds what reads back the same") {
  TempFolder folder;
  std::vector<float> probability = {0.1f, 1e-30f, 16777216, NAN, -INFINITY, 0};
  std::vector<int64_t> label = {3, -7, INT64_MAX};
  std::vector<uint8_t> byte = {0, 1, 255};
  auto bytes = [](const auto& v) { return reinterpret_cast<const std::byte*>(v.data()); };
  std::vector<TensorView> columns = {
      {"p", DType::f32, {3, 2}, bytes(probability)}, {"l", DType::i64, {3}, bytes(label)}, {"b", DType::u8, {3, 1}, bytes(byte)}};
  std::vector<std::string> header = {"p.0", "p,1", "the \"label\"", "b"};
  std::string expected =
      "p.0,\"p,1\",\"the \"\"label\"\"\",b\n0.1,1e-30,3,0\n16777216,nan,-7,1\n-inf,0,9223372036854775807,255\n";
  CHECK(format_csv(columns, header) == expected);
  write_csv(folder.path("y.csv"), columns, header);
  CHECK(TempFolder::read(folder.path("y.csv")) == expected);
  std::vector<double> number = {0.1};
  TensorView one{"n", DType::f64, {}, bytes(number)};
  CHECK(format_csv({&one, 1}) == "0.1\n");
  std::vector<float> special = {-std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), -0.0f};
  TensorView odd{"s", DType::f32, {1, 3}, bytes(special)};
  CHECK(format_csv({&odd, 1}) == "nan,-inf,-0\n");
  CHECK(format_csv({}) == "");
}

TEST_CASE("input: whole files of any kind as tensors, converted to a declared type") {
  TempFolder folder;
  std::string csv = folder.write("x.csv", "a,b\n1,2.5\n-3,1e10\n");
  TensorFile table = read_tensors(csv, guess_source_kind(csv));
  REQUIRE(table.tensors.size() == 1);
  CHECK(table.tensors[0].shape == std::vector<int64_t>{2, 2});
  CHECK(reinterpret_cast<const double*>(table.tensors[0].data)[3] == 1e10);
  ConvertedTensor narrow = convert_tensor(table.tensors[0], DType::f32, csv);
  CHECK(reinterpret_cast<const float*>(narrow.view.data)[1] == 2.5f);
  CHECK(narrow.view.dtype == DType::f32);
  CHECK_THAT(error_of([&] { convert_tensor(table.tensors[0], DType::i32, csv); }),
             starts_with("E0406 `x.csv` holds f64, but i32 is needed"));
  std::vector<int64_t> big = {1, 300};
  TensorView integers{"n", DType::i64, {2}, reinterpret_cast<const std::byte*>(big.data())};
  CHECK_THAT(error_of([&] { convert_tensor(integers, DType::u8, "n.npy"); }),
             starts_with("E0410 value 300 of `n.npy` does not fit u8"));
  CHECK(reinterpret_cast<const float*>(convert_tensor(integers, DType::f32, "n.npy").view.data)[1] == 300.0f);
  std::string idx = folder.write("l.gz", gzip(std::string("\0\0\x08\1\0\0\0\2\5\6", 10)));
  TensorFile bytes = read_tensors(idx, guess_source_kind(idx));
  CHECK(bytes.tensors[0].dtype == DType::u8);
  CHECK(bytes.tensors[0].data[1] == std::byte{6});
  CHECK(guess_source_kind("a/b.csv.gz") == SourceKind::csv);
  CHECK(guess_source_kind("x.npy") == SourceKind::npy);
  CHECK(guess_source_kind("x.npz") == SourceKind::npz);
  CHECK(guess_source_kind("x.safetensors") == SourceKind::safetensors);
  CHECK(guess_source_kind("train-images-idx3-ubyte.gz") == SourceKind::idx);
  CHECK_THAT(error_of([&] { read_tensors(folder.write("e.csv", "\n\n"), SourceKind::csv); }), starts_with("E0403"));
}
