// From program to machine code in this process: module, passes, object file in memory, loaded by RuntimeDyld (a step's code is
// one object without external symbols: an ORC session, with its threads and symbol tables, would only add to the time before the
// first step).
//
// Kernels that are equal but for their places share a function (sharing.h). The functions are independent, so a program of more than a few is cut into parts that threads of their own compile,
// each with its own LLVM context; how it is cut changes no instruction of any kernel.
//
// Memory: one block for all objects, so that code and constants are within reach of each other (small code model); pages are
// writable until the relocations are done, then code is read and execute, constants are read only.
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

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "codegen/codegen.h"
#include "codegen/machine.h"
#include "codegen/sanitize.h"
#include "codegen/step.h"
#include "ir/program_regions.h"

namespace nnc {
namespace {

double now_ms() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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
  /// Room for objects of these sizes; before the first is loaded.
  void reserve(size_t object_bytes, size_t objects) {
    // Calls to a sanitizer go through stubs, which are no part of the object and of which each call may need one.
    size_ = pages(object_bytes) * (code_sanitizer() == Sanitizer::none ? 1 : 4) + objects * 6 * slack;
    void* block = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NNC_CHECK(block != MAP_FAILED, "no memory for generated code");
    block_ = static_cast<uint8_t*>(block);
  }
  bool needsToReserveAllocationSpace() override { return true; }
  /// Called for each object: its sections stand in three runs of pages.
  void reserveAllocationSpace(uintptr_t code, llvm::Align, uintptr_t constants, llvm::Align, uintptr_t data,
                              llvm::Align) override {
    size_t begin = data_.end;
    code_ = {begin, begin + pages(code + slack)};
    constants_ = {code_.end, code_.end + pages(constants + slack)};
    data_ = {constants_.end, constants_.end + pages(data + slack)};
    NNC_CHECK(data_.end <= size_, "objects larger than they said");
    protect_.push_back({code_, PROT_READ | PROT_EXEC});
    protect_.push_back({constants_, PROT_READ});
  }
  uint8_t* allocateCodeSection(uintptr_t size, unsigned alignment, unsigned, llvm::StringRef) override {
    return code_.take(block_, size, alignment);
  }
  uint8_t* allocateDataSection(uintptr_t size, unsigned alignment, unsigned, llvm::StringRef, bool read_only) override {
    return (read_only ? constants_ : data_).take(block_, size, alignment);
  }
  void registerEHFrames(uint8_t*, uint64_t, size_t) override {}
  void deregisterEHFrames() override {}
  bool finalizeMemory(std::string*) override {
    bool failed = false;
    for (auto& [part, protection] : protect_) failed |= mprotect(block_ + part.begin, part.end - part.begin, protection) != 0;
    return failed;
  }

 private:
  static constexpr size_t slack = 4 * 4096;  // for the alignment of sections
  static size_t pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
  struct Part {
    size_t begin = 0, end = 0, next = begin;
    uint8_t* take(uint8_t* block, size_t size, size_t alignment) {
      next = (next + alignment - 1) / alignment * alignment;
      NNC_CHECK(next + size <= end, "object larger than it said");
      uint8_t* place = block + next;
      next += size;
      return place;
    }
  };
  std::vector<std::pair<Part, int>> protect_;
  uint8_t* block_ = nullptr;
  size_t size_ = 0;
  Part code_, constants_, data_;
};

/// Generated code names nothing outside itself; whatever is asked for here is a bug, but for what a sanitizer's instrumentation calls.
class NoSymbols final : public llvm::LegacyJITSymbolResolver {
 public:
  llvm::JITSymbol findSymbol(const std::string& name) override {
    if (uint64_t address = sanitizer_symbol(name)) return {address, llvm::JITSymbolFlags::Exported};
    missing += " " + name;
    return nullptr;
  }
  llvm::JITSymbol findSymbolInLogicalDylib(const std::string& name) override { return findSymbol(name); }
  std::string missing;
};

void write_perf_map(const llvm::object::ObjectFile& object, const llvm::RuntimeDyld::LoadedObjectInfo& loaded) {
  std::string path = fmt::format("/tmp/perf-{}.map", getpid());
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (!file) return;
  for (auto [symbol, size] : llvm::object::computeSymbolSizes(object)) {
    auto name = symbol.getName();
    auto section = symbol.getSection();
    auto address = symbol.getAddress();
    auto type = symbol.getType();
    if (name && section && address && type && *type == llvm::object::SymbolRef::ST_Function && *section != object.section_end())
      fmt::print(file, "{:x} {:x} {}\n", loaded.getSectionLoadAddress(**section) + (*address - (*section)->getAddress()), size,
                 std::string(*name));
    if (!name) llvm::consumeError(name.takeError());
    if (!section) llvm::consumeError(section.takeError());
    if (!address) llvm::consumeError(address.takeError());
    if (!type) llvm::consumeError(type.takeError());
  }
  std::fclose(file);
}

struct PartObject {
  llvm::SmallVector<char, 0> bytes;
  int64_t scratch_bytes = 0;
  std::exception_ptr error;
};

void compile_part(const Program& program, const KernelSharing& sharing, const SourceMap* sources, const CompileOptions& options, llvm::TargetMachine& machine,
                  const std::vector<bool>& part, bool entry, PartObject& out, CodegenStatistics& spent) {
  double start = now_ms();
  llvm::LLVMContext context;
  auto module = emit_program(program, sharing, sources, machine, context, out.scratch_bytes, part, entry, options.segments);
  if (options.verify) verify(*module);
  double emitted = now_ms();
  optimize(*module, machine);
  instrument_for_sanitizer(*module, machine, program);
  double optimized = now_ms();
  generate(*module, machine, llvm::CodeGenFileType::ObjectFile, out.bytes);
  spent.ir_ms += emitted - start;
  spent.optimize_ms += optimized - emitted;
  spent.compile_ms += now_ms() - optimized;
}

/// So many that threads end at about the same time, though how long a part takes is only estimated.
constexpr size_t parts_of_thread = 3;

class JitProgram final : public CompiledProgram {
 public:
  JitProgram(const Program& program, const SourceMap* sources, CompileOptions options) {
    initialize_llvm();
    if (options.segments.empty()) options.segments = segments_of(program);
    size_t threads =
        options.threads > 0 ? size_t(options.threads) : std::min<size_t>(8, std::max(1u, std::thread::hardware_concurrency()));
    const double start = now_ms();
    const KernelSharing sharing = options.share ? share_kernels(program) : separate_kernels(program);
    statistics_.functions = int64_t(sharing.functions.size());
    const auto parts = split_program(program, sharing, threads > 1 ? threads * parts_of_thread : 1);
    threads = std::min(threads, parts.size());
    const double sharing_ms = now_ms() - start;
    std::vector<PartObject> objects(parts.size());
    std::vector<CodegenStatistics> spent(threads);
    std::atomic<size_t> next{0};
    auto work = [&](size_t thread) {
      std::unique_ptr<llvm::TargetMachine> machine;
      for (size_t p; (p = next++) < parts.size();) try {
          if (!machine) machine = make_target_machine(program.target);
          compile_part(program, sharing, sources, options, *machine, parts.size() == 1 ? std::vector<bool>{} : parts[p], p == 0, objects[p], spent[thread]);
        } catch (...) {
          objects[p].error = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    others.reserve(threads);
    try {
      while (others.size() + 1 < threads) others.emplace_back(work, others.size() + 1);
    } catch (const std::system_error&) {  // no more threads can be started: those that are there do the rest
    }
    work(0);
    for (std::thread& t : others) t.join();
    for (PartObject& object : objects) {
      if (object.error) std::rethrow_exception(object.error);
      scratch_bytes_ = std::max(scratch_bytes_, object.scratch_bytes);
    }
    for (const CodegenStatistics& s : spent) {
      statistics_.ir_ms = std::max(statistics_.ir_ms, s.ir_ms);
      statistics_.optimize_ms = std::max(statistics_.optimize_ms, s.optimize_ms);
      statistics_.compile_ms = std::max(statistics_.compile_ms, s.compile_ms);
    }
    statistics_.ir_ms += sharing_ms;
    double before = now_ms();
    load(objects, options);
    statistics_.compile_ms += now_ms() - before;
  }
  ~JitProgram() override {
    if (!listener_) return;
    for (auto& key : debugged_) listener_->notifyFreeingObject(uint64_t(reinterpret_cast<uintptr_t>(key.get())));
  }
  NncRun run() const override { return run_; }
  const std::vector<NncRun>& segments() const override { return segments_; }
  int64_t scratch_bytes() const override { return scratch_bytes_; }
  const CodegenStatistics& statistics() const override { return statistics_; }

 private:
  void load(const std::vector<PartObject>& parts, const CompileOptions& options) {
    size_t bytes = 0;
    for (const PartObject& part : parts) bytes += part.bytes.size();
    memory_.reserve(bytes, parts.size());
    NoSymbols resolver;
    llvm::RuntimeDyld loader(memory_, resolver);
    struct Loaded {
      std::unique_ptr<llvm::object::ObjectFile> object;
      std::unique_ptr<llvm::RuntimeDyld::LoadedObjectInfo> info;
    };
    std::vector<Loaded> loaded;
    // The entry comes last: the kernels it calls are known by then, and its calls go straight to them.
    for (size_t p = parts.size(); p-- > 0;) {
      llvm::MemoryBufferRef buffer(llvm::StringRef(parts[p].bytes.data(), parts[p].bytes.size()), "nnc");
      auto object = llvm::object::ObjectFile::createObjectFile(buffer);
      NNC_CHECK(bool(object), "generated object cannot be read: " + llvm::toString(object.takeError()));
      auto info = loader.loadObject(**object);
      NNC_CHECK(!loader.hasError(), "generated object cannot be loaded: " + loader.getErrorString().str());
      loaded.push_back({std::move(*object), std::move(info)});
    }
    loader.resolveRelocations();
    NNC_CHECK(resolver.missing.empty(), "generated code refers to symbols outside itself:" + resolver.missing);
    NNC_CHECK(!loader.hasError(), "generated object cannot be loaded: " + loader.getErrorString().str());
    NNC_CHECK(!memory_.finalizeMemory(nullptr), "generated code cannot be made executable");
    auto entry = [&](const std::string& name) {
      const NncRun run = reinterpret_cast<NncRun>(uintptr_t(loader.getSymbol(name).getAddress()));
      NNC_CHECK(run != nullptr, "generated object has no entry " + name);
      return run;
    };
    run_ = entry("run");
    if (options.segments.size() == 1) segments_ = {run_};
    else
      for (size_t s = 0; s < options.segments.size(); ++s) segments_.push_back(entry("run." + std::to_string(s)));
    if (options.debugger) listener_ = llvm::JITEventListener::createGDBRegistrationListener();
    for (Loaded& l : loaded) {
      for (const auto& section : l.object->sections())
        if (section.isText()) statistics_.code_bytes += int64_t(section.getSize());
      if (options.perf_map) write_perf_map(*l.object, *l.info);
      if (!listener_) continue;
      debugged_.push_back(std::make_unique<char>());
      listener_->notifyObjectLoaded(uint64_t(reinterpret_cast<uintptr_t>(debugged_.back().get())), *l.object, *l.info);
    }
  }

  CodeMemory memory_;
  NncRun run_ = nullptr;
  std::vector<NncRun> segments_;
  int64_t scratch_bytes_ = 0;
  CodegenStatistics statistics_;
  llvm::JITEventListener* listener_ = nullptr;   // LLVM's, one for the process
  std::vector<std::unique_ptr<char>> debugged_;  // addresses that name the objects to it
};

}  // namespace

std::unique_ptr<CompiledProgram> compile(const Program& program, const SourceMap* sources, const CompileOptions& options) {
  return std::make_unique<JitProgram>(program, sources, options);
}

std::string emit_text(const Program& program, const SourceMap* sources, CodeStage stage) {
  auto machine = make_target_machine(program.target);
  llvm::LLVMContext context;
  int64_t scratch_bytes = 0;
  auto module = emit_program(program, share_kernels(program), sources, *machine, context, scratch_bytes, {}, true, segments_of(program));
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
