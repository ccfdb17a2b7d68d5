// The commands of nnc: each in its own file, which declares its options and says what is done when it is chosen.
#pragma once

#include "driver/declared_inputs.h"
#include "driver/options.h"
#include "driver/session.h"

namespace nnc {

Command train_command();
Command eval_command();
Command predict_command();
Command run_command();
Command ir_command();
Command opt_command();
Command check_command();
Command explain_command();
Command fmt_command();
Command summary_command();
Command test_command();
Command gradcheck_command();
Command bench_command();
Command plan_command();

// Options that several commands share.

/// Of commands that run a training step.
constexpr const char* smaller_batch = "`nnc summary` says how much its buffers take; a smaller `data.batch` needs less";
/// Of --json: a command whose result is text of a form of its own says only the first.
constexpr const char* json_diagnostics = "diagnostics as JSON lines";
constexpr const char* json_results = "diagnostics and results as JSON lines";
/// FILE, --set, --seed, --cpu, --json.
void add_common(Command&, CommonOptions&, const std::string& file_help = "the .nn file", const char* json_help = json_results);
void add_json(Command&, bool& json, const char* help = json_results);
void add_data(Command&, CommonOptions&);
void add_threads(Command&, CommonOptions&);
void add_perf_map(Command&, CommonOptions&);
/// --workers, of commands that show a step which several share.
void add_shown_workers(Command&, int& workers);
/// --weights, without which the command does not run.
void add_trained_weights(Command&, std::string& path);
/// --rows, of the batch that kernels are planned for.
void add_planned_rows(Command&, int64_t& rows, const std::string& help);
/// --fn, --input, --dim and --rows: a definition in place of the training step.
void add_definition(Command&, DefinitionOptions&, const std::string& rows_help);

}  // namespace nnc
