// The messages of calls about sizes, arguments, their dimensions and types, and results.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("sizes", "[frontend][signature]") {
  check_sayings({
      {R"(dim N = "a")", R"(E0206 `"a"`: a size is needed here, and `"a"` is none)"},
      {"dim N = none", "E0206 `none`: a size is needed here, and `none` is none"},
      {"dim N = 2000000000000", "E0111 `2000000000000`: `2000000000000` is 2e+12, which is more than memory can hold"},
      {data + R"(model M(x[B, 4]) { param w[B] = 0
 x * w }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0113 `B`: `B` counts the rows of a batch, so no stored value can have it\n"
       "  label `M(x)`: in this call of `M`"},
      {R"(fn f(x[...]) { param w[...] = 0
 x })",
       "E0208 `param w[...] = 0`: a fn owns no parameters\n"
       "  help make it a `layer`"},
      {R"(layer L(x[B, ...]) { param w[...] = 0
 x + w }
test "t" { expect shape(L(zeros([2, 3, 4]))) == [2, 3, 4] }
)",
       ""},
      {R"(layer L(x[B]) { param w[...] = 0
 x + w }
test "t" { expect shape(L(zeros([2]))) == [2] }
)",
       "E0201 `...`: `...` stands for nothing here: no argument of this definition has it"},
      {R"(layer L(x[B]) { param w[_] = 0
 x + w }
test "t" { expect shape(L(zeros([2]))) == [2] }
)",
       "E0206 `_`: a size is needed here"},
      {R"(layer L(x[B]) { param w[0] = 0
 x + w }
test "t" { expect shape(L(zeros([2]))) == [2] }
)",
       "E0111 `0`: `0` is 0, and a size must be at least 1\n"
       "  label `L(zeros([2]))`: in this call of `L`"},
      {means + R"(dim N = B * B }
)",
       "E0206 `B * B`: a size is needed here, and `B * B` is known only while a step runs\n"
       "  help a size is made of numbers and dims; one that depends on the rows is a multiple of them, as in `2 * B`"},
      {means + R"(dim N = B + 2 }
)",
       "E0206 `B + 2`: a size is needed here, and `B + 2` is known only while a step runs\n"
       "  help a size is made of numbers and dims; one that depends on the rows is a multiple of them, as in `2 * B`"},
      {means + R"(dim N = 4 // B }
)",
       "E0206 `4 // B`: a size is needed here, and `4 // B` is known only while a step runs\n"
       "  help a size is made of numbers and dims; one that depends on the rows is a multiple of them, as in `2 * B`"},
  });
}

TEST_CASE("arguments and options", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(x, y, z) { x - y + z }
test "t" { expect f(y: 1, 2, 3) == 4 }
)",
       ""},
      {R"(fn f(x, y) { x - y }
test "t" { expect f(1, 2, 3) == 4 }
)",
       "E0204 `3`: `f` takes 2 arguments, not 3\n"
       "  label `fn f(x, y)`: declared here"},
      {R"(fn f() { 3 }
test "t" { expect f(1) == 4
 expect f() == 3 }
)",
       "E0204 `1`: `f` takes 0 arguments, not 1\n"
       "  label `fn f()`: declared here"},
      {R"(test "t" { expect relu(1, 2) == 4 }
)",
       "E0204 `2`: `relu` takes 1 argument, not 2"},
      {R"(fn f(x, y) { x - y }
test "t" { expect f(1, x: 2) == 4
 expect f(x: 2, x: 3) == 4 }
)",
       "E0204 `2`: `x` of `f` is given twice\n"
       "E0204 `3`: `x` of `f` is given twice"},
      {R"(fn f() { 3 }
test "t" { expect f(a: 1) == 4 }
)",
       "E0204 `a`: `f` has no option `a`"},
      {R"(layer L(Hidden)(x[B]) { x }
test "t" { expect L()(1) == 4
 expect shape([2.0] |> L) == [4] }
)",
       "E0202 `L()(1)`: `L` needs a size `Hidden`\n"
       "  label `Hidden`: declared here\n"
       "E0202 `L`: `L` needs a size `Hidden`\n"
       "  label `Hidden`: declared here"},
      {R"(layer L(hidden)(x[B]) { x }
test "t" { let y = [2.0] |> L }
)",
       "E0202 `L`: `L` needs `hidden`\n"
       "  label `hidden`: declared here"},
      {R"(test "t" { let y = softmax()
 let z = cross_entropy() }
)",
       "E0202 `softmax()`: `softmax` needs `x`\n"
       "E0202 `cross_entropy()`: `cross_entropy` needs `logits`"},
      {R"(layer L(Out)(x[B]) { x }
test "t" { let y = [2.0] |> L }
)",
       "E0202 `L`: `L` needs an output size\n"
       "  help write `L(64)`"},
      {R"(fn f(x[B]) { x }
test "t" { let y = f() }
)",
       "E0202 `f()`: `f` needs `x`\n"
       "  label `x[B]`: declared here"},
  });
}

TEST_CASE("dimensions of heads", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(x[A, B, C]) { x }
test "t" { dim A = 2, B = 3, C = 4
 let y = f(zeros([B, A, C])) }
)",
       "E0109 `zeros([B, A, C])`: `zeros([B, A, C])` is [B, A, C], and `x` expects [A, B, C]: the same names in another order\n"
       "  help bring it into that order: `... as [A, B, C]`"},
      {R"(dim N = 3, M = 3
fn f(x[N]) { x }
test "t" { let y = f(zeros([M])) }
)",
       "E0102 `zeros([M])`: `x` of `f` is dimension `N`, and `zeros([M])` has `M` in its place\n"
       "  help equal sizes are not enough: view it as `... as [N]`"},
      {R"(dim N = 3, M = 3
fn f(x[N]) { x }
test "t" { let y = f(zeros([4]))
 let z = f(zeros([3])) }
)",
       "E0102 `zeros([4])`: dimension `N` has two sizes: 4 in `zeros([4])` (from `zeros([4])` at t.nn:3), 3 declared (t.nn:1)\n"
       "  label `zeros([4])`: [4], from `zeros([4])` at t.nn:3\n"
       "  label `N = 3`: N = 3"},
      {R"(dim N = 3, M = 4
fn f(x[N]) { x }
test "t" { let y = zeros([M])
 let z = f(y) }
)",
       "E0102 `y`: dimension `N` has two sizes: 4 in `y` (declared at t.nn:1), 3 declared (t.nn:1)\n"
       "  label `y`: [M], declared at t.nn:1\n"
       "  label `N = 3`: N = 3"},
      {data + R"(dim N = 3
fn f(t : class(N)) { t }
train { data d
 minimize mean(f(c))
 using sgd(lr: 1)
 epochs 1 })",
       "E0108 `c`: `t` of `f` is a single number, and `c` is [B]\n"
       "  help declare it as `t[...]` to take any shape"},
      {data + R"(dim N = 3
fn f(t[B] : class(N)) { t }
train { data d
 minimize mean(f(c))
 using sgd(lr: 1)
 epochs 1 })",
       "E0102 `c`: dimension `N` has two sizes: 5 in `c` (declared at t.nn:3), 3 declared (t.nn:4)\n"
       "  label `c`: class(5)\n"
       "  label `N = 3`: N = 3"},
      {R"(layer L(N)(x[N]) { x }
test "t" { let y = zeros([4]) |> L(3) }
)",
       "E0102 `zeros([4])`: dimension `N` has two sizes: 4 in `zeros([4])` (from `zeros([4])` at t.nn:2), 3 declared (t.nn:2)\n"
       "  label `zeros([4])`: [4], from `zeros([4])` at t.nn:2\n"
       "  label `L(3)`: in this call of `L`\n"
       "  label `3`: N = 3"},
      {R"(layer L(N)(x[N]) { x }
test "t" { dim P = 3, Q = 3
 let y = zeros([P]) |> L(Q)
 let z = zeros([P]) |> L(3)
 expect shape(z) == [P] }
)",
       "E0102 `zeros([P])`: dimension `N` is both `Q` and `P`\n"
       "  label `zeros([P])`: [P], declared at t.nn:2\n"
       "  label `L(Q)`: in this call of `L`\n"
       "  note equal sizes are not enough: the names must be the same"},
      {R"(fn f(x[A], y[A]) { x + y }
test "t" { dim P = 3
 let y = f(zeros([3]), zeros([P]))
 expect shape(y) == [P] }
)",
       ""},
      {R"(fn f(x[A], y[A]) { x + y }
test "t" { dim P = 3, Q = 3
 let y = f(zeros([P]), zeros([Q])) }
)",
       "E0102 `zeros([Q])`: dimension `A` is both `P` and `Q`\n"
       "  label `zeros([Q])`: [Q], declared at t.nn:2\n"
       "  label `zeros([P])`: [P], declared at t.nn:2\n"
       "  note equal sizes are not enough: the names must be the same"},
      {R"(fn f(x[A], y[A], z[A]) { x + y + z }
test "t" { let y = f(zeros([2]), zeros([3]), zeros([4])) }
)",
       "E0102 `zeros([3])`: dimension `A` has two sizes: 2 in `zeros([2])`, 3 in `zeros([3])`\n"
       "  label `zeros([3])`: [3], from `zeros([3])` at t.nn:2\n"
       "  label `zeros([2])`: [2], from `zeros([2])` at t.nn:2\n"
       "E0102 `zeros([4])`: dimension `A` has two sizes: 2 in `zeros([2])`, 4 in `zeros([4])`\n"
       "  label `zeros([4])`: [4], from `zeros([4])` at t.nn:2\n"
       "  label `zeros([2])`: [2], from `zeros([2])` at t.nn:2"},
      {data + R"(fn f(x[A], y[A]) { x + y }
train { data d
 minimize mean(f(u, zeros([5])))
 using sgd(lr: 1)
 epochs 1 })",
       "E0102 `zeros([5])`: dimension `A` has two sizes: B rows in `u`, 5 in `zeros([5])`\n"
       "  label `zeros([5])`: [5], from `zeros([5])` at t.nn:6\n"
       "  label `u`: [B]"},
      {R"(dim N = 3
fn N2(x) { x }
fn f(x[N2]) { x }
test "t" { let y = f(zeros([4])) }
)",
       ""},
      {R"(fn N(x) { x }
fn f(x[N]) { x }
test "t" { let y = f(zeros([4])) }
)",
       ""},
      {R"(layer L(n)(x[n]) { x }
test "t" { expect shape(L(3)(zeros([3]))) == [3]
 let y = L(3)(zeros([4]))
 let z = L(1.5)(zeros([4])) }
)",
       "E0111 `n`: `n` is 1.5, and a size must be a whole number\n"
       "  label `L(1.5)(zeros([4]))`: in this call of `L`\n"
       "E0101 `zeros([4])`: `zeros([4])` has 4 entries, but `L` takes 3 for `x`\n"
       "  label `zeros([4])`: [4], from `zeros([4])` at t.nn:3\n"
       "  label `x[n]`: declared [n]"},
      {R"(fn f(x[n], y[n]) { x + y }
test "t" { let y = f([1.0], [1.0, 2.0]) }
)",
       "E0102 `[1.0, 2.0]`: dimension `n` has two sizes: 1 in `[1.0]`, 2 in `[1.0, 2.0]`\n"
       "  label `[1.0, 2.0]`: [2], written at t.nn:2\n"
       "  label `[1.0]`: [1], written at t.nn:2"},
      {R"(fn f(x[2], y[x]) { x }
test "t" { let y = f([1.0, 2.0], [1.0]) }
)",
       "E0206 `x`: a size is needed here, and `x` is known only while a step runs\n"
       "  help a size is made of numbers and dims; one that depends on the rows is a multiple of them, as in `2 * B`"},
      {R"(fn f(x[A], y[A]) { x + y }
test "t" { dim P = 3
 let a = zeros([P]), b = zeros([3])
 expect shape(f(b, a)) == [P]
 expect shape(f(a, b)) == [P] }
)",
       ""},
  });
}

TEST_CASE("classes", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(a[N] : class(K), b[N] : class(K)) { a }
test "t" { let y = f(classes([2], of: 3), classes([2], of: 4)) }
)",
       "E0101 `classes([2], of: 3)`: `classes([2], of: 3)` has 3 classes, but `classes([2], of: 4)` has 4 classes\n"
       "  label `classes([2], of: 3)`: class(3), from `classes([2], of: 3)` at t.nn:2\n"
       "  label `classes([2], of: 4)`: class(4), from `classes([2], of: 4)` at t.nn:2"},
      {R"(fn f(a[N, K], b[N] : class(K)) { a }
test "t" { let y = f(zeros([2, 3]), classes([2], of: 4)) }
)",
       "E0101 `zeros([2, 3])`: `zeros([2, 3])` has 3 columns, but `classes([2], of: 4)` has 4 classes\n"
       "  label `zeros([2, 3])`: [2, 3], from `zeros([2, 3])` at t.nn:2\n"
       "  label `classes([2], of: 4)`: class(4), from `classes([2], of: 4)` at t.nn:2"},
      {R"(fn f(b[N] : class(K), a[N, K]) { a }
test "t" { let y = f(classes([2], of: 4), zeros([2, 3])) }
)",
       "E0101 `classes([2], of: 4)`: `classes([2], of: 4)` has 4 classes, but `zeros([2, 3])` has 3 columns\n"
       "  label `classes([2], of: 4)`: class(4), from `classes([2], of: 4)` at t.nn:2\n"
       "  label `zeros([2, 3])`: [2, 3], from `zeros([2, 3])` at t.nn:2"},
      {data + R"(model M(x[B, 4]) { x |> Dense(12) |> relu }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `M(x)`: `M(x)` has 12 columns, but `c` has 5 classes\n"
       "  label `M(x)`: [B, 12], from `Dense(12)` at t.nn:4\n"
       "  label `c`: class(5), declared at t.nn:3\n"
       "  help change `Dense(12)` to `Dense(5)`"},
      {data + R"(model M(x[B, 4]) { x |> Dense(12, bias: false) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `M(x)`: `M(x)` has 12 columns, but `c` has 5 classes\n"
       "  label `M(x)`: [B, 12], from `Dense(12, bias: false)` at t.nn:4\n"
       "  label `c`: class(5), declared at t.nn:3\n"
       "  help change `Dense(12, bias: false)` to `Dense(5, bias: false)`"},
      {data + R"(layer Q(N)(x[B, C]) { x |> Dense(N) }
model M(x[B, 4]) { x |> Q(12 + 0) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `M(x)`: `M(x)` has 12 columns, but `c` has 5 classes\n"
       "  label `M(x)`: [B, 12], from `Q(12 + 0)` at t.nn:5\n"
       "  label `c`: class(5), declared at t.nn:3"},
      {R"(fn f(a[N] : class(3)) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       "E0101 `classes([2], of: 4)`: `classes([2], of: 4)` has 4 classes, but `f` takes class(3) for `a`"},
      {R"(fn f(a[N] : class(_)) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       "E0010 `_`: `_` has no value\n"
       "  help `_` stands for a size to work out, in a result's dimensions alone"},
      {R"(fn f(a[N] : class(1/2)) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       "E0111 `1/2`: `1/2` is 0.5, and a size must be a whole number\n"
       "  label `f(classes([2], of: 4))`: in this call of `f`\n"
       "  help `/` must come out even; `//` rounds down"},
      {R"(fn f(a[N] : class(K)) { a }
test "t" { dim P = 3
 let y = f(index(P)) }
)",
       "E0206 `index(P)`: `f` takes `K` from the classes of `a`, and `index(P)` holds plain i32\n"
       "  help declare the field as `class(N)`"},
      {R"(fn f(a[N] : class(K)) { a }
test "t" { dim P = 3
 let y = f(index(P) > 1) }
)",
       "E0206 `index(P) > 1`: `f` needs class numbers for `a`, and `index(P) > 1` holds bool\n"
       "  help declare the field as `class(N)`"},
      {R"(fn f(a[N] : class) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       ""},
      {data + R"(model M(x[B, 4], k : class(5)) { x |> Dense(5) }
train { data d
 minimize mean(M(x, c))
 using sgd(lr: 1)
 epochs 1 })",
       "E0108 `c`: `k` of `M` is a single number, and `c` is [B]\n"
       "  help declare it as `k[...]` to take any shape"},
      {R"(fn f(a[N] : class(K), b[M] : class(K)) { a }
test "t" { dim P = 3
 let y = f(classes([2], of: 3), index(P))
 let z = f(index(P), classes([2], of: 3)) }
)",
       "E0206 `index(P)`: `f` takes `K` from the classes of `a`, and `index(P)` holds plain i32\n"
       "  help declare the field as `class(N)`"},
  });
}

TEST_CASE("element types", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(a[N] : bf16) { a }
test "t" { let y = f([2.0]) }
)",
       "E0210 `bf16`: the type `bf16` is not part of this version of nnc"},
      {R"(fn f(a[N] : f16) { a }
test "t" { let y = f([2.0]) }
)",
       "E0201 `f16`: unknown type `f16`\n"
       "  help types are f32, f64, i32, i64, u8, bool and class(N)"},
      {R"(fn f(a[N] : i32) { a }
test "t" { let y = f([2.0]) }
)",
       "E0206 `[2.0]`: `a` of `f` is i32, and `[2.0]` holds f32"},
      {R"(fn f(a[N] : f32) { a }
test "t" { dim P = 3
 let y = f(index(P))
 expect shape(y) == [P] }
)",
       ""},
      {R"(fn f(a[N] : f64) { a }
test "t" { let y = f([2.0]) }
)",
       ""},
      {R"(fn f(a[N] : i64) { a }
test "t" { dim P = 3
 let y = f(index(P)) }
)",
       ""},
      {R"(fn f(a[N] : i32) { a }
test "t" { dim P = 3
 let y = f(index(P)) }
)",
       ""},
      {R"(fn f(a[N] : i64) { a }
test "t" { dim P = 3
 let y = f(index(P) > 1) }
)",
       "E0206 `index(P) > 1`: `a` of `f` is i64, and `index(P) > 1` holds bool"},
      {R"(fn f(a[N] : f32) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       ""},
      {R"(fn f(a[N] : u8) { a }
test "t" { let y = f(classes([2], of: 4)) }
)",
       "E0206 `classes([2], of: 4)`: `a` of `f` is u8, and `classes([2], of: 4)` holds i32"},
      {data + R"(fn f(a[N] : i32) { a }
train { data d
 minimize mean(f(u))
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {R"(data d { x[4] : f64 = csv("d.csv", columns: 0..4)
}
fn f(a[N, M]) { a }
train { data d
 minimize mean(f(x))
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {R"(fn f(n : i32) { n }
test "t" { let y = f([1.0, 2.0])
 let z = f(2.5)
 expect f(2) == 2 }
)",
       "E0206 `[1.0, 2.0]`: `n` of `f` is i32, and `[1.0, 2.0]` holds f32\n"
       "E0206 `2.5`: `n` of `f` is i32, and `2.5` holds f32"},
      {R"(fn f(n : i32 = 4) { n }
test "t" { expect f() == 4 }
)",
       ""},
  });
}

TEST_CASE("shapes of arguments", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(a[N]) { a }
test "t" { let y = f(3) }
)",
       "E0108 `3`: `a` of `f` is [N], and `3` is []\n"
       "  label `3`: 0 dimensions, 1 needed"},
      {R"(fn f(a[N, M]) { a }
test "t" { let y = f([3]) }
)",
       "E0108 `[3]`: `a` of `f` is [N, M], and `[3]` is [1]\n"
       "  label `[3]`: 1 dimension, 2 needed"},
      {R"(fn f(a[..., N, M]) { a }
test "t" { let y = f([3]) }
)",
       "E0108 `[3]`: `a` of `f` is [..., N, M], and `[3]` is [1]\n"
       "  label `[3]`: 1 dimension, at least 2 needed"},
      {R"(fn f(a[..., N], b[..., M]) { a }
test "t" { let y = f(zeros([2, 3]), zeros([4, 3]))
 let z = f(zeros([2, 3]), zeros([3])) }
)",
       "E0102 `zeros([4, 3])`: `f` needs the same leading dimensions in `zeros([2, 3])` and `zeros([4, 3])`: `zeros([2, 3])` is [2, 3], which has [2] before `N`, and `zeros([4, 3])` is [4, 3], which has [4] before `M`\n"
       "  label `zeros([4, 3])`: [4, 3], from `zeros([4, 3])` at t.nn:2\n"
       "  label `zeros([2, 3])`: [2, 3], from `zeros([2, 3])` at t.nn:2\n"
       "E0102 `zeros([3])`: `f` needs the same leading dimensions in `zeros([2, 3])` and `zeros([3])`: `zeros([2, 3])` is [2, 3], which has [2] before `N`, and `zeros([3])` is [3], which has none before `M`\n"
       "  label `zeros([3])`: [3], from `zeros([3])` at t.nn:3\n"
       "  label `zeros([2, 3])`: [2, 3], from `zeros([2, 3])` at t.nn:3"},
      {R"(fn f(a[..., N], b[..., M]) { a }
test "t" { dim P = 2, Q = 2
 let y = f(zeros([P, 3]), zeros([Q, 3])) }
)",
       "E0102 `zeros([Q, 3])`: `f` needs the same leading dimensions in `zeros([P, 3])` and `zeros([Q, 3])`: `zeros([P, 3])` is [P, 3], which has [P] before `N`, and `zeros([Q, 3])` is [Q, 3], which has [Q] before `M`\n"
       "  label `zeros([Q, 3])`: [Q, 3], from `zeros([Q, 3])` at t.nn:3\n"
       "  label `zeros([P, 3])`: [P, 3], from `zeros([P, 3])` at t.nn:3"},
      {R"(fn f(a[..., N], b[..., M]) { a }
test "t" { dim P = 2, Q = 2
 let z = f(zeros([2, 3]), zeros([P, 3]))
 let v = f(zeros([P, 3]), zeros([2, 3]))
 let w = f(zeros([2, 3]), zeros([2, 3])) }
)",
       ""},
      {R"(fn f(a[_, M]) { sum(a, over: M) }
test "t" { expect shape(f(zeros([2, 3]))) == [2] }
)",
       ""},
      {R"(fn f(a[2, M]) { a }
test "t" { let y = f(zeros([3, 3])) }
)",
       "E0101 `zeros([3, 3])`: `zeros([3, 3])` has 3 entries there, but `f` takes 2 for `a`\n"
       "  label `zeros([3, 3])`: [3, 3], from `zeros([3, 3])` at t.nn:2\n"
       "  label `a[2, M]`: declared [2, M]"},
      {R"(fn f(a[N, 2]) { a }
test "t" { let y = f(zeros([3, 3])) }
)",
       "E0101 `zeros([3, 3])`: `zeros([3, 3])` has 3 columns, but `f` takes 2 for `a`\n"
       "  label `zeros([3, 3])`: [3, 3], from `zeros([3, 3])` at t.nn:2\n"
       "  label `a[N, 2]`: declared [N, 2]"},
      {R"(fn f(a[3]) { a }
test "t" { let y = f(zeros([2])) }
)",
       "E0101 `zeros([2])`: `zeros([2])` has 2 entries, but `f` takes 3 for `a`\n"
       "  label `zeros([2])`: [2], from `zeros([2])` at t.nn:2\n"
       "  label `a[3]`: declared [3]"},
      {R"(dim P = 2
fn f(a[2*P]) { a }
test "t" { let y = f(zeros([4]))
 let z = f(zeros([5])) }
)",
       "E0101 `zeros([5])`: `zeros([5])` has 5 entries, but `f` takes 4 for `a`\n"
       "  label `zeros([5])`: [5], from `zeros([5])` at t.nn:4\n"
       "  label `a[2*P]`: declared [2*P]"},
      {R"(dim P = 3
fn f(a[P/2]) { a }
test "t" { let y = f(zeros([4])) }
)",
       "E0111 `P/2`: `P/2` is 1.5, and a size must be a whole number\n"
       "  label `f(zeros([4]))`: in this call of `f`\n"
       "  help `/` must come out even; `//` rounds down"},
  });
}

TEST_CASE("results", "[frontend][signature]") {
  check_sayings({
      {R"(fn f(a[N]) -> [N] : i32 { a }
test "t" { let y = f([2]) }
)",
       "E0206 `a`: `f` declares a result of i32, and its body gives f32\n"
       "  label `[N] : i32`: declared here"},
      {R"(fn f(a[N]) -> [N] : f16 { a }
test "t" { let y = f([2]) }
)",
       "E0201 `f16`: unknown type `f16`\n"
       "  help types are f32, f64, i32, i64, u8, bool and class(N)"},
      {R"(fn f(a[N]) -> [N] : f32 { a }
test "t" { let y = f([2]) }
)",
       ""},
      {R"(fn f(a[N] : class(K)) -> [N] : class(K) { a }
test "t" { let y = f(classes([2], of: 3)) }
)",
       ""},
      {R"(fn f(a[N]) -> [...] { a }
test "t" { let y = f([2]) }
)",
       "E0201 `...`: `...` stands for nothing here: no argument of this definition has it"},
      {R"(fn f(a[N]) -> [N, 2] { a }
test "t" { let y = f([2]) }
)",
       "E0112 `a`: `f` declares the result [N, 2], and its body gives [N]\n"
       "  label `a`: [N], written at t.nn:2\n"
       "  label `f([2])`: in this call of `f`\n"
       "  label `[N, 2]`: declared here"},
      {R"(dim P = 3, Q = 3
fn f(a[N]) -> [Q] { zeros([P]) }
test "t" { let y = f([2]) }
)",
       "E0112 `zeros([P])`: `f` declares the result [Q], and its body gives [P]\n"
       "  label `zeros([P])`: [P], declared at t.nn:1\n"
       "  label `f([2])`: in this call of `f`\n"
       "  label `[Q]`: declared here\n"
       "  note `Q` and `P` have one size, but are two dimensions"},
      {R"(fn f(a[N]) -> [_, N] { dim Q = 3
 spread(a, over: Q) }
test "t" { expect shape(f([2])) == [3, 1] }
)",
       ""},
      {R"(dim P = 3
fn f(a[N]) -> [P] { zeros([3]) }
test "t" { expect shape(f([2])) == [P] }
)",
       ""},
      {R"(fn f(a[N]) -> [N/2] { a }
test "t" { let y = f([3]) }
)",
       "E0111 `N/2`: `N/2` is 0.5, and a size must be a whole number\n"
       "  label `f([3])`: in this call of `f`\n"
       "  help `/` must come out even; `//` rounds down"},
      {R"(fn f(a[N]) -> [N], [N] { a }
test "t" { let y = f([3]) }
)",
       "E0213 `a`: `f` declares 2 results, and its body gives 1\n"
       "  label `fn f(a[N]) -> [N], [N]`: declared here"},
      {R"(fn f(a[N]) -> [N] { a, a }
test "t" { let y = f([3]) }
)",
       "E0213 `a`: `f` declares 1 result, and its body gives 2\n"
       "  label `fn f(a[N]) -> [N]`: declared here"},
      {R"(fn f(a[N]) -> [N] { "a" }
test "t" { let y = f([3]) }
)",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(a[N]) { let b = a }
test "t" { let y = f([3]) }
)",
       "E0213 `{ let b = a }`: `f` gives no result\n"
       "  help end its body with the value it should give"},
      {R"(fn f(a[N]) -> [N], [N] { if true { a, a } else { a, a } }
test "t" { let y, z = f([3]) }
)",
       ""},
      {R"(test "t" { let y = mean_squared_error([1.0], [2.0, 3.0]) }
)",
       "E0102 `[2.0, 3.0]`: `mean_squared_error` needs the same leading dimensions in `[1.0]` and `[2.0, 3.0]`: [1] against [2]\n"
       "  label `[2.0, 3.0]`: [2], written at t.nn:1\n"
       "  label `[1.0]`: [1], written at t.nn:1"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
