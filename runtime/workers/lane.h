// Parts of the work of exchange.cpp and publish.cpp: how what goes to or comes from one worker is cut into messages, and sent a few at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "runtime/workers/transport.h"

namespace nnc {

/// Elements [begin, end) of an array, at a place within a message.
struct MessagePiece {
  int array = 0;
  int64_t begin = 0, end = 0;
  size_t offset = 0;  ///< bytes
};

/// What one message holds: several small ranges one behind the other, or a stretch of a large one.
struct Segment {
  std::vector<MessagePiece> pieces;
  size_t bytes = 0;
};

/// Collects ranges into segments of about so many bytes.
class SegmentCutter {
 public:
  explicit SegmentCutter(size_t segment_bytes) : limit_(segment_bytes) {}
  void add(int array, int64_t begin, int64_t end, size_t element_bytes);
  std::vector<Segment> take();

 private:
  size_t limit_;
  Segment open_;  ///< of small ranges
  std::vector<Segment> done_;
};

/// Messages to or from one worker, in their order. A few are on their way at a time, so that a long list costs little to look at.
class Lane {
 public:
  struct Message {
    std::byte* bytes;
    size_t size;
    int tag;
    int segment;  ///< given to `arrived`
  };

  Lane(int other, bool outgoing) : other_(other), outgoing_(outgoing) {}
  void add(Message message) { messages_.push_back(message); }
  /// From the beginning again; messages may be started up to the number of `released`.
  void restart(size_t released) { started_ = finished_ = 0, released_ = released; }
  void restart() { restart(messages_.size()); }
  void release(size_t count) { released_ += count; }
  bool finished() const { return finished_ == messages_.size(); }
  int other() const { return other_; }
  std::vector<Message>& messages() { return messages_; }

  /// Starts what can be started and calls arrived(segment) for each message that is done.
  template <class Arrived>
  void advance(Transport& transport, int tag, Arrived&& arrived) {
    while (true) {
      while (started_ < released_ && on_their_way_.size() < window) {
        const Message& message = messages_[started_++];
        on_their_way_.push_back(outgoing_ ? transport.start_send(other_, tag + message.tag, {message.bytes, message.size})
                                          : transport.start_receive(other_, tag + message.tag, {message.bytes, message.size}));
      }
      if (on_their_way_.empty() || !transport.done(on_their_way_.front())) return;
      on_their_way_.pop_front();
      arrived(messages_[finished_++].segment);
    }
  }

 private:
  static constexpr size_t window = 8;
  int other_;
  bool outgoing_;
  std::vector<Message> messages_;
  size_t started_ = 0, finished_ = 0, released_ = 0;
  std::deque<Transport::Request> on_their_way_;
};

}  // namespace nnc
