// The step function around the kernels: teams of several threads, barriers, tickets, stop flag, empty steps, cycle counts; and
// properties of the code itself.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "base/diagnostics.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// Each step: y = w / 4 + 1 backwards (parallel); z = 2 x (parallel, without a barrier); sum of y (serial); w from y, z and the
/// sum (parallel).
struct Relay {
  int64_t n;
  ProgramFixture f;
  BufferId w, x, sum;

  Relay(VectorLevel level, int64_t n) : n(n), f(level) {
    w = f.buffer("w", BufferKind::persistent, DType::f32, {{n}});
    x = f.buffer("x", BufferKind::persistent, DType::f32, {{n}});
    f.buffer("y", BufferKind::temporary, DType::f32, {{n}});
    f.buffer("z", BufferKind::temporary, DType::f32, {{n}});
    sum = f.buffer("sum", BufferKind::results, scalar_type, {});
    f.kernels(fmt::format(R"(
  kernel turn  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load w[-1*i + {1}] : f32
      v1 = constant 0.25 : f32
      v2 = mul(v0, v1) : f32
      v3 = constant 1 : f32
      v4 = add(v2, v3) : f32
      y[i] <- v4 : f32

  kernel double  # parallel
    for i < {0}  (vector along i):
      v0 = load x[i] : f32
      v1 = constant 2 : f32
      v2 = mul(v0, v1) : f32
      z[i] <- v2 : f32

  kernel sum  # one thread, after a barrier
    for i < {0}  (vector along i):
      v0 = load y[i] : f32
      v1 = reduce_sum(v0) over the inner loop : f32
    v2 = cast(v1) : f64
    sum[0] <- v2 : f64

  kernel join  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load y[i] : f32
      v1 = constant 0.5 : f32
      v2 = mul(v0, v1) : f32
      v3 = load z[i] : f32
      v4 = constant 0.125 : f32
      v5 = mul(v3, v4) : f32
      v11 = load sum[0] : f64
      v6 = cast(v11) : f32
      v7 = constant {2} : f32
      v8 = mul(v6, v7) : f32
      v9 = add(v2, v5) : f32
      v10 = add(v9, v8) : f32
      w[i] <- v10 : f32
)", n, n - 1, 0.25 / double(n)));
    for (auto [kernel, flops] : {std::pair{0, 400}, {1, 100}, {3, 300}}) f.program.kernels[size_t(kernel)].flops = double(n) * flops;
  }
  void fill(StepMemory& m) const {
    m.fill(w, [](int64_t i) { return double(i % 17) / 16; });
    m.fill(x, [](int64_t i) { return double(i % 13) / 16; });
    m.set(sum, 0, 0);
  }
};

}  // namespace

TEST_CASE("teams of any size give the bits of one thread, step after step") {
  for (VectorLevel level : host_levels())
    for (int64_t n : {int64_t(1), int64_t(63), int64_t(5000)}) {
      Relay relay(level, n);
      CompiledRunner runner(relay.f.program);
      StepMemory expected(relay.f.program);
      relay.fill(expected);
      const int64_t steps = 60;
      for (int64_t s = 0; s < steps; ++s) Evaluator(relay.f.program, expected).run();
      StepMemory one(relay.f.program);
      relay.fill(one);
      runner.run(one, 1, steps);
      CHECK(runner.steps_done == steps);
      for (int64_t i = 0; i < n; ++i) REQUIRE(close(one.get(relay.w, i), expected.get(relay.w, i), 1e-4));
      for (int threads : {2, 3, 7}) {
        StepMemory many(relay.f.program);
        relay.fill(many);
        runner.run(many, threads, steps);
        CHECK(runner.steps_done == steps);
        CHECK(std::memcmp(one.data(relay.w), many.data(relay.w), size_t(n) * 4) == 0);
        CHECK(one.get(relay.sum, 0) == many.get(relay.sum, 0));
      }
    }
}

TEST_CASE("the stop flag ends a run before its next step; a step without rows does nothing") {
  Relay relay(host_target().level, 100);
  CompiledRunner runner(relay.f.program);
  for (int threads : {1, 3}) {
    StepMemory before(relay.f.program), after(relay.f.program);
    relay.fill(before);
    relay.fill(after);
    runner.stop = true;
    runner.run(after, threads, 5);
    CHECK(runner.steps_done == 0);
    CHECK(std::memcmp(before.data(relay.w), after.data(relay.w), 400) == 0);
    runner.stop = false;
    after.rows = 0;
    runner.run(after, threads, 5);
    CHECK(runner.steps_done == 5);
    CHECK(std::memcmp(before.data(relay.w), after.data(relay.w), 400) == 0);
    after.rows = 1;
    runner.run(after, threads, 2);
    CHECK(runner.steps_done == 2);
    CHECK(std::memcmp(before.data(relay.w), after.data(relay.w), 400) != 0);
  }
}

TEST_CASE("cycles are counted for every kernel") {
  Relay relay(host_target().level, 5000);
  CompiledRunner runner(relay.f.program);
  for (int threads : {1, 2}) {
    StepMemory m(relay.f.program);
    relay.fill(m);
    runner.run(m, threads, 3);
    REQUIRE(runner.kernel_cycles.size() == 4);
    for (uint64_t c : runner.kernel_cycles) CHECK(c > 0);
  }
}

TEST_CASE("generated code calls nothing outside itself, not even to clear or copy memory") {
  for (const char* cpu : {"x86-64", "haswell", "znver4", "skylake-avx512"}) {
    ProgramFixture f(VectorLevel::portable);
    f.program.target = target_by_name(cpu);
    int64_t n = 100000;
    f.buffer("a", BufferKind::temporary, DType::f32, {{n}});
    f.buffer("b", BufferKind::output, DType::f32, {{n}});
    for (bool vector : {false, true})
      f.kernels(fmt::format(R"(
  kernel {0}  # parallel, after a barrier
    for i < {1}{2}:
      v0 = load a[i] : f32
      b[i] <- v0 : f32
      v1 = constant 0 : f32
      a[i] <- v1 : f32
      v2 = floor(v0) : f32
      b[i] <- v2 : f32
      v3 = round(v0) : f32
      b[i] <- v3 : f32
      v4 = pow(v0, v0) : f32
      b[i] <- v4 : f32
      v5 = sin(v0) : f32
      b[i] <- v5 : f32
      v6 = erf(v0) : f32
      b[i] <- v6 : f32
      v7 = tanh(v0) : f32
      b[i] <- v7 : f32
      v8 = sqrt(v0) : f32
      b[i] <- v8 : f32
      v9 = cast(v0) : i64
      v10 = index of i : i32
      v11 = cast(v10) : i64
      v12 = div(v9, v11) : i64
      v13 = cast(v12) : f32
      b[i] <- v13 : f32
)", vector ? "vector" : "scalar", n, along("i", vector)));
    std::string text = emit_text(f.program, nullptr, CodeStage::assembly);
    INFO(cpu);
    CHECK(text.find("@PLT") == std::string::npos);
    CHECK(text.find("callq\tmem") == std::string::npos);
    size_t calls = 0;
    for (size_t at = text.find("callq"); at != std::string::npos; at = text.find("callq", at + 1)) {
      std::string target = text.substr(at + 6, text.find('\n', at) - at - 6);
      INFO(target);
      bool own = target.rfind("\"nnc.test.", 0) == 0 || target.rfind("nnc.test.", 0) == 0 || target[0] == '*';
      CHECK(own);
      ++calls;
    }
    CHECK(calls > 0);
  }
}

TEST_CASE("code is made for the CPU that is named, and unknown names are the user's error") {
  auto text_for = [](const char* cpu) {
    ProgramFixture f(VectorLevel::portable);
    f.program.target = target_by_name(cpu);
    f.buffer("a", BufferKind::temporary, DType::f32, {{640}});
    f.kernels(R"(
  kernel exp  # parallel, after a barrier
    for i < 640  (vector along i):
      v0 = load a[i] : f32
      v1 = exp(v0) : f32
      a[i] <- v1 : f32
)");
    return emit_text(f.program, nullptr, CodeStage::assembly);
  };
  CHECK_THAT(text_for("znver4"), contains("zmm"));
  CHECK_THAT(text_for("skylake-avx512"), contains("zmm"));
  CHECK_THAT(text_for("haswell"), contains("ymm"));
  CHECK(text_for("haswell").find("zmm") == std::string::npos);
  CHECK_THAT(text_for("x86-64"), contains("xmm"));
  CHECK(text_for("x86-64").find("ymm") == std::string::npos);
  CHECK_THROWS_AS(target_by_name("znver99"), UserError);
  CHECK(target_by_name("native") == host_target_with_cpu());
}

TEST_CASE("the program's text at every stage names kernel and function") {
  Relay relay(VectorLevel::portable, 100);
  for (CodeStage stage : {CodeStage::llvm, CodeStage::llvm_optimized, CodeStage::assembly})
    CHECK_THAT(emit_text(relay.f.program, nullptr, stage), contains("nnc.test.join"));
}

TEST_CASE("compiled code reports its size and times") {
  Relay relay(host_target().level, 100);
  auto code = compile(relay.f.program, nullptr);
  CHECK(code->statistics().code_bytes > 100);
  CHECK(code->statistics().compile_ms > 0);
}

TEST_CASE("a program compiled in parts by several threads, its kernels named after their lines for perf and gdb") {
  SourceMap sources;
  FileId file = sources.add("net.nn", "one\ntwo\nthree\n");
  ProgramFixture f(host_target().level);
  const int count = 14;
  int64_t n = 37;
  BufferId w = f.buffer("w", BufferKind::persistent, DType::f32, {{n}});
  for (int k = 0; k < count; ++k) {
    f.kernels(fmt::format(R"(
  kernel k{0}  # parallel, after a barrier
    for i < {1}  (vector along i):
      v0 = load w[i] : f32
      v1 = constant {2} : f32
      v2 = mul(v0, v1) : f32
      v3 = constant {0} : f32
      v4 = add(v2, v3) : f32
      w[i] <- v4 : f32
)", k, n, 1 + k % 3 * 0.25));
    f.program.kernels.back().span = {file, 4, 7};
  }
  auto run = [&](int threads) {
    CompileOptions options;
    options.threads = threads;
    options.perf_map = threads == 3;
    options.debugger = threads == 3;
    options.verify = true;
    CompiledRunner runner(f.program, &sources, options);
    StepMemory memory(f.program);
    memory.fill(w, [](int64_t i) { return double(i) / 8; });
    runner.run(memory);
    std::vector<double> values;
    for (int64_t i = 0; i < n; ++i) values.push_back(memory.get(w, i));
    return values;
  };
  std::string map_file = "/tmp/perf-" + std::to_string(getpid()) + ".map";
  auto expected = run(1);
  StepMemory memory(f.program);
  memory.fill(w, [](int64_t i) { return double(i) / 8; });
  Evaluator(f.program, memory).run();
  for (int64_t i = 0; i < n; ++i) CHECK(close(expected[size_t(i)], memory.get(w, i), 1e-5));
  for (int threads : {2, 3, 8}) CHECK(run(threads) == expected);
  std::ifstream in(map_file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  for (int k = 0; k < count; ++k) CHECK_THAT(text, contains("nnc.test.k" + std::to_string(k) + "@net.nn:2"));
  std::remove(map_file.c_str());
}
