// Progress goes to standard error, lines of JSON to standard output, the log to its file. A log that cannot be written costs neither the run nor its weights.
#include "driver/train_view.h"

#include <cerrno>
#include <cstdio>
#include <new>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/outputs.h"

namespace nnc {
using Json = nlohmann::ordered_json;

TrainView::TrainView(Session& session, std::string log) : session_(session), log_path_(std::move(log)) {}

void TrainView::begin(const TrainingRun& run) {
  run_ = &run;
  const TrainPlan& plan = run.plan();
  progress_.emplace((plan.total_steps + plan.steps_per_epoch() - 1) / plan.steps_per_epoch(), plan.steps_per_epoch(),
                    plan.first_step % plan.steps_per_epoch(), session_.options.quiet || session_.options.json);
  log_.emplace(log_path_, plan.first_step);
  start_ = std::chrono::steady_clock::now();
}

void TrainView::leave_line() {
  if (progress_) progress_->interrupt();
}

void TrainView::finish() {
  leave_line();
  log_->finish();
}

void TrainView::on_fewer_threads(const std::string& shortage) { std::fprintf(stderr, "nnc: %s; training goes on with these\n", shortage.c_str()); }

void TrainView::on_step(const StepRecord& r) {
  if (!*log_) return;
  try {
    Json line;
    line["step"] = r.step;
    line["epoch"] = r.epoch + 1;
    const int64_t every = session_.module->train().report_every;
    const bool reports = every <= 1 || r.step % every == 0;
    for (size_t i = 0; i < run_->reports().size(); ++i)
      if (const std::string& name = run_->reports()[i]; reports || name == "loss") line[name] = json_number(r.results[i]);
    const std::vector<std::string>& names = run_->output_names();
    for (size_t o = 0; o < run_->step_outputs().size() && reports; ++o) line[names[o]] = json_value(run_->step_outputs()[o]);
    if (std::optional<double> rate = run_->learning_rate(r)) line["rate"] = json_number(*rate);
    line["seconds"] = log_->seconds_before() + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    log_->write_line(json_line(line));
  } catch (const std::bad_alloc&) {
    log_->fail(ENOMEM);
  }
}

void TrainView::on_progress(const EpochReport& report, bool ended) {
  log_->flush();  // not in every step, which may take a microsecond; and always before a checkpoint of this step is written
  std::vector<ShownReport> shown;
  for (size_t i = 0; i < report.values.size(); ++i)
    if (report.values[i]) shown.emplace_back(run_->reports()[i], format_metric(*report.values[i]));
  progress_->show(report.epoch, report.step_in_epoch, shown, ended);
}

void TrainView::on_epoch(const EpochReport& report) {
  Json line;
  line["epoch"] = report.epoch + 1;
  for (size_t i = 0; i < report.values.size(); ++i)
    if (report.values[i]) line[run_->reports()[i]] = json_number(*report.values[i]);
  const std::vector<std::string>& names = run_->output_names();
  for (size_t o = 0; o < report.outputs.size(); ++o)
    if (report.outputs[o]) line[names[o]] = json_value(*report.outputs[o]);
  std::vector<ShownReport> shown;
  auto show = [&](const char* part, const std::vector<std::pair<std::string, Tensor>>& reports) {
    for (const auto& [name, t] : reports) {
      if (t.shape.empty()) shown.emplace_back(fmt::format("{} {}", part, name), format_metric(t.values[0]));
      line[part][name] = json_value(t);
      last_reports_[fmt::format("{} {}", part, name)] = t;
    }
  };
  show("valid", report.valid);
  show("test", report.test);
  progress_->finish_epoch(shown);
  if (!session_.options.json) return;
  print_json_line(line);
  std::fflush(stdout);
}

void TrainView::on_warning(const Diagnostic& d) {
  leave_line();
  session_.print(d);
}

}  // namespace nnc
