// Program cases of a session.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "verify/case_file.h"
#include "tests/fuzz/graph_generator.h"
#include "tests/fuzz/programs.h"
#include "tests/fuzz/session.h"

namespace nnc::fuzz {
namespace {

// As --replay reads it: the first line says whether the compiler may refuse.
std::string program_file(const std::string& text, bool valid, const std::string& remarks) {
  return (valid ? "" : "# damaged: it may be refused\n") + remarks + text;
}

}  // namespace

std::string case_text(Kind kind, uint64_t seed) {
  if (kind == Kind::graph) return print_case(generate_graph(seed), nullptr, fmt::format("graph of seed {}\n", seed));
  SeededProgram program = seeded_program(seed);
  return program_file(program.text, program.valid, fmt::format("# program of seed {}\n", seed));
}

void FuzzSession::run_program(uint64_t seed) {
  ++programs_;
  SeededProgram program = seeded_program(seed);
  std::string& text = program.text;
  const bool valid = program.valid;
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
  const std::string what = f->detail.substr(0, f->detail.find('\n'));
  std::ofstream(found.file) << program_file(text, valid, fmt::format("# {}\n# seed {}, route {}\n", what, seed, f->check));
  report(found);
}

}  // namespace nnc::fuzz
