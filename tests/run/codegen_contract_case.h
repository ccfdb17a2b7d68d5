// Programs of one contraction, written as text, with memory to run them in and a plain loop to compare with. Used by the tests of
// contract kernels and by bench/contract_bench.cpp.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/check.h"
#include "codegen/codegen.h"
#include "ir/program.h"
#include "runtime/step_abi.h"
#include "tests/program_text.h"

namespace nnc::test {

/// Of every vector level that this machine has.
inline std::vector<Target> runnable_targets() {
  std::vector<Target> targets{target_with_level(VectorLevel::portable)};
  VectorLevel host = host_target().level;
  if (host >= VectorLevel::avx2) targets.push_back(target_with_level(VectorLevel::avx2));
  if (host >= VectorLevel::avx512) targets.push_back(target_with_level(VectorLevel::avx512));
  return targets;
}

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

/// The text of contract_program, put together: buffers get places one after the other, accesses the strides of their layouts.
class ContractText {
 public:
  explicit ContractText(const ContractCase& c) : c_(c) {
    for (size_t i = 0; i < c.batch.size(); ++i) names_.push_back(fmt::format("g{}", i));
    extents_ = c.batch;
    for (auto [name, extent] : {std::pair{"m", c.m}, {"n", c.n}, {"k", c.k}}) {
      names_.push_back(name);
      extents_.push_back(extent);
    }
    m_ = names_.size() - 3, n_ = m_ + 1, k_ = m_ + 2;
  }

  std::string text() {
    std::string batch, loops;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (i < m_) batch += names_[i] + ", ";
      loops += fmt::format("{}{} < {}", i == 0 ? "" : i < m_ ? ", " : "; ", names_[i], to_string(extents_[i]));
    }
    std::string a = operand("a", c_.a, m_, k_, c_.a_order, c_.a_gap, 0), b = operand("b", c_.b, k_, n_, c_.b_order, c_.b_gap, 10), epilogue = finish();
    double flops = 2;
    for (size_t axis = 0; axis < names_.size(); ++axis) flops *= double(planned(axis));
    return fmt::format(R"(program @case {{
  target any {}, {} rows planned
  arena {} bytes, persistent {} bytes
{}
  kernel contract  # parallel, after a barrier, {:.0f} FLOP
    contract {}: tile {} x {} vectors, blocks {} x {} x {}
      a[{}m, k] = v{}{}:
{}      b[{}k, n] = v{}{}:
{}      for each {}m, n:
{}}}
)", vector_level_name(c_.target.level), c_.planned_rows, arena_, persistent_, buffers_, flops, loops, c_.mr, c_.nr, c_.mc, c_.nc, c_.kc, batch, a_value_,
                       c_.pack_a ? ", packed" : "", a, batch, b_value_, c_.pack_b ? ", packed" : "", b, batch, epilogue);
  }

 private:
  int64_t planned(size_t axis) const { return extents_[axis].at(c_.planned_rows); }

  void add_placed(const std::string& kind, const std::string& name, int64_t elements) {
    int64_t& end = kind == "persistent" ? persistent_ : arena_;
    buffers_ += fmt::format("  {} \"{}\" : f32[{}] at {}, {} bytes\n", kind, name, elements, end, elements * 4);
    end += (elements * 4 + 63) / 64 * 64;
  }

  /// The batch axes, then x and y, slowest first; `gap` widens the rows of the fastest.
  std::string address(size_t x, size_t y, int64_t gap, int64_t& elements) const {
    std::vector<size_t> order;
    for (size_t i = 0; i < m_; ++i) order.push_back(i);
    order.insert(order.end(), {x, y});
    std::string sum = "0";
    int64_t step = 1;
    for (size_t i = order.size(); i-- > 0;) {
      sum += fmt::format(" + {}*{}", step, names_[order[i]]);
      step *= planned(order[i]);
      if (i + 1 == order.size()) step += gap;
    }
    elements = std::max<int64_t>(step, 1);
    return sum;
  }

  /// The operand over axes x and y; its values are numbered from `first`.
  std::string operand(const std::string& name, Source source, size_t x, size_t y, const std::vector<int>& order, int64_t gap, int first) {
    int& value = first == 0 ? a_value_ : b_value_;
    value = first;
    if (source == Source::u8_field || source == Source::f32_field) {
      size_t row = extents_[x].rows ? x : y, other = row == x ? y : x;
      std::string type = source == Source::u8_field ? "u8" : "f32";
      buffers_ += fmt::format("  field \"{}\" : {}[{}] field {}\n", name, type, planned(other), fields_++);
      std::string load = fmt::format("        v{} = load {}[row({}), {}] : {}\n", first, name, names_[row], names_[other], type);
      if (source == Source::f32_field) return load;
      value = first + 3;
      return load + fmt::format("        v{} = cast(v{}) : f32\n        v{} = constant {} : f32\n        v{} = mul(v{}, v{}) : f32\n", first + 1, first, first + 2,
                                1.0 / 255, first + 3, first + 1, first + 2);
    }
    int64_t elements = 0;
    std::string at = order == std::vector<int>{0, 1} ? address(x, y, gap, elements) : address(y, x, gap, elements);
    add_placed("temporary", name, elements);
    std::string load = fmt::format("        v{} = load {}[{}] : f32\n", first, name, at);
    if (source == Source::plain) return load;
    value = first + 2;
    return load + fmt::format("        v{} = constant 0.5 : f32\n        v{} = mul(v{}, v{}) : f32\n", first + 1, first + 2, first, first + 1);
  }

  std::string finish() {
    int64_t elements = 0;
    std::string at = address(m_, n_, 0, elements);
    auto same_shape = [&](const std::string& kind, std::initializer_list<const char*> names) {
      for (const char* name : names) add_placed(kind, name, elements);
    };
    std::string code;
    switch (c_.finish) {
      case Finish::store:
        same_shape("temporary", {"out"});
        code = "out[AT] <- v20";
        break;
      case Finish::bias_relu:
        add_placed("persistent", "bias", planned(n_));
        same_shape("temporary", {"out"});
        code = R"(v21 = load bias[n]
v22 = add(v20, v21)
v23 = constant 0
v24 = maximum(v22, v23)
out[AT] <- v24)";
        break;
      case Finish::update:
        same_shape("persistent", {"w"});
        code = R"(v21 = constant 0.01
v22 = load w[AT]
v23 = mul(v21, v20)
v24 = sub(v22, v23)
w[AT] <- v24)";
        break;
      case Finish::momentum:
        same_shape("persistent", {"w", "v"});
        code = R"(v21 = constant 0.01
v22 = constant 0.9
v23 = load v[AT]
v24 = mul(v22, v23)
v25 = add(v24, v20)
v[AT] <- v25
v26 = mul(v21, v25)
v27 = load w[AT]
v28 = sub(v27, v26)
w[AT] <- v28)";
        break;
      case Finish::adam:
        same_shape("persistent", {"w", "m", "v"});
        code = R"(v21 = constant 0.9
v22 = constant 0.1
v23 = constant 0.999
v24 = constant 0.001
v25 = mul(v22, v20)
v26 = load m[AT]
v27 = mul(v21, v26)
v28 = add(v27, v25)
v29 = mul(v20, v20)
v30 = load v[AT]
v31 = abs(v30)
v32 = mul(v24, v29)
v33 = mul(v23, v31)
v34 = add(v33, v32)
m[AT] <- v28
v[AT] <- v34
v35 = constant 0.001
v36 = sqrt(v34)
v37 = add(v36, v35)
v38 = div(v28, v37)
v39 = constant 0.01
v40 = mul(v39, v38)
v41 = load w[AT]
v42 = sub(v41, v40)
w[AT] <- v42)";
        break;
    }
    std::string lines = "        v20 = sum over k of a * b : f32\n        ";
    for (size_t i = 0; i < code.size(); ++i) {
      bool here = code.compare(i, 2, "AT") == 0;
      lines += here ? at : code[i] == '\n' ? " : f32\n        " : std::string(1, code[i]);
      i += here;
    }
    return lines + " : f32\n";
  }

  const ContractCase& c_;
  std::vector<std::string> names_;  ///< of the axes
  std::vector<Extent> extents_;
  size_t m_ = 0, n_ = 0, k_ = 0;
  std::string buffers_;
  int64_t arena_ = 0, persistent_ = 0;
  int fields_ = 0, a_value_ = -1, b_value_ = -1;
};

/// A program with one kernel. Field rows run along m if m has rows, else along k (which must have rows). Its buffers are as large as they must be, whatever
/// the rules for programs say.
inline Program contract_program(const ContractCase& c) {
  Program program = program_of(ContractText(c).text(), false);
  program.target = c.target;
  return program;
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
  mutable std::vector<bool> touched;  ///< bytes of the arena: where an element begins that `read` and `write` met; if it has the arena's size

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
    const uint8_t* place = base + at * int64_t(byte_size(b.dtype));
    if (b.kind == BufferKind::temporary && !touched.empty()) touched[size_t(place - arena.data)] = true;
    return place;
  }
};

/// Whether all guards of an operand hold.
inline bool is_present(const std::vector<Instruction>& code, const std::vector<int64_t>& index) {
  for (const Instruction& i : code) {
    if (i.kind != Instruction::Kind::guard) continue;
    int64_t at = i.access.offset;
    for (size_t axis = 0; axis < index.size(); ++axis) at += i.access.strides[axis] * index[axis];
    if (at < 0 || at >= i.extent.size) return false;
  }
  return true;
}

/// Scalar code at one point, in f32, straightforwardly; some values are given. Returns the values, by id, until the next call.
inline const std::vector<float>& evaluate(Memory& memory, const std::vector<Instruction>& code, const std::vector<int64_t>& index, float sum = 0,
                                          const std::map<int, float>& given = {}) {
  static std::vector<float> value(256, 0.0f);
  for (auto [id, number] : given) value[size_t(id)] = number;
  for (const Instruction& i : code) {
    auto operand = [&](size_t n) { return value[size_t(i.operands[n])]; };
    switch (i.kind) {
      case Instruction::Kind::guard:
      case Instruction::Kind::reduce:  // of the rows, by who calls
        break;
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

/// The tree over sums that are finished one after the other: the largest power of two of them that leaves some, and the rest.
inline float join_in_a_tree(const std::vector<float>& sums, size_t begin, size_t end) {
  if (end - begin == 1) return sums[begin];
  size_t half = 1;
  while (half * 2 < end - begin) half *= 2;
  return join_in_a_tree(sums, begin, begin + half) + join_in_a_tree(sums, begin + half, end);
}

/// Of a planned extent: the indices of a piece (at least 128 rows, at most 64 pieces, their number a power of two) and of a chain (at most 1024, whole steps, all
/// about as long).
inline std::pair<int64_t, int64_t> piece_and_chain(Extent extent, int64_t planned_rows, int64_t step, int64_t longest = 1024) {
  int64_t pieces = 1;
  while (extent.rows && pieces * 2 * 128 <= planned_rows && pieces < 64) pieces *= 2;
  int64_t piece = extent.rows ? (planned_rows + pieces - 1) / pieces * extent.size : extent.size;
  const int64_t most = longest / step * step;
  int64_t chains = std::max<int64_t>(1, (piece + most - 1) / most);
  return {piece, ((piece + chains - 1) / chains + step - 1) / step * step};
}

/// Terms added up in chains, which are joined in a tree over those of a piece and one over pieces.
inline float sum_of_chains(const std::vector<float>& terms, int64_t piece, int64_t chain) {
  std::vector<float> pieces;
  for (size_t first = 0; first < terms.size(); first += size_t(piece)) {
    const size_t piece_end = std::min(first + size_t(piece), terms.size());
    std::vector<float> chains;
    for (size_t begin = first; begin < piece_end; begin += size_t(chain)) {
      float sum = 0;
      for (size_t x = begin; x < std::min(begin + size_t(chain), piece_end); ++x) sum += terms[x];
      chains.push_back(sum);
    }
    pieces.push_back(join_in_a_tree(chains, 0, chains.size()));
  }
  return pieces.empty() ? 0 : join_in_a_tree(pieces, 0, pieces.size());
}

/// The program's contraction by plain loops, with fused steps or not: for every output ascending chains, joined in a tree over the chains of a piece and one over
/// pieces. Of several axes of k the last goes fastest, and a chain does not end within one of at most 64. A term that a guard leaves
/// out has its place in a chain, and adds nothing. The epilogue's sums over the last axis of m have chains of at most 256, and the code behind it sees them.
inline void run_plainly(Memory& memory, int64_t rows, bool fused, size_t kernel = 0) {
  const auto& k = std::get<ContractKernel>(memory.program.kernels[kernel].body);
  const size_t axes = k.axes.size(), first_k = size_t(k.batch + k.m) + 1;
  std::vector<int64_t> size, index(axes, 0);
  for (const Axis& a : k.axes) size.push_back(a.extent.at(rows));
  auto set = [&](int64_t at, size_t begin, size_t end) {
    for (size_t i = end; i-- > begin;) {
      index[i] = at % size[i];
      at /= size[i];
    }
  };
  int64_t points = 1, terms = 1;
  Extent all{1, false};
  for (size_t i = 0; i < axes; ++i) {
    (i < first_k ? points : terms) *= size[i];
    if (i >= first_k) all = {all.size * k.axes[i].extent.size, all.rows || k.axes[i].extent.rows};
  }
  const Extent last = k.axes[axes - 1].extent;
  const int64_t step = axes > first_k + 1 && !last.rows && last.size <= 64 ? last.size : 1;
  const auto [piece, chain] = piece_and_chain(all, memory.program.rows, step);
  std::map<std::vector<int64_t>, std::map<int, std::vector<float>>> sums;  // by indices but for the rows', by id: the terms in order
  const size_t row_axis = first_k - 2;
  for (int64_t point = 0; point < points; ++point) {
    set(point, 0, first_k);
    std::vector<float> pieces;
    for (int64_t first = 0; first < terms; first += piece) {
      const int64_t piece_end = std::min(first + piece, terms);
      std::vector<float> chains;
      for (int64_t begin = first; begin < piece_end; begin += chain) {
        float sum = 0;
        for (int64_t x = begin; x < std::min(begin + chain, piece_end); ++x) {
          set(x, first_k, axes);
          if (!is_present(k.a.code, index) || !is_present(k.b.code, index)) continue;
          float a = evaluate(memory, k.a.code, index)[size_t(k.a.value)], b = evaluate(memory, k.b.code, index)[size_t(k.b.value)];
          if (fused) {
            sum = std::fma(a, b, sum);
          } else {
            volatile float product = a * b;
            sum += product;
          }
        }
        chains.push_back(sum);
      }
      pieces.push_back(join_in_a_tree(chains, 0, chains.size()));
    }
    float sum = pieces.empty() ? 0 : join_in_a_tree(pieces, 0, pieces.size());
    const std::vector<float>& values = evaluate(memory, k.epilogue, index, sum);
    std::vector<int64_t> line(index.begin(), index.begin() + int64_t(first_k));
    line[row_axis] = 0;
    for (const Instruction& i : k.epilogue)
      if (i.kind == Instruction::Kind::reduce) sums[line][i.id].push_back(values[size_t(i.operands[0])]);
  }
  const auto [row_piece, row_chain] = piece_and_chain(k.axes[row_axis].extent, memory.program.rows, 1, 256);
  for (const auto& [line, terms] : sums) {
    std::copy(line.begin(), line.end(), index.begin());
    std::map<int, float> given;
    for (const auto& [id, list] : terms) given[id] = sum_of_chains(list, row_piece, row_chain);
    evaluate(memory, k.after_rows, index, 0, given);
  }
}

}  // namespace nnc::test
