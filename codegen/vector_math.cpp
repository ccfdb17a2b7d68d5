// Mathematical functions as straight-line code without tables, branches (but one) or calls: argument reduction, a polynomial
// (coefficients by scripts/derive_polynomials), reconstruction, and selections for the special arguments. They work on any width
// and on SSE2 without FMA. Methods: Cody and Waite, "Software Manual for the Elementary Functions" (reductions); Muller,
// "Elementary Functions" (compensation).
//
// Bounds in units in the last place (vector_math_bounds.h states them; the tests measure them on every level: f32 over all 2^32
// arguments, tests/exhaustive/vector_math_sweep.cpp, f64 on a sample, tests/run/vector_math_test.cpp), and the largest error
// found in f32:
//            f32   found   f64
//   exp      1.1    1.07    1        sqrt, neg, abs, sign, floor, ceil, round: exact or correctly rounded
//   expm1    2      1.65    1
//   log      1      0.83    1
//   log1p    1      0.84    1
//   sin cos  1.5    1.50    1        over the whole range: huge arguments take a branch of their own, see reduce_huge
//   tanh     2.5    2.46    2.5
//   sigmoid  2.5    2.41    2
//   erf      2.2    1.92    1.5
//   normal_cdf 6    5.3     6
//   pow      1      0.51    4 (1 + |y log x|)
// NaN gives NaN, zeros keep their sign where the function is odd, infinities and denormal arguments and results are as in C's
// <math.h>.
//
// Fused operations are written out: the compensated steps depend on each rounding.
#include "codegen/vector_math.h"

#include <llvm/Analysis/VectorUtils.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>

#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "base/check.h"
#include "codegen/vector_math_coefficients.h"

namespace nnc {

using llvm::Value;

namespace {

constexpr double erf_edge = 17.0 / 16, normal_edge = 21.0 / 32;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double ln2 = 0x1.62e42fefa39efp-1, ln2_tail = 0x1.abc9e3b39803fp-56;
// Few enough bits that a product with any exponent is exact.
constexpr double ln2_high_f32 = 0.693359375, ln2_high_f64 = 0x1.62e42feep-1;
constexpr double ln2_low_f64 = 0x1.a39ef35793c76p-33;

class VectorMath {
 public:
  VectorMath(Emitter& e, Value* like)
      : e(e), ir(e.ir), type(like->getType()), wide(type->getScalarType()->isDoubleTy()) {
    bits_type = type->getWithNewType(wide ? static_cast<llvm::Type*>(ir.getInt64Ty()) : ir.getInt32Ty());
    mantissa = wide ? 52 : 23;
    bias = wide ? 1023 : 127;
  }

  /// Results that round to 0 are not computed: a mask makes many of them from -inf, and where a product or a scaling underflows, CPUs by Intel take over a hundred cycles.
  Value* exp(Value* x) {
    Value* vanishes = ir.CreateFCmpOLT(x, c(wide ? -746 : -104.1));
    Reduced r = reduce_exp(select(vanishes, c(0), x));
    return select(vanishes, c(0), scale(add(c(1), add_product(mul(r.r, r.r), exp_polynomial(r.r), r.r)), r));
  }

  /// e^x - 1 = 2^n (e^r - 1) + (2^n - 1), with half of 2^n so that n may be one more than the largest exponent.
  Value* expm1(Value* x) {
    Reduced r = reduce_exp(e.maximum(x, c(wide ? -50 : -30)));  // -1 from there on
    Value* half = pow2(ir.CreateSub(r.n, i(1)));
    Value* sum = wide ? expm1_sum(r, half) : add_product(half, add_product(mul(r.r, r.r), exp_polynomial(r.r), r.r), sub(half, c(0.5)));
    Value* result = mul(sum, c(2));
    result = select(ir.CreateFCmpOGT(x, c(wide ? 709.8 : 88.8)), c(infinity), result);
    // Small arguments are their own value, denormals and signed zeros too.
    return select(ir.CreateFCmpOLT(abs(x), c(wide ? 0x1p-54 : 0x1p-25)), x, result);
  }

  Value* log(Value* x) {
    Value* small = ir.CreateFCmpOLT(x, c(wide ? 0x1p-1022 : 0x1p-126));
    Parts p = split(select(small, mul(x, c(wide ? 0x1p54 : 0x1p23)), x));
    Value* exponent = sub(p.exponent, select(small, c(wide ? 54 : 23), c(0)));
    return log_special(x, log_parts(sub(p.m, c(1)), exponent, c(0)));
  }

  /// log(u) + (x - (u - 1)) / u with u = 1 + x rounded; where u has exponent 0, x itself is the reduced argument.
  Value* log1p(Value* x) {
    Value* u = add(x, c(1));
    Parts p = split(u);
    Value* lost = select(ir.CreateFCmpOGE(x, c(1)), sub(c(1), sub(u, x)), sub(x, sub(u, c(1))));
    Value* direct = ir.CreateFCmpOEQ(p.exponent, c(0));
    Value* correction = select(direct, c(0), ir.CreateFDiv(lost, u));
    Value* result = log_special(u, log_parts(select(direct, x, sub(p.m, c(1))), p.exponent, correction));
    return select(ir.CreateFCmpOLT(abs(x), c(wide ? 0x1p-54 : 0x1p-25)), x, result);
  }

  Value* sin(Value* x) { return sine(x, false); }
  Value* cos(Value* x) { return sine(x, true); }

  /// t / (t + 2) with t = e^2|x| - 1
  Value* tanh(Value* x) {
    Value* a = clamp_above(abs(x), wide ? 20 : 10);
    Value* t = expm1(mul(a, c(2)));
    return copy_sign(ir.CreateFDiv(t, add(t, c(2))), x);
  }

  /// Through e^-|x|, which never overflows: results near 0 keep their digits.
  Value* sigmoid(Value* x) {
    Value* t = exp(ir.CreateFNeg(abs(x)));
    Value* numerator = select(ir.CreateFCmpOLT(x, c(0)), t, c(1));
    return ir.CreateFDiv(numerator, add(c(1), t));
  }

  /// Near zero a polynomial in x^2; beyond, 1 - erfc(x) with a polynomial for the logarithm of erfc.
  Value* erf(Value* x) {
    Value* a = clamp_above(abs(x), wide ? 5.95 : 4.0);
    Value* z = mul(x, x);
    Value *near = nullptr, *exponent = nullptr;
    if (wide) {
      near = add_product(x, polynomial(z, polynomial::erf_f64), x);
      Value* t = sub(ir.CreateFDiv(c(2), add(a, c(2))), c(0.5));
      exponent = sub(polynomial(t, polynomial::log_erfcx_f64), mul(a, a));
    } else {
      near = add_product(x, polynomial(z, polynomial::erf_f32), x);
      exponent = polynomial(sub(a, c(2.5)), polynomial::log_erfc_f32);
    }
    Value* far = copy_sign(sub(c(1), exp(exponent)), x);
    far = select(ir.CreateFCmpUNO(x, x), x, far);
    return select(ir.CreateFCmpOLT(a, c(erf_edge)), near, far);
  }

  /// Near zero 1/2 and an odd polynomial. Beyond, below zero e^(-x^2 / 2) times a smooth function of |x|, above one minus that: nothing cancels. The square is exact in two
  /// parts, since its rounding error would be the result's relative error: half of the square of the upper half of the digits,
  /// and the rest, (a - upper) (a + upper) / 2.
  Value* normal_cdf(Value* x) {
    Value* a = clamp_above(abs(x), wide ? 39 : 14.5);
    Value* upper = wide ? upper_half(a) : number(ir.CreateAnd(bits(a), i(-(int64_t(1) << 12))));
    Value* square = mul(mul(upper, upper), c(-0.5));
    Value* rest = mul(mul(sub(a, upper), add(a, upper)), c(-0.5));
    Value* t = ir.CreateFDiv(c(2), add(a, c(2)));
    Value* u = sub(t, c(0.4375));
    Value* factor = mul(t, wide ? polynomial(u, polynomial::normal_tail_f64) : polynomial(u, polynomial::normal_tail_f32));
    Reduced r = reduce_exp_parts(square, rest);
    Value* bell = add(c(1), add_product(mul(r.r, r.r), exp_polynomial(r.r), r.r));
    Value* tail = scale(mul(bell, factor), r);
    Value* far = select(ir.CreateFCmpOGT(x, c(0)), sub(c(1), tail), tail);
    Value* z = mul(x, x);
    Value* slope = wide ? polynomial(z, polynomial::normal_f64) : polynomial(z, polynomial::normal_f32);
    Value* result = select(ir.CreateFCmpOLT(a, c(normal_edge)), add_product(x, slope, c(0.5)), far);
    return select(ir.CreateFCmpUNO(x, x), x, result);
  }

  /// Halves to even, by adding and taking away a number whose last place is 1.
  Value* round(Value* x) {
    if (e.target.level != VectorLevel::portable) return ir.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, x);
    Value* a = abs(x);
    Value* big = c(wide ? 0x1p52 : 0x1p23);
    return select(ir.CreateFCmpOLT(a, big), copy_sign(sub(add(a, big), big), x), x);
  }
  Value* floor(Value* x) {
    if (e.target.level != VectorLevel::portable) return ir.CreateUnaryIntrinsic(llvm::Intrinsic::floor, x);
    Value* r = round(x);
    return copy_sign(select(ir.CreateFCmpOGT(r, x), sub(r, c(1)), r), x);
  }
  Value* ceil(Value* x) {
    if (e.target.level != VectorLevel::portable) return ir.CreateUnaryIntrinsic(llvm::Intrinsic::ceil, x);
    Value* r = round(x);
    return copy_sign(select(ir.CreateFCmpOLT(r, x), add(r, c(1)), r), x);
  }

  /// e^(y log x) in double (f64: with the logarithm's rounding error carried along), and C's table of special cases.
  Value* pow(Value* x, Value* y) {
    if (!wide) {
      llvm::Type* f64 = type->getWithNewType(ir.getDoubleTy());
      VectorMath inner(e, llvm::Constant::getNullValue(f64));
      Value* r = inner.pow(ir.CreateFPExt(x, f64), ir.CreateFPExt(y, f64));
      return ir.CreateFPTrunc(r, type);
    }
    Value* a = abs(x);
    Value* log_a = log(a);
    Value* t = mul(y, log_a);
    t = select(ir.CreateFCmpOEQ(y, c(0)), c(0), t);
    Value* r = exp(t);
    // A negative base: NaN unless the exponent is an integer; odd integers keep the sign. Above 2^53 every number is even.
    Value* whole = floor(y);
    Value* is_whole = ir.CreateFCmpOEQ(whole, y);
    Value* half = mul(y, c(0.5));
    Value* is_odd = ir.CreateAnd(is_whole, ir.CreateFCmpONE(floor(half), half));
    Value* negative = ir.CreateICmpSLT(bits(x), i(0));
    Value* below_zero = ir.CreateFCmpOLT(x, c(0));
    Value* finite_base = ir.CreateFCmpONE(a, c(infinity));
    Value* bad = ir.CreateAnd(ir.CreateAnd(below_zero, finite_base), ir.CreateAnd(ir.CreateNot(is_whole), finite(y)));
    r = select(ir.CreateAnd(negative, is_odd), ir.CreateFNeg(r), r);
    r = select(bad, c(std::numeric_limits<double>::quiet_NaN()), r);
    // 1 ^ anything and anything ^ 0 are 1; (-1) ^ infinity too.
    Value* one = ir.CreateOr(ir.CreateFCmpOEQ(x, c(1)), ir.CreateFCmpOEQ(y, c(0)));
    one = ir.CreateOr(one, ir.CreateAnd(ir.CreateFCmpOEQ(x, c(-1)), ir.CreateFCmpOEQ(abs(y), c(infinity))));
    return select(one, c(1), r);
  }

 private:
  Emitter& e;
  llvm::IRBuilder<>& ir;
  llvm::Type* type;
  llvm::Type* bits_type = nullptr;
  bool wide;
  int mantissa = 0, bias = 0;

  struct Reduced {
    Value *r, *n, *n_float;  ///< x = n log 2 + r; n integer
    Value* high;             ///< x - n (log 2 without its last digits), exactly
  };
  struct Parts {
    Value *m, *exponent;  ///< x = m 2^exponent, m in [sqrt 1/2, sqrt 2)
  };

  Value* c(double v) { return llvm::ConstantFP::get(type, v); }
  Value* i(int64_t v) { return llvm::ConstantInt::getSigned(bits_type, v); }
  Value* bits(Value* v) { return ir.CreateBitCast(v, bits_type); }
  Value* number(Value* v) { return ir.CreateBitCast(v, type); }
  Value* add(Value* a, Value* b) { return ir.CreateFAdd(a, b); }
  Value* sub(Value* a, Value* b) { return ir.CreateFSub(a, b); }
  Value* mul(Value* a, Value* b) { return ir.CreateFMul(a, b); }
  Value* add_product(Value* a, Value* b, Value* sum) { return e.fma(a, b, sum); }
  Value* select(Value* condition, Value* a, Value* b) { return ir.CreateSelect(condition, a, b); }
  Value* abs(Value* v) { return ir.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, v); }
  Value* finite(Value* v) { return ir.CreateFCmpOLT(abs(v), c(infinity)); }
  Value* sign_bit(Value* v) {
    return ir.CreateAnd(bits(v), i(wide ? std::numeric_limits<int64_t>::min() : int64_t(std::numeric_limits<int32_t>::min())));
  }
  /// `v`, which is not negative, with the sign of `sign`.
  Value* copy_sign(Value* v, Value* sign) {
    Value* magnitude =
        ir.CreateAnd(bits(v), i(wide ? std::numeric_limits<int64_t>::max() : int64_t(std::numeric_limits<int32_t>::max())));
    return number(ir.CreateOr(magnitude, sign_bit(sign)));
  }
  Value* clamp_above(Value* v, double limit) { return e.minimum(v, c(limit)); }

  template <size_t N>
  Value* polynomial(Value* x, const double (&coefficients)[N]) {
    Value* sum = c(coefficients[N - 1]);
    for (size_t k = N - 1; k-- > 0;) sum = add_product(sum, x, c(coefficients[k]));
    return sum;
  }

  Value* exp_polynomial(Value* r) { return wide ? polynomial(r, polynomial::exp_f64) : polynomial(r, polynomial::exp_f32); }

  /// Nearest integer of v (|v| < 2^21) as an integer and as a number: the low bits of v + 1.5 * 2^mantissa.
  void nearest_integer(Value* shifted, Value*& integer, Value*& as_number) {
    Value* magic = c(wide ? 0x1.8p52 : 0x1.8p23);
    integer = ir.CreateSub(bits(shifted), bits(magic));
    as_number = sub(shifted, magic);
  }

  Reduced reduce_exp(Value* x) {
    x = e.minimum(x, c(wide ? 710 : 89));
    Reduced r{};
    nearest_integer(add_product(x, c(1 / ln2), c(wide ? 0x1.8p52 : 0x1.8p23)), r.n, r.n_float);
    r.high = add_product(r.n_float, c(wide ? -ln2_high_f64 : -ln2_high_f32), x);
    r.r = add_product(r.n_float, c(wide ? -ln2_low_f64 : -((ln2 - ln2_high_f32) + ln2_tail)), r.high);
    return r;
  }

  /// The same of x + rest, where rest is small and the sum need not be a number of the type.
  Reduced reduce_exp_parts(Value* x, Value* rest) {
    Reduced r{};
    nearest_integer(add_product(add(x, rest), c(1 / ln2), c(wide ? 0x1.8p52 : 0x1.8p23)), r.n, r.n_float);
    r.high = add_product(r.n_float, c(wide ? -ln2_high_f64 : -ln2_high_f32), x);
    Value* low = add_product(r.n_float, c(wide ? -ln2_low_f64 : -((ln2 - ln2_high_f32) + ln2_tail)), rest);
    r.r = add(r.high, low);
    return r;
  }

  /// 2^(n-1) (e^r - 1) + (2^(n-1) - 1/2) in f64, where the terms partly cancel for n = 1: what r lost in its reduction, and what the sum of the large
  /// terms loses, are carried along.
  Value* expm1_sum(const Reduced& r, Value* half) {
    Value* tail = add_product(r.n_float, c(-ln2_low_f64), sub(r.high, r.r));
    Value* small = add_product(mul(r.r, r.r), exp_polynomial(r.r), add_product(tail, r.r, tail));
    Value *constant = sub(half, c(0.5)), *linear = mul(half, r.r);
    Value* sum = add(constant, linear);
    Value* lost = add(sub(constant, sum), linear);
    return add(sum, add_product(half, small, lost));
  }

  Value* pow2(Value* n) { return number(ir.CreateShl(ir.CreateAdd(n, i(bias)), i(mantissa))); }

  /// y 2^n in two steps, so that denormal results are rounded once and 2^n itself may be out of range. AVX-512 has an instruction for it.
  Value* scale(Value* y, const Reduced& r) {
    auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
    constexpr int lanes = 16;
    if (e.target.level == VectorLevel::avx512 && vector && vector->getNumElements() % lanes == 0 && !wide) {
      Value* zero = llvm::Constant::getNullValue(llvm::FixedVectorType::get(type->getScalarType(), lanes));
      llvm::SmallVector<Value*> parts;
      for (int first = 0; first < int(vector->getNumElements()); first += lanes) {
        auto part = [&](Value* v) { return ir.CreateShuffleVector(v, llvm::createSequentialMask(first, lanes, 0)); };
        parts.push_back(ir.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_scalef_ps_512, {}, {part(y), part(r.n_float), zero, ir.getInt16(0xffff), ir.getInt32(4)}));
      }
      return llvm::concatenateVectors(ir, parts);
    }
    Value* first = ir.CreateAShr(r.n, i(1));
    return mul(mul(y, pow2(first)), pow2(ir.CreateSub(r.n, first)));
  }

  Parts split(Value* x) {
    Value* low = i(wide ? 0x3fe6a09e667f3bcd : 0x3f3504f3);  // sqrt 1/2
    Value* above = ir.CreateSub(bits(x), low);
    Value* exponent = ir.CreateAShr(above, i(mantissa));
    Value* m = number(ir.CreateAdd(ir.CreateAnd(above, i((int64_t(1) << mantissa) - 1)), low));
    if (wide) {
      // No conversion of 64-bit integers below AVX-512: small ones become numbers by way of the same magic.
      Value* magic = c(0x1.8p52);
      return {m, sub(number(ir.CreateAdd(exponent, bits(magic))), magic)};
    }
    return {m, ir.CreateSIToFP(exponent, type)};
  }

  /// exponent log 2 + log(1 + f) + correction. The two large terms are added with their rounding error.
  Value* log_parts(Value* f, Value* exponent, Value* correction) {
    Value* large = mul(exponent, c(wide ? ln2_high_f64 : ln2_high_f32));
    Value* low = add_product(exponent, c(wide ? ln2_low_f64 : (ln2 - ln2_high_f32) + ln2_tail), correction);
    Value* high = add(large, f);
    Value* error = add(sub(large, high), f);
    Value* square = mul(f, f);
    Value* rest = nullptr;
    if (wide) {
      // log(1 + f) = f - f^2/2 + s (f^2/2 + s^2 R(s^2)), s = f / (2 + f)
      Value* s = ir.CreateFDiv(f, add(c(2), f));
      Value* z = mul(s, s);
      Value* h = mul(square, c(0.5));
      Value* tail = mul(s, add_product(z, polynomial(z, polynomial::atanh_f64), h));
      rest = sub(add(tail, low), h);
      return add(high, add(error, rest));
    }
    rest = add_product(mul(square, f), polynomial(f, polynomial::log1p_f32), low);
    rest = add_product(square, c(-0.5), rest);
    return add(high, add(error, rest));
  }

  Value* log_special(Value* x, Value* result) {
    Value* ordinary = ir.CreateAnd(ir.CreateFCmpOGT(x, c(0)), ir.CreateFCmpOLT(x, c(infinity)));
    Value* special = select(ir.CreateFCmpOLT(x, c(0)), c(std::numeric_limits<double>::quiet_NaN()), x);  // NaN and infinity stay
    special = select(ir.CreateFCmpOEQ(x, c(0)), c(-infinity), special);
    return select(ordinary, result, special);
  }

  struct Quadrant {
    Value *r, *tail, *n;  ///< x = n pi/2 + r + tail; r and tail of f64, n i64, right in its low bits
  };

  /// x = n pi/2 + r for |x| <= 2^20. On f64.
  Quadrant reduce_quadrant(Value* x) {
    Value* shifted = add_product(x, c(0x1.45f306dc9c883p-1), c(0x1.8p52));
    Value* n = sub(shifted, c(0x1.8p52));
    // pi/2 in three parts of 33 bits and a rest: exact products for n below 2^20.
    Value* high = add_product(n, c(-0x1.921fb544p+0), x);
    Value* second = mul(n, c(0x1.0b4611a6p-34));
    Value* r = sub(high, second);
    Value* lost = sub(sub(high, r), second);
    Value* tail = add_product(n, c(-0x1.3198a2e037073p-69), lost);
    Value* sum = add(r, tail);
    return {sum, add(sub(r, sum), tail), bits(shifted)};
  }

  /// The same for any finite x (Payne and Hanek), on f64: the digits of 2/pi, 24 bits each, times x (of few bits, or cut in two)
  /// are exact; each product loses its multiples of 4, which are whole turns, and what is left is added up with its rounding
  /// errors.
  Quadrant reduce_huge(Value* x, bool few_bits) {
    constexpr int digits = int(std::size(polynomial::two_over_pi));
    llvm::Type* scalar = ir.getDoubleTy();
    auto* table_type = llvm::ArrayType::get(scalar, digits);
    llvm::GlobalVariable* table = e.module.getGlobalVariable("nnc.two_over_pi", true);
    if (!table) {
      std::vector<llvm::Constant*> numbers;
      for (double digit : polynomial::two_over_pi) numbers.push_back(llvm::ConstantFP::get(scalar, digit));
      table = new llvm::GlobalVariable(e.module, table_type, true, llvm::GlobalValue::PrivateLinkage,
                                       llvm::ConstantArray::get(table_type, numbers), "nnc.two_over_pi");
      table->setAlignment(llvm::Align(8));
    }
    std::vector<Value*> parts{x};
    if (!few_bits) {
      parts[0] = upper_half(x);
      parts.push_back(sub(x, parts[0]));
    }
    std::vector<llvm::AllocaInst*> scaled;
    for (Value* part : parts) {
      scaled.push_back(e.slot(type, "scaled"));
      ir.CreateStore(part, scaled.back());
    }
    llvm::AllocaInst *high_slot = e.slot(type, "turns"), *low_slot = e.slot(type, "turns.low");
    ir.CreateStore(c(0), high_slot);
    ir.CreateStore(c(0), low_slot);
    // An f32 ends below 2^128, where 8 digits leave 2^-64 of a quadrant; none is nearer to a multiple of pi/2 than 2^-30.
    e.loop(e.i64(0), e.i64(few_bits ? 8 : digits), 1, [&](Value* k) {
      Value* digit = ir.CreateLoad(scalar, ir.CreateInBoundsGEP(scalar, table, k));
      if (auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type)) digit = e.splat(digit, int(vector->getNumElements()));
      for (llvm::AllocaInst* slot : scaled) {
        Value* y = mul(ir.CreateLoad(type, slot), c(0x1p-24));
        ir.CreateStore(y, slot);
        Value* product = mul(y, digit);
        product = sub(product, mul(round(mul(product, c(0.25))), c(4)));
        Value* high = ir.CreateLoad(type, high_slot);
        Value* sum = add(high, product);
        Value* back = sub(sum, high);
        Value* error = add(sub(high, sub(sum, back)), sub(product, back));
        ir.CreateStore(sum, high_slot);
        ir.CreateStore(add(ir.CreateLoad(type, low_slot), error), low_slot);
      }
    });
    Value *high = ir.CreateLoad(type, high_slot), *low = ir.CreateLoad(type, low_slot);
    Value* shifted = add(high, c(0x1.8p52));
    Value* above = sub(high, sub(shifted, c(0x1.8p52)));
    Value* f = add(above, low);
    Value* f_low = add(sub(above, f), low);
    // f pi/2, with exact products of halves.
    Value* f_upper = upper_half(f);
    Value* f_rest = sub(f, f_upper);
    Value* first = mul(f_upper, c(polynomial::half_pi_0));
    Value* second = add(mul(f_upper, c(polynomial::half_pi_1)), mul(f_rest, c(polynomial::half_pi_0)));
    Value* third = add(mul(f_rest, c(polynomial::half_pi_1)),
                       add(mul(f, c(polynomial::half_pi_2)), mul(f_low, c(polynomial::half_pi_0 + polynomial::half_pi_1))));
    Value* r = add(first, second);
    Value* tail = add(add(sub(first, r), second), third);
    Value* sum = add(r, tail);
    return {sum, add(sub(r, sum), tail), bits(shifted)};
  }

  /// v without its lower 27 bits.
  Value* upper_half(Value* v) { return number(ir.CreateAnd(bits(v), i(-(int64_t(1) << 27)))); }

  /// The quadrant and the rest of x, of f64. Huge arguments (above 2^20) are rare: one branch for all lanes, which costs a
  /// comparison.
  Quadrant reduce_quadrant_of_any(Value* x, Value* huge, bool few_bits) {
    Quadrant usual = reduce_quadrant(x);
    llvm::AllocaInst *r = e.slot(type, "r"), *tail = e.slot(type, "r.tail"), *n = e.slot(bits_type, "quadrant");
    ir.CreateStore(usual.r, r);
    ir.CreateStore(usual.tail, tail);
    ir.CreateStore(usual.n, n);
    Value* any = llvm::isa<llvm::FixedVectorType>(type) ? static_cast<Value*>(ir.CreateOrReduce(huge)) : huge;
    e.when(
        any,
        [&] {
          Quadrant exact = reduce_huge(x, few_bits);
          ir.CreateStore(select(huge, exact.r, usual.r), r);
          ir.CreateStore(select(huge, exact.tail, usual.tail), tail);
          ir.CreateStore(select(huge, exact.n, usual.n), n);
        },
        /*rarely=*/true);
    return {ir.CreateLoad(type, r), ir.CreateLoad(type, tail), ir.CreateLoad(bits_type, n)};
  }

  /// x = n pi/2 + r; a polynomial of r for each quadrant. f32 reduces in double.
  Value* sine(Value* x, bool cosine) {
    Value* huge = ir.CreateFCmpOGT(abs(x), c(0x1p20));
    Value *q = nullptr, *arg = nullptr, *arg_tail = nullptr;
    if (wide) {
      Quadrant reduced = reduce_quadrant_of_any(x, huge, false);
      q = reduced.n, arg = reduced.r, arg_tail = reduced.tail;
    } else {
      llvm::Type* f64 = type->getWithNewType(ir.getDoubleTy());
      VectorMath inner(e, llvm::Constant::getNullValue(f64));
      Quadrant reduced = inner.reduce_quadrant_of_any(ir.CreateFPExt(x, f64), huge, true);
      q = ir.CreateTrunc(reduced.n, bits_type);
      arg = ir.CreateFPTrunc(reduced.r, type);
    }
    if (cosine) q = ir.CreateAdd(q, i(1));
    Value* z = mul(arg, arg);
    Value *s = nullptr, *k = nullptr;
    if (wide) {
      Value* cube = mul(z, arg);
      s = add(arg, add_product(cube, polynomial(z, polynomial::sin_f64), arg_tail));
      Value* h = mul(z, c(0.5));
      Value* w = sub(c(1), h);
      Value* rounding = sub(sub(c(1), w), h);
      k = add(w, add(rounding, sub(mul(mul(z, z), polynomial(z, polynomial::cos_f64)), mul(arg, arg_tail))));
    } else {
      s = add_product(mul(z, arg), polynomial(z, polynomial::sin_f32), arg);
      Value* h = mul(z, c(0.5));
      Value* w = sub(c(1), h);
      Value* rounding = sub(sub(c(1), w), h);
      k = add(w, add_product(mul(z, z), polynomial(z, polynomial::cos_f32), rounding));
    }
    Value* odd = ir.CreateICmpNE(ir.CreateAnd(q, i(1)), i(0));
    Value* result = select(odd, k, s);
    Value* sign = ir.CreateShl(ir.CreateAnd(q, i(2)), i(mantissa + (wide ? 10 : 7)));  // bit 1 to the sign bit
    result = number(ir.CreateXor(bits(result), sign));
    if (!cosine) result = select(ir.CreateFCmpOLT(abs(x), c(wide ? 0x1p-27 : 0x1p-13)), x, result);
    return result;
  }
};

}  // namespace

Value* emit_unary_math(Emitter& e, Op op, Value* x) {
  if (op == Op::sqrt) return e.ir.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x);
  VectorMath math(e, x);
  switch (op) {
    case Op::floor:
      return math.floor(x);
    case Op::ceil:
      return math.ceil(x);
    case Op::round:
      return math.round(x);
    case Op::exp:
      return math.exp(x);
    case Op::expm1:
      return math.expm1(x);
    case Op::log:
      return math.log(x);
    case Op::log1p:
      return math.log1p(x);
    case Op::sin:
      return math.sin(x);
    case Op::cos:
      return math.cos(x);
    case Op::tanh:
      return math.tanh(x);
    case Op::sigmoid:
      return math.sigmoid(x);
    case Op::erf:
      return math.erf(x);
    case Op::normal_cdf:
      return math.normal_cdf(x);
    default:
      NNC_UNREACHABLE("no function for " + std::string(op_name(op)));
  }
}

Value* emit_pow(Emitter& e, Value* x, Value* y) {
  // Exponents that are written as constants and cost no accuracy as products.
  auto* constant = llvm::dyn_cast<llvm::Constant>(y);
  if (constant && constant->getType()->isVectorTy()) constant = constant->getSplatValue();
  if (auto* fp = constant ? llvm::dyn_cast<llvm::ConstantFP>(constant) : nullptr) {
    if (fp->isExactlyValue(1)) return x;
    if (fp->isExactlyValue(2)) return e.ir.CreateFMul(x, x);
    if (fp->isExactlyValue(3)) return e.ir.CreateFMul(e.ir.CreateFMul(x, x), x);
    if (fp->isExactlyValue(-1)) return e.ir.CreateFDiv(llvm::ConstantFP::get(x->getType(), 1), x);
  }
  return VectorMath(e, x).pow(x, y);
}

}  // namespace nnc
