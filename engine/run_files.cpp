// The weights are written first, then the checkpoint, so that a run that is killed between the two goes on from the older checkpoint to the same weights. What
// cannot be written where it belongs is not given up: in the middle of a run the next save tries again, at its end other folders are tried.
#include "engine/run_files.h"

#include <unistd.h>

#include <filesystem>

#include <fmt/format.h>

#include "engine/weights.h"

namespace nnc {

bool is_device(const std::string& path) {
  std::error_code error;
  std::filesystem::file_status status = std::filesystem::status(path, error);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) && !std::filesystem::is_directory(status);
}

RunFiles::RunFiles(std::string weights, std::vector<std::string> rescue, const StepRunner& runner, Description description)
    : weights_(std::move(weights)), rescue_(std::move(rescue)), runner_(runner), description_(std::move(description)), to_device_(is_device(weights_)) {}

std::string RunFiles::checkpoint_path() const { return beside(weights_, "checkpoint"); }

void RunFiles::save_weights(const std::string& path, int64_t steps) {
  std::map<std::string, std::string> metadata = record_steps(steps, description_.steps_per_epoch);
  metadata["nnc.seed"] = std::to_string(description_.seed);
  for (const char* key : {"nnc.trained", "nnc.vocabulary"})
    if (auto it = description_.run.find(key); it != description_.run.end()) metadata.insert(*it);
  save_tensors(path, runner_, nullptr, false, metadata);  // parameters are whole with every worker
}

void RunFiles::save_checkpoint(const std::string& path, int64_t steps, const PersistentReader& read) {
  std::map<std::string, std::string> metadata = description_.run;
  metadata.merge(record_steps(steps, description_.steps_per_epoch));
  EpochRecord epoch;
  if (steps % description_.steps_per_epoch != 0) epoch = description_.epoch(steps);  // else an epoch begins
  if (!epoch.sums.empty()) metadata["nnc.sums"] = epoch.sums;
  save_tensors(path, runner_, read, true, metadata, epoch.rows);
}

std::vector<Diagnostic> RunFiles::try_save(int64_t steps, const PersistentReader& read) {
  std::vector<Diagnostic> failures;
  if (!are_wanted()) return failures;
  auto attempt = [&](auto write) {
    try {
      write();
    } catch (const UserError& e) {
      failures.push_back(e.diagnostic());
    }
  };
  attempt([&] { save_weights(weights_, steps); });
  size_t before = failures.size();
  if (!to_device_) attempt([&] { save_checkpoint(checkpoint_path(), steps, read); });
  if (failures.size() == before) saved_steps_ = steps;
  return failures;
}

std::optional<Diagnostic> RunFiles::save_on_the_way(int64_t steps, const PersistentReader& read) {
  if (to_device_) return std::nullopt;
  std::vector<Diagnostic> failures = try_save(steps, read);
  if (failures.empty()) {
    last_warning_.clear();
    return std::nullopt;
  }
  if (failures[0].message == last_warning_) return std::nullopt;
  last_warning_ = failures[0].message;
  Diagnostic d = failures[0];
  d.severity = Severity::warning;
  for (size_t i = 1; i < failures.size(); ++i) d.notes.push_back(failures[i].message);
  d.notes.push_back(fmt::format("that was the save after step {}; the run goes on, and the next save tries again", steps));
  return d;
}

void RunFiles::save(int64_t steps, const PersistentReader& read) {
  std::vector<Diagnostic> failures = try_save(steps, read);
  if (failures.empty()) return;
  Diagnostic d = failures[0];
  for (size_t i = 1; i < failures.size(); ++i) d.notes.push_back(failures[i].message);
  if (saved_steps_ == steps && !to_device_)
    d.notes.push_back(fmt::format("{} is saved; it holds the weights after step {} too", checkpoint_path(), steps));
  else
    d.notes.push_back(rescue(steps, read));
  throw UserError(d);
}

std::string RunFiles::rescue(int64_t steps, const PersistentReader& read) {
  namespace fs = std::filesystem;
  std::string tried;
  std::string name = beside(fs::path(weights_).filename().string(), fmt::format("rescued-{}", getpid()));
  for (const std::string& folder : rescue_) {
    std::string path = folder == "." ? name : (fs::path(folder) / name).string();
    try {
      save_checkpoint(path, steps, read);
      return fmt::format("the state after step {} is kept in {}: go on with --resume {}", steps, path, path);
    } catch (const UserError& e) {
      tried += (tried.empty() ? "" : "; ") + e.diagnostic().message;
    }
  }
  if (saved_steps_ < 0) return fmt::format("the state after step {} is lost: {}", steps, tried);
  return fmt::format("the state after step {} is lost, that after step {} is in {}: {}", steps, saved_steps_, checkpoint_path(), tried);
}

std::string RunFiles::keep_state(const std::string& path, int64_t steps, const PersistentReader& read) {
  if (to_device_) return rescue(steps, read);
  try {
    save_checkpoint(path, steps, read);
    return {};
  } catch (const UserError& e) {
    return e.diagnostic().message + "; " + rescue(steps, read);
  }
}

}  // namespace nnc
