// A sum has the bits of its graph, whatever kernel it stands in: fused with what makes its terms, with other sums, with what reads it, or alone.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <random>

#include "passes/pipeline.h"
#include "tests/unit/catch.h"
#include "verify/route.h"

using namespace nnc;

namespace {

/// Values of one shape, made of memory in many orders, and sums of them that others read.
class SumGraph {
 public:
  explicit SumGraph(uint64_t seed) : random_(seed), b_(graph_) {
    const int64_t sizes[] = {1, 2, 3, 5, 7, 16, 20, 33, 130, 150};
    bindings_.rows = 1 + int64_t(pick(300));
    int64_t left = 300000;
    auto add_axis = [&](Extent e) {
      if (e.at(bindings_.rows) > left) e.size = 2;
      left /= e.at(bindings_.rows);
      shape_.push_back(e);
    };
    add_axis(pick(3) > 0 ? Extent{1, true} : Extent{one_of(sizes), false});
    for (int i = int(pick(3)); i >= 0; --i) add_axis(Extent{one_of(sizes), false});
    for (int i = 0; i < 4; ++i) add_leaf();
    for (int i = 0; i < 16; ++i) pick(3) == 0 ? add_sum() : add_operation();
  }

  const Graph& graph() const { return graph_; }
  const Bindings& bindings() const { return bindings_; }

 private:
  size_t pick(size_t n) { return size_t(random_() % n); }
  template <size_t n>
  int64_t one_of(const int64_t (&sizes)[n]) { return sizes[pick(n)]; }
  NodeId any() { return values_[pick(values_.size())]; }

  Tensor numbers(const Type& type) {
    std::vector<int64_t> shape;
    for (const Extent& e : type.shape) shape.push_back(e.at(bindings_.rows));
    Tensor t = make_tensor(DType::f32, shape);
    for (double& v : t.values) v = double(float(double(int64_t(random_() % 2000001) - 1000000) * 1e-6));
    return t;
  }

  /// A field with all axes, or a parameter with some of them in any order.
  void add_leaf() {
    const std::string name = fmt::format("leaf.{}", values_.size());
    std::vector<int> axes;
    for (int axis = 0; axis < int(shape_.size()); ++axis)
      if (!shape_[size_t(axis)].rows && pick(3) > 0) axes.push_back(axis);
    if (shape_[0].rows && (values_.empty() || pick(2) == 0)) {
      const Type type{DType::f32, shape_};
      bindings_.inputs[name] = numbers(type);
      values_.push_back(b_.input(name, type));
      return;
    }
    std::vector<int> order(axes.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = int(i);
    std::shuffle(order.begin(), order.end(), random_);
    Persistent p{name, {DType::f32, {}}, PersistentKind::parameter, {}};
    for (int place : order) p.type.shape.push_back(shape_[size_t(axes[size_t(place)])]);
    bindings_.persistents[name] = numbers(p.type);
    std::vector<int> back(order.size());
    for (size_t i = 0; i < order.size(); ++i) back[size_t(order[i])] = int(i);
    values_.push_back(b_.broadcast(b_.transpose(b_.parameter(p), back), shape_, axes));
  }

  void add_operation() {
    const Op unary[] = {Op::neg, Op::exp, Op::tanh, Op::abs}, binary[] = {Op::add, Op::sub, Op::mul, Op::maximum};
    values_.push_back(pick(3) == 0 ? b_.unary(unary[pick(4)], b_.unary(Op::tanh, any())) : b_.binary(binary[pick(4)], any(), any()));
  }

  void add_sum() {
    std::vector<int> axes;
    for (int axis = 0; axis < int(shape_.size()); ++axis)
      if (pick(2) == 0) axes.push_back(axis);
    if (axes.empty()) axes.push_back(int(pick(shape_.size())));
    const NodeId of = any(), sum = b_.reduce(pick(4) == 0 ? Op::reduce_max : Op::reduce_sum, of, axes);
    graph_.outputs.push_back({fmt::format("sum.{}", graph_.outputs.size()), b_.add(sum, 0)});
    if (pick(2) == 0) values_.push_back(b_.sub(of, b_.expand(sum, axes, of)));
  }

  std::mt19937_64 random_;
  Graph graph_;
  Builder b_;
  Shape shape_;
  Bindings bindings_;
  std::vector<NodeId> values_;
};

}  // namespace

TEST_CASE("sums have the same bits in kernels of their own and in fused ones") {
  Route fused = Route::optimized(), apart = fused;
  std::erase_if(apart.passes, [](const std::string& pass) { return pass == "fuse_rows" || pass == "sink_updates"; });
  int compared = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    INFO("seed " << seed);
    const SumGraph made(seed);
    const Results expected = run_route(made.graph(), made.bindings(), apart), found = run_route(made.graph(), made.bindings(), fused);
    for (const auto& [name, want] : expected.outputs) {
      INFO("output " << name);
      const Tensor& got = found.outputs.at(name);
      REQUIRE(got.values.size() == want.values.size());
      size_t first = 0;
      while (first < want.values.size() && std::bit_cast<uint64_t>(got.values[first]) == std::bit_cast<uint64_t>(want.values[first])) ++first;
      CAPTURE(first);
      CHECK(first == want.values.size());
      ++compared;
    }
  }
  CHECK(compared > 500);
}
