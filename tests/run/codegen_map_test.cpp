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
        Access at_a{a, 0, {1}}, at_b{b, 0, {1}};
        MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
        int next = 0;
        BlockCode code(map.blocks[0].code, next);
        int x = code.load(at_a, type), y = code.load(at_b, type);
        for (int o = 0; o < op_count; ++o) {
          Op op = Op(o);
          if (!is_elementwise(op) || op == Op::cast) continue;
          bool logical = op == Op::logical_not || op == Op::logical_and || op == Op::logical_or;
          if (logical != (type == DType::boolean) && op != Op::select && op != Op::stop_gradient) continue;
          bool transcendental = op_class(op) == OpClass::unary && op >= Op::sqrt && op <= Op::erf;
          if (!is_float(type) && (transcendental || op == Op::pow)) continue;
          if (type == DType::u8 && (op == Op::neg || op == Op::sub || op == Op::mul)) continue;  // out of a byte's range
          bool compares = op_class(op) == OpClass::compare;
          DType result = compares ? DType::boolean : type;
          std::vector<int> operands{x};
          if (op_arity(op) == 2) operands.push_back(y);
          if (op == Op::log || op == Op::sqrt || op == Op::log1p || op == Op::pow)  // where they have values
            operands[0] = code.compute(Op::abs, type, {x});
          if (op == Op::select) {
            int condition = code.compute(Op::less, DType::boolean, {x, y});
            operands = std::vector<int>{condition, x, y};  // assigning the list itself makes GCC 16 warn of a copy that cannot be
          }
          int value = code.compute(op, result, operands);
          BufferId out = f.buffer(std::string(op_name(op)), BufferKind::output, result, {{n}});
          code.store({out, 0, {1}}, result, value);
        }
        for (DType to : types) {
          BufferId out = f.buffer("to_" + std::string(dtype_name(to)), BufferKind::output, to, {{n}});
          int source = to == DType::u8 && type != DType::boolean ? code.compute(Op::abs, type, {x}) : x;
          code.store({out, 0, {1}}, to, code.compute(Op::cast, to, {source}));
        }
        f.kernel("all", map);
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
    BufferId wide = f.buffer("wide", BufferKind::temporary, from, {{n}}),
             narrow = f.buffer("narrow", BufferKind::output, to, {{n}});
    MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
    int next = 0;
    BlockCode code(map.blocks[0].code, next);
    code.store({narrow, 0, {1}}, to, code.compute(Op::cast, to, {code.load({wide, 0, {1}}, from)}));
    f.kernel("narrow", map);
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
        BufferId rate = f.buffer("rate", BufferKind::scalars, DType::f32, {});
        BufferId y = f.buffer("y", BufferKind::output, DType::f32, {{1, true}, {n}});
        BufferId turned = f.buffer("turned", BufferKind::temporary, DType::f32, {{n}, {1, true}});
        BufferId flag = f.buffer("flag", BufferKind::output, DType::boolean, {{1, true}, {n}});
        MapKernel map{{{"b", {1, true}}, {"n", {n}}}, 2, vector_axis, {{false, {}}}, false};
        int next = 0;
        BlockCode code(map.blocks[0].code, next);
        int v = code.load({x, 0, {n, 1}}, DType::f32);
        v = code.compute(Op::add, DType::f32, {v, code.load({bias, 0, {0, 1}}, DType::f32)});
        v = code.compute(Op::mul, DType::f32, {v, code.load({column, 0, {1, 0}}, DType::f32)});
        v = code.compute(Op::mul, DType::f32, {v, code.load({rate, 0, {0, 0}}, DType::f32)});
        int i = code.compute(Op::cast, DType::f32, {code.axis_index(1)});
        v = code.compute(Op::add, DType::f32, {v, i});
        v = code.compute(Op::div, DType::f32, {v, code.extent({2, true})});
        code.store({y, 0, {n, 1}}, DType::f32, v);
        code.store({turned, 0, {1, capacity}}, DType::f32, v);
        code.store({flag, 0, {n, 1}}, DType::boolean, code.compute(Op::greater, DType::boolean, {v, code.constant(0.5)}));
        f.kernel("first", map);
        // Reads across: a strided load.
        MapKernel back{{{"b", {1, true}}, {"n", {n}}}, 2, vector_axis, {{false, {}}}, false};
        int next2 = 0;
        BlockCode code2(back.blocks[0].code, next2);
        BufferId z = f.buffer("z", BufferKind::temporary, DType::f32, {{1, true}, {n}});
        int t = code2.load({turned, 0, {1, capacity}}, DType::f32);
        int held = code2.load({flag, 0, {n, 1}}, DType::boolean);
        code2.store({z, 0, {n, 1}}, DType::f32, code2.compute(Op::select, DType::f32, {held, t, code2.constant(-1)}));
        f.kernel("second", back);
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
      BufferId y = f.buffer("y", BufferKind::temporary, DType::f32, {{n}, {1, true}});
      MapKernel map{{{"n", {n}}, {"b", {1, true}}}, 2, 1, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      Access pixel{image, 0, {1, 0}, 1};
      int v = code.compute(Op::cast, DType::f32, {code.load(pixel, type)});
      code.store({y, 0, {capacity, 1}}, DType::f32, v);
      f.kernel("turn", map);
      // The other way round: lanes along the pixels.
      MapKernel straight{{{"b", {1, true}}, {"n", {n}}}, 2, 1, {{false, {}}}, false};
      int next2 = 0;
      BlockCode code2(straight.blocks[0].code, next2);
      BufferId z = f.buffer("z", BufferKind::temporary, DType::f32, {{1, true}, {n}});
      code2.store({z, 0, {n, 1}}, DType::f32, code2.compute(Op::cast, DType::f32, {code2.load({image, 0, {0, 1}, 0}, type)}));
      f.kernel("straight", straight);
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
          MapKernel map{{{"i", {rows}}, {"k", {n}}}, 1, vector_axis, {{true, {}}, {false, {}}, {true, {}}}, false};
          int next = 0;
          BlockCode reduce(map.blocks[0].code, next);
          int v = reduce.load({x, 0, {n, 1}}, type);
          int sum = reduce.reduce(Op::reduce_sum, type, v), largest = reduce.reduce(Op::reduce_max, type, v);
          int smallest = reduce.reduce(Op::reduce_min, type, v), where = reduce.reduce(Op::argmax, DType::i32, v);
          BlockCode after(map.blocks[1].code, next);
          int id = 0;
          for (auto [value, out_type] : {std::pair{sum, type}, {largest, type}, {smallest, type}, {where, DType::i32}}) {
            BufferId out = f.buffer("out" + std::to_string(id++), BufferKind::output, out_type, {{rows}});
            after.store({out, 0, {1, 0}}, out_type, value);
          }
          int range = after.compute(Op::sub, type, {largest, smallest});
          BlockCode again(map.blocks[2].code, next);
          BufferId y = f.buffer("y", BufferKind::temporary, type, {{rows}, {n}});
          int w = again.load({x, 0, {n, 1}}, type);
          w = again.compute(Op::add, type, {again.compute(Op::sub, type, {w, largest}), range});
          again.store({y, 0, {n, 1}}, type, w);
          f.kernel("rows", map);
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
          BufferId x = f.buffer("x", BufferKind::temporary, DType::f32, {{m}, {1, true}, {n}});
          BufferId out = outer ? f.buffer("out", BufferKind::output, DType::f32, {{m}})
                               : f.buffer("out", BufferKind::results, DType::f32, {});
          MapKernel map{{{"m", {m}}, {"b", {1, true}}, {"n", {n}}}, outer, vector_axis, {{true, {}}, {false, {}}}, outer == 0};
          int next = 0;
          BlockCode inner(map.blocks[0].code, next);
          int sum = inner.reduce(Op::reduce_sum, DType::f32, inner.load({x, 0, {capacity * n, n, 1}}, DType::f32));
          BlockCode after(map.blocks[1].code, next);
          after.store({out, 0, {outer ? 1 : 0, 0, 0}}, DType::f32, sum);
          f.kernel("sum", map);
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
        BufferId out = f.buffer("out", BufferKind::output, DType::f32, {{n}});
        BufferId sums = f.buffer("sums", BufferKind::persistent, DType::f32, {{table_rows}});
        MapKernel map{{{"i", {n}}}, 1, vector_axis, {{false, {}}}, true};
        int next = 0;
        BlockCode code(map.blocks[0].code, next);
        int i = code.load({index, 0, {1}}, DType::i32);
        int v = code.load({table, 1, {0}, -1, i, 3}, DType::f32);
        int u = code.compute(Op::cast, DType::f32, {code.load({bytes, 0, {0}, -1, i, 1}, DType::u8)});
        v = code.compute(Op::add, DType::f32, {v, u});
        code.store({out, 0, {1}}, DType::f32, v);
        code.store({sums, 0, {0}, -1, i, 1}, DType::f32, v, true);
        f.kernel("look", map, false);
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
        BufferId gradient = f.buffer("gradient", BufferKind::temporary, DType::f32, {{1, true}, {classes}});
        BufferId losses = f.buffer("losses", BufferKind::temporary, DType::f32, {{1, true}});
        BufferId loss = f.buffer("loss", BufferKind::results, DType::f32, {});
        MapKernel map{
            {{"b", {1, true}}, {"c", {classes}}}, 1, vector_axis, {{true, {}}, {true, {}}, {false, {}}, {true, {}}}, false};
        int next = 0;
        Access at{logits, 0, {classes, 1}};
        BlockCode one(map.blocks[0].code, next);
        int top = one.reduce(Op::reduce_max, DType::f32, one.load(at, DType::f32));
        BlockCode two(map.blocks[1].code, next);
        int e = two.compute(Op::exp, DType::f32, {two.compute(Op::sub, DType::f32, {two.load(at, DType::f32), top})});
        int sum = two.reduce(Op::reduce_sum, DType::f32, e);
        BlockCode three(map.blocks[2].code, next);
        int l = three.load({label, 0, {0, 0}, 0}, DType::u8);
        int l32 = three.compute(Op::cast, DType::i32, {l});
        int picked = three.load({logits, 0, {classes, 0}, -1, l32, 1}, DType::f32);
        int log_sum = three.compute(Op::add, DType::f32, {three.compute(Op::log, DType::f32, {sum}), top});
        three.store({losses, 0, {1, 0}}, DType::f32, three.compute(Op::sub, DType::f32, {log_sum, picked}));
        BlockCode four(map.blocks[3].code, next);
        int p = four.compute(Op::exp, DType::f32, {four.compute(Op::sub, DType::f32, {four.load(at, DType::f32), log_sum})});
        int hit = four.compute(Op::cast, DType::f32, {four.compute(Op::equal, DType::boolean, {four.axis_index(1), l32})});
        int g = four.compute(Op::div, DType::f32, {four.compute(Op::sub, DType::f32, {p, hit}), four.extent({1, true})});
        four.store({gradient, 0, {classes, 1}}, DType::f32, g);
        f.kernel("loss.rows", map);
        MapKernel mean{{{"b", {1, true}}}, 0, 0, {{true, {}}, {false, {}}}, true};
        int next2 = 0;
        BlockCode sum_code(mean.blocks[0].code, next2);
        int total = sum_code.reduce(Op::reduce_sum, DType::f32, sum_code.load({losses, 0, {1}}, DType::f32));
        BlockCode mean_code(mean.blocks[1].code, next2);
        mean_code.store({loss, 0, {0}}, DType::f32, mean_code.compute(Op::div, DType::f32, {total, mean_code.extent({1, true})}));
        f.kernel("loss.mean", mean, false);
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
      BufferId x = f.buffer("x", BufferKind::temporary, DType::f32, {{0}});
      BufferId sums = f.buffer("sums", BufferKind::output, DType::f32, {{3}});
      BufferId tops = f.buffer("tops", BufferKind::output, DType::f32, {{3}});
      MapKernel map{{{"i", {3}}, {"k", {0}}}, 1, vector_axis, {{true, {}}, {false, {}}}, false};
      int next = 0;
      BlockCode inner(map.blocks[0].code, next);
      int v = inner.load({x, 0, {0, 1}}, DType::f32);
      int sum = inner.reduce(Op::reduce_sum, DType::f32, v), top = inner.reduce(Op::reduce_max, DType::f32, v);
      BlockCode after(map.blocks[1].code, next);
      after.store({sums, 0, {1, 0}}, DType::f32, sum);
      after.store({tops, 0, {1, 0}}, DType::f32, top);
      f.kernel("empty", map);
      MapKernel nothing{{{"i", {0}}, {"j", {4}}}, 2, vector_axis == 0 ? -1 : vector_axis, {{false, {}}}, false};
      int next2 = 0;
      BlockCode code(nothing.blocks[0].code, next2);
      code.store({sums, 0, {1, 0}}, DType::f32, code.constant(9));
      f.kernel("nothing", nothing);
      check_program(f.program, [](StepMemory&) {});
    }
}
