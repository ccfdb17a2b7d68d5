// Tables whose updates leave entries alone that no place names: to the bit what a plain loop over the whole table gives (sums in f64 in the order of ir/sum_order.h, rounded once), for
// random tables, indices with duplicates, out of order, at both ends, masked by a padding entry, for rates that change every entry, for any number of threads and at every vector level.
// Likewise where the rows are cut into pieces, of which an entry has places in one, in some or in all, for tables of f64 and rules that keep states.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <utility>

#include "codegen/codegen.h"
#include "ir/chains.h"
#include "ir/kernel_code.h"
#include "ir/program_interpreter.h"
#include "passes/pipeline.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

enum class Rule : uint8_t { subtract, add, plain, moves, momentum, adam };

struct Case {
  int64_t entries = 1, width = 1, rows = 1, places = 1;
  Rule rule = Rule::subtract;
  double rate = 0.1;
  bool padded = false, turned = false;  ///< entries are the table's last axis
  int64_t padding = 0;
  int64_t piece = 0, whole = 0;    ///< LowerOptions::piece_rows and whole_rows
  bool cancels = false;            ///< updates of sizes of which the sum of two forgets the smaller one, and which cancel one another
  bool places_last = false;        ///< updates stand in memory so that rows and places are no single axis
  DType type = DType::f32;         ///< of table and updates
};

Graph make_step(const Case& c) {
  Graph g;
  Builder b(g);
  const Extent rows{1, true};
  const NodeId index = b.input("index", {DType::i32, {rows, Extent{c.places}}});
  const Shape updates = c.places_last ? Shape{rows, Extent{c.width}, Extent{c.places}} : Shape{rows, Extent{c.places}, Extent{c.width}};
  NodeId gradient = b.input("gradient", {c.type, updates});
  if (c.padded) {
    const NodeId masked = b.binary(Op::equal, index, b.constant_like(double(c.padding), index));
    const NodeId everywhere = b.broadcast(masked, g.type(gradient).shape, c.places_last ? std::vector<int>{0, 2} : std::vector<int>{0, 1});
    gradient = b.select(everywhere, b.constant_like(0, gradient), gradient);
  }
  const Shape table = c.turned ? Shape{Extent{c.width}, Extent{c.entries}} : Shape{Extent{c.entries}, Extent{c.width}};
  const NodeId value = b.parameter({"table", {c.type, table}, PersistentKind::parameter, {}});
  Attributes a;
  a.axes = {c.turned ? 1 : 0};
  a.extents = table;
  a.lhs = c.places_last ? std::vector<int>{0, 2, 1} : std::vector<int>{0, 1, 2};
  a.rhs = {0, 1};
  a.out = c.turned ? std::vector<int>{2, 3} : std::vector<int>{3, 2};
  const NodeId sums = g.add(Op::scatter_add, {gradient, index}, a);
  const NodeId rate = b.cast(b.scalar("rate"), c.type);
  auto state = [&](const char* name) { return b.parameter({name, {c.type, table}, PersistentKind::optimizer_state, {}}); };
  auto keep = [&](NodeId old, double share, NodeId next) {
    const NodeId rest = b.mul(old, share);
    return b.add(rest, next);
  };
  NodeId after;
  switch (c.rule) {
    case Rule::subtract: after = b.sub(value, b.mul(rate, sums)); break;
    case Rule::add: after = b.add(value, b.mul(b.neg(rate), sums)); break;
    case Rule::plain: after = b.sub(value, sums); break;
    case Rule::moves: {
      const NodeId decay = b.mul(value, 0.5);
      after = b.sub(value, b.mul(rate, b.add(sums, decay)));
      break;
    }
    case Rule::momentum: {
      const NodeId velocity = keep(state("table.velocity"), 0.9, sums);
      g.updates.push_back({"table.velocity", velocity});
      after = b.sub(value, b.mul(rate, velocity));
      break;
    }
    case Rule::adam: {
      const NodeId mean = keep(state("table.mean"), 0.9, b.mul(sums, 0.1));
      const NodeId square = b.mul(sums, sums);
      const NodeId second = keep(state("table.second"), 0.75, b.mul(square, 0.25));
      g.updates.push_back({"table.mean", mean});
      g.updates.push_back({"table.second", second});
      const NodeId root = b.unary(Op::sqrt, second);
      const NodeId divisor = b.add(root, b.constant_like(1e-3, root));
      const NodeId step = b.mul(rate, mean);
      after = b.sub(value, b.div(step, divisor));
    }
  }
  g.updates.push_back({"table", after});
  return g;
}

/// Where an update stands in the gradient. `place`: its number, row-major over rows and a row's places.
size_t gradient_index(const Case& c, int64_t place, int64_t column) {
  return size_t(c.places_last ? (place / c.places * c.width + column) * c.places + place % c.places : place * c.width + column);
}

Bindings make_values(const Case& c, std::mt19937_64& random, int64_t rows) {
  Bindings v;
  v.rows = rows;
  v.scalars["rate"] = c.rate;
  Tensor index = make_tensor(DType::i32, {rows, c.places});
  Tensor gradient = make_tensor(c.type, c.places_last ? std::vector<int64_t>{rows, c.width, c.places} : std::vector<int64_t>{rows, c.places, c.width});
  auto pick = [&](int64_t most) { return int64_t(random() % uint64_t(most)); };
  const int64_t few = 1 + pick(c.entries);
  for (double& i : index.values) {
    const int64_t kind = pick(4);
    i = double(kind == 0 ? 0 : kind == 1 ? c.entries - 1 : pick(kind == 2 ? few : c.entries));
  }
  auto number = [&]() -> double {
    switch (pick(24)) {
      case 0: return -0.0;
      case 1: return double(1e-42f);
      case 2: return double(3e38f);
      default: return double(float((double(pick(1 << 20)) / (1 << 19) - 1) * std::exp2(double(pick(30)) - 15)));
    }
  };
  for (double& x : gradient.values) x = number();
  std::vector<int64_t> before(size_t(c.entries), -1);  // the place that named an entry last
  for (int64_t place = 0; c.cancels && place < int64_t(index.values.size()); ++place) {
    const int64_t last = std::exchange(before[size_t(index.values[size_t(place)])], place);
    for (int64_t column = 0; column < c.width; ++column) {
      double& x = gradient.values[gradient_index(c, place, column)];
      if (last >= 0 && pick(2) == 0)
        x = -gradient.values[gradient_index(c, last, column)];
      else if (pick(8) > 0)
        x = (pick(2) == 0 ? 1 : -1) * std::vector<double>{0x1p60, 0x1p4, 0x3p-52}[size_t(pick(3))];
    }
  }
  const std::vector<int64_t> shape = c.turned ? std::vector<int64_t>{c.width, c.entries} : std::vector<int64_t>{c.entries, c.width};
  for (const char* name : {"table.velocity", "table.mean", "table.second"}) {
    const bool has = std::string_view(name) == "table.velocity" ? c.rule == Rule::momentum : c.rule == Rule::adam;
    if (!has) continue;
    Tensor& state = v.persistents[name] = make_tensor(c.type, shape);
    for (double& x : state.values) x = double(float(double(pick(1 << 20)) / (1 << 10)));
  }
  Tensor table = make_tensor(c.type, shape);
  for (double& x : table.values) {
    const int64_t kind = pick(30);
    x = c.cancels && kind > 15 ? 0.0 : kind == 0 ? -0.0 : kind == 1 ? std::numeric_limits<double>::infinity() : kind == 2 ? std::nan("") : number();
  }
  v.inputs["index"] = std::move(index);
  v.inputs["gradient"] = std::move(gradient);
  v.persistents["table"] = std::move(table);
  return v;
}

/// The sums of pieces: what is finished as number u takes up the partial sum of every trailing one bit of u and waits at the level of u's lowest zero bit; the last takes up
/// what still waits, lowest level first.
double join_pieces(const std::vector<double>& pieces) {
  std::vector<double> waiting(64, 0);
  double sum = 0;
  for (size_t u = 0; u < pieces.size(); ++u) {
    sum = pieces[u];
    const bool last = u + 1 == pieces.size();
    size_t level = 0;
    for (; (u >> level) > 0 && (last || (u >> level & 1) == 1); ++level)
      if ((u >> level & 1) == 1) sum = waiting[level] + sum;
    waiting[level] = sum;
  }
  return sum;
}

/// The sums of an entry's places in each piece of the batch, in the order of places; of all places as one piece where `piece` is 0.
std::vector<double> sums_of_pieces(const Case& c, const Bindings& v, int64_t piece, int64_t entry, int64_t column) {
  const Tensor &index = v.inputs.at("index"), &gradient = v.inputs.at("gradient");
  if (piece == 0) piece = v.rows;
  std::vector<double> sums(size_t((v.rows + piece - 1) / piece), 0.0);
  for (int64_t place = 0; place < v.rows * c.places; ++place)
    if (index.values[size_t(place)] == double(entry)) sums[size_t(place / c.places / piece)] += c.padded && entry == c.padding ? 0.0 : gradient.values[gradient_index(c, place, column)];
  return sums;
}

/// The whole table, entry by entry and place by place.
template <typename Number>
Results step_of(const Case& c, const Bindings& v) {
  Results r;
  for (const auto& [name, tensor] : v.persistents) r.updates[name] = tensor;
  const Number rate = Number(c.rate);
  for (int64_t e = 0; e < c.entries; ++e)
    for (int64_t d = 0; d < c.width; ++d) {
      const size_t at = size_t(c.turned ? d * c.entries + e : e * c.width + d);
      auto old = [&](const char* name) { return Number(v.persistents.at(name).values[at]); };
      auto store = [&](const char* name, Number x) { return Number(r.updates.at(name).values[at] = double(x)); };
      const Number g = Number(join_pieces(sums_of_pieces(c, v, c.piece, e, d))), w = old("table");
      Number step = g;
      if (c.rule == Rule::subtract) step = rate * g;
      if (c.rule == Rule::add) step = -rate * g;
      if (c.rule == Rule::moves) step = rate * (g + w * Number(0.5));
      if (c.rule == Rule::momentum) step = rate * store("table.velocity", old("table.velocity") * Number(0.9) + g);
      if (c.rule == Rule::adam) {
        const Number mean = store("table.mean", old("table.mean") * Number(0.9) + g * Number(0.1));
        const Number second = store("table.second", old("table.second") * Number(0.75) + g * g * Number(0.25));
        step = rate * mean / (std::sqrt(second) + Number(1e-3));
      }
      store("table", c.rule == Rule::add ? w + step : w - step);
    }
  return r;
}
Results expected_step(const Case& c, const Bindings& v) { return c.type == DType::f64 ? step_of<double>(c, v) : step_of<float>(c, v); }

Program plan(const Case& c, const Target& target, int64_t rows) {
  Graph g = make_step(c);
  optimize_graph(g, {.rows = rows});
  LowerOptions options{"step", rows, target};
  options.piece_rows = c.piece;
  options.whole_rows = c.whole;
  return build_program(g, options);
}

bool leaves_out(const Program& program) {
  bool found = false;
  for (const Kernel& k : program.kernels) for_each_instruction(k, [&](const Instruction& i) { found = found || i.kind == Instruction::Kind::touched; });
  return found;
}

void split_all(Program& program) {
  for (Kernel& k : program.kernels) {
    k.parallel = !std::get<MapKernel>(k.body).serial;
    k.barrier_before = true;
    k.flops = 1e7;  // as many pieces as there may be
  }
  plan_memory(program);
}

}  // namespace

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

TEST_CASE("sums by entries add up piece by piece, to the bit, and pieces that do not name an entry change nothing") {
  int64_t in_one = 0, in_some = 0, in_all = 0, passed_over = 0, order_shows = 0, left_out = 0;
  for (uint64_t seed = 1000; seed < 1080; ++seed) {
    std::mt19937_64 random(seed);
    auto pick = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    Case c;
    c.entries = pick(0, 2) == 0 ? pick(1, 3) : pick(1, 60);
    c.width = pick(0, 2) == 0 ? pick(1, 4) : pick(1, 40);
    c.places = pick(1, 4);
    c.rule = Rule(seed % 6);
    c.padded = pick(0, 3) == 0;
    c.padding = pick(0, c.entries - 1);
    c.turned = pick(0, 4) == 0;
    c.places_last = pick(0, 2) == 0;
    c.cancels = true;
    c.type = pick(0, 2) == 0 ? DType::f64 : DType::f32;
    c.piece = pick(1, 9);
    const int64_t planned = pick(1, 70);
    c.rows = pick(0, 2) == 0 ? planned : pick(1, planned);
    if (pick(0, 2) == 0) c.whole = planned * pick(1, 3);
    const Bindings values = make_values(c, random, c.rows);
    const Results expected = expected_step(c, values);
    const std::vector<double>& index = values.inputs.at("index").values;
    auto rounded = [&](double sum) { return c.type == DType::f64 ? sum : double(float(sum)); };
    for (int64_t e = 0; e < c.entries; ++e) {
      std::set<int64_t> named;
      for (size_t p = 0; p < index.size(); ++p)
        if (index[p] == double(e)) named.insert(int64_t(p) / c.places / c.piece);
      const int64_t pieces = (c.rows + c.piece - 1) / c.piece;
      if (pieces < 2 || named.empty()) continue;
      const int64_t across = *named.rbegin() - *named.begin() + 1;
      (named.size() == 1 ? in_one : int64_t(named.size()) == pieces ? in_all : in_some) += 1;
      passed_over += across > int64_t(named.size());
      for (int64_t d = 0; d < c.width; ++d)
        order_shows += rounded(join_pieces(sums_of_pieces(c, values, c.piece, e, d))) != rounded(sums_of_pieces(c, values, 0, e, d).front());
    }
    for (VectorLevel level : host_levels()) {
      const Target target = target_with_level(level);
      Program program = plan(c, target, planned);
      INFO(fmt::format("seed {}: {} x {} of {}, {} of {} rows of {} places in pieces of {}, rule {}, {}", seed, c.entries, c.width, to_string(Type{c.type, {}}), c.rows, planned, c.places, c.piece,
                       int(c.rule), vector_level_name(target.level)));
      left_out += leaves_out(program);
      for (int threads : {1, 3}) {
        if (threads == 3) split_all(program);
        REQUIRE(verify_program(program) == std::vector<std::string>{});
        std::optional<Results> found = GuardedStep(program, Placement::planned).run(values, {threads, 1, 0, 0});
        REQUIRE(found);
        CHECK(first_difference(*found, expected) == "");
      }
    }
  }
  CHECK(in_one > 150);
  CHECK(in_some > 100);
  CHECK(in_all > 40);
  CHECK(passed_over > 80);
  CHECK(order_shows > 200);
  CHECK(left_out > 40);
}

TEST_CASE("pieces are those of the whole batch, whoever has them") {
  // Where nobody says: at least 128 rows to each, as many as a power of two.
  for (auto [planned, whole, piece] : {std::array<int64_t, 3>{300, 0, 150}, {300, 1200, 150}, {300, 600, 150}, {130, 1040, 130}, {300, 2400, 150}}) {
    Case c;
    c.entries = 5;
    c.width = 9;
    c.places = 2;
    c.rule = Rule::momentum;
    c.cancels = true;
    c.whole = whole;
    std::mt19937_64 random(uint64_t(planned + whole));
    const Bindings values = make_values(c, random, planned);
    Program program = plan(c, host_target(), planned);
    std::optional<Results> found = GuardedStep(program, Placement::planned).run(values);
    REQUIRE(found);
    c.piece = piece;
    CHECK(first_difference(*found, expected_step(c, values)) == "");
  }
  // Shares of four pieces each, by themselves, and joined: the bits of all eight.
  Case c;
  c.entries = 7;
  c.width = 12;
  c.places = 3;
  c.rule = Rule::plain;
  c.cancels = true;
  c.type = DType::f64;
  c.piece = 5;
  c.whole = 40;
  std::mt19937_64 random(3);
  Bindings all = make_values(c, random, 40);
  for (double& x : all.persistents.at("table").values) x = 0;
  auto part_of = [&](int64_t begin, int64_t end) {
    Bindings part = all;
    part.rows = end - begin;
    for (auto& [name, tensor] : part.inputs) {
      const int64_t row = int64_t(tensor.values.size()) / all.rows;
      tensor.shape[0] = part.rows;
      tensor.values.assign(all.inputs.at(name).values.begin() + begin * row, all.inputs.at(name).values.begin() + end * row);
    }
    std::optional<Results> found = GuardedStep(plan(c, host_target(), end - begin), Placement::planned).run(part);
    REQUIRE(found);
    return found->updates.at("table").values;
  };
  const std::vector<double> whole = part_of(0, 40), first = part_of(0, 20), second = part_of(20, 40);
  bool differs = false;
  for (size_t i = 0; i < whole.size(); ++i) {
    CHECK(std::bit_cast<uint64_t>(first[i] + second[i]) == std::bit_cast<uint64_t>(whole[i]));
    const int64_t entry = int64_t(i) / c.width, column = int64_t(i) % c.width;
    differs = differs || -sums_of_pieces(c, all, 0, entry, column).front() != whole[i];
  }
  CHECK(differs);
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
