// nnc inside another program, by engine/ alone: it compiles a text, trains on arrays of its own, stops from a callback, predicts, and prints the diagnostics of a wrong
// text itself. Its signal handlers stay its own. tests/check_host.py holds what it prints.
#include <csignal>
#include <cstdio>

#include "engine/predict.h"
#include "engine/training_run.h"

using namespace nnc;

const char* const circle = R"(
data points { x[2] = npy("x.npy")
              inside: class(2) = npy("inside.npy") }
model Net(x[B, 2]) -> [B, 2] { x |> fc1: Dense(16) |> tanh |> fc2: Dense(2) }
train { data points, batch: 32;  let z = Net(x);  minimize cross_entropy(z, inside);  using adam(lr: 0.01);  epochs 1000;  seed 1 }
)";

struct StopWhenGood : TrainingObserver {
  TrainingRun* run = nullptr;
  void on_epoch(const EpochReport& report) override {
    if (*report.values[0] < 0.1) run->request_stop();
  }
};

void on_signal(int) {}

int main() {
  const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGBUS, SIGSEGV, SIGXFSZ};
  for (int number : numbers) std::signal(number, on_signal);

  float x[256][2];
  int64_t inside[256];
  for (int i = 0; i < 256; ++i) {
    x[i][0] = float(i % 16) / 8 - 1, x[i][1] = float(i / 16) / 8 - 1;
    inside[i] = x[i][0] * x[i][0] + x[i][1] * x[i][1] < 0.5f;
  }
  Compilation compilation(host_target_with_cpu()), wrong(host_target_with_cpu());
  compilation.load_text("circle.nn", circle);
  TrainingOptions options;
  options.data.arrays = {{"x", {DType::f32, {256, 2}, x}}, {"inside", {DType::i64, {256}, inside}}};
  StopWhenGood observer;
  TrainingRun run(compilation, options, observer);
  observer.run = &run;
  std::printf("%s\n", run.train().outcome == TrainOutcome::stopped ? "stopped by the callback" : "not stopped");

  const float asked[2][2] = {{0.1f, 0.2f}, {0.9f, -0.9f}};
  Team team(1);
  Predictor model(compilation);
  FieldData rows = read_field(model.request(model.inputs()[0], HostArray{DType::f32, {2, 2}, asked}));
  std::optional<Prediction> classes = likeliest_classes(model.predict({rows}, run.runner(), {}, {}, team), model.gives_probabilities());
  for (double c : to_numbers(classes->results[0].bytes.data(), 2, DType::i32)) std::printf("class %g\n", c);

  try {
    wrong.load_text("wrong.nn", "model Net(x[B, 2]) -> [B, 2] { x |> Dence(2) }\n");
  } catch (const ProgramErrors& e) {
    for (const Diagnostic& d : e.diagnostics()) std::fputs(render_text(d, wrong.sources, false).c_str(), stdout);
  }
  for (int number : numbers)
    if (std::signal(number, SIG_DFL) != on_signal) std::printf("the handler of signal %d was replaced\n", number);
}
