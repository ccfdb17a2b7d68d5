// The interpreter of tensor graphs: slow, obvious, in 64 bits. The oracle for passes, generated code and fuzzers, and the engine of
// `nnc run --engine interpreter`. Nothing here is clever: one function per operation, one tensor per node.
//
// Numbers: every element is held as a double. Values of f32 are not rounded to 32 bits (this is the mathematics that compiled code
// approximates). Integers are exact: i32 and u8 wrap around as in C++20; i64 is exact up to 2^53. A float that does not fit an integer type
// saturates, NaN becomes 0. bool is 0 or 1.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// Dense, row-major. values.size() is the product of shape.
struct Tensor {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::vector<double> values;
  bool operator==(const Tensor&) const = default;
};

int64_t element_count(const std::vector<int64_t>& shape);
/// All zeros.
Tensor make_tensor(DType, std::vector<int64_t> shape);
/// Of a type, for a number of rows.
std::vector<int64_t> shape_at(const Type&, int64_t rows);
/// What storing a value of type `from` as `to` gives, by the rules above.
double convert_number(double value, DType from, DType to);

struct Bindings {
  int64_t rows = 1;                          ///< B
  std::map<std::string, Tensor> inputs;
  std::map<std::string, double> scalars;
  std::map<std::string, Tensor> persistents;
};

struct Results {
  std::map<std::string, Tensor> outputs;
  std::map<std::string, Tensor> updates;     ///< new values of persistents, to be stored together
  std::vector<Tensor> values;                ///< of every node, if asked for
};

struct InterpreterCall;  // ir/interpreter_ops.h
/// Is given each node's operands and result once it is known, before anything reads it, and may change the result.
using ValueHook = std::function<void(InterpreterCall&)>;

/// Throws UserError: E0510 (an index outside its table, with the node's place), E0511 (something unbound, or of another type).
Results interpret(const Graph&, const Bindings&, bool keep_values = false, const ValueHook& hook = {});

}  // namespace nnc
