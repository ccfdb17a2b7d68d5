// Axes split, moved and exchanged: random kernels mean what they meant, and what cannot be done is refused.
#include "passes/kernel_axes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/program_interpreter.h"
#include "passes/tiles.h"
#include "tests/program_text.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using nnc::test::program_of;

namespace {

/// A kernel with random axes over buffers whose elements lie in random orders. Indices have a part in all values, so an index that is computed wrongly shows.
class RandomKernel {
 public:
  explicit RandomKernel(uint64_t seed) : random_(seed, stable_hash("random kernel")) {}

  int64_t below(int64_t bound) { return int64_t(random_.next_below(uint64_t(bound))); }

  std::string contraction() {
    const size_t batch = size_t(below(3)), m = 1 + size_t(below(2)), k = 1 + size_t(below(2));
    add_axes(batch + m + 1 + k, batch + m);
    std::vector<size_t> of_a, of_b, of_result;
    for (size_t axis = 0; axis < axes_.size(); ++axis) {
      if (axis != batch + m) of_a.push_back(axis);
      if (axis < batch || axis >= batch + m) of_b.push_back(axis);
      if (axis <= batch + m) of_result.push_back(axis);
    }
    const std::string a = place(of_a, false), b = place(of_b, false), out = place(of_result, true);
    std::string text = fmt::format("  kernel product\n    contract {}{}; {}; {}: tile 1 x 1 vectors, blocks 1 x 1 x 1\n", list(0, batch), (batch ? "; " : "") + list(batch, batch + m),
                                   list(batch + m, batch + m + 1), list(batch + m + 1, axes_.size()));
    text += fmt::format("      a[{}] = v3, packed:\n        v0 = load x[{}] : f32\n", names(of_a), a) + plus_index(0, of_a, 1, "        ");
    std::vector<size_t> written_b(of_b.begin(), of_b.begin() + ptrdiff_t(batch));
    for (size_t axis = batch + m + 1; axis < axes_.size(); ++axis) written_b.push_back(axis);
    written_b.push_back(batch + m);
    text += fmt::format("      b[{}] = v7, packed:\n        v4 = load y[{}] : f32\n", names(written_b), b) + plus_index(4, of_b, 5, "        ");
    text += fmt::format("      for each {}:\n        v8 = sum over k of a * b : f32\n", names(of_result)) + plus_index(8, of_result, 9, "        ");
    text += fmt::format("        out[{}] <- v11 : f32\n", out);
    return program(text);
  }

  std::string loop_nest() {
    const size_t outer = 1 + size_t(below(3)), inner = 1 + size_t(below(2));
    add_axes(outer + inner, outer);
    std::vector<size_t> all, of_sum;
    for (size_t axis = 0; axis < axes_.size(); ++axis) {
      all.push_back(axis);
      if (axis < outer) of_sum.push_back(axis);
    }
    const std::string x = place(all, false), out = place(all, true), sums = place(of_sum, true);
    const int64_t lanes = below(3);
    const std::string along = [&](size_t axis) { return fmt::format("  (vector along {})", axes_[axis].name); }(lanes == 0 ? outer - 1 : axes_.size() - 1);
    std::string text = fmt::format("  kernel nest\n    for {}{}:\n", list(0, outer), lanes == 0 ? along : "");
    const std::string head = fmt::format("      for {}{}:\n", list(outer, axes_.size()), lanes == 1 ? along : "");
    text += plus_index(-1, of_sum, 20, "      ");
    text += head + fmt::format("        v0 = load x[{}] : f32\n", x) + plus_index(0, all, 1, "        ") + "        v4 = reduce_sum(v3) over the inner loop : f32\n";
    text += fmt::format("      v5 = add(v4, v21) : f32\n      sums[{}] <- v5 : f32\n", sums);
    text += head + plus_index(-1, all, 6, "        ") + fmt::format("        v8 = mul(v7, v5) : f32\n        out[{}] <- v8 : f32\n", out);
    return program(text);
  }

  /// Parts of an extent, at most three.
  std::vector<Extent> parts_of(Extent extent) {
    std::vector<Extent> parts{extent};
    for (int64_t cuts = below(3); cuts > 0; --cuts) {
      const size_t at = size_t(below(int64_t(parts.size())));
      std::vector<int64_t> factors;
      for (int64_t f = 1; f <= parts[at].size; ++f)
        if (parts[at].size % f == 0) factors.push_back(f);
      const int64_t f = factors[size_t(below(int64_t(factors.size())))];
      const Extent rest{parts[at].size / f, false};
      parts[at].size = f;
      parts.insert(parts.begin() + ptrdiff_t(at) + 1, rest);
    }
    return parts;
  }

  /// An order of `count` axes in which those of each range, from one end to the next, change places.
  std::vector<size_t> order_of(size_t count, const std::vector<size_t>& ends) {
    std::vector<size_t> order;
    for (size_t axis = 0; axis < count; ++axis) order.push_back(axis);
    size_t begin = 0;
    for (size_t end : ends) {
      for (size_t i = end; i > begin + 1; --i) std::swap(order[i - 1], order[begin + size_t(below(int64_t(i - begin)))]);
      begin = end;
    }
    return order;
  }

 private:
  void add_axes(size_t count, size_t without_rows_from) {
    static constexpr int64_t sizes[] = {1, 2, 3, 4, 6, 8, 12};
    for (size_t axis = 0; axis < count; ++axis) axes_.push_back({std::string(1, char('d' + axis)), {sizes[below(7)], false}});
    if (below(2) == 0) axes_[size_t(below(int64_t(std::max<size_t>(without_rows_from, 1))))].extent.rows = true;
  }

  std::string list(size_t begin, size_t end) const {
    std::vector<std::string> texts;
    for (size_t axis = begin; axis < end; ++axis) texts.push_back(fmt::format("{} < {}", axes_[axis].name, to_string(axes_[axis].extent)));
    return fmt::format("{}", fmt::join(texts, ", "));
  }
  std::string names(const std::vector<size_t>& axes) const {
    std::vector<std::string> texts;
    for (size_t axis : axes) texts.push_back(axes_[axis].name);
    return fmt::format("{}", fmt::join(texts, ", "));
  }

  /// A place in a new buffer that has an element for each point of `axes`, in a random order of these, rows outermost; if it has rows at all.
  std::string place(std::vector<size_t> axes, bool rows) {
    for (size_t i = axes.size(); i > 1; --i) std::swap(axes[i - 1], axes[size_t(below(int64_t(i)))]);
    std::stable_partition(axes.begin(), axes.end(), [&](size_t axis) { return axes_[axis].extent.rows; });
    Extent size{1, false};
    std::string text;
    for (size_t i = axes.size(); i-- > 0;) {
      const Axis& axis = axes_[axes[i]];
      if (axis.extent.rows && !rows) continue;
      text = fmt::format("{}*{}{}", size.size, axis.name, text.empty() ? "" : " + " + text);
      size = {size.size * axis.extent.size, axis.extent.rows};
    }
    sizes_.push_back(size);
    return text.empty() ? "0" : text;
  }

  /// v + the index of one of the axes, as instructions first, first + 1 and, if there is a v, first + 2.
  std::string plus_index(int v, const std::vector<size_t>& axes, int first, const std::string& indent) {
    const std::string& axis = axes_[axes[size_t(below(int64_t(axes.size())))]].name;
    std::string text = fmt::format("{0}v{1} = index of {2} : i32\n{0}v{3} = cast(v{1}) : f32\n", indent, first, axis, first + 1);
    if (v >= 0) text += fmt::format("{}v{} = add(v{}, v{}) : f32\n", indent, first + 2, v, first + 1);
    return text;
  }

  /// Buffers x, (y,) out, (sums,) in the order in which they were asked for.
  std::string program(const std::string& kernel) {
    const bool nest = kernel.find("kernel nest") != std::string::npos;
    const std::vector<std::string> buffers = nest ? std::vector<std::string>{"x", "out", "sums"} : std::vector<std::string>{"x", "y", "out"};
    std::string text;
    int64_t place = 0, outputs = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const std::string type = fmt::format("f32[{}]", to_string(sizes_[i]));
      if (buffers[i] == "x" || buffers[i] == "y") {
        text += fmt::format("  persistent \"{}\" : {} at {}, {} bytes, frozen\n", buffers[i], type, place, sizes_[i].size * 4);
        place += (sizes_[i].size * 4 + 63) / 64 * 64;
      } else {
        text += fmt::format("  output \"{}\" : {} slot {}\n", buffers[i], type, outputs++);
      }
    }
    return fmt::format("program @test {{\n  target any portable, 2 rows planned\n  arena 0 bytes, persistent {} bytes\n\n{}\n{}}}\n", place, text, kernel);
  }

  RandomStream random_;
  std::vector<Axis> axes_;
  std::vector<Extent> sizes_;
};

Results run(const Program& program) {
  Bindings bindings;
  bindings.rows = program.rows;
  for (const PersistentPlace& p : program.persistents) {
    Tensor t = Tensor{DType::f32, {}, {}};
    for (Extent e : p.persistent.type.shape) t.shape.push_back(e.size);
    for (int64_t i = 0; i < p.persistent.type.elements(1); ++i) t.values.push_back(double(i * i % 31) - 9);
    bindings.persistents[p.persistent.name] = t;
  }
  return interpret_program(program, bindings);
}

const std::vector<Axis>& axes_of(const Kernel& kernel) {
  if (const auto* map = std::get_if<MapKernel>(&kernel.body)) return map->axes;
  return std::get<ContractKernel>(kernel.body).axes;
}

void check_same(const Program& program, const Results& before) {
  CHECK(verify_program(program).empty());
  if (!verify_program(program).empty()) FAIL(verify_program(program)[0]);
  const Program again = program_of(print_program(program, nullptr));
  CHECK(print_program(again, nullptr) == print_program(program, nullptr));
  const Results after = run(program);
  REQUIRE(after.outputs.size() == before.outputs.size());
  for (const auto& [name, tensor] : before.outputs) CHECK(after.outputs.at(name).values == tensor.values);
}

Program product() {
  return program_of(R"(program @test {
  target any avx2, 8 rows planned
  arena 0 bytes, persistent 2048 bytes

  field "x" : f32[B, 6] field 0
  persistent "w" : f32[6, 64] at 0, 1536 bytes, frozen
  output "out" : f32[B, 64] slot 0

  kernel product
    contract b < B; n < 64; k < 6: tile 1 x 1 vectors, blocks 8 x 64 x 6
      a[b, k] = v0, packed:
        v0 = load x[row(b), k] : f32
      b[k, n] = v1:
        v1 = load w[64*k + n] : f32
      for each b, n:
        v2 = sum over k of a * b : f32
        out[64*b + n] <- v2 : f32
}
)");
}

}  // namespace

TEST_CASE("random contractions mean the same with their axes split, moved and exchanged", "[passes][kernel_axes]") {
  int split = 0, moved = 0, swapped = 0, reordered = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomKernel random(seed);
    const std::string text = random.contraction();
    INFO(text);
    Program program = program_of(text);
    const Results before = run(program);
    Kernel& kernel = program.kernels[0];
    auto& contract = std::get<ContractKernel>(kernel.body);
    for (int64_t change = random.below(4); change >= 0; --change) {
      switch (random.below(4)) {
        case 3: {
          const size_t count = contract.axes.size();
          const std::vector<size_t> order = random.order_of(count, {contract.first_m(), contract.n_axis(), contract.n_axis() + 1, count});
          const std::vector<Axis> axes = contract.axes;
          reorder_axes(kernel, order);
          for (size_t place = 0; place < count; ++place) CHECK(contract.axes[place].name == axes[order[place]].name);
          reordered += !std::is_sorted(order.begin(), order.end());
          break;
        }
        case 0: {
          const size_t axis = size_t(random.below(int64_t(contract.axes.size())));
          const std::vector<Extent> parts = random.parts_of(contract.axes[axis].extent);
          const std::vector<size_t> places = split_axis(kernel, axis, parts);
          REQUIRE(places.size() == parts.size());
          for (size_t p = 0; p < parts.size(); ++p) CHECK(contract.axes[places[p]].extent == parts[p]);
          split += parts.size() > 1;
          break;
        }
        case 1:
          if (contract.m == 1) break;
          move_to_batch(kernel, contract.first_m());
          ++moved;
          break;
        case 2:
          if (contract.m > 1) break;
          swap_operands(kernel);
          ++swapped;
          break;
      }
      choose_tiles(program, contract);
      INFO(print_program(program, nullptr));
      check_same(program, before);
    }
  }
  CHECK(split > 50);
  CHECK(moved > 20);
  CHECK(swapped > 50);
  CHECK(reordered > 20);
}

TEST_CASE("random loop nests mean the same with their axes split and in another order", "[passes][kernel_axes]") {
  int split = 0, reordered = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomKernel random(seed);
    const std::string text = random.loop_nest();
    INFO(text);
    Program program = program_of(text);
    const Results before = run(program);
    for (int64_t change = random.below(3); change >= 0; --change) {
      const size_t axis = size_t(random.below(int64_t(axes_of(program.kernels[0]).size())));
      const std::vector<Extent> parts = random.parts_of(axes_of(program.kernels[0])[axis].extent);
      split_axis(program.kernels[0], axis, parts);
      split += parts.size() > 1;
      INFO(print_program(program, nullptr));
      check_same(program, before);
      auto& map = std::get<MapKernel>(program.kernels[0].body);
      const size_t count = map.axes.size(), outer = size_t(map.outer);
      const bool lanes_outer = map.vector_axis == map.outer - 1, lanes_inner = map.vector_axis == int(count) - 1;  // which stay
      const std::vector<size_t> order = random.order_of(count, {outer - (lanes_outer ? 1 : 0), outer, count - (lanes_inner ? 1 : 0)});
      reorder_axes(program.kernels[0], order);
      reordered += !std::is_sorted(order.begin(), order.end());
      INFO(print_program(program, nullptr));
      check_same(program, before);
    }
  }
  CHECK(split > 50);
  CHECK(reordered > 50);
}

TEST_CASE("of columns the leading parts are of the batch, lanes and indices taken together go to the last part", "[passes][kernel_axes]") {
  Program program = product();
  auto& contract = std::get<ContractKernel>(program.kernels[0].body);
  CHECK(split_axis(program.kernels[0], contract.n_axis(), {{4}, {16}}) == std::vector<size_t>{0, 2});
  CHECK(contract.batch == 1);
  CHECK(contract.axes[contract.n_axis()].extent == Extent{16});
  CHECK(contract.a.code[0].access.row_axis == 1);
  CHECK(contract.b.code[0].access.strides == std::vector<int64_t>{16, 0, 1, 64});
  CHECK(verify_program(program).empty());

  Program nest = program_of(R"(program @test {
  target any avx2, 2 rows planned
  arena 0 bytes, persistent 0 bytes

  output "out" : f32[2, 12, 8] slot 0

  kernel nest  # parallel
    for i < 2, j < 12 by 3, k < 8  (vector along k):
      v0 = index of j : i32
      v1 = cast(v0) : f32
      out[96*i + 8*j + k] <- v1 : f32
}
)");
  auto& map = std::get<MapKernel>(nest.kernels[0].body);
  CHECK(split_axis(nest.kernels[0], 1, {{2}, {6}}) == std::vector<size_t>{1, 2});
  CHECK(map.outer == 4);
  CHECK(map.vector_axis == 3);
  CHECK(map.axes[1].together == 1);
  CHECK(map.axes[2].together == 3);
  split_axis(nest.kernels[0], 3, {{1}, {8}});
  CHECK(map.vector_axis == 4);
  CHECK(verify_program(nest).empty());
}

TEST_CASE("limits go along with their axes", "[passes][kernel_axes][limits]") {
  Program program = program_of(R"(program @test {
  target any avx2, 1 row planned
  arena 0 bytes, persistent 1152 bytes

  persistent "x" : f32[4, 6, 12] at 0, 1152 bytes, frozen
  output "out" : f32[4, 6, 6] slot 0

  kernel product
    contract g < 4, q < 3; i < 2; e < 6 below 2*q + 2; k < 12: tile 1 x 1 vectors, blocks 2 x 6 x 12
      a[g, q, i, k] = v0, packed:
        v0 = load x[72*g + 24*q + 12*i + k] : f32
      b[g, q, k, e] = v1, packed:
        v1 = load x[72*g + 12*e + k] : f32
      for each g, q, i, e:
        v2 = sum over k of a * b : f32
        out[36*g + 12*q + 6*i + e] <- v2 : f32
}
)");
  Kernel& kernel = program.kernels[0];
  auto& contract = std::get<ContractKernel>(kernel.body);
  CHECK_THROWS(split_axis(kernel, 3, {{2}, {3}}));
  CHECK_THROWS(split_axis(kernel, 1, {{1}, {3}}));
  split_axis(kernel, 0, {{2}, {2}});
  CHECK(contract.axes[4].limit == Limit{2, 2, false});
  split_axis(kernel, 3, {{2}, {1}});
  CHECK(contract.axes[5].limit == Limit{2, 2, false});
  move_to_batch(kernel, 3);
  swap_operands(kernel);
  CHECK(contract.axes[contract.row_axis()].limit == Limit{2, 2, false});
  choose_tiles(program, contract);
  CHECK(verify_program(program).empty());
  const Results results = run(program);
  for (size_t t = 0; t < 6; ++t)
    for (size_t s = 0; s < 6; ++s) CHECK(std::isnan(results.outputs.at("out").values[36 + 6 * t + s]) == (s / 2 > t / 2));
}

TEST_CASE("what cannot be split, moved or exchanged is refused", "[passes][kernel_axes]") {
  auto refusal = [](auto change) -> std::string {
    Program program = product();
    try {
      change(program.kernels[0]);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "none";
  };
  CHECK_THAT(refusal([](Kernel& k) { split_axis(k, 0, {{1, true}, {1}}); }), contains("an axis by which rows or entries are looked up, or another one is limited, is split"));
  CHECK_THAT(refusal([](Kernel& k) { split_axis(k, 1, {{4}, {8}}); }), contains("parts are not the axis that they replace"));
  CHECK_THAT(refusal([](Kernel& k) { split_axis(k, 7, {{4}, {16}}); }), contains("an axis to split is none of the kernel"));
  CHECK_THAT(refusal([](Kernel& k) { move_to_batch(k, 0); }), contains("not the first of several of m"));
  CHECK_THAT(refusal([](Kernel& k) { reorder_axes(k, {0, 1}); }), contains("an order of other axes"));
  CHECK_THAT(refusal([](Kernel& k) { reorder_axes(k, {1, 0, 2}); }), contains("an axis changes what it is"));
  CHECK_THAT(refusal([](Kernel& k) { reorder_axes(k, {0, 1, 1}); }), contains("an axis changes what it is"));
  CHECK_THAT(refusal([](Kernel& k) { reorder_axes(k, {0, 1, 3}); }), contains("an axis changes what it is"));
  CHECK(refusal([](Kernel& k) { reorder_axes(k, {0, 1, 2}); }) == "none");
  CHECK_THAT(refusal([](Kernel& k) {
               MapKernel map;
               map.axes = {{"i", {2}}, {"j", {3}}};
               map.outer = 2;
               map.vector_axis = 1;
               k.body = map;
               reorder_axes(k, {1, 0});
             }),
             contains("lanes go along another axis"));
  CHECK_THAT(refusal([](Kernel& k) {
               auto& contract = std::get<ContractKernel>(k.body);
               Instruction& sum = contract.epilogue.emplace_back();
               sum.kind = Instruction::Kind::reduce;
               sum.op = Op::reduce_sum;
               swap_operands(k);
             }),
             contains("cannot change places"));
}
