// What expressions over named dimensions mean, by value.
#include <cmath>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {
namespace {

const Tensor six = tensor({2, 3}, {1, 2, 3, 4, 5, 6});

TEST_CASE("operands align by name in any order", "[frontend][language]") {
  check_values(run("fn f(x[B, T], y[T, B]) { x + y }", "f", {{"x", six}, {"y", tensor({3, 2}, {10, 20, 30, 40, 50, 60})}}),
               {11, 32, 53, 24, 45, 66});
  check_values(run("fn f(x[B, T], y[B]) { y - x }", "f", {{"x", six}, {"y", tensor({2}, {10, 20})}}), {9, 8, 7, 16, 15, 14});
  check_values(run("fn f(x[B, T], y[3]) { x * y }", "f", {{"x", six}, {"y", tensor({3}, {1, 10, 100})}}),
               {1, 20, 300, 4, 50, 600});
  check_values(
      run("fn f(x[B], y[T]) { x + spread(y, over: B) }", "f", {{"x", tensor({2}, {1, 2})}, {"y", tensor({2}, {10, 20})}}),
      {11, 12, 21, 22});
}

TEST_CASE("contractions", "[frontend][language]") {
  // A matrix product, with the weight on either side; the order is that of the left, then what is new.
  const Tensor w = tensor({2, 3}, {1, 0, 1, 2, 2, 2});
  check_values(run("fn f(x[B, In], w[Out, In]) { sum(x * w, over: In) }", "f", {{"x", six}, {"w", w}}), {4, 12, 10, 30});
  check_values(run("fn f(x[B, In], w[Out, In]) { sum(w * x, over: In) }", "f", {{"x", six}, {"w", w}}), {4, 10, 12, 30});
  check_values(run("fn f(x[B, In], w[Out, In]) -> [B, Out] { sum(w * x, over: In) }", "f", {{"x", six}, {"w", w}}),
               {4, 12, 10, 30});
  check_values(run("fn f(x[B, In], w[Out, In]) { sum(2 * x * w * 3, over: (In, Out)) }", "f", {{"x", six}, {"w", w}}), {96, 240});
  // Three factors; no dimension needs to be in all.
  check_values(run("fn f(a[I, K], b[K, J], c[J]) { sum(a * b * c, over: (K, J)) }", "f",
                   {{"a", six}, {"b", tensor({3, 2}, {1, 0, 0, 1, 1, 1})}, {"c", tensor({2}, {10, 100})}}),
               {540, 1200});
  // Not a contraction: each dimension in one factor only needs alignment.
  check_values(run("fn f(x[B, T], y[B]) { sum(x * y, over: T) }", "f", {{"x", six}, {"y", tensor({2}, {1, 2})}}), {6, 30});
  Loaded l = load("fn f(x[B, T], y[S]) { sum(x * y, over: T) }");
  CHECK(l.has(Code::E0106));
}

TEST_CASE("views keep names and read the rest row by row", "[frontend][language]") {
  check_values(run("fn f(x[B, T]) { x as [T, B] }", "f", {{"x", six}}), {1, 4, 2, 5, 3, 6});
  const Tensor x = tensor({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  check_values(run("fn f(x[B, C]) -> [2, 2, 2] { dim H = 2, D = 2\n x as [H, B, D] }", "f", {{"x", x}}),
               {0, 1, 4, 5, 2, 3, 6, 7});
  check_values(run("fn f(x[B, C]) { dim H = 2, D = 2\n (x as [B, H, D]) as [B, D, H] as [B, C] }", "f", {{"x", x}}),
               {0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(run("fn f(x[B, ...]) { x as [B, _] }", "f", {{"x", tensor({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7})}}).shape ==
        std::vector<int64_t>{2, 4});
}

TEST_CASE("selection by name", "[frontend][language]") {
  check_values(run("fn f(x[B, T]) { x[T: 1] }", "f", {{"x", six}}), {2, 5});
  check_values(run("fn f(x[B, T]) { x[T: 1..3] }", "f", {{"x", six}}), {2, 3, 5, 6});
  check_values(run("fn f(x[B, T]) { x[B: 1, T: 2] }", "f", {{"x", six}}), {6});
  check_values(run("fn f(table[V, E], i[N]: class(V)) { table[V: i] }", "f", {{"table", six}, {"i", tensor({3}, {1, 0, 1})}}, {},
                   {{"i", 2}}),
               {4, 5, 6, 1, 2, 3, 4, 5, 6});
  // A name that both have is one dimension.
  check_values(run("fn f(x[N, C], i[N]: class(C)) { x[C: i] }", "f", {{"x", six}, {"i", tensor({2}, {2, 0})}}, {}, {{"i", 3}}),
               {3, 4});
}

TEST_CASE("reductions and masks", "[frontend][language]") {
  check_values(run("fn f(x[B, T]) { max(x, over: T) - min(x, over: T) }", "f", {{"x", six}}), {2, 2});
  check_values(run("fn f(x[B, T]) { mean(x, over: (B, T)) + mean(x) + sum(x) }", "f", {{"x", six}}), {28});
  check_values(run("fn f(x[B, T]) { argmax(x, over: T) * 1 }", "f", {{"x", six}}), {2, 2});
  check_values(run("fn f(x[B, T]) { sum(softmax(x, over: T), over: T) }", "f", {{"x", six}}), {1, 1});
  double lse = 3 + std::log(std::exp(-2) + std::exp(-1) + 1);
  check_values(run("fn f(x[B, T]) { logsumexp(x, over: T) }", "f", {{"x", six}}), {lse, lse + 3});
  check_values(run("fn f(x[B, T]) { let m, v = moments(x, over: T)\n m + v }", "f", {{"x", six}}), {2 + 2.0 / 3, 5 + 2.0 / 3});
  check_values(run("fn f(x[T, S]) { where(index(S) <= index(T), x, -1) }", "f", {{"x", tensor({2, 2}, {1, 2, 3, 4})}}),
               {1, -1, 3, 4});
}

TEST_CASE("a call has dimensions of its own", "[frontend][language]") {
  // Both of the callee's names are the caller's C: the weight is aligned by the callee's.
  const Tensor w = tensor({2, 2}, {0, 1, 2, 0});
  check_values(run("fn mul(x[B, In], w[Out, In]) { sum(x * w, over: In) }\nfn f(x[B, C], w[C, C]) -> [B, C] { mul(x, w) }", "f",
                   {{"x", tensor({1, 2}, {3, 5})}, {"w", w}}),
               {5, 6});
  // Equal sizes are two dimensions.
  CHECK(load("fn same(x[B, C], y[B, C]) { x + y }\nfn f(x[B, M], y[B, N]) { same(x, y) }\n"
             "test \"t\" { dim M = 3, N = 3\n let x = zeros([2, M]), y = zeros([2, N])\n expect same(x, y) == x }")
            .has(Code::E0102));
}

TEST_CASE("if, repeat and update at compile time", "[frontend][language]") {
  const std::string text =
      "fn f(x[...], n = 3) { let y = x\n repeat n as i { update y = y * 2 + i }\n if n > 2 { y } else { -y } }";
  check_values(run(text, "f", {{"x", tensor({1}, {1})}}), {12});
  check_values(run("fn g(x[...]) { f(x, n: 1) }\n" + text, "g", {{"x", tensor({1}, {1})}}), {-2});
}

TEST_CASE("numbers are worked out at compile time", "[frontend][language]") {
  check_values(
      run("dim C = 10, H = 4\nfn f(x[...]) { x + C // H + C % H + 2^3 + C / H - sqrt(H) }", "f", {{"x", tensor({1}, {0})}}),
      {2 + 2 + 8 + 2.5 - 2});
}

TEST_CASE("another file's definitions", "[frontend][language]") {
  Loaded l = load("use \"lib.nn\" { twice }\ntest \"t\" { expect shape(twice(zeros([2]))) == [2] }", {},
                  {{"lib.nn", "dim Hidden = 3\nfn twice(x[...]) { x * helper(2) }\nfn helper(n) { n }"}});
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  CHECK(l.module->build_tests(d)[0].expectations[0].passed);
  CHECK(load("use \"lib.nn\" { thrice }", {}, {{"lib.nn", "fn twice(x[...]) { x }"}}).has(Code::E0211));
}

}  // namespace
}  // namespace nnc::frontend_tests
