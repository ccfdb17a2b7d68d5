// Names in scope while a body is evaluated: every call of a definition, a block of the file and a declaration at its top has a frame of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "frontend/program.h"

namespace nnc {

/// A name visible in a body.
struct Local {
  std::string_view name;
  Value value;
  Span span;
  enum class Kind : uint8_t { value, dimension, parameter, state } kind = Kind::value;
  std::string persistent;  ///< state: its full name
  bool used = false;
};

/// The parameter that an optimizer's body updates.
struct OptimizedValue {
  std::string parameter;  ///< its full name
  Dims dims;
  NodeId updated;  ///< the latest `update value = ...`; invalid before one
};

struct ScanScope;  // scans.h

/// One evaluation of a body: a call of a definition, the train block, a test.
struct Frame {
  const SourceFile* file = nullptr;
  const Definition* definition = nullptr;  ///< null for train and test
  uint32_t id = 0;
  std::string path;  ///< of the layer instance, "" at the top
  Span call_span;    ///< in the user's file: where errors inside std are shown
  bool frozen = false;
  bool owns_parameters = false;
  OptimizedValue* optimized = nullptr;  ///< the body is an optimizer's
  ScanScope* scan = nullptr;            ///< the innermost scan of this body that is being evaluated
  std::vector<Local> locals;
  /// Where a name's values stand in `locals`, the latest last. Entries outlive a block whose names were dropped: find checks.
  std::unordered_map<std::string_view, std::vector<size_t>> places;
  std::map<std::string, int> instance_counts;
  std::map<std::string, Span> instance_names;
  std::vector<int64_t> iterations;  ///< of the `repeat`s around
  std::optional<Dims> ellipsis;     ///< what `...` stands for
  Frame* caller = nullptr;

  bool is_optimizer() const { return optimized != nullptr; }
  /// The latest local of the name, or null. The pointer lives until the next name is bound.
  Local* find(std::string_view name);
  void bind(std::string_view name, Value value, Span span, Local::Kind kind = Local::Kind::value);
};

}  // namespace nnc
