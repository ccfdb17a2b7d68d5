// The register tile of a contraction: mr rows times nr vectors of accumulators, one ascending chain of FMAs over k for each
// output.
#pragma once

#include <string>
#include <vector>

#include "codegen/emitter.h"

namespace nnc {

/// Where several axes of k are one: the steps between which an operand that is read in place goes on by its stride of k are a run. From run to run it stands where
/// the indices of the outer axes say; accumulators stay in registers.
struct KRuns {
  int64_t length = 0;            ///< steps of a run; 0: all of k is one
  bool whole = false;            ///< every tile begins and ends with a run
  std::vector<int64_t> extents;  ///< of the axes outside of a run, slowest first
  std::vector<int64_t> a, b;     ///< bytes from one to the next along each of these; empty: the operand goes on by its stride of k over all of them
  std::vector<size_t> bounded;   ///< which of these axes a tile does not walk whole; extents.size() stands for the steps of a run
};

/// One shape of register tile with the strides it reads by; all strides in bytes and static, so that addresses are immediates.
struct TileShape {
  int rows = 1;  ///< accumulators: rows x vectors
  int vectors = 1;
  int64_t a_row = 0, a_k = 0;  ///< a(row, k) stands at a + row * a_row + k * a_k
  int64_t b_k = 0;             ///< b(k, vector v, lane l) stands at b + k * b_k + (v * lanes + l) * 4
  KRuns runs;
  int64_t c_row = 0;           ///< accumulator (row, v) is kept at c + row * c_row + v * vector bytes
  bool masked = false;         ///< the last vector of b has fewer lanes than a full one: read under a mask
};

/// Where the tile stands.
struct TilePlace {
  llvm::Value* a = nullptr;        ///< at the first step; of an operand that KRuns has strides for: at index 0 of k
  llvm::Value* b = nullptr;
  llvm::Value* c = nullptr;       ///< accumulators between blocks of k
  llvm::Value* k = nullptr;        ///< i64, >= 1: length of this block of k
  llvm::Value* k_first = nullptr;  ///< i64: index along k of the first step; with runs
  std::vector<std::pair<llvm::Value*, llvm::Value*>> bounds;  ///< i64, begin and end, for each of KRuns::bounded: what lies outside is left out of the sums
  llvm::Value* resume = nullptr;  ///< i1: start from the accumulators in c instead of zero; null: always from zero
  llvm::Value* active = nullptr;  ///< i64: lanes of the last vector, with TileShape::masked
  bool aligned_b = false;         ///< b is a packed panel, aligned to a vector
  bool annotate = false;          ///< emitted into the kernel itself: say which buffers are read
  BufferId a_buffer, b_buffer;    ///< invalid: scratch
};

/// Emits the loop over k at the insertion point and returns the accumulators, [rows][vectors] of <lanes x float>.
std::vector<llvm::Value*> emit_tile(Emitter&, const TileShape&, const TilePlace&);

/// A function shared by all kernels of the module that use this shape: void(ptr a, ptr b, ptr c, i64 k, i64 k_first, i1 resume, i64 active, i64 begin, i64 end, ...).
/// It leaves the accumulators in c.
llvm::Function* tile_function(Emitter&, const TileShape&, bool aligned_b);

/// R vectors (a power of two, at most their number of lanes) of equal type, read as a matrix [R][L]: the same vectors in the
/// order of its transpose [L][R], in log2(R) stages of interleaving.
std::vector<llvm::Value*> emit_transpose(Emitter&, std::vector<llvm::Value*> rows);

}  // namespace nnc
