// Running passes: every pass goes through run_pass, which verifies the graph before and after, takes the time and prints on
// demand.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace nnc {

struct PassTiming {
  std::string name;
  double seconds = 0;
  uint32_t nodes_before = 0, nodes_after = 0;
};

/// How passes are run; owned by the caller, one per compilation.
struct PassContext {
  bool verify = true;                                              ///< NNC_CHECK on every violated invariant, before and after
  std::vector<std::string> print_after;                            ///< names of passes; "all" stands for every one
  std::function<void(std::string_view pass, const Graph&)> print;  ///< called for those
  std::vector<PassTiming> timings;                                 ///< filled in, in order of execution
};

using GraphPass = std::function<void(Graph&)>;

/// Runs one pass within the context. The name is for timings, printing and messages.
void run_pass(PassContext&, std::string_view name, Graph&, const GraphPass&);

/// A pass by its name in passes.def.
struct GraphPassInfo {
  std::string_view name;
  void (*run)(Graph&);
  std::string_view summary;
};
const std::vector<GraphPassInfo>& graph_passes();
/// Null if there is no pass of that name.
const GraphPassInfo* find_graph_pass(std::string_view name);

}  // namespace nnc
