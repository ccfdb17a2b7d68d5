// Functions of the compiler: those that std.nn cannot be written without.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "frontend/value.h"

namespace nnc {

class SymbolicEvaluator;

/// Positional and named arguments as they are given.
struct BuiltinCall {
  std::string name;
  Span span, name_span;
  std::vector<CallArgument> arguments;
};

/// Takes evaluated arguments, adds nodes to the evaluator's graph; poison after an error.
using Builtin = Value (*)(SymbolicEvaluator&, const BuiltinCall&);

/// By name.
const std::unordered_map<std::string_view, Builtin>& builtins();
bool gives_distribution(std::string_view builtin);

/// The call's arguments in the order of `names`, of which the first `required` must be there; null for what is not given. Nothing after an error, and where one is poison.
std::optional<std::vector<const CallArgument*>> read(SymbolicEvaluator& eval, const BuiltinCall& call, std::initializer_list<std::string_view> names, size_t required);

/// The dimensions that `over: D`, `over: (D, E)` name. Nothing after an error; `what` is who asks.
std::optional<std::vector<uint32_t>> over_ids(SymbolicEvaluator& eval, std::string_view what, const Value& over, Span span);

/// The indices in `x` of the dimensions that `over` names, of all without one, ascending. False after an error.
bool read_over(SymbolicEvaluator& eval, const BuiltinCall& call, const CallArgument* over, const TensorValue& x, Span x_span,
               std::vector<int>& indices);

}  // namespace nnc
