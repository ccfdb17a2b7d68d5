// Equal kernels are one function: which ones count as equal, and that a shared function does at every place, to the bit, what a function of its own does.
#include <fmt/format.h>

#include <cstring>

#include "codegen/sharing.h"
#include "tests/program_text.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr int64_t n = 37;

size_t functions(const Program& program) { return share_kernels(program).functions.size(); }

CompileOptions compiled_apart() {
  CompileOptions options = CompiledRunner::checked();
  options.share = false;
  return options;
}

double some_number(size_t buffer, int64_t element) { return double((element * 7 + int64_t(buffer) * 13) % 31) / 8 - 1; }

/// Every element of every buffer after a step is that of functions of their own, for any threads; and the evaluator's, but for rounding, where it knows the kernels.
void check_step(const Program& program, bool evaluated = true) {
  constexpr int64_t data_rows = 9;
  auto fresh = [&] {
    StepMemory memory(program, data_rows);
    for (uint32_t b = 0; b < program.buffers.size(); ++b) {
      const Buffer& buffer = program.buffers[b];
      memory.fill(BufferId{b}, [&](int64_t i) { return buffer.kind == BufferKind::literal ? double(buffer.values[size_t(i)]) : some_number(b, i); });
    }
    return memory;
  };
  StepMemory apart = fresh(), expected = fresh();
  CompiledRunner separate(program, nullptr, compiled_apart());
  CHECK(separate.code().statistics().functions == int64_t(program.kernels.size()));
  separate.run(apart);
  CompiledRunner sharing(program);
  CHECK(sharing.code().statistics().functions == int64_t(functions(program)));
  for (int threads : {1, 2, 3}) {
    StepMemory shared = fresh();
    sharing.run(shared, threads);
    CHECK(shared.guards_intact());
    for (uint32_t b = 0; b < program.buffers.size(); ++b) {
      INFO(program.buffers[b].name << ", " << threads << " threads");
      CHECK(std::memcmp(shared.data(BufferId{b}), apart.data(BufferId{b}), shared.count(BufferId{b}) * byte_size(program.buffers[b].dtype)) == 0);
    }
  }
  if (!evaluated) return;
  Evaluator(program, expected).run();
  for (uint32_t b = 0; b < program.buffers.size(); ++b)
    for (int64_t i = 0; i < int64_t(apart.count(BufferId{b})); ++i) {
      INFO(program.buffers[b].name << "[" << i << "]");
      CHECK(close(apart.get(BufferId{b}, i), expected.get(BufferId{b}, i), 1e-5));
    }
}

/// Layers h = h * w + 0.5 one after the other, each with a weight of its own.
ProgramFixture layers(VectorLevel level, int count) {
  ProgramFixture f(level);
  f.buffer("h0", BufferKind::persistent, DType::f32, {{n}});
  for (int l = 0; l < count; ++l) {
    f.buffer(fmt::format("w{}", l), BufferKind::persistent, DType::f32, {{n}});
    f.buffer(fmt::format("h{}", l + 1), l + 1 == count ? BufferKind::persistent : BufferKind::temporary, DType::f32, {{n}});
    f.kernels(fmt::format(R"(
  kernel layer{0}  # parallel, after a barrier
    for i < {1}  (vector along i):
      v0 = load h{0}[i] : f32
      v1 = load w{0}[i] : f32
      v2 = mul(v0, v1) : f32
      v3 = constant 0.5 : f32
      v4 = add(v2, v3) : f32
      h{2}[i] <- v4 : f32
)", l, n, l + 1));
  }
  return f;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("equal layers are one function, named after the first and how many there are", "[sharing]") {
  for (VectorLevel level : host_levels()) {
    // The first reads, the last writes persistents; those between are alike.
    Program program = layers(level, 5).program;
    KernelSharing sharing = share_kernels(program);
    CHECK(sharing.function_of == std::vector<size_t>{0, 1, 1, 1, 2});
    CHECK(sharing.functions[1].kernel == 1);
    CHECK(sharing.functions[1].uses == 3);
    check_step(program);
    for (CodeStage stage : {CodeStage::llvm, CodeStage::llvm_optimized}) {
      std::string text = emit_text(program, nullptr, stage);
      CHECK(count_of(text, "define internal i64 @") + count_of(text, "define internal noundef i64 @") == 3);
      CHECK_THAT(text, contains("nnc.test.layer1(x3)"));
      CHECK(text.find("nnc.test.layer2\"") == std::string::npos);
    }
    CHECK_THAT(emit_text(program, nullptr, CodeStage::assembly), contains("nnc.test.layer1(x3)"));
  }
}

TEST_CASE("more equal layers are no more functions", "[sharing]") {
  CHECK(functions(layers(VectorLevel::portable, 4).program) == 3);
  CHECK(functions(layers(VectorLevel::portable, 40).program) == 3);
}

TEST_CASE("a kernel whose buffers are one memory has a function of its own", "[sharing]") {
  // Backwards from one buffer to another is one thing, within one buffer it is another: what a lane reads must have been read before it is written.
  for (VectorLevel level : host_levels()) {
    ProgramFixture f(level);
    for (const char* name : {"a", "b", "c", "d", "e", "e2", "g"}) f.buffer(name, BufferKind::persistent, DType::f32, {{n}});
    f.program.buffers[5].offset = f.program.buffers[4].offset;  // e2 is e
    int kernel = 0;
    for (auto [from, to] : {std::pair{"a", "b"}, {"c", "d"}, {"e", "e2"}, {"g", "g"}})
      f.kernels(fmt::format(R"(
  kernel copy{0}  # one thread, after a barrier
    for i < {1}  (vector along i):
      v0 = load {2}[i] : f32
      v1 = load {3}[i] : f32
      v2 = add(v0, v1) : f32
      {3}[i] <- v2 : f32
)", kernel++, n, from, to));
    CHECK(share_kernels(f.program).function_of == std::vector<size_t>{0, 0, 1, 2});
    // As a graph of overlaps: by way of e2, e and the buffer behind them are one memory.
    std::vector<BufferId> three{BufferId{4}, BufferId{6}, BufferId{5}};
    CHECK(alias_groups(f.program, three) == std::vector<size_t>{0, 1, 0});
    f.program.buffers[5].bytes += f.program.buffers[6].offset - f.program.buffers[5].offset;
    CHECK(alias_groups(f.program, three) == std::vector<size_t>{0, 0, 0});
  }
}

TEST_CASE("loads and stores of one memory by two names keep their order in a shared function", "[sharing]") {
  // a is read again after b was written. In two of the kernels they are one memory, in two they are not.
  for (VectorLevel level : host_levels()) {
    ProgramFixture f(level);
    for (int k = 0; k < 4; ++k) {
      for (const char* name : {"a", "b", "c"}) f.buffer(fmt::format("{}{}", name, k), BufferKind::persistent, DType::f32, {{n}});
      if (k % 2 == 1) f.program.buffers[size_t(3 * k + 1)].offset = f.program.buffers[size_t(3 * k)].offset;
      f.kernels(fmt::format(R"(
  kernel again{0}  # one thread, after a barrier
    for i < {1}  (vector along i):
      v0 = load a{0}[i] : f32
      v1 = mul(v0, v0) : f32
      b{0}[i] <- v1 : f32
      v2 = load a{0}[i] : f32
      c{0}[i] <- v2 : f32
)", k, n));
    }
    KernelSharing sharing = share_kernels(f.program);
    CHECK(sharing.function_of == std::vector<size_t>{0, 1, 0, 1});
    CompiledRunner runner(f.program);
    StepMemory memory(f.program);
    for (uint32_t b = 0; b < 12; ++b) memory.fill(BufferId{b}, [](int64_t i) { return double(i % 5) + 2; });
    runner.run(memory);
    for (uint32_t k = 0; k < 4; ++k)
      for (int64_t i = 0; i < n; ++i) {
        const double a = double(i % 5) + 2;
        CHECK(memory.get(BufferId{3 * k + 2}, i) == (k % 2 == 1 ? a * a : a));
      }
  }
}

TEST_CASE("whatever code depends on keeps kernels apart", "[sharing]") {
  // Pairs of kernels on x0, y0 and x1, y1 that differ in one thing.
  struct Pair {
    const char* what;
    std::string first, second;
    size_t expected = 2;
    std::function<void(Program&)> change = {};
  };
  auto body = [](const std::string& loop, const std::string& code) { return "    for " + loop + ":\n" + code; };
  auto scaled = [&](const std::string& number) {
    return body("i < 37  (vector along i)", "      v0 = load x[i] : f32\n      v1 = constant " + number + " : f32\n      v2 = mul(v0, v1) : f32\n      y[i] <- v2 : f32\n");
  };
  auto copied = [&](const std::string& loop, const std::string& from, const std::string& to = "y[i]") {
    return body(loop, "      v0 = load x" + from + " : f32\n      " + to + " <- v0 : f32\n");
  };
  const std::string vector = "i < 37  (vector along i)";
  auto minus = [&](const char* a, const char* b, const char* to = "y") {
    return body(vector, fmt::format("      v0 = load x[i] : f32\n      v1 = load y[i] : f32\n      v2 = sub({}, {}) : f32\n      {}[i] <- v2 : f32\n", a, b, to));
  };
  const std::vector<Pair> pairs = {
      {"nothing", scaled("2"), scaled("2"), 1},
      {"a constant", scaled("2"), scaled("3")},
      {"the sign of a zero", scaled("0"), scaled("-0")},
      {"not a number, twice", scaled("nan"), scaled("nan"), 1},
      {"the length of a loop", scaled("2"), body("i < 36  (vector along i)", "      v0 = load x[i] : f32\n      v1 = constant 2 : f32\n      v2 = mul(v0, v1) : f32\n      y[i] <- v2 : f32\n")},
      {"lanes", copied(vector, "[i]"), copied("i < 37", "[i]")},
      {"a stride", copied("i < 10  (vector along i)", "[i]"), copied("i < 10  (vector along i)", "[2*i]")},
      {"an offset", copied("i < 36  (vector along i)", "[i]"), copied("i < 36  (vector along i)", "[i + 1]")},
      {"the order of operands", minus("v0", "v1"), minus("v1", "v0")},
      {"which of two buffers is written", minus("v0", "v1"), minus("v0", "v1", "x")},
      {"one buffer for two", copied(vector, "[i]"), copied(vector, "[i]", "x[i]")},
      {"the kind of a buffer", copied(vector, "[i]"), copied(vector, "[i]"), 2, [](Program& p) { p.buffers[3].kind = BufferKind::temporary; p.buffers[3].offset = 0; p.arena_bytes = 192; }},
      {"the estimate that pieces are cut by", copied(vector, "[i]"), copied(vector, "[i]"), 2, [](Program& p) { p.kernels[1].flops = 1e6; }},
      {"the barrier before", copied(vector, "[i]"), copied(vector, "[i]"), 1, [](Program& p) { p.kernels[1].barrier_before = false; }},
      {"the names of axes", copied(vector, "[i]"), copied("j < 37  (vector along j)", "[j]", "y[j]"), 1},
  };
  for (VectorLevel level : host_levels())
    for (const Pair& pair : pairs) {
      INFO(pair.what);
      ProgramFixture f(level);
      for (const char* name : {"x0", "y0", "x1", "y1"}) f.buffer(name, BufferKind::persistent, DType::f32, {{n}});
      for (int k : {0, 1}) {
        std::string text = k == 0 ? pair.first : pair.second;
        for (const char* name : {" x[", " y["})
          for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += 3) text.insert(at + 2, std::to_string(k));
        f.kernels(fmt::format("\n  kernel k{}  # parallel, after a barrier\n{}", k, text));
      }
      if (pair.change) pair.change(f.program);
      CHECK(functions(f.program) == pair.expected);
      check_step(f.program);
    }
}

TEST_CASE("places of every kind are arguments", "[sharing]") {
  // Twins that read a field, a scalar, an index and a literal each, and write a result and an output.
  for (VectorLevel level : host_levels()) {
    ProgramFixture f(level, 5);
    Shape rows_by{Extent{1, true}, Extent{n}};
    for (const char* name : {"image", "picture"}) f.buffer(name, BufferKind::field, DType::f32, rows_by);
    for (const char* name : {"rate", "decay"}) f.buffer(name, BufferKind::scalars, scalar_type, {});
    for (const char* name : {"p", "q"}) f.buffer(name, BufferKind::persistent, DType::f32, {{n}});
    for (const char* name : {"loss", "report"}) f.buffer(name, BufferKind::results, scalar_type, {});
    for (const char* name : {"out", "other"}) f.buffer(name, BufferKind::output, DType::f32, rows_by);
    for (const char* name : {"three", "same", "else"}) {
      BufferId id = f.buffer(name, BufferKind::literal, DType::f32, {{3}});
      f.program[id].values = {0.5, -2, name[0] == 'e' ? 4 : 3};
    }
    int kernel = 0;
    for (auto names : {std::vector<const char*>{"image", "rate", "p", "loss", "out", "three"}, {"picture", "decay", "q", "report", "other", "same"},
                       {"image", "rate", "q", "loss", "other", "else"}})
      f.kernels(fmt::format(R"(
  kernel k{0}  # one thread, after a barrier
    for b < B:
      for i < {1}  (vector along i):
        v0 = load {2}[row(b), i] : f32
        v1 = load {4}[i] : f32
        v2 = mul(v0, v1) : f32
        v3 = load {7}[2] : f32
        v4 = mul(v2, v3) : f32
        {6}[{1}*b + i] <- v4 : f32
      v5 = load {3}[0] : f64
      {5}[0] <- v5 : f64
)", kernel++, n, names[0], names[1], names[2], names[3], names[4], names[5]));
    CHECK(share_kernels(f.program).function_of == std::vector<size_t>{0, 0, 1});
    check_step(f.program);
  }
}

TEST_CASE("draws of different sites share a function and no number", "[sharing]") {
  for (VectorLevel level : host_levels()) {
    ProgramFixture f(level, 3);
    for (int k = 0; k < 3; ++k) {
      f.buffer(fmt::format("u{}", k), BufferKind::output, DType::f32, {Extent{1, true}, Extent{n}});
      f.kernels(fmt::format(R"(
  kernel draw{0}  # one thread, after a barrier
    for b < B, i < {1}  (vector along i):
      v0 = random "a#{0}"[row(b), i] : f32
      v1 = random "{2}"[row(b), i] : f32
      v2 = mul(v0, v1) : f32
      u{0}[{1}*b + i] <- v2 : f32
)", k, n, k == 2 ? "a#2" : "b"));
    }
    // The third draws one number twice, not two.
    CHECK(share_kernels(f.program).function_of == std::vector<size_t>{0, 0, 1});
    auto draw_all = [&](const CompileOptions& options) {
      CompiledRunner runner(f.program, nullptr, options);
      auto memory = std::make_unique<StepMemory>(f.program);
      runner.run(*memory);
      return memory;
    };
    auto shared = draw_all(CompiledRunner::checked()), apart = draw_all(compiled_apart());
    for (uint32_t u = 0; u < 3; ++u) CHECK(std::memcmp(shared->data(BufferId{u}), apart->data(BufferId{u}), size_t(3 * n * 4)) == 0);
    CHECK(std::memcmp(shared->data(BufferId{0}), shared->data(BufferId{1}), size_t(3 * n * 4)) != 0);
  }
}

TEST_CASE("contractions with their edges, panels and epilogues at other places are one function", "[sharing]") {
  for (VectorLevel level : host_levels()) {
    ProgramFixture f(level, 21);
    const int64_t outputs = 19, depth = 45;
    for (int k = 0; k < 4; ++k) {
      f.buffer(fmt::format("x{}", k), BufferKind::persistent, DType::f32, {Extent{1, true}, Extent{depth}});
      f.buffer(fmt::format("w{}", k), BufferKind::persistent, DType::f32, {Extent{outputs}, Extent{depth}});
      f.buffer(fmt::format("bias{}", k), BufferKind::persistent, DType::f32, {Extent{outputs}});
      f.buffer(fmt::format("y{}", k), BufferKind::output, DType::f32, {Extent{1, true}, Extent{outputs}});
      f.kernels(fmt::format(R"(
  kernel dense{0}  # parallel, after a barrier, 35910 FLOP
    contract b < B; n < {1}; k < {2}: tile 4 x 1 vectors, blocks 8 x 8 x {3}
      a[b, k] = v0:
        v0 = load x{0}[{2}*b + k] : f32
      b[k, n] = v1, packed:
        v1 = load w{0}[{2}*n + k] : f32
      for each b, n:
        v2 = sum over k of a * b : f32
        v3 = load bias{0}[n] : f32
        v4 = add(v2, v3) : f32
        y{0}[{1}*b + n] <- v4 : f32
)", k, outputs, depth, k == 2 ? 16 : 64));
    }
    // The third cuts k into blocks.
    CHECK(share_kernels(f.program).function_of == std::vector<size_t>{0, 0, 1, 0});
    check_step(f.program, false);
  }
}

TEST_CASE("kernels whose slots move alike are one function, others are not", "[run][sharing]") {
  auto program = [](int second) {
    auto kernel = [](const std::string& name, const std::string& from, const std::string& to) {
      return "    kernel " + name + "  # one thread\n      for b < B:\n        v0 = load " + from + "[row(b), 0] : f32\n        " + to + "[b] <- v0 : f32\n";
    };
    return program_of("program @p {\n  target any avx2, 2 rows planned\n  arena 128 bytes, persistent 0 bytes\n  field \"x\" : f32[B, 3] field 0\n  field \"y\" : f32[B, 6] field 1\n"
                      "  temporary \"s\" : f32[B] at 0, 8 bytes\n  temporary \"t\" : f32[B] at 64, 8 bytes\n"
                      "  slot \"x.now\" : f32[B, 1] of x first 0, per round [1]\n  slot \"y.now\" : f32[B, 1] of y first 0, per round [" + std::to_string(second) + "]\n"
                      "  region steps 3 rounds\n" + kernel("first", "x.now", "s") + kernel("second", "y.now", "t") + "}\n");
  };
  CHECK(functions(program(1)) == 1);
  CHECK(functions(program(2)) == 2);
}
