// Calls: a definition's body is evaluated anew at every call, in a frame of its own. A layer called with its static arguments alone waits as a
// template; with its tensor arguments it becomes an instance, whose path names its parameters.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "frontend/model_calls.h"
#include "frontend/tensors.h"

namespace nnc {

class SymbolicEvaluator;

/// The definition that is meant where several have one name.
const Definition* choose_overload(const Value& callee, const std::vector<CallArgument>& arguments);

class Calls {
 public:
  explicit Calls(SymbolicEvaluator& eval);

  Value evaluate_call(const ast::Expr& e);
  Value evaluate_stage(const ast::Stage& stage, Value piped, Span piped_span);
  std::vector<CallArgument> evaluate_arguments(const std::vector<ast::Argument>& arguments, const ast::Expr* callee = nullptr);  ///< `callee`: whose words an unknown name may have meant
  /// `e` as an instance that is called `name`.
  Value make_instance(const ast::Expr& e, const ast::Name& name, bool frozen);
  Value make_template(const Value& callee, std::vector<CallArgument> arguments, Span span);
  Value apply(const Value& callee, std::vector<CallArgument> arguments, Span span, Span callee_span, const ast::Name* instance, bool frozen);
  Value call_definition(const Definition& d, const std::vector<CallArgument>& statics, std::vector<CallArgument> arguments, Span span,
                        const std::string& path, bool frozen);

  const std::vector<ModelCall>& model_calls() const { return model_calls_; }
  const std::vector<LayerSummary>& layers() const { return layers_; }  ///< in order of first call
  /// Definitions whose bodies were evaluated without an error. For lookups.
  const std::set<const Definition*>& finished() const { return finished_; }

 private:
  Value instantiate(const LayerTemplate& layer, std::vector<CallArgument> arguments, Span span, const std::string& path, bool frozen);
  std::string instance_path(const LayerTemplate& layer, const ast::Name* name);
  bool check_classes_declared(const Value& callee, const Definition& d, const std::vector<CallArgument>& arguments);
  bool bind_plain(const ast::Parameter& p, const CallArgument* given);
  void add_layer_summary(const std::string& path, const std::string& kind, Span call, const Value& result, size_t first_parameter);

  SymbolicEvaluator& eval_;
  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
  std::vector<ModelCall> model_calls_;
  std::set<const Definition*> finished_;
  std::vector<LayerSummary> layers_;
  std::map<std::string, size_t> layer_index_;
};

}  // namespace nnc
