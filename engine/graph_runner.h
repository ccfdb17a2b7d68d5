// Evaluating one graph on given values, by compiled code or by the 64-bit interpreter: what `nnc run` and `nnc test` share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/step.h"
#include "engine/tensors.h"
#include "ir/interpreter.h"
#include "runtime/team.h"

namespace nnc {

enum class Engine : uint8_t { jit, interpreter };

/// Outputs by name; updates are left out. `graph` has not been simplified. Inputs must be bound as interpret() wants them.
/// UserError E0511 if the graph has no meaning for so many rows (the largest of none).
std::map<std::string, Tensor> evaluate_graph(Engine, Graph graph, const Bindings&, const Target&, const SourceMap&, Team&);
/// The same as stored: compiled code's own elements, also where 64 bits of float do not hold them.
std::map<std::string, StoredTensor> evaluate_graph_stored(Engine, Graph graph, const Bindings&, const Target&, const SourceMap&,
                                                          Team&);

/// The graph as code that is run on given values has it, before its passes or after them: an input whose rows are not looked up
/// one by one becomes a persistent, "<NAME>". Groups stay.
void hold_inputs(Graph&);
/// The values of what hold_inputs made of inputs, with the other persistents' values.
Bindings bind_held_inputs(const Graph&, const Bindings&);
/// Before its passes: held inputs, and the number of rows fixed if an input has them elsewhere than as its outermost dimension.
Graph runnable_graph(Graph, int64_t rows);

/// Appends the gradient of sum over results of (result . seed) with respect to every input of floating type and every trainable
/// parameter, as outputs "grad.NAME" (zeros where nothing reaches). `seed`: an input of that name holds the gradient of the one
/// result; "": ones.
void append_gradients(Graph&, const std::vector<Output>& results, const std::string& seed);

/// The graph for exactly this number of rows: nothing in it depends on the rows any more. UserError E0511 at an operation that
/// has no meaning for so many.
Graph with_fixed_rows(const Graph&, int64_t rows);

}  // namespace nnc
