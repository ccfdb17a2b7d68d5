// The tensor graph: what the frontend makes, differentiation extends and passes rewrite. A DAG of typed tensor operations in SSA form.
//
// Meaning: a graph is a pure function of its inputs, scalars and persistents (all read as they were before the step) to its outputs, plus
// the updates: new values of persistents that take effect together after everything has been read.
// Nodes stand in topological order: operands before users. Dimension names are gone; sizes are numbers, except that one dimension, the
// rows of a batch (`B`), is known only at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/number.h"
#include "base/source.h"
#include "base/types.h"
#include "ir/node_list.h"
#include "ir/shape.h"

namespace nnc {

class Diagnostics;

enum class Op : uint8_t {
#define NNC_OP(name, arity, op_class, differentiable, summary) name,
#include "ir/ops.def"
#undef NNC_OP
};
enum class OpClass : uint8_t { leaf, unary, binary, compare, select, shape, reduce, contract, indexing, region };
enum class Differentiable : uint8_t { leaf, none, yes };

inline constexpr int op_count = 0
#define NNC_OP(name, arity, op_class, differentiable, summary) +1
#include "ir/ops.def"
#undef NNC_OP
    ;

std::string_view op_name(Op);
std::optional<Op> parse_op(std::string_view);
int op_arity(Op);  ///< -1: any
OpClass op_class(Op);
Differentiable op_differentiable(Op);
std::string_view op_summary(Op);
/// unary, binary, compare, select: one result element from the operands' elements at the same index.
bool is_elementwise(Op);

struct Type {
  DType dtype = DType::f32;
  Shape shape;
  bool operator==(const Type&) const = default;
  int rank() const { return int(shape.size()); }
  int64_t elements(int64_t row_count) const;
  bool has_rows() const;
};
std::string to_string(Extent);
std::string to_string(const Type&);  ///< "f32[B, 64]"

class Graph;

/// The graph that a region owns. Never changed once it is in a node, so that copies of a node share it; compared by what it computes.
struct Body {
  std::shared_ptr<const Graph> graph;
  explicit operator bool() const { return graph != nullptr; }
  const Graph& operator*() const { return *graph; }
  const Graph* operator->() const { return graph.get(); }
  bool operator==(const Body&) const;
};

/// In which order a sum in a kernel of its own adds its terms, as far as loops decide it (the rest follows from shapes: sum_order.h). Decided for the graph before
/// fusion (passes/order_sums.h), so that its bits are those of no kernel in particular.
struct TermOrder {
  std::vector<int> axes;  ///< the axes that are summed over, outermost first; rows, if any, are the first
  bool lanes = false;     ///< vector lanes run along the last of them; else along results
  bool operator==(const TermOrder&) const = default;
};

/// What an operation needs beside operands; ops.def says which are used. Unused ones stay empty.
struct Attributes {
  std::vector<int> axes;
  TermOrder terms;                ///< reduce_sum of floats: empty where the order is that of term_order_of_shape
  Shape extents;                  ///< broadcast, reshape: the result's shape; slice, pad, window, extent, scan (its steps): one; constant, literal, iota, random, result: the result's shape
  int64_t begin = 0;
  int64_t stride = 1, dilation = 1, divide = 1;  ///< window (window.h)
  Number number;                  ///< constant, window; a float's is a value of its type
  std::vector<Number> values;     ///< literal; likewise
  std::string text;
  std::vector<int> lhs, rhs, out;  ///< labels (small non-negative ints; printed a, b, c ...) of contract, gather, scatter_add
  DType dtype = DType::f32;       ///< cast, result, and leaves
  Body body;                      ///< scan (regions.h)
  int carried = 0, sliced = 0;    ///< scan: how many of its operands are first values of carries, and how many are sequences
  bool reverse = false;           ///< scan: from the last step to the first
  bool operator==(const Attributes&) const = default;
};

struct Node {
  Op op{};
  NodeList operands;
  Attributes attributes;
  Type type;            ///< always what infer_type gives
  Span span;            ///< the source it came from; a gradient node has that of the forward node it was made for
  std::string scope;    ///< path of the layer instance it belongs to ("fc1", "blocks.0.attention"), "" at the top
  int group = -1;       ///< kernel it is fused into, once fusion has decided (passes/fuse); -1 before
};

/// `partial`: a sum over the rows of a share of a batch, which stages of a step hand on (passes/split_stages.h); it means nothing between steps.
enum class PersistentKind : uint8_t { parameter, frozen, state, optimizer_state, partial };

/// A value that outlives a step. Names are unique in a graph; the same name in two graphs of one model is the same value.
struct Persistent {
  std::string name;  ///< full name: "fc1.weight", "optimizer.m.fc1.weight"
  Type type;         ///< no row dimension
  PersistentKind kind = PersistentKind::parameter;
  Span span;
  bool operator==(const Persistent&) const = default;
};

struct Output {
  std::string name;  ///< "loss", "accuracy", "result"
  NodeId node;
};

/// After the step, persistent `name` becomes the value of `node` (equal type).
struct Update {
  std::string name;
  NodeId node;
};

class Graph {
 public:
  std::string name = "main";
  /// Adds a node; its type is inferred (NNC_CHECK if the operands do not fit). Operands must exist.
  NodeId add(Op op, NodeList operands = {}, Attributes attributes = {}, Span span = {}, std::string scope = {});
  /// Adds a node of another graph, or of this one as it was, whose operands are replaced by nodes of the same types: nothing is inferred. Operands must exist.
  NodeId adopt(Node&&);
  void reserve(size_t nodes) { nodes_.reserve(nodes); }
  const Node& operator[](NodeId id) const { return nodes_[id.value]; }
  Node& operator[](NodeId id) { return nodes_[id.value]; }
  const Type& type(NodeId id) const { return nodes_[id.value].type; }
  uint32_t size() const { return uint32_t(nodes_.size()); }
  const std::vector<Node>& nodes() const { return nodes_; }

  /// Adds, or returns the index of, a persistent of that name (NNC_CHECK on another type).
  size_t add_persistent(Persistent);
  const Persistent* find_persistent(std::string_view name) const;

  std::vector<Persistent> persistents;
  std::vector<Output> outputs;
  std::vector<Update> updates;

  /// users()[n]: nodes that have n as operand, ascending, once each.
  Users users() const;

 private:
  std::vector<Node> nodes_;
};

/// The type of an operation's result; on a misfit an explanation in `error` and an empty optional. Never throws.
std::optional<Type> infer_type(Op op, const std::vector<Type>& operands, const Attributes& attributes, std::string& error);

// --- building, used by the frontend, gradient rules and passes (build.cpp) ---

/// Adds nodes with a fixed span and scope, with the small conveniences that keep rules to a line or two.
class Builder {
 public:
  explicit Builder(Graph& graph, Span span = {}, std::string scope = {}) : graph(graph), span(span), scope(std::move(scope)) {}
  Graph& graph;
  Span span;
  std::string scope;

  NodeId input(std::string name, Type);
  NodeId parameter(const Persistent&);            ///< adds the persistent too
  NodeId scalar(std::string name);                ///< type_of_scalar(name) []
  NodeId constant(Number value, Type type);       ///< splat; rounded to a float's type, which any other type must hold
  NodeId constant_like(Number value, NodeId other);
  NodeId literal(std::vector<Number> values, Type type);  ///< row-major; likewise
  NodeId iota(Shape shape, int axis);             ///< i32
  NodeId extent(Extent);                          ///< f64 []
  NodeId random(std::string site, Shape shape);   ///< f32; rows, if any, are B
  NodeId result(NodeId scan, int number);         ///< regions.h
  NodeId unary(Op, NodeId);
  NodeId binary(Op, NodeId, NodeId);              ///< a rank-0 operand is broadcast to the other's shape; dtypes must agree
  NodeId add(NodeId a, NodeId b) { return binary(Op::add, a, b); }
  NodeId sub(NodeId a, NodeId b) { return binary(Op::sub, a, b); }
  NodeId mul(NodeId a, NodeId b) { return binary(Op::mul, a, b); }
  NodeId div(NodeId a, NodeId b) { return binary(Op::div, a, b); }
  NodeId neg(NodeId a) { return unary(Op::neg, a); }
  NodeId add(NodeId a, Number b) { return add(a, constant_like(b, a)); }
  NodeId mul(NodeId a, Number b) { return mul(a, constant_like(b, a)); }
  NodeId select(NodeId condition, NodeId a, NodeId b);
  NodeId cast(NodeId, DType);                     ///< the node itself if it has that dtype
  NodeId broadcast(NodeId, Shape shape, std::vector<int> axes);   ///< the node itself if nothing changes
  NodeId transpose(NodeId, std::vector<int> axes);                ///< likewise
  NodeId reshape(NodeId, Shape shape);                            ///< likewise
  NodeId slice(NodeId, int axis, int64_t begin, Extent length);
  NodeId pad(NodeId, int axis, int64_t begin, Extent total);
  NodeId window(NodeId, Attributes);                              ///< window.h
  NodeId reduce(Op, NodeId, std::vector<int> axes);               ///< the node itself for no axes
  NodeId mean(NodeId, std::vector<int> axes);
  NodeId contract(NodeId a, NodeId b, std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out);
  /// Reduced value back over the axes it lost: the inverse shape of reduce(x, axes), to the shape of `like`.
  NodeId expand(NodeId reduced, const std::vector<int>& axes, NodeId like);
};

// --- text (print.cpp, parse.cpp): print(parse(print(g))) == print(g), byte for byte ---
struct PrintOptions {
  bool locations = true;  ///< loc("file":line:column) after each node; needs the map
  bool groups = true;
};
std::string print_graph(const Graph&, const SourceMap* sources, PrintOptions = {});

/// Reads the first graph of a .nnir file; on any fault reports it with its place and returns nothing.
std::optional<Graph> parse_graph(SourceMap&, FileId, Diagnostics&);

// --- verification (verify_graph.cpp): every violated invariant, by its number; empty when sound ---
std::vector<std::string> verify_graph(const Graph&);

}  // namespace nnc
