// Evaluates a graph node by node in its order, then hands out outputs and updates. Leaves are here; element-wise operations are in
// interpreter_elementwise.cpp, those that move or combine elements in interpreter_tensor.cpp.
#include "ir/interpreter.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/interpreter_ops.h"
#include "ir/regions.h"

namespace nnc {

int64_t element_count(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

std::vector<Number> Tensor::numbers() const {
  std::vector<Number> all(values.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = at(i);
  return all;
}

void Tensor::set_numbers(const std::vector<Number>& all) {
  values.resize(all.size());
  rests.clear();
  for (size_t i = 0; i < all.size(); ++i) set(i, all[i]);
}

bool Tensor::operator==(const Tensor& other) const {
  auto zero = [](int16_t rest) { return rest == 0; };
  auto same_rests = [&] {
    if (rests.empty() || other.rests.empty()) return std::ranges::all_of(rests, zero) && std::ranges::all_of(other.rests, zero);
    return rests == other.rests;
  };
  return dtype == other.dtype && shape == other.shape && values == other.values && same_rests();
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
  call.result.rests = value.rests;
}

}  // namespace

// --- leaves ---

void interpret_input(InterpreterCall& call) { copy_binding(call, call.bindings.inputs, "input"); }
void interpret_parameter(InterpreterCall& call) { copy_binding(call, call.bindings.persistents, "parameter"); }

void interpret_exchange(InterpreterCall& call) { call.result = call.operand(0); }

void interpret_scalar(InterpreterCall& call) {
  auto it = call.bindings.scalars.find(call.node.attributes.text);
  if (it == call.bindings.scalars.end()) fail_binding(call.node, fmt::format("no value is given for scalar `{}`", call.node.attributes.text));
  call.result.values[0] = it->second;
}

void interpret_constant(InterpreterCall& call) {
  call.result.set_numbers(std::vector<Number>(call.result.values.size(), call.node.attributes.number));
}

void interpret_literal(InterpreterCall& call) { call.result.set_numbers(call.node.attributes.values); }

void interpret_iota(InterpreterCall& call) {
  std::vector<int64_t> strides = row_major_strides(call.result.shape);
  size_t axis = size_t(call.node.attributes.axes[0]);
  for (size_t i = 0; i < call.result.values.size(); ++i)
    call.result.values[i] = double(int64_t(i) / strides[axis] % call.result.shape[axis]);
}

void interpret_random(InterpreterCall& call) {
  const DrawPosition& draws = call.bindings.draws;
  const uint64_t key = make_draw_key(draws.seed, call.node.attributes.text);
  const size_t rows = call.node.type.has_rows() ? size_t(call.result.shape[0]) : 1;
  const size_t elements = rows > 0 ? call.result.values.size() / rows : 0;
  const uint32_t first = call.node.type.has_rows() ? draws.first_row : 0;
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < elements; ++i) call.result.values[row * elements + i] = double(draw_unit(key, draws.update, first + uint32_t(row), i));
}

void interpret_extent(InterpreterCall& call) { call.result.values[0] = double(call.node.attributes.extents[0].at(call.bindings.rows)); }

// --- regions ---

// A run of the body for each step.
void interpret_scan(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  const Graph& body = *a.body;
  const int64_t steps = a.extents[0].size;
  const size_t carried = size_t(a.carried), sequences_end = carried + size_t(a.sliced);
  Bindings inner;
  inner.rows = call.bindings.rows;
  auto name_of = [&](size_t operand) {
    const auto [kind, number] = place_of_operand(a, int(operand));
    return body_input_name(kind, number);
  };
  for (size_t k = 0; k < call.operands.size(); ++k)
    if (k < carried || k >= sequences_end) inner.inputs[name_of(k)] = call.operand(k);
  // Elements of a slice: runs of `inner_count` for each index before the axis of the steps.
  auto runs_of = [](const Tensor& sequence, int axis) {
    std::vector<int64_t> before(sequence.shape.begin(), sequence.shape.begin() + axis), after(sequence.shape.begin() + axis + 1, sequence.shape.end());
    return std::pair(element_count(before), element_count(after));
  };
  std::vector<Tensor> results;
  for (size_t k = 0; k < body.outputs.size(); ++k) {
    const Type type = result_type(call.node, int(k));
    results.push_back(k < carried ? call.operand(k) : make_tensor(type.dtype, shape_at(type, call.bindings.rows)));
  }
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t t = a.reverse ? steps - 1 - step : step;
    for (size_t k = carried; k < sequences_end; ++k) {
      const Type& type = call.graph.type(call.node.operands[k]);
      const Tensor& sequence = call.operand(k);
      const auto [outer, count] = runs_of(sequence, step_axis(type));
      Tensor slice = make_tensor(sequence.dtype, shape_at(slice_type(type), call.bindings.rows));
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < count; ++i) slice.set(size_t(o * count + i), sequence.at(size_t((o * steps + t) * count + i)));
      inner.inputs[name_of(k)] = std::move(slice);
    }
    Results made = interpret(body, inner, false, call.hook ? *call.hook : ValueHook{});
    for (size_t k = 0; k < results.size(); ++k) {
      Tensor& value = made.outputs.at(body.outputs[k].name);
      if (k < carried) {
        results[k] = value;
        inner.inputs[name_of(k)] = std::move(value);
        continue;
      }
      const auto [outer, count] = runs_of(results[k], step_axis(result_type(call.node, int(k))));
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < count; ++i) results[k].set(size_t((o * steps + t) * count + i), value.at(size_t(o * count + i)));
    }
  }
  call.result.results = std::move(results);
}

void interpret_result(InterpreterCall& call) { call.result = call.operand(0).results[size_t(call.node.attributes.begin)]; }

// --- the run ---

Results interpret(const Graph& graph, const Bindings& bindings, bool keep_values, const ValueHook& hook) {
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
    InterpreterCall call{graph, {i}, node, bindings, {}, make_tensor(node.type.dtype, shape_at(node.type, bindings.rows)), &hook};
    for (NodeId operand : node.operands) {
      NNC_CHECK(operand.value < i, fmt::format("%{} uses %{} before it is computed", i, operand.value));
      call.operands.push_back(&values[operand.value]);
    }
    table[size_t(node.op)](call);
    if (hook) hook(call);
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
