// Tokens, and the errors of text itself (E0001 to E0005, E0007).
#include "frontend/syntax/lexer.h"

#include <limits>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

struct Lexed {
  SourceMap sources;
  Diagnostics diagnostics;
  TokenList list;
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const Token& t : list.tokens) all.emplace_back(sources.text(FileId{1}).substr(t.begin, t.end - t.begin));
    return all;
  }
  std::vector<std::string> errors() const {
    std::vector<std::string> all;
    for (const Diagnostic& d : diagnostics.sorted())
      all.push_back(std::string(code_name(d.code)) + " " + std::string(sources.text(d.span)) + ": " + d.message);
    return all;
  }
  std::string help(size_t i = 0) const { return diagnostics.items().at(i).help.empty() ? "" : diagnostics.items()[i].help[0]; }
};

Lexed lex(std::string text) {
  Lexed result;
  FileId id = result.sources.add("test.nn", std::move(text));
  result.list = tokenize(result.sources, id, result.diagnostics);
  return result;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("tokens are the longest that begin where they do") {
  Lexed l = lex("x|>a..b...c->d//e<=f!=g==h=i 1..2 0.5 1e-3 1_000 \"s\" w_1");
  CHECK(l.errors().empty());
  CHECK(l.texts() == Strings{"x", "|>", "a", "..", "b", "...", "c",  "->", "d",   "//",   "e",     "<=",    "f",   "!=",
                             "g", "==", "h", "=",  "i", "1",   "..", "2",  "0.5", "1e-3", "1_000", "\"s\"", "w_1", ""});
  CHECK(l.list.tokens.back().kind == TokenKind::end);
}

TEST_CASE("tokens know the white space around them, comments are kept aside") {
  Lexed l = lex("a -b # note\n- c");
  REQUIRE(l.list.tokens.size() == 6);
  CHECK(l.list.tokens[0].newline_before);
  CHECK(l.list.tokens[1].space_before);
  CHECK_FALSE(l.list.tokens[1].space_after);
  CHECK_FALSE(l.list.tokens[1].newline_before);
  CHECK(l.list.tokens[2].space_after);
  CHECK(l.list.tokens[3].newline_before);
  CHECK(l.list.tokens[3].space_after);
  REQUIRE(l.list.comments.size() == 1);
  CHECK(l.sources.text(l.list.comments[0]) == "# note");
}

TEST_CASE("a byte order mark, carriage returns and tabs are white space") {
  Lexed l = lex("\xEF\xBB\xBF\ta\r\nb # c\r\n");
  CHECK(l.errors().empty());
  CHECK(l.texts() == Strings{"a", "b", ""});
  CHECK(l.sources.text(l.list.comments[0]) == "# c");
}

TEST_CASE("E0001: white space that looks like what it is not") {
  // One error for the file, since every line of it ends so; a carriage return before a line feed is a line's end.
  Lexed l = lex("a\rb # c\rd\r\ne");
  REQUIRE(l.errors() == Strings{"E0001 \r: a carriage return without a line feed does not end a line"});
  CHECK(l.help() == "save the file with line ends of LF or CR LF");
  CHECK(l.texts() == Strings{"a", "b", "e", ""});
  Lexed comment = lex("# c\rd");
  CHECK(comment.errors() == Strings{"E0001 \r: a carriage return without a line feed does not end a line"});
  Lexed space = lex("let a\u00a0= 3");
  REQUIRE(space.errors() == Strings{"E0001 \u00a0: this is a no-break space, not a space"});
  CHECK(space.help() == "replace it by a space");
}

TEST_CASE("E0001: characters that begin no token are one error for a run, with nnc's own form as help") {
  CHECK(lex("a $$$ b").errors() == Strings{"E0001 $$$: unexpected character `$`"});
  CHECK(lex("a && b").help() == "write `and`");
  CHECK(lex("a || b").help() == "write `or`");
  CHECK(lex("!a").help() == "write `not`");
  CHECK_THAT(lex("a @ b").help(), test::contains("sum(a * b, over: D)"));
  CHECK(lex("x.shape").errors() == Strings{"E0001 .: a `.` cannot stand here"});
  CHECK(lex("csv('a b')").errors() == Strings{"E0001 'a b': strings stand in straight double quotes"});
  CHECK(lex("csv(\u201ca b\u201d)").help() == "write \"a b\"");
  CHECK(lex("a \u2212 b").help() == "write `-`");
  CHECK(lex("\u03b2").errors() == Strings{"E0001 \u03b2: unexpected character `\u03b2`"});
  CHECK(lex("a\x01").errors() == Strings{"E0001 \x01: unexpected control character 0x01"});
  CHECK(lex("use layers.nn").help() == "a file's name stands in double quotes: `use \"layers.nn\"`");
}

TEST_CASE("E0002: a file that is not text is one error") {
  Lexed binary =
      lex(std::string("\x7f"
                      "ELF\0\0\x80$$",
                      9));
  CHECK_FALSE(binary.list.readable);
  CHECK(binary.list.tokens.size() == 1);
  REQUIRE(binary.diagnostics.items().size() == 1);
  CHECK(binary.diagnostics.items()[0].code == Code::E0002);

  Lexed latin = lex("model \xe9t\xe9 \xff");
  CHECK_FALSE(latin.list.readable);
  CHECK(latin.diagnostics.items().size() == 1);
  CHECK_THAT(latin.diagnostics.items()[0].message, test::contains("0xe9"));
}

TEST_CASE("E0002: in comments and strings the rest of the file is still read") {
  Lexed l = lex("a # \xe9\nb \"\xe9\" c");
  CHECK(l.list.readable);
  CHECK(l.list.tokens.size() == 5);
  CHECK(l.diagnostics.items().size() == 1);
  for (const char* malformed : {"#\xc0\x80", "#\xed\xa0\x80", "#\xf4\x90\x80\x80", "#\xe2\x82", "#\xf0\x80\x80\x80"}) {
    CAPTURE(malformed);
    CHECK(lex(malformed).diagnostics.items().size() == 1);
  }
  CHECK(lex("# \u20ac \U0001F600 \u00e9").diagnostics.items().empty());
}

TEST_CASE("E0003: a string ends on its line") {
  Lexed l = lex("use \"abc\nb");
  CHECK(l.errors() == Strings{"E0003 \": this string has no closing quote"});
  CHECK(l.list.tokens[1].kind == TokenKind::bad_rest);
  CHECK(l.texts() == Strings{"use", "\"abc", "b", ""});
  CHECK(lex("\"").diagnostics.items().size() == 1);
  CHECK(lex("\"a\\").diagnostics.items().size() == 1);
  CHECK(lex("\"a\\\"").diagnostics.items().size() == 1);
}

TEST_CASE("E0004: malformed numbers, each with what was meant") {
  CHECK(lex("2. + 1").help() == "write `2.0`");
  CHECK(lex("(.5)").help() == "write `0.5`");
  CHECK(lex("1e").help() == "an exponent has digits: `1e-3`");
  CHECK(lex("12abc").errors() == Strings{"E0004 12abc: `12abc` is neither a number nor a name"});
  CHECK(lex("0x10").help() == "numbers are written in decimal");
  CHECK(lex("1__0").diagnostics.items().size() == 1);
  CHECK(lex("1_").diagnostics.items().size() == 1);
  CHECK(lex("1.2.3").diagnostics.items().size() == 1);
  CHECK(lex("9223372036854775807").errors().empty());
  CHECK(lex("9223372036854775808").diagnostics.items().size() == 1);
  CHECK(lex("1e308").errors().empty());
  CHECK(lex("1e309").help() == "infinity is written `inf`");
  CHECK(lex("1e-999").errors().empty());
  CHECK(lex("0..64").errors().empty());
}

TEST_CASE("number values") {
  CHECK(number_value("1_000").integer == 1000);
  CHECK(number_value("1_000").is_integer);
  CHECK(number_value("007").integer == 7);
  CHECK_FALSE(number_value("5e-4").is_integer);
  CHECK(number_value("5e-4").number == 5e-4);
  CHECK(number_value("1E+2").number == 100);
  CHECK(number_value("1e-999").number == 0);
  CHECK(number_value("1e999").number == std::numeric_limits<double>::infinity());
}

TEST_CASE("E0005 and string values") {
  CHECK(string_value(R"("a\"b\\c\n\t")") == "a\"b\\c\n\t");
  CHECK(string_value("\"\"").empty());
  Lexed l = lex(R"("C:\data\new")");
  CHECK(l.errors() == Strings{R"(E0005 \d: unknown escape `\d`)"});
}

TEST_CASE("E0007: a file of too many tokens is refused as a whole") {
  std::string text;
  for (size_t i = 0; i <= max_tokens; ++i) text += "1 ";
  Lexed l = lex(std::move(text));
  CHECK_FALSE(l.list.readable);
  REQUIRE(l.diagnostics.items().size() == 1);
  CHECK(l.diagnostics.items()[0].code == Code::E0007);
}

TEST_CASE("a flood of lexical errors is cut") {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "$ ";
  CHECK(lex(std::move(text)).diagnostics.items().size() == 100);
}
