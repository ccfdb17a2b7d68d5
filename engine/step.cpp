// What the runtime has to know of compiled code is read off the program that it was made from.
#include "engine/step.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "passes/rewrite.h"
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

namespace {

bool stores(const Kernel& kernel, BufferId buffer) {
  bool found = false;
  for_each_access(kernel, [&](const Instruction& i) { found = found || (writes_memory(i) && i.access.buffer == buffer); });
  return found;
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
  step.state_bytes = p.persistent_bytes;
  for (const PersistentPlace& place : p.persistents) {
    const Buffer& b = p[place.buffer];
    if (place.persistent.kind == PersistentKind::partial) step.state_bytes = std::min(step.state_bytes, b.offset);
    PersistentSlot slot{b.name, b.dtype, sizes(place.persistent.type.shape), memory_order(p, place), b.offset, place.persistent.kind != PersistentKind::optimizer_state};
    if (place.part) slot.part = {place.part->begin, place.part->end};
    step.persistents.push_back(std::move(slot));
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

namespace {

/// Of a sum that the last stage adds up further (a gradient whose norm is asked for), or that rows read: the memory order that its value has in the whole step, for the order of that sum follows it.
void keep_orders(const Graph& whole, const StepStages& stages, Layouts& layouts) {
  const Graph& last = stages.last;
  std::vector<bool> summed(last.size(), false);
  std::map<std::string, NodeId> nodes;
  for (const ShareStage& share : stages.shares)
    for (const StageSum& s : share.sums) nodes[s.name] = s.node;
  const std::vector<std::vector<int>> orders = memory_orders(whole);
  for (uint32_t i = last.size(); i-- > 0;) {
    const Node& node = last[NodeId{i}];
    const bool sums = op_class(node.op) == OpClass::reduce || op_class(node.op) == OpClass::contract;
    if (sums || (summed[i] && is_elementwise(node.op)))
      for (NodeId o : node.operands) summed[o.value] = true;
    if (const auto sum = nodes.find(node.attributes.text); summed[i] && node.op == Op::parameter && sum != nodes.end()) layouts.try_emplace(sum->first, orders[sum->second.value]);
  }
  for (const ShareStage& share : stages.shares)
    for (const StageSum& s : share.sums)
      if (s.exchanged) layouts.try_emplace(s.name, orders[s.node.value]);
}

/// Of a partial sum that element-wise arithmetic alone leads to the update of a persistent: that persistent's memory order, so that one kernel goes through both as they lie.
void follow_updated(const Graph& last, Layouts& layouts) {
  for (const Update& u : last.updates) {
    const auto order = layouts.find(u.name);
    if (order == layouts.end()) continue;
    std::vector<bool> leads(last.size(), false);
    leads[u.node.value] = true;
    for (uint32_t i = u.node.value + 1; i-- > 0;) {
      const Node& node = last[NodeId{i}];
      if (!leads[i] || node.type.shape != last.type(u.node).shape) continue;
      if (is_elementwise(node.op))
        for (NodeId o : node.operands) leads[o.value] = true;
      if (node.op == Op::parameter && last.find_persistent(node.attributes.text)->kind == PersistentKind::partial) layouts.try_emplace(node.attributes.text, order->second);
    }
  }
}

}  // namespace

StepPrograms build_step(const Graph& whole, const std::optional<StepStages>& stages, bool couples_rows, const BatchPlan& plan, const Target& target, WorkerPlace worker) {
  StepPrograms result;
  result.plan = plan;
  result.couples_rows = couples_rows;
  result.workers = worker.size;
  LowerOptions options = lower_options("train", plan, target);
  if (couples_rows) options.whole_rows = 0;
  if (worker.size > 1) {
    // A worker has as many pieces as any other, or one less.
    options.rows = std::min(plan.batch, (plan.pieces() + worker.size - 1) / worker.size * plan.piece);
    options.whole_rows = plan.whole();
    options.piece_rows = plan.piece;
  }
  if (!stages) {
    result.stages.push_back(build_program(whole, options));
    return result;
  }
  for (const Output& o : whole.outputs) (whole.type(o.node).rank() == 0 ? result.results : result.outputs).push_back(o.name);
  // What persistents are in the whole step they are in each stage; one that nothing is said of is row-major there.
  Layouts layouts = choose_layouts(whole);
  if (!couples_rows) keep_orders(whole, *stages, layouts);  // else no other step has the same sums
  follow_updated(stages->last, layouts);
  for (const Persistent& p : stages->last.persistents) layouts.try_emplace(p.name, identity_axes(p.type.rank()));
  auto build = [&](const Graph& graph, const std::string& name, LowerOptions own) {
    own.name = name;
    own.layouts = layouts;
    result.stages.push_back(build_program(graph, own));
  };
  for (size_t i = 0; i < stages->shares.size(); ++i) {
    build(stages->shares[i].graph, fmt::format("train.share{}", i), options);
    for (const StageSum& s : stages->shares[i].sums) result.sums.push_back(s);
  }
  result.handed = stages->handed;
  if (!result.handed.empty()) {
    // The last stage has the rows of the whole batch.
    options.rows = plan.whole();
    options.whole_rows = 0;
    options.piece_rows = plan.piece;
  }
  build(stages->last, "train.last", options);
  if (worker.size > 1) {
    result.owned = shard_updates(result.stages.back(), worker.rank, worker.size);
    // A sum that rows of a later share stage read is needed whole, whatever the last one needs of it.
    auto is_read_by_rows = [&](const OwnedRange& o) {
      return std::ranges::any_of(stages->shares, [&](const ShareStage& s) { return std::ranges::any_of(s.graph.nodes(), [&](const Node& n) { return n.op == Op::parameter && n.attributes.text == o.name; }); });
    };
    std::erase_if(result.owned, [&](const OwnedRange& o) { return !o.updated && is_read_by_rows(o); });
    shard_states(result.stages, result.owned, worker.rank);
  }
  return result;
}

namespace {

/// Where a step stops to exchange sums, and where enough of other partial sums is there to be sent while the rest is computed.
std::vector<size_t> segments_for_sending(const Program& program) {
  constexpr int64_t enough = 1 << 20;
  std::vector<size_t> segments = segments_of(program);
  std::vector<int64_t> stored(program.kernels.size(), 0);  // bytes of partial sums that are whole behind a kernel
  for (const PersistentPlace& p : program.persistents) {
    if (p.persistent.kind != PersistentKind::partial) continue;
    for (size_t k = program.kernels.size(); k-- > 0;) {
      if (!stores(program.kernels[k], p.buffer)) continue;
      stored[k] += program[p.buffer].bytes;
      break;
    }
  }
  std::vector<bool> may_stop(program.kernels.size() + 1, true);
  for (const Region& r : program.regions) std::fill_n(may_stop.begin() + std::ptrdiff_t(r.first) + 1, r.count - 1, false);
  for (const ParallelRegion& r : program.parallel_regions) std::fill_n(may_stop.begin() + std::ptrdiff_t(r.first) + 1, r.count - 1, false);
  std::vector<size_t> all;
  int64_t waiting = 0;
  for (size_t k = 0, next = 0; k < program.kernels.size(); ++k) {
    if (next < segments.size() && segments[next] == k) {
      ++next;
      waiting = 0;
      all.push_back(k);
    } else if (waiting >= enough && may_stop[k]) {
      waiting = 0;
      all.push_back(k);
    }
    waiting += stored[k];
  }
  return all.empty() ? segments : all;
}

}  // namespace

CompiledStep compile_step(StepPrograms programs, const SourceMap& sources, const CompileOptions& options) {
  if (!programs.is_staged()) return compile_step(std::move(programs.stages.front()), sources, options);
  CompiledStep result;
  for (Program& program : programs.stages) {
    CompileOptions own = options;
    own.segments = programs.workers > 1 ? segments_for_sending(program) : segments_of(program);
    result.stages.push_back(compile_step(std::move(program), sources, own));
    result.stages.back().segments = std::move(own.segments);
  }
  StepProgram& step = result.step;
  const StepProgram& last = result.stages.back().step;
  const int64_t whole = programs.plan.whole(), share = result.stages.front().step.rows_capacity;
  step.rows_capacity = whole;
  step.piece_rows = programs.couples_rows ? programs.plan.batch : programs.plan.piece;
  step.persistents = last.persistents;
  std::erase_if(step.persistents, [&](const PersistentSlot& slot) { return std::ranges::find(programs.sums, slot.name, &StageSum::name) != programs.sums.end(); });
  step.persistent_bytes = last.persistent_bytes;
  step.state_bytes = last.state_bytes;
  step.results = programs.results;
  step.parallel = false;
  auto is_handed = [&](const std::string& name) { return std::ranges::find(programs.handed, name, &HandedRows::name) != programs.handed.end(); };
  NNC_CHECK(std::ranges::all_of(last.fields, is_handed), "the last stage of a step reads data");
  auto add_names = [&](std::vector<std::string>& to, const std::vector<std::string>& names) {
    for (const std::string& name : names)
      if (name != "rows" && name != "first_row" && !is_handed(name) && std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
  };
  for (const HandedRows& rows : programs.handed) step.handed.push_back({rows.name, rows.type.elements(1) * int64_t(byte_size(rows.type.dtype))});
  std::vector<OutputSlot> outputs;
  for (CompiledStep& stage : result.stages) {
    const Program& p = stage.program;
    NNC_CHECK(stage.step.persistent_bytes == step.persistent_bytes && stage.step.state_bytes == step.state_bytes, "two stages of a step disagree about its persistents");
    std::vector<size_t> ends(stage.segments.begin() + 1, stage.segments.end());
    ends.push_back(p.kernels.size());
    for (NncRun run : stage.code->segments()) stage.step.segments.push_back({run, {}});
    for (const PersistentPlace& place : p.persistents) {
      const auto sum = std::find_if(programs.sums.begin(), programs.sums.end(), [&](const StageSum& s) { return s.name == place.persistent.name; });
      if (sum == programs.sums.end()) continue;
      const auto storing = std::find_if(p.kernels.rbegin(), p.kernels.rend(), [&](const Kernel& k) { return stores(k, place.buffer); });
      if (storing == p.kernels.rend()) continue;
      const size_t segment = size_t(std::upper_bound(ends.begin(), ends.end(), size_t(p.kernels.rend() - storing) - 1) - ends.begin());
      const auto owned = std::ranges::find_if(programs.owned, [&](const OwnedRange& o) { return o.name == sum->name && !o.updated; });
      PartialSlot slot{sum->name, sum->type.dtype, sum->type.elements(1), p[place.buffer].offset, sum->combine, {}, sum->exchanged};
      if (owned != programs.owned.end() && !sum->exchanged) slot.begins = owned->begins;
      stage.step.segments[segment].partials.push_back(std::move(slot));
    }
    add_names(step.fields, stage.step.fields);
    add_names(step.scalars, stage.step.scalars);
    step.kernel_count += stage.step.kernel_count;
    step.parallel = step.parallel || stage.step.parallel;
    outputs.insert(outputs.end(), stage.step.outputs.begin(), stage.step.outputs.end());
    step.stages.push_back(stage.step);
  }
  for (const OwnedRange& o : programs.owned) {
    const auto slot = std::ranges::find(step.persistents, o.name, &PersistentSlot::name);
    if (o.in_parts) slot->parts = o.begins;
    else if (o.updated) step.published.push_back({o.name, slot->offset, int64_t(byte_size(slot->dtype)), o.begins});
  }
  for (const std::string& name : programs.outputs) {
    OutputSlot slot = *std::find_if(outputs.begin(), outputs.end(), [&](const OutputSlot& o) { return o.name == name; });
    if (slot.row_axis >= 0) {
      slot.bytes = slot.bytes / slot.shape[size_t(slot.row_axis)] * (slot.shape[size_t(slot.row_axis)] / share * whole);
      slot.shape[size_t(slot.row_axis)] = slot.shape[size_t(slot.row_axis)] / share * whole;
    }
    step.outputs.push_back(std::move(slot));
  }
  return result;
}

}  // namespace nnc
