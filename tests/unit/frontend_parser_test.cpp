// The tree that a text gives, the errors it gives instead, and that no text whatever breaks the parser.
#include "frontend/syntax/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/philox.h"
#include "frontend/syntax/ast_print.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

struct Parsed {
  SourceMap sources;
  Diagnostics diagnostics;
  std::unique_ptr<ast::File> file;
  /// "E0010 2:7 message", in order of place.
  std::vector<std::string> errors() const {
    std::vector<std::string> all;
    for (const Diagnostic& d : diagnostics.sorted()) {
      LineColumn at = sources.position(d.span.file, d.span.begin);
      all.push_back(fmt::format("{} {}:{} {}", code_name(d.code), at.line, at.column, d.message));
    }
    return all;
  }
  std::string all_errors() const {
    std::string all;
    for (const Diagnostic& d : diagnostics.sorted()) all += render_text(d, sources, false);
    return all;
  }
};

Parsed parse_text(std::string text) {
  Parsed result;
  FileId id = result.sources.add("test.nn", std::move(text));
  result.file = parse(result.sources, id, result.diagnostics);
  return result;
}

/// The text of an expression, grouped as the parser read it.
std::string grouped(const std::string& expression) {
  Parsed p = parse_text("fn f(x) {\n" + expression + "\n}");
  INFO(p.all_errors());
  REQUIRE(p.errors().empty());
  const auto& body = std::get<ast::Callable>(p.file->items.at(0).node).body;
  REQUIRE(body.results.size() == 1);
  return print_ast(*body.results[0]);
}

std::string printed(const std::string& text) {
  Parsed p = parse_text(text);
  INFO(p.all_errors());
  REQUIRE(p.errors().empty());
  return print_ast(*p.file);
}

/// The single error of a body's lines (line 1 is the head).
std::string error_in_body(const std::string& lines) {
  Parsed p = parse_text("layer L(x) {\n" + lines + "\n}");
  INFO(p.all_errors());
  CHECK(p.errors().size() == 1);
  return p.errors().empty() ? "" : p.errors()[0];
}

std::string error_in_train(const std::string& lines) {
  Parsed p = parse_text("train {\n" + lines + "\n}");
  INFO(p.all_errors());
  CHECK(p.errors().size() == 1);
  return p.errors().empty() ? "" : p.errors()[0];
}

std::string single_error(const std::string& text) {
  Parsed p = parse_text(text);
  INFO(p.all_errors());
  CHECK(p.errors().size() == 1);
  return p.errors().empty() ? "" : p.errors()[0];
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("precedence, from loosest to tightest") {
  CHECK(grouped("a |> f |> g(1)") == "(a |> f |> g(1))");
  CHECK(grouped("a + b |> f") == "((a + b) |> f)");
  CHECK(grouped("a or b and not c == d") == "(a or (b and (not (c == d))))");
  CHECK(grouped("not not a") == "(not (not a))");
  CHECK(grouped("a + b * c - d") == "((a + (b * c)) - d)");
  CHECK(grouped("a / b // c % d") == "(((a / b) // c) % d)");
  CHECK(grouped("a + 1 <= b * 2") == "((a + 1) <= (b * 2))");
  CHECK(grouped("-a ^ 2") == "(-(a ^ 2))");
  CHECK(grouped("2 ^ -a ^ b") == "(2 ^ (-(a ^ b)))");
  CHECK(grouped("a ^ b ^ c") == "(a ^ (b ^ c))");
  CHECK(grouped("a * -b + --c") == "((a * (-b)) + (-(-c)))");
  CHECK(grouped("a * b as [B, T] / c") == "((a * (b as [B, T])) / c)");
  CHECK(grouped("-x as [B]") == "(-(x as [B]))");
  CHECK(grouped("f(x)(y)[T: 0] as [4*C, ..., _]") == "(f(x)(y)[T: 0] as [(4 * C), ..., _])");
  CHECK(grouped("x[T: 0..n+1, C: c]") == "x[T: (0..(n + 1)), C: c]");
  CHECK(grouped("(a + b) * c") == "((a + b) * c)");
  CHECK(grouped("sum(x, over: (D, E))") == "sum(x, over: (D, E))");
  CHECK(grouped("[0.0, 1.0, [1e-3, 1_000], []]") == "[0.0, 1.0, [0.001, 1000], []]");
  CHECK(grouped("x |> frozen fc1: Dense(64) |> Block(2)(3)") == "(x |> frozen fc1: Dense(64) |> Block(2)(3))");
  CHECK(grouped("f(20%, 5 % 3, a: true,)") == "f(20%, (5 % 3), a: true)");
}

TEST_CASE("plain names are names") {
  for (const char* name : {"true", "false", "inf", "none", "all", "same",  "mean",  "training", "step", "data", "model",
                           "test", "where", "in",  "with", "use", "layer", "train", "expect",   "for",  "last", "error"}) {
    CAPTURE(name);
    CHECK(grouped(fmt::format("{} + 1", name)) == fmt::format("({} + 1)", name));
  }
}

TEST_CASE("a line continues before |>, else and a binary operator with a space after it") {
  CHECK(grouped("a\n|>f") == "(a |> f)");
  CHECK(grouped("a\n + b\n * c\n and d") == "((a + (b * c)) and d)");
  CHECK(grouped("a\n as [B]") == "(a as [B])");
  CHECK(grouped("(a\n -b)") == "(a - b)");
  CHECK(grouped("if a { b }\n else if c { d }\n else { e }") ==
        "if a {\n  result b\n} else if c {\n  result d\n} else {\n  result e\n}");
  CHECK(error_in_body("a\n-b") == "E0024 2:1 this value is not used");
  CHECK(error_in_body("a\n(b)") == "E0024 2:1 this value is not used");
  CHECK(error_in_body("a\n[b]") == "E0024 2:1 this value is not used");
  CHECK(error_in_body("let a = x\n*b\na") ==
        "E0026 3:1 a line that begins with `*` needs a space after it to continue the one before");
}

TEST_CASE("several results, several bindings, several values") {
  CHECK(printed("fn f(x) { h |> mu: Dense(Z), h |> logvar: Dense(Z) }") ==
        "fn f(x) {\n  result (h |> mu: Dense(Z)), (h |> logvar: Dense(Z))\n}\n");
  CHECK(printed("fn f(x) { let a = 1, b, c = g(x), d, e = y, z; a }") ==
        "fn f(x) {\n  let a = 1, b, c = g(x), d, e = y, z\n  result a\n}\n");
}

TEST_CASE("every kind of definition and statement") {
  std::string text = R"(use "layers.nn" { Encoder, Decoder }
use "all.nn"
dim Ctx = 64, Model = (2 * Ctx)
data d {
  field a[N], b[N]: class(V) = text("f", context: N)
  split test last 20%
  split valid from other
}
)";
  CHECK(printed(R"(
use "layers.nn" { Encoder, Decoder }   # comment
use "all.nn"
dim Ctx = 64, Model = 2*Ctx
data d { a[N], b[N] : class(V) = text("f", context: N); test last 20%; valid from other }
)") == text);

  CHECK(printed(R"(
layer L(N, act = relu, Out)(x[..., C]: u8, y[] = 0) -> [..., Out], [B]: i32 where C % N == 0 else "N: {N}", N < 4 {
  param w[Out, C] ~ normal(0.02)
  param v[C]: f32 as "v_l{N}" ~ normal(1)
  frozen param b[Out]: f32 = 0
  state count: i64 = 0
  mix: Dense(64)
  frozen fc1: Dense(64)
  dim D = C / N, S = D
  repeat 4 as i { update h = mix(h) }
  repeat N { update h = h }
  if N == 2 { update h = 1 } else { state m = 0 }
  let y = scan t in T with h[B, H] = 0, c: f32 = x { update h = c; yield h, c }
  let z = scan t in reverse T { yield x[T: t] }
  y, z
}
)") == R"(layer L(N, act = relu, Out)(x[..., C]: u8, y[] = 0) -> [..., Out], [B]: i32 where ((C % N) == 0) else "N: {N}", (N < 4) {
  param w[Out, C] ~ normal(0.02)
  param v[C]: f32 as "v_l{N}" ~ normal(1)
  frozen param b[Out]: f32 = 0
  state count: i64 = 0
  instance mix: Dense(64)
  frozen instance fc1: Dense(64)
  dim D = (C / N), S = D
  repeat 4 as i {
    update h = mix(h)
  }
  repeat N {
    update h = h
  }
  if (N == 2) {
    update h = 1
  } else {
    state m = 0
  }
  let y = scan t in T with h[B, H] = 0, c: f32 = x {
    update h = c
    yield h, c
  }
  let z = scan t in reverse T {
    yield x[T: t]
  }
  result y, z
}
)");

  CHECK(printed(R"(
train {
  data d, batch: all
  let a = f(x)
  minimize a + b
  using sgd(lr: 0.1), adam(lr: 1) for "*.bias", clip_norm: 1.0
  report accuracy(a), kl: mean(k), every: 250
  save every: 250
  epochs 3
  steps 4
  seed 7
}
test "t" {
  let x = [1.0]
  fn g(x) { x }
  expect g(x) == x, tolerance: 1e-6
  check_gradients g(x), tolerance: 1e-4
  expect error "no" in { layer Q(x) { y }
    let z = 1 }
}
)") == R"(train {
  clause data d, batch: all
  let a = f(x)
  clause minimize (a + b)
  clause using sgd(lr: 0.1), adam(lr: 1) for "*.bias", clip_norm: 1.0
  clause report accuracy(a), kl: mean(k), every: 250
  clause save, every: 250
  clause epochs 3
  clause steps 4
  clause seed 7
}
test "t" {
  let x = [1.0]
  fn g(x) {
    result x
  }
  expect (g(x) == x), tolerance: 1e-06
  check_gradients g(x), tolerance: 0.0001
  expect error "no" in {
    layer Q(x) {
      result y
    }
    let z = 1
  }
}
)");
}

TEST_CASE("an if without results is a statement, with results a value") {
  Parsed p = parse_text("optimizer o(lr) { if lr == 0 { update value = 1 } }\nlayer L(x) { if training { x } else { 2 } }");
  REQUIRE(p.errors().empty());
  const auto& o = std::get<ast::Callable>(p.file->items[0].node).body;
  CHECK(o.results.empty());
  REQUIRE(o.statements.size() == 1);
  CHECK(o.statements[0]->kind == ast::StmtKind::if_);
  const auto& l = std::get<ast::Callable>(p.file->items[1].node).body;
  CHECK(l.results.size() == 1);
}

TEST_CASE("spans are those of the text") {
  Parsed p = parse_text("layer L(N)(x[B, T]) -> [B] where N < 3 {\n  let a = b * c[T: 0]\n  a |> f: Dense(3)\n}");
  REQUIRE(p.errors().empty());
  auto text = [&](Span s) { return std::string(p.sources.text(s)); };
  const auto& l = std::get<ast::Callable>(p.file->items[0].node);
  CHECK(text(l.name.span) == "L");
  CHECK(text(l.head_span) == "layer L(N)(x[B, T]) -> [B] where N < 3");
  CHECK(text(l.arguments[0].span) == "x[B, T]");
  CHECK(text(l.arguments[0].dims->span) == "[B, T]");
  CHECK(text(l.conditions[0].test->op_span) == "<");
  const ast::Stmt& let = *l.body.statements[0];
  CHECK(text(let.span) == "let a = b * c[T: 0]");
  CHECK(text(let.keyword_span) == "let");
  const ast::Expr& product = *let.bindings[0].values[0];
  CHECK(text(product.span) == "b * c[T: 0]");
  CHECK(text(product.op_span) == "*");
  CHECK(text(product.operands[1]->selectors[0].span) == "T: 0");
  const ast::Expr& pipe = *l.body.results[0];
  CHECK(text(pipe.stages[0].span) == "f: Dense(3)");
  CHECK(text(pipe.stages[0].instance->span) == "f");
  CHECK(text(pipe.stages[0].callee->span) == "Dense(3)");
  CHECK(text(p.file->items[0].span) == std::string(p.sources.text(FileId{1})));
}

TEST_CASE("parentheses are in the span of what they are an operand of") {
  auto spans = [](const std::string& expression) {
    Parsed p = parse_text("fn f(x) { let a = " + expression + "\n a }");
    CHECK(p.errors().empty());
    std::vector<std::string> found;
    std::function<void(const ast::Expr&)> walk = [&](const ast::Expr& e) {
      found.emplace_back(p.sources.text(e.span));
      for (const ast::ExprPtr& o : e.operands) walk(*o);
    };
    walk(*std::get<ast::Callable>(p.file->items.at(0).node).body.statements.at(0)->bindings.at(0).values.at(0));
    return found;
  };
  using Spans = std::vector<std::string>;
  CHECK(spans("(a + b) * (c - d)") == Spans{"(a + b) * (c - d)", "a + b", "a", "b", "c - d", "c", "d"});
  CHECK(spans("-(a)") == Spans{"-(a)", "a"});
  CHECK(spans("2 ^ (a)") == Spans{"2 ^ (a)", "2", "a"});
  CHECK(spans("(f)(x)(1)") == Spans{"(f)(x)(1)", "(f)(x)", "f"});
  CHECK(spans("(a + b)[T: 0]") == Spans{"(a + b)[T: 0]", "a + b", "a", "b"});
  CHECK(spans("((a)) as [T]") == Spans{"((a)) as [T]", "a"});
  CHECK(spans("(a + b) |> g") == Spans{"(a + b) |> g", "a + b", "a", "b"});
  CHECK(spans("(a)..(b)") == Spans{"(a)..(b)", "a", "b"});
}

TEST_CASE("each syntax error says what is wrong, once") {
  CHECK(single_error("") == "E0006 1:1 the file is empty");
  CHECK(single_error("# only this\n") == "E0006 1:1 the file defines nothing");
  CHECK(single_error("modle N(x) { x }") == "E0011 1:1 `modle` begins no definition");
  CHECK(single_error("let x = 3\nlet y = 4\nfn f(x) { x }") == "E0011 1:1 `let` stands outside of every definition");
  CHECK(single_error("fn f(x) { x }}") == "E0008 1:14 `}` closes nothing");
  CHECK(single_error("fn f(x[B, T) { x }") == "E0008 1:12 `)` cannot close `[`");
  CHECK(single_error("fn f(x) -> B { x }") == "E0010 1:12 expected the dimensions of the result in brackets, found `B`");
  CHECK(single_error("fn f(x[..., ...]) { x }") == "E0010 1:13 only one `...` can stand in a list of dimensions");
  CHECK(single_error("dim width = 3") == "E0013 1:5 the dimension `width` must start with a capital");
  CHECK(single_error("fn 3(x) { x }") == "E0012 1:4 expected a name, found `3`");
  CHECK(single_error("fn f(x)\n  let y = x\n  y\n}\nfn g(x) { x }") == "E0010 1:8 expected `{`, found the end of the line");

  CHECK(error_in_body("let a") == "E0014 2:5 `a` has no value");
  CHECK(error_in_body("let a =\nlet b = 2\nb") == "E0010 2:8 expected an expression, found the end of the line");
  CHECK(error_in_body("let a : f32 = 3\na") == "E0015 2:7 a `let` takes no type");
  CHECK(error_in_body("let a[B] = 3\na") == "E0015 2:6 a `let` takes no dimensions");
  CHECK(error_in_body("let if = 3\n3") == "E0012 2:5 `if` is a word of the language and cannot be a name");
  CHECK(error_in_body("param w[Out]\nw") == "E0014 2:7 `w` has no first value");
  CHECK(error_in_body("x[0]") == "E0016 2:3 this does not say in which dimension to select");
  CHECK(error_in_body("x[:, 0]") == "E0016 2:3 this does not say in which dimension to select");
  CHECK(error_in_body("x |> f * 2") == "E0017 2:8 `*` cannot follow a stage of a pipeline, since `|>` binds loosest");
  CHECK(error_in_body("x |> 3") == "E0017 2:6 after `|>` stands a layer or function to call, not `3`");
  CHECK(error_in_body("a < b < c") == "E0018 2:7 comparisons do not chain");
  CHECK(error_in_body("x[T: 0..]") == "E0021 2:7 this range has no end");
  CHECK(error_in_body("x[T: ..3]") == "E0021 2:6 this range has no beginning");
  CHECK(error_in_body("h = 3\nx") == "E0022 2:1 `h = ...` stands without `let`");
  CHECK(error_in_body("if a = 3 { x } else { y }") == "E0023 2:6 `=` gives a name a value, it does not compare");
  CHECK(error_in_body("return x") == "E0025 2:1 there is no `return`");
  CHECK(error_in_body("for i in 0..4 {\n let q = 1\n}\nx") == "E0025 2:1 there is no `for`");
  CHECK(error_in_body("minimize x\nx") == "E0025 2:1 `minimize` is a clause of `train`");
  CHECK(error_in_body("expect a == b\nx") == "E0025 2:1 `expect` stands in a `test` block only");
  CHECK(error_in_body("lte k = 3\nx") == "E0010 2:1 `lte` begins no statement");
  CHECK(error_in_body("x ** 2") == "E0010 2:3 there is no operator `**`");
  CHECK(error_in_body("update h += 2\nx") == "E0010 2:10 there is no operator `+=`");
  CHECK(error_in_body("f(a b)") == "E0010 2:5 expected `,` or `)`, found `b`");
  CHECK(error_in_body("f(a = 1)") == "E0010 2:5 a named argument is given with `:`, not `=`");
  CHECK(error_in_body("f(a,\n  b\nlet c = 3\nc") == "E0008 2:2 this `(` is never closed");
  CHECK(error_in_body("x as B") == "E0010 2:3 expected the end of the line, found `as`");
  CHECK(error_in_body("a && b") == "E0001 2:3 unexpected character `&&`");
  CHECK(error_in_body("let s = \"abc\nx") == "E0003 2:9 this string has no closing quote");

  CHECK(error_in_train("minimise x") == "E0019 2:1 `minimise` is not a clause of `train`");
  CHECK(error_in_train("epochs: 3") == "E0019 2:7 `epochs` is followed by its items, without `:`");
  CHECK(error_in_train("batch = 3") == "E0019 2:1 `batch` is not a clause of its own");
  CHECK(error_in_train("save") == "E0014 2:1 `save` is followed by nothing");
  CHECK(error_in_train("report a,\nseed 3") == "E0014 2:9 nothing follows this comma");
  CHECK(error_in_train("minimize f(a, b\nusing sgd(lr: 1)") == "E0008 2:11 this `(` is never closed");
  CHECK(error_in_train("  optimizer adam(lr: 1)") == "E0019 2:3 `optimizer` is not a clause of `train`");

  CHECK(single_error("data d { a : u8 = csv(\"f\"); test 0.2 }") == "E0020 1:34 a share of the rows is given in percent");
  CHECK(single_error("data d { a : u8 = csv(\"f\"); tset 20% }") == "E0020 1:29 `tset` is neither a field nor a split");
  CHECK(single_error("data d { a : u8 }") == "E0014 1:10 the field `a` has no source");
  CHECK(single_error("test \"t\" { return x }") == "E0025 1:12 there is no `return`");
  CHECK(single_error("test \"t\" { f(x) }") == "E0025 1:12 an expression alone states nothing");
}

TEST_CASE("what other languages write, and what is left out, is named once") {
  CHECK(error_in_body("let a := 3\na") == "E0010 2:7 there is no operator `:=`");
  CHECK(error_in_body("let a, b := 3, 4\na") == "E0010 2:10 there is no operator `:=`");
  CHECK(error_in_body("a := 3\na") == "E0010 2:3 there is no operator `:=`");
  for (const std::string word : {"var", "const", "val", "auto"})
    CHECK(error_in_body(word + " k = 3\nk") == "E0025 2:1 there is no `" + word + "`");
  CHECK(error_in_body("scan t in 0..T with h = 0 { update h = h + 1 }") == "E0010 2:12 expected the dimension alone, found `..`");
  CHECK(error_in_body("with h = 0\nx") == "E0025 2:1 `with` belongs to a `scan`");
  CHECK(error_in_body("yield\nx") == "E0014 2:1 `yield` has no value");
  CHECK(error_in_body("x[T: 0..4..2]") == "E0010 2:10 a range has two bounds, and no step");
  CHECK(error_in_body("lambda a: a") == "E0025 2:1 there are no functions without a name");
  CHECK(error_in_body("let g = lambda a: a\ng") == "E0025 2:9 there are no functions without a name");
  CHECK(error_in_body("x |> lambda y: y") == "E0017 2:6 after `|>` stands a layer or function to call, not `lambda`");
  CHECK(error_in_body("x |>") == "E0017 2:5 after `|>` stands a layer or function to call, not the end of the line");
  CHECK(error_in_body("x |> |> f") == "E0017 2:6 after `|>` stands a layer or function to call, not `|>`");
  CHECK(error_in_body("x |> f as [B]") == "E0017 2:8 `as` cannot follow a stage of a pipeline, since `|>` binds loosest");
  CHECK(error_in_body("x |> f[T: 0]") == "E0017 2:7 `[...]` cannot follow a stage of a pipeline, since `|>` binds loosest");
  CHECK(error_in_body("x |> frozen Dense(3)") == "E0010 2:18 expected `:` and a layer, found `(`");
  CHECK(error_in_body("frozen state s = 0\ns") == "E0010 2:8 expected `param` or a named layer, found `state`");
  CHECK(error_in_body("a: f32 = 3\na") == "E0022 2:1 `a: f32 = ...` stands without `let`");
  CHECK(error_in_body("param w[B] : class() = 0\nx") == "E0014 2:14 the number of classes is missing");
  CHECK(error_in_body("1 + not x") == "E0010 2:5 `not` binds looser than the operator before it");
  CHECK(error_in_body("x[..., 0]") == "E0016 2:3 this does not say in which dimension to select");
  CHECK(error_in_body("()") == "E0010 2:1 there is nothing between these parentheses");
  CHECK(error_in_body("_ + 1") == "E0010 2:1 `_` has no value");
  CHECK(error_in_body("if x < 3 { x } elif x > 4 { x }") == "E0010 2:16 there is no `elif`");
  CHECK(error_in_body("/* x */\nx") == "E0010 2:1 `/` begins no statement");
  CHECK(error_in_body("repeat { let a = x }\nx") == "E0010 2:8 expected the number of rounds, found `{`");
  CHECK(error_in_body("let y = x : f32\ny") == "E0010 2:11 expected the end of the line, found `:`");
  CHECK(error_in_body("a -> b") == "E0010 2:3 `->` cannot stand here");

  CHECK(error_in_train("report a, b,\n") == "E0014 2:12 nothing follows this comma");
  CHECK(error_in_train("report a for 3") == "E0010 2:14 expected a pattern such as \"*.bias\", found `3`");
  CHECK(error_in_train("maximize x") == "E0019 2:1 `maximize` is not a clause of `train`");
  CHECK(error_in_train("lr: 0.1") == "E0019 2:1 `lr` is not a clause of its own");
  CHECK(error_in_train("param w = 3") == "E0025 2:1 `param` does not belong in `train`");
  CHECK(error_in_train("(x)") == "E0019 2:1 expected a clause of `train`, found `(`");

  CHECK(single_error("test { expect 1 == 1 }") == "E0014 1:1 a test needs a name");
  CHECK(single_error("test t { expect 1 == 1 }") == "E0010 1:6 expected the test's name, found `t`");
  CHECK(single_error("test \"a\" { check_gradients\n}") == "E0014 1:12 `check_gradients` has nothing to check");
  CHECK(single_error("test \"a\" { expect\n}") == "E0014 1:12 `expect` has nothing to expect");
  CHECK(single_error("test \"a\" { expect 1 == 1, 3 }") == "E0010 1:27 expected an option such as `tolerance: 1e-6`, found `3`");
  CHECK(single_error("test \"a\" { expect error in { } }") ==
        "E0010 1:25 expected the text that the error must contain, found `in`");
  CHECK(single_error("data d { x : class() = csv(\"a\") }") == "E0014 1:14 the number of classes is missing");
  CHECK(single_error("data d { x : class(1, 2) = csv(\"a\") }") == "E0010 1:23 expected `)`, found `2`");
  CHECK(single_error("data d { 3 }") == "E0020 1:10 expected a field or a split, found `3`");
  CHECK(single_error("data d { let a = 3 }") == "E0012 1:10 `let` is a word of the language and cannot be a name");
  CHECK(single_error("data d { x y = csv(\"a\") }") == "E0010 1:12 expected `=` and a source, found `y`");
  CHECK(single_error("data d { x : f32 = csv(\"a\"); test }") == "E0020 1:35 `test` is followed by a share of the rows");
  CHECK(single_error("data d { x : f32 = csv(\"a\"); test last }") ==
        "E0020 1:40 `test last` is followed by a share of the rows");
  CHECK(single_error("data d { x : f32 = csv(\"a\"); test 120% }") ==
        "E0020 1:35 a share lies between 0% and 100%, and both parts need rows");
  CHECK(single_error("fn f(x)(y)(z) { x }") == "E0010 1:11 expected `->` or `{`, found `(`");
  CHECK(single_error("dim A: 3") == "E0010 1:6 expected `=`, found `:`");
  CHECK(single_error("batch = 3") == "E0011 1:1 `batch` stands outside of every definition");
  CHECK(single_error("check_gradients f") == "E0011 1:1 `check_gradients` stands outside of every definition");
  CHECK(single_error("3") == "E0011 1:1 expected a definition, found `3`");
  CHECK(single_error("//  x\nfn f(x) { x }") == "E0011 1:1 expected a definition, found `//`");
}

TEST_CASE("a line that begins with what begins no statement is pointed at itself, not at the line before") {
  CHECK(error_in_body("let a = 3\n~a") == "E0010 3:1 expected an expression, found `~`");
  CHECK(error_in_body("{ x }") == "E0010 2:1 expected a statement, found `{`");
  CHECK(error_in_body("as [B]") == "E0010 2:1 expected a statement, found `as`");
  CHECK(error_in_body("and x") == "E0010 2:1 expected a statement, found `and`");
  CHECK(error_in_body("+ x") == "E0010 2:1 expected an expression, found `+`");
  CHECK(error_in_body("let a = 3 +\nlet b = 4\nb") == "E0010 2:12 expected an expression, found the end of the line");
}

TEST_CASE("`train` without its block is an error, wherever the file ends") {
  CHECK(single_error("train") == "E0010 1:6 expected `{`, found the end of the file");
  CHECK(single_error("fn f(x) { x }\ntrain\n") == "E0010 2:6 expected `{`, found the end of the file");
  CHECK(single_error("train\nfn f(x) { x }") == "E0010 1:6 expected `{`, found the end of the line");
  CHECK(single_error("train t { }") == "E0010 1:7 `train` has no name");
  CHECK(single_error("train { minimize x") == "E0008 1:7 this `{` is never closed");
}

TEST_CASE("suggestions only where likely") {
  auto help = [](const std::string& text) {
    Parsed p = parse_text(text);
    REQUIRE_FALSE(p.diagnostics.items().empty());
    return p.diagnostics.items()[0].help.empty() ? std::string() : p.diagnostics.items()[0].help[0];
  };
  CHECK(help("modle N(x) { x }") == "did you mean `model`?");
  CHECK(help("def f(x) { x }") == "did you mean `fn`?");
  CHECK_THAT(help("zebra N(x) { x }"), test::starts_with("a definition begins with"));
  CHECK(help("train { minimise x }") == "did you mean `minimize`?");
  CHECK_THAT(help("train { zebra x }"), test::starts_with("the clauses are data, minimize,"));
  CHECK(help("data d { a : u8 = csv(\"f\"); test 0.2 }") == "write `test 20%`");
  CHECK(help("layer L(x) { param w[Out, In]\nw }") == "write `param w[Out, In] ~ normal(0.02)` or `param w[Out, In] = 0`");
}

TEST_CASE("every error of a file is reported in one run") {
  Parsed p = parse_text(R"(modle A(x) {
  let y : f32 = x[0]
  y $ 2
}
layer B(x[B, T) -> [B] {
  let a = foo(x, 2
  param w
  a +
}
train {
  epochs: 3
  minimize
}
fn g(x) { x }
)");
  CHECK(p.errors() == Strings{"E0011 1:1 `modle` begins no definition", "E0015 2:9 a `let` takes no type",
                              "E0016 2:19 this does not say in which dimension to select", "E0001 3:5 unexpected character `$`",
                              "E0008 5:15 `)` cannot close `[`", "E0008 6:14 this `(` is never closed",
                              "E0014 7:9 `w` has no first value", "E0010 8:6 expected an expression, found the end of the line",
                              "E0019 11:9 `epochs` is followed by its items, without `:`",
                              "E0014 12:3 `minimize` is followed by nothing"});
  REQUIRE(p.file->items.size() == 4);
  CHECK(p.file->has_errors);
  CHECK(p.file->items[0].has_errors);
  CHECK(p.file->items[1].has_errors);
  CHECK(p.file->items[2].has_errors);
  CHECK_FALSE(p.file->items[3].has_errors);
  CHECK(std::get<ast::Callable>(p.file->items[0].node).kind == ast::CallableKind::model);
  const auto& b = std::get<ast::Callable>(p.file->items[1].node);
  CHECK(b.name.text == "B");
  REQUIRE(b.body.statements.size() == 2);
  CHECK(b.body.statements[0]->bindings[0].names[0].text == "a");
  CHECK(b.body.statements[0]->bindings[0].values[0]->kind == ast::ExprKind::error);
}

TEST_CASE("E0008: an unclosed brace is pointed at, by the indentation where that shows it") {
  Parsed inner = parse_text("layer A(x) {\n  repeat 3 {\n    let y = x\n  let z = y\n  z\n}\n\nlayer B(x) {\n  x\n}\n");
  CHECK(inner.errors() == Strings{"E0008 2:12 this `{` is never closed"});
  REQUIRE(inner.file->items.size() == 2);
  CHECK_FALSE(inner.file->items[1].has_errors);

  CHECK(parse_text("layer A(x) {\n  x\nlayer B(x) { x }\n").errors() == Strings{"E0008 1:12 this `{` is never closed"});
  CHECK(parse_text("train {\n  epochs 3\n").errors() == Strings{"E0008 1:7 this `{` is never closed"});
  CHECK(parse_text("data d {\n  a : u8 = csv(\"f\")\ntrain {\n  epochs 3\n}").errors() ==
        Strings{"E0008 1:8 this `{` is never closed"});
}

TEST_CASE("syntax errors of an expected error's snippet belong to the test") {
  Parsed p = parse_text("test \"t\" {\n  expect error \"never closed\" in {\n    let a = f(x\n    let b = $\n  }\n}");
  CHECK(p.errors().empty());
  CHECK_FALSE(p.file->items[0].has_errors);
  const ast::Stmt& s = *std::get<ast::Test>(p.file->items[0].node).body.statements.at(0);
  REQUIRE(s.kind == ast::StmtKind::expect_error);
  CHECK(s.text->text == "never closed");
  REQUIRE(s.syntax_errors.size() == 2);
  CHECK(s.syntax_errors[0].code == Code::E0008);
  CHECK(s.syntax_errors[1].code == Code::E0001);
}

TEST_CASE("E0009: nesting and depth are bounded") {
  auto repeated = [](const std::string& s, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += s;
    return all;
  };
  CHECK(parse_text("fn f(x) { " + repeated("(", 200) + "x" + repeated(")", 200) + " }").errors().empty());
  CHECK(parse_text("fn f(x) { " + repeated("a + ", 900) + "a }").errors().empty());
  CHECK(parse_text("fn f(x) { x" + repeated(" |> f", 5000) + " }").errors().empty());
  CHECK(parse_text("fn f(x) { " + repeated("if a { b } else ", 5000) + "{ c } }").errors().empty());
  for (const std::string& text :
       {repeated("(", 300), repeated("[", 300), repeated("f(", 5000), repeated("-", 300), repeated("not ", 300),
        repeated("2^", 300) + "2", repeated("a + ", 1100) + "a", "x" + repeated("(1)", 1100), "x" + repeated(" as [B]", 1100),
        repeated("x[T: ", 300), repeated("repeat 2 { ", 300), repeated("if x { ", 300), repeated("scan t in T { ", 300)}) {
    CAPTURE(text.substr(0, 20));
    Parsed p = parse_text("fn f(x) { " + text + " }\nfn g(x) { x }");
    size_t deep = 0;
    for (const Diagnostic& d : p.diagnostics.items()) deep += d.code == Code::E0009;
    CHECK(deep == 1);
    CHECK(p.diagnostics.items().size() <= 2);
    REQUIRE(p.file->items.size() == 2);
    CHECK_FALSE(p.file->items[1].has_errors);
  }
}

TEST_CASE("large inputs take time by their size") {
  std::string line = "fn f(x) { let a = x";
  for (int i = 0; i < 200000; ++i) line += ", b";
  CHECK(parse_text(line + " }").errors().empty());
  CHECK(parse_text("fn f(x) { " + std::string(10'000'000, 'a') + " }").errors().empty());
  std::string many = "fn f(x) {\n";
  for (int i = 0; i < 100000; ++i) many += "a b\n";
  CHECK(parse_text(many + "}").errors().size() == 100);
  CHECK(parse_text("#" + std::string(10'000'000, 'x')).errors() == Strings{"E0006 1:1 the file defines nothing"});
}

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The project's own .nn files: examples, tests of the parser, the standard library.
std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  std::vector<std::filesystem::path> paths;
  for (const char* folder : {"examples", "tests/lit/parse", "frontend"}) {
    std::filesystem::path root = std::filesystem::path(NNC_SOURCE_DIR) / folder;
    if (!std::filesystem::exists(root)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(root))
      if (entry.path().extension() == ".nn") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) texts.push_back(read(path));
  return texts;
}

/// Changes a few bytes or pieces of a text at random.
std::string mutate(std::string text, const std::string& other, RandomStream& random) {
  static const std::string signs = "(){}[],:;=~|>.-+*/%^<!\"'#_ \n0aZ\\\x80\xff";
  static const std::vector<std::string> words = {"let ",
                                                 "param ",
                                                 "if ",
                                                 "else ",
                                                 "scan ",
                                                 "repeat ",
                                                 "train {",
                                                 "layer L(",
                                                 "data d {",
                                                 "test \"",
                                                 " as [",
                                                 "|> ",
                                                 "expect error \"x\" in {",
                                                 "update ",
                                                 "frozen ",
                                                 "not ",
                                                 "..",
                                                 "20%",
                                                 "\n}\n",
                                                 "-> "};
  for (uint64_t n = 1 + random.next_below(6); n > 0 && !text.empty(); --n) {
    size_t at = random.next_below(text.size());
    size_t length = std::min<size_t>(1 + random.next_below(random.next_below(4) == 0 ? 40 : 3), text.size() - at);
    switch (random.next_below(6)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, text.substr(at, length));
        break;
      case 2:
        text[at] = signs[random.next_below(signs.size())];
        break;
      case 3:
        text.insert(at, 1, signs[random.next_below(signs.size())]);
        break;
      case 4:
        text.insert(at, words[random.next_below(words.size())]);
        break;
      default: {
        size_t from = random.next_below(other.size());
        text.replace(at, length, other.substr(from, 1 + random.next_below(60)));
      }
    }
  }
  return random.next_below(20) == 0 ? text.substr(0, random.next_below(text.size() + 1)) : text;
}

}  // namespace

TEST_CASE("the parser survives anything: mutated programs") {
  uint64_t seed = 20;
  if (const char* wanted = std::getenv("NNC_FUZZ_SEED")) seed = std::strtoull(wanted, nullptr, 10);
  RandomStream random(seed, stable_hash("frontend_parser_test"));
  std::vector<std::string> texts = corpus();
  REQUIRE_FALSE(texts.empty());
  for (int round = 0; round < 4000; ++round) {
    const std::string& base = texts[random.next_below(texts.size())];
    std::string text = mutate(base, texts[random.next_below(texts.size())], random);
    INFO("NNC_FUZZ_SEED=" << seed << ", round " << round << "\n" << text);
    Parsed p = parse_text(text);
    REQUIRE(p.file != nullptr);
    bool reported = p.diagnostics.has_errors();
    CHECK(p.file->has_errors == reported);
    for (const Diagnostic& d : p.diagnostics.items()) {
      CHECK((d.span.begin <= d.span.end && d.span.end <= text.size()));
      CHECK_FALSE(d.message.empty());
    }
    std::string tree = print_ast(*p.file);
    // What could not be read has been reported, or is kept with the expected error whose snippet it is.
    if (!reported && tree.find("expect error") == std::string::npos) CHECK(tree.find("<error>") == std::string::npos);
  }
}
