// A graph as text, one node per line: `%3 = contract(%1, %2) ab,cb->ac : f32[B, 64] scope "fc1" group 2 loc("mlp.nn":12:8)`. Only what cannot
// be computed from the rest is printed, aside from types, which are printed for the reader and checked by the parser.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "ir/text.h"

namespace nnc {

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      default:
        if (static_cast<unsigned char>(c) < 32 || c == 127)
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  }
  return out + '"';
}

bool is_plain_name(std::string_view name) {
  if (name.empty()) return false;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.')) return false;
  return true;
}

std::string at_name(std::string_view name) { return is_plain_name(name) ? fmt::format("@{}", name) : "@" + quote(name); }

std::string numbers_text(const std::vector<Number>& values, DType type) {
  std::string out = "[";
  for (Number v : values) out += (out.size() > 1 ? ", " : "") + number_text(v, type);
  return out + "]";
}

std::string labels_text(const std::vector<int>& labels) {
  std::string out;
  for (int label : labels) out += label >= 0 && label < 26 ? char('a' + label) : label >= 26 && label < 52 ? char('A' + (label - 26)) : '?';
  return out;
}

std::string_view persistent_keyword(PersistentKind kind) {
  switch (kind) {
    case PersistentKind::parameter: return "param";
    case PersistentKind::frozen: return "frozen";
    case PersistentKind::state: return "state";
    case PersistentKind::optimizer_state: return "optimizer_state";
    case PersistentKind::partial: return "partial";
  }
  return "?";
}

namespace {

std::string axes_text(const std::vector<int>& axes) { return fmt::format("[{}]", fmt::join(axes, ", ")); }

int first(const std::vector<int>& axes) { return axes.empty() ? -1 : axes[0]; }

std::string notation(const Attributes& a) {
  return fmt::format("{},{}->{}", labels_text(a.lhs), labels_text(a.rhs), labels_text(a.out));
}

std::string attributes_text(const Node& node) {
  const Attributes& a = node.attributes;
  switch (node.op) {
    case Op::input:
    case Op::parameter:
    case Op::scalar:
    case Op::exchange:
    case Op::random: return " " + at_name(a.text);
    case Op::constant: return " " + number_text(a.number, a.dtype);
    case Op::literal: return " " + numbers_text(a.values, a.dtype);
    case Op::extent: return " " + (a.extents.empty() ? std::string("?") : to_string(a.extents[0]));
    case Op::reduce_sum:
      return " axes " + axes_text(a.axes) + (a.terms.axes.empty() ? "" : fmt::format(" terms {} lanes {}", axes_text(a.terms.axes), int(a.terms.lanes)));
    case Op::broadcast:
    case Op::transpose:
    case Op::reduce_max:
    case Op::reduce_min: return " axes " + axes_text(a.axes);
    case Op::iota:
    case Op::argmax: return fmt::format(" axis {}", first(a.axes));
    case Op::slice:
    case Op::pad: return fmt::format(" axis {} begin {}", first(a.axes), a.begin);
    case Op::window:
      return fmt::format(" axis {}{} stride {}{} begin {} divide {} fill {}", first(a.axes), a.axes.size() > 1 ? fmt::format(" by {}", a.axes[1]) : "", a.stride,
                         a.axes.size() > 1 ? fmt::format(" dilation {}", a.dilation) : "", a.begin, a.divide, number_text(a.number, node.type.dtype));
    case Op::contract: return " " + notation(a);
    case Op::gather:
    case Op::scatter_add: return fmt::format(" axis {} {}", first(a.axes), notation(a));
    case Op::scan:
      return fmt::format(" carried {} sliced {} steps {}{}", a.carried, a.sliced, a.extents.empty() ? 0 : a.extents[0].size, a.reverse ? " reverse" : "");
    case Op::result: return fmt::format(" {}", a.begin);
    default: return "";
  }
}

class GraphPrinter {
 public:
  GraphPrinter(const SourceMap* sources, PrintOptions options) : sources_(sources), options_(options) {}

  std::string print(const Graph& graph) {
    append(fmt::format("graph {} {{\n", at_name(graph.name)));
    print_lines(graph, 2);
    append("}\n");
    return fmt::to_string(out_);
  }

 private:
  void append(std::string_view text) { out_.append(text.data(), text.data() + text.size()); }

  std::string location(Span span) const {
    if (!options_.locations || !sources_ || !span.valid()) return "";
    LineColumn at = sources_->position(span.file, span.begin);
    return fmt::format(" loc({}:{}:{})", quote(sources_->path(span.file)), at.line, at.column);
  }

  void print_lines(const Graph& graph, int indent) {
    const std::string blanks(size_t(indent), ' ');
    for (const Persistent& p : graph.persistents)
      append(fmt::format("{}{} {} : {}{}\n", blanks, persistent_keyword(p.kind), at_name(p.name), to_string(p.type), location(p.span)));
    for (uint32_t i = 0; i < graph.size(); ++i) {
      const Node& node = graph[NodeId{i}];
      append(fmt::format("{}%{} = {}", blanks, i, op_name(node.op)));
      if (!node.operands.empty()) {
        append("(");
        for (size_t k = 0; k < node.operands.size(); ++k) append(fmt::format("{}%{}", k ? ", " : "", node.operands[k].value));
        append(")");
      }
      append(attributes_text(node));
      if (node.attributes.body) {
        append(" {\n");
        print_lines(*node.attributes.body, indent + 2);
        append(blanks + "}");
      }
      append(" : ");
      append(to_string(node.type));
      if (!node.scope.empty()) append(" scope " + quote(node.scope));
      if (options_.groups && node.group >= 0) append(fmt::format(" group {}", node.group));
      append(location(node.span));
      append("\n");
    }
    for (const Output& o : graph.outputs) append(fmt::format("{}output {} %{}\n", blanks, quote(o.name), o.node.value));
    for (const Update& u : graph.updates) append(fmt::format("{}update {} %{}\n", blanks, at_name(u.name), u.node.value));
  }

  const SourceMap* sources_;
  PrintOptions options_;
  fmt::memory_buffer out_;
};

}  // namespace

std::string print_graph(const Graph& graph, const SourceMap* sources, PrintOptions options) { return GraphPrinter(sources, options).print(graph); }

}  // namespace nnc
