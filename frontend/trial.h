// Definitions that nobody calls, tried on made-up sizes, so that at least what does not depend on them is checked.
#pragma once

#include "frontend/evaluator.h"

namespace nnc {

/// Sizes that divide evenly in many ways and differ from each other, so that one made-up size is not mistaken for another.
struct MadeUpSizes {
  int64_t step = 24;       ///< the sizes of arguments are multiples of it
  int64_t of_static = 12;  ///< static arguments
};

/// One call of a definition with made-up arguments; what it reports goes where the evaluator's errors go.
class Trial {
 public:
  explicit Trial(SymbolicEvaluator& eval, MadeUpSizes made_up = {});
  ~Trial();
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  void call(const Definition& d);
  const TrialNotes& notes() const { return notes_; }

 private:
  struct Arguments;
  bool make_up(const ast::Parameter& p, bool is_static, Arguments& made);
  std::optional<TensorValue> make_up_tensor(const ast::Parameter& p, Arguments& made);
  Dim size_by_name(const ast::Expr& name, Span span, Arguments& made);

  SymbolicEvaluator& eval_;
  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
  MadeUpSizes made_up_;
  TrialNotes notes_;
  TrialNotes* outer_;
};

/// Tries the definition and reports the errors that no call can mend: those that are not about sizes, and those about sizes that stay when other
/// sizes are made up. Returns false where the expansion was given up for its size, which takes a while to find out.
bool try_definition(const Program& program, const Definition& d, Diagnostics& diagnostics);

}  // namespace nnc
