// Data blocks: fields and their sources, splits, and the inputs that fields become.
#pragma once

#include <optional>
#include <string_view>

#include "frontend/evaluator.h"

namespace nnc {

class DataBlocks {
 public:
  explicit DataBlocks(SymbolicEvaluator& eval);

  DataSpec evaluate(const Global& block);
  const Global* find_of_train();  ///< that of the train block, or an error
  /// The data blocks that `test from` and `valid from` name.
  void read_split_data(const Global& block, TrainSpec& spec);
  /// Fields become inputs, bound in the innermost frame: a row of the batch each, with their own dimensions behind.
  void bind(const DataSpec& data);

 private:
  std::optional<DataSource> evaluate_source(const ast::Expr& e);
  std::optional<SplitSpec> evaluate_split(const ast::Split& split, const Global& block);
  void check_column_count(const FieldSpec& f, const ast::Expr& source);
  void check_text(const FieldSpec& f, const ast::Field& field, bool has_shape);
  void check_one_text(const DataSpec& spec, const ast::Data& data);
  void check_same_fields(const DataSpec& data, const DataSpec& other, const SplitSpec& split);
  const Global* find(std::string_view name, Span span);  ///< a data block by its name, or an error
  Frame scope_of(const Global& block);

  SymbolicEvaluator& eval_;
  EvaluationContext& ctx_;
  TensorBuilder& tensors_;
};

/// Every `dim` and data block of the file, whether used or not.
void check_globals(const Program& program, Diagnostics& diagnostics);

}  // namespace nnc
