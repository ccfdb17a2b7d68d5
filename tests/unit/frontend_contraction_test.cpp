// `sum(PRODUCT, over: D)` is what `let p = PRODUCT` and `sum(p, over: D)` are, however it is executed: random small products, both
// ways through the interpreter.
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/unit/frontend_fixture.h"

namespace nnc {
namespace {

using namespace frontend_tests;

/// A product, and the arguments that it names.
class RandomProduct {
 public:
  explicit RandomProduct(uint64_t seed) : random_(seed) {
    product = tree(2 + below(3));
    over = below(4) ? name() : fmt::format("({}, {})", name(), name());
  }

  std::string product, over;
  std::vector<ArgumentSpec> arguments;
  Bindings bindings;

  /// `Main` calls the layer whose body is `body`, so that the summary shows what its result is called outside.
  std::string program(const std::string& body) const {
    std::string names;
    for (const ArgumentSpec& a : arguments) names += (names.empty() ? "" : ", ") + a.name;
    return fmt::format("dim P = 2, Q = 3, R = 4\nlayer Inner({0}) {{ {1} }}\nlayer Main({0}) {{ Inner({2}) }}\n", heads_, body, names);
  }

 private:
  size_t below(size_t n) { return size_t(random_() % n); }
  std::string name() { return std::string(1, "PQR"[below(3)]); }

  std::string tree(size_t factors) {
    if (factors == 1) return factor();
    size_t left = 1 + below(factors - 1);
    std::string a = tree(left), b = tree(factors - left);
    return fmt::format("{} * {}", a, factors - left > 1 ? "(" + b + ")" : b);
  }

  std::string factor() {
    switch (below(10)) {
      case 0:
        return below(2) ? "2" : "0.5";
      case 1:
        return below(2) ? "[1, 2]" : below(2) ? "[3, 1, 2]" : "[[1, 2], [0, 3], [1, 1]]";
      case 2:
        return fmt::format("index({})", name());
      default:
        return argument();
    }
  }

  std::string argument() {
    static constexpr DType types[] = {DType::f32, DType::f32, DType::f32, DType::f64, DType::i32};
    ArgumentSpec a;
    a.name = fmt::format("x{}", arguments.size());
    a.type.dtype = types[below(5)];
    std::vector<size_t> dims{0, 1, 2};
    std::shuffle(dims.begin(), dims.end(), random_);
    dims.resize(below(4));
    std::string entries;
    Tensor t{a.type.dtype, {}, {1}};
    for (size_t d : dims) {
      entries += (entries.empty() ? "" : ", ") + (below(3) ? std::string(1, "PQR"[d]) : std::to_string(d + 2));
      a.type.shape.push_back({int64_t(d) + 2, false});
      t.shape.push_back(int64_t(d) + 2);
      t.values.resize(t.values.size() * (d + 2));
    }
    for (double& v : t.values) v = double(below(5)) - 2;
    heads_ += fmt::format("{}{}{} : {}", heads_.empty() ? "" : ", ", a.name, entries.empty() ? "" : "[" + entries + "]",
                          dtype_name(a.type.dtype));
    bindings.inputs[a.name] = t;
    arguments.push_back(a);
    return a.name;
  }

  std::mt19937_64 random_;
  std::string heads_;
};

struct Outcome {
  std::set<std::string> messages;
  std::vector<std::string> names;
  Tensor value;
  int64_t contractions = 0;
};

Outcome evaluate(const RandomProduct& product, const std::string& body) {
  Outcome result;
  Loaded l = load(product.program(body));
  std::optional<BuiltGraph> built;
  if (l.module) built = l.module->build_definition("Main", product.arguments, {}, l.diagnostics);
  for (const Diagnostic& d : l.diagnostics.items()) result.messages.insert(fmt::format("{} {}", int(d.code), d.message));
  if (!result.messages.empty()) return result;
  REQUIRE(built);
  REQUIRE(verify_graph(built->graph).empty());
  result.contractions = std::count_if(built->graph.nodes().begin(), built->graph.nodes().end(),
                                      [](const Node& n) { return n.op == Op::contract; });
  result.value = interpret(built->graph, product.bindings).outputs.at("result");
  REQUIRE(built->layers.size() == 1);
  result.names = built->layers[0].output_names;
  return result;
}

TEST_CASE("a sum of a product is the product, summed", "[frontend][language]") {
  int64_t contractions = 0, values = 0, errors = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    RandomProduct p(seed);
    Outcome direct = evaluate(p, fmt::format("sum({}, over: {})", p.product, p.over));
    Outcome reference = evaluate(p, fmt::format("let p = {}\n sum(p, over: {})", p.product, p.over));
    INFO("seed " << seed << "\n" << p.program(fmt::format("sum({}, over: {})", p.product, p.over)));
    // What a contraction may do beyond a product: pair every X with every Y.
    auto pairs = [](const std::string& m) { return m.find("would pair every") != std::string::npos; };
    if (std::any_of(reference.messages.begin(), reference.messages.end(), pairs)) continue;
    CHECK(direct.messages == reference.messages);
    ++(reference.messages.empty() ? values : errors);
    if (!reference.messages.empty() || !direct.messages.empty()) continue;
    CHECK(direct.value.dtype == reference.value.dtype);
    CHECK(direct.value.shape == reference.value.shape);
    CHECK(direct.value.values == reference.value.values);
    CHECK(direct.names == reference.names);
    contractions += direct.contractions > 0;
  }
  CHECK(contractions >= 20);
  CHECK(values >= 50);
  CHECK(errors >= 20);
}

TEST_CASE("every product that does not align is reported", "[frontend][language]") {
  Loaded l = load(R"(dim Q = 3
fn f(a[2, 4, Q], b[4], c[Q, 4, 2], d[Q, 4]) { sum(a * b * (c * d), over: Q) }
test "t" { let y = f(zeros([2, 4, 3]), zeros([4]), zeros([3, 4, 2]), zeros([3, 4])) }
)");
  CHECK(std::count_if(l.diagnostics.items().begin(), l.diagnostics.items().end(),
                      [](const Diagnostic& d) { return d.code == Code::E0101; }) == 2);
}

}  // namespace
}  // namespace nnc
