// What compiled code may answer: the interpreter's values, and how far rounding can take each element from them.
//
// Problem: a fixed tolerance is either too wide for a well-conditioned value, so that an error in the fourth digit passes, or too
// narrow for an ill-conditioned one. Method: Monte Carlo arithmetic (Parker, Pierce, Eggert, "Monte Carlo Arithmetic: how to gamble
// with floating point and win", 2000): the graph is evaluated in 64 bits several more times, each operation's result displaced at
// random by what that operation may be off in the carrier's precision; the spread of a result is its conditioning. Jumps need no
// rule of their own: a comparison, an argmax or a rounding whose operands lie within rounding of the jump falls both ways in
// some samples, and the spread is the height of the jump. What overflows in f32 becomes infinite in some samples. Samples are few at first; before an
// element is called wrong there are many.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "driver/route.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc::fuzz {

enum class Precision {
  carrier64,  ///< every float has 53 bits: interpreters
  compiled,   ///< f32 has 24, f64 has 53; scalars are handed out as f32
};

class ErrorModel {
 public:
  /// Graph and bindings must outlive this. Throws what interpret throws.
  ErrorModel(const Graph&, const Bindings&);
  const Results& expected() const { return expected_; }
  /// The first element that rounding does not explain.
  std::optional<Difference> find_wrong(const Results& found, Precision);
  /// Share of elements of `expected` that the model pins down to better than 1e-3 (finite, spread below that): how much a check is worth.
  double pinned(Precision);

 private:
  struct Spread {
    std::vector<double> deviation;  ///< largest over the samples; infinite where a sample differs in kind (NaN, infinity)
    double mean = 0;                ///< of the finite ones
  };
  struct Samples {
    int count = 0;
    std::map<std::string, Spread> outputs, updates;
  };
  void sample(Precision, int count);
  Samples& samples(Precision p) { return samples_[p == Precision::compiled]; }
  std::optional<Difference> compare(const Results&, Precision);

  const Graph& graph_;
  const Bindings& bindings_;
  Results expected_;
  Samples samples_[2];
};

}  // namespace nnc::fuzz
