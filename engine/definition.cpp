// Without a train block a program's one model is what there is to look at.
#include "engine/definition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace nnc {

std::string only_model(const Compilation& compilation) {
  std::vector<std::string> models = compilation.module->model_names();
  if (models.empty()) require_definition(*compilation.module, "", compilation.name);
  if (models.size() != 1)
    throw UserError(Code::E0601, fmt::format("{} has no train block and {} models", compilation.name, models.size()), compilation.name,
                    fmt::format("name one: `--fn {}`; there are {}", models.front(), fmt::join(models, ", ")));
  return models.front();
}

void require_definition(const Module& module, const std::string& name, const std::string& file) {
  if (!name.empty()) return;
  std::vector<std::string> names = module.definition_names();
  throw UserError(Code::E0601, "which definition is meant? none was named", file,
                  names.empty() ? "the file has no definitions"
                                : fmt::format("`--fn {}`; the file has {}", names.front(), fmt::join(names, ", ")));
}

BuiltGraph build_declared(Compilation& compilation, const DefinitionRequest& request) {
  return compilation.require(compilation.module->build_declared(request.name, request.inputs, request.dims, compilation.diagnostics));
}

}  // namespace nnc
