// From program to machine code in this process: module, passes, object file in memory, loaded by RuntimeDyld (a step's code is one object without external
// symbols: an ORC session, with its threads and symbol tables, would only add to the time before the first step).
//
// Memory: one block for the whole object, so that code and constants are within reach of each other (small code model); pages are writable until the
// relocations are done, then code is read and execute, constants are read only.
#include <fmt/format.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ExecutionEngine/JITEventListener.h>
#include <llvm/ExecutionEngine/RuntimeDyld.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Object/ObjectFile.h>
#include <llvm/Object/SymbolSize.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "base/check.h"
#include "codegen/codegen.h"
#include "codegen/machine.h"
#include "codegen/step.h"

namespace nnc {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void verify(const llvm::Module& module) {
  std::string text;
  llvm::raw_string_ostream out(text);
  NNC_CHECK(!llvm::verifyModule(module, &out), "malformed LLVM IR: " + out.str());
}

void generate(llvm::Module& module, llvm::TargetMachine& machine, llvm::CodeGenFileType type, llvm::SmallVectorImpl<char>& out) {
  llvm::raw_svector_ostream stream(out);
  llvm::legacy::PassManager passes;
  bool refused = machine.addPassesToEmitFile(passes, stream, nullptr, type, /*DisableVerify=*/true);
  NNC_CHECK(!refused, "the target cannot emit files of this type");
  passes.run(module);
}

class CodeMemory final : public llvm::RuntimeDyld::MemoryManager {
 public:
  ~CodeMemory() override {
    if (block_) munmap(block_, size_);
  }
  bool needsToReserveAllocationSpace() override { return true; }
  void reserveAllocationSpace(uintptr_t code, llvm::Align, uintptr_t constants, llvm::Align, uintptr_t data, llvm::Align) override {
    // Sections of a kind are laid one after the other; alignment inside is at most a page's.
    const size_t slack = 16 * 4096;
    code_ = {0, pages(code + slack)};
    constants_ = {code_.end, code_.end + pages(constants + slack)};
    data_ = {constants_.end, constants_.end + pages(data + slack)};
    size_ = data_.end;
    void* block = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NNC_CHECK(block != MAP_FAILED, "no memory for generated code");
    block_ = static_cast<uint8_t*>(block);
  }
  uint8_t* allocateCodeSection(uintptr_t size, unsigned alignment, unsigned, llvm::StringRef) override { return code_.take(block_, size, alignment); }
  uint8_t* allocateDataSection(uintptr_t size, unsigned alignment, unsigned, llvm::StringRef, bool read_only) override {
    return (read_only ? constants_ : data_).take(block_, size, alignment);
  }
  void registerEHFrames(uint8_t*, uint64_t, size_t) override {}
  void deregisterEHFrames() override {}
  bool finalizeMemory(std::string*) override {
    return mprotect(block_, code_.end, PROT_READ | PROT_EXEC) != 0 || mprotect(block_ + code_.end, constants_.end - code_.end, PROT_READ) != 0;
  }

 private:
  static size_t pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
  struct Part {
    size_t next = 0, end = 0;
    uint8_t* take(uint8_t* block, size_t size, size_t alignment) {
      next = (next + alignment - 1) / alignment * alignment;
      NNC_CHECK(next + size <= end, "object larger than it said");
      uint8_t* place = block + next;
      next += size;
      return place;
    }
  };
  uint8_t* block_ = nullptr;
  size_t size_ = 0;
  Part code_, constants_, data_;
};

/// Generated code names nothing outside itself; whatever is asked for here is a bug.
class NoSymbols final : public llvm::LegacyJITSymbolResolver {
 public:
  llvm::JITSymbol findSymbol(const std::string& name) override {
    missing += " " + name;
    return nullptr;
  }
  llvm::JITSymbol findSymbolInLogicalDylib(const std::string& name) override { return findSymbol(name); }
  std::string missing;
};

void write_perf_map(const llvm::object::ObjectFile& object, const llvm::RuntimeDyld& code, const llvm::RuntimeDyld::LoadedObjectInfo& loaded) {
  (void)code;
  std::string path = fmt::format("/tmp/perf-{}.map", getpid());
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (!file) return;
  for (auto [symbol, size] : llvm::object::computeSymbolSizes(object)) {
    auto name = symbol.getName();
    auto section = symbol.getSection();
    auto address = symbol.getAddress();
    auto type = symbol.getType();
    if (name && section && address && type && *type == llvm::object::SymbolRef::ST_Function && *section != object.section_end())
      fmt::print(file, "{:x} {:x} {}\n", loaded.getSectionLoadAddress(**section) + (*address - (*section)->getAddress()), size, std::string(*name));
    if (!name) llvm::consumeError(name.takeError());
    if (!section) llvm::consumeError(section.takeError());
    if (!address) llvm::consumeError(address.takeError());
    if (!type) llvm::consumeError(type.takeError());
  }
  std::fclose(file);
}

class JitProgram final : public CompiledProgram {
 public:
  JitProgram(const Program& program, const SourceMap* sources, const CompileOptions& options) {
    double start = now_ms();
    auto machine = make_target_machine(program.target);
    llvm::LLVMContext context;
    auto module = emit_program(program, sources, *machine, context, scratch_bytes_);
    if (options.verify) verify(*module);
    double emitted = now_ms();
    optimize(*module, *machine);
    double optimized = now_ms();
    llvm::SmallVector<char, 0> object_bytes;
    generate(*module, *machine, llvm::CodeGenFileType::ObjectFile, object_bytes);
    module.reset();
    load(object_bytes, options);
    statistics_.ir_ms = emitted - start;
    statistics_.optimize_ms = optimized - emitted;
    statistics_.compile_ms = now_ms() - optimized;
  }
  ~JitProgram() override {
    if (listener_) listener_->notifyFreeingObject(uint64_t(reinterpret_cast<uintptr_t>(this)));
  }
  NncRun run() const override { return run_; }
  int64_t scratch_bytes() const override { return scratch_bytes_; }
  const CodegenStatistics& statistics() const override { return statistics_; }

 private:
  void load(const llvm::SmallVectorImpl<char>& bytes, const CompileOptions& options) {
    llvm::MemoryBufferRef buffer(llvm::StringRef(bytes.data(), bytes.size()), "nnc");
    auto object = llvm::object::ObjectFile::createObjectFile(buffer);
    NNC_CHECK(bool(object), "generated object cannot be read: " + llvm::toString(object.takeError()));
    NoSymbols resolver;
    llvm::RuntimeDyld loader(memory_, resolver);
    auto loaded = loader.loadObject(**object);
    loader.resolveRelocations();
    NNC_CHECK(resolver.missing.empty(), "generated code refers to symbols outside itself:" + resolver.missing);
    NNC_CHECK(!loader.hasError(), "generated object cannot be loaded: " + loader.getErrorString().str());
    NNC_CHECK(!memory_.finalizeMemory(nullptr), "generated code cannot be made executable");
    for (const auto& section : (*object)->sections())
      if (section.isText()) statistics_.code_bytes += int64_t(section.getSize());
    run_ = reinterpret_cast<NncRun>(uintptr_t(loader.getSymbol("run").getAddress()));
    NNC_CHECK(run_ != nullptr, "generated object has no entry");
    if (options.perf_map) write_perf_map(**object, loader, *loaded);
    if (options.debugger) {
      listener_ = llvm::JITEventListener::createGDBRegistrationListener();
      listener_->notifyObjectLoaded(uint64_t(reinterpret_cast<uintptr_t>(this)), **object, *loaded);
    }
  }

  CodeMemory memory_;
  NncRun run_ = nullptr;
  int64_t scratch_bytes_ = 0;
  CodegenStatistics statistics_;
  llvm::JITEventListener* listener_ = nullptr;  // LLVM's, one for the process
};

}  // namespace

std::unique_ptr<CompiledProgram> compile(const Program& program, const SourceMap* sources, const CompileOptions& options) {
  return std::make_unique<JitProgram>(program, sources, options);
}

std::string emit_text(const Program& program, const SourceMap* sources, CodeStage stage) {
  auto machine = make_target_machine(program.target);
  llvm::LLVMContext context;
  int64_t scratch_bytes = 0;
  auto module = emit_program(program, sources, *machine, context, scratch_bytes);
  verify(*module);
  if (stage != CodeStage::llvm) optimize(*module, *machine);
  if (stage != CodeStage::assembly) {
    std::string text;
    llvm::raw_string_ostream out(text);
    module->print(out, nullptr);
    return out.str();
  }
  llvm::SmallVector<char, 0> text;
  generate(*module, *machine, llvm::CodeGenFileType::AssemblyFile, text);
  return {text.begin(), text.end()};
}

}  // namespace nnc
