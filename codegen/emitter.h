// What both kernel emitters (map.cpp, contract.cpp) share: the module being built, the current kernel's arguments and buffers,
// rolled loops, and the evaluation of scalar SSA code over a vector of lanes with an optional tail. Internal to codegen; the only
// way in is codegen.h.
//
// Form of a kernel function (noinline, named after kernel and source line):
//   i64 kernel(ptr context, ptr row_index, i64 rows, ptr scalars, ptr results, ptr draw, ptr scratch, i64 piece_begin, i64 piece_end, ptr places, ptr rounds)
// row_index, rows, scalars, results, draw are those of the current step; scratch is this thread's; places says where a kernel works
// whose function others share (sharing.h), and is null for a function of one kernel; rounds is the index of each region around the kernel (i64, outermost first), by
// which slots move. Work of a kernel is cut into pieces;
// a call does the pieces piece_begin .. piece_end - 1, in ascending order. Pieces may be done by different threads in any order
// and must not depend on one another. A piece_end of -1 means all of them; a piece_begin of -1 does nothing but return the number
// of pieces. So the step function is a loop over a table of kernels and does not grow with the program.
//
// What a kernel emitter provides:
//   void emit_map_kernel(Emitter&, const Kernel&, llvm::Function*)             map.h
//   llvm::Value* emit_map_pieces(Emitter&, const Kernel&, llvm::Value* rows)   map.h: the number of pieces (i64, >= 0) at a number of rows
//   void emit_contract_kernel(Emitter&, const Kernel&, llvm::Function*)        contract.h
//   llvm::Value* emit_contract_pieces(Emitter&, const Kernel&, llvm::Value* rows)   contract.h
// emit_*_kernel is called with an empty function; it opens with emitter.begin_kernel(kernel, function), which deals with -1 in
// both places, emits code at emitter.ir's insertion point and ends with emitter.end_kernel(), which adds the `ret`. emit_*_pieces
// emits straight-line code from `rows` alone.
//
// Generated code calls nothing outside itself: no libm, no memset. Helpers here keep to that (fma only where the target has it,
// floor by hand on SSE2).
#pragma once

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/IR/IRBuilder.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/source.h"
#include "base/target.h"
#include "codegen/sharing.h"
#include "ir/program.h"

namespace nnc {

/// Where scalar code is evaluated: the index of each axis, and the lanes. With width 1 everything is scalar. With width > 1 lane
/// l stands at index[lane_axis] + l. A value is held as an LLVM scalar where it is the same in all lanes and as a vector <width x
/// T> elsewhere; both are legal as operands everywhere, Emitter::splat makes a vector of either. In registers: f32 float, f64
/// double, i32, i64 signed, u8 i8 (unsigned), bool i1.
struct Point {
  std::vector<llvm::Value*> index;  ///< i64, one for each axis of the kernel (null: not to be used); of lane 0 for the lane axis
  int lane_axis = -1;               ///< axis along which lanes run; -1 with width 1
  int width = 1;
  llvm::Value* active = nullptr;     ///< i64: only lanes 0 .. active-1 exist (1 <= active <= width); null: all
  llvm::Value* mask = nullptr;       ///< <width x i1> of the same; null exactly if `active` is
  std::vector<llvm::Value*> values;  ///< by Instruction::id; grown on demand
  llvm::Value*& value(int id) {
    if (size_t(id) >= values.size()) values.resize(size_t(id) + 1, nullptr);
    return values[size_t(id)];
  }
};

class DrawEmitter;  // draw.h

class Emitter {
 public:
  ~Emitter();
  Emitter(const Program&, const SourceMap* sources, llvm::Module&);
  Emitter(const Emitter&) = delete;

  const Program& program;
  const Target& target;
  const SourceMap* sources;
  llvm::Module& module;
  llvm::LLVMContext& context;
  llvm::IRBuilder<> ir;       ///< no fast-math flags: every operation rounds for itself
  bool has_fma = false;       ///< avx2 and avx512
  int lanes = 4;              ///< f32 lanes of a vector: target.f32_lanes()
  int64_t scratch_bytes = 0;  ///< of one thread; see request_scratch

  // --- the kernel being emitted ---
  const Kernel* kernel = nullptr;
  llvm::Function* function = nullptr;
  struct Arguments {
    llvm::Value *context, *row_index, *rows, *scalars, *results, *draw, *scratch, *piece_begin, *piece_end, *places, *rounds;
  } arguments{};
  bool shared = false;  ///< the function is for several kernels: it reads its places; set before begin_kernel
  /// The type of the form above.
  llvm::FunctionType* kernel_type();
  /// An internal noinline function of that type, without a body, for so many kernels.
  llvm::Function* create_kernel_function(const Kernel&, size_t uses);
  /// An internal function that is not inlined and that LLVM may not make calls of the C library in.
  llvm::Function* create_internal_function(llvm::FunctionType*, const std::string& name);
  void begin_kernel(const Kernel&, llvm::Function*);  ///< makes entry and first block, sets kernel, function, arguments, insertion point
  void end_kernel();                                  ///< ends the function at the insertion point

  /// This kernel needs `bytes` of arguments.scratch (64-byte aligned). Kernels share it: nothing survives a call.
  void request_scratch(int64_t bytes) { scratch_bytes = scratch_bytes > bytes ? scratch_bytes : bytes; }

  // --- buffers ---
  /// First byte of a buffer (not of kind field); loaded once, in the entry block. For scalars, results and outputs as
  /// Buffer::offset says.
  llvm::Value* base_pointer(BufferId);
  llvm::Value* field_base(BufferId);                   ///< field: address of row 0
  llvm::Value* field_stride(BufferId);                 ///< field: bytes between rows
  llvm::Value* field_row(BufferId, llvm::Value* row);  ///< field: address of batch row `row` (i64), through the step's row_index
  llvm::Value* site_hash(const std::string& site);     ///< i64: site_place of a draw's site, constant or read
  /// Address of an access at lane 0 of a point.
  llvm::Value* address(const Access&, Point&);
  /// Says of a load or store of the current kernel which buffer it touches, so that LLVM knows it does not touch the others.
  void annotate(llvm::Instruction*, BufferId);

  // --- scalar code over lanes ---
  void emit(const Instruction&, Point&);  ///< everything but `reduce`; `accumulator` expects point.value(id) to be there already
  void emit(const std::vector<Instruction>&, Point&);  ///< in order
  llvm::Value* load(const Access&, DType, Point&);
  void store(const Access&, DType, llvm::Value*, Point&);
  void store_add(const Access&, DType, llvm::Value*, Point&);
  /// An element-wise op on values as held in registers, mixed scalars and vectors allowed.
  llvm::Value* compute(Op, DType result, std::vector<llvm::Value*> operands);
  llvm::Value* cast(llvm::Value*, DType to);
  llvm::Value* maximum(llvm::Value*, llvm::Value*);  ///< NaN if either is; also integers
  llvm::Value* minimum(llvm::Value*, llvm::Value*);
  llvm::Value* fma(llvm::Value* a, llvm::Value* b, llvm::Value* c);  ///< a * b + c, fused where the target can (same types)

  // --- types and constants ---
  llvm::Type* register_type(DType, int width = 1);
  llvm::Type* memory_type(DType, int width = 1);  ///< bool as i8
  llvm::Value* splat(llvm::Value*, int width);    ///< the value itself if it is a vector or width is 1
  llvm::ConstantInt* i64(int64_t);
  llvm::Constant* f32(double);
  llvm::Value* offset_pointer(llvm::Value* pointer, llvm::Value* bytes);
  llvm::Value* offset_pointer(llvm::Value* pointer, int64_t bytes);
  /// A vector of f32 in scratch memory, aligned to its size.
  llvm::Value* read_scratch(llvm::Value* address);
  void write_scratch(llvm::Value* value, llvm::Value* address);
  llvm::Value* extent(Extent);  ///< i64 at the step's number of rows
  llvm::Value* extent(Extent, llvm::Value* rows);
  llvm::Value* lane_mask(llvm::Value* active, int width);  ///< <width x i1>: lane < active (i64)
  llvm::Value* minimum_index(llvm::Value*, llvm::Value*);  ///< of two i64
  llvm::Value* maximum_index(llvm::Value*, llvm::Value*);

  // --- control flow ---
  /// for (i = begin; i < end; i += step) body(i), rolled; i is i64. `surely`: begin < end is known.
  void loop(llvm::Value* begin, llvm::Value* end, int64_t step, llvm::function_ref<void(llvm::Value* i)> body,
            bool surely = false);
  /// if (condition) body(); `rarely`: laid out away from the usual path
  void when(llvm::Value* condition, llvm::function_ref<void()> body, bool rarely = false);
  /// Code in the kernel's entry block, which runs once for each call.
  llvm::Value* at_entry(llvm::function_ref<llvm::Value*()> make);
  /// Stack slot in the entry block; loop-carried values go through these and become registers in SROA.
  llvm::AllocaInst* slot(llvm::Type*, const char* name = "");

 private:
  llvm::Value* place(size_t number, int64_t here);  ///< i64: of the kernel's places, of which the kernel being emitted has `here`
  llvm::Value* buffer_place_value(BufferId);
  llvm::Value* slot_base(BufferId, llvm::Value* base);  ///< of a slot, where it stands in the rounds at hand
  llvm::Value* field_entry(BufferId);  ///< the context's entry of a field
  llvm::Constant* literal_table(const Buffer&);  ///< its numbers, in this module
  bool varies(const Access&, Point&);
  bool consecutive(const Access&, Point&);
  bool can_mask(DType) const;
  llvm::Value* lane_address(const Access&, Point&, llvm::Value* lane, llvm::Value* index);
  llvm::Value* load_lanes(const Access&, DType, Point&);
  void store_lanes(const Access&, DType, llvm::Value*, Point&, bool add);
  llvm::Value* to_register(llvm::Value*, DType);
  llvm::Value* to_memory(llvm::Value*, DType);
  void make_alias_scopes();

  llvm::BasicBlock* entry_ = nullptr;
  std::unique_ptr<DrawEmitter> draws_;  ///< of the kernel being emitted
  KernelPlaces places_;                 ///< likewise
  std::map<BufferId, llvm::Value*> bases_, field_strides_;
  std::map<BufferId, std::pair<llvm::MDNode*, llvm::MDNode*>> scopes_;  ///< alias.scope and noalias of a buffer's accesses
};

/// No polynomials, draws or positions: some instructions for each operation.
bool is_simple(const std::vector<Instruction>&);

/// The number of pieces of a kernel of either shape.
llvm::Value* emit_pieces(Emitter&, const Kernel&, llvm::Value* rows);

/// "nnc.train.fc1.contract@mlp.nn:12"; of a function for three kernels, "nnc.train.fc1.contract@mlp.nn:12(x3)" by the first of them.
std::string kernel_symbol(const Program&, const Kernel&, const SourceMap*, size_t uses);

}  // namespace nnc
