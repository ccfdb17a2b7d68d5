// What the cases reached, by name: operations in element types and ranks, gradient rules, simplification rules, kinds of kernels, of shared steps. The list of all names is
// known beforehand, so that what was never reached can be said.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ir/program.h"

namespace nnc::fuzz {

class Coverage {
 public:
  void hit(const std::string& name, int64_t times = 1) { hits_[name] += times; }
  /// Operations with element types and ranks; gradient and simplification rules that it sets off.
  void add_graph(const Graph&);
  /// Shapes of kernels.
  void add_program(const Program&);
  /// A step that nnc does not share among workers: of a "graph" or a "program", and why.
  void refused(const std::string& kind, const std::string& reason);
  void add(const Coverage&);

  std::string encode() const;              ///< a line per name: "NAME COUNT"
  void decode(const std::string& encoded);  ///< adds
  /// Names of the universe with the prefix that were not hit.
  std::vector<std::string> missing(const std::string& prefix) const;
  std::string report() const;  ///< per kind of name how many of how many, and what is missing; how many steps were shared, and how many refused

 private:
  std::string shared_report() const;
  std::map<std::string, int64_t> hits_;
};

/// Every operation with each element type that infer_type lets it work on.
std::vector<std::pair<Op, DType>> legal_operations();

/// Every name there is, in order: "op.add.f32", "rank.add.3", "gradient.add", "rule.add_zero", "kernel.map.chain", ...
const std::vector<std::string>& coverage_universe();

}  // namespace nnc::fuzz
