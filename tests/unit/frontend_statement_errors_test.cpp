// What is said of statements: names for too many or too few values, parameters and states where none can be, updates of what is fixed.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("statements: let, param, state, update, repeat", "[frontend][diagnostics]") {
  check_sayings({
      {R"(fn f(x[B]) { repeat 2 { x + 1 }
 x })",
       R"(E0024 `x + 1`: this value is not used
  help a `repeat` gives no value: keep one with `update`, in a name that `let` made before it)"},
      {R"(fn two(x[B]) { x, -x }
fn f(x[B]) { let a = two(x)
 a })",
       R"(E0213 `two(x)`: one name for 2 values
  help take it apart with `let a, b = ...`)"},
      {R"(fn two(x[B]) { x, -x }
fn f(x[B]) { let a, b, c = two(x)
 a })",
       R"(E0213 `two(x)`: 3 names for 2 values)"},
      {R"(fn f(x[B]) { let a, b = x
 a })",
       R"(E0213 `x`: 2 names for 1 value)"},
      {R"(fn f(x[B]) { let a, b = foo(x)
 a + b })",
       R"(E0201 `foo`: unknown name `foo`)"},
      {R"(fn f(x[B]) { let a, b, c = foo(x), x
 a + b })",
       R"(E0201 `foo`: unknown name `foo`)"},
      {R"(fn f(x[B]) { let a = x, x
 a })",
       R"(E0213 `a = x, x`: 1 name for 2 values)"},
      {R"(fn two(x[B]) { x, -x }
fn f(x[B]) { let A, b = two(x)
 b })",
       R"(E0208 `A`: `A` begins with a capital, as dimensions do
  help for a size, write `dim A = ...`)"},
      {R"(fn f(x[B]) { dim N = Q
 spread(x, over: N) })",
       R"(E0201 `Q`: unknown name `Q`)"},
      {R"(layer f(x[B, T]) { param w[T] = normal(1)
 x * w })",
       R"(E0206 `normal(1)`: this is a distribution
  help draw from it with `~` instead of `=`)"},
      {R"(layer f(x[B, T]) { param w[T] ~ 3
 x * w })",
       R"(E0206 `3`: `~` needs a distribution
  help for a fixed value, write `=`; distributions are normal, uniform, truncated_normal, orthogonal, he, glorot, lecun, zeros, ones)"},
      {R"(layer f(x[B, T]) { param w[T] ~ x
 x * w })",
       R"(E0206 `x`: `~` needs a distribution
  help for a fixed value, write `=`; distributions are normal, uniform, truncated_normal, orthogonal, he, glorot, lecun, zeros, ones)"},
      {R"(layer f(x[B, T]) { param w[T, 3] ~ he
 sum(x * w, over: T) })",
       R"(E0202 `he`: `he` needs `fan_in`)"},
      {R"(layer f(x[B, T]) { param w[T] ~ gauss(1)
 x * w })",
       R"(E0201 `gauss`: unknown name `gauss`)"},
      {R"(layer f(x[B, T]) { param w[T] = x
 x * w })",
       R"(E0212 `x`: an initial value must be a number that is known at compile time, or a distribution)"},
      {R"(layer f(x[B, T]) { param w[T] = "a"
 x * w })",
       R"(E0212 `"a"`: an initial value must be a number that is known at compile time, or a distribution)"},
      {R"(layer f(x[B, T]) { param w[T]: f64 = 0
 x * w })",
       R"(E0210 `f64`: a stored value of type `f64` is not part of this version of nnc)"},
      {R"(layer f(x[B, T]) { param w[B, T] = 0
 x * w }
data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
train { data d
 minimize mean(f(x))
 using sgd(lr: 1)
 epochs 1 })",
       R"(E0113 `B`: `B` counts the rows of a batch, so no stored value can have it
  label `f(x)`: in this call of `f`)"},
      {R"(layer f(x[B, T]) { param w[T] ~ orthogonal
 x * w })",
       R"(E0206 `param w[T] ~ orthogonal`: an orthogonal start needs two dimensions, and `w` is [T])"},
      {R"(layer f(x[B, T]) { param w[T] = 0
 param w[T] = 1
 x * w })",
       R"(E0205 `w`: two values are stored under the name `w`
  label `w`: the first)"},
      {R"(layer A(x[...]) -> [...] { param w[...] = 1
 x * w }
layer f(x[B, T], y[B, T, S]) -> [B, T, S] { a: A
 let p = a(x)
 let q = a(y)
 q }
test "t" { expect shape(f(zeros([2, 3]), zeros([2, 3, 4]))) == [2, 3, 4] })",
       R"(E0102 `a(y)`: `w` has two shapes: [B, T, S] in this call, [B, T] in the first (t.nn:4)
  note an instance that is called twice has one set of weights)"},
      {R"(layer A(x[B, C]) -> [B, C] { param w[C] = 1
 x * w }
layer f(x[B, T], y[B, S]) { a: A
 let p = a(x)
 let q = a(y)
 q }
test "t" { expect shape(f(zeros([2, 3]), zeros([2, 4]))) == [2, 4] })",
       R"(E0102 `a(y)`: dimension `C` has two sizes: 4 in `x` (from `zeros([2, 4])` at t.nn:7), 3 in `w` (t.nn:4)
  label `a(x)`: `f1.a.w` was made here
  note an instance that is called twice has one set of weights)"},
      {R"(fn f(x[B]) { param w = 0
 x * w })",
       R"(E0208 `param w = 0`: a fn owns no parameters
  help make it a `layer`)"},
      {R"(optimizer o(lr) { param w = 0
 update value = value - lr * grad }
model M(x[B, 4]) -> [B, 2] { x |> Dense(2) }
data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
train { data d
 minimize mean(M(x))
 using o(lr: 1)
 epochs 1 })",
       R"(E0208 `param w = 0`: an optimizer owns no parameters
  help use `state`)"},
      {R"(test "t" { param w = 0
 expect w == 0 })",
       R"(E0208 `param w = 0`: a test owns no parameters
  help put it into a `layer`)"},
      {R"(fn f(x[B]) { state w = 0
 x * w })",
       R"(E0208 `state w = 0`: only a layer, a model or an optimizer can have a state)"},
      {R"(fn f(x[B]) { update y = x
 x })",
       R"(E0201 `y`: unknown name `y`)"},
      {R"(fn f(x[B]) { let value = x
 update valeu = x
 value })",
       R"(E0201 `valeu`: unknown name `valeu`; a value with a similar name exists: `value`)"},
      {R"(layer f(x[B, T]) { param w[T] = 0
 update w = w + 1
 x * w })",
       R"(E0208 `w`: `w` is a parameter and cannot be updated here
  help parameters are changed by the optimizer; a value that the layer changes itself is a `state`)"},
      {R"(layer f(x[B, T]) { dim N = 3
 update N = 4
 spread(x, over: N) })",
       R"(E0208 `N`: `N` is a dimension and cannot be updated here
  help sizes are fixed)"},
      {R"(optimizer o(lr) { update grad = 0
 update value = value - lr * grad }
model M(x[B, 4]) -> [B, 2] { x |> Dense(2) }
data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
train { data d
 minimize mean(M(x))
 using o(lr: 1)
 epochs 1 })",
       R"(E0208 `grad`: `grad` cannot be updated)"},
      {R"(layer f(x[B, T]) { state m[T] = 0
 update m = foo
 update m = m + 1
 x * m })",
       R"(E0201 `foo`: unknown name `foo`)"},
      {R"(layer f(x[B, T]) { state m[T] = foo
 update m = 3
 x * m })",
       R"(E0201 `foo`: unknown name `foo`)"},
      {R"(layer f(x[B, T]) { state m[T] = 0
 update m = "a"
 x * m })",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(layer f(x[B, T]) { state m[T] = 0
 update m = mean(x, over: T)
 x * m })",
       R"(E0112 `mean(x, over: T)`: `m` is [T], and its new value is [B])"},
      {R"(fn f(x[B]) { let y = x
 if x > 0 { update y = -x }
 y })",
       R"(E0212 `x > 0`: `if` chooses at compile time, and this is known only at run time
  help use `where(condition, a, b)` to choose per element)"},
      {R"(fn f(x[B]) { let y = x
 repeat 10000 { repeat 10000 { update y = y } }
 y }
test "t" { expect shape(f(zeros([3]))) == [3] })",
       R"(E0209 `repeat 10000 { update y = y }`: this program expands to more than 1000000 operations
  note definitions are expanded where they are called, and `repeat` unrolls its body)"},
      {R"(dim N = 3
fn f(x[B]) { update N = x * 2
 x })",
       R"(E0208 `N`: `N` is a dimension and cannot be updated here)"},
      {R"(fn f(x[B]) { update relu = x * 2
 x })",
       R"(E0208 `relu`: `relu` is a function and cannot be updated here)"},
      {R"(fn f(x[B]) { sgdd(x) })",
       R"(E0201 `sgdd`: unknown name `sgdd`; an optimizer with a similar name exists: `sgd`)"},
  });
}

TEST_CASE("a `let` whose value is lost where its block ends", "[frontend][diagnostics]") {
  auto lost = [](const std::string& name, const std::string& outer) {
    return "E0214 `" + name + "`: this `let " + name + "` makes a new `" + name +
           "`, which is lost where its block ends\n  label `" + outer + "`: this `" + name +
           "` stays as it is\n  help to change the outer one, write `update " + name + " = ...`";
  };
  check_sayings({
      {"fn f(x[B, T]) { let y = x\n repeat 3 as i { let y = y * 2 + i }\n y }", lost("y", "y")},
      {"fn f(x[B, T]) { repeat 3 { let x = x * 2 }\n x }", lost("x", "x")},
      {"fn f(x[B, T]) { let y = x\n if T > 2 { let y = y * 2 } else { let y = y * 3 }\n y }",
       lost("y", "y") + "\n" + lost("y", "y")},
      // Made from itself twice over, it is still not used; one mistake.
      {"fn f(x[B, T]) { let y = x\n repeat 3 { let y = y * 2\n let y = y + 1\n update y = y * 3 }\n y }", lost("y", "y")},
      {"fn f(x[B, T]) { let y = x\n repeat 3 { let y = x\n repeat 2 { update y = y * 3 } }\n y }", lost("y", "y")},
      // Read in the block, or in a block in it, if only in one case; without an outer one; or one that `update` cannot change.
      {"fn f(x[B, T]) { let y = x, z = x\n repeat 3 { let y = z * 2\n update z = y + 1 }\n y + z }", ""},
      {"fn f(x[B, T]) { let y = x, z = x\n repeat 3 { let y = z * 2\n if T > 100 { update z = y } }\n y + z }", ""},
      {"fn f(x[B, T]) { let y = x, z = x\n repeat 3 { let z, y = y, z\n update y = z\n let w = y }\n y + z }", ""},
      {"fn f(x[B, T]) { let y = if T > 2 { let x = x * 2\n x } else { x }\n y }", ""},
      {"fn f(x[B, T]) { repeat 3 { let y = x }\n x }", ""},
      {"fn f(x[B, T]) { repeat 3 { let y = x }\n let y = x\n y }", ""},
      {"fn f(x[B, T]) { let y = x\n repeat 3 { update y = y * 2 }\n y }", ""},
      {"layer F(x[B, T]) { param w = 0\n repeat 3 { let w = x }\n x * w }", ""},
      {"fn f(x[B, T]) { let g = x\n repeat 3 { let g = x\n let q = (g as [B, T]) }\n g }", ""},
      {"test \"t\" { fn f(x[B, T]) { repeat 3 { let x = x * 2 }\n x }\n expect f([[1.0]]) == [[1.0]] }", lost("x", "x")},
  });
  // What parameters miss on their way to the loss is a consequence.
  check_sayings({{data +
                      "layer Res(x[..., D]) { x + (x |> Dense(D) |> relu |> Dense(D)) }\nmodel M(x[B, F]) { let h = x\n repeat 3 "
                      "{ let h = h |> Res }\n" +
                      " h |> Dense(1) }\ntrain { data d\n minimize mean(M(x))\n using sgd(lr: 1)\n epochs 1 }",
                  lost("h", "h")}});
}

TEST_CASE("what gives no initial values is named with what it is", "[frontend][diagnostics]") {
  auto layer = [](const std::string& value) { return "layer f(x[B, T]) { param w[T] ~ " + value + "\n x * w }"; };
  const std::string distributions =
      "\n  help for a fixed value, write `=`; distributions are normal, uniform, truncated_normal, orthogonal, he, glorot, "
      "lecun, zeros, "
      "ones";
  check_sayings({
      {layer("relu"), "E0206 `relu`: `~` needs a distribution, and `relu` is a function" + distributions},
      {layer("exp"), "E0206 `exp`: `~` needs a distribution, and `exp` is a function" + distributions},
      {layer("Dense"), "E0206 `Dense`: `~` needs a distribution, and `Dense` is a layer" + distributions},
      {layer("sgd"), "E0206 `sgd`: `~` needs a distribution, and `sgd` is an optimizer" + distributions},
      {layer("relu(3)"), "E0206 `relu(3)`: `~` needs a distribution" + distributions},
      {layer("normal"), "E0202 `normal`: `normal` needs `deviation`"},
      {layer("he"), "E0202 `he`: `he` needs `fan_in`"},
      {"fn tight() { normal(0.001) }\n" + layer("tight"), ""},
      {layer("zeros"), ""},
  });
}

TEST_CASE("a layer's count is whole, and nothing else is", "[frontend][diagnostics]") {
  auto layer = [](const std::string& lines) { return "layer f(x[B, T]) {\n " + lines + "\n x }"; };
  const std::string later = " is not part of this version of nnc";
  check_sayings({
      {layer("state n: i64 = 0\n update n = n + 1"), ""},
      {layer("state n[T]: i64 = 3\n update n = 2 * n"), ""},
      {layer("state n: i64 = 0.5"), "E0206 `0.5`: `n` is i64, so it begins with a whole number"},
      {layer("state n[T]: i64 ~ normal(1)"), "E0206 `normal(1)`: `n` is i64, so it begins with a whole number"},
      {layer("state n: i64 = 0\n update n = n + 0.5"),
       "E0206 `n + 0.5`: `n` is i64, and its new value is f32\n  help convert it: `i64(...)` takes the fraction away"},
      {layer("state n: i64 = 0\n update n = i64(n + 0.5)"), ""},
      {layer("state n: i32 = 0"), "E0210 `i32`: a stored value of type `i32`" + later},
      {layer("param n: i64 = 0"), "E0210 `i64`: a stored value of type `i64`" + later},
  });
}

TEST_CASE("conditions on the rows of a batch", "[frontend][diagnostics]") {
  auto program = [](const std::string& where, const std::string& batch = "1") {
    return "data d { x[4] : f32 = csv(\"d.csv\", columns: 0..4) }\nlayer L(x[B, T]) -> [B, T] where " + where +
           " { x |> Dense(T) }\ntrain { data d, batch: " + batch + "\n minimize mean(L(x))\n using sgd(lr: 1)\n epochs 1 }";
  };
  auto unmet = [](const std::string& text, const std::string& size, const std::string& is, std::string stated = "") {
    if (stated.empty()) stated = text;
    return "E0310 `L(x)`: `L` needs `" + text + "`, and a batch has 1 row\n  label `L(x)`: `" + size + "` is " + is + " there\n  label `" + stated +
           "`: stated here\n  help give the data clause another size: `batch: N`";
  };
  auto undecided = [](const std::string& text) { return "E0113 `" + text + "`: `" + text + "` cannot be decided at compile time\n  label `L(x)`: in this call of `L`"; };
  check_sayings({
      {program("B > 1"), unmet("B > 1", "B", "1")},
      {program("B > 1", "2"), ""},
      {program("B >= 2"), unmet("B >= 2", "B", "1")},
      {program("1 < B"), unmet("1 < B", "B", "1")},
      {program("B != 1"), unmet("B != 1", "B", "1")},
      {program("B == 2"), unmet("B == 2", "B", "1")},
      {program("T * B > T"), unmet("T * B > T", "T * B", "4")},
      {program("B <= 0"), unmet("B <= 0", "B", "1")},
      {program("2 <= B and T > 1"), unmet("2 <= B", "B", "1", "2 <= B and T > 1")},
      {program("T > 1 and 2 <= B"), unmet("2 <= B", "B", "1", "T > 1 and 2 <= B")},
      {program("B > 0 and B > 1"), unmet("B > 1", "B", "1", "B > 0 and B > 1")},
      {program("T == 5 or B > 1"), unmet("B > 1", "B", "1", "T == 5 or B > 1")},
      {program("B > 1 or T == 5"), unmet("B > 1", "B", "1", "B > 1 or T == 5")},
      {program("B > 1 or T == 4"), ""},
      {program("not training or B > 1"), unmet("B > 1", "B", "1", "not training or B > 1")},
      {program("training or B > 1"), ""},
      {program("B == B"), ""},
      {program("B > 1 or B < 1"), undecided("B > 1 or B < 1")},
      {program("not (B == 1)"), undecided("not (B == 1)")},
      {program("B % 2 == 0"), undecided("B % 2 == 0")},
      {program("B + 1 > 2"), undecided("B + 1 > 2")},
      {program("B > 1, T == 5"), "E0104 `L(x)`: `T == 5` does not hold: T = 4 (t.nn:1)\n  label `L(x)`: `L` needs it\n  label `x[4]`: T = 4\n  label `T == 5`: stated here"},
  });
}

TEST_CASE("the rows of a batch where there is no batch", "[frontend][diagnostics]") {
  const std::string no_batch =
      "E0113 `B`: `B` counts the rows of a batch, and there is no batch here\n"
      "  help a size is made of numbers and dims; in `train`, `dim S = B` is the number of rows";
  const std::string unbound =
      "E0201 `B`: unknown name `B`\n  help the rows of a batch have this name where an argument has them: `x[B, 64]`";
  check_sayings({
      {"dim S = B", no_batch},
      {"dim S = 2 * B\nfn f(x[S]) { x }", no_batch},
      {"test \"t\" { expect B == 3 }", no_batch},
      {"fn f(x[N]) { x * B }", unbound},
      {"fn f(x[N]) { dim S = B\n x as [S] }", unbound},
      {"dim B = 3, S = B\nfn f(x[S]) { x * B }", ""},
      {means + " report m: mean(x) / B }", ""},
  });
}

TEST_CASE("two models may not mean one parameter by accident", "[frontend][diagnostics]") {
  auto program = [](const std::string& first, const std::string& second) {
    return R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
model One(x[B, 4]) -> [B, 3] { x |> )" + first + R"( }
model Two(x[B, 4]) -> [B, 3] { x |> )" + second + R"( }
train { data d
 minimize mean(One(x) * Two(x)) + mean(One(x + 1))
 using sgd(lr: 1)
 epochs 1 })";
  };
  check_sayings({{program("Dense(3, bias: false)", "Dense(3, bias: false)"),
                  "E0205 `Dense(3, bias: false)`: `One` and `Two` both store a value under the name `dense1.weight`\n"
                  "  label `Dense(3, bias: false)`: the first\n  help name the layers: `x |> encode: Dense(64)`"},
                 {program("a: Dense(3)", "b: Dense(3)"), ""}});
}

}  // namespace
}  // namespace nnc::frontend_tests
