// Guards: their text, and what the verifier asks of each, in a contraction's operands and in the inner loops of a map kernel, whose blocks stand here as well, on small
// programs that are changed in one place at a time.
#include <functional>
#include <string>
#include <vector>

#include "ir/program.h"
#include "ir/program_interpreter.h"
#include "tests/program_text.h"
#include "tests/text_changes.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using nnc::test::program_of;
using nnc::test::TextChanges;
using nnc::test::with_changes;

namespace {

// Three taps over a line of five with two channels, for four images; tile rows are the images.
const std::string sound = R"(program @guards {
  target any portable, 4 rows planned
  arena 448 bytes, persistent 384 bytes

  persistent "x" : f32[4, 5, 2] at 0, 160 bytes, frozen
  persistent "w" : f32[3, 2, 5] at 192, 120 bytes, frozen
  persistent "where" : f32[4] at 320, 16 bytes, frozen
  temporary "out" : f32[4, 5, 5] at 0, 400 bytes

  kernel taps  # parallel
    contract y < 5, r < 4; o < 5; d < 3, c < 2: tile 4 x 2 vectors, blocks 8 x 8 x 6
      a[y, r, d, c] = v0:
        where 0 <= [y + d + -1] < 5  # %7
        v0 = load x[2*y + 10*r + 2*d + c + -2] : f32
      b[d, c, o] = v1:
        v1 = load w[o + 10*d + 5*c] : f32
      for each y, r, o:
        v2 = sum over k of a * b : f32
        out[5*y + 25*r + o] <- v2 : f32
}
)";

const std::string guard = "where 0 <= [y + d + -1] < 5  # %7\n", load_a = "        v0 = load x[2*y + 10*r + 2*d + c + -2] : f32\n",
                  load_b = "        v1 = load w[o + 10*d + 5*c] : f32\n";

std::string changed(const TextChanges& changes) { return with_changes(sound, changes); }

std::string problem_of(const Program& program) {
  const std::vector<std::string> problems = verify_program(program);
  return problems.empty() ? std::string("sound") : problems[0];
}
std::string first_problem(const TextChanges& changes) { return problem_of(program_of(changed(changes), false)); }
/// With another line in the place of the guard.
std::string with_guards(const std::string& lines) { return first_problem({{guard, lines + "\n"}}); }
std::string with_guard_b(const std::string& line, const std::string& packed = "") {
  return first_problem({{"b[d, c, o] = v1:\n", "b[d, c, o] = v1" + packed + ":\n        " + line + "\n"}});
}
/// After a change of the guard itself.
std::string with_changed_guard(const std::function<void(Instruction&)>& change) {
  Program program = program_of(sound);
  change(std::get<ContractKernel>(program.kernels[0].body).a.code[0]);
  return problem_of(program);
}
std::string faults(const std::string& line) {
  try {
    program_of(changed({{guard, line + "\n"}}), false);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("a guard is printed as it is read", "[ir][guards]") {
  CHECK(first_problem({}) == "sound");
  CHECK(print_program(program_of(sound), nullptr) == sound);
  // The order of terms, blanks and a factor of one are not kept, several guards and their order are.
  const std::string several = changed({{guard, "where  0<=[-1 + 1*d + y]<5 # %7\n        where 0 <= [-2*d + 3] < 4\n        where 0 <= [0] < 0\n"}});
  CHECK(print_program(program_of(several, false), nullptr) == changed({{guard, guard + "        where 0 <= [-2*d + 3] < 4\n        where 0 <= [0] < 0\n"}}));
  CHECK(faults("where 0 <= [d] < 2147483647") == "none");
}

TEST_CASE("a buffer may be called `where`", "[ir][guards]") {
  const std::string stored = changed({{"w[o + 10*d + 5*c]", "where[0]"}, {"\"where\" : f32[4] at 320, 16 bytes, frozen", "\"where\" : f32[4] at 320, 16 bytes, state"},
                                      {"        out[5*y", "        where[0] <- v2 : f32\n        where[1] += v2 : f32\n        out[5*y"}});
  const Program program = program_of(stored, false);
  CHECK(print_program(program, nullptr) == stored);
  const auto& kernel = std::get<ContractKernel>(program.kernels[0].body);
  CHECK(kernel.a.code[0].kind == Instruction::Kind::guard);
  CHECK(kernel.epilogue[1].kind == Instruction::Kind::store);
  CHECK(kernel.epilogue[2].kind == Instruction::Kind::store_add);
}

TEST_CASE("faults in the text of a guard have their places", "[ir][guards]") {
  const struct {
    const char *line, *message, *place;
  } cases[] = {
      {"where 1 <= [d] < 5", "expected `0`", ":13:15"},
      {"where 0 < [d] < 5", "expected `<=`", ":13:17"},
      {"where 0 <= d < 5", "expected `[`", ":13:20"},
      {"where 0 <= [d < 5", "", ":13:"},
      {"where 0 <= [d] <= 5", "", ":13:25"},
      {"where 0 <= [d] 5", "expected `<`", ":13:24"},
      {"where 0 <= [d] < B", "a limit", ":13:26"},
      {"where 0 <= [d] < -1", "a limit", ":13:26"},
      {"where 0 <= [d] < 2147483648", "a limit is at most 2147483647", ":13:26"},
      {"where 0 <= [z] < 5", "kernel taps has no axis z", ":13:21"},
      {"where 0 <= [9223372036854775807*d + d] < 5", "the stride does not fit 64 bits", ":13:"},
      {"where 0 <= [d] < 5 : f32", "expected the end of the line", ":13:28"},
      {"where <= [d] < 5", "expected a buffer", ":13:15"},
      {"v5 = where 0 <= [d] < 5", "", ":13:"},
  };
  for (const auto& c : cases) {
    const std::string said = faults(c.line);
    INFO(c.line << "\n" << said);
    CHECK_THAT(said, contains(c.message));
    CHECK_THAT(said, contains(c.place));
  }
}

TEST_CASE("a guard stands in an operand of a contraction or in an inner loop", "[ir][guards]") {
  CHECK(first_problem({{"v2 = sum", "where 0 <= [y] < 4\n        v2 = sum"}}) == "P5: a guard of taps stands outside of a contraction's operands and of inner blocks");
  CHECK(first_problem({{"  kernel taps", "  kernel loop  # parallel\n    for i < 3:\n      where 0 <= [i] < 2\n      v0 = constant 0 : f32\n      out[i] <- v0 : f32\n\n  kernel taps"}}) ==
        "P5: a guard of loop stands outside of a contraction's operands and of inner blocks");
}

namespace {

// Three taps by three over a line of five with four channels; pixels by two.
const std::string blocks = R"(program @blocks {
  target any portable, 4 rows planned
  arena 1280 bytes, persistent 448 bytes

  persistent "x" : f32[4, 5, 4] at 0, 320 bytes, frozen
  persistent "w" : f32[3, 4] at 320, 48 bytes, frozen
  persistent "f" : f32[4] at 384, 16 bytes, frozen
  temporary "out" : f32[4, 5, 4] at 0, 320 bytes
  temporary "kept" : f32[4, 5, 3, 4] at 320, 960 bytes

  kernel taps  # parallel
    for b < B, y < 5 by 2, c < 4  (vector along c):
      for k < 3:
        where 0 <= [y + k + -1] < 5  # %7
        v0 = load x[20*b + 4*y + c + 4*k + -4] : f32
        v1 = load w[c + 4*k] : f32
        v2 = mul(v0, v1) : f32
        v3 = reduce_sum(v2) over the inner loop : f32
      out[20*b + 4*y + c] <- v3 : f32
}
)";

std::string blocks_problem(const TextChanges& changes) { return problem_of(program_of(with_changes(blocks, changes), false)); }

}  // namespace

TEST_CASE("blocks and guards of a map kernel are printed as they are read", "[ir][guards]") {
  CHECK(print_program(program_of(blocks, false), nullptr) == blocks);
  CHECK(std::get<MapKernel>(program_of(blocks, false).kernels[0].body).axes[1].together == 2);
}

TEST_CASE("what a guard leaves out of an inner loop is not interpreted", "[ir][guards]") {
  Program program = program_of(blocks, false);
  Bindings bindings;
  bindings.rows = 1;
  Tensor x = make_tensor(DType::f32, {4, 5, 4}), w = make_tensor(DType::f32, {3, 4});
  for (size_t i = 0; i < x.values.size(); ++i) x.set(i, Number(double(i)));
  for (size_t i = 0; i < w.values.size(); ++i) w.set(i, 1);
  bindings.persistents = {{"x", x}, {"w", w}, {"f", make_tensor(DType::f32, {4})}};
  program.buffers[3].kind = BufferKind::output;
  program.buffers[3].order.clear();
  program.buffers[3].shape.set(0, Extent{1, true});
  program.buffers[3].offset = 0;
  program.outputs = {"out"};
  const Tensor out = interpret_program(program, bindings).outputs.at("out");
  CHECK(double(out.at(0)) == 4);        // of pixels 0 and 1
  CHECK(double(out.at(4)) == 0 + 4 + 8);
  CHECK(double(out.at(16)) == 12 + 16);
}

TEST_CASE("indices are taken together along outer axes before the lanes, of sums", "[ir][guards]") {
  CHECK(blocks_problem({}) == "sound");
  CHECK(blocks_problem({{"by 2", "by 0"}}) == "P3: taps takes 0 indices of axis y together");
  CHECK(blocks_problem({{"by 2", ""}}) == "sound");
  CHECK(blocks_problem({{"b < B,", "b < B by 2,"}}) == "P3: taps takes 2 indices of axis b together");
  CHECK(blocks_problem({{"c < 4 ", "c < 4 by 2 "}}) == "P3: taps takes 2 indices of axis c together");
  CHECK(blocks_problem({{"k < 3", "k < 3 by 3"}}) == "P3: taps takes 3 indices of axis k together");
  CHECK(blocks_problem({{"  (vector along c)", ""}, {"        where 0 <= [y + k + -1] < 5  # %7\n", ""}, {"k < 3", "k < 1"}, {"c + 4*k + -4", "c"}}) == "P3: taps takes 2 indices of axis y together");
  CHECK(blocks_problem({{"y < 5 by 2", "y < 5 by 33, z < 1 by 2"}}) == "P3: taps takes 66 points together, more than 64");
  CHECK(blocks_problem({{"b < B, y", "b < 4, y"}, {"k < 3", "k < B"}, {"        where 0 <= [y + k + -1] < 5  # %7\n", ""}, {"c + 4*k + -4", "c"}, {"w[c + 4*k", "w[c"}}) ==
        "P3: taps takes points together over inner rows");
  CHECK(blocks_problem({{"        where 0 <= [y + k + -1] < 5  # %7\n", ""}, {"c + 4*k + -4", "c"}, {"v3 = reduce_sum(v2) over the inner loop : f32",
                        "v3 = reduce_sum(v2) over the inner loop : f32\n        v4 = argmax(v2) over the inner loop : i32"}}) == "P3: taps takes points of an argmax together");
  CHECK(first_problem({{"o < 5;", "o < 5 by 2;"}}) == "P3: taps takes 2 indices of axis o together");
}

TEST_CASE("a guard of an inner loop is about one inner axis, and bounds it", "[ir][guards]") {
  auto with = [](const std::string& line) { return blocks_problem({{"where 0 <= [y + k + -1] < 5  # %7", "where 0 <= [y + k + -1] < 5\n        " + line}}); };
  CHECK(with("where 0 <= [-2*y + 3*k + 1] < 7") == "sound");
  CHECK(with("where 0 <= [k] < 2") == "sound");
  CHECK(with("where 0 <= [y] < 2") == "P5: a guard of taps is about 0 inner axes, not one");
  CHECK(with("where 0 <= [k + c] < 2") == "P5: a guard of taps depends on its vector axis");
  CHECK(with("where 0 <= [k + y + b] < 2") == "P5: a guard of taps is about an axis of which indices are taken together, and another one");
  CHECK(with("where 0 <= [k + b] < 2") == "sound");
  CHECK(with("kept[60*b + 12*y + 4*k + c] <- v0 : f32").find("P4") == 0);
  CHECK(blocks_problem({{"b < B, y < 5 by 2", "b < 4, y < 5"}, {"k < 3", "k < B"}, {"[y + k + -1] < 5", "[k] < 3"}, {"c + 4*k + -4", "c"}, {"w[c + 4*k]", "w[c]"}}) ==
        "P5: taps has guards over inner rows");
  CHECK(blocks_problem({{"k < 3", "k < 3, l < 2"}, {"[y + k + -1]", "[y + k + l + -1]"}, {"c + 4*k + -4", "c"}}) == "P5: a guard of taps is about 2 inner axes, not one");
  CHECK(blocks_problem({{"v2 = mul", "kept[60*b + 12*y + 4*k + c] <- v0 : f32\n        v2 = mul"}}) == "P5: taps stores in a block with guards");
  CHECK(blocks_problem({{"by 2", ""}, {"v3 = reduce_sum(v2) over the inner loop : f32", "v3 = reduce_sum(v2) over the inner loop : f32\n        v4 = argmax(v2) over the inner loop : i32"}}) ==
        "P5: taps has an argmax in a block with guards");
  CHECK(blocks_problem({{"by 2", ""}, {"  (vector along c)", ""}}) == "P5: taps has guards, but lanes are not its last outer axis");
  // What it leaves out is not read.
  CHECK(blocks_problem({{"[y + k + -1] < 5", "[y + k + -1] < 6"}}) == "P6: v0 of taps touches elements 0 to 83 of x, which has 80");
}

TEST_CASE("a guard is about one axis of k, and none of a tile's", "[ir][guards]") {
  CHECK(with_guards(guard + "        where 0 <= [d + -1] < 1") == "sound");
  CHECK(with_guards(guard + "        where 0 <= [-3*y + 2*c + 5] < 9") == "sound");
  CHECK(with_guards(guard + "        where 0 <= [y + d + c + -1] < 5") == "P5: a guard of taps is about 2 axes of k, not one");
  CHECK(with_guards(guard + "        where 0 <= [y + -1] < 5") == "P5: a guard of taps is about 0 axes of k, not one");
  CHECK(with_guards(guard + "        where 0 <= [3] < 5") == "P5: a guard of taps is about 0 axes of k, not one");
  CHECK(with_guards(guard + "        where 0 <= [y + d + r] < 5") == "P5: a guard of taps depends on axis r, that of a tile's rows");
  // Over an axis that an operand does not run over, nothing goes.
  CHECK(with_guards(guard + "        where 0 <= [d + o] < 5") == "P6: a guard of taps depends on axis o, over which it does not run");
  CHECK(with_guard_b("where 0 <= [d + y] < 5") == "P6: a guard of taps depends on axis y, over which it does not run");
  CHECK(with_guard_b("where 0 <= [d + r] < 5") == "P6: a guard of taps depends on axis r, over which it does not run");
  CHECK(with_guard_b("where 0 <= [d + o] < 5") == "P5: a guard of taps depends on axis o, that of a tile's columns");
  CHECK(with_guard_b("where 0 <= [d] < 2") == "sound");
  CHECK(with_guard_b("where 0 <= [d] < 2", ", packed") == "sound");
  // The rows of a batch, as the first axis of k.
  CHECK(first_problem({{"d < 3, c", "d < B, c"}, {"2*y + 10*r + 2*d + c + -2", "2*y + 10*r + c"}, {"10*d + 5*c", "0*d + 5*c"}}) ==
        "P5: a guard of taps is about rows");
}

TEST_CASE("what a guard stands before is packed, or a lone load that tiles read in place", "[ir][guards]") {
  const std::string neither = "P5: an operand of taps has guards, but is neither packed nor a lone load in place";
  const std::string scaled = load_a + "        v3 = mul(v0, v0) : f32\n";
  // Everything that is packed is read, so its places must be in memory everywhere.
  const std::pair<std::string, std::string> narrow_m{"y < 5", "y < 3"}, moved{"2*d + c + -2", "2*d + c"};
  CHECK(first_problem({{"= v0:", "= v3:"}, {load_a, scaled}}) == neither);
  CHECK(first_problem({narrow_m, {"= v0:", "= v3, packed:"}, {load_a, scaled}, moved}) == "sound");
  CHECK(first_problem({narrow_m, {"= v0:", "= v3:"}, {load_a, scaled}, moved}) == neither);
  // Columns of b that are not neighbours.
  CHECK(first_problem({{"= v1:\n", "= v1:\n        where 0 <= [d] < 2\n"}, {"w[o + 10*d + 5*c]", "w[6*o + 2*d + c]"}}) == neither);
  CHECK(first_problem({{"= v1:\n", "= v1, packed:\n        where 0 <= [d] < 2\n"}, {"w[o + 10*d + 5*c]", "w[6*o + 2*d + c]"}}) == "sound");
  CHECK(first_problem({{"= v1:\n", "= v1:\n        where 0 <= [d] < 2\n"}, {"w[o + 10*d + 5*c]", "w[6*o + 2*d + c]"}, {"o < 5", "o < 1"}}) == "sound");
  // An index that is data.
  CHECK(first_problem({{load_a, "        v3 = constant 0 : i32\n        v0 = load x[c + v3] : f32\n"}}) == neither);
  // Images that stand where a list of rows says: as a tile's rows they have no stride, as another axis of m they do.
  const std::pair<std::string, std::string> field{"  temporary", "  field \"f\" : f32[B, 5, 2] field 0\n  temporary"};
  CHECK(first_problem({field, {"r < 4;", "r < B;"}, {"x[2*y + 10*r", "f[row(r), 2*y"}}) == neither);
  CHECK(first_problem({field, {"y < 5, r < 4;", "r < B, q < 5;"}, {"a[y, r,", "a[r, q,"}, {"[y + d + -1]", "[d + -1]"}, {"x[2*y + 10*r +", "f[row(r),"}, {"each y, r", "each r, q"},
                       {"5*y + 25*r", "5*q + 25*r"}}) == "sound");
}

TEST_CASE("a guard tests a place that is no memory, against a limit", "[ir][guards]") {
  CHECK(with_changed_guard([](Instruction&) {}) == "sound");
  CHECK(with_changed_guard([](Instruction& i) { i.extent.size = 0; }) == "sound");
  CHECK(with_changed_guard([](Instruction& i) { i.extent.size = -1; }) == "P6: a guard of taps has the limit -1");
  CHECK(with_changed_guard([](Instruction& i) { i.extent.rows = true; }) == "P6: a guard of taps has the limit 5*B");
  for (const auto& change : std::vector<std::function<void(Instruction&)>>{[](Instruction& i) { i.access.buffer = BufferId{0}; }, [](Instruction& i) { i.access.index_value = 0; },
                                                                           [](Instruction& i) { i.access.row_axis = 1; }})
    CHECK(with_changed_guard(change) == "P6: a guard of taps tests a place in memory");
  CHECK(with_changed_guard([](Instruction& i) { i.access.strides.pop_back(); }) == "P6: a guard of taps has 4 strides for 5 axes");
  CHECK_THAT(with_changed_guard([](Instruction& i) { i.access.offset = INT64_MAX; }), contains("P6: a guard of taps tests further than any buffer"));
  CHECK_THAT(with_changed_guard([](Instruction& i) { i.access.strides[3] = INT64_MIN; }), contains("P6: a guard of taps tests further than any buffer"));
}

TEST_CASE("a load in place may rely on its guards, and on no more than they say", "[ir][guards]") {
  const std::string beyond = "P6: v0 of taps touches elements 0 to 41 of x, which has 40";
  CHECK(first_problem({{guard, "\n"}}) == "P6: v0 of taps touches elements -2 to 41 of x, which has 40");
  CHECK(with_guards("where 0 <= [y + d + -1] < 6") == beyond);
  CHECK(with_guards("where 0 <= [y + d + -1] < 4") == "sound");
  CHECK(with_guards("where 0 <= [y + d] < 5") == "P6: v0 of taps touches elements -2 to 37 of x, which has 40");
  CHECK(with_guards("where 0 <= [y + d + -2] < 5") == "P6: v0 of taps touches elements 2 to 41 of x, which has 40");
  // About another axis, or other factors of the same: a part of the way.
  CHECK(with_guards("where 0 <= [y + c + -1] < 5") != "sound");
  CHECK(with_guards("where 0 <= [2*y + 2*d + -2] < 9") == "sound");
  CHECK(with_guards("where 0 <= [2*y + 2*d + -2] < 11") == beyond);
  CHECK(with_guards("where 0 <= [-1*y + -1*d + 5] < 5") == "sound");
  CHECK(with_guards("where 0 <= [-1*y + -1*d + 6] < 6") == beyond);
  // Taps that are turned.
  const std::pair<std::string, std::string> turned{"+ 2*d + c + -2]", "+ -2*d + c + 2]"};
  CHECK(first_problem({{guard, "where 0 <= [y + -1*d + 1] < 5\n"}, turned}) == "sound");
  CHECK(first_problem({{guard, "where 0 <= [y + -1*d + 1] < 6\n"}, turned}) == beyond);
  // Nothing is read where a guard holds nowhere.
  CHECK(with_guards("where 0 <= [d] < 0") == "sound");
  CHECK(with_guards("where 0 <= [d + 3] < 3") == "sound");
  CHECK(with_guards("where 0 <= [d + -3] < 3") == "sound");
  CHECK(with_guards("where 0 <= [d + 2] < 3") != "sound");
  CHECK(with_guards("where 0 <= [d + -2] < 3") != "sound");
  // A limit beyond what is tested.
  CHECK(first_problem({{guard, "where 0 <= [y + d] < 100\n"}, {"y < 5", "y < 3"}, {"2*d + c + -2", "2*d + c"}}) == "sound");
  // An axis that moves the place by more than its part in the guard.
  CHECK(first_problem({{guard, "where 0 <= [y + c + -1] < 5\n"}, {load_a, "        v0 = load x[2*y + 10*r + 3*c + -2] : f32\n"}}) == "sound");
  CHECK(first_problem({{guard, "where 0 <= [y + c + -1] < 6\n"}, {load_a, "        v0 = load x[2*y + 10*r + 3*c + 0] : f32\n"}}) ==
        "P6: v0 of taps touches elements 2 to 41 of x, which has 40");
  // What is about another axis takes nothing and adds nothing.
  CHECK(with_guards(guard + "        where 0 <= [7*c + -5*y + 4] < 50") == "sound");
  CHECK(with_guards("where 0 <= [7*c + -5*y + 4] < 50\n        " + guard) == "sound");
  // Of two about one axis, each may be the one that matters.
  const std::string further = "where 0 <= [y + d] < 7";
  CHECK(with_guards(guard + "        " + further) == "sound");
  CHECK(with_guards(further + "\n        " + guard) == "sound");
  CHECK(with_guards(further + "\n        " + further) != "sound");
  // What is packed is read everywhere.
  CHECK(first_problem({{"= v0:", "= v0, packed:"}}) == "P6: v0 of taps touches elements -2 to 41 of x, which has 40");
  CHECK(first_problem({{"= v1:\n", "= v1:\n        where 0 <= [d + -1] < 2\n"}, {"w[o + 10*d + 5*c]", "w[o + 10*d + 5*c + -10]"}}) == "sound");
  CHECK(first_problem({{"= v1:\n", "= v1, packed:\n        where 0 <= [d + -1] < 2\n"}, {"w[o + 10*d + 5*c]", "w[o + 10*d + 5*c + -10]"}}) ==
        "P6: v1 of taps touches elements -10 to 19 of w, which has 30");
  // The guards of an operand are its own.
  CHECK(first_problem({{"= v1:\n", "= v1:\n        where 0 <= [d] < 2\n"}, {"w[o + 10*d + 5*c]", "w[o + 10*d + 5*c + 10]"}}) == "sound");
  CHECK(first_problem({{guard, guard + "        where 0 <= [d] < 2\n"}, {"w[o + 10*d + 5*c]", "w[o + 10*d + 5*c + 10]"}}) ==
        "P6: v1 of taps touches elements 10 to 39 of w, which has 30");
}
