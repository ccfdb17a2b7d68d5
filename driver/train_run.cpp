// Saving: the weights first, then the checkpoint, so that a run that is killed between the two goes on from the older checkpoint
// to the same weights. What cannot be written where it belongs is not given up: in the middle of a run the next save tries again,
// at its end other folders are tried.
#include "driver/train_run.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/outputs.h"
#include "driver/signals.h"
#include "engine/tensors.h"
#include "engine/weights.h"

namespace nnc {
using Json = nlohmann::ordered_json;

bool is_device(const std::string& path) {
  std::error_code error;
  std::filesystem::file_status status = std::filesystem::status(path, error);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) && !std::filesystem::is_directory(status);
}

TrainRun::TrainRun(Session& session, TrainRunOptions options, StepRunner& runner, Evaluator* evaluator, const RunData& data,
                   const TrainPlan& plan, std::map<std::string, std::string> description)
    : session_(session),
      options_(std::move(options)),
      runner_(runner),
      evaluator_(evaluator),
      data_(data),
      plan_(plan),
      description_(std::move(description)),
      to_device_(is_device(options_.out)),
      progress_(runner.program().results, (plan.total_steps + plan.steps_per_epoch() - 1) / plan.steps_per_epoch(),
                plan.steps_per_epoch(), options_.quiet || options_.json),
      log_(options_.log, plan.first_step),
      start_(std::chrono::steady_clock::now()),
      means_step_(plan.first_step) {
  const StepProgram& program = runner_.program();
  for (const std::string& name : program.results) means_.add_report(name, 1);
  for (const OutputSlot& o : program.outputs) {
    if (!wants_outputs()) break;
    size_t count = size_t(o.bytes) / byte_size(o.dtype);
    values_.push_back({o.dtype, o.shape, std::vector<double>(count)});
    means_.add_report(o.name, count);
  }
  if (!means_.go_on_from(options_.sums))
    throw UserError(Code::E0405, fmt::format("the checkpoint is damaged: it records the sums `{}`", options_.sums), "--resume");
  if (evaluator_) evaluator_->stop_if(stop_requested);
}

/// The plan's chunks are single steps if this is to see every one of them.
void TrainRun::add_to_means(const StepRecord& r) {
  const StepProgram& program = runner_.program();
  if (r.step_in_epoch == 1) means_.clear();
  for (size_t i = 0; i < r.results.size(); ++i) means_.add(i, r.results.subspan(i, 1), double(r.rows));
  for (size_t o = 0; o < values_.size(); ++o) {
    Tensor& t = values_[o];
    t.values = to_numbers(runner_.output(o), t.values.size(), t.dtype);
    means_.add(program.results.size() + o, std::span<const double>(t.values), double(r.rows));
  }
  means_step_ = r.step;
}

void TrainRun::on_snapshot(int64_t steps) {
  snapshot_means_ = means_;
  snapshot_step_ = steps;
}

void TrainRun::return_to_snapshot() {
  means_ = snapshot_means_;
  means_step_ = snapshot_step_;
}

void TrainRun::on_step(const StepRecord& r) {
  if (!lost_data_file().empty()) throw DataLost{};
  add_to_means(r);
  if (!log_) return;
  try {
    Json line;
    line["step"] = r.step;
    line["epoch"] = r.epoch + 1;
    const int64_t every = session_.module->train().report_every;
    const bool reports = every <= 1 || r.step % every == 0;
    for (size_t i = 0; i < r.results.size(); ++i)
      if (const std::string& name = runner_.program().results[i]; reports || name == "loss") line[name] = json_number(double(r.results[i]));
    for (size_t o = 0; o < values_.size() && reports; ++o) line[runner_.program().outputs[o].name] = json_value(values_[o]);
    if (!options_.rate.outputs.empty()) {
      Bindings bindings;
      for (size_t i = 0; i < r.scalars.size(); ++i) bindings.scalars[runner_.program().scalars[i]] = double(r.scalars[i]);
      line["rate"] = json_number(double(float(interpret(options_.rate, bindings).outputs.begin()->second.values.at(0))));
    }
    line["seconds"] = log_.seconds_before() + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    log_.write_line(json_line(line));
  } catch (const std::bad_alloc&) {
    log_.fail(ENOMEM);
  }
}

std::string TrainRun::evaluate(Part part, const char* word, const StepRecord& last, Json& line) {
  if (data_.rows_of(part).empty()) return {};
  const ScalarValues scalars = with_hyperparameters({{"step", double(last.step)}, {"epoch", double(last.epoch)}}, session_.module->train());
  std::map<std::string, Tensor> values = evaluator_->evaluate(part, runner_, scalars);
  if (!lost_data_file().empty()) throw DataLost{};
  std::string shown;
  for (const std::string& name : evaluator_->names()) {
    auto it = values.find(name);
    if (it == values.end()) continue;  // a signal has ended the evaluation
    const Tensor& t = it->second;
    if (t.shape.empty()) shown += fmt::format(" - {} {}: {}", word, name, format_metric(t.values[0]));
    line[word][name] = json_value(t);
    last_reports_[fmt::format("{} {}", word, name)] = t;
  }
  return shown;
}

void TrainRun::on_progress(const StepRecord& last, bool finished) {
  log_.flush();  // not in every step, which may take a microsecond; and always before a checkpoint of this step is written
  const StepProgram& program = runner_.program();
  std::vector<double> means;
  for (size_t i = 0; i < program.results.size(); ++i) means.push_back(means_.mean(i)[0]);
  progress_.show(last.epoch, last.step_in_epoch, means, finished);
  if (!finished) return;
  Json line;
  line["epoch"] = last.epoch + 1;
  for (size_t i = 0; i < means.size(); ++i) line[program.results[i]] = json_number(means[i]);
  for (size_t o = 0; o < values_.size(); ++o)
    line[program.outputs[o].name] = json_value(Tensor{DType::f64, values_[o].shape, means_.mean(means.size() + o)});
  std::string valid = evaluate(Part::valid, "valid", last, line), test = evaluate(Part::test, "test", last, line);
  progress_.finish_epoch(valid + test);
  if (options_.json) {
    print_json_line(line);
    std::fflush(stdout);
  }
}

std::string TrainRun::checkpoint_path() const { return beside(options_.out, "checkpoint"); }

void TrainRun::save_weights(const std::string& path, int64_t steps) {
  std::map<std::string, std::string> metadata = record_steps(steps, plan_.steps_per_epoch());
  metadata["nnc.seed"] = std::to_string(plan_.seed);
  save_tensors(path, runner_, false, metadata);
}

void TrainRun::save_checkpoint(const std::string& path, int64_t steps) {
  std::map<std::string, std::string> metadata = description_;
  metadata.merge(record_steps(steps, plan_.steps_per_epoch()));
  if (steps % plan_.steps_per_epoch() != 0) {  // else an epoch begins
    const EpochMeans* means = steps == means_step_ ? &means_ : steps == snapshot_step_ ? &snapshot_means_ : nullptr;
    if (std::string sums = means ? means->to_text() : ""; !sums.empty()) metadata["nnc.sums"] = sums;
  }
  save_tensors(path, runner_, true, metadata);
}

std::vector<Diagnostic> TrainRun::try_save(int64_t steps) {
  std::vector<Diagnostic> failures;
  auto attempt = [&](auto write) {
    try {
      write();
    } catch (const UserError& e) {
      failures.push_back(e.diagnostic());
    }
  };
  attempt([&] { save_weights(options_.out, steps); });
  size_t before = failures.size();
  if (!to_device_) attempt([&] { save_checkpoint(checkpoint_path(), steps); });
  if (failures.size() == before) saved_steps_ = steps;
  return failures;
}

void TrainRun::on_save(int64_t steps) {
  if (to_device_) return;
  std::vector<Diagnostic> failures = try_save(steps);
  if (failures.empty()) {
    last_warning_.clear();
    return;
  }
  if (failures[0].message == last_warning_) return;  // said once, until it changes
  last_warning_ = failures[0].message;
  progress_.interrupt();
  Diagnostic d = failures[0];
  d.severity = Severity::warning;
  for (size_t i = 1; i < failures.size(); ++i) d.notes.push_back(failures[i].message);
  d.notes.push_back(fmt::format("that was the save after step {}; the run goes on, and the next save tries again", steps));
  session_.print(d);
}

void TrainRun::save(int64_t steps) {
  std::vector<Diagnostic> failures = try_save(steps);
  if (failures.empty()) return;
  Diagnostic d = failures[0];
  for (size_t i = 1; i < failures.size(); ++i) d.notes.push_back(failures[i].message);
  if (saved_steps_ == steps && !to_device_) {
    d.notes.push_back(fmt::format("{} is saved; it holds the weights after step {} too", checkpoint_path(), steps));
  } else {
    std::string where = rescue(steps);
    d.notes.push_back(where);
  }
  throw UserError(d);
}

std::string TrainRun::rescue(int64_t steps) {
  namespace fs = std::filesystem;
  std::string tried;
  std::error_code error;
  auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  std::string temporary = variable("TMPDIR");
  std::vector<std::string> folders{".", temporary.empty() ? "/tmp" : temporary, variable("HOME")};
  std::string name = beside(fs::path(options_.out).filename().string(), fmt::format("rescued-{}", getpid()));
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    std::string path = folder == "." ? name : (fs::path(folder) / name).string();
    try {
      save_checkpoint(path, steps);
      return fmt::format("the state after step {} is kept in {}: go on with --resume {}", steps, path, path);
    } catch (const UserError& e) {
      tried += (tried.empty() ? "" : "; ") + e.diagnostic().message;
    }
  }
  if (saved_steps_ < 0) return fmt::format("the state after step {} is lost: {}", steps, tried);
  return fmt::format("the state after step {} is lost, that after step {} is in {}: {}", steps, saved_steps_, checkpoint_path(),
                     tried);
}

std::string TrainRun::keep_state(const std::string& path, int64_t steps) {
  if (to_device_) return rescue(steps);
  try {
    save_checkpoint(path, steps);
    return {};
  } catch (const UserError& e) {
    return e.diagnostic().message + "; " + rescue(steps);
  }
}

void TrainRun::finish() {
  progress_.interrupt();
  log_.finish();
}

}  // namespace nnc
