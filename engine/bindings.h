// Values and steps: from rows of data, named numbers and weights to what a graph is evaluated on (Bindings), from there to a compiled step, and
// what the step leaves behind back to tensors. Nothing else in nnc binds values to steps (README.md).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/data.h"
#include "engine/tensors.h"
#include "frontend/frontend.h"
#include "ir/graph.h"
#include "ir/interpreter.h"
#include "runtime/step_runner.h"

namespace nnc {

/// Numbers by the names that graphs and programs give their scalars: `step`, `epoch`, `rows`, hyperparameters as `using.lr`.
using ScalarValues = std::map<std::string, double>;

/// What is known (`step`, `epoch`), and beside it the hyperparameters as the train block has them, in 64 bits.
ScalarValues with_hyperparameters(ScalarValues known, const TrainSpec&);

// --- values for a graph ---

/// All of `values`; a scalar of the graph that is neither among them nor bound yet is 0.
void bind_scalars(Bindings&, const Graph&, const ScalarValues& values);
/// Those of the graph's persistents that the runner has and that are not bound yet, with the runner's values.
void bind_persistents(Bindings&, const Graph&, const StepRunner&);
/// Rows and inputs: these rows, in this order, of the fields that train. The data has a field for every input.
Bindings bind_rows(const Graph&, const RunData&, std::span<const int64_t> rows);

// --- values for a step ---

/// The program's scalars in its order, as a step has them; one that `values` lacks is 0.
std::vector<NncScalar> step_scalars(const StepProgram&, const ScalarValues& values);
/// The number that a step's scalar of that name is; a count beyond 2^53 is rounded.
double number_of(const std::string& name, NncScalar);
/// Binds every field of the program to the one of that name, whose memory outlives the runs. `fields` in the order of `names`.
void bind_fields(StepRunner&, const std::vector<FieldData>& fields, const std::vector<std::string>& names);

/// Space for an output of the program over so many rows, zeroed.
StoredTensor output_tensor(const StepProgram&, size_t output, int64_t rows);
/// Copies what a step of `count` rows left in an output to the rows of `into` that begin with `first`; an output without rows as a whole.
void copy_output(const StepRunner&, size_t output, int64_t count, StoredTensor& into, int64_t first);

/// One step on the first rows of the inputs, which have them as their first dimension: results and outputs by name, as stored. Sets the runner's
/// persistents and leaves them updated; its fields are unbound afterwards. UserError E0511 for a value that is not given.
std::map<std::string, StoredTensor> run_step(StepRunner&, const Bindings&);
/// The same as numbers.
std::map<std::string, Tensor> run_step_in_numbers(StepRunner&, const Bindings&);

}  // namespace nnc
