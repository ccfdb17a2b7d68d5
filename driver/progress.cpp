// One line per epoch, rewritten in place on a terminal and printed once elsewhere.

#include "driver/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

namespace nnc {
namespace {

constexpr int bar_width = 20;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string format_duration(double s) {
  if (s < 0.9995e-4) return fmt::format("{:.1f}us", s * 1e6);
  if (s < 0.9995e-3) return fmt::format("{:.0f}us", s * 1e6);
  if (s < 0.9995) return fmt::format("{:.0f}ms", s * 1e3);
  if (s < 60) return fmt::format("{:.0f}s", s);
  return fmt::format("{:d}:{:02d}", int(s) / 60, int(s) % 60);
}

}  // namespace

std::string format_metric(double v) {
  if (std::isnan(v)) return "nan";
  double size = std::fabs(v);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.3e}", v);
  return fmt::format("{:.4f}", v);
}

Progress::Progress(std::vector<std::string> names, int64_t epochs, int64_t steps_per_epoch, bool quiet)
    : names_(std::move(names)), epochs_(epochs), steps_(steps_per_epoch), quiet_(quiet), terminal_(terminal(stderr)), epoch_start_(seconds()) {}

void Progress::show(int64_t epoch, int64_t step, std::span<const double> values, bool finished) {
  double now = seconds();
  if (epoch != shown_epoch_) {
    shown_epoch_ = epoch;
    if (!quiet_) std::fprintf(stderr, "Epoch %lld/%lld\n", static_cast<long long>(epoch + 1), static_cast<long long>(epochs_));
  }
  if (quiet_ || (!finished && (!terminal_.animated || now - last_draw_ < 0.1))) return;
  last_draw_ = now;
  int filled = int(bar_width * step / std::max<int64_t>(1, steps_));
  std::string bar;
  for (int i = 0; i < bar_width; ++i) bar += i < filled ? "━" : (terminal_.colour ? "\x1b[2m━\x1b[22m" : " ");
  if (terminal_.colour) bar = "\x1b[32m" + bar + "\x1b[39m";
  double elapsed = now - epoch_start_, per_step = elapsed / double(std::max<int64_t>(1, step - first_step_));
  std::string line = fmt::format("{}/{} {} {} {}/step", step, steps_, bar, format_duration(finished ? elapsed : per_step * double(steps_ - step)), format_duration(per_step));
  for (size_t i = 0; i < names_.size(); ++i) line += fmt::format(" - {}: {}", names_[i], format_metric(values[i]));
  if (terminal_.animated) std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
  else std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  open_line_ = true;
}

void Progress::finish_epoch(const std::string& more) {
  if (quiet_) return;
  std::fprintf(stderr, "%s\n", more.c_str());
  open_line_ = false;
  epoch_start_ = seconds();
  first_step_ = 0;
}

void Progress::interrupt() {
  if (open_line_) std::fputc('\n', stderr);
  open_line_ = false;
}

}  // namespace nnc
