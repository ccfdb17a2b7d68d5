// All three are a new numbering of the axes: from the old index of each axis follow accesses, indices as values and counts. Only a split does more, since an index is
// then a sum of parts: an address gets the part's multiple as its stride, and where code wants the number it is computed.
#include "passes/kernel_axes.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ir/kernel_code.h"

namespace nnc {
namespace {

using Kind = Instruction::Kind;

/// What has become of an axis: where its parts stand, and how far an index moves with each.
struct Part {
  size_t axis;
  int64_t step;
};
using Renumbering = std::vector<std::vector<Part>>;  ///< by old axis

int whole(const Renumbering& axes, int axis) {
  if (axis < 0) return axis;
  const std::vector<Part>& parts = axes[size_t(axis)];
  NNC_CHECK(parts.size() == 1, "an axis by which rows or entries are looked up, or another one is limited, is split");
  return int(parts[0].axis);
}

/// Instructions that compute the index of an axis of parts, the last one as `index.id`.
std::vector<Instruction> sum_of_parts(const Instruction& index, const std::vector<Part>& parts, int& next_id) {
  std::vector<Instruction> code;
  auto add = [&](Kind kind, int id) -> Instruction& {
    Instruction& i = code.emplace_back();
    i.kind = kind;
    i.id = id;
    i.dtype = index_type;
    i.node = index.node;
    return i;
  };
  auto compute = [&](Op op, int x, int y, int id) {
    Instruction& i = add(Kind::compute, id);
    i.op = op;
    i.operands = {x, y};
    return id;
  };
  int sum = -1;
  for (size_t p = 0; p < parts.size(); ++p) {
    const bool last = p + 1 == parts.size();
    int term = last && sum < 0 ? index.id : next_id++;
    add(Kind::axis_index, term).axis = int(parts[p].axis);
    if (parts[p].step != 1) {
      const int step = next_id++;
      add(Kind::constant, step).number = Number(parts[p].step);
      term = compute(Op::mul, term, step, next_id++);
    }
    sum = sum < 0 ? term : compute(Op::add, sum, term, last ? index.id : next_id++);
  }
  return code;
}

/// Every instruction, told of axes by their new numbers, of which there are `count`.
void renumber(Kernel& kernel, const Renumbering& axes, size_t count) {
  int next_id = 0;
  for_each_instruction(kernel, [&](const Instruction& i) { next_id = std::max(next_id, i.id + 1); });
  auto rewrite = [&](std::vector<Instruction>& code) {
    std::vector<Instruction> out;
    for (Instruction& i : code) {
      if (has_place(i)) {
        std::vector<int64_t> strides(count, 0);
        for (size_t axis = 0; axis < i.access.strides.size(); ++axis)
          for (const Part& part : axes[axis]) strides[part.axis] = i.access.strides[axis] * part.step;
        i.access.strides = std::move(strides);
        i.access.row_axis = whole(axes, i.access.row_axis);
      }
      if (i.kind == Kind::axis_index && axes[size_t(i.axis)].size() > 1) {
        for (Instruction& part : sum_of_parts(i, axes[size_t(i.axis)], next_id)) out.push_back(std::move(part));
        continue;
      }
      i.axis = whole(axes, i.axis);
      out.push_back(std::move(i));
    }
    code = std::move(out);
  };
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
    for (Block& block : map->blocks) rewrite(block.code);
  } else {
    auto& contract = std::get<ContractKernel>(kernel.body);
    for (std::vector<Instruction>* code : {&contract.a.code, &contract.b.code, &contract.epilogue, &contract.after_rows}) rewrite(*code);
  }
}

bool reduces(const std::vector<Instruction>& code, auto wanted) {
  return std::any_of(code.begin(), code.end(), [&](const Instruction& i) { return i.kind == Kind::reduce && wanted(i); });
}
bool sums_rows(const ContractKernel& contract) {
  return reduces(contract.epilogue, [](const Instruction&) { return true; });
}

/// "bc" of 3 parts: b, c and c2; a name is for reading, and unique.
std::vector<std::string> names_of(const std::vector<Axis>& axes, const std::string& name, size_t count) {
  std::vector<std::string> names;
  auto taken = [&](const std::string& candidate) {
    const bool other = std::any_of(axes.begin(), axes.end(), [&](const Axis& a) { return a.name == candidate && a.name != name; });
    return other || std::find(names.begin(), names.end(), candidate) != names.end();
  };
  for (size_t part = 0; part < count; ++part) {
    const std::string wanted = name.size() == count ? name.substr(part, 1) : name;
    std::string unique = wanted;
    for (int number = 2; taken(unique); ++number) unique = wanted + std::to_string(number);
    names.push_back(unique);
  }
  return names;
}

}  // namespace

std::vector<size_t> split_axis(Kernel& kernel, size_t axis, const std::vector<Extent>& parts) {
  std::vector<Axis>& axes = axes_of(kernel);
  NNC_CHECK(axis < axes.size() && !parts.empty(), "an axis to split is none of the kernel");
  auto* map = std::get_if<MapKernel>(&kernel.body);
  auto* contract = std::get_if<ContractKernel>(&kernel.body);

  const std::vector<std::string> names = names_of(axes, axes[axis].name, parts.size());
  std::vector<Axis> replaced;
  for (size_t p = 0; p < parts.size(); ++p) replaced.push_back({names[p], parts[p]});
  NNC_CHECK(parts.size() == 1 || axes[axis].limit == Limit{}, "an axis with a limit is split");
  replaced.back().limit = axes[axis].limit;
  NNC_CHECK(joint_extent(replaced, 0, replaced.size()) == axes[axis].extent, "parts are not the axis that they replace");
  replaced.back().together = std::min(axes[axis].together, std::max<int64_t>(parts.back().size, 1));
  for (size_t p = 1; p < parts.size(); ++p) NNC_CHECK(!parts[p].rows, "rows are not the first part of an axis");
  if (map && axis >= size_t(map->outer) && parts.size() > 1)
    for (const Block& block : map->blocks) NNC_CHECK(!reduces(block.code, [](const Instruction& i) { return i.op == Op::argmax; }), "the axis of an argmax is split");
  if (contract && axis == contract->row_axis() && parts.size() > 1) NNC_CHECK(!sums_rows(*contract), "rows that are summed over are split");

  // Old axes in their new order, the parts of one together or, of n, around the axes of m.
  const size_t leading = parts.size() - 1;
  const bool columns = contract && axis == contract->n_axis();
  std::vector<Axis> after;
  Renumbering numbers(axes.size());
  std::vector<size_t> places;
  auto add_parts = [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      places.push_back(after.size());
      numbers[axis].push_back({after.size(), joint_extent(replaced, p + 1, parts.size()).size});
      after.push_back(replaced[p]);
    }
  };
  for (size_t old = 0; old < axes.size(); ++old) {
    if (columns && old == contract->first_m()) add_parts(0, leading);
    if (old == axis) {
      add_parts(columns ? leading : 0, parts.size());
    } else {
      numbers[old].push_back({after.size(), 1});
      after.push_back(axes[old]);
    }
  }

  for (Axis& other : after) other.limit.axis = whole(numbers, other.limit.axis);
  renumber(kernel, numbers, after.size());
  if (map) {
    if (map->vector_axis >= 0) map->vector_axis = int(numbers[size_t(map->vector_axis)].back().axis);
    if (axis < size_t(map->outer)) map->outer += int(leading);
  } else if (columns || axis < contract->first_m()) {
    contract->batch += int(leading);
  } else if (axis < contract->n_axis()) {
    contract->m += int(leading);
  }
  axes = std::move(after);
  return places;
}

void move_to_batch(Kernel& kernel, size_t axis) {
  auto& contract = std::get<ContractKernel>(kernel.body);
  NNC_CHECK(axis == contract.first_m() && contract.m > 1, "an axis that is not the first of several of m cannot be of the batch");
  ++contract.batch;
  --contract.m;
}

void reorder_axes(Kernel& kernel, const std::vector<size_t>& order) {
  std::vector<Axis>& axes = axes_of(kernel);
  NNC_CHECK(order.size() == axes.size(), "an order of other axes");
  auto kind = [&](size_t axis) {
    if (auto* map = std::get_if<MapKernel>(&kernel.body)) return int(axis >= size_t(map->outer));
    const auto& contract = std::get<ContractKernel>(kernel.body);
    return int(axis >= contract.first_m()) + int(axis >= contract.n_axis()) + int(axis >= contract.first_k());
  };
  std::vector<Axis> after;
  Renumbering numbers(axes.size());
  for (size_t place = 0; place < order.size(); ++place) {
    NNC_CHECK(order[place] < axes.size() && numbers[order[place]].empty() && kind(order[place]) == kind(place), "an axis changes what it is");
    numbers[order[place]].push_back({place, 1});
    after.push_back(axes[order[place]]);
  }
  if (auto* map = std::get_if<MapKernel>(&kernel.body); map && map->vector_axis >= 0)
    NNC_CHECK(order[size_t(map->vector_axis)] == size_t(map->vector_axis), "lanes go along another axis");
  for (Axis& axis : after) axis.limit.axis = whole(numbers, axis.limit.axis);
  axes = std::move(after);
  renumber(kernel, numbers, order.size());
}

void swap_operands(Kernel& kernel) {
  auto& contract = std::get<ContractKernel>(kernel.body);
  NNC_CHECK(contract.m == 1 && !sums_rows(contract), "operands of several axes of m, or with sums over rows, cannot change places");
  const size_t m = contract.row_axis(), n = contract.n_axis();
  Renumbering numbers(contract.axes.size());
  for (size_t axis = 0; axis < numbers.size(); ++axis) numbers[axis].push_back({axis == m ? n : axis == n ? m : axis, 1});
  renumber(kernel, numbers, numbers.size());
  std::swap(contract.axes[m], contract.axes[n]);
  std::swap(contract.a, contract.b);
}

}  // namespace nnc
