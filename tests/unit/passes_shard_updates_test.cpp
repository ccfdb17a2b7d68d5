// Updates shared out to workers, in the interpreter of programs: what each worker makes of its ranges, with nothing else at hand, is together the update of the whole.
#include "passes/shard_updates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "ir/program_interpreter.h"
#include "tests/unit/passes_stages_fixture.h"

using namespace nnc;
using namespace nnc::test;

namespace {

struct LastStage {
  Graph graph;
  Program program;
  Bindings bindings;
};

/// The last stage of a step, and what it may be given: whole sums, weights, states that are no less than 0.
LastStage last_stage(const std::string& using_clause, const std::string& definitions = "", Layouts layouts = {}) {
  const StepStages stages = dense_stages(using_clause, definitions);
  LastStage last{stages.last, {}, random_bindings(stages.last, 1, 3)};
  LowerOptions options{"last", 8, target_with_level(VectorLevel::avx2), std::move(layouts)};
  last.program = build_program(last.graph, options);
  for (auto& [name, tensor] : last.bindings.persistents)
    for (double& v : tensor.values) v = std::abs(v);
  return last;
}

/// Checks the shares of so many workers; returns the ranges.
std::map<std::string, OwnedRange> check_shares(const LastStage& last, int workers) {
  INFO(workers << " workers");
  const Results whole = interpret_program(last.program, last.bindings);
  std::map<std::string, OwnedRange> ranges;
  std::map<std::string, std::vector<double>> joined;
  for (int w = 0; w < workers; ++w) {
    Program program = last.program;
    const std::vector<OwnedRange> owned = shard_updates(program, w, workers);
    Bindings bindings = last.bindings;
    for (const OwnedRange& o : owned) {
      INFO(o.name);
      const Tensor& before = last.bindings.persistents.at(o.name);
      // From nothing to all, for every worker alike.
      REQUIRE(o.begins.size() == size_t(workers) + 1);
      CHECK(o.begins.front() == 0);
      CHECK(o.begins.back() == int64_t(before.values.size()));
      CHECK(std::ranges::is_sorted(o.begins));
      auto [known, fresh] = ranges.try_emplace(o.name, o);
      CHECK((known->second.begins == o.begins && known->second.updated == o.updated && known->second.read_whole == o.read_whole));
      if (o.read_whole) continue;
      // What the others have is not here.
      const std::vector<size_t> elements = elements_in_memory(program, o.name);
      for (int64_t at = 0; at < int64_t(elements.size()); ++at)
        if (at < o.begins[size_t(w)] || at >= o.begins[size_t(w) + 1]) bindings.persistents.at(o.name).values[elements[size_t(at)]] = std::numeric_limits<double>::quiet_NaN();
    }
    CHECK(ranges.size() == owned.size());
    const Results share = interpret_program(program, bindings);
    for (const auto& [name, tensor] : share.outputs) CHECK(tensor.values == whole.outputs.at(name).values);
    for (const auto& [name, tensor] : share.updates) {
      INFO(name << " of worker " << w);
      const auto range = ranges.find(name);
      const std::vector<double>& expected = whole.updates.at(name).values;
      if (range == ranges.end()) {
        CHECK(tensor.values == expected);  // everybody makes all of it
        continue;
      }
      if (!range->second.updated) continue;
      joined.try_emplace(name, expected.size(), std::numeric_limits<double>::quiet_NaN());
      const std::vector<size_t> elements = elements_in_memory(program, name);
      const std::vector<double>& before = bindings.persistents.at(name).values;
      for (int64_t at = 0; at < int64_t(elements.size()); ++at) {
        const size_t e = elements[size_t(at)];
        if (at >= range->second.begins[size_t(w)] && at < range->second.begins[size_t(w) + 1])
          joined[name][e] = tensor.values[e];
        else
          CHECK((tensor.values[e] == before[e] || (std::isnan(tensor.values[e]) && std::isnan(before[e]))));  // nobody writes what others own
      }
    }
  }
  for (const auto& [name, values] : joined) {
    INFO(name);
    CHECK(values == whole.updates.at(name).values);
  }
  return ranges;
}

/// Of updates that the test makes by itself: w[6, 37], v[6] and column[37], a sum `partial.0` of the shape of w.
LastStage last_stage_of(const std::function<std::vector<Update>(Builder&, NodeId partial)>& updates, Layouts layouts = {}) {
  const Type matrix{DType::f32, {{6}, {37}}};
  Graph graph;
  Builder b(graph);
  const NodeId partial = b.parameter({"partial.0", matrix, PersistentKind::partial, {}});
  graph.updates = updates(b, partial);
  optimize_graph(graph, {.rows = 8});
  LastStage last{graph, {}, random_bindings(graph, 1, 3)};
  last.program = build_program(graph, {"last", 8, target_with_level(VectorLevel::avx2), std::move(layouts)});
  return last;
}

Type vector_of(int64_t size) { return {DType::f32, {{size}}}; }

const std::vector<std::string> trained = {"dense1.bias", "dense1.weight", "dense2.bias", "dense2.weight"};

}  // namespace

TEST_CASE("shares of an update together are the update", "[shard_updates]") {
  for (const char* rule : {"sgd(lr: 0.5)", "sgd(lr: 0.5, momentum: 0.5, decay: 0.25)", "adam(lr: 0.5)", "adamw(lr: 0.5), clip_norm: 0.5", "rmsprop(lr: 0.5, centered: true)"}) {
    INFO(rule);
    const LastStage last = last_stage(rule);
    for (int workers : {1, 2, 3, 4, 7}) {
      const std::map<std::string, OwnedRange> ranges = check_shares(last, workers);
      for (const std::string& name : trained) {
        INFO(name);
        REQUIRE(ranges.contains(name));
        CHECK(ranges.at(name).updated);
        // Of the larger ones everybody has a part.
        if (name == "dense1.weight")
          for (int w = 0; w < workers; ++w) CHECK(ranges.at(name).begins[size_t(w)] < ranges.at(name).begins[size_t(w) + 1]);
      }
    }
  }
}

TEST_CASE("who needs all of a sum gets all of it", "[shard_updates]") {
  auto partials = [](const std::map<std::string, OwnedRange>& ranges) { return std::ranges::count_if(ranges, [](const auto& r) { return r.first.starts_with("partial."); }); };
  CHECK(partials(check_shares(last_stage("sgd(lr: 0.5)"), 3)) == 4);
  // A norm is of whole gradients, which everybody adds up.
  CHECK(partials(check_shares(last_stage("sgd(lr: 0.5), clip_norm: 0.5"), 3)) == 0);
}

TEST_CASE("rules that need whole tensors", "[shard_updates]") {
  const std::string trust = "optimizer trust(lr) {\n  update value = value - lr * sqrt(sum(value^2) + 0.5) / sqrt(sum(grad^2) + 0.5) * grad\n}\n";
  for (int workers : {2, 3}) {
    const std::map<std::string, OwnedRange> ranges = check_shares(last_stage("trust(lr: 0.5)", trust), workers);
    for (const auto& [name, range] : ranges) {
      INFO(name);
      CHECK((range.updated && range.read_whole));  // an owner publishes it, since all read it; no sum is there in part
    }
  }
}

TEST_CASE("ranges are of the order in memory", "[shard_updates]") {
  // Both orders, of the weights alone and of all that is updated with them.
  for (const bool all : {false, true}) {
    Layouts layouts{{"dense1.weight", {1, 0}}};
    const LastStage probe = last_stage("adam(lr: 0.5)");
    if (all)
      for (const Persistent& p : probe.graph.persistents)
        if (p.type == probe.graph.find_persistent("dense1.weight")->type) layouts[p.name] = {1, 0};
    const LastStage last = last_stage("adam(lr: 0.5)", "", layouts);
    for (int workers : {2, 3, 5}) {
      const std::map<std::string, OwnedRange> ranges = check_shares(last, workers);
      if (all) CHECK(ranges.contains("dense1.weight"));
    }
  }
}

TEST_CASE("a persistent is cut by its first kernel alone", "[shard_updates]") {
  // Element by element for w, line by line for v: in either order of the two.
  for (const bool lines_first : {false, true}) {
    INFO(lines_first);
    const LastStage last = last_stage_of([&](Builder& b, NodeId partial) {
      const Type matrix = b.graph.type(partial);
      auto elements = [&] { return Update{"w", b.sub(b.parameter({"w", matrix, PersistentKind::parameter, {}}), b.unary(Op::tanh, partial))}; };
      auto lines = [&] { return Update{"v", b.sub(b.parameter({"v", vector_of(6), PersistentKind::parameter, {}}), b.reduce(Op::reduce_sum, b.mul(partial, partial), {1}))}; };
      std::vector<Update> updates;
      updates.push_back(lines_first ? lines() : elements());
      updates.push_back(lines_first ? elements() : lines());
      return updates;
    });
    for (int workers : {2, 3, 4}) {
      const std::map<std::string, OwnedRange> ranges = check_shares(last, workers);
      CHECK(ranges.contains("v") + ranges.contains("w") == 1);
      CHECK_FALSE(ranges.contains("partial.0"));  // who is not shared out needs all of it
    }
  }
}

TEST_CASE("lines and elements that one kernel touches are cut at the same places", "[shard_updates]") {
  const LastStage last = last_stage_of([](Builder& b, NodeId partial) {
    const NodeId v = b.parameter({"v", vector_of(6), PersistentKind::parameter, {}});
    return std::vector<Update>{{"v", b.sub(v, b.reduce(Op::reduce_sum, b.mul(partial, partial), {1}))}};
  });
  for (int workers : {2, 3, 4}) {
    const std::map<std::string, OwnedRange> ranges = check_shares(last, workers);
    REQUIRE(ranges.contains("v"));
    REQUIRE(ranges.contains("partial.0"));
    for (int w = 0; w <= workers; ++w) CHECK(ranges.at("partial.0").begins[size_t(w)] == 37 * ranges.at("v").begins[size_t(w)]);
  }
}

TEST_CASE("what each line reads all of is there as a whole", "[shard_updates]") {
  const LastStage last = last_stage_of([](Builder& b, NodeId partial) {
    const Type matrix = b.graph.type(partial), block{DType::f32, {{5}, {6}, {37}}};
    const NodeId w = b.parameter({"w", matrix, PersistentKind::parameter, {}}), blocks = b.parameter({"blocks", block, PersistentKind::parameter, {}});
    return std::vector<Update>{{"w", b.sub(w, b.unary(Op::tanh, partial))}, {"blocks", b.sub(blocks, b.broadcast(partial, block.shape, {1, 2}))}};
  });
  for (int workers : {2, 3, 4}) {
    const std::map<std::string, OwnedRange> ranges = check_shares(last, workers);
    CHECK(ranges.contains("w"));
    CHECK(ranges.contains("blocks"));
    CHECK_FALSE(ranges.contains("partial.0"));
  }
}

TEST_CASE("kernels that count their lines are everybody's", "[shard_updates]") {
  auto is_shared = [](const LastStage& last) { return !check_shares(last, 3).empty(); };
  CHECK_FALSE(is_shared(last_stage_of([](Builder& b, NodeId partial) {
    const NodeId v = b.parameter({"v", vector_of(6), PersistentKind::parameter, {}});
    const NodeId number = b.cast(b.iota({{6}}, 0), DType::f32);
    return std::vector<Update>{{"v", b.sub(b.mul(v, number), b.reduce(Op::reduce_sum, partial, {1}))}};
  })));
}

TEST_CASE("what is read in another order than line by line is there as a whole", "[shard_updates]") {
  auto partial_is_whole = [](const LastStage& last) {
    const std::map<std::string, OwnedRange> ranges = check_shares(last, 3);
    return ranges.size() == 1 && ranges.begin()->second.updated && !ranges.contains("partial.0");
  };
  // A sum over lines, half of the lines.
  CHECK(partial_is_whole(last_stage_of([](Builder& b, NodeId partial) {
    const NodeId v = b.parameter({"v", vector_of(37), PersistentKind::parameter, {}});
    return std::vector<Update>{{"v", b.sub(v, b.reduce(Op::reduce_sum, b.mul(partial, partial), {0}))}};
  })));
  CHECK(partial_is_whole(last_stage_of([](Builder& b, NodeId partial) {
    const NodeId v = b.parameter({"v", {DType::f32, {{3}, {37}}}, PersistentKind::parameter, {}});
    return std::vector<Update>{{"v", b.sub(v, b.slice(partial, 0, 0, {3}))}};
  })));
}

TEST_CASE("a matrix that is updated by lines of another order is everybody's", "[shard_updates]") {
  const LastStage last = last_stage_of(
      [](Builder& b, NodeId partial) {
        const NodeId w = b.parameter({"w", b.graph.type(partial), PersistentKind::parameter, {}});
        return std::vector<Update>{{"w", b.sub(w, partial)}};
      },
      {{"w", {1, 0}}});
  CHECK(check_shares(last, 3).empty());
}
