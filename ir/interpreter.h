// The interpreter of tensor graphs: slow, obvious, in 64 bits. The oracle for passes, generated code and fuzzers, and the engine of
// `nnc run --engine interpreter`. Nothing here is clever: one function per operation, one tensor per node.
//
// Numbers: every element is held as a double, and what an i64 beyond 2^53 has more than the nearest double beside it (base/number.h). Values of f32 are
// not rounded to 32 bits (this is the mathematics that compiled code approximates), but constants are: a constant of f32 is a number of f32. Integers
// are exact and wrap around as in C++20. A float that does not fit an integer type saturates, NaN becomes 0. bool is 0 or 1.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/graph.h"

namespace nnc {

/// Dense, row-major. values.size() is the product of shape.
struct Tensor {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::vector<double> values{};  ///< of an i64: the nearest double
  std::vector<int16_t> rests{};  ///< what an element is more than that; empty if all are 0, as they are for every other type
  std::vector<Tensor> results{}; ///< of a scan, whose own elements say nothing

  Number at(size_t i) const { return rests.empty() ? Number(values[i]) : Number::of_parts(values[i], rests[i]); }
  void set(size_t i, Number number) {
    values[i] = number;
    if (rests.empty() && number.rest() == 0) return;
    rests.resize(values.size());
    rests[i] = int16_t(number.rest());
  }
  std::vector<Number> numbers() const;
  void set_numbers(const std::vector<Number>&);
  bool operator==(const Tensor&) const;
};

int64_t element_count(const std::vector<int64_t>& shape);
/// All zeros.
Tensor make_tensor(DType, std::vector<int64_t> shape);
/// Of a type, for a number of rows.
std::vector<int64_t> shape_at(const Type&, int64_t rows);

struct Bindings {
  int64_t rows = 1;                          ///< B
  std::map<std::string, Tensor> inputs;
  std::map<std::string, double> scalars;
  std::map<std::string, Tensor> persistents;
  DrawPosition draws;                        ///< of random leaves
};

struct Results {
  std::map<std::string, Tensor> outputs;
  std::map<std::string, Tensor> updates;     ///< new values of persistents, to be stored together
  std::vector<Tensor> values;                ///< of every node, if asked for
};

struct InterpreterCall;  // ir/interpreter_ops.h
/// Is given each node's operands and result once it is known, before anything reads it, and may change the result. Of a region it sees the nodes of the body, each
/// time they are computed, before the region itself.
using ValueHook = std::function<void(InterpreterCall&)>;

/// Throws UserError: E0510 (an index outside its table, with the node's place), E0511 (something unbound, or of another type).
Results interpret(const Graph&, const Bindings&, bool keep_values = false, const ValueHook& hook = {});

}  // namespace nnc
