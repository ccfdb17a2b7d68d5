// The commands of nnc: each in its own file, each returns its exit status. `add_*` declares a command's options and says what to do when it is chosen.
#pragma once

#include <functional>

#include "driver/session.h"

namespace CLI {
class App;
}

namespace nnc {

using Action = std::function<int()>;

void add_train(CLI::App&, Action&);
void add_eval(CLI::App&, Action&);
void add_predict(CLI::App&, Action&);
void add_run(CLI::App&, Action&);
void add_ir(CLI::App&, Action&);
void add_opt(CLI::App&, Action&);
void add_check(CLI::App&, Action&);
void add_explain(CLI::App&, Action&);
void add_fmt(CLI::App&, Action&);
void add_summary(CLI::App&, Action&);
void add_test(CLI::App&, Action&);
void add_gradcheck(CLI::App&, Action&);
void add_bench(CLI::App&, Action&);

/// FILE.nn and the options that commands share.
void add_common(CLI::App& command, CommonOptions&, bool data, bool threads);

}  // namespace nnc
