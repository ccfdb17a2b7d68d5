// Does every parameter reach the loss, and does a gradient come back to it? Two reachability walks from the loss towards the
// parameters: one along all operands (E0203), one along those that carry a gradient (E0302). The path that is reported is the
// shortest one.
#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "frontend/lowering.h"
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

}  // namespace

void Lowering::check_gradient_paths(NodeId loss) {
  std::vector<bool> reaches(graph_.size(), false), carries(graph_.size(), false);
  std::vector<NodeId> toward(graph_.size());  // the next node on a way to the loss
  reaches[loss.value] = carries[loss.value] = true;
  // Operands precede users, so one walk from the end sees every user before its operands.
  for (uint32_t i = loss.value + 1; i-- > 0;) {
    const Node& n = graph_[NodeId{i}];
    if (!reaches[i]) continue;
    for (size_t k = 0; k < n.operands.size(); ++k) {
      uint32_t o = n.operands[k].value;
      if (!reaches[o]) toward[o] = NodeId{i};
      reaches[o] = true;
      if (carries[i] && !blocks_gradient(graph_, NodeId{i}, int(k))) carries[o] = true;
    }
  }
  std::vector<bool> feeds_state(graph_.size(), false);
  for (const Update& u : graph_.updates) feeds_state[u.node.value] = true;
  for (uint32_t i = graph_.size(); i-- > 0;)
    if (feeds_state[i])
      for (NodeId o : graph_[NodeId{i}].operands) feeds_state[o.value] = true;
  for (const ParameterSpec& p : parameters_) {
    if (p.persistent.kind != PersistentKind::parameter) continue;
    const Known& known = known_.at(p.persistent.name);
    NodeId node = known.node;
    if (carries[node.value]) continue;
    if (!reaches[node.value]) {
      Diagnostic& d = error(Code::E0203, p.persistent.span,
                            fmt::format("parameter `{}` never reaches the loss, so it cannot train", p.persistent.name));
      d.help.push_back("remove it, use it in the result, or mark it `frozen`");
      continue;
    }
    // Walk toward the loss; the blocking operation is the last one without a gradient before the part of the way that has one.
    std::string path = p.persistent.name;
    NodeId at = node, blocking = node;
    std::vector<NodeId> way;
    while (at != loss) {
      NodeId next = toward[at.value];
      way.push_back(next);
      const Node& n = graph_[next];
      for (size_t k = 0; k < n.operands.size(); ++k)
        if (n.operands[k] == at && blocks_gradient(graph_, next, int(k)) && blocking == node) blocking = next;
      at = next;
    }
    for (NodeId n : way) {
      if (n == loss) break;
      if (n == blocking)
        path += fmt::format(" -> {}", blocking_name(graph_[n].op));
      else if (auto name = node_names_.find(n.value); name != node_names_.end())
        path += fmt::format(" -> {}", name->second);
    }
    path += " -> loss";
    const Node& b = graph_[blocking];
    Diagnostic& d =
        error(Code::E0302, b.span.valid() ? b.span : p.persistent.span,
              fmt::format("`{}` has no gradient, so `{}` cannot train ({})", blocking_name(b.op), p.persistent.name, path));
    if (p.persistent.span.valid()) d.labels.push_back({p.persistent.span, fmt::format("`{}`", p.persistent.name)});
    d.help.push_back(fmt::format("let `{}` reach the loss in another way, or mark it `frozen`", p.persistent.name));
  }
}

}  // namespace nnc
