// One definition, or one graph, on arrays: built for their shapes, differentiated if that is asked for, its values bound, evaluated; in this order.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/compilation.h"
#include "engine/graph_runner.h"
#include "engine/tensors.h"

namespace nnc {

/// A value for an input, a parameter or (one number) a scalar.
struct NamedArray {
  std::string name;
  Tensor value;
  std::string table;  ///< the csv file that it was read from: its numbers are of no type until it is known what takes them
};

/// The array in a file (.npy, .npz, .csv, idx, .safetensors); of several the one of that name. UserError if there is none.
NamedArray read_array(const std::string& name, const std::string& path);

class DefinitionRun {
 public:
  /// A fn, layer or model of the loaded module, called with arrays of these shapes; `dims`: sizes that no input gives. `file`: what messages call the
  /// program by. The compilation outlives this. ProgramErrors if the definition does not fit the arrays.
  DefinitionRun(Compilation&, const std::string& definition, std::vector<NamedArray>, const std::map<std::string, int64_t>& dims, std::string file);
  /// A graph as it is: every array must be one that it takes.
  DefinitionRun(Compilation&, Graph, std::vector<NamedArray>, std::string file);

  /// Names of what evaluate() gives, in its order.
  std::vector<std::string> result_names() const;
  /// UserError E0601 for a result that is no float.
  void require_float_results() const;
  /// From now on results are followed by the gradients of their sum with respect to every input and parameter of floating type, as "grad.NAME".
  void add_gradients();
  /// The same of (result . seed); there is one result. `place`: where the seed stands, for messages.
  void add_gradients(Tensor seed, std::string place);

  /// Gives every leaf its value: an array of its name, else for parameters the weights (a .safetensors; "": what a run with this seed begins with), for
  /// `step` and `epoch` what the weights record. UserError for what is missing or does not fit.
  void bind(const std::string& weights, uint64_t seed);
  /// Once, after bind(). UserError E0510 for an index outside of its table, E0511 if the graph has no meaning for so many rows.
  std::vector<StoredTensor> evaluate(Engine, int threads);

 private:
  const NamedArray* array_named(const std::string& name) const;
  void add_gradients_by(const std::string& seed_input);
  void bind_inputs();
  void bind_scalars_and_weights(const std::string& weights, uint64_t seed);

  Compilation& compilation_;
  BuiltGraph built_;
  bool is_definition_;
  std::string file_, seed_place_;
  std::vector<NamedArray> arrays_;  ///< the seed among them
  Bindings bindings_;
};

}  // namespace nnc
