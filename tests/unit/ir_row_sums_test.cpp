// Sums of a contraction's epilogue over the rows of its tiles, and the code behind them: their text, their meaning, and what the verifier asks, on a small program
// that is changed in one place at a time.
#include <string>
#include <utility>
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

const std::string sound = R"(program @sums {
  target any portable, 3 rows planned
  arena 192 bytes, persistent 128 bytes

  field "x" : f32[B, 2, 2] field 0
  persistent "w" : f32[2, 2] at 0, 16 bytes, frozen
  persistent "kept" : f32[2, 2] at 64, 16 bytes, state
  temporary "y" : f32[B, 2, 2] at 0, 48 bytes
  output "sums" : f32[2, 2] slot 0
  output "squares" : f32[2, 2] slot 1

  kernel lines  # parallel
    contract h < 2, r < B; o < 2; c < 2: tile 2 x 1 vectors, blocks 4 x 4 x 2
      a[h, r, c] = v0, packed:
        v0 = load x[row(r), 2*h + c] : f32
      b[c, o] = v1:
        v1 = load w[o + 2*c] : f32
      for each h, r, o:
        v2 = sum over k of a * b : f32
        v3 = mul(v2, v2) : f32
        y[2*h + 4*r + o] <- v2 : f32
        v4 = reduce_sum(v2) over the rows : f32
        v5 = reduce_sum(v3) over the rows : f32
      after all r, for each h, o:
        sums[2*h + o] <- v4 : f32
        v6 = load kept[2*h + o] : f32
        v7 = add(v5, v6) : f32
        squares[2*h + o] <- v7 : f32
}
)";

std::string changed(const TextChanges& changes) { return with_changes(sound, changes); }

std::string first_problem(const TextChanges& changes) {
  const std::vector<std::string> problems = verify_program(program_of(changed(changes), false));
  return problems.empty() ? "sound" : problems[0];
}

std::string faults(const TextChanges& changes) {
  try {
    program_of(changed(changes), false);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("sums over the rows are printed as they are read", "[ir][row_sums]") {
  const Program program = program_of(sound);
  CHECK(print_program(program, nullptr) == sound);
  const auto& kernel = std::get<ContractKernel>(program.kernels[0].body);
  CHECK(kernel.after_rows.size() == 4);
  CHECK(kernel.epilogue[3].kind == Instruction::Kind::reduce);
}

TEST_CASE("faults in the text of sums over the rows", "[ir][row_sums]") {
  CHECK_THAT(faults({{"(v2) over the rows", "(v2) over the inner loop"}}), contains("expected `rows`"));
  CHECK_THAT(faults({{"after all r, for each h, o:", "after all h, for each r, o:"}}), contains("expected `after all r, for each h, o`"));
  CHECK_THAT(faults({{"after all r, for each h, o:", "after all r, for each h, r, o:"}}), contains("expected `after all r, for each h, o`"));
  CHECK_THAT(faults({{"after all r, for each h, o:", "behind all r, for each h, o:"}}), contains("expected the end of"));
}

TEST_CASE("sums over the rows, interpreted", "[ir][row_sums]") {
  const Program program = program_of(sound);
  for (int64_t rows : {3, 2}) {
    Bindings bindings;
    bindings.rows = rows;
    std::vector<double> x, kept{100, 200, 300, 400};
    for (int64_t i = 0; i < rows * 4; ++i) x.push_back(double(i * i % 7) - 2);
    bindings.inputs["x"] = Tensor{DType::f32, {rows, 2, 2}, x};
    bindings.persistents["w"] = Tensor{DType::f32, {2, 2}, {1, 2, 3, -1}};
    bindings.persistents["kept"] = Tensor{DType::f32, {2, 2}, kept};
    const Results results = interpret_program(program, bindings);
    for (size_t h = 0; h < 2; ++h)
      for (size_t o = 0; o < 2; ++o) {
        double sum = 0, squares = kept[2 * h + o];
        for (size_t r = 0; r < size_t(rows); ++r) {
          const double a = x[4 * r + 2 * h], b = x[4 * r + 2 * h + 1], y = o == 0 ? a + 3 * b : 2 * a - b;
          sum += y;
          squares += y * y;
        }
        CHECK(results.outputs.at("sums").at(2 * h + o) == sum);
        CHECK(results.outputs.at("squares").at(2 * h + o) == squares);
      }
  }
}

TEST_CASE("a block holds all rows that its tiles sum over", "[ir][row_sums]") {
  CHECK(first_problem({}) == "sound");
  CHECK(first_problem({{"blocks 4 x 4", "blocks 3 x 4"}}) == "sound");
  CHECK(first_problem({{"blocks 4 x 4", "blocks 2 x 4"}}) == "P3: lines sums over the 3 of axis r, but its blocks have 2");
}

TEST_CASE("behind the rows sums alone are seen, and no row", "[ir][row_sums]") {
  CHECK(first_problem({{"sums[2*h + o] <- v4", "sums[2*h + o] <- v2"}}) == "P4: a store of lines uses v2, which is not defined there");
  CHECK(first_problem({{"        sums[2*h + o] <- v4 : f32\n", "        sums[2*h + o] <- v4 : f32\n        v8 = index of r : i32\n"}}) ==
        "P6: v8 of lines is the index of axis 1, over which it does not run");
  CHECK(first_problem({{"load kept[2*h + o]", "load kept[2*r + o]"}}) == "P6: v6 of lines depends on axis r, over which it does not run");
  CHECK(first_problem({{"load kept[2*h + o]", "load kept[2*c + o]"}}) == "P6: v6 of lines depends on axis c, over which it does not run");
  CHECK(first_problem({{"        sums[2*h + o] <- v4 : f32\n", "        sums[2*h + o] <- v4 : f32\n        v8 = sum over k of a * b : f32\n"}}) ==
        "P5: v8 of lines is no f32 accumulator of an epilogue");
  CHECK(first_problem({{"        sums[2*h + o] <- v4 : f32\n", "        sums[2*h + o] <- v4 : f32\n        v8 = reduce_sum(v4) over the rows : f32\n"}}) ==
        "P5: v8 of lines reduces outside an inner block and an epilogue");
  CHECK(first_problem({{"y[2*h + 4*r + o] <- v2", "y[2*h + 4*r + o] <- v4"}, {"v4 = reduce_sum(v2)", "v8 = reduce_sum(v2)"}}) ==
        "P4: a store of lines uses v4, which is not defined there");
}

TEST_CASE("an epilogue's sum is one of f32 and is not seen in the epilogue", "[ir][row_sums]") {
  CHECK(first_problem({{"v4 = reduce_sum(v2)", "v4 = reduce_max(v2)"}}) == "P5: v4 of lines is no f32 sum over the rows of an epilogue");
  CHECK(first_problem({{"v5 = reduce_sum(v3)", "v5 = reduce_sum(v4)"}}) == "P4: v5 of lines uses v4, which is not defined there");
  CHECK(first_problem({{"        v4 = reduce_sum(v2) over the rows : f32\n        v5 = reduce_sum(v3) over the rows : f32\n", ""},
                       {"sums[2*h + o] <- v4 : f32\n        v6 = load kept[2*h + o] : f32\n        v7 = add(v5, v6)", "v6 = load kept[2*h + o] : f32\n        v7 = add(v6, v6)"}}) ==
        "P3: lines has code behind its rows, but no sum over them");
}

TEST_CASE("stores behind the rows meet none of the epilogue", "[ir][row_sums]") {
  CHECK(first_problem({{"sums[2*h + o] <- v4", "sums[h + o] <- v4"}}) == "P8: lines stores elements of sums more than once");
  CHECK(first_problem({{"sums[2*h + o] <- v4", "y[2*h + o] <- v4"}}) == "P8: two stores of lines to y meet");
}
