// nnc check: every mistake of a file at once, nothing run.
#include <cstdio>


#include "driver/commands.h"

namespace nnc {
namespace {

int check(Session& session) {
  session.load();
  if (session.module->has_train())
    warn_if_nothing_trains(session, session.require(session.module->build_train_graph(session.diagnostics)));
  if (!session.options.json) std::fprintf(stderr, "%s: no errors\n", session.options.file.c_str());
  return exit_done;
}

}  // namespace

Command check_command() {
  auto o = std::make_shared<CommonOptions>();
  Command command("check",
                  "parse, resolve and check shapes; every diagnostic at once\n\n"
                  "  nnc check digits.nn\n"
                  "  nnc check digits.nn --set data.batch=64 --json\n");
  add_common(command, *o, "the .nn file", json_diagnostics);
  command.run = [o] { return with_session(*o, check); };
  return command;
}

}  // namespace nnc
