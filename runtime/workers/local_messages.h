// Messages between workers of one machine, through rings of shared memory.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "runtime/workers/local_memory.h"

namespace nnc {

/// The messages to and from one worker. Numbers of requests as Transport has them.
class LocalMessages {
 public:
  LocalMessages(std::shared_ptr<LocalMemory> memory, int rank);

  int start_send(int to, int tag, std::span<const std::byte> bytes);
  int start_receive(int from, int tag, std::span<std::byte> bytes);
  bool done(int slot);
  /// Writes and reads as much as the rings allow.
  void progress();

 private:
  struct Header {
    uint64_t tag;
    uint64_t bytes;
  };
  struct Sending {
    Header header;
    const std::byte* bytes;
    uint64_t done;  ///< of header and bytes
    int slot;
  };
  struct Receiving {
    int tag;
    std::span<std::byte> bytes;
    int slot;
  };
  /// A message on its way in: straight to its place, or kept until somebody asks for it.
  struct Incoming {
    Header header{};
    std::byte* to = nullptr;
    uint64_t done = 0;
    int slot = -1;                ///< of who asked for it
    std::vector<std::byte> kept;  ///< of a message that nobody had asked for when it began
  };
  struct Peer {
    std::deque<Sending> sends;
    std::deque<Receiving> receives;
    std::deque<Incoming> unexpected;  ///< the last may be incomplete
    Incoming incoming;                ///< one that goes to its place
    bool direct = false;              ///< `incoming` is under way
    bool into_unexpected = false;     ///< the last of `unexpected` is under way
  };
  enum : uint8_t { slot_free, slot_busy, slot_done };

  int take_slot();
  void push(int to);
  void pull(int from);
  void begin_message(Peer& peer, const Header& header);
  void deliver(Incoming& message);

  std::shared_ptr<LocalMemory> memory_;
  int rank_;
  std::vector<Peer> peers_;
  std::vector<uint8_t> slots_;
  std::vector<int> free_slots_;
};

}  // namespace nnc
