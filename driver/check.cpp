// nnc check: every mistake of a file at once, nothing run.
#include <cstdio>

#include <CLI/CLI.hpp>

#include "driver/commands.h"

namespace nnc {
namespace {

int check(const CommonOptions& options) {
  Session session(options);
  session.load();
  if (!options.json) std::fprintf(stderr, "%s: no errors\n", options.file.c_str());
  return exit_done;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto o = std::make_shared<CommonOptions>();
  CLI::App* command = app.add_subcommand("check",
                                         "parse, resolve and check shapes; every diagnostic at once\n\n"
                                         "  nnc check digits.nn\n"
                                         "  nnc check digits.nn --set data.batch=64 --json\n");
  add_common(*command, *o, false, false);
  command->callback([o, &action] { action = [o] { return check(*o); }; });
}

}  // namespace nnc
