// Algebraic simplification by the rules of simplify_rules.def, which states for each how exact it is.
//
// Requires:   a verified graph; stop_gradient is kept (erase_stop_gradient removes it once gradients are taken).
// Guarantees: no rule matches any more; every node is live and no two are equal (CSE runs in between). Node ids change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace nnc {

enum class Validity : uint8_t { exact, rounding, range };  ///< see simplify_rules.def

struct SimplifyRule {
  std::string_view name;
  Validity validity;
  std::string_view meaning;
};
const std::vector<SimplifyRule>& simplify_rules();

/// How often each rule (by its place in simplify_rules()) was applied.
using SimplifyCounts = std::vector<int>;

SimplifyCounts simplify(Graph&);
/// With one rule alone: how tests look at each.
SimplifyCounts simplify_with(Graph&, std::string_view rule);

/// After differentiation stop_gradient is the identity.
void erase_stop_gradient(Graph&);

}  // namespace nnc
