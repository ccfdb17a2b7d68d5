// The list of codes, the collection of one compilation's diagnostics, and the guess at what a misspelt word meant.
#include "base/diagnostics.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "base/check.h"

namespace nnc {
namespace {

struct CodeInfo {
  Code code;
  std::string_view name, summary, explanation;
};

constexpr CodeInfo codes[] = {
#define NNC_DIAGNOSTIC(code, summary, explanation) {Code::code, #code, summary, explanation},
#include "base/diagnostics.def"
#undef NNC_DIAGNOSTIC
};

const CodeInfo& info(Code code) {
  size_t index = static_cast<size_t>(code);
  NNC_CHECK(index < std::size(codes), "diagnostic code outside diagnostics.def");
  return codes[index];
}

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return lower;
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost one each.
/// Source: Damerau, "A technique for computer detection and correction of spelling errors", CACM 1964.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

/// How many edits still look like a slip: short words differ from each other by little.
size_t tolerated_edits(size_t length) { return length <= 2 ? 0 : length <= 5 ? 1 : length <= 8 ? 2 : 3; }

}  // namespace

std::string_view code_name(Code code) { return info(code).name; }
std::string_view code_summary(Code code) { return info(code).summary; }
std::string_view code_explanation(Code code) { return info(code).explanation; }

std::vector<Code> all_codes() {
  std::vector<Code> all;
  for (const CodeInfo& c : codes) all.push_back(c.code);
  return all;
}

Diagnostic& Diagnostics::report(Code code, Span span, std::string message) {
  Diagnostic& d = items_.emplace_back();
  d.code = code;
  d.span = span;
  d.message = std::move(message);
  return d;
}

Diagnostic& Diagnostics::warn(Code code, Span span, std::string message) {
  Diagnostic& d = report(code, span, std::move(message));
  d.severity = Severity::warning;
  return d;
}

bool Diagnostics::has_errors() const {
  return std::any_of(items_.begin(), items_.end(), [](const Diagnostic& d) { return d.severity == Severity::error; });
}

std::vector<Diagnostic> Diagnostics::sorted() const {
  std::vector<Diagnostic> all = items_;
  auto place = [](const Diagnostic& d) { return std::tuple(d.span.file.value, d.span.begin, d.span.end); };
  std::stable_sort(all.begin(), all.end(), [&](const Diagnostic& a, const Diagnostic& b) { return place(a) < place(b); });
  std::vector<Diagnostic> unique;
  for (Diagnostic& d : all) {
    auto same = [&](const Diagnostic& o) {
      return o.code == d.code && o.severity == d.severity && o.span == d.span && o.place == d.place && o.message == d.message;
    };
    // Equal places are neighbours after sorting, so only those need a look.
    auto first = std::find_if(unique.rbegin(), unique.rend(), [&](const Diagnostic& o) { return place(o) != place(d); }).base();
    if (std::none_of(first, unique.end(), same)) unique.push_back(std::move(d));
  }
  return unique;
}

UserError::UserError(Code code, std::string message, std::string place, std::string help) {
  diagnostic_.code = code;
  diagnostic_.message = std::move(message);
  diagnostic_.place = std::move(place);
  if (!help.empty()) diagnostic_.help.push_back(std::move(help));
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string lower = to_lower(word);
  const std::string* best = nullptr;
  std::pair<size_t, size_t> best_distance{};  // without regard to case, then with
  for (const std::string& candidate : candidates) {
    size_t longer = std::max(word.size(), candidate.size()), shorter = std::min(word.size(), candidate.size());
    size_t tolerated = tolerated_edits(shorter);
    if (longer - shorter > tolerated) continue;
    std::pair distance{edit_distance(lower, to_lower(candidate)), edit_distance(word, candidate)};
    if (distance.first > tolerated) continue;
    if (!best || distance < best_distance) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best ? *best : std::string();
}

}  // namespace nnc
