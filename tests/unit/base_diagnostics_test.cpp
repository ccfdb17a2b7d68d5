// How diagnostics read: the layout of the language reference, to the byte.
#include "base/diagnostics.h"

#include <nlohmann/json.hpp>
#include <set>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// The span of the n-th (from 0) occurrence of `word`.
Span find(const SourceMap& sources, FileId file, std::string_view word, int n = 0) {
  std::string_view text = sources.text(file);
  size_t at = text.find(word);
  for (; n > 0; --n) at = text.find(word, at + 1);
  REQUIRE(at != std::string_view::npos);
  return {file, static_cast<uint32_t>(at), static_cast<uint32_t>(at + word.size())};
}

Diagnostic make(Span span, std::string message, std::string span_text = {}) {
  Diagnostic d;
  d.code = Code::E0101;
  d.span = span;
  d.message = std::move(message);
  d.span_text = std::move(span_text);
  return d;
}

}  // namespace

TEST_CASE("two labels on one line: the right one beside its mark, the left one below") {
  SourceMap sources;
  FileId file = sources.add("mlp.nn", std::string(16, '\n') + "  minimize cross_entropy(logits, label)\n");
  Diagnostic d = make(find(sources, file, "logits"), "`logits` has 10 columns, but `label` has 12 classes",
                      "[B, 10], from `Dense(10)` at mlp.nn:12");
  d.labels.push_back({find(sources, file, "label"), "class(12), declared at mlp.nn:4"});
  d.help.push_back("change `Dense(10)` to `Dense(12)`");
  CHECK(render_text(d, sources, false) == R"(error[E0101]: `logits` has 10 columns, but `label` has 12 classes
  --> mlp.nn:17:26
   |
17 |   minimize cross_entropy(logits, label)
   |                          ^^^^^^  ----- class(12), declared at mlp.nn:4
   |                          |
   |                          [B, 10], from `Dense(10)` at mlp.nn:12
   = help: change `Dense(10)` to `Dense(12)`
)");
}

TEST_CASE("three labels on one line hang from right to left") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "one two three\n");
  Diagnostic d = make(find(sources, file, "two"), "m", "the second");
  d.labels.push_back({find(sources, file, "three"), "the third"});
  d.labels.push_back({find(sources, file, "one"), "the first"});
  CHECK(render_text(d, sources, false) == R"(error[E0101]: m
 --> a.nn:1:5
  |
1 | one two three
  | --- ^^^ ----- the third
  | |   |
  | |   the second
  | the first
)");
}

TEST_CASE("a label inside another's mark hangs, and so does the outer one") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "f(x, y)\n");
  Diagnostic d = make(find(sources, file, "f(x, y)"), "m", "the call");
  d.labels.push_back({find(sources, file, "x"), "the argument"});
  CHECK(render_text(d, sources, false) == R"(error[E0101]: m
 --> a.nn:1:1
  |
1 | f(x, y)
  | ^^^^^^^
  | | |
  | | the argument
  | the call
)");
}

TEST_CASE("labels on other lines and in other files, with gaps between them") {
  SourceMap sources;
  FileId net = sources.add("net.nn", "dim C = 130\nb\nc\nd\ndim H = 4\nf\nx where C % H\n");
  FileId lib = sources.add("lib.nn", std::string(11, '\n') + "layer Heads(C)\n");
  Diagnostic d = make(find(sources, net, "C % H"), "does not hold");
  d.labels.push_back({find(sources, net, "C = 130"), "130 here"});
  d.labels.push_back({find(sources, net, "H = 4"), "4 here"});
  d.labels.push_back({find(sources, lib, "Heads"), "required here"});
  CHECK(render_text(d, sources, false) == R"(error[E0101]: does not hold
  --> net.nn:7:9
   |
 1 | dim C = 130
   |     ------- 130 here
...
 5 | dim H = 4
   |     ----- 4 here
 6 | f
 7 | x where C % H
   |         ^^^^^
  ::: lib.nn:12:7
   |
12 | layer Heads(C)
   |       ----- required here
)");
}

TEST_CASE("a span over several lines marks its first and its last line") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "train {\n  a\n  b\n  c\n}\n");
  Diagnostic d = make({file, 0, static_cast<uint32_t>(sources.text(file).size() - 1)}, "m", "this block");
  CHECK(render_text(d, sources, false) == R"(error[E0101]: m
 --> a.nn:1:1
  |
1 | train {
  | ^^^^^^^
...
5 | }
  | ^ this block
)");
}

TEST_CASE("tabs, wide and combining characters keep marks below what they mean") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "\tx\ty = z\n\xE6\xBC\xA2\xE5\xAD\x97 e\xCC\x81 y\n");
  CHECK(render_text(make(find(sources, file, "y"), "m"), sources, false) ==
        "error[E0101]: m\n --> a.nn:1:4\n  |\n1 |     x   y = z\n  |         ^\n");
  CHECK(render_text(make(find(sources, file, "y", 1), "m"), sources, false) ==
        "error[E0101]: m\n --> a.nn:2:7\n  |\n2 | \xE6\xBC\xA2\xE5\xAD\x97 e\xCC\x81 y\n  |        ^\n");
}

TEST_CASE("the end of a file, an empty span and a line break each get one caret") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "abc\nd");
  CHECK(render_text(make({file, 5, 5}, "m"), sources, false) == "error[E0101]: m\n --> a.nn:2:2\n  |\n2 | d\n  |  ^\n");
  CHECK(render_text(make({file, 3, 4}, "m"), sources, false) == "error[E0101]: m\n --> a.nn:1:4\n  |\n1 | abc\n  |    ^\n");
  CHECK(render_text(make({file, 5, 900}, "m"), sources, false) == "error[E0101]: m\n --> a.nn:2:2\n  |\n2 | d\n  |  ^\n");
  FileId empty = sources.add("empty.nn", "");
  CHECK(render_text(make({empty, 0, 0}, "m"), sources, false) == "error[E0101]: m\n --> empty.nn:1:1\n  |\n1 |\n  | ^\n");
}

TEST_CASE("a terminal is never sent control characters or malformed text from a file") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "a\x1b[31m\xFF z\n");
  std::string text = render_text(make(find(sources, file, "z"), "bad \x1b[2J cell \xC0"), sources, false);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find('\xFF') == std::string::npos);
  CHECK(text.find("bad \\x1b[2J cell \\xc0") != std::string::npos);
}

TEST_CASE("a very long line is cut to a window around its mark") {
  SourceMap sources;
  FileId file = sources.add("a.nn", std::string(5000, 'a') + "X" + std::string(5000, 'b'));
  std::string text = render_text(make(find(sources, file, "X"), "m"), sources, false);
  size_t line = text.find("1 | "), marks = text.find("\n  | ", line);
  REQUIRE(marks != std::string::npos);
  CHECK(text.size() < 500);
  CHECK(text.find('X', line) - line == text.find('^', marks) - (marks + 1));
  CHECK(text.substr(line, 8) == "1 | ...a");
}

TEST_CASE("places without source text, notes, help of several lines, warnings") {
  SourceMap sources;
  UserError error(Code::E0401, "row 17 is bad", "digits.csv:18, column 3", "mend it\nor drop it");
  CHECK(render_text(error.diagnostic(), sources, false) ==
        "error[E0401]: row 17 is bad\n  --> digits.csv:18, column 3\n   = help: mend it\n           or drop it\n");
  CHECK(std::string(error.what()) == "row 17 is bad");
  UserError bare(Code::E0401, "nothing to read");
  CHECK(render_text(bare.diagnostic(), sources, false) == "error[E0401]: nothing to read\n");
  Diagnostics all;
  all.warn(Code::E0001, {}, "odd").notes.push_back("seen once");
  CHECK(render_text(all.items()[0], sources, false) == "warning[E0001]: odd\n   = note: seen once\n");
  CHECK_FALSE(all.has_errors());
}

TEST_CASE("colour adds escapes and changes nothing else") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "one two\n");
  Diagnostic d = make(find(sources, file, "one"), "m", "left");
  d.labels.push_back({find(sources, file, "two"), "right"});
  d.help.push_back("h");
  std::string coloured = render_text(d, sources, true), stripped;
  for (size_t i = 0; i < coloured.size(); ++i) {
    if (coloured[i] == '\x1b')
      i = coloured.find('m', i);
    else
      stripped += coloured[i];
  }
  CHECK(stripped == render_text(d, sources, false));
  CHECK(coloured.find("\x1b[1;31merror[E0101]\x1b[0m") == 0);
  CHECK(coloured.find("\x1b[1;31m^^^\x1b[0m") != std::string::npos);
}

TEST_CASE("json has every part, one object on one line") {
  SourceMap sources;
  FileId file = sources.add("a.nn", "one\n  two\n");
  Diagnostic d = make(find(sources, file, "two"), "say \"two\"\nor not \xFF", "here");
  d.labels.push_back({find(sources, file, "one"), "there"});
  d.help = {"first", "second"};
  d.notes = {"n"};
  std::string line = render_json(d, sources);
  CHECK(line.find('\n') == std::string::npos);
  auto j = nlohmann::json::parse(line);
  CHECK(j["code"] == "E0101");
  CHECK(j["severity"] == "error");
  CHECK(j["message"].get<std::string>().substr(0, 16) == "say \"two\"\nor not");
  CHECK(j["file"] == "a.nn");
  CHECK(j["line"] == 2);
  CHECK(j["column"] == 3);
  CHECK(j["labels"].size() == 2);
  CHECK(j["labels"][0]["text"] == "here");
  CHECK(j["labels"][1]["text"] == "there");
  CHECK(j["labels"][1]["line"] == 1);
  CHECK(j["help"] == "first\nsecond");
  auto bare = nlohmann::json::parse(render_json(UserError(Code::E0401, "m", "a.csv:3").diagnostic(), sources));
  CHECK(bare["file"].is_null());
  CHECK(bare["line"].is_null());
  CHECK(bare["place"] == "a.csv:3");
  CHECK(bare["help"] == "");
}

TEST_CASE("a diagnostic from files that are not at hand is told without its places") {
  SourceMap sources, none;
  FileId file = sources.add("net.nn", "table[index]\n");
  Diagnostic d = make(find(sources, file, "table"), "index 9 is out of range", "has 3 entries");
  d.labels.push_back({find(sources, file, "index"), "the index comes from here"});
  d.notes.push_back("a note");
  d.help.push_back("compare them");
  CHECK(render_text(d, none, false) ==
        "error[E0101]: index 9 is out of range\n"
        "   = note: a note\n"
        "   = note: has 3 entries\n"
        "   = note: the index comes from here\n"
        "   = help: compare them\n");
  nlohmann::json json = nlohmann::json::parse(render_json(d, none));
  CHECK(json["message"] == "index 9 is out of range");
  CHECK(json["file"].is_null());
  CHECK(json["labels"].empty());
  CHECK(json["notes"].size() == 3);

  // A place that is at hand stays where another is not.
  FileId other = sources.add("lost.nn", "x\n");
  SourceMap part;
  part.add("net.nn", "table[index]\n");
  d.labels[0].span = {other, 0, 1};
  CHECK_THAT(render_text(d, part, false), nnc::test::contains("--> net.nn:1:1"));
  CHECK_THAT(render_text(d, part, false), nnc::test::contains("note: the index comes from here"));
}

TEST_CASE("the collection is sorted by place and loses exact duplicates only") {
  Diagnostics all;
  FileId one{1}, two{2};
  all.report(Code::E0101, {two, 0, 1}, "c");
  all.report(Code::E0101, {one, 9, 10}, "b");
  all.report(Code::E0101, {one, 3, 4}, "a");
  all.report(Code::E0101, {one, 9, 10}, "b");
  all.report(Code::E0001, {one, 9, 10}, "b");
  all.report(Code::E0101, {one, 9, 10}, "b");
  CHECK(all.has_errors());
  std::string order;
  for (const Diagnostic& d : all.sorted()) order += d.message + std::string(code_name(d.code)) + " ";
  CHECK(order == "aE0101 bE0101 bE0001 cE0101 ");
}

TEST_CASE("every code has a name of its own, a summary and an explanation, in numeric order") {
  std::set<std::string> names;
  std::string previous;
  for (Code c : all_codes()) {
    std::string name(code_name(c));
    CHECK(name.size() == 5);
    CHECK(name[0] == 'E');
    CHECK(previous < name);
    previous = name;
    names.insert(name);
    CHECK_FALSE(code_summary(c).empty());
    CHECK(code_explanation(c).size() > 20);
  }
  CHECK(names.size() == all_codes().size());
}

TEST_CASE("the nearest name is offered only when it is likely meant") {
  std::vector<std::string> names = {"softmax", "log_softmax", "relu", "sgd", "adam", "adamw", "Dense", "momentum", "lr"};
  CHECK(nearest("sofmax", names) == "softmax");
  CHECK(nearest("sotfmax", names) == "softmax");  // two neighbours swapped are one slip
  CHECK(nearest("Softmax", names) == "softmax");
  CHECK(nearest("SGD", names) == "sgd");
  CHECK(nearest("dense", names) == "Dense");
  CHECK(nearest("adamx", names) == "adam");
  CHECK(nearest("Relu", names) == "relu");
  CHECK(nearest("momentun", names) == "momentum");
  CHECK(nearest("LR", names) == "lr");
  CHECK(nearest("x", names).empty());
  CHECK(nearest("rl", names).empty());
  CHECK(nearest("convolution", names).empty());
  CHECK(nearest("", names).empty());
  CHECK(nearest("abc", {}).empty());
  CHECK(nearest("Ab", {"ab", "Ab"}) == "Ab");
}
