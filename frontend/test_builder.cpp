// Test blocks: what can be decided while checking (shapes, error texts) is decided; the rest becomes graphs whose evaluation is
// left to others, since gradients are not the frontend's business.
#include "frontend/test_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "frontend/clause_options.h"
#include "frontend/trial.h"

namespace nnc {

namespace {

// What a test may write where a number is meant, and what stays as it is: a choice, a function.
bool becomes_tensor(const Value& v) { return v.is(ValueKind::tensor) || v.is(ValueKind::array) || v.is(ValueKind::tuple); }

bool is_known(const Value& v) {
  if (v.is(ValueKind::array)) return std::all_of(v.items.begin(), v.items.end(), is_known);
  return v.is(ValueKind::number) || v.is(ValueKind::boolean);
}

// Equality of what is known while checking: within the tolerance, as for tensors that are evaluated; but sizes and whole numbers are exact, and
// so they are compared, unless the test gives a tolerance of its own.
bool is_near(const Value& a, const Value& b, double tolerance, bool is_written) {
  if (a.is(ValueKind::array) || b.is(ValueKind::array))
    return a.kind == b.kind && std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), [&](const Value& i, const Value& j) {
             return is_near(i, j, tolerance, is_written);
           });
  if (a.is_size && b.is_size && !is_written)
    return is_constant(a.sum) && is_constant(b.sum) ? constant_of(a.sum) == constant_of(b.sum) : a.number == b.number;
  double x = a.is(ValueKind::boolean) ? a.boolean : a.number, y = b.is(ValueKind::boolean) ? b.boolean : b.number;
  return x == y || (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= tolerance * std::max(1.0, std::abs(y));
}

}  // namespace

// `tolerance` is the only option of `expect` and `check_gradients`.
void TestBuilder::read_tolerance(const ast::Stmt& s, std::string_view word, double& tolerance) {
  check_options_once(ctx_, s.options, word);
  for (const ast::Argument& a : s.options) {
    if (a.name->text != "tolerance") {
      ctx_.error(Code::E0204, a.name->span, fmt::format("`{}` has no option `{}`", word, a.name->text))
          .help.push_back("it has `tolerance`");
      continue;
    }
    Value v = eval_.evaluate(*a.value);
    std::optional<double> t = ctx_.number_of(v);
    if (t && *t >= 0)
      tolerance = *t;
    else if (!is_poison(v))
      ctx_.error(Code::E0304, a.value->span, "a tolerance must be a number, at least 0");
  }
}

TensorValue TestBuilder::input(std::vector<double> values, DType dtype, Dims dims, Span span) {
  TensorValue t;
  std::string name = fmt::format("x{}", inputs_.size());
  t.node = ctx_.builder(span).input(name, Type{dtype, shape_of(dims)});
  t.dims = std::move(dims);
  t.dtype = dtype;
  t.span = ctx_.place(span);
  for (double& v : values) v = rounded_to(dtype, v);  // as a constant is
  inputs_.emplace_back(std::move(name), std::move(values));
  return t;
}

Value TestBuilder::as_input(const Value& v, Span span) {
  if (std::optional<double> x = ctx_.number_of(v)) return Value::of(input({*x}, DType::f32, {}, span));
  if (!becomes_tensor(v)) return v;
  std::optional<TensorValue> t = tensors_.as_tensor(v, span);
  return t ? Value::of(*t) : poison();
}

// Of the sum of the function's result; several arguments give several gradients.
Value TestBuilder::gradient(const BuiltinCall& call) {
  if (call.arguments.size() < 2) {
    ctx_.error(Code::E0202, call.span, "`gradient` needs a function and its arguments").help.push_back("write `gradient(f)(x)`");
    return poison();
  }
  std::vector<CallArgument> arguments(call.arguments.begin() + 1, call.arguments.end());
  for (CallArgument& a : arguments) {
    a.value = as_input(a.value, a.span);
    if (is_poison(a.value)) return poison();
  }
  Value result = eval_.calls.apply(call.arguments[0].value, arguments, call.span, call.arguments[0].span, nullptr, false);
  std::optional<TensorValue> t = tensors_.as_tensor(result, call.span);
  if (!t) return poison();
  std::vector<Value> gradients;
  for (const CallArgument& a : arguments) {
    if (!a.value.is(ValueKind::tensor)) continue;
    const TensorValue& x = a.value.tensor;
    if (!is_float(x.dtype)) continue;
    std::string name = fmt::format("gradient{}", gradient_requests_.size());
    TensorValue g = x;
    g.node = ctx_.builder(call.span).input(name, ctx_.graph.type(x.node));
    g.span = ctx_.place(call.span);
    gradient_requests_.push_back({name, t->node, x.node});
    gradients.push_back(Value::of(g));
  }
  if (gradients.size() == 1) return gradients[0];
  return Value::of_items(ValueKind::tuple, std::move(gradients));
}

void TestBuilder::decide(Module::Expectation x, bool passed, std::string message) {
  x.kind = Module::Expectation::Kind::decided;
  x.passed = passed;
  x.message = passed ? "" : std::move(message);
  test_.expectations.push_back(std::move(x));
}

std::string TestBuilder::show(const Value& v) const {
  if (v.is(ValueKind::number))
    return !v.is_size            ? fmt::format("{:.9g}", v.number)
           : is_constant(v.sum) ? ctx_.dims.show(v.sum)
                                : fmt::format("{} ({:.15g})", ctx_.dims.show(v.sum), v.number);
  if (v.is(ValueKind::boolean)) return v.boolean ? "true" : "false";
  std::string list;
  for (const Value& item : v.items) list += (list.empty() ? "" : ", ") + show(item);
  return "[" + list + "]";
}

void TestBuilder::expect_equal(const ast::Stmt& s, Module::Expectation x) {
  const ast::Expr& e = *s.value;
  Value a = eval_.evaluate(*e.operands[0]), b = eval_.evaluate(*e.operands[1]);
  if (is_poison(a) || is_poison(b)) return;
  if (is_known(a) && is_known(b)) {
    bool passed = is_near(a, b, x.tolerance, !s.options.empty());
    return decide(std::move(x), passed, fmt::format("{} is not {}", show(a), show(b)));
  }
  if (std::optional<bool> same = same_choice(a, b)) return decide(std::move(x), *same, "the two differ");
  if (!a.is(ValueKind::tuple) && !b.is(ValueKind::tuple)) return compare(a, b, e, std::move(x));
  if (!a.is(ValueKind::tuple) || !b.is(ValueKind::tuple) || a.items.size() != b.items.size())
    return decide(std::move(x), false, "the numbers of values differ");
  for (size_t i = 0; i < a.items.size(); ++i) compare(a.items[i], b.items[i], e, x);
}

// `<` and the like.
void TestBuilder::expect_comparison(const ast::Stmt& s, Module::Expectation x) {
  const ast::Expr &e = *s.value, &left = *e.operands[0], &right = *e.operands[1];
  Value a = eval_.evaluate(left), b = eval_.evaluate(right);
  if (is_poison(a) || is_poison(b)) return;
  Value v = eval_.operators.combine(e.binary_op, a, b, e.span, left.span, right.span);
  x.message = ctx_.program.sources->text(e.op_span);
  if (v.is(ValueKind::boolean)) {
    bool has_numbers = a.is(ValueKind::number) && b.is(ValueKind::number);
    std::string message = has_numbers ? fmt::format("{} {} {} is false", show(a), x.message, show(b)) : "it is false";
    return decide(std::move(x), v.boolean, std::move(message));
  }
  const DType met = met_type({&a, &b}, true);
  std::optional<TensorValue> first = tensors_.as_tensor(a, left.span, met), second = tensors_.as_tensor(b, right.span, met);
  if (is_poison(v) || !first || !second) return;
  const DType common = common_type(*first, *second, true);
  std::optional<Aligned> sides =
      tensors_.align(tensors_.cast(*first, common, left.span), tensors_.cast(*second, common, right.span), fmt::format("`{}`", x.message), e.span, left.span, right.span);
  NNC_CHECK(sides, "sides that were compared do not align");
  for (auto [tensor, side] : {std::pair{&*first, &sides->a}, std::pair{&*second, &sides->b}})
    if (tensor->dims.empty() && !sides->dims.empty()) *side = ctx_.builder(e.span).broadcast(*side, shape_of(sides->dims), {});
  expect_truth(v.tensor, e, std::move(x), {{"first", sides->a}, {"second", sides->b}});
}

void TestBuilder::execute_expect(const ast::Stmt& s) {
  Module::Expectation x;
  x.span = s.span;
  read_tolerance(s, "expect", x.tolerance);
  const ast::Expr& e = *s.value;
  if (e.kind == ast::ExprKind::binary && e.binary_op == ast::BinaryOp::equal) return expect_equal(s, std::move(x));
  if (e.kind == ast::ExprKind::binary && e.binary_op > ast::BinaryOp::equal && e.binary_op <= ast::BinaryOp::greater_equal)
    return expect_comparison(s, std::move(x));
  Value v = eval_.evaluate(e);
  if (is_poison(v)) return;
  if (v.is(ValueKind::boolean)) return decide(std::move(x), v.boolean, "it is false");
  std::optional<TensorValue> t = tensors_.as_tensor(v, e.span);
  if (!t) return;
  if (t->dtype != DType::boolean) {
    ctx_.error(Code::E0206, e.span, "`expect` needs something that is true or false").help.push_back("write `expect a == b`");
    return;
  }
  x.message = "true";
  expect_truth(*t, e, std::move(x), {});
}

// Every element is true; where one is not, the message shows what `sides` have in its place.
void TestBuilder::expect_truth(const TensorValue& t, const ast::Expr& e, Module::Expectation x,
                               const std::vector<Output>& sides) {
  x.kind = Module::Expectation::Kind::equal;
  std::vector<Output> outputs{{"left", tensors_.cast(t, DType::f32, e.span).node},
                              {"right", tensors_.constant(1, DType::f32, t.dims, e.span).node}};
  outputs.insert(outputs.end(), sides.begin(), sides.end());
  keep_needed(x, outputs);
  test_.expectations.push_back(std::move(x));
}

// What the outputs, and the gradients they mention, depend on.
void TestBuilder::keep_needed(Module::Expectation& x, const std::vector<Output>& outputs) const {
  std::vector<bool> needed(ctx_.graph.size(), false);
  auto reach = [&](NodeId from) {
    std::vector<NodeId> open{from};
    while (!open.empty()) {
      NodeId n = open.back();
      open.pop_back();
      if (needed[n.value]) continue;
      needed[n.value] = true;
      for (NodeId o : ctx_.graph[n].operands) open.push_back(o);
    }
  };
  for (const Output& o : outputs) reach(o.node);
  auto is_needed_input = [&](const std::string& name) {
    for (uint32_t i = 0; i < ctx_.graph.size(); ++i)
      if (const Node& n = ctx_.graph[NodeId{i}]; needed[i] && n.op == Op::input && n.attributes.text == name) return true;
    return false;
  };
  std::vector<bool> wanted(gradient_requests_.size(), false);
  for (size_t r = gradient_requests_.size(); r-- > 0;) {  // a later gradient may mention an earlier one
    wanted[r] = is_needed_input(gradient_requests_[r].input);
    if (!wanted[r]) continue;
    reach(gradient_requests_[r].of);
    reach(gradient_requests_[r].wrt);
  }
  std::vector<NodeId> moved(ctx_.graph.size());
  x.graph.name = "test";
  for (uint32_t i = 0; i < ctx_.graph.size(); ++i) {
    if (!needed[i]) continue;
    const Node& n = ctx_.graph[NodeId{i}];
    if (n.op == Op::parameter) x.graph.add_persistent(*ctx_.graph.find_persistent(n.attributes.text));
    std::vector<NodeId> operands;
    for (NodeId o : n.operands) operands.push_back(moved[o.value]);
    moved[i] = x.graph.add(n.op, std::move(operands), n.attributes, n.span, n.scope);
  }
  for (const Output& o : outputs) x.graph.outputs.push_back({o.name, moved[o.node.value]});
  for (const auto& input : inputs_)
    if (is_needed_input(input.first)) x.inputs.push_back(input);
  for (size_t r = 0; r < wanted.size(); ++r)
    if (wanted[r])
      x.gradients.push_back(
          {gradient_requests_[r].input, moved[gradient_requests_[r].of.value], moved[gradient_requests_[r].wrt.value]});
  for (const ParameterSpec& p : eval_.stored.parameters())
    if (x.graph.find_persistent(p.persistent.name)) x.parameters.push_back(p);
}

void TestBuilder::compare(const Value& a, const Value& b, const ast::Expr& e, Module::Expectation x) {
  const DType met = met_type({&a, &b}, true);
  std::optional<TensorValue> left = tensors_.as_tensor(a, e.operands.empty() ? e.span : e.operands[0]->span, met),
                             right = tensors_.as_tensor(b, e.operands.size() < 2 ? e.span : e.operands[1]->span, met);
  if (!left || !right) return;
  bool same = left->dims.size() == right->dims.size();
  std::vector<int> order;
  if (same) {  // by name where both have names, else by place
    for (size_t i = 0; i < left->dims.size(); ++i) {
      int found = int(i);
      for (size_t j = 0; j < right->dims.size(); ++j)
        if (left->dims[i].named() && left->dims[i].id == right->dims[j].id) found = int(j);
      order.push_back(found);
    }
    std::vector<int> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) *right = tensors_.reorder(*right, order, e.span);
    for (size_t i = 0; i < left->dims.size(); ++i) same = same && left->dims[i].extent == right->dims[i].extent;
  }
  if (!same) {
    x.kind = Module::Expectation::Kind::decided;
    x.message = fmt::format("the left side is {}, the right side {}", ctx_.dims.show(left->dims), ctx_.dims.show(right->dims));
    test_.expectations.push_back(std::move(x));
    return;
  }
  x.kind = Module::Expectation::Kind::equal;
  // The tolerance that nobody wrote is for roundings, which integers have none of.
  if (!is_float(left->dtype) && !is_float(right->dtype) && x.tolerance == Module::Expectation{}.tolerance) x.tolerance = 0;
  keep_needed(x, {{"left", left->node}, {"right", right->node}});
  test_.expectations.push_back(std::move(x));
}

void TestBuilder::execute_check_gradients(const ast::Stmt& s) {
  Module::Expectation x;
  x.span = s.span;
  x.kind = Module::Expectation::Kind::check_gradients;
  x.tolerance = 1e-5;
  read_tolerance(s, "check_gradients", x.tolerance);
  Value v = eval_.evaluate(*s.value);
  std::optional<TensorValue> t = tensors_.as_tensor(v, s.value->span);
  if (!t) return;
  if (!is_float(t->dtype)) {
    ctx_.error(Code::E0206, s.value->span, fmt::format("gradients need a result of f32, found {}", dtype_name(t->dtype)));
    return;
  }
  keep_needed(x, {{"result", t->node}});
  test_.expectations.push_back(std::move(x));
}

// The snippet is checked on the side; what it reports is what the test looks for.
void TestBuilder::execute_expect_error(const ast::Stmt& s) {
  Module::Expectation x;
  x.kind = Module::Expectation::Kind::decided;
  x.span = s.span;
  Diagnostics found;
  for (const Diagnostic& d : s.syntax_errors) found.add(d);
  {
    ReportTo aside(ctx_, found, true);
    size_t names = ctx_.frame->locals.size();
    ctx_.frame->owns_parameters = true;
    bind_local_definitions(s.body->statements);
    eval_.execute_all(s.body->statements);
    for (const ast::ExprPtr& e : s.body->results) eval_.evaluate(*e);
    if (s.body->results.empty() && found.items().empty()) try_local_definitions(s.body->statements);
    ctx_.frame->owns_parameters = false;
    ctx_.frame->locals.resize(names);
  }
  NNC_CHECK(s.text, "`expect error` without a text");
  const std::string& wanted = s.text->text;
  std::string first;
  for (const Diagnostic& d : found.items()) {
    std::string whole = fmt::format("{} {}", code_name(d.code), d.message);
    if (first.empty()) first = whole;
    if (whole.find(wanted) != std::string::npos) x.passed = true;
  }
  if (!x.passed)
    x.message = first.empty() ? fmt::format("expected an error with \"{}\", but there is none", wanted)
                              : fmt::format("expected an error with \"{}\", found: {}", wanted, first);
  test_.expectations.push_back(std::move(x));
}

void TestBuilder::bind_local_definitions(const std::vector<ast::StmtPtr>& statements) {
  for (const ast::StmtPtr& s : statements) {
    if (s->kind != ast::StmtKind::definition) continue;
    if (const ast::Callable* c = std::get_if<ast::Callable>(&s->item->node)) {
      local_definitions_.push_back({ctx_.frame->file, c, s->item->has_errors});
      Value v = Value::of_text(ValueKind::callable, c->name.text);
      v.overloads = {&local_definitions_.back()};
      ctx_.frame->bind(c->name.text, std::move(v), c->name.span);
    } else if (const ast::DimList* dims = std::get_if<ast::DimList>(&s->item->node)) {
      eval_.declare_dims(dims->dims);
    }
  }
}

void TestBuilder::try_local_definitions(const std::vector<ast::StmtPtr>& statements) {
  for (const ast::StmtPtr& s : statements) {
    if (s->kind != ast::StmtKind::definition) continue;
    const ast::Callable* c = std::get_if<ast::Callable>(&s->item->node);
    if (!c) continue;
    Definition d{ctx_.frame->file, c, s->item->has_errors};
    Trial(eval_).call(d);
  }
}

TestBuilder::TestBuilder(const Program& program, Diagnostics& diagnostics) : eval_(program, diagnostics, false) { ctx_.test = this; }

Module::Test TestBuilder::build(const ast::Test& test) {
  test_.name = test.name.text;
  test_.span = test.span;
  Frame frame;
  frame.file = ctx_.program.main;
  frame.id = ctx_.next_frame();
  FrameScope scope(ctx_, frame);
  bind_local_definitions(test.body.statements);
  for (const ast::StmtPtr& s : test.body.statements) {
    switch (s->kind) {
      case ast::StmtKind::expect:
        execute_expect(*s);
        break;
      case ast::StmtKind::expect_error:
        execute_expect_error(*s);
        break;
      case ast::StmtKind::check_gradients:
        execute_check_gradients(*s);
        break;
      default:
        eval_.execute(*s);
    }
  }
  return std::move(test_);
}

}  // namespace nnc
