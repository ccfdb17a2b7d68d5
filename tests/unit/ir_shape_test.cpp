// Shapes share their extents until one is changed; lists of nodes keep few of them in place. Both behave as the vectors that they stand for.
#include <random>
#include <vector>

#include "ir/node_list.h"
#include "ir/shape.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

using Extents = std::vector<Extent>;

Extents extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }
Extent n(int64_t size) { return {size, false}; }
constexpr Extent rows{1, true};

TEST_CASE("a changed shape leaves its copies as they were", "[ir]") {
  const Shape first{rows, n(3), n(4)};
  Shape set = first, longer = first, shorter = first, inserted = first, erased = first, resized = first;
  CHECK(set.data() == first.data());  // nothing is copied before something changes
  set.set(1, n(7));
  longer.push_back(n(5));
  shorter.pop_back();
  inserted.insert(inserted.begin() + 1, n(9));
  erased.erase(erased.begin());
  resized.resize(2);
  CHECK(extents_of(first) == Extents{rows, n(3), n(4)});
  CHECK(extents_of(set) == Extents{rows, n(7), n(4)});
  CHECK(extents_of(longer) == Extents{rows, n(3), n(4), n(5)});
  CHECK(extents_of(shorter) == Extents{rows, n(3)});
  CHECK(extents_of(inserted) == Extents{rows, n(9), n(3), n(4)});
  CHECK(extents_of(erased) == Extents{n(3), n(4)});
  CHECK(shorter == resized);
  CHECK(shorter != first);
  const Extent* own = set.data();
  set.set(0, n(2));
  CHECK(set.data() == own);  // a shape that shares with none is changed in place
  set.set_size(0, 8);
  CHECK(set.front() == n(8));
  longer.set_size(0, 8);
  CHECK(longer.front() == Extent{8, true});
}

TEST_CASE("a shape is what a vector of extents would be", "[ir]") {
  std::mt19937 random(7);
  auto below = [&](size_t limit) { return size_t(random() % limit); };
  std::vector<std::pair<Shape, Extents>> shapes(4);
  for (int round = 0; round < 4000; ++round) {
    auto& [shape, extents] = shapes[below(shapes.size())];
    const Extent extent{int64_t(below(5)), below(4) == 0};
    const size_t at = below(extents.size() + 1);
    switch (below(9)) {
      case 0: shape.push_back(extent), extents.push_back(extent); break;
      case 1: shape.insert(shape.begin() + at, extent), extents.insert(extents.begin() + long(at), extent); break;
      case 2:
        if (at < extents.size()) shape.set(at, extent), extents[at] = extent;
        break;
      case 3:
        if (at < extents.size()) shape.erase(shape.begin() + at), extents.erase(extents.begin() + long(at));
        break;
      case 4:
        if (!extents.empty()) shape.pop_back(), extents.pop_back();
        break;
      case 5: shape.resize(at + 1, extent), extents.resize(at + 1, extent); break;
      case 6: {
        const auto other = shapes[below(shapes.size())];
        shape = other.first, extents = other.second;
        break;
      }
      case 7: {
        const auto other = shapes[below(shapes.size())];
        if (extents.size() + other.second.size() > 12) break;
        shape.insert(shape.begin() + at, other.first.begin(), other.first.end());
        extents.insert(extents.begin() + long(at), other.second.begin(), other.second.end());
        break;
      }
      default: shape = Shape(extents.begin(), extents.end()); break;
    }
    for (const auto& [known, as_vector] : shapes) {
      REQUIRE(extents_of(known) == as_vector);
      REQUIRE(known.size() == as_vector.size());
      for (const auto& [other, other_vector] : shapes) REQUIRE((known == other) == (as_vector == other_vector));
    }
  }
}

TEST_CASE("a list of nodes is what a vector of them would be, however long", "[ir]") {
  std::mt19937 random(8);
  std::vector<std::pair<NodeList, std::vector<NodeId>>> lists(4);
  for (int round = 0; round < 4000; ++round) {
    auto& [list, nodes] = lists[random() % lists.size()];
    const NodeId node{uint32_t(random() % 100)};
    switch (random() % 6) {
      case 0:
      case 1: list.push_back(node), nodes.push_back(node); break;
      case 2:
        if (!nodes.empty()) list.pop_back(), nodes.pop_back();
        break;
      case 3:
        if (!nodes.empty()) list[nodes.size() / 2] = node, nodes[nodes.size() / 2] = node;
        break;
      case 4: {
        auto other = lists[random() % lists.size()];
        list = std::move(other.first), nodes = std::move(other.second);
        break;
      }
      default: list = NodeList(nodes); break;
    }
    for (const auto& [known, as_vector] : lists) {
      REQUIRE(std::vector<NodeId>(known) == as_vector);
      for (const auto& [other, other_vector] : lists) REQUIRE((known == other) == (as_vector == other_vector));
    }
  }
}

}  // namespace
