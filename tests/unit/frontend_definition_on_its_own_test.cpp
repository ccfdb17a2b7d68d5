// Definitions evaluated by themselves, as `nnc run --fn` asks for: which definition a name means, what its sizes are, and what is said
// where an input or a size is missing.
#include <algorithm>

#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const char* const definitions = R"(dim Classes = 5
layer Scaled(Out, by)(x[B, In]) -> [B, Out] { param w[Out, In] = 1
 sum(x * w, over: In) * by }
layer Wide(Out = 4)(x[B, In]) -> [B, Out] { x |> Dense(Out) }
layer Coded(N)(label[B]: class(N)) { f32(label) }
fn pick(x[B, C], label[B]: class(C)) -> [B] { x[C: label] }
fn after(x[..., C], label[...]: class(C)) { x[C: label] }
fn five(label[B]: class(5)) { f32(label) }
fn named(label[B]: class(Classes)) { f32(label) }
fn open(label[B]: class(N)) { f32(label) }
fn bytes(x[B, T]: u8) { x * 2 }
fn two(x[B, T]) { x, -x }
fn nothing() { 3 }
fn text(x[B, T]) { "a" }
fn sized(x[B, T], N) { x * N }
fn raised(x[B, T], k) { x ^ k }
fn scaled(x[B, T], k = 3) { x * k }
fn either(x[B, T]) { x }
fn either(x[B, T]: class(9)) { f32(x) + 100 }
fn in_classes(x[B, Classes]) { sum(x, over: Classes) })";

/// "result f32[2], ..." of what is built, or what is said.
std::string built(const std::string& name, const std::vector<ArgumentSpec>& arguments,
                  const std::map<std::string, int64_t>& dims = {}) {
  Loaded l = load(definitions);
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics diagnostics;
  std::optional<BuiltGraph> graph = l.module->build_definition(name, arguments, dims, diagnostics);
  CHECK(graph.has_value() == diagnostics.items().empty());
  if (!graph) return said(diagnostics, *l.sources);
  REQUIRE(verify_graph(graph->graph).empty());
  std::string text;
  for (const Output& o : graph->graph.outputs)
    text += (text.empty() ? "" : ", ") + o.name + " " + to_string(graph->graph.type(o.node));
  return text;
}

const ArgumentSpec x = argument("x", {2, 3}), label = argument("label", {2}, 1 << 20);

ArgumentSpec plain_label() {
  ArgumentSpec a = argument("label", {2});
  a.type.dtype = DType::i32;
  return a;
}

TEST_CASE("what a name on the command line may mean", "[frontend][definition]") {
  CHECK(built("two", {x}) == "result.0 f32[2, 3], result.1 f32[2, 3]");
  CHECK(built("sgd", {x}) == "E0207 t.nn: `sgd` is an optimizer and cannot be evaluated by itself\n  help name a layer, fn or model");
  CHECK(built("Classes", {x}) ==
        "E0207 t.nn: `Classes` is a dimension and cannot be evaluated by itself\n  help name a layer, fn or model");
  CHECK(built("sgdd", {x}) == "E0201 t.nn: unknown name `sgdd`");
  CHECK(built("twoo", {x}) == "E0201 t.nn: unknown name `twoo`; a similar one is `two`");
  CHECK(built("reluu", {x}) == "E0201 t.nn: unknown name `reluu`; a similar one is `relu`");
}

TEST_CASE("sizes come from inputs, defaults and the command line", "[frontend][definition]") {
  CHECK(built("Scaled", {x}, {{"Out", 4}, {"by", 2}}) == "result f32[2, 4]");
  CHECK(built("Scaled", {x}, {{"Out", 4}}) == "E0202 `by`: `Scaled` needs `by`\n  help add `--dim by=64`");
  CHECK(built("Wide", {x}) == "result f32[2, 4]");
  CHECK(built("Wide", {x}, {{"Out", 7}}) == "result f32[2, 7]");
  CHECK(built("sized", {x}, {{"N", 7}}) == "result f32[2, 3]");
  CHECK(built("sized", {x}) == "E0202 `N`: `sized` needs `N`\n  help add `--dim N=64`");
  CHECK(built("raised", {x}, {{"k", 2}}) == "result f32[2, 3]");
  CHECK(built("raised", {x}) == "E0202 `k`: `raised` needs `k`\n  help add `--dim k=64`");
  CHECK(built("scaled", {x}) == "result f32[2, 3]");
  ArgumentSpec classes = argument("x", {2, 5});
  classes.dimension_names = {"", "Classes"};
  CHECK(built("in_classes", {classes}) == "result f32[2]");
  classes.type.shape.set_size(1, 6);  // the name is declared with another size
  CHECK(built("in_classes", {classes}).substr(0, 5) == "E0102");
}

TEST_CASE("a size that an array has is not given otherwise", "[frontend][definition]") {
  CHECK(built("two", {x}, {{"T", 3}, {"B", 2}}) == "result.0 f32[2, 3], result.1 f32[2, 3]");
  CHECK(built("two", {x}, {{"T", 5}}) ==
        "E0102 `T`: dimension `T` has two sizes: 5 by `--dim T=5`, 3 in `x`\n  help leave `--dim T=5` out: `x` gives this size");
}

TEST_CASE("inputs that a definition does not have, or has of another kind", "[frontend][definition]") {
  CHECK(built("two", {argument("y", {2, 3})}) ==
        "E0204 `fn two(x[B, T])`: `two` has no input `y`\n  help its inputs are x");
  CHECK(built("pick", {x, argument("lable", {2})}) ==
        "E0204 `fn pick(x[B, C], label[B]: class(C)) -> [B]`: `pick` has no input `lable`; a similar one is `label`\n"
        "  help its inputs are x, label");
  CHECK(built("nothing", {x}) == "E0204 `fn nothing()`: `nothing` has no input `x`\n  help it takes none");
  CHECK(built("text", {x}) == "E0206 `text`: a tensor is needed here, found a text");
  CHECK(built("two", {argument("x", {2})}).substr(0, 5) == "E0108");
  CHECK(built("two", {}).substr(0, 5) == "E0202");
  CHECK(built("bytes", {x}) == "result f32[2, 3]");
}

TEST_CASE("how many classes an input has is read off what is known", "[frontend][definition]") {
  CHECK(built("pick", {x, plain_label()}) == "result f32[2]");
  CHECK(built("after", {x, plain_label()}) == "result f32[2]");
  CHECK(built("five", {plain_label()}) == "result f32[2]");
  CHECK(built("named", {plain_label()}) == "result f32[2]");
  CHECK(built("open", {plain_label()}, {{"N", 7}}) == "result f32[2]");
  CHECK(built("open", {plain_label()}) ==
        "E0202 `label[B]: class(N)`: `open` needs `N`, the number of classes of `label`\n  help add `--dim N=10`");
  CHECK(built("open", {label}) == "result f32[2]");
  CHECK(built("Coded", {plain_label()}, {{"N", 7}}) == "result f32[2]");
  // Of two definitions of one name, the kind of the input decides.
  CHECK(built("either", {x}) == "result f32[2, 3]");
  check_values(run(definitions, "either", {{"x", tensor({1, 2}, {1, 2})}}), {1, 2});
  check_values(run(definitions, "either", {{"x", tensor({1, 2}, {1, 2})}}, {}, {{"x", 9}}), {101, 102});
}

TEST_CASE("a definition that nobody calls is tried on sizes of its own", "[frontend][definition]") {
  auto first = [](const std::string& program) {
    Loaded l = load(program);
    std::string text = said(l.diagnostics, *l.sources);
    return text.substr(0, text.find('\n'));
  };
  // Whatever stands in the head, what is wrong with the body is found ...
  for (const std::string head : {"fn f(x[B, T], N)", "fn f(x[B, 3])", "fn f(x[B, T]: u8)", "fn f(x[B]: class(7))",
                                 "fn f(x[B]: class(Known))", "fn f(x[B]: class(N), n[N])", "layer f(N)(x[B, N])", "fn f(x[...], y[...])",
                                 "fn f(k = 2, x[B, Known])", "layer f(N = 3)(x[B])", "fn f(x[B], k)"}) {
    INFO(head);
    CHECK(first("dim Known = 5\n" + head + " { exp(x, x) }") == "E0204 `x`: `exp` takes 1 argument, not 2");
    CHECK(first("dim Known = 5\n" + head + " { exp(x) }") == "");
  }
  // ... but not where a static argument may be anything.
  CHECK(first("layer f(kind)(x[B]) { exp(x, x) }") == "");
  CHECK(first("fn f(x[2 * N]) { exp(x, x) }") == "");
  CHECK(first("fn f(x[B]: class(2 * N)) { exp(x, x) }") == "");
  // `...` may be what another argument has, so alignment with it is not judged.
  CHECK(first("fn f(x[...], y[B]) { x * y }") == "");
}

TEST_CASE("sizes that no call can mend are found where nobody calls", "[frontend][definition]") {
  auto codes = [](const std::string& program) {
    Loaded l = load("dim Hid = 6\nfn pair(a[N, C], b[N, C]) { a * b }\nfn seven(a[B, 7]) { a }\n" + program);
    std::string all;
    for (const Diagnostic& d : l.diagnostics.sorted())
      all += std::string(all.empty() ? "" : " ") + std::string(code_name(d.code));
    return all;
  };
  for (const auto& [program, code] : std::vector<std::pair<std::string, std::string>>{
           {"fn f(x[B, 4]) -> [B, 5] { x }", "E0112"},
           {"fn f(x[B, T]) -> [B] { x }", "E0112"},
           {"layer F(x[B, 4]) -> [B, Hid] { x |> Dense(5) }", "E0112"},
           {"layer F(Out)(x[B, In]) -> [B, Out] { sum(x |> Dense(Out), over: Out) }", "E0112"},
           {"fn f(x[B, T]) { x[T: 3..1] }", "E0114"},
           {"fn f(x[B, Hid]) { x[Hid: 7] }", "E0114"},
           {"fn f(x[B, 4], y[B, 5]) { x + y }", "E0101"},
           {"fn f(x[B, 4]) { seven(x) }", "E0101"},
           {"fn f(x[B, 4], y[B, 5]) { pair(x, y) }", "E0102"},
           {"fn f(x[B, T, S]) { seven(x) }", "E0108"},
           {"fn f(x[B, 100]) { x as [B, 8, 12] }", "E0105"},
           {"layer F(x[B, 4]) -> [B, 5] { repeat 2 { update x = x + 1 }\n x }", "E0112"},
           // Some call may be right: with these sizes, this branch, this argument.
           {"fn f(x[B, T]) -> [B, 5] { x }", ""},
           {"layer F(x[B, K]) -> [B, K] { x |> Dense(5) }", ""},
           {"layer F(Out)(x[B, In]) -> [B, Out] { x |> Dense(5) }", ""},
           {"layer F(Out)(x[B, 4]) -> [B, 5] { x |> Dense(Out) }", ""},
           {"fn f(x[B, T]) { x[T: 60..70] }", ""},
           {"fn f(x[B, T], N) { x[T: N..1] }", ""},
           {"fn f(x[B, T], y[B, S]) { pair(x, y) }", ""},
           {"fn f(x[B, 4], y[B, T]) { pair(x, y) }", ""},
           {"fn f(x[B, T]) { x as [B, 8, 13] }", ""},
           {"fn f(x[B, 4], y[B, T]) -> [B, 4] { if T > 1000 { x } else { sum(x) } }", ""},
           {"fn f(x[B, 4], y[B, T]) -> [B] { let r = x\n repeat T { update r = r }\n r }", ""},
           {"fn f(x[...], y[B, 4]) -> [B] { x }", ""},
           {"fn f(x, y[B, 4]) -> [B, 5] { x + y }", ""},
           {"fn f(x[B, T], k = 2) -> [B] { x }", ""},
           {"fn f(x[B, T]) -> [B, 4] where T % 7 == 1 { x as [B, 4] }", ""}}) {
    INFO(program);
    CHECK(codes(program) == code);
  }
}

TEST_CASE("what is predicted with is the model that `train` calls first, with its sizes", "[frontend][definition]") {
  Loaded l = load(R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
model Small(Out)(x[B, 4]) -> [B, Out] { x |> small: Dense(Out) }
model Large(x[B, 4]) -> [B, 9] { x |> large: Dense(9) }
train { data d
 minimize mean(Small(3)(x)) + mean(Large(x))
 using sgd(lr: 1)
 epochs 1 })");
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::optional<BuiltGraph> graph = l.module->build_predict_graph(d);
  REQUIRE(graph);
  REQUIRE(graph->graph.outputs.size() == 1);
  CHECK(to_string(graph->graph.type(graph->graph.outputs[0].node)) == "f32[B, 3]");
}

TEST_CASE("a model whose head does not begin with the rows is predicted with as it was trained", "[frontend][definition]") {
  Loaded l = load(R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4) }
dim T = 4
model Turned(x[T, B]) -> [T, B] { x * (index(T) + 1) }
fn turn(x[B, T]) -> [T, B] { x }
train { data d
 minimize mean(Turned(turn(x)))
 using sgd(lr: 1)
 epochs 1 })");
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::optional<BuiltGraph> graph = l.module->build_predict_graph(d);
  REQUIRE(graph);
  CHECK(to_string(graph->inputs.at(0).type) == "f32[B, 4]");
  CHECK(graph->inputs[0].dimension_names == std::vector<std::string>{"B", "T"});
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = tensor({2, 4}, {1, 1, 1, 1, 2, 2, 2, 2});
  check_values(interpret(graph->graph, bindings).outputs.at("result"), {1, 2, 3, 4, 2, 4, 6, 8});
}

}  // namespace
}  // namespace nnc::frontend_tests
