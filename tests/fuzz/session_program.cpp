// Program cases of a session.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "tests/fuzz/programs.h"
#include "tests/fuzz/session.h"

namespace nnc::fuzz {

void FuzzSession::run_program(uint64_t seed) {
  ++programs_;
  // One in four is damaged first.
  bool valid = seed % 4 != 0;
  std::string text = generate_program(seed);
  if (!valid) text = mutate_program(text, seed);
  std::string rest;
  SandboxResult result = in_sandbox([&] {
    Coverage coverage;
    std::optional<Failure> f = run_program_checks(text, seed, valid, &coverage);
    return encode(f) + coverage.encode();
  });
  std::optional<Failure> f = outcome(result, &rest);
  coverage_.decode(rest);
  if (!f) return;
  // What went wrong on one road of one graph is shown by that graph, which is smaller and holds the values too.
  if (!f->graph.empty()) return shrink_graph(Kind::program, seed, read_case(f->graph, "program.nnir"), *f);
  Found found{Kind::program, seed, *f, fmt::format("{}/program-{}.nn", options_.out, seed), ""};
  found.group = fmt::format("program: {} ({})", f->kind, f->what);
  if (options_.shrink && groups_[found.group] < 3) text = shrink_program(text, seed, valid, *f, options_.shrink_seconds);
  std::filesystem::create_directories(options_.out);
  std::ofstream(found.file) << fmt::format("{}# {}\n# seed {}, route {}\n", valid ? "" : "# damaged: it may be refused\n", f->detail.substr(0, f->detail.find('\n')), seed, f->check) << text;
  report(found);
}

}  // namespace nnc::fuzz
