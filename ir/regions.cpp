// What is true of regions: which operand an input of the body reads, types of slices, stacks and results, and the shape rules of `scan` and `result`.
#include "ir/regions.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "ir/op_rules.h"

namespace nnc {
namespace {

constexpr std::string_view input_names[] = {"carry", "slice", "capture"};

/// The number behind "word." in a name; nothing if it is another name.
std::optional<int> number_behind(std::string_view name, std::string_view word) {
  if (!name.starts_with(word) || name.size() < word.size() + 2 || name[word.size()] != '.') return std::nullopt;
  const char *begin = name.data() + word.size() + 1, *end = name.data() + name.size();
  int number = 0;
  auto [at, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || at != end || (end - begin > 1 && *begin == '0')) return std::nullopt;
  return number;
}

std::optional<int> operand_named(const Attributes& scan, int operands, std::string_view name) {
  const int first[] = {0, scan.carried, scan.carried + scan.sliced, operands};
  for (int kind = 0; kind < 3; ++kind)
    if (std::optional<int> number = number_behind(name, input_names[kind]))
      return *number >= 0 && *number < first[kind + 1] - first[kind] ? std::optional(first[kind] + *number) : std::nullopt;
  return std::nullopt;
}

}  // namespace

bool Body::operator==(const Body& other) const {
  if (graph == other.graph) return true;
  if (!graph || !other.graph || graph->size() != other.graph->size()) return false;
  PrintOptions plain;
  plain.locations = false;
  return print_graph(*graph, nullptr, plain) == print_graph(*other.graph, nullptr, plain);  // which tells 0 from -0
}

Type slice_type(Type sequence) {
  NNC_CHECK(sequence.rank() > step_axis(sequence), "no sequence: " + to_string(sequence));
  sequence.shape.erase(sequence.shape.begin() + step_axis(sequence));
  return sequence;
}

Type sequence_type(Type slice, int64_t steps) {
  slice.shape.insert(slice.shape.begin() + step_axis(slice), Extent{steps, false});
  return slice;
}

std::string body_input_name(BodyInput kind, int number) { return fmt::format("{}.{}", input_names[size_t(kind)], number); }

std::optional<int> operand_of_input(const Node& scan, const Node& input) {
  return operand_named(scan.attributes, int(scan.operands.size()), input.attributes.text);
}

BodyInputPlace place_of_operand(const Attributes& scan, int operand) {
  if (operand < scan.carried) return {BodyInput::carry, operand};
  if (operand < scan.carried + scan.sliced) return {BodyInput::slice, operand - scan.carried};
  return {BodyInput::capture, operand - scan.carried - scan.sliced};
}

Type body_input_type(const Attributes& scan, int operand, const Type& type) {
  return place_of_operand(scan, operand).kind == BodyInput::slice ? slice_type(type) : type;
}

std::string body_output_name(const Attributes& scan, int output) {
  return output < scan.carried ? fmt::format("carry.{}", output) : fmt::format("stack.{}", output - scan.carried);
}

Type result_type(const Node& scan, int result) {
  const Graph& body = *scan.attributes.body;
  const Type& type = body.type(body.outputs[size_t(result)].node);
  return result < scan.attributes.carried ? type : sequence_type(type, scan.attributes.extents[0].size);
}

namespace {

/// What a body is not that it must be, beside a sound graph; "" if it is sound.
std::string fault_of_body(const OperandTypes& operands, const Attributes& a) {
  const Graph& body = *a.body;
  if (!body.persistents.empty() || !body.updates.empty()) return "its body has persistents or updates";
  for (const Node& node : body.nodes()) {
    if (node.op == Op::parameter || node.op == Op::scalar || node.op == Op::random)
      return fmt::format("its body reads {} {}, which has to be captured or sliced", op_name(node.op), node.attributes.text);
    if (node.op != Op::input) continue;
    std::optional<int> operand = operand_named(a, int(operands.size()), node.attributes.text);
    if (!operand) return fmt::format("no operand is input {} of its body", node.attributes.text);
    if (Type type = body_input_type(a, *operand, operands[size_t(*operand)]); type != node.type)
      return fmt::format("input {} of its body is {}, and the operand gives {}", node.attributes.text, to_string(node.type), to_string(type));
  }
  if (int(body.outputs.size()) < a.carried) return fmt::format("its body gives {} outputs for {} carries", body.outputs.size(), a.carried);
  if (body.outputs.empty()) return "its body gives nothing";
  for (size_t k = 0; k < body.outputs.size(); ++k) {
    const Output& o = body.outputs[k];
    if (o.name != body_output_name(a, int(k))) return fmt::format("output {} of its body is named {}, not {}", k, o.name, body_output_name(a, int(k)));
    if (o.node.value >= body.size()) return fmt::format("output {} of its body does not exist", o.name);
    if (int(k) < a.carried && body.type(o.node) != operands[k])
      return fmt::format("{} is {}, and the next step is given {}", o.name, to_string(operands[k]), to_string(body.type(o.node)));
  }
  return "";
}

}  // namespace

std::optional<Type> infer_scan(const OperandTypes& operands, const Attributes& a, std::string& error) {
  auto misfit = [&](std::string text) {
    error = std::move(text);
    return std::nullopt;
  };
  if (!a.body) return misfit("needs a body");
  if (a.extents.size() != 1 || a.extents[0].rows || a.extents[0].size < 1) return misfit("needs a fixed number of steps, at least 1");
  if (a.carried < 0 || a.sliced < 0 || int64_t(a.carried) + a.sliced > int64_t(operands.size()))
    return misfit(fmt::format("{} carries and {} sequences are more than its {} operands", a.carried, a.sliced, operands.size()));
  for (int k = a.carried; k < a.carried + a.sliced; ++k) {
    const Type& type = operands[size_t(k)];
    if (type.rank() <= step_axis(type) || type.shape[size_t(step_axis(type))] != a.extents[0])
      return misfit(fmt::format("sequence {} is {}: it needs {} steps on axis {}", k - a.carried, to_string(type), a.extents[0].size, step_axis(type)));
  }
  if (std::string fault = fault_of_body(operands, a); !fault.empty()) return misfit(std::move(fault));
  return Type{DType::boolean, {}};
}

std::optional<Type> infer_result(const OperandTypes&, const Attributes& a, std::string&) { return Type{a.dtype, a.extents}; }

}  // namespace nnc
