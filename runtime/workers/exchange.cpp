// An exchange has two roads, chosen item by item when it is made.
//
// In place: where every worker's parts lie in shared memory. Each sets its word to "parts are finished"; an owner that sees this of all adds its range, reading the parts where they lie, and says
// "added"; who has seen that of all may change its parts, and copies what it needs of the others' ranges.
//
// Messages: an owner's ranges are cut into segments (lane.h). Everybody sends its parts of a segment to the owner, who adds it when all are there and sends the result on if it is wanted whole.
//
// Small items that are wanted whole have no owner: everybody adds them from everybody's parts.
#include <algorithm>
#include <cstring>
#include <deque>

#include <fmt/format.h>

#include "base/check.h"
#include "runtime/workers/collectives.h"
#include "runtime/workers/lane.h"

namespace nnc {
namespace {

constexpr size_t small_item = 2048;  // bytes
constexpr size_t incoming_slots = 4;  // segments of parts that may be on their way in, and have memory
constexpr int parts_phase = 0, results_phase = 1;

/// Words of an exchange: four numbers a round.
constexpr uint32_t said_finished = 1, said_added = 2, said_copied = 3, per_round = 4;

/// How far this worker is with what goes in place.
enum class Stage : uint8_t { parts, sums, copies, done };  ///< waits until all parts are finished, all sums made, all copies made

bool reached(uint32_t word, uint32_t value) { return int32_t(word - value) >= 0; }

}  // namespace

class Exchange::State final : public OnItsWay {
 public:
  State(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes, Options options)
      : all_(all), transport_(all.transport()), items_(std::move(items)), tree_(nodes), rank_(all.rank()), size_(all.size()) {
    NNC_CHECK(int(nodes.size()) == size_, "nodes of every worker");
    for (const auto& list : nodes) node_counts_.push_back(int(list.size()));
    for (const ExchangeItem& item : items_) {
      NNC_CHECK(int(item.parts.size()) == node_counts_[size_t(rank_)], "a part for each node of this worker");
      NNC_CHECK(int(item.begins.size()) == size_ + 1 && item.begins.front() == 0 && item.begins.back() == item.elements && std::is_sorted(item.begins.begin(), item.begins.end()),
                "owners' ranges are all elements");
    }
    plan_in_place();
    plan_messages(options.segment_bytes);
  }

  ~State() override {
    if (on_its_way_) {
      all_.remove(this);
      transport_.abandon();
    }
    if (word_ >= 0) transport_.shared_memory()->release_word(word_);
  }

  void start() {
    NNC_CHECK(!on_its_way_, "an exchange that is on its way is started again");
    on_its_way_ = true;
    all_.add(this);
    tag_ = 4 * all_.next_number();
    stage_ = Stage::parts;
    round_ += per_round;
    if (word_ >= 0) transport_.shared_memory()->set_word(word_, round_ + said_finished);
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
    transport_.progress();
    advance();
  }

  void finish() {
    NNC_CHECK(on_its_way_, "an exchange is finished that was not started");
    transport_.wait_until(
        [&] {
          all_.advance_all();
          return complete();
        },
        [&] { return awaited(); });
    on_its_way_ = false;
    all_.remove(this);
  }

  void advance() override {
    advance_in_place();
    advance_messages();
  }

 private:
  // ---- in place

  struct Sum {
    int item;
    int64_t elements;
    std::vector<const std::byte*> parts;
    std::byte* to;
  };
  struct Copy {
    const std::byte* from;
    std::byte* to;
    size_t bytes;
    int owner;
  };

  size_t element_bytes(int item) const { return byte_size(items_[size_t(item)].type); }
  bool is_small(const ExchangeItem& item) const { return item.whole && size_t(item.elements) * byte_size(item.type) <= small_item; }
  std::byte* total(int item, int64_t element) const { return static_cast<std::byte*>(items_[size_t(item)].total) + size_t(element) * element_bytes(item); }

  /// Workers tell each other where their parts lie; an item goes this road if all of them can be read.
  void plan_in_place() {
    in_place_.assign(items_.size(), size_ == 1);
    SharedMemory* memory = transport_.shared_memory();
    std::vector<std::vector<SharedPlace>> places;  // of each worker: for each item its parts, then its total
    if (memory && size_ > 1) {
      std::vector<SharedPlace> mine;
      for (const ExchangeItem& item : items_) {
        const size_t bytes = size_t(item.elements) * byte_size(item.type);
        for (const void* part : item.parts) mine.push_back(memory->place_of(part, bytes));
        mine.push_back(memory->place_of(item.total, bytes));
      }
      for (const auto& bytes : all_.gather(std::as_bytes(std::span(mine)))) {
        places.emplace_back(bytes.size() / sizeof(SharedPlace));
        std::memcpy(places.back().data(), bytes.data(), bytes.size());
      }
      auto place = [&](int rank, size_t item, int part) { return places[size_t(rank)][item * size_t(node_counts_[size_t(rank)] + 1) + size_t(part)]; };
      word_ = memory->claim_word();
      for (size_t i = 0; i < items_.size() && word_ >= 0; ++i) {
        bool all = items_[i].elements > 0;
        for (int w = 0; w < size_; ++w) {
          for (int part = 0; part < node_counts_[size_t(w)]; ++part) all = all && place(w, i, part).block >= 0;
          if (items_[i].whole && !is_small(items_[i])) all = all && place(w, i, node_counts_[size_t(w)]).block >= 0;
        }
        in_place_[i] = all;
      }
      if (word_ >= 0) round_ = memory->word_of(word_, rank_) / per_round * per_round;
    }
    size_t small_bytes = 0;
    for (size_t i = 0; i < items_.size(); ++i)
      if (in_place_[i] && is_small(items_[i])) small_bytes += (size_t(items_[i].elements) * byte_size(items_[i].type) + 7) / 8 * 8;
    small_.resize(small_bytes);
    size_t small_at = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (!in_place_[i] || items_[i].elements == 0) continue;
      const ExchangeItem& item = items_[i];
      const size_t bytes = byte_size(item.type);
      const bool small = is_small(item) || size_ == 1;
      const int64_t begin = small ? 0 : item.begins[size_t(rank_)], end = small ? item.elements : item.begins[size_t(rank_) + 1];
      Sum sum{int(i), end - begin, {}, total(int(i), begin)};
      auto address = [&](int w, int part) -> const std::byte* {
        if (w == rank_) return static_cast<const std::byte*>(item.parts[size_t(part)]);
        return memory->address(w, places[size_t(w)][i * size_t(node_counts_[size_t(w)] + 1) + size_t(part)]);
      };
      for (SumTree::Source source : tree_.sources()) sum.parts.push_back(address(source.rank, source.node) + size_t(begin) * bytes);
      if (small && size_ > 1) {
        // A total may lie where others still read a part, so that it waits.
        sum.to = small_.data() + small_at;
        small_copies_.push_back({sum.to, total(int(i), 0), size_t(item.elements) * bytes, -1});
        small_at += (size_t(item.elements) * bytes + 7) / 8 * 8;
      }
      if (sum.elements > 0) sums_.push_back(std::move(sum));
      if (!item.whole || small) continue;
      for (int w = 0; w < size_; ++w) {
        const int64_t first = item.begins[size_t(w)], last = item.begins[size_t(w) + 1];
        if (w == rank_ || first == last) continue;
        copies_.push_back({address_of_total(memory, places, w, i) + size_t(first) * bytes, total(int(i), first), size_t(last - first) * bytes, w});
      }
      whole_ = true;  // as all workers know
    }
    if (std::none_of(in_place_.begin(), in_place_.end(), [](bool yes) { return yes; }) && word_ >= 0) {
      memory->release_word(word_);
      word_ = -1;
    }
  }

  const std::byte* address_of_total(SharedMemory* memory, const std::vector<std::vector<SharedPlace>>& places, int w, size_t item) const {
    return memory->address(w, places[size_t(w)][item * size_t(node_counts_[size_t(w)] + 1) + size_t(node_counts_[size_t(w)])]);
  }

  /// The worker that has not said so yet; -1: all have.
  int behind(uint32_t said) const {
    for (int w = 0; w < size_; ++w)
      if (w != rank_ && !reached(transport_.shared_memory()->word_of(word_, w), round_ + said)) return w;
    return -1;
  }

  void advance_in_place() {
    if (word_ < 0) {
      if (stage_ == Stage::parts)
        for (const Sum& sum : sums_) add(sum);
      stage_ = Stage::done;
      return;
    }
    SharedMemory* memory = transport_.shared_memory();
    if (stage_ == Stage::parts && behind(said_finished) < 0) {
      for (const Sum& sum : sums_) add(sum);
      memory->set_word(word_, round_ + said_added);
      stage_ = Stage::sums;
    }
    if (stage_ == Stage::sums && behind(said_added) < 0) {
      for (const Copy& copy : small_copies_) std::memcpy(copy.to, copy.from, copy.bytes);
      for (const Copy& copy : copies_) std::memcpy(copy.to, copy.from, copy.bytes);
      if (whole_) memory->set_word(word_, round_ + said_copied);
      stage_ = whole_ ? Stage::copies : Stage::done;
    }
    if (stage_ == Stage::copies && behind(said_copied) < 0) stage_ = Stage::done;
  }

  void add(const Sum& sum) const {
    const ExchangeItem& item = items_[size_t(sum.item)];
    tree_.join(item.type, item.combine, sum.parts, sum.elements, sum.to);
  }

  // ---- messages

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

  std::vector<Segment> cut(size_t segment_bytes, int owner, bool whole) const {
    SegmentCutter cutter(segment_bytes);
    for (size_t i = 0; i < items_.size(); ++i) {
      const ExchangeItem& item = items_[i];
      if (in_place_[i] || item.whole != whole) continue;
      if (owner < 0 && is_small(item)) cutter.add(int(i), 0, item.elements, byte_size(item.type));
      if (owner >= 0 && !is_small(item)) cutter.add(int(i), item.begins[size_t(owner)], item.begins[size_t(owner) + 1], byte_size(item.type));
    }
    return cutter.take();
  }

  void plan_messages(size_t segment_bytes) {
    incoming_.assign(incoming_slots, std::vector<std::vector<std::byte>>(size_t(size_)));
    for (int w = 0; w < size_; ++w) {
      if (w == rank_) continue;
      parts_out_.emplace_back(w, true), parts_in_.emplace_back(w, false);
      results_out_.emplace_back(w, true), results_in_.emplace_back(w, false);
    }
    // For everybody first: what a step's end needs.
    for (const Segment& segment : cut(segment_bytes, -1, true)) {
      send_parts(segment, -1);
      receive_parts(segment, true, false);
    }
    for (int owner = 0; owner < size_; ++owner)
      for (bool whole : {false, true})
        for (const Segment& segment : cut(segment_bytes, owner, whole)) {
          if (owner == rank_) {
            receive_parts(segment, false, whole);
          } else {
            send_parts(segment, owner);
            if (whole) receive_result(segment, owner);
          }
        }
    plan_incoming();
  }

  /// What goes to everybody is packed in any case: its sender may overwrite a part with the total before all have got it.
  static bool is_packed(const Segment& segment, bool for_everybody) { return for_everybody || segment.pieces.size() > 1; }

  /// From one node's pieces to the next one's.
  static size_t stride(const Segment& segment) { return (segment.bytes + 7) / 8 * 8; }

  /// To one owner, or (-1) to everybody.
  void send_parts(const Segment& segment, int owner) {
    const int nodes = node_counts_[size_t(rank_)];
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
      for (const void* part : items_[size_t(piece.array)].parts) {
        auto bytes = const_cast<std::byte*>(static_cast<const std::byte*>(part));  // a lane's messages go both ways
        lane.add({bytes + size_t(piece.begin) * element_bytes(piece.array), segment.bytes, parts_phase, -1});
      }
    }
  }

  void receive_parts(const Segment& segment, bool for_everybody, bool send_on) {
    Own own{segment, send_on, is_packed(segment, for_everybody), std::vector<size_t>(size_t(size_)), 0, 0, {}};
    for (int w = 0; w < size_; ++w) {
      if (w == rank_) continue;
      const size_t nodes = size_t(node_counts_[size_t(w)]);
      std::vector<std::byte>& bytes = incoming_[own_.size() % incoming_slots][size_t(w)];
      bytes.resize(std::max(bytes.size(), nodes * stride(segment)));
      own.messages[size_t(w)] = own.packed ? std::min<size_t>(nodes, 1) : nodes;
      own.expected += own.messages[size_t(w)];
    }
    if (send_on) {
      const MessagePiece& piece = segment.pieces[0];
      if (segment.pieces.size() > 1) own.result.resize(segment.bytes);
      for (Lane& lane : results_out_) lane.add({segment.pieces.size() > 1 ? own.result.data() : total(piece.array, piece.begin), segment.bytes, results_phase, -1});
    }
    own_.push_back(std::move(own));
  }

  /// Once the memory of incoming parts is as large as it will be.
  void plan_incoming() {
    for (size_t i = 0; i < own_.size(); ++i)
      for (Lane& lane : parts_in_) {
        const Own& own = own_[i];
        const size_t bytes = own.packed ? stride(own.segment) * size_t(node_counts_[size_t(lane.other())]) : own.segment.bytes;
        for (size_t m = 0; m < own.messages[size_t(lane.other())]; ++m)
          lane.add({incoming_[i % incoming_slots][size_t(lane.other())].data() + m * stride(own.segment), bytes, parts_phase, int(i)});
      }
  }

  void receive_result(const Segment& segment, int owner) {
    for (Lane& lane : results_in_) {
      if (lane.other() != owner) continue;
      if (segment.pieces.size() > 1) {
        results_.push_back({segment, std::vector<std::byte>(segment.bytes)});
        lane.add({results_.back().bytes.data(), segment.bytes, results_phase, int(results_.size()) - 1});
      } else {
        lane.add({total(segment.pieces[0].array, segment.pieces[0].begin), segment.bytes, results_phase, -1});
      }
    }
  }

  void pack_parts(Packed& packed) const {
    for (size_t node = 0; node < size_t(node_counts_[size_t(rank_)]); ++node)
      for (const MessagePiece& piece : packed.segment.pieces) {
        const size_t bytes = element_bytes(piece.array);
        auto from = static_cast<const std::byte*>(items_[size_t(piece.array)].parts[node]) + size_t(piece.begin) * bytes;
        std::memcpy(packed.bytes.data() + node * stride(packed.segment) + piece.offset, from, size_t(piece.end - piece.begin) * bytes);
      }
  }

  void add(size_t number) {
    Own& own = own_[number];
    std::vector<const std::byte*> parts(tree_.sources().size());
    for (const MessagePiece& piece : own.segment.pieces) {
      const ExchangeItem& item = items_[size_t(piece.array)];
      const size_t bytes = byte_size(item.type);
      for (size_t i = 0; i < parts.size(); ++i) {
        SumTree::Source source = tree_.sources()[i];
        parts[i] = source.rank == rank_ ? static_cast<const std::byte*>(item.parts[size_t(source.node)]) + size_t(piece.begin) * bytes
                                        : incoming_[number % incoming_slots][size_t(source.rank)].data() + size_t(source.node) * stride(own.segment) + piece.offset;
      }
      std::byte* to = total(piece.array, piece.begin);
      tree_.join(item.type, item.combine, parts, piece.end - piece.begin, to);
      if (!own.result.empty()) std::memcpy(own.result.data() + piece.offset, to, size_t(piece.end - piece.begin) * bytes);
    }
    if (own.send_on)
      for (Lane& lane : results_out_) lane.release(1);
    if (number + incoming_slots < own_.size())
      for (Lane& lane : parts_in_) lane.release(own_[number + incoming_slots].messages[size_t(lane.other())]);
  }

  void unpack(const Unpacked& unpacked) const {
    for (const MessagePiece& piece : unpacked.segment.pieces)
      std::memcpy(total(piece.array, piece.begin), unpacked.bytes.data() + piece.offset, size_t(piece.end - piece.begin) * element_bytes(piece.array));
  }

  void advance_messages() {
    auto nothing = [](int) {};
    for (Lane& lane : parts_out_) lane.advance(transport_, tag_, nothing);
    // Adding makes room for more to come in, some of which may be there.
    for (size_t before = SIZE_MAX; before != next_own_;) {
      before = next_own_;
      for (Lane& lane : parts_in_) lane.advance(transport_, tag_, [&](int segment) { --own_[size_t(segment)].missing; });
      while (next_own_ < own_.size() && own_[next_own_].missing == 0) add(next_own_++);
    }
    for (Lane& lane : results_out_) lane.advance(transport_, tag_, nothing);
    for (Lane& lane : results_in_)
      lane.advance(transport_, tag_, [&](int result) {
        if (result >= 0) unpack(results_[size_t(result)]);
      });
  }

  const Lane* unfinished_lane() const {
    for (const std::vector<Lane>* lanes : {&parts_in_, &results_in_, &parts_out_, &results_out_})
      for (const Lane& lane : *lanes)
        if (!lane.finished()) return &lane;
    return nullptr;
  }

  bool complete() const { return stage_ == Stage::done && next_own_ == own_.size() && !unfinished_lane(); }

  int awaited() const {
    if (stage_ != Stage::done) return behind(stage_ == Stage::parts ? said_finished : stage_ == Stage::sums ? said_added : said_copied);
    const Lane* lane = unfinished_lane();
    return lane ? lane->other() : -1;
  }

  Collectives& all_;
  Transport& transport_;
  std::vector<ExchangeItem> items_;
  SumTree tree_;
  int rank_, size_;
  std::vector<int> node_counts_;  ///< by rank
  bool on_its_way_ = false;

  std::vector<bool> in_place_;  ///< by item
  int word_ = -1;
  uint32_t round_ = 0;
  Stage stage_ = Stage::done;
  std::vector<Sum> sums_;
  std::vector<std::byte> small_;  ///< results of small items until others have read their parts
  std::vector<Copy> small_copies_, copies_;
  bool whole_ = false;  ///< somebody copies results

  int tag_ = 0;
  size_t next_own_ = 0;
  std::vector<Lane> parts_out_, parts_in_, results_out_, results_in_;
  std::deque<Packed> outgoing_;
  std::deque<Own> own_;
  std::vector<std::vector<std::vector<std::byte>>> incoming_;  ///< parts of own segments, by number modulo slots and by rank: [node][piece]
  std::deque<Unpacked> results_;
};

Exchange::Exchange(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes) : Exchange(all, std::move(items), nodes, Options()) {}
Exchange::Exchange(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes, Options options)
    : state_(std::make_unique<State>(all, std::move(items), nodes, options)) {}
Exchange::~Exchange() = default;
Exchange::Exchange(Exchange&&) noexcept = default;
void Exchange::start() { state_->start(); }
void Exchange::finish() { state_->finish(); }

}  // namespace nnc
