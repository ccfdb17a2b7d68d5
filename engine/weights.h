// Weights and checkpoints on disk, and initial values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/compilation.h"
#include "engine/tensors.h"
#include "frontend/frontend.h"
#include "ir/interpreter.h"
#include "runtime/step_runner.h"
#include "runtime/data/tensor_file.h"

namespace nnc {

/// The value that a run with this seed begins with.
Tensor initial_value(const ParameterSpec&, uint64_t seed);

/// A program without code that has these persistents, each once: a StepRunner of it holds weights.
StepProgram persistents_only(const std::vector<ParameterSpec>&);

/// Of all parameters and layer states that training has: what a weights file holds. The file has a train block.
StepProgram model_weights(Compilation&);

/// Of a training step: parameters and layer states of the forward pass, then the states of the optimiser.
std::vector<ParameterSpec> step_persistents(const TrainingGraphs&);

/// Draws every persistent of the runner that `specs` describe.
void initialize(StepRunner&, const std::vector<ParameterSpec>& specs, uint64_t seed);

/// Gives the values of a persistent of the runner, by its number, as StepRunner::get_persistent does.
using PersistentReader = std::function<void(size_t index, std::byte* values)>;

/// Writes parameters and layer states; with `optimizer` everything, optimiser state included (a checkpoint), and
/// `others` behind it. What is in parts comes from `read`, one persistent after the other.
void save_tensors(const std::string& path, const StepRunner&, const PersistentReader& read, bool optimizer, const std::map<std::string, std::string>& metadata,
                  const std::vector<StoredTensor>& others = {});
/// Whether a checkpoint's tensor is what an epoch under way has kept of its rows (epoch_reports.h), which is no matter of the model.
bool is_of_epoch(std::string_view name);

/// What of the file does not fit the runner, a sentence for each tensor: missing, extra, of another shape. With `optimizer` the
/// optimiser's states count too; where the file keeps other states than the run, they are named once each and not for every
/// parameter.
std::vector<std::string> tensor_differences(const TensorFile&, const StepRunner&, bool optimizer);

/// A long list of tensors, one a note: the first ones, and how many more there are.
void keep_first(std::vector<std::string>& notes);

/// UserError E0505 that names the tensors with NaN or infinite elements, those apart that may have them. Optimiser states only if `optimizer`, and only NaN.
void check_finite(const TensorFile&, const std::string& path, const std::set<std::string>& apart = {}, bool optimizer = false);

/// `step` and `epoch` as the evaluation after the last of these steps sees them: in metadata (`epoch` counts from 0), and out of it;
/// zeros if a file does not record them.
std::map<std::string, std::string> record_steps(int64_t steps, int64_t steps_per_epoch);
std::map<std::string, double> trained_so_far(const std::map<std::string, std::string>& metadata);

/// What is drawn outside training steps: at the number of updates that a file records, by `seed`.
DrawPosition trained_draws(const std::map<std::string, std::string>& metadata, uint64_t seed);

/// "net.safetensors" -> "net.checkpoint.safetensors", "net.last-good.safetensors".
std::string beside(const std::string& weights, const std::string& word);

}  // namespace nnc
