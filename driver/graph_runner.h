// Evaluating one graph on given values, by compiled code or by the 64-bit interpreter: what `nnc run` and `nnc test` share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "driver/session.h"
#include "ir/interpreter.h"
#include "runtime/team.h"

namespace nnc {

enum class Engine : uint8_t { jit, interpreter };

/// Outputs by name; updates are left out. `graph` has not been simplified. Inputs must be bound as interpret() wants them.
std::map<std::string, Tensor> evaluate_graph(Engine, Graph graph, const Bindings&, const Target&, const SourceMap&, Team&);

/// Appends the gradient of sum over results of (result . seed) with respect to every input of floating type and every trainable
/// parameter, as outputs "grad.NAME" (zeros where nothing reaches). `seed`: an input of that name holds the gradient of the one
/// result; "": ones.
void append_gradients(Graph&, const std::vector<Output>& results, const std::string& seed);

/// The graph for exactly this number of rows: nothing in it depends on the rows any more.
Graph with_fixed_rows(const Graph&, int64_t rows);

}  // namespace nnc
