// What the shares of a training step hand on to one another: sums of which each has a part, and the new values that their owners publish. The shares are those of several workers, or the batches that make up a
// whole one. What `nnc summary --workers`, `nnc explain` and `nnc plan` say of it is read off the step's graphs and programs here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compilation.h"
#include "engine/step.h"
#include "runtime/workers/traffic.h"

namespace nnc {

/// What a sum over rows is needed for; sum_use_name: a word for tools.
enum class SumUse : uint8_t {
  rows,      ///< rows read it: the step goes on when it is whole
  gradient,  ///< of a parameter
  updates,   ///< updates of several parameters or states are made of it
  result,    ///< the loss, reports
};
std::string_view sum_use_name(SumUse);

struct ExchangedSum {
  std::string name;       ///< of the persistent that holds it: "partial.3"
  SumUse use = SumUse::result;
  std::string parameter;  ///< of a gradient: whose
  Type type;
  Span span;
  size_t stage = 0;       ///< that gives parts of it
  SharedArray array;      ///< of one worker, one range
};

/// A parameter or state that its owners update.
struct OwnedArray {
  std::string name;
  PersistentKind kind = PersistentKind::parameter;
  SharedArray array;
  bool is_published = true;  ///< else its owners alone have what is theirs
};

struct StepExchanges {
  int workers = 1;
  int64_t batches = 1;  ///< that make up a whole one
  int64_t pieces = 1;   ///< of the whole batch
  std::vector<ExchangedSum> sums;  ///< by stage and use
  std::vector<OwnedArray> owned;
  std::vector<SharedArray> handed;  ///< rows that stand for sums by entries of a table, each worker its own for everybody
  std::vector<std::vector<SumNode>> nodes;  ///< of the whole batch, by worker
  std::vector<int64_t> rows;                ///< likewise
  int busiest = 0;                          ///< the first worker with the most pieces
  int stops = 0;                            ///< in mid-stage, for sums that rows of the stage read
  size_t share_stages = 0;                  ///< after each of which sums are exchanged

  /// Sums of one stage, as exchanges have them.
  std::vector<SharedArray> sums_of(size_t stage) const;
  std::vector<SharedArray> published() const;
  /// Bytes of the worker that sends most and of the one that receives most.
  Traffic busiest_exchange(const std::vector<SharedArray>&) const;
  Traffic busiest_publish(const std::vector<SharedArray>&) const;
};

/// The first worker that has the most pieces of a whole batch.
int busiest_worker(const BatchPlan&, int workers);
/// Of a step that the graphs and programs were made for; no sums where it is one program.
StepExchanges find_exchanges(const TrainingGraphs&, const StepPrograms&, int workers);

/// Bytes of memory that a worker's step takes.
struct WorkerMemory {
  int64_t parameters = 0;  ///< and layer states
  int64_t optimizer = 0;
  int64_t partials = 0;    ///< parts of sums, those that wait for others among them
  int64_t arena = 0, local = 0;  ///< `local`: of each thread
  int64_t all(int threads) const { return parameters + optimizer + partials + arena + local * threads; }
};
WorkerMemory worker_memory(const StepPrograms&, const StepExchanges&);

}  // namespace nnc
