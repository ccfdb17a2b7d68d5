// Programs as text: damage done to them, and making a failing one smaller line by line, block by block, then clause by clause.
#include <chrono>
#include <sstream>

#include "tests/fuzz/programs.h"
#include "tests/fuzz/random.h"
#include "tests/fuzz/sandbox.h"
#include "tests/fuzz/session.h"

namespace nnc::fuzz {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string l; std::getline(in, l);) lines.push_back(l);
  return lines;
}

std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& l : lines) text += l + "\n";
  return text;
}

// Words, numbers, spaces and single signs.
std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> tokens;
  auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; };
  for (char c : text) {
    if (!tokens.empty() && is_word(c) && is_word(tokens.back().back()))
      tokens.back() += c;
    else
      tokens.emplace_back(1, c);
  }
  return tokens;
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& t : tokens) text += t;
  return text;
}

}  // namespace

std::string mutate_program(const std::string& text, uint64_t seed) {
  Random random(seed, "mutation");
  std::vector<std::string> tokens = tokens_of(text);
  for (int more = random.pick({1, 1, 1, 2, 3, 8}); more > 0 && !tokens.empty(); --more) {
    size_t at = size_t(random.below(int(tokens.size())));
    while (tokens[at] == " " && random.chance(90)) at = size_t(random.below(int(tokens.size())));
    switch (random.below(9)) {
      case 0: tokens.erase(tokens.begin() + long(at)); break;
      case 1: tokens.insert(tokens.begin() + long(at), tokens[at]); break;
      case 2: std::swap(tokens[at], tokens[size_t(random.below(int(tokens.size())))]); break;
      case 3: tokens[at] = tokens[size_t(random.below(int(tokens.size())))]; break;
      case 4:
        tokens[at] = random.pick({"0", "-1", "1e400", "99999999999999999999", "1", "2147483648", "0.5", "1e-300", "inf", "none", "true", "B", "x", "T", "{", "}", "(", ")", "[", "]", "...", "_", "\"", "|>", "update",
                                  "param", "where", "if", "repeat", "scan", "as", "index(T)", "sum", "%", "\xff", "\n", "#", "4611686018427387904", "Dense", "stack(1000, Block)", "[B, B]", "frozen"});
        break;
      case 5: tokens.resize(at); break;
      case 6: {  // a piece twice
        size_t end = std::min(tokens.size(), at + size_t(random.between(1, 30)));
        std::vector<std::string> piece(tokens.begin() + long(at), tokens.begin() + long(end));
        tokens.insert(tokens.begin() + long(at), piece.begin(), piece.end());
        break;
      }
      case 7: tokens.erase(tokens.begin() + long(at), tokens.begin() + long(std::min(tokens.size(), at + size_t(random.between(1, 30))))); break;
      default:
        if (!tokens[at].empty()) {
          size_t place = size_t(random.below(int(tokens[at].size())));
          tokens[at][place] = char(random.pick({' ', '0', '9', 'a', 'T', '(', '"', ',', ':', '-', '*', '^'}));
        }
    }
  }
  return joined(tokens);
}

SeededProgram seeded_program(uint64_t seed) {
  SeededProgram program{generate_program(seed), seed % 4 != 0};
  if (!program.valid) program.text = mutate_program(program.text, seed);
  return program;
}

std::string shrink_program(const std::string& text, uint64_t seed, bool valid, const Failure& failure, double seconds) {
  auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  auto out_of_time = [&] { return std::chrono::steady_clock::now() > end; };
  // Lines that make it invalid must not count as the same fault: only a refusal is kept as a refusal, with its code.
  auto fails = [&](const std::string& candidate) {
    std::optional<Failure> f = outcome(in_sandbox([&] { return encode(run_program_checks(candidate, seed, valid && failure.kind == "refused", nullptr)); }));
    return f && f->same_fault(failure);
  };
  std::string best = text;
  if (!fails(best)) return best;
  bool changed = true;
  while (changed && !out_of_time()) {
    changed = false;
    std::vector<std::string> lines = lines_of(best);
    for (size_t chunk = std::max<size_t>(1, lines.size() / 2); chunk > 0 && !out_of_time(); chunk /= 2)
      for (size_t at = 0; at < lines.size() && !out_of_time();) {
        std::vector<std::string> fewer = lines;
        fewer.erase(fewer.begin() + long(at), fewer.begin() + long(std::min(lines.size(), at + chunk)));
        if (fails(join_lines(fewer))) {
          lines = fewer;
          changed = true;
        } else {
          at += chunk;
        }
      }
    best = join_lines(lines);
    std::vector<std::string> tokens = tokens_of(best);
    for (size_t chunk : {32, 12, 5, 2, 1})
      for (size_t at = 0; at < tokens.size() && !out_of_time();) {
        std::vector<std::string> fewer = tokens;
        fewer.erase(fewer.begin() + long(at), fewer.begin() + long(std::min(tokens.size(), at + chunk)));
        if (fails(joined(fewer))) {
          tokens = fewer;
          changed = true;
        } else {
          at += chunk;
        }
      }
    best = joined(tokens);
  }
  return best;
}

std::vector<Failure> replay_program(const std::string&, const std::string& text) {
  std::vector<Failure> failures;
  bool valid = text.rfind("# damaged", 0) != 0;
  for (uint64_t seed : {1, 2, 3}) {
    std::optional<Failure> f = outcome(in_sandbox([&] { return encode(run_program_checks(text, seed, valid, nullptr)); }));
    if (f) failures.push_back(*f);
  }
  return failures;
}

}  // namespace nnc::fuzz
