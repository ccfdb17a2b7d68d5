// Programs whose kernels are written as text, run by compiled code and by a plain evaluator in double precision: what the tests of code
// generation compare.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numbers>
#include <thread>

#include <fmt/format.h>

#include "codegen/codegen.h"
#include "ir/program.h"
#include "runtime/step_abi.h"
#include "tests/program_text.h"

namespace nnc::test {

inline std::vector<VectorLevel> host_levels() {
  std::vector<VectorLevel> levels{VectorLevel::portable};
  VectorLevel host = host_target().level;
  if (host >= VectorLevel::avx2) levels.push_back(VectorLevel::avx2);
  if (host >= VectorLevel::avx512) levels.push_back(VectorLevel::avx512);
  return levels;
}

/// `  (vector along i)` for the head of a loop, or nothing.
inline std::string along(const std::string& axis, bool vector = true) { return vector ? fmt::format("  (vector along {})", axis) : ""; }

inline Target level_target(VectorLevel level) { return target_by_name(std::string(vector_level_name(level))); }

/// A program under construction.
class ProgramFixture {
 public:
  explicit ProgramFixture(VectorLevel level, int64_t rows = 1) {
    program.name = "test";
    program.rows = rows;
    program.target = level_target(level);
  }
  Program program;

  BufferId buffer(const std::string& name, BufferKind kind, DType type, Shape shape) {
    Buffer b;
    b.name = name;
    b.kind = kind;
    b.dtype = type;
    b.shape = std::move(shape);
    int64_t count = 1;
    for (Extent e : b.shape) count *= e.at(program.rows);
    b.bytes = count * int64_t(byte_size(type));
    auto place = [&](int64_t& end) {
      b.offset = end;
      end += (b.bytes + 63) / 64 * 64;
    };
    switch (kind) {
      case BufferKind::field:
        b.field = uint32_t(program.fields.size());
        program.fields.push_back(name);
        break;
      case BufferKind::persistent:
        place(program.persistent_bytes);
        break;
      case BufferKind::local:
        place(program.local_bytes);
        break;
      case BufferKind::temporary:
        place(program.arena_bytes);
        break;
      case BufferKind::scalars:
        b.offset = int64_t(program.scalars.size()) * scalar_bytes;
        program.scalars.push_back(name);
        break;
      case BufferKind::results:
        b.offset = int64_t(program.results.size()) * scalar_bytes;
        program.results.push_back(name);
        break;
      case BufferKind::literal:
        break;
      case BufferKind::output:
        b.offset = int64_t(program.outputs.size());
        program.outputs.push_back(name);
        break;
    }
    program.buffers.push_back(b);
    return BufferId{uint32_t(program.buffers.size() - 1)};
  }

  /// Adds kernels, written as text over the buffers that there are by now.
  void kernels(const std::string& text) {
    Program frame = program;
    frame.kernels.clear();
    std::string head = print_program(frame, nullptr);
    head.resize(head.size() - 2);  // the closing brace
    for (Kernel& k : program_of(head + text + "}\n", false).kernels) program.kernels.push_back(std::move(k));
  }
};

/// The memory of one step, the same for compiled code and evaluator. Tensor values are set and read as doubles.
class StepMemory {
 public:
  StepMemory(const Program& program, int64_t data_rows = 0) : program_(program) {
    for (uint32_t i = 0; i < program.buffers.size(); ++i) {
      const Buffer& b = program.buffers[i];
      int64_t bytes = b.bytes;
      if (b.kind == BufferKind::field) bytes = bytes / program.rows * data_rows;
      // Guard bytes on both sides: a store outside shows.
      memory_[i].assign(size_t(bytes) + 2 * guard, 0xA5);
    }
    rows = program.rows;
    for (int64_t r = 0; r < program.rows; ++r) row_index.push_back(data_rows ? (r * 7 + 3) % data_rows : 0);
  }
  int64_t rows;
  std::vector<int64_t> row_index;

  size_t count(BufferId id) const { return (memory_.at(id.value).size() - 2 * guard) / byte_size(program_[id].dtype); }
  uint8_t* data(BufferId id) { return memory_.at(id.value).data() + guard; }
  const uint8_t* data(BufferId id) const { return memory_.at(id.value).data() + guard; }

  double get(BufferId id, int64_t element) const {
    const uint8_t* p = data(id) + element * int64_t(byte_size(program_[id].dtype));
    auto read = [&](auto v) {
      std::memcpy(&v, p, sizeof v);
      return double(v);
    };
    switch (program_[id].dtype) {
      case DType::f32:
        return read(float());
      case DType::f64:
        return read(double());
      case DType::i32:
        return read(int32_t());
      case DType::i64:
        return read(int64_t());
      default:
        return read(uint8_t());
    }
  }
  void set(BufferId id, int64_t element, double value) {
    uint8_t* p = data(id) + element * int64_t(byte_size(program_[id].dtype));
    auto write = [&](auto v) { std::memcpy(p, &v, sizeof v); };
    switch (program_[id].dtype) {
      case DType::f32:
        return write(float(value));
      case DType::f64:
        return write(value);
      case DType::i32:
        return write(int32_t(value));
      case DType::i64:
        return write(int64_t(value));
      default:
        return write(uint8_t(value));
    }
  }
  template <class F>
  void fill(BufferId id, F&& f) {
    for (size_t i = 0; i < count(id); ++i) set(id, int64_t(i), f(int64_t(i)));
  }
  bool guards_intact() const {
    for (auto& [id, bytes] : memory_)
      for (size_t i = 0; i < guard; ++i)
        if (bytes[i] != 0xA5 || bytes[bytes.size() - 1 - i] != 0xA5) return false;
    return true;
  }

  static constexpr size_t guard = 64;

 private:
  const Program& program_;
  std::map<uint32_t, std::vector<uint8_t>> memory_;
};

/// Runs compiled code on the memory: copies it into blocks, runs one step per call, copies back.
class CompiledRunner {
 public:
  explicit CompiledRunner(const Program& program) : CompiledRunner(program, nullptr, checked()) {}
  CompiledRunner(const Program& program, const SourceMap* sources, const CompileOptions& options)
      : program_(program), code_(compile(program, sources, options)) {}
  static CompileOptions checked() {
    CompileOptions options;
    options.verify = true;
    return options;
  }
  const CompiledProgram& code() const { return *code_; }

  void run(StepMemory& memory, int threads = 1, int64_t steps = 1) {
    auto aligned = [](int64_t bytes) {
      auto* p = static_cast<uint8_t*>(std::aligned_alloc(64, size_t((bytes + 64 + 63) / 64 * 64)));
      std::memset(p, 0x5A, size_t(bytes + 64) / 64 * 64);
      return std::unique_ptr<uint8_t, void (*)(void*)>(p, std::free);
    };
    auto persistent = aligned(program_.persistent_bytes), arena = aligned(program_.arena_bytes);
    auto scratch = aligned(code_->scratch_bytes() * threads);
    std::vector<NncField> fields(program_.fields.size());
    std::vector<uint8_t*> outputs(program_.outputs.size());
    std::vector<NncScalar> scalars;
    std::vector<double> results(size_t(steps) * program_.results.size(), -77.0);
    std::vector<int64_t> row_index, rows(size_t(steps), memory.rows);
    for (int64_t s = 0; s < steps; ++s) row_index.insert(row_index.end(), memory.row_index.begin(), memory.row_index.end());
    std::vector<NncScalar> step_scalars(program_.scalars.size());
    std::vector<NncDraw> draws(size_t(steps), NncDraw{});
    auto each = [&](auto&& visit) {
      for (uint32_t i = 0; i < program_.buffers.size(); ++i) visit(program_.buffers[i], BufferId{i});
    };
    each([&](const Buffer& b, BufferId id) {
      uint8_t* data = memory.data(id);
      if (b.kind == BufferKind::persistent) std::memcpy(persistent.get() + b.offset, data, size_t(b.bytes));
      if (b.kind == BufferKind::temporary) std::memcpy(arena.get() + b.offset, data, size_t(b.bytes));
      if (b.kind == BufferKind::scalars) std::memcpy(&step_scalars[size_t(scalar_slot(b))], data, size_t(scalar_bytes));
      if (b.kind == BufferKind::output) outputs[size_t(b.offset)] = data;
      if (b.kind == BufferKind::field) fields[b.field] = {data, b.bytes / program_.rows};
    });
    for (int64_t s = 0; s < steps; ++s) scalars.insert(scalars.end(), step_scalars.begin(), step_scalars.end());
    auto team = std::make_unique<NncTeam>();
    team->size = threads;
    NncContext context{};
    context.persistent = persistent.get();
    context.arena = arena.get();
    context.fields = fields.data();
    context.outputs = outputs.data();
    context.row_index = row_index.data();
    context.rows = rows.data();
    context.rows_capacity = program_.rows;
    context.scalars = scalars.data();
    context.draws = draws.data();
    context.results = results.data();
    context.scratch = scratch.get();
    context.scratch_bytes = code_->scratch_bytes();
    context.team = team.get();
    context.wait = [](NncContext* c, int32_t phase) {
      while (std::atomic_ref<int32_t>(c->team->phase).load() == phase) std::this_thread::yield();
    };
    std::vector<uint64_t> cycles(program_.kernels.size(), 0);
    context.kernel_cycles = cycles.data();
    context.stop = stop ? 1 : 0;
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([&, t] { code_->run()(&context, t, steps); });
    code_->run()(&context, 0, steps);
    for (auto& t : others) t.join();
    steps_done = context.steps_done;
    kernel_cycles = cycles;
    each([&](const Buffer& b, BufferId id) {
      uint8_t* data = memory.data(id);
      if (b.kind == BufferKind::persistent) std::memcpy(data, persistent.get() + b.offset, size_t(b.bytes));
      if (b.kind == BufferKind::temporary) std::memcpy(data, arena.get() + b.offset, size_t(b.bytes));
      if (b.kind == BufferKind::results && steps > 0)
        std::memcpy(data, &results[size_t(steps - 1) * program_.results.size() + size_t(scalar_slot(b))], size_t(scalar_bytes));
    });
  }
  bool stop = false;
  int64_t steps_done = -1;
  std::vector<uint64_t> kernel_cycles;

 private:
  const Program& program_;
  std::unique_ptr<CompiledProgram> code_;
};

// --- the evaluator: one point at a time, in double ---

class Evaluator {
 public:
  Evaluator(const Program& program, StepMemory& memory) : program_(program), memory_(memory) {}

  void run() {
    for (const Kernel& k : program_.kernels) {
      const auto& map = std::get<MapKernel>(k.body);
      index_.assign(map.axes.size(), 0);
      each(map, 0, map.outer, [&] { iteration(map); });
    }
  }

  static double apply(Op op, DType type, const std::vector<double>& x) {
    double nan = std::numeric_limits<double>::quiet_NaN();
    switch (op) {
      case Op::neg:
        return -x[0];
      case Op::abs:
        return std::fabs(x[0]);
      case Op::sign:
        return x[0] > 0 ? 1 : x[0] < 0 ? -1 : x[0];
      case Op::floor:
        return std::floor(x[0]);
      case Op::ceil:
        return std::ceil(x[0]);
      case Op::round:
        return std::nearbyint(x[0]);
      case Op::sqrt:
        return std::sqrt(x[0]);
      case Op::exp:
        return std::exp(x[0]);
      case Op::expm1:
        return std::expm1(x[0]);
      case Op::log:
        return std::log(x[0]);
      case Op::log1p:
        return std::log1p(x[0]);
      case Op::sin:
        return std::sin(x[0]);
      case Op::cos:
        return std::cos(x[0]);
      case Op::tanh:
        return std::tanh(x[0]);
      case Op::sigmoid:
        return 1 / (1 + std::exp(-x[0]));
      case Op::erf:
        return std::erf(x[0]);
      case Op::normal_cdf:
        return std::erfc(x[0] * -std::numbers::sqrt2 / 2) / 2;
      case Op::logical_not:
        return x[0] == 0;
      case Op::stop_gradient:
        return x[0];
      case Op::add:
        return x[0] + x[1];
      case Op::sub:
        return x[0] - x[1];
      case Op::mul:
        return x[0] * x[1];
      case Op::div:
        return is_float(type) ? x[0] / x[1] : x[1] == 0 ? 0 : std::trunc(x[0] / x[1]);
      case Op::floor_mod:
        if (!is_float(type) && x[1] == 0) return 0;
        return x[0] - std::floor(x[0] / x[1]) * x[1] + 0 * std::fmod(x[0], x[1]);
      case Op::floor_div:
        return !is_float(type) && x[1] == 0 ? 0 : std::floor(x[0] / x[1]);
      case Op::pow:
        return std::pow(x[0], x[1]);
      case Op::copysign:
        return std::isnan(x[1]) ? nan : std::copysign(x[0], x[1]);
      case Op::maximum:
        return std::isnan(x[0]) || std::isnan(x[1]) ? nan : std::max(x[0], x[1]);
      case Op::minimum:
        return std::isnan(x[0]) || std::isnan(x[1]) ? nan : std::min(x[0], x[1]);
      case Op::equal:
        return x[0] == x[1];
      case Op::not_equal:
        return x[0] != x[1];
      case Op::less:
        return x[0] < x[1];
      case Op::less_equal:
        return x[0] <= x[1];
      case Op::greater:
        return x[0] > x[1];
      case Op::greater_equal:
        return x[0] >= x[1];
      case Op::logical_and:
        return x[0] != 0 && x[1] != 0;
      case Op::logical_or:
        return x[0] != 0 || x[1] != 0;
      case Op::select:
        return x[0] != 0 ? x[1] : x[2];
      case Op::cast:
        return type == DType::boolean ? x[0] != 0 : is_float(type) ? x[0] : std::trunc(x[0]);
      default:
        throw std::logic_error("not element-wise");
    }
  }

 private:
  const Program& program_;
  StepMemory& memory_;
  std::vector<int64_t> index_;
  std::map<int, double> values_;

  void each(const MapKernel& map, int from, int to, const std::function<void()>& body) {
    if (from == to) return body();
    for (int64_t i = 0; i < map.axes[size_t(from)].extent.at(memory_.rows); ++i) {
      index_[size_t(from)] = i;
      each(map, from + 1, to, body);
    }
  }

  void iteration(const MapKernel& map) {
    values_.clear();
    for (const Block& block : map.blocks) {
      if (!block.inner) {
        for (const Instruction& i : block.code) execute(i);
        continue;
      }
      std::map<int, double> sums, best;
      std::map<int, bool> begun;
      each(map, map.outer, int(map.axes.size()), [&] {
        for (const Instruction& i : block.code) {
          if (i.kind != Instruction::Kind::reduce) {
            execute(i);
            continue;
          }
          double x = values_.at(i.operands[0]);
          double& sum = sums[i.id];
          bool first = !begun[i.id];
          begun[i.id] = true;
          if (i.op == Op::reduce_sum) sum += x;
          if (i.op == Op::reduce_max) sum = first ? x : apply(Op::maximum, i.dtype, {sum, x});
          if (i.op == Op::reduce_min) sum = first ? x : apply(Op::minimum, i.dtype, {sum, x});
          if (i.op == Op::argmax && (first || x > best[i.id] || (std::isnan(x) && !std::isnan(best[i.id]))))
            best[i.id] = x, sum = double(index_.back());
        }
      });
      for (const Instruction& i : block.code)
        if (i.kind == Instruction::Kind::reduce) {
          values_[i.id] = sums[i.id];
          double infinity = std::numeric_limits<double>::infinity();
          if (!begun[i.id] && i.op != Op::reduce_sum && i.op != Op::argmax)
            values_[i.id] = i.op == Op::reduce_max ? -infinity : infinity;
        }
    }
  }

  int64_t element(const Access& a) {
    int64_t e = a.offset;
    for (size_t i = 0; i < a.strides.size(); ++i) e += a.strides[i] * index_[i];
    if (a.index_value >= 0) e += int64_t(values_.at(a.index_value)) * a.index_stride;
    if (a.row_axis >= 0) {
      const Buffer& b = program_[a.buffer];
      e += memory_.row_index[size_t(index_[size_t(a.row_axis)])] * (b.bytes / program_.rows / int64_t(byte_size(b.dtype)));
    }
    return e;
  }

  void execute(const Instruction& i) {
    switch (i.kind) {
      case Instruction::Kind::load:
        values_[i.id] = memory_.get(i.access.buffer, element(i.access));
        return;
      case Instruction::Kind::store:
        memory_.set(i.access.buffer, element(i.access), values_.at(i.operands[0]));
        return;
      case Instruction::Kind::store_add:
        memory_.set(i.access.buffer, element(i.access),
                    memory_.get(i.access.buffer, element(i.access)) + values_.at(i.operands[0]));
        return;
      case Instruction::Kind::constant:
        values_[i.id] = i.number;
        return;
      case Instruction::Kind::axis_index:
        values_[i.id] = double(index_[size_t(i.axis)]);
        return;
      case Instruction::Kind::compute: {
        std::vector<double> x;
        for (int id : i.operands) x.push_back(values_.at(id));
        values_[i.id] = apply(i.op, i.dtype, x);
        return;
      }
      case Instruction::Kind::extent:
        values_[i.id] = double(i.extent.at(memory_.rows));
        return;
      default:
        throw std::logic_error("not in a map kernel");
    }
  }
};

/// Equal within `tolerance` relative to 1 and the larger; NaN equals NaN.
inline bool close(double a, double b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (a == b) return true;
  return std::fabs(a - b) <= tolerance * std::max({1.0, std::fabs(a), std::fabs(b)});
}

}  // namespace nnc::test
