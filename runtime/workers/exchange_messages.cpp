// An owner's ranges are cut into segments (lane.h). Everybody sends its parts of a segment to the owner, who adds it when all are there and sends the result on if it is wanted whole. Small items that are
// wanted whole have no owner: everybody adds them from everybody's parts.
#include "runtime/workers/exchange_messages.h"

#include <algorithm>
#include <cstring>

namespace nnc {
namespace {

constexpr size_t incoming_slots = 4;  // segments of parts that may be on their way in, and have memory
constexpr int parts_phase = 0, results_phase = 1;

/// What goes to everybody is packed in any case: its sender may overwrite a part with the total before all have got it.
bool is_packed(const Segment& segment, bool for_everybody) { return for_everybody || segment.pieces.size() > 1; }

/// From one node's pieces to the next one's.
size_t stride(const Segment& segment) { return (segment.bytes + 7) / 8 * 8; }

}  // namespace

SumMessages::SumMessages(const ExchangePlan& plan, std::vector<bool> takes, size_t segment_bytes) : plan_(plan), takes_(std::move(takes)) { this->plan(segment_bytes); }

void SumMessages::start() {
  tag_ = 4 * plan_.all.next_number();
  for (Packed& packed : outgoing_) pack_parts(packed);
  next_own_ = 0;
  for (Own& own : own_) own.missing = own.expected;
  for (Lane& lane : parts_out_) lane.restart();
  for (Lane& lane : parts_in_) {
    lane.restart(0);
    for (size_t i = 0; i < std::min(incoming_slots, own_.size()); ++i) lane.release(own_[i].messages[size_t(lane.other())]);
  }
  for (Lane& lane : results_out_) lane.restart(0);
  for (Lane& lane : results_in_) lane.restart();
}

std::vector<Segment> SumMessages::cut(size_t segment_bytes, int owner, bool whole) const {
  SegmentCutter cutter(segment_bytes);
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const ExchangeItem& item = plan_.items[i];
    if (!takes_[i] || item.whole != whole) continue;
    if (owner < 0 && plan_.is_small(item)) cutter.add(int(i), 0, item.elements, byte_size(item.type));
    if (owner >= 0 && !plan_.is_small(item)) cutter.add(int(i), item.begins[size_t(owner)], item.begins[size_t(owner) + 1], byte_size(item.type));
  }
  return cutter.take();
}

void SumMessages::plan(size_t segment_bytes) {
  incoming_.assign(incoming_slots, std::vector<std::vector<std::byte>>(size_t(plan_.size())));
  for (int w = 0; w < plan_.size(); ++w) {
    if (w == plan_.rank()) continue;
    parts_out_.emplace_back(w, true), parts_in_.emplace_back(w, false);
    results_out_.emplace_back(w, true), results_in_.emplace_back(w, false);
  }
  // For everybody first: what a step's end needs.
  for (const Segment& segment : cut(segment_bytes, -1, true)) {
    send_parts(segment, -1);
    receive_parts(segment, true, false);
  }
  for (int owner = 0; owner < plan_.size(); ++owner)
    for (bool whole : {false, true})
      for (const Segment& segment : cut(segment_bytes, owner, whole)) {
        if (owner == plan_.rank()) {
          receive_parts(segment, false, whole);
        } else {
          send_parts(segment, owner);
          if (whole) receive_result(segment, owner);
        }
      }
  plan_incoming();
}

void SumMessages::send_parts(const Segment& segment, int owner) {
  const int nodes = plan_.node_counts[size_t(plan_.rank())];
  if (nodes == 0) return;
  const bool packed = is_packed(segment, owner < 0);
  if (packed) outgoing_.push_back({segment, std::vector<std::byte>(stride(segment) * size_t(nodes))});
  for (Lane& lane : parts_out_) {
    if (owner >= 0 && lane.other() != owner) continue;
    if (packed) {
      lane.add({outgoing_.back().bytes.data(), outgoing_.back().bytes.size(), parts_phase, -1});
      continue;
    }
    const MessagePiece& piece = segment.pieces[0];
    for (const void* part : plan_.items[size_t(piece.array)].parts) {
      auto bytes = const_cast<std::byte*>(static_cast<const std::byte*>(part));  // a lane's messages go both ways
      lane.add({bytes + size_t(piece.begin) * plan_.element_bytes(piece.array), segment.bytes, parts_phase, -1});
    }
  }
}

void SumMessages::receive_parts(const Segment& segment, bool for_everybody, bool send_on) {
  Own own{segment, send_on, is_packed(segment, for_everybody), std::vector<size_t>(size_t(plan_.size())), 0, 0, {}};
  for (int w = 0; w < plan_.size(); ++w) {
    if (w == plan_.rank()) continue;
    const size_t nodes = size_t(plan_.node_counts[size_t(w)]);
    std::vector<std::byte>& bytes = incoming_[own_.size() % incoming_slots][size_t(w)];
    bytes.resize(std::max(bytes.size(), nodes * stride(segment)));
    own.messages[size_t(w)] = own.packed ? std::min<size_t>(nodes, 1) : nodes;
    own.expected += own.messages[size_t(w)];
  }
  if (send_on) {
    const MessagePiece& piece = segment.pieces[0];
    if (segment.pieces.size() > 1) own.result.resize(segment.bytes);
    for (Lane& lane : results_out_) lane.add({segment.pieces.size() > 1 ? own.result.data() : plan_.total(piece.array, piece.begin), segment.bytes, results_phase, -1});
  }
  own_.push_back(std::move(own));
}

void SumMessages::plan_incoming() {
  for (size_t i = 0; i < own_.size(); ++i)
    for (Lane& lane : parts_in_) {
      const Own& own = own_[i];
      const size_t bytes = own.packed ? stride(own.segment) * size_t(plan_.node_counts[size_t(lane.other())]) : own.segment.bytes;
      for (size_t m = 0; m < own.messages[size_t(lane.other())]; ++m)
        lane.add({incoming_[i % incoming_slots][size_t(lane.other())].data() + m * stride(own.segment), bytes, parts_phase, int(i)});
    }
}

void SumMessages::receive_result(const Segment& segment, int owner) {
  for (Lane& lane : results_in_) {
    if (lane.other() != owner) continue;
    if (segment.pieces.size() > 1) {
      results_.push_back({segment, std::vector<std::byte>(segment.bytes)});
      lane.add({results_.back().bytes.data(), segment.bytes, results_phase, int(results_.size()) - 1});
    } else {
      lane.add({plan_.total(segment.pieces[0].array, segment.pieces[0].begin), segment.bytes, results_phase, -1});
    }
  }
}

void SumMessages::pack_parts(Packed& packed) const {
  for (size_t node = 0; node < size_t(plan_.node_counts[size_t(plan_.rank())]); ++node)
    for (const MessagePiece& piece : packed.segment.pieces) {
      const size_t bytes = plan_.element_bytes(piece.array);
      auto from = static_cast<const std::byte*>(plan_.items[size_t(piece.array)].parts[node]) + size_t(piece.begin) * bytes;
      std::memcpy(packed.bytes.data() + node * stride(packed.segment) + piece.offset, from, size_t(piece.end - piece.begin) * bytes);
    }
}

void SumMessages::add(size_t number) {
  Own& own = own_[number];
  std::vector<const std::byte*> parts(plan_.tree.sources().size());
  for (const MessagePiece& piece : own.segment.pieces) {
    const ExchangeItem& item = plan_.items[size_t(piece.array)];
    const size_t bytes = byte_size(item.type);
    for (size_t i = 0; i < parts.size(); ++i) {
      SumTree::Source source = plan_.tree.sources()[i];
      parts[i] = source.rank == plan_.rank() ? static_cast<const std::byte*>(item.parts[size_t(source.node)]) + size_t(piece.begin) * bytes
                                      : incoming_[number % incoming_slots][size_t(source.rank)].data() + size_t(source.node) * stride(own.segment) + piece.offset;
    }
    std::byte* to = plan_.total(piece.array, piece.begin);
    plan_.tree.join(item.type, item.combine, parts, piece.end - piece.begin, to);
    if (!own.result.empty()) std::memcpy(own.result.data() + piece.offset, to, size_t(piece.end - piece.begin) * bytes);
  }
  if (own.send_on)
    for (Lane& lane : results_out_) lane.release(1);
  if (number + incoming_slots < own_.size())
    for (Lane& lane : parts_in_) lane.release(own_[number + incoming_slots].messages[size_t(lane.other())]);
}

void SumMessages::unpack(const Unpacked& unpacked) const {
  for (const MessagePiece& piece : unpacked.segment.pieces)
    std::memcpy(plan_.total(piece.array, piece.begin), unpacked.bytes.data() + piece.offset, size_t(piece.end - piece.begin) * plan_.element_bytes(piece.array));
}

void SumMessages::advance() {
  auto nothing = [](int) {};
  for (Lane& lane : parts_out_) lane.advance(plan_.transport(), tag_, nothing);
  // Adding makes room for more to come in, some of which may be there.
  for (size_t before = SIZE_MAX; before != next_own_;) {
    before = next_own_;
    for (Lane& lane : parts_in_) lane.advance(plan_.transport(), tag_, [&](int segment) { --own_[size_t(segment)].missing; });
    while (next_own_ < own_.size() && own_[next_own_].missing == 0) add(next_own_++);
  }
  for (Lane& lane : results_out_) lane.advance(plan_.transport(), tag_, nothing);
  for (Lane& lane : results_in_)
    lane.advance(plan_.transport(), tag_, [&](int result) {
      if (result >= 0) unpack(results_[size_t(result)]);
    });
}

const Lane* SumMessages::unfinished_lane() const {
  for (const std::vector<Lane>* lanes : {&parts_in_, &results_in_, &parts_out_, &results_out_})
    for (const Lane& lane : *lanes)
      if (!lane.finished()) return &lane;
  return nullptr;
}

int SumMessages::awaited() const {
  const Lane* lane = unfinished_lane();
  return lane ? lane->other() : -1;
}

}  // namespace nnc
