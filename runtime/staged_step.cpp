// Shares in the order of their rows; of each, nodes of the tree, joined as a binary counter counts.
#include "runtime/staged_step.h"

#include <algorithm>
#include <cstring>
#include <numeric>

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
    auto handed_behind = [&](size_t own, const std::string& name) -> std::optional<size_t> {
      const auto found = std::ranges::find(program.handed, name, &HandedSlot::name);
      if (found == program.handed.end()) return std::nullopt;
      return own + size_t(found - program.handed.begin());
    };
    for (const std::string& name : p.fields) {
      const std::optional<size_t> handed = handed_behind(program.fields.size(), name);
      stage.field_of.push_back(handed ? *handed : place_of(program.fields, name));
    }
    for (const std::string& name : p.scalars)
      stage.scalar_of.push_back(name == "rows" ? own_rows : name == "first_row" ? own_first_row : place_of(program.scalars, name));
    for (const std::string& name : p.results) stage.result_of.push_back(place_of(program.results, name));
    for (const OutputSlot& o : p.outputs) {
      const std::optional<size_t> handed = handed_behind(program.outputs.size(), o.name);
      stage.output_of.push_back(handed ? *handed : size_t(std::find_if(program.outputs.begin(), program.outputs.end(), [&](const OutputSlot& own) { return own.name == o.name; }) - program.outputs.begin()));
    }
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
      int64_t bytes = 0;
      for (const PartialSlot& slot : segment.partials) bytes += rounded_up(slot.elements * int64_t(byte_size(slot.dtype)));
      stage.waiting.push_back({{}, {}, bytes});
      stage.exchanges = stage.exchanges || std::ranges::any_of(segment.partials, &PartialSlot::exchanged);
    }
  }
  reserve_arenas();
  reserve_handed();
  if (!workers_) return;
  reserve_parts();
  std::vector<PublishRange> published;
  for (const PublishedSlot& p : program.published) published.push_back({persistent_ + p.offset, p.element_bytes, p.begins});
  publish_.emplace(*workers_, std::move(published));
}

/// A stage of several segments has an arena for each share that this worker ever has.
void StagedStep::reserve_arenas() {
  const int64_t piece = program_.piece_rows, whole = (program_.rows_capacity + piece - 1) / piece;
  for (const Stage& stage : stages_) {
    if (!stage.exchanges) continue;
    size_t most = 1;
    for (int64_t pieces = 1; pieces <= whole; ++pieces) most = std::max(most, shares(pieces, stage.program->rows_capacity / piece).size());
    while (arenas_.size() < most) arenas_.emplace_back(stage.program->arena_bytes);
  }
}

/// Room for all parts that this worker ever sets aside, where others can read it if there is such memory.
void StagedStep::reserve_parts() {
  const int64_t piece = program_.piece_rows, whole = (program_.rows_capacity + piece - 1) / piece, share = program_.stages.front().rows_capacity / piece;
  size_t most = 0;
  Waiting counter;
  for (int64_t pieces = 1; pieces <= whole; ++pieces) {
    counter.nodes.clear();
    for (const SumNode node : shares(pieces, share)) {
      most = std::max(most, counter.nodes.size());
      take_up(counter, node, [](size_t) {});
    }
  }
  int64_t bytes = 0;
  for (const Stage& stage : stages_)
    for (const Waiting& waiting : stage.waiting) bytes += waiting.part_bytes;
  std::byte* at = workers_->transport().share(most * size_t(bytes));
  if (!at && most > 0) at = blocks_.emplace_back(int64_t(most) * bytes).data();
  for (Stage& stage : stages_)
    for (Waiting& waiting : stage.waiting)
      for (size_t i = 0; i < most; ++i, at += waiting.part_bytes) waiting.parts.push_back(at);
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
  for (size_t i = 0; i < stage.fields.size(); ++i) {
    const size_t at = stage.field_of[i];
    stage.fields[i] = at < fields.size() ? fields[at] : NncField{handed_[at - fields.size()].base, handed_[at - fields.size()].row_bytes};
  }
  for (size_t i = 0; i < stage.scalars.size(); ++i) {
    if (stage.scalar_of[i] == own_rows) stage.scalars[i].number = double(rows.whole);
    else if (stage.scalar_of[i] == own_first_row) stage.scalars[i].number = double(rows.first);
    else stage.scalars[i] = scalars[stage.scalar_of[i]];
  }
  for (size_t i = 0; i < stage.outputs.size(); ++i) {
    const size_t at = stage.output_of[i];
    if (at >= outputs.size()) {
      const RowMemory& memory = handed_[at - outputs.size()];
      stage.outputs[i] = memory.base + memory.row_bytes * rows.first;
      continue;
    }
    const OutputSlot& whole = program_.outputs[at];
    stage.outputs[i] = outputs[at];
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
void StagedStep::set_aside(Stage& stage, size_t number) {
  Waiting& waiting = stage.waiting[number];
  if (waiting.nodes.empty()) return;
  const size_t place = waiting.nodes.size() - 1;
  if (waiting.parts.size() <= place) waiting.parts.push_back(blocks_.emplace_back(waiting.part_bytes).data());
  std::byte* to = waiting.parts[place];
  for (const PartialSlot& p : stage.program->segments[number].partials) {
    const size_t bytes = size_t(p.elements) * byte_size(p.dtype);
    std::memcpy(to, persistent_ + p.offset, bytes);
    to += rounded_up(int64_t(bytes));
  }
}

/// `node` takes up what waits, as far as the tree goes; join(place) for each that it takes up, the last first.
void StagedStep::take_up(Waiting& waiting, SumNode node, const std::function<void(size_t)>& join) {
  waiting.nodes.push_back(node);
  while (waiting.nodes.size() > 1) {
    const SumNode left = waiting.nodes[waiting.nodes.size() - 2], right = waiting.nodes.back();
    if (left.level != right.level || left.first % (2 * left.count()) != 0) break;
    join(waiting.nodes.size() - 2);
    waiting.nodes.pop_back();
    waiting.nodes.back().level = left.level + 1;
  }
}

void StagedStep::take_up(Stage& stage, size_t number, SumNode node) {
  Waiting& waiting = stage.waiting[number];
  take_up(waiting, node, [&](size_t place) { join_parts_at(stage.program->segments[number], waiting, place); });
}

/// What waits at a place and the parts in the persistent block become one there.
void StagedStep::join_parts_at(const StepSegment& segment, const Waiting& waiting, size_t place) {
  const std::byte* at = waiting.parts[place];
  for (const PartialSlot& p : segment.partials) {
    std::byte* here = reinterpret_cast<std::byte*>(persistent_ + p.offset);
    join_parts(p.dtype, p.combine, at, here, p.elements, here);
    at += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
  }
}

Exchange& StagedStep::exchange_of(Stage& stage, size_t number, bool read_next, int64_t pieces) {
  const StepSegment& segment = stage.program->segments[number];
  const auto found = exchanges_.find({&segment, read_next, pieces});
  if (found != exchanges_.end()) return found->second;
  const Waiting& waiting = stage.waiting[number];
  const size_t own = waiting.nodes.size();
  std::vector<ExchangeItem> items;
  int64_t offset = 0;
  for (const PartialSlot& p : segment.partials) {
    const int64_t at = offset;
    offset += rounded_up(p.elements * int64_t(byte_size(p.dtype)));
    if (p.exchanged != read_next) continue;
    ExchangeItem& item = items.emplace_back();
    item.type = p.dtype;
    item.elements = p.elements;
    item.combine = p.combine;
    for (size_t n = 0; n < own; ++n) item.parts.push_back(n + 1 < own ? waiting.parts[n] + at : reinterpret_cast<std::byte*>(persistent_ + p.offset));
    item.total = persistent_ + p.offset;
    item.begins = p.begins;
    item.whole = p.begins.empty();
    if (item.whole)
      for (int w = 0; w <= workers_->size(); ++w) item.begins.push_back(p.elements * w / workers_->size());
  }
  if (!read_next && &stage + 2 == stages_.data() + stages_.size() && number + 1 == stage.waiting.size()) {
    NNC_CHECK(own <= most_nodes, "a worker with too many nodes");
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
  return exchanges_.emplace(std::tuple(&segment, read_next, pieces), Exchange(*workers_, std::move(items), nodes_of_workers(workers_->size(), pieces))).first->second;
}

Publish& StagedStep::publish_of(RowPublishes& all, int64_t rows, const std::vector<RowMemory>& memory) {
  const auto found = all.find(rows);
  if (found != all.end()) return found->second;
  const int64_t piece = program_.piece_rows, pieces = (rows + piece - 1) / piece;
  std::vector<int64_t> begins{0};
  for (int w = 0; w < workers_->size(); ++w) begins.push_back(std::min(run_of(w, workers_->size(), pieces).end * piece, rows));
  std::vector<PublishRange> ranges;
  for (const RowMemory& m : memory) ranges.push_back({m.base, m.row_bytes, begins});
  return all.emplace(rows, Publish(*workers_, std::move(ranges))).first->second;
}

/// Everybody gets the rows of outputs, and of what is handed on, that others have computed.
void StagedStep::publish_rows(int64_t rows, std::span<uint8_t* const> outputs) {
  if (!workers_) return;
  std::vector<RowMemory> with_rows;
  for (size_t i = 0; i < program_.outputs.size(); ++i)
    if (const OutputSlot& o = program_.outputs[i]; o.row_axis >= 0) with_rows.push_back({outputs[i], o.bytes / program_.rows_capacity});
  Publish* const of_outputs = with_rows.empty() ? nullptr : &publish_of(row_outputs_, rows, with_rows);
  Publish* const of_handed = handed_.empty() ? nullptr : &publish_of(row_handed_, rows, handed_);
  for (Publish* publish : {of_outputs, of_handed})
    if (publish) publish->start();
  for (Publish* publish : {of_outputs, of_handed})
    if (publish) publish->finish();
}

/// Memory of the rows that are handed on, where others can read it if there is such memory.
void StagedStep::reserve_handed() {
  for (const HandedSlot& slot : program_.handed) {
    const int64_t bytes = slot.row_bytes * program_.rows_capacity;
    std::byte* at = workers_ ? workers_->transport().share(size_t(bytes)) : nullptr;
    if (!at) at = blocks_.emplace_back(bytes).data();
    handed_.push_back({reinterpret_cast<uint8_t*>(at), slot.row_bytes});
  }
  if (handed_.empty()) return;
  row_numbers_.resize(size_t(program_.rows_capacity));
  std::iota(row_numbers_.begin(), row_numbers_.end(), int64_t(0));
}

bool StagedStep::run(int64_t rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& draws, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                     bool alone, bool stop) {
  const int64_t piece = program_.piece_rows, pieces = (rows + piece - 1) / piece;
  any_wish_ = 0;
  wishes_.fill(int32_t(stop));
  for (size_t s = 0; s + 1 < stages_.size(); ++s) {
    Stage& stage = stages_[s];
    const StepProgram& program = *stage.program;
    const std::vector<SumNode> own = shares(pieces, program.rows_capacity / piece);
    auto compute = [&](size_t share, NncRun run, size_t first_segment, size_t end_segment) {
      const SumNode node = own[share];
      for (size_t g = first_segment; g < end_segment; ++g) set_aside(stage, g);
      const int64_t first = node.first * piece, count = std::min(node.end() * piece, rows) - first;
      run_stage(stage, run, arenas_[stage.exchanges ? share : 0], {first, count, rows}, row_index, scalars, results, draws, fields, outputs, alone);
      for (size_t g = first_segment; g < end_segment; ++g) take_up(stage, g, node);
    };
    for (Waiting& waiting : stage.waiting) waiting.nodes.clear();
    const size_t segments = program.segments.size();
    size_t in_segments = 0;  // the first share of those that go through one segment at a time
    if (!stage.exchanges)
      for (; in_segments + 1 < own.size(); ++in_segments) compute(in_segments, program.run, 0, segments);
    std::vector<Exchange*> on_their_way;
    for (size_t g = 0; g < segments; ++g) {
      for (size_t i = in_segments; i < own.size(); ++i) compute(i, program.segments[g].run, g, g + 1);
      if (!workers_) {
        for (size_t place = stage.waiting[g].nodes.size() - 1; place-- > 0;) join_parts_at(program.segments[g], stage.waiting[g], place);
        continue;
      }
      const std::vector<PartialSlot>& partials = program.segments[g].partials;
      if (g + 1 == segments || !std::ranges::all_of(partials, &PartialSlot::exchanged)) {
        Exchange& rest = exchange_of(stage, g, false, pieces);
        rest.start();
        on_their_way.push_back(&rest);
      }
      if (std::ranges::any_of(partials, &PartialSlot::exchanged)) {
        Exchange& read_next = exchange_of(stage, g, true, pieces);
        read_next.start();
        read_next.finish();
      }
      workers_->progress();
    }
    for (Exchange* exchange : on_their_way) exchange->finish();
  }
  publish_rows(rows, outputs);
  const Stage& last = stages_.back();
  run_stage(stages_.back(), last.program->run, arenas_.front(), {0, handed_.empty() ? 1 : rows, rows}, handed_.empty() ? row_index : row_numbers_.data(), scalars, results, draws, fields, outputs, alone);
  if (publish_) {
    publish_->start();
    publish_->finish();
  }
  return any_wish_ != 0;
}

}  // namespace nnc
