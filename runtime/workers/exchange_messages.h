// The road of an exchange on which parts travel as messages.
#pragma once

#include <deque>

#include "runtime/workers/exchange_plan.h"
#include "runtime/workers/lane.h"

namespace nnc {

class SumMessages {
 public:
  /// Takes these items of the plan.
  SumMessages(const ExchangePlan& plan, std::vector<bool> takes, size_t segment_bytes);
  SumMessages(const SumMessages&) = delete;
  SumMessages& operator=(const SumMessages&) = delete;

  void start();
  void advance();
  bool complete() const { return next_own_ == own_.size() && !unfinished_lane(); }
  int awaited() const;  ///< the worker on whom it depends; -1: unknown

 private:
  /// Parts of this worker that are packed for others: [node][piece].
  struct Packed {
    Segment segment;
    std::vector<std::byte> bytes;
  };
  /// A segment that this worker adds.
  struct Own {
    Segment segment;
    bool send_on = false;
    bool packed = false;              ///< the parts of a worker come in one message
    std::vector<size_t> messages;     ///< by rank
    size_t expected = 0, missing = 0;  ///< messages
    std::vector<std::byte> result;    ///< packed, where it is sent on and has several pieces
  };
  /// A segment of another owner whose result comes back in one packed message.
  struct Unpacked {
    Segment segment;
    std::vector<std::byte> bytes;
  };

  std::vector<Segment> cut(size_t segment_bytes, int owner, bool whole) const;
  void plan(size_t segment_bytes);
  /// To one owner, or (-1) to everybody.
  void send_parts(const Segment& segment, int owner);
  void receive_parts(const Segment& segment, bool for_everybody, bool send_on);
  /// Once the memory of incoming parts is as large as it will be.
  void plan_incoming();
  void receive_result(const Segment& segment, int owner);
  void pack_parts(Packed& packed) const;
  void add(size_t number);
  void unpack(const Unpacked& unpacked) const;
  const Lane* unfinished_lane() const;

  const ExchangePlan& plan_;
  std::vector<bool> takes_;  ///< by item
  int tag_ = 0;
  size_t next_own_ = 0;
  std::vector<Lane> parts_out_, parts_in_, results_out_, results_in_;  ///< one for each other worker
  std::deque<Packed> outgoing_;
  std::deque<Own> own_;
  std::vector<std::vector<std::vector<std::byte>>> incoming_;  ///< parts of own segments, by number modulo slots and by rank: [node][piece]
  std::deque<Unpacked> results_;
};

}  // namespace nnc
