// One walk over the syntax tree that notes, for tokens whose meaning depends on their place, which it is.
#include "frontend/syntax/token_roles.h"

namespace nnc {
namespace {

using namespace ast;

class Walk {
 public:
  TokenRoles roles;

  void visit(const Item& item) {
    std::visit([&](const auto& node) { visit(node); }, item.node);
  }

 private:
  void visit(const Name& name) {
    if (name.span.valid()) roles.names.insert(name.span.begin);
  }
  void visit(const ExprPtr& e) {
    if (e) visit(*e);
  }
  void visit(const Dims& dims) { visit(dims.entries); }
  void visit(const Type& type) {
    visit(type.name);
    visit(type.size);
  }
  template <class T>
  void visit(const std::optional<T>& part) {
    if (part) visit(*part);
  }
  template <class T>
  void visit(const std::vector<T>& parts) {
    for (const T& part : parts) visit(part);
  }
  void visit(const Argument& a) {
    visit(a.name);
    visit(a.value);
  }
  void visit(const Selector& s) {
    visit(s.dim);
    visit(s.value);
  }
  void visit(const Stage& s) {
    visit(s.instance);
    visit(s.callee);
  }
  void visit(const Branch& b) {
    visit(b.condition);
    visit(b.body);
  }
  void visit(const Carried& c) {
    visit(c.name);
    visit(c.dims);
    visit(c.type);
    visit(c.first);
  }
  void visit(const Block& block) {
    for (const StmtPtr& s : block.statements) visit(*s);
    visit(block.results);
  }
  void visit(const DimDeclaration& d) {
    visit(d.name);
    visit(d.value);
  }
  void visit(const Binding& b) {
    visit(b.names);
    visit(b.values);
  }

  void visit(const Expr& e) {
    if (e.kind == ExprKind::name || e.kind == ExprKind::underscore) roles.names.insert(e.span.begin);
    if (e.kind == ExprKind::binary) roles.binary.insert(e.op_span.begin);
    if (e.kind == ExprKind::unary && e.unary_op == UnaryOp::negate) roles.unary.insert(e.op_span.begin);
    if (e.kind == ExprKind::percent) roles.percents.insert(e.span.end - 1);
    visit(e.operands);
    visit(e.arguments);
    visit(e.selectors);
    visit(e.stages);
    visit(e.dims);
    visit(e.branches);
    if (e.kind == ExprKind::scan) visit(e.variable);
    visit(e.carried);
    if (e.body) visit(*e.body);
  }

  void visit(const Stmt& s) {
    if (s.kind == StmtKind::expect_error && !s.syntax_errors.empty()) {
      roles.broken.push_back(s.body->span);
      return;
    }
    if (s.kind == StmtKind::clause)
      roles.clauses.insert(s.name.span.begin);
    else
      visit(s.name);
    visit(s.dims);
    visit(s.type);
    visit(s.value);
    visit(s.values);
    visit(s.dims_declared);
    visit(s.bindings);
    visit(s.arguments);
    visit(s.options);
    if (s.body) visit(*s.body);
    if (s.item) visit(*s.item);
  }

  void visit(const Use& use) { visit(use.names); }
  void visit(const DimList& list) { visit(list.dims); }
  void visit(const FieldName& f) {
    visit(f.name);
    visit(f.dims);
  }
  void visit(const Field& field) {
    roles.fields.insert(field.names.front().name.span.begin);
    visit(field.names);
    visit(field.type);
    visit(field.source);
  }
  void visit(const Split& split) {
    visit(split.share);
    visit(split.other);
  }
  void visit(const Data& data) {
    visit(data.name);
    visit(data.fields);
    visit(data.splits);
  }
  void visit(const Parameter& p) {
    visit(p.name);
    visit(p.dims);
    visit(p.type);
    visit(p.default_value);
  }
  void visit(const ResultType& r) {
    visit(r.dims);
    visit(r.type);
  }
  void visit(const Callable& c) {
    visit(c.name);
    visit(c.static_arguments);
    visit(c.arguments);
    visit(c.results);
    for (const Condition& condition : c.conditions) visit(condition.test);
    visit(c.body);
  }
  void visit(const Train& train) {
    for (const StmtPtr& s : train.statements) visit(*s);
  }
  void visit(const Test& test) { visit(test.body); }
};

}  // namespace

TokenRoles token_roles(const File& file) {
  Walk walk;
  for (const Item& item : file.items) walk.visit(item);
  return std::move(walk.roles);
}

}  // namespace nnc
