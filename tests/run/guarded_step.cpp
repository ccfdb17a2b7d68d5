// The guard: pages without any right, mapped around and between the accessible ones. A touch raises SIGSEGV on the thread that runs the step; the handler
// notes the address and leaves the generated code by siglongjmp, which is sound because generated code owns nothing.
#include "tests/run/guarded_step.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "engine/tensors.h"
#include "runtime/team.h"
#include "tests/unit/catch.h"

namespace nnc::test {
namespace {

constexpr int64_t page = 4096;
int64_t pages(int64_t bytes) { return (bytes + page - 1) / page * page; }

volatile sig_atomic_t guarding = 0;
sigjmp_buf left;
void* touched = nullptr;

void on_fault(int signal_number, siginfo_t* info, void*) {
  if (!guarding) {
    signal(signal_number, SIG_DFL);  // some other fault: it happens again, and is the process's end
    return;
  }
  touched = info->si_addr;
  siglongjmp(left, 1);
}

/// Catches faults while it lives.
class FaultHandler {
 public:
  FaultHandler() {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &segv_);
    sigaction(SIGBUS, &action, &bus_);
  }
  ~FaultHandler() {
    guarding = 0;
    sigaction(SIGSEGV, &segv_, nullptr);
    sigaction(SIGBUS, &bus_, nullptr);
  }

 private:
  struct sigaction segv_ {}, bus_ {};
};

bool run_caught(Team& team, NncRun run, NncContext& context, int steps) {
  FaultHandler handler;
  guarding = 1;
  if (sigsetjmp(left, 1) != 0) return false;
  team.run(run, context, steps);
  return true;
}

bool is_block(const Buffer& b) { return (b.kind == BufferKind::temporary || b.kind == BufferKind::persistent) && !b.slot.valid(); }

/// Every buffer of the arena and of the persistent block on pages of its own, an untouchable one between any two.
void separate(Program& program, bool at_end) {
  program.arena_bytes = program.persistent_bytes = 0;
  for (Buffer& b : program.buffers) {
    if (!is_block(b)) continue;
    int64_t& end = b.kind == BufferKind::temporary ? program.arena_bytes : program.persistent_bytes;
    int64_t begin = end + page;
    end = begin + pages(b.bytes);
    b.offset = at_end ? end - b.bytes : begin;
  }
  program.arena_bytes += page;
  program.persistent_bytes += page;
  place_slots(program);
}

/// Calls visit(row-major number, place in memory) for each element of a value of this shape in a buffer.
template <class Visit>
void for_each_element(const Program& program, const Buffer& buffer, const std::vector<int64_t>& shape, Visit visit) {
  std::vector<int64_t> strides = buffer_strides(buffer, program.rows), index(shape.size(), 0);
  int64_t count = 1, at = 0;
  for (int64_t s : shape) count *= s;
  for (int64_t n = 0; n < count; ++n) {
    visit(n, at);
    for (size_t i = shape.size(); i-- > 0;) {
      at += strides[i];
      if (++index[i] < shape[i]) break;
      at -= strides[i] * shape[i];
      index[i] = 0;
    }
  }
}

}  // namespace

GuardedBlock::GuardedBlock(int64_t bytes, bool at_end) : bytes_(bytes), mapped_(pages(bytes) + 2 * page) {
  void* place = mmap(nullptr, size_t(mapped_), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(place != MAP_FAILED);
  base_ = static_cast<uint8_t*>(place);
  int64_t inner = mapped_ - 2 * page;
  if (inner > 0) {
    REQUIRE(mprotect(base_ + page, size_t(inner), PROT_READ | PROT_WRITE) == 0);
    std::memset(base_ + page, 0xFF, size_t(inner));
  }
  data_ = at_end ? base_ + page + inner - bytes : base_ + page;
}
GuardedBlock::~GuardedBlock() {
  if (base_) munmap(base_, size_t(mapped_));
}
GuardedBlock::GuardedBlock(GuardedBlock&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), data_(other.data_), bytes_(other.bytes_), mapped_(other.mapped_) {}
bool GuardedBlock::covers(const void* address) const {
  return address >= static_cast<void*>(base_) && address < static_cast<void*>(base_ + mapped_);
}
void GuardedBlock::forbid_all_but(const std::vector<std::pair<int64_t, int64_t>>& ranges) {
  REQUIRE(mprotect(base_, size_t(mapped_), PROT_NONE) == 0);
  for (auto [offset, bytes] : ranges)
    if (bytes > 0) REQUIRE(mprotect(data_ + offset, size_t(bytes), PROT_READ | PROT_WRITE) == 0);
}

GuardedStep::GuardedStep(Program program, Placement placement) : program_(std::move(program)), placement_(placement) {
  if (placement != Placement::planned) separate(program_, placement == Placement::each_at_end);
  CompileOptions options;
  options.verify = true;
  code_ = compile(program_, nullptr, options);
}

std::optional<Results> GuardedStep::run(const Bindings& bindings, const Options& options) {
  const Program& p = program_;
  bool at_end = placement_ != Placement::each_at_begin;
  std::vector<std::pair<std::string, GuardedBlock>> blocks;
  auto make = [&](std::string name, int64_t bytes) -> uint8_t* {
    blocks.emplace_back(std::move(name), GuardedBlock(bytes, at_end));
    return blocks.back().second.data();
  };
  NncContext context{};
  context.arena = make("the arena", p.arena_bytes);
  context.persistent = make("the persistents", p.persistent_bytes);
  if (placement_ != Placement::planned) {
    std::vector<std::pair<int64_t, int64_t>> parts[2];
    for (const Buffer& b : p.buffers)
      if (is_block(b)) parts[b.kind == BufferKind::persistent].emplace_back(at_end ? b.offset + b.bytes - pages(b.bytes) : b.offset, pages(b.bytes));
    for (size_t i = 0; i < 2; ++i) blocks[i].second.forbid_all_but(parts[i]);
  }

  // Values in. Row r of the batch is row `rows - 1 - r` of the data.
  int64_t rows = bindings.rows;
  std::vector<NncField> fields(p.fields.size());
  for (const Buffer& b : p.buffers) {
    if (b.kind != BufferKind::field) continue;
    const std::string& name = p.fields[b.field];
    const Tensor& t = bindings.inputs.at(name);
    std::vector<std::byte> bytes = to_bytes(t.values, t.dtype);
    int64_t stride = int64_t(bytes.size()) / rows;
    uint8_t* data = make("field " + name, int64_t(bytes.size()) + options.field_slack);
    for (int64_t r = 0; r < rows && stride > 0; ++r) std::memcpy(data + (rows - 1 - r) * stride, bytes.data() + r * stride, size_t(stride));
    fields[b.field] = {data, stride};
  }
  for (const PersistentPlace& place : p.persistents) {
    const Buffer& b = p[place.buffer];
    const Tensor& t = bindings.persistents.at(place.persistent.name);
    for_each_element(p, b, t.shape, [&](int64_t n, int64_t at) {
      write_element(reinterpret_cast<std::byte*>(context.persistent + b.offset) + at * int64_t(byte_size(b.dtype)), b.dtype, t.values[size_t(n)]);
    });
  }
  std::vector<uint8_t*> outputs(p.outputs.size());
  for (const Buffer& b : p.buffers)
    if (b.kind == BufferKind::output) outputs[size_t(b.offset)] = make("output " + b.name, b.bytes);
  int64_t steps = options.steps, scalar_count = int64_t(p.scalars.size()), result_count = int64_t(p.results.size());
  auto* scalars = reinterpret_cast<NncScalar*>(make("the scalars", scalar_bytes * steps * scalar_count));
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t i = 0; i < scalar_count; ++i) {
      const std::string& name = p.scalars[size_t(i)];
      NncScalar& scalar = scalars[s * scalar_count + i];
      if (type_of_scalar(name) == count_type)
        scalar.count = int64_t(bindings.scalars.at(name));
      else
        scalar.number = bindings.scalars.at(name);
    }
  auto* results = reinterpret_cast<double*>(make("the results", scalar_bytes * steps * result_count));
  auto* row_index = reinterpret_cast<int64_t*>(make("the row numbers", 8 * steps * p.rows));
  auto* row_counts = reinterpret_cast<int64_t*>(make("the counts of rows", 8 * steps));
  for (int64_t s = 0; s < steps; ++s) {
    row_counts[s] = rows;
    for (int64_t r = 0; r < p.rows; ++r) row_index[s * p.rows + r] = r < rows ? rows - 1 - r : int64_t(1) << 40;
  }
  context.fields = fields.data();
  context.outputs = outputs.data();
  context.row_index = row_index;
  context.rows = row_counts;
  context.rows_capacity = p.rows;
  context.scalars = scalars;
  auto* draws = reinterpret_cast<NncDraw*>(make("the draws", int64_t(sizeof(NncDraw)) * steps));
  for (int64_t s = 0; s < steps; ++s) draws[s] = {bindings.draws.update, bindings.draws.first_row};
  context.draws = draws;
  context.seed = bindings.draws.seed;
  context.results = results;
  context.scratch_bytes = code_->scratch_bytes();
  context.scratch = make("the scratch", code_->scratch_bytes() * options.threads + options.scratch_shift);

  Team team(options.threads);
  if (!run_caught(team, code_->run(), context, options.steps)) {
    fault_ = "a kernel touches memory that belongs to no buffer";
    for (auto& [name, block] : blocks)
      if (block.covers(touched)) fault_ = fmt::format("a kernel touches byte {} of {}, which has {}", static_cast<uint8_t*>(touched) - block.data(), name, block.bytes());
    for (const Buffer& b : p.buffers) {
      if (!is_block(b) || placement_ == Placement::planned) continue;
      int64_t at = static_cast<uint8_t*>(touched) - ((b.kind == BufferKind::temporary ? context.arena : context.persistent) + b.offset);
      if (at >= -page / 2 && at < pages(b.bytes) + page / 2) fault_ = fmt::format("a kernel touches byte {} of {}, which has {}", at, b.name, b.bytes);
    }
    return std::nullopt;
  }

  Results out;
  for (int64_t i = 0; i < result_count; ++i) out.outputs[p.results[size_t(i)]] = {scalar_type, {}, {results[(steps - 1) * result_count + i]}};
  auto read = [&](const Buffer& b, const uint8_t* data) {
    Tensor t = make_tensor(b.dtype, shape_at({b.dtype, b.shape}, rows));
    for_each_element(p, b, t.shape, [&](int64_t n, int64_t at) {
      t.values[size_t(n)] = read_element(reinterpret_cast<const std::byte*>(data) + at * int64_t(byte_size(b.dtype)), b.dtype);
    });
    return t;
  };
  for (const Buffer& b : p.buffers)
    if (b.kind == BufferKind::output) out.outputs[p.outputs[size_t(b.offset)]] = read(b, outputs[size_t(b.offset)]);
  for (const PersistentPlace& place : p.persistents)
    out.updates[place.persistent.name] = read(p[place.buffer], context.persistent + p[place.buffer].offset);
  return out;
}

std::string first_difference(const Results& found, const Results& expected) {
  auto compare = [](const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) -> std::string {
    for (const auto& [name, want] : b) {
      auto it = a.find(name);
      if (it == a.end()) return name + " is missing";
      if (it->second.shape != want.shape) return name + " has another shape";
      for (size_t i = 0; i < want.values.size(); ++i) {
        double x = it->second.values[i], y = want.values[i];
        if (std::memcmp(&x, &y, sizeof x) != 0 && !(x != x && y != y)) return fmt::format("element {} of {} is {} instead of {}", i, name, x, y);
      }
    }
    return "";
  };
  std::string outputs = compare(found.outputs, expected.outputs);
  return outputs.empty() ? compare(found.updates, expected.updates) : outputs;
}

}  // namespace nnc::test
