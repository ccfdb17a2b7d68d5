// What all parts of one evaluation share: the program, the graph that is being made, the dimensions in it, the frame that is being evaluated, and
// errors at the user's place. One context makes one graph.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "frontend/frame.h"

namespace nnc {

class TestScope;  // test_scope.h

/// What is noted where the sizes of a definition's arguments are made up (trial.h).
struct TrialNotes {
  bool is_open = false;  ///< more than sizes is made up, or a choice depends on them, so that errors of shapes prove nothing
  /// Errors, and the sizes or numbers of dimensions that they are about: code, file, place, facts.
  std::set<std::tuple<Code, uint32_t, uint32_t, std::vector<int64_t>>> settled;
};

class EvaluationContext {
 public:
  EvaluationContext(const Program& program, Diagnostics& diagnostics, bool training);
  EvaluationContext(const EvaluationContext&) = delete;
  EvaluationContext& operator=(const EvaluationContext&) = delete;

  const Program& program;
  const bool training;  ///< what the name `training` means
  Graph graph;
  DimTable dims;
  const uint32_t rows;                         ///< the dimension B
  Frame* frame = nullptr;                      ///< the innermost; set by FrameScope
  std::map<uint32_t, std::string> node_names;  ///< nodes that a name of the user's file stands for, for E0302
  TrialNotes* trial = nullptr;                 ///< sizes are made up: errors of sizes, and conditions that fail, are noted. Set by Trial
  std::vector<RowCondition> row_conditions;    ///< what definitions ask of the number of rows, in order of the calls
  TestScope* test = nullptr;                   ///< the evaluation is that of a test block
  std::vector<bool> traced;                    ///< by node: it is in the body of a scan, and nothing else refers to it
  bool may_draw = true;                        ///< false: an optimizer's rule is made, which each parameter has for itself and which draws nothing

  // --- errors ---
  /// Reports at the user's place, each error once; the reference, of a diagnostic that nobody sees where it was reported before, lives until
  /// the next error.
  Diagnostic& error(Code code, Span span, std::string message);
  Value not_in_this_version(Span span, std::string_view what);  ///< E0210; poison
  size_t error_count() const { return diagnostics_->items().size(); }
  bool has_errors() const { return diagnostics_->has_errors(); }
  /// On trial: what an error of shapes is about. Where other made-up sizes give the same facts, these do not depend on them.
  void settle(const Diagnostic& d, std::vector<int64_t> facts);
  /// On trial: with other sizes, or other arguments, what follows may be otherwise.
  void note_open() { if (trial) trial->is_open = true; }
  Span place(Span span) const;                                     ///< the user's place: inside std, that of the call
  std::string quote(Span span, std::string_view otherwise) const;  ///< "`logits`", or the other text where the source is long
  void help_latest(std::string help);  ///< adds to the help of the latest error
  std::string describe_origin(const Origin& origin) const;         ///< "from `Dense(10)` at mlp.nn:12", "" if unknown
  std::string describe_dims_with_origin(const TensorValue& t) const;

  // --- values ---
  uint32_t next_frame() { return next_frame_++; }  ///< the id of a new frame
  Builder builder(Span span);                      ///< adds nodes at the user's place, in the scope of the frame's instance
  Value dim_value(uint32_t id) const;
  /// The site of the next draw: the path of the instance that the frame belongs to, and how many were made in it before. "encoder.dropout1#0".
  std::string next_site();
  bool varies(const Value& v) const;  ///< a size that depends on the number of rows
  std::optional<double> number_of(const Value& v) const;
  std::optional<int64_t> integer_of(const Value& v) const;
  /// The size that a value is, or an error; `text` is how the message calls it.
  std::optional<DimSum> size_sum(const Value& v, Span span, std::string_view text);
  std::optional<DType> declared_type(const ast::Type& type);  ///< an error where there is no such type; not for class(N)

 private:
  friend class ReportTo;
  Diagnostics* diagnostics_;
  std::set<std::string> reported_;  ///< code, place and message
  Diagnostic discarded_;
  Diagnostic* latest_ = &discarded_;  ///< as `error` returned it
  uint32_t next_frame_ = 1;
  std::map<std::string, int64_t> draws_;  ///< made in an instance, by its path
};

/// Enters a frame for the time of a scope.
class FrameScope {
 public:
  FrameScope(EvaluationContext& ctx, Frame& f) : ctx_(ctx) {
    f.caller = ctx_.frame;
    ctx_.frame = &f;
  }
  ~FrameScope() { ctx_.frame = ctx_.frame->caller; }
  FrameScope(const FrameScope&) = delete;
  FrameScope& operator=(const FrameScope&) = delete;

 private:
  EvaluationContext& ctx_;
};

/// For the time of a scope errors go elsewhere. `afresh`: also those that have been reported before.
class ReportTo {
 public:
  ReportTo(EvaluationContext& ctx, Diagnostics& elsewhere, bool afresh = false);
  ~ReportTo();
  ReportTo(const ReportTo&) = delete;
  ReportTo& operator=(const ReportTo&) = delete;

 private:
  EvaluationContext& ctx_;
  Diagnostics* outer_;
  bool is_afresh_;
  std::set<std::string> reported_;
};

}  // namespace nnc
