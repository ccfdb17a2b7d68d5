// The machine, and the middle end. Kernels come out of the emitters as they should run (vectors, tiles, order), so the passes
// only have to clean up: slots become registers, repeated addresses and loads are computed once, what does not change leaves the
// loop. No unroller, no vectoriser, no idiom recognition (it would call memset), no inliner. Time grows about linearly with the
// code.
#include "codegen/machine.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/AssumptionCache.h>
#include <llvm/Analysis/BasicAliasAnalysis.h>
#include <llvm/Analysis/ScopedNoAliasAA.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/Analysis/TargetTransformInfo.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PassManager.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>

#include <algorithm>

#include "base/check.h"
#include "base/diagnostics.h"
#include "codegen/codegen.h"
#include "codegen/llvm_versions.h"
#include "codegen/strength_reduction.h"

namespace nnc {
namespace {

/// What of LLVM's code generation takes time and gives nothing here: its own loop strength reduction (strength_reduction.h says why), and scheduling once more after registers are allocated,
/// which is for CPUs that execute in order. There are no other switches than these of the whole process; a version of LLVM without them only compiles more slowly.
void leave_out_passes() {
  auto& options = llvm::cl::getRegisteredOptions();
  for (const char* name : {"disable-lsr", "disable-post-ra"})
    if (auto found = options.find(name); found != options.end()) static_cast<llvm::cl::opt<bool>*>(found->second)->setValue(true);
}

const llvm::Target& native_target() {
  static const llvm::Target* target = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    leave_out_passes();
    std::string error;
    const llvm::Target* found = llvm::TargetRegistry::lookupTarget(target_triple(llvm::sys::getProcessTriple()), error);
    NNC_CHECK(found != nullptr, error);
    return found;
  }();
  return *target;
}

std::string host_cpu() { return llvm::sys::getHostCPUName().str(); }

bool is_x86() { return llvm::Triple(llvm::sys::getProcessTriple()).isX86(); }

/// The least CPU of a level.
std::string cpu_of_level(VectorLevel level) {
  if (!is_x86()) return "generic";
  return level == VectorLevel::avx512 ? "x86-64-v4" : level == VectorLevel::avx2 ? "x86-64-v3" : "x86-64";
}

/// A CPU as LLVM describes it, without code generation; "": none in particular.
std::unique_ptr<llvm::MCSubtargetInfo> describe_cpu(const std::string& cpu) {
  std::unique_ptr<llvm::MCSubtargetInfo> info(
      native_target().createMCSubtargetInfo(target_triple(llvm::sys::getProcessTriple()), cpu, ""));
  NNC_CHECK(info != nullptr, "LLVM does not describe " + cpu);
  return info;
}

bool has_feature(const llvm::MCSubtargetInfo& cpu, llvm::StringRef name) { return cpu.checkFeatures("+" + name.str()); }

/// LLVM also knows the CPUs of 32 bits, and ends the process when it is to make code of 64 bits for one.
bool has_64_bits(const llvm::MCSubtargetInfo& cpu) { return !is_x86() || has_feature(cpu, "64bit"); }

/// Instructions that stand in code only where the program asks for them by name, which ours never does: those of operating
/// systems, cryptography, random numbers, tiles. A hypervisor often hides some of them, and code for the CPU runs all the same.
/// What is not listed, as whatever a later LLVM knows, counts as used.
bool is_never_chosen(llvm::StringRef feature) {
  static constexpr const char* names[] = {"aes",     "cldemote", "clflushopt", "clwb",    "clzero",  "enqcmd",   "fsgsbase",
                                          "fxsr",    "hreset",   "invpcid",    "kl",      "lwp",     "mwaitx",   "pclmul",
                                          "pconfig", "pku",      "prefetchi",  "ptwrite", "rdpid",   "rdpru",    "rdrnd",
                                          "rdseed",  "rtm",      "serialize",  "sgx",     "sha",     "sha512",   "shstk",
                                          "sm3",     "sm4",      "tsxldtrk",   "uintr",   "usermsr", "vaes",     "vpclmulqdq",
                                          "waitpkg", "wbnoinvd", "widekl",     "xsave",   "xsavec",  "xsaveopt", "xsaves"};
  return feature.starts_with("amx-") || std::find(std::begin(names), std::end(names), feature) != std::end(names);
}

}  // namespace

void initialize_llvm() { native_target(); }

std::unique_ptr<llvm::TargetMachine> make_target_machine(const Target& target) {
  const llvm::Target& native = native_target();
  std::string cpu = target.cpu.empty() ? cpu_of_level(target.level) : target.cpu;
  std::string features;
  if (cpu == host_cpu()) {
    // What the system and a hypervisor let through may be less than what the CPU's name promises, and a CPU newer than LLVM has
    // only features.
    for (const auto& feature : llvm::sys::getHostCPUFeatures())
      features += (features.empty() ? "" : ",") + std::string(feature.getValue() ? "+" : "-") + feature.getKey().str();
  }
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;  // an FMA stands where the emitter writes one, nowhere else
  std::unique_ptr<llvm::TargetMachine> machine(
      native.createTargetMachine(machine_triple(llvm::sys::getProcessTriple()), cpu, features, options, llvm::Reloc::PIC_,
                                 llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default, false));
  NNC_CHECK(machine != nullptr, "no target machine for " + cpu);
  return machine;
}

void set_machine(llvm::Module& module, llvm::TargetMachine& machine) {
  module.setTargetTriple(machine_triple(machine.getTargetTriple().str()));
  module.setDataLayout(machine.createDataLayout());
}

void optimize(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  functions.registerPass([] {
    llvm::AAManager aliases;
    aliases.registerFunctionAnalysis<llvm::BasicAA>();
    aliases.registerFunctionAnalysis<llvm::ScopedNoAliasAA>();
    return aliases;
  });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, cgscc, modules);

  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::InstCombinePass(llvm::InstCombineOptions().setMaxIterations(1).setVerifyFixpoint(false)));
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  passes.addPass(StrengthReduction());
  passes.addPass(llvm::EarlyCSEPass(false));
  passes.addPass(llvm::SimplifyCFGPass());
  for (llvm::Function& f : module)
    if (!f.isDeclaration()) passes.run(f, functions);
}

Target host_target_with_cpu() {
  Target target = host_target();
  target.cpu = host_cpu();
  return target;
}

Target target_by_name(const std::string& name) {
  if (name == "native") return host_target_with_cpu();
  if (auto level = parse_vector_level(name)) {
    Target target = target_with_level(*level);
    target.cpu = cpu_of_level(*level);
    return target;
  }
  const char* const usage =
      "name a CPU as LLVM does (haswell, znver4, sapphirerapids), a level (portable, avx2, avx512) or native";
  if (auto any = describe_cpu(""); !any->isCPUStringValid(name)) {
    std::vector<std::string> known{"native", "portable", "avx2", "avx512"};
    for (const auto& cpu : any->getAllProcessorDescriptions())
      if (has_64_bits(*describe_cpu(cpu.Key))) known.emplace_back(cpu.Key);
    std::string like = nearest(name, known);
    throw UserError(Code::E0620, "unknown CPU `" + name + "`", "", like.empty() ? usage : "did you mean `" + like + "`?");
  }
  if (name == host_cpu()) return host_target_with_cpu();
  auto info = describe_cpu(name);
  if (!has_64_bits(*info))
    throw UserError(Code::E0620, "the CPU `" + name + "` has no 64-bit mode, which nnc's code needs", "", usage);
  VectorLevel level = VectorLevel::portable;
  if (is_x86()) {
    if (info->checkFeatures("+avx512f,+avx512dq,+avx512bw,+avx512vl,+avx512cd"))
      level = VectorLevel::avx512;
    else if (info->checkFeatures("+avx2,+fma"))
      level = VectorLevel::avx2;
  }
  Target target = target_with_level(level);
  target.cpu = name;
  return target;
}

std::vector<std::string> features_missing_here(const Target& target) {
  std::string name = target.cpu.empty() ? cpu_of_level(target.level) : target.cpu;
  std::vector<std::string> missing;
  if (name == host_cpu()) return missing;
  auto cpu = describe_cpu(name);
  for (const auto& feature : llvm::sys::getHostCPUFeatures())
    if (!feature.getValue() && !is_never_chosen(feature.getKey()) && has_feature(*cpu, feature.getKey()))
      missing.push_back(feature.getKey().str());
  std::sort(missing.begin(), missing.end());
  return missing;
}

std::string llvm_version() { return LLVM_VERSION_STRING; }

}  // namespace nnc
