// nnc ir: the program at every stage of its way, from syntax tree to assembly, as text or as a graph for Graphviz
// (engine/stages.h).
#include <cstdio>

#include <fmt/format.h>

#include "driver/commands.h"
#include "driver/graph_file.h"
#include "engine/stages.h"
#include "frontend/syntax/ast_print.h"
#include "frontend/syntax/parser.h"

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

/// Of a .nnir file: a graph, or a program whose kernels are as they are written.
std::string text_of_file(Session& session, const IrOptions& o, Stage stage, StageForm form) {
  const std::string& file = o.common.file;
  std::variant<Graph, Program> loaded = load_graph_or_program(session, file);
  if (Graph* graph = std::get_if<Graph>(&loaded)) return stage_text(session, std::move(*graph), o.definition.rows, stage, form);
  require_none_given_with_program(file, {{"--rows", o.definition.rows != DefinitionOptions{}.rows}, {"--cpu", !o.common.cpu.empty()}});
  if (stage < Stage::kernels)
    throw UserError(Code::E0601, fmt::format("a program of kernels is beyond the stage `{}`", o.stage), file, "its stages are kernels, llvm, llvm-opt and asm");
  return stage_text(session, std::get<Program>(std::move(loaded)), stage, form);
}

int ir(Session& session, const IrOptions& o) {
  const std::optional<Stage> stage = parse_stage(o.stage);  // nothing for the syntax tree
  const StageForm form = o.format == "dot" ? StageForm::dot : StageForm::text;
  if (form == StageForm::dot && !(stage && can_be_drawn(*stage)))
    throw UserError(Code::E0601, fmt::format("the stage `{}` is text, not a graph", o.stage), "the command line",
                    "`--format dot` draws graph, position, backward, optimized and kernels");
  bool lone = is_graph_file(o.common.file);
  if (lone)
    require_none_given(o.common.file, {{"--fn", !o.definition.fn.empty()},
                                       {"--input", !o.definition.inputs.empty()},
                                       {"--dim", !o.definition.dims.empty()},
                                       {"--set", !o.common.set.empty()},
                                       {"--seed", o.common.seed.has_value()}});
  if (lone && !stage) throw UserError(Code::E0601, "a .nnir file has no syntax tree", o.common.file);
  if (!stage) return print_tree(session);
  std::string text;
  if (lone) {
    text = text_of_file(session, o, *stage, form);
  } else {
    session.load();
    text = stage_text(session, asked_definition(session, o.definition), *stage, form);
  }
  if (!text.empty() && text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), stdout);
  return exit_done;
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
  command.option("--stage", o->stage, "ast, graph, position (of one position of a text), backward, optimized, kernels, llvm, llvm-opt or asm")
      .required()
      .one_of({"ast", "graph", "position", "backward", "optimized", "kernels", "llvm", "llvm-opt", "asm"});
  command.option("--format", o->format, "text, or dot for Graphviz").one_of({"text", "dot"});
  add_definition(command, o->definition, "with --fn or a .nnir file: rows of a batch to plan for (32)");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return ir(session, *o); }); };
  return command;
}

}  // namespace nnc
