// Every stage is made by the functions that training and `nnc run` go through, and only then printed.
#include "engine/stages.h"

#include <algorithm>

#include <fmt/format.h>

#include "engine/graph_runner.h"
#include "engine/text_model.h"
#include "ir/dot.h"
#include "ir/text.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

/// The graph at a stage before kernels, and how they are planned.
struct Staged {
  Graph graph;
  LowerOptions options;
};

Graph position_stage(const Graph& graph, NodeId tokens, const std::string& name) {
  PositionObstacle obstacle;
  if (std::optional<PositionGraph> position = make_position_graph(graph, tokens, obstacle)) return std::move(position->graph);
  throw UserError(describe_obstacle(graph, obstacle, name, "there is no graph of one position"));
}

/// Of a lone graph: its only input of whole numbers for each row.
Graph position_stage(const Graph& graph, const std::string& name) {
  NodeId tokens;
  int found = 0;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::input || !is_integer(node.type.dtype) || node.type.rank() != 2 || node.type.shape[0] != Extent{1, true}) continue;
    tokens = {i};
    ++found;
  }
  if (found != 1) throw UserError(Code::E0530, fmt::format("the graph has {} inputs [B, T] of whole numbers", found), name, "the tokens of a sequence are its only one");
  return position_stage(graph, tokens, name);
}

Staged training_stage(Compilation& compilation, Stage stage) {
  LowerOptions options = lower_options("train", planned_batch(compilation), compilation.target);
  if (stage == Stage::graph) return {compilation.require(compilation.module->build_train_graph(compilation.diagnostics)).graph, options};
  if (stage == Stage::position) {
    const TextModel model = find_text_model(compilation);
    return {position_stage(model.graph, model.tokens, compilation.name), options};
  }
  TrainingGraphs graphs = make_training_graphs(compilation);
  return {stage == Stage::backward ? std::move(graphs.backward) : std::move(graphs.optimized), options};
}

/// A lone graph: `backward` adds gradients, the stages after it take the graph as it is, and from kernels on as `nnc run` would.
Staged lone_stage(Graph graph, int64_t rows, const Compilation& compilation, Stage stage) {
  if (stage == Stage::position) {
    graph = position_stage(graph, compilation.name);
  } else if (stage == Stage::backward) {
    if (std::ranges::any_of(graph.outputs, [](const Output& out) { return out.name == "loss"; }))
      differentiate_loss(graph);
    else
      append_gradients(graph, std::vector<Output>(graph.outputs), "");
  } else if (stage != Stage::graph) {
    if (stage != Stage::optimized) graph = runnable_graph(std::move(graph), rows);
    optimize_graph(graph, {.rows = rows});
  }
  LowerOptions options{graph.name, rows, compilation.target};
  options.typed_scalars = true;
  return {std::move(graph), options};
}

std::string text_of(const Program& program, Stage stage, StageForm form, const SourceMap& sources) {
  if (stage == Stage::kernels) return form == StageForm::dot ? dot_program(program) : print_program(program, &sources);
  return emit_text(program, &sources,
                   stage == Stage::llvm             ? CodeStage::llvm
                   : stage == Stage::llvm_optimized ? CodeStage::llvm_optimized
                                                    : CodeStage::assembly);
}

std::string text_of(const Staged& staged, Stage stage, StageForm form, const SourceMap& sources) {
  if (stage < Stage::kernels) return form == StageForm::dot ? dot_graph(staged.graph) : print_graph(staged.graph, &sources);
  return text_of(build_program(staged.graph, staged.options), stage, form, sources);
}

FileId add_program_text(Compilation& compilation, const std::string& name, std::string text) {
  compilation.name = name;
  return compilation.sources.add(name, std::move(text));
}

}  // namespace

std::optional<Stage> parse_stage(std::string_view word) {
  static constexpr std::string_view words[] = {"graph", "position", "backward", "optimized", "kernels", "llvm", "llvm-opt", "asm"};
  auto it = std::ranges::find(words, word);
  if (it == std::end(words)) return std::nullopt;
  return Stage(it - std::begin(words));
}

bool can_be_drawn(Stage stage) { return stage <= Stage::kernels; }

/// Of a step that is computed in shares: all of its own stages, one behind the other, each under its name.
std::string text_of(const TrainingGraphs& graphs, const Compilation& compilation, Stage stage, StageForm form) {
  std::string text;
  if (stage == Stage::optimized) {
    auto add = [&](const Graph& graph) { text += form == StageForm::dot ? dot_graph(graph) : print_graph(graph, &compilation.sources); };
    for (const ShareStage& share : graphs.stages->shares) add(share.graph);
    add(graphs.stages->last);
    return text;
  }
  for (const Program& program : build_step(graphs.optimized, graphs.stages, graphs.couples_rows, planned_batch(compilation), compilation.target).stages) text += text_of(program, stage, form, compilation.sources);
  return text;
}

std::string stage_text(Compilation& compilation, const std::optional<DefinitionRequest>& definition, Stage stage, StageForm form) {
  if (!definition && stage >= Stage::optimized && planned_batch(compilation).accumulate > 1) return text_of(make_training_graphs(compilation), compilation, stage, form);
  if (definition) return stage_text(compilation, build_declared(compilation, *definition).graph, definition->rows, stage, form);
  return text_of(training_stage(compilation, stage), stage, form, compilation.sources);
}

std::string stage_text(Compilation& compilation, Graph graph, int64_t rows, Stage stage, StageForm form) {
  return text_of(lone_stage(std::move(graph), rows, compilation, stage), stage, form, compilation.sources);
}

std::string stage_text(Compilation& compilation, Program program, Stage stage, StageForm form) {
  NNC_CHECK(stage >= Stage::kernels, "a program has left the stages of graphs");
  if (stage > Stage::kernels) {
    Target& target = program.target;
    Target named = target_by_name(target.cpu.empty() ? std::string(vector_level_name(target.level)) : target.cpu);
    if (named.level < target.level)
      throw UserError(Code::E0620, fmt::format("the CPU `{}` has no {}, for which the program is written", target.cpu, vector_level_name(target.level)),
                      compilation.name);
    target.cpu = named.cpu;
  }
  return text_of(program, stage, form, compilation.sources);
}

Graph read_graph(Compilation& compilation, const std::string& name, std::string text) {
  FileId file = add_program_text(compilation, name, std::move(text));
  return compilation.require(parse_graph(compilation.sources, file, compilation.diagnostics));
}

std::variant<Graph, Program> read_graph_or_program(Compilation& compilation, const std::string& name, std::string text) {
  FileId file = add_program_text(compilation, name, std::move(text));
  if (is_program_text(compilation.sources.text(file))) return compilation.require(parse_program(compilation.sources, file, compilation.diagnostics));
  return compilation.require(parse_graph(compilation.sources, file, compilation.diagnostics));
}

}  // namespace nnc
