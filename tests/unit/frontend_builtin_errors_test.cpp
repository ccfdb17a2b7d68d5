// What is said of calls of the compiler's functions: arguments too many, too few and of the wrong kind, dimensions that are not there.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("functions of the compiler: arguments, dimensions and kinds", "[frontend][diagnostics]") {
  check_sayings({
      {R"(fn f(x[B]) { exp(x, x) })",
       R"(E0204 `x`: `exp` takes 1 argument, not 2)"},
      {R"(fn f(x[B]) { maximum(x, x, x) })",
       R"(E0204 `x`: `maximum` takes 2 arguments, not 3)"},
      {R"(fn f(x[B]) { sum(x, ovr: B) })",
       R"(E0204 `ovr`: `sum` has no option `ovr`; a similar one is `over`)"},
      {R"(fn f(x[B]) { sum(x, axis: B) })",
       R"(E0204 `axis`: `sum` has no option `axis`; here it is `over`)"},
      {R"(fn f(x[B]) { sum(x, keepdim: true) })",
       "E0204 `keepdim`: `sum` has no option `keepdim`\n"
       "  help operands align by name, so that no dimension of size 1 need be kept: leave it out"},
      {R"(fn f(x[B]) { sum(x, B, over: B) })",
       R"(E0204 `B`: `over` of `sum` is given twice)"},
      {R"(fn f(x[B]) { exp() })",
       R"(E0202 `exp()`: `exp` needs `x`)"},
      {R"(fn f(x[B, T]) { spread(x) })",
       R"(E0202 `spread(x)`: `spread` needs `over`)"},
      {R"(fn f(x[B, T]) { where(x > 0, x) })",
       R"(E0202 `where(x > 0, x)`: `where` needs `b`)"},
      {R"(fn f(x[B, T]) { sum(x, over: 2.5) })",
       R"(E0206 `2.5`: `over` needs the name of a dimension)"},
      {R"(fn f(x[B, T]) { sum(x, over: x) })",
       R"(E0206 `x`: `over` needs the name of a dimension)"},
      {R"(fn f(x[B, 3]) { sum(x, over: 3) })",
       R"(E0110 `3`: a dimension without a name cannot be reduced: `over: 3`
  help give it a name: `dim Classes = 3`)"},
      {R"(fn f(x[B, T], y[B, U]) { sum(x, over: U) })",
       R"(E0107 `U`: [B, T] has no dimension `U`
  label `x`: [B, T])"},
      {R"(dim C = 3
fn f(x[B, 3]) { sum(x, over: C) }
test "t" { expect shape(f(zeros([2, 3]))) == [2] })",
       R"(E0107 `C`: [B, 3] has no dimension `C`
  label `f(zeros([2, 3]))`: in this call of `f`
  label `x`: [B, 3], from `zeros([2, 3])` at t.nn:3
  help the dimension of size 3 has no name here; declare its size with a name: `dim Classes = 3`)"},
      {R"(fn f(x[B, T]) { sum(x, over: (T, T)) })",
       R"(E0103 `(T, T)`: dimension `T` appears twice in `over`)"},
      {R"(fn f(x[B, T]) { sum(spread(x, over: T), over: T) })",
       R"(E0103 `spread(x, over: T)`: `spread` cannot align [B, T, T]: dimension `T` appears twice
  help give one its own name: `dim S = T`)"},
      {R"(fn f(x[B, T]) { count(x, over: C) })",
       R"(E0201 `C`: unknown name `C`)"},
      {R"(dim C = 3
fn f(x[B, T]) { count(x, over: C) })",
       R"(E0107 `C`: [B, T] has no dimension `C`
  label `x`: [B, T])"},
      {R"(fn f(x[B, T]) { rank() })",
       R"(E0202 `rank()`: `rank` needs `x`)"},
      {R"(fn f(x[B, T]) { sum(x, over: (B, ...)) })",
       R"(E0201 `...`: `...` stands for nothing here: no argument of this definition has it)"},
      {R"(fn f(x[B, ...]) { x + ... })",
       R"(E0010 `...`: expected an expression, found `...`
  help `...` stands in lists of dimensions, and in `over: (B, ...)`)"},
      {R"(fn f(x[B, ...]) { sum(x, over: ... + B) })",
       R"(E0010 `...`: expected an expression, found `...`
  help `...` stands in lists of dimensions, and in `over: (B, ...)`)"},
      {R"(fn f(x[B, ...]) { sum(x, over: B * ...) })",
       R"(E0010 `...`: expected an expression, found `...`
  help `...` stands in lists of dimensions, and in `over: (B, ...)`)"},
      {R"(fn f(x[B, ...]) { sum(x, over: exp(...)) })",
       R"(E0010 `...`: expected an expression, found `...`
  help `...` stands in lists of dimensions, and in `over: (B, ...)`)"},
      {R"(fn f(x[B, T, T]) { sum(x, over: T) }
test "t" { expect shape(f(zeros([2, 3, 3]))) == [2] })",
       R"(E0103 `x`: `over` cannot align [B, T, T]: dimension `T` appears twice
  label `f(zeros([2, 3, 3]))`: in this call of `f`
  help give one its own name: `dim S = T`)"},
      {R"(fn f(x) { argmax(x) }
test "t" { expect f(0) == 0 })",
       R"(E0202 `argmax(x)`: `argmax` needs one dimension
  help write `argmax(x, over: D)`)"},
      {R"(fn f(x[B, T]) { argmax(x) })",
       R"(E0202 `argmax(x)`: `argmax` needs one dimension
  help write `argmax(x, over: D)`)"},
      {R"(fn f(x[B, T]) { argmax(x, over: (B, T)) })",
       R"(E0202 `argmax(x, over: (B, T))`: `argmax` needs one dimension
  help write `argmax(x, over: D)`)"},
      {R"(fn f(x[B, T]) { maximum(x, "a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { maximum("b", x) })",
       R"(E0206 `"b"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T], y[U]) { maximum(x, y) })",
       R"(E0106 `maximum(x, y)`: `maximum` would pair every B, T with every U
  label `x`: [B, T]
  label `y`: [U]
  help if that is meant, write `spread(y, over: (B, T))`)"},
      {R"(fn f(x[B, T]) { where(x, x, 0) })",
       R"(E0206 `x`: the condition of `where` needs true or false, found f32)"},
      {R"(fn f(x[B, T]) { where(1, x, 0) })",
       R"(E0206 `1`: the condition of `where` needs true or false, found a number)"},
      {R"(fn f(x[B, T]) { where("a", x, 0) })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { where(x > 0, "a", 0) })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { where(x > 0, x, "a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T], y[U]) { where(x > 0, x, y) })",
       R"(E0106 `where(x > 0, x, y)`: `where` would pair every B, T with every U
  label `x`: [B, T]
  label `y`: [U]
  help if that is meant, write `spread(y, over: (B, T))`)"},
      {R"(fn f(x[B, T], y[U]) { where(y > 0, x, -x) })",
       R"(E0106 `where(y > 0, x, -x)`: `where` would pair every B, T with every U
  label `x, -x`: [B, T]
  label `y > 0`: [U]
  help if that is meant, write `spread(y > 0, over: (B, T))`)"},
      {R"(fn f(x[B, T]) { x + index(3) })",
       R"(E0110 `3`: `index` needs a dimension with a name, and 3 has none
  help give it a name: `dim Classes = 3`)"},
      {R"(fn f(x[B, T]) { x + index() })",
       R"(E0202 `index()`: `index` needs `dimension`)"},
      {R"(fn f(x[B, T]) { x + index((B, T)) })",
       R"(E0206 `(B, T)`: `index` takes one dimension, not 2)"},
      {R"(fn f(x[B, T]) { x + index(x) })",
       R"(E0206 `x`: `index` needs the name of a dimension)"},
      {R"(fn f(x[B, T]) { spread(x, over: T) })",
       R"(E0103 `spread(x, over: T)`: `spread` cannot align [B, T, T]: dimension `T` appears twice
  help give one its own name: `dim S = T`)"},
      {R"(fn f(x[B, T]) { spread(x, over: 3) })",
       R"(E0110 `3`: `spread` needs a dimension with a name, and 3 has none
  help give it a name: `dim Classes = 3`)"},
      {R"(fn f(x[B, T]) { spread("a", over: T) })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { stop_gradient("a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { stop_gradient() })",
       R"(E0202 `stop_gradient()`: `stop_gradient` needs `x`)"},
      {R"(fn f(x[B, T]) { f64() })",
       R"(E0202 `f64()`: `f64` needs `x`)"},
      {R"(fn f(x[B, T]) { i32("a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { exp("a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T]) { softmax("a") })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T], y[U]) { softmax(x, over: U) })",
       R"(E0107 `U`: [B, T] has no dimension `U`
  label `x`: [B, T])"},
      {R"(fn f(x[B, T]) { let a, b = moments()
 a })",
       R"(E0202 `moments()`: `moments` needs `x`)"},
      {R"(fn f(x[B, T]) { let a, b = moments("a")
 a })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(fn f(x[B, T], y[U]) { let a, b = moments(x, over: U)
 a })",
       R"(E0107 `U`: [B, T] has no dimension `U`
  label `x`: [B, T])"},
      {R"(fn f(x[B, T]) { x + zeros() })",
       R"(E0202 `zeros()`: `zeros` needs `dimensions`)"},
      {R"(fn f(x[B, T]) { x + zeros(3) })",
       R"(E0206 `3`: `zeros` needs dimensions
  help write `zeros([4, 10])`)"},
      {R"(fn f(x[B, T]) { x + zeros(["a"]) })",
       R"(E0206 `"a"`: a size is needed here, and `"a"` is none)"},
      {R"(test "t" { expect shape(zeros([0 - 1])) == [1] })",
       R"(E0111 `0 - 1`: `0 - 1` is -1, and a size must be at least 1)"},
      {R"(test "t" { expect shape(zeros([2000000, 2000000])) == [1] })",
       R"(E0111 `zeros([2000000, 2000000])`: [2000000, 2000000] would have more than 2^40 elements)"},
      {R"(test "t" { expect shape(classes([2])) == [2] })",
       R"(E0202 `classes([2])`: `classes` needs `of`)"},
      {R"(test "t" { expect shape(classes([2], of: 2.5)) == [2] })",
       R"(E0111 `2.5`: `2.5` is 2.5, and a size must be a whole number)"},
      {R"(test "t" { expect shape(classes(2, of: 2)) == [2] })",
       R"(E0206 `2`: `classes` needs dimensions
  help write `classes([4, 10], of: 3)`)"},
      {R"(test "t" { expect shape() == [2] })",
       R"(E0202 `shape()`: `shape` needs `x`)"},
      {R"(test "t" { expect shape("a") == [2] })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(layer f(x[B, T]) { x |> stack(2) })",
       R"(E0202 `stack(2)`: `stack` needs `layer`)"},
      {R"(layer f(x[B, T]) { x |> stack(2.5, Dense(3)) }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `2.5`: the count of `stack` must be a whole number from 0 to 10000 that is known at compile time)"},
      {R"(layer f(x[B, T]) { x |> stack(0 - 1, Dense(3)) }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `0 - 1`: the count of `stack` must be a whole number from 0 to 10000 that is known at compile time)"},
      {R"(layer f(x[B, T]) { x |> stack(20000, Dense(3)) }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `20000`: the count of `stack` must be a whole number from 0 to 10000 that is known at compile time)"},
      {R"(layer f(x[B, T]) { x |> stack(2, relu) })",
       R"(E0207 `relu`: `stack` needs a layer, and `relu` is none)"},
      {R"(layer f(x[B, T]) { x |> stack(2, 3) })",
       R"(E0207 `3`: `stack` needs a layer, and `3` is none)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal()
 x * w })",
       R"(E0202 `normal()`: `normal` needs `deviation`)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal("a")
 x * w })",
       R"(E0212 `"a"`: `normal` needs numbers that are known at compile time)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(sum(x))
 x * w })",
       R"(E0212 `sum(x)`: `normal` needs numbers that are known at compile time)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(0 - 1)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `0 - 1`: a standard deviation cannot be negative)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(1, zero: 0)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       ""},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(1, zero: 3)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0114 `normal(1, zero: 3)`: row 3 is to begin as zero, and `w` is [T])"
       "\n  label `f(zeros([2, 3]))`: in this call of `f`"},
      {R"(layer f(x[B, T]) { param w[T] ~ truncated_normal(1, zero: 0.5)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `0.5`: `zero` is the number of a row, counted from 0, found 0.5)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(1, zero: 0 - 1)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `0 - 1`: `zero` is the number of a row, counted from 0, found -1)"},
      {R"(test "t" { expect shape(classes([2], of: 4) |> Embedding(4, 5, padding: 4)) == [2, 5] })",
       R"(E0104 `Embedding(4, 5, padding: 4)`: `padding` counts the 4 entries from 0, or is `none`, found 4)"
       "\n  label `Embedding(4, 5, padding: 4)`: in this call of `Embedding`"},
      {R"(fn f(x[B, C], y[B]: class(C)) { cross_entropy(x, y, ignore: 3) }
test "t" { expect shape(f(zeros([2, 3]), classes([2], of: 3))) == shape(1) })",
       R"(E0104 `cross_entropy(x, y, ignore: 3)`: `ignore` counts the 3 classes from 0, or is `none`, found 3)"
       "\n  label `cross_entropy(x, y, ignore: 3)`: in this call of `cross_entropy`"},
      {R"(fn f(x[B, C], w[C] = none) { if w == none { x } else { x * w } }
test "t" { expect f([[1, 2]]) == [[1, 2]]
 expect f([[1, 2]], w: [3, 4]) == [[3, 8]]
 expect f([[1, 2]], w: none) == [[1, 2]] })",
       ""},
      {R"(fn f(x[B, C], w[C] = none) { if w == none { x } else { x * w } }
test "t" { expect f([[1, 2]], w: mean) == [[1, 2]] })",
       "E0206 `mean`: a tensor is needed here, found a function"},
      {R"(fn f(x[B, C], w[C] = 1) { x * w }
test "t" { expect f([[1, 2]], w: none) == [[1, 2]] })",
       R"(E0206 `none`: a tensor is needed here, found a choice)"},
      {R"(layer f(x[B, T]) { param w[T] ~ truncated_normal(0 - 1)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `0 - 1`: a standard deviation cannot be negative)"},
      {R"(layer f(x[B, T]) { param w[T] ~ normal(inf)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `inf`: `normal` needs finite numbers, found inf)"},
      {R"(layer f(x[B, T]) { param w[T] ~ uniform(2, 1)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `2`: `uniform` from 2 to 1 is empty
  help write `uniform(0.1)` for -0.1 to 0.1, or `uniform(low, high)`)"},
      {R"(layer f(x[B, T]) { param w[T] ~ uniform(-0.1)
 x * w }
test "t" { expect shape(f(zeros([2, 3]))) == [2, 3] })",
       R"(E0304 `-0.1`: `uniform` from 0.1 to -0.1 is empty
  help write `uniform(0.1)` for -0.1 to 0.1, or `uniform(low, high)`)"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
