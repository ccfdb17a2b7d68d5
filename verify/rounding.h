// How far compiled code may be from the 64-bit interpreter: what rounding to 32 bits can do to each value of this very graph on
// these very numbers.
//
// Problem: a fixed tolerance is either too wide for a well-conditioned value, so that an error in the fourth digit passes, or too
// narrow for an ill-conditioned one. Method: Monte Carlo arithmetic (Parker, Pierce, Eggert, "Monte Carlo arithmetic: how to
// gamble with floating point and win", 2000): the interpreter runs several more times, each operation's result displaced at
// random by what that operation may be off by (codegen/vector_math_bounds.h; for sums the size and number of their terms), and
// then rounded to f32. How far a result scatters is its conditioning, cancellation included. Jumps need no rule of their own: a comparison, an argmax or a
// rounding whose operands lie within rounding of the jump falls both ways, and the scatter is the height of the jump. Runs are
// few at first; before an element is called wrong there are many. What is known when compiling is a number of f32 even in stages of 64 bits if passes fold it, and they fold
// some such nodes and not others: there each of them is rounded or not by chance, run by run.
//
// What it must never forgive, since docs/numbers.md promises it. All of it follows from one rule: only functions (within their stated bound) and sums are
// displaced; everything else is computed from its operands as they are and rounded once.
//   - A quotient that is not the correctly rounded one where that shows: under floor, ceil, round, a comparison, a cast to an integer; or one that is infinite,
//     0 or NaN because a reciprocal overflowed.
//   - Any error in an integer: arithmetic, // and %, extremes, selections, indices. An integer never passes through a float.
//   - Any error in floor_div, floor_mod, floor, ceil, round, sign, neg, abs, maximum, minimum, select and comparisons of what is known exactly.
//   - A difference of equal values that is not 0: a * a - b * b with a product unrounded on one side only, x - mean(x) of equal whole numbers.
//   - A finite number that becomes infinite or NaN, and the reverse, except in sums whose terms by themselves overflow, or do once a factor that all of them share is taken out.
//   - A denormal number taken for 0, of either sign.
// tests/unit/verify_rounding_test.cpp holds each of them against a wrong result, and tests/mutation breaks the compiler so.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "verify/route.h"
#include "ir/interpreter.h"

namespace nnc {

/// What f32 values are held in: 64 bits by the interpreters, after passes that keep the mathematics; 32 by compiled code.
enum class Precision : uint8_t { f64, f32 };

/// What the model is about: a first step of a scan may be known when compiling, and later ones not.
Graph written_out(Graph);

/// For interpret(): displaces every result by up to `scale` times what its operation may be off by.
ValueHook displace_results(Precision, uint64_t seed, double scale = 1);

struct Comparison {
  int64_t elements = 0;
  double worst = 0;                      ///< largest |found - expected| / allowed
  /// Largest |found - expected|, relative to the tensor's largest magnitude, or to what is allowed where that is more: of a sum that cancels to zero
  /// nothing else is a measure.
  double worst_error = 0;
  std::optional<Difference> difference;  ///< the first element that rounding does not explain; `error` is |found - expected|
  double allowed = 0;                    ///< at that element
};

class RoundingModel {
 public:
  /// Evaluates with a hook on every result: of one graph or of several that follow each other.
  using Evaluation = std::function<Results(const ValueHook&)>;
  /// What the evaluation throws without displacement is thrown; an index that leaves its table by displacement means that
  /// nothing is known.
  explicit RoundingModel(Evaluation);
  /// Graph and bindings must outlive this.
  RoundingModel(const Graph&, const Bindings&);

  const Results& expected() const { return expected_; }  ///< without any displacement
  Comparison compare(const Results& found, Precision);

 private:
  /// By output or persistent: how far each element was from `expected` at most; infinite where a run was not finite and
  /// `expected` is, or the other way round.
  struct Scatter {
    int runs = 0;
    std::map<std::string, std::vector<double>> outputs, updates;
  };
  void run(Precision, Scatter&);
  Comparison compare_now(const Results& found, Precision, const Scatter&) const;

  Evaluation evaluate_;
  Results expected_;
  Scatter scatter_[2];
};

}  // namespace nnc
