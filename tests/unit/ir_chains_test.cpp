// Chains of places by the entry that they name: their text, what the verifier asks of those who make and walk them, and what they mean to the interpreter of programs, on a
// small table that is changed in one place at a time.
#include <string>

#include "ir/chains.h"
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

// A table of 5 entries of two numbers, named by 3 places of each row: each entry that is named loses the sum of what its places give, the others do if `all` is not 0.
const std::string sound = R"(program @step {
  target any portable, 4 rows planned
  arena 320 bytes, persistent 64 bytes

  field "t" : i32[B, 3] field 0
  field "g" : f32[B, 3, 2] field 1
  scalar "all" : f64[] slot 0
  persistent "skip" : f32[5, 2] at 0, 40 bytes
  temporary "%7" : i32[54] at 0, 216 bytes

  kernel places  # one thread
    for b < B, p < 3:
      v0 = load t[row(b), p] : i32
      %7[3*b + p] links v0 of 5  # %7

  kernel sums  # one thread
    for e < 5, d < 2  (vector along d):
      v0 = load all[0] : f64
      v1 = constant 0 : f64
      v2 = not_equal(v0, v1) : bool
      skip e unless %7 links it or v2
      for b < B, p < 3:
        where %7[3*b + p] links e
        v3 = load g[row(b), d + 2*p] : f32
        v4 = cast(v3) : f64
        v5 = reduce_sum(v4) over the inner loop : f64
      v6 = cast(v5) : f32
      v7 = load skip[2*e + d] : f32
      v8 = sub(v7, v6) : f32
      v9 = constant 1 : f32
      v10 = sub(v8, v9) : f32
      skip[2*e + d] <- v10 : f32
}
)";

const std::string link_line = "      %7[3*b + p] links v0 of 5  # %7\n", linked = "        where %7[3*b + p] links e\n", skip = "      skip e unless %7 links it or v2\n";

std::string first_problem(const TextChanges& changes) {
  const std::vector<std::string> problems = verify_program(program_of(with_changes(sound, changes), false));
  return problems.empty() ? std::string("sound") : problems[0];
}

std::string faults(const TextChanges& changes) {
  try {
    program_of(with_changes(sound, changes), false);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "none";
}

Tensor run(double all, const std::vector<double>& places) {
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["t"] = {DType::i32, {2, 3}, places};
  bindings.inputs["g"] = {DType::f32, {2, 3, 2}, {1, 2, 10, 20, 100, 200, 1000, 2000, 10000, 20000, 100000, 200000}};
  bindings.persistents["skip"] = {DType::f32, {5, 2}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
  bindings.scalars["all"] = all;
  return interpret_program(program_of(sound), bindings).updates.at("skip");
}

}  // namespace

TEST_CASE("lines about chains are printed as they are read", "[ir][chains]") {
  CHECK(first_problem({}) == "sound");
  CHECK(print_program(program_of(sound), nullptr) == sound);
  // A buffer may bear the name of such a line.
  CHECK(first_problem({{"\"skip\"", "\"where\""}, {"load skip[", "load where["}, {"      skip[2*e + d] <-", "      where[2*e + d] <-"}}) == "sound");
  CHECK_THAT(faults({{link_line, "      %7[3*b + p] links v0\n"}}), contains("expected `of`"));
  CHECK_THAT(faults({{link_line, "      %7[3*b + p] leads v0 of 5\n"}}), contains("expected `<-`, `+=` or `links`"));
  CHECK_THAT(faults({{linked, "        where %7[3*b + p] links x\n"}}), contains("kernel sums has no axis x"));
  CHECK_THAT(faults({{skip, "      skip d unless %9 links it or v2\n"}}), contains("there is no buffer \"%9\""));
}

TEST_CASE("a term is there for the places of an entry alone, and entries without places are left out", "[ir][chains]") {
  CHECK(run(0, {4, 0, 4, 0, 4, 2}).values == std::vector<double>{-1011, -2021, 0, 0, -100001, -200001, 0, 0, -10102, -20203});
  CHECK(run(1, {4, 0, 4, 0, 4, 2}).values == std::vector<double>{-1011, -2021, -1, -1, -100001, -200001, -1, -1, -10102, -20203});
  CHECK(run(0, {1, 1, 1, 1, 1, 1}).values == std::vector<double>{0, 0, -111112, -222223, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("what the verifier asks of who makes chains", "[ir][chains]") {
  CHECK_THAT(first_problem({{link_line, "      %7[b + 4*p] links v0 of 5\n"}}), contains("P16: places links places in another order than it goes over them"));
  CHECK_THAT(first_problem({{link_line, "      %7[3*b + p + 1] links v0 of 5\n"}}), contains("P16: places links places in another order"));
  CHECK_THAT(first_problem({{link_line, "      %7[3*b + p] links v0 of 6\n"}}), contains("P16: places keeps chains of 6 entries and 12 places in %7, which is no room for them"));
  CHECK_THAT(first_problem({{link_line, link_line + link_line}}), contains("P16: places links places, but is not one serial loop nest"));
  CHECK_THAT(first_problem({{"kernel places  # one thread", "kernel places  # one thread, not serial"}}), contains("P16: places links places, but is not one serial loop nest"));
  CHECK_THAT(first_problem({{"for b < B, p < 3:\n      v0", "for b < B, p < 3  (vector along p):\n      v0"}}), contains("P16: places links places, but is not one serial loop nest"));
  CHECK_THAT(first_problem({{link_line, "      v1 = cast(v0) : i64\n      %7[3*b + p] links v1 of 5\n"}}), contains("P16: places links places to an entry that is no i32"));
  CHECK_THAT(first_problem({{"i32[54] at 0, 216", "i32[55] at 0, 220"}}), contains("which is no room for them"));
  // What stands there is no number that anybody else could read.
  CHECK_THAT(first_problem({{"      v6 = cast(v5) : f32\n", "      v11 = load %7[0] : i32\n      v6 = cast(v5) : f32\n"}}), contains("P16: sums reads chains as numbers"));
}

TEST_CASE("what the verifier asks of who walks chains", "[ir][chains]") {
  CHECK_THAT(first_problem({{linked, ""}}), contains("P16: sums leaves out entries, but walks no chains"));
  CHECK_THAT(first_problem({{linked, "        where %7[3*b + p] links d\n"}}), contains("P16: sums walks chains of an axis that is not its first"));
  CHECK_THAT(first_problem({{linked, "        where %7[4*p + b] links e\n"}}), contains("P16: sums takes places in another order than its inner loop"));
  CHECK_THAT(first_problem({{linked, "        v12 = constant 1 : f64\n" + linked}}), contains("P16: sums walks chains, but not from the beginning of its inner loop"));
  CHECK_THAT(first_problem({{"v5 = reduce_sum", "v5 = reduce_max"}}), contains("P16: sums does more with the places of an entry than to add up floats"));
  CHECK_THAT(first_problem({{"for e < 5, d < 2  (vector", "for e < 4, d < 2  (vector"}}), contains("which is no room for them"));
}

TEST_CASE("what the verifier asks of who leaves out entries", "[ir][chains]") {
  CHECK_THAT(first_problem({{skip, "      v11 = index of e : i32\n" + skip}}), contains("P16: sums decides by what differs between indices which entries it leaves out"));
  CHECK_THAT(first_problem({{skip, "      v11 = load skip[2*e] : f32\n" + skip}}), contains("decides by what differs between indices"));
  CHECK_THAT(first_problem({{skip, ""}, {"      v6 = cast(v5) : f32\n", skip + "      v6 = cast(v5) : f32\n"}}), contains("P16: sums leaves out entries after it has begun with them"));
  CHECK_THAT(first_problem({{skip, "      skip e unless %7 links it or v1\n"}}), contains("P16: sums leaves out entries by a value that is no bool"));
  CHECK_THAT(first_problem({{skip, "      skip d unless %7 links it or v2\n"}}), contains("P16: sums leaves out entries of other chains than it walks"));
  CHECK_THAT(first_problem({{"      skip[2*e + d] <- v10 : f32\n", "      skip[2*e + d] <- v10 : f32\n      out[2*e + d] <- v10 : f32\n"},
                            {"  temporary \"%7\"", "  temporary \"out\" : f32[5, 2] at 256, 40 bytes\n  temporary \"%7\""}}),
             contains("P16: sums leaves out elements of out, which has no value that they keep"));
}
