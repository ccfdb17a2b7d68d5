// Floats: with an FMA and a quotient that has room for a few binary places, the rounded quotient cut to an integer is the exact one or its neighbour away from
// zero, and the FMA's remainder, which is exact, tells which (Markstein, "IA-64 and Elementary Functions", 2000). That is one division and a handful of
// instructions. What is left (larger quotients, which lose their last digits; every quotient where the target has no FMA) is a long division on the digits as
// integers, one binary place of the quotient for each turn of a loop, all lanes together. Vectors without such a lane pass it by.
//
// Integers: the machine's division. Dividing by 0 would end the process, and so would the lowest integer by -1: both divide by 1 instead and are put right.
#include "codegen/floor_division.h"

#include <llvm/IR/Intrinsics.h>

#include <limits>

namespace nnc {

using llvm::Value;

namespace {

Value* divide_integers(Emitter& e, Op op, Value* x, Value* y) {
  auto& ir = e.ir;
  auto number = [&](int64_t v) { return llvm::ConstantInt::getSigned(x->getType(), v); };
  Value* by_zero = ir.CreateICmpEQ(y, number(0));
  if (x->getType()->getScalarSizeInBits() <= 8) {  // of bytes, which have no sign
    Value* divisor = ir.CreateSelect(by_zero, number(1), y);
    return op == Op::floor_mod ? ir.CreateURem(x, divisor) : ir.CreateSelect(by_zero, number(0), ir.CreateUDiv(x, divisor));
  }
  Value* by_minus_one = ir.CreateICmpEQ(y, number(-1));
  Value* divisor = ir.CreateSelect(ir.CreateOr(by_zero, by_minus_one), number(1), y);
  Value* quotient = ir.CreateSDiv(x, divisor);
  Value* rest = ir.CreateSub(x, ir.CreateMul(quotient, divisor));
  Value* off = ir.CreateAnd(ir.CreateICmpNE(rest, number(0)), ir.CreateICmpSLT(ir.CreateXor(rest, divisor), number(0)));
  if (op == Op::floor_mod) return ir.CreateAdd(rest, ir.CreateSelect(off, divisor, number(0)));
  Value* below = ir.CreateSub(quotient, ir.CreateSelect(off, number(1), number(0)));
  return ir.CreateSelect(by_zero, number(0), ir.CreateSelect(by_minus_one, ir.CreateNeg(x), below));
}

class FloatDivision {
 public:
  FloatDivision(Emitter& e, Op op, Value* x, Value* y)
      : e(e), ir(e.ir), type(x->getType()), wants_quotient(op == Op::floor_div), x(x), y(y) {
    wide = type->getScalarType()->isDoubleTy();
    bits_type = type->getWithNewType(wide ? static_cast<llvm::Type*>(ir.getInt64Ty()) : ir.getInt32Ty());
    places = wide ? 53 : 24;
    bias = wide ? 1023 : 127;
  }

  Value* result() {
    rounded = ir.CreateFDiv(x, y);
    Value* magnitude = abs(x);
    is_number = ir.CreateFCmpOLT(magnitude, c(infinity));
    Value* divides = ir.CreateFCmpUNE(y, c(0));
    if (!e.has_fma) return with_specials(long_division(ir.CreateAnd(ir.CreateAnd(is_number, divides), ir.CreateFCmpOGT(magnitude, c(0)))), divides);
    Value* large = ir.CreateAnd(ir.CreateAnd(is_number, divides), ir.CreateFCmpOGE(abs(rounded), c(wide ? 0x1p51 : 0x1p22)));
    llvm::AllocaInst* slot = e.slot(type, "floor");
    ir.CreateStore(short_division(), slot);
    Value* any = llvm::isa<llvm::FixedVectorType>(type) ? static_cast<Value*>(ir.CreateOrReduce(large)) : large;
    e.when(
        any, [&] { ir.CreateStore(ir.CreateSelect(large, long_division(large), ir.CreateLoad(type, slot)), slot); }, /*rarely=*/true);
    return with_specials(ir.CreateLoad(type, slot), divides);
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  Value* c(double v) { return llvm::ConstantFP::get(type, v); }
  Value* i(int64_t v) { return llvm::ConstantInt::getSigned(bits_type, v); }
  Value* bits(Value* v) { return ir.CreateBitCast(v, bits_type); }
  Value* abs(Value* v) { return ir.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, v); }
  Value* copy_sign(Value* v, Value* sign) { return ir.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, v, sign); }
  Value* negative(Value* v) { return ir.CreateICmpSLT(bits(v), i(0)); }

  /// One more down, where the remainder has the other sign than y.
  Value* off(Value* rest) { return ir.CreateAnd(ir.CreateFCmpONE(rest, c(0)), ir.CreateXor(negative(rest), negative(y))); }
  Value* remainder_from(Value* rest) {
    Value* moved = ir.CreateSelect(off(rest), ir.CreateFAdd(rest, y), rest);
    return ir.CreateSelect(ir.CreateFCmpOEQ(moved, c(0)), copy_sign(c(0), y), moved);
  }

  Value* short_division() {
    Value* whole = ir.CreateUnaryIntrinsic(llvm::Intrinsic::trunc, rounded);
    // With a quotient of 0 the remainder is x, also where y is infinite.
    Value* rest = ir.CreateSelect(ir.CreateFCmpOEQ(whole, c(0)), x, e.fma(ir.CreateFNeg(whole), y, x));
    return wants_quotient ? ir.CreateSelect(off(rest), ir.CreateFSub(whole, c(1)), whole) : remainder_from(rest);
  }

  /// value = digits * 2^exponent, digits with the leading place set.
  struct Digits {
    Value *digits, *exponent;
  };
  Digits split(Value* magnitude) {
    Value* denormal = ir.CreateFCmpOLT(magnitude, c(wide ? 0x1p-1022 : 0x1p-126));
    Value* normal = bits(ir.CreateSelect(denormal, ir.CreateFMul(magnitude, c(wide ? 0x1p53 : 0x1p24)), magnitude));
    Value* exponent = ir.CreateSub(ir.CreateLShr(normal, i(places - 1)), ir.CreateSelect(denormal, i(places), i(0)));
    Value* digits = ir.CreateOr(ir.CreateAnd(normal, i((int64_t(1) << (places - 1)) - 1)), i(int64_t(1) << (places - 1)));
    return {digits, ir.CreateSub(exponent, i(bias + places - 1))};
  }

  Value* pow2(Value* n) { return ir.CreateBitCast(ir.CreateShl(ir.CreateAdd(n, i(bias)), i(places - 1)), type); }
  /// v 2^n in two steps, since 2^n alone may be out of range; exact unless it overflows.
  Value* scale(Value* v, Value* n) {
    Value* first = ir.CreateAShr(n, i(1));
    return ir.CreateFMul(ir.CreateFMul(v, pow2(first)), pow2(ir.CreateSub(n, first)));
  }

  /// Of the lanes in `wanted`: x finite and not 0, y neither 0 nor NaN. Others give a number without meaning.
  Value* long_division(Value* wanted) {
    Digits a = split(abs(x)), b = split(abs(y));
    Value* gap = ir.CreateSelect(wanted, ir.CreateSub(a.exponent, b.exponent), i(-1));
    // The digits that come after the first places + 4 only decide how the quotient is rounded.
    llvm::AllocaInst *rest = e.slot(bits_type, "rest"), *quotient = e.slot(bits_type, "quotient"), *dropped = e.slot(bits_type, "dropped");
    llvm::AllocaInst *any = e.slot(bits_type, "any.dropped"), *all = e.slot(bits_type, "all.dropped");
    ir.CreateStore(a.digits, rest);
    for (llvm::AllocaInst* zero : {quotient, dropped, any}) ir.CreateStore(i(0), zero);
    ir.CreateStore(i(1), all);
    Value* most = llvm::isa<llvm::FixedVectorType>(type) ? ir.CreateIntMaxReduce(gap, /*IsSigned=*/true) : gap;
    e.loop(e.i64(0), ir.CreateAdd(ir.CreateSExt(most, ir.getInt64Ty()), e.i64(1)), 1, [&](Value* step) {
      Value* k = ir.CreateTrunc(step, bits_type->getScalarType());
      if (auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type)) k = e.splat(k, int(vector->getNumElements()));
      auto update = [&](llvm::AllocaInst* slot, Value* old, Value* next) { ir.CreateStore(ir.CreateSelect(ir.CreateICmpSLE(k, gap), next, old), slot); };
      auto load = [&](llvm::AllocaInst* slot) { return ir.CreateLoad(bits_type, slot); };
      Value *r = load(rest), *q = load(quotient), *d = load(dropped), *some = load(any), *every = load(all);
      Value* shifted = ir.CreateSelect(ir.CreateICmpEQ(k, i(0)), r, ir.CreateShl(r, i(1)));
      Value* fits = ir.CreateICmpSGE(shifted, b.digits);
      Value* digit = ir.CreateSelect(fits, i(1), i(0));
      Value* keeps = ir.CreateICmpSLT(q, i(int64_t(1) << (places + 4)));
      update(rest, r, ir.CreateSelect(fits, ir.CreateSub(shifted, b.digits), shifted));
      update(quotient, q, ir.CreateSelect(keeps, ir.CreateOr(ir.CreateShl(q, i(1)), digit), q));
      update(dropped, d, ir.CreateSelect(keeps, d, ir.CreateAdd(d, i(1))));
      update(any, some, ir.CreateSelect(keeps, some, ir.CreateOr(some, digit)));
      update(all, every, ir.CreateSelect(keeps, every, ir.CreateAnd(every, digit)));
    });
    Value *r = ir.CreateLoad(bits_type, rest), *q = ir.CreateLoad(bits_type, quotient);
    Value* smaller = ir.CreateICmpSLT(gap, i(0));  // |x| < |y| for certain
    if (!wants_quotient) {
      Value* magnitude = ir.CreateSelect(smaller, abs(x), scale(ir.CreateSIToFP(r, type), b.exponent));
      return remainder_from(copy_sign(magnitude, x));
    }
    // Down is away from zero where the quotient is negative: one more, which may carry through all the dropped digits.
    Value* below_zero = ir.CreateXor(negative(x), negative(y));
    Value* more = ir.CreateAnd(below_zero, ir.CreateOr(smaller, ir.CreateICmpNE(r, i(0))));
    Value* carries = ir.CreateAnd(more, ir.CreateICmpNE(ir.CreateLoad(bits_type, all), i(0)));
    q = ir.CreateAdd(q, ir.CreateSelect(carries, i(1), i(0)));
    Value* further = ir.CreateSelect(more, ir.CreateSelect(carries, i(0), i(1)), ir.CreateLoad(bits_type, any));
    Value* rounded_once = ir.CreateSIToFP(ir.CreateOr(ir.CreateShl(q, i(1)), further), type);
    Value* magnitude = scale(rounded_once, ir.CreateSub(ir.CreateLoad(bits_type, dropped), i(1)));
    return ir.CreateSelect(below_zero, ir.CreateFNeg(magnitude), magnitude);
  }

  /// NaN, infinite x, zeros.
  Value* with_specials(Value* v, Value* divides) {
    Value* nan = c(std::numeric_limits<double>::quiet_NaN());
    Value* defined = ir.CreateAnd(is_number, ir.CreateFCmpORD(y, y));
    if (!wants_quotient) {
      if (!e.has_fma) v = ir.CreateSelect(ir.CreateFCmpOEQ(x, c(0)), copy_sign(c(0), y), v);
      return ir.CreateSelect(ir.CreateAnd(defined, divides), v, nan);
    }
    if (!e.has_fma) v = ir.CreateSelect(ir.CreateFCmpOEQ(x, c(0)), rounded, v);
    return ir.CreateSelect(divides, ir.CreateSelect(defined, v, nan), rounded);
  }

  Emitter& e;
  llvm::IRBuilder<>& ir;
  llvm::Type *type, *bits_type = nullptr;
  bool wants_quotient, wide = false;
  int places = 0, bias = 0;
  Value *x, *y, *rounded = nullptr, *is_number = nullptr;
};

}  // namespace

Value* emit_floor_division(Emitter& e, Op op, Value* x, Value* y) {
  return x->getType()->isFPOrFPVectorTy() ? FloatDivision(e, op, x, y).result() : divide_integers(e, op, x, y);
}

}  // namespace nnc
