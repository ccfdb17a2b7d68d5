// The samples of Monte Carlo arithmetic, and the comparison.
#include "tests/fuzz/error_model.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "codegen/vector_math_bounds.h"
#include "ir/interpreter_ops.h"
#include "tests/fuzz/random.h"

namespace nnc::fuzz {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double unit_of(DType dtype, Precision precision) {
  return dtype == DType::f32 && precision == Precision::compiled ? 0x1p-24 : 0x1p-53;
}

bool is_coarse(double v) { return std::fabs(v) < 0x1p14 && v * 256 == std::nearbyint(v * 256); }

// One evaluation with every operation's result displaced.
class Displacement {
 public:
  Displacement(const Graph& graph, const Bindings& bindings, Precision precision, uint64_t seed, double scale)
      : graph_(graph), bindings_(bindings), precision_(precision), random_(seed, "displacement"), scale_(scale), values_(graph.size()) {
    keep_.assign(graph.size(), false);
    for (const Node& n : graph.nodes())
      if (n.op == Op::reduce_sum || n.op == Op::contract || n.op == Op::scatter_add || n.op == Op::add || n.op == Op::sub)
        for (NodeId o : n.operands) keep_[o.value] = true;
  }

  Results run() {
    return interpret(graph_, bindings_, false, [this](InterpreterCall& call) { displace(call.id, call.result); });
  }

 private:
  void displace(NodeId id, Tensor& t) {
    const Node& node = graph_[id];
    if (is_float(t.dtype)) {
      double unit = unit_of(t.dtype, precision_) * scale_;
      switch (op_class(node.op)) {
        case OpClass::unary: displace_unary(node, t, unit); break;
        case OpClass::binary: displace_binary(node, t, unit); break;
        case OpClass::leaf:
          if (node.op == Op::constant && unit > 0x1p-30 && !t.values.empty() && double(float(t.values[0])) != t.values[0]) {
            double factor = 1 + unit * (2 * random_.unit() - 1);
            for (double& v : t.values) v *= factor;
          }
          break;
        case OpClass::reduce:
        case OpClass::contract:
        case OpClass::indexing:
          if (node.op == Op::reduce_sum || node.op == Op::contract || node.op == Op::scatter_add) displace_sum(id, node, t, unit);
          break;
        default: break;
      }
      if (t.dtype == DType::f32 && precision_ == Precision::compiled) fit_range(t);
    }
    if (keep_[id.value]) values_[id.value] = t;
  }

  void relative(Tensor& t, double amount) {
    for (double& v : t.values) v += v * amount * (2 * random_.unit() - 1);
  }

  // Larger than f32 holds, or smaller than its smallest normal number: overflows, or goes to zero, in half of the samples. As f32 holds it, so that what
  // is equal there can be equal here.
  void fit_range(Tensor& t) {
    bool fits = random_.chance(50);
    for (double& v : t.values) {
      if (std::fabs(v) > double(FLT_MAX) * (fits ? 1.001 : 0.999)) v = std::copysign(infinity, v);
      if (!fits && std::fabs(v) < double(FLT_MIN)) v = std::copysign(0.0, v);
      v = double(float(v));
    }
  }

  void displace_unary(const Node& node, Tensor& t, double unit) {
    if (node.op == Op::cast) {
      DType from = graph_.type(node.operands[0]).dtype;
      if (t.dtype == DType::f64 && is_float(from)) return;
      if (t.dtype == DType::f32 && (from == DType::u8 || from == DType::boolean || from == DType::f32)) return;
      for (double& v : t.values)
        if (double(float(v)) != v) v += v * unit * (2 * random_.unit() - 1);
      return;
    }
    for (const MathBound& b : math_bounds)
      if (b.op == node.op) {
        double ulp = t.dtype == DType::f32 ? b.f32 : b.f64;
        if (ulp > 0) relative(t, (2 * ulp + 1) * unit);  // an ulp is at most two units
      }
  }

  void displace_binary(const Node& node, Tensor& t, double unit) {
    switch (node.op) {
      case Op::maximum:
      case Op::minimum: return;
      case Op::div: return relative(t, 3 * unit);  // by way of a reciprocal
      case Op::pow:
        for (double& v : t.values) {
          double magnitude = v > 0 && std::isfinite(v) ? std::fabs(std::log(v)) : 1;
          v += v * unit * (8 + 16 * magnitude) * (2 * random_.unit() - 1);
        }
        return;
      default: break;
    }
    // Sums of coarse numbers are exact in every order.
    const Tensor *x = &values_[node.operands[0].value], *y = &values_[node.operands[1].value];
    bool sum = node.op == Op::add || node.op == Op::sub;
    for (size_t i = 0; i < t.values.size(); ++i) {
      double& v = t.values[i];
      if (is_coarse(v) && (!sum || (is_coarse(x->values[i]) && is_coarse(y->values[i])))) continue;
      v += v * unit * (2 * random_.unit() - 1);
      // Passes move terms of a sum: (x + c) + d becomes x + (c + d), where x + c may be much larger or smaller than either.
      if (sum) v += unit * (std::fabs(x->values[i]) + std::fabs(y->values[i])) * 0.5 * (2 * random_.unit() - 1);
    }
  }

  void displace_sum(NodeId id, const Node& node, Tensor& t, double unit) {
    std::vector<Tensor> sizes;
    for (size_t k = 0; k < node.operands.size(); ++k) {
      sizes.push_back(values_[node.operands[k].value]);
      if (k == 0 || node.op == Op::contract)
        for (double& v : sizes.back().values) v = std::fabs(v);
    }
    InterpreterCall call{graph_, id, node, bindings_, {}, make_tensor(t.dtype, t.shape)};
    for (const Tensor& s : sizes) call.operands.push_back(&s);
    if (node.op == Op::reduce_sum) interpret_reduce_sum(call);
    if (node.op == Op::contract) interpret_contract(call);
    if (node.op == Op::scatter_add) interpret_scatter_add(call);
    // Rules of simplify that are marked `range` take factors out of sums: inf * 0 + inf * 1 is NaN, inf * (0 + 1) is not.
    auto all_finite = [](const Tensor& x) { return std::all_of(x.values.begin(), x.values.end(), [](double v) { return std::isfinite(v); }); };
    if (!std::all_of(sizes.begin(), sizes.end(), all_finite)) {
      double instead = random_.pick({std::numeric_limits<double>::quiet_NaN(), infinity, 1.0});
      for (double& v : t.values) v = instead;
      return;
    }
    bool coarse = true;
    for (size_t k = 0; k < (node.op == Op::contract ? 2u : 1u); ++k)
      coarse = coarse && std::all_of(sizes[k].values.begin(), sizes[k].values.end(), [](double v) { return v == std::nearbyint(v); });
    double terms = t.values.empty() ? 1 : std::max<double>(1, double(sizes[0].values.size()) / double(t.values.size()));
    double growth = 1 + std::sqrt(terms) / 2;
    for (size_t i = 0; i < t.values.size(); ++i) {
      double total = call.result.values[i];
      if (coarse && total < 0x1p23) continue;
      if (std::isfinite(total)) t.values[i] += total * unit * growth * (2 * random_.unit() - 1);
      if (precision_ == Precision::compiled && t.dtype == DType::f32 && total > double(FLT_MAX)) t.values[i] = random_.chance(50) ? infinity : t.values[i];
    }
  }

  const Graph& graph_;
  const Bindings& bindings_;
  Precision precision_;
  Random random_;
  double scale_;
  std::vector<Tensor> values_;
  std::vector<bool> keep_;
};

bool same_kind(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return true;
}

}  // namespace

ErrorModel::ErrorModel(const Graph& graph, const Bindings& bindings) : graph_(graph), bindings_(bindings), expected_(interpret(graph, bindings)) {}

void ErrorModel::sample(Precision precision, int count) {
  Samples& s = samples(precision);
  auto widen = [&](const std::map<std::string, Tensor>& expected, const std::map<std::string, Tensor>& got, std::map<std::string, Spread>& spreads) {
    for (const auto& [name, want] : expected) {
      Spread& spread = spreads[name];
      spread.deviation.resize(want.values.size(), 0);
      const Tensor& t = got.at(name);
      double sum = 0;
      int finite = 0;
      for (size_t i = 0; i < want.values.size(); ++i) {
        double& d = spread.deviation[i];
        double x = t.values[i], y = want.values[i];
        if (!same_kind(x, y))
          d = infinity;
        else if (std::isfinite(x))
          d = std::max(d, std::fabs(x - y));
        if (std::isfinite(d)) sum += d, ++finite;
      }
      spread.mean = finite ? sum / finite : 0;
    }
  };
  for (int i = 0; i < count; ++i, ++s.count) {
    double scale = s.count < 8 ? 1 : s.count % 3 == 0 ? 4 : 1.5;
    try {
      Results r = Displacement(graph_, bindings_, precision, uint64_t(s.count) * 2 + (precision == Precision::compiled), scale).run();
      widen(expected_.outputs, r.outputs, s.outputs);
      widen(expected_.updates, r.updates, s.updates);
    } catch (const std::exception&) {
      // A displaced index left its table: anything may have been meant.
    }
  }
}

std::optional<Difference> ErrorModel::compare(const Results& found, Precision precision) {
  Samples& s = samples(precision);
  auto compare_all = [&](const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b, std::map<std::string, Spread>& spreads,
                         bool update) -> std::optional<Difference> {
    for (const auto& [name, want] : b) {
      auto it = a.find(name);
      if (it == a.end() || it->second.values.size() != want.values.size()) return Difference{name, update, 0, 0, 0, infinity};
      const Spread& spread = spreads[name];
      bool number = want.shape.empty() && precision == Precision::compiled && !update;
      for (size_t i = 0; i < want.values.size(); ++i) {
        double x = it->second.values[i], y = want.values[i];
        if (x == y || (std::isnan(x) && std::isnan(y))) continue;
        double unit = number ? 0x1p-24 : is_float(want.dtype) ? unit_of(want.dtype, precision) : 0;
        double deviation = spread.deviation.empty() ? infinity : spread.deviation[i];
        if (std::isinf(deviation)) continue;
        double allowed = 8 * deviation + 3 * spread.mean + 4 * unit * std::fabs(y) + (unit > 0x1p-30 ? 1e-37 : unit > 0 ? 1e-300 : 0);
        bool range = number && std::fabs(y) > double(FLT_MAX);
        if (range || (same_kind(x, y) && std::fabs(x - y) <= allowed)) continue;
        return Difference{name, update, i, x, y, std::fabs(x - y) / std::max(std::fabs(y), 1e-300)};
      }
    }
    return std::nullopt;
  };
  if (auto d = compare_all(found.outputs, expected_.outputs, s.outputs, false)) return d;
  return compare_all(found.updates, expected_.updates, s.updates, true);
}

std::optional<Difference> ErrorModel::find_wrong(const Results& found, Precision precision) {
  for (int wanted : {3, 12, 60}) {
    if (int have = samples(precision).count; have < wanted) sample(precision, wanted - have);
    std::optional<Difference> d = compare(found, precision);
    if (!d || wanted == 60) return d;
  }
  return std::nullopt;
}

double ErrorModel::pinned(Precision precision) {
  if (samples(precision).count < 3) sample(precision, 3);
  int64_t good = 0, all = 0;
  auto count = [&](const std::map<std::string, Tensor>& expected, const std::map<std::string, Spread>& spreads) {
    for (const auto& [name, want] : expected) {
      auto it = spreads.find(name);
      for (size_t i = 0; i < want.values.size(); ++i, ++all)
        good += it != spreads.end() && std::isfinite(want.values[i]) && it->second.deviation[i] * 8 <= 1e-3 * std::max(std::fabs(want.values[i]), 1e-6);
    }
  };
  count(expected_.outputs, samples(precision).outputs);
  count(expected_.updates, samples(precision).updates);
  return all ? double(good) / double(all) : 1;
}

}  // namespace nnc::fuzz
