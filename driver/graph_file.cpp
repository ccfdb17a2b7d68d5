// Textual graphs (.nnir) from a file or standard input.

#include "driver/graph_file.h"

#include <charconv>

#include <fmt/format.h>

#include "engine/stages.h"

namespace nnc {
namespace {

std::string shown_name(const std::string& path) { return path == "-" ? "<standard input>" : path; }
std::string text_of(const std::string& path) { return path == "-" ? read_standard_input() : read_text_file(path); }

}  // namespace

std::optional<int64_t> parse_size(const std::string& text) {
  int64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0 || n > int64_t{1} << 40) return std::nullopt;
  return n;
}

bool is_graph_file(const std::string& path) { return path.ends_with(".nnir"); }

Graph load_graph(Session& session, const std::string& path) {
  return read_graph(session, shown_name(path), text_of(path));
}

std::variant<Graph, Program> load_graph_or_program(Session& session, const std::string& path) {
  return read_graph_or_program(session, shown_name(path), text_of(path));
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

}  // namespace nnc
