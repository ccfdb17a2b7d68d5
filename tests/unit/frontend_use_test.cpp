// What a file takes from other files, and names that several definitions claim.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

std::string said_with(std::string text, std::map<std::string, std::string> files) {
  Loaded l = load(std::move(text), {}, std::move(files));
  return said(l.diagnostics, *l.sources);
}

TEST_CASE("a file without a list of names is taken whole, and what it uses itself is not handed on", "[frontend][use]") {
  const std::map<std::string, std::string> files = {{"lib.nn", "use \"deep.nn\"\ndim Width = 3\nfn twice(x) { x * two() }"},
                                                    {"deep.nn", "fn two() { 2 }"}};
  Loaded l = load("use \"lib.nn\"\ntest \"t\" { expect twice(Width) == 6 }", {}, files);
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  CHECK(l.module->build_tests(d)[0].expectations[0].passed);
  CHECK(said_with("use \"lib.nn\"\ntest \"t\" { expect two() == 2 }", files) == "E0201 `two`: unknown name `two`");
}

TEST_CASE("a file's own name hides one that it uses, and two used files may not claim one name", "[frontend][use]") {
  const std::map<std::string, std::string> files = {
      {"a.nn", "fn same() { 1 }\nfn one() { 1 }"}, {"b.nn", "fn same() { 2 }"}, {"c.nn", "use \"a.nn\" { one }"}};
  Loaded l = load("use \"a.nn\" { same }\nfn same() { 3 }\ntest \"t\" { expect same() == 3 }", {}, files);
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  CHECK(l.module->build_tests(d)[0].expectations[0].passed);
  CHECK(said_with("use \"a.nn\"\nuse \"b.nn\"", files) ==
        "E0205 `use \"b.nn\"`: `same` comes from two files\n  label `same`: the first");
  CHECK(said_with("use \"a.nn\" { same }\nuse \"b.nn\" { same }", files) ==
        "E0205 `same`: `same` comes from two files\n  label `same`: the first");
  // The same definition by two ways is one.
  CHECK(said_with("use \"a.nn\" { one }\nuse \"c.nn\" { one }\ntest \"t\" { expect one() == 1 }", files) == "");
}

TEST_CASE("a dim of a used file is set by its name", "[frontend][use]") {
  const std::map<std::string, std::string> files = {{"a.nn", "dim Width = 3, Other = 2\nfn wide() { Width }"},
                                                    {"b.nn", "use \"a.nn\"\ndim Width = 5\nfn wider() { Width }"}};
  auto said_of = [&](const std::string& text, const std::string& path, const std::string& value) {
    Loaded l = load(text, {{path, value}}, files);
    Diagnostics d;
    if (l.module) {
      const std::vector<Module::Test> blocks = l.module->build_tests(d);
      for (const Module::Expectation& x : blocks.at(0).expectations) CHECK(x.passed);
    }
    return said(l.diagnostics, *l.sources);
  };
  CHECK(said_of("use \"a.nn\" { wide }\ntest \"t\" { expect wide() == 9 }", "Width", "9") == "");
  CHECK(said_of("use \"a.nn\" { wide, Width }\ntest \"t\" { expect wide() == 9; expect Width == 9 }", "Width", "9") == "");
  // Its own dim, or one that it takes by name, is what a file's name means.
  CHECK(said_of("use \"a.nn\" { wide }\ndim Width = 4\ntest \"t\" { expect wide() == 3; expect Width == 9 }", "Width", "9") ==
        "");
  CHECK(said_of("use \"a.nn\" { wide, Width }\nuse \"b.nn\" { wider }\ntest \"t\" { expect wide() == 9; expect wider() == 5 }",
                "Width", "9") == "");
  CHECK(said_of("use \"a.nn\" { wide }\nuse \"b.nn\" { wider }\ntest \"t\" { expect wide() == 3 }", "Width", "9") ==
        "E0610 --set Width=9: `Width` could be any of 2 dims: a.nn:1, b.nn:2\n"
        "  help take the one that is meant into t.nn: `use \"a.nn\" { Width }`");
  CHECK(
      said_of("use \"a.nn\" { wide }\ntest \"t\" { expect wide() == 3 }", "Widht", "9") ==
      "E0610 --set Widht=9: nothing that can be set is called `Widht`; a similar one is `Width`\n  help there are Other, Width");
  CHECK(said_of("use \"a.nn\" { wide }\ntest \"t\" { expect wide() == 3 }", "Width", "0.5").substr(0, 5) == "E0111");
}

TEST_CASE("a data block means what its own file says, whichever file trains on it", "[frontend][use]") {
  const std::string rest = "\ntrain { data d\n minimize mean(x)\n using sgd(lr: 1)\n epochs 1 }";
  const std::map<std::string, std::string> files = {
      {"sub/d.nn", "use \"n.nn\"\ndata t { x[N] = csv(\"t.csv\")\n y : class(K) = csv(\"/t.csv\") }\n"
                   "data d { x[N] = csv(\"v.csv\")\n y : class(K) = csv(\"v.csv\")\n test from t }"},
      {"sub/n.nn", "dim N = 3, K = 5"}};
  auto check = [&](const std::string& text, std::vector<Override> overrides, int64_t n) {
    INFO(text);
    Loaded l = load("use \"sub/d.nn\" { d }" + text + rest, std::move(overrides), files);
    INFO(l.errors());
    REQUIRE(l.module);
    const TrainSpec& spec = l.module->train();
    REQUIRE(spec.other_data.size() == 1);
    const FieldSpec& trained = spec.data.fields.at(0);
    const FieldSpec& tested = spec.other_data[0].fields.at(0);
    CHECK(trained.source.path == "sub/v.csv");
    CHECK(tested.source.path == "sub/t.csv");
    CHECK(spec.other_data[0].fields.at(1).source.path == "/t.csv");
    CHECK(trained.row_shape == std::vector<int64_t>{n});
    CHECK(tested.row_shape == trained.row_shape);
    CHECK(spec.data.fields.at(1).classes == 5);
    Diagnostics d;
    std::optional<BuiltGraph> built = l.module->build_train_graph(d);
    REQUIRE(built);
    CHECK(built->inputs.at(0).type.shape[1] == Extent{n, false});
    for (const Node& node : built->graph.nodes())
      if (node.op == Op::input && node.attributes.text == "x") CHECK(node.type.shape[1] == Extent{n, false});
  };
  check("", {}, 3);
  check("", {{"N", "4"}}, 4);
  // What the main file calls by the same names is something else.
  check("\ndim N = 2, K = 7\ndata t { x[N] = csv(\"mine.csv\") }", {}, 3);
  check("\ndim N = 2", {{"N", "4"}}, 3);
  CHECK(said_with("use \"sub/d.nn\" { d }\ndim N = 2\ndata own { x[N] = csv(\"o.csv\")\n test from t }", files) ==
        "E0201 `t`: unknown data block `t`");
}

TEST_CASE("what is set is judged only by a file that could be read", "[frontend][use]") {
  for (const std::string text : {"", "dim N = 3\nfn f(x { x }", "dim N = 3\nuse \"nothing.nn\""}) {
    INFO(text);
    Loaded l = load(text, {{"--steps", "1"}, {"M", "3"}}, {});
    CHECK_FALSE(l.module);
    CHECK_FALSE(l.has(Code::E0610));
    CHECK(l.diagnostics.items().size() == 1);
  }
  CHECK(load("dim N = 3\nfn f(x { x }", {{"N", "0"}}, {}).has(Code::E0111));  // what could be read is
}

TEST_CASE("an error of syntax does not silence what is wrong elsewhere", "[frontend][use]") {
  auto codes = [](const std::string& text, std::map<std::string, std::string> files) {
    Loaded l = load(text, {}, std::move(files));
    CHECK_FALSE(l.module);
    std::string all;
    for (const Diagnostic& d : l.diagnostics.sorted())
      all += std::string(all.empty() ? "" : " ") + std::string(code_name(d.code));
    return all;
  };
  const std::string broken = "\nmodel N(x[B, 5]) -> [B, 4] { x |> Dense(4 }\n";
  CHECK(codes("model M(x[B, 5]) -> [B, 4] { x |> Dense(4) |> sofmax }" + broken, {}) == "E0201 E0008");
  CHECK(codes("model M(x[B, 5]) -> [B, 4] { x |> Dense(3) }" + broken, {}) == "E0112 E0008");
  CHECK(codes("fn f(x) { sofmax(x) }\ntrain { reprot x }", {}) == "E0201 E0019");
  // Names that may stand in what could not be read: its letters do, or a file is missing or broken; and the broken one's own.
  CHECK(codes("fn f(x) { swish(x) }\nfn swish(x { x }", {}) == "E0008");
  CHECK(codes("fn f(x) { swish(x) }\nfm swish(x) { x }", {}) == "E0011");
  CHECK(codes("use \"none.nn\"\nfn f(x) { swish(x) }", {}) == "E0211");
  CHECK(codes("use \"a.nn\"\nfn f(x) { swish(x) }", {{"a.nn", "fn one( { 1 }"}}) == "E0012");
  CHECK(codes("use \"a.nn\" { one }\nfn f(x) { swish(x) }", {{"a.nn", "fn one( { 1 }"}}) == "E0201 E0012");
  CHECK(codes("fn f(x) { let y = swish(x }", {}) == "E0008");
  // A `}` too many ends a definition before its end: what it lacks stands behind.
  CHECK(codes("layer F(x[B, 4]) -> [B, 5] {\n x |> first}: Dense(5)\n}", {}) == "E0011");
  CHECK(codes("layer F(x[B, 4]) -> [B, 5] { x\n } |> Dense(5)\n}", {}) == "E0011");
}

TEST_CASE("a used file that cannot be read or lacks a name", "[frontend][use]") {
  const std::map<std::string, std::string> files = {
      {"/abs.nn", "fn one() { 1 }"}, {"broken.nn", "fn one( { 1 }"}, {"zebra.nn", "fn one() { 1 }"}};
  CHECK(said_with("use \"/abs.nn\"\ntest \"t\" { expect one() == 1 }", files) == "");
  CHECK(said_with("use \"nothing.nn\"\nfn f(x) { perhaps_there(x) }\ntest \"t\" { expect f(1) == 1 }", files) ==
        "E0211 `\"nothing.nn\"`: cannot read `nothing.nn`\n  help paths are relative to the file that uses them");
  // No reader at all: nothing can be used.
  SourceMap sources;
  Diagnostics diagnostics;
  CHECK_FALSE(load_module(sources, sources.add("t.nn", "use \"zebra.nn\""), LoadOptions{}, diagnostics));
  CHECK(said(diagnostics, sources) ==
        "E0211 `\"zebra.nn\"`: cannot read `zebra.nn`\n  help paths are relative to the file that uses them");
  CHECK(said_with("use \"zebra.nn\" { giraffe }\nfn f(x) { giraffe(x) }", files) ==
        "E0211 `giraffe`: `zebra.nn` defines no `giraffe`");
  CHECK(said_with("use \"zebra.nn\" { ones }", files) == "E0211 `ones`: `zebra.nn` defines no `ones`; a similar name is `one`");
  // What a file with errors lacks may stand in what could not be read.
  CHECK_THAT(said_with("use \"broken.nn\" { two }\nfn f(x) { two(x) }", files), !test::contains("E0211"));
}

TEST_CASE("one name for two things", "[frontend][use]") {
  const std::string twice = "E0205 `A`: `A` is defined twice\n  label `A`: the first";
  const std::vector<std::string> kinds = {"dim A = 3", "fn A(x) { x }", "data A { x : f32 = csv(\"d.csv\") }"};
  for (const std::string& first : kinds)
    for (const std::string& second : kinds) {
      INFO(first << " and " << second);
      CHECK(said_with(first + "\n" + second, {}) == twice);
    }
  CHECK(said_with("dim A = 3, A = 4", {}) == twice);
  CHECK(said_with("fn A(x) { x }\nfn A(x, y) { x }", {}) == twice);
  CHECK(said_with("fn A() { 1 }\nfn A(x) { x }", {}) == twice);
  // Only what is declared class(N) tells two definitions apart.
  const std::string two = "fn A(x[B]) { x }\nfn A(x[B] : class(N)) { x * 2 }\n";
  CHECK(said_with(two + "test \"t\" { expect A([1.0]) == [1.0]\n expect A(x: classes([1], of: 2)) == [0.0] }", {}) == "");
  CHECK(said_with(two + "fn A(x[B] : f32) { x }", {}) == twice);
  // Only the first that does not fit counts where none fits.
  CHECK(said_with(two + "test \"t\" { let y = A([[1.0]]) }", {}) ==
        "E0108 `[[1.0]]`: `x` of `A` is [B], and `[[1.0]]` is [1, 1]\n  label `[[1.0]]`: 2 dimensions, 1 needed");
  CHECK(said_with("dim N = M + 1, M = N", {}) == "E0209 `M`: `M` depends on itself");
  CHECK(said_with("data d { x : f32 = csv(\"d.csv\", columns: 0) }\n"
                  "train { data d\n minimize mean(x)\n using sgd(lr: 1)\n epochs 1 }\ntrain { data d }",
                  {}) == "E0205 `train`: a file has one `train` block\n  label `train`: the first");
}

}  // namespace
}  // namespace nnc::frontend_tests
