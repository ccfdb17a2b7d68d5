// Routes drawn, routes as text, and the run.
#include "tests/fuzz/checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "verify/rounding.h"
#include "passes/pipeline.h"
#include "passes/simplify.h"

namespace nnc::fuzz {
namespace {

const std::vector<std::string>& graph_rewrites() {
  static const std::vector<std::string> names{"simplify", "fold", "cse", "dead_code", "erase_stop_gradient"};
  return names;
}
const std::vector<std::string>& fusions() {
  static const std::vector<std::string> names{"fuse_contractions", "sink_updates", "fuse_rows"};
  return names;
}

// Rewrites in any order and number, then fusions in any order: what the passes' headers allow once gradients are there.
std::vector<std::string> shuffled_passes(Random& random) {
  std::vector<std::string> passes;
  for (int i = random.between(1, 8); i > 0; --i) passes.push_back(random.pick(graph_rewrites()));
  std::vector<std::string> fuse = fusions();
  random.shuffle(fuse);
  fuse.resize(size_t(random.between(0, 3)));
  passes.insert(passes.end(), fuse.begin(), fuse.end());
  return passes;
}

Check shared(const Sharing& sharing, VectorLevel level) {
  Check c;
  c.sharing = sharing;
  c.route.level = level;
  return c;
}

Check with(std::vector<std::string> passes, Executor executor) {
  Check c;
  c.route.passes = std::move(passes);
  c.route.executor = executor;
  return c;
}

// Persistents in orders that another program may have chosen for them.
Layouts random_layouts(Random& random, const Graph& graph) {
  Layouts layouts;
  for (const Persistent& p : graph.persistents) {
    if (p.type.rank() < 2 || random.chance(40)) continue;
    std::vector<int> order;
    for (int i = 0; i < p.type.rank(); ++i) order.push_back(i);
    random.shuffle(order);
    layouts[p.name] = order;
  }
  return layouts;
}

// Parallel regions of rounds small enough for small graphs, with scores kept or computed again.
RegionOptions small_regions(bool kept, int64_t queries) { return {kept ? std::numeric_limits<int64_t>::max() : 0, 0, queries}; }
RegionOptions small_regions(Random& random) {
  const bool kept = random.chance(50);
  return small_regions(kept, random.pick({2, 3, 4, 16}));
}

std::string executor_word(Executor c) {
  return c == Executor::graph_interpreter ? "graph" : c == Executor::program_interpreter ? "program" : "compiled";
}

}  // namespace

std::vector<VectorLevel> host_levels() {
  std::vector<VectorLevel> levels;
  for (VectorLevel l : {VectorLevel::portable, VectorLevel::avx2, VectorLevel::avx512})
    if (l <= host_target().level) levels.push_back(l);
  return levels;
}

std::vector<Check> checks_for(Random& random, const Graph& graph) {
  std::vector<Check> checks;
  Check text;
  text.text = true;
  checks.push_back(text);
  // 64 bits: each rewrite alone, every rule alone (a few at a time), orders; lowering with and without passes.
  for (const std::string& p : graph_rewrites()) checks.push_back(with({p}, Executor::graph_interpreter));
  Check rules = with({}, Executor::graph_interpreter);
  for (int i = 0; i < 4; ++i) rules.rules.emplace_back(simplify_rules()[size_t(random.below(int(simplify_rules().size())))].name);
  checks.push_back(rules);
  checks.push_back(with(shuffled_passes(random), Executor::graph_interpreter));
  checks.push_back(with({}, Executor::program_interpreter));
  checks.push_back(with({random.pick(fusions())}, Executor::program_interpreter));
  checks.push_back(with(shuffled_passes(random), Executor::program_interpreter));
  checks.push_back(with(Route::optimized().passes, Executor::program_interpreter));
  Check ordered = checks.back();
  ordered.route.layouts = random_layouts(random, graph);
  checks.push_back(ordered);
  checks.push_back(with(Route::optimized().passes, Executor::program_interpreter));
  checks.back().route.regions = small_regions(random);
  // Compiled: the default passes always, one more road, and often threads.
  auto decorate = [&](Check c) {
    c.route.executor = Executor::compiled;
    c.route.level = random.pick(host_levels());
    if (random.chance(50)) c.route.capacity = -random.pick({0, 1, 3, 13, 40});  // more than the rows: see run_checks
    c.fewer_rows = random.chance(50);
    c.route.split_all = random.chance(40);
    if (random.chance(c.route.split_all ? 80 : 30)) c.other_threads = random.pick({2, 3, 4, 7});
    if (random.chance(15)) c.route.layouts = random_layouts(random, graph);
    if (random.chance(40)) c.route.regions = small_regions(random);
    return c;
  };
  checks.push_back(decorate(with(Route::optimized().passes, Executor::compiled)));
  if (random.chance(70)) checks.push_back(decorate(with(random.chance(50) ? std::vector<std::string>{} : shuffled_passes(random), Executor::compiled)));
  if (random.chance(30)) checks.push_back(decorate(with({random.chance(50) ? random.pick(graph_rewrites()) : random.pick(fusions())}, Executor::compiled)));
  if (!graph.updates.empty() && random.chance(60)) {
    const Sharing sharing = random_sharing(random);
    checks.push_back(shared(sharing, random.pick(host_levels())));
  }
  return checks;
}

std::vector<Check> every_check(const Graph& graph) {
  std::vector<Check> checks;
  Check text;
  text.text = true;
  checks.push_back(text);
  for (const std::string& p : graph_rewrites()) checks.push_back(with({p}, Executor::graph_interpreter));
  for (const SimplifyRule& rule : simplify_rules()) {
    Check c = with({}, Executor::graph_interpreter);
    c.rules = {std::string(rule.name)};
    checks.push_back(c);
  }
  std::vector<std::vector<std::string>> roads{{}, Route::optimized().passes};
  for (const std::string& p : graph_rewrites()) roads.push_back({p});
  for (const std::string& p : fusions()) roads.push_back({p});
  roads.push_back({"fuse_rows", "fuse_contractions", "sink_updates"});
  roads.push_back({"sink_updates", "fuse_rows", "fuse_contractions"});
  Random random(1, "every check");
  for (int i = 0; i < 6; ++i) roads.push_back(shuffled_passes(random));
  for (const auto& road : roads) checks.push_back(with(road, Executor::program_interpreter));
  for (const auto& road : roads) {
    checks.push_back(with(road, Executor::compiled));
    checks.back().route.level = host_levels().back();
  }
  // Persistents back to front, as another program may have laid them out.
  Check ordered = with(Route::optimized().passes, Executor::program_interpreter);
  for (const Persistent& p : graph.persistents)
    for (int axis = p.type.rank(); axis-- > 0;) ordered.route.layouts[p.name].push_back(axis);
  checks.push_back(ordered);
  ordered.route.executor = Executor::compiled;
  checks.push_back(ordered);
  checks.push_back(with(Route::optimized().passes, Executor::compiled));
  for (VectorLevel level : host_levels()) {
    Check c = checks.back();
    c.route.level = level;
    c.route.capacity = -5;
    c.fewer_rows = true;
    c.route.split_all = true;
    c.other_threads = 3;
    checks.push_back(c);
    for (bool kept : {true, false}) {
      c.route.regions = small_regions(kept, 4);
      checks.push_back(c);
    }
  }
  if (graph.updates.empty()) return checks;
  for (const Sharing& sharing : {Sharing{2, 1, 2, 0, 1}, {3, 1, 7, 1, 2}, {1, 3, 3, 0, 1}, {4, 2, 9, 0, 1}, {6, 1, 6, 3, 1}}) checks.push_back(shared(sharing, host_levels().back()));
  return checks;
}

std::string Check::encode() const {
  if (text) return "text";
  if (sharing.workers > 0) return fmt::format("{} level={}", sharing.encode(), vector_level_name(route.level));
  std::string s = "executor=" + executor_word(route.executor);
  if (!rules.empty()) s += fmt::format(" rules={}", fmt::join(rules, ","));
  if (!route.passes.empty()) s += fmt::format(" passes={}", fmt::join(route.passes, ","));
  if (route.executor == Executor::compiled) s += fmt::format(" level={}", vector_level_name(route.level));
  if (route.capacity != 0) s += fmt::format(" capacity={}", route.capacity);
  if (route.split_all) s += " split_all";
  if (route.regions.round_flops == 0) s += fmt::format(" regions={},{}", route.regions.queries, route.regions.kept_bytes == 0 ? "again" : "kept");
  if (route.threads != 1) s += fmt::format(" threads={}", route.threads);
  if (other_threads) s += fmt::format(" other_threads={}", other_threads);
  if (fewer_rows) s += " fewer_rows";
  for (const auto& [name, order] : route.layouts) s += fmt::format(" layout:{}={}", name, fmt::join(order, ","));
  return s;
}

Check Check::decode(const std::string& encoded) {
  Check c;
  auto list = [](const std::string& text) {
    std::vector<std::string> words;
    std::istringstream in(text);
    for (std::string w; std::getline(in, w, ',');) words.push_back(w);
    return words;
  };
  std::istringstream in(encoded);
  for (std::string word; in >> word;) {
    size_t equals = word.find('=');
    std::string key = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "text") c.text = true;
    else if (c.sharing.take(key, value)) continue;
    else if (key == "executor" && value == "graph") c.route.executor = Executor::graph_interpreter;
    else if (key == "executor" && value == "program") c.route.executor = Executor::program_interpreter;
    else if (key == "executor" && value == "compiled") c.route.executor = Executor::compiled;
    else if (key == "rules") c.rules = list(value);
    else if (key == "passes") c.route.passes = list(value);
    else if (key == "level" && parse_vector_level(value)) c.route.level = *parse_vector_level(value);
    else if (key == "capacity") c.route.capacity = std::stoll(value);
    else if (key == "split_all") c.route.split_all = true;
    else if (key == "regions" && list(value).size() == 2) c.route.regions = small_regions(list(value)[1] == "kept", std::stoll(list(value)[0]));
    else if (key == "threads") c.route.threads = std::stoi(value);
    else if (key == "other_threads") c.other_threads = std::stoi(value);
    else if (key == "fewer_rows") c.fewer_rows = true;
    else if (key.rfind("layout:", 0) == 0)
      for (const std::string& axis : list(value)) c.route.layouts[key.substr(7)].push_back(std::stoi(axis));
    else throw std::runtime_error(fmt::format("`{}` is not part of a route", word));
  }
  return c;
}

namespace {

// The first rows of every input.
Bindings first_rows(const Graph& graph, const Bindings& all, int64_t rows) {
  Bindings b = all;
  b.rows = rows;
  for (const Node& n : graph.nodes()) {
    if (n.op != Op::input || !n.type.has_rows()) continue;
    Tensor& t = b.inputs[n.attributes.text];
    t.shape = shape_at(n.type, rows);
    t.values.resize(size_t(element_count(t.shape)));
  }
  return b;
}

std::string first_words(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  return line.substr(0, 160);
}

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

std::optional<std::string> different_bits(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  for (const auto& [name, t] : a)
    for (size_t i = 0; i < t.values.size(); ++i)
      if (!same_bits(t.values[i], b.at(name).values[i])) return fmt::format("{} at {}: {} and {}", name, i, t.values[i], b.at(name).values[i]);
  return std::nullopt;
}

class Runner {
 public:
  Runner(const GraphCase& c, Coverage* coverage) : case_(c), coverage_(coverage), model_(c.graph, c.bindings) {}

  std::optional<Failure> run(const Check& check) {
    Failure f;
    f.check = check.encode();
    try {
      return check.text ? run_text(f) : check.sharing.workers > 0 ? run_shared(check, f) : run_route(check, f);
    } catch (const InternalError& e) {
      f.kind = "exception";
      f.what = first_words(e.what());
      f.detail = e.what();
    } catch (const UserError& e) {
      f.kind = "exception";
      f.what = fmt::format("{}: {}", code_name(e.diagnostic().code), e.diagnostic().message);
      f.detail = f.what;
    } catch (const std::exception& e) {
      f.kind = "exception";
      f.what = first_words(e.what());
      f.detail = e.what();
    }
    return f;
  }

 private:
  std::optional<Failure> run_text(Failure f) {
    std::string text = print_graph(case_.graph, nullptr, {false, true});
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<Graph> again = parse_graph(sources, sources.add("case.nnir", text), diagnostics);
    f.kind = "exception";
    f.what = "text";
    if (!again) {
      f.detail = "what was printed cannot be read: " + (diagnostics.items().empty() ? std::string() : diagnostics.items().front().message);
      return f;
    }
    if (print_graph(*again, nullptr, {false, true}) == text) return std::nullopt;
    f.detail = "what was printed reads as another graph";
    return f;
  }

  std::optional<Failure> run_shared(const Check& check, const Failure& begun) {
    std::optional<Failure> f = run_shared_graph(case_, check.sharing, check.route.level, coverage_);
    if (f) f->check = begun.check;
    return f;
  }

  std::optional<Failure> run_route(const Check& check, Failure f) {
    Graph graph = case_.graph;
    for (const std::string& rule : check.rules) simplify_with(graph, rule);
    Route route = check.route;
    int64_t rows = case_.bindings.rows;
    if (route.capacity < 0) route.capacity = rows - route.capacity;
    route.capacity = std::max(route.capacity, rows);
    RoutedGraph routed(std::move(graph), route, rows);
    if (coverage_ && routed.program()) coverage_->add_program(*routed.program());
    Precision precision = route.executor == Executor::compiled ? Precision::f32 : Precision::f64;
    Results found = routed.run(case_.bindings);
    if (auto d = model_.compare(found, precision).difference) return difference(f, *d, "");
    if (check.fewer_rows && rows > 1) {
      Bindings fewer = first_rows(case_.graph, case_.bindings, fewer_rows_than(rows));
      RoundingModel model(case_.graph, fewer);
      if (auto d = model.compare(routed.run(fewer), precision).difference) return difference(f, *d, fmt::format(" with {} rows", fewer.rows));
      if (auto d = model_.compare(routed.run(case_.bindings), precision).difference) return difference(f, *d, " when run again with all rows");
    }
    if (check.other_threads) {
      routed.use_threads(check.other_threads);
      Results others = routed.run(case_.bindings);
      auto where = different_bits(found.outputs, others.outputs);
      if (!where) where = different_bits(found.updates, others.updates);
      if (where) {
        f.kind = "threads";
        f.what = fmt::format("{} and {} threads", route.threads, check.other_threads);
        f.detail = fmt::format("{} threads and {} give different bits: {}", route.threads, check.other_threads, *where);
        return f;
      }
    }
    return std::nullopt;
  }

  std::optional<Failure> difference(Failure f, const Difference& d, const std::string& when) {
    f.kind = "difference";
    f.what = d.update ? "an update" : "an output";
    f.detail = fmt::format("{} {} at {} is {:.9g} instead of {:.9g}{}", d.update ? "update" : "output", d.name, d.index, d.found, d.expected, when);
    return f;
  }

  const GraphCase& case_;
  Coverage* coverage_;
  RoundingModel model_;
};

}  // namespace

std::optional<Failure> run_check(const GraphCase& c, const Check& check, Coverage* coverage) { return Runner(c, coverage).run(check); }

std::optional<Failure> run_checks(const GraphCase& c, const std::vector<Check>& checks, Coverage* coverage) {
  Runner runner(c, coverage);
  for (const Check& check : checks)
    if (auto f = runner.run(check)) return f;
  return std::nullopt;
}

}  // namespace nnc::fuzz
