// The tensor graph's container and the tables that ops.def generates. Everything here is a few lines over a vector of nodes: the graph has
// no hidden state, and its types are a pure function (infer_type, shape_rules.cpp) of operations, operand types and attributes.
#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "ir/op_rules.h"

namespace nnc {
namespace {

struct OpInfo {
  std::string_view name;
  int arity;
  OpClass op_class;
  Differentiable differentiable;
  std::string_view summary;
};

constexpr std::array<OpInfo, op_count> ops{{
#define NNC_OP(name, arity, op_class, differentiable, summary) {#name, arity, OpClass::op_class, Differentiable::differentiable, summary},
#include "ir/ops.def"
#undef NNC_OP
}};

const OpInfo& info(Op op) {
  NNC_CHECK(size_t(op) < ops.size(), fmt::format("operation number {}", int(op)));
  return ops[size_t(op)];
}

}  // namespace

std::string_view op_name(Op op) { return info(op).name; }
int op_arity(Op op) { return info(op).arity; }
OpClass op_class(Op op) { return info(op).op_class; }
Differentiable op_differentiable(Op op) { return info(op).differentiable; }
std::string_view op_summary(Op op) { return info(op).summary; }

std::optional<Op> parse_op(std::string_view name) {
  for (size_t i = 0; i < ops.size(); ++i)
    if (ops[i].name == name) return Op(i);
  return std::nullopt;
}

bool is_elementwise(Op op) {
  OpClass c = op_class(op);
  return c == OpClass::unary || c == OpClass::binary || c == OpClass::compare || c == OpClass::select;
}

int64_t Type::elements(int64_t row_count) const {
  int64_t n = 1;
  for (const Extent& e : shape) n *= e.at(row_count);
  return n;
}

bool Type::has_rows() const {
  return std::any_of(shape.begin(), shape.end(), [](const Extent& e) { return e.rows; });
}

std::string to_string(Extent e) {
  if (!e.rows) return fmt::format("{}", e.size);
  return e.size == 1 ? "B" : fmt::format("{}*B", e.size);
}

std::string to_string(const Type& type) {
  std::string text = fmt::format("{}[", dtype_name(type.dtype));
  for (size_t i = 0; i < type.shape.size(); ++i) {
    if (i) text += ", ";
    text += to_string(type.shape[i]);
  }
  return text + "]";
}

NodeId Graph::add(Op op, NodeList operands, Attributes attributes, Span span, std::string scope) {
  for (NodeId id : operands)
    NNC_CHECK(id.value < size(), fmt::format("{}: operand %{} does not exist in graph {} of {} nodes", op_name(op), id.value, name, size()));
  if (op == Op::constant) attributes.number = rounded_to(attributes.dtype, attributes.number);
  for (Number& v : attributes.values) v = rounded_to(attributes.dtype, v);
  std::string error;
  std::optional<Type> inferred = infer_operation(op, OperandTypes(*this, operands), attributes, error);
  NNC_CHECK(inferred.has_value(), fmt::format("{} in graph {}{}{}: {}", op_name(op), name, scope.empty() ? "" : ", scope ", scope, error));
  Node node;
  node.op = op;
  node.operands = std::move(operands);
  node.attributes = std::move(attributes);
  node.type = std::move(*inferred);
  node.span = span;
  node.scope = std::move(scope);
  nodes_.push_back(std::move(node));
  return {size() - 1};
}

NodeId Graph::adopt(Node&& node) {
  for (NodeId id : node.operands)
    NNC_CHECK(id.value < size(), fmt::format("{}: operand %{} does not exist in graph {} of {} nodes", op_name(node.op), id.value, name, size()));
  nodes_.push_back(std::move(node));
  return {size() - 1};
}

size_t Graph::add_persistent(Persistent p) {
  for (size_t i = 0; i < persistents.size(); ++i) {
    if (persistents[i].name != p.name) continue;
    NNC_CHECK(persistents[i].type == p.type,
              fmt::format("persistent {} is both {} and {}", p.name, to_string(persistents[i].type), to_string(p.type)));
    return i;
  }
  persistents.push_back(std::move(p));
  return persistents.size() - 1;
}

const Persistent* Graph::find_persistent(std::string_view wanted) const {
  for (const Persistent& p : persistents)
    if (p.name == wanted) return &p;
  return nullptr;
}

Users Graph::users() const {
  std::vector<uint32_t> first(size() + 1), last_user(size(), UINT32_MAX);
  auto for_each_use = [&](auto&& use) {
    std::fill(last_user.begin(), last_user.end(), UINT32_MAX);
    for (uint32_t user = 0; user < size(); ++user)
      for (NodeId operand : nodes_[user].operands)
        if (std::exchange(last_user[operand.value], user) != user) use(operand.value, user);
  };
  for_each_use([&](uint32_t operand, uint32_t) { ++first[operand + 1]; });
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<NodeId> list(first.back());
  std::vector<uint32_t> next(first.begin(), first.end() - 1);
  for_each_use([&](uint32_t operand, uint32_t user) { list[next[operand]++] = {user}; });
  return {std::move(first), std::move(list)};
}

}  // namespace nnc
