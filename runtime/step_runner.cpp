// Memory and calls around a compiled step function.
#include "runtime/step_runner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace nnc {
namespace {

// Calls visit(row-major offset, memory offset) for each element of the whole, in row-major order.
template <class Visit>
void for_each_element(const PersistentSlot& slot, Visit visit) {
  size_t rank = slot.shape.size();
  std::vector<int64_t> stride(rank, 1), index(rank, 0);
  int64_t step = 1;
  for (size_t i = rank; i-- > 0;) {
    size_t axis = slot.order.empty() ? i : size_t(slot.order[i]);
    stride[axis] = step;
    step *= slot.shape[axis];
  }
  int64_t count = slot.elements(), memory = 0;
  for (int64_t n = 0; n < count; ++n) {
    visit(n, memory);
    for (size_t i = rank; i-- > 0;) {
      memory += stride[i];
      if (++index[i] < slot.shape[i]) break;
      memory -= stride[i] * slot.shape[i];
      index[i] = 0;
    }
  }
}

/// An exponent of ones is NaN or infinity. In blocks without a branch, which run at the speed of memory.
template <class Bits>
bool all_finite(const std::byte* values, int64_t count, Bits exponent) {
  constexpr int64_t block = 64;
  Bits bits[block];
  for (int64_t i = 0; i < count; i += block) {
    int64_t n = std::min(block, count - i);
    std::memcpy(bits, values + size_t(i) * sizeof(Bits), size_t(n) * sizeof(Bits));
    Bits found = 0;
    if (n == block)
      for (int64_t k = 0; k < block; ++k) found |= Bits((bits[k] & exponent) == exponent);
    else
      for (int64_t k = 0; k < n; ++k) found |= Bits((bits[k] & exponent) == exponent);
    if (found) return false;
  }
  return true;
}

}  // namespace

int64_t PersistentSlot::elements() const {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  return n;
}

StepRunner::StepRunner(StepProgram program, Team& team, Collectives* workers)
    : program_(std::move(program)),
      team_(team),
      workers_(workers),
      arena_(program_.arena_bytes),
      scratch_((program_.scratch_bytes + 63) / 64 * 64 * team.size()) {
  const size_t bytes = size_t(program_.persistent_bytes);
  if (std::byte* shared = workers_ ? workers_->transport().share(bytes) : nullptr) {
    persistent_ = {shared, bytes};
  } else {
    own_persistent_ = AlignedMemory(program_.persistent_bytes);
    persistent_ = {own_persistent_.data(), bytes};
  }
  for (const OutputSlot& o : program_.outputs) {
    outputs_.emplace_back(o.bytes);
    output_pointers_.push_back(reinterpret_cast<uint8_t*>(outputs_.back().data()));
  }
  fields_.resize(program_.fields.size());
  context_.persistent = reinterpret_cast<uint8_t*>(persistent_.data());
  context_.arena = reinterpret_cast<uint8_t*>(arena_.data());
  context_.fields = fields_.data();
  context_.outputs = output_pointers_.data();
  context_.rows_capacity = program_.rows_capacity;
  context_.scratch = reinterpret_cast<uint8_t*>(scratch_.data());
  context_.scratch_bytes = (program_.scratch_bytes + 63) / 64 * 64;
  if (!program_.stages.empty()) staged_ = std::make_unique<StagedStep>(program_, team_, context_.persistent, workers_);
}

int StepRunner::find_persistent(std::string_view name) const {
  for (size_t i = 0; i < program_.persistents.size(); ++i)
    if (program_.persistents[i].name == name) return int(i);
  return -1;
}

void StepRunner::to_row_major(const PersistentSlot& slot, const std::byte* memory, std::byte* values) const {
  const size_t size = byte_size(slot.dtype);
  if (slot.order.empty())
    std::memcpy(values, memory, size * size_t(slot.elements()));
  else
    for_each_element(slot, [&](int64_t n, int64_t m) { std::memcpy(values + size_t(n) * size, memory + size_t(m) * size, size); });
}

void StepRunner::get_persistent(size_t index, std::byte* values) const {
  const PersistentSlot& slot = program_.persistents[index];
  if (slot.elements() == 0) return;  // nor need there be an address
  if (!slot.part) return to_row_major(slot, persistent_.data() + slot.offset, values);
  std::vector<std::byte> whole(is_first() ? byte_size(slot.dtype) * size_t(slot.elements()) : 0);
  gather_parts(index, whole.data());
  if (is_first()) to_row_major(slot, whole.data(), values);
}

/// All of a persistent in parts, in the order of memory, at worker 0.
void StepRunner::gather_parts(size_t index, std::byte* memory) const {
  const PersistentSlot& slot = program_.persistents[index];
  const size_t size = byte_size(slot.dtype);
  std::vector<size_t> begins;
  for (int64_t begin : slot.parts) begins.push_back(size_t(begin) * size);
  if (!recovered_) return workers_->gather_into(memory, {persistent_.data() + slot.offset, size_t(slot.here().count()) * size}, begins, 0);
  const auto part = size_t(std::ranges::count_if(program_.persistents.begin(), program_.persistents.begin() + std::ptrdiff_t(index), [](const PersistentSlot& s) { return s.part.has_value(); }));
  for (size_t w = 0; w + 1 < begins.size(); ++w)
    if (begins[w] < begins[w + 1]) std::memcpy(memory + begins[w], recovered_->parts[part][w], begins[w + 1] - begins[w]);
}

void StepRunner::set_persistent(size_t index, const std::byte* values) {
  const PersistentSlot& slot = program_.persistents[index];
  const ElementRange here = slot.here();
  if (here.count() == 0) return;  // nor need there be an address
  const size_t size = byte_size(slot.dtype);
  std::byte* to = persistent_.data() + slot.offset;
  if (slot.order.empty()) {
    std::memcpy(to, values + size_t(here.begin) * size, size * size_t(here.count()));
    return;
  }
  for_each_element(slot, [&](int64_t n, int64_t m) {
    if (m >= here.begin && m < here.end) std::memcpy(to + size_t(m - here.begin) * size, values + size_t(n) * size, size);
  });
}

void StepRunner::fill_persistent(size_t index, const std::byte* element) {
  const PersistentSlot& slot = program_.persistents[index];
  const size_t size = byte_size(slot.dtype);
  std::byte* to = persistent_.data() + slot.offset;
  for (int64_t n = 0; n < slot.here().count(); ++n) std::memcpy(to + size_t(n) * size, element, size);
}

void StepRunner::set_persistent_block(std::span<const std::byte> block) {
  NNC_CHECK(block.size() == persistent_block().size(), "a snapshot of another size");
  if (!block.empty()) std::memcpy(persistent_.data(), block.data(), block.size());
}

int64_t StepRunner::as_first_says(int64_t number) const {
  if (workers_) workers_->broadcast_into(std::as_writable_bytes(std::span(&number, 1)), 0);
  return number;
}

int StepRunner::find_non_finite(const std::vector<bool>& ignored) const {
  const int found = find_own_non_finite(ignored);
  if (!workers_) return found;
  const int64_t first = workers_->least(found < 0 ? INT64_MAX : found);
  return first == INT64_MAX ? -1 : int(first);
}

std::vector<bool> StepRunner::find_all_non_finite() const {
  std::vector<bool> all(program_.persistents.size(), false);
  for (int found; (found = find_non_finite(all)) >= 0;) all[size_t(found)] = true;
  return all;
}

int StepRunner::find_own_non_finite(const std::vector<bool>& ignored) const {
  for (size_t i = 0; i < program_.persistents.size(); ++i) {
    const PersistentSlot& slot = program_.persistents[i];
    const std::byte* values = persistent_.data() + slot.offset;
    if ((i < ignored.size() && ignored[i]) || !is_float(slot.dtype)) continue;
    bool finite = slot.dtype == DType::f32 ? all_finite<uint32_t>(values, slot.here().count(), 0x7f800000u)
                                           : all_finite<uint64_t>(values, slot.here().count(), 0x7ff0000000000000u);
    if (!finite) return int(i);
  }
  return -1;
}

bool StepRunner::holds_nan(size_t index) const {
  const PersistentSlot& slot = program_.persistents[index];
  const std::byte* values = persistent_.data() + slot.offset;
  const bool here = with_element(slot.dtype, [&](auto element) {
    if constexpr (std::is_floating_point_v<decltype(element)>)
      for (int64_t i = 0; i < slot.here().count(); ++i) {
        std::memcpy(&element, values + size_t(i) * sizeof element, sizeof element);
        if (std::isnan(element)) return true;
      }
    return false;
  });
  return slot.part ? workers_->agree_any(here) : here;
}

int StepRunner::keep_state(int64_t number, const std::vector<bool>& ignored) {
  if (!copy_) copy_ = std::make_unique<StateCopy>(program_, std::span(persistent_.data(), state_bytes()), workers_);
  copy_->begin(number);
  const int found = find_non_finite(ignored);
  if (found < 0)
    copy_->take();
  else
    copy_->pass();
  return found;
}

std::optional<int64_t> StepRunner::recover_state(int& missing) {
  missing = -1;
  if (!copy_) return std::nullopt;
  recovered_ = copy_->recover(missing);
  if (!recovered_) return std::nullopt;
  if (!recovered_->is_state) set_persistent_block(copy_->bytes());
  return recovered_->number;
}

void StepRunner::copy_persistents(const StepRunner& from) {
  std::vector<std::byte> values;
  for (size_t i = 0; i < program_.persistents.size(); ++i) {
    const PersistentSlot& slot = program_.persistents[i];
    int j = from.find_persistent(slot.name);
    if (j < 0) continue;
    const PersistentSlot& other = from.program_.persistents[size_t(j)];
    NNC_CHECK(other.shape == slot.shape && other.dtype == slot.dtype && !other.part && !slot.part, "two programs disagree about " + slot.name);
    size_t bytes = byte_size(slot.dtype) * size_t(slot.elements());
    if (other.order == slot.order) {
      std::memcpy(persistent_.data() + slot.offset, from.persistent_.data() + other.offset, bytes);
      continue;
    }
    values.resize(bytes);
    from.get_persistent(size_t(j), values.data());
    set_persistent(i, values.data());
  }
}

void StepRunner::bind_field(size_t index, const std::byte* base, int64_t row_stride) {
  fields_[index] = {reinterpret_cast<const uint8_t*>(base), row_stride};
}

int64_t StepRunner::run(std::span<const int64_t> rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& first) {
  draws_.resize(rows.size());
  for (size_t s = 0; s < rows.size(); ++s) draws_[s] = {first.update + s, first.first_row};
  context_.draws = draws_.data();
  context_.seed = first.seed;
  context_.rows = rows.data();
  context_.row_index = row_index;
  context_.scalars = scalars;
  context_.results = results;
  context_.steps_done = 0;
  bool alone = choose_alone();
  auto start = std::chrono::steady_clock::now();
  if (staged_)
    context_.steps_done = run_stages(rows, row_index, scalars, results, first, alone);
  else
    team_.run(program_.run, context_, int64_t(rows.size()), alone);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  constexpr double long_enough = 2e-3;  // else it is the time to wake the team that was measured
  if (context_.steps_done > 0 && seconds >= long_enough) {
    double& known = alone ? alone_seconds_ : team_seconds_;
    double sample = seconds / double(context_.steps_done);
    known = known == 0 ? sample : 0.5 * known + 0.5 * sample;
  }
  return context_.steps_done;
}

int64_t StepRunner::run_stages(std::span<const int64_t> rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& first, bool alone) {
  int64_t done = 0;
  for (; done < int64_t(rows.size()) && !stop_requested(); ++done) {
    const bool wish = std::atomic_ref<int32_t>(context_.stop).load(std::memory_order_relaxed) != 0;
    const DrawPosition draws{first.seed, first.update + uint64_t(done), first.first_row};
    const bool stop = staged_->run(rows[size_t(done)], row_index + done * program_.rows_capacity, scalars + done * int64_t(program_.scalars.size()), results + done * int64_t(program_.results.size()), draws, fields_,
                 output_pointers_, alone, wish);
    all_stop_ = all_stop_ || stop;
  }
  return done;
}

// Short steps are where meeting costs more than sharing saves, the more so while other processes hold the cores. Threads never change a bit, so
// both ways are tried, the faster one is kept, and the other looked at again now and then, for what it costs has changed by then.
bool StepRunner::choose_alone() {
  constexpr double worth_trying = 1e-3;
  constexpr int64_t look_again = 32;
  if (team_.size() == 1 || !program_.parallel) return true;
  ++runs_;
  if (team_seconds_ == 0) return false;
  if (team_seconds_ > worth_trying && alone_seconds_ == 0) return false;
  if (alone_seconds_ == 0) return true;
  bool alone = alone_seconds_ < team_seconds_;
  return runs_ % look_again == 0 ? !alone : alone;
}

void StepRunner::request_stop() { std::atomic_ref<int32_t>(context_.stop).store(1, std::memory_order_relaxed); }
void StepRunner::clear_stop() {
  all_stop_ = false;
  std::atomic_ref<int32_t>(context_.stop).store(0, std::memory_order_relaxed);
}
bool StepRunner::stop_requested() { return workers_ ? all_stop_ : std::atomic_ref<int32_t>(context_.stop).load(std::memory_order_relaxed) != 0; }

}  // namespace nnc
