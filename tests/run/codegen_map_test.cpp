// MapKernels: compiled code against the evaluator of program_fixture.h, on every vector level of this machine, over sizes around
// the vector width.
#include <random>

#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::vector<int64_t> sizes(int lanes) { return {1, 3, lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 8 * lanes + 1, 1000}; }

/// Runs both ways from equal memory, at each number of rows (0: the planned one), and compares every buffer.
void check_program(const Program& program, const std::function<void(StepMemory&)>& fill,
                   const std::vector<int64_t>& row_counts = {0}, double tolerance = 2e-5, int64_t data_rows = 0) {
  CompiledRunner runner(program);
  for (int64_t rows : row_counts) {
    StepMemory compiled(program, data_rows), expected(program, data_rows);
    for (StepMemory* m : {&compiled, &expected}) {
      if (rows) m->rows = rows;
      for (uint32_t i = 0; i < program.buffers.size(); ++i) m->fill(BufferId{i}, [](int64_t) { return 0.0; });
      fill(*m);
    }
    runner.run(compiled);
    Evaluator(program, expected).run();
    REQUIRE(compiled.guards_intact());
    for (uint32_t i = 0; i < program.buffers.size(); ++i) {
      BufferId id{i};
      for (size_t k = 0; k < compiled.count(id); ++k) {
        double got = compiled.get(id, int64_t(k)), want = expected.get(id, int64_t(k));
        if (close(got, want, tolerance)) continue;
        INFO("level " << vector_level_name(program.target.level) << ", buffer " << program[id].name << ", element " << k
                      << ", got " << got << ", expected " << want << ", rows " << compiled.rows);
        REQUIRE(false);
      }
    }
  }
}

double wave(int64_t i) { return std::sin(double(i) * 1.7) * 3; }

}  // namespace

TEST_CASE("every element-wise operation in every type, around the vector width") {
  const std::vector<DType> types{DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean};
  for (VectorLevel level : host_levels())
    for (DType type : types) {
      int lanes = level_target(level).f32_lanes();
      for (int64_t n : {int64_t(1), int64_t(lanes + 1), int64_t(3 * lanes)}) {
        ProgramFixture f(level);
        BufferId a = f.buffer("a", BufferKind::temporary, type, {{n}}), b = f.buffer("b", BufferKind::temporary, type, {{n}});
        std::string code = fmt::format(R"(
  kernel all  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load a[i] : {1}
      v1 = load b[i] : {1}
)", n, dtype_name(type));
        int next = 2;
        auto compute = [&](Op op, DType result, const std::string& operands) {
          code += fmt::format("      v{} = {}({}) : {}\n", next, op_name(op), operands, dtype_name(result));
          return fmt::format("v{}", next++);
        };
        auto store = [&](const std::string& name, DType result, const std::string& value) {
          f.buffer(name, BufferKind::output, result, {{n}});
          code += fmt::format("      {}[i] <- {} : {}\n", name, value, dtype_name(result));
        };
        for (int o = 0; o < op_count; ++o) {
          Op op = Op(o);
          if (!is_elementwise(op) || op == Op::cast) continue;
          bool logical = op == Op::logical_not || op == Op::logical_and || op == Op::logical_or;
          if (logical != (type == DType::boolean) && op != Op::select && op != Op::stop_gradient) continue;
          bool transcendental = op_class(op) == OpClass::unary && op >= Op::sqrt && op <= Op::normal_cdf;
          if (!is_float(type) && (transcendental || op == Op::pow || op == Op::copysign)) continue;
          if (type == DType::u8 && (op == Op::neg || op == Op::sub || op == Op::mul)) continue;  // out of a byte's range
          bool compares = op_class(op) == OpClass::compare;
          DType result = compares ? DType::boolean : type;
          std::string first = "v0", condition;
          if (op == Op::log || op == Op::sqrt || op == Op::log1p || op == Op::pow) first = compute(Op::abs, type, "v0");  // where they have values
          if (op == Op::select) condition = compute(Op::less, DType::boolean, "v0, v1") + ", ";
          store(std::string(op_name(op)), result, compute(op, result, condition + first + (op_arity(op) >= 2 ? ", v1" : "")));
        }
        for (DType to : types) {
          std::string source = to == DType::u8 && type != DType::boolean ? compute(Op::abs, type, "v0") : "v0";
          store("to_" + std::string(dtype_name(to)), to, compute(Op::cast, to, source));
        }
        f.kernels(code);
        check_program(f.program, [&](StepMemory& m) {
          auto value = [&](int64_t i, int64_t phase) {
            double v = wave(i + phase);
            if (type == DType::boolean) return double(v > 0);
            if (type == DType::u8) return std::floor(std::fabs(v) * 10);
            return is_float(type) ? v : std::floor(v);
          };
          m.fill(a, [&](int64_t i) { return value(i, 0); });
          m.fill(b, [&](int64_t i) { return i % 5 == 2 ? value(i, 0) : value(i, 11); });
        });
      }
    }
}

TEST_CASE("a tail of one lane stores one element and needs no mask") {
  // LLVM 22 stores a truncated vector under a constant mask of one lane as the wide element, over what stands behind.
  const std::vector<std::pair<DType, DType>> narrowings{{DType::i32, DType::u8},
                                                        {DType::i64, DType::u8},
                                                        {DType::i64, DType::i32},
                                                        {DType::f64, DType::f32},
                                                        {DType::f32, DType::u8}};
  auto build = [](ProgramFixture& f, DType from, DType to, int64_t n) {
    BufferId wide = f.buffer("wide", BufferKind::temporary, from, {{n}});
    f.buffer("narrow", BufferKind::output, to, {{n}});
    f.kernels(fmt::format(R"(
  kernel narrow  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load wide[i] : {1}
      v1 = cast(v0) : {2}
      narrow[i] <- v1 : {2}
)", n, dtype_name(from), dtype_name(to)));
    return wide;
  };
  for (auto [from, to] : narrowings) {
    for (VectorLevel level : host_levels()) {
      int lanes = level_target(level).f32_lanes();
      for (int64_t n : {int64_t(1), int64_t(lanes + 1), int64_t(lanes + 2)}) {
        ProgramFixture f(level);
        BufferId wide = build(f, from, to, n);
        check_program(f.program, [&](StepMemory& m) { m.fill(wide, [](int64_t i) { return double(i % 200 + 3); }); });
      }
    }
    auto masks_stores = [&](int64_t n) {  // on a target that has masks, whether or not this machine can run it
      ProgramFixture f(VectorLevel::avx512);
      build(f, from, to, n);
      return emit_text(f.program, nullptr, CodeStage::llvm).find("llvm.masked.store") != std::string::npos;
    };
    INFO(dtype_name(from) << " to " << dtype_name(to));
    CHECK(masks_stores(18));
    CHECK_FALSE(masks_stores(17));
    CHECK_FALSE(masks_stores(1));
  }
}

TEST_CASE("two outer axes with strides, broadcasts, index and extent, run-time rows") {
  for (VectorLevel level : host_levels()) {
    int lanes = level_target(level).f32_lanes();
    for (int64_t n : sizes(lanes))
      for (int vector_axis : {-1, 1}) {
        int64_t capacity = 6;
        ProgramFixture f(level, capacity);
        BufferId x = f.buffer("x", BufferKind::temporary, DType::f32, {{1, true}, {n}});
        BufferId bias = f.buffer("bias", BufferKind::persistent, DType::f32, {{n}});
        BufferId column = f.buffer("column", BufferKind::temporary, DType::f32, {{1, true}});
        BufferId rate = f.buffer("rate", BufferKind::scalars, scalar_type, {});
        f.buffer("y", BufferKind::output, DType::f32, {{1, true}, {n}});
        f.buffer("turned", BufferKind::temporary, DType::f32, {{n}, {capacity}});
        f.buffer("flag", BufferKind::output, DType::boolean, {{1, true}, {n}});
        f.buffer("z", BufferKind::temporary, DType::f32, {{1, true}, {n}});
        // The second kernel reads across: a strided load.
        f.kernels(fmt::format(R"(
  kernel first  # parallel, after a barrier
    for b < B, n < {0}{2}:
      v0 = load x[{0}*b + n] : f32
      v1 = load bias[n] : f32
      v2 = add(v0, v1) : f32
      v3 = load column[b] : f32
      v4 = mul(v2, v3) : f32
      v5 = load rate[0] : f64
      v14 = cast(v5) : f32
      v6 = mul(v4, v14) : f32
      v7 = index of n : i32
      v8 = cast(v7) : f32
      v9 = add(v6, v8) : f32
      v10 = extent 2*B : f64
      v15 = cast(v10) : f32
      v11 = div(v9, v15) : f32
      y[{0}*b + n] <- v11 : f32
      turned[b + {1}*n] <- v11 : f32
      v12 = constant 0.5 : f32
      v13 = greater(v11, v12) : bool
      flag[{0}*b + n] <- v13 : bool

  kernel second  # parallel, after a barrier
    for b < B, n < {0}{2}:
      v0 = load turned[b + {1}*n] : f32
      v1 = load flag[{0}*b + n] : bool
      v2 = constant -1 : f32
      v3 = select(v1, v0, v2) : f32
      z[{0}*b + n] <- v3 : f32
)", n, capacity, along("n", vector_axis == 1)));
        check_program(
            f.program,
            [&](StepMemory& m) {
              m.fill(x, wave);
              m.fill(bias, [](int64_t k) { return wave(k + 100); });
              m.fill(column, [](int64_t k) { return double(k) + 0.5; });
              m.fill(rate, [](int64_t) { return 0.25; });
            },
            std::vector<int64_t>{int64_t(1), int64_t(5), capacity});
      }
  }
}

TEST_CASE("lanes along the rows, with fields looked up by row") {
  for (VectorLevel level : host_levels()) {
    int lanes = level_target(level).f32_lanes();
    int64_t capacity = 3 * lanes + 2, n = 5;
    for (DType type : {DType::u8, DType::f32, DType::i64}) {
      ProgramFixture f(level, capacity);
      BufferId image = f.buffer("image", BufferKind::field, type, {{1, true}, {n}});
      f.buffer("y", BufferKind::temporary, DType::f32, {{n}, {capacity}});
      f.buffer("z", BufferKind::temporary, DType::f32, {{1, true}, {n}});
      // The second kernel is the other way round: lanes along the pixels.
      f.kernels(fmt::format(R"(
  kernel turn  # parallel, after a barrier
    for n < {0}, b < B  (vector along b):
      v0 = load image[row(b), n] : {2}
      v1 = cast(v0) : f32
      y[{1}*n + b] <- v1 : f32

  kernel straight  # parallel, after a barrier
    for b < B, n < {0}  (vector along n):
      v0 = load image[row(b), n] : {2}
      v1 = cast(v0) : f32
      z[{0}*b + n] <- v1 : f32
)", n, capacity, dtype_name(type)));
      check_program(
          f.program, [&](StepMemory& m) { m.fill(image, [](int64_t i) { return double(i * 37 % 251); }); },
          std::vector<int64_t>{int64_t(1), int64_t(lanes), int64_t(lanes + 1), capacity}, 0, 2 * capacity);
    }
  }
}

TEST_CASE("reductions along inner axes: sum, max, min, argmax, both vector axes and scalar") {
  for (VectorLevel level : host_levels()) {
    int lanes = level_target(level).f32_lanes();
    for (int64_t n : sizes(lanes))
      for (DType type : {DType::f32, DType::f64, DType::i32})
        for (int vector_axis : {-1, 0, 1}) {
          if (type != DType::f32 && n != lanes + 1 && n != 8 * lanes + 1) continue;
          int64_t rows = 2 * lanes + 1;
          ProgramFixture f(level);
          BufferId x = f.buffer("x", BufferKind::temporary, type, {{rows}, {n}});
          for (const char* name : {"sum", "largest", "smallest"}) f.buffer(name, BufferKind::output, type, {{rows}});
          f.buffer("where", BufferKind::output, DType::i32, {{rows}});
          f.buffer("y", BufferKind::temporary, type, {{rows}, {n}});
          f.kernels(fmt::format(R"(
  kernel rows  # parallel, after a barrier
    for i < {0}{3}:
      for k < {1}{4}:
        v0 = load x[{1}*i + k] : {2}
        v1 = reduce_sum(v0) over the inner loop : {2}
        v2 = reduce_max(v0) over the inner loop : {2}
        v3 = reduce_min(v0) over the inner loop : {2}
        v4 = argmax(v0) over the inner loop : i32
      sum[i] <- v1 : {2}
      largest[i] <- v2 : {2}
      smallest[i] <- v3 : {2}
      where[i] <- v4 : i32
      v5 = sub(v2, v3) : {2}
      for k < {1}{4}:
        v6 = load x[{1}*i + k] : {2}
        v7 = sub(v6, v2) : {2}
        v8 = add(v7, v5) : {2}
        y[{1}*i + k] <- v8 : {2}
)", rows, n, dtype_name(type), along("i", vector_axis == 0), along("k", vector_axis == 1)));
          check_program(f.program, [&](StepMemory& m) {
            m.fill(x, [&](int64_t i) {
              double value = std::round(wave(i) * 4) / 4;  // ties
              if (type == DType::f32 && i / n % 7 == 3 && i % n == n / 2) return std::numeric_limits<double>::quiet_NaN();
              if (type == DType::f32 && i / n % 7 == 5) return -std::numeric_limits<double>::infinity();
              return is_float(type) ? value : std::round(value * 4);
            });
          });
        }
  }
}

TEST_CASE("a lone sum over several axes, with and without outer axes, over run-time rows") {
  for (VectorLevel level : host_levels()) {
    int lanes = level_target(level).f32_lanes();
    for (int64_t n : sizes(lanes))
      for (int outer : {0, 1})
        for (int vector_axis : {-1, 2}) {
          int64_t capacity = 4, m = 3;
          ProgramFixture f(level, capacity);
          BufferId x = f.buffer("x", BufferKind::temporary, DType::f32, {{m}, {capacity}, {n}});
          f.buffer("out", outer ? BufferKind::output : BufferKind::results, outer ? DType::f32 : scalar_type, outer ? Shape{{m}} : Shape{});
          std::string vector = along("n", vector_axis == 2), load = fmt::format("load x[{}*m + {}*b + n]", capacity * n, n);
          if (outer)
            f.kernels(fmt::format(R"(
  kernel sum  # parallel, after a barrier
    for m < {}:
      for b < B, n < {}{}:
        v0 = {} : f32
        v1 = reduce_sum(v0) over the inner loop : f32
      out[m] <- v1 : f32
)", m, n, vector, load));
          else
            f.kernels(fmt::format(R"(
  kernel sum  # one thread, after a barrier
    for m < {}, b < B, n < {}{}:
      v0 = {} : f32
      v1 = reduce_sum(v0) over the inner loop : f32
    v2 = cast(v1) : f64
    out[0] <- v2 : f64
)", m, n, vector, load));
          check_program(
              f.program, [&](StepMemory& memory) { memory.fill(x, wave); },
              std::vector<int64_t>{int64_t(1), int64_t(3), capacity}, 1e-4);
        }
  }
}

TEST_CASE("gather and scatter by index values, repeated indices adding up") {
  for (VectorLevel level : host_levels()) {
    int lanes = level_target(level).f32_lanes();
    for (int64_t n : sizes(lanes))
      for (int vector_axis : {-1, 0}) {
        int64_t table_rows = 11;
        ProgramFixture f(level);
        BufferId table = f.buffer("table", BufferKind::persistent, DType::f32, {{table_rows}, {3}});
        BufferId bytes = f.buffer("bytes", BufferKind::persistent, DType::u8, {{table_rows}});
        BufferId index = f.buffer("index", BufferKind::temporary, DType::i32, {{n}});
        f.buffer("out", BufferKind::output, DType::f32, {{n}});
        BufferId sums = f.buffer("sums", BufferKind::persistent, DType::f32, {{table_rows}});
        f.kernels(fmt::format(R"(
  kernel look  # one thread, after a barrier
    for i < {0}{1}:
      v0 = load index[i] : i32
      v1 = load table[3*v0 + 1] : f32
      v2 = load bytes[v0] : u8
      v3 = cast(v2) : f32
      v4 = add(v1, v3) : f32
      out[i] <- v4 : f32
      sums[v0] += v4 : f32
)", n, along("i", vector_axis == 0)));
        check_program(f.program, [&](StepMemory& m) {
          m.fill(table, wave);
          m.fill(bytes, [](int64_t k) { return double(k * 23 % 256); });
          m.fill(index, [&](int64_t k) { return double(k * k % table_rows); });
          m.fill(sums, [](int64_t k) { return double(k); });
        });
      }
  }
}

TEST_CASE("softmax and its loss in one kernel, row-wise, over a field of labels") {
  for (VectorLevel level : host_levels())
    for (int64_t classes : {2, 10, 16, 33})
      for (int vector_axis : {-1, 0, 1}) {
        int64_t capacity = 37;
        ProgramFixture f(level, capacity);
        BufferId logits = f.buffer("logits", BufferKind::temporary, DType::f32, {{1, true}, {classes}});
        BufferId label = f.buffer("label", BufferKind::field, DType::u8, {{1, true}});
        f.buffer("gradient", BufferKind::temporary, DType::f32, {{1, true}, {classes}});
        f.buffer("losses", BufferKind::temporary, DType::f32, {{1, true}});
        f.buffer("loss", BufferKind::results, scalar_type, {});
        f.kernels(fmt::format(R"(
  kernel loss.rows  # parallel, after a barrier
    for b < B{1}:
      for c < {0}{2}:
        v0 = load logits[{0}*b + c] : f32
        v1 = reduce_max(v0) over the inner loop : f32
      for c < {0}{2}:
        v2 = load logits[{0}*b + c] : f32
        v3 = sub(v2, v1) : f32
        v4 = exp(v3) : f32
        v5 = reduce_sum(v4) over the inner loop : f32
      v6 = load label[row(b), 0] : u8
      v7 = cast(v6) : i32
      v8 = load logits[{0}*b + v7] : f32
      v9 = log(v5) : f32
      v10 = add(v9, v1) : f32
      v11 = sub(v10, v8) : f32
      losses[b] <- v11 : f32
      for c < {0}{2}:
        v12 = load logits[{0}*b + c] : f32
        v13 = sub(v12, v10) : f32
        v14 = exp(v13) : f32
        v15 = index of c : i32
        v16 = equal(v15, v7) : bool
        v17 = cast(v16) : f32
        v18 = sub(v14, v17) : f32
        v19 = extent B : f64
        v21 = cast(v19) : f32
        v20 = div(v18, v21) : f32
        gradient[{0}*b + c] <- v20 : f32

  kernel loss.mean  # one thread, after a barrier
    for b < B  (vector along b):
      v0 = load losses[b] : f32
      v1 = reduce_sum(v0) over the inner loop : f32
    v2 = extent B : f64
    v4 = cast(v2) : f32
    v3 = div(v1, v4) : f32
    v5 = cast(v3) : f64
    loss[0] <- v5 : f64
)", classes, along("b", vector_axis == 0), along("c", vector_axis == 1)));
        check_program(
            f.program,
            [&](StepMemory& m) {
              m.fill(logits, [](int64_t i) { return wave(i) * 4; });
              m.fill(label, [&](int64_t i) { return double(i * 3 % classes); });
            },
            std::vector<int64_t>{int64_t(1), int64_t(16), int64_t(31), capacity}, 2e-5, 50);
      }
}

TEST_CASE("sizes of zero") {
  for (VectorLevel level : host_levels())
    for (int vector_axis : {-1, 0, 1}) {
      ProgramFixture f(level);
      f.buffer("x", BufferKind::temporary, DType::f32, {{0}});
      f.buffer("sums", BufferKind::output, DType::f32, {{3}});
      f.buffer("tops", BufferKind::output, DType::f32, {{3}});
      f.kernels(fmt::format(R"(
  kernel empty  # parallel, after a barrier
    for i < 3{0}:
      for k < 0{1}:
        v0 = load x[k] : f32
        v1 = reduce_sum(v0) over the inner loop : f32
        v2 = reduce_max(v0) over the inner loop : f32
      sums[i] <- v1 : f32
      tops[i] <- v2 : f32

  kernel nothing  # parallel, after a barrier
    for i < 0, j < 4{2}:
      v0 = constant 9 : f32
      sums[i] <- v0 : f32
)", along("i", vector_axis == 0), along("k", vector_axis == 1), along("j", vector_axis == 1)));
      check_program(f.program, [](StepMemory&) {});
    }
}
