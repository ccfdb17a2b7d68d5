// Each pair of workers has a ring of bytes in either direction, with one writer and one reader. A message is a header and its bytes, which may be longer than the ring: both sides move on whenever one
// of them waits for anything.
#include "runtime/workers/local_messages.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"

namespace nnc {

LocalMessages::LocalMessages(std::shared_ptr<LocalMemory> memory, int rank) : memory_(std::move(memory)), rank_(rank), peers_(size_t(memory_->workers())) {}

int LocalMessages::start_send(int to, int tag, std::span<const std::byte> bytes) {
  int slot = take_slot();
  Peer& peer = peers_[size_t(to)];
  peer.sends.push_back({{uint64_t(tag), bytes.size()}, bytes.data(), 0, slot});
  push(to);
  return slot;
}

int LocalMessages::start_receive(int from, int tag, std::span<std::byte> bytes) {
  int slot = take_slot();
  Peer& peer = peers_[size_t(from)];
  for (auto it = peer.unexpected.begin(); it != peer.unexpected.end(); ++it) {
    if (it->header.tag != uint64_t(tag) || it->slot >= 0) continue;
    NNC_CHECK(it->header.bytes == bytes.size(), fmt::format("a message of {} bytes where {} are due", it->header.bytes, bytes.size()));
    it->slot = slot, it->to = bytes.data();
    if (it->done == it->header.bytes) {
      deliver(*it);
      peer.unexpected.erase(it);
    }
    return slot;
  }
  peer.receives.push_back({tag, bytes, slot});
  return slot;
}

bool LocalMessages::done(int slot) {
  uint8_t& state = slots_[size_t(slot)];
  if (state != slot_done) return false;
  state = slot_free;
  free_slots_.push_back(slot);
  return true;
}

void LocalMessages::progress() {
  for (int other = 0; other < memory_->workers(); ++other) {
    if (other == rank_) continue;
    if (!peers_[size_t(other)].sends.empty()) push(other);
    pull(other);
  }
}

int LocalMessages::take_slot() {
  if (free_slots_.empty()) {
    slots_.push_back(slot_busy);
    return int(slots_.size()) - 1;
  }
  int slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[size_t(slot)] = slot_busy;
  return slot;
}

void LocalMessages::push(int to) {
  Peer& peer = peers_[size_t(to)];
  LocalRing& ring = memory_->ring(rank_, to);
  std::byte* bytes = memory_->ring_bytes(rank_, to);
  const uint64_t capacity = memory_->ring_capacity();
  uint64_t written = ring.written.load(std::memory_order_relaxed);
  const uint64_t before = written;
  uint64_t room = capacity - (written - ring.read.load(std::memory_order_acquire));
  auto put = [&](const void* from, uint64_t count) {
    uint64_t at = written % capacity, first = std::min(count, capacity - at);
    std::memcpy(bytes + at, from, first);
    std::memcpy(bytes, static_cast<const std::byte*>(from) + first, count - first);
    written += count, room -= count;
  };
  while (!peer.sends.empty() && room > 0) {
    Sending& sending = peer.sends.front();
    if (sending.done == 0) {
      if (room < sizeof(Header)) break;
      put(&sending.header, sizeof(Header));
      sending.done = sizeof(Header);
    }
    uint64_t sent = sending.done - sizeof(Header), count = std::min(room, sending.header.bytes - sent);
    if (count > 0) put(sending.bytes + sent, count);
    sending.done += count;
    if (sending.done < sizeof(Header) + sending.header.bytes) break;
    slots_[size_t(sending.slot)] = slot_done;
    peer.sends.pop_front();
  }
  if (written == before) return;
  ring.written.store(written, std::memory_order_seq_cst);
  memory_->call(to);
}

void LocalMessages::pull(int from) {
  Peer& peer = peers_[size_t(from)];
  LocalRing& ring = memory_->ring(from, rank_);
  const uint64_t written = ring.written.load(std::memory_order_acquire);
  uint64_t read = ring.read.load(std::memory_order_relaxed);
  if (written == read) return;
  const uint64_t before = read, capacity = memory_->ring_capacity();
  const std::byte* bytes = memory_->ring_bytes(from, rank_);
  auto get = [&](void* to, uint64_t count) {
    uint64_t at = read % capacity, first = std::min(count, capacity - at);
    std::memcpy(to, bytes + at, first);
    std::memcpy(static_cast<std::byte*>(to) + first, bytes, count - first);
    read += count;
  };
  while (true) {
    if (!peer.direct && !peer.into_unexpected) {
      if (written - read < sizeof(Header)) break;
      Header header;
      get(&header, sizeof header);
      begin_message(peer, header);
    }
    Incoming& message = peer.direct ? peer.incoming : peer.unexpected.back();
    uint64_t count = std::min(written - read, message.header.bytes - message.done);
    std::byte* to = peer.direct ? message.to : message.kept.data();
    if (count > 0) get(to + message.done, count);
    message.done += count;
    if (message.done < message.header.bytes) break;
    if (peer.direct) {
      slots_[size_t(message.slot)] = slot_done;
    } else if (message.slot >= 0) {
      deliver(message);
      peer.unexpected.pop_back();
    }
    peer.direct = peer.into_unexpected = false;
  }
  if (read == before) return;
  ring.read.store(read, std::memory_order_seq_cst);
  memory_->call(from);
}

void LocalMessages::begin_message(Peer& peer, const Header& header) {
  auto found = std::find_if(peer.receives.begin(), peer.receives.end(), [&](const Receiving& r) { return uint64_t(r.tag) == header.tag; });
  if (found == peer.receives.end()) {
    Incoming message;
    message.header = header;
    message.kept.resize(header.bytes);
    peer.unexpected.push_back(std::move(message));
    peer.into_unexpected = true;
    return;
  }
  NNC_CHECK(found->bytes.size() == header.bytes, fmt::format("a message of {} bytes where {} are due", header.bytes, found->bytes.size()));
  peer.incoming = Incoming{header, found->bytes.data(), 0, found->slot, {}};
  peer.receives.erase(found);
  peer.direct = true;
}

void LocalMessages::deliver(Incoming& message) {
  std::copy(message.kept.begin(), message.kept.end(), message.to);
  slots_[size_t(message.slot)] = slot_done;
}

}  // namespace nnc
