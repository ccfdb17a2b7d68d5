// nnc test: the `test` blocks of a file, a line for each.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/test_blocks.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

void print_result(const TestResult& t, const SourceMap& sources) {
  std::printf("%s %s \"%s\"\n", t.faults.empty() ? "PASS" : "FAIL", sources.describe_line(t.span).c_str(), t.name.c_str());
  for (const auto& [span, why] : t.faults) std::printf("  %s: %s\n", sources.describe(span).c_str(), why.c_str());
}

void print_result_as_json(const TestResult& t, const SourceMap& sources) {
  Json line{{"test", t.name}, {"place", sources.describe_line(t.span)}, {"passed", t.faults.empty()}, {"expectations", t.expectations}};
  for (const auto& [span, why] : t.faults) line["failures"].push_back({{"place", sources.describe(span)}, {"message", why}});
  print_json_line(line);
}

int test(Session& session, const CommonOptions& o) {
  session.load();
  size_t passed = 0;
  int failed = 0;
  run_tests(session, session.thread_count(), [&](const TestResult& t) {
    t.faults.empty() ? void(++passed) : void(++failed);
    o.json ? print_result_as_json(t, session.sources) : print_result(t, session.sources);
  });
  if (!o.json) std::printf("%zu passed, %d failed\n", passed, failed);
  return failed ? exit_user_error : exit_done;
}

}  // namespace

Command test_command() {
  auto o = std::make_shared<CommonOptions>();
  Command command("test",
                  "run the test blocks of a file\n\n"
                  "  nnc test own_optimizer.nn\n");
  add_common(command, *o);
  add_threads(command, *o);
  command.run = [o] { return with_session(*o, [&](Session& session) { return test(session, *o); }); };
  return command;
}

}  // namespace nnc
