// The data of a run: files read as the data block declares, rows split.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "frontend/frontend.h"
#include "runtime/row_order.h"
#include "runtime/step_runner.h"
#include "runtime/data/table.h"
#include "runtime/data/text_tokens.h"

namespace nnc {

enum class Part : uint8_t { train, test, valid };

struct RunData {
  std::vector<FieldData> fields;       ///< in the order of `names`
  std::vector<std::string> names;
  int64_t rows = 0;                    ///< of the fields; those of a text overlap, one begins at each character
  Vocabulary vocabulary;               ///< of a text: what its numbers mean; empty for any other data
  /// Only with `test from` and `valid from`: other files, all of whose rows belong to the part. In the order of `names`.
  std::vector<FieldData> test_fields, valid_fields;
  DataSplit split;

  const std::vector<int64_t>& rows_of(Part) const;
  /// UserError E0510 if a field, of any part, holds an index that lies outside of its table (index_bounds.h).
  void check(const Graph&) const;
  /// Binds the program's fields to the memory that the rows of the part count in.
  void bind(StepRunner&, Part) const;
};

/// What is read in the place of the files that a program names. A field is called FIELD (of the block that trains) or BLOCK.FIELD.
struct DataReplacements {
  struct Array {
    std::string field;
    HostArray values;  ///< copied when the data is loaded
  };
  DataReplacements(std::vector<std::string> files = {}) : files(std::move(files)) {}
  std::vector<std::string> files;  ///< "FIELD=PATH"
  std::vector<Array> arrays;
};

/// Reads the fields, checks them, draws the split from `seed`. `known`: the vocabulary of weights that a text is read for. UserError. Files are asked of `load` in an order that follows from the
/// arguments and their bytes alone.
RunData load_data(const TrainSpec&, const DataReplacements&, uint64_t seed, const KnownVocabulary* known = nullptr, const FileLoader& load = load_file);

}  // namespace nnc
