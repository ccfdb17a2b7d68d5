// Steps cut into stages, in the graph interpreter: the parts of shares of any size, joined, are the values of the whole; coupled rows, obstacles.
#include "passes/split_stages.h"

#include <algorithm>
#include <cmath>

#include "passes/rewrite.h"
#include "tests/unit/ir_random_graph.h"
#include "tests/unit/passes_step_fixture.h"

using namespace nnc;
using namespace nnc::test;

namespace {

const DType f32 = DType::f32;
const Extent rows{1, true};
Extent n(int64_t size) { return {size, false}; }

const std::string plain = "model Net(x[B, 6]) -> [B, 3] { x |> Dense(5) |> tanh |> Dense(3) }";
const std::string one = "model Net(x[B, 6]) -> [B] { (x |> Dense(5) |> tanh |> Dense(1)) as [B] }";

/// What a share knows: its own rows, how many there are in all, where it begins.
Bindings share_of(const Graph& graph, const Bindings& whole, int64_t first, int64_t count) {
  Bindings share = whole;
  share.rows = count;
  share.scalars["rows"] = double(whole.rows);
  share.scalars["first_row"] = double(first);
  share.draws.first_row = whole.draws.first_row + uint32_t(first);
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::input || !node.type.has_rows()) continue;
    const std::vector<double>& all = whole.inputs.at(node.attributes.text).values;
    const int64_t per_row = node.type.elements(1);
    Tensor& t = share.inputs.at(node.attributes.text);
    t.shape = shape_at(node.type, count);
    t.values.assign(all.begin() + first * per_row, all.begin() + (first + count) * per_row);
  }
  return share;
}

double combine(Combine how, double a, double b) {
  if (how == Combine::sum) return a + b;
  if (std::isnan(a) || std::isnan(b)) return std::nan("");
  return how == Combine::max ? std::fmax(a, b) : std::fmin(a, b);
}

/// The graph with what is exchanged as something it is given.
Graph with_totals_given(Graph graph) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    if (node.op != Op::exchange) continue;
    Attributes leaf;
    leaf.text = "whole." + node.attributes.text;
    leaf.dtype = node.type.dtype;
    leaf.extents = node.type.shape;
    graph.add_persistent({leaf.text, node.type, PersistentKind::state, node.span});
    node.op = Op::parameter;
    node.operands = {};
    node.attributes = std::move(leaf);
  }
  REQUIRE(verify_graph(graph).empty());
  return graph;
}

/// What whoever runs stages does: `cuts` are where shares begin, and the end.
Results run_stages(const StepStages& stages, Bindings whole, const std::vector<int64_t>& cuts) {
  Results result;
  for (const Persistent& p : stages.last.persistents)  // what no share has made is nothing
    if (p.kind == PersistentKind::partial) whole.persistents[p.name] = Tensor{p.type.dtype, shape_at(p.type, 1), std::vector<double>(size_t(p.type.elements(1)), std::nan(""))};
  for (const ShareStage& stage : stages.shares) {
    std::map<std::string, Tensor> sums;
    const Graph graph = with_totals_given(stage.graph);
    // One round more for each sum that rows read: each then is what it is when those that it depends on are whole.
    const auto rounds = std::ranges::count(stage.sums, true, &StageSum::exchanged);
    for (int64_t round = 0; round < rounds; ++round) {
      std::map<std::string, Tensor> totals;
      for (const StageSum& s : stage.sums)
        if (s.exchanged) whole.persistents.try_emplace("whole." + s.name, Tensor{s.type.dtype, shape_at(s.type, 1), std::vector<double>(size_t(s.type.elements(1)), 1)});
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        const Results part = interpret(graph, share_of(graph, whole, cuts[i], cuts[i + 1] - cuts[i]));
        for (const StageSum& s : stage.sums) {
          if (!s.exchanged) continue;
          auto [at, fresh] = totals.try_emplace("whole." + s.name, part.updates.at(s.name));
          for (size_t e = 0; e < at->second.values.size() && !fresh; ++e) at->second.values[e] = combine(s.combine, at->second.values[e], part.updates.at(s.name).values[e]);
        }
      }
      for (auto& [name, tensor] : totals) whole.persistents[name] = tensor;
    }
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const Results part = interpret(graph, share_of(graph, whole, cuts[i], cuts[i + 1] - cuts[i]));
      for (const auto& [name, tensor] : part.outputs) {
        auto [at, fresh] = result.outputs.try_emplace(name, tensor);
        if (!fresh) at->second.values.insert(at->second.values.end(), tensor.values.begin(), tensor.values.end());
      }
      for (const StageSum& s : stage.sums) {
        const Tensor& tensor = part.updates.at(s.name);
        auto [at, fresh] = sums.try_emplace(s.name, tensor);
        if (!fresh)
          for (size_t e = 0; e < tensor.values.size(); ++e) at->second.values[e] = combine(s.combine, at->second.values[e], tensor.values[e]);
      }
      for (const auto& [name, tensor] : part.updates)
        if (!sums.contains(name)) result.updates[name] = whole.persistents[name] = tensor;  // a layer's state: each share goes on from the one before
    }
    for (auto& [name, tensor] : sums) whole.persistents[name] = tensor;
  }
  for (const Node& node : stages.last.nodes()) CHECK((!node.type.has_rows() || !stages.handed.empty()));
  for (const HandedRows& handed : stages.handed) {
    Tensor all = result.outputs.at(handed.name);
    all.shape = shape_at(handed.type, whole.rows);
    REQUIRE(int64_t(all.values.size()) == handed.type.elements(whole.rows));
    whole.inputs[handed.name] = std::move(all);
    result.outputs.erase(handed.name);
  }
  whole.scalars["rows"] = double(whole.rows);
  Results last = interpret(stages.last, whole);
  result.outputs.merge(last.outputs);
  result.updates.merge(last.updates);
  return result;
}

void check_same(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(found.contains(name));
    REQUIRE(found.at(name).values.size() == tensor.values.size());
    for (size_t i = 0; i < tensor.values.size(); ++i) CHECK(found.at(name).values[i] == Approx(tensor.values[i]).epsilon(1e-9).margin(1e-9));
  }
}

void check_sound(const StepStages& stages) {
  for (const ShareStage& share : stages.shares) {
    CHECK(verify_graph(share.graph).empty());
    CHECK(std::ranges::equal(share.graph.persistents, stages.last.persistents, {}, &Persistent::name, &Persistent::name));
    REQUIRE(share.graph.updates.size() >= share.sums.size());
    for (size_t i = 0; i < share.sums.size(); ++i) CHECK(share.graph.updates[i].name == share.sums[i].name);
  }
  CHECK(verify_graph(stages.last).empty());
}

StepStages split(const Graph& graph, Shares shares = Shares::in_turn, int64_t planned = 0) {
  RowSplitObstacle obstacle;
  std::optional<StepStages> stages = split_stages(graph, shares, obstacle, planned);
  INFO(obstacle.reason << print_graph(graph, nullptr));
  REQUIRE(stages);
  check_sound(*stages);
  return *std::move(stages);
}

const std::vector<std::vector<int64_t>> cuts_of_11 = {{0, 11}, {0, 4, 8, 11}, {0, 1, 10, 11}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};

StepStages check_split(const Graph& graph, uint64_t seed = 1, Shares shares = Shares::in_turn, int64_t planned = 0) {
  StepStages stages = split(graph, shares, planned);
  Bindings bindings = random_bindings(graph, 11, seed);
  bindings.draws = {7, 3, 2};
  const Results expected = interpret(graph, bindings);
  for (const std::vector<int64_t>& cuts : cuts_of_11) {
    const Results found = run_stages(stages, bindings, cuts);
    check_same(found.outputs, expected.outputs);
    check_same(found.updates, expected.updates);
  }
  return stages;
}

}  // namespace

TEST_CASE("the shares of a step together are the step", "[split_stages]") {
  const StepStages plain_step = check_split(StepSource(step_text(plain, "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1, momentum: 0.5)")).step());
  REQUIRE(plain_step.shares.size() == 1);
  CHECK(plain_step.shares[0].sums.size() == 5);  // the gradients of two layers, the loss
  CHECK(std::ranges::all_of(plain_step.shares[0].sums, [](const StageSum& s) { return s.combine == Combine::sum; }));
  // A norm of whole gradients is the last stage's.
  CHECK(check_split(StepSource(step_text(one, "  minimize mean((Net(x) - target)^2)\n  using sgd(lr: 0.1), clip_norm: 0.5")).step()).shares.size() == 1);
}

TEST_CASE("a denominator that the data decides has a stage of its own", "[split_stages]") {
  const StepStages stages = check_split(StepSource(step_text(plain, "  minimize cross_entropy(Net(x), label, ignore: 1)\n  using sgd(lr: 0.1)")).step());
  REQUIRE(stages.shares.size() == 2);
  REQUIRE(stages.shares[0].sums.size() == 1);
  CHECK(stages.shares[0].sums[0].type.rank() == 0);
  // The first stage knows nothing of the network.
  for (const Node& node : stages.shares[0].graph.nodes()) CHECK(node.op != Op::contract);
  CHECK(stages.shares[1].sums.size() >= 5);
  // One that is made of another: a spread around a mean, by which rows are divided.
  const StepStages deep = check_split(StepSource(step_text(one, "  let away = target - mean(target, over: B)\n  minimize mean((Net(x) - away / sqrt(mean(away^2, over: B) + 1))^2)\n  using sgd(lr: 0.1)")).step());
  CHECK(deep.shares.size() == 3);
}

TEST_CASE("reports: largest and smallest values, values of each row", "[split_stages]") {
  StepSource source(step_text(one, "  let y = Net(x)\n  minimize mean((y - target)^2)\n  using sgd(lr: 0.1)\n  report worst: max(y - target), least: min(y)"));
  Graph graph = source.forward.graph;
  Builder b(graph);
  graph.outputs.push_back({"each", b.input("target", {f32, {rows}})});
  const StepStages stages = check_split(source.step(graph));
  REQUIRE(stages.shares.size() == 1);
  int largest = 0, smallest = 0;
  for (const StageSum& s : stages.shares[0].sums) {
    largest += s.combine == Combine::max;
    smallest += s.combine == Combine::min;
  }
  CHECK(largest == 1);
  CHECK(smallest == 1);
  CHECK(stages.shares[0].graph.outputs.size() == 1);
}

TEST_CASE("numbers of rows, and what is drawn for them, are those of the whole batch", "[split_stages]") {
  Graph g;
  Builder b(g);
  const NodeId x = b.input("x", {f32, {rows, n(3)}});
  const NodeId number = b.cast(b.iota({rows, n(3)}, 0), f32), place = b.cast(b.iota({{4, true}}, 0), f32);
  g.outputs = {{"numbered", b.reduce(Op::reduce_sum, b.mul(x, number), {0, 1})},
               {"places", b.reduce(Op::reduce_sum, b.mul(place, place), {0})},
               {"count", b.reduce(Op::reduce_sum, b.div(x, b.broadcast(b.cast(b.extent(Extent{2, true}), f32), {rows, n(3)}, {})), {0})}};
  check_split(g);
  check_split(StepSource(step_text("model Net(x[B, 6]) -> [B, 3] { x |> Dense(5) |> Dropout(0.5) |> Dense(3) }", "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)")).step());
}

TEST_CASE("batches whose rows are coupled give their own gradients, one after the other", "[split_stages]") {
  const std::string normed = "model Net(x[B, 6]) -> [B, 3] { x |> Dense(5) |> BatchNorm1d(momentum: 0.25) |> tanh |> Dense(3) }";
  StepSource source(step_text(normed, "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 1)"));
  CHECK(couples_rows(source.forward.graph));
  CHECK(source.forward.graph[find_coupling_sum(source.forward.graph)].scope == "batchnorm1d1");
  const Graph step = source.step();
  RowSplitObstacle obstacle;
  CHECK_FALSE(split_stages(step, Shares::in_turn, obstacle));
  CHECK(obstacle.reason == "rows read what the rows of the whole batch add up to");

  Graph forward = source.forward.graph;
  REQUIRE(count_whole_batch(forward, obstacle));
  const StepStages stages = split(source.step(forward, true));
  REQUIRE(stages.shares.size() == 1);
  Bindings bindings = random_bindings(step, 11, 1);
  bindings.scalars["lr"] = bindings.scalars["using.lr"] = 1;
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 11}, {0, 4, 8, 11}, {0, 2, 9, 11}}) {
    // By itself each share is a batch: what a rate of 1 takes away is its gradient, which counts as many times as it has rows.
    Bindings own = bindings;
    std::map<std::string, Tensor> expected;
    double loss = 0;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const double weight = double(cuts[i + 1] - cuts[i]) / 11;
      const Results alone = interpret(step, share_of(step, own, cuts[i], cuts[i + 1] - cuts[i]));
      loss += weight * alone.outputs.at("loss").values[0];
      for (const auto& [name, after] : alone.updates) {
        if (step.find_persistent(name)->kind == PersistentKind::state) {
          expected[name] = own.persistents[name] = after;
          continue;
        }
        auto [at, fresh] = expected.try_emplace(name, bindings.persistents.at(name));
        for (size_t e = 0; e < after.values.size(); ++e) at->second.values[e] += weight * (after.values[e] - bindings.persistents.at(name).values[e]);
      }
    }
    const Results found = run_stages(stages, bindings, cuts);
    CHECK(found.outputs.at("loss").values[0] == Approx(loss).epsilon(1e-9));
    std::map<std::string, Tensor> updates = found.updates;
    std::erase_if(updates, [&](const auto& u) { return !expected.contains(u.first); });
    check_same(updates, expected);
  }
}

TEST_CASE("layers that normalise each row, and reports, couple no rows", "[split_stages]") {
  CHECK_FALSE(couples_rows(StepSource(step_text(plain, "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)")).forward.graph));
  CHECK_FALSE(couples_rows(StepSource(step_text("model Net(x[B, 6]) -> [B, 3] { x |> LayerNorm |> Dense(3) }", "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)")).forward.graph));
  CHECK_FALSE(couples_rows(StepSource(step_text(one, "  let y = Net(x)\n  minimize mean((y - target)^2)\n  using sgd(lr: 0.1)\n  report off: mean(abs(y - mean(y, over: B)))")).forward.graph));
}

TEST_CASE("where a step cannot be cut the operation is named", "[split_stages]") {
  auto obstacle_of = [](const Graph& graph) {
    RowSplitObstacle obstacle;
    CHECK_FALSE(split_stages(graph, Shares::in_turn, obstacle));
    REQUIRE(obstacle.node.valid());
    return std::pair(graph[obstacle.node].op, obstacle.reason);
  };
  const std::string y = "  let y = Net(x)\n  minimize mean((y - target)^2)\n  using sgd(lr: 0.1)\n";
  CHECK(obstacle_of(StepSource(step_text(one, y + "  report first: argmax(y, over: B)")).step()) == std::pair(Op::argmax, std::string("`argmax` over the rows")));
  CHECK(obstacle_of(StepSource(step_text(one, y + "  report off: mean(abs(y - mean(y, over: B)))")).step()).second == "rows read what the rows of the whole batch add up to");
  // A sum of what has no parameter is an exchange more, not an obstacle.
  check_split(StepSource(step_text(one, y + "  report off: mean(abs(target - mean(target, over: B)))")).step());

  // Of coupled rows: a loss that is no sum of what shares give.
  StepSource root(step_text(one, "  let y = Net(x)\n  minimize sqrt(mean((y - mean(y, over: B))^2))\n  using sgd(lr: 0.1)"));
  Graph forward = root.forward.graph;
  RowSplitObstacle obstacle;
  CHECK_FALSE(count_whole_batch(forward, obstacle));
  CHECK(obstacle.reason == "the loss is more than a sum of what rows give");
}

TEST_CASE("where shares are there at once, rows read what all of them add up to", "[split_stages]") {
  auto exchanged = [](const StepStages& stages) { return std::ranges::count(stages.shares.back().sums, true, &StageSum::exchanged); };
  const std::string normed = "model Net(x[B, 6]) -> [B, 3] { x |> Dense(5) |> BatchNorm1d(momentum: 0.25) |> tanh |> Dense(4) |> BatchNorm1d |> Dense(3) }";
  const StepStages two = check_split(StepSource(step_text(normed, "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1), clip_norm: 1")).step(), 1, Shares::at_once);
  CHECK(two.shares.size() == 1);
  CHECK(exchanged(two) >= 4);  // forward and back, of each layer
  // Layer states are nobody's share.
  for (const Update& u : two.shares[0].graph.updates) CHECK(two.shares[0].graph.find_persistent(u.name)->kind == PersistentKind::partial);
  // A report, a loss that is more than a sum, largest and least values; a sum of the data alone keeps a stage of its own.
  const std::string y = "  let y = Net(x)\n  minimize mean((y - target)^2)\n  using sgd(lr: 0.1)\n";
  CHECK(exchanged(check_split(StepSource(step_text(one, y + "  report off: mean(abs(y - mean(y, over: B)))")).step(), 2, Shares::at_once)) == 1);
  CHECK(exchanged(check_split(StepSource(step_text(one, "  let y = Net(x)\n  minimize sqrt(mean((y - mean(y, over: B))^2))\n  using sgd(lr: 0.1)")).step(), 3, Shares::at_once)) >= 2);
  CHECK(exchanged(check_split(StepSource(step_text(one, "  let y = Net(x)\n  minimize mean((y - max(y, over: B) - min(y, over: B))^2)\n  using sgd(lr: 0.1)")).step(), 4, Shares::at_once)) >= 2);
  const StepStages data = check_split(StepSource(step_text(normed, "  minimize cross_entropy(Net(x), label, ignore: 1)\n  using sgd(lr: 0.1)")).step(), 5, Shares::at_once);
  CHECK(data.shares.size() == 2);
  CHECK(exchanged(data) >= 4);
}

TEST_CASE("a step without its updates keeps those that exchanges read", "[split_stages]") {
  const std::string normed = "model Net(x[B, 6]) -> [B, 3] { x |> Dense(5) |> BatchNorm1d |> Dense(3) }";
  Graph share = split(StepSource(step_text(normed, "  minimize cross_entropy(Net(x), label)\n  using sgd(lr: 0.1)")).step(), Shares::at_once).shares.front().graph;
  const size_t parts = share.updates.size();
  share.persistents.push_back({"other", {f32, {n(2)}}, PersistentKind::state, {}});
  share.updates.push_back({"other", Builder(share).constant(1, {f32, {n(2)}})});
  REQUIRE(verify_graph(share).empty());
  drop_updates(share);
  CHECK(share.updates.size() == parts);
  CHECK(verify_graph(share).empty());
}

TEST_CASE("rows that name few entries of a table are handed on in its place", "[split_stages]") {
  const std::string lookup = "model Net(label[B]: class(3), x[B, 6]) -> [B] { ((label |> Embedding(3, 5)) * (x |> Dense(5)) |> Dense(1)) as [B] }";
  auto stages_of = [&](const std::string& rule, int64_t planned, Shares shares = Shares::in_turn) {
    return check_split(StepSource(step_text(lookup, "  minimize mean((Net(label, x) - target)^2)\n  using " + rule)).step(), 1, shares, planned);
  };
  for (Shares shares : {Shares::in_turn, Shares::at_once}) {
    const StepStages few = stages_of("sgd(lr: 0.1)", 2, shares);
    REQUIRE(few.handed.size() == 2);  // index and gradient: (5 + 1) * 4 bytes a row, the table's 15 entries 12 each
    CHECK(few.shares.back().graph.outputs.size() == 2);
    for (const StageSum& s : few.shares.back().sums) CHECK(few.last.find_persistent(s.name)->type.shape != Shape{{3}, {5}});
  }
  CHECK(stages_of("sgd(lr: 0.1)", 7).handed.size() == 2);
  CHECK(stages_of("sgd(lr: 0.1)", 8).handed.empty());                  // as many bytes as the table
  CHECK(stages_of("sgd(lr: 0.1, momentum: 0.9)", 2).handed.empty());   // moves all entries
  CHECK(stages_of("sgd(lr: 0.1), clip_norm: 1", 2).handed.empty());    // the norm is of all of the gradient
}

TEST_CASE("several entries that each row names are handed on row by row", "[split_stages]") {
  Graph g;
  Builder b(g);
  const Extent places{2, true};
  const NodeId index = b.reshape(b.input("items", {DType::i32, {rows, n(2)}}), {places}), gradient = b.reshape(b.input("x", {f32, {rows, n(2), n(5)}}), {places, n(5)});
  Attributes at;
  at.lhs = {0, 1};
  at.rhs = {0};
  at.out = {2, 1};
  at.axes = {0};
  at.extents = {n(40), n(5)};
  const NodeId table = b.parameter({"table", {f32, {n(40), n(5)}}, PersistentKind::parameter, {}});
  g.updates = {{"table", b.sub(table, g.add(Op::scatter_add, {gradient, index}, at))}};
  const StepStages stages = check_split(g, 1, Shares::in_turn, 11);
  REQUIRE(stages.handed.size() == 2);
  for (const HandedRows& h : stages.handed) CHECK(h.type.shape[0] == rows);
}

TEST_CASE("of a scan each stage has what it needs", "[split_stages]") {
  // One carry has rows, and the other's stack is all that the last stage wants.
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse_graph(sources, sources.add("scan.nnir", R"(graph @main {
  %0 = input @x : f32[B]
  %1 = constant 0.5 : f32[]
  %2 = scan(%0, %1) carried 2 sliced 0 steps 4 {
    %0 = input @carry.0 : f32[B]
    %1 = input @carry.1 : f32[]
    %2 = tanh(%0) : f32[B]
    %3 = sin(%1) : f32[]
    output "carry.0" %2
    output "carry.1" %3
    output "stack.0" %3
  } : bool[]
  %3 = result(%2) 0 : f32[B]
  %4 = result(%2) 2 : f32[4]
  %5 = reduce_sum(%3) axes [0] : f32[]
  output "rows" %5
  output "steps" %4
}
)"), diagnostics);
  REQUIRE(graph);
  const StepStages stages = check_split(*graph);
  for (const Graph* stage : {&stages.shares[0].graph, &stages.last})
    for (const Node& node : stage->nodes())
      if (node.op == Op::scan) CHECK(node.attributes.carried == 1);
}

TEST_CASE("random graphs in shares", "[split_stages][random]") {
  int found = 0, deep = 0, refused = 0, exchanged = 0;
  for (uint64_t seed = 1; seed <= 600; ++seed) {
    INFO("seed " << seed);
    const Graph graph = random_graph(seed, {.nodes = 30});
    const bool rows_in_updates = std::ranges::any_of(graph.updates, [&](const Update& u) { return graph.type(u.node).has_rows(); });
    const bool rows_within = std::ranges::any_of(graph.outputs, [&](const Output& o) { return graph.type(o.node).has_rows() && !graph.type(o.node).shape[0].rows; });
    if (rows_in_updates || rows_within) continue;
    RowSplitObstacle obstacle;
    if (!split_stages(graph, Shares::in_turn, obstacle)) {
      CHECK_FALSE(obstacle.reason.empty());
      ++refused;
      if (!split_stages(graph, Shares::at_once, obstacle)) continue;
      ++exchanged;
      check_split(graph, seed, Shares::at_once);
      continue;
    }
    ++found;
    deep += check_split(graph, seed).shares.size() > 1;
  }
  INFO(found << " split, " << deep << " of them in several stages, " << refused << " refused in turn, " << exchanged << " of these split at once");
  CHECK(found > 200);
  CHECK(deep > 2);
  CHECK(refused > 3);
  CHECK(exchanged > 2);
}
