// Of each epoch there is one line, and below it a table of the reports where the terminal is too narrow for them. On a terminal it is rewritten in place: the cursor
// goes back over the lines drawn before, which holds as long as no line is wider than the terminal. A file or a pipe gets whole lines, and at most one each
// second: of epochs that are shorter, the last one in that second is shown, and the last of the run always.

#include "driver/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

namespace nnc {
namespace {

constexpr int bar_width = 20;
constexpr double redraw_seconds = 0.1, line_seconds = 1;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string format_duration(double s) {
  if (s < 0.9995e-4) return fmt::format("{:.1f}us", s * 1e6);
  if (s < 0.9995e-3) return fmt::format("{:.0f}us", s * 1e6);
  if (s < 0.9995) return fmt::format("{:.0f}ms", s * 1e3);
  if (s < 60) return fmt::format("{:.0f}s", s);
  return fmt::format("{:d}:{:02d}", int(s) / 60, int(s) % 60);
}

/// Terminal cells of printable text: code points, of which names and numbers take one cell each.
size_t width(const std::string& text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string cell_text(const ShownReport& r) { return fmt::format("{}: {}", r.first, r.second); }

}  // namespace

std::string format_metric(double v) {
  if (std::isnan(v)) return "nan";
  double size = std::fabs(v);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.3e}", v);
  return fmt::format("{:.4f}", v);
}

std::string lay_out_reports(const std::string& status, size_t status_width, const std::vector<ShownReport>& reports, int columns) {
  std::string line = status;
  size_t line_width = status_width, widest = 0;
  for (const ShownReport& r : reports) {
    const std::string text = cell_text(r);
    line += " - " + text;
    line_width += 3 + width(text);
    widest = std::max(widest, width(text));
  }
  if (line_width < size_t(columns)) return line;
  std::string table = status;
  const size_t cell = widest + 2, in_row = std::max<size_t>(1, size_t(std::max(columns - 1, 1)) / cell);
  for (size_t i = 0; i < reports.size(); ++i) {
    std::string text = cell_text(reports[i]);
    if (i % in_row == 0) table += "\n";
    const bool ends_row = i % in_row + 1 == in_row || i + 1 == reports.size();
    table += "  " + text + (ends_row ? "" : std::string(widest - width(text), ' '));
  }
  return table;
}

Progress::Progress(int64_t epochs, int64_t steps_per_epoch, int64_t first_step, bool quiet)
    : epochs_(epochs), steps_(steps_per_epoch), quiet_(quiet), terminal_(terminal(stderr)), epoch_start_(seconds()), first_step_(first_step) {}

/// "3s 12ms/step": the time left, or all that it took.
std::string Progress::status_line(bool finished, double now) const {
  double elapsed = now - epoch_start_, per_step = elapsed / double(std::max<int64_t>(1, step_ - first_step_));
  return fmt::format("{} {}/step", format_duration(finished ? elapsed : per_step * double(steps_ - step_)), format_duration(per_step));
}

void Progress::show(int64_t epoch, int64_t step, std::vector<ShownReport> reports, bool finished) {
  if (quiet_) return;
  double now = seconds();
  if (terminal_.animated ? !finished && now - last_draw_ < redraw_seconds : !finished) return;
  epoch_ = epoch, step_ = step;
  status_ = status_line(finished, now);
  reports_ = std::move(reports);
  last_draw_ = now;
  if (terminal_.animated) draw();
}

void Progress::draw() {
  if (epoch_ != shown_epoch_) {
    shown_epoch_ = epoch_;
    std::fprintf(stderr, "Epoch %lld/%lld\n", static_cast<long long>(epoch_ + 1), static_cast<long long>(epochs_));
    lines_drawn_ = 0;
  }
  const int columns = terminal(stderr).columns;  // the window may have been resized
  const std::string count = fmt::format("{}/{}", step_, steps_);
  const int room = columns - 1 - int(count.size() + status_.size()) - 2;
  const int bar_cells = std::clamp(room, 0, bar_width), filled = int(bar_cells * step_ / std::max<int64_t>(1, steps_));
  std::string bar;
  for (int i = 0; i < bar_cells; ++i) bar += i < filled ? "━" : (terminal_.colour ? "\x1b[2m━\x1b[22m" : " ");
  if (terminal_.colour) bar = "\x1b[32m" + bar + "\x1b[39m";
  const std::string status = fmt::format("{} {} {}", count, bar, status_);
  const std::string text = lay_out_reports(status, count.size() + size_t(bar_cells) + status_.size() + 2, reports_, columns);
  std::string back = lines_drawn_ > 1 ? fmt::format("\x1b[{}A", lines_drawn_ - 1) : "";
  std::fprintf(stderr, "%s\r\x1b[J%s", back.c_str(), text.c_str());
  std::fflush(stderr);
  lines_drawn_ = 1 + int(std::count(text.begin(), text.end(), '\n'));
}

/// "Epoch 3/20: 26/26 0s 12us/step - loss: 0.2100"
void Progress::print_line() {
  std::string line = fmt::format("Epoch {}/{}: {}/{} {}", epoch_ + 1, epochs_, step_, steps_, status_);
  for (const ShownReport& r : reports_) line += " - " + cell_text(r);
  std::fprintf(stderr, "%s\n", line.c_str());
  std::fflush(stderr);
  held_back_ = false;
  last_line_ = seconds();
}

void Progress::finish_epoch(const std::vector<ShownReport>& more) {
  if (quiet_) return;
  reports_.insert(reports_.end(), more.begin(), more.end());
  if (terminal_.animated) {
    draw();
    std::fputc('\n', stderr);
    lines_drawn_ = 0;
  } else if (last_line_ == 0 || seconds() - last_line_ >= line_seconds) {
    print_line();
  } else {
    held_back_ = true;
  }
  epoch_start_ = seconds();
  first_step_ = 0;
}

void Progress::interrupt() {
  if (held_back_) print_line();
  if (lines_drawn_ > 0) std::fputc('\n', stderr);
  lines_drawn_ = 0;
}

}  // namespace nnc
