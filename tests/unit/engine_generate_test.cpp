// Text from models: scores position by position against those of the whole context, what the generator keeps at its end, and what is chosen from scores.
#include <cmath>
#include <limits>
#include <set>

#include "base/diagnostics.h"
#include "engine/generate.h"
#include "engine/sampling.h"
#include "engine/weights.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

const std::string head = R"(
dim Ctx = 8, Vocab = 11, Width = 12
data poem { tokens[Ctx], next[Ctx] : class(Vocab) = text("poem.txt", context: Ctx) }
)";
const std::string tail = R"(
train {
  data poem, batch: 4
  minimize cross_entropy(Net(tokens), next)
  using sgd(lr: 0.1)
  steps 1
}
)";
const std::string attention = R"(
layer Attention(Heads)(x[B, T, C]) -> [B, T, C] {
  dim D = C / Heads
  dim S = T
  let q = (x |> query: Dense(C)) as [B, T, Heads, D]
  let k = (x |> key: Dense(C)) as [B, S, Heads, D]
  let v = (x |> value: Dense(C)) as [B, S, Heads, D]
  let past = where(index(S) <= index(T), sum(q * k, over: D), -inf)
  sum(softmax(past, over: S) * v, over: S) as [B, T, C]
}
model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] where T <= Ctx {
  param place[Ctx, Width] ~ normal(1)
  let x = (tokens |> embed: Embedding(Vocab, Width)) + (place[Ctx: 0..T] as [T, Width])
  x + (x |> LayerNorm |> first: Attention(2)) |> second: Attention(3) |> out: Dense(Vocab)
}
)";
const std::string recurrent = R"(
model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] {
  tokens |> embed: Embedding(Vocab, Width) |> Lstm(Width) |> Gru(Width) |> out: Dense(Vocab)
}
)";

struct Model {
  Compilation compilation{host_target()};
  Team team{1};
  std::optional<StepRunner> weights;
  std::vector<Diagnostic> warnings;
  explicit Model(const std::string& text) {
    compilation.load_text("net.nn", head + text + tail);
    compilation.on_warning = [this](const Diagnostic& d) { warnings.push_back(d); };
    weights.emplace(model_weights(compilation), team);
    BuiltGraph built = compilation.require(compilation.module->build_predict_graph(compilation.diagnostics));
    initialize(*weights, built.parameters, 5);
  }
  Generator generator(Generator::Way way = Generator::Way::by_position_if_causal) { return Generator(compilation, *weights, {}, {}, team, way); }
};

}  // namespace

TEST_CASE("scores of one position at a time are those of the whole context", "[engine][generate]") {
  for (const std::string& text : {attention, recurrent}) {
    Model model(text);
    Generator by_position = model.generator(), whole = model.generator(Generator::Way::whole_context);
    CHECK(model.warnings.empty());
    CHECK(by_position.goes_by_position());
    CHECK_FALSE(whole.goes_by_position());
    CHECK(by_position.context() == 8);
    CHECK(by_position.characters() == 11);
    RandomStream random(1, 2);
    for (int i = 0; i < 40; ++i) {
      const int32_t token = int32_t(random.next_below(11));
      by_position.feed(token);
      whole.feed(token);
      for (size_t c = 0; c < 11; ++c) CHECK(std::abs(by_position.scores()[c] - whole.scores()[c]) < 2e-5 * (1 + std::abs(whole.scores()[c])));
    }
  }
}

TEST_CASE("a text that is begun where it is still in sight goes on alike", "[engine][generate]") {
  Model model(attention);
  RandomStream random(3, 4);
  std::vector<int32_t> text;
  Generator all = model.generator();
  for (int64_t length = 1; length <= 24; ++length) {
    text.push_back(int32_t(random.next_below(11)));
    all.feed(text.back());
    Generator late = model.generator();
    const int64_t unseen = characters_out_of_sight(length, 8);
    CHECK(length - unseen <= 8);
    CHECK(length - unseen >= std::min<int64_t>(length, 4));
    for (int64_t i = unseen; i < length; ++i) late.feed(text[size_t(i)]);
    CHECK(std::ranges::equal(late.scores(), all.scores()));
  }
  CHECK(characters_out_of_sight(8, 8) == 0);
  CHECK(characters_out_of_sight(9, 8) == 4);
  CHECK(characters_out_of_sight(12, 8) == 4);
  CHECK(characters_out_of_sight(13, 8) == 8);
  CHECK(characters_out_of_sight(5, 1) == 4);
  CHECK(characters_out_of_sight(5, 3) == 2);
}

TEST_CASE("where positions see later ones, the warning names the operation", "[engine][generate]") {
  std::string text = attention;
  text.replace(text.find("<= index(T)"), 11, "<= index(T) + 1");
  Model model(text);
  Generator generator = model.generator();
  CHECK_FALSE(generator.goes_by_position());
  REQUIRE(model.warnings.size() == 1);
  CHECK(model.warnings[0].code == Code::E0531);
  CHECK(model.warnings[0].severity == Severity::warning);
  CHECK(model.warnings[0].span.valid());
  generator.feed(3);
  CHECK(generator.scores().size() == 11);
}

TEST_CASE("the exponential of choices is one of 2 ULP", "[engine][generate]") {
  CHECK(exp_of_negative(0) == 1);
  CHECK(exp_of_negative(-1e300) == 0);
  CHECK(exp_of_negative(-std::numeric_limits<double>::infinity()) == 0);
  CHECK(exp_of_negative(std::nan("")) == 0);
  RandomStream random(1, 1);
  for (int i = 0; i < 100000; ++i) {
    const double x = -700 * random.next_unit() * random.next_unit(), exact = std::exp(x);
    REQUIRE(std::abs(exp_of_negative(x) - exact) <= 2 * (std::nextafter(exact, 2) - exact));
  }
}

TEST_CASE("choices: temperature, the k likeliest, a share of the probability", "[engine][generate]") {
  const double never = -std::numeric_limits<double>::infinity();
  const std::vector<double> scores{1, 3, never, 3, 2};
  const auto drawn = [&](SamplingOptions options, int count = 20000) {
    Sampler sampler(options, 9);
    std::vector<int> times(scores.size());
    for (int i = 0; i < count; ++i) times[size_t(sampler.choose(scores))]++;
    return times;
  };
  const auto kinds = [&](SamplingOptions options) {
    std::set<int> found;
    const std::vector<int> times = drawn(options, 2000);
    for (size_t i = 0; i < times.size(); ++i)
      if (times[i]) found.insert(int(i));
    return found;
  };
  CHECK(kinds({.temperature = 0}) == std::set<int>{1});
  CHECK(kinds({.temperature = 1e-9}) == std::set<int>{1, 3});
  CHECK(kinds({}) == std::set<int>{0, 1, 3, 4});
  CHECK(kinds({.top_k = 1}) == std::set<int>{1});  // of equals the first
  CHECK(kinds({.top_k = 3}) == std::set<int>{1, 3, 4});
  CHECK(kinds({.top_k = 5}) == std::set<int>{0, 1, 3, 4});
  // Weights 1, 1, e^-1 and e^-2: shares of 0.399, 0.399, 0.147 and 0.054.
  CHECK(kinds({.top_p = 0.39}) == std::set<int>{1});
  CHECK(kinds({.top_p = 0.41}) == std::set<int>{1, 3});
  CHECK(kinds({.top_p = 0.8}) == std::set<int>{1, 3, 4});
  CHECK(kinds({.top_p = 0.95}) == std::set<int>{0, 1, 3, 4});
  CHECK(kinds({.top_k = 2, .top_p = 0.6}) == std::set<int>{1, 3});  // of what the first leaves
  CHECK(kinds({.top_k = 2, .top_p = 0.45}) == std::set<int>{1});
  for (double temperature : {0.5, 1.0, 4.0}) {
    double sum = 0;
    for (double score : scores) sum += std::exp((score - 3) / temperature);
    const std::vector<int> times = drawn({.temperature = temperature});
    for (size_t i = 0; i < scores.size(); ++i) {
      const double expected = 20000 * std::exp((scores[i] - 3) / temperature) / sum;
      CHECK(std::abs(times[i] - expected) <= 5 * std::sqrt(expected) + 1e-9);
    }
  }
}

TEST_CASE("the numbers of choices are a promise", "[engine][generate]") {
  Sampler sampler({}, 7);
  RandomStream stream(7, stable_hash("generate"));
  const std::vector<double> equal(1000, 0.5);
  for (int i = 0; i < 100; ++i) CHECK(sampler.choose(equal) == int32_t(stream.next_unit() * 1000));
  Sampler again({}, 7);
  std::vector<int32_t> first;
  for (int i = 0; i < 6; ++i) first.push_back(again.choose(equal));
  CHECK(first == std::vector<int32_t>{137, 211, 378, 711, 96, 961});
}
