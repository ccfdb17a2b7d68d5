// Kernels with limits against the same kernels without: what is there has the same bits, what is not there is neither stored nor read.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/axis_limits.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// ` below 16*q + 16`, ` from 16*q` or nothing.
std::string limit_text(const Limit& limit) {
  if (limit.axis < 0) return "";
  return limit.from ? fmt::format(" from {}*q", limit.step) : fmt::format(" below {0}*q + {0}", limit.step);
}

struct Case {
  int64_t blocks = 1, m = 1, n = 1, k = 1;  ///< blocks: indices q of the batch
  Limit of_m, of_n, of_k;
  bool pack_a = false, pack_b = false, b_by_block = false;
  int mr = 4, nr = 1;
  int64_t mc = 64, nc = 64, kc = 256;

  std::string text() const {
    return fmt::format(
        "  kernel product  # parallel\n    contract q < {}; i < {}{}; e < {}{}; d < {}{}: tile {} x {} vectors, blocks {} x {} x {}\n"
        "      a[q, i, d] = v0{}:\n        v0 = load a[{}*q + {}*i + d] : f32\n"
        "      b[q, d, e] = v1{}:\n        v1 = load b[{}{}*d + e] : f32\n"
        "      for each q, i, e:\n        v2 = sum over k of a * b : f32\n        v3 = constant 2 : f32\n        v4 = add(v2, v3) : f32\n        out[{}*q + {}*i + e] <- v4 : f32\n",
        blocks, m, limit_text(of_m), n, limit_text(of_n), k, limit_text(of_k), mr, nr, mc, nc, kc, pack_a ? ", packed" : "", m * k, k, pack_b ? ", packed" : "",
        b_by_block ? fmt::format("{}*q + ", k * n) : "", n, m * n, n);
  }
};

IndexRange range_of(const Limit& limit, int64_t size, int64_t q) { return indices_at({"x", {size, false}, 1, limit}, q); }

/// Bits of the result; `outside`: what operand a has at terms that are not there. Without `limits` the kernel has none.
std::vector<uint32_t> run(VectorLevel level, const Case& c, bool limits, double outside, int threads, const std::vector<double>& numbers) {
  ProgramFixture fixture(level);
  const BufferId a = fixture.buffer("a", BufferKind::persistent, DType::f32, {{c.blocks * c.m * c.k}});
  const BufferId b = fixture.buffer("b", BufferKind::persistent, DType::f32, {{(c.b_by_block ? c.blocks : 1) * c.k * c.n}});
  const BufferId out = fixture.buffer("out", BufferKind::output, DType::f32, {{c.blocks * c.m * c.n}});
  for (BufferId id : {a, b}) fixture.program.persistents.push_back({{fixture.program[id].name, {DType::f32, fixture.program[id].shape}, PersistentKind::frozen, {}}, id});
  Case written = c;
  if (!limits) written.of_m = written.of_n = written.of_k = {};
  fixture.kernels(written.text());
  REQUIRE(verify_program(fixture.program) == std::vector<std::string>{});
  StepMemory memory(fixture.program);
  auto number = [&](int64_t i) { return numbers[size_t(i) % numbers.size()]; };
  memory.fill(a, [&](int64_t i) { return range_of(c.of_k, c.k, i / (c.m * c.k)).has(i % c.k) ? number(i) : outside; });
  memory.fill(b, [&](int64_t i) { return number(i + 7); });
  CompiledRunner(fixture.program).run(memory, threads);
  REQUIRE(memory.guards_intact());
  std::vector<uint32_t> bits(memory.count(out));
  std::memcpy(bits.data(), memory.data(out), bits.size() * 4);
  return bits;
}

void check(VectorLevel level, const Case& c, const std::vector<double>& numbers) {
  INFO(vector_level_name(level) << "\n" << c.text());
  const std::vector<uint32_t> limited = run(level, c, true, poison, 1, numbers), expected = run(level, c, false, 0, 1, numbers);
  size_t wrong = 0, stored = 0;
  for (int64_t q = 0; q < c.blocks; ++q)
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t e = 0; e < c.n; ++e) {
        const size_t at = size_t((q * c.m + i) * c.n + e);
        const bool there = range_of(c.of_m, c.m, q).has(i) && range_of(c.of_n, c.n, q).has(e);
        if (there) wrong += limited[at] != expected[at];
        else stored += limited[at] != 0xA5A5A5A5u;
      }
  CHECK(wrong == 0);
  CHECK(stored == 0);
  CHECK(run(level, c, true, poison, 3, numbers) == limited);
}

class RandomCases {
 public:
  explicit RandomCases(uint64_t seed) : random_(seed, stable_hash("limits")) {
    for (int i = 0; i < 997; ++i) numbers.push_back(random_.next_normal());
  }
  std::vector<double> numbers;

  int64_t below(int64_t bound) { return int64_t(random_.next_below(uint64_t(bound))); }

  int64_t pick(std::vector<int64_t> of) { return of[size_t(below(int64_t(of.size())))]; }

  Limit limit(int64_t size, int64_t blocks) {
    Limit l{0, pick({1, 2, 3, 5, 8, 16, 32, 64}), below(2) == 0};
    if (l.from && l.step * (blocks - 1) >= size) l.from = false;
    return below(2) == 0 ? Limit{} : l;
  }

  Case contraction(std::vector<int64_t> terms) {
    Case c;
    c.blocks = 1 + below(5);
    c.m = pick({1, 3, 6, 8, 17, 64, 70});
    c.n = pick({1, 4, 8, 15, 16, 24, 48, 64, 65, 100});
    c.k = pick(terms);
    c.of_m = limit(c.m, c.blocks);
    c.of_n = limit(c.n, c.blocks);
    c.of_k = limit(c.k, c.blocks);
    if (c.of_k.axis >= 0 && c.k > 1000) c.of_k.step = pick({64, 300, 500, 1024});
    if (c.of_k.from && c.of_k.step * (c.blocks - 1) >= c.k) c.of_k.from = false;
    c.pack_a = below(2) == 0;
    c.pack_b = below(2) == 0;
    c.b_by_block = below(3) == 0;
    c.mr = int(pick({1, 2, 4, 6}));
    c.nr = int(pick({1, 2, 3}));
    c.mc = pick({4, 12, 24, 64, 256});
    c.nc = pick({8, 48, 256});
    c.kc = pick({16, 64, 256, 1024, 4096});
    return c;
  }

 private:
  RandomStream random_;
};

}  // namespace

TEST_CASE("contractions with limits have the bits of those without", "[run][limits]") {
  for (VectorLevel level : host_levels())
    for (uint64_t seed = 0; seed < 40; ++seed) {
      RandomCases random(seed);
      check(level, random.contraction({1, 5, 16, 33, 64, 100, 256, 400}), random.numbers);
    }
}

TEST_CASE("limits of sums of several chains leave out chains at either end", "[run][limits]") {
  for (VectorLevel level : host_levels())
    for (uint64_t seed = 100; seed < 116; ++seed) {
      RandomCases random(seed);
      Case c = random.contraction({1500, 2048, 3000, 5000});
      c.m = std::min<int64_t>(c.m, 8);
      c.n = std::min<int64_t>(c.n, 24);
      c.kc = seed % 4 == 0 ? 256 : seed % 4 == 1 ? 8192 : 2048;  // a part of a chain, all of them, some
      if (c.of_k.axis < 0) c.of_k = {0, 700, (seed & 1) != 0 && 700 * (c.blocks - 1) < c.k};
      if (c.of_m.from && c.of_m.step * (c.blocks - 1) >= c.m) c.of_m = {};
      if (c.of_n.from && c.of_n.step * (c.blocks - 1) >= c.n) c.of_n = {};
      check(level, c, random.numbers);
    }
}

TEST_CASE("rows with limits have the bits of rows that end with zeros", "[run][limits]") {
  for (VectorLevel level : host_levels())
    for (uint64_t seed = 0; seed < 40; ++seed) {
      RandomCases random(seed);
      const int64_t blocks = 1 + random.below(4), rows = 1 + random.below(3), size = random.pick({1, 7, 16, 48, 64, 100, 128, 256, 300, 1000, 5000}), inside = random.pick({1, 1, 3});
      const Limit limit{0, random.pick({1, 3, 8, 16, 32, 64, 100, 256}), false};
      const bool lanes = random.below(3) > 0, exponentials = random.below(2) == 0;
      auto text = [&](bool limited) {
        const std::string loop = fmt::format("      for l < {}{}, h < {}{}:\n", size, limited ? limit_text(limit) : "", inside, lanes && inside == 1 ? "" : lanes ? "  (vector along h)" : "");
        const std::string lone = fmt::format("      for l < {}{}{}:\n", size, limited ? limit_text(limit) : "", lanes ? "  (vector along l)" : "");
        const std::string place = inside == 1 ? fmt::format("{}*q + {}*i + l", rows * size, size) : fmt::format("{}*q + {}*i + {}*l + h", rows * size * inside, size * inside, inside);
        const std::string head = inside == 1 ? lone : loop;
        return fmt::format("  kernel rows  # parallel\n    for q < {}, i < {}:\n{}        v0 = load x[{}] : f32\n        v1 = reduce_sum(v0) over the inner loop : f32\n        v2 = reduce_max(v0) over the inner loop : f32\n"
                           "      sums[{}*q + i] <- v1 : f32\n      largest[{}*q + i] <- v2 : f32\n{}        v3 = load x[{}] : f32\n        v4 = {}(v3) : f32\n        out[{}] <- v4 : f32\n",
                           blocks, rows, head, place, rows, rows, head, place, exponentials ? "exp" : "neg", place);
      };
      INFO(vector_level_name(level) << "\n" << text(true));
      std::vector<std::vector<uint32_t>> results[2];
      for (const bool limited : {false, true}) {
        ProgramFixture fixture(level);
        const BufferId x = fixture.buffer("x", BufferKind::persistent, DType::f32, {{blocks * rows * size * inside}});
        fixture.program.persistents.push_back({{"x", {DType::f32, fixture.program[x].shape}, PersistentKind::frozen, {}}, x});
        std::vector<BufferId> outputs{fixture.buffer("out", BufferKind::output, DType::f32, {{blocks * rows * size * inside}})};
        for (const char* name : {"sums", "largest"}) outputs.push_back(fixture.buffer(name, BufferKind::output, DType::f32, {{blocks * rows}}));
        fixture.kernels(text(limited));
        REQUIRE(verify_program(fixture.program) == std::vector<std::string>{});
        for (const int threads : {1, 2}) {
          StepMemory memory(fixture.program);
          memory.fill(x, [&](int64_t i) {
            const bool there = range_of(limit, size, i / (rows * size * inside)).has(i / inside % size);
            return there ? std::abs(random.numbers[size_t(i) % random.numbers.size()]) : limited ? poison : 0.0;
          });
          CompiledRunner(fixture.program).run(memory, threads);
          REQUIRE(memory.guards_intact());
          for (BufferId id : outputs) {
            results[limited].emplace_back(memory.count(id));
            std::memcpy(results[limited].back().data(), memory.data(id), memory.count(id) * 4);
          }
        }
      }
      for (size_t i = 0; i < 3; ++i) CHECK(results[1][i] == results[1][i + 3]);
      CHECK(results[0][1] == results[1][1]);
      CHECK(results[0][2] == results[1][2]);
      size_t wrong = 0;
      for (size_t i = 0; i < results[0][0].size(); ++i) {
        const bool there = range_of(limit, size, int64_t(i) / (rows * size * inside)).has(int64_t(i) / inside % size);
        wrong += results[1][0][i] != (there ? results[0][0][i] : 0xA5A5A5A5u);
      }
      CHECK(wrong == 0);
    }
}
