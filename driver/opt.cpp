// nnc opt: passes on the textual form of a graph, one by one.
#include <algorithm>
#include <cstdio>
#include <sstream>

#include <fmt/format.h>

#include "driver/commands.h"
#include "driver/graph_file.h"
#include "engine/graph_passes.h"
#include "engine/stages.h"

namespace nnc {
namespace {

struct OptOptions {
  CommonOptions common;
  std::string passes;
  std::vector<std::string> print_after;
  bool list = false, print_all = false, verify_each = false, time = false;
  int64_t rows = 32;
};

int list_passes() {
  for (const PassDescription& pass : pass_descriptions())
    std::printf("%-20s %s\n", std::string(pass.name).c_str(), std::string(pass.summary).c_str());
  return exit_done;
}

/// Spelt with - or _.
std::string pass_name(std::string word) {
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

void require_pass(const std::string& name, const char* option) {
  std::vector<std::string> names = {"lower"};
  for (const PassDescription& pass : pass_descriptions()) names.emplace_back(pass.name);
  if (std::ranges::find(names, name) != names.end()) return;
  std::string near = nearest(name, names);
  throw UserError(Code::E0601, fmt::format("`{}`: there is no pass `{}`", option, name), "the command line",
                  near.empty() ? "`nnc opt --list-passes` lists them" : fmt::format("did you mean `{}`?", near));
}

PassRequest read_request(const OptOptions& o) {
  PassRequest request;
  std::stringstream words(o.passes);
  for (std::string word; std::getline(words, word, ',');)
    if (!word.empty()) request.passes.push_back(pass_name(word));
  for (size_t i = 0; i < request.passes.size(); ++i) {
    require_pass(request.passes[i], "--passes");
    if (request.passes[i] == "lower" && i + 1 != request.passes.size())
      throw UserError(Code::E0601, "`lower` ends the graph, so it can only be the last pass", "the command line");
  }
  request.rows = o.rows;
  request.verify = o.verify_each;
  return request;
}

void read_print_after(PassRequest& request, const OptOptions& o) {
  for (const std::string& name : o.print_after) {
    require_pass(pass_name(name), "--print-after");
    request.print_after.push_back(pass_name(name));
  }
  if (o.print_all) request.print_after = {"all"};
  request.print = [](std::string_view pass, const std::string& graph) {
    std::fprintf(stderr, "; after %s\n%s\n", std::string(pass).c_str(), graph.c_str());
  };
}

/// A program is what is left when the last pass has run: it is read, verified and printed.
int print_whole(Session& session, Program program, const OptOptions& o) {
  require_none_given_with_program(o.common.file, {{"--passes", !o.passes.empty()},
                                                  {"--print-after", !o.print_after.empty()},
                                                  {"--print-after-all", o.print_all},
                                                  {"--time", o.time},
                                                  {"--rows", o.rows != OptOptions{}.rows},
                                                  {"--cpu", !o.common.cpu.empty()}});
  std::fputs(stage_text(session, std::move(program), Stage::kernels, StageForm::text).c_str(), stdout);
  return exit_done;
}

int opt(Session& session, const OptOptions& o) {
  if (o.common.file.empty())
    throw UserError(Code::E0601, "`nnc opt` needs a .nnir file", "the command line", "`-` reads standard input");
  PassRequest request = read_request(o);
  std::variant<Graph, Program> loaded = load_graph_or_program(session, o.common.file);
  if (Program* program = std::get_if<Program>(&loaded)) return print_whole(session, std::move(*program), o);
  Graph graph = std::get<Graph>(std::move(loaded));
  read_print_after(request, o);
  std::vector<PassTiming> timings = run_passes_by_name(session, graph, request);
  if (o.time) {
    std::fprintf(stderr, "%-20s %10s %7s %7s\n", "pass", "ms", "nodes", "after");
    for (const PassTiming& t : timings)
      std::fprintf(stderr, "%-20s %10.3f %7u %7u\n", t.name.c_str(), t.seconds * 1e3, t.nodes_before, t.nodes_after);
  }
  std::fputs(text_after_passes(session, std::move(graph), request).c_str(), stdout);
  return exit_done;
}

}  // namespace

Command opt_command() {
  auto o = std::make_shared<OptOptions>();
  Command command("opt",
                  "run passes on a graph and print the result; a program of kernels is verified and printed\n\n"
                  "  nnc ir digits.nn --stage backward > digits.nnir\n"
                  "  nnc opt digits.nnir --passes simplify,cse,dead-code\n"
                  "  nnc opt digits.nnir --passes fuse-contractions,sink-updates,fuse-rows,lower\n");
  command.positional("FILE", o->common.file, "the .nnir file, `-` for standard input");
  command.option("--passes", o->passes, "names, separated by commas");
  command.flag("--list-passes", o->list, "every pass with what it does");
  command.option("--print-after", o->print_after, "print the graph after this pass (to standard error)");
  command.flag("--print-after-all", o->print_all, "after every pass");
  command.flag("--verify-each", o->verify_each, "check every invariant before and after each pass");
  command.flag("--time", o->time, "time and number of nodes of each pass");
  add_planned_rows(command, o->rows, "rows of a batch that `lower` plans for (32)");
  command.option("--cpu", o->common.cpu, "`lower` for this CPU or level");
  add_json(command, o->common.json, json_diagnostics);
  command.run = [o] { return o->list ? list_passes() : with_session(o->common, [&](Session& session) { return opt(session, *o); }); };
  return command;
}

}  // namespace nnc
