// The displacement of each operation, and the comparison.
#include "verify/rounding.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <map>

#include "base/diagnostics.h"
#include "base/philox.h"
#include "codegen/vector_math_bounds.h"
#include "ir/interpreter_ops.h"
#include "passes/pass_manager.h"
#include "passes/rewrite.h"
#include "passes/unroll.h"

namespace nnc {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Half of the distance from 1 to the next number: what one rounding may change, relative to its result.
double unit_of(DType dtype, Precision precision) {
  return unit_roundoff(precision == Precision::f32 ? dtype : DType::f64);
}

bool is_sum(Op op) { return op == Op::reduce_sum || op == Op::contract || op == Op::scatter_add; }

/// Terms of each element of a sum; of scatter_add on average.
double terms_of(const InterpreterCall& call) {
  double results = std::max(1.0, double(call.result.values.size()));
  if (call.node.op != Op::contract) return std::max(1.0, double(call.operand(0).values.size()) / results);
  double terms = 1;
  const Attributes& a = call.node.attributes;
  for (size_t k = 0; k < 2; ++k) {
    const std::vector<int>& labels = k == 0 ? a.lhs : a.rhs;
    for (size_t i = 0; i < labels.size(); ++i)
      if (!holds(a.out, labels[i]) && (k == 0 || !holds(a.lhs, labels[i]))) terms *= double(call.operand(k).shape[i]);
  }
  return std::max(1.0, terms);
}

/// Simplify takes out of a contraction's sum a factor that all terms share (its rules of validity `range`), and the sum that is left may overflow where the terms do
/// not: whether some sum of magnitudes of one operand, over summed labels along which the other operand has equal values or which it lacks, is above `limit`.
bool overflows_without_factor(const InterpreterCall& call, double limit) {
  const Attributes& a = call.node.attributes;
  for (size_t k = 0; k < 2; ++k) {
    double all = 0;
    for (double v : call.operand(k).values) all += std::fabs(v);
    if (all <= limit) continue;
    const std::vector<int>&own = k == 0 ? a.lhs : a.rhs, &others = k == 0 ? a.rhs : a.lhs;
    const Tensor &x = call.operand(k), &factor = call.operand(1 - k);
    auto varies = [&](int label) {
      if (!holds(others, label)) return false;
      const size_t axis = size_t(position_of(others, label));
      size_t stride = 1;
      for (size_t i = axis + 1; i < factor.shape.size(); ++i) stride *= size_t(factor.shape[i]);
      for (size_t i = 0; i < factor.values.size(); ++i)
        if (i / stride % size_t(factor.shape[axis]) > 0 && !(factor.values[i] == factor.values[i - stride])) return true;
      return false;
    };
    std::vector<bool> summed;
    for (int label : own) summed.push_back(!holds(a.out, label) && !varies(label));
    std::map<size_t, double> sums;  // by the index along the other labels
    for (size_t i = 0; i < x.values.size(); ++i) {
      size_t rest = i, place = 0, stride = 1;
      for (size_t axis = own.size(); axis-- > 0; rest /= size_t(x.shape[axis])) {
        if (!summed[axis]) place += rest % size_t(x.shape[axis]) * stride;
        stride *= size_t(x.shape[axis]);
      }
      if (!((sums[place] += std::fabs(x.values[i])) <= limit)) return true;
    }
  }
  return false;
}

class Displacement {
 public:
  Displacement(Precision precision, uint64_t seed, double scale)
      : precision_(precision), random_(seed, stable_hash("displacement")), scale_(scale), seed_(seed), alike_(seed / 2 % 2 == 1) {}

  void operator()(InterpreterCall& call) {
    Tensor& t = call.result;
    if (!is_float(t.dtype)) return;  // integers are exact
    look_at(call.graph);
    // What passes fold becomes a constant, and so a number of f32, in all stages.
    now_ = known_[call.id.value] && is_folded(call.id) ? Precision::f32 : precision_;
    double unit = unit_of(t.dtype, now_) * scale_;
    if (is_sum(call.node.op))
      displace_sum(call, unit);
    else if (op_class(call.node.op) == OpClass::unary)
      displace_unary(call, unit);
    else if (op_class(call.node.op) == OpClass::binary)
      displace_binary(call, unit);
    // Compiled code rounds each operation once: so does this, and what follows from equal numbers is equal here as it is there.
    if (in_f32(t))
      for (double& v : t.values) v = double(float(v));
  }

 private:
  /// Finds the nodes of a graph that are known when compiling, by asking the passes: those that are constants when every node is an output. What is made of such nodes alone may
  /// become one: the parts of a scan's result do where it is known that they are equal, and stand here one beside the other.
  void look_at(const Graph& graph) {
    if (graph_ == &graph) return;
    graph_ = &graph;
    Graph simplified = graph;
    drop_updates(simplified);
    simplified.outputs.clear();
    std::vector<uint32_t> nodes;
    for (uint32_t i = 0; i < graph.size(); ++i) {
      if (graph[NodeId{i}].op == Op::scan) continue;  // which no output may be
      nodes.push_back(i);
      simplified.outputs.push_back({std::to_string(i), NodeId{i}});
    }
    run_passes(simplified, {named_pass("simplify"), named_pass("erase_stop_gradient"), named_pass("fold"), named_pass("cse"), named_pass("simplify")});
    known_.assign(graph.size(), false);
    for (size_t k = 0; k < nodes.size(); ++k) {
      const Op op = simplified[simplified.outputs[k].node].op;
      known_[nodes[k]] = op == Op::constant || op == Op::literal;
    }
    for (uint32_t i = 0; i < graph.size(); ++i) {
      const NodeList& operands = graph[NodeId{i}].operands;
      known_[i] = known_[i] || (!operands.empty() && std::all_of(operands.begin(), operands.end(), [&](NodeId o) { return known_[o.value]; }));
    }
  }
  /// Whether a node that is known when compiling is folded in this run. Passes fold some of these nodes and not others: 1 / 72 and 1 / 9 become numbers of f32, but their sum
  /// stays one of 64 bits if a term is looked up in between. So all are folded in every third run, and in the others each by chance. This follows from the run and the node
  /// alone: steps in a row agree about it, and it takes nothing from the stream of other draws. Asked of no other node: one that is not known when compiling is displaced and
  /// rounded as its stage says and no further, and compiled code, which rounds every node, is given no more room at all.
  bool is_folded(NodeId id) const {
    if (seed_ / 2 % 3 == 0) return true;
    return philox4x32({id.value, 0, 0, 1}, {uint32_t(seed_), uint32_t(seed_ >> 32)})[0] % 2 == 0;  // sign() has 0 in place of the 1
  }
  bool in_f32(const Tensor& t) const { return now_ == Precision::f32 && t.dtype == DType::f32; }
  /// From -1 to 1. The same operation gives the same result for the same operands: rows that are equal are off alike, and their errors add up. Yet equal results may
  /// be off differently where they came about differently. So in every other run what `v` is displaced by follows from the node and from v, else from neither.
  double sign(const InterpreterCall& call, double v) {
    if (!alike_) return 2 * random_.next_unit() - 1;
    const uint64_t bits = std::bit_cast<uint64_t>(v);
    const std::array<uint32_t, 4> drawn = philox4x32({uint32_t(bits), uint32_t(bits >> 32), call.id.value, 0}, {uint32_t(seed_), uint32_t(seed_ >> 32)});
    return double(drawn[0]) * 0x1p-31 - 1;
  }
  /// Infinity stays where it is: added to itself with the other sign it would be NaN.
  static void move(double& v, double by) {
    if (std::isfinite(v)) v += by;
  }
  void relative(InterpreterCall& call, double amount) {
    for (double& v : call.result.values) move(v, v * amount * sign(call, v));
  }

  void displace_unary(InterpreterCall& call, double unit) {
    Tensor& t = call.result;
    // An i64 beyond 2^53 is rounded to 64 bits before it is rounded to f32 here, which may tip a tie.
    if (call.node.op == Op::cast && call.operand(0).dtype == DType::i64)
      for (double& v : t.values)
        if (std::fabs(v) >= 0x1p53) move(v, v * 0x1p-53 * sign(call, v));
    if (call.node.op == Op::sqrt) return;  // correctly rounded
    for (const MathBound& b : math_bounds)
      if (double ulp = t.dtype == DType::f32 ? b.f32 : b.f64; b.op == call.node.op && ulp > 0)
        relative(call, (2 * ulp + 1) * unit);  // a unit in the last place is at most twice `unit`
  }

  // Arithmetic is correctly rounded: nothing but its one rounding to f32 is forgiven, least of all to a division. A power is a function.
  void displace_binary(InterpreterCall& call, double unit) {
    Tensor& t = call.result;
    if (call.node.op != Op::pow) return;
    for (double& v : t.values) {
      double exponent = v > 0 && std::isfinite(v) ? std::fabs(std::log(v)) : 0;
      move(v, v * unit * (2 * (t.dtype == DType::f32 ? pow_bound_f32 : pow_bound_f64(exponent)) + 1) * sign(call, v));
    }
  }

  /// Of a contraction whose terms are about as small as the smallest f32: what the rounding of each product may be off by, half of that number, by result. Sums of such terms are exact. Empty: no term is so small.
  static std::vector<double> lost_in_products(const InterpreterCall& call, const Tensor& sizes) {
    constexpr double half_of_smallest = 0x1p-150;
    if (std::ranges::none_of(sizes.values, [](double size) { return size > 0 && size < 0x1p-120; })) return {};
    std::vector<Tensor> present;
    for (size_t k = 0; k < 2; ++k) {
      present.push_back(call.operand(k));
      for (double& v : present[k].values) v = v != 0;
    }
    InterpreterCall terms{call.graph, call.id, call.node, call.bindings, {}, make_tensor(DType::f64, call.result.shape)};
    for (const Tensor& p : present) terms.operands.push_back(&p);
    interpret_contract(terms);
    std::vector<double> lost = std::move(terms.result.values);
    for (double& terms_of_result : lost) terms_of_result *= half_of_smallest;
    return lost;
  }

  // Every partial sum is rounded: by their number, and by what the terms add up to in magnitude.
  void displace_sum(InterpreterCall& call, double unit) {
    Op op = call.node.op;
    std::vector<Tensor> sizes;
    for (size_t k = 0; k < call.operands.size(); ++k) {
      sizes.push_back(call.operand(k));
      if (k == 0 || op == Op::contract)
        for (double& v : sizes[k].values) v = std::fabs(v);
    }
    InterpreterCall total{call.graph, call.id, call.node, call.bindings, {}, make_tensor(call.result.dtype, call.result.shape)};
    for (const Tensor& s : sizes) total.operands.push_back(&s);
    if (op == Op::reduce_sum) interpret_reduce_sum(total);
    if (op == Op::contract) interpret_contract(total);
    if (op == Op::scatter_add) interpret_scatter_add(total);
    const std::vector<double> lost = in_f32(call.result) && op == Op::contract ? lost_in_products(call, total.result) : std::vector<double>();
    bool whole = true;
    for (size_t k = 0; k < (op == Op::contract ? 2u : 1u); ++k)
      whole =
          whole && std::all_of(sizes[k].values.begin(), sizes[k].values.end(), [](double v) { return v == std::nearbyint(v); });
    double growth = 1 + std::sqrt(terms_of(call)) / 2;
    const bool may_overflow = op == Op::contract && overflows_without_factor(call, in_f32(call.result) ? double(FLT_MAX) : DBL_MAX);
    for (size_t i = 0; i < call.result.values.size(); ++i) {
      double& v = call.result.values[i];
      double size = total.result.values[i];
      // Rules of simplify that are marked `range` take factors out of sums: inf * 0 + inf * 1 is NaN, inf * (0 + 1) is not.
      if (!std::isfinite(size) || may_overflow) {
        const double instead[] = {std::numeric_limits<double>::quiet_NaN(), infinity, std::isfinite(v) ? v : 1};
        v = instead[random_.next_below(3)];
      } else if (!whole || size >= 0x1p23) {
        v += (size * unit * growth + (lost.empty() ? 0 : lost[i] * scale_)) * sign(call, v);
        // The terms may overflow to either side before others take them back, and then to both.
        const double instead[] = {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()};
        if (in_f32(call.result) && size > double(FLT_MAX) && random_.next_below(2) == 0) v = instead[random_.next_below(3)];
      }
    }
  }

  Precision precision_, now_ = Precision::f64;
  const Graph* graph_ = nullptr;
  std::vector<bool> known_;
  RandomStream random_;
  double scale_;
  uint64_t seed_;
  bool alike_;
};

double distance(Number a, Number b) { return std::fabs((double(a) - double(b)) + double(a.rest() - b.rest())); }

bool same_kind(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return (!std::isinf(a) && !std::isinf(b)) || a == b;
}

}  // namespace

ValueHook displace_results(Precision precision, uint64_t seed, double scale) { return Displacement(precision, seed, scale); }

RoundingModel::RoundingModel(Evaluation evaluate) : evaluate_(std::move(evaluate)), expected_(evaluate_({})) {}

RoundingModel::RoundingModel(const Graph& graph, const Bindings& bindings)
    : RoundingModel([steps = written_out(graph), &bindings](const ValueHook& hook) { return interpret(steps, bindings, false, hook); }) {}

Graph written_out(Graph graph) {
  unroll_scans(graph);
  return graph;
}

void RoundingModel::run(Precision precision, Scatter& scatter) {
  // The later ones also reach what lies a little beyond what a single operation may be off by.
  double scale = scatter.runs < 8 ? 1 : scatter.runs % 3 == 0 ? 4 : 1.5;
  uint64_t seed = uint64_t(scatter.runs++) * 2 + uint64_t(precision == Precision::f32);
  Results found;
  try {
    found = evaluate_(displace_results(precision, seed, scale));
  } catch (const UserError&) {
  }
  auto widen = [](const std::map<std::string, Tensor>& expected, const std::map<std::string, Tensor>& displaced,
                  std::map<std::string, std::vector<double>>& scatter_of) {
    for (const auto& [name, want] : expected) {
      std::vector<double>& farthest = scatter_of[name];
      farthest.resize(want.values.size(), 0);
      auto it = displaced.find(name);
      for (size_t i = 0; i < want.values.size(); ++i) {
        double x = it == displaced.end() ? std::nan("") : it->second.values[i], y = want.values[i];
        if (it == displaced.end() || !same_kind(x, y))
          farthest[i] = infinity;
        else if (std::isfinite(x))
          farthest[i] = std::max(farthest[i], distance(it->second.at(i), want.at(i)));
      }
    }
  };
  widen(expected_.outputs, found.outputs, scatter.outputs);
  widen(expected_.updates, found.updates, scatter.updates);
}

Comparison RoundingModel::compare_now(const Results& found, Precision precision, const Scatter& scatter) const {
  Comparison c;
  for (bool updates : {false, true}) {
    const auto& all = updates ? found.updates : found.outputs;
    for (const auto& [name, want] : updates ? expected_.updates : expected_.outputs) {
      auto it = all.find(name);
      if (it == all.end() || it->second.values.size() != want.values.size()) {
        if (!c.difference) c.difference = Difference{name, updates, 0, 0, 0, infinity};
        c.worst = c.worst_error = infinity;
        continue;
      }
      double largest = 0;
      for (double v : want.values)
        if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
      const std::vector<double>& farthest = (updates ? scatter.updates : scatter.outputs).at(name);
      double unit = is_float(want.dtype) ? unit_of(want.dtype, precision) : 0;
      double least = unit == 0x1p-24 ? 0x1p-147 : unit > 0 ? 0x1p-1072 : 0;  // a few of the smallest denormals
      for (size_t i = 0; i < want.values.size(); ++i) {
        ++c.elements;
        double x = it->second.values[i], y = want.values[i];
        if (it->second.at(i) == want.at(i) || (std::isnan(x) && std::isnan(y)) || std::isinf(farthest[i])) continue;
        double error = same_kind(x, y) ? distance(it->second.at(i), want.at(i)) : infinity;
        double allowed = std::isfinite(y) ? 8 * farthest[i] + 4 * unit * std::fabs(y) + least : 0;
        c.worst = std::max(c.worst, allowed > 0 ? error / allowed : infinity);
        c.worst_error = std::max(c.worst_error, error / std::max({largest, std::isfinite(allowed) ? allowed : 0, 1e-300}));
        if (c.difference || error <= allowed) continue;
        c.difference = Difference{name, updates, i, x, y, error};
        c.allowed = allowed;
      }
    }
  }
  return c;
}

Comparison RoundingModel::compare(const Results& found, Precision precision) {
  Scatter& scatter = scatter_[precision == Precision::f32];
  Comparison c;
  for (int runs : {3, 12, 60}) {
    while (scatter.runs < runs) run(precision, scatter);
    c = compare_now(found, precision, scatter);
    if (!c.difference) break;
  }
  return c;
}

}  // namespace nnc
