// See the header for the method. A run is the interpreter's own; only what its operations give is disturbed.
#include "driver/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/philox.h"
#include "ir/interpreter_ops.h"

namespace nnc {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int runs_of_a_reference = 6;
// A disturbance is so many times what one operation may be off by, and so many times the scatter is allowed: a run that happens
// to scatter little is made up for.
constexpr double amplification = 4, margin = 4;

double half_unit(Precision p) { return p == Precision::f32 ? 0x1p-24 : 0x1p-52; }

/// Results that any implementation gives exactly for the operands it is given.
bool is_exact(Op op) {
  switch (op) {
    case Op::neg:
    case Op::abs:
    case Op::sign:
    case Op::floor:
    case Op::ceil:
    case Op::round:
    case Op::stop_gradient:
    case Op::maximum:
    case Op::minimum:
    case Op::select:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::gather:
      return true;
    default:
      return op_class(op) == OpClass::leaf || op_class(op) == OpClass::shape;
  }
}

bool is_sum(Op op) { return op == Op::reduce_sum || op == Op::contract || op == Op::scatter_add; }

/// Roundings of one element, in halves of a unit in the last place of its magnitude.
double roundings(const Node& n, int64_t terms) {
  if (is_sum(n.op)) return std::sqrt(double(std::max<int64_t>(terms, 1)));
  switch (n.op) {
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::sqrt:
    case Op::cast:
      return 1;
    case Op::div:
      return 3;  // may be a product with the reciprocal
    default:
      return 4;  // the bound of the vector functions
  }
}

using Evaluate = void (*)(InterpreterCall&);
Evaluate evaluator(Op op) {
  static constexpr std::array<Evaluate, op_count> table{{
#define NNC_OP(name, arity, op_class, differentiable, summary) interpret_##name,
#include "ir/ops.def"
#undef NNC_OP
  }};
  return table[size_t(op)];
}

/// What the elements of a sum add up to in magnitude; of any other operation, the magnitude whose rounding counts.
std::vector<double> magnitudes(InterpreterCall& call) {
  const Node& n = call.node;
  std::vector<double> result(call.result.values.size());
  if (is_sum(n.op)) {
    std::vector<Tensor> absolute;
    for (const Tensor* t : call.operands) {
      absolute.push_back(*t);
      if (is_float(t->dtype))
        for (double& v : absolute.back().values) v = std::fabs(v);
    }
    InterpreterCall again{call.graph, call.id, n, call.bindings, {}, make_tensor(n.type.dtype, call.result.shape)};
    for (const Tensor& t : absolute) again.operands.push_back(&t);
    evaluator(n.op)(again);
    return std::move(again.result.values);
  }
  for (size_t i = 0; i < result.size(); ++i) {
    double v = std::fabs(call.result.values[i]);
    if (n.op == Op::sin || n.op == Op::cos) v = 1;
    if (n.op == Op::pow)
      v *= 1 + std::fabs(call.operand(1).values[i] * std::log(std::max(std::fabs(call.operand(0).values[i]), 1e-300)));
    result[i] = v;
  }
  return result;
}

int64_t terms_of(const InterpreterCall& call) {
  int64_t results = std::max<int64_t>(1, int64_t(call.result.values.size()));
  if (call.node.op != Op::contract) return int64_t(call.operand(0).values.size()) / results + 1;
  int64_t terms = 1;
  const Attributes& a = call.node.attributes;
  for (size_t k = 0; k < 2; ++k) {
    const std::vector<int>& labels = k == 0 ? a.lhs : a.rhs;
    for (size_t i = 0; i < labels.size(); ++i) {
      bool kept = std::find(a.out.begin(), a.out.end(), labels[i]) != a.out.end();
      bool counted = k == 1 && std::find(a.lhs.begin(), a.lhs.end(), labels[i]) != a.lhs.end();
      if (!kept && !counted) terms *= call.operand(k).shape[i];
    }
  }
  return terms;
}

template <class Visit>
void for_each_tensor(Results& to, const Results& from, Visit visit) {
  for (const auto& [name, t] : from.outputs) visit(to.outputs[name], t);
  for (const auto& [name, t] : from.updates) visit(to.updates[name], t);
}

}  // namespace

Results interpret_disturbed(const Graph& graph, const Bindings& bindings, Precision precision, uint64_t seed) {
  RandomStream random(seed, stable_hash("disturbance"));
  return interpret(graph, bindings, false, [&](InterpreterCall& call) {
    const Node& node = call.node;
    if (is_float(node.type.dtype) && !is_exact(node.op)) {
      std::vector<double> size = magnitudes(call);
      double unit = node.type.dtype == DType::f64 ? 0x1p-52 : half_unit(precision);
      double amplitude = amplification * unit * roundings(node, is_sum(node.op) ? terms_of(call) : 1);
      for (size_t k = 0; k < size.size(); ++k)
        if (std::isfinite(size[k])) call.result.values[k] += amplitude * size[k] * (2 * random.next_unit() - 1);
    }
    // What f32 cannot hold overflows or vanishes, and a constant such as 0.1 is another number.
    if (precision == Precision::f32 && node.type.dtype == DType::f32)
      for (double& v : call.result.values) v = double(float(v));
  });
}

Reference make_reference(const std::vector<Results>& runs, Precision precision) {
  Reference r;
  r.exact = runs[0];
  double relative = 16 * half_unit(precision);
  for_each_tensor(r.allowed, r.exact, [&](Tensor& allowed, const Tensor& exact) {
    allowed = exact;
    for (double& v : allowed.values) v = is_float(exact.dtype) ? relative * std::fabs(v) + 0x1p-120 : 0;
  });
  for (size_t run = 1; run < runs.size(); ++run)
    for (bool updates : {false, true}) {
      const auto& disturbed = updates ? runs[run].updates : runs[run].outputs;
      const auto& exact = updates ? r.exact.updates : r.exact.outputs;
      for (auto& [name, allowed] : updates ? r.allowed.updates : r.allowed.outputs) {
        const std::vector<double>&x = disturbed.at(name).values, &y = exact.at(name).values;
        for (size_t i = 0; i < y.size(); ++i) {
          bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
          double scatter = std::isfinite(x[i]) && std::isfinite(y[i]) ? margin * std::fabs(x[i] - y[i]) : same ? 0 : infinity;
          allowed.values[i] = std::max(allowed.values[i], scatter);
        }
      }
    }
  return r;
}

Reference make_reference(const Graph& graph, const Bindings& bindings, Precision precision) {
  std::vector<Results> runs{interpret(graph, bindings)};
  for (int i = 0; i < runs_of_a_reference; ++i) runs.push_back(interpret_disturbed(graph, bindings, precision, uint64_t(i)));
  return make_reference(runs, precision);
}

Comparison compare_results(const Results& found, const Reference& reference) {
  Comparison c;
  for (bool updates : {false, true}) {
    const auto& all = updates ? found.updates : found.outputs;
    const auto& limits = updates ? reference.allowed.updates : reference.allowed.outputs;
    for (const auto& [name, exact] : updates ? reference.exact.updates : reference.exact.outputs) {
      auto it = all.find(name);
      const std::vector<double>& allowed = limits.at(name).values;
      double largest = 0;
      for (double v : exact.values)
        if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
      if (it == all.end() || it->second.values.size() != exact.values.size()) {
        if (!c.difference) c.difference = Difference{name, updates, 0, 0, 0, infinity};
        c.worst = infinity;
        continue;
      }
      for (size_t i = 0; i < exact.values.size(); ++i) {
        ++c.elements;
        double x = it->second.values[i], y = exact.values[i];
        if (x == y || (std::isnan(x) && std::isnan(y)) || allowed[i] == infinity) continue;
        double error = std::isfinite(x) && std::isfinite(y) ? std::fabs(x - y) : infinity;
        c.worst = std::max(c.worst, allowed[i] > 0 ? error / allowed[i] : infinity);
        c.worst_error = std::max(c.worst_error, error / std::max(largest, 1e-300));
        if (c.difference || error <= allowed[i]) continue;
        c.difference = Difference{name, updates, i, x, y, error};
        c.allowed = allowed[i];
      }
    }
  }
  return c;
}

}  // namespace nnc
