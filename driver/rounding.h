// How far compiled code may be from the 64-bit interpreter: what rounding to 32 bits can do to each value of this very graph on
// these very numbers.
//
// Method: Monte Carlo arithmetic (Parker, 1997). The interpreter runs several times with every operation's result disturbed at
// random by a few times what one f32 rounding could change; a sum of products by what the roundings of its partial sums could
// (the root of their number times the sum of magnitudes). How far the results scatter is the conditioning of the computation,
// cancellation and branches taken the other way included, so that a tolerance made of it neither reports honest rounding nor
// hides a wrong value.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "driver/route.h"
#include "ir/interpreter.h"

namespace nnc {

/// Units of the last place by which one operation may be off: exact (64 bits, for passes that keep the mathematics), or f32.
enum class Precision : uint8_t { f64, f32 };

/// The interpreter's results with every rounding disturbed; with Precision::f32 every f32 value is one that f32 can hold.
Results interpret_disturbed(const Graph&, const Bindings&, Precision, uint64_t seed);

/// Exact results and how far each element may be from them.
struct Reference {
  Results exact;
  Results allowed;  ///< absolute; 0 for integers that no disturbance changed, infinity where a disturbed run was not finite
};
Reference make_reference(const Graph&, const Bindings&, Precision);
/// From runs that the caller makes, the first one exact.
Reference make_reference(const std::vector<Results>& runs, Precision);

struct Comparison {
  int64_t elements = 0;
  double worst = 0;                      ///< largest |found - exact| / allowed
  double worst_error = 0;                ///< largest |found - exact|, relative to the tensor's largest magnitude
  std::optional<Difference> difference;  ///< the first element beyond what is allowed; its `error` is |found - expected|
  double allowed = 0;                    ///< at that element
};
Comparison compare_results(const Results& found, const Reference&);

}  // namespace nnc
