// The training loop with a step function written by hand that goes wrong in a chosen step: what it keeps and saves is finite, whatever the moment.
#include "runtime/trainer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), nan_value = std::numeric_limits<float>::quiet_NaN();

struct Values {
  float weight[100];
  float pad[28];
  double wide[3];
  double pad2[5];
  float start[2];  // infinite from the start: a state such as "the least so far"
};

/// Steps are counted from 1; 0: never.
struct Faults {
  int64_t weight_at = 0, wide_at = 0, loss_at = 0, report_at = 0;
  size_t element = 0;
  float value = infinity;
} faults;

void faulty_step(NncContext* c, int32_t, int64_t steps) {
  Values& v = *reinterpret_cast<Values*>(c->persistent);
  for (int64_t s = 0; s < steps; ++s) {
    int64_t number = c->scalars[s].count + 1;
    float loss = 0;
    for (float w : v.weight) loss += 0 * w;  // NaN from the step after the weights' fault on
    if (number == faults.loss_at) loss = nan_value;
    for (float& w : v.weight) w = float(number);
    if (faults.weight_at && number >= faults.weight_at) v.weight[faults.element] = faults.value;
    if (faults.wide_at && number >= faults.wide_at) v.wide[2] = double(faults.value);
    c->results[2 * s] = loss;
    c->results[2 * s + 1] = number == faults.report_at ? nan_value : 1.0f;
    c->steps_done = s + 1;
  }
}

StepProgram faulty_program() {
  StepProgram p;
  p.run = faulty_step;
  p.parallel = false;
  p.rows_capacity = 4;
  p.persistent_bytes = sizeof(Values);
  p.scalars = {"step"};
  p.results = {"loss", "report"};
  p.persistents = {{"weight", DType::f32, {100}, {}, offsetof(Values, weight), true},
                   {"optimizer.m.weight", DType::f64, {3}, {}, offsetof(Values, wide), false},
                   {"optimizer.least.weight", DType::f32, {2}, {}, offsetof(Values, start), false}};
  return p;
}

class Saves : public TrainObserver {
 public:
  explicit Saves(StepRunner& runner) : runner_(runner) {}
  void on_progress(const StepRecord&, bool) override {}
  void on_save(int64_t step) override {
    steps.push_back(step);
    finite = finite && runner_.find_non_finite({false, false, true}) < 0;
  }
  std::vector<int64_t> steps;
  bool finite = true;

 private:
  StepRunner& runner_;
};

struct Outcome {
  TrainOutcome outcome;
  int64_t step = 0, kept = 0;
  int persistent = -1;
  bool kept_finite = true, to_nan = false;
  std::vector<int64_t> saves;
};

Outcome train(Faults f, TrainPlan plan) {
  faults = f;
  Team team(1);
  StepRunner runner(faulty_program(), team);
  float start[2] = {infinity, 0};
  runner.set_persistent(2, reinterpret_cast<std::byte*>(start));
  plan.rows.resize(40);
  std::iota(plan.rows.begin(), plan.rows.end(), int64_t{0});
  plan.batch = 4;
  Saves saves(runner);
  Trainer trainer(runner, plan, 0);
  Outcome o;
  o.outcome = trainer.run(saves);
  CHECK(saves.finite);
  o.saves = saves.steps;
  if (o.outcome != TrainOutcome::diverged) return o;
  o.step = trainer.diverged_at().step;
  o.persistent = trainer.diverged_persistent();
  o.to_nan = trainer.diverged_to_nan();
  o.kept = trainer.last_finite_step();
  CHECK(trainer.ignored() == std::vector<bool>{false, false, true});
  CHECK(trainer.diverged_at().epoch == (o.step - 1) / 10);
  CHECK(trainer.diverged_at().step_in_epoch == (o.step - 1) % 10 + 1);
  runner.set_persistent_block(trainer.last_finite_state());
  o.kept_finite = runner.find_non_finite(trainer.ignored()) < 0;
  Values v;
  std::memcpy(static_cast<void*>(&v), trainer.last_finite_state().data(), sizeof v);
  CHECK(int64_t(v.weight[0]) == (o.kept == plan.first_step ? 0 : o.kept));
  return o;
}

}  // namespace

TEST_CASE("weights that overflow in any step: what is kept is finite, and from before it") {
  for (int64_t at = 1; at <= 60; ++at)
    for (int64_t chunk : {1, 2, 3, 7, 64})
      for (double seconds : {0.0, 1.0}) {
        CAPTURE(at, chunk, seconds);
        TrainPlan plan;
        plan.total_steps = 60;
        plan.longest_chunk = chunk;
        plan.snapshot_seconds = seconds;
        Outcome o = train({.weight_at = at, .element = size_t(at)}, plan);
        REQUIRE(o.outcome == TrainOutcome::diverged);
        CHECK(o.kept_finite);
        CHECK(o.kept < at);
        CHECK((o.step == at || o.step == at + 1));
        if (seconds == 0) CHECK(at - o.kept <= chunk);
      }
}

TEST_CASE("the last step's update may be the one that overflows") {
  TrainPlan plan;
  plan.total_steps = 25;
  for (float value : {infinity, -infinity, nan_value}) {
    Outcome o = train({.weight_at = 25, .element = 99, .value = value}, plan);
    CHECK(o.outcome == TrainOutcome::diverged);
    CHECK(o.step == 25);
    CHECK(o.persistent == 0);
    CHECK(o.to_nan == std::isnan(value));
  }
  CHECK(train({.weight_at = 26}, plan).outcome == TrainOutcome::finished);
}

TEST_CASE("a state that overflows ends the run though the loss stays finite; one that began so does not") {
  TrainPlan plan;
  plan.total_steps = 100;
  plan.snapshot_seconds = 0;
  plan.longest_chunk = 5;
  for (int64_t at : {1, 4, 5, 6, 50, 100}) {
    CAPTURE(at);
    Outcome o = train({.wide_at = at}, plan);
    CHECK(o.outcome == TrainOutcome::diverged);
    CHECK(o.persistent == 1);
    CHECK(o.kept_finite);
    CHECK(o.kept < at);
    CHECK(o.step - at < 5);
  }
  CHECK(train({}, plan).outcome == TrainOutcome::finished);
}

TEST_CASE("nothing that is not finite is saved in between") {
  TrainPlan plan;
  plan.total_steps = 100;
  plan.save_every = 6;
  plan.snapshot_seconds = 3600;
  Outcome o = train({.wide_at = 20}, plan);
  CHECK(o.outcome == TrainOutcome::diverged);
  CHECK(o.saves == std::vector<int64_t>{6, 12, 18});
  CHECK(o.step == 24);
  CHECK(o.kept == 0);
}

TEST_CASE("a loss that is NaN once ends the run in that step, a report does not") {
  TrainPlan plan;
  plan.total_steps = 70;
  for (int64_t at : {1, 2, 10, 11, 37, 70}) {
    Outcome o = train({.loss_at = at}, plan);
    CHECK(o.outcome == TrainOutcome::diverged);
    CHECK(o.step == at);
    CHECK(o.persistent == -1);
    CHECK(o.to_nan);
    CHECK(o.kept < at);
  }
  CHECK(train({.report_at = 30}, plan).outcome == TrainOutcome::finished);
}

TEST_CASE("a resumed run counts its steps from the start of all") {
  TrainPlan plan;
  plan.first_step = 17;
  plan.total_steps = 60;
  for (int64_t at : {18, 20, 33, 60}) {
    Outcome o = train({.weight_at = at}, plan);
    CHECK(o.outcome == TrainOutcome::diverged);
    CHECK(o.kept >= 17);
    CHECK(o.kept < at);
    CHECK((o.step == at || o.step == at + 1));
  }
}

TEST_CASE("a replay runs through what is not finite, unless the loss is") {
  TrainPlan plan;
  plan.total_steps = 30;
  plan.watch = false;
  CHECK(train({.wide_at = 3}, plan).outcome == TrainOutcome::finished);
}

TEST_CASE("the look at the persistents finds each kind of number that is not finite, in each place, and no other") {
  Team team(1);
  StepRunner runner(faulty_program(), team);
  std::vector<float> weights(100, std::numeric_limits<float>::max());
  weights[1] = -weights[0];
  weights[2] = std::numeric_limits<float>::denorm_min();
  weights[3] = -0.0f;
  auto set = [&] { runner.set_persistent(0, reinterpret_cast<const std::byte*>(weights.data())); };
  set();
  CHECK(runner.find_non_finite() == -1);
  for (size_t i = 0; i < weights.size(); ++i)
    for (float bad : {infinity, -infinity, nan_value, -nan_value}) {
      float old = std::exchange(weights[i], bad);
      set();
      CHECK(runner.find_non_finite() == 0);
      CHECK(runner.find_non_finite({true}) == -1);
      CHECK(runner.holds_nan(0) == std::isnan(bad));
      weights[i] = old;
    }
  set();
  for (size_t i = 0; i < 3; ++i) {
    double wide[3] = {1e300, -1e-320, 0};
    wide[i] = i == 1 ? double(nan_value) : -double(infinity);
    runner.set_persistent(1, reinterpret_cast<const std::byte*>(wide));
    CHECK(runner.find_non_finite() == 1);
    CHECK(runner.holds_nan(1) == (i == 1));
  }
}
