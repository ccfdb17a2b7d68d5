// What stands after `using`, what an optimizer may do, and parameters that no gradient reaches.
#include <fmt/format.h>

#include <chrono>

#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const std::string two_layers = data + R"(
model M(x[B, 4]) { x |> first: Dense(3) |> second: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 epochs 1
 using )";

TEST_CASE("two optimizers for the same parameters, and one that has none left", "[frontend][optimizer]") {
  check_sayings({
      {two_layers + "sgd(lr: 1), sgd(lr: 0) }",
       "E0306 `sgd(lr: 0)`: two optimizers are for all parameters\n"
       "  label `sgd(lr: 1)`: the first\n"
       "  help remove one, or say what it is for: `sgd(lr: 0.01) for \"*.bias\"`"},
      {two_layers + "sgd(lr: 1)\n using adam() }",
       "E0306 `adam()`: two optimizers are for all parameters\n"
       "  label `sgd(lr: 1)`: the first\n"
       "  help remove one, or say what it is for: `sgd(lr: 0.01) for \"*.bias\"`"},
      {two_layers + R"(sgd(lr: 1), adam() for "*.weight", sgd(lr: 0.3) for "*.weight" })",
       "E0306 `\"*.weight\"`: two optimizers are for \"*.weight\"\n"
       "  label `\"*.weight\"`: the first\n"
       "  help remove one of them"},
      {two_layers + R"(sgd(lr: 1), adam() for "*t", sgd(lr: 3) for "first.*t", sgd(lr: 4) for "second.w*" })",
       "E0306 `\"*t\"`: no parameter is left for \"*t\": other patterns take all that match it\n"
       "  label `\"first.*t\"`: takes `first.weight`\n"
       "  label `\"second.w*\"`: takes `second.weight`\n"
       "  note the pattern with the most letters wins, of two with as many the later"},
      {two_layers + R"(sgd(lr: 1), adam() for "*.gamma" })", "E0306 `\"*.gamma\"`: no trainable parameter matches \"*.gamma\""},
      {two_layers + R"(sgd(lr: 1), adam() for "*.weight", sgd(lr: 3) for "first.weight" })", ""},
  });
}

TEST_CASE("optimizers and their hyperparameters", "[frontend][optimizer]") {
  check_sayings({
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(0.1)
 epochs 1 })",
       ""},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd
 epochs 1 })",
       "E0202 `sgd`: `sgd` needs `lr`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(0.1, 0.9, 3, 4, 5, 6, 7)
 epochs 1 })",
       "E0204 `7`: `sgd` takes 6 arguments, not 7"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using Dense(3)
 epochs 1 })",
       "E0306 `Dense`: `Dense` is not an optimizer\n"
       "  help write `using sgd(lr: 0.01)`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using 3
 epochs 1 })",
       "E0306 `3`: `3` is not an optimizer\n"
       "  help write `using sgd(lr: 0.01)`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using foo(3)
 epochs 1 })",
       "E0201 `foo`: unknown name `foo`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using relu(lr: 2)
 epochs 1 })",
       "E0306 `relu`: `relu` is not an optimizer\n"
       "  help write `using sgd(lr: 0.01)`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using (sgd)(lr: 1)(3)
 epochs 1 })",
       "E0306 `(sgd)(lr: 1)`: `(sgd)(lr: 1)` is not an optimizer\n"
       "  help write `using sgd(lr: 0.01)`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: [1, 2])
 epochs 1 })",
       "E0306 `[1, 2]`: `lr` must be a single number, found [2]"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: foo)
 epochs 1 })",
       "E0201 `foo`: unknown name `foo`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: step_decay(foo, every: 10))
 epochs 1 })",
       "E0201 `foo`: unknown name `foo`"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: step_decay(1, 2, 3, 4, 5))
 epochs 1 })",
       "E0204 `4`: `step_decay` takes 3 arguments, not 5"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: M(3))
 epochs 1 })",
       "E0108 `3`: `x` of `M` is [B, 4], and `3` is []\n"
       "  label `3`: 0 dimensions, 2 needed"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: sqrt(4))
 epochs 1 })",
       ""},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: step_decay(1, evry: 2))
 epochs 1 })",
       "E0204 `evry`: `step_decay` has no option `evry`; a similar one is `every`"},
      {data + R"(fn k(a)(b) { a * b }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: k(3)(4))
 epochs 1 })",
       ""},
      {data + R"(fn k(a)(b) { a * b }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: k(3))
 epochs 1 })",
       "E0206 `k(3)`: a tensor is needed here, found a layer without an input"},
      {data + R"(optimizer o(lr) { update value = value - lr * grad
 value }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0208 `value`: an optimizer gives no result; it updates `value`"},
      {data + R"(optimizer o(lr) { value }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0208 `value`: an optimizer gives no result; it updates `value`"},
      {data + R"(optimizer o(lr) { let a = 3 }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0306 `o`: optimizer `o` never updates `value`\n"
       "  help end it with `update value = ...`"},
      {data + R"(optimizer o(lr) { foo
 }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0201 `foo`: unknown name `foo`\n"
       "E0208 `foo`: an optimizer gives no result; it updates `value`"},
      {data + R"(optimizer o(lr) { repeat 2 { update value = value - lr * grad } }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(optimizer o(lr) { state m = 0
 update value = value - lr * grad }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(optimizer o(lr = foo) { update value = value - lr * grad }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o
 epochs 1 })",
       "E0201 `foo`: unknown name `foo`"},
      {data + R"(optimizer o(lr { update value = value - lr * grad }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(lr: 1)
 epochs 1 })",
       "E0008 `(`: this `(` is never closed\n"
       "  label ``: `)` is expected here"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1) for "fc.bias"
 epochs 1 })",
       R"(E0306 `sgd(lr: 1) for "fc.bias"`: no optimizer is responsible for `fc.weight`)"
       "\n"
       "  help add one without `for`, or freeze the parameter"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1), adam(lr: 1) for "fc.b"
 epochs 1 })",
       R"(E0306 `"fc.b"`: no trainable parameter matches "fc.b")"},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1), adam(lr: 1) for "*.*"
 epochs 1 })",
       ""},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1) for "fc.*", adam(lr: 2) for "*"
 epochs 1 })",
       "E0306 `\"*\"`: no parameter is left for \"*\": other patterns take all that match it\n"
       "  label `\"fc.*\"`: takes `fc.weight`\n"
       "  note the pattern with the most letters wins, of two with as many the later"},
      {data + R"(model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: zeros([2]))
 epochs 1 })",
       "E0306 `zeros([2])`: `lr` must be a single number, found [2]"},
      {data + R"(model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1 / (step + 1))
 epochs 1 })",
       ""},
      {data + R"(fn k(a)(b) { a * b }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: k(3))
 epochs 1 })",
       "E0206 `k(3)`: a tensor is needed here, found a layer without an input"},
      {data + R"(train { data d
 minimize mean(x)
 using sgd
 epochs 1 })",
       "E0202 `sgd`: `sgd` needs `lr`"},
  });
}

const std::string schedules = R"(
fn mine(rate, w) { cosine(rate, total: 100, warmup: w) }
fn half(x) { x / 2 }
fn piped(rate, w) { let k = 2 * w, h = half(k)
 rate |> mine(h) }
fn again(rate, n) { if rate == 0 { n } else { again(n, 0) } }
fn soft(g[...], decay) { if decay != 0 { g * decay } else { g } }
fn width(x[..., C]) { C }
optimizer my(lr, decay = 0) { update value = value - lr * soft(grad, decay) }
optimizer own(lr, scale = 1 / width(value), twice = 2 * scale) { update value = value - lr * twice * grad }
)";

// The scalars of the run, as `path number`.
std::vector<std::string> scalars_of(const std::string& optimizer, std::vector<Override> overrides = {}) {
  Loaded l = load(data + schedules + two_layers.substr(data.size()) + optimizer + " }", std::move(overrides));
  INFO(l.errors());
  REQUIRE(l.module);
  std::vector<std::string> result;
  for (const ScalarSpec& s : l.module->train().scalars) result.push_back(fmt::format("{} {:g}", s.name, s.value));
  return result;
}

TEST_CASE("every number has the path of its own argument", "[frontend][optimizer]") {
  using S = std::vector<std::string>;
  CHECK(scalars_of("sgd(lr: step_decay(rate: 0.1, 5))") == S{"using.lr.rate 0.1", "using.lr.every 5"});
  CHECK(scalars_of("my(lr: step_decay(every: 5, 0.1, 0.5))") == S{"using.lr.every 5", "using.lr.rate 0.1", "using.lr.by 0.5"});
  CHECK(scalars_of("my(decay: 2, 0.1)") == S{"using.lr 0.1"});
  CHECK(scalars_of("my(decay: 2, 0.1)", {{"using.lr", "0.2"}}) == S{"using.lr 0.2"});
  CHECK(scalars_of("my(decay: 2, warmup(steps: 3, 0.1))", {{"using.lr.rate", "0.2"}}) == S{"using.lr.steps 3", "using.lr.rate 0.2"});
}

TEST_CASE("numbers that a fn asks for at compile time are no scalars, wherever they come from", "[frontend][optimizer]") {
  using S = std::vector<std::string>;
  CHECK(scalars_of("my(lr: mine(0.1, 5), decay: 0.5)") == S{"using.lr.rate 0.1"});
  CHECK(scalars_of("my(lr: piped(0.1, 5))") == S{"using.lr.rate 0.1"});
  CHECK(scalars_of("my(lr: mine(half(0.1), half(8)))") == S{"using.lr.rate.x 0.1"});
  CHECK(scalars_of("my(lr: again(1, 0.1))") == S{"using.lr 0"});
  CHECK(scalars_of("my(lr: 0.1, decay: constant(0.5))") == S{"using.lr 0.1"});
}

TEST_CASE("a long chain of fns that nobody calls is looked through quickly", "[frontend][optimizer]") {
  std::string chain;
  for (int i = 0; i < 1000; ++i) chain += fmt::format("fn f{}(x, k) {{ f{}(x, k) }}\n", i, i + 1);
  auto begin = std::chrono::steady_clock::now();
  CHECK(load(chain + "fn f1000(x, k) { if k > 2 { x } else { 2 * x } }").errors().empty());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));  // a fraction of a second; without a bound, minutes
}

TEST_CASE("a default that looks at the parameter is a number of its own for each", "[frontend][optimizer]") {
  CHECK(scalars_of("own(lr: 0.1)") == std::vector<std::string>{"using.lr 0.1"});
  CHECK(scalars_of("own(lr: 0.1, scale: 3)") == std::vector<std::string>{"using.lr 0.1", "using.scale 3"});
  Loaded l = load(data + schedules + two_layers.substr(data.size()) + "own(lr: 1) }");
  REQUIRE(l.module);
  Diagnostics d;
  std::vector<ParameterSpec> parameters = l.module->build_train_graph(d)->parameters;
  std::vector<UpdateRule> rules = l.module->build_update_rules(parameters, d);
  REQUIRE(rules.size() == 4);
  for (size_t i = 0; i < rules.size(); ++i) {
    std::vector<int64_t> shape;
    int64_t count = 1;
    for (const Extent& e : parameters[i].persistent.type.shape) {
      shape.push_back(e.size);
      count *= e.size;
    }
    Bindings b;
    b.scalars = {{"using.lr", 1}, {"step", 0}, {"epoch", 0}};
    b.inputs["value"] = tensor(shape, std::vector<double>(size_t(count), 0));
    b.inputs["grad"] = tensor(shape, std::vector<double>(size_t(count), 1));
    INFO(rules[i].parameter);
    CHECK(interpret(rules[i].rule, b).updates.at("value").values[0] == Approx(-2.0 / double(shape.back())));
  }
}

TEST_CASE("what an argument may be is no fault of a fn that nobody calls", "[frontend][optimizer]") {
  check_sayings({{"fn f(x, how) { if how == none { x } else { sum(x) } }\nfn g(x[N], how) { mean_squared_error(x, 2 * x, reduce: how) }\n"
                  "fn h(x[N], how) { if how { x } else { 2 * x } }\nfn twice(f, x) { f(f(x)) }",
                  ""},
                 {"fn f(x[N], k) { if x > 0 { k } else { 2 * k } }",
                  "E0212 `x > 0`: `if` chooses at compile time, and this is known only at run time\n"
                  "  help use `where(condition, a, b)` to choose per element"}});
}

TEST_CASE("what stands in the way of a gradient", "[frontend][optimizer]") {
  check_sayings({
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h == 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h == 3`: `==` has no gradient, so `w` cannot train (w -> h -> == -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h != 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h != 3`: `!=` has no gradient, so `w` cannot train (w -> h -> != -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h < 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h < 3`: `<` has no gradient, so `w` cannot train (w -> h -> < -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h <= 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h <= 3`: `<=` has no gradient, so `w` cannot train (w -> h -> <= -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h > 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h > 3`: `>` has no gradient, so `w` cannot train (w -> h -> > -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h >= 3 }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h >= 3`: `>=` has no gradient, so `w` cannot train (w -> h -> >= -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 where(h > 0, 1, 2) }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h > 0`: `>` has no gradient, so `w` cannot train (w -> h -> > -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 argmax(h, over: C) }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `argmax(h, over: C)`: `argmax` has no gradient, so `w` cannot train (w -> h -> argmax -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 floor(h) }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `floor(h)`: `floor` has no gradient, so `w` cannot train (w -> h -> floor -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 x[C: argmax(h, over: C)] }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `argmax(h, over: C)`: `argmax` has no gradient, so `w` cannot train (w -> h -> argmax -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 x }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0203 `w`: parameter `w` never reaches the loss, so it cannot train\n"
       "  help remove it, use it in the result, or mark it `frozen`"},
      {data + R"(dim C = 4
layer Res(x[..., D]) -> [..., D] { x + (x |> Dense(D) |> relu |> Dense(D)) }
model M(x[B, C]) { param a[C] = 0
 let g = x |> Res
 repeat 2 { update g = g |> Res }
 repeat 3 { let h = x |> Dense(2) }
 param b[C] = 0
 x * b }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0203 `Dense(D)`: `res1.dense1.weight` and 11 other parameters never reach the loss, so they cannot train\n"
       "  note the others are `res1.dense1.bias`, `res1.dense2.weight`, `res1.dense2.bias`, `res2.dense1.weight`, "
       "`res2.dense1.bias`, `res2.dense2.weight`, `res2.dense2.bias` and 4 more\n"
       "  help use in the result what is made with them, remove it, or mark it `frozen`\n"
       "E0203 `a`: parameter `a` never reaches the loss, so it cannot train\n"
       "  help remove it, use it in the result, or mark it `frozen`\n"
       "E0203 `Dense(2)`: `dense1.weight` and 5 other parameters never reach the loss, so they cannot train\n"
       "  note the others are `dense1.bias`, `dense2.weight`, `dense2.bias`, `dense3.weight`, `dense3.bias`\n"
       "  help use in the result what is made with them, remove it, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 h }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(dim C = 4
model M(x[B, C]) { param w[C] = 0
 let h = x + w
 let q = h == 3
 where(q, x, 1) }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `h == 3`: `==` has no gradient, so `w` cannot train (w -> h -> == -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
      {data + R"(dim C = 4
model M(x[B, C]) { frozen param w[C] = 0
 x + w }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(dim V = 5, E = 3
model M(x[B, 4], k[B] : class(V)) { param table[V, E] ~ normal(1)
 sum(table[V: k], over: E) }
train { data d
 minimize mean(M(x, c))
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {data + R"(dim V = 5, E = 3
model M(x[B, 4]) { param w[V] = 0
 param table[V, E] ~ normal(1)
 sum(table[V: argmax(w, over: V)], over: E) }
train { data d
 minimize mean(M(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0302 `argmax(w, over: V)`: `argmax` has no gradient, so `w` cannot train (w -> argmax -> loss)\n"
       "  label `w`: `w`\n"
       "  help let `w` reach the loss in another way, or mark it `frozen`"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
