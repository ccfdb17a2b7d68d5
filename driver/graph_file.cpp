// Textual graphs (.nnir) from a file or standard input.

#include "driver/graph_file.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace nnc {
namespace {

std::string trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return std::string(text);
}

std::optional<int64_t> parse_size(const std::string& text) {
  int64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0 || n > int64_t{1} << 40) return std::nullopt;
  return n;
}

FileId add_text(Session& session, const std::string& path) {
  bool standard = path == "-";
  return session.sources.add(standard ? "<standard input>" : path, standard ? read_standard_input() : read_text_file(path));
}

}  // namespace

bool is_graph_file(const std::string& path) { return path.ends_with(".nnir"); }

Graph load_graph(Session& session, const std::string& path) {
  return session.require(parse_graph(session.sources, add_text(session, path), session.diagnostics));
}

std::variant<Graph, Program> load_graph_or_program(Session& session, const std::string& path) {
  FileId file = add_text(session, path);
  if (is_program_text(session.sources.text(file))) return session.require(parse_program(session.sources, file, session.diagnostics));
  return session.require(parse_graph(session.sources, file, session.diagnostics));
}

void require_none_given(const std::string& graph_file, std::initializer_list<GivenOption> options) {
  for (const auto& [name, given] : options)
    if (given)
      throw UserError(Code::E0601, fmt::format("`{}` does not apply to a .nnir file", name), graph_file,
                      "its graph and every size are written in it; the option is for .nn files");
}

void require_none_given_with_program(const std::string& program_file, std::initializer_list<GivenOption> options) {
  for (const auto& [name, given] : options)
    if (given)
      throw UserError(Code::E0601, fmt::format("`{}` does not apply to a program of kernels", name), program_file,
                      "its kernels, their sizes and the CPU they were planned for are written in it");
}

std::pair<std::string, std::string> split_option(const std::string& option, const std::string& text, const char* form) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UserError(Code::E0601, fmt::format("`{} {}` is not of the form {}", option, text, form), "the command line",
                    fmt::format("write `{} {}`", option, form));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::map<std::string, int64_t> parse_dims(const std::vector<std::string>& texts) {
  std::map<std::string, int64_t> dims;
  for (const std::string& text : texts) {
    auto [name, value] = split_option("--dim", text, "N=64");
    std::optional<int64_t> size = parse_size(value);
    if (!size || *size < 1)
      throw UserError(Code::E0601, fmt::format("`--dim {}`: `{}` is not a size", text, value), "the command line",
                      "sizes are whole numbers, at least 1");
    dims[name] = *size;
  }
  return dims;
}

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
    std::optional<DType> dtype = parse_dtype(trim(written.substr(0, open)));
    if (!dtype) throw refuse();
    spec.type.dtype = *dtype;
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

void require_definition(const Module& module, const std::string& name, const std::string& file) {
  std::vector<std::string> names = module.definition_names();
  if (!name.empty()) return;  // the frontend knows the standard library's names too, and says what is near
  throw UserError(Code::E0601, "which definition is meant? none was named", file,
                  names.empty() ? "the file has no definitions"
                                : fmt::format("`--fn {}`; the file has {}", names.front(), fmt::join(names, ", ")));
}

}  // namespace nnc
