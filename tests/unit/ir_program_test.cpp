// Programs: layouts, text, and the verifier on a small sound program that is broken in one place at a time.
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/program.h"
#include "ir/program_interpreter.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using Kind = Instruction::Kind;

namespace {

constexpr Extent rows{1, true};
Extent n(int64_t size) { return {size, false}; }

Instruction load(int id, DType dtype, Access access) {
  Instruction i;
  i.kind = Kind::load;
  i.id = id;
  i.dtype = dtype;
  i.access = std::move(access);
  return i;
}
Instruction store(int value, Access access, Kind kind = Kind::store) {
  Instruction i;
  i.kind = kind;
  i.operands = {value};
  i.access = std::move(access);
  return i;
}
Instruction compute(int id, Op op, std::vector<int> operands, DType dtype = DType::f32) {
  Instruction i;
  i.kind = Kind::compute;
  i.id = id;
  i.op = op;
  i.operands = std::move(operands);
  i.dtype = dtype;
  return i;
}
Instruction simple(Kind kind, int id) {
  Instruction i;
  i.kind = kind;
  i.id = id;
  return i;
}
Access at(BufferId buffer, std::vector<int64_t> strides, int64_t offset = 0, int row_axis = -1) {
  Access a;
  a.buffer = buffer;
  a.strides = std::move(strides);
  a.offset = offset;
  a.row_axis = row_axis;
  return a;
}

// x: u8 field [B, 3]; h = cast(x) * w [3, 2]; loss = sum over h^2; w <- w - x^T (2 h) * lr. Four rows are planned.
struct Example {
  Program p;
  BufferId x{0}, w{1}, h{2}, lr{3}, loss{4}, partial{5}, moment{6};

  Example() {
    p.name = "train";
    p.rows = 4;
    p.fields = {"x"};
    p.scalars = {"using.lr"};
    p.results = {"loss"};
    add("x", BufferKind::field, DType::u8, {rows, n(3)}, 0);
    add("w", BufferKind::persistent, DType::f32, {n(3), n(2)}, 0);
    add("h", BufferKind::temporary, DType::f32, {rows, n(2)}, 0);
    add("using.lr", BufferKind::scalars, DType::f32, {}, 0);
    add("loss", BufferKind::results, DType::f32, {}, 0);
    add("partial", BufferKind::temporary, DType::f32, {rows}, 64);
    add("moment", BufferKind::persistent, DType::f32, {n(3), n(2)}, 64);
    p.arena_bytes = 128;
    p.persistent_bytes = 128;
    Persistent first{"w", {DType::f32, {n(3), n(2)}}, PersistentKind::parameter, {}};
    Persistent second{"moment", {DType::f32, {n(3), n(2)}}, PersistentKind::optimizer_state, {}};
    p.persistents = {{first, w}, {second, moment}};

    ContractKernel forward;
    forward.axes = {{"b", rows}, {"n", n(2)}, {"k", n(3)}};
    forward.a.code = {load(0, DType::u8, at(x, {0, 0, 1}, 0, 0)), compute(1, Op::cast, {0})};
    forward.a.value = 1;
    forward.a.pack = true;
    forward.b.code = {load(2, DType::f32, at(w, {0, 1, 2}))};
    forward.b.value = 2;
    forward.epilogue = {simple(Kind::accumulator, 3), store(3, at(h, {2, 1, 0}))};
    p.kernels.push_back({"forward", "fc", {}, forward, true, true, 48, 100, {}});

    MapKernel squares;
    squares.axes = {{"b", rows}, {"n", n(2)}};
    squares.outer = 1;
    squares.vector_axis = 1;
    Instruction sum = simple(Kind::reduce, 2);
    sum.op = Op::reduce_sum;
    sum.operands = {1};
    squares.blocks = {{true, {load(0, DType::f32, at(h, {2, 1})), compute(1, Op::mul, {0, 0}), sum}}, {false, {store(2, at(partial, {1, 0}))}}};
    p.kernels.push_back({"squares", "", {}, squares, true, true, 16, 40, {}});

    MapKernel total;
    total.axes = {{"b", rows}};
    total.outer = 0;
    total.vector_axis = 0;
    total.serial = true;
    Instruction all = simple(Kind::reduce, 1);
    all.op = Op::reduce_sum;
    all.operands = {0};
    total.blocks = {{true, {load(0, DType::f32, at(partial, {1})), all}}, {false, {store(1, at(loss, {0}))}}};
    p.kernels.push_back({"total", "", {}, total, false, true, 4, 16, {}});

    ContractKernel update;
    update.axes = {{"in", n(3)}, {"out", n(2)}, {"b", rows}};
    update.a.code = {load(0, DType::u8, at(x, {1, 0, 0}, 0, 2)), compute(1, Op::cast, {0})};
    update.a.value = 1;
    update.b.code = {load(2, DType::f32, at(h, {0, 1, 2})), compute(3, Op::add, {2, 2})};
    update.b.value = 3;
    update.epilogue = {simple(Kind::accumulator, 4), load(5, DType::f32, at(lr, {0, 0, 0})), compute(6, Op::mul, {4, 5}),
                       load(7, DType::f32, at(w, {2, 1, 0})), compute(8, Op::sub, {7, 6}), store(8, at(w, {2, 1, 0}))};
    p.kernels.push_back({"update", "fc", {}, update, true, true, 48, 100, {}});
  }

  void add(std::string name, BufferKind kind, DType dtype, Shape shape, int64_t offset) {
    Buffer b;
    b.name = std::move(name);
    b.kind = kind;
    b.dtype = dtype;
    b.shape = std::move(shape);
    b.offset = offset;
    b.bytes = buffer_bytes(b, p.rows);
    p.buffers.push_back(b);
  }
  ContractKernel& contract(size_t i) { return std::get<ContractKernel>(p.kernels[i].body); }
  MapKernel& map(size_t i) { return std::get<MapKernel>(p.kernels[i].body); }
};

void check_broken(const Program& p, const std::string& invariant) {
  std::vector<std::string> problems = verify_program(p);
  INFO("expected a violation of " << invariant);
  REQUIRE_FALSE(problems.empty());
  bool found = false;
  for (const std::string& text : problems) found |= text.rfind(invariant + ":", 0) == 0;
  INFO("first problem: " << problems[0]);
  CHECK(found);
}

}  // namespace

TEST_CASE("strides and sizes follow memory order and planned rows", "[ir]") {
  Buffer b;
  b.shape = {rows, n(3), n(5)};
  CHECK(buffer_strides(b, 4) == std::vector<int64_t>{15, 5, 1});
  CHECK(buffer_bytes(b, 4) == 240);
  b.order = {1, 0, 2};
  CHECK(buffer_strides(b, 4) == std::vector<int64_t>{5, 20, 1});
  b.order = {2, 1, 0};
  CHECK(buffer_strides(b, 4) == std::vector<int64_t>{1, 4, 12});
  b.order = {0};
  CHECK_THROWS_AS(buffer_strides(b, 4), InternalError);
  b.order.clear();
  b.kind = BufferKind::field;
  CHECK(buffer_strides(b, 4) == std::vector<int64_t>{0, 5, 1});
}

TEST_CASE("a program is printed as loop nests with addresses", "[ir]") {
  std::string text = print_program(Example().p, nullptr);
  for (const char* part : {"program @train {", "4 rows planned", "arena 128 bytes, persistent 128 bytes", "field \"x\" : u8[B, 3] field 0",
                           "persistent \"w\" : f32[3, 2] at 0, 24 bytes", "kernel forward  # scope fc, parallel, after a barrier, 48 FLOP, 100 B",
                           "contract b < B, n < 2, k < 3: tile 8 x 2 vectors", "a[b, k] = v1, packed:", "v0 = load x[row(b), k] : u8",
                           "v1 = cast(v0) : f32", "v2 = load w[n + 2*k] : f32", "h[2*b + n] <- v3 : f32", "for n < 2  (vector along n):",
                           "v2 = reduce_sum(v1) over the inner loop : f32", "w[2*in + out] <- v8 : f32", "loss[0] <- v1 : f32"})
    CHECK_THAT(text, contains(part));
}

TEST_CASE("the verifier accepts the sound program", "[ir]") {
  std::vector<std::string> problems = verify_program(Example().p);
  if (!problems.empty()) UNSCOPED_INFO(problems[0]);
  CHECK(problems.empty());
}

TEST_CASE("the verifier of programs names each broken invariant", "[ir]") {
  Example e;
  SECTION("P1 bytes") {
    e.p[e.h].bytes += 4;
    check_broken(e.p, "P1");
  }
  SECTION("P1 alignment") {
    e.p[e.partial].offset = 36;
    check_broken(e.p, "P1");
  }
  SECTION("P1 outside the arena") {
    e.p.arena_bytes = 64;
    check_broken(e.p, "P1");
  }
  SECTION("P1 order") {
    e.p[e.w].order = {0, 0};
    check_broken(e.p, "P1");
  }
  SECTION("P1 slot") {
    e.p[e.loss].offset = 4;
    check_broken(e.p, "P1");
  }
  SECTION("P2 overlap") {
    e.p[e.moment].offset = 0;
    check_broken(e.p, "P2");
  }
  SECTION("P2 type") {
    e.p.persistents[0].persistent.type.shape = {n(6)};
    check_broken(e.p, "P2");
  }
  SECTION("P2 twice") {
    e.p.persistents[1].buffer = e.w;
    check_broken(e.p, "P2");
  }
  SECTION("P3 name") {
    e.p.kernels[1].name = "forward";
    check_broken(e.p, "P3");
  }
  SECTION("P3 vector axis") {
    e.map(1).vector_axis = 2;
    check_broken(e.p, "P3");
  }
  SECTION("P3 inner block without inner axes") {
    e.map(1).outer = 2;
    check_broken(e.p, "P3");
  }
  SECTION("P3 axes of a contraction") {
    e.contract(0).batch = 1;
    check_broken(e.p, "P3");
  }
  SECTION("P3 tile") {
    e.contract(0).mr = 0;
    check_broken(e.p, "P3");
  }
  SECTION("P4 undefined value") {
    e.map(1).blocks[0].code[1].operands = {0, 9};
    check_broken(e.p, "P4");
  }
  SECTION("P4 value of an inner block used outside") {
    e.map(1).blocks[1].code[0].operands = {1};
    check_broken(e.p, "P4");
  }
  SECTION("P4 reduction read in its own loop") {
    e.map(1).blocks[0].code.push_back(compute(7, Op::neg, {2}));
    check_broken(e.p, "P4");
  }
  SECTION("P4 defined twice") {
    e.map(1).blocks[0].code[1].id = 0;
    check_broken(e.p, "P4");
  }
  SECTION("P4 epilogue sees an operand's value") {
    e.contract(0).epilogue[1].operands = {2};
    check_broken(e.p, "P4");
  }
  SECTION("P4 float index") {
    e.map(1).blocks[0].code.push_back(load(8, DType::f32, at(e.h, {0, 0})));
    e.map(1).blocks[0].code.back().access.index_value = 0;
    check_broken(e.p, "P4");
  }
  SECTION("P5 load type") {
    e.contract(0).b.code[0].dtype = DType::f64;
    check_broken(e.p, "P5");
  }
  SECTION("P5 arithmetic on u8") {
    e.contract(0).a.code[1] = compute(1, Op::neg, {0});
    check_broken(e.p, "P5");
  }
  SECTION("P5 store in an operand") {
    e.contract(0).a.code.push_back(store(1, at(e.h, {2, 0, 0})));
    check_broken(e.p, "P5");
  }
  SECTION("P5 accumulator in a map") {
    e.map(1).blocks[0].code.push_back(simple(Kind::accumulator, 9));
    check_broken(e.p, "P5");
  }
  SECTION("P5 reduction in an outer block") {
    Instruction again = e.map(1).blocks[0].code[2];
    again.id = 5;
    again.operands = {2};
    e.map(1).blocks[1].code.insert(e.map(1).blocks[1].code.begin(), again);
    check_broken(e.p, "P5");
  }
  SECTION("P6 out of bounds") {
    e.contract(0).b.code[0].access.offset = 1;
    check_broken(e.p, "P6");
  }
  SECTION("P6 negative") {
    e.contract(0).b.code[0].access.strides = {0, -1, 2};
    check_broken(e.p, "P6");
  }
  SECTION("P6 operand b depends on m") {
    e.contract(0).b.code[0].access.strides[0] = 1;
    check_broken(e.p, "P6");
  }
  SECTION("P6 epilogue depends on k") {
    e.contract(0).epilogue[1].access.strides = {1, 1, 1};
    check_broken(e.p, "P6");
  }
  SECTION("P6 outer block depends on an inner axis") {
    e.map(1).blocks[1].code[0].access.strides = {1, 1};
    check_broken(e.p, "P6");
  }
  SECTION("P6 field without rows") {
    e.contract(0).a.code[0].access.row_axis = -1;
    check_broken(e.p, "P6");
  }
  SECTION("P6 field rows along another axis") {
    e.contract(0).a.code[0].access.row_axis = 2;
    e.contract(0).a.code[0].access.strides = {0, 0, 0};
    check_broken(e.p, "P6");
  }
  SECTION("P7 store to a scalar") {
    e.contract(3).epilogue.push_back(store(8, at(e.lr, {0, 0, 0})));
    check_broken(e.p, "P7");
  }
  SECTION("P8 store not one-to-one") {
    e.contract(0).epilogue[1].access.strides = {1, 1, 0};
    check_broken(e.p, "P8");
  }
  SECTION("P8 two stores meet") {
    e.contract(0).epilogue.push_back(store(3, at(e.h, {2, 1, 0})));
    check_broken(e.p, "P8");
  }
  SECTION("P8 disjoint stores are sound, in spite of interleaved ranges") {
    e.contract(0).epilogue[1].access = at(e.h, {2, 0, 0});
    e.contract(0).axes[1].extent = n(1);
    e.contract(0).epilogue.push_back(store(3, at(e.h, {2, 0, 0}, 1)));
    CHECK(verify_program(e.p).empty());
  }
  SECTION("P8 addition in a kernel that is not serial") {
    e.map(1).blocks[1].code[0].kind = Kind::store_add;
    check_broken(e.p, "P8");
  }
  SECTION("P9 parameter read after its update") {
    std::swap(e.p.kernels[1], e.p.kernels[3]);
    MapKernel& squares = e.map(3);
    squares.blocks[0].code[0].access = at(e.w, {0, 1});
    check_broken(e.p, "P9");
  }
  SECTION("P9 parameter read at another place by the kernel that updates it") {
    e.contract(3).epilogue[3].access.strides = {0, 1, 0};
    check_broken(e.p, "P9");
  }
  SECTION("P9 parameter read by an operand of the kernel that updates it") {
    e.contract(3).b.code[0].access = at(e.w, {0, 1, 0});
    check_broken(e.p, "P9");
  }
  SECTION("P10 read before it is stored") {
    std::swap(e.p.kernels[0], e.p.kernels[1]);
    check_broken(e.p, "P10");
  }
  SECTION("P10 result never stored") {
    e.p.kernels.erase(e.p.kernels.begin() + 2);
    check_broken(e.p, "P10");
  }
  SECTION("P11 live temporaries overlap") {
    e.p[e.partial].offset = 0;
    check_broken(e.p, "P11");
  }
  SECTION("P11 a temporary in the place of a dead one is sound") {
    e.p.kernels.erase(e.p.kernels.begin() + 3);
    e.add("late", BufferKind::temporary, DType::f32, {n(1)}, 0);
    BufferId late{7};
    MapKernel after;
    after.axes = {{"i", n(1)}};
    after.outer = 1;
    after.blocks = {{false, {simple(Kind::constant, 0), store(0, at(late, {0}))}}};
    e.p.kernels.push_back({"after", "", {}, after, false, true, 0, 0, {}});
    CHECK(verify_program(e.p).empty());
  }
  SECTION("P12 missing barrier") {
    e.p.kernels[1].barrier_before = false;
    check_broken(e.p, "P12");
  }
  SECTION("P12 kernels of one thread need none") {
    for (Kernel& k : e.p.kernels) k.parallel = k.barrier_before = false;
    CHECK(verify_program(e.p).empty());
  }
}

TEST_CASE("the interpreter of programs computes the step, for fewer rows than planned too", "[ir]") {
  Example e;
  e.p[e.w].order = {1, 0};  // in memory [out][in]: strides 1 and 3
  e.contract(0).b.code[0].access.strides = {0, 3, 1};
  for (size_t i : {3, 5}) e.contract(3).epilogue[i].access.strides = {1, 3, 0};
  REQUIRE(verify_program(e.p).empty());
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = {DType::u8, {2, 3}, {1, 2, 3, 4, 5, 6}};
  bindings.scalars["using.lr"] = 0.5;
  bindings.persistents["w"] = {DType::f32, {3, 2}, {1, 0, 0, 1, 1, 1}};
  bindings.persistents["moment"] = make_tensor(DType::f32, {3, 2});
  Results r = interpret_program(e.p, bindings);
  // h = [[4, 5], [10, 11]]
  CHECK(r.outputs.at("loss").values == std::vector<double>{16 + 25 + 100 + 121});
  // w - x^T (2 h) * 0.5 = w - x^T h
  CHECK(r.updates.at("w").values == std::vector<double>{1 - 44, 0 - 49, 0 - 58, 1 - 65, 1 - 72, 1 - 81});
  CHECK(r.updates.at("moment").values == std::vector<double>(6, 0.0));
  bindings.inputs["x"].shape = {3, 2};
  CHECK_THROWS(interpret_program(e.p, bindings));
}

TEST_CASE("the interpreter of programs reduces, gathers and scatters", "[ir]") {
  Program p;
  p.rows = 1;
  p.outputs = {"first", "added", "largest"};
  auto add = [&](std::string name, BufferKind kind, DType dtype, Shape shape, int64_t offset) {
    Buffer b;
    b.name = std::move(name);
    b.kind = kind;
    b.dtype = dtype;
    b.shape = std::move(shape);
    b.offset = offset;
    b.bytes = buffer_bytes(b, p.rows);
    p.buffers.push_back(b);
    return BufferId{uint32_t(p.buffers.size() - 1)};
  };
  BufferId table = add("table", BufferKind::persistent, DType::f32, {n(2), n(4)}, 0);
  BufferId first = add("first", BufferKind::output, DType::i32, {n(2)}, 0), added = add("added", BufferKind::output, DType::f32, {n(4)}, 1);
  BufferId largest = add("largest", BufferKind::output, DType::f32, {n(2)}, 2);
  p.persistent_bytes = 64;
  p.persistents = {{{"table", {DType::f32, {n(2), n(4)}}, PersistentKind::parameter, {}}, table}};
  MapKernel fill;
  fill.axes = {{"i", n(4)}};
  fill.outer = 1;
  fill.blocks = {{false, {simple(Kind::constant, 0), store(0, at(added, {1}))}}};
  p.kernels.push_back({"fill", "", {}, fill, false, true, 0, 0, {}});
  MapKernel map;
  map.axes = {{"r", n(2)}, {"c", n(4)}};
  map.outer = 1;
  map.serial = true;
  Instruction arg = simple(Kind::reduce, 1);
  arg.op = Op::argmax;
  arg.dtype = DType::i32;
  arg.operands = {0};
  Instruction gathered = load(2, DType::f32, at(table, {4, 0}));
  gathered.access.index_value = 1;
  gathered.access.index_stride = 1;
  Instruction scattered = store(2, at(added, {0, 0}), Kind::store_add);
  scattered.access.index_value = 1;
  scattered.access.index_stride = 1;
  Instruction index_store = store(1, at(first, {1, 0}));
  index_store.dtype = DType::i32;
  map.blocks = {{true, {load(0, DType::f32, at(table, {4, 1})), arg}}, {false, {gathered, index_store, store(2, at(largest, {1, 0})), scattered}}};
  p.kernels.push_back({"rows", "", {}, map, false, true, 0, 0, {}});
  std::vector<std::string> problems = verify_program(p);
  if (!problems.empty()) UNSCOPED_INFO(problems[0]);
  REQUIRE(problems.empty());
  Bindings bindings;
  bindings.persistents["table"] = {DType::f32, {2, 4}, {1, 5, 9, 2, 3, 4, 7, 7}};
  Results r = interpret_program(p, bindings);
  CHECK(r.outputs.at("first").values == std::vector<double>{2, 2});
  CHECK(r.outputs.at("largest").values == std::vector<double>{9, 7});
  CHECK(r.outputs.at("added").values == std::vector<double>{0, 0, 16, 0});
}

// --- each violation by the message that reports it ---

namespace {

/// The sound program with one thing changed: what the verifier says first.
std::string first_problem(const std::function<void(Example&)>& change) {
  Example e;
  change(e);
  std::vector<std::string> problems = verify_program(e.p);
  return problems.empty() ? std::string("sound") : problems[0];
}

Instruction of_type(Instruction i, DType dtype) {
  i.dtype = dtype;
  return i;
}
Instruction reduction(int id, Op op, std::vector<int> operands, DType dtype = DType::f32) {
  Instruction i = simple(Kind::reduce, id);
  i.op = op;
  i.operands = std::move(operands);
  i.dtype = dtype;
  return i;
}
Instruction axis_index(int id, int axis, DType dtype = DType::i32) {
  Instruction i = simple(Kind::axis_index, id);
  i.axis = axis;
  i.dtype = dtype;
  return i;
}

}  // namespace

TEST_CASE("the verifier of programs says what is wrong with a buffer or a persistent", "[ir]") {
  CHECK(first_problem([](Example&) {}) == "sound");
  CHECK(first_problem([](Example& e) { e.p[e.x].order = {1, 0}; }) == "P1: the memory order of x is not one of its 2 axes");
  CHECK(first_problem([](Example& e) { e.p[e.h].order = {0}; }).find("P1: the memory order of h is not one of its 2 axes") == 0);
  CHECK(first_problem([](Example& e) { e.p[e.h].offset = -64; }) == "P1: h at -64 with 32 bytes leaves its block of 128");
  CHECK(first_problem([](Example& e) { e.p[e.x].field = 1; }) == "P1: x is field 1 of 1");
  CHECK(first_problem([](Example& e) { e.p[e.lr].offset = -4; }) == "P1: using.lr is slot -1 of 1");
  CHECK(first_problem([](Example& e) { e.p[e.loss].offset = 2; }) == "P1: loss is no f32 scalar of its block");
  CHECK(first_problem([](Example& e) { e.p[e.loss].dtype = DType::i32; }) == "P1: loss is no f32 scalar of its block");
  CHECK(first_problem([](Example& e) {
          e.p[e.loss].shape = {n(2)};
          e.p[e.loss].bytes = 8;
        }) == "P1: loss is no f32 scalar of its block");
  CHECK(first_problem([](Example& e) { e.add("y", BufferKind::output, DType::f32, {}, 0); }) == "P1: y is output 0 of 0");
  CHECK(first_problem([](Example& e) { e.p.persistents[1].persistent.name = "w"; }) == "P2: persistent w is placed twice");
  CHECK(first_problem([](Example& e) { e.p.persistents[1].buffer = {}; }) == "P2: persistent moment has no persistent buffer");
  CHECK(first_problem([](Example& e) { e.p.persistents[1].buffer = e.h; }) == "P2: persistent moment has no persistent buffer");
  CHECK(first_problem([](Example& e) { e.p.persistents[1].buffer = e.w; }) == "P2: buffer w holds two persistents");
  CHECK(first_problem([](Example& e) { e.p.persistents[1].persistent.type.dtype = DType::f64; }) ==
        "P2: persistent moment is f64[3, 2], its buffer f32[3, 2]");
}

TEST_CASE("the verifier of programs says what is wrong with a kernel's frame", "[ir]") {
  CHECK(first_problem([](Example& e) { e.map(1).outer = 3; }) == "P3: squares has 3 outer axes of 2");
  CHECK(first_problem([](Example& e) { e.map(1).outer = -1; }) == "P3: squares has -1 outer axes of 2");
  CHECK(first_problem([](Example& e) { e.map(1).serial = true; }) == "P3: squares is serial and parallel");
  CHECK(first_problem([](Example& e) { e.map(1).axes[1].extent = n(-2); }) == "P3: axis n of squares has size -2");
  CHECK(first_problem([](Example& e) { e.contract(0).batch = -1; }) == "P3: forward has 3 axes for -1 batch axes and m, n, k");
  for (auto tile : {&ContractKernel::mc, &ContractKernel::nc, &ContractKernel::kc})
    CHECK(first_problem([&](Example& e) { e.contract(0).*tile = 0; }) == "P3: forward has an empty tile");
  CHECK(first_problem([](Example& e) { e.contract(0).nr = 0; }) == "P3: forward has an empty tile");
  CHECK(first_problem([](Example& e) { e.contract(0).a.value = 9; }) == "P4: operand a of forward ends with v9, which it does not define");
  CHECK(first_problem([](Example& e) { e.contract(0).a.value = 0; }) == "P5: operand a of forward is u8, not f32");
}

TEST_CASE("the verifier of programs says what is wrong with an instruction", "[ir]") {
  auto in_block = [](const Instruction& i) { return first_problem([&](Example& e) { e.map(1).blocks[0].code.push_back(i); }); };
  auto in_epilogue = [](const Instruction& i) { return first_problem([&](Example& e) { e.contract(0).epilogue.push_back(i); }); };
  CHECK(in_block(axis_index(9, 1)) == "sound");
  CHECK(in_block(axis_index(9, -1)) == "P6: v9 of squares is the index of axis -1, over which it does not run");
  CHECK(in_block(axis_index(9, 2)) == "P6: v9 of squares is the index of axis 2, over which it does not run");
  CHECK(in_epilogue(axis_index(9, 2)) == "P6: v9 of forward is the index of axis 2, over which it does not run");
  CHECK(in_block(axis_index(9, 1, DType::f32)) == "P5: v9 of squares is an index of type f32");
  CHECK(in_block(compute(9, Op::reduce_sum, {0})) == "P5: v9 of squares computes reduce_sum, which is not element-wise");
  CHECK(in_block(compute(9, Op::mul, {0, 0}, DType::f64)) == "P5: v9 of squares is f64, but mul gives f32");
  CHECK(in_block(compute(-1, Op::neg, {0})) == "P4: an instruction of squares defines no value");
  CHECK(in_block(reduction(9, Op::reduce_max, {0})) == "sound");
  CHECK(in_block(reduction(9, Op::reduce_min, {0})) == "sound");
  CHECK(in_block(reduction(9, Op::argmax, {0}, DType::i32)) == "sound");
  CHECK(in_block(reduction(9, Op::argmax, {0})) == "P5: v9 of squares is an argmax that is not i32 over one axis");
  CHECK(first_problem([](Example& e) {
          e.map(1).axes.push_back({"k", n(1)});
          e.map(1).vector_axis = 2;
          for (Block& block : e.map(1).blocks)
            for (Instruction& i : block.code)
              if (i.access.buffer.valid()) i.access.strides.push_back(0);
          e.map(1).blocks[0].code.push_back(reduction(9, Op::argmax, {0}, DType::i32));
        }) == "P5: v9 of squares is an argmax that is not i32 over one axis");
  CHECK(in_block(reduction(9, Op::add, {0})) == "P5: v9 of squares reduces by add");
  CHECK(in_block(reduction(9, Op::reduce_sum, {0}, DType::f64)) == "P5: v9 of squares reduces f32 to f64");
  CHECK(in_block(reduction(9, Op::reduce_sum, {0, 1})) == "P5: v9 of squares reduces 2 values");
  CHECK(in_epilogue(reduction(9, Op::reduce_sum, {3})) == "P5: v9 of forward reduces outside an inner block");
  CHECK(in_epilogue(of_type(simple(Kind::accumulator, 9), DType::f64)) == "P5: v9 of forward is no f32 accumulator of an epilogue");
  CHECK(in_epilogue(simple(Kind::extent, 9)) == "sound");
  CHECK(in_epilogue(of_type(simple(Kind::extent, 9), DType::i32)) == "P5: v9 of forward is an extent of type i32");
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].operands = {3, 3}; }) == "P5: a store of forward does not store one value of its type");
  CHECK(first_problem([](Example& e) {
          e.contract(0).epilogue.insert(e.contract(0).epilogue.begin(), of_type(simple(Kind::constant, 9), DType::i32));
          e.contract(0).epilogue[2].operands = {9};
        }) == "P5: a store of forward does not store one value of its type");
}

TEST_CASE("the verifier of programs says what is wrong with an access", "[ir]") {
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].access.buffer = {}; }) == "P6: a store of forward touches no buffer");
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].access.strides = {2, 1}; }) == "P6: a store of forward has 2 strides for 3 axes");
  for (int axis : {3, 1})  // beyond the axes, and one over which operand a does not run
    CHECK(first_problem([&](Example& e) { e.contract(0).a.code[0].access.row_axis = axis; }) == "P6: v0 of forward reads field x without rows");
  CHECK(first_problem([](Example& e) { e.contract(0).a.code[0].access.strides[0] = 1; }) == "P6: v0 of forward has a stride along the rows of x");
  CHECK(first_problem([](Example& e) { e.contract(0).b.code[0].access.row_axis = 2; }) == "P6: v2 of forward reads w by rows, but it is no field");
  auto gathered = [](int index, DType dtype) {
    return first_problem([&](Example& e) {
      std::vector<Instruction>& code = e.map(1).blocks[0].code;
      code.push_back(of_type(simple(Kind::constant, 8), dtype));
      code.push_back(load(9, DType::f32, at(e.h, {2, 1})));
      code.back().access.index_value = index;
    });
  };
  for (DType dtype : {DType::i32, DType::i64, DType::u8}) CHECK(gathered(8, dtype) == "sound");
  CHECK(gathered(7, DType::i32) == "P4: v9 of squares uses index v7, which is not defined there");
  CHECK(gathered(8, DType::f32) == "P4: v9 of squares uses index v8 of type f32");
  CHECK(first_problem([](Example& e) {
          std::vector<Instruction>& code = e.map(1).blocks[1].code;
          code.insert(code.begin(), of_type(simple(Kind::constant, 8), DType::i32));
          code.back().access.index_value = 8;
        }) == "P8: a store of squares may meet another one, but the kernel is not serial");
}

TEST_CASE("the verifier of programs proves stores and lifetimes in corners, too", "[ir]") {
  // Axes of no elements touch nothing: neither outside of a buffer nor twice.
  CHECK(first_problem([](Example& e) {
          e.contract(0).epilogue.push_back(store(3, at(e.h, {9, 0, 0}, 99)));
          e.contract(0).axes[0].extent = n(0);
          e.contract(0).a.code = {simple(Kind::constant, 1)};
        }) == "sound");
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue.push_back(store(3, at(e.h, {2, -1, 0}, 1))); }) == "P8: two stores of forward to h meet");
  // Backwards, and with the axes in another order, each element still comes once.
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].access = at(e.h, {-2, -1, 0}, 7); }) == "sound");
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].access = at(e.h, {1, 4, 0}); }) == "sound");
  CHECK(first_problem([](Example& e) { e.contract(0).epilogue[1].access = at(e.h, {2, 2, 0}, -1); }).substr(0, 2) == "P6");
  CHECK(first_problem([](Example& e) {
          e.map(1).serial = true;
          e.p.kernels[1].parallel = false;
          e.map(1).blocks[1].code[0].kind = Kind::store_add;
        }) == "P10: partial is read by squares before it is stored");
  // Three temporaries in a row: one in the middle meets the one below it, or the one above.
  auto with_third = [](int64_t offset, int64_t size) {
    return first_problem([&](Example& e) {
      e.p.arena_bytes = 256;
      e.p[e.partial].offset = 128;
      e.add("third", BufferKind::temporary, DType::f32, {n(size)}, offset);
      e.map(1).blocks[1].code.push_back(store(2, at(BufferId{7}, {0, 0})));
      e.map(1).axes[0].extent = n(1);
    });
  };
  CHECK(with_third(64, 16) == "sound");
  CHECK(with_third(64, 17).find("P11: partial (16 bytes at 128, kernels 1 to 2) and third (68 bytes at 64, kernels 1 to 1) overlap") == 0);
  CHECK(with_third(0, 1).find("P11: h (32 bytes at 0, kernels 0 to 3) and third (4 bytes at 0, kernels 1 to 1) overlap") == 0);
  CHECK(first_problem([](Example& e) {
          e.p.results.push_back("second");
          e.add("second", BufferKind::results, DType::f32, {}, 0);
          MapKernel map;
          map.axes = {{"i", n(1)}};
          map.outer = 1;
          map.blocks = {{false, {simple(Kind::constant, 0), store(0, at(BufferId{7}, {0}))}}};
          e.p.kernels.push_back({"second", "", {}, map, true, false, 0, 0, {}});
        }) == "sound");  // after the barrier before `update`: `total`, which writes the same slot, is over
}

TEST_CASE("the interpreter of programs refuses values that are missing or of another type", "[ir]") {
  auto message = [](const std::function<void(Bindings&)>& change) {
    Bindings bindings;
    bindings.rows = 1;
    bindings.inputs["x"] = {DType::u8, {1, 3}, {1, 2, 3}};
    bindings.scalars["using.lr"] = 0.5;
    bindings.persistents["w"] = make_tensor(DType::f32, {3, 2});
    bindings.persistents["moment"] = make_tensor(DType::f32, {3, 2});
    change(bindings);
    try {
      interpret_program(Example().p, bindings);
    } catch (const UserError& e) {
      return e.diagnostic().message;
    }
    return std::string();
  };
  CHECK(message([](Bindings&) {}).empty());
  CHECK(message([](Bindings& b) { b.scalars.clear(); }) == "no value is given for scalar `using.lr`");
  CHECK(message([](Bindings& b) { b.inputs.clear(); }) == "no value is given for input `x`");
  CHECK(message([](Bindings& b) { b.persistents.erase("moment"); }) == "no value is given for parameter `moment`");
  CHECK(message([](Bindings& b) { b.inputs["x"].dtype = DType::f32; }) == "input `x` is u8[B, 3], but the value given is f32[1, 3]");
  CHECK(message([](Bindings& b) { b.inputs["x"].shape = {3, 1}; }) == "input `x` is u8[B, 3], but the value given is u8[3, 1]");
  CHECK(message([](Bindings& b) { b.persistents["w"].dtype = DType::f64; }) == "parameter `w` is f32[3, 2], but the value given is f64[3, 2]");
  CHECK(message([](Bindings& b) { b.persistents["w"].shape = {2, 3}; }) == "parameter `w` is f32[3, 2], but the value given is f32[2, 3]");
}

TEST_CASE("the interpreter of programs reduces nothing to what the operation has for it, and keeps a NaN", "[ir]") {
  auto reduced = [](Op op, DType dtype, std::vector<double> values) {
    Program p;
    p.outputs = {"y"};
    auto add = [&](std::string name, BufferKind kind, Shape shape) {
      Buffer b;
      b.name = std::move(name);
      b.kind = kind;
      b.dtype = dtype;
      b.shape = std::move(shape);
      b.bytes = buffer_bytes(b, p.rows);
      p.buffers.push_back(b);
      return BufferId{uint32_t(p.buffers.size() - 1)};
    };
    int64_t size = int64_t(values.size());
    BufferId x = add("x", BufferKind::persistent, {n(size)}), y = add("y", BufferKind::output, {});
    p.persistent_bytes = 64;
    p.persistents = {{{"x", {dtype, {n(size)}}, PersistentKind::parameter, {}}, x}};
    MapKernel map;
    map.axes = {{"i", n(size)}};
    map.serial = true;
    map.blocks = {{true, {load(0, dtype, at(x, {1})), reduction(1, op, {0}, dtype)}}, {false, {of_type(store(1, at(y, {0})), dtype)}}};
    p.kernels.push_back({"all", "", {}, map, false, true, 0, 0, {}});
    std::vector<std::string> problems = verify_program(p);
    if (!problems.empty()) UNSCOPED_INFO(problems[0]);
    REQUIRE(problems.empty());
    Bindings bindings;
    bindings.persistents["x"] = {dtype, {size}, std::move(values)};
    return interpret_program(p, bindings).outputs.at("y").values.at(0);
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (DType dtype : {DType::f32, DType::f64}) {
    CHECK(reduced(Op::reduce_max, dtype, {}) == -infinity);
    CHECK(reduced(Op::reduce_min, dtype, {}) == infinity);
    CHECK(reduced(Op::reduce_sum, dtype, {}) == 0);
    for (Op op : {Op::reduce_max, Op::reduce_min, Op::reduce_sum}) {
      CHECK(std::isnan(reduced(op, dtype, {1, NAN, 3, -3})));
      CHECK(std::isnan(reduced(op, dtype, {NAN, 3, -3})));
    }
  }
  CHECK(reduced(Op::reduce_max, DType::i32, {}) == -2147483648.0);
  CHECK(reduced(Op::reduce_min, DType::i32, {}) == 2147483647.0);
  CHECK(reduced(Op::reduce_max, DType::i64, {}) == -0x1p63);
  CHECK(reduced(Op::reduce_min, DType::i64, {}) <= 0x1p63);
  CHECK(reduced(Op::reduce_min, DType::i64, {}) >= 0x1p62);
  CHECK(reduced(Op::reduce_min, DType::i32, {5, -2, 7}) == -2);
  CHECK(reduced(Op::reduce_max, DType::f32, {5, -2, 7}) == 7);
  CHECK(reduced(Op::reduce_sum, DType::i32, {2147483647, 1}) == -2147483648.0);
}
