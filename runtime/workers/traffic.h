// What goes between the workers of a run in one step, counted, and how long it takes by a model of two numbers: for whoever shows or predicts it. Nothing here moves a byte; exchange*.cpp and publish.cpp do.
//
// The model (R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2", Parallel Computing 20, 1994): a message of n bytes takes latency + n / bandwidth. A worker sends one message
// at a time and receives another meanwhile. Beside nnc's own way stand two all-reduces as R. Thakur, R. Rabenseifner and W. Gropp count them ("Optimization of collective communication operations in
// MPICH", IJHPCA 19, 2005); what they give depends on the number of workers in its last bits.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/workers/sum_tree.h"

namespace nnc {

/// An array of which workers have parts that are exchanged (ExchangeItem), or of which each has its own range and publishes it (PublishRange).
struct SharedArray {
  int64_t elements = 0, element_bytes = 0;
  std::vector<int64_t> begins;  ///< elements [begins[w], begins[w + 1]) are worker w's
  bool whole = false;           ///< of a sum: every worker needs all of it
  int64_t bytes() const { return elements * element_bytes; }
};

/// Bytes of one worker.
struct Traffic {
  int64_t sent = 0, received = 0;
  Traffic& operator+=(const Traffic& other) {
    sent += other.sent, received += other.received;
    return *this;
  }
  bool operator==(const Traffic&) const = default;
};

/// Owners' ranges where nobody has said otherwise: as equal as can be.
std::vector<int64_t> even_ranges(int64_t elements, int workers);

/// What exchanging the array costs this worker. `nodes`: those of every worker, by rank.
Traffic exchange_traffic(const SharedArray&, const std::vector<std::vector<SumNode>>& nodes, int worker);
/// In how many rounds of messages: parts to their owners, and sums from there to everybody where they are wanted whole and are not small.
int exchange_rounds(const std::vector<SharedArray>&);
Traffic publish_traffic(const SharedArray&, int worker);

/// Parts of sums that a worker has to keep while it computes these shares in their order, beside the one that it is at.
size_t most_waiting(const std::vector<SumNode>& shares);

struct Network {
  double latency = 0;    ///< seconds of a message, however short
  double bandwidth = 1;  ///< bytes a second that a worker sends, and at the same time receives, while all others do
};

/// So many rounds of messages from every worker to every other.
double direct_seconds(const Network&, int workers, int rounds, Traffic busiest);
/// An all-reduce of so many bytes around a ring: 2 (N - 1) messages of the N-th part.
double ring_seconds(const Network&, int workers, int64_t bytes);
/// ... up a binary tree and down again: 2 log2 N messages of all of it.
double tree_seconds(const Network&, int workers, int64_t bytes);

}  // namespace nnc
