// That the sanitizers see generated code: programs that are deliberately wrong are run in a process of their own, which must end with a report. In plain builds
// there is nothing to see; tests/run/guard_page_test.cpp shows the same kernels caught by guard pages there.
#include <sys/wait.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <span>

#include "engine/step.h"
#include "runtime/step_runner.h"
#include "runtime/team.h"
#include "tests/run/guarded_step.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr int64_t count = 37;

/// One kernel that reads (or writes) one element past the end of a buffer of `count`, in vectors with a tail, and its sound twin.
Program stray_program(VectorLevel level, BufferKind kind, bool write, int64_t past) {
  ProgramFixture f(level, 4);
  Shape shape{Extent{count}};
  if (kind == BufferKind::field) shape.insert(shape.begin(), Extent{1, true});
  BufferId from = f.buffer("from", kind, DType::f32, shape);
  f.buffer("to", BufferKind::output, DType::f32, {Extent{count}});
  f.buffer("neighbour", BufferKind::temporary, DType::f32, {Extent{count}});
  std::string stray = fmt::format("from[{}i + {}]", kind == BufferKind::field ? "row(b), " : "", past);
  f.kernels(fmt::format(R"(
  kernel stray  # one thread, after a barrier
    for b < B, i < {}  (vector along i):
      v0 = {} : f32
      {} <- v0 : f32
)", count, write ? "constant 1" : "load " + stray, write ? stray : "to[i]"));
  if (kind == BufferKind::persistent) f.program.persistents.push_back({{"from", {DType::f32, shape}, PersistentKind::parameter, {}}, from});
  return f.program;
}

/// The way a program is run by every command.
void run_step(Program program) {
  SourceMap sources;
  CompiledStep compiled = compile_step(std::move(program), sources);
  Team team(1);
  StepRunner runner(compiled.step, team);
  std::vector<std::byte> data(4 * count * 4);
  if (!compiled.step.fields.empty()) runner.bind_field(0, data.data(), 4 * count);
  int64_t rows = 4, row_index[] = {0, 1, 2, 3};
  CHECK(runner.run(std::span(&rows, 1), row_index, nullptr, nullptr, {}) == 1);
}

/// A parallel kernel writes a buffer backwards, another reads it, with or without a barrier between them.
Program racing_program(VectorLevel level, bool barrier) {
  constexpr int64_t size = 64;
  ProgramFixture f(level, 32);
  Shape shape{Extent{1, true}, Extent{size}};
  f.buffer("middle", BufferKind::temporary, DType::f32, shape);
  f.buffer("to", BufferKind::output, DType::f32, shape);
  f.kernels(fmt::format(R"(
  kernel writes  # parallel, after a barrier
    for b < B, i < {0}  (vector along i):
      v0 = constant 1 : f32
      middle[-{0}*b + i + {1}] <- v0 : f32

  kernel reads  # parallel{2}
    for b < B, i < {0}  (vector along i):
      v0 = load middle[{0}*b + i] : f32
      to[{0}*b + i] <- v0 : f32
)", size, 31 * size, barrier ? ", after a barrier" : ""));
  return f.program;
}

void run_racing(bool barrier) {
  Bindings bindings;
  bindings.rows = 32;
  for (VectorLevel level : host_levels()) CHECK(GuardedStep(racing_program(level, barrier), Placement::planned).run(bindings, {2, 500, 0, 0}).has_value());
}

int setting(const char* name) { return std::atoi(std::getenv(name) ? std::getenv(name) : "0"); }

/// Runs a hidden case of this executable; its exit status and what it printed.
std::pair<int, std::string> run_case(const std::string& environment, const std::string& tag) {
  std::string command = environment + " /proc/" + std::to_string(getpid()) + "/exe '" + tag + "' 2>&1", text;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe);
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

}  // namespace

// Hidden: run by the tests below with what they are to do wrong.
TEST_CASE("one kernel, perhaps a stray one", "[.stray]") {
  VectorLevel level = host_levels().at(size_t(setting("NNC_STRAY_LEVEL")));
  run_step(stray_program(level, BufferKind(setting("NNC_STRAY_KIND")), setting("NNC_STRAY_WRITE") != 0, setting("NNC_STRAY_PAST")));
}
TEST_CASE("two kernels that meet", "[.racing]") { run_racing(setting("NNC_RACING_BARRIER") != 0); }

TEST_CASE("AddressSanitizer reports a kernel that leaves its buffer by one element", "[run][sanitizer]") {
  if (code_sanitizer() != Sanitizer::address) return;
  for (size_t level = 0; level < host_levels().size(); ++level)
    for (BufferKind kind : {BufferKind::field, BufferKind::persistent, BufferKind::temporary})
      for (bool write : {false, true})
        for (int past : {-1, 0, 1}) {
          if (write && kind == BufferKind::field) continue;
          auto [status, text] = run_case("NNC_STRAY_LEVEL=" + std::to_string(level) + " NNC_STRAY_KIND=" + std::to_string(int(kind)) +
                                             " NNC_STRAY_WRITE=" + std::to_string(int(write)) + " NNC_STRAY_PAST=" + std::to_string(past), "[.stray]");
          INFO("level " << level << ", kind " << int(kind) << ", write " << write << ", " << past << " past\n" << text);
          CHECK((status == 0) == (past == 0));
          CHECK((text.find("ERROR: AddressSanitizer") != std::string::npos) == (past != 0));
        }
}

TEST_CASE("ThreadSanitizer reports kernels that meet in a buffer without a barrier", "[run][sanitizer]") {
  if (code_sanitizer() != Sanitizer::thread) return;
  for (int barrier : {0, 1}) {
    // On a busy machine one thread may have done its part before the other begins, and is forgotten then.
    for (int attempts = barrier ? 1 : 20; attempts > 0; --attempts) {
      auto [status, text] = run_case("NNC_RACING_BARRIER=" + std::to_string(barrier), "[.racing]");
      if (status == 0 && attempts > 1) continue;
      INFO(text);
      CHECK((status == 0) == (barrier == 1));
      CHECK((text.find("WARNING: ThreadSanitizer: data race") != std::string::npos) == (barrier == 0));
      break;
    }
  }
}

TEST_CASE("the sound twins of the sanitizers' wrong programs run", "[run][sanitizer]") {
  for (VectorLevel level : host_levels())
    for (BufferKind kind : {BufferKind::field, BufferKind::persistent, BufferKind::temporary}) run_step(stray_program(level, kind, false, 0));
  run_racing(true);
}
