// What is checked for being differentiated and compiled right, and on which values: a model's training step, or a graph for itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/compilation.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc {

struct CheckSubject {
  Graph forward;                                        ///< each input and parameter read by one node
  std::vector<NodeId> results;                          ///< what is differentiated
  std::vector<NodeId> leaves;                           ///< with respect to what
  NodeId loss;                                          ///< invalid: no scalar is called so
  std::vector<std::pair<std::string, Graph>> compiled;  ///< what is compiled, by name; at least one
  std::vector<Bindings> steps;                          ///< values; of the later ones only inputs and scalars count
  std::string data;                                     ///< "12 rows of `digits`, seed 0"
  bool is_model = false;
  Span span;                                            ///< of the train block

  bool has_gradient() const { return !results.empty() && !leaves.empty(); }
  /// The loss alone where there is one.
  std::vector<NodeId> differentiated() const { return loss.valid() ? std::vector{loss} : results; }
  std::string differentiated_text() const { return loss.valid() ? "the loss" : "the results"; }
};

/// On what a model's training step is checked.
struct ModelValues {
  std::vector<std::string> data;  ///< other files for the data block (load_data)
  std::string weights;            ///< .safetensors; "": what a run begins with
  std::optional<int64_t> rows;    ///< of the batch; else up to 13, fewer for a large model
  int64_t steps = 3;              ///< in a row
};
/// The module is loaded and has a train block. UserError for data or weights that do not fit, ProgramErrors for a program that cannot train.
CheckSubject subject_of_model(Compilation&, const ModelValues&);

/// `text`: of the file that the graph is from. If it holds values (case_file.h) they are taken, else random ones for so many rows.
/// UserError E0601 for an input with rows elsewhere than in its first dimension, E0638 for values that do not fit.
CheckSubject subject_of_graph(const Graph&, std::string_view text, const std::string& path, uint64_t seed, int64_t rows);

}  // namespace nnc
