// The messages of calls, instances, conditions, names and values of a kind that does not fit.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("sums", "[frontend][calls]") {
  check_sayings({
      {R"(test "t" { let y = sum() }
)",
       "E0202 `sum()`: `sum` needs `x`"},
      {R"(test "t" { dim P = 2
 let y = sum(x: zeros([P]), over: P) }
)",
       ""},
      {R"(test "t" { dim P = 2
 let y = sum(zeros([P]) * 2, P, over: P) }
)",
       "E0204 `P`: `over` of `sum` is given twice"},
      {R"(test "t" { dim P = 2
 let y = sum(zeros([P]) * 2, along: P) }
)",
       "E0204 `along`: `sum` has no option `along`\n"
       "  help it has `x`, `over`"},
      {R"(test "t" { dim P = 2
 let y = sum(zeros([P]) * 2, over: Q) }
)",
       "E0201 `Q`: unknown name `Q`"},
      {R"(test "t" { dim P = 2
 let y = sum(zeros([P]) * 2, over: 2) }
)",
       "E0110 `2`: a dimension without a name cannot be reduced: `over: 2`\n"
       "  help give it a name: `dim Classes = 2`"},
  });
}

TEST_CASE("instances", "[frontend][calls]") {
  check_sayings({
      {R"(test "t" { let y = [2.0] |> Dense(foo) }
)",
       "E0201 `foo`: unknown name `foo`"},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { x |> s: stack(2, L) |> stack(2, L) }
test "t" { expect shape([1.0] |> M) == [1] }
)",
       ""},
      {R"(fn g(x[B]) { x }
layer M(x[B]) { a: g
 x }
test "t" { let y = M([1.0]) }
)",
       "E0207 `g`: `g` is not a layer, so `a` cannot name an instance of it"},
      {R"(layer M(x[B]) { a: 3
 x }
test "t" { let y = M([1.0]) }
)",
       "E0017 `3`: after the instance's name stands a layer or function to call, not `3`\n"
       "  help write its name, with arguments if it takes any: `relu`, `Dense(64)`"},
      {R"(layer M(x[B]) { a: foo
 x }
test "t" { let y = M([1.0]) }
)",
       "E0201 `foo`: unknown name `foo`"},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { a: L
 a(x) }
test "t" { let y = M([1.0]) }
)",
       ""},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { a: L
 b: a
 x |> b }
test "t" { let y = M([1.0]) }
)",
       "E0205 `a`: this layer is an instance already, called `m1.a`"},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { a: L
 x |> b: a }
test "t" { let y = M([1.0]) }
)",
       "E0205 `b`: this layer is an instance already, called `m1.a`"},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { frozen a: L
 x |> a }
test "t" { let y = M([1.0]) }
)",
       ""},
      {R"(fn h(k)(x[B]) { x * k }
test "t" { let y = [1.0] |> h(2)
 expect y == [2.0] }
)",
       ""},
      {R"(fn h(k)(x[B]) { x * k }
layer M(x[B]) { x |> a: h(2) }
test "t" { let y = M([1.0]) }
)",
       "E0207 `a`: `h` is a function and has no parameters, so `a` names nothing"},
      {R"(fn h(k)(x[B]) { x * k }
layer M(x[B]) { a: h(2)
 a(x) }
test "t" { let y = M([1.0]) }
)",
       "E0207 `h(2)`: `h(2)` is not a layer, so `a` cannot name an instance of it"},
      {R"(fn g(x[B]) { x }
layer M(x[B]) { x |> a: g }
test "t" { let y = M([1.0]) }
)",
       "E0207 `a`: `g` is a function and has no parameters, so `a` names nothing"},
      {R"(layer M(x[B]) { x |> a: exp }
test "t" { let y = M([1.0]) }
)",
       "E0207 `a`: `exp` is a function and has no parameters, so `a` names nothing"},
      {R"(test "t" { let y = sgd(3)
 let z = [1.0] |> adam }
)",
       "E0207 `sgd`: `sgd` is an optimizer: it stands after `using` in `train`\n"
       "E0207 `adam`: `adam` is an optimizer: it stands after `using` in `train`"},
      {means + R"(let y = sgd(lr: 3) }
)",
       "E0207 `sgd`: `sgd` is an optimizer: it stands after `using` in `train`"},
      {data + R"(model M(H)(x[B, 4]) { x |> Dense(H) |> Dense(5) }
train { data d
 minimize cross_entropy(M(3)(x), c)
 using sgd(lr: 1)
 epochs 1
 report accuracy(x |> M(3), c) })",
       ""},
      {data + R"(model K(x[B, 4]) { x |> Dense(4) }
model M(x[B, 4]) { x |> a: K |> K |> Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(model M(x[B, 4]) { x |> Dense(5) }
train { data d
 minimize cross_entropy(x |> a: M, c)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(model M(x[B, 4]) { x |> Dense(5) }
train { data d
 minimize cross_entropy(M(x), c) + cross_entropy(M(x * 2), c)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(optimizer o(lr) { let y = value |> Dense(3)
 update value = y }
model M(x[B, 4]) { x |> Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0208 `Dense(3)`: `o` is an optimizer, which owns no parameters, so it cannot hold a layer"},
      {R"(fn f(x[B]) { x |> Dense(3) }
test "t" { let y = f([1.0]) }
)",
       "E0208 `Dense(3)`: `f` is a fn, which owns no parameters, so it cannot hold a layer\n"
       "  help make it a `layer`"},
      {R"(layer L(x[B]) { param w[B] = 0
 x * w }
layer M(x[B]) { s: stack(2, L)
 s() }
test "t" { let y = M([1.0]) }
)",
       "E0202 `s()`: this stack needs an input\n"
       "  help write `x |> stack(4, Layer)`"},
      {R"(layer P(x[2]) { x }
layer M(x[B]) { x |> stack(2, P) }
test "t" { let y = M([1.0]) }
)",
       "E0101 `x`: `x` has 1 entries, but `P` takes 2 for `x`\n"
       "  label `x`: [B], written at t.nn:3\n"
       "  label `stack(2, P)`: in this call of `P`\n"
       "  label `x[2]`: declared [2]"},
      {R"(layer P(x[B]) { x, 2 * x }
layer M(x[B]) { let a, b = P(x)
 a + b }
test "t" { expect M([1.0]) == [3.0] }
)",
       ""},
  });
}

TEST_CASE("several values into one", "[frontend][calls]") {
  check_sayings({
      {R"(fn p(x) { x, 2 * x }
fn add(x, y) { x + y }
test "t" { expect (p(1) |> add) == 3 }
)",
       ""},
      {R"(fn p(x) { x, 2 * x }
fn q(x[...]) { x }
test "t" { expect (p(1) |> q) == 3 }
)",
       "E0213 `p(1)`: one value is needed here, found 2\n"
       "  help take it apart with `let a, b = ...`"},
      {R"(test "t" { let x = 3
 let y = x(3)
 let z = 3 |> "a" }
)",
       "E0207 `x`: `x` cannot be called: it is a value\n"
       R"(E0017 `"a"`: after `|>` stands a layer or function to call, not "a")"
       "\n"
       "  help write its name, with arguments if it takes any: `relu`, `Dense(64)`"},
  });
}

TEST_CASE("conditions", "[frontend][calls]") {
  check_sayings({
      {R"(fn f(x[B]) where sum(x) > 0 { x }
test "t" { let y = f([1.0]) }
)",
       "E0113 `sum(x) > 0`: `sum(x) > 0` cannot be decided at compile time\n"
       "  label `f([1.0])`: in this call of `f`"},
      {R"(fn f(x[B]) where foo > 0 { x }
test "t" { let y = f([1.0]) }
)",
       "E0201 `foo`: unknown name `foo`"},
      {R"(fn f(x[B], k) where k > 1 { x }
test "t" { let y = f([1.0], 1) }
)",
       "E0104 `f([1.0], 1)`: `k > 1` does not hold: k = 1\n"
       "  label `f([1.0], 1)`: `f` needs it\n"
       "  label `k > 1`: stated here"},
      {R"(fn f(x[B], k) where k > 1 else "k of {x} is {k}, {k} and {no}" , x { x }
test "t" { let y = f([1.0], 1) }
)",
       "E0201 `\"k of {x} is {k}, {k} and {no}\"`: unknown name `no`\n"
       "E0104 `f([1.0], 1)`: k of [1] is 1, 1 and ...\n"
       "  label `f([1.0], 1)`: `f` needs `k > 1`\n"
       "  label `k > 1`: stated here"},
      {R"(fn f(x[B, C], mask[B, S]: bool = none) where mask == none or S == C else "{S} and {C}" { x }
test "t" { let y = f(ones([2, 3])), z = f(ones([2, 3]), ones([2, 3]) > 0) }
)",
       ""},
      {R"(fn f(x[B, C], mask[B, S]: bool = none) where mask == none or S == C else "{S} and {C}" { x }
test "t" { let z = f(ones([2, 3]), ones([2, 4]) > 0) }
)",
       "E0104 `f(ones([2, 3]), ones([2, 4]) > 0)`: 4 and 3\n"
       "  label `f(ones([2, 3]), ones([2, 4]) > 0)`: `f` needs `mask == none or S == C`\n"
       "  label `mask == none or S == C`: stated here"},
      {R"(fn f(x[B], mask[B]: bool = none) where mask != none and rank(mask) == 1 { x }
test "t" { let y = f(ones([2]), ones([2]) > 0), z = f(ones([2])) }
)",
       "E0104 `f(ones([2]))`: `mask != none and rank(mask) == 1` does not hold\n"
       "  label `f(ones([2]))`: `f` needs it\n"
       "  label `mask != none and rank(mask) == 1`: stated here"},
      {R"(fn f(x[B, C]) where B == C { x }
test "t" { dim P = 3
 let z = zeros([P, 2])
 let y = f(z) }
)",
       "E0104 `f(z)`: `B == C` does not hold: B = 3 (t.nn:2), C = 2 (t.nn:3)\n"
       "  label `f(z)`: `f` needs it\n"
       "  label `P = 3`: B = 3\n"
       "  label `zeros([P, 2])`: C = 2\n"
       "  label `B == C`: stated here"},
      {R"(fn f(x[B, C]) where B % 2 == B // 2 { x }
test "t" { let y = f(zeros([3, 2])) }
)",
       ""},
      {R"(fn f(x[B, C]) where 5 % C == 0 { x }
test "t" { let y = f(zeros([3, 2])) }
)",
       "E0104 `f(zeros([3, 2]))`: `5 % C == 0` does not hold: C = 2 (t.nn:2)\n"
       "  label `f(zeros([3, 2]))`: `f` needs it\n"
       "  label `zeros([3, 2])`: C = 2\n"
       "  label `5 % C == 0`: stated here"},
      {R"(fn f(x[B, C]) where C % 4 == 0 { x }
test "t" { let y = f(zeros([3, 2])) }
)",
       "E0104 `f(zeros([3, 2]))`: `C % 4 == 0` does not hold: C = 2 (t.nn:2)\n"
       "  label `f(zeros([3, 2]))`: `f` needs it\n"
       "  label `zeros([3, 2])`: C = 2\n"
       "  label `C % 4 == 0`: stated here\n"
       "  help the nearest size for C is 4"},
      {R"(fn f(x[B, C]) where C % 4 == 0 { x }
test "t" { let y = f(zeros([3, 6])) }
)",
       "E0104 `f(zeros([3, 6]))`: `C % 4 == 0` does not hold: C = 6 (t.nn:2)\n"
       "  label `f(zeros([3, 6]))`: `f` needs it\n"
       "  label `zeros([3, 6])`: C = 6\n"
       "  label `C % 4 == 0`: stated here\n"
       "  help the nearest sizes for C are 4 and 8"},
      {R"(fn f(x[B, C]) where C - 1 == 0 { x }
test "t" { let y = f(zeros([3, 6])) }
)",
       "E0104 `f(zeros([3, 6]))`: `C - 1 == 0` does not hold: C = 6 (t.nn:2)\n"
       "  label `f(zeros([3, 6]))`: `f` needs it\n"
       "  label `zeros([3, 6])`: C = 6\n"
       "  label `C - 1 == 0`: stated here"},
      {R"(fn f(x[B, C], k) where C % k == 1 { x }
test "t" { let y = f(zeros([3, 6]), 2) }
)",
       "E0104 `f(zeros([3, 6]), 2)`: `C % k == 1` does not hold: C = 6 (t.nn:2), k = 2\n"
       "  label `f(zeros([3, 6]), 2)`: `f` needs it\n"
       "  label `zeros([3, 6])`: C = 6\n"
       "  label `C % k == 1`: stated here"},
      {R"(fn f(x[B, C]) where C < 3 { x }
test "t" { let y = f(zeros([3, 6])) }
)",
       "E0104 `f(zeros([3, 6]))`: `C < 3` does not hold: C = 6 (t.nn:2)\n"
       "  label `f(zeros([3, 6]))`: `f` needs it\n"
       "  label `zeros([3, 6])`: C = 6\n"
       "  label `C < 3`: stated here"},
      {data + R"(fn f(x[B, C]) where B == 3 { x }
train { data d
 minimize mean(f(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0310 `f(x)`: `f` needs `B == 3`, and a batch has 32 rows\n"
       "  label `f(x)`: `B` is 32 there\n"
       "  label `B == 3`: stated here\n"
       "  help give the data clause another size: `batch: N`"},
      {R"(fn f(x[B], k) where not k { x }
test "t" { let y = f([1.0], true) }
)",
       "E0104 `f([1.0], true)`: `not k` does not hold: k = true\n"
       "  label `f([1.0], true)`: `f` needs it\n"
       "  label `not k`: stated here"},
      {R"(fn f(x[B]) where 1 > 2 { x }
test "t" { let y = f([1.0]) }
)",
       "E0104 `f([1.0])`: `1 > 2` does not hold\n"
       "  label `f([1.0])`: `f` needs it\n"
       "  label `1 > 2`: stated here"},
      {R"(fn f(x[B, C]) where C % 0 == 0 { x }
test "t" { let y = f(zeros([3, 2])) }
)",
       "E0111 `C % 0`: `C % 0` divides by zero\n"
       "  label `f(zeros([3, 2]))`: in this call of `f`"},
      {R"(fn f(x[B], k) where k % 2 == 0 { x }
test "t" { let y = f([1.0], 2.5) }
)",
       "E0104 `f([1.0], 2.5)`: `k % 2 == 0` does not hold: k = 2.5\n"
       "  label `f([1.0], 2.5)`: `f` needs it\n"
       "  label `k % 2 == 0`: stated here"},
  });
}

TEST_CASE("plain arguments", "[frontend][calls]") {
  check_sayings({
      {R"(fn f(x) { x }
test "t" { let y = f([1.0, 2.0]) }
)",
       ""},
      {R"(layer P(N = foo)(x[B]) { x }
test "t" { let y = [1.0] |> P }
)",
       "E0201 `foo`: unknown name `foo`"},
      {R"(layer P(N = 1/2)(x[B]) { x }
test "t" { let y = [1.0] |> P }
)",
       "E0111 `1/2`: `1/2` is 0.5, and a size must be a whole number\n"
       "  label `P`: in this call of `P`\n"
       "  help `/` must come out even; `//` rounds down"},
      {R"(fn f(n : i32) { n }
test "t" { let y = f(3) }
)",
       ""},
      {R"(fn f(n : i32 = 4) { n }
test "t" { expect f() == 4 }
)",
       ""},
      {R"(fn f(x) { x }
test "t" { let y = f(zeros([2])) }
)",
       "E0108 `zeros([2])`: `x` of `f` is a single number, and `zeros([2])` is [2]\n"
       "  help declare it as `x[...]` to take any shape"},
  });
}

TEST_CASE("calls without end", "[frontend][calls]") {
  check_sayings({
      {R"(fn a(x) { b(x) }
fn b(x) { a(x) }
test "t" { let y = a(3)
 let z = b(3) }
)",
       "E0209 `b(x)`: `b` calls itself without end\n"
       "  note definitions are expanded where they are called\n"
       "E0209 `a(x)`: `a` calls itself without end\n"
       "  note definitions are expanded where they are called"},
  });
}

TEST_CASE("values of another kind", "[frontend][calls]") {
  check_sayings({
      {means + R"(let y = d }
)",
       "E0206 `d`: `d` is a data block, not a value\n"
       "  help inside `train`, use its fields by their names"},
      {data + "dim N = d",
       "E0206 `d`: `d` is a data block, not a value\n"
       "  help inside `train`, use its fields by their names"},
      {means + R"(report a: mean(x) + true }
)",
       ""},
      {means + R"(report a: mean(none) }
)",
       "E0206 `none`: a tensor is needed here, found a choice"},
      {means + R"(report a: mean(exp) }
)",
       "E0206 `exp`: a tensor is needed here, found a function"},
      {means + R"(report a: mean(relu) }
)",
       "E0206 `relu`: a tensor is needed here, found a definition"},
      {means + R"(report a: mean(Dense(3)) }
)",
       "E0206 `Dense(3)`: a tensor is needed here, found a layer without an input"},
      {means + R"(report a: mean(0..3) }
)",
       "E0206 `0..3`: a tensor is needed here, found a range"},
      {means + R"(report a: mean(normal(1)) }
)",
       "E0206 `normal(1)`: a tensor is needed here, found a distribution"},
      {means + R"(report a: sum(x) / B }
)",
       ""},
      {means + R"(report a: sum(x) / (B * B) }
)",
       ""},
      {means + R"(report a: mean(B * B) }
)",
       ""},
      {means + R"(report a: mean([[1, 2], [3]]) }
)",
       "E0115 `[[1, 2], [3]]`: an array needs numbers that are known at compile time, in rows of equal length"},
      {means + R"(report a: mean([1, [2]]) }
)",
       "E0115 `[1, [2]]`: an array needs numbers that are known at compile time, in rows of equal length"},
      {means + R"(report a: mean([x]) }
)",
       "E0115 `[x]`: an array needs numbers that are known at compile time, in rows of equal length"},
      {means + R"(report a: mean(["a"]) }
)",
       R"(E0115 `["a"]`: an array needs numbers that are known at compile time, in rows of equal length)"},
      {means + R"(report a: mean([2, 2]) }
)",
       ""},
      {means + R"(report b: mean([]) }
)",
       "E0111 `[]`: an array without numbers has no size, and a size must be at least 1"},
      {means + R"(report a: mean([2, 3, 2]) }
)",
       ""},
      {means + R"(report a: mean([2, 2, 2]) }
)",
       ""},
      {means + R"(report a: sum(x) / (B * B)
 report b: mean(x) * B }
)",
       ""},
  });
}

TEST_CASE("names", "[frontend][calls]") {
  check_sayings({
      {"fn f(width) { widht }", "E0201 `widht`: unknown name `widht`; a value with a similar name exists: `width`"},
      {"fn f(x[Width]) { Widht }", "E0201 `Widht`: unknown name `Widht`; a dimension with a similar name exists: `Width`"},
      {means + R"(report a: mean(xx) }
)",
       "E0201 `xx`: unknown name `xx`"},
      {means + R"(let width = 3
 report a: widht }
)",
       "E0201 `widht`: unknown name `widht`; a value with a similar name exists: `width`"},
      {means + R"(dim Width = 3
 report a: Widht }
)",
       "E0201 `Widht`: unknown name `Widht`; a dimension with a similar name exists: `Width`"},
      {means + R"(report a: men(x) }
)",
       "E0201 `men`: unknown name `men`; a function with a similar name exists: `mean`"},
      {means + R"(report a: rleu(x) }
)",
       "E0201 `rleu`: unknown name `rleu`; a function with a similar name exists: `relu`"},
      {means + R"(report a: pi + epoch }
)",
       ""},
      {R"(data d { x[4] : f64 = csv("d.csv", columns: 0..4)
 u : u8 = csv("d.csv", columns: 4)
 l : i64 = csv("d.csv", columns: 4)
 i : i32 = csv("d.csv", columns: 4)
 c : class(5) = csv("d.csv", columns: 4) }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1
 report a: mean(u == i)
 report b: mean(l == i)
 report g: mean(u == l)
 report e: mean(i + l)
 report f: mean(i + i)
 report h: mean(x + i)
 report j: mean(u == u)
 report k: mean(l < x)
 report m: mean(c == u) })",
       ""},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
