// The ways a graph can get from its text to its values: which passes run over it, in which order, and what carries out the result
// (an interpreter or compiled code, at a vector level, on so many threads). Every route must give the same values; `nnc
// gradcheck`, nnc-fuzz and the tests of compiled code hold them against each other.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/target.h"
#include "ir/graph.h"
#include "ir/interpreter.h"
#include "ir/program.h"
#include "passes/form_regions.h"
#include "passes/lower.h"

namespace nnc {

enum class Executor : uint8_t {
  graph_interpreter,    ///< 64 bits, after the passes: shows what they changed
  program_interpreter,  ///< 64 bits, after lowering, scheduling and memory planning: shows what those changed
  compiled,             ///< machine code: shows what code generation changed
};

struct Route {
  std::vector<std::string> passes;  ///< by their names in passes.def, in this order; unroll and finish_groups are added where a program needs them
  Executor executor = Executor::compiled;
  VectorLevel level = host_target().level;
  int64_t capacity = 0;  ///< planned rows; 0: as many as the bindings have
  int threads = 1;
  bool split_all = false;  ///< every kernel that can be is split over threads, however small
  RegionOptions regions = {};  ///< what is worth a parallel region
  Layouts layouts = {};    ///< orders in which persistents come, as from the program that trains them; others are chosen

  static Route optimized();  ///< default_passes(), compiled for the host
  static Route plain();      ///< no pass: every operation a kernel of its own
  std::string text() const;  ///< "simplify,cse: compiled, avx2, 3 threads, capacity 17"
};

/// A graph (with gradients and updates, if it is to have them) taken along a route once, to be run on any bindings of up to
/// `capacity` rows. Inputs have the rows of the batch as their first axis and only there, or not at all. Throws UserError if this
/// machine cannot run the level's code.
class RoutedGraph {
 public:
  RoutedGraph(Graph, const Route&, int64_t rows);
  ~RoutedGraph();
  RoutedGraph(RoutedGraph&&) noexcept;
  RoutedGraph& operator=(RoutedGraph&&) noexcept;
  /// From now on compiled code runs on so many threads.
  void use_threads(int);
  /// Outputs and updates by name, as interpret() gives them.
  Results run(const Bindings&);
  const Graph& graph() const;      ///< after the passes
  const Program* program() const;  ///< null for the graph interpreter

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Results run_route(Graph, const Bindings&, const Route&);

/// Of a graph whose file is not at hand, which machine code would name: its bodies' places too.
void forget_places(Graph&);

/// The first element in which results disagree.
struct Difference {
  std::string name;     ///< output or persistent
  bool update = false;  ///< of an update
  size_t index = 0;     ///< row-major
  double found = 0, expected = 0;
  double error = 0;  ///< |found - expected| / max(1, largest finite magnitude of the expected tensor); infinity for NaN against a number
};
/// Empty if every output and update of `expected` is in `found` within `tolerance` (of error). NaN equals NaN, infinities equal
/// themselves.
std::optional<Difference> find_difference(const Results& found, const Results& expected, double tolerance);

/// Random values for a graph's inputs, persistents and scalars: floats in [low, high] that f32 holds exactly, integers in [0, 3).
Bindings random_bindings(const Graph&, int64_t rows, std::mt19937_64&, double low = -1, double high = 1);

}  // namespace nnc
