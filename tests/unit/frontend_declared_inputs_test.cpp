// Definitions whose inputs look as their heads say, as `nnc ir` and `nnc explain` ask for: where each size comes from, and what
// is said of one that is open or wrong.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const char* const definitions = R"(dim High = 8, Wide = High
layer Wider(Out, In2 = 2 * High, bias = true)(x[B, In2]) -> [B, Out] { x |> Dense(Out) }
fn plain(x[B, High * Wide - 4]) { x }
fn rounded(x[B, High // 3]) { x }
fn squared(x[B, High ^ 2]) { x }
fn uneven(x[B, High / 3]) { x }
fn none(x[B, High - 8]) { x }
fn huge(x[B, 1000000 * 1000000 * 1000000]) { x }
fn pairs(x[B, B]) { x }
fn pick(x[B, N], label[B]: class(N)) { x[N: label] }
fn doubled(m[M], label[B]: class(2 * M)) { f32(label) }
fn both(x[B, T], y[B, T]) { x * y }
fn any(x[..., T]) { x }
fn some(x[B, _]) { x }
fn scaled(x[B, 4], k) { x * k }
fn times(x[B, 4], K) { x * K }
fn thrice(x[B, 4], k = 3) { x * k }
fn bytes(x[B, 28, W]: u8) { x / 255 }
fn turned(x[T, B]) { x }
fn twice(x[B, T], n[2 * T]) { x }
fn either(x[B, T]) { x }
fn either(x[B, T]: class(9)) { f32(x) })";

/// "x f32[B, 3] -> f32[B, 4]", or what is said.
std::string declared(const std::string& name, const std::map<std::string, int64_t>& dims = {},
                     const std::vector<ArgumentSpec>& described = {}, std::vector<Override> overrides = {}) {
  Loaded l = load(definitions, std::move(overrides));
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics diagnostics;
  std::optional<BuiltGraph> built = l.module->build_declared(name, described, dims, diagnostics);
  CHECK(built.has_value() == diagnostics.items().empty());
  if (!built) return said(diagnostics, *l.sources);
  REQUIRE(verify_graph(built->graph).empty());
  std::string text;
  for (const ArgumentSpec& a : built->inputs) {
    text += (text.empty() ? "" : ", ") + a.name + " " + to_string(a.type);
    if (a.classes) text += " of " + std::to_string(a.classes);
  }
  return text + " -> " + to_string(built->graph.type(built->graph.outputs.at(0).node));
}

ArgumentSpec described(const std::string& name, DType dtype, Shape shape) {
  ArgumentSpec a;
  a.name = name;
  a.type = {dtype, std::move(shape)};
  return a;
}

constexpr Extent rows{1, true};

TEST_CASE("sizes of a head are evaluated as everywhere", "[frontend][definition]") {
  CHECK(declared("plain") == "x f32[B, 60] -> f32[B, 60]");
  CHECK(declared("plain", {}, {}, {{"High", "4"}}) == "x f32[B, 12] -> f32[B, 12]");
  CHECK(declared("rounded") == "x f32[B, 2] -> f32[B, 2]");
  CHECK(declared("squared") == "x f32[B, 64] -> f32[B, 64]");
  CHECK(declared("uneven") ==
        "E0111 `High / 3`: `High / 3` is 2.66667, and a size must be a whole number\n  help `/` must come out even; `//` rounds "
        "down");
  CHECK(declared("none") == "E0111 `High - 8`: `High - 8` is 0, and a size must be at least 1");
  CHECK(declared("huge") ==
        "E0111 `1000000 * 1000000 * 1000000`: `1000000 * 1000000 * 1000000` is 1e+18, which is more than memory can hold");
  CHECK(declared("pairs") ==
        "E0113 `x[B, B]`: [B, B] would pair the rows of a batch with each other\n"
        "  note the number of rows is known only at run time, and only one dimension of a value can count them");
  CHECK(declared("turned", {{"T", 5}}) == "x f32[B, 5] -> f32[B, 5]");  // in the graph the rows stand first
  CHECK(declared("bytes", {{"W", 28}}) == "x u8[B, 28, 28] -> f32[B, 28, 28]");
  CHECK(declared("bytes", {{"W", 28}, {"B", 2}}) == "x u8[2, 28, 28] -> f32[2, 28, 28]");
}

TEST_CASE("what a call would bind is given, described, or asked for", "[frontend][definition]") {
  CHECK(declared("Wider", {{"Out", 3}}) == "x f32[B, 16] -> f32[B, 3]");
  CHECK(declared("Wider", {{"Out", 3}, {"In2", 5}}) == "x f32[B, 5] -> f32[B, 3]");
  CHECK(declared("Wider") == "E0202 `Out`: `Wider` needs `Out`\n  help add `--dim Out=64`");
  CHECK(declared("both", {{"T", 5}}) == "x f32[B, 5], y f32[B, 5] -> f32[B, 5]");
  CHECK(declared("both", {}, {described("y", DType::f32, {rows, {7, false}})}) == "y f32[B, 7], x f32[B, 7] -> f32[B, 7]");
  CHECK(declared("both", {}, {described("y", DType::f32, {{4, false}, {7, false}})}) == "y f32[4, 7], x f32[4, 7] -> f32[4, 7]");
  CHECK(declared("both") ==
        "E0202 `T`: `both` needs `T`, a size of `x`\n  help add `--dim T=64`, or describe the input: `--input \"x=f32[B, 64]\"`");
  CHECK(declared("bytes") ==
        "E0202 `W`: `bytes` needs `W`, a size of `x`\n  help add `--dim W=64`, or describe the input: `--input \"x=u8[B, 28, "
        "64]\"`");
  CHECK(declared("any", {{"T", 5}}) ==
        "E0202 `...`: `any` needs the sizes that `...` stands for in `x`\n  help describe the input: `--input \"x=f32[B, 64]\"`");
  CHECK(declared("some") ==
        "E0202 `_`: `some` needs the size that `_` stands for in `x`\n  help describe the input: `--input \"x=f32[B, 64]\"`");
  CHECK(declared("any", {}, {described("x", DType::f32, {rows, {2, false}, {3, false}})}) == "x f32[B, 2, 3] -> f32[B, 2, 3]");
  CHECK(declared("twice", {{"T", 5}}) == "x f32[B, 5], n f32[10] -> f32[B, 5]");
  CHECK(declared("relu") ==
        "E0202 `...`: `relu` needs the sizes that `...` stands for in `x`\n  help describe the input: `--input \"x=f32[B]\"`");
  CHECK(declared("mean_squared_error", {}, {described("target", DType::f32, {rows})}).substr(0, 5) == "E0202");
}

TEST_CASE("arguments without a shape are numbers, by their capital sizes", "[frontend][definition]") {
  CHECK(declared("scaled") == "x f32[B, 4], k f32[] -> f32[B, 4]");
  CHECK(declared("scaled", {{"k", 3}}) == "x f32[B, 4] -> f32[B, 4]");
  CHECK(declared("times", {{"K", 3}}) == "x f32[B, 4] -> f32[B, 4]");
  CHECK(declared("times") == "E0202 `K`: `times` needs `K`\n  help add `--dim K=64`");
  CHECK(declared("thrice") == "x f32[B, 4] -> f32[B, 4]");
}

TEST_CASE("classes of an input that nobody gave", "[frontend][definition]") {
  CHECK(declared("pick", {{"N", 4}}) == "x f32[B, 4], label i32[B] of 4 -> f32[B]");
  CHECK(declared("pick", {}, {described("x", DType::f32, {rows, {5, false}})}) == "x f32[B, 5], label i32[B] of 5 -> f32[B]");
  CHECK(declared("pick").substr(0, 42) == "E0202 `N`: `pick` needs `N`, a size of `x`");
  CHECK(declared("pick", {}, {described("x", DType::f32, {rows})}) ==
        "E0202 `N`: `pick` needs `N`, the number of classes of `label`\n  help add `--dim N=10`");
  CHECK(declared("doubled", {{"M", 4}}) == "m f32[4], label i32[B] of 8 -> f32[B]");
  CHECK(declared("either") ==
        "E0202 `fn either(x[B, T])`: `either` is defined 2 times, and its inputs decide which is meant\n"
        "  label `fn either(x[B, T]: class(9))`: the other\n"
        "  help describe them: `--input \"x=f32[B, 64]\"`");
  CHECK(declared("either", {}, {described("x", DType::f32, {rows, {5, false}})}) == "x f32[B, 5] -> f32[B, 5]");
  CHECK(declared("either", {}, {described("x", DType::i32, {rows, {5, false}})}) == "x i32[B, 5] of 9 -> f32[B, 5]");
}

TEST_CASE("a size that an input gives is not given otherwise", "[frontend][definition]") {
  const ArgumentSpec x = described("x", DType::f32, {rows, {4, false}});
  CHECK(declared("both", {{"T", 3}}, {x}) ==
        "E0102 `T`: dimension `T` has two sizes: 3 by `--dim T=3`, 4 in `x`\n  help leave `--dim T=3` out: `x` gives this size");
  CHECK(declared("both", {{"T", 4}}, {x}) == "x f32[B, 4], y f32[B, 4] -> f32[B, 4]");
  CHECK(declared("both", {{"B", 4}}, {x}) ==
        "E0102 `B`: dimension `B` has two sizes: 4 by `--dim B=4`, the rows of a batch in `x`\n"
        "  help leave `--dim B=4` out: `x` gives this size");
  // Behind `...` places count from the right.
  CHECK(declared("any", {{"T", 4}}, {described("x", DType::f32, {{2, false}, {3, false}, {4, false}})}) ==
        "x f32[2, 3, 4] -> f32[2, 3, 4]");
  CHECK(declared("any", {{"T", 2}}, {described("x", DType::f32, {{2, false}, {3, false}, {4, false}})}) ==
        "E0102 `T`: dimension `T` has two sizes: 2 by `--dim T=2`, 4 in `x`\n  help leave `--dim T=2` out: `x` gives this size");
}

TEST_CASE("a size that the definition does not have is no size that it ignores", "[frontend][definition]") {
  CHECK(declared("plain", {{"Typo", 3}}) ==
        "E0204 `fn plain(x[B, High * Wide - 4])`: `plain` has no size `Typo`\n  help its sizes are B");
  CHECK(declared("Wider", {{"Out", 3}, {"In", 5}}) ==
        "E0204 `layer Wider(Out, In2 = 2 * High, bias = true)(x[B, In2]) -> [B, Out]`: `Wider` has no size `In`\n"
        "  help its sizes are Out, In2, bias, B");
  CHECK(declared("Wider", {{"Out", 3}, {"biass", 1}}).substr(78, 52) == "`Wider` has no size `biass`; a similar one is `bias`");
  CHECK(declared("plain", {{"High", 3}}) ==
        "E0204 `High`: `--dim High=3`: `High` is a dim of the file\n  help `--set High=3` changes it");
}

}  // namespace
}  // namespace nnc::frontend_tests
