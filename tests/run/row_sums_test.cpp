// Sums that a contraction's epilogue makes over the rows of its tiles, against plain loops and to the bit: whatever the tile, the blocks, the packing, the number of
// rows that a batch has of those planned, and the threads.
#include <fmt/format.h>

#include <set>

#include "tests/run/codegen_contract_case.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

struct Case {
  std::string text;
  int64_t rows = 1;  ///< planned
};

class Writer {
 public:
  Writer(std::mt19937_64& random, const Target& target) : random_(random), target_(target) {}

  /// A line of pixels with three taps, of which those outside are left out, or a product in groups.
  Case write() {
    Case c;
    const bool of_batch = !chance(4), taps = chance(2), long_rows = chance(3), grouped = !taps && chance(2);
    const int64_t rows = long_rows ? one_of({256, 257, 300, 700, 1300}) : pick(1, 40);
    c.rows = of_batch ? rows : 1;
    const int64_t lines = pick(1, long_rows ? 3 : 9), channels = chance(4) ? pick(100, 300) : pick(1, 20), columns = chance(5) ? 1 : pick(2, 3 * target_.f32_lanes());
    const int64_t groups = grouped ? pick(2, 3) : 1, steps = taps ? 3 : 1;
    const bool packed_a = !taps && chance(2), packed_b = chance(2), stored = chance(2);
    const std::string head = grouped ? "g, " : "";
    const std::string a = buffer("a", groups * lines * rows * channels), b = buffer("b", groups * steps * channels * columns);
    const std::string out = buffer("out", groups * lines * rows * columns), s = buffer("s", groups * lines * columns), q = buffer("q", groups * lines * columns);
    const std::string load_a = taps ? fmt::format("where 0 <= [h + d + -1] < {}\n        v0 = load a[{}*h + {}*d + {}*r + c + {}]", lines, rows * channels, rows * channels, channels,
                                                  -rows * channels)
                                    : fmt::format("v0 = load a[{}{}*h + {}*r + c + 0]", grouped ? fmt::format("{}*g + ", lines * rows * channels) : "", rows * channels, channels);
    const std::string load_b = taps ? fmt::format("{}*d + {}*c + o", channels * columns, columns)
                                    : fmt::format("{}{}*c + o", grouped ? fmt::format("{}*g + ", channels * columns) : "", columns);
    const std::string line = fmt::format("{}{}*h + o", grouped ? fmt::format("{}*g + ", lines * columns) : "", columns);
    const std::string store = fmt::format("        out[{}{}*h + {}*r + o + 0] <- v20 : f32\n", grouped ? fmt::format("{}*g + ", lines * rows * columns) : "", rows * columns, columns);
    c.text = fmt::format(R"(program @case {{
  target any {}, {} rows planned
  arena {} bytes, persistent 0 bytes
{}
  kernel contract  # parallel, after a barrier
    contract {}h < {}, r < {}; o < {}; {}c < {}: tile {} x {} vectors, blocks {} x {} x {}
      a[{}h, r, {}c] = v0{}:
        {} : f32
      b[{}{}c, o] = v10{}:
        v10 = load b[{} + 0] : f32
      for each {}h, r, o:
        v20 = sum over k of a * b : f32
{}        v21 = mul(v20, v20) : f32
        v22 = reduce_sum(v20) over the rows : f32
        v23 = reduce_sum(v21) over the rows : f32
      after all r, for each {}h, o:
        s[{} + 0] <- v22 : f32
        v24 = constant 0.5 : f32
        v25 = mul(v23, v24) : f32
        q[{} + 0] <- v25 : f32
}}
)", vector_level_name(target_.level), c.rows, arena_, a + b + (stored ? out : "") + s + q, grouped ? fmt::format("g < {}; ", groups) : "", lines,
                         of_batch ? "B" : std::to_string(rows), columns, taps ? "d < 3, " : "", channels, pick(1, 9), pick(1, 4), rows * pick(1, lines), pick(1, 80),
                         chance(2) ? pick(1, 40) : 2000, head, taps ? "d, " : "", packed_a ? ", packed" : "", load_a, head, taps ? "d, " : "", packed_b ? ", packed" : "", load_b, head,
                         stored ? store : "", head, line, line);
    return c;
  }

 private:
  int64_t pick(int64_t low, int64_t high) { return low + int64_t(random_() % uint64_t(high - low + 1)); }
  bool chance(uint64_t in) { return random_() % in == 0; }
  int64_t one_of(const std::vector<int64_t>& list) { return list[random_() % list.size()]; }
  std::string buffer(const std::string& name, int64_t elements) {
    const std::string line = fmt::format("  temporary \"{}\" : f32[{}] at {}, {} bytes\n", name, elements, arena_, elements * 4);
    arena_ += (elements * 4 + 63) / 64 * 64;
    return line;
  }

  std::mt19937_64& random_;
  const Target& target_;
  int64_t arena_ = 0;
};

}  // namespace

TEST_CASE("sums over the rows of tiles have the bits of plain loops", "[codegen][contract]") {
  for (const Target& target : runnable_targets()) {
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      std::mt19937_64 random(seed);
      const Case c = Writer(random, target).write();
      INFO("level " << vector_level_name(target.level) << ", seed " << seed << "\n" << c.text);
      Program program = program_of(c.text, false);
      program.target = target;
      for (const std::string& problem : verify_program(program)) {
        INFO(problem);
        CHECK(problem.rfind("P10", 0) == 0);  // operands that nobody has stored
      }
      CompileOptions options;
      options.verify = true;
      auto code = compile(program, nullptr, options);
      for (int64_t rows : std::set<int64_t>{c.rows, std::max<int64_t>(1, c.rows - 1), (c.rows + 1) / 2, std::min<int64_t>(c.rows, 130), 1}) {
        Memory expected(program, seed);
        run_plainly(expected, rows, target.level != VectorLevel::portable);
        for (int threads : {1, 2, 3, 7}) {
          INFO(rows << " rows, " << threads << " threads");
          Memory got(program, seed);
          got.run(*code, rows, threads);
          CHECK(std::memcmp(got.arena.data, expected.arena.data, got.arena.size) == 0);
        }
      }
    }
  }
}
