// Tensors of the graph, by the names of their dimensions: values brought into it, alignment of operands, reductions. What a function here is given
// has been checked as far as its comment does not say what it reports.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "frontend/context.h"

namespace nnc {

int row_axis(const Dims& dims);             ///< index of the row dimension, -1
int axis_of(const Dims& dims, int index);   ///< where the dimension stands in the graph: the row dimension first, the others in order
Shape shape_of(const Dims& dims);           ///< in the graph
Dims graph_order(const Dims& dims);
DType arithmetic_type(const TensorValue& t);
/// In which two operands are computed: the wider one, but a number of the run takes the type of a tensor, and is of 64 bits beside another one.
DType common_type(const TensorValue& a, const TensorValue& b, bool compare);
/// The type that a number takes which meets one of these values, f32 if none is a tensor. In a comparison integers stay what they are, u8 as i32.
DType met_type(std::initializer_list<const Value*> values, bool compare = false);
/// Whether it is a number of the run (TensorValue::is_run_number), or one that is written or known at compile time, which may be part of one.
bool is_run_number(const Value& v);

/// Common dimensions of two operands, and where each of theirs stands among them.
struct Alignment {
  Dims dims;
  std::vector<int> from_a, from_b;
};

/// The same with the operands brought into them; a single number stays one.
struct Aligned {
  NodeId a, b;
  Dims dims;
};

/// Two values that meet in one operation.
struct Operands {
  TensorValue a, b;
  bool is_run_number;  ///< what is made of both is a number of the run
};

class TensorBuilder {
 public:
  explicit TensorBuilder(EvaluationContext& ctx) : ctx_(ctx) {}

  // --- values (tensors.cpp) ---
  /// Or an error: E0206 and others. A number, or those of an array, become `number_type`; a fraction beside integers becomes f32. E0116 if it does not fit.
  std::optional<TensorValue> as_tensor(const Value& v, Span span, DType number_type = DType::f32);
  /// Of an operation or a comparison: a number known at compile time takes the type of the tensor beside it, but is of 64 bits beside a number of the run.
  std::optional<Operands> as_operands(const Value& a, const Value& b, Span a_span, Span b_span, bool compare = false);
  TensorValue constant(Number value, DType dtype, Dims dims, Span span);
  TensorValue to_float(TensorValue t, Span span);
  TensorValue cast(TensorValue t, DType dtype, Span span);
  TensorValue as_stored(TensorValue t, DType dtype, Span span);  ///< a number of the run becomes a tensor of that type; any other value stays as it is
  TensorValue unary(Op op, const TensorValue& x, Span span);
  TensorValue binary(Op op, const TensorValue& a, const TensorValue& b, Span span);  ///< equal dims
  TensorValue reduce(Op op, const TensorValue& x, const std::vector<int>& indices, Span span);
  TensorValue mean(const TensorValue& x, const std::vector<int>& indices, Span span);
  TensorValue back(const TensorValue& reduced, const std::vector<int>& indices, const TensorValue& like, Span span);
  TensorValue logsumexp(const TensorValue& x, const std::vector<int>& indices, Span span);

  // --- dimensions (alignment.cpp) ---
  bool check_rows(const Dims& dims, Span span);  ///< E0111, E0113: not too many elements, the rows of a batch at most once
  bool check_distinct(const TensorValue& t, std::string_view what, Span span);  ///< E0103
  /// E0101, E0103; E0106 if neither operand has all dimensions, unless they pair freely.
  std::optional<Alignment> find_alignment(const TensorValue& a, const TensorValue& b, std::string_view what, Span span, Span a_span,
                                          Span b_span, bool pairs_freely = false);
  std::optional<Aligned> align(const TensorValue& a, const TensorValue& b, std::string_view what, Span span, Span a_span, Span b_span,
                               bool pairs_freely = false);
  /// `t` repeated over `dims`; from[i] is the index in dims of t's dimension i.
  NodeId expand(const TensorValue& t, const std::vector<int>& from, const Dims& dims, Span span);
  TensorValue reorder(const TensorValue& t, const std::vector<int>& order, Span span);  ///< new index i is old index order[i]

 private:
  bool check_fits(Number, DType, Span);  ///< E0116
  TensorValue constant_array(const std::vector<Number>& values, DType, std::vector<int64_t> shape, Span span);
  /// pairs[i]: index in a of b's dimension i, -1 where it has none. Reports E0101, E0103.
  std::optional<std::vector<int>> pair_dimensions(const TensorValue& a, const TensorValue& b, std::string_view what, Span span,
                                                  Span a_span, Span b_span);

  EvaluationContext& ctx_;
};

}  // namespace nnc
