// The canonical layout: what it makes of spaces, lines and comments; that laid-out files stay; that no layout changes what a file means.
// format_source compares tokens, comments and trees of every result itself and throws if they differ.
#include "frontend/syntax/format.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

std::string formatted(const std::string& text) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<std::string> result = format_source(sources, sources.add("test.nn", text), diagnostics);
  INFO(text);
  REQUIRE(result);
  return *result;
}

/// The layout of `text` is `expected`, and that of `expected` itself.
void check(const std::string& text, const std::string& expected) {
  CHECK(formatted(text) == expected);
  CHECK(formatted(expected) == expected);
}

std::vector<std::string> files_of_the_project() {
  std::vector<std::string> paths;
  for (const char* folder : {"/examples", "/frontend", "/tests", "/bench"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(NNC_SOURCE_DIR) + folder))
      if (entry.path().extension() == ".nn") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Other spaces, lines and comments, where they are free; sometimes they are not, and the text has an error of syntax.
std::string disturbed(const std::string& text, uint32_t seed) {
  auto draw = [&](uint32_t n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 16) % n;
  };
  std::string out;
  bool string = false, comment = false;
  for (char c : text) {
    if (c == '\n') string = comment = false;
    if (c == '"' && !comment) string = !string;
    if (c == '#' && !string) comment = true;
    if (string || comment) {
      out += c;
    } else if (c == ' ' && draw(8) == 0) {
      out.append(draw(5), draw(6) == 0 ? '\t' : ' ');
    } else if (c == '\n' && draw(10) == 0) {
      out += std::vector<std::string>{"\n\n\n", "\n     ", "\r\n", "   # tail\n", "\n# own\n", " \n"}[draw(6)];
    } else if ((c == ',' || c == '(' || c == '{' || c == '+' || c == '*') && draw(25) == 0) {
      out += c;
      out += std::vector<std::string>{"\n", " # \xC3\xA9\n", "\n      # own\n", "\n\t"}[draw(4)];
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("spaces follow from what tokens are to the parser") {
  check("fn f(x[ B ,In])->[B]{-x*-2+x^2-x ^ (1+1)}", "fn f(x[B, In]) -> [B] { -x * -2 + x^2 - x ^ (1 + 1) }\n");
  check("layer A(H)(x[B]) -> [B] { param w[4*H,2 * H] ~normal( 0.02 )\n x }",
        "layer A(H)(x[B]) -> [B] {\n  param w[4*H, 2 * H] ~ normal(0.02)\n  x\n}\n");
  check("dim A=1,B = A//2", "dim A = 1, B = A//2\n");
  check("fn f(x[...]) { if a==1{x}else{-x}}", "fn f(x[...]) { if a == 1 { x } else { -x } }\n");
  check("fn f(x[T]) { x[ T :0 .. 4 ] as[T] }", "fn f(x[T]) { x[T: 0..4] as [T] }\n");
  check("fn f(x[T]) { expectation (x) (2) }", "fn f(x[T]) { expectation(x)(2) }\n");
  check("fn f(x[T]) { scan t  in reverse   T with h[ B]=0,c:f32=x{update h=c;yield h,c} }",
        "fn f(x[T]) { scan t in reverse T with h[B] = 0, c: f32 = x { update h = c; yield h, c } }\n");
  check("layer A(x[B]) {\n param w[B]:f32  as\"w_l{i}\"~normal(1)\n state n as \"m\"=0\n x }",
        "layer A(x[B]) {\n  param w[B]: f32 as \"w_l{i}\" ~ normal(1)\n  state n as \"m\" = 0\n  x\n}\n");
  check("use\"a.nn\"{A,B}", "use \"a.nn\" { A, B }\n");
}

TEST_CASE("blocks that span lines have their braces at the ends of lines") {
  check("fn f(x[B]) { let y=x\ny }", "fn f(x[B]) {\n  let y = x\n  y\n}\n");
  check("fn f(x[B]) {\n\n\n    let y = x ; let z = y\n\n\n\n z\n\n}\n\n\n", "fn f(x[B]) {\n  let y = x; let z = y\n\n  z\n}\n");
  check("fn f(x[B]) {\n   if a { x }\n     else { y }\n}", "fn f(x[B]) {\n  if a { x }\n  else { y }\n}\n");
}

TEST_CASE("lines that continue a statement stand two columns right of it, or where the author has lined them up") {
  check("fn f(x[B]) {\nlet y = x\n|> g |> h\ny\n}", "fn f(x[B]) {\n  let y = x\n    |> g |> h\n  y\n}\n");
  check("fn f(x[B]) {\n  let yes=sum(x)\n          + bias\n  yes\n}", "fn f(x[B]) {\n  let yes = sum(x)\n            + bias\n  yes\n}\n");
  check("fn f(x[B]) {\n  let a = if x == 1 { 2 }\n          else { 3 }\n  a\n}", "fn f(x[B]) {\n  let a = if x == 1 { 2 }\n          else { 3 }\n  a\n}\n");
  check("fn f(x[B]) {\n g(a,\n   b,\n     c\n   )\n}", "fn f(x[B]) {\n  g(a,\n    b,\n    c\n  )\n}\n");
}

TEST_CASE("columns: fields, clauses, and what the author has lined up") {
  check("data d {\n image[4] : u8 = idx(\"a\")\n label:class(10)=idx(\"b\")\n test 20 %\n}",
        "data d {\n  image[4] : u8        = idx(\"a\")\n  label    : class(10) = idx(\"b\")\n  test 20%\n}\n");
  check("train {\n data d, batch: 4\n let l = M(x)\n minimize l\n using sgd(lr: 1)\n}",
        "train {\n  data     d, batch: 4\n  let l = M(x)\n  minimize l\n  using    sgd(lr: 1)\n}\n");
  std::string aligned = "fn f(x[B]) {\n  let a   = 1\n  let bcd = 2\n  let e = g(x, key:   3)\n  let f = g(x, query: 3)\n  a\n}\n";
  check(aligned, aligned);
  // Spaces that line up with nothing go.
  check("fn f(x[B]) {\n  let a    = 1\n  let bcd = 2\n  a\n}\n", "fn f(x[B]) {\n  let a = 1\n  let bcd = 2\n  a\n}\n");
  std::string numbers = "fn f() {\n  [[ 1,  -2],\n   [10, 200]]\n}\n";
  check(numbers, numbers);
}

TEST_CASE("comments stay where they belong") {
  check("# one\n\n\n#two\ndim A = 1# end\n# last", "# one\n\n#two\ndim A = 1  # end\n# last\n");
  check("fn f(x[B]) {# why\n# own\nlet a = g(x, # first\n # between\n  2) # second\n  a\n  # at the end\n}",
        "fn f(x[B]) {  # why\n  # own\n  let a = g(x,  # first\n    # between\n    2)  # second\n  a\n  # at the end\n}\n");
  std::string column = "fn f(x[B]) {\n  let a = x          # one\n  let long = x + x   # two\n                     # goes on\n  a\n}\n";
  check(column, column);
  check("# only a comment", "# only a comment\n");
  check("", "");
  check("fn f(x[B]) {\n  x\n    # between the stages\n    |> relu\n}", "fn f(x[B]) {\n  x\n    # between the stages\n    |> relu\n}\n");
}

TEST_CASE("carriage returns, tabs, a byte order mark and spaces at the ends of lines go; strings and comments keep theirs") {
  check("\xEF\xBB\xBF" "dim A = 1  \r\n\r\n\tdim B = 2 # tab\there \r\n", "dim A = 1\n\ndim B = 2  # tab\there\n");
  check("fn f() { g(\"a  b\tc \xC3\xA4\",  1) }", "fn f() { g(\"a  b\tc \xC3\xA4\", 1) }\n");
}

TEST_CASE("a file with syntax errors has no layout; a snippet that is wrong on purpose stays as it is") {
  SourceMap sources;
  Diagnostics diagnostics;
  CHECK_FALSE(format_source(sources, sources.add("test.nn", "fn f(x {"), diagnostics));
  CHECK(diagnostics.has_errors());
  check("test \"t\"   {\n expect error \"never\" in { fn   ( x  +  } }", "test \"t\" {\n  expect error \"never\" in { fn   ( x  +  }\n}\n");
}

TEST_CASE("files of the project: laid out twice is laid out once, the house's own files are laid out already") {
  size_t seen = 0, disturbances = 0;
  for (const std::string& path : files_of_the_project()) {
    std::string text = read(path);
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<std::string> result = format_source(sources, sources.add(path, text), diagnostics);
    if (!result) continue;  // a test of syntax errors
    ++seen;
    INFO(path);
    CHECK(formatted(*result) == *result);
    if (path.find("/examples/") != std::string::npos || path.find("/frontend/") != std::string::npos || path.find("/bench/") != std::string::npos)
      CHECK(*result == text);
    for (uint32_t seed = 1; seed <= 6; ++seed) {
      SourceMap other;
      Diagnostics ignored;
      auto once = format_source(other, other.add(path, disturbed(text, seed)), ignored);
      if (!once) continue;
      ++disturbances;
      CHECK(formatted(*once) == *once);
    }
  }
  CHECK(seen >= 30);
  CHECK(disturbances >= 100);
}

TEST_CASE("the `else` of a condition is none of an `if`") {
  check("fn f(x[B],n)\n  where n>0   else \"none\",\n n<9 else\n \"many\"{\n    if n>1 { x }\n else { -x }\n}",
        "fn f(x[B], n)\n  where n > 0 else \"none\",\n  n < 9 else\n  \"many\" {\n  if n > 1 { x }\n  else { -x }\n}\n");
}

TEST_CASE("large files: comments by the hundred thousand, a very long line, deep nesting") {
  std::string comments;
  for (int i = 0; i < 100000; ++i) comments += "  # a comment\n";
  std::string result = formatted(comments + "dim A = 1");
  CHECK(result.size() == 100000 * std::string("# a comment\n").size() + std::string("dim A = 1\n").size());
  std::string line = "fn f() { [1";
  for (int i = 0; i < 50000; ++i) line += " ,1";
  CHECK(formatted(line + "] }").size() == std::string("fn f() { [1] }\n").size() + 50000 * 3);
  std::string deep = "fn f(x[B]) {\n";
  for (int i = 0; i < 100; ++i) deep += "if a {\n";
  deep += "x\n";
  for (int i = 0; i < 101; ++i) deep += "}\n";
  std::string laid_out = formatted(deep);
  CHECK(laid_out.find("\n" + std::string(202, ' ') + "x\n") != std::string::npos);
  CHECK(formatted(laid_out) == laid_out);
}
