// nnc ir: the program at every stage of its way, from syntax tree to assembly, as text or as a graph for Graphviz.
#include <cstdio>

#include <fmt/format.h>

#include "driver/commands.h"
#include "driver/dot.h"
#include "driver/graph_file.h"
#include "engine/graph_runner.h"
#include "frontend/syntax/ast_print.h"
#include "frontend/syntax/parser.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

struct IrOptions {
  CommonOptions common;
  std::string stage, format = "text";
  DefinitionOptions definition;
};

int print_tree(Session& session) {
  FileId file = session.sources.add(session.options.file, read_text_file(session.options.file));
  std::unique_ptr<ast::File> tree = parse(session.sources, file, session.diagnostics);
  std::fputs(print_ast(*tree).c_str(), stdout);
  session.settle();
  return exit_done;
}

/// The graph at a stage before kernels, and the rows of a batch that kernels are planned for.
struct Staged {
  Graph graph;
  int64_t rows = 32;
};

Staged train_stage(Session& session, const std::string& stage) {
  const TrainSpec& spec = session.module->train();
  int64_t rows = spec.batch > 0 ? spec.batch : 256;
  if (stage == "graph") return {session.require(session.module->build_train_graph(session.diagnostics)).graph, rows};
  TrainingGraphs graphs = make_training_graphs(session);
  return {stage == "backward" ? std::move(graphs.backward) : std::move(graphs.optimized), rows};
}

/// A lone graph: `backward` adds gradients, the stages after it take the graph as it is, and from kernels on as `nnc run` would.
Staged lone_stage(Graph graph, const IrOptions& o) {
  if (o.stage == "backward") {
    bool has_loss = false;
    for (const Output& out : graph.outputs) has_loss = has_loss || out.name == "loss";
    if (has_loss)
      differentiate_loss(graph);
    else
      append_gradients(graph, std::vector<Output>(graph.outputs), "");
  } else if (o.stage != "graph") {
    if (o.stage != "optimized") graph = runnable_graph(std::move(graph), o.definition.rows);
    optimize_graph(graph);
  }
  return {std::move(graph), o.definition.rows};
}

CodeStage code_stage(const std::string& stage) {
  return stage == "llvm" ? CodeStage::llvm : stage == "llvm-opt" ? CodeStage::llvm_optimized : CodeStage::assembly;
}

int print_text(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), stdout);
  return exit_done;
}

/// A .nnir file that holds a program: kernels are as they are written, the stages after them are made.
int print_stage(Session& session, Program program, const IrOptions& o) {
  const std::string& file = o.common.file;
  require_none_given_with_program(file, {{"--rows", o.definition.rows != DefinitionOptions{}.rows}, {"--cpu", !o.common.cpu.empty()}});
  if (o.stage == "kernels") return print_text(o.format == "dot" ? dot_program(program) : print_program(program, &session.sources));
  if (o.stage != "llvm" && o.stage != "llvm-opt" && o.stage != "asm")
    throw UserError(Code::E0601, fmt::format("a program of kernels is beyond the stage `{}`", o.stage), file, "its stages are kernels, llvm, llvm-opt and asm");
  Target& target = program.target;
  Target named = target_by_name(target.cpu.empty() ? std::string(vector_level_name(target.level)) : target.cpu);
  if (named.level < target.level)
    throw UserError(Code::E0620, fmt::format("the CPU `{}` has no {}, for which the program is written", target.cpu, vector_level_name(target.level)), file);
  target.cpu = named.cpu;
  return print_text(emit_text(program, &session.sources, code_stage(o.stage)));
}

int ir(Session& session, const IrOptions& o) {
  bool dot = o.format == "dot";
  if (dot && (o.stage == "ast" || o.stage == "llvm" || o.stage == "llvm-opt" || o.stage == "asm"))
    throw UserError(Code::E0601, fmt::format("the stage `{}` is text, not a graph", o.stage), "the command line",
                    "`--format dot` draws graph, backward, optimized and kernels");
  bool lone = is_graph_file(o.common.file);
  if (lone)
    require_none_given(o.common.file, {{"--fn", !o.definition.fn.empty()},
                                       {"--input", !o.definition.inputs.empty()},
                                       {"--dim", !o.definition.dims.empty()},
                                       {"--set", !o.common.set.empty()},
                                       {"--seed", o.common.seed.has_value()}});
  if (lone && o.stage == "ast") throw UserError(Code::E0601, "a .nnir file has no syntax tree", o.common.file);
  if (o.stage == "ast") return print_tree(session);
  Staged staged;
  if (lone) {
    std::variant<Graph, Program> loaded = load_graph_or_program(session, o.common.file);
    if (Program* program = std::get_if<Program>(&loaded)) return print_stage(session, std::move(*program), o);
    staged = lone_stage(std::get<Graph>(std::move(loaded)), o);
  } else {
    session.load();
    if (session.module->has_train() && o.definition.fn.empty()) {
      staged = train_stage(session, o.stage);
    } else {
      staged = lone_stage(build_declared(session, o.definition).graph, o);
    }
  }
  std::string text;
  if (o.stage == "graph" || o.stage == "backward" || o.stage == "optimized") {
    text = dot ? dot_graph(staged.graph) : print_graph(staged.graph, &session.sources);
  } else {
    bool training = !lone && session.module->has_train() && o.definition.fn.empty();
    LowerOptions options{training ? "train" : staged.graph.name, staged.rows, session.target};
    options.typed_scalars = !training;
    Program program = build_program(staged.graph, options);
    if (o.stage == "kernels")
      text = dot ? dot_program(program) : print_program(program, &session.sources);
    else
      text = emit_text(program, &session.sources, code_stage(o.stage));
  }
  return print_text(std::move(text));
}

}  // namespace

Command ir_command() {
  auto o = std::make_shared<IrOptions>();
  Command command("ir",
                  "print the program at a stage\n\n"
                  "  nnc ir digits.nn --stage graph\n"
                  "  nnc ir digits.nn --stage kernels --format dot | dot -Tsvg > kernels.svg\n"
                  "  nnc ir net.nn --fn Block --input \"x=f32[B, 64]\" --stage asm --cpu avx512\n");
  add_common(command, o->common, "the .nn or .nnir file", json_diagnostics);
  command.option("--stage", o->stage, "ast, graph, backward, optimized, kernels, llvm, llvm-opt or asm")
      .required()
      .one_of({"ast", "graph", "backward", "optimized", "kernels", "llvm", "llvm-opt", "asm"});
  command.option("--format", o->format, "text, or dot for Graphviz").one_of({"text", "dot"});
  add_definition(command, o->definition, "with --fn or a .nnir file: rows of a batch to plan for (32)");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return ir(session, *o); }); };
  return command;
}

}  // namespace nnc
