// Whole programs: parameters and their paths, train, eval and predict graphs, overrides, tests.
#include <algorithm>
#include <cmath>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {
namespace {

const std::string data_block =
    "data d { x[4] : f32 = csv(\"d.csv\", columns: 0..4)\n label : class(3) = csv(\"d.csv\", columns: 4) }\n";

std::string program(const std::string& model, const std::string& clauses = "using sgd(lr: 0.1)\n epochs 2") {
  return data_block + model + "\ntrain { data d, batch: 8\n minimize cross_entropy(M(x), label)\n " + clauses +
         "\n report accuracy(M(x), label) }\n";
}

std::vector<std::string> parameter_names(const BuiltGraph& g) {
  std::vector<std::string> names;
  for (const ParameterSpec& p : g.parameters) names.push_back(p.persistent.name);
  return names;
}

BuiltGraph train_graph(const Loaded& l) {
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::optional<BuiltGraph> g = l.module->build_train_graph(d);
  REQUIRE(g);
  REQUIRE(verify_graph(g->graph).empty());
  return *g;
}

TEST_CASE("parameters have the paths of their instances", "[frontend][module]") {
  using Names = std::vector<std::string>;
  CHECK(parameter_names(train_graph(load(program("model M(x[B, 4]) -> [B, 3] { x |> Dense(5) |> relu |> out: Dense(3) }")))) ==
        Names{"dense1.weight", "dense1.bias", "out.weight", "out.bias"});
  CHECK(parameter_names(train_graph(load(
            program("layer Block(x[B, C]) -> [B, C] { x |> fc: Dense(C, bias: false) }\n"
                    "model M(x[B, 4]) -> [B, 3] { x |> blocks: stack(2, Block) |> Block |> out: Dense(3, bias: false) }")))) ==
        Names{"blocks.0.fc.weight", "blocks.1.fc.weight", "block1.fc.weight", "out.weight"});
  CHECK(parameter_names(train_graph(load(program("model M(x[B, 4]) -> [B, 3] { let h = x\n repeat 2 as i { update h = h |> fc: "
                                                 "Dense(4, bias: false) }\n h |> Dense(3, bias: false) }")))) ==
        Names{"fc.0.weight", "fc.1.weight", "dense1.weight"});
}

TEST_CASE("an instance that is called twice has one set of weights", "[frontend][module]") {
  BuiltGraph g = train_graph(load(program("model M(x[B, 4]) -> [B, 3] { mix: Dense(4)\n mix(mix(x)) |> Dense(3) }")));
  CHECK(parameter_names(g).size() == 4);
  CHECK(std::count_if(g.graph.nodes().begin(), g.graph.nodes().end(), [](const Node& n) { return n.op == Op::contract; }) == 3);
}

TEST_CASE("the same call of a model is one value", "[frontend][module]") {
  BuiltGraph g = train_graph(load(program("model M(x[B, 4]) -> [B, 3] { x |> Dense(3) }")));
  CHECK(std::count_if(g.graph.nodes().begin(), g.graph.nodes().end(), [](const Node& n) { return n.op == Op::contract; }) == 1);
  REQUIRE(g.graph.outputs.size() == 2);
  CHECK(g.graph.outputs[0].name == "loss");
  CHECK(g.graph.outputs[1].name == "accuracy");
  REQUIRE(g.layers.size() == 1);
  CHECK(g.layers[0].path == "dense1");
  CHECK(g.layers[0].parameters == 15);
}

TEST_CASE("initial values", "[frontend][module]") {
  BuiltGraph g =
      train_graph(load(program("model M(x[B, C]) -> [B, 3] { param w[3, C] ~ he(C)\n param c[3] = 1 / 2\n frozen param f[3] ~ "
                               "zeros\n param o[3, C] ~ orthogonal(2)\n"
                               " sum(x * (w + o), over: C) + c + f }")));
  REQUIRE(g.parameters.size() == 4);
  CHECK(g.parameters[0].initializer == Initializer{Initializer::Kind::normal, 0, std::sqrt(0.5)});
  CHECK(g.parameters[1].initializer == Initializer{Initializer::Kind::constant, 0.5, 0});
  CHECK(g.parameters[2].persistent.kind == PersistentKind::frozen);
  CHECK(g.parameters[3].initializer == Initializer{Initializer::Kind::orthogonal, 2, 0});
}

TEST_CASE("predict takes the model's inputs", "[frontend][module]") {
  Loaded l =
      load(program("model M(pixels[B, 4]) -> [B, 3] { if training { pixels |> Dense(3) } else { (pixels |> Dense(3)) * 2 } }"));
  train_graph(l);
  Diagnostics d;
  std::optional<BuiltGraph> g = l.module->build_predict_graph(d);
  REQUIRE(g);
  REQUIRE(g->inputs.size() == 1);
  CHECK(g->inputs[0].name == "pixels");
  CHECK(to_string(g->inputs[0].type) == "f32[B, 4]");
  REQUIRE(g->graph.outputs.size() == 1);
  CHECK(g->graph.outputs[0].name == "result");
  CHECK(g->graph[g->graph.outputs[0].node].op == Op::mul);
  Loaded none = load(data_block + "train { data d\n minimize mean(x)\n using sgd(lr: 1)\n epochs 1 }");
  REQUIRE(none.module);
  Diagnostics e;
  CHECK_FALSE(none.module->build_predict_graph(e));
  REQUIRE(e.items().size() == 1);
  CHECK(e.items()[0].code == Code::E0307);
}

TEST_CASE("the train block", "[frontend][module]") {
  Loaded l = load(program("dim Hidden = 6\nmodel M(x[B, 4]) -> [B, 3] { x |> Dense(Hidden) |> Dense(3) }",
                          "using adam(lr: 0.5), clip_norm: 2\n steps 7\n seed 9\n save every: 3"));
  train_graph(l);
  const TrainSpec& s = l.module->train();
  CHECK(s.batch == 8);
  CHECK(s.steps == 7);
  CHECK(s.epochs == 0);
  CHECK(s.seed == 9);
  CHECK(s.save_every == 3);
  CHECK(s.clip_norm == 2.0);
  REQUIRE(s.reports.size() == 1);
  CHECK(s.reports[0].name == "accuracy");
  REQUIRE_FALSE(s.scalars.empty());
  CHECK(s.scalars[0].name == "using.lr");
  CHECK(s.scalars[0].value == 0.5);
  REQUIRE(s.data.fields.size() == 2);
  CHECK(s.data.fields[0].row_shape == std::vector<int64_t>{4});
  CHECK(s.data.fields[1].classes == 3);
  CHECK(s.data.fields[1].dtype == DType::i32);
}

TEST_CASE("anything can be set from outside", "[frontend][module]") {
  const std::string text = program("dim Hidden = 6\nmodel M(x[B, 4]) -> [B, 3] { x |> Dense(Hidden) |> Dense(3) }");
  Loaded l = load(text, {{"Hidden", "9"},
                         {"data.batch", "all"},
                         {"using.lr", "0.25"},
                         {"train.epochs", "5"},
                         {"seed", "3"},
                         {"using.momentum", "0.5"}});
  BuiltGraph g = train_graph(l);
  CHECK(to_string(g.parameters[0].persistent.type) == "f32[9, 4]");
  CHECK(l.module->train().batch == 0);
  CHECK(l.module->train().epochs == 5);
  CHECK(l.module->train().seed == 3);
  CHECK(l.module->train().scalars[0].value == 0.25);
  Diagnostics d;
  CHECK(l.module->build_update_rules(g.parameters, d)[0].states.size() == 1);
  Loaded schedule = load(program("model M(x[B, 4]) -> [B, 3] { x |> Dense(3) }", "using sgd(lr: step_decay(0.5, every: 10))\n epochs 1"), {{"using.lr.every", "20"}, {"using.lr.by", "0.5"}});
  REQUIRE(schedule.module);
  REQUIRE(schedule.module->train().scalars.size() == 2);
  CHECK(schedule.module->train().scalars[0].name == "using.lr.rate");
  CHECK(schedule.module->train().scalars[1].name == "using.lr.every");
  CHECK(schedule.module->train().scalars[1].value == 20);
  // What a rule's rate is in a step: its output, whether it is a number or a schedule; a momentum that an `if` asks for is neither.
  for (const Loaded* loaded : {&l, &schedule}) {
    std::vector<Output> outputs = loaded->module->build_update_rules(train_graph(*loaded).parameters, d)[0].rule.outputs;
    auto has = [&](const std::string& name) {
      return std::any_of(outputs.begin(), outputs.end(), [&](const Output& o) { return o.name == name; });
    };
    CHECK(has("using.lr"));
    CHECK_FALSE(has("using.momentum"));
  }
  Loaded wrong = load(text, {{"hiden", "9"}});
  CHECK(wrong.has(Code::E0610));
  CHECK_THAT(wrong.errors(), test::contains("there are Hidden, data.batch"));
  CHECK(load(text, {{"data.batch", "many"}}).has(Code::E0611));
}

TEST_CASE("groups of parameters", "[frontend][module]") {
  Loaded l =
      load(program("model M(x[B, 4]) -> [B, 3] { x |> fc1: Dense(5) |> frozen fc2: Dense(5) |> fc3: Dense(3) }",
                   "using sgd(lr: 0.1), sgd(lr: 0.2, momentum: 0.9) for \"*.bias\", adam(lr: 0.3) for \"fc3.bias\"\n epochs 1"));
  BuiltGraph g = train_graph(l);
  Diagnostics d;
  std::vector<UpdateRule> rules = l.module->build_update_rules(g.parameters, d);
  REQUIRE(rules.size() == 4);
  std::map<std::string, size_t> states;
  for (const UpdateRule& r : rules) states[r.parameter] = r.states.size();
  CHECK(states == std::map<std::string, size_t>{{"fc1.weight", 0}, {"fc1.bias", 1}, {"fc3.weight", 0}, {"fc3.bias", 2}});
}

TEST_CASE("what a frozen layer holds is frozen, however deep", "[frontend][module]") {
  BuiltGraph g = train_graph(
      load(program("layer Inner(x[B, C]) -> [B, C] { x |> fc: Dense(C, bias: false) }\n"
                   "layer Block(x[B, C]) -> [B, C] { x |> a: Inner |> frozen b: Inner }\n"
                   "model M(x[B, 4]) -> [B, 3] { x |> frozen first: Block |> second: Block |> out: Dense(3, bias: false) }")));
  std::map<std::string, bool> frozen;
  for (const ParameterSpec& p : g.parameters) frozen[p.persistent.name] = p.persistent.kind == PersistentKind::frozen;
  CHECK(frozen == std::map<std::string, bool>{{"first.a.fc.weight", true},
                                              {"first.b.fc.weight", true},
                                              {"second.a.fc.weight", false},
                                              {"second.b.fc.weight", true},
                                              {"out.weight", false}});
}

TEST_CASE("states change in training alone", "[frontend][module]") {
  Loaded l = load(program("model M(x[B, 4]) -> [B, 3] { state n = 0\n state m[4] = 0\n update n = n + 1\n update m = mean(x, over: B)\n "
                          "x + m * n |> Dense(3) }"));
  CHECK(train_graph(l).graph.updates.size() == 2);
  Diagnostics d;
  for (const std::optional<BuiltGraph>& g : {l.module->build_eval_graph(d), l.module->build_predict_graph(d)}) {
    REQUIRE(g);
    CHECK(g->graph.updates.empty());
  }
}

TEST_CASE("a module without a train block", "[frontend][module]") {
  Loaded l = load("fn f(x[...]) { x }\noptimizer o(lr) { update value = value - lr * grad }\nlayer L(x[B]) { x }");
  INFO(l.errors());
  REQUIRE(l.module);
  CHECK_FALSE(l.module->has_train());
  CHECK(l.module->definition_names() == std::vector<std::string>{"f", "L"});  // an optimizer is nothing to evaluate
  Diagnostics d;
  CHECK_FALSE(l.module->build_train_graph(d));
  CHECK_FALSE(l.module->build_eval_graph(d));
  CHECK_FALSE(l.module->build_predict_graph(d));
  CHECK(d.items().empty());
}

TEST_CASE("several losses add up, and tied parameters are one", "[frontend][module]") {
  BuiltGraph g = train_graph(load(data_block + "model M(x[B, C]) -> [B, C], [B, 3] { param w[Code, C] ~ normal(1)\n let h = "
                                               "sum(x * w, over: C)\n sum(h * w, over: Code), h }\ndim Code = 3\n"
                                               "train { data d\n let same, logits = M(x)\n minimize mean_squared_error(same, "
                                               "x)\n minimize cross_entropy(logits, label)\n using sgd(lr: 1)\n epochs 1 }"));
  CHECK(g.parameters.size() == 1);
  CHECK(g.graph[g.graph.outputs[0].node].op == Op::add);
}

TEST_CASE("test blocks are decided or become graphs", "[frontend][module]") {
  Loaded l = load(
      "fn square(x[...]) -> [...] { x * x }\n"
      "test \"t\" {\n expect shape(zeros([2, 3])) == [2, 3]\n expect 1 + 1 == 3\n expect square([2.0, 3.0]) == [4.0, 9.0]\n "
      "expect gradient(square)([2.0]) == [4.0]\n"
      " check_gradients square([1.0, -1.0])\n expect error \"unknown name\" in { sqare(1) }\n expect error \"nothing\" in { "
      "square([1.0]) } }");
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  auto tests = l.module->build_tests(d);
  REQUIRE(tests.size() == 1);
  const auto& e = tests[0].expectations;
  REQUIRE(e.size() == 7);
  CHECK(e[0].passed);
  CHECK_FALSE(e[1].passed);
  CHECK(e[1].message == "2 is not 3");
  Bindings b;
  for (const auto& [name, values] : e[2].inputs) b.inputs[name] = tensor({int64_t(values.size())}, values);
  CHECK(interpret(e[2].graph, b).outputs.at("left").values == std::vector<double>{4, 9});
  REQUIRE(e[3].gradients.size() == 1);
  CHECK(e[3].graph[e[3].gradients[0].wrt].op == Op::input);
  CHECK(e[4].kind == Module::Expectation::Kind::check_gradients);
  REQUIRE(e[4].inputs.size() == 1);
  CHECK(e[5].passed);
  CHECK_FALSE(e[6].passed);
}

TEST_CASE("every error of a file in one run, and no cascade", "[frontend][module]") {
  Loaded l =
      load(data_block +
           "layer A(x[B, C]) -> [B, C] { x |> Dense(C) |> rleu |> Dense(C) }\nfn b(x[B, T], y[B, S]) { x + y }\n"
           "model M(x[B, 4]) -> [B, 3] { x |> A |> Dense |> Dense(3) }\n"
           "train { data d\n minimize cross_entropy(M(x), label)\n using sdg(lr: 1)\n epochs 1\n report accuracy(M(x), label) }");
  CHECK_FALSE(l.module);
  std::vector<Code> codes;
  for (const Diagnostic& d : l.diagnostics.sorted()) codes.push_back(d.code);
  CHECK(codes == std::vector<Code>{Code::E0201, Code::E0106, Code::E0201});
}

}  // namespace
}  // namespace nnc::frontend_tests
