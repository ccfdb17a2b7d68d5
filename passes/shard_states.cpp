// A state that nobody but its owners reads is cut out of every program alike, so that whatever follows it in the block of persistents moves up in all of them.
#include "passes/shard_states.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "ir/kernel_code.h"

namespace nnc {
namespace {

constexpr int64_t alignment = 64;

PersistentPlace& place_of(Program& program, const std::string& name) {
  const auto place = std::ranges::find_if(program.persistents, [&](const PersistentPlace& p) { return p.persistent.name == name; });
  NNC_CHECK(place != program.persistents.end(), "a stage without the persistent " + name);
  return *place;
}

/// Whether a kernel of the program touches the buffer, or a part of it.
bool touches(const Program& program, BufferId buffer) {
  bool found = false;
  for (const Kernel& kernel : program.kernels)
    for_each_access(kernel, [&](const Instruction& i) { found = found || memory_of(program, i.access.buffer) == buffer; });
  return found;
}

bool has_slots(const Program& program, BufferId buffer) {
  return std::ranges::any_of(program.buffers, [&](const Buffer& b) { return b.slot.valid() && b.slot.of == buffer; });
}

bool belongs_to_owners(std::vector<Program>& stages, const OwnedRange& range) {
  if (!range.updated || range.read_whole || place_of(stages.back(), range.name).persistent.kind != PersistentKind::optimizer_state) return false;
  return std::ranges::all_of(stages, [&](Program& stage) {
    const BufferId buffer = place_of(stage, range.name).buffer;
    return !has_slots(stage, buffer) && (&stage == &stages.back() || !touches(stage, buffer));
  });
}

void keep_part(Program& program, const std::string& name, int64_t begin, int64_t end) {
  PersistentPlace& place = place_of(program, name);
  Buffer& buffer = program[place.buffer];
  place.part = PersistentPart{begin, end, buffer.order};
  buffer.shape = {Extent{end - begin, false}};
  buffer.order.clear();
  buffer.bytes = buffer_bytes(buffer, program.rows);
  for (Kernel& kernel : program.kernels)
    for_each_instruction(kernel, [&](Instruction& i) {
      if (i.access.buffer == place.buffer) i.access.offset -= begin;
    });
}

void place_persistents(Program& program) {
  program.persistent_bytes = 0;
  for (Buffer& b : program.buffers) {
    if (b.kind != BufferKind::persistent || b.slot.valid()) continue;
    b.offset = program.persistent_bytes;
    program.persistent_bytes += (b.bytes + alignment - 1) / alignment * alignment;
  }
  place_slots(program);
}

}  // namespace

void shard_states(std::vector<Program>& stages, std::vector<OwnedRange>& owned, int worker) {
  for (OwnedRange& range : owned) {
    range.in_parts = belongs_to_owners(stages, range);
    if (!range.in_parts) continue;
    for (Program& stage : stages) keep_part(stage, range.name, range.begins[size_t(worker)], range.begins[size_t(worker) + 1]);
  }
  for (Program& stage : stages) {
    place_persistents(stage);
    const std::vector<std::string> faults = verify_program(stage);
    NNC_CHECK(faults.empty(), "a stage with states in parts is not sound: " + (faults.empty() ? "" : faults.front()));
  }
}

}  // namespace nnc
