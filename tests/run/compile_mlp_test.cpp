// A whole training step, forward, backward and update, compiled against interpreted.
#include <fmt/format.h>

#include "passes/pipeline.h"
#include "tests/run/graph_runner.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Shape rows_by(std::initializer_list<int64_t> sizes) {
  Shape s{Extent{1, true}};
  for (int64_t n : sizes) s.push_back(Extent{n, false});
  return s;
}

/// Dense layers with relu between, cross-entropy on labels, plain gradient descent.
Graph mlp(std::vector<int64_t> widths, DType input_type) {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", Type{input_type, rows_by({widths[0]})});
  NodeId h = b.mul(b.cast(x, DType::f32), input_type == DType::u8 ? 1.0 / 255 : 1.0);
  std::vector<std::string> parameters;
  for (size_t l = 1; l < widths.size(); ++l) {
    b.scope = fmt::format("fc{}", l);
    NodeId w = b.parameter({b.scope + ".weight", Type{DType::f32, {Extent{widths[l]}, Extent{widths[l - 1]}}}, PersistentKind::parameter, {}});
    NodeId bias = b.parameter({b.scope + ".bias", Type{DType::f32, {Extent{widths[l]}}}, PersistentKind::parameter, {}});
    parameters.push_back(b.scope + ".weight");
    parameters.push_back(b.scope + ".bias");
    h = b.contract(h, w, {0, 1}, {2, 1}, {0, 2});
    h = b.add(h, b.broadcast(bias, rows_by({widths[l]}), {1}));
    if (l + 1 < widths.size()) h = b.select(b.binary(Op::less_equal, h, b.constant_like(0, h)), b.constant_like(0, h), h);
  }
  b.scope = "loss";
  int64_t classes = widths.back();
  NodeId label = b.input("label", Type{DType::i32, rows_by({})});
  NodeId top = b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, h, {1}));
  NodeId e = b.unary(Op::exp, b.sub(h, b.broadcast(top, rows_by({classes}), {0})));
  NodeId lse = b.add(b.unary(Op::log, b.reduce(Op::reduce_sum, e, {1})), top);
  Attributes gather;
  gather.axes = {1};
  gather.lhs = {0, 1};
  gather.rhs = {0};
  gather.out = {0};
  NodeId picked = g.add(Op::gather, {h, label}, gather);
  NodeId loss = b.mean(b.sub(lse, picked), {0});
  Attributes axis;
  axis.axes = {1};
  NodeId hit = b.cast(b.binary(Op::equal, g.add(Op::argmax, {h}, axis), label), DType::f32);
  g.outputs.push_back({"loss", loss});
  g.outputs.push_back({"accuracy", b.mean(hit, {0})});
  std::vector<Graph> rules;
  for (const std::string& p : parameters) {
    Graph& rule = rules.emplace_back();
    Builder r(rule);
    Type type = g.find_persistent(p)->type;
    NodeId value = r.input("value", type), grad = r.input("grad", type), lr = r.cast(r.scalar("lr"), DType::f32);
    rule.updates.push_back({"value", r.sub(value, r.mul(r.broadcast(lr, type.shape, {}), grad))});
  }
  std::vector<std::pair<std::string, const Graph*>> views;
  for (size_t i = 0; i < rules.size(); ++i) views.push_back({parameters[i], &rules[i]});
  Diagnostics diagnostics;
  add_backward(g, views, std::nullopt, diagnostics);
  REQUIRE(!diagnostics.has_errors());
  return g;
}

}  // namespace

TEST_CASE("a training step of dense layers computes what the interpreter computes", "[run]") {
  auto input = GENERATE(DType::f32, DType::u8);
  auto rows = GENERATE(1, 3, 16, 33);
  auto optimize = GENERATE(false, true);
  std::mt19937_64 random(7);
  Graph g = mlp({37, 16, 24, 3}, input);
  Bindings b = random_bindings(g, rows, random);
  Results expected = interpret(g, b);
  for (int threads : {1, 3}) {
    CAPTURE(int(input), rows, optimize, threads);
    GraphRunOptions options;
    options.optimize = optimize;
    options.capacity = 40;
    options.threads = threads;
    options.parallel_all = threads > 1;
    check_same(run_compiled(g, b, options), expected, 2e-6);
  }
}

TEST_CASE("the weight gradient of a dense layer is not stored", "[run]") {
  Graph g = mlp({37, 16, 24, 3}, DType::u8);
  optimize_graph(g);
  Program p = build_program(g, {"train", 32, host_target(), {}});
  INFO(print_program(p, nullptr));
  for (const Buffer& b : p.buffers)
    if (b.kind == BufferKind::temporary) CHECK(b.shape.size() <= 2);
  int contractions = 0;
  for (const Kernel& k : p.kernels) contractions += std::holds_alternative<ContractKernel>(k.body);
  CHECK(contractions == 3 + 2 + 3);
  for (const Buffer& b : p.buffers)
    if (b.kind == BufferKind::temporary) CHECK((b.shape.size() < 2 || b.shape[0].rows));
}
