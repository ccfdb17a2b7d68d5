// Element-wise operations on values in registers, scalars and vectors alike. The LLVM type says everything about the element
// type: float, double, i32 and i64 signed, i8 unsigned, i1 bool. Comparisons with NaN are false (not_equal: true); maximum and
// minimum are NaN if either operand is.
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "codegen/chains.h"
#include "codegen/draw.h"
#include "codegen/emitter.h"
#include "codegen/floor_division.h"
#include "codegen/vector_math.h"

namespace nnc {

using llvm::Value;

namespace {

int width_of(Value* v) {
  auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(v->getType());
  return vector ? int(vector->getNumElements()) : 1;
}

bool is_fp(Value* v) { return v->getType()->isFPOrFPVectorTy(); }
bool is_unsigned(Value* v) { return v->getType()->getScalarSizeInBits() <= 8; }

Value* number(Value* like, double value) {
  llvm::Type* type = like->getType();
  return is_fp(like) ? static_cast<Value*>(llvm::ConstantFP::get(type, value))
                     : llvm::ConstantInt::getSigned(type, int64_t(value));
}

/// A constant that is certainly not NaN.
bool is_known_number(Value* v) {
  auto* constant = llvm::dyn_cast<llvm::Constant>(v);
  if (!constant) return false;
  if (constant->getType()->isVectorTy()) constant = constant->getSplatValue();
  auto* fp = constant ? llvm::dyn_cast<llvm::ConstantFP>(constant) : nullptr;
  return fp && !fp->isNaN();
}

/// A number of type f32 in every lane.
std::optional<float> known_f32(Value* v) {
  auto* constant = llvm::dyn_cast<llvm::Constant>(v);
  if (constant && constant->getType()->isVectorTy()) constant = constant->getSplatValue();
  auto* fp = constant ? llvm::dyn_cast<llvm::ConstantFP>(constant) : nullptr;
  return fp && fp->getType()->isFloatTy() ? std::optional(fp->getValueAPF().convertToFloat()) : std::nullopt;
}

/// A byte by a number, as pixels are divided by 255 in the innermost loop that packs them: x times the reciprocal, plus x times what the reciprocal lacks, where
/// that has the bits of the division. It is tried on all 256 bytes here and now; null where one differs. (Brisebarre, Muller, Raina, "Accelerating correctly
/// rounded floating-point division when the divisor is known in advance", 2004.)
Value* divide_byte(Emitter& e, Value* x, Value* y) {
  auto* converted = llvm::dyn_cast<llvm::UIToFPInst>(x);
  std::optional<float> divisor = known_f32(y);
  if (!converted || converted->getOperand(0)->getType()->getScalarSizeInBits() != 8 || !divisor || *divisor == 0 || !std::isfinite(*divisor)) return nullptr;
  // Products of a byte and an f32 are exact in double, and rounded once where they become f32.
  const double high = double(1 / *divisor), low = double(float((1 - high * double(*divisor)) / double(*divisor)));
  auto same_bits = [&](int byte) {
    double product = byte * high, rest = double(float(byte * low));
    float found = e.has_fma ? float(product + rest) : float(double(float(product)) + rest), wanted = float(byte) / *divisor;
    return found == wanted && std::signbit(found) == std::signbit(wanted);
  };
  for (int byte = 0; byte < 256; ++byte)
    if (!same_bits(byte)) return nullptr;
  return e.fma(x, number(x, high), e.ir.CreateFMul(x, number(x, low)));
}

}  // namespace

Value* Emitter::fma(Value* a, Value* b, Value* c) {
  if (has_fma) return ir.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
  return ir.CreateFAdd(ir.CreateFMul(a, b), c);
}

// x86's max(a, b) is `a > b ? a : b` and so gives b whenever a comparison with NaN fails: with a known number as a, NaN in b
// comes through by itself; otherwise NaN in a is put back.
Value* Emitter::maximum(Value* a, Value* b) {
  int width = std::max(width_of(a), width_of(b));
  a = splat(a, width), b = splat(b, width);
  if (!is_fp(a)) return ir.CreateSelect(is_unsigned(a) ? ir.CreateICmpUGT(a, b) : ir.CreateICmpSGT(a, b), a, b);
  if (is_known_number(b)) std::swap(a, b);
  Value* larger = ir.CreateSelect(ir.CreateFCmpOGT(a, b), a, b);
  return is_known_number(a) ? larger : ir.CreateSelect(ir.CreateFCmpUNO(a, a), a, larger);
}

Value* Emitter::minimum(Value* a, Value* b) {
  int width = std::max(width_of(a), width_of(b));
  a = splat(a, width), b = splat(b, width);
  if (!is_fp(a)) return ir.CreateSelect(is_unsigned(a) ? ir.CreateICmpULT(a, b) : ir.CreateICmpSLT(a, b), a, b);
  if (is_known_number(b)) std::swap(a, b);
  Value* smaller = ir.CreateSelect(ir.CreateFCmpOLT(a, b), a, b);
  return is_known_number(a) ? smaller : ir.CreateSelect(ir.CreateFCmpUNO(a, a), a, smaller);
}

// Float to integer truncates; out of range it saturates and NaN becomes 0, on every CPU alike.
Value* Emitter::cast(Value* v, DType to) {
  int width = width_of(v);
  llvm::Type* type = register_type(to, width);
  if (v->getType() == type) return v;
  bool from_float = is_fp(v);
  unsigned from_bits = v->getType()->getScalarSizeInBits();
  if (to == DType::boolean)
    return from_float ? ir.CreateFCmpUNE(v, number(v, 0)) : ir.CreateICmpNE(v, llvm::Constant::getNullValue(v->getType()));
  if (is_float(to)) {
    if (from_float) return ir.CreateFPCast(v, type);
    if (from_bits == 1) return ir.CreateSelect(v, llvm::ConstantFP::get(type, 1), llvm::ConstantFP::get(type, 0));
    return is_unsigned(v) ? ir.CreateUIToFP(v, type) : ir.CreateSIToFP(v, type);
  }
  if (from_float)
    return ir.CreateIntrinsic(to == DType::u8 ? llvm::Intrinsic::fptoui_sat : llvm::Intrinsic::fptosi_sat, {type, v->getType()},
                              {v});
  return is_unsigned(v) ? ir.CreateZExtOrTrunc(v, type) : ir.CreateSExtOrTrunc(v, type);
}

bool is_simple(const std::vector<Instruction>& code) {
  return std::none_of(code.begin(), code.end(), [](const Instruction& i) {
    if (i.kind == Instruction::Kind::random || (i.kind == Instruction::Kind::reduce && i.op == Op::argmax)) return true;
    const bool unary = op_class(i.op) == OpClass::unary && i.op != Op::neg && i.op != Op::abs && i.op != Op::cast && i.op != Op::stop_gradient && i.op != Op::logical_not;
    return i.kind == Instruction::Kind::compute && (i.op == Op::pow || unary);
  });
}

Value* Emitter::compute(Op op, DType result, std::vector<Value*> x) {
  int width = 1;
  for (Value* v : x) width = std::max(width, width_of(v));
  for (Value*& v : x) v = splat(v, width);
  NNC_CHECK(!x.empty(), "operation without operands in scalar code");
  bool typed = x.size() == 1 || (x.size() == 2 ? x[0] : x[1])->getType() == x.back()->getType();
  NNC_CHECK(typed, "operands of " + std::string(op_name(op)) + " have different types");
  bool fp = is_fp(x[0]);
  switch (op) {
    case Op::neg:
      return fp ? ir.CreateFNeg(x[0]) : ir.CreateNeg(x[0]);
    case Op::abs:
      if (fp) return ir.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x[0]);
      if (is_unsigned(x[0])) return x[0];
      return ir.CreateSelect(ir.CreateICmpSLT(x[0], number(x[0], 0)), ir.CreateNeg(x[0]), x[0]);
    case Op::sign: {
      Value *zero = number(x[0], 0), *one = number(x[0], 1);
      if (fp) {
        Value* v = ir.CreateSelect(ir.CreateFCmpOGT(x[0], zero), one, x[0]);  // zeros and NaN stay
        return ir.CreateSelect(ir.CreateFCmpOLT(x[0], zero), number(x[0], -1), v);
      }
      Value* v = ir.CreateSelect(ir.CreateICmpNE(x[0], zero), one, zero);
      return is_unsigned(x[0]) ? v : ir.CreateSelect(ir.CreateICmpSLT(x[0], zero), number(x[0], -1), v);
    }
    case Op::floor:
    case Op::ceil:
    case Op::round:
      return fp ? emit_unary_math(*this, op, x[0]) : x[0];
    case Op::sqrt:
    case Op::exp:
    case Op::expm1:
    case Op::log:
    case Op::log1p:
    case Op::sin:
    case Op::cos:
    case Op::tanh:
    case Op::sigmoid:
    case Op::erf:
    case Op::normal_cdf:
      NNC_CHECK(fp, std::string(op_name(op)) + " of an integer");
      return emit_unary_math(*this, op, x[0]);
    case Op::logical_not:
      return ir.CreateNot(x[0]);
    case Op::stop_gradient:
      return x[0];
    case Op::add:
      return fp ? ir.CreateFAdd(x[0], x[1]) : ir.CreateAdd(x[0], x[1]);
    case Op::sub:
      return fp ? ir.CreateFSub(x[0], x[1]) : ir.CreateSub(x[0], x[1]);
    case Op::mul:
      return fp ? ir.CreateFMul(x[0], x[1]) : ir.CreateMul(x[0], x[1]);
    case Op::div: {
      if (Value* product = divide_byte(*this, x[0], x[1])) return product;
      if (fp) return ir.CreateFDiv(x[0], x[1]);
      // Division by zero gives 0 and the one overflow wraps: no trap can end the process.
      Value *zero = number(x[0], 0), *one = number(x[0], 1);
      Value* by_zero = ir.CreateICmpEQ(x[1], zero);
      if (is_unsigned(x[0])) return ir.CreateSelect(by_zero, zero, ir.CreateUDiv(x[0], ir.CreateSelect(by_zero, one, x[1])));
      Value* by_minus_one = ir.CreateICmpEQ(x[1], number(x[0], -1));
      Value* quotient = ir.CreateSDiv(x[0], ir.CreateSelect(ir.CreateOr(by_zero, by_minus_one), one, x[1]));
      return ir.CreateSelect(by_zero, zero, ir.CreateSelect(by_minus_one, ir.CreateNeg(x[0]), quotient));
    }
    case Op::floor_div:
    case Op::floor_mod:
      return emit_floor_division(*this, op, x[0], x[1]);
    case Op::pow:
      if (fp) return emit_pow(*this, x[0], x[1]);
      return cast(emit_pow(*this, cast(x[0], DType::f64), cast(x[1], DType::f64)), result);
    case Op::copysign:
      return ir.CreateSelect(ir.CreateFCmpUNO(x[1], x[1]), x[1], ir.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, x[0], x[1]));
    case Op::maximum:
      return maximum(x[0], x[1]);
    case Op::minimum:
      return minimum(x[0], x[1]);
    case Op::equal:
      return fp ? ir.CreateFCmpOEQ(x[0], x[1]) : ir.CreateICmpEQ(x[0], x[1]);
    case Op::not_equal:
      return fp ? ir.CreateFCmpUNE(x[0], x[1]) : ir.CreateICmpNE(x[0], x[1]);
    case Op::less:
      return fp ? ir.CreateFCmpOLT(x[0], x[1]) : is_unsigned(x[0]) ? ir.CreateICmpULT(x[0], x[1]) : ir.CreateICmpSLT(x[0], x[1]);
    case Op::less_equal:
      return fp ? ir.CreateFCmpOLE(x[0], x[1]) : is_unsigned(x[0]) ? ir.CreateICmpULE(x[0], x[1]) : ir.CreateICmpSLE(x[0], x[1]);
    case Op::greater:
      return fp ? ir.CreateFCmpOGT(x[0], x[1]) : is_unsigned(x[0]) ? ir.CreateICmpUGT(x[0], x[1]) : ir.CreateICmpSGT(x[0], x[1]);
    case Op::greater_equal:
      return fp ? ir.CreateFCmpOGE(x[0], x[1]) : is_unsigned(x[0]) ? ir.CreateICmpUGE(x[0], x[1]) : ir.CreateICmpSGE(x[0], x[1]);
    case Op::logical_and:
      return ir.CreateAnd(x[0], x[1]);
    case Op::logical_or:
      return ir.CreateOr(x[0], x[1]);
    case Op::select:
      return ir.CreateSelect(x[0], x[1], x[2]);
    case Op::cast:
      return cast(x[0], result);
    default:
      NNC_UNREACHABLE("operation " + std::string(op_name(op)) + " in scalar code");
  }
}

void Emitter::emit(const Instruction& i, Point& point) {
  switch (i.kind) {
    case Instruction::Kind::load:
      point.value(i.id) = load(i.access, i.dtype, point);
      return;
    case Instruction::Kind::store:
      store(i.access, i.dtype, point.value(i.operands[0]), point);
      return;
    case Instruction::Kind::store_add:
      store_add(i.access, i.dtype, point.value(i.operands[0]), point);
      return;
    case Instruction::Kind::constant: {
      llvm::Type* type = register_type(i.dtype);
      point.value(i.id) = is_float(i.dtype) ? static_cast<Value*>(llvm::ConstantFP::get(type, double(i.number)))
                                            : llvm::ConstantInt::getSigned(
                                                  type, i.dtype == DType::boolean ? (i.number != 0 ? -1 : 0) : int64_t(i.number));
      return;
    }
    case Instruction::Kind::axis_index: {
      Value* index = ir.CreateTrunc(point.index[size_t(i.axis)], ir.getInt32Ty());
      if (i.axis == point.lane_axis && point.width > 1) {
        std::vector<llvm::Constant*> lane;
        for (int l = 0; l < point.width; ++l) lane.push_back(ir.getInt32(uint32_t(l)));
        index = ir.CreateAdd(splat(index, point.width), llvm::ConstantVector::get(lane));
      }
      point.value(i.id) = i.dtype == index_type ? index : cast(index, i.dtype);
      return;
    }
    case Instruction::Kind::compute: {
      std::vector<Value*> operands;
      for (int id : i.operands) {
        operands.push_back(point.value(id));
        NNC_CHECK(operands.back() != nullptr, "value used before it is computed in kernel " + kernel->name);
      }
      point.value(i.id) = compute(i.op, i.dtype, std::move(operands));
      return;
    }
    case Instruction::Kind::accumulator:
      NNC_CHECK(point.value(i.id) != nullptr, "accumulator outside of an epilogue in kernel " + kernel->name);
      return;
    case Instruction::Kind::random:
      point.value(i.id) = draws_->draw(i, point);
      return;
    case Instruction::Kind::extent:
      point.value(i.id) = ir.CreateSIToFP(extent(i.extent), register_type(i.dtype));
      return;
    case Instruction::Kind::link:
      return emit_link(*this, i, point);
    case Instruction::Kind::guard:  // a bound of the loops over k (contract.cpp)
    case Instruction::Kind::linked:
    case Instruction::Kind::touched:  // what chains.cpp goes over
      return;
    case Instruction::Kind::reduce:
      NNC_UNREACHABLE("reduction outside of a map kernel's inner block in kernel " + kernel->name);
  }
}

void Emitter::emit(const std::vector<Instruction>& code, Point& point) {
  for (const Instruction& i : code) emit(i, point);
}

}  // namespace nnc
