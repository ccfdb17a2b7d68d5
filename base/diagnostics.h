// Diagnostics: what a user is told. A diagnostic has a stable code (diagnostics.def), a message, a primary place, further
// labelled places, and help. One renderer for terminals, one for --json.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "base/source.h"

namespace nnc {

/// Generated from diagnostics.def: one enumerator per code, e.g. Code::E0101.
enum class Code : uint16_t {
#define NNC_DIAGNOSTIC(code, summary, explanation) code,
#include "base/diagnostics.def"
#undef NNC_DIAGNOSTIC
};

std::string_view code_name(Code);         ///< "E0101"
std::string_view code_summary(Code);      ///< one line
std::string_view code_explanation(Code);  ///< what `nnc explain E0101` prints
std::vector<Code> all_codes();

enum class Severity : uint8_t { error, warning };

struct Label {
  Span span;
  std::string text;
};

struct Diagnostic {
  Code code{};
  Severity severity = Severity::error;
  std::string message;        ///< what is wrong, lower case, no full stop
  Span span;                  ///< primary place; may be invalid (command line, data file)
  std::string span_text;      ///< text under the primary place's carets, may be empty
  std::string place;          ///< used instead of span where there is no source text: "digits.csv:17, column 3"
  std::vector<Label> labels;  ///< other places
  std::vector<std::string> notes;
  std::vector<std::string> help;
};

/// Collects the diagnostics of one compilation, in order of report.
class Diagnostics {
 public:
  Diagnostic& report(Code code, Span span, std::string message);  ///< the reference lives until the next report
  Diagnostic& warn(Code code, Span span, std::string message);
  void add(Diagnostic d) { items_.push_back(std::move(d)); }
  bool has_errors() const;
  const std::vector<Diagnostic>& items() const { return items_; }
  /// Sorted by file and position, exact duplicates removed: what the driver prints.
  std::vector<Diagnostic> sorted() const;

 private:
  std::vector<Diagnostic> items_;
};

/// Thrown where one fault ends the work at hand (a data file, a weights file, the command line). Rendered by whoever catches it.
class UserError : public std::exception {
 public:
  explicit UserError(Diagnostic d) : diagnostic_(std::move(d)) {}
  /// With a place in words ("digits.csv, row 17") instead of a span; an empty help is left out.
  UserError(Code code, std::string message, std::string place = {}, std::string help = {});
  const Diagnostic& diagnostic() const { return diagnostic_; }
  const char* what() const noexcept override { return diagnostic_.message.c_str(); }

 private:
  Diagnostic diagnostic_;
};

/// Thrown where a program is at fault: everything that was found in it, sorted, at least one error among it. Rendered by whoever catches it.
class ProgramErrors : public std::exception {
 public:
  explicit ProgramErrors(std::vector<Diagnostic> d) : diagnostics_(std::move(d)) {}
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  const char* what() const noexcept override { return diagnostics_.empty() ? "" : diagnostics_.front().message.c_str(); }

 private:
  std::vector<Diagnostic> diagnostics_;
};

/// Multi-line text in the layout of LANGUAGE reference ("error[E0101]: ...", source lines, carets, "= help: ..."), ends with a line break.
std::string render_text(const Diagnostic&, const SourceMap&, bool colour);
/// One JSON object on one line: code, severity, message, file, line, column, labels, help.
std::string render_json(const Diagnostic&, const SourceMap&);

/// The candidate nearest to `word` by edit distance if near enough to be a likely misspelling, else "".
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace nnc
