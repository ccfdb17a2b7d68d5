// A token costs one run of a small program. Between runs the generator moves one slot per memory, and nothing else is remembered: the same tokens from position 0 on give the same scores.
#include "engine/generate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "engine/predict.h"
#include "passes/dead_code.h"

namespace nnc {
namespace {

/// What lies behind a field may be read by vectors.
constexpr int64_t read_past_end = 64;

}  // namespace

Generator::Generator(Compilation& compilation, const StepRunner& weights, const ScalarValues& scalars, const DrawPosition& draws, Team& team, Way way)
    : name_(compilation.name), draws_(draws) {
  TextModel model = find_text_model(compilation);
  context_ = model.context;
  characters_ = model.characters;
  chooses_itself_ = !model.gives_scores;
  are_probabilities_ = model.gives_scores && gives_probabilities(model.graph);
  const std::string result = model.graph.outputs[0].name;
  score_type_ = model.graph.type(model.graph.outputs[0].node).dtype;
  std::optional<PositionGraph> position;
  if (way == Way::by_position_if_causal && context_ > 1) {  // one position is the whole context
    PositionObstacle obstacle;
    position = make_position_graph(model.graph, model.tokens, obstacle);
    if (!position) {
      Diagnostic d = describe_obstacle(model.graph, obstacle, compilation.name, fmt::format("each character costs the whole context of {}", context_));
      d.severity = Severity::warning;
      compilation.warn(d);
    }
  }
  by_position_ = position.has_value();
  const std::vector<PositionMemory> memories = position ? position->memories : std::vector<PositionMemory>{};
  compiled_ = compile_step(make_program(position ? std::move(position->graph) : std::move(model.graph), "generate", 1, compilation.target), compilation.sources);
  runner_ = std::make_unique<StepRunner>(compiled_.step, team);
  runner_->copy_persistents(weights);
  const StepProgram& program = runner_->program();
  const auto place_of = [](const auto& list, const std::string& name, auto projection) { return size_t(std::ranges::find(list, name, projection) - list.begin()); };
  const auto output_of = [&](const std::string& name) {
    const size_t output = place_of(program.outputs, name, &OutputSlot::name);
    NNC_CHECK(output < program.outputs.size(), "no output " + name);
    return output;
  };
  scalars_ = step_scalars(program, with_hyperparameters(scalars, compilation.module->train()));
  position_scalar_ = place_of(program.scalars, position_scalar, std::identity{});
  numbers_.resize(program.results.size());
  result_output_ = output_of(result);
  read_ = AlignedMemory((by_position_ ? 1 : context_) * int64_t(sizeof(int32_t)) + read_past_end);
  const auto bind = [&](const std::string& name, const AlignedMemory& memory) {
    if (const size_t field = place_of(program.fields, name, std::identity{}); field < program.fields.size()) runner_->bind_field(field, memory.data(), 0);
  };
  bind(model.input, read_);
  for (const PositionMemory& m : memories) {
    const int64_t size = int64_t(byte_size(m.type.dtype));
    Memory memory;
    memory.output = output_of(m.name);
    memory.is_carry = m.axis < 0;
    memory.bytes = AlignedMemory(m.type.elements(1) * size + read_past_end);
    memory.inner = size;
    for (int i = 0; i < m.type.rank(); ++i) (i < m.axis ? memory.outer : i == m.axis ? memory.slots : memory.inner) *= m.type.shape[size_t(i)].size;
    bind(m.name, memory.bytes);
    memories_.push_back(std::move(memory));
  }
}

void Generator::feed(int32_t token) {
  NNC_CHECK(token >= 0 && token < characters_, "a token outside of the vocabulary");
  if (int64_t(text_.size()) == context_) {
    text_.erase(text_.begin(), text_.end() - context_ / 2);
    if (by_position_)
      for (size_t i = 0; i < text_.size(); ++i) run(int64_t(i));
  }
  text_.push_back(token);
  run(int64_t(text_.size()) - 1);
  const std::byte* result = runner_->output(result_output_);
  read_scores(result + (by_position_ ? 0 : (int64_t(text_.size()) - 1) * scores_per_position() * int64_t(byte_size(score_type_))));
}

void Generator::run(int64_t position) {
  if (by_position_) {
    std::memcpy(read_.data(), &text_[size_t(position)], sizeof(int32_t));
  } else {
    std::memset(read_.data(), 0, size_t(read_.size()));
    std::memcpy(read_.data(), text_.data(), text_.size() * sizeof(int32_t));
  }
  if (position_scalar_ < scalars_.size()) scalars_[position_scalar_].number = double(position);
  const int64_t rows = 1, row = 0;
  runner_->run(std::span(&rows, 1), &row, scalars_.data(), numbers_.data(), draws_);
  for (Memory& memory : memories_) {
    const std::byte* made = runner_->output(memory.output);
    if (memory.is_carry) {
      std::memcpy(memory.bytes.data(), made, size_t(memory.inner));
      continue;
    }
    if (position >= memory.slots) continue;
    for (int64_t i = 0; i < memory.outer; ++i) std::memcpy(memory.bytes.data() + (i * memory.slots + position) * memory.inner, made + i * memory.inner, size_t(memory.inner));
  }
}

void Generator::read_scores(const std::byte* elements) {
  scores_ = to_numbers(elements, size_t(scores_per_position()), score_type_);
  if (chooses_itself()) {
    if (scores_[0] < 0 || scores_[0] >= double(characters_))
      throw UserError(Code::E0532, fmt::format("the model gives the character number {}, and there are {}", int64_t(scores_[0]), characters_), name_);
    return;
  }
  if (are_probabilities_)
    for (double& score : scores_) score = std::log(score);
  const bool has_nan = std::ranges::any_of(scores_, [](double score) { return std::isnan(score); });
  if (has_nan || !std::isfinite(*std::ranges::max_element(scores_)))
    throw UserError(Code::E0532, fmt::format("the model's scores behind {} character{} are {}", text_.size(), text_.size() == 1 ? "" : "s", has_nan ? "NaN" : "not finite"), name_);
}

KnownVocabulary require_recorded_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path) {
  if (std::optional<KnownVocabulary> known = recorded_vocabulary(metadata, path)) return std::move(*known);
  throw UserError(Code::E0530, fmt::format("{} records no vocabulary, so its numbers are no characters", path), path, "weights that `nnc train` writes of a model of text record it, as `nnc.vocabulary`");
}

int64_t characters_out_of_sight(int64_t length, int64_t context) {
  if (length <= context) return 0;
  const int64_t kept = context / 2, between = context - kept;  // a cut, then so many more until the next
  return length - (kept + 1 + (length - context - 1) % between);
}

}  // namespace nnc
