// What is said of a fault of nnc: where it is, in numbers, and the smallest graph that shows it, written to a file.
#pragma once

#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"
#include "verify/bisect.h"
#include "verify/check_subject.h"
#include "verify/gradient_check.h"

namespace nnc {

/// Where the smallest failing graph goes.
struct CaseOutput {
  std::string path;
  std::string command;  ///< what checks that file again, for who reads it
};

/// Each function gives the diagnostic of one kind of fault, after it has narrowed the fault down, which may take seconds, and written its file.
/// UserError if the file cannot be written. What the constructor is given outlives this.
class FaultReporter {
 public:
  FaultReporter(const SourceMap& sources, const CheckSubject& subject, const CaseOutput& output) : sources_(sources), s_(subject), output_(output) {}

  /// E0520. The report is of a rule that failed.
  Diagnostic of_rule(const RuleReport&, const GradientCheckOptions&) const;
  /// E0521. `rules_failed`: a rule was reported before, which may be why; then there is no file.
  Diagnostic of_gradient(const LossReport&, bool rules_failed) const;
  /// E0524, where the first value that is not finite began: among the results, else in the gradient by the first leaf. No fault of nnc, so no file;
  /// a warning for a graph for itself, whose values say nothing of training.
  Diagnostic of_not_finite(const LossReport&) const;
  /// E0522. `name`: of what was compiled.
  Diagnostic of_compiler(const CompilerUnderTest&, const GraphCase&, const std::string& name) const;
  /// E0523: the steps in a row disagree, each by itself agrees.
  Diagnostic of_steps(const Graph&, const Difference&) const;

 private:
  std::string part_of(const Graph& with_gradient, NodeId) const;
  std::string element_text(const Difference&, const Graph&) const;
  std::vector<std::string> note_operations(const Graph& small, Diagnostic&) const;
  void write_case(const GraphCase&, Diagnostic&, const std::string& what) const;

  const SourceMap& sources_;
  const CheckSubject& s_;
  const CaseOutput& output_;
};

}  // namespace nnc
