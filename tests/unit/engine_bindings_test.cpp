// Values by name on their way into a step and out of it, with a step written by hand; rows of data on their way into a graph.
#include "tests/unit/catch.h"

#include <cstring>

#include "base/diagnostics.h"
#include "engine/bindings.h"
#include "ir/text.h"

using namespace nnc;

namespace {

constexpr int64_t capacity = 4;

/// twice[o, r] = x[r] for both o; sum = rate * rows; weight grows by one.
void step_by_hand(NncContext* c, int32_t, int64_t steps) {
  for (int64_t s = 0; s < steps; ++s) {
    for (int64_t r = 0; r < c->rows[s]; ++r) {
      const uint8_t* row = c->fields[0].base + c->row_index[s * capacity + r] * c->fields[0].row_stride;
      for (int64_t o = 0; o < 2; ++o) std::memcpy(c->outputs[0] + (o * capacity + r) * 4, row, 4);
    }
    c->results[s] = c->scalars[s].number * double(c->rows[s]);
    float weight = 0;
    std::memcpy(&weight, c->persistent, sizeof weight);
    weight += 1;
    std::memcpy(c->persistent, &weight, sizeof weight);
  }
  c->steps_done = steps;
}

StepProgram program_by_hand() {
  StepProgram p;
  p.run = step_by_hand;
  p.rows_capacity = capacity;
  p.persistent_bytes = 64;
  p.fields = {"x"};
  p.scalars = {"rate"};
  p.results = {"sum"};
  p.outputs = {{"twice", DType::f32, {2, capacity}, 1, 2 * capacity * 4}};
  p.persistents = {{"weight", DType::f32, {}, {}, 0, true}};
  p.parallel = false;
  return p;
}

Bindings values_by_hand() {
  Bindings b;
  b.rows = 3;
  b.inputs["x"] = {DType::f32, {3}, {5, 6, 7}};
  b.scalars["rate"] = 0.5;
  b.persistents["weight"] = {DType::f32, {}, {10}};
  return b;
}

Graph graph_of(const char* text) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Graph> graph = parse_graph(sources, sources.add("test.nnir", text), diagnostics);
  REQUIRE(graph);
  return std::move(*graph);
}

std::string message_of(const Bindings& values) {
  Team team(1);
  StepRunner runner(program_by_hand(), team);
  try {
    run_step(runner, values);
  } catch (const UserError& e) {
    CHECK(e.diagnostic().code == Code::E0511);
    return e.diagnostic().message;
  }
  return "";
}

}  // namespace

TEST_CASE("a step is run on values by name and gives values by name", "[engine]") {
  Team team(1);
  StepRunner runner(program_by_hand(), team);
  std::map<std::string, Tensor> found = run_step_in_numbers(runner, values_by_hand());
  REQUIRE(found.size() == 2);
  // Rows are not the outermost dimension and fewer than planned: what lies beyond them is no part of the output.
  CHECK(found.at("twice") == Tensor{DType::f32, {2, 3}, {5, 6, 7, 5, 6, 7}});
  CHECK(found.at("sum") == Tensor{DType::f64, {}, {1.5}});
  CHECK(read_persistent(runner, 0).values == std::vector<double>{11});
}

TEST_CASE("what a step needs and nobody gives is named", "[engine]") {
  Bindings values = values_by_hand();
  values.inputs.clear();
  CHECK(message_of(values) == "no value was given for the input `x`");
  values = values_by_hand();
  values.scalars.clear();
  CHECK(message_of(values) == "no value was given for the scalar `rate`");
  values = values_by_hand();
  values.persistents.clear();
  CHECK(message_of(values) == "no value was given for `weight`");
}

TEST_CASE("outputs of batches stand one after the other", "[engine]") {
  Team team(1);
  StepRunner runner(program_by_hand(), team);
  StoredTensor all = output_tensor(runner.program(), 0, 5);
  CHECK(all.shape == std::vector<int64_t>{2, 5});
  Bindings values = values_by_hand();
  run_step(runner, values);
  copy_output(runner, 0, 3, all, 0);
  values.rows = 2;
  values.inputs["x"] = {DType::f32, {2}, {8, 9}};
  run_step(runner, values);
  copy_output(runner, 0, 2, all, 3);
  CHECK(to_tensor(all).values == std::vector<double>{5, 6, 7, 8, 9, 5, 6, 7, 8, 9});
}

TEST_CASE("scalars of a step are those of its program, in 64 bits", "[engine]") {
  StepProgram program;
  program.scalars = {"step", "using.lr", "unknown"};
  TrainSpec spec;
  spec.scalars = {{"using.lr", 0.1}, {"step", 7}};
  const ScalarValues values = with_hyperparameters({{"step", 3}}, spec);
  CHECK(values.at("step") == 3);  // what is known stays
  CHECK(values.at("using.lr") == 0.1);
  const std::vector<NncScalar> scalars = step_scalars(program, values);
  REQUIRE(scalars.size() == 3);
  CHECK(scalars[0].count == 3);
  CHECK(scalars[1].number == 0.1);
  CHECK(scalars[2].number == 0);
  CHECK(step_scalars(program, {{"step", 0x1p40 + 1}})[0].count == (int64_t(1) << 40) + 1);
  CHECK(number_of("step", scalars[0]) == 3);
  CHECK(number_of("using.lr", scalars[1]) == 0.1);
}

TEST_CASE("rows of data are bound in the order that is asked for", "[engine]") {
  Graph graph = graph_of(R"(graph @g {
  %0 = input @image : u8[B, 2]
  %1 = scalar @using.lr : f64[]
  output "image" %0
}
)");
  const uint8_t pixels[] = {1, 2, 3, 4, 5, 6};
  RunData data;
  FieldData field;
  field.data = reinterpret_cast<const std::byte*>(pixels);
  field.rows = 3;
  field.row_stride_bytes = 2;
  field.dtype = DType::u8;
  field.row_shape = {2};
  data.fields.push_back(std::move(field));
  data.names = {"image"};
  const std::vector<int64_t> rows{2, 0, 2};
  Bindings bindings = bind_rows(graph, data, rows);
  CHECK(bindings.rows == 3);
  CHECK(bindings.inputs.at("image") == Tensor{DType::u8, {3, 2}, {5, 6, 1, 2, 5, 6}});
  bind_scalars(bindings, graph, {{"epoch", 4}});
  CHECK(bindings.scalars == ScalarValues{{"epoch", 4}, {"using.lr", 0}});
}
