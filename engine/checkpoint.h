// What a checkpoint says about the run that wrote it, and whether a run continues it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/data.h"
#include "engine/compilation.h"
#include "engine/epoch_reports.h"
#include "runtime/trainer.h"

namespace nnc {

/// The metadata of a checkpoint, all but the step (README.md has the list). Depends on the file, its options and its data alone.
std::map<std::string, std::string> describe_run(const Compilation&, const TrainPlan&, const TrainingGraphs&, const RunData&);

/// Which rows of which data train, as weights and checkpoint record it (`nnc.trained`): their number, and hashes of which they are and of the content.
std::string describe_trained_rows(const std::vector<int64_t>& rows, const DataSpec&, const RunData&);
/// In what two of those differ, a sentence each.
std::vector<std::string> compare_trained_rows(const std::string& then, const std::string& now);

/// Sets runner and plan.first_step from a checkpoint. Everything in which the run that wrote it differs from this one so that it
/// would not be continued to the bit is one UserError (E0505 if tensors do not fit, else E0504) with a note for each; what a user
/// may well want to change on the way (hyperparameters, another version or CPU) is said as a warning. The runner's values are
/// those that a run begins with. Gives what it records of an epoch under way, empty if
/// an epoch begins. Collective.
EpochRecord resume_from(Compilation&, const std::string& path, const std::map<std::string, std::string>& now, StepRunner&, TrainPlan&, Collectives* workers = nullptr);

}  // namespace nnc
