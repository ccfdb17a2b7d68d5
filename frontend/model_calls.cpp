// Calls of models, by their arguments.
#include "frontend/model_calls.h"

#include <algorithm>

#include "frontend/signatures.h"

namespace nnc {

// A call of a model as far as it is known before its body: what makes two calls the same, whatever way they are written.
std::optional<ModelCall> begin_model_call(EvaluationContext& ctx, const Definition& d, const std::string& path,
                                          const std::vector<CallArgument>& statics,
                                          const std::vector<CallArgument>& arguments, Span span) {
  ModelCall call{&d, path, {}, {}, true, {}, {}};
  auto sort = [&](const std::vector<ast::Parameter>& parameters, const std::vector<CallArgument>& given, bool is_static,
                  std::vector<CallArgument>& into) {
    auto sorted = sort_arguments(ctx, parameters, d.name(), given, span, is_static, d);
    if (!sorted) return false;
    for (size_t i = 0; i < parameters.size(); ++i)
      if ((*sorted)[i]) {
        into.push_back(*(*sorted)[i]);
        into.back().name = parameters[i].name.text;
      }
    return true;
  };
  bool takes_statics = d.ast->has_static_list || !statics.empty();
  if (takes_statics && !sort(d.ast->static_arguments, statics, true, call.statics)) return std::nullopt;
  if (!sort(d.ast->arguments, arguments, false, call.arguments)) return std::nullopt;
  for (const Frame* f = ctx.frame; f; f = f->caller)
    if (f->definition && f->definition->ast->kind == ast::CallableKind::model) call.is_outermost = false;
  return call;
}

bool is_same_call(const ModelCall& a, const ModelCall& b) {
  auto same = [](const CallArgument& x, const CallArgument& y) { return x.name == y.name && same_value(x.value, y.value); };
  return a.definition == b.definition && a.path == b.path && std::ranges::equal(a.statics, b.statics, same) &&
         std::ranges::equal(a.arguments, b.arguments, same);
}

// What a model takes, as it sees it: the inputs of prediction.
std::vector<ArgumentSpec> model_inputs(const EvaluationContext& ctx, const std::vector<CallArgument>& arguments) {
  std::vector<ArgumentSpec> inputs;
  for (const CallArgument& a : arguments)
    for (const Local& l : ctx.frame->locals) {
      if (l.name != a.name || !a.value.is(ValueKind::tensor) || !l.value.is(ValueKind::tensor)) continue;
      const TensorValue& t = l.value.tensor;
      ArgumentSpec spec;
      spec.name = a.name;
      if (const Node& given = ctx.graph[a.value.tensor.node]; given.op == Op::input) spec.field = given.attributes.text;
      spec.type.dtype = ctx.graph.type(t.node).dtype;
      if (t.is_class) spec.classes = t.classes.extent.size;
      for (const Dim& d : t.dims) {
        spec.type.shape.push_back(d.extent);
        spec.dimension_names.push_back(d.named() ? ctx.dims.show(d) : "");
      }
      inputs.push_back(std::move(spec));
    }
  return inputs;
}

}  // namespace nnc
