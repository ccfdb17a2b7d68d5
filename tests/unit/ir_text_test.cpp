// .nnir: round trips to the byte, locations without their source, and a message with its place for every kind of fault.
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/diagnostics.h"
#include "ir/graph.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using nnc::test::contains;

namespace {

const char* const example = R"(graph @train {
  param @fc1.weight : f32[3, 2] loc("mlp.nn":4:3)
  frozen @"odd \"name\"" : i32[]
  state @mean : f64[2]
  optimizer_state @optimizer.m.fc1.weight : f32[3, 2]
  %0 = input @image : u8[B, 3] loc("mlp.nn":12:8)
  %1 = parameter @fc1.weight : f32[3, 2] scope "fc1"
  %2 = cast(%0) : f32[B, 3]
  %3 = contract(%2, %1) ab,bc->ac : f32[B, 2] scope "fc1" group 3 loc("mlp.nn":12:8)
  %4 = constant -0.1 : f32[B, 2] group 0 loc("<std>":100:1)
  %5 = maximum(%3, %4) : f32[B, 2]
  %6 = iota axis 0 : i32[B]
  %7 = extent 2*B : f64[]
  %8 = constant 0.25 : f32[]
  %9 = broadcast(%8) axes [] : f32[3, 2]
  %10 = reduce_sum(%5) axes [0, 1] : f32[]
  %11 = transpose(%9) axes [1, 0] : f32[2, 3]
  %12 = reshape(%5) : f32[2*B]
  %13 = slice(%11) axis 1 begin 1 : f32[2, 2]
  %14 = pad(%13) axis 1 begin 1 : f32[2, 5]
  %15 = argmax(%5) axis 1 : i32[B]
  %16 = gather(%9, %15) axis 0 ab,c->cb : f32[B, 2]
  %17 = scatter_add(%16, %15) axis 0 cb,c->ab : f32[3, 2]
  %18 = constant inf : f32[]
  %19 = constant -inf : f32[]
  %20 = constant nan : f64[]
  %21 = constant 5e-324 : f64[]
  %22 = constant 1 : bool[2]
  %23 = scalar @using.lr : f64[]
  %24 = scalar @step : i64[]
  %25 = random @"dropout1#0" : f32[B, 2]
  output "loss" %10
  output "a \"b\"\n" %12
  update @fc1.weight %17
}
)";

std::optional<Graph> parse(const std::string& text, SourceMap& sources, Diagnostics& diagnostics) {
  return parse_graph(sources, sources.add("test.nnir", text), diagnostics);
}

std::string round_trip(const std::string& text) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse(text, sources, diagnostics);
  for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(render_text(d, sources, false));
  REQUIRE(graph.has_value());
  REQUIRE(verify_graph(*graph).empty());
  return print_graph(*graph, &sources);
}

// Faults of a text: "E0631 3:8 message", one per line.
std::string faults(const std::string& text) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse(text, sources, diagnostics);
  CHECK_FALSE(graph.has_value());
  std::string out;
  for (const Diagnostic& d : diagnostics.items()) {
    LineColumn at = sources.position(d.span.file, d.span.begin);
    out += fmt::format("{}{} {}:{} {}", out.empty() ? "" : "\n", code_name(d.code), at.line, at.column, d.message);
    for (const std::string& help : d.help) out += " | " + help;
    CHECK_FALSE(render_text(d, sources, false).empty());
  }
  return out;
}

// Faults of one line in the middle of a sound graph (it is line 4).
std::string line_faults(const std::string& line) {
  return faults("graph @g {\n  param @weight : f32[2]\n  %0 = input @x : f32[B, 2]\n" + line + "\n  output \"r\" %0\n}\n");
}

uint64_t base_seed() {
  const char* text = std::getenv("NNC_TEST_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 20261122;
}

}  // namespace

TEST_CASE("every attribute survives a round trip to the byte", "[ir]") { CHECK(round_trip(example) == example); }

TEST_CASE("the parser is generous with numbering, blanks and comments", "[ir]") {
  CHECK(round_trip("# a comment\n\ngraph @g {  # here too\n\n  %7=input @x:f32[ 2 ]\n  %3 = neg ( %7 ) : f32[2] # so\n  output \"r\" %3\n}\n") ==
        "graph @g {\n  %0 = input @x : f32[2]\n  %1 = neg(%0) : f32[2]\n  output \"r\" %1\n}\n");
  CHECK(round_trip("graph @a {\r\n}\r\n") == "graph @a {\n}\n");
}

TEST_CASE("locations survive without their source, and use it where it is there", "[ir]") {
  SourceMap sources;
  FileId real = sources.add("net.nn", "line one\nl\xC3\xAEne two\n");
  Diagnostics diagnostics;
  std::optional<Graph> graph =
      parse("graph @g {\n  %0 = scalar @a : f64[] loc(\"net.nn\":2:6)\n  %1 = scalar @b : f64[] loc(\"gone.nn\":70:12)\n}\n", sources, diagnostics);
  REQUIRE(graph.has_value());
  Span there = (*graph)[NodeId{0}].span, gone = (*graph)[NodeId{1}].span;
  CHECK(there.file == real);
  CHECK(sources.describe(there) == "net.nn:2:6");
  CHECK(sources.text(real).substr(there.begin, 3) == "two");
  CHECK(sources.describe(gone) == "gone.nn:70:12");
  // A source that has become shorter than the places say is not used.
  graph = parse("graph @g {\n  %0 = scalar @a : f64[] loc(\"net.nn\":9:1)\n}\n", sources, diagnostics);
  REQUIRE(graph.has_value());
  CHECK_FALSE((*graph)[NodeId{0}].span.file == real);
  CHECK(sources.describe((*graph)[NodeId{0}].span) == "net.nn:9:1");
}

TEST_CASE("printing can leave out locations and groups", "[ir]") {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse(example, sources, diagnostics);
  REQUIRE(graph.has_value());
  std::string text = print_graph(*graph, &sources, {false, false});
  CHECK_THAT(text, !contains("loc("));
  CHECK_THAT(text, !contains("group"));
  CHECK(text == print_graph(*graph, nullptr, {true, false}));
}

TEST_CASE("constants are the shortest decimals that read back", "[ir]") {
  for (double value : {0.1, -0.0, 1e300, 1.0 / 3, 5e-324, 123456789012345680.0, std::numeric_limits<double>::max()}) {
    Graph g;
    Builder b(g);
    b.constant(value, {DType::f64, {}});
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<Graph> back = parse(print_graph(g, nullptr), sources, diagnostics);
    REQUIRE(back.has_value());
    CHECK((*back)[NodeId{0}].attributes.number == value);
    CHECK(std::signbit((*back)[NodeId{0}].attributes.number) == std::signbit(value));
  }
}

TEST_CASE("constants are what is written, or an error", "[ir]") {
  auto constant = [](const std::string& number, const std::string& type) {
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<Graph> graph = parse("graph @g {\n  %0 = constant " + number + " : " + type + "\n}\n", sources, diagnostics);
    REQUIRE(graph.has_value());
    return (*graph)[NodeId{0}].attributes.number;
  };
  CHECK(constant("9007199254740991", "i64[]") == 9007199254740991.0);
  CHECK(constant("9007199254740992", "i64[1]") == 9007199254740992.0);
  CHECK(constant("-9007199254740992", "i64[]") == -9007199254740992.0);
  CHECK(constant("9007199254740993", "i64[]") == int64_t(9007199254740993));
  CHECK(constant("-9007199254740993", "i64[]") == int64_t(-9007199254740993));
  CHECK(constant("9223372036854775807", "i64[2]") == INT64_MAX);
  CHECK(constant("-9223372036854775808", "i64[]") == INT64_MIN);
  CHECK(constant("9007199254740993", "f64[]") == 9007199254740992.0);  // a float is the nearest there is
  CHECK(constant("0.1", "f64[]") == 0.1);
  CHECK(constant("0.1", "f32[]") == double(0.1f));
  CHECK(constant("16777217", "f32[]") == 16777216);
  // 2^60 + 2^36 + 1 lies above the middle of two floats, its nearest double in the middle: one rounding, not two.
  CHECK(constant("1152921573326323713", "f32[]") == 0x1.000002p60);
  CHECK(constant("1e-400", "f64[]") == 0);
  CHECK(std::signbit(constant("-1e-400", "f32[]")));
  for (std::string number : {"9007199254740993.0", "-9007199254740993.0", "1e18"}) {
    INFO(number);
    CHECK(line_faults("  %1 = constant " + number + " : i64[1]") ==
          "E0636 4:17 " + number + " is beyond 2^53, up to which a number with a point or an exponent is exact | write all its digits");
  }
  CHECK(line_faults("  %1 = constant 9223372036854775808 : i64[]") == "E0635 4:8 constant: 9.223372036854776e+18 is not a value of i64");
  CHECK(line_faults("  %1 = constant 1e300 : i64[]") == "E0635 4:8 constant: 1e+300 is not a value of i64");
  CHECK(line_faults("  %1 = constant 2147483648 : i32[]") == "E0635 4:8 constant: 2147483648 is not a value of i32");
  CHECK(line_faults("  %1 = constant inf : i64[]") == "E0635 4:8 constant: inf is not a value of i64");
}

TEST_CASE("random graphs survive a round trip to the byte and to the value", "[ir][random]") {
  for (uint64_t i = 0; i < 200; ++i) {
    uint64_t seed = base_seed() + i;
    INFO("NNC_TEST_SEED=" << seed);
    Graph graph = test::random_graph(seed, {40, i % 2 == 0, 3, true});
    std::vector<std::string> problems = verify_graph(graph);
    if (!problems.empty()) UNSCOPED_INFO(problems[0]);
    REQUIRE(problems.empty());
    std::string text = print_graph(graph, nullptr);
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<Graph> back = parse(text, sources, diagnostics);
    for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(render_text(d, sources, false));
    REQUIRE(back.has_value());
    REQUIRE(print_graph(*back, &sources) == text);
    Bindings bindings = test::random_bindings(graph, int64_t(i % 4), seed);
    Results expected = interpret(graph, bindings), actual = interpret(*back, bindings);
    for (const auto& [name, tensor] : expected.outputs) {
      const Tensor& other = actual.outputs.at(name);
      REQUIRE(other.shape == tensor.shape);
      for (size_t k = 0; k < tensor.values.size(); ++k)
        REQUIRE((tensor.values[k] == other.values[k] || (std::isnan(tensor.values[k]) && std::isnan(other.values[k]))));
    }
  }
}

TEST_CASE("faults of a file as a whole", "[ir]") {
  CHECK(faults("") == "E0630 1:1 expected `graph @name {`");
  CHECK(faults(std::string("\0\1\2\xff", 4)) == "E0002 1:1 this is not a text file: it holds a byte 0");
  CHECK(faults("graph g {\n}\n") == "E0630 1:7 expected a name such as @fc1.weight");
  CHECK(faults("graph @g {\n  %0 = scalar @a : f64[]\n") == "E0630 3:1 the file ends inside graph @g: expected `}`");
  CHECK(faults("graph @g {\n}\nmore\n") == "E0630 3:1 expected the end of the file");
  CHECK(faults("graph @g {\n}\n\n# two\n graph garbage $$$\n") ==
        "E0630 5:2 a second graph begins here, but a file holds one | give each graph a file of its own");
  CHECK(faults("graph @g {\n} more\n") == "E0630 2:3 expected the end of the line");
}

TEST_CASE("faults of a line", "[ir]") {
  CHECK(line_faults("  outptu \"r\" %0") ==
        "E0630 4:3 expected a node `%n = ...`, param, frozen, state, optimizer_state, partial, output, update or `}` | did you mean `output`?");
  CHECK(line_faults("  %1 = sigmiod(%0) : f32[B, 2]") == "E0631 4:8 unknown operation `sigmiod` | did you mean `sigmoid`?");
  CHECK(line_faults("  %1 = (%0) : f32[B, 2]") == "E0630 4:8 expected an operation");
  CHECK(line_faults("  %1 = add(%0) : f32[B, 2]") == "E0632 4:11 add takes 2 operands, got 1");
  CHECK(line_faults("  %1 = neg : f32[B, 2]") == "E0632 4:8 neg takes 1 operand, got 0");
  CHECK(line_faults("  %1 = scalar(%0) @a : f32[]") == "E0632 4:14 scalar takes 0 operands, got 1");
  CHECK(line_faults("  %1 = neg(%2) : f32[B, 2]") == "E0633 4:12 %2 is not defined above this line");
  CHECK(line_faults("  %1 = neg(%1) : f32[B, 2]") == "E0633 4:12 %1 is not defined above this line");
  CHECK(line_faults("  %0 = neg(%0) : f32[B, 2]") == "E0633 4:3 %0 is defined twice");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 3]") == "E0634 4:18 the type is written f32[B, 3], but neg gives f32[B, 2]");
  CHECK(line_faults("  %1 = neg(%0) : f32[2, B]") == "E0634 4:18 the row dimension B must be outermost");
  CHECK(line_faults("  %1 = logical_not(%0) : bool[B, 2]") == "E0635 4:8 logical_not: takes bool, not f32");
  CHECK(line_faults("  %1 = transpose(%0) axes [0] : f32[B, 2]") == "E0635 4:8 transpose: the operand has rank 2 but 1 axes are given");
  CHECK(line_faults("  %1 = slice(%0) axis 7 begin 0 : f32[B, 2]") == "E0635 4:8 slice: axis 7 of a tensor of rank 2");
  CHECK(line_faults("  %1 = slice(%0) begin 0 : f32[B, 2]") == "E0630 4:18 expected `axis`");
  CHECK(line_faults("  %1 = contract(%0, %0) ab,b> : f32[B]") == "E0630 4:29 expected `->`");
  CHECK(line_faults("  %1 = neg(%0) : float[B, 2]") ==
        "E0630 4:18 expected a type such as f32[B, 64] | element types are f32, f64, i32, i64, u8 and bool");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, -2]") == "E0630 4:25 expected a size");
  CHECK(line_faults("  %1 = constant 1 : f32[99999999999999999999]") == "E0636 4:25 a size is at most 1099511627776");
  CHECK(line_faults("  %1 = constant 1 : f32[1099511627776, 2]") ==
        "E0635 4:8 constant: f32[1099511627776, 2] has more than 2^40 elements");
  CHECK(line_faults("  %1 = constant 1e999 : f32[]") == "E0636 4:17 1e999 does not fit a 64-bit float");
  CHECK(line_faults("  %1 = constant one : f32[]") == "E0630 4:17 expected a number");
  CHECK(line_faults("  %1 = constant 0.5 : i32[]") == "E0635 4:8 constant: 0.5 is not a value of i32");
  CHECK(line_faults("  %99999999999 = neg(%0) : f32[B, 2]") == "E0636 4:4 a value's number is at most 4294967294");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] group 9999999999") == "E0636 4:34 a group is at most 2147483647");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] loc(\"a\":0:1)") == "E0636 4:28 lines and columns count from 1");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] loc(\"a\":99999999:1)") == "E0636 4:36 a line number is at most 10000000");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] scope \"a") == "E0630 4:34 the text does not end on its line");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] scope \"\\q\"") == "E0630 4:34 unknown escape in a text; there are \\\" \\\\ \\n \\t \\r \\xNN");
  CHECK(line_faults("  %1 = neg(%0) : f32[B, 2] scope \"\\xg0\"") == "E0630 4:34 expected two hexadecimal digits after `\\x`");
  CHECK(line_faults("  %1 = parameter @wieght : f32[2]") == "E0637 4:8 @wieght is not declared above this line | did you mean @weight?");
  CHECK(line_faults("  %1 = parameter @weight : f32[3]") == "E0637 4:8 @weight is declared f32[2], not f32[3]");
  CHECK(line_faults("  %1 = input @x : f32[3]") == "E0637 4:8 input @x is f32[B, 2] further up, not f32[3]");
  CHECK(line_faults("  param @weight : f32[2]") == "E0637 4:9 @weight is declared twice");
  CHECK(line_faults("  param @v : f32[B]") == "E0637 4:14 @v cannot have the row dimension B: it outlives the batch");
  CHECK(line_faults("  output \"r\" %0") == "E0637 5:10 output \"r\" is given twice");
  CHECK(line_faults("  update @weight %0") == "E0637 4:10 @weight is f32[2], but its new value is f32[B, 2]");
  CHECK(line_faults("  frozen @v : f32[B, 2]") == "E0637 4:15 @v cannot have the row dimension B: it outlives the batch");
  CHECK(line_faults("  frozen @v : f32[]\n  %1 = constant 1 : f32[]\n  update @v %1") == "E0637 6:10 @v is frozen and cannot be updated");
  CHECK(line_faults("  %1 = constant 1 : f32[2]\n  update @weight %1\n  update @weight %1") == "E0637 6:10 @weight is updated twice");
}

TEST_CASE("a spoilt line causes no further messages, other faults are all reported", "[ir]") {
  CHECK(faults("graph @g {\n  param @w : f32[]x\n  %0 = parameter @w : f32[]\n  %1 = tahn(%0) : f32[]\n  %2 = scalar @a : f64[]\n"
               "  %3 = tahn(%2) : f32[]\n  %4 = neg(%3) : f32[]\n  %5 = add(%4, %2) : f32[]\n  output \"r\" %5\n  update @w %2\n  %6 = neg(%9) : f32[]\n}\n") ==
        "E0630 2:19 expected the end of the line\nE0631 4:8 unknown operation `tahn` | did you mean `tanh`?\n"
        "E0631 6:8 unknown operation `tahn` | did you mean `tanh`?\nE0633 11:12 %9 is not defined above this line");
}

TEST_CASE("damaged texts never crash the parser, and what it accepts is sound", "[ir][random]") {
  std::string sound = example;
  for (uint64_t i = 0; i < 3000; ++i) {
    uint64_t seed = base_seed() + i;
    INFO("NNC_TEST_SEED=" << seed);
    RandomStream random(seed, stable_hash("damage"));
    std::string text = sound;
    for (uint64_t edits = 1 + random.next_below(3); edits > 0; --edits) {
      size_t at = size_t(random.next_below(text.size()));
      switch (random.next_below(4)) {
        case 0: text[at] = char(random.next_below(256)); break;
        case 1: text.erase(at, 1 + size_t(random.next_below(9))); break;
        case 2: text.insert(at, 1, "%@B0129[](),->\":*#\n"[random.next_below(19)]); break;
        default: text.insert(at, text.substr(size_t(random.next_below(text.size())), size_t(random.next_below(40))));
      }
    }
    SourceMap sources;
    Diagnostics diagnostics;
    std::optional<Graph> graph = parse(text, sources, diagnostics);
    REQUIRE(graph.has_value() != diagnostics.has_errors());
    if (!graph) continue;
    REQUIRE(verify_graph(*graph).empty());
    SourceMap again;
    Diagnostics none;
    std::string printed = print_graph(*graph, &sources);
    std::optional<Graph> back = parse(printed, again, none);
    REQUIRE(back.has_value());
    REQUIRE(print_graph(*back, &again) == printed);
  }
}
