// Whether two accesses have an element in common, against counting; what of a buffer is read that nothing has stored; parts that rounds store side by side.
#include "ir/store_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/philox.h"
#include "ir/program.h"
#include "tests/program_text.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

std::set<int64_t> elements(const Places& places) {
  std::set<int64_t> found;
  if (places.nothing) return found;
  found.insert(places.offset);
  for (auto [stride, size] : places.steps) {
    std::set<int64_t> more;
    for (int64_t at : found)
      for (int64_t i = 0; i < size; ++i) more.insert(at + stride * i);
    found = std::move(more);
  }
  return found;
}

bool have_common(const Places& a, const Places& b) {
  const std::set<int64_t> x = elements(a), y = elements(b);
  return std::any_of(x.begin(), x.end(), [&](int64_t at) { return y.count(at) > 0; });
}

/// The first fault of a program whose kernels are these.
std::string fault(const std::string& kernels) {
  const std::string buffers = R"(program @parts {
  target any avx2, 4 rows planned
  arena 256 bytes, persistent 0 bytes

  field "x" : f32[B, 6] field 0
  temporary "w" : f32[B, 6] at 0, 96 bytes
  temporary "v" : f32[B, 6] at 128, 96 bytes
  output "y" : f32[B, 6] slot 0

)";
  const Program program = test::program_of(buffers + kernels + "}\n", false);
  const std::vector<std::string> faults = verify_program(program);
  return faults.empty() ? "sound" : faults.front();
}

std::string kernel(const std::string& name, const std::string& axes, const std::string& code, const std::string& remarks = "one thread") {
  return fmt::format("  kernel {}  # {}\n    for {}:\n{}\n", name, remarks, axes, code);
}

std::string store_of(const std::string& to) { return "      v0 = constant 1 : f32\n      " + to + " <- v0 : f32\n"; }
std::string copy_of(const std::string& from, const std::string& to) { return "      v0 = load " + from + " : f32\n      " + to + " <- v0 : f32\n"; }

std::string region_of(const std::string& what, const std::string& kernels) {
  std::string text = "  region " + what + "\n";
  for (size_t at = 0, end; at < kernels.size(); at = end + 1) {
    end = kernels.find('\n', at);
    text += (end > at ? "  " : "") + kernels.substr(at, end - at + 1);
  }
  return text;
}

const std::string all_of_y = kernel("reader", "i < B, j < 6", copy_of("w[6*i + j]", "y[6*i + j]"));

}  // namespace

TEST_CASE("two accesses meet where their elements do", "[ir]") {
  RandomStream random(5, stable_hash("store places"));
  int apart = 0, meet = 0;
  auto between = [&](int low, int high) { return low + int(random.next_below(uint64_t(high - low + 1))); };
  for (int k = 0; k < 20000; ++k) {
    auto any = [&] {
      Places places;
      places.offset = between(0, 40);
      for (int steps = between(0, 3); steps > 0; --steps) places.add(between(0, 3) == 0 ? -between(1, 12) : between(1, 12), between(0, 20) == 0 ? 0 : between(1, 5));
      return places;
    };
    const Places a = any(), b = any();
    const Meeting found = meeting(a, b);
    CHECK(found == (have_common(a, b) ? Meeting::meet : Meeting::apart));
    ++(found == Meeting::meet ? meet : apart);
  }
  CHECK(apart > 3000);
  CHECK(meet > 3000);
}

TEST_CASE("large parts of one buffer are told apart by their strides", "[ir]") {
  auto part = [](int64_t offset) {
    Places places;
    places.offset = offset;
    places.add(int64_t(1) << 20, int64_t(1) << 20);
    places.add(1, int64_t(1) << 18);
    return places;
  };
  for (int64_t x = 0; x < 4; ++x)
    for (int64_t y = 0; y < 4; ++y) CHECK(meeting(part(x << 18), part(y << 18)) == (x == y ? Meeting::meet : Meeting::apart));
  CHECK(meeting(part(0), part((1 << 18) - 1)) == Meeting::meet);
  CHECK(meeting(part(0), part((int64_t(1) << 20) + 5)) == Meeting::meet);
}

TEST_CASE("strides that no layout has may take too long to be told apart", "[ir]") {
  Places a, b;
  for (int k = 0; k < 12; ++k) a.add(1000 + 2 * k, 20);
  b.offset = 60001;
  CHECK(meeting(a, b) == Meeting::unknown);
}

TEST_CASE("what is read of a buffer has been stored in parts that leave nothing out", "[ir]") {
  const std::string left = kernel("left", "i < B, j < 2", store_of("w[6*i + j]")), right = kernel("right", "i < B, j < 4", store_of("w[6*i + j + 2]"));
  CHECK(fault(left + right + all_of_y) == "sound");
  CHECK(fault(right + left + all_of_y) == "sound");
  CHECK(fault(left + all_of_y) == "P20: reader reads elements of w that nothing has stored");
  CHECK(fault(left + all_of_y + right) == "P20: reader reads elements of w that nothing has stored");
  CHECK(fault(left + kernel("right", "i < B, j < 3", store_of("w[6*i + j + 2]")) + all_of_y) == "P20: reader reads elements of w that nothing has stored");
  // The last element stored twice, by two kernels, is no element more.
  CHECK(fault(left + kernel("right", "i < B, j < 3", store_of("w[6*i + j + 2]")) + kernel("again", "i < B, j < 1", store_of("w[6*i + j + 4]")) + all_of_y) ==
        "P20: reader reads elements of w that nothing has stored");
  // A reader of a part needs that part.
  const std::string rest = kernel("rest", "i < B, j < 4", store_of("y[6*i + j + 2]"));
  CHECK(fault(left + kernel("reader", "i < B, j < 2", copy_of("w[6*i + j]", "y[6*i + j]")) + rest) == "sound");
  CHECK(fault(left + kernel("reader", "i < B, j < 2", copy_of("w[6*i + j + 1]", "y[6*i + j]")) + rest) == "P20: reader reads elements of w that nothing has stored");
  CHECK(fault(left + kernel("reader", "i < 2, j < 2", copy_of("w[12*i + j]", "y[6*i + j]")) + kernel("more", "i < 2, j < 2", store_of("y[6*i + j + 12]")) + rest) == "sound");
  // What a round stores after it is read is there in the next round alone.
  CHECK(fault(region_of("again 2 rounds", left + right + all_of_y)) == "sound");
  CHECK(fault(region_of("again 2 rounds", left + all_of_y + right)) == "P20: reader reads elements of w that nothing has stored");
  // All of an output is stored.
  CHECK(fault(left + kernel("reader", "i < B, j < 2", copy_of("w[6*i + j]", "y[6*i + j]"))) == "P20: y has elements that nothing stores");
}

TEST_CASE("two stores of a kernel to a buffer are told apart by their strides", "[ir]") {
  auto two = [](const std::string& second) { return kernel("both", "i < B, j < 3", "      v0 = constant 1 : f32\n      y[6*i + j] <- v0 : f32\n      " + second + " <- v0 : f32\n"); };
  CHECK(fault(two("y[6*i + j + 3]")) == "sound");
  CHECK(fault(two("y[6*i + j + 2]")) == "P8: two stores of both to y meet");
  CHECK(fault(two("y[6*i + -1*j + 5]")) == "sound");
}

TEST_CASE("kernels of a parallel region store parts side by side that none of them reads", "[ir]") {
  auto region = [](const std::string& second) {
    const std::string inside = kernel("left", "i < B, j < 2  (vector along j)", store_of("w[6*i + j]"), "parallel") + second;
    return fault(region_of("halves over 1 axis", inside) + kernel("reader", "i < B, j < 6", copy_of("w[6*i + j]", "y[6*i + j]"), "one thread, after a barrier"));
  };
  const std::string right = kernel("right", "i < B, j < 4  (vector along j)", store_of("w[6*i + j + 2]"), "parallel");
  CHECK(region(right) == "sound");
  CHECK(region(kernel("right", "i < B, j < 4  (vector along j)", store_of("w[6*i + j + 1]"), "parallel")) == "P17: a round of halves may see what another one stores in w");
  CHECK(region(right + kernel("own", "i < B, j < 2  (vector along j)", copy_of("w[6*i + j]", "v[6*i + j]"), "parallel")) == "P17: a round of halves may see what another one stores in w");
}
