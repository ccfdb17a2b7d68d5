// A block of Philox gives four words, and sixteen neighbouring elements stand in the same word of sixteen neighbouring blocks (base/philox.cpp). So 64 neighbours of a
// row cost sixteen blocks, whatever the lanes, and their words, stored as they come, lie in the order of the elements. A kernel therefore keeps the last 64 words
// of each site on its stack and makes them anew (one function of the module) when it comes to an element that is not among them: one function's worth of
// arithmetic for four vectors of sixteen lanes, where lanes run along the elements of a row. Any other lane axis takes its lanes one by one, which is slow and
// has the same numbers.
//
// A product of 32 x 32 -> 64 bits in every lane is two multiplications of every other lane: vectors of i64 whose upper halves are known to be zero, which
// LLVM takes for pmuludq.
#include "codegen/draw.h"

#include <llvm/IR/Module.h>

#include "runtime/step_abi.h"

namespace nnc {

using llvm::Value;

namespace {

constexpr int block_elements = 64;  // sixteen blocks of four words
constexpr uint64_t low_half = 0xFFFFFFFF;

/// The finaliser by which base/philox.cpp mixes seeds and sites.
Value* emit_mix64(llvm::IRBuilder<>& ir, Value* x) {
  auto shifted = [&](Value* v, uint64_t bits) { return ir.CreateXor(v, ir.CreateLShr(v, bits)); };
  x = ir.CreateAdd(x, ir.getInt64(0x9E3779B97F4A7C15));
  x = ir.CreateMul(shifted(x, 30), ir.getInt64(0xBF58476D1CE4E5B9));
  x = ir.CreateMul(shifted(x, 27), ir.getInt64(0x94D049BB133111EB));
  return shifted(x, 31);
}

/// Lower and upper halves of the products of a vector of i32 with a constant.
std::pair<Value*, Value*> emit_wide_product(llvm::IRBuilder<>& ir, Value* x, uint32_t factor) {
  auto* narrow = llvm::cast<llvm::FixedVectorType>(x->getType());
  auto* wide = llvm::FixedVectorType::get(ir.getInt64Ty(), narrow->getNumElements() / 2);
  auto number = [&](uint64_t n) { return llvm::ConstantInt::get(wide, n); };
  Value* pairs = ir.CreateBitCast(x, wide);
  Value* even = ir.CreateMul(ir.CreateAnd(pairs, number(low_half)), number(factor));
  Value* odd = ir.CreateMul(ir.CreateLShr(pairs, 32), number(factor));
  // Put together by shuffles: of a shift LLVM would make a multiplication by a larger factor, of 64 bits.
  const int width = int(narrow->getNumElements());
  auto halves = [&](int half) {
    std::vector<int> from;
    for (int lane = 0; lane < width; ++lane) from.push_back((lane & ~1) + half + (lane & 1 ? width : 0));
    return ir.CreateShuffleVector(ir.CreateBitCast(even, narrow), ir.CreateBitCast(odd, narrow), from);
  };
  Value *low = halves(0), *high = halves(1);
  return {low, high};
}

}  // namespace

/// draw_block(ptr words, i64 key, i64 update, i32 row, i32 block): the words of elements 64 * block .. 64 * block + 63 of a row.
llvm::Function* DrawEmitter::block_function() {
  const std::string name = "nnc." + e_.program.name + ".draw_block";
  if (llvm::Function* known = e_.module.getFunction(name)) return known;
  auto& ir = e_.ir;
  auto *i32 = ir.getInt32Ty(), *i64 = ir.getInt64Ty();
  llvm::Function* f = e_.create_internal_function(llvm::FunctionType::get(ir.getVoidTy(), {ir.getPtrTy(), i64, i64, i32, i32}, false), name);
  llvm::IRBuilderBase::InsertPointGuard guard(ir);
  ir.SetInsertPoint(llvm::BasicBlock::Create(e_.context, "entry", f));
  Value *words = f->getArg(0), *key = f->getArg(1), *update = f->getArg(2), *row = f->getArg(3), *block = f->getArg(4);
  const int width = e_.lanes;
  auto splat = [&](Value* v) { return e_.splat(v, width); };
  auto upper = [&](Value* v) { return ir.CreateTrunc(ir.CreateLShr(v, 32), i32); };
  std::vector<llvm::Constant*> lanes;
  for (int l = 0; l < width; ++l) lanes.push_back(ir.getInt32(uint32_t(l)));
  e_.loop(e_.i64(0), e_.i64(16), width, [&](Value* first) {
    Value* counter = ir.CreateAdd(ir.CreateMul(block, ir.getInt32(16)), ir.CreateTrunc(first, i32));
    Value* c[4] = {ir.CreateAdd(splat(counter), llvm::ConstantVector::get(lanes)), splat(row), splat(ir.CreateTrunc(update, i32)), splat(upper(update))};
    Value *k0 = ir.CreateTrunc(key, i32), *k1 = upper(key);
    for (int round = 0; round < 10; ++round) {
      auto [low_0, high_0] = emit_wide_product(ir, c[0], 0xD2511F53);
      auto [low_1, high_1] = emit_wide_product(ir, c[2], 0xCD9E8D57);
      Value* c0 = ir.CreateXor(ir.CreateXor(high_1, c[1]), splat(k0));
      Value* c2 = ir.CreateXor(ir.CreateXor(high_0, c[3]), splat(k1));
      c[0] = c0, c[1] = low_1, c[2] = c2, c[3] = low_0;
      k0 = ir.CreateAdd(k0, ir.getInt32(0x9E3779B9));
      k1 = ir.CreateAdd(k1, ir.getInt32(0xBB67AE85));
    }
    for (int word = 0; word < 4; ++word) {
      Value* at = ir.CreateAdd(first, e_.i64(16 * word));
      ir.CreateAlignedStore(c[word], ir.CreateGEP(i32, words, at), llvm::Align(4 * size_t(width)));
    }
  });
  ir.CreateRetVoid();
  return f;
}

DrawEmitter::Kept& DrawEmitter::kept(const std::string& site) {
  auto [it, fresh] = kept_.try_emplace(site);
  if (!fresh) return it->second;
  auto& ir = e_.ir;
  Kept& k = it->second;
  // A vector that ends beyond the 64th word is read where its last lanes are absent.
  k.words = e_.slot(llvm::ArrayType::get(ir.getInt32Ty(), block_elements + 16), "words");
  k.words->setAlignment(llvm::Align(64));
  k.place = e_.slot(ir.getInt64Ty(), "words_of");
  k.key = e_.at_entry([&]() -> Value* {
    ir.CreateStore(e_.i64(-1), k.place);
    Value* seed = ir.CreateLoad(ir.getInt64Ty(), e_.offset_pointer(e_.arguments.context, int64_t(offsetof(NncContext, seed))));
    return emit_mix64(ir, ir.CreateXor(emit_mix64(ir, seed), e_.site_hash(site)));
  });
  return k;
}

/// Makes the words of an element's block unless they are those that are kept.
void DrawEmitter::require_block(const Kept& k, Value* row, Value* element) {
  auto& ir = e_.ir;
  auto *i32 = ir.getInt32Ty(), *i64 = ir.getInt64Ty();
  Value* block = ir.CreateLShr(element, 6);  // below 2^28
  Value* place = ir.CreateOr(ir.CreateShl(ir.CreateZExt(row, i64), 28), block);
  e_.when(ir.CreateICmpNE(place, ir.CreateLoad(i64, k.place)), [&] {
    Value* update = ir.CreateLoad(i64, e_.offset_pointer(e_.arguments.draw, int64_t(offsetof(NncDraw, update))));
    ir.CreateCall(block_function(), {k.words, k.key, update, row, ir.CreateTrunc(block, i32)});
    ir.CreateStore(place, k.place);
  });
}

/// i32: the row of lane 0 within the update's whole batch.
Value* DrawEmitter::row_of(const Access& access, Point& point) {
  auto& ir = e_.ir;
  if (access.row_axis < 0) return ir.getInt32(0);
  Value* first = ir.CreateLoad(ir.getInt32Ty(), e_.offset_pointer(e_.arguments.draw, int64_t(offsetof(NncDraw, first_row))));
  return ir.CreateAdd(first, ir.CreateTrunc(point.index[size_t(access.row_axis)], ir.getInt32Ty()));
}

Value* DrawEmitter::word_address(const Kept& k, Value* element) {
  return e_.ir.CreateGEP(e_.ir.getInt32Ty(), k.words, e_.ir.CreateAnd(element, e_.i64(block_elements - 1)));
}

/// The upper 24 bits of words, which an f32 holds exactly, as a number in [0, 1).
Value* DrawEmitter::to_unit(Value* words) {
  llvm::Type* type = words->getType()->getWithNewType(e_.ir.getFloatTy());
  return e_.ir.CreateFMul(e_.ir.CreateSIToFP(e_.ir.CreateLShr(words, 8), type), llvm::ConstantFP::get(type, 0x1p-24));
}

Value* DrawEmitter::draw(const Instruction& i, Point& point) {
  auto& ir = e_.ir;
  auto* i32 = ir.getInt32Ty();
  const Access& access = i.access;
  Kept& k = kept(i.site);
  Value *row = row_of(access, point), *element = e_.i64(access.offset);
  for (size_t a = 0; a < access.strides.size(); ++a)
    if (access.strides[a] != 0) element = ir.CreateAdd(element, ir.CreateMul(point.index[a], e_.i64(access.strides[a])));
  const bool across_rows = point.width > 1 && access.row_axis == point.lane_axis;
  const int64_t stride = point.width > 1 ? access.strides[size_t(point.lane_axis)] : 0;
  if (stride == 0 && !across_rows) {
    require_block(k, row, element);
    return to_unit(ir.CreateLoad(i32, word_address(k, element)));
  }

  auto* vector = llvm::FixedVectorType::get(i32, unsigned(point.width));
  Value* count = point.active ? point.active : static_cast<Value*>(e_.i64(point.width));
  llvm::AllocaInst* result = e_.slot(vector, "drawn");
  auto lane_by_lane = [&] {
    e_.loop(
        e_.i64(0), count, 1,
        [&](Value* lane) {
          Value* own_row = across_rows ? ir.CreateAdd(row, ir.CreateTrunc(lane, i32)) : row;
          Value* own = ir.CreateAdd(element, ir.CreateMul(lane, e_.i64(stride)));
          require_block(k, own_row, own);
          ir.CreateStore(ir.CreateLoad(i32, word_address(k, own)), ir.CreateGEP(i32, result, lane));
        },
        true);
  };
  if (stride != 1 || across_rows) {
    ir.CreateStore(llvm::Constant::getNullValue(vector), result);
    lane_by_lane();
    return to_unit(ir.CreateLoad(vector, result));
  }
  // All lanes that exist within one block of 64: always, where rows are whole vectors.
  Value* end = ir.CreateAdd(ir.CreateAnd(element, e_.i64(block_elements - 1)), count);
  Value* whole = ir.CreateICmpSLE(end, e_.i64(block_elements));
  e_.when(whole, [&] {
    require_block(k, row, element);
    ir.CreateStore(ir.CreateAlignedLoad(vector, word_address(k, element), llvm::Align(4)), result);
  });
  e_.when(
      ir.CreateNot(whole),
      [&] {
        ir.CreateStore(llvm::Constant::getNullValue(vector), result);
        lane_by_lane();
      },
      true);
  return to_unit(ir.CreateLoad(vector, result));
}

}  // namespace nnc
