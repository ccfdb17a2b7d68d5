// Each refusal of the fuser in words. The reasons themselves are noted where they apply (passes/fusion_report.h).
#include <fmt/format.h>

#include "engine/explained_step.h"

namespace nnc {
namespace {

/// The shape that a kernel's loops run over, or that of a value without a kernel.
std::string space_text(const ExplainedStep& step, NodeId n) {
  int group = step.graph[n].group;
  return group < 0 ? to_string(Type{step.graph.type(n).dtype, step.graph.type(n).shape}).substr(dtype_name(step.graph.type(n).dtype).size())
                   : to_string(Type{DType::f32, step.spaces[size_t(group)].space}).substr(3);
}

}  // namespace

std::string_view reason_name(FusionRefusal reason) {
  switch (reason) {
    case FusionRefusal::settled: return "settled";
    case FusionRefusal::contraction_operand: return "contraction_operand";
    case FusionRefusal::gather: return "gather";
    case FusionRefusal::reshape: return "reshape";
    case FusionRefusal::slice: return "slice";
    case FusionRefusal::pad: return "pad";
    case FusionRefusal::window: return "window";
    case FusionRefusal::scatter_operand: return "scatter_operand";
    case FusionRefusal::chains: return "chains";
    case FusionRefusal::scatter: return "scatter";
    case FusionRefusal::later_operand: return "later_operand";
    case FusionRefusal::other_host: return "other_host";
    case FusionRefusal::read_twice: return "read_twice";
    case FusionRefusal::reduction_of_contraction: return "reduction_of_contraction";
    case FusionRefusal::row_sum: return "row_sum";
    case FusionRefusal::whole_sum: return "whole_sum";
    case FusionRefusal::other_reduction: return "other_reduction";
    case FusionRefusal::other_terms: return "other_terms";
    case FusionRefusal::other_space: return "other_space";
    case FusionRefusal::crossed_axes: return "crossed_axes";
    case FusionRefusal::contraction_beside: return "contraction_beside";
    case FusionRefusal::own_loops: return "own_loops";
    case FusionRefusal::too_large: return "too_large";
    case FusionRefusal::cycle: return "cycle";
    case FusionRefusal::released: return "released";
    case FusionRefusal::old_value_needed: return "old_value_needed";
    case FusionRefusal::scan: return "scan";
    case FusionRefusal::joined: return "joined";
    case FusionRefusal::later_stage: return "later_stage";
  }
  return "settled";
}

std::string reason_text(const Compilation& compilation, const ExplainedStep& step, const StoredValue& value, const StoredRead& read) {
  std::string reader = read.reader.valid() ? std::string(op_name(step.graph[read.reader].op)) : "";
  std::string witness = read.witness.valid() ? node_text(compilation, step.graph, read.witness) : "";
  switch (read.reason) {
    case FusionRefusal::settled:
      return witness.empty() ? fmt::format("{} has a kernel of its own, found for it after fusion", reader)
                             : fmt::format("{} had joined {} before: only operations that stand alone move into another kernel", reader, witness);
    case FusionRefusal::contraction_operand: return fmt::format("operand of {}: read at other indices than it is made at, each element many times", witness);
    case FusionRefusal::gather: return fmt::format("read through an index by {}", witness);
    case FusionRefusal::reshape: return fmt::format("viewed in another shape by {}, so read at other indices than it is made at", witness);
    case FusionRefusal::slice:
    case FusionRefusal::pad:
    case FusionRefusal::window: return fmt::format("read at shifted indices by {}", witness);
    case FusionRefusal::scatter_operand: return fmt::format("added up at places that are values themselves, by {}", witness);
    case FusionRefusal::chains: return "which places name which entry: whole only when all places are linked";
    case FusionRefusal::scatter: return "made by additions in any order: whole only when all of them are done";
    case FusionRefusal::later_operand:
      return fmt::format("{} also needs {}, which comes from a kernel further down: an operation joins the last of the kernels that feed it", reader, witness);
    case FusionRefusal::other_host: return fmt::format("{} joined another kernel that feeds it, that of {}", reader, witness);
    case FusionRefusal::read_twice: return fmt::format("the same kernel also feeds {} at other indices, through {}", reader, witness);
    case FusionRefusal::reduction_of_contraction:
      return fmt::format("{} reduces what a contraction gives: a tile of the contraction holds a part of each result's elements only", reader);
    case FusionRefusal::row_sum: return fmt::format("{} needs a sum over the rows, which the contraction has made when all of its tiles are done", reader);
    case FusionRefusal::whole_sum: return fmt::format("{} needs a sum over all of a tensor, which is whole when that kernel is done", reader);
    case FusionRefusal::other_reduction: return fmt::format("{} reduces along other axes than the kernel that makes the value", reader);
    case FusionRefusal::other_terms: return fmt::format("{} adds its terms in another order than the sums of the kernel that makes the value", reader);
    case FusionRefusal::other_space:
      return fmt::format("the two kernels run over different index spaces, {} and {}", space_text(step, value.node), space_text(step, read.reader));
    case FusionRefusal::crossed_axes: return fmt::format("{} reads it along other axes than it is made along", reader);
    case FusionRefusal::contraction_beside: return fmt::format("{} has its kernel already, and a contraction is not moved into another kernel", reader);
    case FusionRefusal::own_loops: return fmt::format("{} has loops of its own", reader);
    case FusionRefusal::too_large: return "a kernel would have more operations than it may";
    case FusionRefusal::cycle: return "one kernel would need a value of the other before it is made";
    case FusionRefusal::released:
      return fmt::format("the value stands in memory for others anyway; {} reads it there and repeats the cheap arithmetic in between", reader);
    case FusionRefusal::old_value_needed: return "the old value is still needed when the new one is made: it is copied over the old one afterwards";
    case FusionRefusal::scan: return "the steps of a scan read it, or made it";
    case FusionRefusal::joined: return "put together of parts, each stored where it is made: whole only when all of them are";
    case FusionRefusal::later_stage: return "a later loop of the same kernel needs it: kept, not computed again";
  }
  return "";
}

ExchangeReason exchange_reason(const StepExchanges& e, const ExchangedSum& sum, bool is_clipped) {
  const bool several = e.workers > 1;
  const std::string parts = several ? fmt::format("each of the {} workers makes a part of it from its own rows", e.workers)
                                    : fmt::format("each of the {} batches that make up a whole one gives a part of it", e.batches);
  const auto joined = [&](std::string_view then) { return fmt::format("{}, and the parts are joined {}", parts, then); };
  switch (sum.use) {
    case SumUse::rows: return {"a sum that rows read", "rows_read_it", joined("before these rows are computed")};
    case SumUse::updates: return {"a sum of several updates", "several_updates", joined("before the updates that are made of it")};
    case SumUse::result: return {"the loss or a report", "result", joined("when all are there")};
    case SumUse::gradient: break;
  }
  const std::string what = fmt::format("gradient of {}", sum.parameter);
  if (!several) return {what, "batches", joined(fmt::format("before {} is updated", sum.parameter))};
  if (!sum.array.whole) return {what, "owners", fmt::format("{}; the owner of each range joins the parts and updates that range of {}", parts, sum.parameter)};
  if (is_clipped) return {what, "clip_norm", fmt::format("{}; the parts are joined for every worker, since `clip_norm` takes the norm of all gradients", parts)};
  return {what, "whole", fmt::format("{}; the parts are joined for every worker, since what updates {} reads more than a range of it", parts, sum.parameter)};
}

}  // namespace nnc
