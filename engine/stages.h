// A program at every stage of its way, from the tensor graph to assembly, as text or as a drawing: of the training step, of a definition, or of a graph that was written
// down. What `nnc ir` shows is what runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "engine/compilation.h"
#include "engine/definition.h"
#include "ir/program.h"

namespace nnc {

enum class Stage : uint8_t { graph, position, backward, optimized, kernels, llvm, llvm_optimized, assembly };
/// "graph", "position" (of one position of a text: passes/position_graph.h), "backward", "optimized", "kernels", "llvm", "llvm-opt", "asm"; nothing for another word.
std::optional<Stage> parse_stage(std::string_view word);
/// Whether there is a drawing of it: up to kernels.
bool can_be_drawn(Stage);

enum class StageForm : uint8_t { text, dot };  ///< dot: for Graphviz

/// Of the module's training step (of its model, for `position`), or of a definition, whose `backward` adds the gradients of its results; both as they are run from kernels on. ProgramErrors; for `position` UserError E0530 and E0531.
std::string stage_text(Compilation&, const std::optional<DefinitionRequest>&, Stage, StageForm);
/// Of a graph by itself, as a definition's; kernels are planned for `rows` rows.
std::string stage_text(Compilation&, Graph, int64_t rows, Stage, StageForm);

/// Of a program of kernels, from `kernels` on, for the CPU that it was planned for. UserError E0620 if that CPU lacks the vectors that it is written for.
std::string stage_text(Compilation&, Program, Stage, StageForm);

/// The graph of a text in the form that `stage_text` gives; `name` is what messages call it by. ProgramErrors with what is wrong in it.
Graph read_graph(Compilation&, const std::string& name, std::string text);
/// The same of a text that may be a program of kernels instead.
std::variant<Graph, Program> read_graph_or_program(Compilation&, const std::string& name, std::string text);

}  // namespace nnc
