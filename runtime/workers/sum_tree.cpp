// The tree is worked out once, on node numbers alone, as a list of joins of two operands; joining arrays then follows the list, a block of elements at a time, so that partial
// results of a block stay in the first-level cache.
#include "runtime/workers/sum_tree.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "base/check.h"

namespace nnc {

std::vector<SumNode> nodes_of(int64_t begin, int64_t end) {
  std::vector<SumNode> nodes;
  for (int64_t at = begin; at < end;) {
    int level = int(std::bit_width(uint64_t(end - at))) - 1;
    if (at > 0) level = std::min(level, std::countr_zero(uint64_t(at)));
    nodes.push_back({at, level});
    at += int64_t(1) << level;
  }
  return nodes;
}

PieceRun run_of(int worker, int workers, int64_t pieces) {
  int64_t each = pieces / workers, more = pieces % workers;  // the first `more` workers have one more
  auto begin = [&](int64_t w) { return w * each + std::min<int64_t>(w, more); };
  return {begin(worker), begin(worker + 1)};
}

std::vector<std::vector<SumNode>> nodes_of_workers(int workers, int64_t pieces) {
  std::vector<std::vector<SumNode>> nodes;
  for (int w = 0; w < workers; ++w) {
    PieceRun run = run_of(w, workers, pieces);
    nodes.push_back(nodes_of(run.begin, run.end));
  }
  return nodes;
}

SumTree::SumTree(const std::vector<std::vector<SumNode>>& nodes) {
  struct Part {
    SumNode node;
    Source source;
  };
  std::vector<Part> parts;
  for (size_t rank = 0; rank < nodes.size(); ++rank)
    for (size_t i = 0; i < nodes[rank].size(); ++i) parts.push_back({nodes[rank][i], {int(rank), int(i)}});
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.node.first < b.node.first; });
  NNC_CHECK(!parts.empty(), "a sum over no pieces");

  // The counter: what waits, the largest first. Partial results stand in the place of their height in it.
  struct Waiting {
    SumNode node;
    int operand;
  };
  std::vector<Waiting> waiting;
  auto join_last = [&](bool aligned) {
    Waiting right = waiting.back(), left = waiting[waiting.size() - 2];
    waiting.resize(waiting.size() - 2);
    int place = int(waiting.size());
    temporaries_ = std::max(temporaries_, place + 1);
    steps_.push_back({left.operand, right.operand, -1 - place});
    waiting.push_back({{left.node.first, aligned ? left.node.level + 1 : left.node.level}, -1 - place});
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    const SumNode& node = parts[i].node;
    NNC_CHECK(node.first == pieces_ && node.first % node.count() == 0, "nodes leave out a piece, hold one twice, or are not aligned");
    pieces_ = node.end();
    sources_.push_back(parts[i].source);
    waiting.push_back({node, int(i)});
    while (waiting.size() > 1) {
      const SumNode &left = waiting[waiting.size() - 2].node, &right = waiting.back().node;
      if (left.level != right.level || left.first % (2 * left.count()) != 0) break;
      join_last(true);
    }
  }
  while (waiting.size() > 1) join_last(false);
}

namespace {

template <class T>
struct Sum {
  [[gnu::always_inline]] static T join(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a + b;
    } else {
      using Unsigned = std::make_unsigned_t<T>;  // wraps around
      return T(Unsigned(a) + Unsigned(b));
    }
  }
};
template <class T>
struct Largest {
  [[gnu::always_inline]] static T join(T a, T b) { return ((a > b) | (a != a)) ? a : b; }
};
template <class T>
struct Smallest {
  [[gnu::always_inline]] static T join(T a, T b) { return ((a < b) | (a != a)) ? a : b; }
};

// `to` may be a or b; the loop carries nothing.
#if defined(__clang__)
#define NNC_EACH_ALONE _Pragma("clang loop vectorize(assume_safety) interleave(enable)")
#else
#define NNC_EACH_ALONE _Pragma("GCC ivdep")
#endif

template <class T, template <class> class How>
void join_plainly(const void* left, const void* right, void* result, int64_t n) {
  const T *a = static_cast<const T*>(left), *b = static_cast<const T*>(right);
  T* to = static_cast<T*>(result);
  NNC_EACH_ALONE
  for (int64_t i = 0; i < n; ++i) to[i] = How<T>::join(a[i], b[i]);
}

using JoinFunction = void (*)(const void*, const void*, void*, int64_t);

#if defined(__x86_64__)
template <class T, template <class> class How>
[[gnu::target("avx2")]] void join_wide(const void* left, const void* right, void* result, int64_t n) {
  const T *a = static_cast<const T*>(left), *b = static_cast<const T*>(right);
  T* to = static_cast<T*>(result);
  NNC_EACH_ALONE
  for (int64_t i = 0; i < n; ++i) to[i] = How<T>::join(a[i], b[i]);
}

template <class T, template <class> class How>
JoinFunction fitting() {
  return __builtin_cpu_supports("avx2") ? join_wide<T, How> : join_plainly<T, How>;
}
#else
template <class T, template <class> class How>
JoinFunction fitting() {
  return join_plainly<T, How>;
}
#endif

template <class T>
JoinFunction join_function(Combine combine) {
  switch (combine) {
    case Combine::sum: return fitting<T, Sum>();
    case Combine::max: return fitting<T, Largest>();
    case Combine::min: return fitting<T, Smallest>();
    default: break;
  }
  NNC_UNREACHABLE("combination");
}

JoinFunction join_function(DType type, Combine combine) {
  switch (type) {
    case DType::f32: return join_function<float>(combine);
    case DType::f64: return join_function<double>(combine);
    case DType::i32: return join_function<int32_t>(combine);
    case DType::i64: return join_function<int64_t>(combine);
    default: NNC_UNREACHABLE("no sums of this type");
  }
}

constexpr size_t block_bytes = 4096;  // of one partial result

}  // namespace

void join_parts(DType type, Combine combine, const std::byte* left, const std::byte* right, int64_t elements, std::byte* result) {
  join_function(type, combine)(left, right, result, elements);
}

void SumTree::join(DType type, Combine combine, std::span<const std::byte* const> parts, int64_t elements, std::byte* total) const {
  NNC_CHECK(parts.size() == sources_.size(), "a part for each node");
  const size_t size = byte_size(type);
  if (steps_.empty()) {
    if (total != parts[0]) std::copy_n(parts[0], size_t(elements) * size, total);
    return;
  }
  JoinFunction join_two = join_function(type, combine);
  if (steps_.size() == 1) return join_two(parts[size_t(steps_[0].left)], parts[size_t(steps_[0].right)], total, elements);
  struct alignas(64) Block {
    std::byte bytes[block_bytes];
  };
  std::vector<Block> partial{size_t(temporaries_)};
  const int64_t block = int64_t(block_bytes / size);
  for (int64_t from = 0; from < elements; from += block) {
    const int64_t count = std::min(block, elements - from);
    auto operand = [&](int number) { return number >= 0 ? parts[size_t(number)] + size_t(from) * size : partial[size_t(-1 - number)].bytes; };
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = steps_[i];
      std::byte* to = i + 1 == steps_.size() ? total + size_t(from) * size : partial[size_t(-1 - step.to)].bytes;
      join_two(operand(step.left), operand(step.right), to, count);
    }
  }
}

}  // namespace nnc
