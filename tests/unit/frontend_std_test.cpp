// The standard library against its formulas.
#include <cmath>
#include <limits>
#include <numbers>

#include <fmt/format.h>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_CASE("activations", "[frontend][std]") {
  const std::vector<double> xs{-50, -2, -0.5, 0, 0.25, 3, 50};
  using F = double (*)(double);
  const std::vector<std::pair<std::string, F>> cases{
      {"relu", [](double x) { return x > 0 ? x : 0; }},
      {"leaky_relu", [](double x) { return x > 0 ? x : 0.01 * x; }},
      {"sigmoid", sigmoid},
      {"tanh", [](double x) { return std::tanh(x); }},
      {"softplus", [](double x) { return x > 30 ? x : std::log1p(std::exp(x)); }},
      {"elu", [](double x) { return x > 0 ? x : std::expm1(x); }},
      {"selu", [](double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x)); }},
      {"silu", [](double x) { return x * sigmoid(x); }},
      {"gelu", [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"mish", [](double x) { return x * std::tanh(x > 30 ? x : std::log1p(std::exp(x))); }},
  };
  for (const auto& [name, f] : cases) {
    INFO(name);
    std::vector<double> expected;
    for (double x : xs) expected.push_back(f(x));
    check_values(run("fn f(x[...]) { " + name + "(x) }", "f", {{"x", tensor({7}, xs)}}), expected, 1e-12);
  }
  // A NaN is passed on.
  CHECK(std::isnan(run("fn f(x[...]) { relu(x) }", "f", {{"x", tensor({1}, {std::nan("")})}}).values[0]));
}

TEST_CASE("cross entropy", "[frontend][std]") {
  const Tensor logits = tensor({2, 3}, {1, 2, 3, 100, 0, -100});
  double l0 = std::log(std::exp(1) + std::exp(2) + std::exp(3)) - 2, l1 = 100;
  const std::vector<std::pair<std::string, Tensor>> inputs{{"x", logits}, {"y", tensor({2}, {1, 1})}};
  auto loss = [&](const std::string& options) {
    return run("fn f(x[N, C], y[N]: class(C)) { cross_entropy(x, y" + options + ") }", "f", inputs, {}, {{"y", 3}});
  };
  check_values(loss(""), {(l0 + l1) / 2});
  check_values(loss(", reduce: none"), {l0, l1});
  check_values(loss(", reduce: sum"), {l0 + l1});
  double m0 = l0 + 2 - 2, m1 = 100 - 0;
  check_values(loss(", smoothing: 0.1, reduce: none"), {0.9 * l0 + 0.1 * m0, 0.9 * l1 + 0.1 * m1});
  const std::string weights = ", weight: [0.5, 2, 1] as [C]";
  // Of one label is the weight its class's; the mean is divided by the weights of the labels.
  auto labels = [&](const std::string& options) {
    return run("fn f(x[N, C], y[N]: class(C)) { cross_entropy(x, y" + options + ") }", "f", {{"x", logits}, {"y", tensor({2}, {1, 0})}}, {}, {{"y", 3}});
  };
  check_values(labels(weights + ", reduce: none"), {2 * l0, 0});
  check_values(labels(weights + ", reduce: sum"), {2 * l0});
  check_values(labels(weights), {2 * l0 / 2.5});
  check_values(labels(", weight: none"), {l0 / 2});
  check_values(labels(", ignore: 0"), {l0});
  check_values(labels(", ignore: 1, reduce: none"), {0, 0});
  check_values(labels(", ignore: 2"), {l0 / 2});
  check_values(labels(", ignore: none"), {l0 / 2});
  check_values(labels(weights + ", ignore: 0"), {l0});
  double spread = 0.5 * (l0 + 1) + 2 * l0 + 1 * (l0 - 1);  // the weighted losses of all classes in the first row
  check_values(labels(weights + ", ignore: 0, smoothing: 0.1"), {(0.9 * 2 * l0 + 0.1 * spread / 3) / 2});
  CHECK(std::isnan(loss(", ignore: 1").values[0]));  // nothing is left
  // What is left out may be anything.
  check_values(run("fn f(x[N, C], y[N]: class(C)) { cross_entropy(x, y, ignore: 2) }", "f",
                   {{"x", tensor({2, 3}, {1, 2, 3, INFINITY, 0, 0})}, {"y", tensor({2}, {1, 2})}}, {}, {{"y", 3}}),
               {l0});
  // A distribution that is one class is that class.
  check_values(
      run("fn f(x[N, C], y[N, C]) { cross_entropy(x, y) }", "f", {{"x", logits}, {"y", tensor({2, 3}, {0, 1, 0, 0, 1, 0})}}),
      {(l0 + l1) / 2});
}

TEST_CASE("other losses", "[frontend][std]") {
  const Tensor x = tensor({4}, {-3, -0.2, 0.4, 2}), y = tensor({4}, {-1, 0, 1, 1}), t = tensor({4}, {0, 0.5, 1, 1});
  auto two = [&](const std::string& name, const Tensor& target) {
    return run("fn f(x[N], y[N]) { " + name + "(x, y) }", "f", {{"x", x}, {"y", target}});
  };
  check_values(two("mean_squared_error", y), {(4 + 0.04 + 0.36 + 1) / 4});
  check_values(two("mean_absolute_error", y), {(2 + 0.2 + 0.6 + 1) / 4});
  check_values(two("huber", y), {(1.5 + 0.02 + 0.18 + 0.5) / 4});
  check_values(two("hinge", y), {(0 + 1 + 0.6 + 0) / 4});
  double bce = 0;
  for (size_t i = 0; i < 4; ++i)
    bce -= t.values[i] * std::log(sigmoid(x.values[i])) + (1 - t.values[i]) * std::log(1 - sigmoid(x.values[i]));
  check_values(two("binary_cross_entropy", t), {bce / 4});
  // Both distributions equal: no distance; a target of 0 adds nothing.
  check_values(run("fn f(x[N, C], y[N, C]) { kl_divergence(x, y, reduce: sum) }", "f",
                   {{"x", tensor({1, 2}, {std::log(0.25), std::log(0.75)})}, {"y", tensor({1, 2}, {0.25, 0.75})}}),
               {0});
  check_values(run("fn f(x[N, C], y[N, C]) { kl_divergence(x, y, reduce: sum) }", "f",
                   {{"x", tensor({1, 2}, {0, 0})}, {"y", tensor({1, 2}, {0, 1})}}),
               {std::log(2.0)});
  // Margin over several classes: PyTorch's multi_margin_loss.
  check_values(run("fn f(x[N, C], y[N]: class(C)) { hinge(x, y) }", "f",
                   {{"x", tensor({1, 3}, {0.1, 0.5, 0.2})}, {"y", tensor({1}, {2})}}, {}, {{"y", 3}}),
               {(0.9 + 1.3) / 3});
}

TEST_CASE("metrics", "[frontend][std]") {
  const Tensor logits = tensor({4, 3}, {3, 1, 2, 1, 3, 2, 1, 2, 3, 3, 2, 1}), label = tensor({4}, {0, 0, 2, 2});
  auto metric = [&](const std::string& call) {
    return run("fn f(x[N, C], y[N]: class(C)) { " + call + " }", "f", {{"x", logits}, {"y", label}}, {}, {{"y", 3}});
  };
  check_values(metric("accuracy(x, y)"), {0.5});
  check_values(metric("top_k(x, y, k: 1)"), {0.5});
  check_values(metric("top_k(x, y, k: 2)"), {0.5});
  check_values(metric("top_k(x, y, k: 3)"), {1});
  check_values(metric("confusion(x, y)"), {1, 1, 0, 0, 0, 0, 1, 0, 1});
  check_values(metric("precision(x, y)"), {(0.5 + 0 + 1) / 3});
  check_values(metric("recall(x, y)"), {(0.5 + 0 + 0.5) / 3});
  check_values(metric("f1(x, y)"), {(0.5 + 0 + 2.0 / 3) / 3});
  check_values(metric("perplexity(x, y)"), {std::exp(metric("cross_entropy(x, y)").values[0])});
  check_values(metric("perplexity(x, y, ignore: 0)"), {std::exp(metric("cross_entropy(x, y, ignore: 0)").values[0])});
  check_values(run("fn f(x[N], y[N]) { r2(x, y) }", "f", {{"x", tensor({3}, {1, 2, 4})}, {"y", tensor({3}, {1, 2, 3})}}), {0.5});
}

TEST_CASE("metrics at ties and NaN", "[frontend][std]") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  auto metric = [&](const std::string& call, const Tensor& logits, const Tensor& label) {
    return run("fn f(x[N, C], y[N]: class(C)) { " + call + " }", "f", {{"x", logits}, {"y", label}}, {}, {{"y", logits.shape[1]}});
  };
  // A model that says nothing: of ten rows, one of each class, the first class is right, and of the first five k: 5.
  std::vector<double> classes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Tensor labels = tensor({10}, classes);
  for (double value : {0.0, -3.0, inf, -inf}) {
    INFO(value);
    const Tensor equal = tensor({10, 10}, std::vector<double>(100, value));
    check_values(metric("accuracy(x, y)", equal, labels), {0.1});
    for (int k = 1; k <= 10; ++k) check_values(metric(fmt::format("top_k(x, y, k: {})", k), equal, labels), {0.1 * k});
    check_values(metric("top_k(x, y, k: 20)", equal, labels), {1});
  }
  const Tensor unknown = tensor({10, 10}, std::vector<double>(100, nan));
  for (const char* call : {"accuracy(x, y)", "top_k(x, y, k: 1)", "top_k(x, y, k: 5)", "top_k(x, y, k: 10)", "top_k(x, y, k: 20)", "precision(x, y)",
                           "recall(x, y)", "f1(x, y)"}) {
    INFO(call);
    check_values(metric(call, unknown, labels), {0});
  }
  check_values(metric("sum(confusion(x, y))", unknown, labels), {0});
  // Rows of three: right, NaN beside a right one, its own NaN in the first place and in another, wrong.
  const Tensor mixed = tensor({5, 3}, {3, 1, 2, 3, nan, 1, nan, 1, 2, 1, 2, nan, 1, 3, 2}), label = tensor({5}, {0, 0, 0, 2, 0});
  check_values(metric("accuracy(x, y)", mixed, label), {0.2});
  check_values(metric("top_k(x, y, k: 1)", mixed, label), {0.2});
  check_values(metric("top_k(x, y, k: 2)", mixed, label), {0.4});  // only the NaN is ahead of 3 in the second row
  check_values(metric("top_k(x, y, k: 3)", mixed, label), {0.6});
  check_values(metric("confusion(x, y)", mixed, label), {1, 1, 0, 0, 0, 0, 0, 0, 0});
  check_values(metric("recall(x, y)", mixed, label), {0.25 / 3});
  // Ties between some: the label is second of two equal ones.
  const Tensor tie = tensor({2, 3}, {1, 5, 5, 1, 5, 5}), second = tensor({2}, {1, 2});
  check_values(metric("accuracy(x, y)", tie, second), {0.5});
  check_values(metric("top_k(x, y, k: 1)", tie, second), {0.5});
  check_values(metric("top_k(x, y, k: 2)", tie, second), {1});
  // One logit for two classes: 0 is the first class, NaN is neither.
  auto two = [&](std::vector<double> x, std::vector<double> y) {
    int64_t n = int64_t(x.size());
    return run("fn f(x[N], y[N]) { binary_accuracy(x, y) }", "f", {{"x", tensor({n}, x)}, {"y", tensor({n}, y)}});
  };
  check_values(two({0, -0.0, 1, -1}, {0, 0, 1, 0}), {1});
  check_values(two({0, 1, -1}, {1, 0, 1}), {0});
  check_values(two({nan, nan}, {0, 1}), {0});
  check_values(two({1, -1}, {nan, nan}), {0});
}

TEST_CASE("activations far from zero keep their digits", "[frontend][std]") {
  // erfc and expm1 lose none of them, unlike 1 + erf and 1 + tanh.
  const std::vector<double> xs{-5.5, -6, -8, -12, -30, -37};
  std::vector<double> expected, approximate;
  for (double x : xs) {
    expected.push_back(x * std::erfc(-x / std::sqrt(2.0)) / 2);
    const double u = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    approximate.push_back(x * std::exp(2 * u) / (1 + std::exp(2 * u)));
  }
  Tensor exact = run("fn f(x[N]) { gelu(x) }", "f", {{"x", tensor({6}, xs)}});
  Tensor wide = tensor({6}, xs);  // f64, so that the numbers in the formula are
  wide.dtype = DType::f64;
  Tensor near = run("fn f(x[N]: f64) { gelu(x, approximate: tanh) }", "f", {{"x", wide}});
  for (size_t i = 0; i < xs.size(); ++i) {
    INFO(xs[i]);
    CHECK(std::fabs(exact.values[i] / expected[i] - 1) < 1e-12);
    CHECK(std::fabs(near.values[i] - approximate[i]) <= 1e-12 * std::fabs(approximate[i]));
  }
  CHECK(std::fabs(exact.values[1] / -5.919e-9 - 1) < 1e-3);
}

TEST_CASE("layers", "[frontend][std]") {
  check_values(run("layer f(x[B, C]) -> [B, 2] { x |> fc: Dense(2) }", "f", {{"x", tensor({1, 3}, {1, 2, 3})}},
                   {{"fc.weight", tensor({2, 3}, {1, 0, 0, 0, 1, 1})}, {"fc.bias", tensor({2}, {10, 20})}}),
               {11, 25});
  check_values(run("layer f(x[B, C]) -> [B, C] { x |> LayerNorm }", "f", {{"x", tensor({1, 2}, {1, 3})}},
                   {{"layernorm1.weight", tensor({2}, {1, 2})}, {"layernorm1.bias", tensor({2}, {0, 5})}}),
               {-1 / std::sqrt(1 + 1e-5), 2 / std::sqrt(1 + 1e-5) + 5});
  check_values(run("layer f(i[N]: class(3)) -> [N, 2] { i |> e: Embedding(3, 2) }", "f", {{"i", tensor({2}, {2, 0})}},
                   {{"e.weight", tensor({3, 2}, {1, 2, 3, 4, 5, 6})}}, {{"i", 3}}),
               {5, 6, 1, 2});
}

// Graphs outside of training: running statistics, from what is stored. Training is held by tests/trajectories.
TEST_CASE("normalisation layers", "[frontend][std]") {
  const Tensor x = tensor({2, 2}, {1, -4, 3, 6});
  auto state = [](double mean, double variance) {
    return std::map<std::string, Tensor>{{"n.running_mean", tensor({2}, {mean, 2 * mean})}, {"n.running_var", tensor({2}, {variance, 4 * variance})},
                                         {"n.num_batches_tracked", tensor({}, {7}, DType::i64)}, {"n.weight", tensor({2}, {2, 3})}, {"n.bias", tensor({2}, {0.5, -1})}};
  };
  auto layer = [](const std::string& call) { return "layer f(x[B, C]) { x |> n: " + call + " }"; };
  check_values(run(layer("BatchNorm1d(eps: 0)"), "f", {{"x", x}}, state(1, 4)), {0.5, -3 * 6.0 / 4 - 1, 2.5, 3 * 4.0 / 4 - 1});
  check_values(run(layer("BatchNorm1d(eps: 5, affine: false)"), "f", {{"x", x}}, state(1, 4)), {0, -6 / std::sqrt(21), 2 / 3.0, 4 / std::sqrt(21)});
  check_values(run(layer("GroupNorm(1, eps: 0)"), "f", {{"x", x}}, state(0, 1)), {2.5, -4, -1.5, 2});
  check_values(run(layer("RmsNorm(eps: 0)"), "f", {{"x", x}}, state(0, 1)), {2 / std::sqrt(8.5), -12 / std::sqrt(8.5), 6 / std::sqrt(22.5), 18 / std::sqrt(22.5)});
  // The machine epsilon of f32 where nothing is said.
  check_values(run(layer("RmsNorm(affine: false)"), "f", {{"x", tensor({1, 2}, {0, 1e-3})}}), {0, 1e-3 / std::sqrt(5e-7 + std::ldexp(1, -23))});
}

// One step of an optimizer on one number, twice.
std::vector<double> steps(const std::string& optimizer, std::vector<double> gradients, double value,
                          std::map<std::string, double>* final_states = nullptr) {
  Loaded l = load(
      "data d { x[1] : f32 = npy(\"x.npy\") }\nmodel M(x[B, 1]) -> [B, 1] { param w[1] = 0\n x * w }\n"
      "train { data d\n minimize mean(M(x))\n using " +
      optimizer + "\n epochs 1 }");
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::optional<BuiltGraph> train = l.module->build_train_graph(d);
  REQUIRE(train);
  std::vector<UpdateRule> rules = l.module->build_update_rules(train->parameters, d);
  REQUIRE(rules.size() == 1);
  Bindings b;
  for (const ScalarSpec& s : l.module->train().scalars) b.scalars[s.name] = s.value;
  for (const ParameterSpec& s : rules[0].states) b.persistents[s.persistent.name] = tensor({1}, {s.initializer.a});
  std::vector<double> values;
  for (size_t i = 0; i < gradients.size(); ++i) {
    b.scalars["step"] = double(i);
    b.scalars["epoch"] = 0;
    b.inputs["value"] = tensor({1}, {value});
    b.inputs["grad"] = tensor({1}, {gradients[i]});
    Results r = interpret(rules[0].rule, b);
    value = r.updates.at("value").values[0];
    values.push_back(value);
    for (const ParameterSpec& s : rules[0].states) b.persistents[s.persistent.name] = r.updates.at(s.persistent.name);
  }
  if (final_states)
    for (const auto& [name, t] : b.persistents) (*final_states)[name] = t.values[0];
  return values;
}

void check_steps(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK(actual[i] == Approx(expected[i]).epsilon(1e-12));
}

TEST_CASE("optimizers are PyTorch's", "[frontend][std]") {
  const double g0 = 0.5, g1 = -0.25;
  check_steps(steps("sgd(lr: 0.1)", {g0, g1}, 1), {0.95, 0.975});
  // A momentum is known when compiling, and so a number of f32 beside one: 0.75 is one.
  check_steps(steps("sgd(lr: 0.1, momentum: 0.75)", {g0, g1}, 1), {0.95, 0.95 - 0.1 * (0.375 - 0.25)});
  check_steps(steps("sgd(lr: 0.1, momentum: 0.75, nesterov: true)", {g0, g1}, 1),
              {1 - 0.1 * (0.5 + 0.375), 1 - 0.1 * (0.5 + 0.375) - 0.1 * (-0.25 + 0.75 * 0.125)});
  check_steps(steps("sgd(lr: 0.1, decay: 0.5)", {g0}, 1), {0.9});
  double m = 0.1 * g0, v = 0.001 * g0 * g0, w = 1 - 0.01 / (1 - 0.9) * m / (std::sqrt(v) / std::sqrt(1 - 0.999) + 1e-8), w1 = w;
  m = 0.9 * m + 0.1 * g1;
  v = 0.999 * v + 0.001 * g1 * g1;
  w -= 0.01 / (1 - 0.81) * m / (std::sqrt(v) / std::sqrt(1 - 0.999 * 0.999) + 1e-8);
  std::map<std::string, double> states;
  check_steps(steps("adam(lr: 0.01)", {g0, g1}, 1, &states), {w1, w});
  CHECK(states.at("optimizer.exp_avg.w") == Approx(m));
  CHECK(states.at("optimizer.exp_avg_sq.w") == Approx(v));
  check_steps(steps("adamw(lr: 0.01, decay: 0.1)", {g0}, 1), {1 * (1 - 0.001) - (1 - w1)});
  check_steps(steps("rmsprop(lr: 0.01)", {g0}, 1), {1 - 0.01 * g0 / (std::sqrt(0.01 * g0 * g0) + 1e-8)});
  // A gradient that does not change has no variance; what rounding leaves of it may be below zero, and is no root of that.
  bool is_below_zero = false;
  for (double g : {1.0 / 3, 0.1, 0.7, 1e-3, 5.3}) {
    double square = 0, mean = 0;
    for (int i = 0; i < 80; ++i) {
      square = 0.5 * square + 0.5 * (g * g);
      mean = 0.5 * mean + 0.5 * g;
      is_below_zero = is_below_zero || square - mean * mean < 0;
    }
    for (double value : steps("rmsprop(lr: 0.01, alpha: 0.5, centered: true)", std::vector<double>(80, g), 1)) CHECK(std::isfinite(value));
  }
  CHECK(is_below_zero);
  check_steps(steps("rmsprop(lr: 0.01, centered: true, momentum: 0.9)", {g0}, 1),
              {1 - 0.01 * g0 / (std::sqrt(0.01 * g0 * g0 - 0.0001 * g0 * g0) + 1e-8)});
  check_steps(steps("adagrad(lr: 0.1)", {g0, g1}, 1),
              {1 - 0.1 * g0 / (g0 + 1e-10), 1 - 0.1 * g0 / (g0 + 1e-10) - 0.1 * g1 / (std::sqrt(g0 * g0 + g1 * g1) + 1e-10)});
}

TEST_CASE("optimizers at their corners", "[frontend][std]") {
  // Up the gradient the sign turns before the decay is added, which still pulls to zero.
  check_steps(steps("sgd(lr: 0.1, decay: 0.5, maximise: true)", {0.25}, 1), {1 - 0.1 * (-0.25 + 0.5)});
  // The largest mean square so far: of a small gradient after a large one that is the first one's.
  std::map<std::string, double> states;
  steps("adam(lr: 0.01, beta2: 0.5, amsgrad: true)", {4, 1}, 1, &states);
  CHECK(states.at("optimizer.exp_avg_sq.w") == Approx(4.5));
  CHECK(states.at("optimizer.max_exp_avg_sq.w") == Approx(8));
  // The same sign: a larger step. Another one: a rest, and a smaller step afterwards. A gradient of zero: neither.
  check_steps(steps("rprop(lr: 0.5, eta_plus: 1.5, step_max: 0.625)", {1, 2, -1, -1, 0, 3}, 0), {-0.5, -1.125, -1.125, -0.8125, -0.8125, -1.125});
  // The mean square of so few gradients is not trusted.
  check_steps(steps("radam(lr: 0.5, beta1: 0.5)", {1, 1}, 0), {-0.5, -1});
  // Where a parameter or its update has no length, the update is taken as it is.
  check_steps(steps("lamb(lr: 0.5, eps: 0.0, decay: 0.0)", {3, 0}, 0), {-0.5, -0.5 - 0.5 * 0.5});
  check_steps(steps("lamb(lr: 0.5, decay: 0.0)", {0, 0}, 1), {1, 1});
  // A gradient of zero has no sign.
  check_steps(steps("lion(lr: 0.25)", {0, 2, 0}, 0), {0, -0.25, -0.5});
  // No update is longer than `d`, however long the gradient is; the least size of a parameter stands for one of zero.
  check_steps(steps("adafactor(lr: 0.25, eps2: 0.5)", {1e6, 0}, 0), {-0.125, -0.125});
}

TEST_CASE("schedules are functions of the step", "[frontend][std]") {
  auto rates = [](const std::string& schedule, size_t n) {
    std::vector<double> values = steps("sgd(lr: " + schedule + ")", std::vector<double>(n, 1.0), 0), result;
    for (size_t i = 0; i < n; ++i) result.push_back((i ? values[i - 1] : 0) - values[i]);
    return result;
  };
  check_steps(rates("constant(0.5)", 2), {0.5, 0.5});
  check_steps(rates("step_decay(0.8, every: 2, by: 0.5)", 5), {0.8, 0.8, 0.4, 0.4, 0.2});
  check_steps(rates("exponential(1, by: 0.5)", 3), {1, 0.5, 0.25});
  check_steps(rates("warmup(1, steps: 4)", 5), {0.25, 0.5, 0.75, 1, 1});
  check_steps(rates("cosine(1, warmup: 2, total: 6)", 7),
              {0.5, 1, 1, 0.5 + std::sqrt(0.5) / 2, 0.5, 0.5 - std::sqrt(0.5) / 2, 0.0});
  // A number behind a named one is the next that has not been named; options go by their names.
  check_steps(rates("cosine(warmup: 2, 1, 6)", 7), rates("cosine(1, warmup: 2, total: 6)", 7));
  check_steps(rates("cosine(rate: 1, 4)", 3), {1, 0.5 + std::sqrt(0.5) / 2, 0.5});
  check_steps(steps("adam(lr: warmup(0.1, steps: 2), beta1: warmup(0.5, steps: 1))", {0.5, -0.25}, 1),
              steps("adam(lr: warmup(0.1, steps: 2), beta1: 0.5)", {0.5, -0.25}, 1));
}

}  // namespace
}  // namespace nnc::frontend_tests
