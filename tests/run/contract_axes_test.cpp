// Contractions over several axes of m and k, as windows make them, against plain loops and to the bit: the axes of an image and of its taps share addresses, with
// strides, dilations and turned taps; memory orders, sizes, tiles, blocks and packing are random. With guards the terms outside of an image are left out: what lies there
// in memory, or that nothing does, must not show.
#include <fmt/format.h>

#include <limits>
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

/// A dimension of a buffer: which axes walk along it, each with a factor, and how long it is.
struct Dimension {
  std::vector<std::pair<std::string, int64_t>> axes;
  int64_t size = 1, begin = 0;
};

std::string sum_of(const std::vector<std::pair<std::string, int64_t>>& axes, int64_t step, int64_t offset) {
  std::string text;
  for (const auto& [axis, factor] : axes) text += fmt::format("{}*{} + ", factor * step, axis);
  return text + std::to_string(offset);
}

class Writer {
 public:
  Writer(std::mt19937_64& random, const Target& target) : random_(random), target_(target) {}

  Case write(bool guarded) {
    Case c;
    c.rows = guarded ? pick(1, 20) : pick(1, 6);
    const bool many_rows = chance(4), grouped = chance(3), rows_in_k = chance(3);
    if (many_rows && rows_in_k) c.rows = 300;  // several pieces
    const int taps = int(pick(0, 2));  // windows
    std::vector<std::pair<std::string, int64_t>> batch, m, k;  // sizes; rows: -1
    std::vector<Dimension> a, b, out;
    auto one = [&](const std::string& axis, int64_t size) { return Dimension{{{axis, 1}}, size, 0}; };
    std::vector<std::pair<std::string, int64_t>> last_m;  // with guards: not what they are about
    if (grouped) {
      const int64_t size = pick(1, 3);
      batch.push_back({"g", size});
      for (auto* list : {&a, &b, &out}) list->push_back(one("g", size));
    }
    if (rows_in_k) {
      k.push_back({"r", -1});
      a.push_back(one("r", c.rows));
      b.push_back(one("r", c.rows));
    } else if (guarded || chance(2)) {
      (guarded && chance(2) ? last_m : m).push_back({"r", -1});
      a.push_back(one("r", c.rows));
      out.push_back(one("r", c.rows));
    }
    for (int t = 0; t < taps; ++t) {
      const std::string y = fmt::format("y{}", t), d = fmt::format("d{}", t);
      const int64_t pixels = pick(1, many_rows ? 4 : 9), tap = pick(1, 4), stride = pick(1, 2), dilation = pick(1, 2);
      // In the weights' gradient taps are results and pixels are summed.
      (rows_in_k ? k : m).push_back({y, pixels});
      (rows_in_k ? m : k).push_back({d, tap});
      const bool turned = chance(3);
      a.push_back({{{y, stride}, {d, turned ? -dilation : dilation}}, (pixels - 1) * stride + (tap - 1) * dilation + 1 + pick(0, 1), turned ? (tap - 1) * dilation : 0});
      (rows_in_k ? b : out).push_back(one(y, pixels));
      (rows_in_k ? out : b).push_back(one(d, tap));
    }
    if (guarded && last_m.empty() && !chance(4)) {
      last_m.push_back({"x", pick(1, 12)});
      for (auto* list : {&a, &out}) list->push_back(one("x", last_m[0].second));
    }
    const int64_t channels = guarded && chance(6) ? pick(150, 600) : chance(6) ? pick(60, 150) : pick(1, 20), outputs = chance(5) ? 1 : pick(2, 3 * target_.f32_lanes());
    (rows_in_k || m.empty() || chance(8) ? m : k).push_back({"c", channels});
    const bool kept = m.back().first == "c";
    a.push_back(one("c", channels));
    (kept ? out : b).push_back(one("c", channels));
    if (k.empty()) {
      k.push_back({"k", 5});
      a.push_back(one("k", 5));
      b.push_back(one("k", 5));
    }
    b.push_back(one("o", outputs));
    out.push_back(one("o", outputs));
    if (!rows_in_k) std::shuffle(k.begin(), k.end(), random_);
    else std::shuffle(k.begin() + 1, k.end(), random_);
    std::shuffle(m.begin(), m.end(), random_);
    m.insert(m.end(), last_m.begin(), last_m.end());
    for (auto* list : {&a, &b, &out})
      if (chance(2)) std::shuffle(list->begin(), list->end(), random_);

    const bool scaled_a = chance(3), scaled_b = chance(3);
    bool packed_a = chance(2), packed_b = chance(2);
    std::string guards_a, guards_b;
    if (guarded) {
      // A guard may be about one axis of k, axes of the batch and all of m but the last.
      std::set<std::string> fixed, summed;
      for (const auto& [axis, size] : batch) fixed.insert(axis);
      for (const auto& [axis, size] : k)
        if (size >= 0) summed.insert(axis);
      packed_b = packed_b || (outputs != 1 && b.back().axes[0].first != "o");
      guards_b = guards(b, batch, k, fixed, summed, !packed_b && !scaled_b);
      for (size_t i = 0; i + 1 < m.size(); ++i) fixed.insert(m[i].first);
      guards_a = guards(a, batch, k, fixed, summed, !packed_a && !scaled_a);
      packed_a = packed_a || (scaled_a && !guards_a.empty());
      packed_b = packed_b || (scaled_b && !guards_b.empty());
    }
    const std::string at_a = address("a", a), at_b = address("b", b), at_out = address("out", out);
    c.text = fmt::format(R"(program @case {{
  target any {}, {} rows planned
  arena {} bytes, persistent 0 bytes
{}
  kernel contract  # parallel, after a barrier
    contract {}{}{}; o < {}; {}: tile {} x {} vectors, blocks {} x {} x {}
      a[{}] = v{}{}:
{}      b[{}] = v{}{}:
{}      for each {}:
        v20 = sum over k of a * b : f32
        {} <- v20 : f32
}}
)", vector_level_name(target_.level), c.rows, arena_, buffers_, axes(batch), batch.empty() ? "" : "; ", axes(m), outputs, axes(k), pick(1, 9), pick(1, 4), pick(1, 40), pick(1, 80),
                         chance(2) ? pick(1, 40) : 2000, names({batch, m, k}), scaled_a ? 2 : 0, packed_a ? ", packed" : "", guards_a + operand(at_a, 0, scaled_a),
                         names({batch, k, {{"o", 1}}}), scaled_b ? 12 : 10, packed_b ? ", packed" : "", guards_b + operand(at_b, 10, scaled_b), names({batch, m, {{"o", 1}}}), at_out);
    return c;
  }

 private:
  int64_t pick(int64_t low, int64_t high) { return low + int64_t(random_() % uint64_t(high - low + 1)); }
  bool chance(uint64_t in) { return random_() % in == 0; }
  using Axes = std::vector<std::pair<std::string, int64_t>>;

  static std::string axes(const Axes& list) {
    std::string text;
    for (const auto& [name, size] : list) text += fmt::format("{}{} < {}", text.empty() ? "" : ", ", name, size < 0 ? "B" : std::to_string(size));
    return text;
  }
  static std::string names(const std::vector<Axes>& lists) {
    std::string text;
    for (const Axes& list : lists)
      for (const auto& [name, size] : list) text += (text.empty() ? "" : ", ") + name;
    return text;
  }
  static std::string operand(const std::string& at, int first, bool scaled) {
    std::string load = fmt::format("        v{} = load {} : f32\n", first, at);
    if (scaled) load += fmt::format("        v{} = constant 0.5 : f32\n        v{} = mul(v{}, v{}) : f32\n", first + 1, first + 2, first, first + 1);
    return load;
  }
  /// Guards of an operand with these dimensions, about places along them and about others. With `cut` the operand's memory may end where they do.
  std::string guards(std::vector<Dimension>& dimensions, const Axes& batch, const Axes& k, const std::set<std::string>& fixed, const std::set<std::string>& summed, bool cut) {
    std::string text;
    auto guard = [&](const Axes& axes, int64_t offset, int64_t limit) { text += fmt::format("        where 0 <= [{}] < {}\n", sum_of(axes, 1, offset), limit); };
    for (Dimension& d : dimensions) {
      size_t own = 0, others = 0;
      for (const auto& [axis, factor] : d.axes) summed.count(axis) ? ++own : others += 1 - fixed.count(axis);
      if (own != 1 || others > 0 || chance(4)) continue;
      // All of it, nothing, or a part.
      const int64_t low = chance(8) ? -pick(0, 3) : pick(0, d.size - 1), limit = chance(16) ? 0 : chance(8) ? d.size + pick(0, 3) : pick(1, d.size);
      guard(d.axes, d.begin - low, limit);
      if (cut && chance(2)) {
        d.begin -= low;
        d.size = std::max<int64_t>(limit, 1);
      }
    }
    for (const auto& [axis, size] : k) {
      if (!summed.count(axis) || !chance(5)) continue;
      int64_t factor = pick(1, 3) * (chance(2) ? 1 : -1);
      Axes axes{{axis, factor}};
      if (!batch.empty() && chance(2)) axes.push_back({batch[0].first, pick(-2, 2)});
      guard(axes, factor < 0 ? -factor * size - pick(0, size) : -pick(0, size), pick(1, 3 * size));
    }
    return text;
  }
  std::string address(const std::string& name, const std::vector<Dimension>& dimensions) {
    Axes sum;
    int64_t step = 1, begin = 0;
    for (size_t i = dimensions.size(); i-- > 0;) {
      for (const auto& [axis, factor] : dimensions[i].axes) sum.push_back({axis, factor * step});
      begin += dimensions[i].begin * step;
      step *= dimensions[i].size;
    }
    buffers_ += fmt::format("  temporary \"{}\" : f32[{}] at {}, {} bytes\n", name, step, arena_, step * 4);
    arena_ += (step * 4 + 63) / 64 * 64;
    return fmt::format("{}[{}]", name, sum_of(sum, 1, begin));
  }

  std::mt19937_64& random_;
  const Target& target_;
  std::string buffers_;
  int64_t arena_ = 0;
};

}  // namespace

TEST_CASE("contractions over several axes have the bits of plain loops", "[codegen][contract]") {
  for (const Target& target : runnable_targets()) {
    for (uint64_t seed = 1; seed <= 120; ++seed) {
      std::mt19937_64 random(seed);
      const Case c = Writer(random, target).write(false);
      INFO("level " << vector_level_name(target.level) << ", seed " << seed << "\n" << c.text);
      Program program = program_of(c.text, false);
      program.target = target;
      CompileOptions options;
      options.verify = true;
      auto code = compile(program, nullptr, options);
      for (int64_t rows : {c.rows, std::max<int64_t>(1, c.rows - 1)}) {
        Memory expected(program, seed);
        run_plainly(expected, rows, target.level != VectorLevel::portable);
        for (int threads : {1, 3}) {
          Memory got(program, seed);
          got.run(*code, rows, threads);
          CHECK(std::memcmp(got.arena.data, expected.arena.data, got.arena.size) == 0);
        }
      }
    }
  }
}

// Whatever no term reads is NaN or infinite: that includes what the guards of a term leave out.
TEST_CASE("contractions whose terms have guards have the bits of plain loops that skip them", "[codegen][contract]") {
  for (const Target& target : runnable_targets()) {
    for (uint64_t seed = 1; seed <= 80; ++seed) {
      std::mt19937_64 random(seed);
      const Case c = Writer(random, target).write(true);
      INFO("level " << vector_level_name(target.level) << ", seed " << seed << "\n" << c.text);
      Program program = program_of(c.text, false);
      program.target = target;
      for (const std::string& problem : verify_program(program)) {
        INFO(problem);
        CHECK((problem.rfind("P5", 0) != 0 && problem.rfind("P6", 0) != 0));
      }
      CompileOptions options;
      options.verify = true;
      auto code = compile(program, nullptr, options);
      for (int64_t rows : std::set<int64_t>{c.rows, std::max<int64_t>(1, c.rows - 1), (c.rows + 1) / 2, 1}) {
        Memory expected(program, seed);
        expected.touched.resize(expected.arena.size);
        run_plainly(expected, rows, target.level != VectorLevel::portable);
        auto spoil = [&](Memory& memory) {
          for (size_t at = 0; at < expected.touched.size(); at += 4) {
            const float wrong = at % 8 == 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
            if (!expected.touched[at]) std::memcpy(memory.arena.data + at, &wrong, 4);
          }
        };
        spoil(expected);
        for (int threads : {1, 3}) {
          Memory got(program, seed);
          spoil(got);
          got.run(*code, rows, threads);
          CHECK(std::memcmp(got.arena.data, expected.arena.data, got.arena.size) == 0);
        }
      }
    }
  }
}

// What is left over of a tile is done by functions that kernels of the same strides share: not if their runs of k lie in other places.
TEST_CASE("kernels with runs of their own in one program", "[codegen][contract]") {
  for (const Target& target : runnable_targets()) {
    auto kernel = [](const std::string& out, int step, int taps) {
      return fmt::format(R"(
  kernel {}.contract  # parallel, after a barrier
    contract y < 5; o < 8; d < {}, c < 4: tile 4 x 1 vectors, blocks 8 x 8 x 2000
      a[y, d, c] = v0:
        v0 = load a[4*y + {}*d + c + 0] : f32
      b[d, c, o] = v10:
        v10 = load b[32*d + 8*c + o + 0] : f32
      for each y, o:
        v20 = sum over k of a * b : f32
        {}[8*y + o + 0] <- v20 : f32
)", out, taps, step, out);
    };
    const std::string text = fmt::format(R"(program @case {{
  target any {}, 1 rows planned
  arena 1216 bytes, persistent 0 bytes
  temporary "a" : f32[60] at 0, 240 bytes
  temporary "b" : f32[96] at 256, 384 bytes
  temporary "p" : f32[40] at 640, 160 bytes
  temporary "q" : f32[40] at 832, 160 bytes
  temporary "r" : f32[40] at 1024, 160 bytes
{}{}{}}}
)", vector_level_name(target.level), kernel("p", 8, 3), kernel("q", 12, 3), kernel("r", 8, 2));
    INFO(text);
    Program program = program_of(text, false);
    program.target = target;
    CompileOptions options;
    options.verify = true;
    auto code = compile(program, nullptr, options);
    Memory expected(program, 1), got(program, 1);
    for (size_t i = 0; i < program.kernels.size(); ++i) run_plainly(expected, 1, target.level != VectorLevel::portable, i);
    got.run(*code, 1, 1);
    CHECK(std::memcmp(got.arena.data, expected.arena.data, got.arena.size) == 0);
  }
}

// A block of k may leave a few terms of a run, fewer than a vector has lanes, though it is long itself: they are not packed by vectors along k, which would reach into
// the run before.
TEST_CASE("blocks of k that end shortly behind the beginning of a run", "[codegen][contract]") {
  for (const Target& target : runnable_targets()) {
    const std::string text = fmt::format(R"(program @case {{
  target any {}, 1 rows planned
  arena 45376 bytes, persistent 0 bytes
  temporary "a" : f32[4960] at 0, 19840 bytes
  temporary "b" : f32[6336] at 19840, 25344 bytes
  temporary "p" : f32[40] at 45184, 160 bytes

  kernel contract  # parallel, after a barrier
    contract y < 5; o < 8; d < 12, c < 66: tile 4 x 1 vectors, blocks 8 x 8 x 72
      a[y, d, c] = v0, packed:
        v0 = load a[1000*y + 80*d + c + 0] : f32
      b[d, c, o] = v10:
        v10 = load b[528*d + 8*c + o + 0] : f32
      for each y, o:
        v20 = sum over k of a * b : f32
        p[8*y + o + 0] <- v20 : f32
}}
)", vector_level_name(target.level));
    INFO(text);
    Program program = program_of(text, false);
    program.target = target;
    CompileOptions options;
    options.verify = true;
    auto code = compile(program, nullptr, options);
    Memory expected(program, 1), got(program, 1);
    run_plainly(expected, 1, target.level != VectorLevel::portable);
    got.run(*code, 1, 1);
    CHECK(std::memcmp(got.arena.data, expected.arena.data, got.arena.size) == 0);
  }
}
