// Test blocks: what can be decided while checking (shapes, error texts) is decided; the rest becomes graphs whose evaluation is left to others,
// since gradients are not the frontend's business.
#pragma once

#include <deque>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/evaluator.h"
#include "frontend/test_scope.h"

namespace nnc {

class TestBuilder : private TestScope {
 public:
  TestBuilder(const Program& program, Diagnostics& diagnostics);

  Module::Test build(const ast::Test& test);  ///< once
  const std::set<const Definition*>& finished() const { return eval_.calls.finished(); }

 private:
  TensorValue input(std::vector<double> values, DType dtype, Dims dims, Span span) override;
  Value gradient(const BuiltinCall& call) override;

  void execute_expect(const ast::Stmt& s);
  void execute_expect_error(const ast::Stmt& s);
  void execute_check_gradients(const ast::Stmt& s);
  void expect_equal(const ast::Stmt& s, Module::Expectation x);
  void expect_comparison(const ast::Stmt& s, Module::Expectation x);
  void expect_truth(const TensorValue& t, const ast::Expr& e, Module::Expectation x, const std::vector<Output>& sides);
  void compare(const Value& a, const Value& b, const ast::Expr& e, Module::Expectation x);
  void decide(Module::Expectation x, bool passed, std::string message);
  void keep_needed(Module::Expectation& x, const std::vector<Output>& outputs) const;
  void read_tolerance(const ast::Stmt& s, std::string_view word, double& tolerance);
  std::string show(const Value& v) const;
  Value as_input(const Value& v, Span span);
  void bind_local_definitions(const std::vector<ast::StmtPtr>& statements);
  void try_local_definitions(const std::vector<ast::StmtPtr>& statements);

  SymbolicEvaluator eval_;
  EvaluationContext& ctx_ = eval_.ctx;
  TensorBuilder& tensors_ = eval_.tensors;
  Module::Test test_;
  std::deque<Definition> local_definitions_;
  std::vector<std::pair<std::string, std::vector<double>>> inputs_;
  std::vector<Module::Expectation::GradientRequest> gradient_requests_;
};

}  // namespace nnc
