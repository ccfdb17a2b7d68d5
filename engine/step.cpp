// What the runtime has to know of compiled code is read off the program that it was made from.
#include "engine/step.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/diagnostics.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "runtime/cores.h"

namespace nnc {
namespace {

/// Code for another CPU may be shown; an instruction that this one does not know would end the process.
void require_host_runs(const Target& target) {
  std::vector<std::string> missing = features_missing_here(target);
  VectorLevel host = host_target().level;
  if (target.level <= host && missing.empty()) return;
  std::string why = target.level > host ? fmt::format("it has {}", vector_level_name(host))
                                        : fmt::format("it lacks {}", fmt::join(missing, ", "));
  throw UserError(Code::E0620, fmt::format("this machine cannot run code for {}: {}", target.cpu, why), "the command line",
                  "`nnc ir --cpu` shows code for any CPU");
}

}  // namespace

int default_threads() { return usable_cores(); }

LowerOptions lower_options(const std::string& name, const BatchPlan& plan, const Target& target) {
  LowerOptions options{name, plan.batch, target};
  const PlannedRows planned = plan.planned();
  if (planned == PlannedRows(planned.most)) return options;
  if (planned.whole != planned.most) options.whole_rows = planned.whole;
  options.piece_rows = planned.piece;
  return options;
}

Program make_program(Graph graph, const std::string& name, int64_t rows, const Target& target, const Layouts& layouts) {
  optimize_graph(graph, {.rows = rows});
  LowerOptions options{name, rows, target, layouts};
  options.typed_scalars = true;
  return build_program(graph, options);
}

CompiledStep compile_step(Program program, const SourceMap& sources, const CompileOptions& options) {
  require_host_runs(program.target);
  CompiledStep result;
  result.program = std::move(program);
  constexpr int64_t red_zone = 128;
  if (code_sanitizer() == Sanitizer::address) spread_memory(result.program, red_zone);
  const Program& p = result.program;
  result.code = compile(p, &sources, options);
  StepProgram& step = result.step;
  step.run = result.code->run();
  step.rows_capacity = p.rows;
  step.arena_bytes = p.arena_bytes;
  step.persistent_bytes = p.persistent_bytes;
  step.scratch_bytes = result.code->scratch_bytes();
  step.fields = p.fields;
  step.scalars = p.scalars;
  step.results = p.results;
  step.kernel_count = p.kernels.size();
  step.parallel = std::any_of(p.kernels.begin(), p.kernels.end(), [](const Kernel& k) { return k.parallel; });
  auto sizes = [&](const Shape& shape) {
    std::vector<int64_t> s;
    for (const Extent& e : shape) s.push_back(e.at(p.rows));
    return s;
  };
  for (const PersistentPlace& place : p.persistents) {
    const Buffer& b = p[place.buffer];
    step.persistents.push_back({b.name, b.dtype, sizes(b.shape), b.order, b.offset, place.persistent.kind != PersistentKind::optimizer_state});
  }
  step.outputs.resize(p.outputs.size());
  for (const Buffer& b : p.buffers) {
    if (b.kind != BufferKind::output) continue;
    OutputSlot& slot = step.outputs[size_t(b.offset)];
    slot = {b.name, b.dtype, sizes(b.shape), -1, b.bytes};
    for (size_t a = 0; a < b.shape.size(); ++a)
      if (b.shape[a].rows) slot.row_axis = int(a);
  }
  return result;
}

}  // namespace nnc
