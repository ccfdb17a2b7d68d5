// Where a window reads. Result index o along axes[0] and index j along axes[1] (0 if there is none) stand for the operand's index
//   (o * stride + j * dilation + begin) / divide
// along axes[0], if the division leaves no rest and the index lies in the operand; elsewhere the result is `number`. README.md, "Windows".
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "ir/graph.h"

namespace nnc {

/// The attributes of a window; `dilation` is 1 if there is one axis.
inline Attributes make_window(std::vector<int> axes, Extent length, int64_t stride, int64_t dilation, int64_t begin, int64_t divide = 1, Number outside = 0) {
  Attributes a;
  a.axes = std::move(axes);
  a.extents = {length};
  a.stride = stride;
  a.dilation = dilation;
  a.begin = begin;
  a.divide = divide;
  a.number = outside;
  return a;
}

/// Before the division.
inline int64_t window_place(const Attributes& a, int64_t o, int64_t j) { return o * a.stride + j * a.dilation + a.begin; }

/// The operand's index; empty where `number` stands. `size`: of the operand along axes[0].
inline std::optional<int64_t> window_index(const Attributes& a, int64_t size, int64_t o, int64_t j) {
  const int64_t at = window_place(a, o, j);
  if (at < 0 || at % a.divide != 0 || at / a.divide >= size) return std::nullopt;
  return at / a.divide;
}

/// The least and the greatest place.
struct WindowReach {
  int64_t lowest, highest;
};
inline WindowReach window_reach(const Attributes& a, int64_t o, int64_t j) {
  const int64_t moved = (o - 1) * a.stride, spread = (j - 1) * a.dilation;
  return {a.begin + std::min<int64_t>(moved, 0) + std::min<int64_t>(spread, 0), a.begin + std::max<int64_t>(moved, 0) + std::max<int64_t>(spread, 0)};
}

/// Whether some result does not read the operand. `o`, `j`: the result's sizes along the axes; 1 for j if there is no second axis.
inline bool leaves_operand(const Attributes& a, int64_t size, int64_t o, int64_t j) {
  if (o == 0 || j == 0) return false;
  if (a.divide != 1) return true;  // by the rest
  const WindowReach reach = window_reach(a, o, j);
  return reach.lowest < 0 || reach.highest >= size;
}

inline bool leaves_operand(const Graph& graph, const Node& window) {
  const Attributes& a = window.attributes;
  const Shape &from = graph.type(window.operands[0]).shape, &to = window.type.shape;
  return leaves_operand(a, from[size_t(a.axes[0])].size, to[size_t(a.axes[0])].size, a.axes.size() > 1 ? to[size_t(a.axes[1])].size : 1);
}

/// Whether what a window reads outside of its operand can be left out of a contraction's sum: zeros that follow from the index alone, without a division.
inline bool is_guardable(const Node& window) {
  const Attributes& a = window.attributes;
  return a.divide == 1 && same_bits(a.number, Number()) && window.type.dtype == contraction_type;
}

/// The window through which the gradient of a window's result flows back: it reads result indices, and has the operand's size along axes[0].
inline Attributes transposed_window(const Attributes& a, Extent operand_size) {
  Attributes t;
  t.axes = a.axes;
  t.extents = {operand_size};
  const int64_t sign = a.stride < 0 ? -1 : 1;
  t.stride = sign * a.divide;
  t.dilation = a.axes.size() > 1 ? -sign * a.dilation : 1;
  t.begin = -sign * a.begin;
  t.divide = sign * a.stride;
  return t;
}

}  // namespace nnc
