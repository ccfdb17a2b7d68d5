// The frame of a kernel function and the small vocabulary its emitters speak: entry block with base addresses, rolled loops in
// the form that LLVM's loop passes like (guard, preheader, one body that ends with the test), stack slots that SROA turns into
// registers, and alias scopes.
//
// Alias scopes: all buffers of a block are one pointer plus offsets, which LLVM cannot tell apart once indices are added. Each
// buffer of a kernel gets a scope of its own, shared only with buffers whose memory overlaps, so that loads of one move over
// stores to another.
#include "codegen/emitter.h"

#include <fmt/format.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>

#include "base/check.h"
#include "codegen/draw.h"
#include "runtime/step_abi.h"

namespace nnc {

using llvm::Value;

Emitter::Emitter(const Program& program, const SourceMap* sources, llvm::Module& module)
    : program(program), target(program.target), sources(sources), module(module), context(module.getContext()), ir(context) {
  has_fma = target.level != VectorLevel::portable;
  lanes = target.f32_lanes();
}

std::string kernel_symbol(const Program& program, const Kernel& kernel, const SourceMap* sources, size_t uses) {
  std::string name = fmt::format("nnc.{}.{}", program.name, kernel.name);
  if (sources && kernel.span.valid()) name += "@" + sources->describe_line(kernel.span);
  if (uses > 1) name += fmt::format("(x{})", uses);
  return name;
}

Emitter::~Emitter() = default;

llvm::FunctionType* Emitter::kernel_type() {
  llvm::Type* pointer = ir.getPtrTy();
  llvm::Type* i64_type = ir.getInt64Ty();
  return llvm::FunctionType::get(i64_type, {pointer, pointer, i64_type, pointer, pointer, pointer, pointer, i64_type, i64_type, pointer, pointer}, false);
}

llvm::Function* Emitter::create_internal_function(llvm::FunctionType* type, const std::string& name) {
  auto* f = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, name, module);
  f->addFnAttr(llvm::Attribute::NoInline);
  f->addFnAttr(llvm::Attribute::NoUnwind);
  f->addFnAttr("no-builtins");
  if (target.vector_bytes > 32) {
    // CPUs that prefer 256-bit vectors would split ours otherwise; the passes have decided.
    f->addFnAttr("prefer-vector-width", "512");
    f->addFnAttr("min-legal-vector-width", "512");
  }
  return f;
}

llvm::Function* Emitter::create_kernel_function(const Kernel& kernel, size_t uses) {
  llvm::Function* f = create_internal_function(kernel_type(), kernel_symbol(program, kernel, sources, uses));
  const char* names[] = {"context", "row_index", "rows", "scalars", "results", "draw", "scratch", "piece_begin", "piece_end", "places", "rounds"};
  for (auto& argument : f->args()) argument.setName(names[argument.getArgNo()]);
  return f;
}

void Emitter::begin_kernel(const Kernel& k, llvm::Function* f) {
  kernel = &k;
  function = f;
  arguments = {f->getArg(0), f->getArg(1), f->getArg(2), f->getArg(3), f->getArg(4), f->getArg(5), f->getArg(6), f->getArg(7), f->getArg(8), f->getArg(9), f->getArg(10)};
  bases_.clear();
  field_strides_.clear();
  scopes_.clear();
  draws_ = std::make_unique<DrawEmitter>(*this);
  places_ = find_places(k);
  entry_ = llvm::BasicBlock::Create(context, "entry", f);
  auto* count = llvm::BasicBlock::Create(context, "count", f);
  auto* ask = llvm::BasicBlock::Create(context, "ask", f);
  auto* body = llvm::BasicBlock::Create(context, "body", f);
  ir.SetInsertPoint(entry_);
  ir.CreateBr(count);
  ir.SetInsertPoint(count);
  Value* pieces = emit_pieces(*this, k, arguments.rows);
  arguments.piece_end = ir.CreateSelect(ir.CreateICmpSLT(arguments.piece_end, i64(0)), pieces, arguments.piece_end, "end");
  ir.CreateCondBr(ir.CreateICmpSLT(arguments.piece_begin, i64(0)), ask, body);
  ir.SetInsertPoint(ask);
  ir.CreateRet(pieces);
  ir.SetInsertPoint(body);
  make_alias_scopes();
}

void Emitter::end_kernel() {
  ir.CreateRet(i64(0));
  kernel = nullptr;
  function = nullptr;
  entry_ = nullptr;
  draws_.reset();
}

Value* Emitter::at_entry(llvm::function_ref<Value*()> make) {
  llvm::IRBuilderBase::InsertPointGuard guard(ir);
  ir.SetInsertPoint(entry_->getTerminator());
  return make();
}

void Emitter::make_alias_scopes() {
  std::vector<BufferId> ids = places_.buffers;
  std::vector<size_t> group = alias_groups(program, ids);
  group.push_back(ids.size());
  ids.push_back(BufferId{});  // the scratch
  llvm::MDBuilder metadata(context);
  llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain(kernel->name);
  std::map<size_t, llvm::MDNode*> scope_of;
  for (size_t i = 0; i < ids.size(); ++i)
    if (!scope_of.count(group[i])) scope_of[group[i]] = metadata.createAnonymousAliasScope(domain);
  for (size_t i = 0; i < ids.size(); ++i) {
    std::vector<llvm::Metadata*> others;
    for (auto& [g, scope] : scope_of)
      if (g != group[i]) others.push_back(scope);
    scopes_[ids[i]] = {llvm::MDNode::get(context, scope_of[group[i]]), llvm::MDNode::get(context, others)};
  }
}

void Emitter::annotate(llvm::Instruction* instruction, BufferId buffer) {
  auto found = scopes_.find(buffer);
  if (found == scopes_.end()) return;
  instruction->setMetadata(llvm::LLVMContext::MD_alias_scope, found->second.first);
  instruction->setMetadata(llvm::LLVMContext::MD_noalias, found->second.second);
}

// --- buffers ---

Value* Emitter::place(size_t number, int64_t here) {
  if (!shared) return i64(here);
  auto* read = ir.CreateLoad(ir.getInt64Ty(), offset_pointer(arguments.places, int64_t(number * sizeof(int64_t))));
  read->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context, {}));
  return read;
}

Value* Emitter::buffer_place_value(BufferId id) {
  const auto& all = places_.buffers;
  return place(size_t(std::find(all.begin(), all.end(), id) - all.begin()), buffer_place(program, program[id]));
}

Value* Emitter::site_hash(const std::string& site) {
  const auto& all = places_.sites;
  return place(places_.buffers.size() + size_t(std::find(all.begin(), all.end(), site) - all.begin()), site_place(site));
}

Value* Emitter::base_pointer(BufferId id) {
  if (auto found = bases_.find(id); found != bases_.end()) return found->second;
  const Buffer& buffer = program[id];
  llvm::Type* pointer = ir.getPtrTy();
  auto from_context = [&](size_t member) { return ir.CreateLoad(pointer, offset_pointer(arguments.context, int64_t(member))); };
  auto beginning = [&]() -> Value* {
    switch (buffer.kind) {
      case BufferKind::persistent:
        return offset_pointer(from_context(offsetof(NncContext, persistent)), buffer_place_value(id));
      case BufferKind::temporary:
        return offset_pointer(from_context(offsetof(NncContext, arena)), buffer_place_value(id));
      case BufferKind::local:
        return offset_pointer(arguments.scratch, buffer_place_value(id));
      case BufferKind::scalars:
        return offset_pointer(arguments.scalars, buffer_place_value(id));
      case BufferKind::results:
        return offset_pointer(arguments.results, buffer_place_value(id));
      case BufferKind::literal:
        return literal_table(program[memory_of(program, id)]);
      case BufferKind::output:
        return ir.CreateLoad(pointer, offset_pointer(from_context(offsetof(NncContext, outputs)), buffer_place_value(id)));
      case BufferKind::field:
        return ir.CreateLoad(pointer, offset_pointer(field_entry(id), int64_t(offsetof(NncField, base))));
    }
    NNC_UNREACHABLE("buffer kind");
  };
  Value* base = at_entry([&] { return slot_base(id, beginning()); });
  if (!llvm::isa<llvm::Constant>(base)) base->setName(buffer.name);
  return bases_[id] = base;
}

Value* Emitter::slot_base(BufferId id, Value* base) {
  const Slot& slot = program[id].slot;
  const int64_t size = int64_t(byte_size(program[id].dtype));
  // Where the first round's stands in arena and persistent block says its place; of what the caller holds and of literals that is the whole.
  const bool placed = program[id].kind == BufferKind::temporary || program[id].kind == BufferKind::persistent;
  if (slot.valid() && !placed && slot.first != 0) base = offset_pointer(base, slot.first * size);
  for (size_t depth = 0; depth < slot.per_round.size(); ++depth) {
    if (slot.per_round[depth] == 0) continue;
    Value* round = ir.CreateLoad(ir.getInt64Ty(), offset_pointer(arguments.rounds, int64_t(depth * sizeof(int64_t))));
    base = offset_pointer(base, ir.CreateNSWMul(round, i64(slot.per_round[depth] * size)));
  }
  return base;
}

llvm::Constant* Emitter::literal_table(const Buffer& buffer) {
  std::string name = fmt::format("nnc.{}.{}", program.name, buffer.name);
  if (llvm::GlobalVariable* known = module.getNamedGlobal(name)) return known;
  llvm::Type* element = memory_type(buffer.dtype);
  std::vector<llvm::Constant*> values;
  for (Number v : buffer.values)
    values.push_back(is_float(buffer.dtype)         ? llvm::ConstantFP::get(element, double(v))
                     : byte_size(buffer.dtype) == 1 ? llvm::ConstantInt::get(element, uint64_t(int64_t(v)))
                                                    : llvm::ConstantInt::getSigned(element, int64_t(v)));
  auto* type = llvm::ArrayType::get(element, values.size());
  auto* table = new llvm::GlobalVariable(module, type, true, llvm::GlobalValue::InternalLinkage, llvm::ConstantArray::get(type, values), name);
  table->setAlignment(llvm::Align(64));
  return table;
}

Value* Emitter::field_entry(BufferId id) {
  Value* fields = ir.CreateLoad(ir.getPtrTy(), offset_pointer(arguments.context, int64_t(offsetof(NncContext, fields))));
  return offset_pointer(fields, buffer_place_value(id));
}

Value* Emitter::field_base(BufferId id) {
  NNC_CHECK(program[id].kind == BufferKind::field, program[id].name);
  return base_pointer(id);
}

Value* Emitter::field_stride(BufferId id) {
  if (auto found = field_strides_.find(id); found != field_strides_.end()) return found->second;
  NNC_CHECK(program[id].kind == BufferKind::field, program[id].name);
  Value* stride = at_entry([&]() -> Value* {
    return ir.CreateLoad(ir.getInt64Ty(), offset_pointer(field_entry(id), int64_t(offsetof(NncField, row_stride))));
  });
  return field_strides_[id] = stride;
}

Value* Emitter::field_row(BufferId id, Value* row) {
  auto* data_row = ir.CreateLoad(ir.getInt64Ty(), ir.CreateGEP(ir.getInt64Ty(), arguments.row_index, row));
  data_row->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context, {}));
  return offset_pointer(field_base(id), ir.CreateMul(data_row, field_stride(id)));
}

// --- types and constants ---

llvm::Type* Emitter::register_type(DType type, int width) {
  llvm::Type* element = nullptr;
  switch (type) {
    case DType::f32:
      element = ir.getFloatTy();
      break;
    case DType::f64:
      element = ir.getDoubleTy();
      break;
    case DType::i32:
      element = ir.getInt32Ty();
      break;
    case DType::i64:
      element = ir.getInt64Ty();
      break;
    case DType::u8:
      element = ir.getInt8Ty();
      break;
    case DType::boolean:
      element = ir.getInt1Ty();
      break;
  }
  return width == 1 ? element : llvm::FixedVectorType::get(element, unsigned(width));
}

llvm::Type* Emitter::memory_type(DType type, int width) {
  return register_type(type == DType::boolean ? DType::u8 : type, width);
}

Value* Emitter::splat(Value* value, int width) {
  return width == 1 || value->getType()->isVectorTy() ? value : ir.CreateVectorSplat(unsigned(width), value);
}

llvm::ConstantInt* Emitter::i64(int64_t value) { return ir.getInt64(uint64_t(value)); }

llvm::Constant* Emitter::f32(double value) { return llvm::ConstantFP::get(ir.getFloatTy(), value); }

Value* Emitter::offset_pointer(Value* pointer, Value* bytes) {
  auto* known = llvm::dyn_cast<llvm::ConstantInt>(bytes);
  return known && known->isZero() ? pointer : ir.CreateGEP(ir.getInt8Ty(), pointer, bytes);
}

Value* Emitter::offset_pointer(Value* pointer, int64_t bytes) { return offset_pointer(pointer, i64(bytes)); }

Value* Emitter::extent(Extent e) { return extent(e, arguments.rows); }

Value* Emitter::extent(Extent e, Value* rows) {
  if (!e.rows) return i64(e.size);
  return e.size == 1 ? rows : ir.CreateNSWMul(rows, i64(e.size));
}

Value* Emitter::lane_mask(Value* active, int width) {
  // In 32-bit lanes: compares and blends of f32 use the mask as it comes.
  Value* limit = ir.CreateVectorSplat(unsigned(width), ir.CreateTrunc(active, ir.getInt32Ty()));
  std::vector<llvm::Constant*> lane;
  for (int l = 0; l < width; ++l) lane.push_back(ir.getInt32(uint32_t(l)));
  return ir.CreateICmpSLT(llvm::ConstantVector::get(lane), limit);
}

Value* Emitter::minimum_index(Value* a, Value* b) { return ir.CreateSelect(ir.CreateICmpSLT(a, b), a, b); }
Value* Emitter::maximum_index(Value* a, Value* b) { return ir.CreateSelect(ir.CreateICmpSGT(a, b), a, b); }

// --- control flow ---

void Emitter::loop(Value* begin, Value* end, int64_t step, llvm::function_ref<void(Value*)> body, bool surely) {
  auto* first = llvm::dyn_cast<llvm::ConstantInt>(begin);
  auto* last = llvm::dyn_cast<llvm::ConstantInt>(end);
  if (first && last) {
    if (first->getSExtValue() >= last->getSExtValue()) return;
    surely = true;
    if (first->getSExtValue() + step >= last->getSExtValue()) {
      body(begin);
      return;
    }
  }
  llvm::Function* f = ir.GetInsertBlock()->getParent();
  auto* preheader = llvm::BasicBlock::Create(context, "preheader", f);
  auto* head = llvm::BasicBlock::Create(context, "loop", f);
  auto* done = llvm::BasicBlock::Create(context, "done", f);
  if (surely)
    ir.CreateBr(preheader);
  else
    ir.CreateCondBr(ir.CreateICmpSLT(begin, end), preheader, done);
  ir.SetInsertPoint(preheader);
  ir.CreateBr(head);
  ir.SetInsertPoint(head);
  auto* i = ir.CreatePHI(ir.getInt64Ty(), 2, "i");
  i->addIncoming(begin, preheader);
  body(i);
  Value* next = ir.CreateAdd(i, i64(step), "", true, true);
  i->addIncoming(next, ir.GetInsertBlock());
  ir.CreateCondBr(ir.CreateICmpSLT(next, end), head, done);
  // Blocks of the body stand between head and what follows: gdb and readers see them in the order of execution.
  done->moveAfter(ir.GetInsertBlock());
  ir.SetInsertPoint(done);
}

void Emitter::when(Value* condition, llvm::function_ref<void()> body, bool rarely) {
  if (auto* known = llvm::dyn_cast<llvm::ConstantInt>(condition)) {
    if (known->isOne()) body();
    return;
  }
  llvm::Function* f = ir.GetInsertBlock()->getParent();
  auto* then = llvm::BasicBlock::Create(context, "then", f);
  auto* done = llvm::BasicBlock::Create(context, "done", f);
  auto* branch = ir.CreateCondBr(condition, then, done);
  if (rarely) branch->setMetadata(llvm::LLVMContext::MD_prof, llvm::MDBuilder(context).createUnlikelyBranchWeights());
  ir.SetInsertPoint(then);
  body();
  ir.CreateBr(done);
  done->moveAfter(ir.GetInsertBlock());
  ir.SetInsertPoint(done);
}

llvm::AllocaInst* Emitter::slot(llvm::Type* type, const char* name) {
  return llvm::cast<llvm::AllocaInst>(at_entry([&]() -> Value* { return ir.CreateAlloca(type, nullptr, name); }));
}

}  // namespace nnc
