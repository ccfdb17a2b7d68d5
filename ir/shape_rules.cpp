// The type of every operation's result. Rules are strict: no implicit broadcasting, no implicit conversion, so that a later pass never has
// to ask; the frontend and Builder insert broadcast and cast. The dimension that counts rows may only be the outermost one (a batch is a
// run of rows in memory), which the common check at the end enforces for all operations at once.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/philox.h"
#include "ir/op_rules.h"

namespace nnc {
namespace {

using Result = std::optional<Type>;

Result misfit(std::string& error, std::string message) {
  error = std::move(message);
  return std::nullopt;
}

// Element types an operation takes.
enum class Takes { any, numeric, floating, boolean, ordered, index };

bool accepts(Takes takes, DType t) {
  switch (takes) {
    case Takes::any: return true;
    case Takes::numeric: return is_arithmetic(t);
    case Takes::floating: return is_float(t);
    case Takes::boolean: return t == DType::boolean;
    case Takes::ordered: return t != DType::boolean;
    case Takes::index: return is_integer(t);
  }
  return false;
}

std::string_view wanted(Takes takes) {
  switch (takes) {
    case Takes::any: return "any type";
    case Takes::numeric: return "f32, f64, i32 or i64";
    case Takes::floating: return "f32 or f64";
    case Takes::boolean: return "bool";
    case Takes::ordered: return "a number";
    case Takes::index: return "i32, i64 or u8";
  }
  return "";
}

bool check_dtype(Takes takes, const Type& type, std::string& error) {
  if (accepts(takes, type.dtype)) return true;
  error = fmt::format("takes {}, not {}", wanted(takes), dtype_name(type.dtype));
  return false;
}

Result elementwise(const OperandTypes& in, Takes takes, std::optional<DType> result, std::string& error) {
  if (!check_dtype(takes, in[0], error)) return std::nullopt;
  for (size_t i = 1; i < in.size(); ++i)
    if (in[i] != in[0])
      return misfit(error, fmt::format("operands must have one type, got {} and {}", to_string(in[0]), to_string(in[i])));
  return Type{result.value_or(in[0].dtype), in[0].shape};
}

Result leaf(const Attributes& a, DType dtype) { return Type{dtype, a.extents}; }

// Axes ascending, without repetition, each below `rank`.
bool check_ascending_axes(const std::vector<int>& axes, int rank, std::string& error) {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= rank) {
      error = fmt::format("axis {} of a tensor of rank {}", axes[i], rank);
      return false;
    }
    if (i && axes[i] <= axes[i - 1]) {
      error = fmt::format("axes must ascend, got {} after {}", axes[i], axes[i - 1]);
      return false;
    }
  }
  return true;
}

bool check_one_axis(const std::vector<int>& axes, int rank, std::string& error) {
  if (axes.size() == 1) return check_ascending_axes(axes, rank, error);
  error = fmt::format("needs exactly one axis, got {}", axes.size());
  return false;
}

bool check_one_extent(const Attributes& a, std::string& error) {
  if (a.extents.size() == 1) return true;
  error = fmt::format("needs exactly one extent, got {}", a.extents.size());
  return false;
}

Result reduce(const OperandTypes& in, const Attributes& a, DType result, std::string& error) {
  if (a.axes.empty()) return misfit(error, "reduces over no axis");
  if (!check_ascending_axes(a.axes, in[0].rank(), error)) return std::nullopt;
  Type type{result, {}};
  type.shape.reserve(size_t(in[0].rank()) - a.axes.size());
  for (int i = 0; i < in[0].rank(); ++i)
    if (!std::binary_search(a.axes.begin(), a.axes.end(), i)) type.shape.push_back(in[0].shape[size_t(i)]);
  return type;
}

Result numeric_reduce(const OperandTypes& in, const Attributes& a, std::string& error) {
  if (!check_dtype(Takes::numeric, in[0], error)) return std::nullopt;
  return reduce(in, a, in[0].dtype, error);
}

std::string label_text(int label) {
  if (label < 0 || label >= label_count) return fmt::format("#{}", label);
  return std::string(1, char(label < 26 ? 'a' + label : 'A' + (label - 26)));
}

// Sizes by label, for operations in index notation.
class LabelTable {
 public:
  explicit LabelTable(std::string& error) : error_(error) {}

  /// Each label once, one per axis, equal sizes for equal labels.
  bool bind(const std::vector<int>& labels, const Shape& shape, std::string_view what) {
    if (labels.size() != shape.size())
      return fail(fmt::format("{} has rank {} but {} labels", what, shape.size(), labels.size()));
    if (!check_once(labels, what)) return false;
    for (size_t i = 0; i < labels.size(); ++i) {
      std::optional<Extent>& known = sizes_[size_t(labels[i])];
      if (known && *known != shape[i])
        return fail(fmt::format("label {} is {} and {}", label_text(labels[i]), to_string(*known), to_string(shape[i])));
      known = shape[i];
    }
    return true;
  }

  bool check_once(const std::vector<int>& labels, std::string_view what) {
    std::array<bool, label_count> seen{};
    for (int label : labels) {
      if (label < 0 || label >= label_count) return fail(fmt::format("label number {} is not in 0..{}", label, label_count - 1));
      if (seen[size_t(label)]) return fail(fmt::format("label {} occurs twice in {}", label_text(label), what));
      seen[size_t(label)] = true;
    }
    return true;
  }

  const std::optional<Extent>& size(int label) const { return sizes_[size_t(label)]; }

  bool fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

 private:
  std::array<std::optional<Extent>, label_count> sizes_{};
  std::string& error_;
};

bool holds(const std::vector<int>& labels, int label) { return std::find(labels.begin(), labels.end(), label) != labels.end(); }

std::optional<int64_t> product(const Shape& shape) {
  int64_t n = 1;
  for (const Extent& e : shape) {
    if (e.size < 0) return std::nullopt;
    if (e.size != 0 && n > max_elements / e.size) return std::nullopt;
    n *= e.size;
  }
  return n;
}

// What is true of every type, whatever made it.
bool check_type(const Type& type, std::string& error) {
  for (size_t i = 0; i < type.shape.size(); ++i) {
    if (type.shape[i].size < 0) {
      error = fmt::format("negative size {} in {}", type.shape[i].size, to_string(type));
      return false;
    }
    if (i > 0 && type.shape[i].rows) {
      error = fmt::format("the row dimension must be outermost, got {}", to_string(type));
      return false;
    }
  }
  // Sizes of zero must not hide an overflow of the others: strides are computed from them.
  int64_t n = 1;
  for (const Extent& e : type.shape) {
    if (__builtin_mul_overflow(n, std::max<int64_t>(e.size, 1), &n) || n > max_elements) {
      error = fmt::format("{} has more than 2^40 elements", to_string(type));
      return false;
    }
  }
  return true;
}

}  // namespace

std::optional<Type> infer_type(Op op, const std::vector<Type>& operands, const Attributes& attributes, std::string& error) {
  return infer_operation(op, OperandTypes(operands), attributes, error);
}

std::optional<Type> infer_operation(Op op, const OperandTypes& operands, const Attributes& attributes, std::string& error) {
  using Rule = std::optional<Type> (*)(const OperandTypes&, const Attributes&, std::string&);
  static constexpr std::array<Rule, op_count> rules{{
#define NNC_OP(name, arity, op_class, differentiable, summary) infer_##name,
#include "ir/ops.def"
#undef NNC_OP
  }};
  if (op_arity(op) >= 0 && int(operands.size()) != op_arity(op))
    return misfit(error, fmt::format("takes {} operand{}, got {}", op_arity(op), op_arity(op) == 1 ? "" : "s", operands.size()));
  Result type = rules[size_t(op)](operands, attributes, error);
  if (type && !check_type(*type, error)) return std::nullopt;
  return type;
}

#define RULE(name) \
  std::optional<Type> infer_##name([[maybe_unused]] const OperandTypes& in, [[maybe_unused]] const Attributes& a, [[maybe_unused]] std::string& error)

// --- leaves ---

RULE(input) { return a.text.empty() ? misfit(error, "needs a name") : leaf(a, a.dtype); }

RULE(parameter) {
  if (a.text.empty()) return misfit(error, "needs a name");
  Type type{a.dtype, a.extents};
  if (type.has_rows()) return misfit(error, fmt::format("a persistent has no row dimension, got {}", to_string(type)));
  return type;
}

RULE(exchange) {
  if (a.text.empty()) return misfit(error, "needs a name");
  const Type& type = in[0];
  if (type.has_rows()) return misfit(error, fmt::format("shares have rows of their own, got {}", to_string(type)));
  return type;
}

RULE(scalar) { return a.text.empty() ? misfit(error, "needs a name") : Type{type_of_scalar(a.text), {}}; }

RULE(constant) {
  if (!is_value_of(a.dtype, a.number)) return misfit(error, fmt::format("{} is not a value of {}", number_text(a.number), dtype_name(a.dtype)));
  return leaf(a, a.dtype);
}

RULE(literal) {
  Type type{a.dtype, a.extents};
  if (type.has_rows()) return misfit(error, fmt::format("written numbers have no row dimension, got {}", to_string(type)));
  std::optional<int64_t> count = product(type.shape);
  if (!count) return misfit(error, fmt::format("{} has a negative size or more than 2^40 elements", to_string(type)));
  if (*count != int64_t(a.values.size())) return misfit(error, fmt::format("{} needs {} numbers, got {}", to_string(type), *count, a.values.size()));
  for (Number v : a.values)
    if (!is_value_of(a.dtype, v)) return misfit(error, fmt::format("{} is not a value of {}", number_text(v), dtype_name(a.dtype)));
  return type;
}

RULE(iota) {
  if (!check_one_axis(a.axes, int(a.extents.size()), error)) return std::nullopt;
  if (a.extents[size_t(a.axes[0])].size > INT32_MAX)
    return misfit(error, fmt::format("an index along {} does not fit i32", to_string(a.extents[size_t(a.axes[0])])));
  return leaf(a, index_type);
}

RULE(random) {
  if (a.text.empty()) return misfit(error, "a draw needs the name of its site");
  // Negative sizes are check_type's to refuse, and a size of zero hides no other.
  int64_t elements = 1;
  for (const Extent& e : a.extents) {
    if (e.rows && e.size != 1) return misfit(error, fmt::format("the rows of a draw are B, not {}", to_string(e)));
    if (!e.rows && e.size > 0) elements = e.size > max_drawn_elements / elements ? max_drawn_elements + 1 : elements * e.size;
    if (elements > max_drawn_elements) return misfit(error, "a draw has at most 2^34 elements in each row");
  }
  return leaf(a, DType::f32);
}

RULE(extent) {
  if (!check_one_extent(a, error)) return std::nullopt;
  if (a.extents[0].size < 0) return misfit(error, fmt::format("negative size {}", a.extents[0].size));
  return Type{scalar_type, {}};
}

// --- element-wise ---

#define ELEMENTWISE(name, takes) \
  RULE(name) { return elementwise(in, Takes::takes, std::nullopt, error); }
#define COMPARE(name, takes) \
  RULE(name) { return elementwise(in, Takes::takes, DType::boolean, error); }

ELEMENTWISE(neg, numeric)
ELEMENTWISE(abs, numeric)
ELEMENTWISE(sign, numeric)
ELEMENTWISE(floor, floating)
ELEMENTWISE(ceil, floating)
ELEMENTWISE(round, floating)
ELEMENTWISE(sqrt, floating)
ELEMENTWISE(exp, floating)
ELEMENTWISE(expm1, floating)
ELEMENTWISE(log, floating)
ELEMENTWISE(log1p, floating)
ELEMENTWISE(sin, floating)
ELEMENTWISE(cos, floating)
ELEMENTWISE(tanh, floating)
ELEMENTWISE(sigmoid, floating)
ELEMENTWISE(erf, floating)
ELEMENTWISE(normal_cdf, floating)
ELEMENTWISE(logical_not, boolean)
ELEMENTWISE(stop_gradient, any)
ELEMENTWISE(add, numeric)
ELEMENTWISE(sub, numeric)
ELEMENTWISE(mul, numeric)
ELEMENTWISE(div, floating)
ELEMENTWISE(floor_div, numeric)
ELEMENTWISE(floor_mod, numeric)
ELEMENTWISE(pow, floating)
ELEMENTWISE(maximum, numeric)
ELEMENTWISE(minimum, numeric)
ELEMENTWISE(copysign, floating)
COMPARE(equal, any)
COMPARE(not_equal, any)
COMPARE(less, ordered)
COMPARE(less_equal, ordered)
COMPARE(greater, ordered)
COMPARE(greater_equal, ordered)
COMPARE(logical_and, boolean)
COMPARE(logical_or, boolean)

RULE(select) {
  if (in[0].dtype != DType::boolean) return misfit(error, fmt::format("the condition must be bool, not {}", dtype_name(in[0].dtype)));
  if (in[1] != in[2]) return misfit(error, fmt::format("the branches must have one type, got {} and {}", to_string(in[1]), to_string(in[2])));
  if (in[0].shape != in[1].shape)
    return misfit(error, fmt::format("condition {} and branches {} differ in shape", to_string(in[0]), to_string(in[1])));
  return in[1];
}

RULE(cast) { return Type{a.dtype, in[0].shape}; }

// --- shape ---

RULE(broadcast) {
  if (int(a.axes.size()) != in[0].rank())
    return misfit(error, fmt::format("the operand has rank {} but {} axes are given", in[0].rank(), a.axes.size()));
  if (!check_ascending_axes(a.axes, int(a.extents.size()), error)) return std::nullopt;
  Type type{in[0].dtype, a.extents};
  for (size_t i = 0; i < a.axes.size(); ++i)
    if (in[0].shape[i] != a.extents[size_t(a.axes[i])])
      return misfit(error, fmt::format("axis {} of {} becomes axis {} of {}, but the sizes differ", i, to_string(in[0]), a.axes[i], to_string(type)));
  return type;
}

RULE(transpose) {
  if (int(a.axes.size()) != in[0].rank())
    return misfit(error, fmt::format("the operand has rank {} but {} axes are given", in[0].rank(), a.axes.size()));
  Type type{in[0].dtype, {}};
  type.shape.reserve(a.axes.size());
  for (auto at = a.axes.begin(); at != a.axes.end(); ++at) {
    const int axis = *at;
    if (axis < 0 || axis >= in[0].rank()) return misfit(error, fmt::format("axis {} of a tensor of rank {}", axis, in[0].rank()));
    if (std::find(a.axes.begin(), at, axis) != at) return misfit(error, fmt::format("axis {} is given twice", axis));
    type.shape.push_back(in[0].shape[size_t(axis)]);
  }
  return type;
}

RULE(reshape) {
  Type type{in[0].dtype, a.extents};
  std::optional<int64_t> before = product(in[0].shape), after = product(type.shape);
  if (!after) return misfit(error, fmt::format("{} has a negative size or more than 2^40 elements", to_string(type)));
  if (before != after || in[0].has_rows() != type.has_rows())
    return misfit(error, fmt::format("{} and {} differ in their number of elements", to_string(in[0]), to_string(type)));
  return type;
}

// slice and pad: the longer of the two extents along the axis has room for the shorter at `begin`.
static bool check_window(const Attributes& a, Extent outer, Extent inner, std::string& error) {
  if (outer.rows || inner.rows) {
    error = "does not work along the row dimension";
    return false;
  }
  if (inner.size < 0 || outer.size < 0) {
    error = fmt::format("negative size {}", std::min(inner.size, outer.size));
    return false;
  }
  if (a.begin >= 0 && inner.size <= outer.size && a.begin <= outer.size - inner.size) return true;
  error = fmt::format("{} elements from {} do not lie within {}", inner.size, a.begin, outer.size);
  return false;
}

RULE(slice) {
  if (!check_one_axis(a.axes, in[0].rank(), error) || !check_one_extent(a, error)) return std::nullopt;
  size_t axis = size_t(a.axes[0]);
  if (!check_window(a, in[0].shape[axis], a.extents[0], error)) return std::nullopt;
  Type type = in[0];
  type.shape.set(axis, a.extents[0]);
  return type;
}

RULE(pad) {
  if (!check_dtype(Takes::numeric, in[0], error)) return std::nullopt;
  if (!check_one_axis(a.axes, in[0].rank(), error) || !check_one_extent(a, error)) return std::nullopt;
  size_t axis = size_t(a.axes[0]);
  if (!check_window(a, a.extents[0], in[0].shape[axis], error)) return std::nullopt;
  Type type = in[0];
  type.shape.set(axis, a.extents[0]);
  return type;
}

RULE(window) {
  const int rank = in[0].rank();
  auto in_range = [&](int axis) { return axis >= 0 && axis < rank; };
  if (a.axes.empty() || a.axes.size() > 2) return misfit(error, fmt::format("needs one axis, or one and that of its elements, got {}", a.axes.size()));
  for (int axis : a.axes)
    if (!in_range(axis)) return misfit(error, fmt::format("axis {} does not exist in {}", axis, to_string(in[0])));
  if (a.axes.size() == 2 && a.axes[0] == a.axes[1]) return misfit(error, fmt::format("axis {} cannot run along itself", a.axes[0]));
  if (!check_one_extent(a, error)) return std::nullopt;
  const Extent size = in[0].shape[size_t(a.axes[0])], elements = a.axes.size() == 2 ? in[0].shape[size_t(a.axes[1])] : Extent{1, false};
  if (size.rows || elements.rows || a.extents[0].rows) return misfit(error, "does not work along the row dimension");
  if (a.extents[0].size < 0) return misfit(error, fmt::format("negative size {}", a.extents[0].size));
  if (a.stride == 0 || a.divide < 1) return misfit(error, fmt::format("a stride of {}, divided by {}", a.stride, a.divide));
  if (!is_value_of(in[0].dtype, a.number)) return misfit(error, fmt::format("{} is not a value of {}", number_text(a.number), dtype_name(in[0].dtype)));
  // Every index is a number of 32 bits, and so computed exactly.
  auto fits = [](std::initializer_list<int64_t> numbers) {
    return std::all_of(numbers.begin(), numbers.end(), [](int64_t n) { return n >= -INT32_MAX && n <= INT32_MAX; });
  };
  const int64_t length = a.extents[0].size;
  if (!fits({size.size, elements.size, length, a.stride, a.dilation, a.begin, a.divide}) ||
      !fits({length * std::abs(a.stride) + elements.size * std::abs(a.dilation) + std::abs(a.begin), size.size * a.divide}))
    return misfit(error, "reaches indices that do not fit i32");
  Type type = in[0];
  type.shape.set(size_t(a.axes[0]), a.extents[0]);
  return type;
}

// --- reductions ---

RULE(reduce_sum) {
  if (a.terms == TermOrder{}) return numeric_reduce(in, a, error);
  if (!is_float(in[0].dtype)) return misfit(error, "only sums of floats have terms in some order");
  if (!std::is_permutation(a.terms.axes.begin(), a.terms.axes.end(), a.axes.begin(), a.axes.end())) return misfit(error, "the terms are not the axes in some order");
  Result result = numeric_reduce(in, a, error);
  for (size_t k = 1; result && k < a.terms.axes.size(); ++k)
    if (in[0].shape[size_t(a.terms.axes[k])].rows) return misfit(error, "the terms do not begin with the rows");
  return result;
}
RULE(reduce_max) { return numeric_reduce(in, a, error); }
RULE(reduce_min) { return numeric_reduce(in, a, error); }

RULE(argmax) {
  if (!check_dtype(Takes::ordered, in[0], error) || !check_one_axis(a.axes, in[0].rank(), error)) return std::nullopt;
  Extent along = in[0].shape[size_t(a.axes[0])];
  if (along.size == 0) return misfit(error, "there is no largest among no elements");
  if (along.size > INT32_MAX) return misfit(error, fmt::format("an index along {} does not fit i32", to_string(along)));
  return reduce(in, a, index_type, error);
}

// --- contraction and indexing ---

RULE(contract) {
  if (!check_dtype(Takes::numeric, in[0], error)) return std::nullopt;
  if (in[0].dtype != in[1].dtype)
    return misfit(error, fmt::format("operands must have one element type, got {} and {}", dtype_name(in[0].dtype), dtype_name(in[1].dtype)));
  LabelTable table(error);
  if (!table.bind(a.lhs, in[0].shape, "the left operand") || !table.bind(a.rhs, in[1].shape, "the right operand") ||
      !table.check_once(a.out, "the result"))
    return std::nullopt;
  Type type{in[0].dtype, {}};
  type.shape.reserve(a.out.size());
  for (int label : a.out) {
    if (!table.size(label)) return misfit(error, fmt::format("label {} of the result is in no operand", label_text(label)));
    type.shape.push_back(*table.size(label));
  }
  return type;
}

RULE(gather) {
  if (!check_dtype(Takes::index, in[1], error)) return std::nullopt;
  if (!check_one_axis(a.axes, in[0].rank(), error)) return std::nullopt;
  LabelTable table(error);
  if (!table.bind(a.lhs, in[0].shape, "the table") || !table.bind(a.rhs, in[1].shape, "the index") || !table.check_once(a.out, "the result"))
    return std::nullopt;
  int gathered = a.lhs[size_t(a.axes[0])];
  if (holds(a.rhs, gathered)) return misfit(error, fmt::format("the gathered axis' label {} is also a label of the index", label_text(gathered)));
  if (holds(a.out, gathered)) return misfit(error, fmt::format("the gathered axis' label {} is also a label of the result", label_text(gathered)));
  bool any_index = std::none_of(in[1].shape.begin(), in[1].shape.end(), [](const Extent& e) { return e.size == 0; });
  if (any_index && in[0].shape[size_t(a.axes[0])].size == 0)
    return misfit(error, fmt::format("the table {} has no entries along axis {}, so no index fits", to_string(in[0]), a.axes[0]));
  Type type{in[0].dtype, {}};
  type.shape.reserve(a.out.size());
  for (int label : a.out) {
    if (!table.size(label)) return misfit(error, fmt::format("label {} of the result is in no operand", label_text(label)));
    type.shape.push_back(*table.size(label));
  }
  for (const std::vector<int>* labels : {&a.lhs, &a.rhs})
    for (int label : *labels)
      if (label != gathered && !holds(a.out, label))
        return misfit(error, fmt::format("label {} is missing in the result", label_text(label)));
  return type;
}

RULE(scatter_add) {
  if (!check_dtype(Takes::numeric, in[0], error) || !check_dtype(Takes::index, in[1], error)) return std::nullopt;
  if (!check_one_axis(a.axes, int(a.extents.size()), error)) return std::nullopt;
  LabelTable table(error);
  if (!table.bind(a.lhs, in[0].shape, "the updates") || !table.bind(a.rhs, in[1].shape, "the index")) return std::nullopt;
  for (int label : a.rhs)
    if (!holds(a.lhs, label)) return misfit(error, fmt::format("label {} of the index is not a label of the updates", label_text(label)));
  if (a.out.size() != a.extents.size())
    return misfit(error, fmt::format("the result has rank {} but {} labels", a.extents.size(), a.out.size()));
  if (!table.check_once(a.out, "the result")) return std::nullopt;
  int scattered = a.out[size_t(a.axes[0])];
  if (holds(a.lhs, scattered)) return misfit(error, fmt::format("the scattered axis' label {} is also a label of the updates", label_text(scattered)));
  if (!table.bind(a.out, a.extents, "the result")) return std::nullopt;
  for (int label : a.out)
    if (label != scattered && !holds(a.lhs, label))
      return misfit(error, fmt::format("label {} of the result is not a label of the updates", label_text(label)));
  for (int label : a.lhs)
    if (!holds(a.rhs, label) && !holds(a.out, label))
      return misfit(error, fmt::format("label {} of the updates is in neither index nor result", label_text(label)));
  return Type{in[0].dtype, a.extents};
}

}  // namespace nnc
