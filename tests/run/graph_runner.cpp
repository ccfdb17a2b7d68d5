// Catch2's assertions over the routes of verify/route.h.
#include "tests/run/graph_runner.h"

#include "tests/unit/catch.h"

namespace nnc::test {

Route GraphRunOptions::route() const {
  Route route = optimize ? Route::optimized() : Route::plain();
  route.capacity = capacity;
  route.threads = threads;
  route.level = level;
  route.split_all = parallel_all;
  return route;
}

Results run_compiled(Graph graph, const Bindings& bindings, GraphRunOptions options) {
  return run_route(std::move(graph), bindings, options.route());
}

void check_same(const Results& compiled, const Results& interpreted, double tolerance) {
  std::optional<Difference> d = find_difference(compiled, interpreted, tolerance);
  if (!d) return;
  INFO(d->name << " at " << d->index << ": " << d->found << " instead of " << d->expected << ", error " << d->error);
  CHECK(!d.has_value());
}

}  // namespace nnc::test
