// The text appears as it is made. Ctrl-C ends it behind the character under way: what was written stays, and a line break closes it.
#include "driver/generate.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/outputs.h"
#include "driver/signals.h"
#include "engine/generate.h"
#include "engine/sampling.h"
#include "engine/weights_file.h"

namespace nnc {
namespace {

constexpr int64_t default_length = 200;

[[noreturn]] void refuse(std::string message, std::string help) { throw UserError(Code::E0601, std::move(message), "the command line", std::move(help)); }

/// A finite decimal number; NaN for anything else.
double decimal(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos) return NAN;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return end == text.c_str() + text.size() && std::isfinite(number) ? number : NAN;
}

SamplingOptions sampling_of(const GenerateOptions& o) {
  SamplingOptions sampling;
  if (o.temperature) sampling.temperature = decimal(*o.temperature);
  if (!(sampling.temperature >= 0)) refuse(fmt::format("`--temperature {}` is no temperature", *o.temperature), "a number above 0 (1: as trained, smaller: likelier characters), or 0 for the likeliest character each time");
  if (o.top_p) sampling.top_p = decimal(*o.top_p);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) refuse(fmt::format("`--top-p {}` is no share of the probability", *o.top_p), "a number above 0, and at most 1");
  sampling.top_k = o.top_k.value_or(0);
  return sampling;
}

void check_choices(const GenerateOptions& o, const Generator& generator, const std::string& file) {
  if (generator.chooses_itself() && (o.temperature || o.top_k || o.top_p))
    refuse(fmt::format("`{}` chooses among scores, and the model of {} gives characters", o.temperature ? "--temperature" : o.top_k ? "--top-k" : "--top-p", file), "leave it out");
  if (o.top_k && *o.top_k > generator.characters())
    refuse(fmt::format("`--top-k {}` of {} characters", *o.top_k, generator.characters()), fmt::format("at most {}, which leaves out none", generator.characters()));
}

/// Standard output as a text grows: each character at once, or with --json all of it in one object at the end.
class Writer {
 public:
  explicit Writer(bool json) : json_(json) {}
  /// Whether it could be written.
  bool write(const std::string& characters) {
    text_ += characters;
    return json_ || (std::fputs(characters.c_str(), stdout) >= 0 && std::fflush(stdout) == 0);
  }
  void finish(const std::string& prompt, uint64_t seed) {
    if (json_) {
      nlohmann::ordered_json line;
      line["prompt"] = prompt;
      line["text"] = text_.substr(prompt.size());
      line["seed"] = seed;
      print_json_line(line);
    } else if (text_.back() != '\n') {
      std::fputc('\n', stdout);
    }
  }

 private:
  bool json_;
  std::string text_;
};

}  // namespace

void add_generation(Command& command, GenerateOptions& o) {
  command.option("--prompt", o.prompt, "how a text begins, which a model of text writes on");
  command.option("--length", o.length, fmt::format("with --prompt: characters to write ({})", default_length)).in_range(1, 1'000'000'000);
  command.option("--temperature", o.temperature, "with --prompt: scores are divided by it (1); 0: the likeliest character each time");
  command.option("--top-k", o.top_k, "with --prompt: only the K likeliest characters").in_range(1, 1'000'000'000);
  command.option("--top-p", o.top_p, "with --prompt: only the likeliest characters, up to this share of the probability (1)");
}

int generate(Session& session, const GenerateOptions& o, const std::string& weights_file) {
  SignalScope signals("interrupted before the first character\n");
  const SamplingOptions sampling = sampling_of(o);
  if (o.prompt->empty()) refuse("`--prompt` is empty, and a model tells a character from those before it", "begin with a line break, as in a file: `--prompt $'\\n'`");
  session.load();
  session.require_train();
  Team team(session.thread_count());
  StepRunner weights(model_weights(session), team);
  const std::map<std::string, std::string> metadata = load_tensors(weights_file, weights, false);
  const uint64_t seed = session.seed_of(metadata);
  Generator generator(session, weights, trained_so_far(metadata), trained_draws(metadata, seed), team);
  check_choices(o, generator, session.options.file);
  const KnownVocabulary known = require_recorded_vocabulary(metadata, weights_file);
  if (int64_t(known.characters.size()) != generator.characters())
    throw UserError(Code::E0518, fmt::format("{} numbers {} characters, and the model {}", weights_file, known.characters.size(), generator.characters()), weights_file);
  const std::vector<int32_t> prompt = number_characters(*o.prompt, known, "the prompt");
  if (const int64_t unseen = characters_out_of_sight(int64_t(prompt.size()), generator.context()); unseen > 0 && !session.options.quiet)
    std::fprintf(stderr, "the prompt has %zu characters and the model sees %lld: the first %s no part in what follows\n", prompt.size(), (long long)generator.context(),
                 unseen == 1 ? "has" : fmt::format("{} have", unseen).c_str());
  Sampler sampler(sampling, seed);
  Writer writer(session.options.json);
  signals.only_count_first();
  bool can_write = writer.write(*o.prompt);
  const int64_t first_seen = characters_out_of_sight(int64_t(prompt.size()), generator.context());
  for (size_t i = size_t(first_seen); i < prompt.size() && can_write && !stop_requested(); ++i) generator.feed(prompt[i]);
  for (int64_t left = o.length.value_or(default_length); left > 0 && can_write && !stop_requested(); --left) {
    const int32_t token = generator.chooses_itself() ? int32_t(generator.scores()[0]) : sampler.choose(generator.scores());
    can_write = writer.write(encode_character(known.characters[size_t(token)]));
    if (left > 1) generator.feed(token);
  }
  if (can_write) writer.finish(*o.prompt, seed);
  return stop_requested() ? exit_interrupted : exit_done;
}

}  // namespace nnc
