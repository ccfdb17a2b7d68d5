// Going on in a log: whole lines up to the step that the run goes on from stay. A log is written in order, so the first line of a
// later step ends what stays.
#include "driver/step_log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/diagnostics.h"
#include "base/system_error.h"

namespace nnc {
namespace {

struct LogLine {
  int64_t step = 0;
  double seconds = 0;
};

std::optional<LogLine> read_line(const std::string& text) {
  nlohmann::json line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) return std::nullopt;
  LogLine result{line["step"].get<int64_t>(), 0};
  if (line.contains("seconds") && line["seconds"].is_number()) result.seconds = line["seconds"].get<double>();
  return result;
}

}  // namespace

StepLog::StepLog(std::string path, int64_t first_step) : path_(std::move(path)) {
  if (path_.empty()) return;
  struct stat status{};
  bool exists = stat(path_.c_str(), &status) == 0, regular = exists && S_ISREG(status.st_mode);
  if (first_step > 0 && regular) go_on(first_step);
  file_ = std::fopen(path_.c_str(), first_step > 0 ? "ae" : "we");
  if (!file_) throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path_, error_text(errno)), path_);
}

StepLog::~StepLog() {
  if (file_) std::fclose(file_);
}

void StepLog::go_on(int64_t first_step) {
  std::ifstream in(path_, std::ios::binary);
  if (!in) throw UserError(Code::E0413, fmt::format("cannot go on in `{}`: {}", path_, error_text(errno)), path_);
  std::string text;
  int64_t keep = 0, number = 0;
  while (std::getline(in, text)) {
    if (in.eof()) break;  // no line break: it was cut off
    std::optional<LogLine> line = read_line(text);
    ++number;
    if (!line)
      throw UserError(Code::E0413, fmt::format("cannot go on in `{}`: its line {} is not that of a step", path_, number), path_,
                      "a resumed run continues its log; give it another file");
    if (line->step > first_step) break;
    keep += int64_t(text.size()) + 1;
    seconds_before_ = line->seconds;
  }
  int result;
  do result = truncate(path_.c_str(), keep);
  while (result != 0 && errno == EINTR);
  if (result != 0) throw UserError(Code::E0413, fmt::format("cannot go on in `{}`: {}", path_, error_text(errno)), path_);
}

void StepLog::write_line(const std::string& line) {
  if (file_ && (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fputc('\n', file_) == EOF)) fail(errno);
}

void StepLog::flush() {
  if (file_ && std::fflush(file_) != 0) fail(errno);
}

void StepLog::fail(int error) {
  error_ = error;
  if (file_) std::fclose(file_);
  file_ = nullptr;
}

void StepLog::finish() {
  flush();
  if (file_ && std::fclose(std::exchange(file_, nullptr)) != 0) error_ = errno;
  if (error_)
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path_, error_text(error_)), path_,
                    "the weights are saved; the log ends early");
}

}  // namespace nnc
