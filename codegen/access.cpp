// Loads and stores of scalar code over lanes. Four cases, by how an access moves along the lane axis:
//   the same in all lanes    one scalar load
//   consecutive              one vector load or store, masked on a tail
//   anything else, load      AVX-512: a masked gather of 4- and 8-byte elements; else scalar loads put together, where absent
//   lanes of a tail repeat the last
//                            existing one, so that no load needs a branch
//   anything else, store     a rolled loop over the existing lanes, in ascending order (so repeated indices of a store_add add up
//   in order)
// Where the target has no masked form of an element size (bytes on AVX2, everything on SSE2) a tail goes the third and fourth
// way. A tail known to be one lane is stored as a scalar everywhere.
#include <llvm/IR/Module.h>

#include "base/check.h"
#include "codegen/emitter.h"

namespace nnc {

using llvm::Value;

bool Emitter::varies(const Access& access, Point& point) {
  if (point.width == 1) return false;
  if (access.strides.size() > size_t(point.lane_axis) && access.strides[size_t(point.lane_axis)] != 0) return true;
  if (access.row_axis == point.lane_axis) return true;
  return access.index_value >= 0 && point.value(access.index_value)->getType()->isVectorTy();
}

bool Emitter::consecutive(const Access& access, Point& point) {
  return point.width > 1 && access.strides[size_t(point.lane_axis)] == 1 && access.row_axis != point.lane_axis &&
         !(access.index_value >= 0 && point.value(access.index_value)->getType()->isVectorTy());
}

bool Emitter::can_mask(DType type) const {
  if (target.level == VectorLevel::portable) return false;
  return target.level == VectorLevel::avx512 || byte_size(type) >= 4;
}

namespace {

Value* as_index(llvm::IRBuilder<>& ir, Value* value) {
  unsigned bits = value->getType()->getScalarSizeInBits();
  llvm::Type* wide = value->getType()->getWithNewBitWidth(64);
  return bits <= 8 ? ir.CreateZExt(value, wide) : ir.CreateSExtOrTrunc(value, wide);
}

}  // namespace

/// Address at lane `lane` (i64; null: lane 0); `index` is the gathered index of that lane, i64, or null.
Value* Emitter::lane_address(const Access& access, Point& point, Value* lane, Value* index) {
  const Buffer& buffer = program[access.buffer];
  int64_t size = int64_t(byte_size(buffer.dtype));
  Value* base = nullptr;
  if (access.row_axis >= 0) {
    Value* row = point.index[size_t(access.row_axis)];
    if (lane && access.row_axis == point.lane_axis) row = ir.CreateAdd(row, lane);
    base = field_row(access.buffer, row);
  } else {
    NNC_CHECK(buffer.kind != BufferKind::field, "access to field " + buffer.name + " without a row axis");
    base = base_pointer(access.buffer);
  }
  Value* offset = nullptr;
  auto add = [&](Value* v) { offset = offset ? ir.CreateAdd(offset, v) : v; };
  for (size_t a = 0; a < access.strides.size(); ++a) {
    if (access.strides[a] == 0) continue;
    NNC_CHECK(point.index[a] != nullptr, "access to " + buffer.name + " depends on an axis that has no index here");
    add(ir.CreateNSWMul(point.index[a], i64(access.strides[a] * size)));
    if (lane && int(a) == point.lane_axis) add(ir.CreateNSWMul(lane, i64(access.strides[a] * size)));
  }
  if (index) add(ir.CreateNSWMul(index, i64(access.index_stride * size)));
  if (offset) base = offset_pointer(base, offset);
  return offset_pointer(base, access.offset * size);
}

Value* Emitter::address(const Access& access, Point& point) {
  Value* index = nullptr;
  if (access.index_value >= 0) {
    index = point.value(access.index_value);
    if (index->getType()->isVectorTy()) index = ir.CreateExtractElement(index, uint64_t(0));
    index = as_index(ir, index);
  }
  return lane_address(access, point, nullptr, index);
}

Value* Emitter::to_register(Value* value, DType type) {
  if (type != DType::boolean) return value;
  return ir.CreateICmpNE(value, llvm::Constant::getNullValue(value->getType()));
}

Value* Emitter::to_memory(Value* value, DType type) {
  return type == DType::boolean ? ir.CreateZExt(value, value->getType()->getWithNewBitWidth(8)) : value;
}

/// Memory of fields is the caller's and may stand anywhere; all else is aligned to its elements.
static llvm::Align alignment(const Buffer& buffer) {
  return buffer.kind == BufferKind::field ? llvm::Align(1) : llvm::Align(byte_size(buffer.dtype));
}

Value* Emitter::load(const Access& access, DType type, Point& point) {
  const Buffer& buffer = program[access.buffer];
  NNC_CHECK(buffer.dtype == type, "load of " + buffer.name + " as another type than it is stored");
  if (!varies(access, point)) {
    auto* value = ir.CreateAlignedLoad(memory_type(type), address(access, point), alignment(buffer));
    annotate(value, access.buffer);
    return to_register(value, type);
  }
  if (consecutive(access, point) && (!point.mask || can_mask(type))) {
    llvm::Type* vector = memory_type(type, point.width);
    Value* pointer = address(access, point);
    llvm::Instruction* value = point.mask
                                   ? static_cast<llvm::Instruction*>(ir.CreateMaskedLoad(
                                         vector, pointer, alignment(buffer), point.mask, llvm::Constant::getNullValue(vector)))
                                   : static_cast<llvm::Instruction*>(ir.CreateAlignedLoad(vector, pointer, alignment(buffer)));
    annotate(value, access.buffer);
    return to_register(value, type);
  }
  return to_register(load_lanes(access, type, point), type);
}

Value* Emitter::load_lanes(const Access& access, DType type, Point& point) {
  const Buffer& buffer = program[access.buffer];
  llvm::Type* vector = memory_type(type, point.width);
  int64_t size = int64_t(byte_size(type));
  Value* index = access.index_value >= 0 ? as_index(ir, point.value(access.index_value)) : nullptr;
  bool index_varies = index && index->getType()->isVectorTy();
  int64_t stride = access.strides[size_t(point.lane_axis)];

  if (target.level == VectorLevel::avx512 && size >= 4 && access.row_axis != point.lane_axis) {
    Value* base = lane_address(access, point, nullptr, index_varies ? nullptr : index);
    Value* offsets = nullptr;
    if (stride != 0) {
      std::vector<llvm::Constant*> constants;
      for (int l = 0; l < point.width; ++l) constants.push_back(i64(l * stride * size));
      offsets = llvm::ConstantVector::get(constants);
    }
    if (index_varies) {
      Value* scaled = ir.CreateNSWMul(index, ir.CreateVectorSplat(unsigned(point.width), i64(access.index_stride * size)));
      offsets = offsets ? ir.CreateAdd(offsets, scaled) : scaled;
    }
    Value* pointers = ir.CreateGEP(ir.getInt8Ty(), base, offsets);
    Value* mask = point.mask ? point.mask : llvm::Constant::getAllOnesValue(register_type(DType::boolean, point.width));
    auto* value = ir.CreateMaskedGather(vector, pointers, alignment(buffer), mask, llvm::Constant::getNullValue(vector));
    annotate(value, access.buffer);
    return value;
  }

  Value* result = llvm::PoisonValue::get(vector);
  Value* last = point.active ? ir.CreateSub(point.active, i64(1)) : nullptr;
  for (int l = 0; l < point.width; ++l) {
    Value* lane = last && l > 0 ? minimum_index(i64(l), last) : i64(l);
    Value* lane_index = index_varies ? ir.CreateExtractElement(index, lane) : index;
    auto* element = ir.CreateAlignedLoad(memory_type(type), lane_address(access, point, lane, lane_index), alignment(buffer));
    annotate(element, access.buffer);
    result = ir.CreateInsertElement(result, element, uint64_t(l));
  }
  return result;
}

/// Whether only lane 0 exists, whatever the run's sizes.
static bool is_single_lane(const Point& point) {
  auto* active = llvm::dyn_cast_or_null<llvm::ConstantInt>(point.active);
  return active && active->isOne();
}

// One lane goes without a mask, which it does not need and which LLVM 22 (at least up to 22.1.8) gets wrong: a masked store of a
// truncated vector whose mask is a constant with one lane becomes a store of the element before truncation, four or eight bytes
// instead of one (llvm-project issue 179489).
void Emitter::store(const Access& access, DType type, Value* value, Point& point) {
  const Buffer& buffer = program[access.buffer];
  NNC_CHECK(buffer.dtype == type, "store to " + buffer.name + " as another type than it is stored");
  value = to_memory(value, type);
  if (!varies(access, point) || is_single_lane(point)) {
    if (value->getType()->isVectorTy())  // all lanes that exist write one element: the last one stays
      value = ir.CreateExtractElement(
          value, point.active ? ir.CreateSub(point.active, i64(1)) : static_cast<Value*>(i64(point.width - 1)));
    annotate(ir.CreateAlignedStore(value, address(access, point), alignment(buffer)), access.buffer);
    return;
  }
  if (consecutive(access, point) && (!point.mask || can_mask(type))) {
    value = splat(value, point.width);
    Value* pointer = address(access, point);
    llvm::Instruction* s =
        point.mask ? static_cast<llvm::Instruction*>(ir.CreateMaskedStore(value, pointer, alignment(buffer), point.mask))
                   : static_cast<llvm::Instruction*>(ir.CreateAlignedStore(value, pointer, alignment(buffer)));
    annotate(s, access.buffer);
    return;
  }
  store_lanes(access, type, value, point, false);
}

void Emitter::store_add(const Access& access, DType type, Value* value, Point& point) {
  const Buffer& buffer = program[access.buffer];
  if (point.width == 1) {
    Value* pointer = address(access, point);
    auto* old = ir.CreateAlignedLoad(memory_type(type), pointer, alignment(buffer));
    annotate(old, access.buffer);
    annotate(ir.CreateAlignedStore(compute(Op::add, type, {old, value}), pointer, alignment(buffer)), access.buffer);
    return;
  }
  if (consecutive(access, point)) {
    store(access, type, compute(Op::add, type, {load(access, type, point), value}), point);
    return;
  }
  store_lanes(access, type, value, point, true);
}

void Emitter::store_lanes(const Access& access, DType type, Value* value, Point& point, bool add) {
  const Buffer& buffer = program[access.buffer];
  auto spill = [&](Value* v) -> llvm::AllocaInst* {
    if (!v->getType()->isVectorTy()) return nullptr;
    auto* place = slot(v->getType());
    ir.CreateStore(v, place);
    return place;
  };
  auto pick = [&](Value* v, llvm::AllocaInst* place, Value* lane) -> Value* {
    if (!place) return v;
    llvm::Type* element = v->getType()->getScalarType();
    return ir.CreateLoad(element, ir.CreateGEP(element, place, lane));
  };
  Value* index = access.index_value >= 0 ? as_index(ir, point.value(access.index_value)) : nullptr;
  auto* value_slot = spill(value);
  auto* index_slot = index ? spill(index) : nullptr;
  loop(
      i64(0), point.active ? point.active : static_cast<Value*>(i64(point.width)), 1,
      [&](Value* lane) {
        Value* pointer = lane_address(access, point, lane, index ? pick(index, index_slot, lane) : nullptr);
        Value* element = pick(value, value_slot, lane);
        if (add) {
          auto* old = ir.CreateAlignedLoad(memory_type(type), pointer, alignment(buffer));
          annotate(old, access.buffer);
          element = compute(Op::add, type, {old, element});
        }
        annotate(ir.CreateAlignedStore(element, pointer, alignment(buffer)), access.buffer);
      },
      true);
}

Value* Emitter::read_scratch(Value* address) {
  llvm::Type* type = llvm::FixedVectorType::get(ir.getFloatTy(), unsigned(lanes));
  llvm::LoadInst* value = ir.CreateAlignedLoad(type, address, llvm::Align(uint64_t(lanes) * contraction_bytes));
  annotate(value, BufferId{});
  return value;
}

void Emitter::write_scratch(Value* value, Value* address) {
  annotate(ir.CreateAlignedStore(value, address, llvm::Align(uint64_t(lanes) * contraction_bytes)), BufferId{});
}

}  // namespace nnc
