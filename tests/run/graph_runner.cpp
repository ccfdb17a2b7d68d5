// Bindings become fields, persistents and scalars of a compiled step; what the step leaves behind becomes results to compare.

#include "tests/run/graph_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "codegen/codegen.h"
#include "passes/fuse.h"
#include "passes/pipeline.h"
#include "runtime/step_runner.h"
#include "tests/unit/catch.h"

namespace nnc::test {
namespace {

template <class T>
void put(std::byte* at, double v) {
  T t = T(v);
  std::memcpy(at, &t, sizeof t);
}
template <class T>
double get(const std::byte* at) {
  T t;
  std::memcpy(&t, at, sizeof t);
  return double(t);
}

std::vector<std::byte> to_bytes(const Tensor& t) {
  size_t size = byte_size(t.dtype);
  std::vector<std::byte> bytes(t.values.size() * size + 64);
  for (size_t i = 0; i < t.values.size(); ++i) {
    std::byte* at = bytes.data() + i * size;
    switch (t.dtype) {
      case DType::f32: put<float>(at, t.values[i]); break;
      case DType::f64: put<double>(at, t.values[i]); break;
      case DType::i32: put<int32_t>(at, t.values[i]); break;
      case DType::i64: put<int64_t>(at, t.values[i]); break;
      default: put<uint8_t>(at, t.values[i]); break;
    }
  }
  return bytes;
}

Tensor from_bytes(DType dtype, std::vector<int64_t> shape, const std::byte* bytes) {
  Tensor t = make_tensor(dtype, std::move(shape));
  size_t size = byte_size(dtype);
  for (size_t i = 0; i < t.values.size(); ++i) {
    const std::byte* at = bytes + i * size;
    switch (dtype) {
      case DType::f32: t.values[i] = get<float>(at); break;
      case DType::f64: t.values[i] = get<double>(at); break;
      case DType::i32: t.values[i] = get<int32_t>(at); break;
      case DType::i64: t.values[i] = get<int64_t>(at); break;
      default: t.values[i] = get<uint8_t>(at); break;
    }
  }
  return t;
}

std::vector<int64_t> sizes(const Shape& shape, int64_t rows) {
  std::vector<int64_t> s;
  for (const Extent& e : shape) s.push_back(e.at(rows));
  return s;
}

}  // namespace

struct CompiledGraph::State {
  State(Program p, std::vector<Update> u, int threads) : program(std::move(p)), updates(std::move(u)), code(compile(program, nullptr)), team(threads) {
    step.run = code->run();
    step.rows_capacity = program.rows;
    step.arena_bytes = program.arena_bytes;
    step.persistent_bytes = program.persistent_bytes;
    step.scratch_bytes = code->scratch_bytes();
    step.fields = program.fields;
    step.scalars = program.scalars;
    step.results = program.results;
    for (const PersistentPlace& place : program.persistents) {
      const Buffer& b = program[place.buffer];
      step.persistents.push_back({b.name, b.dtype, sizes(b.shape, 1), b.order, b.offset, true});
    }
    step.outputs.resize(program.outputs.size());
    output_shapes.resize(program.outputs.size());
    for (const Buffer& b : program.buffers)
      if (b.kind == BufferKind::output) {
        step.outputs[size_t(b.offset)] = {b.name, b.dtype, sizes(b.shape, program.rows), -1, b.bytes};
        output_shapes[size_t(b.offset)] = b.shape;
      }
    runner.emplace(step, team);
  }
  Program program;
  std::vector<Update> updates;
  std::unique_ptr<CompiledProgram> code;
  StepProgram step;
  std::vector<Shape> output_shapes;
  Team team;
  std::optional<StepRunner> runner;
};

CompiledGraph::~CompiledGraph() = default;

CompiledGraph::CompiledGraph(Graph graph, GraphRunOptions options) {
  if (options.optimize) {
    optimize_graph(graph);
  } else {
    finish_groups(graph);
  }
  Target target = host_target_with_cpu();
  if (options.level != target.level) target = target_by_name(std::string(vector_level_name(options.level)));
  Program program = build_program(graph, {"test", options.capacity, target, {}});
  if (options.parallel_all) {
    for (Kernel& k : program.kernels) {
      auto* map = std::get_if<MapKernel>(&k.body);
      k.parallel = !(map && map->serial);
      k.barrier_before = true;
    }
    plan_memory(program);
  }
  REQUIRE(verify_program(program).empty());
  state_ = std::make_unique<State>(std::move(program), graph.updates, options.threads);
}

Results CompiledGraph::run(const Bindings& bindings) {
  const StepProgram& step = state_->step;
  StepRunner& runner = *state_->runner;
  for (size_t i = 0; i < step.persistents.size(); ++i) runner.set_persistent(i, to_bytes(bindings.persistents.at(step.persistents[i].name)).data());
  std::vector<std::vector<std::byte>> fields;
  for (size_t i = 0; i < step.fields.size(); ++i) {
    const Tensor& t = bindings.inputs.at(step.fields[i]);
    fields.push_back(to_bytes(t));
    int64_t rows = t.shape.empty() ? 1 : t.shape[0];
    runner.bind_field(i, fields.back().data(), rows > 0 ? int64_t(t.values.size()) / rows * int64_t(byte_size(t.dtype)) : 0);
  }
  std::vector<int64_t> index(size_t(step.rows_capacity));
  for (size_t i = 0; i < index.size(); ++i) index[i] = int64_t(i);
  std::vector<float> scalars, results(step.results.size());
  for (const std::string& s : step.scalars) scalars.push_back(float(bindings.scalars.at(s)));
  int64_t rows = bindings.rows;
  REQUIRE(runner.run(std::span(&rows, 1), index.data(), scalars.data(), results.data()) == 1);
  Results out;
  for (size_t i = 0; i < step.results.size(); ++i) {
    out.outputs[step.results[i]] = make_tensor(DType::f32, {});
    out.outputs[step.results[i]].values = {double(results[i])};
  }
  // Outputs stand at the strides of the planned rows only where rows are outermost, which is the only place they may be.
  for (size_t i = 0; i < step.outputs.size(); ++i)
    out.outputs[step.outputs[i].name] = from_bytes(step.outputs[i].dtype, sizes(state_->output_shapes[i], bindings.rows), runner.output(i));
  for (const Update& u : state_->updates) {
    size_t i = size_t(runner.find_persistent(u.name));
    std::vector<std::byte> bytes(size_t(step.persistents[i].elements()) * byte_size(step.persistents[i].dtype));
    runner.get_persistent(i, bytes.data());
    out.updates[u.name] = from_bytes(step.persistents[i].dtype, step.persistents[i].shape, bytes.data());
  }
  return out;
}

Results run_compiled(Graph graph, const Bindings& bindings, GraphRunOptions options) {
  if (options.capacity <= 0) options.capacity = bindings.rows;
  return CompiledGraph(std::move(graph), options).run(bindings);
}

Bindings random_bindings(const Graph& graph, int64_t rows, std::mt19937_64& random, double low, double high) {
  Bindings b;
  b.rows = rows;
  std::uniform_real_distribution<double> real(low, high);
  std::uniform_int_distribution<int> integer(0, 2);
  auto fill = [&](const Type& type) {
    Tensor t = make_tensor(type.dtype, shape_at(type, rows));
    for (double& v : t.values) v = is_float(type.dtype) ? double(float(real(random))) : type.dtype == DType::boolean ? double(integer(random) & 1) : double(integer(random));
    return t;
  };
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::input && !b.inputs.count(n.attributes.text)) b.inputs[n.attributes.text] = fill(n.type);
    if (n.op == Op::scalar && !b.scalars.count(n.attributes.text)) b.scalars[n.attributes.text] = double(float(real(random)));
  }
  for (const Persistent& p : graph.persistents) b.persistents[p.name] = fill(p.type);
  return b;
}

void check_same(const Results& compiled, const Results& interpreted, double tolerance) {
  auto compare = [&](const std::string& name, const Tensor& a, const Tensor& b) {
    INFO(name);
    REQUIRE(a.values.size() == b.values.size());
    double scale = 1;
    for (double v : b.values)
      if (std::isfinite(v)) scale = std::max(scale, std::fabs(v));
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < a.values.size(); ++i) {
      double x = a.values[i], y = b.values[i];
      bool same = (std::isnan(x) && std::isnan(y)) || x == y || std::fabs(x - y) <= tolerance * scale;
      if (!same && wrong++ == 0) first = i;
    }
    INFO("first difference at " << first << ": " << (wrong ? a.values[first] : 0) << " instead of " << (wrong ? b.values[first] : 0));
    CHECK(wrong == 0);
  };
  for (const auto& [name, t] : interpreted.outputs) {
    REQUIRE(compiled.outputs.count(name));
    compare(name, compiled.outputs.at(name), t);
  }
  for (const auto& [name, t] : interpreted.updates) {
    REQUIRE(compiled.updates.count(name));
    compare(name, compiled.updates.at(name), t);
  }
}

}  // namespace nnc::test
