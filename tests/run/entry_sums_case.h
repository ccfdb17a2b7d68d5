// Steps that sum by entries of a table, of random sizes and values, and what they give: in plain loops, to the bit (sums in f64 in the order of ir/sum_order.h, rounded once).
#pragma once

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "ir/kernel_code.h"
#include "passes/pipeline.h"
#include "tests/run/graph_runner.h"
#include "tests/run/program_fixture.h"

namespace nnc::test::entries {

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

inline Graph make_step(const Case& c) {
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
inline size_t gradient_index(const Case& c, int64_t place, int64_t column) {
  return size_t(c.places_last ? (place / c.places * c.width + column) * c.places + place % c.places : place * c.width + column);
}

inline Bindings make_values(const Case& c, std::mt19937_64& random, int64_t rows) {
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
inline double join_pieces(const std::vector<double>& pieces) {
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
inline std::vector<double> sums_of_pieces(const Case& c, const Bindings& v, int64_t piece, int64_t entry, int64_t column) {
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
inline Results expected_step(const Case& c, const Bindings& v) { return c.type == DType::f64 ? step_of<double>(c, v) : step_of<float>(c, v); }

inline Program plan(const Case& c, const Target& target, int64_t rows) {
  Graph g = make_step(c);
  optimize_graph(g, {.rows = rows});
  LowerOptions options{"step", rows, target};
  options.piece_rows = c.piece;
  options.whole_rows = c.whole;
  return build_program(g, options);
}

inline bool leaves_out(const Program& program) {
  bool found = false;
  for (const Kernel& k : program.kernels) for_each_instruction(k, [&](const Instruction& i) { found = found || i.kind == Instruction::Kind::touched; });
  return found;
}

inline void split_all(Program& program) {
  for (Kernel& k : program.kernels) {
    k.parallel = !std::get<MapKernel>(k.body).serial;
    k.barrier_before = true;
    k.flops = 1e7;  // as many pieces as there may be
  }
  plan_memory(program);
}

}  // namespace nnc::test::entries
