// Map kernels that take several outer indices together, and whose terms have guards, against plain loops and to the bit: blocks change no bit, whatever lies outside of an
// image in memory does not show. The kernels are those of convolutions by channels and of their weights' gradients, with sizes, strides, dilations and turned taps at random.
#include <fmt/format.h>

#include <functional>
#include <limits>
#include <random>
#include <utility>

#include "ir/sum_order.h"
#include "tests/run/codegen_contract_case.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// One direction of the image.
struct Line {
  int64_t pixels, taps, stride, dilation, begin, size;  ///< a window reads pixel * stride + tap * dilation + begin of `size`
  int64_t together;                                     ///< of pixels, or of taps in a weight's gradient
};

class Writer {
 public:
  Writer(uint64_t seed, VectorLevel level) : random_(seed), level_(level) {}

  std::string write() {
    weights_ = chance(2);
    const bool maximum = chance(6), epilogue = chance(2), phases = !weights_ && chance(3);
    const int64_t channels = pick(1, 40), longest = weights_ && chance(3) ? 40 : 12;
    rows_ = pick(1, 5);
    Line y = line(longest), x = line(longest);
    while (y.together * x.together > max_together) y.together = 1;
    const int64_t p = phases ? pick(2, 3) : 1, p_together = phases && x.together * y.together * p <= max_together && chance(2) ? p : 1;
    int64_t at = 0;
    auto buffer = [&](const std::string& name, int64_t elements) {
      const std::string text = fmt::format("  temporary \"{}\" : f32[{}] at {}, {} bytes\n", name, elements, at, elements * 4);
      at += (elements * 4 + 63) / 64 * 64;
      return text;
    };
    const int64_t image = y.size * x.size * channels, out_y = weights_ ? y.taps : y.pixels, out_x = weights_ ? x.taps : x.pixels, out = out_y * out_x * p * channels;
    const int64_t other_image = weights_ ? y.pixels * x.pixels * channels : 0, other = weights_ ? rows_ * other_image : y.taps * x.taps * p * channels;
    const std::string buffers = buffer("x", rows_ * image) + buffer("w", other) + buffer("bias", channels) + buffer("out", rows_ * out);
    const std::string by_y = y.together > 1 ? fmt::format(" by {}", y.together) : "", by_x = x.together > 1 ? fmt::format(" by {}", x.together) : "";
    // Pixels are i and j, taps k and l.
    std::string outer = weights_ ? fmt::format("k < {}{}, l < {}{}", y.taps, by_y, x.taps, by_x) : fmt::format("i < {}{}, j < {}{}", y.pixels, by_y, x.pixels, by_x);
    if (phases) outer += fmt::format(", p < {}{}", p, p_together > 1 ? fmt::format(" by {}", p_together) : "");
    const std::string inner = weights_ ? fmt::format("i < {}, j < {}", y.pixels, x.pixels) : fmt::format("k < {}, l < {}", y.taps, x.taps);
    auto window = [&](const Line& l, const char* pixel, const char* tap, int64_t step) {
      return fmt::format("{}*{} + {}*{} + {}", l.stride * step, pixel, l.dilation * step, tap, l.begin * step);
    };
    std::string text = fmt::format(R"(program @case {{
  target any {}, {} rows planned
  arena {} bytes, persistent 0 bytes
{}
  kernel taps  # parallel, after a barrier
    for b < B, {}, c < {}  (vector along c):
      v0 = load bias[c] : f32
      for {}:
)", vector_level_name(level_), rows_, at, buffers, outer, channels, inner);
    guards_ = 0;
    for (auto [l, pixel, tap] : {std::tuple{y, "i", "k"}, {x, "j", "l"}}) {
      const auto [low, high] = reach(l);
      if (low < 0 || high >= l.size) {
        text += fmt::format("        where 0 <= [{}] < {}\n", window(l, pixel, tap, 1), l.size);
        ++guards_;
      }
    }
    text += fmt::format("        v1 = load x[{}*b + {} + {} + c] : f32\n", image, window(y, "i", "k", x.size * channels), window(x, "j", "l", channels));
    const std::string w = weights_ ? fmt::format("{}*b + {}*i + {}*j + c", other_image, x.pixels * channels, channels)
                                   : fmt::format("{}*k + {}*l{} + c", x.taps * p * channels, p * channels, phases ? fmt::format(" + {}*p", channels) : "");
    text += fmt::format("        v2 = load w[{}] : f32\n        v3 = mul(v1, v2) : f32\n        v4 = reduce_sum(v3) over the inner loop : f32\n", w);
    if (maximum) text += "        v5 = reduce_max(v1) over the inner loop : f32\n";
    std::string value = "v4";
    if (epilogue) {
      text += "      v6 = add(v4, v0) : f32\n";
      value = "v6";
    }
    if (maximum) {
      text += fmt::format("      v7 = maximum({}, v5) : f32\n", value);
      value = "v7";
    }
    const std::string place = weights_ ? fmt::format("{}*k + {}*l", out_x * p * channels, p * channels) : fmt::format("{}*i + {}*j", out_x * p * channels, p * channels);
    text += fmt::format("      out[{}*b + {}{} + c] <- {} : f32\n}}\n", out, place, phases ? fmt::format(" + {}*p", channels) : "", value);
    return text;
  }

  int64_t rows_ = 1;
  int guards_ = 0;

 private:
  int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool chance(int64_t one_of) { return pick(1, one_of) == 1; }

  static std::pair<int64_t, int64_t> reach(const Line& l) {
    const int64_t spread = (l.taps - 1) * l.dilation;
    return {l.begin + std::min<int64_t>(spread, 0), l.begin + (l.pixels - 1) * l.stride + std::max<int64_t>(spread, 0)};
  }

  Line line(int64_t longest) {
    Line l{};
    l.pixels = pick(1, longest);
    l.taps = pick(1, 5);
    l.stride = pick(1, 3);
    l.dilation = chance(3) ? -pick(1, 2) : pick(1, 2);
    l.size = pick(1, 2 * longest);
    l.begin = pick(-4, 4);
    const auto [low, high] = reach(l);
    if (chance(4)) {  // nothing outside
      l.begin -= low;
      l.size = high - low + 1;
    }
    l.together = pick(1, 8);
    return l;
  }

  std::mt19937_64 random_;
  VectorLevel level_;
  bool weights_ = false;
};

/// One point after the other, one term after the other, in the order that ir/sum_order.h says.
class PlainLoops {
 public:
  PlainLoops(const Program& program, const MapKernel& map, std::vector<std::vector<float>>& memory, int64_t rows) : program_(program), map_(map), memory_(memory), rows_(rows) {
    index_.assign(map.axes.size(), 0);
  }
  std::vector<std::vector<bool>> touched;  ///< by buffer: what some term reads, or a store writes

  void run() {
    for (const std::vector<float>& buffer : memory_) touched.emplace_back(buffer.size(), false);
    each(0, [&] {
      for (const Block& block : map_.blocks) {
        if (block.inner)
          sum(block);
        else
          for (const Instruction& i : block.code) execute(i);
      }
    });
  }

 private:
  void each(int axis, const std::function<void()>& body) {
    if (axis == map_.outer) return body();
    for (int64_t i = 0; i < map_.axes[size_t(axis)].extent.at(rows_); ++i) {
      index_[size_t(axis)] = i;
      each(axis + 1, body);
    }
  }

  struct Tree {
    std::vector<float> waiting;
    int64_t pushed = 0;
    void push(float x) {
      int level = 0;
      for (int64_t ones = pushed++; ones & 1; ones >>= 1) x = waiting[size_t(level++)] + x;
      waiting.resize(std::max(waiting.size(), size_t(level) + 1));
      waiting[size_t(level)] = x;
    }
    float close() const {
      float x = 0;
      for (int level = 0; pushed >> level; ++level)
        if (pushed >> level & 1) x = waiting[size_t(level)] + x;
      return x;
    }
  };

  void sum(const Block& block) {
    // Chains are cut along the outermost loop one iteration of which has no more terms than a chain may have.
    int cut = int(map_.axes.size()) - 1;
    int64_t terms = 1;
    for (; cut > map_.outer && terms * map_.axes[size_t(cut)].extent.size <= reduction_chain; --cut) terms *= map_.axes[size_t(cut)].extent.size;
    const SumOrder order = sum_order(map_.axes[size_t(cut)].extent, program_.planned(), reduction_chain / terms);
    const bool cuts = order.chain_levels() > 0 || cut > map_.outer;
    float total = 0, largest = -std::numeric_limits<float>::infinity();
    Tree tree;
    std::function<void(int)> walk = [&](int axis) {
      if (axis == int(map_.axes.size())) {
        for (const Instruction& i : block.code) {
          if (i.kind == Instruction::Kind::guard) {
            const int64_t at = place(i.access);
            if (at < 0 || at >= i.extent.size) return;
          } else if (i.kind == Instruction::Kind::reduce) {
            const float x = values_[i.operands[0]];
            if (i.op == Op::reduce_sum)
              total += x;
            else
              largest = std::isnan(x) || std::isnan(largest) ? NAN : std::max(largest, x);
          } else {
            execute(i);
          }
        }
        return;
      }
      const int64_t extent = map_.axes[size_t(axis)].extent.size, chain = cuts && axis == cut ? order.chain : extent;
      for (int64_t i = 0; i < extent; ++i) {
        index_[size_t(axis)] = i;
        walk(axis + 1);
        if (cuts && axis == cut && ((i + 1) % chain == 0 || i + 1 == extent)) tree.push(std::exchange(total, 0.0f));
      }
    };
    walk(map_.outer);
    for (const Instruction& i : block.code)
      if (i.kind == Instruction::Kind::reduce) values_[i.id] = i.op != Op::reduce_sum ? largest : cuts ? tree.close() : total;
  }

  int64_t place(const Access& access) const {
    int64_t at = access.offset;
    for (size_t i = 0; i < index_.size(); ++i) at += access.strides[i] * index_[i];
    return at;
  }
  float& element(const Access& access) {
    touched[access.buffer.value][size_t(place(access))] = true;
    return memory_[access.buffer.value].at(size_t(place(access)));
  }

  void execute(const Instruction& i) {
    switch (i.kind) {
      case Instruction::Kind::load: values_[i.id] = element(i.access); break;
      case Instruction::Kind::store: element(i.access) = values_[i.operands[0]]; break;
      default: {
        const float x = values_[i.operands[0]], y = values_[i.operands[1]], z = i.op == Op::mul ? x * y : i.op == Op::add ? x + y : std::max(x, y);
        values_[i.id] = z;
      }
    }
  }

  const Program& program_;
  const MapKernel& map_;
  std::vector<std::vector<float>>& memory_;
  int64_t rows_;
  std::vector<int64_t> index_;
  std::map<int, float> values_;
};

}  // namespace

TEST_CASE("kernels with blocks and guards have the bits of plain loops", "[codegen][map]") {
  int guards = 0, blocks = 0;
  for (VectorLevel level : host_levels())
    for (uint64_t seed = 1; seed <= 120; ++seed) {
      Writer writer(seed, level);
      const std::string text = writer.write();
      INFO("level " << vector_level_name(level) << ", seed " << seed << "\n" << text);
      Program program = program_of(text, false);
      program.target = level_target(level);
      for (const std::string& problem : verify_program(program)) {  // no kernel before it has written what it reads
        INFO(problem);
        CHECK(problem.rfind("P10", 0) == 0);
      }
      const MapKernel& map = std::get<MapKernel>(program.kernels[0].body);
      guards += writer.guards_;
      for (const Axis& axis : map.axes) blocks += axis.together > 1;
      CompiledRunner code(program);
      for (int64_t rows : {writer.rows_, int64_t(1)}) {
        std::mt19937_64 random(seed);
        std::vector<std::vector<float>> expected;
        StepMemory memory(program);
        memory.rows = rows;
        for (uint32_t b = 0; b < program.buffers.size(); ++b) {
          std::vector<float>& values = expected.emplace_back(memory.count(BufferId{b}));
          for (float& v : values) v = float(std::uniform_real_distribution<double>(-1, 1)(random));
        }
        PlainLoops plain(program, map, expected, rows);
        plain.run();
        for (uint32_t b = 0; b < program.buffers.size(); ++b)
          for (size_t i = 0; i < expected[b].size(); ++i) {
            if (!plain.touched[b][i]) expected[b][i] = i % 2 == 0 ? NAN : std::numeric_limits<float>::infinity();
            memory.set(BufferId{b}, int64_t(i), expected[b][i]);
          }
        const uint32_t out = uint32_t(program.buffers.size()) - 1;
        for (size_t i = 0; i < expected[out].size(); ++i)
          if (plain.touched[out][i]) memory.set(BufferId{out}, int64_t(i), -7);
        for (int threads : {1, 3}) {
          StepMemory got = memory;
          code.run(got, threads);
          CHECK(got.guards_intact());
          for (uint32_t b = 0; b < program.buffers.size(); ++b) CHECK(std::memcmp(got.data(BufferId{b}), expected[b].data(), expected[b].size() * 4) == 0);
        }
      }
    }
  CHECK((guards > 100 && blocks > 100));
}
