// nnc check: every mistake of a file at once, nothing run.
#include <cstdio>

#include "driver/commands.h"
#include "runtime/workers/launch.h"

namespace nnc {
namespace {

struct CheckOptions {
  CommonOptions common;
  int workers = 1;
};

int check(Session& session, int workers) {
  session.load();
  if (session.module->has_train()) {
    warn_if_nothing_trains(session, session.require(session.module->build_train_graph(session.diagnostics)));
    // What batches in shares cannot do shows when the step is cut.
    session.workers = workers;
    const TrainSpec& spec = session.module->train();
    if (workers > 1 && spec.batch > 0) require_pieces(session, planned_batch(session));
    if (workers > 1 || spec.accumulate > 1) make_training_graphs(session);
  }
  if (!session.options.json) std::fprintf(stderr, "%s: no errors\n", session.options.file.c_str());
  return exit_done;
}

}  // namespace

Command check_command() {
  auto o = std::make_shared<CheckOptions>();
  Command command("check",
                  "parse, resolve and check shapes; every diagnostic at once\n\n"
                  "  nnc check digits.nn\n"
                  "  nnc check digits.nn --set data.batch=64 --json\n"
                  "  nnc check digits.nn --workers 4\n");
  add_common(command, o->common, "the .nn file", json_diagnostics);
  command.option("--workers", o->workers, "whether so many workers can share each training step (as nnc train --workers)").in_range(1, most_local_workers);
  command.run = [o] { return with_session(o->common, [&](Session& session) { return check(session, o->workers); }); };
  return command;
}

}  // namespace nnc
