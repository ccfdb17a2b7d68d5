// Evaluates a graph node by node in its order, then hands out outputs and updates. Leaves and element-wise operations are here; those that
// move or combine elements are in interpreter_tensor.cpp.
#include "ir/interpreter.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/interpreter_ops.h"

namespace nnc {

int64_t element_count(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

Tensor make_tensor(DType dtype, std::vector<int64_t> shape) {
  Tensor t{dtype, std::move(shape), {}};
  t.values.assign(size_t(element_count(t.shape)), 0.0);
  return t;
}

std::vector<int64_t> shape_at(const Type& type, int64_t rows) {
  std::vector<int64_t> shape;
  for (const Extent& e : type.shape) shape.push_back(e.at(rows));
  return shape;
}

namespace {

// Float to integer: towards zero, saturating.
double truncate_to(double value, double low, double high) {
  if (std::isnan(value)) return 0;
  return std::trunc(std::fmin(std::fmax(value, low), high)) + 0.0;  // + 0.0: no negative zero among integers
}

int64_t wrap_integer(uint64_t bits, DType dtype) {
  switch (dtype) {
    case DType::i32: return int32_t(uint32_t(bits));
    case DType::u8: return uint8_t(bits);
    default: return int64_t(bits);
  }
}

}  // namespace

double convert_number(double value, DType from, DType to) {
  if (to == DType::boolean) return value != 0 ? 1 : 0;
  if (is_float(to)) return value;
  if (!is_float(from)) return double(wrap_integer(uint64_t(int64_t(value)), to));
  switch (to) {
    case DType::i32: return truncate_to(value, -2147483648.0, 2147483647.0);
    case DType::u8: return truncate_to(value, 0, 255);
    default: return truncate_to(value, -0x1p63, 0x1.fffffffffffffp62);
  }
}

namespace {

[[noreturn]] void fail_binding(const Node& node, std::string message) {
  Diagnostic d;
  d.code = Code::E0511;
  d.message = std::move(message);
  d.span = node.span;
  throw UserError(std::move(d));
}

std::string shape_text(const Tensor& t) { return fmt::format("{}[{}]", dtype_name(t.dtype), fmt::join(t.shape, ", ")); }

void copy_binding(InterpreterCall& call, const std::map<std::string, Tensor>& bound, std::string_view what) {
  const std::string& name = call.node.attributes.text;
  auto it = bound.find(name);
  if (it == bound.end()) fail_binding(call.node, fmt::format("no value is given for {} `{}`", what, name));
  const Tensor& value = it->second;
  if (value.dtype != call.result.dtype || value.shape != call.result.shape || value.values.size() != call.result.values.size())
    fail_binding(call.node, fmt::format("{} `{}` is {}, but the value given is {}", what, name, shape_text(call.result), shape_text(value)));
  call.result.values = value.values;
}

template <class F>
void map_unary(InterpreterCall& call, F f) {
  const std::vector<double>& x = call.operand(0).values;
  for (size_t i = 0; i < x.size(); ++i) call.result.values[i] = f(x[i]);
}

template <class F>
void map_binary(InterpreterCall& call, F f) {
  const std::vector<double>&x = call.operand(0).values, &y = call.operand(1).values;
  for (size_t i = 0; i < x.size(); ++i) call.result.values[i] = f(x[i], y[i]);
}

// Arithmetic that wraps around on integers, in two's complement through uint64_t.
template <class FloatOp, class BitsOp>
void map_arithmetic(InterpreterCall& call, FloatOp on_floats, BitsOp on_bits) {
  DType dtype = call.result.dtype;
  if (is_float(dtype)) return map_binary(call, on_floats);
  map_binary(call, [&](double x, double y) {
    return double(wrap_integer(on_bits(uint64_t(int64_t(x)), uint64_t(int64_t(y))), dtype));
  });
}

double larger(double x, double y) { return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : x < y ? y : x; }
double smaller(double x, double y) { return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : y < x ? y : x; }

double stable_sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  double e = std::exp(x);
  return e / (1 + e);
}

}  // namespace

// --- leaves ---

void interpret_input(InterpreterCall& call) { copy_binding(call, call.bindings.inputs, "input"); }
void interpret_parameter(InterpreterCall& call) { copy_binding(call, call.bindings.persistents, "parameter"); }

void interpret_scalar(InterpreterCall& call) {
  auto it = call.bindings.scalars.find(call.node.attributes.text);
  if (it == call.bindings.scalars.end()) fail_binding(call.node, fmt::format("no value is given for scalar `{}`", call.node.attributes.text));
  call.result.values[0] = it->second;
}

void interpret_constant(InterpreterCall& call) {
  for (double& value : call.result.values) value = call.node.attributes.number;
}

void interpret_iota(InterpreterCall& call) {
  std::vector<int64_t> strides = row_major_strides(call.result.shape);
  size_t axis = size_t(call.node.attributes.axes[0]);
  for (size_t i = 0; i < call.result.values.size(); ++i)
    call.result.values[i] = double(int64_t(i) / strides[axis] % call.result.shape[axis]);
}

void interpret_extent(InterpreterCall& call) { call.result.values[0] = double(call.node.attributes.extents[0].at(call.bindings.rows)); }

// --- element-wise ---

#define UNARY(name, expression) \
  void interpret_##name(InterpreterCall& call) { map_unary(call, [](double x) -> double { return expression; }); }
#define BINARY(name, expression) \
  void interpret_##name(InterpreterCall& call) { map_binary(call, [](double x, double y) -> double { return expression; }); }
#define ARITHMETIC(name, operation)                                                                                             \
  void interpret_##name(InterpreterCall& call) {                                                                                \
    map_arithmetic(call, [](double x, double y) { return x operation y; }, [](uint64_t x, uint64_t y) { return x operation y; }); \
  }

void interpret_neg(InterpreterCall& call) {
  DType dtype = call.result.dtype;
  if (is_float(dtype)) return map_unary(call, [](double x) { return -x; });
  map_unary(call, [&](double x) { return double(wrap_integer(0 - uint64_t(int64_t(x)), dtype)); });
}

void interpret_abs(InterpreterCall& call) {
  DType dtype = call.result.dtype;
  if (is_float(dtype)) return map_unary(call, [](double x) { return std::fabs(x); });
  map_unary(call, [&](double x) { return x < 0 ? double(wrap_integer(0 - uint64_t(int64_t(x)), dtype)) : x; });
}

UNARY(sign, std::isnan(x) ? x : x > 0 ? 1 : x < 0 ? -1 : 0)
UNARY(floor, std::floor(x))
UNARY(ceil, std::ceil(x))
UNARY(round, std::nearbyint(x))
UNARY(sqrt, std::sqrt(x))
UNARY(exp, std::exp(x))
UNARY(expm1, std::expm1(x))
UNARY(log, std::log(x))
UNARY(log1p, std::log1p(x))
UNARY(sin, std::sin(x))
UNARY(cos, std::cos(x))
UNARY(tanh, std::tanh(x))
UNARY(sigmoid, stable_sigmoid(x))
UNARY(erf, std::erf(x))
UNARY(logical_not, x == 0 ? 1 : 0)
UNARY(stop_gradient, x)

ARITHMETIC(add, +)
ARITHMETIC(sub, -)
ARITHMETIC(mul, *)
BINARY(div, x / y)
BINARY(pow, std::pow(x, y))
BINARY(maximum, larger(x, y))
BINARY(minimum, smaller(x, y))
BINARY(equal, x == y)
BINARY(not_equal, x != y)
BINARY(less, x < y)
BINARY(less_equal, x <= y)
BINARY(greater, x > y)
BINARY(greater_equal, x >= y)
BINARY(logical_and, x != 0 && y != 0)
BINARY(logical_or, x != 0 || y != 0)

void interpret_select(InterpreterCall& call) {
  const std::vector<double>&c = call.operand(0).values, &x = call.operand(1).values, &y = call.operand(2).values;
  for (size_t i = 0; i < c.size(); ++i) call.result.values[i] = c[i] != 0 ? x[i] : y[i];
}

void interpret_cast(InterpreterCall& call) {
  DType from = call.operand(0).dtype, to = call.result.dtype;
  map_unary(call, [&](double x) { return convert_number(x, from, to); });
}

// --- the run ---

Results interpret(const Graph& graph, const Bindings& bindings, bool keep_values) {
  using Evaluate = void (*)(InterpreterCall&);
  static constexpr std::array<Evaluate, op_count> table{{
#define NNC_OP(name, arity, op_class, differentiable, summary) interpret_##name,
#include "ir/ops.def"
#undef NNC_OP
  }};
  NNC_CHECK(bindings.rows >= 0, fmt::format("{} rows", bindings.rows));
  std::vector<uint32_t> last_use(graph.size(), 0);
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (NodeId operand : graph[NodeId{i}].operands) last_use[operand.value] = i;
  for (const Output& o : graph.outputs) last_use[o.node.value] = UINT32_MAX;
  for (const Update& u : graph.updates) last_use[u.node.value] = UINT32_MAX;

  std::vector<Tensor> values(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    InterpreterCall call{graph, {i}, node, bindings, {}, make_tensor(node.type.dtype, shape_at(node.type, bindings.rows))};
    for (NodeId operand : node.operands) {
      NNC_CHECK(operand.value < i, fmt::format("%{} uses %{} before it is computed", i, operand.value));
      call.operands.push_back(&values[operand.value]);
    }
    table[size_t(node.op)](call);
    values[i] = std::move(call.result);
    if (!keep_values)
      for (NodeId operand : node.operands)
        if (last_use[operand.value] == i) values[operand.value] = {};
  }
  Results results;
  for (const Output& o : graph.outputs) results.outputs[o.name] = values[o.node.value];
  for (const Update& u : graph.updates) results.updates[u.name] = values[u.node.value];
  if (keep_values) results.values = std::move(values);
  return results;
}

}  // namespace nnc
