// Operators on values: numbers are worked out at once, sizes keep their normal form, tensors become nodes.
#pragma once

#include <optional>
#include <string_view>

#include "frontend/tensors.h"

namespace nnc {

bool is_logical(ast::BinaryOp op);

/// What stands for a value that is left out.
bool is_none(const Value&);

/// Choices (none, same, a function or layer, texts, true and false) can be compared with each other. Each goes by its name, so that `sum` is the
/// same choice whichever `sum` is seen from here, and so is "sum". A tensor is none of them, `none` included; nothing where
/// the values are no choices.
std::optional<bool> same_choice(const Value& a, const Value& b);

class Operators {
 public:
  Operators(EvaluationContext& ctx, TensorBuilder& tensors) : ctx_(ctx), tensors_(tensors) {}

  /// `a op b`, or an error at the operands' places.
  Value combine(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span);
  Value combine_tensors(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span,
                        bool pairs_freely = false);
  Value power(const Value& a, const Value& b, Span span, Span a_span, Span b_span);
  Value negate(const Value& v, Span span);
  /// Whether `v` is true, false or a mask; if not, reports what `what` found instead.
  bool check_truth(const Value& v, std::string_view what, Span span);

 private:
  Value combine_whole(ast::BinaryOp op, int64_t x, int64_t y, Span span);
  Value combine_numbers(ast::BinaryOp op, const Value& a, const Value& b, Span span);

  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
};

}  // namespace nnc
