// Order of kernels. Dependencies follow from what kernels load and store: a temporary is read after it was written, a persistent is overwritten after
// everybody else has read it. Among kernels that may run, the one that comes first in group order does, which puts a layer's update
// right beside its gradient. If overwriting in place would need a cycle, the new value goes to a temporary and is copied at the end.
#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "passes/lower.h"

namespace nnc {
namespace {

// Below this much work, waking other threads costs more than it saves.
constexpr double parallel_flops = 400e3;
constexpr double parallel_bytes = 512e3;

struct Footprint {
  std::set<BufferId> reads, writes;
};

Footprint footprint(const Kernel& kernel) {
  Footprint result;
  for_each_access(kernel, [&](const Instruction& i) {
    if (reads_memory(i)) result.reads.insert(i.access.buffer);
    if (writes_memory(i)) result.writes.insert(i.access.buffer);
  });
  return result;
}

}  // namespace

void schedule(Program& program) {
  size_t n = program.kernels.size();
  std::vector<Footprint> prints;
  for (const Kernel& k : program.kernels) prints.push_back(footprint(k));
  std::map<BufferId, std::vector<size_t>> readers, writers;
  for (size_t i = 0; i < n; ++i) {
    for (BufferId b : prints[i].reads) readers[b].push_back(i);
    for (BufferId b : prints[i].writes) writers[b].push_back(i);
  }
  std::vector<std::set<size_t>> after(n);  // kernels that must come later
  for (auto& [buffer, writing] : writers) {
    for (size_t w = 0; w + 1 < writing.size(); ++w) after[writing[w]].insert(writing[w + 1]);
    for (size_t r : readers[buffer]) {
      if (std::find(writing.begin(), writing.end(), r) != writing.end()) continue;
      for (size_t w : writing) {
        if (program[buffer].kind == BufferKind::persistent) after[r].insert(w);
        else after[w].insert(r);
      }
    }
  }
  std::vector<int> waiting(n, 0);
  for (size_t i = 0; i < n; ++i)
    for (size_t j : after[i]) ++waiting[j];
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < n; ++i)
    if (waiting[i] == 0) ready.push(i);
  std::vector<size_t> order;
  while (!ready.empty()) {
    size_t i = ready.top();
    ready.pop();
    order.push_back(i);
    for (size_t j : after[i])
      if (--waiting[j] == 0) ready.push(j);
  }
  NNC_CHECK(order.size() == n, "the kernels' dependencies have a cycle");
  std::vector<Kernel> kernels;
  for (size_t i : order) kernels.push_back(std::move(program.kernels[i]));
  program.kernels = std::move(kernels);

  // Threads and barriers.
  std::set<BufferId> read, written;  // since the last barrier
  bool parallel_before = false;
  for (size_t k = 0; k < n; ++k) {
    Kernel& kernel = program.kernels[k];
    const Footprint& print = prints[order[k]];
    auto* map = std::get_if<MapKernel>(&kernel.body);
    bool enough = map ? kernel.bytes >= parallel_bytes || kernel.flops >= parallel_flops : kernel.flops >= parallel_flops;
    kernel.parallel = enough && !(map && map->serial);
    bool conflict = false;
    for (BufferId b : print.reads) conflict = conflict || written.count(b);
    for (BufferId b : print.writes) conflict = conflict || written.count(b) || read.count(b);
    // Thread 0 does serial kernels in order by itself; two parallel kernels share the ticket.
    kernel.barrier_before = (kernel.parallel && parallel_before) || (conflict && (kernel.parallel || parallel_before));
    if (kernel.barrier_before) {
      read.clear();
      written.clear();
      parallel_before = false;
    }
    read.insert(print.reads.begin(), print.reads.end());
    written.insert(print.writes.begin(), print.writes.end());
    parallel_before = parallel_before || kernel.parallel;
  }
}

}  // namespace nnc
