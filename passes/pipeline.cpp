// Every pass in order. What each requires and guarantees stands in its header.
#include "passes/pipeline.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "base/check.h"
#include "passes/apply_updates.h"
#include "passes/differentiate.h"
#include "passes/limit_axes.h"

namespace nnc {
namespace {

void report_missing(const Graph& graph, NodeId loss, const std::string& parameter, Diagnostics& diagnostics) {
  MissingGradient why = explain_missing_gradient(graph, loss, parameter);
  const Persistent* persistent = graph.find_persistent(parameter);
  Span span = persistent ? persistent->span : Span{};
  if (!why.connected) {
    Diagnostic& d = diagnostics.report(Code::E0203, span, fmt::format("parameter `{}` never reaches the loss, so it cannot train", parameter));
    d.help.push_back("remove it, or use it in the result");
    return;
  }
  const Node& blocker = graph[why.blocker];
  Diagnostic& d = diagnostics.report(Code::E0302, span, fmt::format("`{}` has no gradient, so `{}` cannot train", op_name(blocker.op), parameter));
  d.labels.push_back({blocker.span, fmt::format("`{}` stands between it and the loss", op_name(blocker.op))});
}

}  // namespace

void add_backward(Graph& graph, const std::vector<std::pair<std::string, const Graph*>>& rules, std::optional<double> clip, Diagnostics& diagnostics, bool hand_on) {
  NodeId loss;
  for (const Output& o : graph.outputs)
    if (o.name == "loss") loss = o.node;
  NNC_CHECK(loss.valid(), "a training graph without a loss");
  std::vector<std::string> names;
  for (const auto& [name, rule] : rules) names.push_back(name);
  std::vector<ParameterGradient> gradients;
  run_passes(graph, {{"differentiate", [&](Graph& g, const PassContext&) { gradients = differentiate(g, loss, names); }}});
  std::vector<NodeId> nodes;
  bool failed = false;
  for (const ParameterGradient& g : gradients) {
    nodes.push_back(g.node);
    if (g.reached) continue;
    report_missing(graph, loss, g.parameter, diagnostics);
    failed = true;
  }
  if (failed) return;
  if (hand_on) {
    std::vector<std::pair<std::string, NodeId>> made;
    for (const ParameterGradient& g : gradients) made.emplace_back(g.parameter, g.node);
    nodes = hand_on_gradients(graph, made);
  }
  auto update = [&](Graph& g, const PassContext&) {
    if (clip) nodes = clip_norm(g, nodes, Builder(g).constant(*clip, Type{DType::f32, {}}));
    std::vector<UpdateRuleView> views;
    for (size_t i = 0; i < rules.size(); ++i) views.push_back({rules[i].first, rules[i].second, nodes[i]});
    apply_updates(g, views);
  };
  run_passes(graph, {{"apply_updates", update}});
}

namespace {

/// What a value is, and in which order each sum adds its terms: decided for the whole graph.
constexpr std::string_view value_passes[] = {"dead_code", "split_scans", "unroll_short", "simplify", "erase_stop_gradient", "fold", "cse", "simplify", "multiply_tables", "share_sums", "split_phases",
                                             "store_borders", "split_sums", "cse", "recompute", "optimize_bodies", "dead_code", "fuse_contractions", "turn_sums", "order_sums"};
/// Which kernel computes it.
constexpr std::string_view fusion_passes[] = {"sink_updates", "fuse_rows", "finish_groups"};

void run_named(Graph& graph, std::span<const std::string_view> names, const PassOptions& options) {
  std::vector<NamedPass> passes;
  for (std::string_view name : names) passes.push_back(named_pass(name));
  run_passes(graph, passes, options);
}

}  // namespace

const std::vector<std::string_view>& default_passes() {
  static const std::vector<std::string_view> passes = [] {
    std::vector<std::string_view> all(std::begin(value_passes), std::end(value_passes));
    all.insert(all.end(), std::begin(fusion_passes), std::end(fusion_passes));
    return all;
  }();
  return passes;
}

void optimize_graph(Graph& graph, const PassOptions& options) { run_named(graph, default_passes(), options); }

std::optional<StepStages> optimize_in_stages(Graph graph, const PassOptions& options, Shares shares, RowSplitObstacle& obstacle, Graph& whole) {
  run_named(graph, value_passes, options);
  whole = std::move(graph);
  std::optional<StepStages> stages = split_stages(whole, shares, obstacle, options.rows);
  if (!stages) return stages;
  auto fuse = [&](Graph& stage) {
    run_named(stage, std::array<std::string_view, 1>{"fuse_contractions"}, options);
    run_named(stage, fusion_passes, options);
  };
  for (ShareStage& share : stages->shares) fuse(share.graph);
  fuse(stages->last);
  return stages;
}

Program build_program(const Graph& graph, LowerOptions options, const RegionOptions& regions) {
  for (auto& [name, order] : choose_layouts(graph)) options.layouts.try_emplace(name, order);
  std::erase_if(options.layouts, [](const auto& layout) { return std::is_sorted(layout.second.begin(), layout.second.end()); });
  std::optional<Graph> copied = copy_viewed_leaves(graph, options);
  Program program = lower(copied ? *copied : graph, options);
  limit_axes(program);
  order_kernels(program);
  form_parallel_regions(program, regions);
  place_barriers(program);
  plan_memory(program);
  std::vector<std::string> violations = verify_program(program);
  NNC_CHECK(violations.empty(), "the program is not sound: " + (violations.empty() ? "" : violations.front()));
  return program;
}

}  // namespace nnc
