// The target of workers whose CPUs differ, and files that one of them reads for all.
#include "engine/common_target.h"

#include <fmt/format.h>

#include "codegen/codegen.h"
#include "engine/sent_files.h"
#include "tests/unit/catch.h"
#include "tests/unit/temp_folder.h"
#include "tests/workers/local_run.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// What each of some workers agrees on: "cpu level l1: message | notes".
std::vector<std::string> agreed(const std::vector<Target>& own) {
  return run_processes(int(own.size()), [&](Transport& t) -> std::string {
    Collectives all(t);
    CommonTarget common = agree_on_target(all, own[size_t(t.rank())]);
    std::string said = fmt::format("{} {} {}", common.target.cpu, vector_level_name(common.target.level), common.target.l1_bytes);
    if (common.difference) said += fmt::format(": {} {} | {}", code_name(common.difference->code), common.difference->message, common.difference->notes.size());
    return said;
  });
}

Target of(const std::string& cpu, VectorLevel level, int64_t l1_bytes) {
  Target t = target_with_level(level);
  t.cpu = cpu;
  t.l1_bytes = l1_bytes;
  t.l2_bytes = t.l3_bytes = 1 << 20;
  return t;
}

}  // namespace

TEST_CASE("workers compile for what all of their CPUs have") {
  const Target zen = of("znver4", VectorLevel::avx512, 32 << 10), lake = of("icelake-server", VectorLevel::avx512, 48 << 10), haswell = of("haswell", VectorLevel::avx2, 32 << 10);
  auto each = [](int workers, const std::string& text) { return std::vector<std::string>(size_t(workers), text); };
  CHECK(agreed({zen, zen}) == each(2, "znver4 avx512 32768"));
  // The caches alone differ: nothing to say.
  CHECK(agreed({of("znver4", VectorLevel::avx512, 64 << 10), zen, zen}) == each(3, "znver4 avx512 32768"));
  if (target_by_name("avx2").cpu != "x86-64-v3") return;  // another architecture
  CHECK(agreed({zen, lake}) == each(2, "x86-64-v4 avx512 32768: E0548 the CPUs of the workers differ, so all compile for x86-64-v4 (avx512) | 2"));
  CHECK(agreed({lake, zen, haswell}) == each(3, "x86-64-v3 avx2 32768: E0548 the CPUs of the workers differ, so all compile for x86-64-v3 (avx2) | 3"));
  CHECK(agreed({lake, lake, of("icelake-server", VectorLevel::avx2, 48 << 10)})[1].starts_with("x86-64-v3 avx2"));
}

TEST_CASE("a file is loaded by one worker, and all have its bytes or what is wrong with it") {
  TempFolder folder;
  const std::string text(300'000, 'x'), path = folder.write("x", text), none = folder.path("none");
  for (int from : {0, 2}) {
    std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
      Collectives all(t);
      const FileLoader load = load_on(all, from);
      std::string wrong = load(path).text() == text ? "" : "other bytes";
      try {
        load(none);
      } catch (const UserError& e) {
        wrong += e.what();
      }
      return wrong;
    });
    for (const std::string& one : said) CHECK(one == "cannot read `none`: no such file or directory");
  }
}
