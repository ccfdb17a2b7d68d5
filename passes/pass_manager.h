// Running passes: the one loop that does, whoever asks (the pipeline, `nnc opt`, verification's routes and bisection). It verifies the graph before the
// first pass and after each one, takes the time and prints on demand.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace nnc {

class FusionLog;

/// What a pass may ask about beside the graph.
struct PassContext {
  FusionLog* log = nullptr;  ///< is told why fusion keeps operations apart; null: nobody asks
  int64_t rows = 0;          ///< of the batch that the graph will be compiled for; 0: not known, and taken for many
};

/// What a pass does to a graph.
using GraphPass = std::function<void(Graph&, const PassContext&)>;

/// A pass with the name that timings, printing and messages give it.
struct NamedPass {
  std::string name;
  GraphPass run;
};

struct PassTiming {
  std::string name;
  double seconds = 0;
  uint32_t nodes_before = 0, nodes_after = 0;
};

/// How passes are run.
struct PassOptions {
  bool verify = true;                      ///< NNC_CHECK on every violated invariant; the message names the pass before or after which it is broken
  FusionLog* log = nullptr;                ///< for the passes of fusion
  int64_t rows = 0;                        ///< PassContext::rows
  std::vector<std::string> print_after{};  ///< names of passes; "all" stands for every one
  std::function<void(std::string_view pass, const Graph&)> print{};  ///< called for those, after verification
  std::vector<PassTiming>* time = nullptr;  ///< one entry is added for each pass, in order of execution; verification and printing are not in it
};

/// Runs the passes in order.
void run_passes(Graph&, const std::vector<NamedPass>&, const PassOptions& = {});

/// A pass by its name in passes.def.
struct GraphPassInfo {
  std::string_view name;
  void (*run)(Graph&, const PassContext&);
  std::string_view summary;
};
const std::vector<GraphPassInfo>& graph_passes();
/// Null if there is no pass of that name.
const GraphPassInfo* find_graph_pass(std::string_view name);
/// The pass of that name, which must exist.
NamedPass named_pass(std::string_view name);

}  // namespace nnc
