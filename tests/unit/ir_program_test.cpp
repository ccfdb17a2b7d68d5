// Programs: layouts, text, and the verifier on a small sound program that is broken in one place at a time.
#include "base/check.h"
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
