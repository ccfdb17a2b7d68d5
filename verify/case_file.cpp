// Numbers are written in the shortest form that reads back the same. Types and shapes are the graph's, so only numbers stand
// here.
#include "verify/case_file.h"

#include <charconv>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "base/diagnostics.h"
#include "ir/text.h"

namespace nnc {
namespace {

constexpr std::string_view mark = "#= ";

std::string spaced_numbers(const Tensor& t) {
  std::string text;
  for (size_t i = 0; i < t.values.size(); ++i) text += ' ' + number_text(t.at(i));
  return text;
}

UserError misfit(const std::string& path, std::string message) {
  return UserError(Code::E0638, std::move(message), path,
                   "the values stand in lines `#= input @NAME numbers`; without such lines values are drawn from `--seed`");
}

std::optional<Number> parse_number(std::string_view word) {
  int64_t whole = 0;
  if (auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), whole);
      error == std::errc() && end == word.data() + word.size() && whole != 0)  // 0 may be -0
    return whole;
  bool negative = word.starts_with('-');
  if (negative) word.remove_prefix(1);
  double v = 0;
  if (word == "inf") {
    v = std::numeric_limits<double>::infinity();
  } else if (word == "nan") {
    v = std::numeric_limits<double>::quiet_NaN();
  } else {
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  }
  return Number(negative ? -v : v);
}

/// The name that `line` begins with, cut off.
std::string take_name(std::string_view& line) {
  size_t end = 0;
  if (line.starts_with("@\"")) {
    end = 2;
    while (end < line.size() && line[end] != '"') end += line[end] == '\\' ? 2 : 1;
    end = std::min(end + 1, line.size());
  } else {
    end = std::min(line.find(' '), line.size());
  }
  std::string name(line.substr(0, end));
  line.remove_prefix(end);
  return name;
}

/// "17 3 0": seed, update and first row.
DrawPosition parse_draws(std::string_view text, const std::string& line, const std::string& path) {
  DrawPosition d;
  const char *at = text.data(), *end = at + text.size();
  auto fail = [&] { throw misfit(path, fmt::format("`{}` does not give a seed, an update and a row to draw by", line)); };
  auto take = [&](auto& number) {
    while (at != end && *at == ' ') ++at;
    auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc()) fail();
    at = next;
  };
  take(d.seed);
  take(d.update);
  take(d.first_row);
  if (at != end) fail();
  return d;
}

}  // namespace

std::string print_case(const GraphCase& c, const SourceMap* sources, const std::string& heading) {
  std::string text;
  for (size_t at = 0; at < heading.size();) {
    size_t end = std::min(heading.find('\n', at), heading.size());
    text += "# " + heading.substr(at, end - at) + '\n';
    at = end + 1;
  }
  text += fmt::format("{}rows {}\n", mark, c.bindings.rows);
  if (const DrawPosition& d = c.bindings.draws; d != DrawPosition{}) text += fmt::format("{}draws {} {} {}\n", mark, d.seed, d.update, d.first_row);
  for (const auto& [name, t] : c.bindings.inputs)
    text += fmt::format("{}input {}{}\n", mark, at_name(name), spaced_numbers(t));
  for (const auto& [name, v] : c.bindings.scalars) text += fmt::format("{}scalar {} {}\n", mark, at_name(name), number_text(v));
  for (const auto& [name, t] : c.bindings.persistents)
    text += fmt::format("{}persistent {}{}\n", mark, at_name(name), spaced_numbers(t));
  return text + print_graph(c.graph, sources);
}

std::optional<Bindings> parse_case_values(std::string_view text, const Graph& graph, const std::string& path) {
  std::map<std::string, std::vector<Number>> values;  // "input @x"
  bool any = false;
  Bindings bindings;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(mark)) continue;
    any = true;
    std::string whole(line);
    line.remove_prefix(mark.size());
    size_t space = std::min(line.find(' '), line.size());
    std::string key(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
    if (key == "rows") {
      std::optional<Number> rows = parse_number(line);
      if (!rows || *rows < 1 || *rows > 1e9 || *rows != int64_t(*rows))
        throw misfit(path, fmt::format("`{}` does not give a number of rows", whole));
      bindings.rows = int64_t(*rows);
      continue;
    }
    if (key == "draws") {
      bindings.draws = parse_draws(line, whole, path);
      continue;
    }
    std::vector<Number>& list = values[key + " " + take_name(line)];
    while (!line.empty()) {
      if (line.front() == ' ') {
        line.remove_prefix(1);
        continue;
      }
      size_t stop = std::min(line.find(' '), line.size());
      std::optional<Number> v = parse_number(line.substr(0, stop));
      if (!v) throw misfit(path, fmt::format("`{}` is not a number in the values of {}", line.substr(0, stop), key));
      list.push_back(*v);
      line.remove_prefix(stop);
    }
  }
  if (!any) return std::nullopt;
  auto take = [&](const char* kind, const std::string& name, const Type& type) {
    auto it = values.find(fmt::format("{} {}", kind, at_name(name)));
    if (it == values.end()) throw misfit(path, fmt::format("the file gives some values, but none for the {} `{}`", kind, name));
    Tensor t = make_tensor(type.dtype, shape_at(type, bindings.rows));
    if (t.values.size() != it->second.size())
      throw misfit(path, fmt::format("{} numbers are given for the {} `{}`, which has {} elements", it->second.size(), kind, name,
                                     t.values.size()));
    t.set_numbers(it->second);
    return t;
  };
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::input) bindings.inputs[n.attributes.text] = take("input", n.attributes.text, n.type);
    if (n.op == Op::scalar) bindings.scalars[n.attributes.text] = take("scalar", n.attributes.text, n.type).values[0];
  }
  for (const Persistent& p : graph.persistents) bindings.persistents[p.name] = take("persistent", p.name, p.type);
  return bindings;
}

}  // namespace nnc
