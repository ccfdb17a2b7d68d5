// The interpreter's operations that move or combine elements. All are walks over an index space with one stride vector per tensor: an axis
// that a tensor does not have gets stride 0. Tensor shapes come from infer_type, so that no bounds need checking here, except those of
// indices that are data.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/interpreter_ops.h"
#include "ir/window.h"

namespace nnc {

std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

// --- shape ---

static void copy_element(const Tensor& from, int64_t i, Tensor& to, int64_t j) { to.set(size_t(j), from.at(size_t(i))); }

void interpret_broadcast(InterpreterCall& call) {
  const std::vector<int>& axes = call.node.attributes.axes;
  const Tensor& x = call.operand(0);
  std::vector<int64_t> own = row_major_strides(x.shape), source(call.result.shape.size(), 0);
  for (size_t i = 0; i < axes.size(); ++i) source[size_t(axes[i])] = own[i];
  for_each_run<2>(call.result.shape, {source, row_major_strides(call.result.shape)}, [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) copy_element(x, offsets[0] + i * steps[0], call.result, offsets[1] + i);
  });
}

void interpret_transpose(InterpreterCall& call) {
  const Tensor& x = call.operand(0);
  std::vector<int64_t> own = row_major_strides(x.shape), source;
  for (int axis : call.node.attributes.axes) source.push_back(own[size_t(axis)]);
  for_each_run<2>(call.result.shape, {source, row_major_strides(call.result.shape)}, [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) copy_element(x, offsets[0] + i * steps[0], call.result, offsets[1] + i);
  });
}

void interpret_reshape(InterpreterCall& call) {
  call.result.values = call.operand(0).values;
  call.result.rests = call.operand(0).rests;
}

namespace {

// Copies a window of `sizes` between two tensors that have it at different places along one axis.
void copy_window(const Tensor& from, int64_t from_begin, Tensor& to, int64_t to_begin, size_t axis, const std::vector<int64_t>& sizes) {
  std::vector<int64_t> source = row_major_strides(from.shape), target = row_major_strides(to.shape);
  int64_t from_base = from_begin * source[axis], to_base = to_begin * target[axis];
  for_each_run<2>(sizes, {source, target}, [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      copy_element(from, from_base + offsets[0] + i * steps[0], to, to_base + offsets[1] + i * steps[1]);
  });
}

}  // namespace

void interpret_slice(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  copy_window(call.operand(0), a.begin, call.result, 0, size_t(a.axes[0]), call.result.shape);
}

void interpret_pad(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  copy_window(call.operand(0), 0, call.result, a.begin, size_t(a.axes[0]), call.operand(0).shape);
}

void interpret_window(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  const Tensor& x = call.operand(0);
  Tensor& result = call.result;
  const size_t axis = size_t(a.axes[0]);
  const std::vector<int64_t> from = row_major_strides(x.shape), to = row_major_strides(result.shape);
  const int64_t count = element_count(result.shape);
  auto digit = [&](int64_t i, size_t of) { return i / to[of] % result.shape[of]; };
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = a.axes.size() > 1 ? digit(i, size_t(a.axes[1])) : 0;
    const std::optional<int64_t> read = window_index(a, x.shape[axis], digit(i, axis), j);
    if (!read) {
      result.set(size_t(i), a.number);
      continue;
    }
    int64_t source = *read * from[axis];
    for (size_t other = 0; other < x.shape.size(); ++other)
      if (other != axis) source += digit(i, other) * from[other];
    copy_element(x, source, result, i);
  }
}

// --- reductions ---

namespace {

/// combine(state, element) for every element of the operand; the states are those of the result's elements.
template <class State, class Combine>
std::vector<State> reduce_states(const InterpreterCall& call, State initial, Combine combine) {
  const Tensor& x = call.operand(0);
  const std::vector<int>& axes = call.node.attributes.axes;
  std::vector<int64_t> kept = row_major_strides(call.result.shape), target(x.shape.size(), 0);
  size_t next = 0;
  for (size_t i = 0; i < x.shape.size(); ++i)
    if (!std::binary_search(axes.begin(), axes.end(), int(i))) target[i] = kept[next++];
  std::vector<State> states(call.result.values.size(), initial);
  for_each_run<2>(x.shape, {row_major_strides(x.shape), target}, [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) combine(states[size_t(offsets[1] + i * steps[1])], x.at(size_t(offsets[0] + i)));
  });
  return states;
}

template <class Combine>
void reduce_into(InterpreterCall& call, Number initial, Combine combine) {
  call.result.set_numbers(reduce_states(call, initial, [&](Number& cell, Number x) { cell = combine(cell, x); }));
}

void set_sums(Tensor& result, const std::vector<CompensatedSum>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) result.values[i] = sums[i].value();
}

}  // namespace

void interpret_reduce_sum(InterpreterCall& call) {
  const DType dtype = call.result.dtype;
  if (is_float(dtype))
    set_sums(call.result, reduce_states(call, CompensatedSum{}, [](CompensatedSum& sum, Number x) { sum.add(x); }));
  else
    reduce_into(call, 0, [dtype](Number x, Number y) { return add_numbers(x, y, dtype); });
}

void interpret_reduce_max(InterpreterCall& call) {
  reduce_into(call, lowest_of(call.result.dtype), [](Number x, Number y) { return std::isnan(x) || x > y ? x : y; });
}

void interpret_reduce_min(InterpreterCall& call) {
  reduce_into(call, highest_of(call.result.dtype), [](Number x, Number y) { return std::isnan(x) || x < y ? x : y; });
}

void interpret_argmax(InterpreterCall& call) {
  const Tensor& x = call.operand(0);
  size_t axis = size_t(call.node.attributes.axes[0]);
  int64_t outer = 1, inner = 1, length = x.shape[axis];
  for (size_t i = 0; i < axis; ++i) outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) inner *= x.shape[i];
  if (length == 0) return;  // no rows along the row dimension: index 0
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      auto run = [&](int64_t k) { return x.at(size_t(o * length * inner + i + k * inner)); };
      int64_t best = 0;
      for (int64_t k = 1; k < length && !std::isnan(run(best)); ++k)
        if (run(k) > run(best) || std::isnan(run(k))) best = k;
      call.result.values[size_t(o * inner + i)] = double(best);
    }
}

// --- contraction and indexing ---

namespace {

struct LabelAxis {
  int64_t size = 0;
  std::array<int64_t, 3> strides{};
};

// The axis of each label in `order`, with its stride in each of the three tensors.
std::vector<LabelAxis> label_axes(const std::vector<int>& order, const std::array<const std::vector<int>*, 3>& labels,
                                  const std::array<const Tensor*, 3>& tensors) {
  std::vector<LabelAxis> axes(order.size());
  for (size_t k = 0; k < 3; ++k) {
    std::vector<int64_t> strides = row_major_strides(tensors[k]->shape);
    for (size_t i = 0; i < labels[k]->size(); ++i) {
      auto it = std::find(order.begin(), order.end(), (*labels[k])[i]);
      if (it == order.end()) continue;
      LabelAxis& axis = axes[size_t(it - order.begin())];
      axis.size = tensors[k]->shape[i];
      axis.strides[k] = strides[i];
    }
  }
  return axes;
}

template <class Visit>
void walk_labels(const std::vector<LabelAxis>& axes, Visit visit) {
  std::vector<int64_t> sizes;
  std::array<std::vector<int64_t>, 3> strides;
  for (const LabelAxis& axis : axes) {
    sizes.push_back(axis.size);
    for (size_t k = 0; k < 3; ++k) strides[k].push_back(axis.strides[k]);
  }
  for_each_run<3>(sizes, strides, visit);
}

[[noreturn]] void fail_index(const InterpreterCall& call, const Tensor& index, int64_t offset, int64_t length) {
  std::vector<int64_t> strides = row_major_strides(index.shape), place;
  for (size_t i = 0; i < index.shape.size(); ++i) place.push_back(offset / strides[i] % index.shape[i]);
  Diagnostic d;
  d.code = Code::E0510;
  d.message = fmt::format("index {} at [{}] is out of range: the table has {} entries (0..{})", number_text(index.at(size_t(offset))),
                          fmt::join(place, ", "), length, length - 1);
  d.span = call.node.span;
  throw UserError(std::move(d));
}

}  // namespace

void interpret_contract(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  const Tensor &x = call.operand(0), &y = call.operand(1);
  Tensor& result = call.result;
  std::vector<int> order = a.out;
  for (const std::vector<int>* labels : {&a.lhs, &a.rhs})
    for (int label : *labels)
      if (std::find(order.begin(), order.end(), label) == order.end()) order.push_back(label);
  std::vector<LabelAxis> axes = label_axes(order, {&a.lhs, &a.rhs, &a.out}, {&x, &y, &result});
  // Innermost, if there is one, an axis along which result and operands are contiguous or constant: the same sums, faster.
  auto contiguous = [](const LabelAxis& axis) { return axis.strides[2] == 1 && axis.strides[0] <= 1 && axis.strides[1] <= 1 && axis.size > 1; };
  auto best = std::find_if(axes.begin(), axes.end(), contiguous);
  if (best != axes.end()) std::rotate(best, best + 1, axes.end());
  bool integers = !is_float(result.dtype);
  std::vector<Number> sums(integers ? result.values.size() : 0);
  // Few terms lose next to nothing in 64 bits.
  int64_t terms = 1;
  for (const LabelAxis& axis : axes) terms *= axis.strides[2] == 0 ? axis.size : 1;
  std::vector<CompensatedSum> long_sums(!integers && terms > 1024 ? result.values.size() : 0);
  walk_labels(axes, [&](auto offsets, auto steps, int64_t count) {
    const double *p = x.values.data() + offsets[0], *q = y.values.data() + offsets[1];
    double* r = result.values.data() + offsets[2];
    if (integers) {
      for (int64_t i = 0; i < count; ++i) {
        Number& cell = sums[size_t(offsets[2] + i * steps[2])];
        Number product = multiply_numbers(x.at(size_t(offsets[0] + i * steps[0])), y.at(size_t(offsets[1] + i * steps[1])), result.dtype);
        cell = add_numbers(cell, product, result.dtype);
      }
    } else if (!long_sums.empty()) {
      for (int64_t i = 0; i < count; ++i) long_sums[size_t(offsets[2] + i * steps[2])].add(p[i * steps[0]] * q[i * steps[1]]);
    } else if (steps[2] == 0) {
      double total = *r;
      for (int64_t i = 0; i < count; ++i) total += p[i * steps[0]] * q[i * steps[1]];
      *r = total;
    } else if (steps[2] == 1 && steps[0] == 0 && steps[1] == 1) {
      for (int64_t i = 0; i < count; ++i) r[i] += *p * q[i];
    } else if (steps[2] == 1 && steps[0] == 1 && steps[1] == 0) {
      for (int64_t i = 0; i < count; ++i) r[i] += p[i] * *q;
    } else {
      for (int64_t i = 0; i < count; ++i) r[i * steps[2]] += p[i * steps[0]] * q[i * steps[1]];
    }
  });
  if (integers) result.set_numbers(sums);
  set_sums(result, long_sums);
}

void interpret_gather(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  const Tensor &table = call.operand(0), &index = call.operand(1);
  size_t axis = size_t(a.axes[0]);
  int64_t length = table.shape[axis], stride = row_major_strides(table.shape)[axis];
  walk_labels(label_axes(a.out, {&a.lhs, &a.rhs, &a.out}, {&table, &index, &call.result}), [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = offsets[1] + i * steps[1];
      double entry = index.values[size_t(at)];
      if (!(entry >= 0 && entry < double(length))) fail_index(call, index, at, length);
      copy_element(table, offsets[0] + i * steps[0] + int64_t(entry) * stride, call.result, offsets[2] + i * steps[2]);
    }
  });
}

void interpret_scatter_add(InterpreterCall& call) {
  const Attributes& a = call.node.attributes;
  const Tensor &updates = call.operand(0), &index = call.operand(1);
  size_t axis = size_t(a.axes[0]);
  int64_t length = call.result.shape[axis], stride = row_major_strides(call.result.shape)[axis];
  std::vector<CompensatedSum> sums(is_float(call.result.dtype) ? call.result.values.size() : 0);
  walk_labels(label_axes(a.lhs, {&a.lhs, &a.rhs, &a.out}, {&updates, &index, &call.result}), [&](auto offsets, auto steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = offsets[1] + i * steps[1];
      double entry = index.values[size_t(at)];
      if (!(entry >= 0 && entry < double(length))) fail_index(call, index, at, length);
      size_t cell = size_t(offsets[2] + i * steps[2] + int64_t(entry) * stride);
      Number update = updates.at(size_t(offsets[0] + i * steps[0]));
      if (!sums.empty())
        sums[cell].add(update);
      else
        call.result.set(cell, add_numbers(call.result.at(cell), update, call.result.dtype));
    }
  });
  set_sums(call.result, sums);
}

}  // namespace nnc
