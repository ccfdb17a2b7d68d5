// What a `test` block makes of its lines: decided while checking, or graphs that are evaluated later.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

// One entry for an expectation: "passed", why it failed, or what is left to evaluate.
std::vector<std::string> outcomes(const std::string& program) {
  Loaded l = load(program);
  INFO(program << "\n" << l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::vector<std::string> result;
  for (const Module::Test& test : l.module->build_tests(d))
    for (const Module::Expectation& e : test.expectations) {
      if (e.kind == Module::Expectation::Kind::decided) {
        result.push_back(e.passed ? "passed" : e.message);
        continue;
      }
      REQUIRE(verify_graph(e.graph).empty());
      if (e.kind == Module::Expectation::Kind::check_gradients) {
        result.push_back(fmt::format("gradients within {:g}", e.tolerance));
      } else if (!e.gradients.empty()) {
        result.push_back(fmt::format("{} gradients, inputs {}", e.gradients.size(), e.inputs.size()));
      } else {
        Bindings b;
        for (const auto& [name, values] : e.inputs) {
          for (const Node& n : e.graph.nodes())
            if (n.op == Op::input && n.attributes.text == name) {
              std::vector<int64_t> shape;
              for (const Extent& extent : n.type.shape) shape.push_back(extent.size);
              b.inputs[name] = tensor(shape, values);
            }
        }
        std::map<std::string, Tensor> values = interpret(e.graph, b).outputs;
        std::string sides;  // what was compared
        if (values.count("first"))
          sides = fmt::format(" of {} {} {}", values.at("first").values, e.message, values.at("second").values);
        result.push_back(fmt::format("{} against {}{}", values.at("left").values, values.at("right").values, sides));
      }
    }
  return result;
}

void check_outcomes(const std::string& definitions, const std::vector<std::pair<std::string, std::vector<std::string>>>& lines) {
  std::string body;
  std::vector<std::string> expected;
  for (const auto& [line, found] : lines) {
    body += " " + line + "\n";
    expected.insert(expected.end(), found.begin(), found.end());
  }
  CHECK(outcomes(definitions + "test \"t\" {\n" + body + "}") == expected);
}

TEST_CASE("numbers, sizes and choices are compared while checking", "[frontend][test_blocks]") {
  check_outcomes("", {{"expect true", {"passed"}},
                      {"expect not true", {"it is false"}},
                      {"expect 1 < 2", {"passed"}},
                      {"expect 2 * 3 > 7 - 1", {"6 > 6 is false"}},
                      {"expect 3 != 3", {"3 != 3 is false"}},
                      {"expect true != true", {"it is false"}},
                      {"expect true == false", {"true is not false"}},
                      {"expect [true, false] == [true, false]", {"passed"}},
                      {"expect [1, 2] == [[1], [2]]", {"[1, 2] is not [[1], [2]]"}},
                      {"expect [1, 2] == [1, 2, 3]", {"[1, 2] is not [1, 2, 3]"}},
                      {"expect [] == -1", {"[] is not -1"}},
                      {"expect [] == []", {"passed"}},
                      {"expect none == none", {"passed"}},
                      {"expect none == all", {"the two differ"}},
                      {"expect \"a\" == \"b\"", {"the two differ"}},
                      {"dim T = 3", {}},
                      {"expect shape(zeros([T, 2])) == [3, 2]", {"passed"}},
                      {"expect shape(zeros([T, 2])) == [T, 3]", {"[T (3), 2] is not [T (3), 3]"}},
                      {"expect T == 4", {"T (3) is not 4"}}});
}

TEST_CASE("numbers are compared within the tolerance, not as they are printed", "[frontend][test_blocks]") {
  check_outcomes("", {{"expect 0.1 + 0.2 == 0.3", {"passed"}},
                      {"expect 1000001 == 1000003", {"1000001 is not 1000003"}},
                      {"expect 0.5 == 0.50001", {"0.5 is not 0.50001"}},
                      {"expect 0.5 == 0.50001, tolerance: 0.1", {"passed"}},
                      {"expect [1, 2] == [1, 2.001]", {"[1, 2] is not [1, 2.001]"}},
                      {"expect 0 * inf == 0 * inf", {"passed"}},
                      {"expect inf == inf", {"passed"}}});
  // What is exact is compared exactly, and shown so; a tolerance that is given holds for it too.
  check_outcomes("dim T = 2000001\n", {{"expect 2000001 == 2000000", {"2000001 is not 2000000"}},
                                       {"expect T == 2000000", {"T (2000001) is not 2000000"}},
                                       {"expect [1, T] == [1, 2000000]", {"[1, T (2000001)] is not [1, 2000000]"}},
                                       {"expect 9007199254740993 == 9007199254740992", {"9007199254740993 is not 9007199254740992"}},
                                       {"expect T == 2000001", {"passed"}},
                                       {"expect 2000001 == 2000000, tolerance: 1e-6", {"passed"}},
                                       {"expect 2000001.0 == 2000000", {"passed"}}});
}

TEST_CASE("values become graphs", "[frontend][test_blocks]") {
  const std::string counts = "the numbers of values differ";
  check_outcomes("fn p(x) { x, 2 * x }\n",
                 {{"expect zeros([2]) + 1 == [1.0, 1.0]", {"[1, 1] against [1, 1]"}},
                  {"expect [1.0, 2.0] < 2", {"[1, 0] against [1, 1] of [1, 2] < [2, 2]"}},
                  {"expect sum([1.0, 2.0]) >= 4", {"[0] against [1] of [3] >= [4]"}},
                  {"expect not (sum([1.0, 2.0]) >= 4)", {"[1] against [1]"}},
                  {"expect p([1.0]) == ([1.0], [3.0])", {"[1] against [1]", "[2] against [3]"}},
                  {"expect p(1) == 3", {counts}},
                  {"expect 3 == p(1)", {counts}},
                  {"expect p(1) == (1, 2, 3)", {counts}},
                  {"expect zeros([2]) == zeros([3])", {"the left side is [2], the right side [3]"}},
                  {"expect zeros([2]) == zeros([2, 1])", {"the left side is [2], the right side [2, 1]"}},
                  {"dim T = 2, S = 3", {}},
                  {"let x = zeros([T, S]) + index(S)", {}},
                  {"expect x == (x as [S, T])", {"[0, 1, 2, 0, 1, 2] against [0, 1, 2, 0, 1, 2]"}},
                  {"expect x == zeros([3, T])", {"the left side is [T, S], the right side [3, T]"}},
                  {"expect zeros([T, T]) == zeros([2, T])", {"[0, 0, 0, 0] against [0, 0, 0, 0]"}}});
}

TEST_CASE("gradients of numbers, of several arguments, beside choices", "[frontend][test_blocks]") {
  check_outcomes(
      "fn square(x) { x * x }\nfn p(x, y) { x * y }\nfn q(x, y) { if y { x } else { x * x } }\n"
      "fn of_two(x) { square(x), x }\nfn inside(x) { gradient(square)(x) }\n",
      {{"expect gradient(square)(3) == 6", {"1 gradients, inputs 1"}},
       {"expect gradient(p)(3, 2) == (2, 3)", {"1 gradients, inputs 2", "1 gradients, inputs 2"}},
       {"let a, b = gradient(p)(3, 2)", {}},
       {"expect a == 2", {"1 gradients, inputs 2"}},
       {"expect gradient(q)(3, true) == 1", {"1 gradients, inputs 1"}},
       {"expect inside(3) == 6", {"1 gradients, inputs 1"}},
       {"expect gradient(square)(gradient(square)(3)) == 12", {"2 gradients, inputs 1"}}});
}

TEST_CASE("gradients are checked within their own tolerance", "[frontend][test_blocks]") {
  check_outcomes("fn square(x[...]) { x * x }\n", {{"check_gradients square([1.0])", {"gradients within 1e-05"}},
                                                   {"check_gradients square([1.0]), tolerance: 0.5", {"gradients within 0.5"}}});
}

TEST_CASE("definitions inside a test", "[frontend][test_blocks]") {
  check_outcomes("", {{"fn square(x) { x * x }", {}},
                      {"layer Scale(x[B]) { param w[B] = 0\n x * w }", {}},
                      {"expect square(3) == 9", {"passed"}},
                      {"expect shape(Scale([1.0])) == [1]", {"passed"}}});
}

TEST_CASE("an expected error", "[frontend][test_blocks]") {
  check_outcomes(
      "",
      {{"expect error \"E0201\" in { foo }", {"passed"}},
       {"expect error \"unknown name\" in { let a = foo }", {"passed"}},
       {"expect error \"E0012\" in { let = 3 }", {"passed"}},
       {"expect error \"E0102\" in { fn f(x[T], y[T]) { x + y }\n let a = f(zeros([2]), zeros([3])) }", {"passed"}},
       {"expect error \"E0201\" in { fn f(x[T]) { x + foo } }", {"passed"}},
       {"expect error \"E0106\" in { fn f(x[T], y[S]) { x + y } }", {"passed"}},
       {"expect error \"E0106\" in { dim A = 3\n layer f(x[T], y[S]) { param w[2] = 0\n x + y } }", {"passed"}},
       {"expect error \"E0111\" in { dim T = 0 }", {"passed"}},
       {"expect error \"E0111\" in { let a = 3\n dim T = 0 }", {"passed"}},
       {"expect error \"a\" in { fn f(x[T]) { x } }", {"expected an error with \"a\", but there is none"}},
       {"expect error \"a\" in { }", {"expected an error with \"a\", but there is none"}},
       {"expect error \"E0102\" in { foo }", {"expected an error with \"E0102\", found: E0201 unknown name `foo`"}}});
}

TEST_CASE("a definition that is tried in an expected error leaves nothing behind", "[frontend][test_blocks]") {
  Loaded l = load(
      "fn half(x[N]) where N % 2 == 0 { sum(x, over: N) }\n"
      "test \"t\" {\n"
      "  expect error \"E0201\" in { fn f(y[M]) { y + nothere } }\n"
      "  expect half(zeros([3])) == 1\n"
      "}\n");
  CHECK(!l.module);
  CHECK(l.errors().find("E0104") != std::string::npos);
}

}  // namespace
}  // namespace nnc::frontend_tests
