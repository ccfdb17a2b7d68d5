// A network of many equal layers has the same kernels over and over, at other places. What takes time is LLVM, so each of them is compiled once: as a function
// of its places, which stand in a table of constants beside the step's table of kernels. A kernel that is alone of its kind keeps its places in its code.
//
// The key by which kernels are equal is the kernel itself, stripped of what its code does not depend on (names, spans, graph nodes, the barrier before it) and
// with its places replaced by their numbers in the order of first use. Everything else of it counts, whatever fields a kernel may get, because the comparison
// is the one that the compiler writes. Beside it the key has what code depends on elsewhere in the program:
//   buffers     kind, element type, shape, order, how slots move; a literal's numbers, since they are code
//   aliases     which of the buffers may be one memory (alias_groups), because loads and stores of all others change their order
//   constants   bit for bit: to `==` zeros of both signs are one number, and NaN is none
// Sizes with rows are planned for one number of rows in a program, and target and mode (sanitizers) are those of the program, so they are not in the key.
//
// Not in the key, and hence arguments: the offsets of persistents, temporaries, scalars and results, the numbers of fields and outputs, the sites of draws. What
// follows from the context at run time anyway (base pointers, strides of rows) is read there as ever. No code relies on an offset: a base pointer promises the
// alignment of its elements and no more, in a shared kernel and outside of one.
#include "codegen/sharing.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/philox.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "runtime/step_abi.h"

namespace nnc {
namespace {

bool may_overlap(const Program& program, BufferId first, BufferId second) {
  const Buffer &a = program[first], &b = program[second];
  if (a.kind != b.kind || a.kind == BufferKind::literal) return false;
  // Slots that move alike are apart in each round if they are in the first one.
  if (memory_of(program, first) == memory_of(program, second) && a.slot.per_round != b.slot.per_round) return true;
  if (a.kind == BufferKind::field) return a.field == b.field;
  if (a.kind == BufferKind::output) return a.offset == b.offset;
  return a.offset < b.offset + std::max<int64_t>(b.bytes, 1) && b.offset < a.offset + std::max<int64_t>(a.bytes, 1);
}

template <class T>
size_t number_of(const std::vector<T>& all, const T& one) {
  return size_t(std::find(all.begin(), all.end(), one) - all.begin());
}

/// visit(code) for every list of instructions of a kernel, to be changed.
template <class Visit>
void for_each_code(Kernel& kernel, Visit visit) {
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
    for (Block& b : map->blocks) visit(b.code);
  } else {
    auto& c = std::get<ContractKernel>(kernel.body);
    visit(c.a.code);
    visit(c.b.code);
    visit(c.epilogue);
    visit(c.after_rows);
  }
}

using NumberBits = std::pair<uint64_t, int64_t>;
NumberBits bits_of(Number n) { return {std::bit_cast<uint64_t>(double(n)), n.rest()}; }

struct Key {
  Kernel kernel;
  std::vector<Buffer> buffers;
  std::vector<size_t> groups;
  std::vector<NumberBits> numbers;
  int round_axes = 0;  ///< of a map kernel, whose pieces are the rounds of a parallel region
  bool operator==(const Key&) const = default;
};

Key key_of(const Program& program, const Kernel& original) {
  Key key;
  if (std::holds_alternative<MapKernel>(original.body)) key.round_axes = round_axes(program, size_t(&original - program.kernels.data()));
  const KernelPlaces places = find_places(original);
  auto take = [&](Number& n) { key.numbers.push_back(bits_of(std::exchange(n, Number()))); };
  Kernel& kernel = key.kernel = original;
  kernel.name.clear();
  kernel.scope.clear();
  kernel.span = {};
  kernel.nodes.clear();
  kernel.barrier_before = false;
  auto& axes = std::holds_alternative<MapKernel>(kernel.body) ? std::get<MapKernel>(kernel.body).axes : std::get<ContractKernel>(kernel.body).axes;
  for (Axis& axis : axes) axis.name.clear();
  for_each_code(kernel, [&](std::vector<Instruction>& code) {
    for (Instruction& i : code) {
      i.node = {};
      take(i.number);
      if (i.access.buffer.valid()) i.access.buffer.value = uint32_t(number_of(places.buffers, i.access.buffer));
      if (!i.site.empty()) i.site = std::to_string(number_of(places.sites, i.site));
    }
  });
  for (BufferId id : places.buffers) {
    Buffer& buffer = key.buffers.emplace_back(program[id]);
    buffer.name.clear();
    buffer.span = {};
    buffer.node = {};
    buffer.offset = 0;
    buffer.field = 0;
    if (buffer.kind == BufferKind::temporary || buffer.kind == BufferKind::persistent) buffer.slot.first = 0;  // said by its place
    if (buffer.kind == BufferKind::literal && buffer.slot.valid()) buffer.values = program[buffer.slot.of].values;
    buffer.slot.of = {};
    for (Number& n : buffer.values) take(n);
  }
  key.groups = alias_groups(program, places.buffers);
  return key;
}

}  // namespace

KernelPlaces find_places(const Kernel& kernel) {
  KernelPlaces places;
  auto add = [](auto& all, const auto& one) {
    if (number_of(all, one) == all.size()) all.push_back(one);
  };
  for_each_instruction(kernel, [&](const Instruction& i) {
    if (i.access.buffer.valid()) add(places.buffers, i.access.buffer);
    if (!i.site.empty()) add(places.sites, i.site);
  });
  return places;
}

std::vector<size_t> alias_groups(const Program& program, const std::vector<BufferId>& buffers) {
  std::vector<size_t> group(buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    group[i] = i;
    for (size_t j = 0; j < i; ++j) {
      if (!may_overlap(program, buffers[i], buffers[j])) continue;
      const auto [to, from] = std::minmax(group[i], group[j]);
      std::replace(group.begin(), group.begin() + std::ptrdiff_t(i) + 1, size_t(from), size_t(to));
    }
  }
  return group;
}

int64_t buffer_place(const Program& program, const Buffer& buffer) {
  switch (buffer.kind) {
    case BufferKind::persistent:
    case BufferKind::temporary:
    case BufferKind::scalars:
    case BufferKind::results:
      return buffer.offset;
    case BufferKind::local:
      return buffer.offset - program.local_bytes;
    case BufferKind::output:
      return buffer.offset * int64_t(sizeof(void*));
    case BufferKind::field:
      return int64_t(buffer.field * sizeof(NncField));
    case BufferKind::literal:
      return 0;
  }
  NNC_UNREACHABLE("buffer kind");
}

int64_t site_place(const std::string& site) { return int64_t(stable_hash(site)); }

std::vector<int64_t> place_table(const Program& program, const Kernel& kernel) {
  const KernelPlaces places = find_places(kernel);
  std::vector<int64_t> table;
  for (BufferId id : places.buffers) table.push_back(buffer_place(program, program[id]));
  for (const std::string& site : places.sites) table.push_back(site_place(site));
  return table;
}

KernelSharing share_kernels(const Program& program) {
  KernelSharing sharing;
  std::vector<Key> keys;  // of the functions
  std::map<std::tuple<size_t, size_t, double, double>, std::vector<size_t>> alike;  // functions by what is quickly told apart
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    Key key = key_of(program, program.kernels[k]);
    auto& candidates = alike[{key.buffers.size(), key.numbers.size(), key.kernel.flops, key.kernel.bytes}];
    auto found = std::find_if(candidates.begin(), candidates.end(), [&](size_t f) { return keys[f] == key; });
    if (found != candidates.end()) {
      sharing.function_of.push_back(*found);
      ++sharing.functions[*found].uses;
      continue;
    }
    candidates.push_back(sharing.functions.size());
    sharing.function_of.push_back(sharing.functions.size());
    sharing.functions.push_back({k, 1});
    keys.push_back(std::move(key));
  }
  return sharing;
}

KernelSharing separate_kernels(const Program& program) {
  KernelSharing sharing;
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    sharing.function_of.push_back(k);
    sharing.functions.push_back({k, 1});
  }
  return sharing;
}

}  // namespace nnc
