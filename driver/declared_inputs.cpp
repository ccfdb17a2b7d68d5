// Without a train block a command works on one definition of the file: the one that was named, or its only model.
#include "driver/declared_inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "driver/graph_file.h"

namespace nnc {

BuiltGraph build_declared(Session& session, const DefinitionOptions& o) {
  const std::string& file = session.options.file;
  std::string name = o.fn;
  if (name.empty()) {
    std::vector<std::string> models = session.module->model_names();
    if (models.empty()) require_definition(*session.module, name, file);
    if (models.size() != 1)
      throw UserError(Code::E0601, fmt::format("{} has no train block and {} models", file, models.size()), file,
                      fmt::format("name one: `--fn {}`; there are {}", models.front(), fmt::join(models, ", ")));
    name = models.front();
  }
  std::vector<ArgumentSpec> described;
  for (const std::string& text : o.inputs) described.push_back(parse_described_input(text));
  return session.require(session.module->build_declared(name, described, parse_dims(o.dims), session.diagnostics));
}

}  // namespace nnc
