// Three steps. Forwards, each kernel is evaluated for one point with s > t: numbers that are known there are remembered of the temporaries that it stores. Backwards, kernels that
// have no mask themselves learn from their readers which of their axes are t and s. Then all kernels are taken whose sums see nothing at s > t, and given up again while one of them stores
// what a reader wants that has no limit, until nothing changes.
//
// Where t and s are in a temporary is said by their strides in memory: an axis of a kernel is one of them if it moves an access by that stride, alone or as a digit of a joint axis
// (batch, t and heads as one). All temporaries and kernels that have to do with each other have axes of one size, so that blocks are the same in all of them: what is there is s < block * (t / block + 1).
#include "passes/limit_axes.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ir/axis_limits.h"
#include "ir/kernel_code.h"
#include "passes/kernel_axes.h"
#include "passes/known_numbers.h"
#include "passes/tiles.h"

namespace nnc {

int64_t limit_block(int64_t size, int lanes) {
  // Measured in parallel regions at 64 to 2048 positions: smaller blocks compute less behind the diagonal, larger ones are fuller tiles, of which those of wide vectors need less.
  const int64_t most_from = lanes >= 16 ? 2048 : 512;
  for (const auto& [block, from] : {std::pair<int64_t, int64_t>{64, most_from}, {32, 256}, {16, 32}})
    if (size >= from && size % block == 0) return block;
  return 0;
}

namespace {

using Kind = Instruction::Kind;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// An axis of a kernel, or a digit of its index: index / low % size of the pair.
struct Digit {
  size_t axis = 0;
  int64_t low = 1;
  bool operator==(const Digit&) const = default;
};
struct Pair {
  Digit t, s;
  int64_t size = 0;
};
/// Where t and s are in a temporary: how far an index moves, in elements.
struct Triangle {
  int64_t t_stride = 0, s_stride = 0, size = 0;
  bool operator==(const Triangle&) const = default;
};

/// What is known of a value at s > t.
struct Known {
  enum class Kind : uint8_t { nothing, number, t, s } kind = Kind::nothing;
  Number number;
};
Known known(Number number) { return {Known::Kind::number, number}; }
bool is(const Known& k, double number) { return k.kind == Known::Kind::number && double(k.number) == number; }

/// The digit by which an access moves in steps of `stride`, `size` of them, and by no other axis.
std::optional<Digit> digit_of(const Access& access, const std::vector<Axis>& axes, int64_t stride, int64_t size) {
  if (access.offset != 0 || access.index_value >= 0 || access.row_axis >= 0) return std::nullopt;
  std::optional<Digit> found;
  int64_t below = 0;  // how far all that is smaller moves
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    const int64_t step = access.strides[axis];
    const Extent extent = axes[axis].extent;
    if (step == 0 || extent == Extent{1, false} || (step > 0 && step % (stride * size) == 0)) continue;
    if (step > 0 && step < stride && !extent.rows && step * extent.size <= stride) {
      below += step * (extent.size - 1);
      continue;
    }
    if (step <= 0 || step > stride || stride % step != 0) return std::nullopt;
    const int64_t low = stride / step;
    if (found || extent.size % (low * size) != 0) return std::nullopt;
    found = Digit{axis, low};
    below += step * (low - 1);
  }
  return below < stride ? found : std::nullopt;
}

std::optional<Pair> pair_of(const Access& access, const std::vector<Axis>& axes, const Triangle& triangle) {
  const auto t = digit_of(access, axes, triangle.t_stride, triangle.size), s = digit_of(access, axes, triangle.s_stride, triangle.size);
  if (!t || !s || t->axis == s->axis) return std::nullopt;
  return Pair{*t, *s, triangle.size};
}

/// The same the other way round; nothing if the access does not move by both.
std::optional<Triangle> triangle_of(const Access& access, const std::vector<Axis>& axes, const Pair& pair) {
  if (access.strides.size() != axes.size()) return std::nullopt;
  const Triangle triangle{access.strides[pair.t.axis] * pair.t.low, access.strides[pair.s.axis] * pair.s.low, pair.size};
  if (triangle.t_stride <= 0 || triangle.s_stride <= 0) return std::nullopt;
  const std::optional<Pair> back = pair_of(access, axes, triangle);
  if (!back || back->t != pair.t || back->s != pair.s) return std::nullopt;
  return triangle;
}

class AxisLimiter {
 public:
  explicit AxisLimiter(Program& program) : program_(program), pairs_(program.kernels.size()), limited_(program.kernels.size(), false) {}

  void run() {
    find_temporaries();
    for (size_t k = 0; k < program_.kernels.size(); ++k) look_behind_the_diagonal(k);
    for (size_t k = program_.kernels.size(); k-- > 0;) ask_readers(k);
    for (size_t k = 0; k < program_.kernels.size(); ++k) limited_[k] = pairs_[k] && can_limit(k);
    bool changed = true;
    while (changed) {
      changed = false;
      for (size_t k = 0; k < program_.kernels.size(); ++k) {
        if (!limited_[k] || stores_for_limited_readers(k)) continue;
        limited_[k] = false;
        changed = true;
      }
    }
    for (size_t k = 0; k < program_.kernels.size(); ++k)
      if (limited_[k]) set_limit(k);
  }

 private:
  struct Reader {
    size_t kernel;
    const Access* access;
  };
  struct Temporary {
    bool plain = false;            ///< a temporary of its own that one instruction stores
    std::vector<Reader> readers;
    std::optional<Triangle> triangle;
    std::optional<Number> beyond;  ///< in all elements with s > t
  };

  void find_temporaries() {
    temporaries_.resize(program_.buffers.size());
    for (uint32_t b = 0; b < program_.buffers.size(); ++b) temporaries_[b].plain = program_.buffers[b].kind == BufferKind::temporary && !program_.buffers[b].slot.valid();
    for (const Buffer& b : program_.buffers)
      if (b.slot.valid()) temporaries_[b.slot.of.value].plain = false;
    std::vector<int> stores(program_.buffers.size(), 0);
    for (size_t k = 0; k < program_.kernels.size(); ++k)
      for_each_access(program_.kernels[k], [&](const Instruction& i) {
        const size_t b = i.access.buffer.value;
        if (writes_memory(i) && (++stores[b] > 1 || i.kind != Kind::store)) temporaries_[b].plain = false;
        if (reads_memory(i)) temporaries_[b].readers.push_back({k, &i.access});
      });
  }

  const Kernel& kernel(size_t k) const { return program_.kernels[k]; }
  Temporary& temporary(const Access& access) { return temporaries_[access.buffer.value]; }

  // --- forwards ---

  static bool is_comparison(Op op) {
    return op == Op::less || op == Op::less_equal || op == Op::greater || op == Op::greater_equal || op == Op::equal || op == Op::not_equal;
  }

  /// Two whole axes of one size whose indices the code compares. Which of them is t shows when the mask is evaluated.
  std::optional<Pair> compared_axes(const Kernel& kernel) const {
    const std::vector<Axis>& axes = axes_of(kernel);
    std::map<int, int> index_of;  // by value
    std::optional<Pair> found;
    for_each_instruction(kernel, [&](const Instruction& i) {
      if (i.kind == Kind::axis_index) index_of[i.id] = i.axis;
      if (i.kind != Kind::compute || found) return;
      if (i.op == Op::cast && index_of.count(i.operands[0])) index_of[i.id] = index_of[i.operands[0]];
      if (!is_comparison(i.op) || !index_of.count(i.operands[0]) || !index_of.count(i.operands[1])) return;
      const auto x = size_t(index_of[i.operands[0]]), y = size_t(index_of[i.operands[1]]);
      const Extent size = axes[x].extent;
      if (x != y && !size.rows && axes[y].extent == size) found = Pair{{x, 1}, {y, 1}, size.size};
    });
    return found;
  }

  std::optional<Pair> loaded_pair(const Kernel& kernel) {
    std::optional<Pair> found;
    for_each_access(kernel, [&](const Instruction& i) {
      const Temporary& from = temporary(i.access);
      if (!found && i.kind == Kind::load && from.beyond) found = pair_of(i.access, axes_of(kernel), *from.triangle);
    });
    return found;
  }

  int64_t block_of(const Pair& pair) const { return limit_block(pair.size, program_.target.f32_lanes()); }

  void look_behind_the_diagonal(size_t k) {
    std::optional<Pair> compared = compared_axes(kernel(k));
    std::vector<Pair> candidates;
    if (compared) candidates = {*compared, {compared->s, compared->t, compared->size}};
    if (auto loaded = loaded_pair(kernel(k))) candidates.insert(candidates.begin(), *loaded);
    for (const Pair& pair : candidates) {
      if (block_of(pair) == 0) continue;
      bool says_something = false;
      // What one loop of a kernel stores the next one reads.
      while (remember_stores(k, pair)) says_something = true;
      if (says_something || reads_known(k, pair)) {
        pairs_[k] = pair;
        return;
      }
    }
  }

  /// Evaluates the kernel; returns whether it stores a number of which nothing was known.
  bool remember_stores(size_t k, const Pair& pair) {
    evaluate(k, pair);
    bool more = false;
    for_each_access(kernel(k), [&](const Instruction& i) {
      if (i.kind != Kind::store || !temporary(i.access).plain || temporary(i.access).beyond) return;
      const Known& stored = values_[i.operands[0]];
      const std::optional<Triangle> triangle = triangle_of(i.access, axes_of(kernel(k)), pair);
      if (stored.kind != Known::Kind::number || !triangle) return;
      temporary(i.access).triangle = triangle;
      temporary(i.access).beyond = stored.number;
      more = true;
    });
    return more;
  }

  bool reads_known(size_t k, const Pair& pair) {
    bool found = false;
    for_each_access(kernel(k), [&](const Instruction& i) { found = found || loaded_number(i, k, pair).has_value(); });
    return found;
  }

  std::optional<Number> loaded_number(const Instruction& i, size_t k, const Pair& pair) {
    if (i.kind != Kind::load || !temporary(i.access).beyond) return std::nullopt;
    const std::optional<Triangle> triangle = triangle_of(i.access, axes_of(kernel(k)), pair);
    return triangle == temporary(i.access).triangle ? temporary(i.access).beyond : std::nullopt;
  }

  /// Values of a kernel at a point with s > t.
  void evaluate(size_t k, const Pair& pair) {
    values_.clear();
    types_.clear();
    for_each_instruction(kernel(k), [&](const Instruction& i) {
      if (!defines_value(i)) return;
      types_[i.id] = i.dtype;
      values_[i.id] = value_of(i, k, pair);
    });
  }

  Known value_of(const Instruction& i, size_t k, const Pair& pair) {
    if (i.kind == Kind::constant) return known(i.number);
    if (i.kind == Kind::load) {
      const std::optional<Number> number = loaded_number(i, k, pair);
      return number ? known(*number) : Known{};
    }
    if (i.kind == Kind::axis_index) {
      const Digit digit{size_t(i.axis), 1};
      const Extent extent = axes_of(kernel(k))[size_t(i.axis)].extent;
      if (extent == Extent{pair.size, false} && digit == pair.t) return {Known::Kind::t, {}};
      if (extent == Extent{pair.size, false} && digit == pair.s) return {Known::Kind::s, {}};
    }
    if (i.kind != Kind::compute) return {};
    std::vector<Known> of;
    for (int id : i.operands) of.push_back(values_[id]);
    const auto is_index = [](const Known& v) { return v.kind == Known::Kind::t || v.kind == Known::Kind::s; };
    // Indices are below 2^24, so any number type tells them apart.
    if (i.op == Op::cast && is_index(of[0])) return pair.size < (1 << 24) && i.dtype != DType::boolean && i.dtype != DType::u8 ? of[0] : Known{};
    if (is_comparison(i.op) && is_index(of[0]) && is_index(of[1])) return compare(i.op, of[0].kind, of[1].kind);
    if (i.op == Op::select) {
      if (of[0].kind == Known::Kind::number) return of[double(of[0].number) != 0 ? 1 : 2];
      const bool same = of[1].kind == Known::Kind::number && of[2].kind == Known::Kind::number && of[1].number == of[2].number;  // whatever is chosen, as by a dropout of zeros
      return same ? of[1] : Known{};
    }
    if (std::any_of(of.begin(), of.end(), is_index)) return {};
    std::vector<Number> numbers;
    for (const Known& v : of)
      if (v.kind == Known::Kind::number) numbers.push_back(v.number);
    if (numbers.size() == of.size() && of.size() <= 2) {
      const std::optional<Number> number = number_everywhere(i.op, types_[i.operands[0]], i.dtype, numbers);
      return number ? known(*number) : Known{};
    }
    for (size_t operand = 0; operand < of.size(); ++operand)
      if (of[operand].kind == Known::Kind::number)
        if (const std::optional<Number> number = deciding(i.op, operand, of[operand].number)) return known(*number);
    return {};
  }

  static Known compare(Op op, Known::Kind x, Known::Kind y) {
    const int order = x == y ? 0 : x == Known::Kind::s ? 1 : -1;  // s is the larger one
    switch (op) {
      case Op::less: return known(order < 0);
      case Op::less_equal: return known(order <= 0);
      case Op::greater: return known(order > 0);
      case Op::greater_equal: return known(order >= 0);
      case Op::equal: return known(order == 0);
      default: return known(order != 0);
    }
  }

  // --- backwards ---

  /// A kernel without a mask: its readers know which of what it stores they want.
  void ask_readers(size_t k) {
    for_each_access(kernel(k), [&](const Instruction& i) {
      if (i.kind != Kind::store || !temporary(i.access).plain) return;
      Temporary& stored = temporary(i.access);
      for (const Reader& reader : stored.readers) {
        if (stored.triangle || !pairs_[reader.kernel]) continue;
        stored.triangle = triangle_of(*reader.access, axes_of(kernel(reader.kernel)), *pairs_[reader.kernel]);
      }
      if (!pairs_[k] && stored.triangle) pairs_[k] = pair_of(i.access, axes_of(kernel(k)), *stored.triangle);
    });
  }

  // --- what can have a limit ---

  bool can_limit(size_t k) {
    const Pair& pair = *pairs_[k];
    if (block_of(pair) == 0) return false;
    bool plain = true;
    for_each_instruction(kernel(k), [&](const Instruction& i) {
      plain = plain && i.kind != Kind::guard && i.kind != Kind::link && i.kind != Kind::linked && i.kind != Kind::touched && i.kind != Kind::store_add &&
              !(i.kind == Kind::reduce && i.op == Op::argmax);
    });
    for (const Axis& axis : axes_of(kernel(k))) plain = plain && axis.together == 1 && axis.limit == Limit{};
    if (!plain) return false;
    evaluate(k, pair);
    if (const auto* map = std::get_if<MapKernel>(&kernel(k).body)) return can_limit(*map, pair);
    return can_limit(std::get<ContractKernel>(kernel(k).body), pair);
  }

  static bool is_whole(const std::vector<Axis>& axes, const Digit& digit, int64_t size) { return digit.low == 1 && axes[digit.axis].extent == Extent{size, false}; }

  bool can_limit(const MapKernel& map, const Pair& pair) {
    if (int(pair.t.axis) >= map.outer || int(pair.s.axis) < map.outer || int(pair.t.axis) == map.vector_axis) return false;
    if (!is_whole(map.axes, pair.s, pair.size)) return false;
    for (const Block& block : map.blocks) {
      if (!block.inner) continue;
      for (const Instruction& i : block.code)
        if (i.kind == Kind::reduce && !is_neutral(i.op, values_[i.operands[0]])) return false;
    }
    return true;
  }

  static bool is_neutral(Op op, const Known& term) {
    if (op == Op::reduce_sum) return is(term, 0);
    return is(term, op == Op::reduce_max ? -infinity : infinity);
  }

  /// What the two are in a contraction.
  struct Roles {
    size_t split, limited;  ///< axes: by the first the second gets a limit
    bool from;
  };

  std::optional<Roles> roles_of(const ContractKernel& c, const Pair& pair) const {
    if (!is_whole(c.axes, pair.t, pair.size) || !is_whole(c.axes, pair.s, pair.size)) return std::nullopt;
    const size_t t = pair.t.axis, s = pair.s.axis;
    const bool lone_k = c.axes.size() == c.first_k() + 1;
    auto may_split = [&](size_t axis) { return axis == c.first_m() || axis == c.n_axis(); };
    auto may_limit = [&](size_t axis) { return axis == c.row_axis() || axis == c.n_axis() || (lone_k && axis == c.first_k()); };
    // The rows of tiles are split rather than the columns.
    Roles by_t{t, s, false}, by_s{s, t, true};
    if (s < t) std::swap(by_t, by_s);
    for (const Roles& roles : {by_t, by_s})
      if (may_split(roles.split) && may_limit(roles.limited)) return roles;
    return std::nullopt;
  }

  bool can_limit(const ContractKernel& c, const Pair& pair) {
    const std::optional<Roles> roles = roles_of(c, pair);
    if (!roles || std::any_of(c.epilogue.begin(), c.epilogue.end(), [](const Instruction& i) { return i.kind == Kind::reduce; })) return false;
    return roles->limited != c.first_k() || is(values_[c.a.value], 0) || is(values_[c.b.value], 0);
  }

  /// Whether all that the kernel stores behind the diagonal is read by kernels alone that leave it out.
  bool stores_for_limited_readers(size_t k) {
    bool sound = true;
    const Pair& pair = *pairs_[k];
    const std::vector<Axis>& axes = axes_of(kernel(k));
    auto check = [&](const Instruction& i) {
      if (i.kind != Kind::store) return;
      if (i.access.strides[pair.t.axis] == 0 || i.access.strides[pair.s.axis] == 0) {
        // Of sums over one of them; in a loop over both it would be stored again and again.
        sound = sound && !in_both(k, i);
        return;
      }
      const std::optional<Triangle> triangle = triangle_of(i.access, axes, pair);
      sound = sound && triangle && temporary(i.access).plain;
      if (!sound) return;
      for (const Reader& reader : temporary(i.access).readers)
        sound = sound && limited_[reader.kernel] && triangle_of(*reader.access, axes_of(kernel(reader.kernel)), *pairs_[reader.kernel]) == triangle;
    };
    for_each_instruction(kernel(k), check);
    return sound;
  }

  /// Whether an instruction runs once for each t and s.
  bool in_both(size_t k, const Instruction& wanted) const {
    if (const auto* map = std::get_if<MapKernel>(&kernel(k).body)) {
      for (const Block& block : map->blocks)
        for (const Instruction& i : block.code)
          if (&i == &wanted) return block.inner;
    }
    const auto* contract = std::get_if<ContractKernel>(&kernel(k).body);
    return contract && pairs_[k]->t.axis < contract->first_k() && pairs_[k]->s.axis < contract->first_k();
  }

  // --- limits ---

  void set_limit(size_t k) {
    Kernel& kernel = program_.kernels[k];
    const Pair pair = *pairs_[k];
    // What is read and stored behind the diagonal no longer is.
    std::map<BufferId, double> left_out;
    for_each_access(kernel, [&](const Instruction& i) {
      if (triangle_of(i.access, axes_of(kernel), pair)) left_out[i.access.buffer] = double(program_[i.access.buffer].bytes);
    });
    if (std::holds_alternative<MapKernel>(kernel.body)) limit_inner(kernel, pair);
    else limit_contraction(kernel, pair);
    const double share = share_of_points(kernel);
    kernel.flops *= share;
    for (const auto& [buffer, bytes] : left_out) kernel.bytes -= bytes * (1 - share);
  }

  void limit_inner(Kernel& kernel, const Pair& pair) {
    auto& map = std::get<MapKernel>(kernel.body);
    const int64_t block = block_of(pair);
    const Extent whole = map.axes[pair.t.axis].extent;
    std::vector<Extent> parts{{pair.size / block, false}, {block, false}};
    const Extent above{whole.size / (pair.size * pair.t.low), whole.rows};
    if (above != Extent{1, false}) parts.insert(parts.begin(), above);
    if (pair.t.low > 1) parts.push_back({pair.t.low, false});
    const std::vector<size_t> places = split_axis(kernel, pair.t.axis, parts);
    const size_t number = places[above != Extent{1, false} ? 1 : 0];
    map.axes[pair.s.axis + parts.size() - 1].limit = {int(number), block, false};
  }

  void limit_contraction(Kernel& kernel, const Pair& pair) {
    auto& contract = std::get<ContractKernel>(kernel.body);
    const int64_t block = block_of(pair);
    const Roles roles = *roles_of(contract, pair);
    const bool rows = roles.split == contract.first_m();
    const size_t place = split_axis(kernel, roles.split, {{pair.size / block, false}, {block, false}})[0];
    if (rows) move_to_batch(kernel, place);
    // One more axis before it, whichever was split.
    contract.axes[roles.limited + 1].limit = {contract.batch - 1, block, roles.from};
    choose_tiles(program_, contract);
  }

  Program& program_;
  std::vector<Temporary> temporaries_;       ///< by buffer
  std::vector<std::optional<Pair>> pairs_;   ///< by kernel
  std::vector<bool> limited_;                ///< by kernel
  std::map<int, Known> values_;              ///< of the kernel at hand, by id
  std::map<int, DType> types_;
};

}  // namespace

void limit_axes(Program& program) { AxisLimiter(program).run(); }

}  // namespace nnc
