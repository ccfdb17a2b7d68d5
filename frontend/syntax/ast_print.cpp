// Two kinds of text: statements stand on lines of their own below their block's head, indented; expressions stand within a line,
// except that an `if` or `scan` inside one opens an indented block. What could not be read is printed as <error>.
#include "frontend/syntax/ast_print.h"

#include <fmt/format.h>

#include "base/check.h"

namespace nnc {
namespace {

using namespace ast;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '"' || c == '\\')
      out += {'\\', c};
    else
      out += c;
  }
  return out + "\"";
}

std::string_view spelling(BinaryOp op) {
  switch (op) {
    case BinaryOp::add:
      return "+";
    case BinaryOp::subtract:
      return "-";
    case BinaryOp::multiply:
      return "*";
    case BinaryOp::divide:
      return "/";
    case BinaryOp::floor_divide:
      return "//";
    case BinaryOp::remainder:
      return "%";
    case BinaryOp::power:
      return "^";
    case BinaryOp::equal:
      return "==";
    case BinaryOp::not_equal:
      return "!=";
    case BinaryOp::less:
      return "<";
    case BinaryOp::less_equal:
      return "<=";
    case BinaryOp::greater:
      return ">";
    case BinaryOp::greater_equal:
      return ">=";
    case BinaryOp::and_:
      return "and";
    case BinaryOp::or_:
      return "or";
  }
  NNC_UNREACHABLE("binary operator");
}

class Printer {
 public:
  std::string take() { return std::move(out_); }

  void print(const File& file) {
    for (const Item& item : file.items) print(item);
  }

  void print(const Item& item) {
    std::visit([&](const auto& node) { print(node); }, item.node);
  }

  void print(const Expr& e) {
    switch (e.kind) {
      case ExprKind::error:
        out_ += "<error>";
        return;
      case ExprKind::number:
        print_number(e);
        return;
      case ExprKind::percent:
        out_ += fmt::format("{}%", e.number);
        return;
      case ExprKind::string:
        out_ += quoted(e.text);
        return;
      case ExprKind::name:
        out_ += e.text;
        return;
      case ExprKind::ellipsis:
        out_ += "...";
        return;
      case ExprKind::underscore:
        out_ += "_";
        return;
      case ExprKind::unary:
        out_ += e.unary_op == UnaryOp::negate ? "(-" : "(not ";
        print(*e.operands[0]);
        out_ += ")";
        return;
      case ExprKind::binary:
        print_infix(e, fmt::format(" {} ", spelling(e.binary_op)));
        return;
      case ExprKind::range:
        print_infix(e, "..");
        return;
      case ExprKind::tuple:
        print_list("(", e.operands, ")");
        return;
      case ExprKind::array:
        print_list("[", e.operands, "]");
        return;
      case ExprKind::call:
        print(*e.operands[0]);
        out_ += "(";
        print_arguments(e.arguments);
        out_ += ")";
        return;
      case ExprKind::select:
        print(*e.operands[0]);
        out_ += "[";
        for (size_t i = 0; i < e.selectors.size(); ++i) {
          if (i > 0) out_ += ", ";
          if (e.selectors[i].dim)
            print(*e.selectors[i].dim);
          else
            out_ += "outside";
          out_ += ": ";
          print(*e.selectors[i].value);
        }
        out_ += "]";
        return;
      case ExprKind::view:
        out_ += "(";
        print(*e.operands[0]);
        out_ += " as ";
        print(e.dims);
        out_ += ")";
        return;
      case ExprKind::pipe:
        out_ += "(";
        print(*e.operands[0]);
        for (const Stage& stage : e.stages) {
          out_ += stage.frozen ? " |> frozen " : " |> ";
          if (stage.instance) out_ += stage.instance->text + ": ";
          print(*stage.callee);
        }
        out_ += ")";
        return;
      case ExprKind::if_:
        for (size_t i = 0; i < e.branches.size(); ++i) {
          const Branch& branch = e.branches[i];
          if (i > 0) out_ += " else ";
          if (branch.condition) {
            out_ += "if ";
            print(*branch.condition);
            out_ += " ";
          }
          print(branch.body);
        }
        return;
      case ExprKind::scan:
        out_ += fmt::format("scan {} in {}", e.variable.text, e.is_reverse ? "reverse " : "");
        print(*e.operands[0]);
        for (size_t i = 0; i < e.carried.size(); ++i) {
          const Carried& c = e.carried[i];
          out_ += (i == 0 ? " with " : ", ") + c.name.text;
          print(c.dims, c.type);
          out_ += " = ";
          print(*c.first);
        }
        out_ += " ";
        print(*e.body);
        return;
    }
    NNC_UNREACHABLE("expression kind");
  }

 private:
  void print_number(const Expr& e) {
    std::string text = e.is_integer ? fmt::format("{}", e.integer) : fmt::format("{}", e.number);  // the shortest for this double
    if (!e.is_integer && text.find_first_of(".e") == std::string::npos) text += ".0";
    out_ += text;
  }

  void print_infix(const Expr& e, std::string_view sign) {
    out_ += "(";
    print(*e.operands[0]);
    out_ += sign;
    print(*e.operands[1]);
    out_ += ")";
  }

  void print_list(std::string_view open, const std::vector<ExprPtr>& list, std::string_view close) {
    out_ += open;
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out_ += ", ";
      print(*list[i]);
    }
    out_ += close;
  }

  void print(const Argument& a) {
    if (a.name) out_ += a.name->text + ": ";
    print(*a.value);
    if (a.pattern) out_ += " for " + quoted(a.pattern->text);
  }

  void print_arguments(const std::vector<Argument>& arguments) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (i > 0) out_ += ", ";
      print(arguments[i]);
    }
  }

  void print(const Dims& dims) { print_list("[", dims.entries, "]"); }

  void print(const std::optional<Dims>& dims, const std::optional<Type>& type) {
    if (dims) print(*dims);
    print(type);
  }

  void print(const std::optional<Type>& type) {
    if (!type) return;
    out_ += ": " + type->name.text;
    if (!type->size) return;
    out_ += "(";
    print(*type->size);
    out_ += ")";
  }

  void begin_line() { out_.append(2 * indent_, ' '); }

  void print(const Block& block) {
    out_ += "{\n";
    ++indent_;
    for (const StmtPtr& statement : block.statements) print(*statement);
    if (!block.results.empty()) {
      begin_line();
      out_ += "result ";
      print_list("", block.results, "");
      out_ += "\n";
    }
    --indent_;
    begin_line();
    out_ += "}";
  }

  void print(const DimDeclaration& dim) {
    out_ += dim.name.text + " = ";
    print(*dim.value);
  }

  void print_dims_declared(const std::vector<DimDeclaration>& dims) {
    out_ += "dim ";
    for (size_t i = 0; i < dims.size(); ++i) {
      if (i > 0) out_ += ", ";
      print(dims[i]);
    }
  }

  void print_options(const std::vector<Argument>& options) {
    for (const Argument& option : options) {
      out_ += ", ";
      print(option);
    }
  }

  void print(const Stmt& s) {
    if (s.kind == StmtKind::definition) return print(*s.item);
    begin_line();
    if (s.frozen) out_ += "frozen ";
    switch (s.kind) {
      case StmtKind::dim:
        print_dims_declared(s.dims_declared);
        break;
      case StmtKind::param:
      case StmtKind::state:
        out_ += (s.kind == StmtKind::param ? "param " : "state ") + s.name.text;
        print(s.dims, s.type);
        if (s.text) out_ += " as " + quoted(s.text->text);
        out_ += s.is_drawn ? " ~ " : " = ";
        print(*s.value);
        break;
      case StmtKind::let:
        out_ += "let ";
        for (size_t i = 0; i < s.bindings.size(); ++i) {
          const Binding& b = s.bindings[i];
          if (i > 0) out_ += ", ";
          for (size_t k = 0; k < b.names.size(); ++k) out_ += (k > 0 ? ", " : "") + b.names[k].text;
          out_ += " = ";
          print_list("", b.values, "");
        }
        break;
      case StmtKind::instance:
        out_ += "instance " + s.name.text + ": ";
        print(*s.value);
        break;
      case StmtKind::update:
        out_ += "update " + s.name.text + " = ";
        print(*s.value);
        break;
      case StmtKind::yield:
        print_list("yield ", s.values, "");
        break;
      case StmtKind::repeat:
        out_ += "repeat ";
        print(*s.value);
        if (!s.name.empty()) out_ += " as " + s.name.text;
        out_ += " ";
        print(*s.body);
        break;
      case StmtKind::if_:
        print(*s.value);
        break;
      case StmtKind::expression:
        out_ += "unused ";
        print(*s.value);
        break;
      case StmtKind::clause:
        out_ += "clause " + s.name.text + (s.arguments.empty() ? "" : " ");
        print_arguments(s.arguments);
        print_options(s.options);
        break;
      case StmtKind::expect:
        out_ += "expect ";
        print(*s.value);
        print_options(s.options);
        break;
      case StmtKind::expect_error:
        out_ += fmt::format("expect error {} in ", quoted(s.text->text));
        print(*s.body);
        for (const Diagnostic& d : s.syntax_errors) out_ += fmt::format(" # {}: {}", code_name(d.code), d.message);
        break;
      case StmtKind::check_gradients:
        out_ += "check_gradients ";
        print(*s.value);
        print_options(s.options);
        break;
      case StmtKind::definition:
        break;
    }
    out_ += "\n";
  }

  void print(const Use& use) {
    begin_line();
    out_ += "use " + quoted(use.path.text);
    for (size_t i = 0; i < use.names.size(); ++i) out_ += (i == 0 ? " { " : ", ") + use.names[i].text;
    out_ += use.names.empty() ? "\n" : " }\n";
  }

  void print(const DimList& list) {
    begin_line();
    print_dims_declared(list.dims);
    out_ += "\n";
  }

  void print(const Data& data) {
    begin_line();
    out_ += fmt::format("data {} {{\n", data.name.text);
    ++indent_;
    for (const Field& field : data.fields) {
      begin_line();
      out_ += "field ";
      for (size_t i = 0; i < field.names.size(); ++i) {
        out_ += (i > 0 ? ", " : "") + field.names[i].name.text;
        print(field.names[i].dims, std::nullopt);
      }
      print(field.type);
      out_ += " = ";
      print(*field.source);
      out_ += "\n";
    }
    for (const Split& split : data.splits) {
      begin_line();
      out_ += "split " + split.word.text;
      if (split.kind == Split::Kind::from) {
        out_ += " from " + split.other.text;
      } else {
        out_ += split.kind == Split::Kind::last ? " last " : " ";
        print(*split.share);
      }
      out_ += "\n";
    }
    --indent_;
    begin_line();
    out_ += "}\n";
  }

  void print(const std::vector<Parameter>& parameters) {
    out_ += "(";
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      out_ += (i > 0 ? ", " : "") + p.name.text;
      print(p.dims, p.type);
      if (p.default_value) {
        out_ += " = ";
        print(*p.default_value);
      }
    }
    out_ += ")";
  }

  void print(const Callable& c) {
    static constexpr std::string_view kinds[] = {"layer", "fn", "model", "optimizer"};
    begin_line();
    out_ += fmt::format("{} {}", kinds[static_cast<size_t>(c.kind)], c.name.text);
    if (c.has_static_list) print(c.static_arguments);
    print(c.arguments);
    for (size_t i = 0; i < c.results.size(); ++i) {
      out_ += i == 0 ? " -> " : ", ";
      print(c.results[i].dims);
      print(c.results[i].type);
    }
    for (size_t i = 0; i < c.conditions.size(); ++i) {
      out_ += i == 0 ? " where " : ", ";
      print(*c.conditions[i].test);
      if (!c.conditions[i].reason) continue;
      out_ += " else ";
      out_ += quoted(c.conditions[i].reason->text);
    }
    out_ += " ";
    print(c.body);
    out_ += "\n";
  }

  void print(const Train& train) {
    begin_line();
    out_ += "train {\n";
    ++indent_;
    for (const StmtPtr& statement : train.statements) print(*statement);
    --indent_;
    begin_line();
    out_ += "}\n";
  }

  void print(const Test& test) {
    begin_line();
    out_ += fmt::format("test {} ", quoted(test.name.text));
    print(test.body);
    out_ += "\n";
  }

  std::string out_;
  size_t indent_ = 0;
};

}  // namespace

std::string print_ast(const ast::File& file) {
  Printer printer;
  printer.print(file);
  return printer.take();
}

std::string print_ast(const ast::Expr& expr) {
  Printer printer;
  printer.print(expr);
  return printer.take();
}

}  // namespace nnc
