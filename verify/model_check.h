// Whether a model, on its data, is differentiated and compiled right. Three questions, each answered with numbers: does every gradient rule that the model
// uses agree with finite differences, does the gradient of the loss, and does compiled code agree with the 64-bit interpreter.
#pragma once

#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"
#include "base/target.h"
#include "verify/check_faults.h"
#include "verify/check_subject.h"
#include "verify/gradient_check.h"
#include "verify/rounding.h"

namespace nnc {

/// Is told of each part when it is done; what has failed is a Diagnostic after the part that shows it.
class CheckObserver {
 public:
  virtual ~CheckObserver() = default;
  /// By operation, in the order of ops.def.
  virtual void on_rules(const std::vector<RuleReport>&) = 0;
  /// `unchecked`: names of LossReport::unchecked. `not_finite`: of what is not, a parameter's or what was differentiated.
  virtual void on_gradient(const LossReport&, const std::vector<std::string>& unchecked, const std::vector<std::string>& not_finite) = 0;
  /// In place of the gradient: there is no result to differentiate, or nothing to differentiate it by.
  virtual void on_no_gradient() = 0;
  /// Before compiled code is looked at.
  virtual void on_compiler(VectorLevel, int threads) = 0;
  /// "the training step, machine code": a stage of the way to compiled code, or several steps in a row.
  virtual void on_comparison(const std::string& what, const Comparison&) = 0;
  virtual void on_fault(const Diagnostic&) = 0;
};

struct Verdict {
  bool failed = false;                 ///< something of nnc is wrong
  bool finite = true;                  ///< results and their gradient
  bool loss_finite = true;             ///< results, so that gradients were compared
  std::vector<std::string> unchecked;  ///< leaves of which nothing could be compared
};

/// UserError if a failing graph cannot be written or this machine cannot run the target's code.
Verdict check_model(const CheckSubject&, const SourceMap&, VectorLevel, int threads, const CaseOutput&, CheckObserver&);

}  // namespace nnc
