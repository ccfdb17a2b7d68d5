// Parallel regions against programs without them: random attention and what surrounds it, taken through form_parallel_regions with rounds small enough for small sizes. The interpreter's
// numbers are those of the program without regions, compiled code's are the interpreter's, and bits depend on nothing: neither on threads, nor on what else memory holds, nor on
// whether scores are kept or computed again.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

#include <fmt/format.h>

#include "ir/program_interpreter.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "tests/program_text.h"
#include "tests/random_attention.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

const RegionOptions no_regions{0, std::numeric_limits<double>::infinity(), 64};

RegionOptions small_regions(int64_t kept_bytes) { return {kept_bytes, 0, 16}; }

size_t copies(const Program& program) {
  return size_t(std::count_if(program.kernels.begin(), program.kernels.end(), [](const Kernel& k) { return k.name.ends_with(".again"); }));
}

size_t locals(const Program& program) {
  return size_t(std::count_if(program.buffers.begin(), program.buffers.end(), [](const Buffer& b) { return b.kind == BufferKind::local; }));
}

bool nested(const Program& program) {
  for (size_t r = 1; r < program.parallel_regions.size(); ++r) {
    const ParallelRegion &outer = program.parallel_regions[r - 1], &inner = program.parallel_regions[r];
    if (inner.first < outer.first + outer.count) return true;
  }
  return false;
}

/// A program of tests/lit/ir/inputs, for this machine.
Program written(const std::string& file, bool verify = true, const std::vector<std::pair<std::string, std::string>>& changes = {}) {
  std::ostringstream text;
  text << std::ifstream(NNC_SOURCE_DIR "/tests/lit/ir/inputs/" + file).rdbuf();
  std::string changed = text.str();
  for (const auto& [from, to] : changes) {
    const size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, from.size(), to);
  }
  Program program = program_of(changed, verify);
  program.target = host_target_with_cpu();
  return program;
}

/// Numbers of the interpreter, and those of compiled code for any threads.
void check_values(const Program& program, const Bindings& bindings, const std::map<std::string, std::vector<double>>& expected) {
  const Results found = interpret_program(program, bindings);
  for (const auto& [name, values] : expected) CHECK(found.outputs.at(name).values == values);
  GuardedStep step(program, Placement::planned);
  for (int threads : {1, 2, 3, 7}) {
    INFO(threads << " threads");
    const std::optional<Results> compiled = step.run(bindings, {threads, 2, 0, 0});
    REQUIRE(compiled);
    for (const auto& [name, values] : expected) CHECK(compiled->outputs.at(name).values == values);
  }
}

/// Yes or no for each pair of positions, kept for kernels that would draw otherwise.
size_t kept_draws(const Program& program) {
  return size_t(std::count_if(program.buffers.begin(), program.buffers.end(), [](const Buffer& b) { return b.dtype == DType::boolean && (b.kind == BufferKind::temporary || b.kind == BufferKind::local); }));
}

struct Seen {
  int regions = 0, nested = 0, copies = 0, locals = 0, in_rounds = 0, draws = 0, draws_again = 0;
};

void check_attention(uint64_t seed, Seen& seen) {
  RandomAttention random_attention(seed);
  Graph graph = random_attention.make();
  std::mt19937_64 random(seed);
  const int64_t planned = int64_t(1 + seed % 4), rows = seed % 3 == 0 ? 1 : planned;
  INFO("seed " << seed << ", " << planned << " rows planned: " << random_attention.said());
  REQUIRE(verify_graph(graph) == std::vector<std::string>{});
  const Bindings bindings = random_bindings(graph, planned, random, -0.5, 0.5), fewer = random_bindings(graph, rows, random, -0.5, 0.5);
  optimize_graph(graph);
  const LowerOptions options{"attention", planned, host_target_with_cpu(), {}};
  const Program plain = build_program(graph, options, no_regions), kept = build_program(graph, options, small_regions(int64_t(1) << 40)), again = build_program(graph, options, small_regions(0));
  REQUIRE(plain.parallel_regions.empty());
  REQUIRE(plain.local_bytes == 0);
  seen.regions += !kept.parallel_regions.empty();
  seen.nested += nested(kept) || nested(again);
  seen.copies += copies(again) > 0;
  seen.locals += locals(kept) > 0;
  seen.in_rounds += !kept.parallel_regions.empty() && !kept.regions.empty() && kept.parallel_regions.front().first >= kept.regions.front().first;
  seen.draws += kept_draws(kept) > kept_draws(plain);
  seen.draws_again += copies(again) > 0 && kept_draws(again) > kept_draws(plain);
  CHECK(copies(kept) == 0);

  const Results expected = interpret_program(plain, bindings);
  for (const Program* program : {&kept, &again}) {
    INFO((program == &kept ? "kept" : "again"));
    const auto difference = find_difference(interpret_program(*program, bindings), expected, 1e-12);
    CHECK((difference ? difference->name : "") == "");
  }
  if (kept.parallel_regions.empty()) return;
  std::optional<GuardedStep> step;
  step.emplace(kept, Placement::planned);
  const std::optional<Results> alone = step->run(bindings);
  REQUIRE(alone);
  check_same(*alone, expected, 3e-5);
  for (int threads : {2, 3, 7}) {
    INFO(threads << " threads");
    CHECK(first_difference(*step->run(bindings, {threads, 1, 0, 0}), *alone) == "");
  }
  const std::optional<Results> of_fewer = step->run(fewer), of_two_steps = step->run(bindings, {3, 2, 0, 0});
  REQUIRE(of_fewer);
  check_same(*of_fewer, interpret_program(plain, fewer), 3e-5);
  CHECK(first_difference(*step->run(fewer, {3, 1, 0, 0}), *of_fewer) == "");

  CHECK(first_difference(*GuardedStep(again, Placement::planned).run(bindings, {2, 1, 0, 0}), *alone) == "");
  Program poisoned = kept, spread = kept;
  poison_dead(poisoned);
  REQUIRE(verify_program(poisoned) == std::vector<std::string>{});
  CHECK(first_difference(*GuardedStep(poisoned, Placement::planned).run(bindings, {3, 2, 0, 0}), *of_two_steps) == "");
  spread_memory(spread, 128);
  REQUIRE(verify_program(spread) == std::vector<std::string>{});
  CHECK(first_difference(*GuardedStep(spread, Placement::planned).run(bindings, {2, 1, 0, 0}), *alone) == "");
}

}  // namespace

TEST_CASE("random attention computes in parallel regions what it computes without", "[run][parallel]") {
  const char* one = std::getenv("NNC_ATTENTION_SEED");
  const uint64_t first = one ? std::stoull(one) : 1, count = one ? 1 : 80;
  Seen seen;
  for (uint64_t seed = first; seed < first + count; ++seed) check_attention(seed, seen);
  if (one) return;
  CHECK(seen.regions >= 25);
  CHECK(seen.nested >= 10);
  CHECK(seen.copies >= 10);
  CHECK(seen.locals >= 25);
  CHECK(seen.in_rounds >= 2);
  CHECK(seen.draws >= 7);
  CHECK(seen.draws_again >= 3);
}

TEST_CASE("rounds of regions in one another compute by hand", "[run][parallel]") {
  const Program program = written("parallel.nnir");
  for (int64_t rows : {2, 1}) {
    Bindings bindings;
    bindings.rows = rows;
    Tensor& x = bindings.inputs["x"] = make_tensor(DType::f32, {rows, 2, 4});
    std::vector<double> sum(size_t(rows), 0), all;
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = double(i) - 3;
      sum[i / 8] += 2 * x.values[i] + 1;
      all.push_back((2 * x.values[i] + 1) * 2 * x.values[i]);
    }
    check_values(program, bindings, {{"sum", sum}, {"all", all}});
  }
}

TEST_CASE("rounds of a region in rounds of time compute by hand", "[run][parallel]") {
  const Program program = written("parallel_in_rounds.nnir");
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = {DType::f32, {2, 3}, {1, 2, 3, -1, 0, 5}};
  // 1 -> 3 -> 8 -> 19 and 1 -> 1 -> 2 -> 9.
  check_values(program, bindings, {{"last", {19, 19, 19, 19, 9, 9, 9, 9}}});
}

TEST_CASE("what a round has not stored it finds undefined, whatever the round before has left", "[run][parallel]") {
  // `add` before `double`, which the verifier refuses.
  const Program program = written("parallel.nnir", false,
                                  {{"twice[i] <- v1 : f32", "halves[4*q + i] <- v1 : f32"}, {"v0 = load x[row(b), 4*q + i]", "v0 = load twice[i]"}, {"halves[4*q + i] <- v2 : f32", "twice[i] <- v2 : f32"}, {"load twice[i] : f32\n          v1 = constant", "load x[row(b), 4*q + i] : f32\n          v1 = constant"}});
  CHECK(verify_program(program) == std::vector<std::string>{"P10: twice is read by double before it is stored"});
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = make_tensor(DType::f32, {2, 2, 4});
  const Results found = interpret_program(program, bindings);
  for (double sum : found.outputs.at("sum").values) CHECK(std::isnan(sum));
}

TEST_CASE("a state that scores read is overwritten behind their region", "[run][parallel]") {
  Graph graph;
  Builder b(graph);
  const Type heads{DType::f32, {Extent{1, true}, Extent{32}, Extent{2}, Extent{8}}};
  const NodeId q = b.input("q", heads), k = b.input("k", heads), v = b.input("v", heads);
  const NodeId state = b.parameter({"state", {DType::f32, {}}, PersistentKind::state, {}});
  NodeId s = b.contract(q, k, {0, 1, 2, 3}, {0, 4, 2, 3}, {0, 2, 1, 4});
  s = b.mul(s, b.broadcast(state, graph.type(s).shape, {}));
  graph.updates.push_back({"state", b.mul(b.unary(Op::tanh, state), 0.5)});  // which waits for nothing but the product
  const NodeId e = b.unary(Op::exp, s), sum = b.reduce(Op::reduce_sum, e, {3}), p = b.div(e, b.expand(sum, {3}, e));
  const NodeId out = b.contract(p, v, {0, 1, 2, 3}, {0, 3, 1, 4}, {0, 2, 1, 4});
  const NodeId w = b.parameter({"w", {DType::f32, {Extent{8}, Extent{8}}}, PersistentKind::frozen, {}});
  graph.outputs.push_back({"out", b.contract(out, w, {0, 1, 2, 3}, {3, 4}, {0, 1, 2, 4})});
  optimize_graph(graph);
  const LowerOptions options{"state", 3, host_target_with_cpu(), {}};
  const Program plain = build_program(graph, options, no_regions), program = build_program(graph, options, small_regions(0));
  REQUIRE(program.parallel_regions.size() == 1);
  std::mt19937_64 random(1);
  const Bindings bindings = random_bindings(graph, 3, random);
  const auto difference = find_difference(interpret_program(program, bindings), interpret_program(plain, bindings), 1e-12);
  CHECK((difference ? difference->name : "") == "");
}

namespace {

/// Attention of two heads over 32 positions, of which 16 are a block.
struct FixedAttention {
  Graph graph;
  Builder b{graph};
  Shape heads{Extent{1, true}, Extent{32}, Extent{2}, Extent{8}};
  NodeId q, k, v, scores, shares;

  explicit FixedAttention(int64_t count = 2) {
    heads.set(2, Extent{count});
    q = b.input("q", {DType::f32, heads}), k = b.input("k", {DType::f32, heads}), v = b.input("v", {DType::f32, heads});
    scores = b.contract(q, k, {0, 1, 2, 3}, {0, 4, 2, 3}, {0, 2, 1, 4});  // [B, H, T, S]
    const NodeId e = b.unary(Op::exp, b.mul(scores, 0.25)), sum = b.reduce(Op::reduce_sum, e, {3});
    shares = b.div(e, b.expand(sum, {3}, e));
  }
  /// An output is no temporary, which a region's kernels store: what they give goes through a product.
  void put_out(NodeId x) {
    const NodeId w = b.parameter({"w", {DType::f32, {Extent{8}, Extent{8}}}, PersistentKind::frozen, {}});
    graph.outputs.push_back({"out", b.contract(x, w, {0, 1, 2, 3}, {3, 4}, {0, 1, 2, 4})});
  }
  NodeId mixed(NodeId p) { return b.contract(p, v, {0, 1, 2, 3}, {0, 3, 1, 4}, {0, 2, 1, 4}); }

  /// With regions, or without: the same numbers. Returns the regions that there are.
  size_t check() {
    const Graph before = graph;
    optimize_graph(graph);
    const LowerOptions options{"fixed", 3, host_target_with_cpu(), {}};
    const Program plain = build_program(graph, options, no_regions), program = build_program(graph, options, small_regions(int64_t(1) << 40));
    INFO(print_program(program, nullptr));
    REQUIRE(verify_program(program) == std::vector<std::string>{});
    std::mt19937_64 random(1);
    const Bindings bindings = random_bindings(before, 3, random, -0.5, 0.5);
    const Results expected = interpret(before, bindings);
    const auto difference = find_difference(interpret_program(program, bindings), interpret_program(plain, bindings), 1e-12);
    CHECK((difference ? difference->name : "") == "");
    check_same(interpret_program(program, bindings), expected, 1e-9);
    const std::optional<Results> alone = GuardedStep(program, Placement::planned).run(bindings);
    REQUIRE(alone);
    check_same(*alone, expected, 3e-5);
    CHECK(first_difference(*GuardedStep(program, Placement::planned).run(bindings, {3, 1, 0, 0}), *alone) == "");
    return program.parallel_regions.size();
  }
};

}  // namespace

TEST_CASE("scores that a scan goes through stay where its slots are", "[run][parallel]") {
  FixedAttention a(1);
  Builder& b = a.b;
  // Without heads, so that the sequence is the shares themselves, step by step.
  const Shape flat{Extent{1, true}, Extent{32}, Extent{8}};
  const NodeId q = b.input("q1", {DType::f32, flat}), k = b.input("k1", {DType::f32, flat}), v = b.input("v1", {DType::f32, flat});
  const NodeId e = b.unary(Op::exp, b.contract(q, k, {0, 1, 2}, {0, 3, 2}, {0, 1, 3})), sum = b.reduce(Op::reduce_sum, e, {2});
  const NodeId shares = b.div(e, b.expand(sum, {2}, e));
  const NodeId w = b.parameter({"w1", {DType::f32, {Extent{8}, Extent{8}}}, PersistentKind::frozen, {}});
  a.graph.outputs.push_back({"mapped", b.contract(b.contract(shares, v, {0, 1, 2}, {0, 2, 3}, {0, 1, 3}), w, {0, 1, 2}, {2, 3}, {0, 1, 3})});
  Graph body;
  body.name = "body";
  Builder in(body);
  const Type slice{DType::f32, {Extent{1, true}, Extent{32}}};
  const NodeId carry = in.input(body_input_name(BodyInput::carry, 0), slice), now = in.input(body_input_name(BodyInput::slice, 0), slice);
  body.outputs.push_back({"carry.0", in.unary(Op::tanh, in.add(in.mul(carry, 0.5), now))});
  Attributes attributes;
  attributes.extents = {Extent{32}};
  attributes.carried = attributes.sliced = 1;
  attributes.body = {std::make_shared<Graph>(std::move(body))};
  a.graph.outputs.push_back({"last", b.result(a.graph.add(Op::scan, {b.constant(0, slice), shares}, std::move(attributes)), 0)});
  CHECK(a.check() == 0);
}

TEST_CASE("what goes through scores otherwise than along their rows is none of a region's", "[run][parallel]") {
  for (int other = 0; other < 5; ++other) {
    FixedAttention a;
    Builder& b = a.b;
    NodeId seen;
    if (other == 0) seen = b.reduce(Op::reduce_sum, a.shares, {1});                                   // over heads
    if (other == 1) seen = b.reduce(Op::reduce_max, a.shares, {2});                                   // along columns
    if (other == 2) seen = b.reduce(Op::argmax, a.shares, {2});
    if (other == 3) seen = b.reduce(Op::reduce_sum, b.mul(a.shares, a.shares), {1, 3});                // over heads and keys
    if (other == 4) seen = b.contract(a.shares, a.shares, {0, 1, 2, 3}, {0, 1, 3, 4}, {0, 1, 2, 4});   // once by query, once by key
    const NodeId out = a.mixed(a.shares);
    if (other != 2) seen = b.unary(Op::tanh, b.mul(seen, 2));
    a.graph.outputs.push_back({"seen", seen});
    a.put_out(out);
    INFO("other " << other);
    CHECK(a.check() == 1);
  }
}

TEST_CASE("what a round makes for its own queries another one does not see as keys", "[run][parallel]") {
  FixedAttention a;
  Builder& b = a.b;
  const NodeId each = b.unary(Op::sigmoid, b.reduce(Op::reduce_sum, b.mul(a.shares, a.scores), {3}));  // [B, H, T]
  const Shape shape = a.graph.type(a.shares).shape;
  const NodeId by_key = b.mul(b.mul(a.shares, b.broadcast(each, shape, {0, 1, 2})), b.broadcast(each, shape, {0, 1, 3}));  // by query as well
  a.put_out(a.mixed(a.shares));
  const NodeId total = b.reduce(Op::reduce_sum, by_key, {3});
  a.graph.outputs.push_back({"by key", b.mul(a.mixed(b.div(by_key, b.expand(total, {3}, by_key))), 2)});
  CHECK(a.check() == 1);
}

TEST_CASE("a dropout of shares is drawn once, and kept for whoever asks the same", "[run][parallel]") {
  // The second kernel asks the same, or whether another number is greater, or whether the same is not.
  struct Question {
    double rate;
    Op op;
  };
  for (const Question second : {Question{0.25, Op::less}, {0.5, Op::less}, {0.25, Op::greater_equal}}) {
    FixedAttention a;
    Builder& b = a.b;
    const Type like = a.graph.type(a.shares);
    const NodeId u = b.random("a#0", like.shape), zero = b.constant(0, like);
    auto dropped = [&](NodeId of, Question asked) { return b.select(b.binary(asked.op, u, b.constant(asked.rate, like)), zero, of); };
    const NodeId first = a.mixed(dropped(a.shares, {0.25, Op::less}));
    const NodeId again = b.contract(b.unary(Op::tanh, b.mul(a.q, 3)), a.k, {0, 1, 2, 3}, {0, 4, 2, 3}, {0, 2, 1, 4});
    const NodeId more = dropped(again, second), sum = b.reduce(Op::reduce_sum, b.mul(more, a.shares), {3});
    const NodeId left = b.mul(b.sub(more, b.expand(sum, {3}, more)), a.shares);
    a.put_out(b.add(first, b.contract(left, a.k, {0, 1, 2, 3}, {0, 3, 1, 4}, {0, 2, 1, 4})));
    INFO("rate " << second.rate << ", " << op_name(second.op));
    CHECK(a.check() >= 1);
    const LowerOptions options{"fixed", 3, host_target_with_cpu(), {}};
    CHECK(kept_draws(build_program(a.graph, options, small_regions(int64_t(1) << 40))) == (second.rate == 0.25 && second.op == Op::less ? 1 : 0));
  }
}
