// Text from a model of text: the scores of the next character as a text grows, position by position. README.md, "Generation".
//
//   Generator generator(compilation, weights, trained_so_far(metadata), trained_draws(metadata, seed), team);
//   for (int32_t token : prompt) generator.feed(token);
//   Sampler sampler(options, seed);
//   for (...) { int32_t token = sampler.choose(generator.scores()); generator.feed(token); }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/bindings.h"
#include "engine/compilation.h"
#include "engine/step.h"
#include "engine/text_data.h"
#include "engine/text_model.h"
#include "runtime/step_runner.h"
#include "runtime/team.h"

namespace nnc {

class Generator {
 public:
  enum class Way : uint8_t { by_position_if_causal, whole_context };

  /// The module has a train block, whose model is one of text (find_text_model), which gives scores, probabilities or characters. Where positions cannot be computed one after another, warning E0531 says which operation is at fault. `weights`: as Predictor::predict has them. All outlive this.
  Generator(Compilation&, const StepRunner& weights, const ScalarValues& scalars, const DrawPosition&, Team&, Way = Way::by_position_if_causal);

  int64_t context() const { return context_; }        ///< T
  int64_t characters() const { return characters_; }  ///< V
  bool goes_by_position() const { return by_position_; }
  /// The model itself says which character is next: there is nothing to sample.
  bool chooses_itself() const { return chooses_itself_; }

  /// The text's next character. If the context is full, the last half of it is kept. UserError E0532 if there are no finite scores behind it.
  void feed(int32_t token);
  /// Of what comes behind the characters so far, at least one: as a softmax takes them. A model that chooses itself gives the number of its character alone.
  std::span<const double> scores() const { return scores_; }

 private:
  struct Memory {
    size_t output = 0;   ///< of the program
    AlignedMemory bytes;
    int64_t outer = 1, slots = 1, inner = 0;  ///< copies of a slot, their number, bytes of one
    bool is_carry = false;
  };

  int64_t scores_per_position() const { return chooses_itself_ ? 1 : characters_; }
  void run(int64_t position);
  void read_scores(const std::byte* elements);

  std::string name_;            ///< of the program, for messages
  int64_t context_ = 0, characters_ = 0;
  bool chooses_itself_ = false, are_probabilities_ = false, by_position_ = false;
  DType score_type_ = DType::f32;
  CompiledStep compiled_;
  std::unique_ptr<StepRunner> runner_;
  std::vector<NncScalar> scalars_;
  size_t position_scalar_ = 0;
  std::vector<double> numbers_;
  size_t result_output_ = 0;
  DrawPosition draws_;
  std::vector<Memory> memories_;
  std::vector<int32_t> text_;   ///< the characters that the model sees
  AlignedMemory read_;          ///< what the input's field is bound to: one token, or the context
  std::vector<double> scores_;
};

/// The characters that the weights' file numbers; UserError E0530 if it records none.
KnownVocabulary require_recorded_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path);
/// How many of the first characters of a text of `length` the model no longer sees at its end (a text as `feed` cuts it).
int64_t characters_out_of_sight(int64_t length, int64_t context);

}  // namespace nnc
