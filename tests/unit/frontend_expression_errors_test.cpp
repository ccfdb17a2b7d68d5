// What is said of expressions that mean nothing: values of the wrong kind, conditions, sizes that are none, products that do not align.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("expressions: each says what it found instead", "[frontend][diagnostics]") {
  check_sayings({
      {R"(fn f(x[B]) { x + "three" })",
       R"(E0206 `"three"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { x * 20% })",
       R"(E0206 `20%`: a percentage stands only where a share of the data is expected
  help write 0.2)"},
      {R"(fn f(x[B]) { not x })",
       R"(E0206 `x`: `not` needs true or false, found f32)"},
      {R"(fn f(x[B]) { not "x" })",
       R"(E0206 `"x"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { where(not y, x, 0) })",
       R"(E0201 `y`: unknown name `y`)"},
      {R"(fn f(x[B]) { x + [1, y] })",
       R"(E0201 `y`: unknown name `y`)"},
      {R"(fn f(x[B]) { if 1 and 2 { x } else { -x } })",
       R"(E0206 `1`: `and` needs true or false, found a number)"},
      {R"(fn f(x[B]) { if false or 2 { x } else { -x } })",
       R"(E0206 `2`: `or` needs true or false, found a number)"},
      {R"(fn f(x[B]) { where(x and x > 0, x, 0) })",
       R"(E0206 `x`: `and` needs true or false, found f32)"},
      {R"(fn f(x[B]) { where(x > 0 or x, x, 0) })",
       R"(E0206 `x`: `or` needs true or false, found f32)"},
      {R"(fn f(x[B]) { if x == none { x } else { -x } })",
       R"(E0206 `none`: a tensor is needed here, found a choice)"},
      {R"(fn f(x[B]) { if (0..3) == 2 { x } else { -x } })",
       R"(E0206 `0..3`: a tensor is needed here, found a range)"},
      {R"(test "t" { expect 1 // 0 == 1
 expect 1 % 0 == 1 })",
       R"(E0111 `1 // 0`: `1 // 0` divides by zero
E0111 `1 % 0`: `1 % 0` divides by zero)"},
      {R"(dim N = 3 // 0)",
       R"(E0111 `3 // 0`: `3 // 0` divides by zero)"},
      {R"(dim N = 3 / 0)",
       R"(E0111 `3 / 0`: `3 / 0` is inf, and a size must be a whole number
  help `/` must come out even; `//` rounds down)"},
      {R"(dim N = 2 - 4)",
       R"(E0111 `2 - 4`: `2 - 4` is -2, and a size must be at least 1)"},
      {R"(dim N = 3 / 2)",
       R"(E0111 `3 / 2`: `3 / 2` is 1.5, and a size must be a whole number
  help `/` must come out even; `//` rounds down)"},
      {R"(dim N = 2 ^ 3, M = 2 ^ -1)",
       R"(E0111 `2 ^ -1`: `2 ^ -1` is 0.5, and a size must be a whole number)"},
      {R"(dim N = 2 ^ 60)",
       R"(E0111 `2 ^ 60`: `2 ^ 60` is 1.15292e+18, which is more than memory can hold)"},
      {R"(fn f(x[B]) { if x > 0 { x } else { -x } })",
       R"(E0212 `x > 0`: `if` chooses at compile time, and this is known only at run time
  help use `where(condition, a, b)` to choose per element)"},
      {R"(fn f(x[B]) { if 3 { x } else { -x } })",
       R"(E0206 `3`: a condition must be true or false)"},
      {R"(fn f(x[B]) { if "a" { let q = 3 }
 x })",
       R"(E0206 `"a"`: a condition must be true or false)"},
      {R"(fn f(x[B]) { if q { let q = 3 }
 x })",
       R"(E0201 `q`: unknown name `q`)"},
      {R"(fn f(x[B]) { if q { x } else { -x } })",
       R"(E0201 `q`: unknown name `q`)"},
      {R"(fn f(x[B]) { if false { x } })",
       R"(E0206 `if false { x }`: no branch of this `if` is taken, so it has no value
  help add an `else`)"},
      {R"(fn f(x[B]) { let y = if 1 > 2 { x } else if 2 > 3 { -x }
 y })",
       R"(E0206 `if 1 > 2 { x } else if 2 > 3 { -x }`: no branch of this `if` is taken, so it has no value
  help add an `else`)"},
      {R"(fn two(x[B]) { x, -x }
fn f(x[B]) { two(x) + x })",
       R"(E0213 `two(x)`: one value is needed here, found 2
  help take it apart with `let a, b = ...`)"},
      {R"(fn f(x[B]) { repeat 2.5 { let y = x }
 x }
test "t" { expect shape(f(zeros([3]))) == [3] })",
       R"(E0304 `2.5`: the count of a `repeat` must be a whole number, at least 0, and known at compile time)"},
      {R"(fn f(x[B]) { repeat 0 - 1 { let y = x }
 x }
test "t" { expect shape(f(zeros([3]))) == [3] })",
       R"(E0304 `0 - 1`: the count of a `repeat` must be a whole number, at least 0, and known at compile time)"},
      {R"(fn f(x[B]) { repeat sum(x) { let y = x }
 x }
test "t" { expect shape(f(zeros([3]))) == [3] })",
       R"(E0304 `sum(x)`: the count of a `repeat` must be a whole number, at least 0, and known at compile time)"},
      {R"(fn f(x[B]) { repeat many { let y = x }
 x })",
       R"(E0201 `many`: unknown name `many`)"},
      {R"(fn f(x[B]) { repeat 20000 { let y = x }
 x }
test "t" { expect shape(f(zeros([3]))) == [3] })",
       R"(E0304 `20000`: `repeat` unrolls its body, at most 10000 times)"},
      {R"(fn f(x[B], y[T]) { x ^ y })",
       R"(E0106 `x ^ y`: `^` would pair every B with every T
  label `x`: [B]
  label `y`: [T]
  help if that is meant, write `spread(y, over: B)`)"},
      {R"(fn f(x[B]) { x ^ "two" })",
       R"(E0206 `"two"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { "two" ^ x })",
       R"(E0206 `"two"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { -"a" })",
       R"(E0206 `-"a"`: a tensor is needed here, found a text)"},
      {R"(layer f(x[B, T]) { -Dense(3) })",
       R"(E0206 `-Dense(3)`: a tensor is needed here, found a layer without an input)"},
      {R"(fn f(x[B]) { x + (0..3) })",
       R"(E0206 `0..3`: a tensor is needed here, found a range)"},
      {R"(fn f(x[B]) { "a" as [B] })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { "a"[B: 1] })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B]) { 3(x) })",
       R"(E0207 `3`: `3` cannot be called: it is a value)"},
      {R"(fn f(x[B]) { x + normal(1) })",
       R"(E0206 `normal(1)`: a tensor is needed here, found a distribution)"},
      {R"(fn f(x[B]) { x + none })",
       R"(E0206 `none`: a tensor is needed here, found a choice)"},
      {R"(fn f(x[B]) { x + relu })",
       R"(E0206 `relu`: a tensor is needed here, found a definition)"},
      {R"(fn f(x[B]) { x + exp })",
       R"(E0206 `exp`: a tensor is needed here, found a function)"},
      {R"(layer f(x[B]) { x + Dense(3) })",
       R"(E0206 `Dense(3)`: a tensor is needed here, found a layer without an input)"},
      {R"(fn f(x[B]) { x + (1, 2) })",
       R"(E0213 `(1, 2)`: one value is needed here, found 2
  help take it apart with `let a, b = ...`)"},
  });
}

TEST_CASE("contractions, alignment, sizes: the part that is wrong is the one that is marked", "[frontend][diagnostics]") {
  check_sayings({
      {"fn g(x[B, 4], y[4, B]) { x + y }",
       "E0106 `x + y`: `+` would pair every 4 with every 4\n"
       "  label `x`: [B, 4]\n"
       "  label `y`: [4, B]\n"
       "  note dimensions without a name align only in the same place, counted from the right\n"
       "  help give each of them a name, as in `dim D = 4`; equal names align in any order"},
      {"fn g(x[B, T], y[4, B]) { x + y }",
       "E0106 `x + y`: `+` would pair every T with every 4\n"
       "  label `x`: [B, T]\n"
       "  label `y`: [4, B]\n"
       "  help if that is meant, write `spread(y, over: T)`"},
      {"fn g(x[4, B], y[B, T]) { x + y }",
       "E0106 `x + y`: `+` would pair every 4 with every T\n"
       "  label `x`: [4, B]\n"
       "  label `y`: [B, T]\n"
       "  help if that is meant, write `spread(x, over: T)`"},
      {R"(fn f(a[I, K], b[I, K]) { sum(a * b * "x", over: K) })", R"(E0206 `"x"`: a tensor is needed here, found a text)"},
      {R"(fn f(a[I, K], b[I, K]) { sum(a * b * "x" * 2, over: K) })", R"(E0206 `"x"`: a tensor is needed here, found a text)"},
      {R"(fn f(a[I, K], b[I, K]) { sum(a * b * q, over: K) })", R"(E0201 `q`: unknown name `q`)"},
      {R"(model M(x[B, 4]) -> [B, 2] { x |> Dense(2) }
data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
fn f(a[B, C], b[S, C]) { sum(a * b, over: C) }
train { data d
 minimize mean(f(x, x))
 using sgd(lr: 1)
 epochs 1 })",
       R"(E0113 `sum(a * b, over: C)`: [B, S] would pair the rows of a batch with each other
  label `f(x, x)`: in this call of `f`
  note the number of rows is known only at run time, and only one dimension of a value can count them)"},
      {R"(fn f(a[I, 1], b[3]) { a * b }
test "t" { expect shape(f([[1], [3]], [1, 2, 3])) == [2, 3] })",
       R"(E0101 `a * b`: `*` cannot align [I, 1] with [3]: 1 against 3
  label `f([[1], [3]], [1, 2, 3])`: in this call of `f`
  label `a`: [I, 1], written at t.nn:2
  label `b`: [3], written at t.nn:2
  note a dimension of size 1 is never stretched)"},
      {R"(fn f(a[I, 3], b[1]) { a * b }
test "t" { expect shape(f([[1, 2, 3], [3, 1, 2]], [1])) == [2, 3] })",
       R"(E0101 `a * b`: `*` cannot align [I, 3] with [1]: 3 against 1
  label `f([[1, 2, 3], [3, 1, 2]], [1])`: in this call of `f`
  label `a`: [I, 3], written at t.nn:2
  label `b`: [1], written at t.nn:2
  note a dimension of size 1 is never stretched)"},
      {R"(fn f(a[I], b[J, K]) { a * b })",
       R"(E0106 `a * b`: `*` would pair every I with every J, K
  label `a`: [I]
  label `b`: [J, K]
  help if that is meant, write `spread(b, over: I)`)"},
      {R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
fn f(x[B, C]) { if B < C { x } else { x } }
train { data d
 minimize mean(f(x))
 using sgd(lr: 1)
 epochs 1 })",
       R"(E0212 `B < C`: `if` chooses at compile time, and this is known only at run time
  help use `where(condition, a, b)` to choose per element)"},
      {R"(layer f(x[B, C, D]) { param w[C - D] = 0
 param v[2 * C - 3 * D + 1] = 0
 w + v }
test "t" { expect shape(f(zeros([2, 9, 4]))) == [2] })",
       R"(E0106 `w + v`: `+` would pair every C - D with every 2*C - 3*D + 1
  label `f(zeros([2, 9, 4]))`: in this call of `f`
  label `w`: [C - D], declared at t.nn:1
  label `v`: [2*C - 3*D + 1], declared at t.nn:2
  help if that is meant, write `spread(v, over: C - D)`)"},
      {R"(layer f(x[B, C, D]) { param w[C / D] = 0
 param v[(C + D) / D] = 0
 param u[C // D] = 0
 w + v }
test "t" { expect shape(f(zeros([2, 9, 3]))) == [2] })",
       R"(E0106 `w + v`: `+` would pair every C / D with every (C + D) / D
  label `f(zeros([2, 9, 3]))`: in this call of `f`
  label `w`: [C / D], declared at t.nn:1
  label `v`: [(C + D) / D], declared at t.nn:2
  help if that is meant, write `spread(v, over: C / D)`)"},
      {R"(layer f(x[B, C, D]) { param w[C / D] = 0
 w }
test "t" { expect shape(f(zeros([2, 9, 4]))) == [2] })",
       R"(E0111 `C / D`: `C / D` is 2.25, and a size must be a whole number
  label `f(zeros([2, 9, 4]))`: in this call of `f`
  help `/` must come out even; `//` rounds down)"},
      {R"(layer f(x[B, C, D]) { dim E = C + D
 param w[2 * E * C] = 0
 param v[(C // D) * E] = 0
 w + v }
test "t" { expect shape(f(zeros([2, 9, 4]))) == [2] })",
       R"(E0106 `w + v`: `+` would pair every 2*C*E with every E*(C // D)
  label `f(zeros([2, 9, 4]))`: in this call of `f`
  label `w`: [2*C*E], declared at t.nn:2
  label `v`: [E*(C // D)], declared at t.nn:3
  help if that is meant, write `spread(v, over: 2*C*E)`)"},
      {R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
fn f(a[B, C], b[S, C]) { spread(a, over: S) * b }
train { data d
 minimize mean(f(x, x))
 using sgd(lr: 1)
 epochs 1 })",
       R"(E0113 `spread(a, over: S)`: [B, C, S] would pair the rows of a batch with each other
  label `f(x, x)`: in this call of `f`
  note the number of rows is known only at run time, and only one dimension of a value can count them)"},
      {R"(dim N = 2000000
layer f(x[B]) { param w[N * N] = 0
 param v[N * N * N * N * N * N] = 0
 x }
test "t" { expect shape(f(zeros([2]))) == [2] })",
       R"(E0111 `N * N`: `N * N` is 4e+12, which is more than memory can hold
  label `f(zeros([2]))`: in this call of `f`
E0111 `N * N * N * N * N * N`: `N * N * N * N * N * N` is 6.4e+37, which is more than memory can hold
  label `f(zeros([2]))`: in this call of `f`)"},
      {R"(dim N = 2 ^ 60, M = 2 ^ 200, K = 1000000000000000000 * 1000000000000000000)",
       R"(E0111 `2 ^ 60`: `2 ^ 60` is 1.15292e+18, which is more than memory can hold
E0111 `2 ^ 200`: `2 ^ 200` is 1.60694e+60, which is more than memory can hold
E0111 `1000000000000000000 * 1000000000000000000`: `1000000000000000000 * 1000000000000000000` is 1e+36, which is more than memory can hold)"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
