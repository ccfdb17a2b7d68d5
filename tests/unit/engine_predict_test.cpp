// Prediction on rows that a host has in memory, and what is asked of a file that holds them.
#include "tests/unit/catch.h"

#include "base/diagnostics.h"
#include "engine/predict.h"
#include "engine/weights.h"
#include "runtime/data/table.h"

using namespace nnc;

namespace {

const char* const program = R"(
data pairs {
  x[2] : f32 = csv("pairs.csv", columns: 0..2)
  y    : f32 = csv("pairs.csv", columns: 2)
}
model Line(x[B, 2]) -> [B] { (x |> dense: Dense(1)) as [B] }
train {
  data pairs, batch: 4
  minimize mean((Line(x) - y)^2)
  using sgd(lr: 0.1)
  epochs 1
}
)";

/// x = (r, 2) in row r.
FieldData rows_of(const Predictor& predictor, int64_t rows) {
  std::vector<float> values;
  for (int64_t r = 0; r < rows; ++r) values.insert(values.end(), {float(r), 2});
  return read_field(predictor.request(predictor.inputs()[0], HostArray{DType::f32, {rows, 2}, values.data()}));
}

struct Line {
  Compilation compilation{host_target()};
  Team team{1};
  std::optional<StepRunner> weights;
  Line() {
    compilation.load_text("line.nn", program);
    weights.emplace(model_weights(compilation), team);
    set("dense.weight", {DType::f32, {1, 2}, {3, 5}});
    set("dense.bias", {DType::f32, {1}, {0.5}});
  }
  void set(const char* name, const Tensor& value) {
    int index = weights->find_persistent(name);
    REQUIRE(index >= 0);
    write_persistent(*weights, size_t(index), value);
  }
};

Code code_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const UserError& e) {
    return e.diagnostic().code;
  }
  FAIL("nothing was thrown");
  return Code::E0101;
}

}  // namespace

TEST_CASE("a model predicts rows of memory, batch by batch", "[engine]") {
  Line line;
  Predictor predictor(line.compilation);
  REQUIRE(predictor.inputs().size() == 1);
  CHECK(predictor.inputs()[0].name == "x");
  REQUIRE(predictor.results().size() == 1);
  CHECK_FALSE(predictor.gives_probabilities());
  for (int64_t count : {3, 600, 3}) {
    Prediction p = predictor.predict({rows_of(predictor, count)}, *line.weights, {}, {}, line.team);
    CHECK(p.rows == count);
    REQUIRE(p.results.size() == 1);
    CHECK(p.by_row[0]);
    REQUIRE(p.results[0].shape == std::vector<int64_t>{count});
    for (int64_t r = 0; r < count; ++r) CHECK(read_element(p.results[0].bytes.data() + r * 4, DType::f32) == 3.0 * double(r) + 10.5);
  }
}

TEST_CASE("a prediction follows the weights that it is given", "[engine]") {
  Line line;
  Predictor predictor(line.compilation);
  FieldData rows = rows_of(predictor, 2);
  predictor.predict({rows}, *line.weights, {}, {}, line.team);
  line.set("dense.bias", {DType::f32, {1}, {-10}});
  Prediction p = predictor.predict({rows}, *line.weights, {}, {}, line.team);
  CHECK(read_element(p.results[0].bytes.data(), DType::f32) == 0);
  CHECK(read_element(p.results[0].bytes.data() + 4, DType::f32) == 3);
}

TEST_CASE("rows of another form than the model's input are refused", "[engine]") {
  Line line;
  Predictor predictor(line.compilation);
  FieldData rows = rows_of(predictor, 2);
  rows.row_shape = {3};
  CHECK(code_of([&] { predictor.predict({rows}, *line.weights, {}, {}, line.team); }) == Code::E0511);
  rows.row_shape = {2};
  rows.dtype = DType::i32;
  CHECK(code_of([&] { predictor.predict({rows}, *line.weights, {}, {}, line.team); }) == Code::E0511);
}

TEST_CASE("the likeliest class of scores, of probabilities and of one score", "[engine]") {
  auto prediction = [](std::vector<int64_t> shape, std::vector<double> values) {
    return Prediction{shape[0], {to_stored("result", {DType::f32, shape, std::move(values)})}, {true}};
  };
  auto numbers = [](const StoredTensor& t) { return to_numbers(t.bytes.data(), size_t(element_count(t.shape)), t.dtype); };
  std::optional<Prediction> scores = likeliest_classes(prediction({2, 2}, {0, 0, -1000, 0}), false);
  REQUIRE(scores);
  CHECK(numbers(scores->results[0]) == std::vector<double>{0, 1});
  CHECK(numbers(scores->results[1]) == std::vector<double>{0.5, 1});
  std::optional<Prediction> probabilities = likeliest_classes(prediction({1, 2}, {0.25, 0.75}), true);
  REQUIRE(probabilities);
  CHECK(numbers(probabilities->results[0]) == std::vector<double>{1});
  CHECK(numbers(probabilities->results[1]) == std::vector<double>{0.75});
  std::optional<Prediction> one = likeliest_classes(prediction({2}, {0, -1000}), false);
  REQUIRE(one);
  CHECK(numbers(one->results[0]) == std::vector<double>{1, 0});
  CHECK(numbers(one->results[1]) == std::vector<double>{0.5, 1});
  CHECK_FALSE(likeliest_classes(prediction({1, 2, 1}, {0, 0}), false));
}
