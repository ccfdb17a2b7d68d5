// A step in stages for the tests of what several workers share: its graphs, and where elements stand in memory.
#pragma once

#include <algorithm>

#include "ir/program.h"
#include "tests/unit/ir_random_graph.h"
#include "tests/unit/passes_step_fixture.h"

namespace nnc::test {

/// Two dense layers, of 6 numbers to 37 to 3, with a cross entropy; `definitions` stand before.
inline StepStages dense_stages(const std::string& using_clause, const std::string& definitions = "") {
  StepSource source(step_text(definitions + "model Net(x[B, 6]) -> [B, 3] { x |> Dense(37) |> tanh |> Dense(3) }", "  minimize cross_entropy(Net(x), label)\n  using " + using_clause));
  RowSplitObstacle obstacle;
  Graph whole;
  std::optional<StepStages> stages = optimize_in_stages(source.step(), {.rows = 8}, Shares::in_turn, obstacle, whole);
  REQUIRE(stages);
  return *std::move(stages);
}

inline const PersistentPlace& place_of(const Program& program, const std::string& name) {
  const auto place = std::ranges::find_if(program.persistents, [&](const PersistentPlace& p) { return p.persistent.name == name; });
  REQUIRE(place != program.persistents.end());
  return *place;
}

/// By place in the memory of all of a persistent: the number of the element in row-major order.
inline std::vector<size_t> elements_in_memory(const Program& program, const std::string& name) {
  const PersistentPlace& place = place_of(program, name);
  std::vector<int64_t> sizes;
  for (const Extent& e : place.persistent.type.shape) sizes.push_back(e.at(1));
  std::vector<int> order = memory_order(program, place);
  if (order.empty())
    for (size_t a = 0; a < sizes.size(); ++a) order.push_back(int(a));
  const int64_t all = element_count(sizes);
  std::vector<size_t> result;
  for (int64_t at = 0; at < all; ++at) {
    std::vector<int64_t> index(sizes.size());
    int64_t left = at;
    for (size_t i = order.size(); i-- > 0;) {
      index[size_t(order[i])] = left % sizes[size_t(order[i])];
      left /= sizes[size_t(order[i])];
    }
    int64_t element = 0;
    for (size_t a = 0; a < sizes.size(); ++a) element = element * sizes[a] + index[a];
    result.push_back(size_t(element));
  }
  return result;
}

}  // namespace nnc::test
