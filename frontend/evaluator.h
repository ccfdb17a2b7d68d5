// The evaluator: the language, evaluated over symbolic tensors. Checking and lowering are one walk: definitions are inlined where they are called,
// and every operation is added to the graph when its shapes have been checked.
//
// It knows expressions, statements and definitions, and nothing of train and test blocks, optimizers or trials: those use it. Its parts are
// classes with headers of their own (README.md has the table); what is declared here is names, expressions and statements.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/calls.h"
#include "frontend/context.h"
#include "frontend/operators.h"
#include "frontend/stored_values.h"
#include "frontend/tensors.h"

namespace nnc {

/// How much has been expanded, so that a program without an end is given up.
struct ExpansionBudget {
  int levels = 0;           ///< evaluations inside one another
  int depth = 0;            ///< calls inside one another
  int64_t evaluations = 0;  ///< in all, and iterations of `repeat`
  int64_t calls = 0;
  bool gave_up = false;    ///< one of these went beyond its limit: nothing more is expanded
  bool too_large = false;  ///< ... and that took a while
};

class SymbolicEvaluator {
 public:
  SymbolicEvaluator(const Program& program, Diagnostics& diagnostics, bool training);

  EvaluationContext ctx;
  TensorBuilder tensors{ctx};
  Operators operators{ctx, tensors};
  StoredValues stored{*this};
  Calls calls{*this};
  ExpansionBudget budget;

  // --- names (evaluator.cpp) ---
  Value lookup(std::string_view name, Span span);
  Value global_value(const SourceFile& file, std::string_view name, Span span, bool& found);
  void bind_dimension(std::string_view name, uint32_t id, Span span);
  void declare_dims(const std::vector<ast::DimDeclaration>& declarations);  ///< in the innermost frame

  // --- expressions (expressions.cpp); poison after an error ---
  Value evaluate(const ast::Expr& e);
  Value evaluate_block(const ast::Block& block);
  std::optional<int64_t> evaluate_integer(const ast::Expr& e, std::string_view what, int64_t least);
  std::optional<Dim> evaluate_dim(const ast::Expr& e);
  std::optional<Dims> evaluate_dims(const ast::Dims& list, bool allow_rows);

  // --- statements (statements.cpp) ---
  void execute(const ast::Stmt& s);
  void execute_all(const std::vector<ast::StmtPtr>& statements);

  /// A new value of what keeps its type and dimensions, `like`, or an error.
  std::optional<TensorValue> fit(const TensorValue& like, const TensorValue& t, std::string_view name, Span name_span, Span value_span);

  /// The graph as far as it is made, with what it refers to.
  BuiltGraph built() const;

 private:
  uint32_t declare_dim(const ast::DimDeclaration& declaration, uint32_t frame, const std::string* overridden);
  std::vector<std::string> visible_names() const;
  bool has_budget(Span span);
  Value evaluate_kind(const ast::Expr& e);
  Value evaluate_operator(const ast::Expr& e);
  Value evaluate_if(const ast::Expr& e);
  Value evaluate_pipe(const ast::Expr& e);
  Value evaluate_array(const ast::Expr& e);
  std::optional<bool> evaluate_condition(const ast::Expr& e);
  void execute_let(const ast::Stmt& s);
  void execute_update(const ast::Stmt& s);
  void execute_repeat(const ast::Stmt& s);
  void execute_if(const ast::Expr& e);

  std::map<const void*, Value> globals_;  ///< looked up by declaration, never iterated
  std::set<const void*> evaluating_;      ///< likewise
};

}  // namespace nnc
