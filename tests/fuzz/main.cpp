// nnc-fuzz: random graphs and random programs through every road that nnc has from text to values, which must all lead to the same place.
#include <algorithm>
#include <csignal>
#include <cstdio>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/diagnostics.h"
#include "tests/fuzz/session.h"

using namespace nnc::fuzz;

namespace {

volatile bool interrupted = false;

int run(int argc, char** argv) {
  CLI::App app(
      "random graphs and programs: values, gradients and updates by every road must agree\n\n"
      "  nnc-fuzz --minutes 60                       search; failures go to fuzz-failures/\n"
      "  nnc-fuzz --kind graph --seed 4711 --count 1 one case again\n"
      "  nnc-fuzz --kind graph --seed 4711 --print   that case as text: the same whatever compiler built nnc-fuzz\n"
      "  nnc-fuzz --replay graph-4711.nnir           a kept failure, along every road\n");
  SessionOptions options;
  std::string kind = "all";
  std::vector<std::string> files, routes;
  double minutes = 0;
  bool no_shrink = false, print = false;
  app.add_option("--seed", options.seed, "of the first case; the next ones follow");
  app.add_option("--count", options.count, "so many cases");
  app.add_option("--seconds", options.seconds, "so long");
  app.add_option("--minutes", minutes, "so long");
  app.add_option("--kind", kind, "graph, program or all")->check(CLI::IsMember({"graph", "program", "all"}));
  app.add_option("--out", options.out, "folder for failures");
  CLI::Option* replayed = app.add_option("--replay", files, "kept .nnir and .nn files");
  app.add_option("--route", routes, "with --replay: only this route, as a failure prints it");
  app.add_flag("--no-shrink", no_shrink, "keep failures as large as they are");
  app.add_flag("--quiet", options.quiet, "no progress");
  app.add_flag("--reach-all", options.reach_all, "go on until every operation was reached in each element type that it takes: up to four times --count, then fail");
  app.add_flag("--print", print,
               "no checks: write the case of the seed, or --count cases, as --replay takes one: a graph with its values, or a program")
      ->excludes(replayed);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.command = argv[0];
  options.shrink = !no_shrink;
  options.graphs = kind != "program";
  options.programs = kind != "graph";
  if (minutes > 0) options.seconds = minutes * 60;

  if (!files.empty()) {
    size_t failed = 0;
    std::vector<Check> checks;
    for (const std::string& r : routes) checks.push_back(Check::decode(r));
    for (const std::string& file : files)
      for (const Failure& f : replay(file, checks)) {
        ++failed;
        fmt::print("FAILED {}: {}\n  {}\n  route: {}\n", file, f.kind, f.detail, f.check);
      }
    fmt::print("{} files, {} failures\n", files.size(), failed);
    return failed ? 1 : 0;
  }

  if (print) {
    for (uint64_t i = 0; i < uint64_t(std::max<int64_t>(options.count, 1)); ++i)
      fmt::print("{}", case_text(options.kind_of(options.seed + i), options.seed + i));
    return 0;
  }

  std::signal(SIGINT, [](int) { interrupted = true; });
  FuzzSession session(options);
  session.run(interrupted);
  fmt::print("{}", session.summary());
  if (options.reach_all && !session.coverage().missing("op.").empty()) return 1;
  return session.found().empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const nnc::UserError& e) {
    fmt::print(stderr, "{}\n", e.what());
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
  }
  return 2;
}
