// Executes a program's kernels over plain vectors, one per buffer. Layouts are kept (an access means what it means in machine code); arena and
// persistent block are not: whether buffers may share memory is verify_program's question.
#include "ir/program_interpreter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/axis_limits.h"
#include "ir/chains.h"
#include "ir/interpreter_ops.h"
#include "ir/program_regions.h"

namespace nnc {
namespace {

constexpr double unwritten = std::numeric_limits<double>::quiet_NaN();

// Counts through the indices of some axes, slowest first.
template <class Visit>
void for_each_index(const std::vector<int64_t>& sizes, size_t begin, size_t end, std::vector<int64_t>& index, Visit visit) {
  for (size_t i = begin; i < end; ++i) {
    if (sizes[i] == 0) return;
    index[i] = 0;
  }
  while (true) {
    visit();
    size_t axis = end;
    while (axis > begin) {
      --axis;
      if (++index[axis] < sizes[axis]) break;
      index[axis] = 0;
      if (axis == begin) return;
    }
    if (begin == end) return;
  }
}

class ProgramInterpreter {
 public:
  ProgramInterpreter(const Program& program, const Bindings& bindings) : program_(program), bindings_(bindings) {}

  Results run() {
    NNC_CHECK(bindings_.rows >= 0 && bindings_.rows <= program_.rows, fmt::format("{} rows, {} planned", bindings_.rows, program_.rows));
    for (const Buffer& buffer : program_.buffers) memory_.push_back(load_buffer(buffer));
    for (const PersistentPlace& place : program_.persistents) load_persistent(place);
    for_each_turn(program_, bindings_.rows, [&](const Turn& turn) {
      kernel_ = &program_.kernels[turn.kernel];
      rounds_ = &turn.rounds;
      point_ = &turn.point;
      if (turn.begins) forget_locals();
      values_.clear();
      if (const MapKernel* map = std::get_if<MapKernel>(&kernel_->body))
        run_map(*map);
      else
        run_contract(std::get<ContractKernel>(kernel_->body));
    });
    return collect();
  }

 private:
  struct Value {
    Number number;
    DType dtype = DType::f32;
  };

  // --- memory in and out ---

  [[noreturn]] void fail_binding(std::string message) { throw UserError(Code::E0511, std::move(message)); }

  std::vector<Number> load_buffer(const Buffer& buffer) {
    if (buffer.slot.valid()) return {};
    if (buffer.kind == BufferKind::scalars) {
      const std::string& name = program_.scalars[size_t(scalar_slot(buffer))];
      auto it = bindings_.scalars.find(name);
      if (it == bindings_.scalars.end()) fail_binding(fmt::format("no value is given for scalar `{}`", name));
      return {it->second};
    }
    if (buffer.kind == BufferKind::literal) return buffer.values;
    if (buffer.kind == BufferKind::field) {
      const std::string& name = program_.fields[buffer.field];
      auto it = bindings_.inputs.find(name);
      if (it == bindings_.inputs.end()) fail_binding(fmt::format("no value is given for input `{}`", name));
      if (it->second.shape != shape_at({buffer.dtype, buffer.shape}, bindings_.rows) || it->second.dtype != buffer.dtype)
        fail_binding(fmt::format("input `{}` is {}, but the value given is {}[{}]", name, to_string(Type{buffer.dtype, buffer.shape}),
                                 dtype_name(it->second.dtype), fmt::join(it->second.shape, ", ")));
      return it->second.numbers();
    }
    return std::vector<Number>(size_t(Type{buffer.dtype, buffer.shape}.elements(program_.rows)), unwritten);
  }

  // Visits a buffer's elements in logical row-major order: visit(place in memory, number).
  template <class Visit>
  void for_each_element(const Buffer& buffer, const std::vector<int64_t>& shape, Visit visit) {
    std::vector<int64_t> strides = buffer_strides(buffer, program_.rows);
    size_t number = 0;
    for_each_run<1>(shape, {strides}, [&](auto offsets, auto steps, int64_t count) {
      for (int64_t i = 0; i < count; ++i) visit(size_t(offsets[0] + i * steps[0]), number++);
    });
  }

  void load_persistent(const PersistentPlace& place) {
    const std::string& name = place.persistent.name;
    auto it = bindings_.persistents.find(name);
    if (it == bindings_.persistents.end()) fail_binding(fmt::format("no value is given for parameter `{}`", name));
    const Buffer& buffer = program_[place.buffer];
    std::vector<int64_t> shape = shape_at(place.persistent.type, program_.rows);
    if (it->second.shape != shape || it->second.dtype != buffer.dtype)
      fail_binding(fmt::format("parameter `{}` is {}, but the value given is {}[{}]", name, to_string(place.persistent.type),
                               dtype_name(it->second.dtype), fmt::join(it->second.shape, ", ")));
    for_each_element_here(place, shape, [&](size_t at, size_t number) { memory_[place.buffer.value][at] = it->second.at(number); });
  }

  /// Of a persistent: visit(place in its buffer, number of the element in row-major order) for each element that is here.
  template <class Visit>
  void for_each_element_here(const PersistentPlace& place, const std::vector<int64_t>& shape, Visit visit) {
    if (!place.part) return for_each_element(program_[place.buffer], shape, visit);
    Buffer all = program_[place.buffer];
    all.shape = place.persistent.type.shape;
    all.order = place.part->order;
    const auto begin = size_t(place.part->begin), end = size_t(place.part->end);
    for_each_element(all, shape, [&](size_t at, size_t number) {
      if (at >= begin && at < end) visit(at - begin, number);
    });
  }

  Results collect() {
    Results results;
    for (const PersistentPlace& place : program_.persistents) {
      Tensor t = place.part ? bindings_.persistents.at(place.persistent.name) : make_tensor(place.persistent.type.dtype, shape_at(place.persistent.type, program_.rows));
      for_each_element_here(place, t.shape, [&](size_t at, size_t number) { t.set(number, memory_[place.buffer.value][at]); });
      results.updates[place.persistent.name] = std::move(t);
    }
    for (uint32_t b = 0; b < program_.buffers.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      if (buffer.slot.valid()) continue;
      if (buffer.kind == BufferKind::results) results.outputs[program_.results[size_t(scalar_slot(buffer))]] = {buffer.dtype, {}, {memory_[b][0]}};
      if (buffer.kind != BufferKind::output) continue;
      Tensor t = make_tensor(buffer.dtype, shape_at({buffer.dtype, buffer.shape}, bindings_.rows));
      // Rows are outermost: fewer of them are a prefix.
      for (size_t i = 0; i < t.values.size(); ++i) t.set(i, memory_[b][i]);
      results.outputs[program_.outputs[size_t(buffer.offset)]] = std::move(t);
    }
    return results;
  }

  /// What a round has not stored it must not read, whichever round the thread has done before.
  void forget_locals() {
    for (uint32_t b = 0; b < program_.buffers.size(); ++b)
      if (program_.buffers[b].kind == BufferKind::local) std::fill(memory_[b].begin(), memory_[b].end(), unwritten);
  }

  /// The kernel's axes, those of parallel regions around it where they are.
  void begin_axes(const std::vector<int64_t>& sizes) {
    index_.assign(sizes.size(), 0);
    std::copy(point_->begin(), point_->end(), index_.begin());
  }

  // --- instructions ---

  Number value(int id) const { return values_.at(id).number; }

  /// What the axes make of it.
  int64_t place_of(const Access& access) const {
    int64_t at = access.offset;
    for (size_t i = 0; i < access.strides.size(); ++i) at += access.strides[i] * index_[i];
    return at;
  }

  Number& element(const Access& access) {
    const Slot& slot = program_[access.buffer].slot;
    std::vector<Number>& memory = memory_[memory_of(program_, access.buffer).value];
    int64_t at = place_of(access) + slot.first;
    for (size_t i = 0; i < slot.per_round.size(); ++i) at += slot.per_round[i] * rounds_->at(i);
    if (access.index_value >= 0) at += access.index_stride * int64_t(value(access.index_value));
    if (access.row_axis >= 0) {
      const Buffer& buffer = program_[memory_of(program_, access.buffer)];
      int64_t row = 1;
      for (size_t i = 1; i < buffer.shape.size(); ++i) row *= buffer.shape[i].at(bindings_.rows);
      at += index_[size_t(access.row_axis)] * row;
    }
    NNC_CHECK(at >= 0 && at < int64_t(memory.size()),
              fmt::format("kernel {} touches element {} of {}, which has {}", kernel_->name, at, program_[access.buffer].name, memory.size()));
    return memory[size_t(at)];
  }

  double draw(const Instruction& inst) const {
    const DrawPosition& draws = bindings_.draws;
    const int64_t element = place_of(inst.access);
    const int axis = inst.access.row_axis;
    const uint32_t row = axis < 0 ? 0 : draws.first_row + uint32_t(index_[size_t(axis)]);
    return double(draw_unit(make_draw_key(draws.seed, inst.site), draws.update, row, uint64_t(element)));
  }

  void execute(const Instruction& inst) {
    using Kind = Instruction::Kind;
    Number number;
    switch (inst.kind) {
      case Kind::store: element(inst.access) = value(inst.operands[0]); return;
      case Kind::store_add: {
        Number& cell = element(inst.access);
        cell = add_numbers(cell, value(inst.operands[0]), inst.dtype);
        return;
      }
      case Kind::reduce: return reduce(inst);
      case Kind::load: number = element(inst.access); break;
      case Kind::constant: number = inst.number; break;
      case Kind::axis_index: number = index_[size_t(inst.axis)]; break;
      case Kind::accumulator: number = accumulator_; break;
      case Kind::guard: {
        const int64_t at = place_of(inst.access);
        absent_ = absent_ || at < 0 || at >= inst.extent.size;
        return;
      }
      case Kind::link: element(inst.access) = value(inst.operands[0]); return;  // each place's entry is all that is kept
      case Kind::linked:
      case Kind::touched: return;  // run_map
      case Kind::random: number = draw(inst); break;
      case Kind::extent: number = double(inst.extent.at(bindings_.rows)); break;
      case Kind::compute: {
        Element e;
        e.x = value(inst.operands[0]);
        if (inst.operands.size() > 1) e.y = value(inst.operands[1]);
        if (inst.operands.size() > 2) e.z = value(inst.operands[2]);
        e.from = values_.at(inst.operands[0]).dtype;
        e.to = inst.dtype;
        ElementFunction function = element_function(inst.op);
        NNC_CHECK(function, fmt::format("kernel {} computes {}", kernel_->name, op_name(inst.op)));
        number = function(e);
        break;
      }
    }
    values_[inst.id] = {number, inst.dtype};
  }

  // --- map kernels ---

  struct Reduction {
    Number number;
    CompensatedSum sum;  ///< of floats
    int64_t count = 0, best = 0;
  };

  void reduce(const Instruction& inst) {
    Number x = value(inst.operands[0]);
    Reduction& r = reductions_[inst.id];
    if (inst.op == Op::reduce_sum) {
      if (is_float(inst.dtype)) {
        r.sum.add(x);
        r.number = r.sum.value();
      } else {
        r.number = add_numbers(r.number, x, inst.dtype);
      }
    } else if (r.count == 0) {
      r.number = x;
    } else if (!std::isnan(r.number) && (std::isnan(x) || (inst.op == Op::reduce_min ? x < r.number : x > r.number))) {
      r.number = x;
      r.best = r.count;
    }
    ++r.count;
  }

  // What a reduction over nothing gives.
  static Number empty_reduction(const Instruction& inst) {
    if (inst.op == Op::reduce_max) return lowest_of(inst.dtype);
    if (inst.op == Op::reduce_min) return highest_of(inst.dtype);
    return 0;
  }

  /// By entry, the numbers of its places, ascending.
  std::map<int64_t, std::vector<int64_t>> places_by_entry(const MapKernel& map, const Instruction& linked) const {
    std::map<int64_t, std::vector<int64_t>> found;
    const int64_t places = joint_extent(map.axes, size_t(map.outer), map.axes.size()).at(bindings_.rows);
    for (int64_t place = 0; place < places; ++place) found[int64_t(memory_[linked.access.buffer.value][size_t(place)])].push_back(place);
    return found;
  }

  void run_map(const MapKernel& map) {
    std::vector<int64_t> sizes = sizes_of(map.axes);
    begin_axes(sizes);
    size_t outer = size_t(map.outer);
    const Instruction* linked = find_linked(map);
    const std::map<int64_t, std::vector<int64_t>> chains = linked ? places_by_entry(map, *linked) : std::map<int64_t, std::vector<int64_t>>();
    for_each_index(sizes, point_->size(), outer, index_, [&] {
      for (const Block& block : map.blocks) {
        if (!block.inner) {
          for (const Instruction& inst : block.code) {
            if (inst.kind == Instruction::Kind::touched && !chains.count(index_[size_t(inst.axis)]) && value(inst.operands[0]) == 0) return;
            execute(inst);
          }
          continue;
        }
        reductions_.clear();
        auto visit = [&] {
          absent_ = false;
          for (const Instruction& inst : block.code)
            if (!absent_) execute(inst);
        };
        if (!linked) {
          for_each_index(sizes, outer, sizes.size(), index_, [&] {
            if (is_there(map.axes, outer, sizes.size())) visit();
          });
        } else if (auto chain = chains.find(index_[size_t(linked->axis)]); chain != chains.end()) {
          for (int64_t place : chain->second) {
            for (size_t axis = sizes.size(); axis-- > outer; place /= sizes[axis]) index_[axis] = place % sizes[axis];
            visit();
          }
        }
        for (const Instruction& inst : block.code) {
          if (inst.kind != Instruction::Kind::reduce) continue;
          auto it = reductions_.find(inst.id);
          Number number = it == reductions_.end() ? empty_reduction(inst) : inst.op == Op::argmax ? Number(it->second.best) : it->second.number;
          values_[inst.id] = {number, inst.dtype};
        }
      }
    });
  }

  /// Whether there is a point with the indices at hand of axes[begin] to axes[end - 1].
  bool is_there(const std::vector<Axis>& axes, size_t begin, size_t end) const {
    for (size_t axis = begin; axis < end; ++axis)
      if (const int by = axes[axis].limit.axis; by >= 0 && !indices_at(axes[axis], index_[size_t(by)]).has(index_[axis])) return false;
    return true;
  }

  std::vector<int64_t> sizes_of(const std::vector<Axis>& axes) const {
    std::vector<int64_t> sizes;
    for (const Axis& axis : axes) sizes.push_back(axis.extent.at(bindings_.rows));
    return sizes;
  }

  // --- contractions ---

  /// [points of axes x][points of axes y]; nothing where a guard says that the term is absent.
  std::vector<std::optional<double>> evaluate_operand(const Operand& operand, const std::vector<int64_t>& sizes, std::pair<size_t, size_t> x, std::pair<size_t, size_t> y) {
    std::vector<std::optional<double>> out;
    for_each_index(sizes, x.first, x.second, index_, [&] {
      for_each_index(sizes, y.first, y.second, index_, [&] {
        absent_ = false;
        for (const Instruction& inst : operand.code)
          if (!absent_) execute(inst);
        out.push_back(absent_ ? std::nullopt : std::optional<double>(value(operand.value)));
      });
    });
    return out;
  }

  void run_contract(const ContractKernel& contract) {
    std::vector<int64_t> sizes = sizes_of(contract.axes);
    begin_axes(sizes);
    const std::pair m{contract.first_m(), contract.n_axis()}, n{contract.n_axis(), contract.first_k()}, k{contract.first_k(), sizes.size()};
    auto points = [&](std::pair<size_t, size_t> axes) {
      size_t product = 1;
      for (size_t i = axes.first; i < axes.second; ++i) product *= size_t(sizes[i]);
      return product;
    };
    const size_t rows = points(m), columns = points(n), terms = points(k);
    for_each_index(sizes, point_->size(), m.first, index_, [&] {
      const auto a = evaluate_operand(contract.a, sizes, m, k), b = evaluate_operand(contract.b, sizes, k, n);
      std::vector<CompensatedSum> sums(rows * columns);
      std::vector<bool> term_is_there;
      for_each_index(sizes, k.first, k.second, index_, [&] { term_is_there.push_back(is_there(contract.axes, k.first, k.second)); });
      for (size_t i = 0; i < rows; ++i)
        for (size_t l = 0; l < terms; ++l)
          for (size_t j = 0; j < columns; ++j)
            if (term_is_there[l] && a[i * terms + l] && b[l * columns + j]) sums[i * columns + j].add(*a[i * terms + l] * *b[l * columns + j]);
      const size_t height = size_t(sizes[contract.row_axis()]);
      size_t line = 0;
      for_each_index(sizes, m.first, contract.row_axis(), index_, [&] {
        size_t column = 0;
        for_each_index(sizes, n.first, n.second, index_, [&] {
          reductions_.clear();
          for (size_t row = 0; row < height; ++row) {
            index_[contract.row_axis()] = int64_t(row);
            accumulator_ = sums[(line * height + row) * columns + column].value();
            if (!is_there(contract.axes, contract.row_axis(), n.second)) continue;
            for (const Instruction& inst : contract.epilogue) execute(inst);
          }
          for (const Instruction& inst : contract.epilogue)
            if (inst.kind == Instruction::Kind::reduce) values_[inst.id] = {reductions_[inst.id].number, inst.dtype};
          for (const Instruction& inst : contract.after_rows) execute(inst);
          ++column;
        });
        ++line;
      });
    });
  }

  const Program& program_;
  const Bindings& bindings_;
  std::vector<std::vector<Number>> memory_;  ///< by buffer
  const Kernel* kernel_ = nullptr;
  const std::vector<int64_t>*rounds_ = nullptr, *point_ = nullptr;  ///< of its turn
  std::vector<int64_t> index_;               ///< of every axis of the kernel
  std::map<int, Value> values_;
  std::map<int, Reduction> reductions_;
  double accumulator_ = 0;
  bool absent_ = false;                      ///< the term that is being evaluated: a guard says so
};

}  // namespace

Results interpret_program(const Program& program, const Bindings& bindings) { return ProgramInterpreter(program, bindings).run(); }

}  // namespace nnc
