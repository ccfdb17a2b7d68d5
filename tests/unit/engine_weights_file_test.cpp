// A file of weights that one worker reads for all: the others have the same of it, and the same errors.
#include "engine/weights_file.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "runtime/data/tensor_file.h"
#include "tests/unit/temp_folder.h"
#include "tests/workers/local_run.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A weight of [2, 3] that all have, a count in it that is an integer, and a state of [5] in parts, with each worker its own: 0 to 2, and 2 to 5.
StepProgram small_model(int rank, int workers) {
  StepProgram program;
  program.persistents = {{"weight", DType::f32, {2, 3}, {1, 0}, 0, true}, {"rate", DType::f64, {}, {}, 64, true}, {"optimizer.m.weight", DType::f32, {5}, {}, 128, false}};
  if (workers == 2) {
    program.persistents[2].part = rank == 0 ? ElementRange{0, 2} : ElementRange{2, 5};
    program.persistents[2].parts = {0, 2, 5};
  }
  program.persistent_bytes = 192;
  return program;
}

struct Values {
  std::vector<float> weight = {1, 2, 3, 4, 5, 6}, state = {10, 20, 30, 40, 50};
  std::vector<float> rate = {0.25f};

  std::string write(const TempFolder& folder) const {
    std::vector<TensorView> all = {{"weight", DType::f32, {2, 3}, reinterpret_cast<const std::byte*>(weight.data())},
                                   {"rate", DType::f32, {}, reinterpret_cast<const std::byte*>(rate.data())},  // of another type than the model's
                                   {"optimizer.m.weight", DType::f32, {5}, reinterpret_cast<const std::byte*>(state.data())}};
    write_safetensors(folder.path("w.safetensors"), all, {{"seed", "7"}, {"text", "line\n\"\xC3\xA9"}, {"", ""}});
    return folder.path("w.safetensors");
  }
};

std::string described(const TensorFile& file) {
  std::string text;
  for (const TensorView& t : file.tensors) text += fmt::format("{} {} [{}]; ", t.name, dtype_name(t.dtype), fmt::join(t.shape, ","));
  for (const auto& [key, value] : file.metadata) text += fmt::format("{}={}; ", key, value);
  return text;
}

template <class T>
std::string numbers(const std::byte* bytes, size_t count) {
  std::vector<T> values(count);
  std::memcpy(values.data(), bytes, count * sizeof(T));
  return fmt::format("{}", fmt::join(values, " "));
}

/// What a worker's own memory holds of the model.
std::string memory_of(const StepRunner& runner) {
  const std::byte* at = runner.persistent_block().data();
  return numbers<float>(at, 6) + " | " + numbers<double>(at + 64, 1) + " | " + numbers<float>(at + 128, size_t(runner.program().persistents[2].here().count()));
}

/// What each of so many workers says.
std::vector<std::string> ask_workers(int workers, const std::function<std::string(Collectives&, StepRunner&)>& work) {
  std::vector<std::string> said(static_cast<size_t>(workers));
  const std::string wrong = run_threads(workers, [&](Transport& t) -> std::string {
    t.set_stall_seconds(5);
    Collectives all(t);
    Team team(1);
    StepRunner runner(small_model(t.rank(), workers), team, &all);
    said[size_t(t.rank())] = work(all, runner);
    return "";
  });
  CHECK(wrong == "");
  return said;
}

std::vector<std::string> errors_of(int workers, const std::string& path, float start = 0, bool optimizer = true) {
  return ask_workers(workers, [&](Collectives& all, StepRunner& runner) {
    for (size_t i = 0; i < 3; ++i) {
      const double wide = 0;
      runner.fill_persistent(i, i == 1 ? reinterpret_cast<const std::byte*>(&wide) : reinterpret_cast<const std::byte*>(&start));
    }
    std::string text = error_of([&] { load_tensors(path, runner, optimizer, &all); });
    all.barrier();  // nobody is left behind
    return text;
  });
}

}  // namespace

TEST_CASE("all workers know a file as the one that reads it", "[weights_file]") {
  TempFolder folder;
  const std::string path = Values().write(folder);
  const TensorFile expected = read_safetensors(path);
  for (int workers : {1, 2, 3}) {
    CAPTURE(workers);
    const std::vector<std::string> said = ask_workers(workers, [&](Collectives& all, StepRunner&) {
      WeightsFile file(all.rank() == 0 ? path : path + ".not_here", &all);  // the others do not look
      std::string text = described(file.tensors());
      if (file.metadata() != expected.metadata) text += "other metadata";
      for (const TensorView& t : file.tensors().tensors) {
        const TensorView read = file.read(t);
        if (read.name != t.name || read.shape != t.shape || read.dtype != t.dtype || !read.data) text += "read as another ";
        const TensorView* there = expected.find(t.name);
        if (!there || std::memcmp(read.data, there->data, there->byte_count()) != 0) text += "other values of " + t.name;
      }
      return text;
    });
    for (const std::string& text : said) CHECK(text == described(expected));
  }
}

TEST_CASE("a runner takes what it has of a file", "[weights_file]") {
  TempFolder folder;
  const std::string path = Values().write(folder);
  auto loaded = [&](bool optimizer) {
    return [&, optimizer](Collectives& all, StepRunner& runner) {
      const float three = 3;
      runner.fill_persistent(2, reinterpret_cast<const std::byte*>(&three));
      const std::string seed = load_tensors(path, runner, optimizer, &all).at("seed");
      return seed + " " + memory_of(runner);
    };
  };
  CHECK(ask_workers(2, loaded(true)) == std::vector<std::string>{"7 1 4 2 5 3 6 | 0.25 | 10 20", "7 1 4 2 5 3 6 | 0.25 | 30 40 50"});
  CHECK(ask_workers(2, loaded(false)) == std::vector<std::string>{"7 1 4 2 5 3 6 | 0.25 | 3 3", "7 1 4 2 5 3 6 | 0.25 | 3 3 3"});
  CHECK(ask_workers(1, loaded(true)) == std::vector<std::string>{"7 1 4 2 5 3 6 | 0.25 | 10 20 30 40 50"});
}

TEST_CASE("a file that cannot be read is one error of all workers", "[weights_file]") {
  TempFolder folder;
  const std::string good = TempFolder::read(Values().write(folder));
  const std::string missing = folder.path("nothing.safetensors"), damaged = folder.write("damaged.safetensors", good.substr(0, good.size() - 3)), other = folder.write("other.safetensors", "a text, and no weights");
  for (const std::string& path : {missing, damaged, other}) {
    CAPTURE(path);
    const std::string alone = error_of([&] { WeightsFile file(path); });
    CHECK_THAT(alone, starts_with("E04"));
    CHECK(errors_of(2, path) == std::vector<std::string>{alone, alone});
    CHECK(errors_of(3, path) == std::vector<std::string>{alone, alone, alone});
  }
}

TEST_CASE("a file that does not fit the model is one error of all workers", "[weights_file]") {
  TempFolder folder;
  const std::vector<float> weight(6);
  write_safetensors(folder.path("w.safetensors"), std::vector<TensorView>{{"weight", DType::f32, {3, 2}, reinterpret_cast<const std::byte*>(weight.data())}});
  const std::vector<std::string> said = errors_of(2, folder.path("w.safetensors"));
  CHECK_THAT(said[0], starts_with("E0505"));
  CHECK(said[1] == said[0]);
}

TEST_CASE("what is not finite in a file is one error of all workers, but where it begins so", "[weights_file]") {
  TempFolder folder;
  Values values;
  values.weight[4] = infinity;
  const std::vector<std::string> weight = errors_of(2, values.write(folder));
  CHECK_THAT(weight[0], starts_with("E0505"));
  CHECK_THAT(weight[0], contains("w.safetensors"));
  CHECK(weight[1] == weight[0]);
  CHECK(errors_of(1, folder.path("w.safetensors"))[0] == weight[0]);

  // A state may be infinite, but not NaN; if it begins so, also that. The NaN is in the second worker's part.
  values = {};
  values.state[3] = infinity;
  CHECK(errors_of(2, values.write(folder)) == std::vector<std::string>(2));
  values.state[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::string> state = errors_of(2, values.write(folder));
  CHECK_THAT(state[0], starts_with("E0505"));
  CHECK(state[1] == state[0]);
  CHECK(errors_of(2, folder.path("w.safetensors"), infinity) == std::vector<std::string>(2));
  CHECK(errors_of(1, folder.path("w.safetensors"), infinity) == std::vector<std::string>(1));
}
