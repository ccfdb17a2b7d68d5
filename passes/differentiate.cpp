// Reverse-mode automatic differentiation (Griewank and Walther, "Evaluating Derivatives", ch. 3) on an SSA graph: walk the nodes
// backwards, hand each node's gradient to its rule, add up what arrives at each operand. Only nodes that lie on a path from a
// wanted node to the output are visited, and contributions are added in descending order of users, so that the result depends on
// the graph alone.
#include "passes/differentiate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "passes/costs.h"
#include "passes/gradient_rules.h"
#include "passes/quotients.h"

namespace nnc {

Adjoint::Adjoint(Graph& graph, NodeId y, NodeId g, const std::vector<bool>& wanted, ResultGradients& results, const Quotients& quotients)
    : b(graph, graph[y].span, graph[y].scope), y(y), g(g), node(graph[y]), results(results), wanted_(wanted), quotients_(quotients), given_(node.operands.size()) {}

void Adjoint::give(int i, NodeId gradient) {
  if (!wants(i)) return;
  NNC_CHECK(type(gradient) == type(x(i)), fmt::format("gradient of operand {} of {}: {} for {}", i, op_name(node.op),
                                                      to_string(type(gradient)), to_string(type(x(i)))));
  given_[size_t(i)] = gradient;
}

NodeId Adjoint::times(NodeId gradient, NodeId value) {
  if (auto found = quotients_.find(value.value); found != quotients_.end())
    for (NodeId quotient : found->second)
      if (is_divided_by(b.graph, gradient, b.graph[quotient].operands[1])) return b.mul(dividend(b, gradient), quotient);
  return b.mul(gradient, value);
}

namespace {

using GradientRule = void (*)(Adjoint&);

#define NNC_GRADIENT_yes(name) gradient_##name
#define NNC_GRADIENT_none(name) nullptr
#define NNC_GRADIENT_leaf(name) nullptr
constexpr std::array<GradientRule, op_count> gradient_rules{{
#define NNC_OP(name, arity, op_class, differentiable, summary) NNC_GRADIENT_##differentiable(name),
#include "ir/ops.def"
#undef NNC_OP
}};

/// Adds up what arrives at a value. Two contributions that are one gradient times factors of the forward pass, as g * a and (g * b) * c, become g * (a + b * c): what is in brackets can
/// be computed where a, b and c are, in the forward pass, and one number is kept instead of three. So it is for x * f(x), as in gelu and silu. Where no function is among the factors, they are
/// cheaper to make again than to keep. Two quotients of one divisor, as g / d and (h / d) repeated, are added up before they are divided.
class GradientSum {
 public:
  explicit GradientSum(Graph& graph) : graph_(graph), varies_(graph.size(), false) {}

  void mark(NodeId gradient) { varies_[gradient.value] = true; }

  NodeId add(NodeId x, NodeId first, NodeId second) {
    Builder b(graph_, graph_[x].span, graph_[x].scope);
    for (NodeId divisor : {divisor_of(graph_, first), divisor_of(graph_, second)})
      if (divisor.valid() && is_divided_by(graph_, first, divisor) && is_divided_by(graph_, second, divisor)) {
        const NodeId left = dividend(b, first), right = dividend(b, second);
        return b.div(b.add(left, right), divisor);
      }
    const std::vector<Factor> a = factors(first), c = factors(second);
    for (const Factor& left : a)
      for (const Factor& right : c) {
        if (left.gradient != right.gradient) continue;
        if (left.gradient == first || right.gradient == second || !(has_function(a, left.gradient) || has_function(c, right.gradient))) return b.add(first, second);
        return b.mul(left.gradient, b.add(product(b, a, left.gradient), product(b, c, right.gradient)));
      }
    return b.add(first, second);
  }

 private:
  /// The whole is `gradient` times the factors of this one and those before it; the first one's gradient is the whole.
  struct Factor {
    NodeId gradient, factor;
  };

  /// Does it depend on what was marked?
  bool varies(NodeId id) {
    while (varies_.size() < graph_.size()) {
      const NodeList& operands = graph_[NodeId{uint32_t(varies_.size())}].operands;
      varies_.push_back(std::any_of(operands.begin(), operands.end(), [&](NodeId o) { return bool(varies_[o.value]); }));
    }
    return varies_[id.value];
  }

  std::vector<Factor> factors(NodeId whole) {
    constexpr size_t most = 8;
    std::vector<Factor> found{{whole, {}}};
    while (found.size() < most) {
      const Node& node = graph_[found.back().gradient];
      if (node.op != Op::mul || varies(node.operands[0]) == varies(node.operands[1])) break;
      const size_t gradient = varies(node.operands[0]) ? 0 : 1;
      found.push_back({node.operands[gradient], node.operands[1 - gradient]});
    }
    return found;
  }

  /// Whether a factor is a function's value, or made of one by a few cheap operations.
  bool is_function(NodeId factor, int depth = 3) const {
    const Node& node = graph_[factor];
    if (!is_elementwise(node.op)) return false;
    return is_expensive(node.op) || (depth > 0 && std::any_of(node.operands.begin(), node.operands.end(), [&](NodeId o) { return is_function(o, depth - 1); }));
  }
  bool has_function(const std::vector<Factor>& all, NodeId end) const {
    for (size_t i = 1; i < all.size(); ++i) {
      if (is_function(all[i].factor)) return true;
      if (all[i].gradient == end) break;
    }
    return false;
  }

  static NodeId product(Builder& b, const std::vector<Factor>& all, NodeId end) {
    NodeId product = all[1].factor;
    for (size_t i = 1; all[i].gradient != end; ++i) product = b.mul(all[i + 1].factor, product);
    return product;
  }

  Graph& graph_;
  std::vector<bool> varies_;
};

}  // namespace

std::vector<NodeId> gradients_of(Graph& graph, const std::vector<Seed>& seeds, const std::vector<NodeId>& wrt) {
  uint32_t end = 0;
  for (const Seed& s : seeds) {
    NNC_CHECK(graph.type(s.gradient) == graph.type(s.output), "the seed of a gradient has the output's type");
    end = std::max(end, s.output.value + 1);
  }
  std::vector<bool> wanted(graph.size(), false);
  for (NodeId id : wrt) wanted[id.value] = is_float(graph.type(id).dtype);
  wanted = nodes_on_the_way(graph, std::move(wanted));
  std::vector<NodeId> gradient(end);
  GradientSum sums(graph);
  for (const Seed& s : seeds) sums.mark(s.gradient);
  auto arrive = [&](NodeId x, NodeId given) {
    NodeId& sum = gradient[x.value];
    sum = sum.valid() ? sums.add(x, sum, given) : given;
  };
  for (const Seed& s : seeds)
    if (wanted[s.output.value]) arrive(s.output, s.gradient);
  ResultGradients results;
  Quotients quotients;
  for (uint32_t i = end; i-- > 0;) {
    if (!wanted[i] || (!gradient[i].valid() && !results.contains(i))) continue;
    GradientRule rule = gradient_rules[size_t(graph[NodeId{i}].op)];
    if (!rule) continue;
    if (const Node& node = graph[NodeId{i}]; node.op == Op::div && is_float(node.type.dtype)) quotients[node.operands[0].value].push_back({i});
    Adjoint adjoint(graph, {i}, gradient[i], wanted, results, quotients);
    rule(adjoint);
    for (size_t k = 0; k < adjoint.given().size(); ++k)
      if (NodeId given = adjoint.given()[k]; given.valid()) arrive(adjoint.x(int(k)), given);
  }
  std::vector<NodeId> found;
  for (NodeId id : wrt) found.push_back(id.value < end ? gradient[id.value] : NodeId{});
  return found;
}

std::vector<ParameterGradient> differentiate(Graph& graph, NodeId loss, const std::vector<std::string>& parameters) {
  NNC_CHECK(graph.type(loss).rank() == 0 && is_float(graph.type(loss).dtype),
            fmt::format("a loss is a number, not {}", to_string(graph.type(loss))));
  std::vector<NodeId> reads;
  std::vector<size_t> owner;
  uint32_t end = graph.size();
  for (uint32_t i = 0; i < end; ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::parameter) continue;
    auto it = std::find(parameters.begin(), parameters.end(), node.attributes.text);
    if (it == parameters.end()) continue;
    reads.push_back({i});
    owner.push_back(size_t(it - parameters.begin()));
  }
  Builder at_loss(graph, graph[loss].span, graph[loss].scope);
  std::vector<NodeId> gradients = gradients_of(graph, loss, at_loss.constant_like(1, loss), reads);

  std::vector<ParameterGradient> result;
  for (const std::string& name : parameters) result.push_back({name, {}, false});
  for (size_t i = 0; i < reads.size(); ++i) {
    ParameterGradient& p = result[owner[i]];
    if (!gradients[i].valid()) continue;
    Builder b(graph, graph[reads[i]].span, graph[reads[i]].scope);
    p.node = p.reached ? b.add(p.node, gradients[i]) : gradients[i];
    p.reached = true;
  }
  for (ParameterGradient& p : result) {
    if (p.reached) continue;
    const Persistent* persistent = graph.find_persistent(p.parameter);
    NNC_CHECK(persistent, "no parameter of the name " + p.parameter);
    p.node = Builder(graph, persistent->span).constant(0, persistent->type);
  }
  return result;
}

MissingGradient explain_missing_gradient(const Graph& graph, NodeId loss, const std::string& parameter) {
  // Shortest distance to the loss, backwards; operands stand before users, so that one sweep suffices.
  constexpr uint32_t far = UINT32_MAX;
  std::vector<uint32_t> distance(graph.size(), far);
  std::vector<NodeId> next(graph.size());
  distance[loss.value] = 0;
  for (uint32_t i = loss.value + 1; i-- > 0;) {
    if (distance[i] == far) continue;
    for (NodeId operand : graph[NodeId{i}].operands)
      if (distance[i] + 1 < distance[operand.value]) {
        distance[operand.value] = distance[i] + 1;
        next[operand.value] = {i};
      }
  }
  NodeId start;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::parameter || node.attributes.text != parameter || distance[i] == far) continue;
    if (!start.valid() || distance[i] < distance[start.value]) start = {i};
  }
  MissingGradient result;
  if (!start.valid()) return result;
  result.connected = true;
  result.path.push_back(start);
  for (NodeId at = start; at != loss;) {
    NodeId user = next[at.value];
    const NodeList& operands = graph[user].operands;
    int k = int(std::find(operands.begin(), operands.end(), at) - operands.begin());
    if (!result.blocker.valid() && blocks_gradient(graph, user, k)) result.blocker = user;
    result.path.push_back(user);
    at = user;
  }
  return result;
}

void differentiate_loss(Graph& graph) {
  if (graph.outputs.empty()) return;
  NodeId loss = graph.outputs[0].node;
  for (const Output& o : graph.outputs)
    if (o.name == "loss") loss = o.node;
  std::vector<std::string> names;
  for (const Persistent& p : graph.persistents)
    if (p.kind == PersistentKind::parameter) names.push_back(p.name);
  for (const ParameterGradient& g : differentiate(graph, loss, names)) graph.outputs.push_back({"grad." + g.parameter, g.node});
}

}  // namespace nnc
