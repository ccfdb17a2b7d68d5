// Graph cases and the book-keeping; programs are in session_program.cpp.
#include "tests/fuzz/session.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "verify/case_file.h"
#include "engine/compilation.h"
#include "tests/fuzz/graph_generator.h"
#include "tests/fuzz/programs.h"

namespace nnc::fuzz {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', '\x1f');
  return text;
}
std::string many_lines(std::string text) {
  std::replace(text.begin(), text.end(), '\x1f', '\n');
  return text;
}

std::optional<Failure> check_in_sandbox(const GraphCase& c, const Check& check) {
  return outcome(in_sandbox([&] { return encode(run_check(c, check)); }));
}

}  // namespace

std::string encode(const std::optional<Failure>& f) {
  if (!f) return "ok\n";
  return fmt::format("failed\n{}\n{}\n{}\n{}\n{}\n", one_line(f->kind), one_line(f->what), one_line(f->detail), one_line(f->check), one_line(f->graph));
}

std::optional<Failure> outcome(const SandboxResult& r, std::string* rest) {
  if (r.end != SandboxResult::End::done) {
    Failure f;
    f.kind = r.end == SandboxResult::End::timed_out ? "hang" : "crash";
    f.what = r.end_text();
    f.detail = fmt::format("{}: {}", r.end_text(), r.message.substr(0, 2000));
    // The child says on its last line of output what it was about to do.
    size_t at = r.output.rfind("doing ");
    if (at != std::string::npos) f.check = r.output.substr(at + 6, r.output.find('\n', at) - at - 6);
    return f;
  }
  std::istringstream in(r.output);
  std::string status;
  while (std::getline(in, status) && status.rfind("doing ", 0) == 0) {
  }
  std::optional<Failure> f;
  if (status == "failed") {
    f.emplace();
    for (std::string* s : {&f->kind, &f->what, &f->detail, &f->check, &f->graph}) {
      std::getline(in, *s);
      *s = many_lines(*s);
    }
  }
  if (rest) rest->assign(std::istreambuf_iterator<char>(in), {});
  return f;
}

void FuzzSession::run(const volatile bool& stop) {
  double start = now(), last = start;
  host_target_with_cpu();  // LLVM's tables are made once, before the children inherit them
  for (uint64_t seed = options_.seed; !stop; ++seed) {
    int64_t done = graphs_ + programs_;
    seconds_ = now() - start;
    const bool enough = options_.count > 0 && done >= options_.count &&
                        (!options_.reach_all || done >= 4 * options_.count || coverage_.missing("op.").empty());
    if (enough || (options_.seconds > 0 && seconds_ >= options_.seconds)) break;
    if (options_.kind_of(seed) == Kind::program)
      run_program(seed);
    else
      run_graph(seed);
    if (!options_.quiet && now() - last > 30) {
      last = now();
      fmt::print("{} graphs, {} programs, {:.2f}/s, {} failures in {} groups, next seed {}\n", graphs_, programs_, double(graphs_ + programs_) / (last - start), found_.size(), groups_.size(), seed + 1);
      std::fflush(stdout);
    }
  }
  seconds_ = now() - start;
}

void FuzzSession::run_graph(uint64_t seed) {
  ++graphs_;
  std::string rest;
  SandboxResult result = in_sandbox([&] {
    GraphCase c = generate_graph(seed);
    Coverage coverage;
    coverage.add_graph(c.graph);
    Random random(seed, "checks");
    std::vector<Check> checks = checks_for(random, c.graph);
    std::optional<Failure> f = run_checks(c, checks, &coverage);
    return encode(f) + coverage.encode();
  });
  std::optional<Failure> f = outcome(result, &rest);
  coverage_.decode(rest);
  if (!f) return;
  // A crash does not say which check it was in: ask one by one.
  if (f->check.empty()) {
    GraphCase c;
    bool generated = !outcome(in_sandbox([&] {
      c = generate_graph(seed);
      return encode(std::nullopt);
    }));
    if (generated) {
      c = generate_graph(seed);
      Random random(seed, "checks");
      for (const Check& check : checks_for(random, c.graph))
        if (std::optional<Failure> again = check_in_sandbox(c, check)) {
          f = again;
          f->check = check.encode();
          break;
        }
    }
  }
  if (f->check.empty()) return report({Kind::graph, seed, *f, "", "generator or unclear: " + f->kind + ": " + f->what});
  shrink_graph(Kind::graph, seed, generate_graph(seed), *f);
}

void FuzzSession::shrink_graph(Kind kind, uint64_t seed, GraphCase c, Failure f) {
  Found found{kind, seed, f, "", ""};
  Check check = Check::decode(f.check);
  auto fails = [&](const GraphCase& candidate) {
    std::optional<Failure> again = check_in_sandbox(candidate, check);
    return again && again->same_fault(f);
  };
  // What is only the plain road's fault is shown on it.
  Check simpler = check;
  auto try_simpler = [&](auto change) {
    Check next = simpler;
    change(next);
    std::optional<Failure> again = check_in_sandbox(c, next);
    if (again && again->same_fault(f)) simpler = next;
  };
  if (!check.text) {
    try_simpler([](Check& k) { k.fewer_rows = false; });
    try_simpler([](Check& k) { k.route.split_all = false; });
    try_simpler([](Check& k) { k.route.regions = {}; });
    try_simpler([](Check& k) { k.route.capacity = 0; });
    if (f.kind != "threads") try_simpler([](Check& k) { k.other_threads = 0; });
    for (size_t i = simpler.route.passes.size(); i-- > 0;) try_simpler([&](Check& k) { k.route.passes.erase(k.route.passes.begin() + long(i)); });
    try_simpler([](Check& k) { k.route.layouts.clear(); });
    for (size_t i = simpler.rules.size(); i-- > 0;) try_simpler([&](Check& k) { k.rules.erase(k.rules.begin() + long(i)); });
  }
  check = simpler;
  int64_t same = std::count_if(found_.begin(), found_.end(), [&](const Found& o) { return o.failure.kind == f.kind && o.failure.what == f.what && o.failure.check == check.encode(); });
  if (options_.shrink && same < 5) {
    ReduceOptions limits;
    limits.seconds = options_.shrink_seconds;
    c = reduce_case(std::move(c), fails, limits);
  }
  if (std::optional<Failure> last = check_in_sandbox(c, check)) f = *last;
  f.check = check.encode();
  std::set<std::string> ops;
  for (const Node& n : c.graph.nodes())
    if (op_class(n.op) != OpClass::leaf) ops.insert(std::string(op_name(n.op)));
  std::string road = f.check.substr(0, f.check.find(" level="));
  found.failure = f;
  const char* of = kind == Kind::program ? "program" : "graph";
  found.group = fmt::format("{}: {} ({}) on [{}] with {}", of, f.kind, f.kind == "difference" ? "value" : f.what, road, c.graph.size() < 25 ? fmt::format("{}", fmt::join(ops, ",")) : "a large graph");
  std::filesystem::create_directories(options_.out);
  found.file = fmt::format("{}/{}-{}.nnir", options_.out, of, seed);
  std::string remarks = fmt::format("{}: {}\nseed {}, route {}\n{} --replay {} --route \"{}\"\n", f.kind, f.detail, seed, f.check, options_.command, found.file, f.check);
  std::ofstream(found.file) << print_case(c, nullptr, remarks);
  report(found);
}

void FuzzSession::report(Found found) {
  ++groups_[found.group];
  if (groups_[found.group] <= 3) {
    fmt::print("FAILED seed {}: {}\n  {}\n  route: {}\n", found.seed, found.group, found.failure.detail, found.failure.check);
    if (!found.file.empty()) {
      bool nnir = found.file.ends_with(".nnir");
      fmt::print("  {} --replay {}{}\n", options_.command, found.file, nnir ? fmt::format(" --route \"{}\"", found.failure.check) : "");
    }
    std::fflush(stdout);
  }
  found_.push_back(std::move(found));
}

std::string FuzzSession::summary() const {
  std::string text = fmt::format("{} graphs and {} programs in {:.0f} s: {:.2f} per second\n", graphs_, programs_, seconds_, double(graphs_ + programs_) / std::max(seconds_, 1e-3));
  text += coverage_.report();
  if (found_.empty()) return text + "no failures\n";
  text += fmt::format("{} failures in {} groups:\n", found_.size(), groups_.size());
  for (const auto& [group, count] : groups_) {
    auto first = std::find_if(found_.begin(), found_.end(), [&](const Found& f) { return f.group == group; });
    text += fmt::format("  {:4} x {}: seed {}{}\n", count, group, first->seed, first->file.empty() ? "" : ", " + first->file);
  }
  return text;
}

GraphCase read_case(const std::string& text, const std::string& path) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse_graph(sources, sources.add(path, text), diagnostics);
  if (!graph) throw std::runtime_error(diagnostics.items().empty() ? path + ": no graph" : render_text(diagnostics.items().front(), sources, false));
  std::optional<Bindings> values = parse_case_values(text, *graph, path);
  std::mt19937_64 random(1);
  return {*graph, values ? *values : random_bindings(*graph, 5, random)};
}

std::vector<Failure> replay(const std::string& path, const std::vector<Check>& chosen) {
  std::string text = read_text_file(path);
  if (path.size() > 3 && path.compare(path.size() - 3, 3, ".nn") == 0) return replay_program(path, text);
  GraphCase c = read_case(text, path);
  std::vector<Check> checks = chosen.empty() ? every_check(c.graph) : chosen;
  // All in one child; one by one if something fails, so that each failure has its route.
  std::vector<Failure> failures;
  if (!outcome(in_sandbox([&] { return encode(run_checks(c, checks)); }))) return failures;
  for (const Check& check : checks)
    if (auto f = check_in_sandbox(c, check)) {
      f->check = check.encode();
      failures.push_back(*f);
    }
  return failures;
}

}  // namespace nnc::fuzz
