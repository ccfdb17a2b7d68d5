// .nn: parse, print the tree, check, lower every graph; .nnir, a graph or a program: parse, verify, print, and parse again to the same text.
#include <fmt/format.h>

#include <optional>

#include "base/diagnostics.h"
#include "frontend/syntax/ast_print.h"
#include "frontend/frontend.h"
#include "frontend/syntax/parser.h"
#include "ir/graph.h"
#include "ir/program.h"
#include "tests/fuzz/readers/readers.h"

namespace nnc::fuzz {
namespace {

std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Renders everything, as the driver would; whether there is an error.
bool render(const Diagnostics& diagnostics, const SourceMap& sources) {
  for (const Diagnostic& d : diagnostics.sorted()) {
    require(!d.message.empty(), "a diagnostic says nothing");
    require(!render_text(d, sources, true).empty() && !render_json(d, sources).empty(), "a diagnostic cannot be shown");
  }
  return diagnostics.has_errors();
}

void check_graph(const Graph& graph, const SourceMap& sources) {
  std::vector<std::string> problems = verify_graph(graph);
  if (!problems.empty()) report_finding("a graph breaks an invariant: " + problems[0]);
  require(!print_graph(graph, &sources).empty(), "a graph has no text");
}

void read_program(SourceMap& sources, FileId file) {
  Diagnostics diagnostics;
  std::optional<Program> program = parse_program(sources, file, diagnostics);
  require(render(diagnostics, sources) == !program, "there is neither a program nor an error, or both");
  if (!program) return;
  std::string printed = print_program(*program, &sources);
  std::optional<Program> again = parse_program(sources, sources.add("copy.nnir", printed), diagnostics);
  if (!again) report_finding("a printed program cannot be read: " + diagnostics.items().at(0).message);
  require(print_program(*again, &sources) == printed, "a program that is printed and read is another one");
}

}  // namespace

void read_nn(Bytes bytes) {
  SourceMap sources;
  FileId file = sources.add("fuzz.nn", text_of(bytes));
  {
    Diagnostics syntax;
    std::unique_ptr<ast::File> tree = parse(sources, file, syntax);
    require(tree->has_errors || !render(syntax, sources), "syntax errors were reported, but the tree does not say so");
    print_ast(*tree);
  }
  LoadOptions options;
  options.read_file = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  Diagnostics diagnostics;
  std::unique_ptr<Module> module = load_module(sources, file, options, diagnostics);
  require(render(diagnostics, sources) == !module, "there is neither a module nor an error, or both");
  if (!module) return;
  Diagnostics later;
  std::optional<BuiltGraph> train;
  if (module->has_train()) {
    train = module->build_train_graph(later);
    for (const std::optional<BuiltGraph>& built : {train, module->build_eval_graph(later), module->build_predict_graph(later)})
      if (built) check_graph(built->graph, sources);
    if (train)
      for (const UpdateRule& rule : module->build_update_rules(train->parameters, later))
        print_graph(rule.rule, &sources);  // no graph of its own: it updates `value`, which whoever takes it in declares
  }
  for (const Module::Test& test : module->build_tests(later))
    for (const Module::Expectation& e : test.expectations)
      if (e.kind != Module::Expectation::Kind::decided) check_graph(e.graph, sources);
  render(later, sources);
}

void read_nnir(Bytes bytes) {
  SourceMap sources;
  FileId file = sources.add("fuzz.nnir", text_of(bytes));
  if (is_program_text(sources.text(file))) return read_program(sources, file);
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse_graph(sources, file, diagnostics);
  require(render(diagnostics, sources) == !graph, "there is neither a graph nor an error, or both");
  if (!graph) return;
  check_graph(*graph, sources);
  std::string printed = print_graph(*graph, &sources);
  FileId copy = sources.add("copy.nnir", printed);
  std::optional<Graph> again = parse_graph(sources, copy, diagnostics);
  if (!again) report_finding("a printed graph cannot be read: " + diagnostics.items().at(0).message);
  std::string printed_again = print_graph(*again, &sources);
  require(printed_again == printed, "a graph that is printed and read is another one");
}

}  // namespace nnc::fuzz
