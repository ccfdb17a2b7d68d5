// The messages of test blocks: what they alone may say, and what they cannot.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("what tests alone may say", "[frontend][calls]") {
  check_sayings({
      {R"(fn sq(x) { x*x }
fn f(x) { gradient(sq)(x) })",
       "E0208 `gradient(sq)`: `gradient` stands in tests only\n"
       "  help training differentiates by itself"},
      {R"(fn sq(x) { x*x }
fn f(x) { gradient(sq, x) })",
       "E0208 `gradient(sq, x)`: `gradient` stands in tests only\n"
       "  help training differentiates by itself"},
      {R"(fn sq(x) { x*x }
test "t" { expect gradient(sq) == 6 })",
       "E0202 `gradient(sq)`: `gradient` needs a function and its arguments\n"
       "  help write `gradient(f)(x)`"},
      {R"(fn sq(x) { x*x }
test "t" { expect gradient(sq)() == 6 })",
       "E0202 `gradient(sq)()`: `gradient` needs a function and its arguments\n"
       "  help write `gradient(f)(x)`"},
      {R"(fn p(x, y) { x }
test "t" { expect gradient(p)(3, "a") == 1 })",
       ""},
      {R"(fn p(x[...], y[...] : i32) { x }
test "t" { expect gradient(p)([3.0], index([2])) == 1 })",
       "E0206 `[2]`: `index` needs the name of a dimension"},
      {R"(fn p(x) { x, x }
test "t" { expect gradient(p)(3) == 1 })",
       "E0213 `gradient(p)(3)`: one value is needed here, found 2\n"
       "  help take it apart with `let a, b = ...`"},
      {R"(test "t" { expect gradient(sq)(3) == 6 })", "E0201 `sq`: unknown name `sq`"},
      {R"(fn sq(x) { x*x }
test "t" { expect gradient(sq)(y) == 6 })",
       "E0201 `y`: unknown name `y`"},
      {R"(test "t" { expect 1 == 1, tolerance: -1 })", "E0304 `-1`: a tolerance must be a number, at least 0"},
      {R"(test "t" { expect 1 == 1, tolerance: 0.1, tolerance: 0.2 })",
       "E0204 `tolerance: 0.2`: `tolerance` of `expect` is given twice\n  label `tolerance: 0.1`: the first"},
      {R"(test "t" { expect 1 == 1, tolerance: "a" })", R"(E0304 `"a"`: a tolerance must be a number, at least 0)"},
      {R"(test "t" { expect 1 == 1, tolerance: tol })", "E0201 `tol`: unknown name `tol`"},
      {R"(test "t" { expect 1 == 1, within: 2 })",
       "E0204 `within`: `expect` has no option `within`\n"
       "  help it has `tolerance`"},
      {R"(fn sq(x[...]) { x*x }
test "t" { check_gradients sq([1]), within: 2 })",
       "E0204 `within`: `check_gradients` has no option `within`\n"
       "  help it has `tolerance`"},
      {R"(fn sq(x[...]) { x*x }
test "t" { check_gradients sq([1]), tolerance: -2 })",
       "E0304 `-2`: a tolerance must be a number, at least 0"},
      {R"(test "t" { check_gradients argmax([[1.0]]) })",
       "E0202 `argmax([[1.0]])`: `argmax` needs one dimension\n"
       "  help write `argmax(x, over: D)`"},
      {R"(test "t" { dim T = 3
 check_gradients index(T) })",
       "E0206 `index(T)`: gradients need a result of f32, found i32"},
      {R"(test "t" { check_gradients true })", "E0206 `true`: gradients need a result of f32, found bool"},
      {R"(test "t" { check_gradients "a" })", R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(test "t" { expect [1.0, 2.0] })",
       "E0206 `[1.0, 2.0]`: `expect` needs something that is true or false\n"
       "  help write `expect a == b`"},
      {R"(test "t" { expect 3 })",
       "E0206 `3`: `expect` needs something that is true or false\n"
       "  help write `expect a == b`"},
      {R"(test "t" { expect foo })", "E0201 `foo`: unknown name `foo`"},
      {R"(test "t" { expect foo == 2
 expect 2 == foo })",
       "E0201 `foo`: unknown name `foo`\n"
       "E0201 `foo`: unknown name `foo`"},
      {R"(test "t" { expect "a" })", R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(test "t" { dim N = 0
 expect N == 9 })",
       "E0111 `0`: `0` is 0, and a size must be at least 1"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
