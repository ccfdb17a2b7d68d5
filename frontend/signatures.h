// Signatures: which argument is for which parameter, how the dimensions of arguments get the names of a definition's head, and how results get
// back the caller's names.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/tensors.h"

namespace nnc {

class SymbolicEvaluator;

/// The arguments in the order of the parameters, null where one is left out that has a default; nothing after an error.
/// What has a default goes by its name, unless it is the only one.
std::optional<std::vector<const CallArgument*>> sort_arguments(EvaluationContext& ctx, const std::vector<ast::Parameter>& parameters,
                                                               std::string_view callee, const std::vector<CallArgument>& arguments,
                                                               Span span, bool is_static, const Definition& definition);

/// E0204: an option that `callee`, which has `names`, does not have; with what may be meant.
void refuse_option(EvaluationContext& ctx, std::string_view callee, const CallArgument& a, const std::vector<std::string>& names);

/// Binds the tensor arguments of one call in the innermost frame, which is the call's. Remembers which argument bound a dimension, for messages
/// that name both places.
class ArgumentBinder {
 public:
  explicit ArgumentBinder(SymbolicEvaluator& eval);
  /// False after an error.
  bool bind(const ast::Parameter& p, const CallArgument& argument, TensorValue t);

 private:
  struct Conflict {
    const TensorValue* value = nullptr;
    Span span;
    bool is_class = false, is_last = false;
    Origin origin;
    std::string text;  ///< how messages call it: "`logits`"
  };
  bool bind_dim_name(std::string_view name, Span name_span, const Dim& actual, const CallArgument& argument, const ast::Parameter& p,
                     bool is_class, bool is_last, const TensorValue& t);
  bool match_type(const ast::Parameter& p, const CallArgument& argument, TensorValue& t, bool& bind_class);
  bool check_spelling(const ast::Parameter& p, const CallArgument& argument, const TensorValue& t);
  void refuse_leading(const ast::Parameter& p, const CallArgument& argument, const TensorValue& given, const Dims& passed, const std::string& subject);
  Dims outside_dims(const Dims& dims);  ///< as the caller of the frame calls them

  SymbolicEvaluator& eval_;
  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
  std::map<std::string, Conflict> bound_by_;  ///< by dimension name: the argument that bound it
  Conflict ellipsis_by_;
  const ast::Parameter* ellipsis_parameter_ = nullptr;  ///< that of ellipsis_by_
  std::set<uint32_t> nameless_;  ///< dimensions of `...` that had no name in the argument that bound it
  std::map<const ast::Parameter*, TensorValue> values_;  ///< arguments as the caller sees them; looked up, never iterated
};

/// What a body gives, matched with the declared results, with the caller's names of dimensions; nothing after an error. `detail` describes the
/// first argument for messages. The innermost frame is the call's.
std::optional<Value> finish_results(SymbolicEvaluator& eval, const Definition& d, Value body, Span body_span, Span call_span,
                                    const std::string& detail);

}  // namespace nnc
