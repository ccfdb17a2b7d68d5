// What an explanation is drawn from: a step as planned, and the part of it that a name stands for. Of explanation*.cpp alone.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/explanation.h"
#include "engine/step_exchanges.h"
#include "ir/program.h"
#include "passes/fuse.h"
#include "passes/fusion_report.h"

namespace nnc {

inline constexpr std::string_view training_step = "the training step";

struct ExplainedStep {
  std::string subject;
  std::vector<LayerSummary> layers;
  Graph graph;  ///< optimised, with groups
  Program program;
  std::vector<StoredValue> stored;
  std::vector<NodeRole> roles;
  std::vector<std::vector<NodeId>> nodes_of;  ///< by kernel
  std::vector<GroupSpace> spaces;
  StepExchanges exchanges;  ///< of a training step that is computed in shares
};

struct ExplainedPart {
  std::string found_as;
  std::vector<bool> nodes;         ///< that the name stands for
  std::set<size_t> kernels;        ///< that compute some of them
  std::vector<NodeId> gradients;   ///< of the parameter that it stands for: where the optimiser's arithmetic begins
};

/// What a name stands for in the step; UserError E0601 for one that stands for nothing.
ExplainedPart find_part(const Compilation&, const ExplainedStep&, const std::string& name);

/// "%12 mul (line 7)"
std::string node_text(const Compilation&, const Graph&, NodeId);
/// Why the reader is not fused with the writer: a word for tools, and a sentence for people.
std::string_view reason_name(FusionRefusal);
std::string reason_text(const Compilation&, const ExplainedStep&, const StoredValue&, const StoredRead&);
/// Why a sum is handed on, and what it is: for people, a word for tools, a sentence.
struct ExchangeReason {
  std::string what, reason, text;
};
ExchangeReason exchange_reason(const StepExchanges&, const ExchangedSum&, bool is_clipped);

}  // namespace nnc
