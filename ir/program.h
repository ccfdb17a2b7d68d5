// The program: what codegen sees. Buffers with places, and kernels in order; every decision (fusion, layout, tiles, order, memory, threads)
// has been taken by passes, so that turning a program into machine code is mechanical.
//
// A kernel is one of two shapes:
//   MapKernel       a loop nest: outer axes, and inside each outer iteration a sequence of blocks, each either straight code or a loop
//                   over the inner axes. Carries element-wise code, row-wise code (softmax and loss), reductions, gathers, scatters.
//   ContractKernel  out[batch, m, n] = epilogue(sum over k of a(batch, m, k) * b(batch, k, n)) with a register-tiled micro-kernel; m and k may be several
//                   axes each; operands may have a prologue (conversion, scaling), the epilogue may load, compute and store anything at [batch, m, n], and
//                   sum over the rows of its tiles.
// Both carry scalar SSA code ("instructions") that is executed for every point of their axes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/source.h"
#include "base/target.h"
#include "base/types.h"
#include "ir/graph.h"
#include "ir/regions.h"
#include "ir/sum_order.h"

namespace nnc {

struct BufferId {
  uint32_t value = UINT32_MAX;
  bool valid() const { return value != UINT32_MAX; }
  auto operator<=>(const BufferId&) const = default;
};

enum class BufferKind : uint8_t {
  field,       ///< rows of a data field: element [r, ...] stands at base + row_index[r] * row_stride + ... ; read only
  persistent,  ///< parameters and states, in the persistent block at `offset`
  temporary,   ///< in the arena at `offset`; alive between its first store and last load within one step
  scalars,     ///< the step's run-time scalars, type_of_scalar(name), one element; element scalar_slot() of the step's scalars
  results,     ///< scalar outputs (loss, reports), scalar_type, one element; element scalar_slot() of the step's results
  literal,     ///< numbers written in the source (`values`), part of the generated code: row-major, read only
  output,      ///< a tensor output (prediction, accumulator) or a scalar that keeps another type: caller's memory, outputs[offset], row-major, planned rows
  local,       ///< in each thread's own memory at `offset`; alive within one round of a parallel region
};

/// Where a buffer stands that is a part of another one and moves with the rounds of the regions around the kernels that touch it.
struct Slot {
  BufferId of;                     ///< the buffer of which this is a part, itself none of another; invalid: the buffer has memory of its own
  int64_t first = 0;               ///< elements from its beginning, in round 0 of all regions
  std::vector<int64_t> per_round;  ///< elements further for each round of the regions around a kernel, outermost first; those that are left out do not move it
  bool valid() const { return of.valid(); }
  bool operator==(const Slot&) const = default;
};

inline bool is_read_only(BufferKind kind) { return kind == BufferKind::field || kind == BufferKind::scalars || kind == BufferKind::literal; }

struct Buffer {
  std::string name;           ///< "fc1.weight", "image", "%12", "using.lr"
  BufferKind kind = BufferKind::temporary;
  DType dtype = DType::f32;   ///< bool is stored as one byte 0/1
  Shape shape;                ///< logical; sizes with rows are planned for Program::rows
  std::vector<int> order;     ///< memory order: order[0] is the slowest axis; empty: row-major. Only persistents, temporaries and locals
  int64_t offset = 0;         ///< bytes in its block, see kind; multiples of 64 for persistent, temporary and local. Of a slot: of round 0
  int64_t bytes = 0;          ///< for the planned rows
  uint32_t field = 0;         ///< field: index into the context's fields
  std::vector<Number> values; ///< literal: one for each element
  Slot slot;                  ///< fields, persistents, temporaries, literals: part of another one of the same kind and element type
  NodeId node;                ///< temporary, literal: the graph node whose value it holds (a copy of a leaf's old value: the node that is stored)
  Span span;
  bool operator==(const Buffer&) const = default;
};

/// Most points of a map kernel's outer axes that are in registers at once (Axis::together): code is written out for each.
inline constexpr int64_t max_together = 64;

/// Of an axis: which of its indices there are, by the index i of another one (axis_limits.h).
struct Limit {
  int axis = -1;              ///< the other axis, which stands before this one; -1: all indices are there
  int64_t step = 0;           ///< they are those below step * (i + 1)
  bool from = false;          ///< they are those from step * i
  bool operator==(const Limit&) const = default;
};

struct Axis {
  std::string name;           ///< for reading: "b", "out", "k"
  Extent extent;
  int64_t together = 1;       ///< map kernels, outer axes but the lanes': so many neighbouring indices are in registers at once
  Limit limit = {};           ///< a point of which an index is not there is neither stored nor a term of a sum
  bool operator==(const Axis&) const = default;
};

/// Which element of a buffer an instruction touches: offset + sum of strides[i] * index of axis i (+ index value * index_stride), in elements.
struct Access {
  BufferId buffer;
  int64_t offset = 0;
  std::vector<int64_t> strides;  ///< one for each axis of the kernel; 0 where the axis does not matter
  int row_axis = -1;             ///< field (and random) only: this axis' index is a row of the batch (its stride is 0 and the row's address is looked up).
                                 ///< -1 for a field never happens
  int index_value = -1;          ///< id of an integer value that is added with index_stride (a gather); -1: none
  int64_t index_stride = 0;
  bool operator==(const Access&) const = default;
};

/// Scalar code. `Op` is reused for arithmetic: the element-wise ops of ops.def have the same meaning here.
struct Instruction {
  enum class Kind : uint8_t {
    load,        ///< id <- buffer element (as stored: u8 stays u8 until a cast)
    store,       ///< buffer element <- operands[0]
    store_add,   ///< buffer element += operands[0]; the kernel is serial over colliding indices (scatter_add)
    constant,    ///< id <- number
    axis_index,  ///< id <- index of axis `axis` as i32
    compute,     ///< id <- op(operands), element-wise op, cast included
    reduce,      ///< map kernels, in inner blocks: id <- reduction of operands[0] over the inner axes; op is reduce_sum/max/min or argmax
                 ///< (argmax: i32, index along the only inner axis). Readable in later outer blocks and inner blocks of the same outer iteration.
                 ///< Contract epilogue: id <- sum of operands[0] over the last axis of m, f32; readable in `after_rows`
    accumulator, ///< contract epilogue: id <- the sum over k, f32
    extent,      ///< id <- `extent` at the current number of rows, as f64
    guard,       ///< in a contraction's operand: the term is absent unless 0 <= p < extent, where p is the place that `access` says (no buffer);
                 ///< in an inner block of a map kernel, which then only reduces: so is what the block does at the point
    link,        ///< chains.h. Outer block of a serial map kernel: the place whose number `access` says is one of entry operands[0], of `extent` entries
    linked,      ///< chains.h. Inner block: the term is absent unless the place whose number `access` says is one of the entry that is the index of `axis`
    touched,     ///< chains.h. Outer block before an inner one with `linked`: what follows is left out for an entry of `axis` without places, unless operands[0] holds
    random,      ///< id <- the number drawn at `site` for the place that `access` says: it has no buffer, no index value; row_axis is the axis of the
                 ///< rows of the batch (-1: the draw has none), the rest the element within the row
  };
  Kind kind{};
  int id = -1;                 ///< value it defines, unique in the kernel; -1 for stores
  Op op{};                     ///< compute, reduce
  DType dtype = DType::f32;    ///< of the value defined; of the stored value for stores
  std::vector<int> operands;   ///< value ids
  Access access;               ///< load, store, store_add, random
  Number number;               ///< constant; a float's is a value of its type
  int axis = -1;               ///< axis_index, linked, touched
  Extent extent;               ///< extent, guard, link
  std::string site;            ///< random
  NodeId node;                 ///< graph node it came from, for reading and for NaN provenance
  bool operator==(const Instruction&) const = default;
};

/// Whether `access` says a place: in a buffer, of a random number, or one that a guard tests.
inline bool has_place(const Instruction& i) {
  return i.access.buffer.valid() || i.kind == Instruction::Kind::random || i.kind == Instruction::Kind::guard;
}
inline bool writes_memory(const Instruction& i) {
  using Kind = Instruction::Kind;
  return i.kind == Kind::store || i.kind == Kind::store_add || i.kind == Kind::link;
}
/// Of one that has a buffer: whether what stood there before matters.
inline bool reads_memory(const Instruction& i) { return i.kind != Instruction::Kind::store && i.kind != Instruction::Kind::link; }
/// Stores, guards and what chains are made and walked by define no value.
inline bool defines_value(const Instruction& i) {
  using Kind = Instruction::Kind;
  return !writes_memory(i) && i.kind != Kind::guard && i.kind != Kind::linked && i.kind != Kind::touched;
}

struct Block {
  bool inner = false;          ///< true: a loop over all inner axes; false: once for each outer iteration
  std::vector<Instruction> code;
  bool operator==(const Block&) const = default;
};

struct MapKernel {
  std::vector<Axis> axes;      ///< outer axes first, slowest first; then inner axes, slowest first. Which outer indices are taken together changes no bit
  int outer = 0;               ///< how many axes are outer
  int vector_axis = -1;        ///< axis whose consecutive indices go into vector lanes: the last outer axis (lanes are independent outputs) or the last
                               ///< inner axis (reductions end with a horizontal combination in fixed order); -1: scalar code
  std::vector<Block> blocks;
  bool serial = false;         ///< one piece: iterations collide (store_add) or there are no outer axes
  bool operator==(const MapKernel&) const = default;
};

/// One operand of a contraction: value at (batch, m or n, k).
struct Operand {
  std::vector<Instruction> code;  ///< ends with value `value`, f32; a lone load of f32 needs no packing for its own sake. Each guard is
                                  ///< about one axis of k, none about the last axis of m nor n; a packed operand is evaluated where they do not hold, too
  int value = -1;
  bool pack = false;              ///< evaluate into a packed panel first (needed with a prologue, or where the access is not what the micro-kernel
                                  ///< reads directly: any for a; stride 1 along n for b)
  bool operator==(const Operand&) const = default;
};

/// The last axis of m gives the rows of a register tile, the axis n its lanes. The axes of k are walked as one, the last of them fastest: this is the order of
/// the sum's terms (sum_order_of). What a window reads is several axes with strides of their own in one address.
struct ContractKernel {
  std::vector<Axis> axes;      ///< batch axes, axes of m, n, axes of k: accesses of operands and epilogue use these indices. Any may have extent 1
  int batch = 0;               ///< how many are batch axes
  int m = 1;                   ///< how many are axes of m; behind them stand n and at least one axis of k
  size_t first_m() const { return size_t(batch); }
  size_t row_axis() const { return size_t(batch + m) - 1; }
  size_t n_axis() const { return size_t(batch + m); }
  size_t first_k() const { return size_t(batch + m) + 1; }
  Operand a, b;                ///< a does not depend on n, b not on m
  std::vector<Instruction> epilogue;  ///< over (batch, m, n); vector lanes run along n
  /// Over (batch, m but for its last axis, n), when the epilogue has run for all of that axis: sees the epilogue's sums and none of its other values. Then a block holds
  /// all of that axis, and the sums' order is row_order_of.
  std::vector<Instruction> after_rows;
  // Tiles, chosen by passes from target and shape
  int mr = 8;                  ///< rows of the register tile
  int nr = 2;                  ///< vectors of the register tile along n
  int64_t mc = 256, nc = 256, kc = 256;  ///< cache blocks, indices of the axes as one; a piece of work is mc x nc of one batch index. A block of more rows than
                                         ///< the last axis of m has goes over whole lines of it
  bool operator==(const ContractKernel&) const = default;
};

struct Kernel {
  std::string name;            ///< unique: "fc1.contract", "loss.rows"
  std::string scope;
  Span span;                   ///< the source line that its code is named after
  std::variant<MapKernel, ContractKernel> body;
  bool parallel = false;       ///< split into pieces over the team; false: thread 0 alone
  bool barrier_before = true;  ///< with more than one thread: wait for all earlier kernels first
  double flops = 0;            ///< at the planned number of rows: multiply and add count one each
  double bytes = 0;            ///< distinct memory it touches
  std::vector<NodeId> nodes;   ///< graph nodes it computes
  bool operator==(const Kernel&) const = default;
};

/// Kernels that run again and again, in rounds, as a scan's body does. In round t (index t, whatever the direction) they see the slots of that round; all that moves is
/// where slots stand, so a kernel is what it is outside of regions.
struct Region {
  std::string name;            ///< for reading: "lstm.scan"
  std::string scope;
  Span span;
  size_t first = 0, count = 0; ///< kernels[first] .. kernels[first + count - 1]; regions are nested or apart
  int64_t rounds = 1;
  bool reverse = false;        ///< from round rounds - 1 down to 0
  NodeId node;                 ///< graph node it came from
  bool operator==(const Region&) const = default;
};

/// Kernels whose first axes are the same and looped over once, around all of them: for each point of these axes, a round, all that its kernels do at that point is done, one
/// kernel after the other, by one thread. Rounds have nothing to do with one another and are shared out to threads. So what one kernel hands to the next need not be there
/// for all rounds at once: it stands in a local buffer.
struct ParallelRegion {
  std::string name;            ///< for reading: "attention"
  std::string scope;
  Span span;
  size_t first = 0, count = 0; ///< kernels, as in Region. Nested or apart; within regions of rounds in time or apart from them, never around one
  int axes = 0;                ///< how many: outer axes of map kernels, batch axes of contractions
  bool operator==(const ParallelRegion&) const = default;
};

/// Of a persistent that several workers have in parts: which of its elements are here, [begin, end) in the order of memory that the whole has (as Buffer::order).
struct PersistentPart {
  int64_t begin = 0, end = 0;
  std::vector<int> order;
  bool operator==(const PersistentPart&) const = default;
};

/// Where a persistent lives and in which order; runtime moves values in and out by this.
struct PersistentPlace {
  Persistent persistent;
  BufferId buffer;
  std::optional<PersistentPart> part = std::nullopt;  ///< these elements alone are in the buffer, one behind the other; nothing: all are
};

struct Program {
  std::string name;            ///< "train", "eval", "predict"
  int64_t rows = 1;            ///< most rows of a run; strides and sizes are planned for it
  /// Rows of the whole batch, and of a piece of it, where that is not what `rows` says; 0: it is.
  int64_t whole_rows = 0, piece_rows = 0;
  Target target;
  std::vector<Buffer> buffers;
  std::vector<Kernel> kernels;         ///< in order of execution
  std::vector<Region> regions;         ///< by first kernel; of those that begin with the same kernel the outer one first
  std::vector<ParallelRegion> parallel_regions;  ///< likewise
  std::vector<PersistentPlace> persistents;
  std::vector<std::string> fields;     ///< names, in the order of the context's fields
  std::vector<std::string> scalars;    ///< names, in the order of the step's scalars
  std::vector<std::string> results;    ///< names of scalar outputs, in the order of the step's results
  std::vector<std::string> outputs;    ///< names of tensor outputs, in the order of the context's outputs
  int64_t arena_bytes = 0;
  int64_t persistent_bytes = 0;
  int64_t local_bytes = 0;             ///< of each thread
  const Buffer& operator[](BufferId id) const { return buffers[id.value]; }
  Buffer& operator[](BufferId id) { return buffers[id.value]; }
  PlannedRows planned() const {
    const PlannedRows whole(whole_rows > 0 ? whole_rows : rows);
    return {rows, whole.whole, piece_rows > 0 ? piece_rows : whole.piece};
  }
};

/// The memory order of all of a persistent.
inline const std::vector<int>& memory_order(const Program& program, const PersistentPlace& place) { return place.part ? place.part->order : program[place.buffer].order; }
/// The buffer whose memory it is: of a slot that of which it is a part.
inline BufferId memory_of(const Program& program, BufferId id) { return program[id].slot.valid() ? program[id].slot.of : id; }
/// Strides in elements of each logical axis of a buffer, for the program's planned rows (field: axis 0 has stride 0, rows are looked up).
std::vector<int64_t> buffer_strides(const Buffer&, int64_t rows);
/// Of a buffer of kind scalars or results: its place among the step's.
inline int64_t scalar_slot(const Buffer& buffer) { return buffer.offset / scalar_bytes; }
/// What Buffer::offset of a slot is: where it stands in round 0 among temporaries or persistents, in bytes; for other kinds that of the buffer of which it is a part.
int64_t offset_of_slot(const Program&, const Buffer&);
/// Sets it for all slots, and the numbers of fields: they follow from the buffers of which they are parts.
void place_slots(Program&);
/// Bytes of a buffer for the planned rows.
int64_t buffer_bytes(const Buffer&, int64_t rows);
/// The extent of axes[begin] to axes[end - 1] as one axis; 1 if there are none. At most one of them has rows.
Extent joint_extent(const std::vector<Axis>& axes, size_t begin, size_t end);
/// In which order a contraction adds up its terms.
SumOrder sum_order_of(const ContractKernel&, PlannedRows rows);
/// In which order its epilogue's sums add up theirs.
inline SumOrder row_order_of(const ContractKernel& c, PlannedRows rows) { return sum_order(c.axes[c.row_axis()].extent, rows, reduction_chain); }

// --- text (print_program.cpp, parse_program.cpp): print(parse(print(p))) == print(p), byte for byte ---
std::string print_program(const Program&, const SourceMap* sources);
/// Does the text of a .nnir file begin as a program does, rather than a graph?
bool is_program_text(std::string_view);
/// Reads the program of a file, and verifies it; on any fault reports it with its place and returns nothing. What the text does not say is derived from
/// what it says (README.md). A source file that its kernels name and the map lacks gets a stand-in of blanks. Without `verify` (tests of what is not
/// sound) the grammar alone has been checked.
std::optional<Program> parse_program(SourceMap&, FileId, Diagnostics&, bool verify = true);

// --- verification (verify_program.cpp) ---

/// A violated invariant.
struct ProgramFault {
  static constexpr size_t none = SIZE_MAX;
  std::string text;           ///< by its number: "P6: v2 of forward touches ..."
  size_t buffer = none;       ///< the buffer at fault, or
  size_t kernel = none;       ///< the kernel, and
  size_t instruction = none;  ///< its instruction, in the order of for_each_instruction (kernel_code.h); or
  size_t region = none;       ///< the region
  size_t parallel = none;     ///< the parallel region
};

/// Every violated invariant, the memory plan included; empty when sound. Safe on any program whose buffers, axes and ids are where they point to.
/// After a hundred the rest is not looked for.
std::vector<ProgramFault> find_faults(const Program&);
/// Their texts.
std::vector<std::string> verify_program(const Program&);

}  // namespace nnc
