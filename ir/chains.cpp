// Looks for the instructions of chains in a kernel, and numbers places.
#include "ir/chains.h"

namespace nnc {
namespace {

const Instruction* find(const MapKernel& map, Instruction::Kind kind) {
  for (const Block& block : map.blocks)
    for (const Instruction& i : block.code)
      if (i.kind == kind) return &i;
  return nullptr;
}

}  // namespace

const Instruction* find_linked(const MapKernel& map) { return find(map, Instruction::Kind::linked); }
const Instruction* find_touched(const MapKernel& map) { return find(map, Instruction::Kind::touched); }

std::vector<int64_t> place_strides(const std::vector<Axis>& axes, size_t begin, size_t end, int64_t rows) {
  std::vector<int64_t> strides(axes.size(), 0);
  int64_t step = 1;
  for (size_t i = end; i-- > begin;) {
    strides[i] = step;
    step *= axes[i].extent.at(rows);
  }
  return strides;
}

}  // namespace nnc
