// Shares in the order of their rows; of each, nodes of the tree, joined as a binary counter counts.
#include "runtime/staged_step.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace nnc {
namespace {

constexpr size_t own_rows = SIZE_MAX, own_first_row = SIZE_MAX - 1;

size_t place_of(const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  NNC_CHECK(found != names.end(), "a stage knows " + name + ", its step does not");
  return size_t(found - names.begin());
}

int64_t rounded_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

StagedStep::StagedStep(const StepProgram& program, Team& team, uint8_t* persistent) : program_(program), team_(team), persistent_(persistent) {
  int64_t arena = 0;
  for (const StepProgram& p : program.stages) arena = std::max(arena, p.arena_bytes);
  arena_ = AlignedMemory(arena);
  size_t kernels = 0;
  for (const StepProgram& p : program.stages) {
    Stage& stage = stages_.emplace_back();
    stage.program = &p;
    stage.first_kernel = kernels;
    kernels += p.kernel_count;
    stage.scratch = AlignedMemory(rounded_up(p.scratch_bytes) * team.size());
    for (const std::string& name : p.fields) stage.field_of.push_back(place_of(program.fields, name));
    for (const std::string& name : p.scalars)
      stage.scalar_of.push_back(name == "rows" ? own_rows : name == "first_row" ? own_first_row : place_of(program.scalars, name));
    for (const std::string& name : p.results) stage.result_of.push_back(place_of(program.results, name));
    for (const OutputSlot& o : p.outputs)
      stage.output_of.push_back(size_t(std::find_if(program.outputs.begin(), program.outputs.end(), [&](const OutputSlot& own) { return own.name == o.name; }) - program.outputs.begin()));
    stage.fields.resize(p.fields.size());
    stage.outputs.resize(p.outputs.size());
    stage.scalars.resize(p.scalars.size());
    stage.results.resize(p.results.size());
    NncContext& c = stage.context;
    c.persistent = persistent;
    c.arena = reinterpret_cast<uint8_t*>(arena_.data());
    c.fields = stage.fields.data();
    c.outputs = stage.outputs.data();
    c.rows_capacity = p.rows_capacity;
    c.scalars = stage.scalars.data();
    c.results = stage.results.data();
    c.scratch = reinterpret_cast<uint8_t*>(stage.scratch.data());
    c.scratch_bytes = rounded_up(p.scratch_bytes);
  }
}

int64_t StagedStep::bytes_of(const StepProgram& stage) {
  int64_t bytes = 0;
  for (const PartialSlot& p : stage.partials) bytes += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
  return bytes;
}

void StagedStep::run_stage(Stage& stage, const Rows& rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& draws, std::span<const NncField> fields,
                           std::span<uint8_t* const> outputs, bool alone) {
  for (size_t i = 0; i < stage.fields.size(); ++i) stage.fields[i] = fields[stage.field_of[i]];
  for (size_t i = 0; i < stage.scalars.size(); ++i) {
    if (stage.scalar_of[i] == own_rows) stage.scalars[i].number = double(rows.whole);
    else if (stage.scalar_of[i] == own_first_row) stage.scalars[i].number = double(rows.first);
    else stage.scalars[i] = scalars[stage.scalar_of[i]];
  }
  for (size_t i = 0; i < stage.outputs.size(); ++i) {
    const OutputSlot& whole = program_.outputs[stage.output_of[i]];
    stage.outputs[i] = outputs[stage.output_of[i]];
    if (whole.row_axis < 0) continue;
    NNC_CHECK(whole.row_axis == 0, "an output whose rows do not come first");
    stage.outputs[i] += whole.bytes / program_.rows_capacity * rows.first;
  }
  const NncDraw draw{draws.update, uint32_t(draws.first_row + uint64_t(rows.first))};
  NncContext& c = stage.context;
  c.draws = &draw;
  c.seed = draws.seed;
  c.rows = &rows.count;
  c.row_index = row_index + rows.first;
  c.kernel_cycles = ticks_ ? ticks_ + stage.first_kernel : nullptr;
  c.stop = 0;
  c.steps_done = 0;
  team_.run(stage.program->run, c, 1, alone);
  for (size_t i = 0; i < stage.results.size(); ++i) results[stage.result_of[i]] = stage.results[i];
}

/// The parts in the persistent block are those of `node`: they take up what waits, as far as the tree goes.
void StagedStep::push(const StepProgram& stage, SumNode node) {
  waiting_.nodes.push_back(node);
  while (waiting_.nodes.size() > 1) {
    const SumNode left = waiting_.nodes[waiting_.nodes.size() - 2], right = waiting_.nodes.back();
    if (left.level != right.level || left.first % (2 * left.count()) != 0) break;
    join_last(stage);
    waiting_.nodes.back().level = left.level + 1;
  }
}

/// The last that waits and the parts in the persistent block become one there.
void StagedStep::join_last(const StepProgram& stage) {
  const size_t left = waiting_.nodes.size() - 2;
  const std::byte* at = waiting_.parts[left].data();
  for (const PartialSlot& p : stage.partials) {
    std::byte* here = reinterpret_cast<std::byte*>(persistent_ + p.offset);
    join_parts(p.dtype, p.combine, at, here, p.elements, here);
    at += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
  }
  waiting_.nodes.erase(waiting_.nodes.end() - 1);
}

void StagedStep::run(int64_t rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& draws, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                     bool alone) {
  const int64_t piece = program_.piece_rows;
  for (size_t s = 0; s + 1 < stages_.size(); ++s) {
    Stage& stage = stages_[s];
    const StepProgram& program = *stage.program;
    waiting_.nodes.clear();
    for (int64_t begin = 0; begin < rows; begin += program.rows_capacity) {
      const int64_t end = std::min(begin + program.rows_capacity, rows);
      for (const SumNode node : nodes_of(begin / piece, (end + piece - 1) / piece)) {
        // What was made of the node before waits elsewhere.
        if (!waiting_.nodes.empty()) {
          const size_t place = waiting_.nodes.size() - 1;
          if (waiting_.parts.size() <= place || waiting_.parts[place].size() < bytes_of(program)) {
            waiting_.parts.resize(std::max(waiting_.parts.size(), place + 1));
            waiting_.parts[place] = AlignedMemory(bytes_of(program));
          }
          std::byte* to = waiting_.parts[place].data();
          for (const PartialSlot& p : program.partials) {
            const size_t bytes = size_t(p.elements) * byte_size(p.dtype);
            std::memcpy(to, persistent_ + p.offset, bytes);
            to += rounded_up(int64_t(bytes));
          }
        }
        const int64_t first = node.first * piece, count = std::min(node.end() * piece, end) - first;
        run_stage(stage, {first, count, rows}, row_index, scalars, results, draws, fields, outputs, alone);
        push(program, node);
      }
    }
    while (waiting_.nodes.size() > 1) join_last(program);
  }
  run_stage(stages_.back(), {0, 1, rows}, row_index, scalars, results, draws, fields, outputs, alone);
}

}  // namespace nnc
