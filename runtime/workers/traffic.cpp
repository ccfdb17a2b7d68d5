// The arithmetic of exchange_messages.cpp and publish.cpp without their messages. In shared memory the same bytes are read where they lie.
#include "runtime/workers/traffic.h"

#include <algorithm>
#include <bit>

#include "runtime/workers/exchange_plan.h"

namespace nnc {
namespace {

bool is_small(const SharedArray& array) { return array.whole && size_t(array.bytes()) <= small_item; }

int64_t range_bytes(const SharedArray& array, int worker) { return (array.begins[size_t(worker) + 1] - array.begins[size_t(worker)]) * array.element_bytes; }

}  // namespace

std::vector<int64_t> even_ranges(int64_t elements, int workers) {
  std::vector<int64_t> begins;
  for (int w = 0; w <= workers; ++w) begins.push_back(elements * w / workers);
  return begins;
}

Traffic exchange_traffic(const SharedArray& array, const std::vector<std::vector<SumNode>>& nodes, int worker) {
  const int workers = int(nodes.size());
  const int64_t own = int64_t(nodes[size_t(worker)].size());
  Traffic t;
  for (int other = 0; other < workers; ++other) {
    if (other == worker) continue;
    const int64_t theirs = int64_t(nodes[size_t(other)].size());
    t += is_small(array) ? Traffic{own * array.bytes(), theirs * array.bytes()} : Traffic{own * range_bytes(array, other), theirs * range_bytes(array, worker)};
  }
  if (array.whole && !is_small(array)) t += publish_traffic(array, worker);
  return t;
}

int exchange_rounds(const std::vector<SharedArray>& arrays) {
  if (arrays.empty()) return 0;
  return std::ranges::any_of(arrays, [](const SharedArray& a) { return a.whole && !is_small(a); }) ? 2 : 1;
}

Traffic publish_traffic(const SharedArray& array, int worker) {
  const int64_t workers = int64_t(array.begins.size()) - 1, own = range_bytes(array, worker);
  return {own * (workers - 1), array.bytes() - own};
}

size_t most_waiting(const std::vector<SumNode>& shares) {
  std::vector<SumNode> waiting;
  size_t most = 0;
  for (SumNode node : shares) {
    most = std::max(most, waiting.size());
    for (; !waiting.empty() && waiting.back().level == node.level && waiting.back().first % (2 * node.count()) == 0; ++node.level) {
      node.first = waiting.back().first;
      waiting.pop_back();
    }
    waiting.push_back(node);
  }
  return most;
}

double direct_seconds(const Network& network, int workers, int rounds, Traffic busiest) {
  return rounds * (workers - 1) * network.latency + double(std::max(busiest.sent, busiest.received)) / network.bandwidth;
}

double ring_seconds(const Network& network, int workers, int64_t bytes) { return 2 * (workers - 1) * (network.latency + double(bytes) / workers / network.bandwidth); }

double tree_seconds(const Network& network, int workers, int64_t bytes) {
  return 2 * std::bit_width(unsigned(workers - 1)) * (network.latency + double(bytes) / network.bandwidth);
}

}  // namespace nnc
