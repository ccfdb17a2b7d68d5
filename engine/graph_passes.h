// Passes on one graph, chosen by name, one by one: what `nnc opt` does. Training goes through passes/pipeline.h, whose order is fixed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compilation.h"
#include "passes/pass_manager.h"

namespace nnc {

struct PassDescription {
  std::string_view name, summary;
};
/// Every pass of passes.def, then "lower", which ends the graph and can only be the last.
std::vector<PassDescription> pass_descriptions();

struct PassRequest {
  std::vector<std::string> passes;       ///< by their names; "lower" may be the last
  int64_t rows = 32;                     ///< of a batch that `lower` plans for
  bool verify = false;                   ///< every invariant, before and after each pass
  std::vector<std::string> print_after;  ///< passes whose graph is wanted as text; "all" for every one
  std::function<void(std::string_view pass, const std::string& graph)> print;  ///< is given it

  bool lowers() const { return !passes.empty() && passes.back() == "lower"; }
};

/// Runs all passes but `lower`; where that is to follow, on the graph as code that is run on given values has it (graph_runner.h). Time and number of nodes of each.
std::vector<PassTiming> run_passes_by_name(const Compilation&, Graph&, const PassRequest&);
/// What has become of the graph, as text: the program of kernels if `lower` was asked for.
std::string text_after_passes(const Compilation&, Graph, const PassRequest&);

}  // namespace nnc
