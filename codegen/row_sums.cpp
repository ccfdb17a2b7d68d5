// Rows are added one by one to accumulators in memory (a tile that is whole takes them into registers and brings them back), in chains that are joined by trees over
// rows as all sums are. So no tile, block or thread has a part in the order, and rows that a batch lacks are left out at its end.
#include "codegen/row_sums.h"

namespace nnc {

using llvm::Value;

RowSums::RowSums(Emitter& e, const ContractPlan& plan) : e_(e), plan_(plan), sums_(e.offset_pointer(e.arguments.scratch, plan.sums_offset)) {}

void RowSums::each_chain(Value* rows, llvm::function_ref<void(Value*, Value*)> body) {
  auto clear = [&] {
    Value* zeros = llvm::ConstantAggregateZero::get(llvm::FixedVectorType::get(e_.ir.getFloatTy(), unsigned(e_.lanes)));
    each_vector([&](Value* offset) { e_.write_scratch(zeros, e_.offset_pointer(sums_, offset)); });
  };
  if (plan_.row_order.chains(plan_.planned_m) == 1) {
    clear();
    return body(e_.i64(0), rows);
  }
  ChainNumbers chains(e_, plan_.row_order, rows);
  e_.loop(
      e_.i64(0), chains.count(), 1,
      [&](Value* number) {
        clear();
        body(chains.begin(number), chains.end(number));
        Value* last = e_.ir.CreateICmpEQ(number, chains.last());
        ChainJoin join = chains.join(number, last);
        for_each_level(e_, join.mask, [&](Value* level) {
          each_vector([&](Value* offset) {
            Value* at = e_.offset_pointer(sums_, offset);
            e_.write_scratch(e_.ir.CreateFAdd(e_.read_scratch(e_.offset_pointer(level_base(level), offset)), e_.read_scratch(at)), at);
          });
        });
        e_.when(e_.ir.CreateNot(last), [&] {
          each_vector([&](Value* offset) { e_.write_scratch(e_.read_scratch(e_.offset_pointer(sums_, offset)), e_.offset_pointer(level_base(join.level), offset)); });
        });
      },
      true);
}

Value* RowSums::place(size_t number, Value* line, Value* column) {
  Value* first = e_.ir.CreateMul(e_.ir.CreateAdd(line, e_.i64(int64_t(number) * plan_.block_lines)), e_.i64(plan_.width));
  return e_.offset_pointer(sums_, e_.ir.CreateMul(e_.ir.CreateAdd(first, column), e_.i64(contraction_bytes)));
}

void RowSums::each_vector(llvm::function_ref<void(Value*)> body) {
  e_.loop(e_.i64(0), e_.i64(plan_.sums_bytes), int64_t(e_.lanes) * contraction_bytes, body);
}

Value* RowSums::level_base(Value* level) {
  return e_.offset_pointer(sums_, e_.ir.CreateMul(e_.ir.CreateAdd(level, e_.i64(1)), e_.i64(plan_.sums_bytes)));
}

}  // namespace nnc
