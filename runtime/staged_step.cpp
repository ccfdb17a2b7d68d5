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

StagedStep::StagedStep(const StepProgram& program, Team& team, uint8_t* persistent, Collectives* workers)
    : program_(program), team_(team), persistent_(persistent), workers_(workers) {
  int64_t arena = 0;
  for (const StepProgram& p : program.stages) arena = std::max(arena, p.arena_bytes);
  arenas_.emplace_back(arena);
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
    c.fields = stage.fields.data();
    c.outputs = stage.outputs.data();
    c.rows_capacity = p.rows_capacity;
    c.scalars = stage.scalars.data();
    c.results = stage.results.data();
    c.scratch = reinterpret_cast<uint8_t*>(stage.scratch.data());
    c.scratch_bytes = rounded_up(p.scratch_bytes);
    for (const StepSegment& segment : p.segments) {
      int64_t parts = 0;
      for (const PartialSlot& slot : segment.partials) parts += rounded_up(slot.elements * int64_t(byte_size(slot.dtype)));
      part_bytes_ = std::max(part_bytes_, parts);
    }
  }
  reserve_arenas();
  if (!workers_) return;
  reserve_parts();
  std::vector<PublishRange> published, kept;
  for (const OwnedSlot& o : program.owned) (o.is_published ? published : kept).push_back({persistent_ + o.offset, o.element_bytes, o.begins});
  publish_.emplace(*workers_, std::move(published));
  gather_.emplace(*workers_, std::move(kept));
}

/// A stage of several segments has an arena for each share that this worker ever has.
void StagedStep::reserve_arenas() {
  const int64_t piece = program_.piece_rows, whole = (program_.rows_capacity + piece - 1) / piece;
  for (const StepProgram& p : program_.stages) {
    if (p.segments.size() == 1) continue;
    size_t most = 1;
    for (int64_t pieces = 1; pieces <= whole; ++pieces) most = std::max(most, shares(pieces, p.rows_capacity / piece).size());
    while (arenas_.size() < most) arenas_.emplace_back(p.arena_bytes);
  }
}

/// Room for all parts that this worker ever sets aside, where others can read it if there is such memory.
void StagedStep::reserve_parts() {
  size_t most = 0;
  const int64_t piece = program_.piece_rows, whole = (program_.rows_capacity + piece - 1) / piece, share = program_.stages.front().rows_capacity / piece;
  for (int64_t pieces = 1; pieces <= whole; ++pieces) {
    waiting_.nodes.clear();
    for (const SumNode node : shares(pieces, share)) {
      most = std::max(most, waiting_.nodes.size());
      take_up(node, [](size_t) {});
    }
  }
  std::byte* at = workers_->transport().share(most * size_t(part_bytes_));
  if (!at && most > 0) at = blocks_.emplace_back(int64_t(most) * part_bytes_).data();
  for (size_t i = 0; i < most; ++i) waiting_.parts.push_back(at + int64_t(i) * part_bytes_);
}

/// This worker's nodes of so many pieces, cut so that none has more than `most`.
std::vector<SumNode> StagedStep::shares(int64_t pieces, int64_t most) const {
  const PieceRun run = workers_ ? run_of(workers_->rank(), workers_->size(), pieces) : PieceRun{0, pieces};
  std::vector<SumNode> result;
  for (SumNode node : nodes_of(run.begin, run.end)) {
    const int64_t end = node.end();
    while (node.count() > most) --node.level;
    for (; node.first < end; node.first += node.count()) result.push_back(node);
  }
  return result;
}

void StagedStep::run_stage(Stage& stage, NncRun run, const AlignedMemory& arena, const Rows& rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& draws, std::span<const NncField> fields,
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
  c.arena = reinterpret_cast<uint8_t*>(arena.data());
  c.stop = 0;
  c.steps_done = 0;
  team_.run(run, c, 1, alone);
  for (size_t i = 0; i < stage.results.size(); ++i) results[stage.result_of[i]] = stage.results[i];
}

/// The parts in the persistent block make way for those of another node.
void StagedStep::set_aside(const StepSegment& segment) {
  if (waiting_.nodes.empty()) return;
  const size_t place = waiting_.nodes.size() - 1;
  if (waiting_.parts.size() <= place) waiting_.parts.push_back(blocks_.emplace_back(part_bytes_).data());
  std::byte* to = waiting_.parts[place];
  for (const PartialSlot& p : segment.partials) {
    const size_t bytes = size_t(p.elements) * byte_size(p.dtype);
    std::memcpy(to, persistent_ + p.offset, bytes);
    to += rounded_up(int64_t(bytes));
  }
}

/// `node` takes up what waits, as far as the tree goes; join(place) for each that it takes up, the last first.
void StagedStep::take_up(SumNode node, const std::function<void(size_t)>& join) {
  waiting_.nodes.push_back(node);
  while (waiting_.nodes.size() > 1) {
    const SumNode left = waiting_.nodes[waiting_.nodes.size() - 2], right = waiting_.nodes.back();
    if (left.level != right.level || left.first % (2 * left.count()) != 0) break;
    join(waiting_.nodes.size() - 2);
    waiting_.nodes.pop_back();
    waiting_.nodes.back().level = left.level + 1;
  }
}

/// What waits at a place and the parts in the persistent block become one there.
void StagedStep::join_parts_at(const StepSegment& segment, size_t place) {
  const std::byte* at = waiting_.parts[place];
  for (const PartialSlot& p : segment.partials) {
    std::byte* here = reinterpret_cast<std::byte*>(persistent_ + p.offset);
    join_parts(p.dtype, p.combine, at, here, p.elements, here);
    at += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
  }
}

void StagedStep::exchange(const StepSegment& segment, int64_t pieces, bool is_last, bool stop) {
  const size_t own = waiting_.nodes.size();
  wishes_.assign(std::max(wishes_.size(), own), int32_t(stop));
  auto found = exchanges_.find({&segment, pieces});
  if (found == exchanges_.end()) {
    constexpr size_t most_nodes = 128;
    wishes_.reserve(most_nodes);
    NNC_CHECK(own <= most_nodes, "a worker with too many nodes");
    std::vector<ExchangeItem> items;
    int64_t offset = 0;
    for (const PartialSlot& p : segment.partials) {
      ExchangeItem& item = items.emplace_back();
      item.type = p.dtype;
      item.elements = p.elements;
      item.combine = p.combine;
      for (size_t n = 0; n < own; ++n) item.parts.push_back(n + 1 < own ? waiting_.parts[n] + offset : reinterpret_cast<std::byte*>(persistent_ + p.offset));
      item.total = persistent_ + p.offset;
      item.begins = p.begins;
      item.whole = p.begins.empty();
      if (item.whole)
        for (int w = 0; w <= workers_->size(); ++w) item.begins.push_back(p.elements * w / workers_->size());
      offset += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
    }
    if (is_last) {
      ExchangeItem& item = items.emplace_back();
      item.type = DType::i32;
      item.elements = 1;
      item.combine = Combine::max;
      for (size_t n = 0; n < own; ++n) item.parts.push_back(&wishes_[n]);
      item.total = &any_wish_;
      item.begins.assign(size_t(workers_->size()) + 1, 1);
      item.begins[0] = 0;
      item.whole = true;
    }
    found = exchanges_.emplace(std::pair(&segment, pieces), Exchange(*workers_, std::move(items), nodes_of_workers(workers_->size(), pieces))).first;
  }
  found->second.start();
  found->second.finish();
}

/// What gives everybody the rows of outputs that others have computed; null: there are no such outputs.
Publish* StagedStep::publish_rows(int64_t rows, std::span<uint8_t* const> outputs) {
  if (!workers_ || std::ranges::none_of(program_.outputs, [](const OutputSlot& o) { return o.row_axis >= 0; })) return nullptr;
  const auto found = row_outputs_.find(rows);
  if (found != row_outputs_.end()) return &found->second;
  const int64_t piece = program_.piece_rows, pieces = (rows + piece - 1) / piece;
  std::vector<int64_t> begins{0};
  for (int w = 0; w < workers_->size(); ++w) begins.push_back(std::min(run_of(w, workers_->size(), pieces).end * piece, rows));
  std::vector<PublishRange> ranges;
  for (size_t i = 0; i < program_.outputs.size(); ++i)
    if (const OutputSlot& o = program_.outputs[i]; o.row_axis >= 0) ranges.push_back({outputs[i], o.bytes / program_.rows_capacity, begins});
  return &row_outputs_.emplace(rows, Publish(*workers_, std::move(ranges))).first->second;
}

void StagedStep::gather_owned() {
  if (!gather_) return;
  gather_->start();
  gather_->finish();
}

bool StagedStep::run(int64_t rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& draws, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                     bool alone, bool stop) {
  const int64_t piece = program_.piece_rows, pieces = (rows + piece - 1) / piece;
  any_wish_ = 0;
  for (size_t s = 0; s + 1 < stages_.size(); ++s) {
    Stage& stage = stages_[s];
    const StepProgram& program = *stage.program;
    const std::vector<SumNode> own = shares(pieces, program.rows_capacity / piece);
    for (const StepSegment& segment : program.segments) {
      waiting_.nodes.clear();
      for (size_t i = 0; i < own.size(); ++i) {
        const SumNode node = own[i];
        set_aside(segment);
        const int64_t first = node.first * piece, count = std::min(node.end() * piece, rows) - first;
        const AlignedMemory& arena = arenas_[program.segments.size() > 1 ? i : 0];
        run_stage(stage, segment.run, arena, {first, count, rows}, row_index, scalars, results, draws, fields, outputs, alone);
        take_up(node, [&](size_t place) { join_parts_at(segment, place); });
      }
      if (workers_) exchange(segment, pieces, s + 2 == stages_.size() && &segment == &program.segments.back(), stop);
      else
        for (size_t place = waiting_.nodes.size() - 1; place-- > 0;) join_parts_at(segment, place);
    }
  }
  const Stage& last = stages_.back();
  run_stage(stages_.back(), last.program->run, arenas_.front(), {0, 1, rows}, row_index, scalars, results, draws, fields, outputs, alone);
  Publish* const row_outputs = publish_rows(rows, outputs);
  for (Publish* publish : {publish_ ? &*publish_ : nullptr, row_outputs})
    if (publish) publish->start();
  for (Publish* publish : {publish_ ? &*publish_ : nullptr, row_outputs})
    if (publish) publish->finish();
  return any_wish_ != 0;
}

}  // namespace nnc
