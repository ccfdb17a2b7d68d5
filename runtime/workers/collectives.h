// What training asks of its workers. Every call is collective: all workers make the same calls, in the same order, with the same sizes. All may throw WorkerLost.
//
//   Collectives together(*transport);
//   Exchange gradients(together, items, nodes_of_workers(transport->size(), pieces));   // once
//   gradients.start(); ...other kernels, together.progress()...; gradients.finish();    // every step
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "runtime/workers/sum_tree.h"
#include "runtime/workers/transport.h"

namespace nnc {

/// Something on its way between start and finish.
class OnItsWay {
 public:
  virtual ~OnItsWay() = default;
  virtual void advance() = 0;
};

class Collectives {
 public:
  explicit Collectives(Transport& transport) : transport_(transport) {}
  Collectives(const Collectives&) = delete;
  Collectives& operator=(const Collectives&) = delete;

  Transport& transport() const { return transport_; }
  int rank() const { return transport_.rank(); }
  int size() const { return transport_.size(); }

  /// The root's bytes, for everybody. The others' argument counts for nothing.
  std::vector<std::byte> broadcast(std::vector<std::byte> bytes, int root);
  /// The same into memory of a size that all know; the root's is only read.
  void broadcast_into(std::span<std::byte> bytes, int root);
  /// Worker 0's text, for everybody.
  std::string tell(const std::string& text);
  /// Every worker's bytes, by rank, for everybody; sizes may differ.
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes);
  std::vector<std::string> gather(const std::string& text);
  void barrier() { transport_.barrier(); }
  /// Whether any worker says yes.
  bool agree_any(bool mine);
  /// The least of all workers' numbers.
  int64_t least(int64_t mine);
  /// Runs `work` here. Where it throws a UserError on any worker, every worker throws that of the lowest rank; one of another rank than 0 says where it happened.
  void together(const std::function<void()>& work);

  /// Runs `work`, which may take minutes (a disk) and makes no call of these, on another thread. Meanwhile the others are told that this worker lives, so that whoever waits for it goes on waiting.
  void while_others_wait(const std::function<void()>& work);

  /// Worker 0 runs work(ask) on another thread, as in while_others_wait. Whenever it calls ask(n), n >= 0, every worker runs serve(n), a collective call, on the thread that called this; ask returns, or throws,
  /// when that has ended here. The others return when work has ended.
  void lead(const std::function<void(const std::function<void(int64_t)>& ask)>& work, const std::function<void(int64_t)>& serve);

  /// Every worker's bytes, one behind the other by rank, into the root's memory; worker r's are [begins[r], begins[r + 1]).
  void gather_into(std::byte* all, std::span<const std::byte> mine, const std::vector<size_t>& begins, int root);

  /// This worker's bytes to the next one by rank, the last one's to the first; `from_before` takes those of the one before, whose size is known.
  void pass_on(std::span<const std::byte> mine, std::span<std::byte> from_before);

  /// Moves what is on its way: call it between kernels.
  void progress();

 private:
  friend class Exchange;
  friend class Publish;
  friend class SumMessages;
  void advance_all() {
    for (OnItsWay* operation : moving_) operation->advance();
  }
  int next_number() { return number_ = (number_ + 1) % 4094; }
  void add(OnItsWay* operation) { moving_.push_back(operation); }
  void remove(OnItsWay* operation) { std::erase(moving_, operation); }

  Transport& transport_;
  std::vector<OnItsWay*> moving_;
  int number_ = 0;
};

/// An array of which every worker has partial results, to be joined.
struct ExchangeItem {
  DType type = DType::f32;  ///< f32, f64, i32 or i64
  int64_t elements = 0;
  Combine combine = Combine::sum;
  std::vector<const void*> parts;  ///< this worker's, one of `elements` for each of its nodes, in their order
  void* total = nullptr;           ///< where element 0 of the result belongs; may be one of `parts`, else overlaps none. Only this worker's range is written where not `whole`
  std::vector<int64_t> begins;     ///< elements [begins[r], begins[r + 1]) are worker r's to add: size + 1 numbers from 0 to `elements`
  bool whole = false;              ///< every worker needs all of it, not its own range alone
};

/// Partial results of all workers -> results, with the bits of one worker. Made once (collective; workers tell each other where their parts lie) and used for any number of steps. Ends before its Collectives.
class Exchange {
 public:
  struct Options {
    size_t segment_bytes = 1 << 20;  ///< of one message
  };
  /// `nodes`: those of every worker, by rank; all pieces of the batch together.
  Exchange(Collectives&, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes);
  Exchange(Collectives&, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes, Options options);
  ~Exchange();
  Exchange(Exchange&&) noexcept;
  /// Parts are finished and stay as they are until finish(). Totals may be written from here on. Never waits.
  void start();
  /// Totals are there, and no worker reads this one's parts any longer.
  void finish();

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// An array of which every worker has its own range.
struct PublishRange {
  void* base = nullptr;         ///< element 0, here
  int64_t element_bytes = 0;
  std::vector<int64_t> begins;  ///< elements [begins[r], begins[r + 1]) are worker r's: size + 1 numbers
};

/// Every owner's range -> all workers, in place. Made once, as an Exchange is.
class Publish {
 public:
  struct Options {
    size_t segment_bytes = 1 << 20;
  };
  Publish(Collectives&, std::vector<PublishRange> ranges);
  Publish(Collectives&, std::vector<PublishRange> ranges, Options options);
  ~Publish();
  Publish(Publish&&) noexcept;
  /// This worker's ranges are finished and stay as they are until finish(); the others' are being written from here on. Never waits.
  void start();
  void finish();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace nnc
