// Does every parameter reach the loss, and does a gradient come back to it? Two reachability walks from the loss towards the
// parameters: one along all operands (E0203), one along those that carry a gradient (E0302). The path that is reported is the
// shortest one. What does not reach the loss is one error for all parameters that meet on their ways to nowhere, or begin
// at one place of the text: they are lost with one value.
#include "frontend/gradient_paths.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "ir/gradient_flow.h"

namespace nnc {

namespace {

std::string_view blocking_name(Op op) {
  switch (op) {
    case Op::equal:
      return "==";
    case Op::not_equal:
      return "!=";
    case Op::less:
      return "<";
    case Op::less_equal:
      return "<=";
    case Op::greater:
      return ">";
    case Op::greater_equal:
      return ">=";
    default:
      return op_name(op);
  }
}

void report_lost_parameters(SymbolicEvaluator& eval, const std::vector<bool>& reaches) {
  EvaluationContext& ctx = eval.ctx;
  if (ctx.program.loses_values) return;  // which has been reported, and is why
  // The parts of the graph that lead to nowhere, each known by its first node. Data and constants join nothing.
  std::vector<uint32_t> part(ctx.graph.size());
  std::iota(part.begin(), part.end(), 0);
  auto first_of = [&](uint32_t i) {
    while (part[i] != i) i = part[i] = part[part[i]];
    return i;
  };
  for (uint32_t i = 0; i < ctx.graph.size(); ++i)
    for (NodeId o : ctx.graph[NodeId{i}].operands) {
      bool joins = ctx.graph[o].op == Op::parameter || !ctx.graph[o].operands.empty();
      if (reaches[i] || reaches[o.value] || !joins) continue;
      uint32_t a = first_of(i), b = first_of(o.value);
      part[std::max(a, b)] = std::min(a, b);
    }
  // The rounds of a `repeat` and calls of one layer lose theirs at one place.
  std::map<uint32_t, size_t> group_of;  // by the first node of the part
  std::vector<std::vector<const ParameterSpec*>> groups;
  for (const ParameterSpec& p : eval.stored.parameters()) {
    uint32_t node = eval.stored.node_of(p.persistent.name).value;
    if (p.persistent.kind != PersistentKind::parameter || reaches[node]) continue;
    auto [it, is_new] = group_of.try_emplace(first_of(node), groups.size());
    for (size_t i = 0; is_new && i < groups.size(); ++i)
      if (groups[i][0]->persistent.span == p.persistent.span) it->second = i;
    if (it->second == groups.size()) groups.emplace_back();
    groups[it->second].push_back(&p);
  }
  for (const std::vector<const ParameterSpec*>& together : groups) {
    const Persistent& p = together[0]->persistent;
    size_t others = together.size() - 1;
    std::string message = fmt::format("parameter `{}` never reaches the loss, so it cannot train", p.name);
    if (others > 0)
      message = fmt::format("`{}` and {} other parameter{} never reach the loss, so they cannot train", p.name, others,
                            others == 1 ? "" : "s");
    Diagnostic& d = ctx.error(Code::E0203, p.span, message);
    constexpr size_t most = 7;
    if (others > 0) {
      std::vector<std::string> names;
      for (size_t i = 1; i < together.size() && i <= most; ++i)
        names.push_back(fmt::format("`{}`", together[i]->persistent.name));
      d.notes.push_back(fmt::format("the other{} {}{}", others == 1 ? " is" : "s are", fmt::join(names, ", "),
                                    others > most ? fmt::format(" and {} more", others - most) : ""));
    }
    d.help.push_back(others > 0 ? "use in the result what is made with them, remove it, or mark it `frozen`"
                                : "remove it, use it in the result, or mark it `frozen`");
  }
}

}  // namespace

void check_gradient_paths(SymbolicEvaluator& eval, NodeId loss) {
  EvaluationContext& ctx = eval.ctx;
  std::vector<bool> reaches(ctx.graph.size(), false), carries(ctx.graph.size(), false);
  std::vector<NodeId> toward(ctx.graph.size());  // the next node on a way to the loss
  reaches[loss.value] = carries[loss.value] = true;
  // Operands precede users, so one walk from the end sees every user before its operands.
  for (uint32_t i = loss.value + 1; i-- > 0;) {
    const Node& n = ctx.graph[NodeId{i}];
    if (!reaches[i]) continue;
    for (size_t k = 0; k < n.operands.size(); ++k) {
      uint32_t o = n.operands[k].value;
      if (!reaches[o]) toward[o] = NodeId{i};
      reaches[o] = true;
      if (carries[i] && !blocks_gradient(ctx.graph, NodeId{i}, int(k))) carries[o] = true;
    }
  }
  report_lost_parameters(eval, reaches);
  for (const ParameterSpec& p : eval.stored.parameters()) {
    if (p.persistent.kind != PersistentKind::parameter) continue;
    NodeId node = eval.stored.node_of(p.persistent.name);
    if (carries[node.value] || !reaches[node.value]) continue;
    // Walk toward the loss; the blocking operation is the last one without a gradient before the part of the way that has one.
    std::string path = p.persistent.name;
    NodeId at = node, blocking = node;
    std::vector<NodeId> way;
    while (at != loss) {
      NodeId next = toward[at.value];
      way.push_back(next);
      const Node& n = ctx.graph[next];
      for (size_t k = 0; k < n.operands.size(); ++k)
        if (n.operands[k] == at && blocks_gradient(ctx.graph, next, int(k)) && blocking == node) blocking = next;
      at = next;
    }
    for (NodeId n : way) {
      if (n == loss) break;
      if (n == blocking)
        path += fmt::format(" -> {}", blocking_name(ctx.graph[n].op));
      else if (auto name = ctx.node_names.find(n.value); name != ctx.node_names.end())
        path += fmt::format(" -> {}", name->second);
    }
    path += " -> loss";
    const Node& b = ctx.graph[blocking];
    Diagnostic& d =
        ctx.error(Code::E0302, b.span.valid() ? b.span : p.persistent.span,
                  fmt::format("`{}` has no gradient, so `{}` cannot train ({})", blocking_name(b.op), p.persistent.name, path));
    if (p.persistent.span.valid()) d.labels.push_back({p.persistent.span, fmt::format("`{}`", p.persistent.name)});
    d.help.push_back(fmt::format("let `{}` reach the loss in another way, or mark it `frozen`", p.persistent.name));
  }
}

}  // namespace nnc
