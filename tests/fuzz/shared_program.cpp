// A program trained as the engine trains it (engine/training_run.h), by one worker and by several, on arrays in the place of its files.
#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "engine/bindings.h"
#include "engine/compilation.h"
#include "engine/training_run.h"
#include "passes/split_stages.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/shared_steps.h"
#include "tests/workers/local_run.h"

namespace nnc::fuzz {
namespace {

constexpr int most_steps = 4;

/// What a run said and left, in the order in which it did: ("step 3, loss", "0x1.8p+1"). Numbers to the bit, but that all NaN are one.
using Story = std::vector<std::pair<std::string, std::string>>;

std::string bits(double v) { return std::isnan(v) ? "NaN" : fmt::format("{:a} ({:.9g})", v, v); }

class Recorder : public TrainingObserver {
 public:
  void on_step(const StepRecord& r) override {
    for (size_t i = 0; i < r.results.size(); ++i) story.emplace_back(fmt::format("step {}, result {}", r.step, i), bits(r.results[i]));
  }
  void on_epoch(const EpochReport& r) override {
    for (size_t i = 0; i < r.values.size(); ++i) epochs.emplace_back(fmt::format("epoch {}, report {}", r.epoch, i), r.values[i] ? bits(*r.values[i]) : "none");
    for (const auto& [name, value] : r.test)
      for (size_t i = 0; i < value.values.size(); ++i) epochs.emplace_back(fmt::format("epoch {}, test of {} at {}", r.epoch, name, i), bits(value.values[i]));
  }
  Story story, epochs;
};

struct Ending {
  std::string refusal;  ///< code and message of what ended it before its first step
  Story steps, epochs;
};

class SharedProgram {
 public:
  SharedProgram(const std::string& text, uint64_t seed, const Sharing& sharing, VectorLevel level, Coverage* coverage)
      : text_(text), sharing_(sharing), coverage_(coverage), random_(seed, "shared program"), target_(host_target_with_cpu()) {
    if (level != target_.level) target_ = target_by_name(std::string(vector_level_name(level)));
  }

  std::optional<Failure> run() {
    Compilation first(target_);
    first.load_text("fuzz.nn", text_, {});
    if (!first.module->has_train()) return std::nullopt;
    std::optional<BuiltGraph> forward = first.module->build_train_graph(first.diagnostics);
    first.settle();
    const bool coupled = couples_rows(forward->graph);
    choose_rows(forward->row_conditions);
    if (!draw_data(first.module->train().data)) return std::nullopt;

    // Rows that are coupled are so within each of the batches that make up a whole one: there one worker takes them one by one, too.
    const Ending expected = train(coupled ? sharing_.accumulate : 1, nullptr);
    std::vector<Ending> found(size_t(sharing_.workers));
    const std::string wrong = test::run_threads(sharing_.workers, [&](Transport& transport) -> std::string {
      transport.set_stall_seconds(300);
      Collectives workers(transport);
      found[size_t(transport.rank())] = train(sharing_.accumulate, &workers);
      return "";
    });
    if (!wrong.empty()) return fault("exception", wrong);
    if (!found[0].refusal.empty()) return judge_refusal(expected, found);
    for (size_t rank = 0; rank < found.size(); ++rank) {
      if (auto d = difference(found[rank].steps, expected.steps)) return fault("bits", fmt::format("worker {} of {}: {}", rank, sharing_.workers, *d));
    }
    if (auto d = difference(found[0].epochs, expected.epochs)) return fault("reports", *d);  // the first one reports
    hit("program.same");
    hit(fmt::format("workers_{}", sharing_.workers));
    if (sharing_.accumulate > 1) hit("accumulate");
    if (sharing_.threads > 1) hit("threads");
    if (coupled) hit(sharing_.workers > 1 ? "coupled_rows_shared" : "coupled_rows");
    return std::nullopt;
  }

 private:
  Failure fault(const std::string& what, const std::string& detail) const { return {"workers", what, detail, sharing_.encode(), ""}; }
  void hit(const std::string& what) {
    if (coverage_) coverage_->hit("share." + what);
  }

  /// Rows of a piece, and of the data; no batch may have fewer than rows that are coupled need.
  void choose_rows(const std::vector<RowCondition>& conditions) {
    int64_t least = 1;
    while (least < 64 && find_unmet(conditions, least, "")) ++least;
    piece_ = random_.pick({1, 1, 2, 3, 5});
    const int64_t pieces_each = (sharing_.pieces + sharing_.accumulate - 1) / sharing_.accumulate;
    while (piece_ * pieces_each < least) ++piece_;
    batch_ = piece_ * pieces_each;
    if (sharing_.accumulate == 1 && batch_ - least >= piece_) batch_ -= random_.below(int(piece_));
    const int64_t whole = batch_ * sharing_.accumulate;
    rows_ = whole * 2 + random_.below(int(whole * 2));
    if (random_.chance(30)) rows_ = whole * 4;
  }

  int64_t pieces() const { return (batch_ * sharing_.accumulate + piece_ - 1) / piece_; }

  bool draw_data(const DataSpec& data) {
    for (const FieldSpec& f : data.fields) {
      std::vector<int64_t> shape{rows_};
      int64_t elements = rows_;
      for (int64_t n : f.row_shape) {
        shape.push_back(n);
        if (n < 0 || n > 100'000 || (elements *= n) > 1'000'000) return false;  // a damaged program's
      }
      std::vector<double> values;
      for (int64_t i = 0; i < elements; ++i) values.push_back(f.classes > 0 ? double(random_.below(int(std::min<int64_t>(f.classes, 1000)))) : is_float(f.dtype) ? random_.normal() : double(random_.below(8)));
      memory_.push_back(to_bytes(values, f.dtype));
      arrays_.push_back({f.name, {f.dtype, shape, nullptr}});
    }
    for (size_t i = 0; i < arrays_.size(); ++i) arrays_[i].values.elements = memory_[i].data();
    return true;
  }

  Ending train(int accumulate, Collectives* workers) const {
    Ending ending;
    try {
      Compilation compilation(target_);
      compilation.workers = workers ? workers->size() : 1;
      compilation.code.threads = 1;
      const int64_t whole = batch_ * sharing_.accumulate;
      compilation.load_text("fuzz.nn", text_,
                            {{"data.batch", std::to_string(whole / accumulate)}, {"data.accumulate", std::to_string(accumulate)}, {"data.pieces", std::to_string(pieces())}, {"--steps", std::to_string(most_steps)}});
      TrainingOptions options;
      options.data.arrays = arrays_;
      options.threads = workers ? sharing_.threads : 1;
      options.workers = workers;
      Recorder recorder;
      TrainingRun run(compilation, std::move(options), recorder);
      const TrainingResult result = run.train();
      ending.steps = std::move(recorder.story);
      ending.epochs = std::move(recorder.epochs);
      ending.steps.emplace_back("outcome", fmt::format("{} after {} steps", int(result.outcome), result.steps));
      if (result.divergence) ending.epochs.emplace_back("divergence", result.divergence->message);
      for (size_t i = 0; i < run.runner().program().persistents.size(); ++i) {
        const Tensor t = read_for_all(run.runner(), i);
        for (size_t e = 0; e < t.values.size(); ++e) ending.steps.emplace_back(fmt::format("{} at {}", run.runner().program().persistents[i].name, e), bits(t.values[e]));
      }
    } catch (const ProgramErrors& e) {
      const Diagnostic& d = e.diagnostics().front();
      ending.refusal = fmt::format("{} {}", code_name(d.code), d.code == Code::E0313 && !d.labels.empty() ? d.labels.front().text : d.message);
    } catch (const WorkerLost&) {
      throw;
    } catch (const UserError& e) {
      ending.refusal = fmt::format("{} {}", code_name(e.diagnostic().code), e.diagnostic().message);
    }
    return ending;
  }

  /// E0313 is an answer; any other is one if one worker has it too.
  std::optional<Failure> judge_refusal(const Ending& expected, const std::vector<Ending>& found) {
    for (const Ending& e : found)
      if (e.refusal != found[0].refusal) return fault("refusal", fmt::format("workers do not agree: {} and {}", found[0].refusal, e.refusal));
    const std::string code = found[0].refusal.substr(0, 5);
    if (code != "E0313" && code != expected.refusal.substr(0, std::min<size_t>(5, expected.refusal.size())))
      return fault("refusal", fmt::format("one worker: {}; {}: {}", expected.refusal.empty() ? "trains" : expected.refusal, sharing_.workers, found[0].refusal));
    if (coverage_) coverage_->refused("program", found[0].refusal);
    return std::nullopt;
  }

  static std::optional<std::string> difference(const Story& found, const Story& expected) {
    for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i)
      if (found[i] != expected[i]) return fmt::format("{} is {} instead of {} is {}", found[i].first, found[i].second, expected[i].first, expected[i].second);
    if (found.size() != expected.size()) return fmt::format("{} values instead of {}", found.size(), expected.size());
    return std::nullopt;
  }

  const std::string& text_;
  const Sharing sharing_;
  Coverage* coverage_;
  Random random_;
  Target target_;
  int64_t piece_ = 1, batch_ = 1, rows_ = 1;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<DataReplacements::Array> arrays_;
};

}  // namespace

std::optional<Failure> train_shared(const std::string& text, uint64_t seed, const Sharing& sharing, VectorLevel level, Coverage* coverage) {
  return SharedProgram(text, seed, sharing, level, coverage).run();
}

}  // namespace nnc::fuzz
