// What nnc says of a program, in a form that stands in tables: one line for a message, with the text it points at, and one for
// each label, note and help behind it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {

/// "E0206 `3`: a field needs a source of data\n  help write ..."; of a place of several lines the first. "" where nothing is
/// wrong.
inline std::string said(const Diagnostics& diagnostics, const SourceMap& sources) {
  auto quoted = [&](const Diagnostic& d, Span span) {
    if (!span.valid()) return d.place;
    std::string_view text = sources.text(span);
    size_t end = text.find('\n');
    return "`" + std::string(text.substr(0, end)) + (end == std::string_view::npos ? "`" : "...`");
  };
  std::string all;
  for (const Diagnostic& d : diagnostics.sorted()) {
    all += (all.empty() ? "" : "\n") + std::string(code_name(d.code)) + " " + quoted(d, d.span) + ": " + d.message;
    if (!d.span_text.empty()) all += "\n  label " + quoted(d, d.span) + ": " + d.span_text;
    for (const Label& l : d.labels) all += "\n  label " + quoted(d, l.span) + ": " + l.text;
    for (const std::string& note : d.notes) all += "\n  note " + note;
    for (const std::string& help : d.help) all += "\n  help " + help;
  }
  return all;
}

/// Data of every kind of field, and the beginning of a train block on it; a program goes on behind them.
inline const std::string data = R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4)
 u : u8 = csv("d.csv", columns: 4)
 c : class(5) = csv("d.csv", columns: 4) }
)";
inline const std::string means = data + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1
 )";

struct Saying {
  std::string program;
  std::string expected;
  std::vector<Override> overrides = {};
};

inline void check_sayings(const std::vector<Saying>& sayings) {
  for (const Saying& s : sayings) {
    INFO(s.program);
    Loaded l = load(s.program, s.overrides);
    CHECK(said(l.diagnostics, *l.sources) == s.expected);
    CHECK((l.module != nullptr) == s.expected.empty());
  }
}

}  // namespace nnc::frontend_tests
