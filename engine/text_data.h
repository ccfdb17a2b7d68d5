// A data block whose fields are read from one text: rows are pieces of it, and a vocabulary gives its characters their numbers.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/source.h"
#include "base/split.h"
#include "runtime/data/text_tokens.h"
#include "runtime/row_order.h"

namespace nnc {

struct TextBlock {
  std::vector<FieldData> fields;
  Vocabulary vocabulary;
  int64_t characters = 0;
  int64_t context = 0;  ///< characters of a row
  int64_t reach = 0;    ///< characters that a row reads: with those further on that it is to predict
};

bool is_text(const DataField&);

/// The fields, all of one text (their sources name one file). `declared`: where each field stands, invalid if its file is given beside the program. UserError: what read_text_tokens
/// finds, a number of characters that is not that of classes (E0401), a text that is shorter than one row (E0401).
TextBlock read_text_block(const std::vector<DataField>& fields, const std::vector<Span>& declared, const KnownVocabulary* known, const FileLoader& load);

/// The rows of each part. UserError E0509 for a share that leaves a part without a row, E0502 if none is left to train on.
DataSplit split_text(const TextBlock&, const std::string& block, const SplitSpec& test, const SplitSpec& valid);

/// What weights record of the text that they were trained on; nothing if it was none. UserError E0405 if the record is damaged. `path`: the weights' file.
std::optional<KnownVocabulary> recorded_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path);
/// UserError E0518 if weights that a run begins with count other characters than its text. Weights that record none, and runs without a text, pass.
void require_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path, const Vocabulary& of_text);

}  // namespace nnc
