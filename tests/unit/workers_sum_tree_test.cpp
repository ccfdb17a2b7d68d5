// Sums over pieces by several workers, held against a binary counter over all pieces.
#include "runtime/workers/sum_tree.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tests/unit/catch.h"
#include "tests/workers/random_exchange.h"

using namespace nnc;
using nnc::test::counted;

namespace {

template <class T>
T add(T a, T b) {
  return a + b;
}

std::vector<float> numbers(std::mt19937& random, size_t count) {
  std::vector<float> result(count);
  for (float& x : result) x = std::ldexp(float(random() % 65536) / 65536.0f - 0.5f, int(random() % 24));
  return result;
}

/// The total of one number from each piece, where workers hold these nodes.
float total_of(const std::vector<std::vector<SumNode>>& nodes, const std::vector<float>& pieces, size_t elements = 1) {
  SumTree tree(nodes);
  REQUIRE(tree.pieces() == int64_t(pieces.size()));
  std::vector<std::vector<float>> parts;
  for (SumTree::Source source : tree.sources()) {
    SumNode node = nodes[size_t(source.rank)][size_t(source.node)];
    parts.emplace_back(elements, counted(pieces, size_t(node.first), size_t(node.end()), add<float>));
  }
  std::vector<const std::byte*> places;
  for (const auto& part : parts) places.push_back(reinterpret_cast<const std::byte*>(part.data()));
  std::vector<float> total(elements, -1.0f);
  tree.join(DType::f32, Combine::sum, places, int64_t(elements), reinterpret_cast<std::byte*>(total.data()));
  for (float x : total) REQUIRE(std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(total[0]));
  return total[0];
}

}  // namespace

TEST_CASE("any number of workers gives the bits of one, for any number of pieces") {
  std::mt19937 random(7);
  int differ = 0;
  for (int64_t pieces = 1; pieces <= 70; ++pieces)
    for (int workers = 1; workers <= 9; ++workers)
      for (int turn = 0; turn < 4; ++turn) {
        CAPTURE(pieces, workers);
        std::vector<float> values = numbers(random, size_t(pieces));
        float expected = counted(values, 0, values.size(), add<float>);
        float found = total_of(nodes_of_workers(workers, pieces), values, turn == 0 ? 1 : 2500);
        CHECK(std::bit_cast<uint32_t>(found) == std::bit_cast<uint32_t>(expected));
        float straight = 0;
        for (float x : values) straight += x;
        differ += straight != expected;
      }
  CHECK(differ > 1000);  // the order matters for these numbers
}

TEST_CASE("any lists of nodes that are all pieces together give the same bits") {
  std::mt19937 random(8);
  for (int turn = 0; turn < 3000; ++turn) {
    int64_t pieces = 1 + int64_t(random() % 70);
    CAPTURE(turn, pieces);
    std::vector<float> values = numbers(random, size_t(pieces));
    std::vector<std::vector<SumNode>> nodes(1 + random() % 9);
    // The maximal runs, some halved again and again, dealt out at random.
    std::vector<SumNode> open = nodes_of(0, pieces);
    while (!open.empty()) {
      SumNode node = open.back();
      open.pop_back();
      if (node.level > 0 && random() % 2) {
        open.push_back({node.first, node.level - 1});
        open.push_back({node.first + node.count() / 2, node.level - 1});
      } else {
        nodes[random() % nodes.size()].push_back(node);
      }
    }
    CHECK(std::bit_cast<uint32_t>(total_of(nodes, values)) == std::bit_cast<uint32_t>(counted(values, 0, values.size(), add<float>)));
  }
}

TEST_CASE("nodes are the maximal aligned runs of a contiguous run") {
  using Nodes = std::vector<SumNode>;
  CHECK(nodes_of(0, 8) == Nodes{{0, 3}});
  CHECK(nodes_of(0, 7) == Nodes{{0, 2}, {4, 1}, {6, 0}});
  CHECK(nodes_of(3, 11) == Nodes{{3, 0}, {4, 2}, {8, 1}, {10, 0}});
  CHECK(nodes_of(5, 5).empty());
  for (int64_t begin = 0; begin < 40; ++begin)
    for (int64_t end = begin; end < 70; ++end) {
      int64_t at = begin;
      Nodes nodes = nodes_of(begin, end);
      for (size_t i = 0; i < nodes.size(); ++i) {
        CHECK(nodes[i].first == at);
        CHECK(at % nodes[i].count() == 0);
        at = nodes[i].end();
        // Maximal: the run twice as long that holds it does not lie in [begin, end).
        int64_t twice = nodes[i].first / (2 * nodes[i].count()) * (2 * nodes[i].count());
        CHECK((twice < begin || twice + 2 * nodes[i].count() > end));
      }
      CHECK(at == end);
    }
}

TEST_CASE("workers have even runs of pieces in the order of ranks") {
  for (int64_t pieces : {0, 1, 3, 8, 12, 64, 70})
    for (int workers = 1; workers <= 9; ++workers) {
      CAPTURE(pieces, workers);
      int64_t at = 0, least = pieces, most = 0;
      for (int w = 0; w < workers; ++w) {
        PieceRun run = run_of(w, workers, pieces);
        CHECK(run.begin == at);
        at = run.end;
        least = std::min(least, run.end - run.begin), most = std::max(most, run.end - run.begin);
      }
      CHECK(at == pieces);
      CHECK(most - least <= 1);
    }
}

TEST_CASE("integers wrap around, NaN wins, the later of equal numbers is taken") {
  std::vector<std::vector<SumNode>> nodes = nodes_of_workers(3, 3);
  SumTree tree(nodes);
  auto join = [&]<class T>(DType type, Combine combine, std::vector<T> pieces) {
    // Long enough for whole vectors and a rest.
    const size_t count = 37;
    std::vector<std::vector<T>> parts;
    std::vector<const std::byte*> places;
    for (T x : pieces) parts.emplace_back(count, x);
    for (auto& part : parts) places.push_back(reinterpret_cast<const std::byte*>(part.data()));
    std::vector<T> total(count);
    tree.join(type, combine, places, int64_t(count), reinterpret_cast<std::byte*>(total.data()));
    for (const T& x : total) CHECK(std::memcmp(&x, &total[0], sizeof(T)) == 0);
    return total[0];
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const double wide_nan = nan;
  CHECK(join(DType::i32, Combine::sum, std::vector<int32_t>{INT32_MAX, 2, 3}) == INT32_MIN + 4);
  CHECK(join(DType::i64, Combine::sum, std::vector<int64_t>{INT64_MAX, 1, 0}) == INT64_MIN);
  CHECK(join(DType::i64, Combine::max, std::vector<int64_t>{-5, 1, -9}) == 1);
  CHECK(join(DType::i32, Combine::min, std::vector<int32_t>{-5, 1, -9}) == -9);
  CHECK(join(DType::f64, Combine::sum, std::vector<double>{0.1, 0.2, 0.3}) == (0.1 + 0.2) + 0.3);
  CHECK(join(DType::f32, Combine::max, std::vector<float>{1, 7, 3}) == 7);
  CHECK(join(DType::f64, Combine::min, std::vector<double>{4, 7, 3}) == 3);
  for (int place = 0; place < 3; ++place) {
    std::vector<float> values{1, 7, 3};
    std::vector<double> wide{1, 7, 3};
    values[size_t(place)] = nan, wide[size_t(place)] = wide_nan;
    CHECK(std::isnan(join(DType::f32, Combine::max, values)));
    CHECK(std::isnan(join(DType::f32, Combine::min, values)));
    CHECK(std::isnan(join(DType::f64, Combine::max, wide)));
    CHECK(std::isnan(join(DType::f64, Combine::min, wide)));
  }
  CHECK(std::signbit(join(DType::f32, Combine::max, std::vector<float>{-1, 0.0f, -0.0f})));
  CHECK_FALSE(std::signbit(join(DType::f32, Combine::min, std::vector<float>{1, -0.0f, 0.0f})));
}

TEST_CASE("a total may take the place of one of its parts") {
  std::mt19937 random(9);
  for (int workers : {1, 2, 3, 5, 8}) {
    SumTree tree(nodes_of_workers(workers, 11));
    for (size_t place = 0; place < tree.sources().size(); ++place) {
      CAPTURE(workers, place);
      std::vector<std::vector<float>> parts;
      std::vector<const std::byte*> places;
      for (size_t i = 0; i < tree.sources().size(); ++i) parts.push_back(numbers(random, 3000));
      for (auto& part : parts) places.push_back(reinterpret_cast<const std::byte*>(part.data()));
      std::vector<float> apart(3000);
      tree.join(DType::f32, Combine::sum, places, 3000, reinterpret_cast<std::byte*>(apart.data()));
      tree.join(DType::f32, Combine::sum, places, 3000, reinterpret_cast<std::byte*>(parts[place].data()));
      CHECK(parts[place] == apart);
    }
  }
}

TEST_CASE("nodes that are not all pieces once are a bug") {
  using Lists = std::vector<std::vector<SumNode>>;
  CHECK_THROWS_AS(SumTree(Lists{}), InternalError);
  CHECK_THROWS_AS(SumTree(Lists{{}, {}}), InternalError);
  CHECK_THROWS_AS(SumTree(Lists{{{0, 1}}, {{3, 0}}}), InternalError);
  CHECK_THROWS_AS(SumTree(Lists{{{0, 1}}, {{1, 0}}}), InternalError);
  CHECK_THROWS_AS(SumTree(Lists{{{0, 0}}, {{1, 1}}}), InternalError);
}
