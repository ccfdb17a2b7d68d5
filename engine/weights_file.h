// A weights file or a checkpoint that is read: by one worker of a run, for all of them.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "engine/weights.h"
#include "runtime/workers/collectives.h"

namespace nnc {

/// Worker 0 reads the file; the others know its tensors without their data, and are sent the values of one at a time, so that none needs room for all of them. All calls are collective.
class WeightsFile {
 public:
  /// `workers`: those of the run; null: there are no others. UserError: of a file of another kind it says what weights are (E0404).
  explicit WeightsFile(std::string path, Collectives* workers = nullptr);
  const TensorFile& tensors() const { return file_; }
  const std::map<std::string, std::string>& metadata() const { return file_.metadata; }
  /// One of the tensors with its data, which is there until the next call.
  TensorView read(const TensorView&);
  /// UserError E0505 as nnc::check_finite. `runner` has the values that a run begins with: what is not finite there may not be here either.
  void check_finite(const StepRunner& runner, bool optimizer) const;
  /// Sets the runner's persistents, all of which the file has.
  void set(StepRunner& runner, bool optimizer);

 private:
  bool is_shared() const { return workers_ && workers_->size() > 1; }
  bool is_reader() const { return !is_shared() || workers_->rank() == 0; }
  void tell_tensors();
  std::string path_;
  Collectives* workers_;
  TensorFile file_;
  std::vector<std::byte> sent_;
};

/// Sets the runner's persistents from a file that must hold all of them and nothing else; missing, extra and mis-shaped tensors
/// are named in one UserError. `optimizer`: optimiser state too. Returns the file's metadata. Collective.
std::map<std::string, std::string> load_tensors(const std::string& path, StepRunner&, bool optimizer, Collectives* workers = nullptr);

}  // namespace nnc
