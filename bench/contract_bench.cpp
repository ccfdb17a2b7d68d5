// Contract kernels against this machine's FMA peak: dense layers, attention, and the three products of 3x3 convolutions over 64 images, each alone in a program,
// operands hot. Prints median time and share of the peak that is measured beside it. Build target: contract_bench. Options: --level NAME, --filter
// TEXT, --tile MRxNR, --blocks M,N,K, --text (LLVM's assembly).
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "codegen/peak.h"
#include "passes/tiles.h"
#include "tests/run/codegen_contract_case.h"

using namespace nnc;
using namespace nnc::test;

namespace {

struct Named {
  std::string name;
  ContractCase c;
  std::string text = {};  ///< of the program, where it is no ContractCase
};

/// A convolution of 3x3, one pixel over the edges, over 64 images, channels innermost: "forward", "dX" (of stride 1) or "dW". As passes make it: what is outside is left out
/// by guards, and stands around images of one channel.
Named convolution(std::string_view product, int64_t in, int64_t out, int64_t size, int64_t stride) {
  const bool weights = product == "dW", input = product == "dX", border = in == 1;
  const int64_t pixels = size / stride, wide = border ? size + 2 : size, images = 64;
  if (input) std::swap(in, out);
  const int64_t x = images * wide * wide * in, y = images * pixels * pixels * out, w = 9 * in * out;
  auto place = [](int64_t elements) { return (elements * 4 + 63) / 64 * 64; };
  const std::string image = fmt::format("x[{}*b + {}*i + {}*j + {}*h + {}*v{}]", wide * wide * in, stride * wide * in, stride * in, wide * in, in,
                                        border ? "" : fmt::format(" + c + {}", -(wide + 1) * in));
  const std::string result = fmt::format("y[{}*b + {}*i + {}*j + o]", pixels * pixels * out, pixels * out, out);
  // The input's gradient meets the weights turned round, and their input channels in the lanes.
  const std::string taps = input ? fmt::format("w[{} + -{}*h + -{}*v + {}*o + c]", 8 * in * out, 3 * in * out, in * out, in)
                                 : fmt::format("w[{}*h + {}*v{} + o]", 3 * in * out, in * out, border ? "" : fmt::format(" + {}*c", out));
  const std::string guards = border ? "" : fmt::format("        where 0 <= [{}*i + h + -1] < {}\n        where 0 <= [{}*j + v + -1] < {}\n", stride, size, stride, size);
  const std::string channels = border ? "" : fmt::format(", c < {}", in), c = border ? "" : ", c";
  const std::string body = weights ? fmt::format(R"(    contract h < 3, v < 3{}; o < {}; b < B, i < {}, j < {}: tile 1 x 1 vectors, blocks 1 x 1 x 1
      a[h, v{}, b, i, j] = v0:
{}        v0 = load {} : f32
      b[b, i, j, o] = v1:
        v1 = load {} : f32
      for each h, v{}, o:
        v2 = sum over k of a * b : f32
        {} <- v2 : f32
)", channels, out, pixels, pixels, c, guards, image, result, c, taps)
                                   : fmt::format(R"(    contract {}; o < {}; h < 3, v < 3{}: tile 1 x 1 vectors, blocks 1 x 1 x 1
      a[{}, h, v{}] = v0:
{}        v0 = load {} : f32
      b[h, v{}, o] = v1:
        v1 = load {} : f32
      for each {}, o:
        v2 = sum over k of a * b : f32
        {} <- v2 : f32
)", border ? fmt::format("b < B, i < {}, j < {}", pixels, pixels) : fmt::format("i < {}, j < {}, b < B", pixels, pixels), out, channels, border ? "b, i, j" : "i, j, b", c,
                                                 guards, image, c, taps, border ? "b, i, j" : "i, j, b", result);
  Named named{fmt::format("conv {}-{} {}x{}{} {}", input ? out : in, input ? in : out, size, size, stride > 1 ? " /2" : "", product), {}};
  named.text = fmt::format(R"(program @case {{
  target any portable, {} rows planned
  arena {} bytes, persistent 0 bytes
  temporary "x" : f32[{}] at 0, {} bytes
  temporary "y" : f32[{}] at {}, {} bytes
  temporary "w" : f32[{}] at {}, {} bytes

  kernel contract  # parallel, after a barrier, {} FLOP
{}}}
)", images, place(x) + place(y) + place(w), x, x * 4, y, place(x), y * 4, w, place(x) + place(y), w * 4, 2 * images * pixels * pixels * w, body);
  return named;
}

/// Time that this thread has run: other programs on the machine do not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

std::vector<Named> shapes() {
  Extent rows{1, true};
  auto fixed = [](int64_t size) { return Extent{size, false}; };
  std::vector<Named> list;
  auto layer = [&](std::string name, int64_t batch, int64_t in, int64_t out, bool bytes) {
    ContractCase c;
    c.planned_rows = batch;
    c.m = rows;
    c.n = fixed(out);
    c.k = fixed(in);
    c.a = bytes ? Source::u8_field : Source::plain;
    c.finish = Finish::bias_relu;
    list.push_back({name + " forward", c});
    if (!bytes) {
      ContractCase d;
      d.planned_rows = batch;
      d.m = rows;
      d.n = fixed(in);
      d.k = fixed(out);
      d.b_order = {1, 0};
      list.push_back({name + " dX", d});
    }
    ContractCase w;
    w.planned_rows = batch;
    w.m = fixed(in);
    w.n = fixed(out);
    w.k = rows;
    w.a = c.a;
    w.a_order = {1, 0};
    w.finish = Finish::update;
    list.push_back({name + " dW sgd", w});
    if (in >= 784) {
      w.finish = Finish::adam;
      list.push_back({name + " dW adam", w});
    }
  };
  layer("mlp32 784-64", 32, 784, 64, true);
  layer("mlp32 64-64", 32, 64, 64, false);
  layer("mlp32 64-10", 32, 64, 10, false);
  layer("mlp1 784-64", 1, 784, 64, true);
  layer("mlp256 784-2048", 256, 784, 2048, true);
  layer("mlp256 2048-2048", 256, 2048, 2048, false);
  layer("mlp256 2048-10", 256, 2048, 10, false);
  ContractCase attention;
  attention.planned_rows = 8;
  attention.batch = {rows, fixed(8)};
  attention.m = attention.n = fixed(128);
  attention.k = fixed(32);
  attention.b_order = {1, 0};
  attention.a_gap = attention.b_gap = 7 * 32;
  list.push_back({"attention q k", attention});
  attention.k = fixed(128);
  attention.n = fixed(32);
  attention.b_order = {0, 1};
  attention.a_gap = 0;
  list.push_back({"attention weights v", attention});
  for (auto [in, out, size, stride] : {std::array<int64_t, 4>{1, 16, 28, 1}, {16, 16, 28, 1}, {16, 32, 28, 2}, {32, 32, 14, 1}, {32, 64, 14, 2}, {64, 64, 7, 1}, {256, 256, 14, 1}})
    for (std::string_view product : {"forward", "dX", "dW"})
      if (product != "dX" || (stride == 1 && in > 1)) list.push_back(convolution(product, in, out, size, stride));
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  Target target = host_target_with_cpu();
  std::string filter, tile, blocks;
  bool text = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--text")
      text = true;
    else if (word == "--level" && i + 1 < argc)
      target = target_by_name(argv[++i]);
    else if (word == "--filter" && i + 1 < argc)
      filter = argv[++i];
    else if (word == "--tile" && i + 1 < argc)
      tile = argv[++i];
    else if (word == "--blocks" && i + 1 < argc)
      blocks = argv[++i];
    else {
      fmt::print(stderr, "usage: contract_bench [--level NAME] [--filter TEXT] [--tile MRxNR] [--blocks M,N,K] [--text]\n");
      return 2;
    }
  }
  fmt::print("cpu {}, level {}, peak {:.1f} GFLOP/s\n", target.cpu, vector_level_name(target.level),
             measure_fma_peak_gflops(target.level));
  fmt::print("{:28} {:>6} {:>18} {:>5} {:>11} {:>9} {:>8} {:>7}\n", "shape", "tile", "blocks", "pack", "time us", "GFLOP/s",
             "of peak", "jit ms");
  for (Named& named : shapes()) {
    if (named.name.find(filter) == std::string::npos) continue;
    named.c.target = target;
    Program program = named.text.empty() ? contract_program(named.c) : program_of(named.text, false);
    program.target = target;
    auto& kernel = std::get<ContractKernel>(program.kernels[0].body);
    choose_tiles(program, kernel);
    if (!tile.empty()) std::sscanf(tile.c_str(), "%dx%d", &kernel.mr, &kernel.nr);
    if (!blocks.empty()) std::sscanf(blocks.c_str(), "%ld,%ld,%ld", &kernel.mc, &kernel.nc, &kernel.kc);
    if (text) {
      fmt::print("{}\n", emit_text(program, nullptr, CodeStage::assembly));
      continue;
    }
    compile(program, nullptr);  // the first one pays for LLVM's start
    double before = thread_seconds();
    auto code = compile(program, nullptr);
    double compile_ms = (thread_seconds() - before) * 1e3;
    Memory memory(program, 1);
    auto seconds = [&](int64_t steps) {
      double start = thread_seconds();
      memory.run(*code, program.rows, 1, steps);
      return thread_seconds() - start;
    };
    int64_t steps = 1;
    while (seconds(steps) < 2e-3) steps *= 2;
    std::vector<double> times, peaks;
    for (int i = 0; i < 15; ++i) {
      times.push_back(seconds(steps) / double(steps));
      if (i % 3 == 0) peaks.push_back(measure_fma_peak_gflops(target.level));
    }
    std::sort(times.begin(), times.end());
    std::sort(peaks.begin(), peaks.end());
    double gflops = program.kernels[0].flops / times[times.size() / 2] * 1e-9;
    fmt::print("{:28} {:>6} {:>18} {:>5} {:>11.2f} {:>9.1f} {:>7.1f}% {:>7.1f}\n", named.name,
               fmt::format("{}x{}", kernel.mr, kernel.nr), fmt::format("{},{},{}", kernel.mc, kernel.nc, kernel.kc),
               fmt::format("{}{}", kernel.a.pack ? "a" : "-", kernel.b.pack ? "b" : "-"), times[times.size() / 2] * 1e6, gflops,
               100 * gflops / peaks[peaks.size() / 2], compile_ms);
  }
  return 0;
}
