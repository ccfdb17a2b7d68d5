// A number that is wrong somewhere in a model helps nobody: a fault is cut down first (reduce.h, bisect.h), so that the diagnostic can name an operation
// at a line, and whoever mends it has a file of a few lines.
#include "verify/check_faults.h"

#include <cmath>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/divergence.h"
#include "engine/tensors.h"
#include "passes/differentiate.h"
#include "runtime/data/atomic_file.h"
#include "verify/case_file.h"
#include "verify/difference_quotient.h"

namespace nnc {

Diagnostic FaultReporter::of_rule(const RuleReport& r, const GradientCheckOptions& options) const {
  Diagnostic d;
  d.code = Code::E0520;
  d.span = s_.forward[r.worst.node].span;
  d.message = fmt::format("the gradient of `{}` is wrong: the rule gives {:g}, finite differences {:g} ({})", op_name(r.op),
                          r.worst.rule, r.worst.difference, r.worst.what);
  write_case(reduce_rule_fault(s_.forward, s_.steps[0], r.worst.node, options), d,
             fmt::format("the gradient rule of {} disagrees with finite differences here", op_name(r.op)));
  return d;
}

Diagnostic FaultReporter::of_gradient(const LossReport& r, bool rules_failed) const {
  const std::vector<NodeId> results = s_.differentiated();
  Diagnostic d;
  d.code = Code::E0521;
  d.message = fmt::format("the gradient of {} is wrong: {:g} by the rules, {:g} by finite differences ({})", s_.differentiated_text(),
                          r.worst.rule, r.worst.difference, r.worst.what);
  if (rules_failed) {
    d.span = s_.forward[r.worst.node.valid() ? r.worst.node : results[0]].span;
    d.notes.push_back("a rule that it is made of is wrong by itself: see above");
    return d;
  }
  GraphCase small = reduce_loss_fault(s_.forward, s_.steps[0], results, {});
  note_operations(small.graph, d);
  write_case(small, d, "every gradient rule is right here, but not what they give together");
  return d;
}

Diagnostic FaultReporter::of_not_finite(const LossReport& r) const {
  const NotFinite& first = r.not_finite[0];
  Diagnostic d;
  d.code = Code::E0524;
  if (!s_.is_model) d.severity = Severity::warning;
  Graph g = s_.forward;
  std::string name = s_.differentiated_text();
  ValuePlace from{first.node, first.element};
  if (first.is_gradient) {
    name = fmt::format("the gradient of {} with respect to `{}`", name, s_.forward[first.node].attributes.text);
    for (NodeId result : s_.differentiated()) {
      Graph with = s_.forward;
      NodeId gradient = gradients_of(with, result, Builder(with, with[result].span).constant_like(1, result), {first.node})[0];
      if (!gradient.valid()) continue;
      g = std::move(with);
      from = {gradient, first.element};
      if (!std::isfinite(interpret(g, s_.steps[0], true).values[gradient.value].values[first.element])) break;
    }
  }
  std::vector<Tensor> values = interpret(g, s_.steps[0], true).values;
  d.message = fmt::format("{} is {}{}", name, std::isnan(first.value) ? "NaN" : "infinite",
                          index_text(first.element, values[from.node.value].shape));
  if (!std::isfinite(values[from.node.value].values[from.element])) {
    ValuePlace origin = find_origin(g, values, from);
    d.span = g[origin.node].span;
    d.message += ": " + describe_origin(g, values, origin, sources_, part_of(g, origin.node));
  }
  std::vector<std::string> all;
  for (const NotFinite& n : r.not_finite)
    if (n.is_gradient)
      all.push_back(fmt::format("{} of {} elements for `{}`", n.count, s_.forward[n.node].type.elements(s_.steps[0].rows),
                                s_.forward[n.node].attributes.text));
  if (first.is_gradient) d.notes.push_back(fmt::format("not finite are {}", fmt::join(all, ", ")));
  d.notes.push_back(s_.is_model ? "`nnc train` stops where it gets there (E0501); this is the model's, not a wrong derivative"
                                : "this is the graph's at these values, not a wrong derivative");
  d.help.push_back(
      "keep the argument away from where the operation has no finite slope, as in `sqrt(x + 1e-8)` or `log(maximum(x, 1e-6))`, "
      "or let parameters begin elsewhere");
  return d;
}

Diagnostic FaultReporter::of_compiler(const CompilerUnderTest& compiler, const GraphCase& c, const std::string& name) const {
  Diagnostic d;
  d.code = Code::E0522;
  std::optional<Culprit> culprit = find_culprit(compiler, c);
  if (!culprit) {
    d.message = fmt::format("{}: a difference came and went; it does not show when looked for again", name);
    return d;
  }
  GraphCase small = reduce_culprit(compiler, c, *culprit);
  std::vector<std::string> operations = note_operations(small.graph, d);
  d.message = fmt::format("{} is wrong{}", culprit->text(), operations.empty() ? "" : ": " + operations[0]);
  if (!culprit->crash.empty())
    d.notes.push_back("it stops with: " + culprit->crash);
  else
    d.notes.push_back(fmt::format("{}: {} is {:.9g} and should be {:.9g}; rounding explains {:.1e}, not {:.1e}", name,
                                  element_text(culprit->difference, c.graph), culprit->difference.found,
                                  culprit->difference.expected, culprit->allowed, culprit->difference.error));
  write_case(small, d, culprit->text() + " gives a wrong value here");
  return d;
}

Diagnostic FaultReporter::of_steps(const Graph& graph, const Difference& difference) const {
  Diagnostic d;
  d.code = Code::E0523;
  d.span = s_.span;
  d.message = fmt::format("after {} steps {} is {:.9g}, the interpreter says {:.9g}; each step by itself agrees", s_.steps.size(),
                          element_text(difference, graph), difference.found, difference.expected);
  return d;
}

/// " in the gradient of `sqrt`": of the operation that the gradient's stands for, if one alone has its place.
std::string FaultReporter::part_of(const Graph& with_gradient, NodeId node) const {
  if (node.value < s_.forward.size()) return "";
  std::vector<Op> there;
  for (const Node& n : s_.forward.nodes())
    if (op_class(n.op) != OpClass::leaf && op_differentiable(n.op) == Differentiable::yes && n.span == with_gradient[node].span)
      there.push_back(n.op);
  return there.size() == 1 ? fmt::format(" in the gradient of `{}`", op_name(there[0])) : " in the gradient";
}

std::string FaultReporter::element_text(const Difference& d, const Graph& graph) const {
  std::vector<int64_t> shape;
  for (const Output& out : graph.outputs)
    if (!d.update && out.name == d.name) shape = shape_at(graph.type(out.node), s_.steps[0].rows);
  for (const Update& u : graph.updates)
    if (d.update && u.name == d.name) shape = shape_at(graph.type(u.node), s_.steps[0].rows);
  return fmt::format("{} `{}`{}", d.update ? "the new value of" : "the output", d.name, index_text(d.index, shape));
}

/// The operations that are left of a reduced graph, the one nearest the results first: its place becomes the diagnostic's.
std::vector<std::string> FaultReporter::note_operations(const Graph& small, Diagnostic& d) const {
  std::vector<std::string> operations;
  for (uint32_t i = small.size(); i-- > 0;) {
    const Node& n = small[NodeId{i}];
    if (op_class(n.op) == OpClass::leaf) continue;
    if (!d.span.valid()) d.span = n.span;
    std::string place = sources_.describe_line(n.span);
    operations.push_back(fmt::format("`{}`{}", op_name(n.op), place.empty() ? "" : " at " + place));
  }
  if (operations.size() > 1 && operations.size() <= 8)
    d.notes.push_back(fmt::format("what it needs to show: {}", fmt::join(operations.rbegin(), operations.rend(), ", ")));
  return operations;
}

void FaultReporter::write_case(const GraphCase& c, Diagnostic& d, const std::string& what) const {
  std::string text = print_case(c, &sources_, what + "\n" + output_.command);
  write_file_atomically(output_.path, std::as_bytes(std::span(text.data(), text.size())));
  size_t operations = 0;
  for (const Node& n : c.graph.nodes()) operations += op_class(n.op) != OpClass::leaf;
  d.notes.push_back(fmt::format("the smallest graph that shows it ({} operation{}) is in {}", operations, operations == 1 ? "" : "s", output_.path));
  d.help.push_back(fmt::format("this is a bug of nnc; please report it with that file, which `{}` checks again", output_.command));
}

}  // namespace nnc
