// Tables whose updates leave entries alone that no place names: to the bit what a plain loop over the whole table gives, for random tables, indices with duplicates, out of order, at
// both ends, masked by a padding entry, for rates that change every entry, for any number of threads and at every vector level.
#include <fmt/format.h>

#include "codegen/codegen.h"
#include "ir/chains.h"
#include "ir/program_interpreter.h"
#include "tests/run/entry_sums_case.h"
#include "tests/run/guarded_step.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;
using namespace nnc::test::entries;

TEST_CASE("updates by entries are those of the whole table, to the bit") {
  const double infinity = std::numeric_limits<double>::infinity();
  int sparse = 0, whole = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    auto pick = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    Case c;
    c.entries = pick(0, 3) == 0 ? pick(1, 3) : pick(1, 400);
    c.width = pick(0, 2) == 0 ? pick(1, 4) : pick(1, 50);
    c.rows = pick(1, 9);
    c.places = pick(1, 8);
    c.rule = Rule(pick(0, 3));
    c.rate = pick(0, 2) > 0 ? 0.1 : std::vector<double>{-0.1, 0.0, -0.0, infinity, -infinity, std::nan(""), 1e-60}[size_t(pick(0, 6))];
    c.padded = pick(0, 2) == 0;
    c.padding = pick(0, c.entries - 1);
    c.turned = pick(0, 4) == 0;
    const int64_t planned = c.rows + pick(0, 2);
    const Bindings values = make_values(c, random, c.rows);
    const Results expected = expected_step(c, values);
    for (VectorLevel level : host_levels()) {
      const Target target = target_with_level(level);
      Program program = plan(c, target, planned);
      INFO(fmt::format("seed {}: {} x {}, {} of {} rows of {} places, rule {}, rate {}, {}", seed, c.entries, c.width, c.rows, planned, c.places, int(c.rule), c.rate,
                       vector_level_name(target.level)));
      CHECK(leaves_out(program) == (c.rule != Rule::moves));
      (leaves_out(program) ? sparse : whole) += 1;
      for (int threads : {1, 2, 3, 7}) {
        if (threads == 2) split_all(program);
        REQUIRE(verify_program(program) == std::vector<std::string>{});
        std::optional<Results> found = GuardedStep(program, Placement::planned).run(values, {threads, 1, 0, 0});
        REQUIRE(found);
        CHECK(first_difference(*found, expected) == "");
      }
    }
  }
  CHECK(sparse > 0);
  CHECK(whole > 0);
}

TEST_CASE("new values that are not the old ones less a step, and gradients that are kept, are those of the whole table") {
  const Case c{50, 17, 4, 3, Rule::subtract, 0.1, false, false, 0};
  std::mt19937_64 random(9);
  const Bindings values = make_values(c, random, c.rows);
  Results expected = expected_step(c, values);
  auto check = [&](Graph g, const Bindings& v, const Results& wanted) {
    optimize_graph(g, {.rows = c.rows});
    LowerOptions options{"step", c.rows, host_target()};
    const Program program = build_program(g, options);
    CHECK(!leaves_out(program));
    std::optional<Results> found = GuardedStep(program, Placement::planned).run(v);
    REQUIRE(found);
    CHECK(first_difference(*found, wanted) == "");
  };
  // A state that keeps the gradient, and an update that reads what it kept before.
  Graph previous = make_step(c);
  Builder with_state(previous);
  NodeId gradient_node;
  for (uint32_t i = 0; i < previous.size(); ++i)
    if (previous[NodeId{i}].op == Op::scatter_add) gradient_node = NodeId{i};
  const NodeId kept_before = with_state.parameter({"state.previous", previous.type(gradient_node), PersistentKind::optimizer_state, {}});
  previous.updates.insert(previous.updates.begin(), {"state.previous", gradient_node});
  previous.updates[1].node = with_state.sub(previous.updates[1].node, kept_before);
  Bindings with_previous = values;
  Tensor before = make_tensor(DType::f32, {c.entries, c.width});
  for (size_t i = 0; i < before.values.size(); ++i) before.values[i] = double(i % 7);
  with_previous.persistents["state.previous"] = before;
  Case sums_alone = c;
  sums_alone.rule = Rule::plain;
  Bindings from_zero = values;
  from_zero.persistents["table"] = make_tensor(DType::f32, {c.entries, c.width});
  Results of_previous = expected;
  of_previous.updates["state.previous"] = expected_step(sums_alone, from_zero).updates.at("table");
  for (double& x : of_previous.updates["state.previous"].values) x = 0 - x;
  for (size_t i = 0; i < before.values.size(); ++i) {
    double& x = of_previous.updates["table"].values[i];
    x = double(float(x) - float(before.values[i]));
  }
  check(previous, with_previous, of_previous);
  // Another table's values: entries without places are copied, too.
  Graph other = make_step(c);
  other.add_persistent({"target", other.find_persistent("table")->type, PersistentKind::state, {}});
  other.updates[0].name = "target";
  Bindings with_target = values;
  with_target.persistents["target"] = make_tensor(DType::f32, {c.entries, c.width});
  Results of_target;
  of_target.updates["target"] = expected.updates.at("table");
  of_target.updates["table"] = values.persistents.at("table");
  check(other, with_target, of_target);
  // The gradient is an output as well.
  Graph kept = make_step(c);
  NodeId sums;
  for (uint32_t i = 0; i < kept.size(); ++i)
    if (kept[NodeId{i}].op == Op::scatter_add) sums = NodeId{i};
  kept.outputs.push_back({"gradient of the table", sums});
  Case only_sums = c;
  only_sums.rule = Rule::plain;
  Bindings zeros = values;
  zeros.persistents["table"] = make_tensor(DType::f32, {c.entries, c.width});
  Tensor gradient = expected_step(only_sums, zeros).updates.at("table");
  for (double& x : gradient.values) x = 0 - x;
  expected.outputs["gradient of the table"] = gradient;
  check(kept, values, expected);
  // A step that is not the same for all entries.
  Graph uneven = make_step(c);
  Builder b(uneven);
  const Node step = uneven[uneven.updates[0].node];
  const NodeId rows = b.cast(b.iota(step.type.shape, 0), DType::f32);
  const NodeId moved = b.sub(uneven.updates[0].node, b.mul(rows, 0.25));
  uneven.updates[0].node = moved;
  Results of_uneven = expected_step(c, values);
  for (int64_t e = 0; e < c.entries; ++e)
    for (int64_t d = 0; d < c.width; ++d) {
      double& x = of_uneven.updates.at("table").values[size_t(e * c.width + d)];
      x = double(float(x) - float(e) * 0.25f);
    }
  check(uneven, values, of_uneven);
  Graph bent = make_step(c);
  Builder at(bent);
  const Node old = bent[bent.updates[0].node];
  const NodeId tilted = at.mul(at.cast(at.iota(old.type.shape, 0), DType::f32), 0.25), further = at.add(old.operands[1], tilted);
  bent.updates[0].node = at.sub(old.operands[0], further);
  Results of_bent = expected_step(only_sums, zeros);
  for (int64_t e = 0; e < c.entries; ++e)
    for (int64_t d = 0; d < c.width; ++d) {
      const size_t i = size_t(e * c.width + d);
      const float g = float(gradient.values[i]), w = float(values.persistents.at("table").values[i]);
      of_bent.updates.at("table").values[i] = double(w - (0.1f * g + float(e) * 0.25f));
    }
  check(bent, values, of_bent);
}

TEST_CASE("chains of an earlier step do not matter to the next") {
  Case c{1000, 16, 3, 4, Rule::subtract, 0.5, false, false, 0};
  std::mt19937_64 random(5);
  const Bindings values = make_values(c, random, c.rows);
  const Program program = plan(c, host_target(), c.rows);
  std::optional<Results> twice = GuardedStep(program, Placement::each_at_end).run(values, {1, 2, 0, 0});
  REQUIRE(twice);
  Bindings after = values;
  after.persistents["table"] = expected_step(c, values).updates.at("table");
  CHECK(first_difference(*twice, expected_step(c, after)) == "");
  // Whatever stands there: of zeros each says that its entry is the first that is named.
  const BufferId chains = find_linked(std::get<MapKernel>(program.kernels[1].body))->access.buffer;
  Instruction zero, store;
  zero.kind = Instruction::Kind::constant;
  zero.id = 0;
  zero.dtype = store.dtype = DType::i32;
  store.kind = Instruction::Kind::store;
  store.operands = {0};
  store.access.buffer = chains;
  store.access.strides = {1};
  MapKernel fill;
  fill.axes = {Axis{"i", program[chains].shape[0]}};
  fill.outer = 1;
  fill.blocks.push_back({false, {zero, store}});
  Program filled = program;
  filled.kernels.insert(filled.kernels.begin(), Kernel{});
  filled.kernels[0].name = "fill";
  filled.kernels[0].body = fill;
  REQUIRE(verify_program(filled) == std::vector<std::string>{});
  std::optional<Results> once = GuardedStep(filled, Placement::planned).run(values);
  REQUIRE(once);
  CHECK(first_difference(*once, expected_step(c, values)) == "");
  CHECK(chain_layout(program[find_linked(std::get<MapKernel>(program.kernels[1].body))->access.buffer], c.entries).places == 12);
}

TEST_CASE("the interpreter of programs sums by entries as that of graphs does") {
  for (uint64_t seed = 100; seed < 110; ++seed) {
    std::mt19937_64 random(seed);
    Case c{1 + int64_t(random() % 40), 1 + int64_t(random() % 9), 4, 3, Rule(seed % 4), 0.25, seed % 3 == 0, seed % 5 == 0, 0};
    Bindings values = make_values(c, random, c.rows);
    for (double& x : values.persistents["table"].values) x = std::isfinite(x) ? x : 1;
    const Graph graph = make_step(c);
    const Results by_graph = interpret(graph, values), by_program = interpret_program(plan(c, host_target(), c.rows), values);
    check_same(by_program, by_graph, 1e-12);
  }
}
