// Names, and how graphs and programs are looked at.
#include "tests/fuzz/coverage.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "passes/fold.h"
#include "passes/gradient_rules.h"
#include "passes/simplify.h"

namespace nnc::fuzz {
namespace {

constexpr DType all_dtypes[] = {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean};

// The element type that says which code an operation runs as: that of its first operand, or its own.
DType key_dtype(const Graph& graph, const Node& node) {
  return node.operands.empty() || node.op == Op::select ? node.type.dtype : graph.type(node.operands[0]).dtype;
}

// Whether the operation takes that element type at all: asked of infer_type.
bool is_legal(Op op, DType dtype) {
  Shape vector{{2}};
  std::vector<Type> in(size_t(op_arity(op)), Type{dtype, vector});
  Attributes a;
  a.dtype = dtype;
  a.text = "x";
  a.extents = vector;
  a.values = {0, 1};
  a.axes = {0};
  a.lhs = a.rhs = a.out = {0};
  switch (op) {
    case Op::select: in[0].dtype = DType::boolean; break;
    case Op::gather:
      in[1].dtype = DType::i32;
      a.rhs = a.out = {1};
      break;
    case Op::scatter_add:
      in[1].dtype = DType::i32;
      a.out = {1};
      break;
    case Op::scalar: return dtype == scalar_type || dtype == count_type;
    case Op::extent: return dtype == scalar_type;
    case Op::iota: return dtype == DType::i32;
    case Op::random: return dtype == DType::f32;
    default: break;
  }
  std::string error;
  return infer_type(op, in, a, error).has_value();
}

std::vector<std::string> make_universe() {
  std::vector<std::string> names;
  for (auto [op, dtype] : legal_operations()) names.push_back(fmt::format("op.{}.{}", op_name(op), dtype_name(dtype)));
  for (int i = 0; i < op_count; ++i) {
    Op op = Op(i);
    if (op_class(op) == OpClass::region) continue;
    int least = op == Op::transpose ? 2 : op == Op::iota || op == Op::slice || op == Op::pad ? 1 : op == Op::broadcast || op == Op::input || op == Op::scatter_add ? 1 : 0;
    int most = op == Op::scalar || op == Op::extent ? 0 : op_class(op) == OpClass::reduce ? 3 : op == Op::parameter ? 3 : 4;
    for (int rank = least; rank <= most; ++rank) names.push_back(fmt::format("rank.{}.{}", op_name(op), rank));
  }
  for (int i = 0; i < op_count; ++i)
    if (op_differentiable(Op(i)) == Differentiable::yes && op_class(Op(i)) != OpClass::region) names.push_back(fmt::format("gradient.{}", op_name(Op(i))));
  for (const SimplifyRule& r : simplify_rules()) names.push_back(fmt::format("rule.{}", r.name));
  for (const char* kind :
       {"map.chain", "map.one_loop", "map.several_loops", "map.reduce_sum", "map.reduce_max", "map.reduce_min", "map.argmax", "map.several_reductions",
        "map.lanes_outer", "map.lanes_inner", "map.scalar", "map.serial", "map.outer_0", "map.outer_1", "map.outer_2", "map.outer_3", "map.inner_1",
        "map.inner_2", "map.update", "map.update_with_reduction", "map.output_and_temporary", "map.store_before_loop", "map.axis_index", "map.draw", "map.extent", "map.row_gather", "map.index_gather",
        "map.index_scatter", "map.chains", "map.chains_left_out", "map.copy", "map.rows_inner", "map.zero_size", "contract.plain", "contract.prologue_a", "contract.prologue_b", "contract.packed_b", "contract.guards_a", "contract.guards_b",
        "contract.epilogue", "contract.epilogue_draws", "contract.epilogue_loads", "contract.update", "contract.several_stores", "contract.batch_0", "contract.batch_1", "contract.batch_2",
        "contract.m_1", "contract.n_1", "contract.k_1", "contract.rows_m", "contract.rows_n", "contract.rows_k", "contract.rows_batch", "contract.odd_n", "contract.not_unit_stride_n", "program.parallel", "program.parallel_region", "program.local",
        "program.no_barrier", "program.shared_memory", "program.permuted_persistent", "program.one_kernel", "program.many_kernels"})
    names.push_back(std::string("kernel.") + kind);
  for (const char* kind : {"graph.same", "program.same", "workers_1", "workers_2", "workers_3", "workers_4", "workers_5", "workers_6", "accumulate", "threads", "pieces_of_rows", "short_batch", "worker_without_rows",
                           "one_stage", "several_stages", "sum", "max", "min", "owned_sum", "owned_update", "owned_and_read_whole", "output_with_rows", "exchange", "handed_rows", "coupled_rows", "coupled_rows_shared"})
    names.push_back(std::string("share.") + kind);
  return names;
}

bool is_store(const Instruction& i) { return i.kind == Instruction::Kind::store || i.kind == Instruction::Kind::store_add; }

struct KernelShape {
  Coverage& coverage;
  const Program& program;

  void hit(const std::string& what) { coverage.hit("kernel." + what); }
  bool persistent(const Instruction& i) const { return is_store(i) && program[i.access.buffer].kind == BufferKind::persistent; }

  void map(const Kernel& kernel, const MapKernel& m) {
    int loops = 0, reductions = 0;
    bool updates = false, loop_seen = false, store_before_loop = false;
    std::set<BufferKind> stored;
    for (const Block& b : m.blocks) {
      loops += b.inner;
      for (const Instruction& i : b.code) {
        if (i.kind == Instruction::Kind::reduce) {
          ++reductions;
          hit(fmt::format("map.{}", op_name(i.op)));
        }
        if (i.kind == Instruction::Kind::axis_index) hit("map.axis_index");
        if (i.kind == Instruction::Kind::random) hit("map.draw");
        if (i.kind == Instruction::Kind::extent) hit("map.extent");
        if (i.kind == Instruction::Kind::store_add) hit("map.index_scatter");
        if (i.kind == Instruction::Kind::linked) hit("map.chains");
        if (i.kind == Instruction::Kind::touched) hit("map.chains_left_out");
        if (i.kind == Instruction::Kind::load && i.access.index_value >= 0) hit("map.index_gather");
        if (i.access.buffer.valid() && i.access.row_axis >= 0) hit("map.row_gather");
        if (is_store(i)) {
          stored.insert(program[i.access.buffer].kind);
          if (!loop_seen && b.inner) store_before_loop = true;
        }
        updates = updates || persistent(i);
      }
      loop_seen = loop_seen || b.inner;
    }
    hit(loops == 0 ? "map.chain" : loops == 1 ? "map.one_loop" : "map.several_loops");
    if (reductions > 1) hit("map.several_reductions");
    if (store_before_loop && loops > 1) hit("map.store_before_loop");
    if (m.vector_axis < 0)
      hit("map.scalar");
    else
      hit(m.vector_axis >= m.outer ? "map.lanes_inner" : "map.lanes_outer");
    if (m.serial) hit("map.serial");
    hit(fmt::format("map.outer_{}", std::min(m.outer, 3)));
    int inner = int(m.axes.size()) - m.outer;
    if (inner > 0) hit(fmt::format("map.inner_{}", std::min(inner, 2)));
    if (updates) hit(reductions ? "map.update_with_reduction" : "map.update");
    if (stored.count(BufferKind::output) && stored.count(BufferKind::temporary)) hit("map.output_and_temporary");
    if (kernel.nodes.empty()) hit("map.copy");
    for (size_t a = 0; a < m.axes.size(); ++a) {
      if (int(a) >= m.outer && m.axes[a].extent.rows) hit("map.rows_inner");
      if (m.axes[a].extent.size == 0) hit("map.zero_size");
    }
  }

  void contract(const ContractKernel& c) {
    bool prologue_a = c.a.code.size() > 1, prologue_b = c.b.code.size() > 1;
    if (prologue_a) hit("contract.prologue_a");
    if (prologue_b) hit("contract.prologue_b");
    if (c.b.pack) hit("contract.packed_b");
    auto guards = [](const Operand& o) { return std::any_of(o.code.begin(), o.code.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::guard; }); };
    if (guards(c.a)) hit("contract.guards_a");
    if (guards(c.b)) hit("contract.guards_b");
    int stores = 0, loads = 0, computes = 0;
    bool updates = false;
    for (const Instruction& i : c.epilogue) {
      stores += is_store(i);
      loads += i.kind == Instruction::Kind::load;
      if (i.kind == Instruction::Kind::random) hit("contract.epilogue_draws");
      computes += i.kind == Instruction::Kind::compute;
      updates = updates || persistent(i);
      if (is_store(i) && i.access.strides[c.n_axis()] != 1) hit("contract.not_unit_stride_n");
    }
    if (!prologue_a && !prologue_b && computes == 0) hit("contract.plain");
    if (computes) hit("contract.epilogue");
    if (loads) hit("contract.epilogue_loads");
    if (updates) hit("contract.update");
    if (stores > 1) hit("contract.several_stores");
    hit(fmt::format("contract.batch_{}", std::min(c.batch, 2)));
    if (c.m > 1) hit("contract.m_axes");
    if (c.axes.size() > c.first_k() + 1) hit("contract.k_axes");
    const std::pair<const char*, Extent> roles[] = {{"m", joint_extent(c.axes, c.first_m(), c.n_axis())}, {"n", c.axes[c.n_axis()].extent},
                                                    {"k", joint_extent(c.axes, c.first_k(), c.axes.size())}};
    for (int i = 0; i < 3; ++i) {
      const auto& [name, e] = roles[i];
      if (!e.rows && e.size == 1) hit(fmt::format("contract.{}_1", name));
      if (e.rows) hit(fmt::format("contract.rows_{}", name));
      if (i == 1 && e.size % 4 != 0 && e.size > 4) hit("contract.odd_n");
    }
    for (int i = 0; i < c.batch; ++i)
      if (c.axes[size_t(i)].extent.rows) hit("contract.rows_batch");
  }
};

// Nodes through which the gradient of `loss` reaches a parameter.
void add_gradients(Coverage& coverage, const Graph& graph, NodeId loss) {
  std::vector<bool> wanted(graph.size(), false), reached(graph.size(), false);
  for (uint32_t i = 0; i <= loss.value; ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op == Op::parameter && is_float(node.type.dtype)) wanted[i] = graph.find_persistent(node.attributes.text)->kind == PersistentKind::parameter;
    for (int k = 0; k < int(node.operands.size()); ++k)
      if (wanted[node.operands[size_t(k)].value] && !blocks_gradient(graph, {i}, k)) wanted[i] = true;
  }
  reached[loss.value] = true;
  for (uint32_t i = loss.value + 1; i-- > 0;) {
    const Node& node = graph[NodeId{i}];
    if (!reached[i] || !wanted[i] || node.operands.empty()) continue;
    coverage.hit(fmt::format("gradient.{}", op_name(node.op)));
    for (int k = 0; k < int(node.operands.size()); ++k)
      if (!blocks_gradient(graph, {i}, k)) reached[node.operands[size_t(k)].value] = true;
  }
}

}  // namespace

std::vector<std::pair<Op, DType>> legal_operations() {
  std::vector<std::pair<Op, DType>> all;
  for (int i = 0; i < op_count; ++i)
    for (DType d : all_dtypes)
      if (op_class(Op(i)) != OpClass::region && is_legal(Op(i), d)) all.emplace_back(Op(i), d);
  return all;
}

const std::vector<std::string>& coverage_universe() {
  static const std::vector<std::string> names = make_universe();
  return names;
}

void Coverage::add_graph(const Graph& graph) {
  for (const Node& n : graph.nodes()) {
    hit(fmt::format("op.{}.{}", op_name(n.op), dtype_name(key_dtype(graph, n))));
    hit(fmt::format("rank.{}.{}", op_name(n.op), n.type.rank()));
  }
  for (const Output& o : graph.outputs)
    if (o.name == "loss") add_gradients(*this, graph, o.node);
  Graph g = graph;
  for (int round = 0; round < 2; ++round) {
    remove_dead_code(g);
    SimplifyCounts counts = simplify(g);
    for (size_t i = 0; i < counts.size(); ++i)
      if (counts[i] > 0) hit(fmt::format("rule.{}", simplify_rules()[i].name), counts[i]);
    erase_stop_gradient(g);
    fold_constants(g);
    merge_common_subexpressions(g);
  }
}

void Coverage::add_program(const Program& program) {
  KernelShape shape{*this, program};
  for (const Kernel& k : program.kernels) {
    if (const auto* m = std::get_if<MapKernel>(&k.body))
      shape.map(k, *m);
    else
      shape.contract(std::get<ContractKernel>(k.body));
    if (k.parallel) hit("kernel.program.parallel");
    if (!k.barrier_before) hit("kernel.program.no_barrier");
  }
  hit(program.kernels.size() == 1 ? "kernel.program.one_kernel" : "kernel.program.many_kernels");
  if (!program.parallel_regions.empty()) hit("kernel.program.parallel_region");
  if (program.local_bytes > 0) hit("kernel.program.local");
  int64_t temporaries = 0;
  for (const Buffer& b : program.buffers) {
    if (b.kind == BufferKind::temporary) temporaries += b.bytes;
    if (b.kind == BufferKind::persistent && !b.order.empty() && !std::is_sorted(b.order.begin(), b.order.end())) hit("kernel.program.permuted_persistent");
  }
  if (temporaries > program.arena_bytes) hit("kernel.program.shared_memory");
}

void Coverage::refused(const std::string& kind, const std::string& reason) {
  std::string words = reason;
  std::replace_if(words.begin(), words.end(), [](unsigned char c) { return std::isspace(c) != 0; }, '_');  // encode() has a word for a name
  hit(fmt::format("refused.{}.{}", kind, words));
}

void Coverage::add(const Coverage& other) {
  for (const auto& [name, count] : other.hits_) hits_[name] += count;
}

std::string Coverage::encode() const {
  std::string text;
  for (const auto& [name, count] : hits_) text += fmt::format("{} {}\n", name, count);
  return text;
}

void Coverage::decode(const std::string& encoded) {
  std::istringstream in(encoded);
  std::string name;
  for (int64_t count; in >> name >> count;) hits_[name] += count;
}

std::vector<std::string> Coverage::missing(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const std::string& n : coverage_universe())
    if (n.rfind(prefix, 0) == 0 && !hits_.count(n)) names.push_back(n);
  return names;
}

std::string Coverage::shared_report() const {
  std::string text = "steps shared by workers, or of several batches:\n";
  for (const std::string kind : {"graph", "program"}) {
    const std::string prefix = "refused." + kind + ".";
    int64_t refused = 0;
    std::string reasons;
    for (const auto& [name, count] : hits_) {
      if (name.rfind(prefix, 0) != 0) continue;
      std::string reason = name.substr(prefix.size());
      std::replace(reason.begin(), reason.end(), '_', ' ');
      reasons += fmt::format("       {:4} x {}\n", count, reason);
      refused += count;
    }
    const auto same = hits_.find("share." + kind + ".same");
    text += fmt::format("  {:4} {}s with the bits of one worker, {} refused\n{}", same == hits_.end() ? 0 : same->second, kind, refused, reasons);
  }
  return text;
}

std::string Coverage::report() const {
  struct Kind {
    const char *prefix, *title;
  };
  std::string text = "reached:\n";
  for (auto [prefix, title] : {Kind{"op.", "operations in element types"}, Kind{"rank.", "operations in ranks"}, Kind{"gradient.", "gradient rules"},
                               Kind{"rule.", "simplification rules"}, Kind{"kernel.", "kinds of kernels"}, Kind{"share.", "kinds of shared steps"}}) {
    std::vector<std::string> absent = missing(prefix);
    size_t all = 0;
    for (const std::string& n : coverage_universe()) all += n.rfind(prefix, 0) == 0;
    text += fmt::format("  {:4} of {:4} {}\n", all - absent.size(), all, title);
    if (!absent.empty()) text += fmt::format("       never: {}\n", fmt::join(absent, " "));
  }
  return text + shared_report();
}

}  // namespace nnc::fuzz
