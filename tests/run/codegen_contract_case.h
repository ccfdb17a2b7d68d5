// Programs of one contraction, built by hand, with memory to run them in and a plain loop to compare with. Used by the tests of
// contract kernels and by bench/contract_bench.cpp.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/check.h"
#include "codegen/codegen.h"
#include "ir/program.h"
#include "runtime/step_abi.h"

namespace nnc::test {

enum class Source { plain, u8_field, f32_field, scaled };
enum class Finish { store, bias_relu, update, momentum, adam };

struct ContractCase {
  std::vector<Extent> batch;
  Extent m{1, false}, n{1, false}, k{1, false};
  int64_t planned_rows = 1;
  Source a = Source::plain;
  Source b = Source::plain;
  std::vector<int> a_order{0, 1};  ///< memory order of the last two axes (m, k): {0, 1} k contiguous, {1, 0} m contiguous
  std::vector<int> b_order{0, 1};  ///< of (k, n)
  int64_t a_gap = 0, b_gap = 0;    ///< elements between consecutive rows in memory beyond the row itself
  Finish finish = Finish::store;
  int mr = 8, nr = 2;
  int64_t mc = 256, nc = 256, kc = 256;
  bool pack_a = false, pack_b = false;
  Target target;
};

/// A program with one kernel. Field rows run along m if m has rows, else along k (which must have rows).
inline Program contract_program(const ContractCase& c) {
  Program p;
  p.name = "case";
  p.rows = c.planned_rows;
  p.target = c.target;
  Kernel kernel;
  kernel.name = "contract";
  kernel.parallel = true;
  ContractKernel k;
  for (Extent e : c.batch) k.axes.push_back({"b", e});
  k.batch = int(c.batch.size());
  k.axes.push_back({"m", c.m});
  k.axes.push_back({"n", c.n});
  k.axes.push_back({"k", c.k});
  const size_t axes = k.axes.size(), m = axes - 3, n = axes - 2, kk = axes - 1;
  auto round64 = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  auto add_buffer = [&](std::string name, BufferKind kind, DType type, int64_t elements) {
    Buffer b;
    b.name = std::move(name);
    b.kind = kind;
    b.dtype = type;
    b.shape = {Extent{elements, false}};
    b.bytes = elements * int64_t(byte_size(type));
    int64_t& block = kind == BufferKind::persistent ? p.persistent_bytes : p.arena_bytes;
    if (kind == BufferKind::persistent || kind == BufferKind::temporary) {
      b.offset = block;
      block += round64(b.bytes);
    }
    p.buffers.push_back(b);
    return BufferId{uint32_t(p.buffers.size() - 1)};
  };
  auto planned = [&](size_t axis) { return k.axes[axis].extent.at(c.planned_rows); };
  // Strides for axes in the given order, slowest first; `gap` widens the rows of the fastest axis.
  auto strides_of = [&](std::vector<size_t> order, int64_t gap, int64_t& elements) {
    std::vector<int64_t> strides(axes, 0);
    int64_t step = 1;
    for (size_t i = order.size(); i-- > 0;) {
      strides[order[i]] = step;
      step *= planned(order[i]);
      if (i + 1 == order.size()) step += gap;
    }
    elements = std::max<int64_t>(step, 1);
    return strides;
  };
  auto batch_then = [&](size_t x, size_t y) {
    std::vector<size_t> order;
    for (int i = 0; i < k.batch; ++i) order.push_back(size_t(i));
    order.push_back(x);
    order.push_back(y);
    return order;
  };
  int next_id = 0;
  auto load = [&](std::vector<Instruction>& code, Access access, DType type) {
    Instruction i;
    i.kind = Instruction::Kind::load;
    i.id = next_id++;
    i.dtype = type;
    i.access = std::move(access);
    code.push_back(i);
    return i.id;
  };
  auto constant = [&](std::vector<Instruction>& code, double number) {
    Instruction i;
    i.kind = Instruction::Kind::constant;
    i.id = next_id++;
    i.number = number;
    code.push_back(i);
    return i.id;
  };
  auto compute = [&](std::vector<Instruction>& code, Op op, std::vector<int> operands) {
    Instruction i;
    i.kind = Instruction::Kind::compute;
    i.op = op;
    i.id = next_id++;
    i.operands = std::move(operands);
    code.push_back(i);
    return i.id;
  };
  auto store = [&](std::vector<Instruction>& code, Access access, int value) {
    Instruction i;
    i.kind = Instruction::Kind::store;
    i.operands = {value};
    i.access = std::move(access);
    code.push_back(i);
  };
  auto operand = [&](const char* name, Source source, size_t x, size_t y, const std::vector<int>& order, int64_t gap, bool pack) {
    Operand o;
    o.pack = pack;
    Access access;
    bool field = source == Source::u8_field || source == Source::f32_field;
    if (field) {
      size_t row = k.axes[x].extent.rows ? x : y, other = row == x ? y : x;
      DType type = source == Source::u8_field ? DType::u8 : DType::f32;
      access.buffer = add_buffer(name, BufferKind::field, type, planned(other));
      p[access.buffer].field = uint32_t(p.fields.size());
      p.fields.push_back(name);
      access.strides.assign(axes, 0);
      access.strides[other] = 1;
      access.row_axis = int(row);
      o.value = load(o.code, access, type);
      if (source == Source::u8_field) {
        Instruction cast;
        cast.kind = Instruction::Kind::compute;
        cast.op = Op::cast;
        cast.id = next_id++;
        cast.operands = {o.value};
        o.code.push_back(cast);
        int scale = constant(o.code, 1.0 / 255);
        o.value = compute(o.code, Op::mul, {cast.id, scale});
      }
    } else {
      int64_t elements = 0;
      access.strides = strides_of(order == std::vector<int>{0, 1} ? batch_then(x, y) : batch_then(y, x), gap, elements);
      access.buffer = add_buffer(name, BufferKind::temporary, DType::f32, elements);
      o.value = load(o.code, access, DType::f32);
      if (source == Source::scaled) {
        int scale = constant(o.code, 0.5);
        o.value = compute(o.code, Op::mul, {o.value, scale});
      }
    }
    return o;
  };
  k.a = operand("a", c.a, m, kk, c.a_order, c.a_gap, c.pack_a);
  k.b = operand("b", c.b, kk, n, c.b_order, c.b_gap, c.pack_b);
  auto& e = k.epilogue;
  Instruction sum;
  sum.kind = Instruction::Kind::accumulator;
  sum.id = next_id++;
  e.push_back(sum);
  int64_t elements = 0;
  Access out;
  out.strides = strides_of(batch_then(m, n), 0, elements);
  auto same_shape = [&](const char* name, BufferKind kind) {
    Access access = out;
    access.buffer = add_buffer(name, kind, DType::f32, elements);
    return access;
  };
  switch (c.finish) {
    case Finish::store:
      store(e, same_shape("out", BufferKind::temporary), sum.id);
      break;
    case Finish::bias_relu: {
      Access bias;
      bias.strides.assign(axes, 0);
      bias.strides[n] = 1;
      bias.buffer = add_buffer("bias", BufferKind::persistent, DType::f32, planned(n));
      int with_bias = compute(e, Op::add, {sum.id, load(e, bias, DType::f32)});
      int zero = constant(e, 0);
      store(e, same_shape("out", BufferKind::temporary), compute(e, Op::maximum, {with_bias, zero}));
      break;
    }
    case Finish::update: {
      Access w = same_shape("w", BufferKind::persistent);
      int rate = constant(e, 0.01);
      int old = load(e, w, DType::f32);
      store(e, w, compute(e, Op::sub, {old, compute(e, Op::mul, {rate, sum.id})}));
      break;
    }
    case Finish::momentum: {
      Access w = same_shape("w", BufferKind::persistent), v = same_shape("v", BufferKind::persistent);
      int rate = constant(e, 0.01), beta = constant(e, 0.9);
      int velocity = compute(e, Op::add, {compute(e, Op::mul, {beta, load(e, v, DType::f32)}), sum.id});
      store(e, v, velocity);
      store(e, w, compute(e, Op::sub, {load(e, w, DType::f32), compute(e, Op::mul, {rate, velocity})}));
      break;
    }
    case Finish::adam: {
      Access w = same_shape("w", BufferKind::persistent), m1 = same_shape("m", BufferKind::persistent),
             m2 = same_shape("v", BufferKind::persistent);
      int b1 = constant(e, 0.9), c1 = constant(e, 0.1), b2 = constant(e, 0.999), c2 = constant(e, 0.001);
      int first = compute(e, Op::add, {compute(e, Op::mul, {b1, load(e, m1, DType::f32)}), compute(e, Op::mul, {c1, sum.id})});
      int square = compute(e, Op::mul, {sum.id, sum.id});
      int old = compute(e, Op::abs, {load(e, m2, DType::f32)});
      int second = compute(e, Op::add, {compute(e, Op::mul, {b2, old}), compute(e, Op::mul, {c2, square})});
      store(e, m1, first);
      store(e, m2, second);
      int step = compute(e, Op::div, {first, compute(e, Op::add, {compute(e, Op::sqrt, {second}), constant(e, 1e-3)})});
      store(e, w, compute(e, Op::sub, {load(e, w, DType::f32), compute(e, Op::mul, {constant(e, 0.01), step})}));
      break;
    }
  }
  k.mr = c.mr;
  k.nr = c.nr;
  k.mc = c.mc;
  k.nc = c.nc;
  k.kc = c.kc;
  kernel.flops = 2.0 * double(planned(m)) * double(planned(n)) * double(planned(kk));
  for (int i = 0; i < k.batch; ++i) kernel.flops *= double(planned(size_t(i)));
  kernel.body = std::move(k);
  p.kernels.push_back(std::move(kernel));
  return p;
}

struct AlignedBytes {
  uint8_t* data = nullptr;
  size_t size = 0;
  explicit AlignedBytes(int64_t bytes) : size(size_t(bytes + 127) / 64 * 64) {
    data = static_cast<uint8_t*>(std::aligned_alloc(64, size));
    std::memset(data, 0, size);
  }
  AlignedBytes(const AlignedBytes&) = delete;
  ~AlignedBytes() { std::free(data); }
};

/// Memory for a program, filled from a seed: the same for every run of the same program.
class Memory {
 public:
  Memory(const Program& program, uint64_t seed)
      : program(program), persistent(program.persistent_bytes), arena(program.arena_bytes) {
    std::mt19937_64 random(seed);
    auto fill = [&](AlignedBytes& block) {
      for (size_t i = 0; i + 4 <= block.size; i += 4) {
        float value = float(int64_t(random() % 2001) - 1000) / 1000;
        std::memcpy(block.data + i, &value, 4);
      }
    };
    fill(persistent);
    fill(arena);
    data_rows = program.rows + 3;
    for (int64_t r = 0; r < program.rows; ++r) row_index.push_back((r * 7 + 2) % data_rows);
    for (const Buffer& b : program.buffers) {
      if (b.kind != BufferKind::field) continue;
      int64_t row = b.bytes + (b.dtype == DType::f32 ? 4 : 1);
      field_data.emplace_back(size_t(row * data_rows + 64));
      if (b.dtype == DType::f32) {
        for (size_t i = 0; i + 4 <= field_data.back().size(); i += 4) {
          float value = float(int64_t(random() % 2001) - 1000) / 1000;
          std::memcpy(field_data.back().data() + i, &value, 4);
        }
      } else {
        for (uint8_t& byte : field_data.back()) byte = uint8_t(random());
      }
      fields.push_back({field_data.back().data(), row});
    }
  }
  const Program& program;
  AlignedBytes persistent, arena;
  int64_t data_rows = 0;
  std::vector<int64_t> row_index;
  std::vector<std::vector<uint8_t>> field_data;
  std::vector<NncField> fields;

  void run(const CompiledProgram& code, int64_t rows, int threads = 1, int64_t steps = 1) {
    std::vector<int64_t> step_rows(size_t(steps), rows), indices;
    for (int64_t s = 0; s < steps; ++s) indices.insert(indices.end(), row_index.begin(), row_index.end());
    AlignedBytes scratch(code.scratch_bytes() * threads);
    NncTeam team{};
    team.size = threads;
    NncContext context{};
    context.persistent = persistent.data;
    context.arena = arena.data;
    context.fields = fields.data();
    context.row_index = indices.data();
    context.rows = step_rows.data();
    context.rows_capacity = program.rows;
    context.scratch = scratch.data;
    context.scratch_bytes = code.scratch_bytes();
    context.team = &team;
    context.wait = [](NncContext* c, int32_t phase) {
      while (__atomic_load_n(&c->team->phase, __ATOMIC_ACQUIRE) == phase) std::this_thread::yield();
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([&, t] { code.run()(&context, t, steps); });
    code.run()(&context, 0, steps);
    for (std::thread& t : others) t.join();
    NNC_CHECK(context.steps_done == steps, "steps were not done");
  }

  float read(const Access& access, const std::vector<int64_t>& index) const {
    const uint8_t* place = address(access, index);
    if (program[access.buffer].dtype == DType::u8) return *place;
    float value;
    std::memcpy(&value, place, 4);
    return value;
  }
  void write(const Access& access, const std::vector<int64_t>& index, float value) {
    std::memcpy(const_cast<uint8_t*>(address(access, index)), &value, 4);
  }

 private:
  const uint8_t* address(const Access& access, const std::vector<int64_t>& index) const {
    const Buffer& b = program[access.buffer];
    const uint8_t* base =
        b.kind == BufferKind::persistent ? persistent.data + b.offset
        : b.kind == BufferKind::temporary
            ? arena.data + b.offset
            : fields[b.field].base + row_index[size_t(index[size_t(access.row_axis)])] * fields[b.field].row_stride;
    int64_t at = access.offset;
    for (size_t i = 0; i < access.strides.size(); ++i) at += access.strides[i] * index[i];
    return base + at * int64_t(byte_size(b.dtype));
  }
};

/// Scalar code at one point, in f32, straightforwardly. Returns the values, by id, until the next call.
inline const std::vector<float>& evaluate(Memory& memory, const std::vector<Instruction>& code, const std::vector<int64_t>& index,
                                          float sum = 0) {
  static std::vector<float> value(256, 0.0f);
  for (const Instruction& i : code) {
    auto operand = [&](size_t n) { return value[size_t(i.operands[n])]; };
    switch (i.kind) {
      case Instruction::Kind::load:
        value[size_t(i.id)] = memory.read(i.access, index);
        break;
      case Instruction::Kind::store:
        memory.write(i.access, index, operand(0));
        break;
      case Instruction::Kind::constant:
        value[size_t(i.id)] = float(i.number);
        break;
      case Instruction::Kind::accumulator:
        value[size_t(i.id)] = sum;
        break;
      case Instruction::Kind::compute:
        switch (i.op) {
          case Op::cast:
            value[size_t(i.id)] = operand(0);
            break;
          case Op::add:
            value[size_t(i.id)] = operand(0) + operand(1);
            break;
          case Op::sub:
            value[size_t(i.id)] = operand(0) - operand(1);
            break;
          case Op::mul:
            value[size_t(i.id)] = operand(0) * operand(1);
            break;
          case Op::div:
            value[size_t(i.id)] = operand(0) / operand(1);
            break;
          case Op::maximum:
            value[size_t(i.id)] = std::fmax(operand(0), operand(1));
            break;
          case Op::abs:
            value[size_t(i.id)] = std::fabs(operand(0));
            break;
          case Op::sqrt:
            value[size_t(i.id)] = std::sqrt(operand(0));
            break;
          default:
            NNC_UNREACHABLE("operation without a meaning here");
        }
        break;
      default:
        NNC_UNREACHABLE("instruction without a meaning here");
    }
  }
  return value;
}

/// The program's contraction by plain loops: for every output one ascending chain, with fused steps or not.
inline void run_plainly(Memory& memory, int64_t rows, bool fused) {
  const auto& k = std::get<ContractKernel>(memory.program.kernels[0].body);
  const size_t axes = k.axes.size();
  std::vector<int64_t> size, index(axes, 0);
  int64_t points = 1;
  for (const Axis& a : k.axes) size.push_back(a.extent.at(rows));
  for (size_t i = 0; i + 1 < axes; ++i) points *= size[i];
  for (int64_t point = 0; point < points; ++point) {
    int64_t rest = point;
    for (size_t i = axes - 1; i-- > 0;) {
      index[i] = rest % size[i];
      rest /= size[i];
    }
    float sum = 0;
    for (int64_t x = 0; x < size[axes - 1]; ++x) {
      index[axes - 1] = x;
      float a = evaluate(memory, k.a.code, index)[size_t(k.a.value)], b = evaluate(memory, k.b.code, index)[size_t(k.b.value)];
      if (fused) {
        sum = std::fma(a, b, sum);
      } else {
        volatile float product = a * b;
        sum += product;
      }
    }
    evaluate(memory, k.epilogue, index, sum);
  }
}

}  // namespace nnc::test
