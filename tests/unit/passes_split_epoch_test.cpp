// Reports over an epoch: what is combined step by step, what rows are kept for, and what has no value, on graphs written out.
#include "passes/split_epoch.h"

#include "base/diagnostics.h"
#include "ir/interpreter.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// p = x w and y of three columns of rows; what follows are reports on them.
Graph graph_of(const std::string& reports) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::string text = R"(graph @train {
  param @w : f32[2]
  %0 = input @x : f32[B, 2]
  %1 = input @y : f32[B]
  %2 = parameter @w : f32[2]
  %3 = contract(%0, %2) ab,b->a : f32[B]
  %4 = sub(%3, %1) : f32[B]
  %5 = mul(%4, %4) : f32[B]
  %6 = reduce_sum(%5) axes [0] : f32[]
  %7 = extent B : f64[]
  %8 = cast(%7) : f32[]
  %9 = div(%6, %8) : f32[]
)" + reports + "}\n";
  std::optional<Graph> graph = parse_graph(sources, sources.add("test.nnir", text), diagnostics);
  for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(render_text(d, sources, false));
  REQUIRE(graph);
  return std::move(*graph);
}

std::vector<std::string> output_names(const Graph& g) {
  std::vector<std::string> names;
  for (const Output& o : g.outputs) names.push_back(o.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("means, sums and extremes over an epoch need nothing but the steps' own values", "[passes]") {
  Graph g = graph_of(R"(
  %10 = reduce_max(%4) axes [0] : f32[]
  %11 = reduce_min(%4) axes [0] : f32[]
  %12 = neg(%6) : f32[]
  %13 = constant 1 : f32[]
  %14 = div(%13, %8) : f32[]
  %15 = mul(%14, %6) : f32[]
  %16 = add(%15, %13) : f32[]
  %17 = reduce_sum(%2) axes [0] : f32[]
  %18 = mul(%6, %17) : f32[]
  %19 = scalar @step : i64[]
  %20 = scalar @using.lr : f64[]
  output "loss" %9
  output "largest" %10
  output "smallest" %11
  output "sum" %12
  output "mean" %16
  output "weights" %17
  output "scaled" %18
  output "rows" %7
  output "step" %19
  output "rate" %20
)");
  std::vector<EpochSplit> reports = split_epoch(g);
  CHECK(g.outputs.size() == 10);
  const std::vector<Combine> expected{Combine::mean, Combine::max, Combine::min, Combine::sum, Combine::mean,
                                      Combine::mean, Combine::sum, Combine::sum, Combine::last, Combine::mean};
  REQUIRE(reports.size() == expected.size());
  for (size_t i = 0; i < reports.size(); ++i) {
    INFO(reports[i].name);
    CHECK(reports[i].is_direct());
    REQUIRE(reports[i].values.size() == 1);
    CHECK(reports[i].values[0].output == reports[i].name);
    CHECK(reports[i].values[0].combine == expected[i]);
  }
}

TEST_CASE("what is computed from sums is computed from those of the epoch", "[passes]") {
  Graph g = graph_of(R"(
  %10 = sqrt(%9) : f32[]
  %11 = reduce_sum(%2) axes [0] : f32[]
  %12 = mul(%10, %11) : f32[]
  output "loss" %9
  output "root" %10
  output "scaled" %12
)");
  std::vector<EpochSplit> reports = split_epoch(g);
  CHECK(output_names(g) == Names{"loss", "root", "scaled", "accumulated.0", "accumulated.1"});
  CHECK(verify_graph(g).empty());
  REQUIRE(reports[1].values.size() == 1);
  CHECK(reports[1].values[0].output == "accumulated.0");
  CHECK(reports[1].values[0].combine == Combine::sum);
  CHECK(reports[1].levels.empty());
  CHECK(verify_graph(reports[1].final_graph).empty());
  Bindings bindings;
  bindings.scalars["rows"] = 7;
  bindings.persistents["accumulated.0"] = {DType::f32, {}, {63}};
  bindings.persistents["accumulated.1"] = {DType::f32, {}, {5}};
  CHECK(interpret(reports[1].final_graph, bindings).outputs.at("root").values[0] == 3);
  // A value of weights is one of each row of its step: its mean.
  REQUIRE(reports[2].values.size() == 2);
  CHECK(reports[2].values[1].output == "accumulated.1");
  CHECK(reports[2].values[1].combine == Combine::mean);
  CHECK(interpret(reports[2].final_graph, bindings).outputs.at("scaled").values[0] == 15);
}

TEST_CASE("rows that are needed again are read again or kept", "[passes]") {
  Graph g = graph_of(R"(
  %10 = reduce_sum(%1) axes [0] : f32[]
  %11 = div(%10, %8) : f32[]
  %12 = broadcast(%11) axes [] : f32[B]
  %13 = sub(%1, %12) : f32[B]
  %14 = mul(%13, %13) : f32[B]
  %15 = reduce_sum(%14) axes [0] : f32[]
  %16 = div(%6, %15) : f32[]
  %20 = reduce_sum(%3) axes [0] : f32[]
  %21 = div(%20, %8) : f32[]
  %22 = broadcast(%21) axes [] : f32[B]
  %23 = sub(%3, %22) : f32[B]
  %24 = mul(%23, %23) : f32[B]
  %25 = reduce_sum(%24) axes [0] : f32[]
  %26 = div(%25, %8) : f32[]
  output "loss" %9
  output "r2" %16
  output "variance" %26
)");
  std::vector<EpochSplit> reports = split_epoch(g);
  REQUIRE(reports[1].levels.size() == 1);
  CHECK(reports[1].kept.empty());  // targets are of the data alone
  CHECK(verify_graph(reports[1].levels[0].batch).empty());
  for (const Node& n : reports[1].levels[0].batch.nodes())
    if (n.op == Op::input) CHECK(n.attributes.text == "y");
  REQUIRE(reports[2].levels.size() == 1);  // a mean, but of what depends on the others
  REQUIRE(reports[2].kept.size() == 1);
  CHECK(to_string(reports[2].kept[0].type) == "f32[B]");
  for (const Output& o : g.outputs)
    if (o.name == reports[2].kept[0].output) CHECK(g[o.node].op == Op::contract);
}

TEST_CASE("rows that the loss is made of are as their step made them, also by statistics of its batch", "[passes]") {
  Graph g = graph_of(R"(
  %10 = reduce_sum(%3) axes [0] : f32[]
  %11 = div(%10, %8) : f32[]
  %12 = broadcast(%11) axes [] : f32[B]
  %13 = sub(%3, %12) : f32[B]
  %14 = mul(%13, %1) : f32[B]
  %15 = reduce_sum(%14) axes [0] : f32[]
  %16 = div(%15, %8) : f32[]
  %17 = exp(%13) : f32[B]
  %18 = reduce_sum(%17) axes [0] : f32[]
  %19 = div(%18, %8) : f32[]
  output "loss" %16
  output "metric" %19
)");
  std::vector<EpochSplit> reports = split_epoch(g);
  for (const EpochSplit& r : reports) {
    CHECK(r.is_direct());
    REQUIRE(r.values.size() == 1);
    CHECK(r.values[0].combine == Combine::mean);
  }
}

TEST_CASE("what no batches can be combined for says why", "[passes]") {
  Graph g = graph_of(R"(
  %10 = argmax(%3) axis 0 : i32[]
  %11 = iota axis 0 : i32[B]
  %12 = reduce_max(%11) axes [0] : i32[]
  output "loss" %9
  output "best" %10
  output "last" %12
)");
  std::vector<EpochSplit> reports = split_epoch(g);
  CHECK(g.outputs.size() == 3);
  CHECK(reports[1].obstacle == "`argmax` over the rows");
  CHECK(reports[2].obstacle == "the index of a row within a batch");
  CHECK_FALSE(reports[1].is_direct());
  CHECK(reports[1].values.empty());
}
