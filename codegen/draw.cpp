// A block of Philox gives four words, and sixteen neighbouring elements stand in the same word of sixteen neighbouring blocks (base/philox.cpp). So 64 neighbours of a
// row cost sixteen blocks, whatever the lanes, and their words, stored as they come, lie in the order of the elements. A kernel therefore keeps the last 64 words
// of each site on its stack (an epilogue those of each row of its block) and makes them anew (one function of the module) when it comes to an element that is not among them: one function's worth of
// arithmetic for four vectors of sixteen lanes, where lanes run along the elements of a row.
//
// Where lanes are rows, or any other distance apart, each lane has blocks of its own. A loop along the elements keeps for each lane the 64 words that it comes to next: those of an
// element in all lanes stand together, so one evaluation in a vector of lanes gives four vectors, as above. If the distance is no multiple of 64 elements, a lane's 64 are in two
// blocks, and both are made. Outside of such a loop a lane makes the one word that it wants, of four that its evaluation gives.
//
// A product of 32 x 32 -> 64 bits in every lane is two multiplications of every other lane: vectors of i64 whose upper halves are known to be zero, which
// LLVM takes for pmuludq.
#include "codegen/draw.h"

#include <llvm/IR/Module.h>

#include <algorithm>
#include <array>
#include <bit>

#include "runtime/step_abi.h"

namespace nnc {

using llvm::Value;

namespace {

constexpr int block_elements = 64;  // sixteen blocks of four words
constexpr int row_words = block_elements + 16;  // a vector that ends beyond the 64th word is read where its last lanes are absent
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

namespace {

using Words = std::array<Value*, 4>;

/// Ten rounds over lanes of a counter's four words (i32).
Words emit_philox(llvm::IRBuilder<>& ir, Words c, Value* key) {
  auto splat = [&](Value* v) { return ir.CreateVectorSplat(llvm::cast<llvm::FixedVectorType>(c[0]->getType())->getNumElements(), v); };
  Value *k0 = ir.CreateTrunc(key, ir.getInt32Ty()), *k1 = ir.CreateTrunc(ir.CreateLShr(key, 32), ir.getInt32Ty());
  for (int round = 0; round < 10; ++round) {
    auto [low_0, high_0] = emit_wide_product(ir, c[0], 0xD2511F53);
    auto [low_1, high_1] = emit_wide_product(ir, c[2], 0xCD9E8D57);
    Value* c0 = ir.CreateXor(ir.CreateXor(high_1, c[1]), splat(k0));
    Value* c2 = ir.CreateXor(ir.CreateXor(high_0, c[3]), splat(k1));
    c = {c0, low_1, c2, low_0};
    k0 = ir.CreateAdd(k0, ir.getInt32(0x9E3779B9));
    k1 = ir.CreateAdd(k1, ir.getInt32(0xBB67AE85));
  }
  return c;
}

}  // namespace

Value* DrawEmitter::lane_numbers() {
  std::vector<llvm::Constant*> numbers;
  for (int l = 0; l < e_.lanes; ++l) numbers.push_back(e_.ir.getInt32(uint32_t(l)));
  return llvm::ConstantVector::get(numbers);
}

/// A function of the module, void and of these parameters, whose body is emitted when it is first asked for.
llvm::Function* DrawEmitter::function(const std::string& name, const std::vector<llvm::Type*>& parameters, llvm::function_ref<void(llvm::Function*)> body) {
  const std::string symbol = "nnc." + e_.program.name + "." + name;
  if (llvm::Function* known = e_.module.getFunction(symbol)) return known;
  auto& ir = e_.ir;
  llvm::Function* f = e_.create_internal_function(llvm::FunctionType::get(ir.getVoidTy(), parameters, false), symbol);
  llvm::IRBuilderBase::InsertPointGuard guard(ir);
  ir.SetInsertPoint(llvm::BasicBlock::Create(e_.context, "entry", f));
  body(f);
  ir.CreateRetVoid();
  return f;
}

/// draw_block(ptr words, i64 key, i64 update, i32 row, i32 block): the words of elements 64 * block .. 64 * block + 63 of a row.
llvm::Function* DrawEmitter::block_function() {
  auto& ir = e_.ir;
  auto *i32 = ir.getInt32Ty(), *i64 = ir.getInt64Ty();
  return function("draw_block", {ir.getPtrTy(), i64, i64, i32, i32}, [&](llvm::Function* f) {
    Value *words = f->getArg(0), *key = f->getArg(1), *update = f->getArg(2), *row = f->getArg(3), *block = f->getArg(4);
    const int width = e_.lanes;
    auto splat = [&](Value* v) { return e_.splat(v, width); };
    e_.loop(e_.i64(0), e_.i64(16), width, [&](Value* first) {
      Value* counter = ir.CreateAdd(ir.CreateMul(block, ir.getInt32(16)), ir.CreateTrunc(first, i32));
      const Words drawn = emit_philox(ir, {ir.CreateAdd(splat(counter), lane_numbers()), splat(row), splat(ir.CreateTrunc(update, i32)), splat(ir.CreateTrunc(ir.CreateLShr(update, 32), i32))}, key);
      for (int word = 0; word < 4; ++word) {
        Value* at = ir.CreateAdd(first, e_.i64(16 * word));
        ir.CreateAlignedStore(drawn[size_t(word)], ir.CreateGEP(i32, words, at), llvm::Align(4 * size_t(width)));
      }
    });
  });
}

/// draw_nothing(ptr places, i64 count): no words are kept at any of them.
llvm::Function* DrawEmitter::forget_function() {
  auto& ir = e_.ir;
  return function("draw_nothing", {ir.getPtrTy(), ir.getInt64Ty()}, [&](llvm::Function* f) {
    e_.loop(e_.i64(0), f->getArg(1), 1, [&](Value* i) { ir.CreateStore(e_.i64(-1), ir.CreateGEP(ir.getInt64Ty(), f->getArg(0), i)); });
  });
}

/// draw_column(ptr words, i64 key, i64 update, i32 row, i32 row_step, i64 element, i64 stride, i64 width): a word for each lane, of which lane l draws element + l * stride of row + l * row_step.
/// `Form::blocks` and `apart`: 64 times that, of the element and those that follow it, each `width` words behind the one before; for `blocks` element and stride are multiples of 64.
llvm::Function* DrawEmitter::lanes_function(Form form) {
  auto& ir = e_.ir;
  auto *i32 = ir.getInt32Ty(), *i64 = ir.getInt64Ty();
  const char* name = form == Form::one ? "draw_column" : form == Form::blocks ? "draw_columns" : "draw_columns_apart";
  return function(name, {ir.getPtrTy(), i64, i64, i32, i32, i64, i64, i64}, [&](llvm::Function* f) {
    Value *words = f->getArg(0), *key = f->getArg(1), *update = f->getArg(2), *row = f->getArg(3), *row_step = f->getArg(4), *element = f->getArg(5), *stride = f->getArg(6), *width = f->getArg(7);
    auto splat = [&](Value* v) { return e_.splat(v, e_.lanes); };
    auto number = [&](uint32_t n) { return splat(ir.getInt32(n)); };
    e_.loop(e_.i64(0), width, e_.lanes, [&](Value* lane) {
      Value* lanes = ir.CreateAdd(splat(ir.CreateTrunc(lane, i32)), lane_numbers());
      // Lane by lane 16 * line + place; a line of sixteen elements is one word of sixteen blocks.
      auto* wide = llvm::FixedVectorType::get(i64, unsigned(e_.lanes));
      Value* elements = ir.CreateAdd(splat(element), ir.CreateMul(ir.CreateZExt(lanes, wide), splat(stride)));
      Value *lines = ir.CreateTrunc(ir.CreateLShr(elements, 4), lanes->getType()), *places = ir.CreateAnd(ir.CreateTrunc(elements, lanes->getType()), number(15));
      Value* rows = ir.CreateAdd(splat(row), ir.CreateMul(lanes, splat(row_step)));
      Value *low = splat(ir.CreateTrunc(update, i32)), *high = splat(ir.CreateTrunc(ir.CreateLShr(update, 32), i32));
      auto blocks_of = [&](Value* line, Value* place, uint32_t later) {
        Value* counter = ir.CreateAdd(ir.CreateShl(ir.CreateAdd(ir.CreateLShr(line, 2), number(later)), 4), place);
        return emit_philox(ir, {counter, rows, low, high}, key);
      };
      auto store = [&](Value* v, Value* at) { ir.CreateAlignedStore(v, ir.CreateGEP(i32, words, ir.CreateAdd(ir.CreateMul(at, width), lane)), llvm::Align(4 * size_t(e_.lanes))); };
      auto bit = [&](Value* of, uint32_t b) { return ir.CreateICmpNE(ir.CreateAnd(of, number(b)), number(0)); };
      if (form == Form::one) {
        const Words drawn = blocks_of(lines, places, 0);
        Value* lower = ir.CreateSelect(bit(lines, 1), drawn[1], drawn[0]);
        store(ir.CreateSelect(bit(lines, 2), ir.CreateSelect(bit(lines, 1), drawn[3], drawn[2]), lower), e_.i64(0));
        return;
      }
      e_.loop(e_.i64(0), e_.i64(16), 1, [&](Value* first) {
        Value* place = ir.CreateAdd(places, splat(ir.CreateTrunc(first, i32)));
        Value* line = ir.CreateAdd(lines, ir.CreateLShr(place, 4));
        place = ir.CreateAnd(place, number(15));
        std::vector<Value*> drawn;
        for (Value* v : blocks_of(line, place, 0)) drawn.push_back(v);
        if (form == Form::apart) {
          for (Value* v : blocks_of(line, place, 1)) drawn.push_back(v);
          // From word line % 4 on: moved by two of them where that is in it, then by one.
          for (uint32_t by : {2u, 1u})
            for (size_t word = 0; word + by < drawn.size(); ++word) drawn[word] = ir.CreateSelect(bit(line, by), drawn[word + by], drawn[word]);
        }
        for (int word = 0; word < 4; ++word) store(drawn[size_t(word)], ir.CreateAdd(first, e_.i64(16 * word)));
      });
    });
  });
}

DrawEmitter::Kept DrawEmitter::kept(const std::string& site, const Lanes& lanes, int rows) {
  auto [it, fresh] = kept_.try_emplace({site, lanes});
  if (!fresh) return it->second;
  auto& ir = e_.ir;
  Kept& k = it->second;
  llvm::AllocaInst* words = e_.slot(llvm::ArrayType::get(ir.getInt32Ty(), uint64_t(lanes.width == 1 ? row_words * rows : block_elements * lanes.width)), "words");
  words->setAlignment(llvm::Align(64));
  k = {words, e_.slot(llvm::ArrayType::get(ir.getInt64Ty(), uint64_t(rows)), "words_of"), rows};
  e_.at_entry([&]() -> Value* { return ir.CreateCall(forget_function(), {k.place, e_.i64(rows)}); });
  return k;
}

/// How many rows of an epilogue's block keep words of their own: all of them, where vectors go along elements, since the block is gone through one column of tiles after the other, and a row comes to its next
/// elements when all others have had theirs. Elsewhere one.
int DrawEmitter::rows_kept(const Point& point) const {
  constexpr int64_t most = 256;
  const auto* c = std::get_if<ContractKernel>(&e_.kernel->body);
  if (!c || point.lane_axis != int(c->n_axis()) || !point.index[c->row_axis()]) return 1;
  return int(std::bit_ceil(uint64_t(std::clamp<int64_t>(c->mc, 1, most))));
}

Value* DrawEmitter::key(const std::string& site) {
  auto [it, fresh] = keys_.try_emplace(site);
  if (fresh)
    it->second = e_.at_entry([&]() -> Value* {
      Value* seed = e_.ir.CreateLoad(e_.ir.getInt64Ty(), e_.offset_pointer(e_.arguments.context, int64_t(offsetof(NncContext, seed))));
      return emit_mix64(e_.ir, e_.ir.CreateXor(emit_mix64(e_.ir, seed), e_.site_hash(site)));
    });
  return it->second;
}

Value* DrawEmitter::update() { return e_.ir.CreateLoad(e_.ir.getInt64Ty(), e_.offset_pointer(e_.arguments.draw, int64_t(offsetof(NncDraw, update)))); }

/// Makes the words of an element's block unless they are those that are kept.
void DrawEmitter::require_block(const Kept& k, Value* row, Value* element, llvm::function_ref<void(Value* block)> make) {
  auto& ir = e_.ir;
  auto* i64 = ir.getInt64Ty();
  Value* block = ir.CreateLShr(element, 6);  // below 2^28
  Value* place = ir.CreateOr(ir.CreateShl(ir.CreateZExt(row, i64), 28), block);
  e_.when(ir.CreateICmpNE(place, ir.CreateLoad(i64, k.place)), [&] {
    make(block);
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

/// The address of an element's word, or of the first lane's, in a block that is kept.
Value* DrawEmitter::word_address(const Kept& k, Value* element, int width) {
  return e_.ir.CreateGEP(e_.ir.getInt32Ty(), k.words, e_.ir.CreateMul(e_.ir.CreateAnd(element, e_.i64(block_elements - 1)), e_.i64(width)));
}

/// The upper 24 bits of words, which an f32 holds exactly, as a number in [0, 1).
Value* DrawEmitter::to_unit(Value* words) {
  llvm::Type* type = words->getType()->getWithNewType(e_.ir.getFloatTy());
  return e_.ir.CreateFMul(e_.ir.CreateSIToFP(e_.ir.CreateLShr(words, 8), type), llvm::ConstantFP::get(type, 0x1p-24));
}

/// Whether the kernel's innermost loop goes along elements, one by one.
bool DrawEmitter::loops_along(const Access& access, const Point& point) const {
  const auto* map = std::get_if<MapKernel>(&e_.kernel->body);
  if (!map || int(map->axes.size()) == map->outer || point.lane_axis >= map->outer) return false;
  return access.strides.back() == 1 && access.row_axis != int(map->axes.size()) - 1 && point.index.back();
}

Value* DrawEmitter::draw(const Instruction& i, Point& point) {
  auto& ir = e_.ir;
  auto* i32 = ir.getInt32Ty();
  const Access& access = i.access;
  Value *row = row_of(access, point), *element = e_.i64(access.offset);
  for (size_t a = 0; a < access.strides.size(); ++a)
    if (access.strides[a] != 0) element = ir.CreateAdd(element, ir.CreateMul(point.index[a], e_.i64(access.strides[a])));
  const bool across_rows = point.width > 1 && access.row_axis == point.lane_axis;
  const int64_t stride = point.width > 1 ? access.strides[size_t(point.lane_axis)] : 0;
  if (across_rows || (stride != 0 && stride != 1)) return to_unit(draw_apart(i, point, row, element, {point.width, stride, across_rows}));

  const int rows = stride == 1 ? rows_kept(point) : 1;
  Kept k = kept(i.site, {1, stride, false}, rows);
  if (k.rows > 1) {
    Value* number = ir.CreateAnd(point.index[std::get<ContractKernel>(e_.kernel->body).row_axis()], e_.i64(k.rows - 1));
    k.words = ir.CreateGEP(i32, k.words, ir.CreateMul(number, e_.i64(row_words)));
    k.place = ir.CreateGEP(ir.getInt64Ty(), k.place, number);
  }
  auto word_at = [&](Value* at) {
    require_block(k, row, at, [&](Value* block) { ir.CreateCall(block_function(), {k.words, key(i.site), update(), row, ir.CreateTrunc(block, i32)}); });
    return word_address(k, at, 1);
  };
  if (stride == 0) return to_unit(ir.CreateLoad(i32, word_at(element)));

  auto* vector = llvm::FixedVectorType::get(i32, unsigned(point.width));
  Value* count = point.active ? point.active : static_cast<Value*>(e_.i64(point.width));
  llvm::AllocaInst* result = e_.slot(vector, "drawn");
  // All lanes that exist within one block of 64: always, where rows are whole vectors.
  Value* end = ir.CreateAdd(ir.CreateAnd(element, e_.i64(block_elements - 1)), count);
  Value* whole = ir.CreateICmpSLE(end, e_.i64(block_elements));
  e_.when(whole, [&] { ir.CreateStore(ir.CreateAlignedLoad(vector, word_at(element), llvm::Align(4)), result); });
  e_.when(
      ir.CreateNot(whole),
      [&] {
        ir.CreateStore(llvm::Constant::getNullValue(vector), result);
        e_.loop(e_.i64(0), count, 1, [&](Value* lane) { ir.CreateStore(ir.CreateLoad(i32, word_at(ir.CreateAdd(element, lane))), ir.CreateGEP(i32, result, lane)); }, true);
      },
      true);
  return to_unit(ir.CreateLoad(vector, result));
}

/// The words of lanes that are rows, or more than an element apart.
Value* DrawEmitter::draw_apart(const Instruction& i, Point& point, Value* row, Value* element, Lanes lanes) {
  auto& ir = e_.ir;
  auto* vector = llvm::FixedVectorType::get(ir.getInt32Ty(), unsigned(point.width));
  lanes.width = (point.width + e_.lanes - 1) / e_.lanes * e_.lanes;
  const llvm::Align aligned(4 * size_t(e_.lanes));
  auto make = [&](Form form, Value* words, Value* first) {
    ir.CreateCall(lanes_function(form), {words, key(i.site), update(), row, ir.getInt32(lanes.across_rows ? 1 : 0), first, e_.i64(lanes.stride), e_.i64(lanes.width)});
  };
  if (!loops_along(i.access, point)) {
    llvm::AllocaInst* words = e_.slot(llvm::ArrayType::get(ir.getInt32Ty(), uint64_t(lanes.width)), "drawn");
    words->setAlignment(llvm::Align(64));
    make(Form::one, words, element);
    return ir.CreateAlignedLoad(vector, words, aligned);
  }
  const Kept k = kept(i.site, lanes, 1);
  const Form form = lanes.stride % block_elements == 0 ? Form::blocks : Form::apart;
  require_block(k, row, element, [&](Value* block) { make(form, k.words, ir.CreateShl(block, 6)); });
  return ir.CreateAlignedLoad(vector, word_address(k, element, lanes.width), aligned);
}

}  // namespace nnc
