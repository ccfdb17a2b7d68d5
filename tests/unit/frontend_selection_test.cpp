// The messages of selection by name and of views.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

TEST_CASE("selection", "[frontend][selection]") {
  check_sayings({
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[3: 1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0016 `3`: this does not say in which dimension to select\n"
       "  help write the dimension's name: `x[T: 0]` for one position, `x[T: 0..3]` for a slice"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[2*2: 1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0110 `2*2`: selection is by name, and `2*2` is a number\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  help give the dimension a name: `dim Classes = 2*2`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[Foo: 1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0201 `Foo`: unknown name `Foo`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: foo] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0201 `foo`: unknown name `foo`"},
      {R"(test "t" { dim T = 2
 let x = zeros([T, T])
 let y = x[T: 1] })",
       "E0103 `x`: selection cannot align [T, T]: dimension `T` appears twice\n"
       "  help give one its own name: `dim S = T`"},
      {R"(test "t" { dim T = 2, S = 3
 let x = zeros([T, T, S]), i = index(T)
 let y = x[S: i] })",
       "E0103 `x[S: i]`: selection cannot align [T, T, S]: dimension `T` appears twice\n"
       "  help give one its own name: `dim S = T`"},
      {R"(test "t" { dim T = 2, S = 3
 let x = zeros([S])
 let y = x[S: index(T) + spread(index(T), over: T)] })",
       "E0103 `spread(index(T), over: T)`: `spread` cannot align [T, T]: dimension `T` appears twice\n"
       "  help give one its own name: `dim S = T`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: "a"] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       R"(E0206 `"a"`: a place is selected by a whole number, a range or a tensor of integers)"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: true] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0206 `true`: a place is selected by a whole number, a range or a tensor of integers"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 1.5] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0206 `1.5`: a place is selected by a whole number, a range or a tensor of integers"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: -1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `-1`: -1 lies outside of `T`, which has 3 entries\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: -1..2] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `-1..2`: -1..2 lies outside of `T`, which has 3 entries\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 2..1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `2..1`: 2..1 selects nothing: a range ends before its end\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 2..2] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `2..2`: 2..2 selects nothing: a range ends before its end\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 0..9] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `0..9`: 0..9 lies outside of `T`, which has 3 entries\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 3..4] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0114 `3..4`: 3 lies outside of `T`, which has 3 entries\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 0..1.5] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0212 `0..1.5`: the bounds of a range must be whole numbers that are known at compile time"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 0..x] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0212 `0..x`: the bounds of a range must be whole numbers that are known at compile time"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 0..T - 1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       ""},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: 0..sqrt(4)] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       ""},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: x] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0206 `x`: an index must be integers, found f32\n"
       "  help declare it as `class(N)` or `i32`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: x > 0] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0206 `x > 0`: an index must be integers, found bool\n"
       "  help declare it as `class(N)` or `i32`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: [0, 1]] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0206 `[0, 1]`: a place is selected by a whole number, a range or a tensor of integers"},
      {means + R"(report mean(x[B: c]) }
)",
       "E0113 `c`: rows of a batch cannot be selected: their number is known only at run time"},
      {means + R"(report mean(x[B: 1]) }
)",
       "E0113 `1`: `B` counts the rows of a batch, whose number is known only at run time: it has no fixed places"},
      {data + R"(layer L(x[B, T]) { param w[3, 2] = 0
 x }
fn f(t[V, E], i[N]: class(V)) { t[V: i] }
train { data d
 let t = zeros([3, 2])
 minimize mean(f(t, c))
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `t`: `t` has 3 entries in `V`, but `c` has 5 classes\n"
       "  label `t`: [3, 2], from `zeros([3, 2])` at t.nn:8\n"
       "  label `c`: class(5), declared at t.nn:3"},
      {data + R"(dim V = 3
train { data d
 let t = zeros([V, 2])
 minimize mean(t[V: c])
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `c`: `c` has 5 classes, but `V` has 3 entries\n"
       "  note class(5), declared at t.nn:3\n"
       "  note V = 3, declared at t.nn:4"},
      {data + R"(train { data d
 dim V = 3
 let t = zeros([V, 2])
 minimize mean(t[V: c])
 using sgd(lr: 1)
 epochs 1 })",
       "E0101 `c`: `c` has 5 classes, but `V` has 3 entries\n"
       "  note class(5), declared at t.nn:3\n"
       "  note V = 3, declared at t.nn:5"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x[T: index(T) * index(T)] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0103 `index(T) * index(T)`: the index has the selected dimension `T` itself\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  help give one its own name: `dim S = T`"},
  });
}

TEST_CASE("views", "[frontend][selection]") {
  check_sayings({
      {R"(test "t" { dim T = 2
 let x = zeros([T, T])
 let y = x as [T, 2] })",
       "E0103 `x`: `as` cannot align [T, T]: dimension `T` appears twice\n"
       "  help give one its own name: `dim S = T`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [..., C] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0201 `...`: `...` stands for nothing here: no argument of this definition has it"},
      {R"(fn f(x[..., C]) { dim H = 2, D = 2
 x as [..., H, D] }
test "t" { expect shape(f(zeros([3, 4]))) == [3, 2, 2] })",
       ""},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, 0] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0111 `0`: `0` is 0, and a size must be at least 1\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, T] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0103 `[B, T, T]`: dimension `T` appears twice\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [_, _] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `[_, _]`: only one `_` can be worked out\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {means + R"(report mean(x as [B, B]) }
)",
       "E0103 `[B, B]`: dimension `B` appears twice"},
      {means + R"(report mean(x as [_, 2]) }
)",
       ""},
      {means + R"(report mean(x as [_]) }
)",
       ""},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, _, 3] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [B, T, _, 3]`: cannot view [B, T, C] as [B, T, _, 3]: 4 values do not divide into groups of 3\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {means + R"(report mean(x as [4, _]) }
)",
       "E0113 `x as [4, _]`: the row dimension must come first among the dimensions that [4, _] merges"},
      {means + R"(report mean(x as [B, _, 3]) }
)",
       "E0105 `x as [B, _, 3]`: cannot view [B, 4] as [B, _, 3]: 4 values do not divide into groups of 3"},
      {means + R"(report mean(x as [4]) }
)",
       "E0105 `x as [4]`: cannot view [B, 4] as [4]: 4*B values, 4 requested"},
      {means + R"(report mean(x as [2, 2]) }
)",
       "E0105 `x as [2, 2]`: cannot view [B, 4] as [2, 2]: 4*B values, 4 requested"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [N, N] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [N, N]`: cannot view [2, 3, 4] as [4, 4]: 24 values, 16 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  note the value is [B, T, C], from `zeros([2, 3, 4])` at t.nn:3"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, 3] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [B, T, 3]`: cannot view [B, T, 4] as [B, T, 3]: 4 values for each [B, T], 3 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  note the value is [B, T, C], from `zeros([2, 3, 4])` at t.nn:3"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, M] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [B, T, M]`: cannot view [B, T, 4] as [B, T, 3]: 4 values for each [B, T], 3 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  note the value is [B, T, C], from `zeros([2, 3, 4])` at t.nn:3"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [5, 6] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [5, 6]`: cannot view [2, 3, 4] as [5, 6]: 24 values, 30 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  note the value is [B, T, C], from `zeros([2, 3, 4])` at t.nn:3"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, 6] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `x as [B, 6]`: cannot view [B, 3, 4] as [B, 6]: 12 values for each B, 6 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  note the value is [B, T, C], from `zeros([2, 3, 4])` at t.nn:3"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, C, 1] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       ""},
      {means + R"(let y = x as [4, B]
 report mean(y as [_]) }
)",
       "E0113 `y as [_]`: the row dimension must come first among the dimensions that [_] merges"},
      {means + R"(let y = x as [B, 2, 2]
 report mean(y as [2*B, 2]) }
)",
       ""},
      {means + R"(let y = x as [B, 2, 2]
 report mean(y as [2, 2*B]) }
)",
       "E0113 `y as [2, 2*B]`: the row dimension must come first among the dimensions that [2, 2*B] merges"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as ["a"] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       R"(E0206 `"a"`: a size is needed here, and `"a"` is none)"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { x as [B, T, C / 3] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0111 `C / 3`: `C / 3` is 1.33333, and a size must be a whole number\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`\n"
       "  help `/` must come out even; `//` rounds down"},
      {R"(dim N = 4, M = 3
fn f(x[B, T, C]) { 3 as [B] }
test "t" { let z = f(zeros([2, 3, 4])) }
)",
       "E0105 `3 as [B]`: cannot view [] as [2]: 1 value, 2 requested\n"
       "  label `f(zeros([2, 3, 4]))`: in this call of `f`"},
      {means + R"(dim P = 2, Q = 2
 let y = x as [P, B, Q]
 report mean(y as [B, P, Q]) }
)",
       ""},
      {means + R"(dim P = 2, Q = 2
 let y = x as [P, Q, B]
 report mean(y as [Q, 2, B]) }
)",
       ""},
      {means + R"(dim P = 2, Q = 2, R = 1
 let y = x as [P, Q, B]
 report mean(y as [P, 2, B, R]) }
)",
       ""},
      {means + R"(let y = zeros([4]) as [B, 2*B] }
)",
       "E0113 `[B, 2*B]`: a view may have the number of rows in one dimension only"},
      {means + R"(let y = x as [2*B, 3*B] }
)",
       "E0113 `[2*B, 3*B]`: a view may have the number of rows in one dimension only"},
      {means + R"(let y = x as [B, 3] }
)",
       "E0105 `x as [B, 3]`: cannot view [B, 4] as [B, 3]: 4 values per row, 3 requested"},
      {means + R"(dim P = 2
 let y = x as [B, P, 3] }
)",
       "E0105 `x as [B, P, 3]`: cannot view [B, 4] as [B, 2, 3]: 4 values per row, 6 requested"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
