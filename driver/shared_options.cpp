// The options that several commands share, each declared once.
#include "driver/commands.h"

namespace nnc {

void add_common(Command& command, CommonOptions& o, const std::string& file_help, const char* json_help) {
  command.positional("FILE", o.file, file_help).required();
  command.option("--set", o.set, "PATH=VALUE: a dim (Layers=2) or an option of the train block (data.batch=64, using.lr=0.05)");
  command.option("--seed", o.seed, "seed of the run instead of the file's");
  command.option("--cpu", o.cpu, "generate code for this CPU (an LLVM name) or level (portable, avx2, avx512)");
  add_json(command, o.json, json_help);
}

void add_json(Command& command, bool& json, const char* help) { command.flag("--json", json, help); }

void add_data(Command& command, CommonOptions& o) {
  command.option("--data", o.data,
                 "FIELD=PATH: another file for a data field (BLOCK.FIELD=PATH: of the block that `test from` names)");
}

void add_threads(Command& command, CommonOptions& o) {
  command.option("--threads", o.threads, "threads (default: the cores this process may use)").in_range(1, 1024);
}

void add_perf_map(Command& command, CommonOptions& o) {
  command.flag("--perf-map", o.perf_map, "name the kernels for perf (/tmp/perf-PID.map) and gdb");
}

void add_shown_workers(Command& command, int& workers) {
  command.option("--workers", workers, "of a step that so many workers share (1)").in_range(1, 1024);
}

void add_trained_weights(Command& command, std::string& path) {
  command.option("--weights", path, "trained weights (.safetensors)").required();
}

void add_planned_rows(Command& command, int64_t& rows, const std::string& help) {
  command.option("--rows", rows, help).in_range(1, int64_t{1} << 24);
}

void add_definition(Command& command, DefinitionOptions& o, const std::string& rows_help) {
  command.option("--fn", o.fn, "a definition instead of the training step");
  command.option("--input", o.inputs, "with --fn, NAME=TYPE: \"x=f32[B, 64]\" or \"label=class(10)[B]\", where B is the rows of a batch");
  command.option("--dim", o.dims, "with --fn, N=64: a size that no input gives");
  add_planned_rows(command, o.rows, rows_help);
}

}  // namespace nnc
