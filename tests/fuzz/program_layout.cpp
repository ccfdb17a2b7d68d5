// What `nnc fmt` makes of a program: the same tokens, the same tree, and a layout that it keeps. format_source looks at the first two itself;
// here they are compared once more, from outside.
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "frontend/syntax/ast_print.h"
#include "frontend/syntax/format.h"
#include "frontend/syntax/lexer.h"
#include "frontend/syntax/parser.h"
#include "tests/fuzz/programs.h"
#include "tests/fuzz/random.h"

namespace nnc::fuzz {
namespace {

struct Parsed {
  explicit Parsed(const std::string& text) {
    file = sources.add("fuzz.nn", text);
    Diagnostics lexical, syntax;
    for (const Token& t : tokenize(sources, file, lexical).tokens) tokens.emplace_back(sources.text(Span{file, t.begin, t.end}));
    tree = parse(sources, file, syntax);
    // A file that defines nothing (E0006) has a layout all the same: that of its comments.
    bool empty = std::all_of(tokens.begin(), tokens.end(), [](const std::string& t) { return t.empty(); });
    good = tree && (empty || (!tree->has_errors && !syntax.has_errors()));
  }
  SourceMap sources;
  FileId file;
  std::vector<std::string> tokens;
  std::unique_ptr<ast::File> tree;
  bool good = false;
};

// Other spaces, line breaks and comments where the language leaves them free; now and then where it does not.
std::string with_other_layout(const std::string& text, Random& random) {
  std::string out;
  bool string = false, comment = false;
  for (char c : text) {
    if (c == '\n') string = comment = false;
    if (c == '"' && !comment) string = !string;
    if (c == '#' && !string) comment = true;
    if (string || comment) {
      out += c;
    } else if (c == ' ' && random.chance(10)) {
      out += random.pick({"", "  ", "     ", "\t"});
    } else if (c == '\n' && random.chance(15)) {
      out += random.pick({"\n\n", "\n\n\n\n", "\r\n", "  \n", "  # a remark\n", "\n# a remark\n", "\n        # indented\n"});
    } else if (std::string_view(",({[+*").find(c) != std::string_view::npos && random.chance(6)) {
      out += c;
      out += random.pick({"\n", "\n      ", "  # why\n", "\n  # why\n   ", " "});
    } else {
      out += c;
    }
  }
  return out;
}

std::optional<Failure> check_text(const std::string& text, bool valid) {
  auto failed = [](const std::string& what, const std::string& result) { return Failure{"layout", what, fmt::format("{}:\n{}", what, result), "fmt", ""}; };
  Parsed before(text);
  Diagnostics diagnostics;
  std::optional<std::string> once = format_source(before.sources, before.file, diagnostics);
  if (!before.good) return once ? std::optional(failed("a program with wrong syntax is laid out", *once)) : std::nullopt;
  if (!once) return valid ? std::optional(failed("a valid program is not laid out", text)) : std::nullopt;
  Parsed after(*once);
  if (after.tokens != before.tokens) return failed("the layout has other tokens", *once);
  if (!after.good || print_ast(*after.tree) != print_ast(*before.tree)) return failed("the layout has another syntax tree", *once);
  std::optional<std::string> twice = format_source(after.sources, after.file, diagnostics);
  if (twice != once) return failed("the layout of a layout is another", *once + "-- again --\n" + twice.value_or("nothing"));
  return std::nullopt;
}

}  // namespace

std::optional<Failure> check_layout(const std::string& text, uint64_t seed, bool valid) {
  if (auto f = check_text(text, valid)) return f;
  Random random(seed, "layout");
  for (int i = 0; i < 3; ++i)
    if (auto f = check_text(with_other_layout(text, random), false)) return f;
  return std::nullopt;
}

}  // namespace nnc::fuzz
