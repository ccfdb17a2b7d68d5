// Random .nn programs, and what a program is put through.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/fuzz/checks.h"
#include "tests/fuzz/coverage.h"

namespace nnc::fuzz {

/// A program that the compiler must accept.
std::string generate_program(uint64_t seed);
/// The program with something wrong in it, or not: bytes, tokens, lines or names changed. The compiler must answer with diagnostics or accept it.
std::string mutate_program(const std::string& text, uint64_t seed);

struct SeededProgram {
  std::string text;
  bool valid = true;  ///< the compiler must accept it
};
/// What a seed means: a generated program, one in four damaged.
SeededProgram seeded_program(uint64_t seed);

/// What `nnc fmt` makes of the program, and of some other layouts of it: the same tokens and syntax tree, and a layout that it keeps.
std::optional<Failure> check_layout(const std::string& text, uint64_t seed, bool valid);

/// Lays the program out, compiles it (`valid`: it must be accepted) and takes its graphs along the given number of drawn checks, over several steps of training.
std::optional<Failure> run_program_checks(const std::string& text, uint64_t seed, bool valid, Coverage*);

/// The smallest program found that still fails in the same way.
std::string shrink_program(const std::string& text, uint64_t seed, bool valid, const Failure&, double seconds);

/// Unless its first line begins with "# damaged", the program must be accepted.
std::vector<Failure> replay_program(const std::string& path, const std::string& text);

}  // namespace nnc::fuzz
