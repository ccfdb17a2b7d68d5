// Programs: layouts, text, and the verifier on a small sound program that is broken in one place at a time.
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/program.h"
#include "ir/program_interpreter.h"
#include "tests/program_text.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using nnc::test::program_of;
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

std::string sound_text() {
  std::ifstream in(NNC_SOURCE_DIR "/tests/lit/ir/inputs/sound.nnir");
  return {std::istreambuf_iterator<char>(in), {}};
}

// x: u8 field [B, 3]; h = cast(x) * w [3, 2]; loss = sum over h^2; w <- w - x^T (2 h) * lr. Four rows are planned.
struct Example {
  Program p = program_of(sound_text());
  BufferId x{0}, w{1}, h{2}, lr{3}, loss{4}, partial{5}, moment{6};

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
  /// One more kernel, after the others: element 0 of a buffer becomes 0.
  void add_store(const std::string& name, bool parallel, BufferId buffer, DType dtype = DType::f32) {
    Program one = program_of(fmt::format(R"(program @one {{
  target any portable, 1 row planned
  arena 0 bytes, persistent 0 bytes
  output "to" : {2}[] slot 0
  kernel {0}  # {1}
    for i < 1:
      v0 = constant 0 : {2}
      to[0] <- v0 : {2}
}}
)", name, parallel ? "parallel" : "one thread, after a barrier", dtype_name(dtype)));
    std::get<MapKernel>(one.kernels[0].body).blocks[0].code[1].access.buffer = buffer;
    p.kernels.push_back(std::move(one.kernels[0]));
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
                           "contract b < B; n < 2; k < 3: tile 8 x 2 vectors", "a[b, k] = v1, packed:", "v0 = load x[row(b), k] : u8",
                           "v1 = cast(v0) : f32", "v2 = load w[n + 2*k] : f32", "h[2*b + n] <- v3 : f32", "for n < 2  (vector along n):",
                           "v2 = reduce_sum(v1) over the inner loop : f32", "w[2*in + out] <- v8 : f32", "loss[0] <- v2 : f64"})
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
    e.p[e.loss].offset = 8;
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
    e.contract(3).epilogue[4].access.strides = {0, 1, 0};
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
    e.add_store("after", false, BufferId{7});
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
  for (size_t i : {4, 6}) e.contract(3).epilogue[i].access.strides = {1, 3, 0};
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
  Program p = program_of(R"(program @main {
  target any portable, 1 row planned
  arena 0 bytes, persistent 64 bytes

  persistent "table" : f32[2, 4] at 0, 32 bytes
  output "first" : i32[2] slot 0
  output "added" : f32[4] slot 1
  output "largest" : f32[2] slot 2

  kernel fill  # one thread, after a barrier
    for i < 4:
      v0 = constant 0 : f32
      added[i] <- v0 : f32

  kernel rows  # one thread, after a barrier
    for r < 2:
      for c < 4:
        v0 = load table[4*r + c] : f32
        v1 = argmax(v0) over the inner loop : i32
      v2 = load table[4*r + v1] : f32
      first[r] <- v1 : i32
      largest[r] <- v2 : f32
      added[v1] += v2 : f32
}
)");
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
  CHECK(first_problem([](Example& e) { e.p[e.lr].offset = -8; }) == "P1: using.lr is slot -1 of 1");
  CHECK(first_problem([](Example& e) { e.p[e.loss].offset = 2; }) == "P1: loss is no f64 scalar of its block");
  CHECK(first_problem([](Example& e) { e.p[e.loss].dtype = DType::i64; }) == "P1: loss is no f64 scalar of its block");
  CHECK(first_problem([](Example& e) {
          e.p[e.loss].shape = {n(2)};
          e.p[e.loss].bytes = 16;
        }) == "P1: loss is no f64 scalar of its block");
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
  CHECK(first_problem([](Example& e) { e.contract(0).batch = -1; }) == "P3: forward has 3 axes for -1 batch axes, 1 of m, n and k");
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
  auto draw = [](std::vector<int64_t> strides, int row_axis = -1, int64_t offset = 0) {
    Instruction i = simple(Kind::random, 9);
    i.site = "d#0";
    i.access = at(BufferId{}, std::move(strides), offset, row_axis);
    return i;
  };
  CHECK(in_block(draw({0, 1}, 0)) == "sound");
  CHECK(in_block(draw({2, 1})) == "sound");
  CHECK(in_block(of_type(draw({0, 1}, 0), DType::f64)) == "P5: v9 of squares is a draw of type f64");
  CHECK(in_block(draw({0, 1, 0}, 0)) == "P6: v9 of squares has 3 strides for 2 axes");
  CHECK(in_block(draw({0, 1}, 2)) == "P6: v9 of squares draws for rows, over which it does not run");
  CHECK(in_block(draw({0, 0}, 1)) == "P6: v9 of squares draws for rows along an axis of 2");
  CHECK(in_block(draw({1, 1}, 0)) == "P6: v9 of squares has a stride along its rows");
  CHECK(in_block(draw({0, -1}, 0)) == "P6: v9 of squares draws elements -1 to 0 of 2^34");
  CHECK(in_block(draw({0, 1}, 0, (int64_t(1) << 34) - 2)) == "sound");
  CHECK(in_block(draw({0, 1}, 0, (int64_t(1) << 34) - 1)) == "P6: v9 of squares draws elements 17179869183 to 17179869184 of 2^34");
  CHECK(in_block(draw({0, int64_t(1) << 60}, 0)) == "P6: v9 of squares draws further than element 2^34");
  CHECK(in_epilogue(draw({0, 0, 1}, 0)) == "P6: v9 of forward depends on axis k, over which it does not run");
  Instruction nowhere = draw({0, 1}, 0), indexed = nowhere;
  nowhere.site.clear();
  indexed.access.index_value = 0;
  CHECK(in_block(nowhere) == "P6: v9 of squares draws at no site");
  CHECK(in_block(indexed) == "P6: v9 of squares draws at a place that no shape has");
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
  CHECK(in_epilogue(reduction(9, Op::reduce_sum, {3})) == "sound");
  CHECK(in_epilogue(reduction(9, Op::reduce_max, {3})) == "P5: v9 of forward is no f32 sum over the rows of an epilogue");
  CHECK(in_epilogue(of_type(simple(Kind::accumulator, 9), DType::f64)) == "P5: v9 of forward is no f32 accumulator of an epilogue");
  CHECK(in_epilogue(of_type(simple(Kind::extent, 9), scalar_type)) == "sound");
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
  // Axes of no elements touch nothing: neither outside of a buffer nor twice. So h is not stored either.
  CHECK(first_problem([](Example& e) {
          e.contract(0).epilogue.push_back(store(3, at(e.h, {9, 0, 0}, 99)));
          e.contract(0).axes[0].extent = n(0);
          e.contract(0).a.code = {simple(Kind::constant, 1)};
        }) == "P20: squares reads elements of h that nothing has stored");
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
  CHECK(with_third(64, 16) == "P20: total reads elements of partial that nothing has stored");  // with one index fewer
  CHECK(with_third(64, 17).find("P11: partial (16 bytes at 128, kernels 1 to 2) and third (68 bytes at 64, kernels 1 to 1) overlap") == 0);
  CHECK(with_third(0, 1).find("P11: h (32 bytes at 0, kernels 0 to 3) and third (4 bytes at 0, kernels 1 to 1) overlap") == 0);
  CHECK(first_problem([](Example& e) {
          e.p.results.push_back("second");
          e.add("second", BufferKind::results, scalar_type, {}, 0);
          e.add_store("second", true, BufferId{7}, scalar_type);
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
    int64_t size = int64_t(values.size());
    Program p = program_of(fmt::format(R"(program @main {{
  target any portable, 1 row planned
  arena 0 bytes, persistent 64 bytes

  persistent "x" : {0}[{1}] at 0, {2} bytes
  output "y" : {0}[] slot 0

  kernel all  # one thread, after a barrier
    for i < {1}:
      v0 = load x[i] : {0}
      v1 = {3}(v0) over the inner loop : {0}
    y[0] <- v1 : {0}
}}
)", dtype_name(dtype), size, size * int64_t(byte_size(dtype)), op_name(op)));
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

TEST_CASE("a sum that shares exchange is read behind all that store a part of it", "[ir]") {
  auto stores = [](int number, int first) {
    return fmt::format("  kernel part{}  # one thread\n    for i < 2:\n      v0 = constant 1 : f32\n      partial.0[i{}] <- v0 : f32\n\n", number, first == 0 ? "" : fmt::format(" + {}", first));
  };
  const std::string reads = "  kernel reads  # one thread, after a barrier\n    for i < 4:\n      v0 = load partial.0[i] : f32\n      w[i] <- v0 : f32\n\n";
  auto faults = [](const std::string& kernels) {
    return verify_program(program_of("program @share {\n  target any portable, 4 rows planned\n  arena 0 bytes, persistent 128 bytes\n\n"
                                     "  persistent \"w\" : f32[4] at 0, 16 bytes\n  persistent \"partial.0\" : f32[4] at 64, 16 bytes, partial\n\n" + kernels + "}\n", false));
  };
  CHECK(faults(stores(0, 0) + stores(1, 2) + reads).empty());
  using Faults = std::vector<std::string>;
  CHECK(faults(reads + stores(0, 0) + stores(1, 2)) == Faults{"P9: reads reads partial.0 before part1 has stored a part of it"});
  CHECK(faults(stores(0, 0) + reads + stores(1, 2)) == Faults{"P9: reads reads partial.0 before part1 has stored a part of it"});
  CHECK(faults("  region turns 3 rounds\n\n    kernel part0  # one thread\n      for i < 2:\n        v0 = constant 1 : f32\n        partial.0[i] <- v0 : f32\n\n" + stores(1, 2) + reads) == Faults{"P15: part0 updates partial.0 in a region"});
}
