// Parameters and states: what a graph stores between steps, by full name. A value that is declared twice under one name by one instance is one value.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/tensors.h"

namespace nnc {

class SymbolicEvaluator;

class StoredValues {
 public:
  explicit StoredValues(SymbolicEvaluator& eval);

  void declare_parameter(const ast::Stmt& s);  ///< `param`, bound in the frame
  void declare_state(const ast::Stmt& s);      ///< `state`, of a layer or an optimizer
  void set_current(const std::string& name, NodeId node);  ///< `update`: the value from here on
  /// States that have changed become updates of the graph, by name.
  void add_updates();

  const std::vector<ParameterSpec>& parameters() const { return parameters_; }  ///< in order of first use
  NodeId node_of(const std::string& name) const { return known_.at(name).node; }

 private:
  struct Known {
    NodeId node;
    Dims dims;
    Span span;
    NodeId current;           ///< state: the latest value
    Span use_span;            ///< the call that made it
    const Definition* model;  ///< the outermost definition around it
    std::vector<int64_t> iterations;  ///< of the `repeat`s around it
  };
  Value declare(const ast::Stmt& s, PersistentKind kind);
  std::optional<Initializer> evaluate_initializer(const ast::Expr& e, bool is_drawn);
  std::string full_name(const ast::Stmt& s) const;

  SymbolicEvaluator& eval_;
  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
  std::map<std::string, Known> known_;
  std::vector<ParameterSpec> parameters_;
};

}  // namespace nnc
