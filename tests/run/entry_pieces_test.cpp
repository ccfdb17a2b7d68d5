// Sums by entries of a table where the rows of the batch are cut into pieces, of which an entry has places in one, in some or in all: to the bit what a plain loop over the pieces gives,
// for tables of f32 and f64, rules that keep states and such that leave entries alone, short batches, shares of a batch, any number of threads and every vector level.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <set>

#include "codegen/codegen.h"
#include "tests/run/entry_sums_case.h"
#include "tests/run/guarded_step.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;
using namespace nnc::test::entries;

TEST_CASE("sums by entries add up piece by piece, to the bit, and pieces that do not name an entry change nothing") {
  int64_t in_one = 0, in_some = 0, in_all = 0, passed_over = 0, order_shows = 0, left_out = 0;
  for (uint64_t seed = 1000; seed < 1080; ++seed) {
    std::mt19937_64 random(seed);
    auto pick = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    Case c;
    c.entries = pick(0, 2) == 0 ? pick(1, 3) : pick(1, 60);
    c.width = pick(0, 2) == 0 ? pick(1, 4) : pick(1, 40);
    c.places = pick(1, 4);
    c.rule = Rule(seed % 6);
    c.padded = pick(0, 3) == 0;
    c.padding = pick(0, c.entries - 1);
    c.turned = pick(0, 4) == 0;
    c.places_last = pick(0, 2) == 0;
    c.cancels = true;
    c.type = pick(0, 2) == 0 ? DType::f64 : DType::f32;
    c.piece = pick(1, 9);
    const int64_t planned = pick(1, 70);
    c.rows = pick(0, 2) == 0 ? planned : pick(1, planned);
    if (pick(0, 2) == 0) c.whole = planned * pick(1, 3);
    const Bindings values = make_values(c, random, c.rows);
    const Results expected = expected_step(c, values);
    const std::vector<double>& index = values.inputs.at("index").values;
    auto rounded = [&](double sum) { return c.type == DType::f64 ? sum : double(float(sum)); };
    for (int64_t e = 0; e < c.entries; ++e) {
      std::set<int64_t> named;
      for (size_t p = 0; p < index.size(); ++p)
        if (index[p] == double(e)) named.insert(int64_t(p) / c.places / c.piece);
      const int64_t pieces = (c.rows + c.piece - 1) / c.piece;
      if (pieces < 2 || named.empty()) continue;
      const int64_t across = *named.rbegin() - *named.begin() + 1;
      (named.size() == 1 ? in_one : int64_t(named.size()) == pieces ? in_all : in_some) += 1;
      passed_over += across > int64_t(named.size());
      for (int64_t d = 0; d < c.width; ++d)
        order_shows += rounded(join_pieces(sums_of_pieces(c, values, c.piece, e, d))) != rounded(sums_of_pieces(c, values, 0, e, d).front());
    }
    for (VectorLevel level : host_levels()) {
      const Target target = target_with_level(level);
      Program program = plan(c, target, planned);
      INFO(fmt::format("seed {}: {} x {} of {}, {} of {} rows of {} places in pieces of {}, rule {}, {}", seed, c.entries, c.width, to_string(Type{c.type, {}}), c.rows, planned, c.places, c.piece,
                       int(c.rule), vector_level_name(target.level)));
      left_out += leaves_out(program);
      for (int threads : {1, 3}) {
        if (threads == 3) split_all(program);
        REQUIRE(verify_program(program) == std::vector<std::string>{});
        std::optional<Results> found = GuardedStep(program, Placement::planned).run(values, {threads, 1, 0, 0});
        REQUIRE(found);
        CHECK(first_difference(*found, expected) == "");
      }
    }
  }
  CHECK(in_one > 150);
  CHECK(in_some > 100);
  CHECK(in_all > 40);
  CHECK(passed_over > 80);
  CHECK(order_shows > 200);
  CHECK(left_out > 40);
}

TEST_CASE("pieces are those of the whole batch, whoever has them") {
  // Where nobody says: at least 128 rows to each, as many as a power of two.
  for (auto [planned, whole, piece] : {std::array<int64_t, 3>{300, 0, 150}, {300, 1200, 150}, {300, 600, 150}, {130, 1040, 130}, {300, 2400, 150}}) {
    Case c;
    c.entries = 5;
    c.width = 9;
    c.places = 2;
    c.rule = Rule::momentum;
    c.cancels = true;
    c.whole = whole;
    std::mt19937_64 random(uint64_t(planned + whole));
    const Bindings values = make_values(c, random, planned);
    Program program = plan(c, host_target(), planned);
    std::optional<Results> found = GuardedStep(program, Placement::planned).run(values);
    REQUIRE(found);
    c.piece = piece;
    CHECK(first_difference(*found, expected_step(c, values)) == "");
  }
  // Shares of four pieces each, by themselves, and joined: the bits of all eight.
  Case c;
  c.entries = 7;
  c.width = 12;
  c.places = 3;
  c.rule = Rule::plain;
  c.cancels = true;
  c.type = DType::f64;
  c.piece = 5;
  c.whole = 40;
  std::mt19937_64 random(3);
  Bindings all = make_values(c, random, 40);
  for (double& x : all.persistents.at("table").values) x = 0;
  auto part_of = [&](int64_t begin, int64_t end) {
    Bindings part = all;
    part.rows = end - begin;
    for (auto& [name, tensor] : part.inputs) {
      const int64_t row = int64_t(tensor.values.size()) / all.rows;
      tensor.shape[0] = part.rows;
      tensor.values.assign(all.inputs.at(name).values.begin() + begin * row, all.inputs.at(name).values.begin() + end * row);
    }
    std::optional<Results> found = GuardedStep(plan(c, host_target(), end - begin), Placement::planned).run(part);
    REQUIRE(found);
    return found->updates.at("table").values;
  };
  const std::vector<double> whole = part_of(0, 40), first = part_of(0, 20), second = part_of(20, 40);
  bool differs = false;
  for (size_t i = 0; i < whole.size(); ++i) {
    CHECK(std::bit_cast<uint64_t>(first[i] + second[i]) == std::bit_cast<uint64_t>(whole[i]));
    const int64_t entry = int64_t(i) / c.width, column = int64_t(i) % c.width;
    differs = differs || -sums_of_pieces(c, all, 0, entry, column).front() != whole[i];
  }
  CHECK(differs);
}
