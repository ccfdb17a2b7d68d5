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
  BufferId w, x, y, z, sum;

  Relay(VectorLevel level, int64_t n) : n(n), f(level) {
    w = f.buffer("w", BufferKind::persistent, DType::f32, {{n}});
    x = f.buffer("x", BufferKind::persistent, DType::f32, {{n}});
    y = f.buffer("y", BufferKind::temporary, DType::f32, {{n}});
    z = f.buffer("z", BufferKind::temporary, DType::f32, {{n}});
    sum = f.buffer("sum", BufferKind::results, DType::f32, {});
    {
      MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int v = code.load({w, n - 1, {-1}}, DType::f32);
      v = code.compute(Op::add, DType::f32, {code.compute(Op::mul, DType::f32, {v, code.constant(0.25)}), code.constant(1)});
      code.store({y, 0, {1}}, DType::f32, v);
      f.kernel("turn", map).flops = double(n) * 400;
    }
    {
      MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int v = code.load({x, 0, {1}}, DType::f32);
      code.store({z, 0, {1}}, DType::f32, code.compute(Op::mul, DType::f32, {v, code.constant(2)}));
      Kernel& k = f.kernel("double", map);
      k.barrier_before = false;
      k.flops = double(n) * 100;
    }
    {
      MapKernel map{{{"i", {n}}}, 0, 0, {{true, {}}, {false, {}}}, true};
      int next = 0;
      BlockCode inner(map.blocks[0].code, next);
      int s = inner.reduce(Op::reduce_sum, DType::f32, inner.load({y, 0, {1}}, DType::f32));
      BlockCode after(map.blocks[1].code, next);
      after.store({sum, 0, {0}}, DType::f32, s);
      f.kernel("sum", map, false);
    }
    {
      MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int a = code.compute(Op::mul, DType::f32, {code.load({y, 0, {1}}, DType::f32), code.constant(0.5)});
      int b = code.compute(Op::mul, DType::f32, {code.load({z, 0, {1}}, DType::f32), code.constant(0.125)});
      int c = code.compute(Op::mul, DType::f32, {code.load({sum, 0, {0}}, DType::f32), code.constant(0.25 / double(n))});
      int v = code.compute(Op::add, DType::f32, {code.compute(Op::add, DType::f32, {a, b}), c});
      code.store({w, 0, {1}}, DType::f32, v);
      f.kernel("join", map).flops = double(n) * 300;
    }
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
    BufferId a = f.buffer("a", BufferKind::temporary, DType::f32, {{n}}),
             b = f.buffer("b", BufferKind::output, DType::f32, {{n}});
    for (int vector_axis : {-1, 0}) {
      MapKernel map{{{"i", {n}}}, 1, vector_axis, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int v = code.load({a, 0, {1}}, DType::f32);
      code.store({b, 0, {1}}, DType::f32, v);
      code.store({a, 0, {1}}, DType::f32, code.constant(0));
      for (Op op : {Op::floor, Op::round, Op::pow, Op::sin, Op::erf, Op::tanh, Op::sqrt}) {
        std::vector<int> operands{v};
        if (op == Op::pow) operands.push_back(v);
        code.store({b, 0, {1}}, DType::f32, code.compute(op, DType::f32, operands));
      }
      int integer = code.compute(Op::cast, DType::i64, {v});
      integer = code.compute(Op::div, DType::i64, {integer, code.compute(Op::cast, DType::i64, {code.axis_index(0)})});
      code.store({b, 0, {1}}, DType::f32, code.compute(Op::cast, DType::f32, {integer}));
      f.kernel(vector_axis < 0 ? "scalar" : "vector", map);
    }
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
    BufferId a = f.buffer("a", BufferKind::temporary, DType::f32, {{640}});
    MapKernel map{{{"i", {640}}}, 1, 0, {{false, {}}}, false};
    int next = 0;
    BlockCode code(map.blocks[0].code, next);
    code.store({a, 0, {1}}, DType::f32, code.compute(Op::exp, DType::f32, {code.load({a, 0, {1}}, DType::f32)}));
    f.kernel("exp", map);
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
    MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
    int next = 0;
    BlockCode code(map.blocks[0].code, next);
    int v = code.compute(Op::mul, DType::f32, {code.load({w, 0, {1}}, DType::f32), code.constant(1 + k % 3 * 0.25)});
    code.store({w, 0, {1}}, DType::f32, code.compute(Op::add, DType::f32, {v, code.constant(k)}));
    f.kernel("k" + std::to_string(k), map).span = {file, 4, 7};
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
