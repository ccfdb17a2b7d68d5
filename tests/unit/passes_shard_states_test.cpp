// Optimiser states in parts, in the interpreter of programs: each worker has room for its own elements alone, and what all of them make of theirs is together the update of the whole.
#include "passes/shard_states.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "ir/program_interpreter.h"
#include "tests/program_text.h"
#include "tests/unit/passes_stages_fixture.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// The programs of all stages of a step, the last one's values to begin with, and those of each stage.
struct Step {
  std::vector<Program> programs;
  std::vector<Bindings> bindings;  ///< by stage
  const Program& last() const { return programs.back(); }
};

/// `turned`: persistents of these dimensions stand in memory by columns.
Step make_step(const std::string& using_clause, const std::string& definitions = "", const Shape& turned = {}) {
  const StepStages stages = dense_stages(using_clause, definitions);
  Layouts layouts;
  for (const Persistent& p : stages.last.persistents) layouts[p.name] = !turned.empty() && p.type.shape == turned ? std::vector<int>{1, 0} : std::vector<int>{};
  Step step;
  auto add = [&](const Graph& graph, const std::string& name, int64_t rows) {
    step.programs.push_back(build_program(graph, {name, 8, target_with_level(VectorLevel::avx2), layouts}));
    step.bindings.push_back(random_bindings(graph, rows, 3));
    for (auto& [persistent, tensor] : step.bindings.back().persistents)
      for (double& v : tensor.values) v = std::abs(v);
  };
  for (size_t i = 0; i < stages.shares.size(); ++i) add(stages.shares[i].graph, "share" + std::to_string(i), 5);
  add(stages.last, "last", 1);
  return step;
}

/// A worker's programs, and what is said of persistents.
struct Worker {
  std::vector<Program> programs;
  std::vector<OwnedRange> owned;
};

Worker share_out(std::vector<Program> programs, int worker, int workers) {
  Worker result{std::move(programs), {}};
  result.owned = shard_updates(result.programs.back(), worker, workers);
  shard_states(result.programs, result.owned, worker);
  return result;
}

/// All stages have each persistent at one place, and room for what is here of it; one stands behind the other.
void check_places(const Worker& worker) {
  const Program& last = worker.programs.back();
  for (const Program& stage : worker.programs) {
    INFO(stage.name);
    CHECK(stage.persistent_bytes == last.persistent_bytes);
    CHECK(verify_program(stage).empty());
    REQUIRE(stage.persistents.size() == last.persistents.size());
    int64_t end = 0;
    for (const PersistentPlace& here : stage.persistents) {
      INFO(here.persistent.name);
      const PersistentPlace& there = place_of(last, here.persistent.name);
      const Buffer& buffer = stage[here.buffer];
      CHECK(here.part == there.part);
      CHECK(buffer.offset == last[there.buffer].offset);
      CHECK(buffer.offset == end);
      const int64_t elements = here.part ? here.part->end - here.part->begin : here.persistent.type.elements(1);
      CHECK(buffer.bytes == elements * int64_t(byte_size(buffer.dtype)));
      end += (buffer.bytes + 63) / 64 * 64;
    }
    CHECK(stage.persistent_bytes == end);
  }
}

std::set<std::string> names_in_parts(const Worker& worker) {
  std::set<std::string> names;
  for (const OwnedRange& o : worker.owned)
    if (o.in_parts) names.insert(o.name);
  return names;
}

/// Checks the programs of so many workers; returns the names of what is in parts.
std::set<std::string> check_workers(const Step& step, int workers) {
  INFO(workers << " workers");
  const Results whole = interpret_program(step.last(), step.bindings.back());
  constexpr double nobody = std::numeric_limits<double>::quiet_NaN();
  std::set<std::string> names;
  std::map<std::string, std::vector<double>> joined;
  std::map<std::string, std::vector<int>> owners;
  for (int w = 0; w < workers; ++w) {
    INFO("worker " << w);
    const Worker worker = share_out(step.programs, w, workers);
    check_places(worker);
    if (w == 0) names = names_in_parts(worker);
    CHECK(names_in_parts(worker) == names);
    // What others have is not here, and no stage looks for it.
    std::vector<Bindings> bindings = step.bindings;
    for (const OwnedRange& o : worker.owned) {
      INFO(o.name);
      const PersistentPlace& place = place_of(worker.programs.back(), o.name);
      CHECK(place.part.has_value() == o.in_parts);
      if (!o.in_parts) continue;
      CHECK(place.part->begin == o.begins[size_t(w)]);
      CHECK(place.part->end == o.begins[size_t(w) + 1]);
      const std::vector<size_t> elements = elements_in_memory(worker.programs.back(), o.name);
      owners.try_emplace(o.name, elements.size(), 0);
      for (size_t at = 0; at < elements.size(); ++at) {
        const bool is_here = int64_t(at) >= place.part->begin && int64_t(at) < place.part->end;
        owners[o.name][at] += is_here;
        if (!is_here)
          for (Bindings& b : bindings) b.persistents.at(o.name).values[elements[at]] = nobody;
      }
    }
    // Share stages make what they make of the whole.
    for (size_t s = 0; s + 1 < step.programs.size(); ++s) {
      const Results expected = interpret_program(step.programs[s], step.bindings[s]), found = interpret_program(worker.programs[s], bindings[s]);
      for (const auto& [name, tensor] : expected.outputs) CHECK(found.outputs.at(name).values == tensor.values);
      for (const auto& [name, tensor] : expected.updates)
        if (!names.contains(name)) CHECK(found.updates.at(name).values == tensor.values);
    }
    const Results share = interpret_program(worker.programs.back(), bindings.back());
    for (const auto& [name, tensor] : whole.outputs) CHECK(share.outputs.at(name).values == tensor.values);
    for (const OwnedRange& o : worker.owned) {
      if (!o.updated) continue;
      INFO(o.name);
      const std::vector<size_t> elements = elements_in_memory(worker.programs.back(), o.name);
      joined.try_emplace(o.name, elements.size(), nobody);
      for (int64_t at = o.begins[size_t(w)]; at < o.begins[size_t(w) + 1]; ++at) joined[o.name][elements[size_t(at)]] = share.updates.at(o.name).values[elements[size_t(at)]];
    }
  }
  for (const auto& [name, times] : owners) {
    INFO(name);
    CHECK(times == std::vector<int>(times.size(), 1));  // each element has one owner
  }
  for (const auto& [name, values] : joined) {
    INFO(name);
    CHECK(values == whole.updates.at(name).values);
  }
  return names;
}

/// The optimiser's states of layers, as the step has them.
std::set<std::string> states_of(const Step& step) {
  std::set<std::string> names;
  for (const PersistentPlace& p : step.last().persistents)
    if (p.persistent.kind == PersistentKind::optimizer_state && p.persistent.type.rank() > 0) names.insert(p.persistent.name);
  return names;
}

/// w, of so many elements, and a state m: m <- 0.5 m + partial.0, w <- w - m. A share stage gives partial.0; what else the two stages do, behind that and before, and with what, stands in the texts.
std::vector<Program> small_step(int64_t elements, const std::string& in_share = "", const std::string& in_last = "", const std::string& buffer = "") {
  auto up = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  const int64_t bytes = 4 * elements;
  const std::string head = fmt::format(
      "  target any portable, 4 rows planned\n  arena 0 bytes, persistent {4} bytes\n\n"
      "  persistent \"m\" : f32[{0}] at 0, {1} bytes, optimizer_state\n  persistent \"w\" : f32[{0}] at {2}, {1} bytes\n"
      "  persistent \"partial.0\" : f32[{0}] at {3}, {1} bytes, partial\n",
      elements, bytes, up(bytes), 2 * up(bytes), 3 * up(bytes));
  const std::string share = "program @share {\n" + head + (in_share.empty() ? "" : buffer) +
                            fmt::format("\n  kernel part  # one thread, after a barrier\n    for i < {}:\n      v0 = load w[i] : f32\n      partial.0[i] <- v0 : f32\n", elements) + in_share + "}\n";
  const std::string last = "program @last {\n" + head + (in_last.empty() ? "" : buffer) + "\n" + in_last +
                           fmt::format("  kernel update  # one thread, after a barrier\n    for i < {}:\n      v0 = load m[i] : f32\n      v1 = load partial.0[i] : f32\n      v2 = constant 0.5 : f32\n"
                                       "      v3 = mul(v0, v2) : f32\n      v4 = add(v3, v1) : f32\n      m[i] <- v4 : f32\n      v5 = load w[i] : f32\n      v6 = sub(v5, v4) : f32\n      w[i] <- v6 : f32\n",
                                       elements) + "}\n";
  return {program_of(share), program_of(last)};
}

}  // namespace

TEST_CASE("states of each rule are in parts, which together are the whole", "[shard_states]") {
  const char* rules[] = {"sgd(lr: 0.5, momentum: 0.5)", "adam(lr: 0.5)", "adamw(lr: 0.5), clip_norm: 0.5", "rmsprop(lr: 0.5, centered: true)", "sgd(lr: step_decay(0.5, every: 2), momentum: 0.5, nesterov: true)",
                         "adam(lr: cosine(0.5, total: 20, warmup: 3))"};
  for (const char* rule : rules) {
    INFO(rule);
    const Step step = make_step(rule);
    const std::set<std::string> states = states_of(step);
    CHECK(states.size() % 4 == 0);
    CHECK(states.size() >= 4);
    for (int workers : {2, 3, 4, 7}) CHECK(check_workers(step, workers) == states);
  }
}

TEST_CASE("one worker's states stay as they are", "[shard_states]") {
  const Step step = make_step("adam(lr: 0.5)");
  check_workers(step, 1);
}

TEST_CASE("parts are of the order in memory", "[shard_states]") {
  const Step step = make_step("rmsprop(lr: 0.5, centered: true, momentum: 0.5)", "", {{37}, {6}});
  bool is_turned = false;
  for (const PersistentPlace& p : step.last().persistents) is_turned = is_turned || (p.persistent.kind == PersistentKind::optimizer_state && step.last()[p.buffer].order == std::vector<int>{1, 0});
  CHECK(is_turned);
  for (int workers : {2, 3, 5}) {
    CHECK(check_workers(step, workers) == states_of(step));
    const Worker worker = share_out(step.programs, 1, workers);
    for (const PersistentPlace& p : worker.programs.back().persistents)
      if (p.part) CHECK(p.part->order == step.last()[place_of(step.last(), p.persistent.name).buffer].order);
  }
}

TEST_CASE("a state of which somebody needs all is everybody's", "[shard_states]") {
  // Norms of the weights' moments are of whole tensors; `slow` is read element by element alone.
  const std::string lars = "optimizer lars(lr) {\n  state fast = 0\n  state slow = 0\n  update fast = 0.5 * fast + grad\n  update slow = 0.5 * slow + grad\n"
                           "  update value = value - lr * slow * sqrt(sum(fast^2) + 0.5)\n}\n";
  const Step step = make_step("lars(lr: 0.5)", lars);
  for (int workers : {2, 3}) {
    const std::set<std::string> names = check_workers(step, workers);
    for (const std::string& name : states_of(step)) {
      INFO(name);
      CHECK(names.contains(name) == (name.find("slow") != std::string::npos));
    }
  }
}

TEST_CASE("a state that a share stage touches is everybody's", "[shard_states]") {
  auto in_parts = [](const std::vector<Program>& programs) { return names_in_parts(share_out(programs, 1, 2)) == std::set<std::string>{"m"}; };
  const std::string loss = "  result \"loss\" : f64[] slot 0\n";
  CHECK(in_parts(small_step(100)));
  CHECK_FALSE(in_parts(small_step(100, "\n  kernel more  # one thread, after a barrier\n    v0 = load m[99] : f32\n    v1 = cast(v0) : f64\n    loss[0] <- v1 : f64\n", "", loss)));
  // So is one that the last stage reads in another way than its update does.
  CHECK_FALSE(in_parts(small_step(100, "", "  kernel first  # one thread, after a barrier\n    v0 = load m[99] : f32\n    v1 = cast(v0) : f64\n    loss[0] <- v1 : f64\n\n", loss)));
}

TEST_CASE("what follows a state in parts moves up, and accesses count from the first element that is here", "[shard_states]") {
  const std::vector<Program> whole = small_step(100);
  // Of 100 elements the second of three workers has those from 32 to 64: whole cache lines.
  const Worker worker = share_out(whole, 1, 3);
  for (const Program& stage : worker.programs) {
    const PersistentPlace& m = place_of(stage, "m");
    REQUIRE(m.part);
    CHECK(*m.part == PersistentPart{32, 64, {}});
    CHECK(stage[m.buffer].shape == Shape{{32}});
    CHECK(stage[m.buffer].bytes == 128);
    CHECK(stage[place_of(stage, "w").buffer].offset == 128);
    CHECK(stage[place_of(stage, "partial.0").buffer].offset == 128 + 448);
    CHECK(stage.persistent_bytes == 128 + 2 * 448);
  }
  const std::string text = print_program(worker.programs.back(), nullptr);
  CHECK_THAT(text, contains("persistent \"m\" : f32[32] at 0, 128 bytes, optimizer_state, from 32 of f32[100]\n"));
  CHECK_THAT(text, contains("load m[i] : f32"));
  CHECK_THAT(text, contains("m[i] <- v4 : f32"));
  CHECK_THAT(text, contains("w[i + 32] <- v6 : f32"));
}

TEST_CASE("fewer elements than workers", "[shard_states]") {
  // A cache line at least belongs to one worker: the last has it, and the others have room for nothing.
  for (int64_t elements : {1, 3, 15}) {
    const std::vector<Program> whole = small_step(elements);
    Step step{whole, {}};
    for (size_t s = 0; s < 2; ++s) {
      Bindings b;
      b.rows = 4;
      for (const char* name : {"m", "w", "partial.0"}) {
        Tensor t = make_tensor(DType::f32, {elements});
        for (size_t i = 0; i < t.values.size(); ++i) t.values[i] = double(i + 1) + name[0];
        b.persistents[name] = t;
      }
      step.bindings.push_back(b);
    }
    for (int workers : {2, 4, 7}) {
      CHECK(check_workers(step, workers) == std::set<std::string>{"m"});
      for (int w = 0; w < workers; ++w) {
        const Worker worker = share_out(whole, w, workers);
        const PersistentPlace& m = place_of(worker.programs.back(), "m");
        CHECK(m.part->end - m.part->begin == (w + 1 < workers ? 0 : elements));
      }
    }
  }
}
