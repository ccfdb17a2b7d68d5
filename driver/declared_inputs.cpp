// Without a train block a command works on one definition of the file: the one that was named, or its only model.
#include "driver/declared_inputs.h"

#include <algorithm>

#include <fmt/format.h>

#include "driver/graph_file.h"

namespace nnc {
namespace {

std::string trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return std::string(text);
}

/// "class(10)" of the language; nothing if the text is none.
std::optional<int64_t> parse_classes(std::string_view text) {
  if (!text.starts_with("class(") || text.back() != ')') return std::nullopt;
  return parse_size(trim(text.substr(6, text.size() - 7)));
}

/// "x=f32[B, 64]", "x=[4, 64]", "label=class(10)[B]": an input that is described, not given.
ArgumentSpec parse_described_input(const std::string& text) {
  auto [name, written] = split_option("--input", text, "x=f32[B, 64]");
  auto refuse = [&, n = name]() -> UserError {
    return UserError(Code::E0601, fmt::format("`--input {}` does not describe a tensor", text), "the command line",
                     fmt::format("write its type and sizes: `--input \"{}=f32[B, 64]\"`", n));
  };
  size_t open = written.find('[');
  if (open == std::string::npos || written.back() != ']') throw refuse();
  ArgumentSpec spec;
  spec.name = name;
  if (open > 0) {
    const std::string type = trim(written.substr(0, open));
    std::optional<int64_t> classes = parse_classes(type);
    std::optional<DType> dtype = classes ? DType::i32 : parse_dtype(type);
    if (!dtype) throw refuse();
    spec.type.dtype = *dtype;
    spec.classes = classes.value_or(0);
  }
  std::string_view sizes(written.data() + open + 1, written.size() - open - 2);
  while (!trim(sizes).empty()) {
    size_t comma = std::min(sizes.find(','), sizes.size());
    std::string item = trim(sizes.substr(0, comma));
    sizes.remove_prefix(std::min(comma + 1, sizes.size()));
    std::optional<int64_t> size = parse_size(item);
    if (item == "B")
      spec.type.shape.push_back({1, true});
    else if (size)
      spec.type.shape.push_back({*size, false});
    else
      throw refuse();
  }
  spec.dimension_names.resize(spec.type.shape.size());
  return spec;
}

}  // namespace

std::optional<DefinitionRequest> asked_definition(const Session& session, const DefinitionOptions& o) {
  if (o.fn.empty() && session.module->has_train()) return std::nullopt;
  DefinitionRequest request;
  request.name = o.fn.empty() ? only_model(session) : o.fn;
  for (const std::string& text : o.inputs) request.inputs.push_back(parse_described_input(text));
  request.dims = parse_dims(o.dims);
  request.rows = o.rows;
  return request;
}

}  // namespace nnc
