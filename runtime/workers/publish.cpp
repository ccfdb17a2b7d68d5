// As in exchange.cpp: in place where all ranges lie in shared memory, so that everybody copies from the owner; else in messages from each owner to everybody.
#include <algorithm>
#include <cstring>
#include <deque>

#include "base/check.h"
#include "runtime/workers/collectives.h"
#include "runtime/workers/lane.h"

namespace nnc {
namespace {

/// Words: four numbers a round.
constexpr uint32_t said_finished = 1, said_copied = 2, per_round = 4;

bool reached(uint32_t word, uint32_t value) { return int32_t(word - value) >= 0; }

}  // namespace

class Publish::State final : public OnItsWay {
 public:
  State(Collectives& all, std::vector<PublishRange> ranges, Options options)
      : all_(all), transport_(all.transport()), ranges_(std::move(ranges)), rank_(all.rank()), size_(all.size()) {
    for (const PublishRange& range : ranges_)
      NNC_CHECK(int(range.begins.size()) == size_ + 1 && std::is_sorted(range.begins.begin(), range.begins.end()), "owners' ranges follow one another");
    if (size_ == 1) return;
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
    NNC_CHECK(!on_its_way_, "ranges that are on their way are published again");
    on_its_way_ = true;
    all_.add(this);
    if (size_ == 1) return;
    tag_ = 4 * all_.next_number();
    round_ += per_round;
    said_ = false;
    for (Owner& owner : owners_) owner.copied = false;
    if (word_ >= 0) transport_.shared_memory()->set_word(word_, round_ + said_finished);
    for (Packed& packed : outgoing_)
      for (const MessagePiece& piece : packed.segment.pieces) std::memcpy(packed.bytes.data() + piece.offset, at(piece.array, piece.begin), bytes_of(piece));
    for (Lane& lane : out_) lane.restart();
    for (Lane& lane : in_) lane.restart();
    transport_.progress();
    advance();
  }

  void finish() {
    NNC_CHECK(on_its_way_, "ranges are finished that were not started");
    transport_.wait_until(
        [&] {
          all_.advance_all();
          return awaited() < 0;
        },
        [&] { return awaited(); });
    on_its_way_ = false;
    all_.remove(this);
  }

  void advance() override {
    if (size_ == 1) return;
    if (word_ >= 0) {
      SharedMemory* memory = transport_.shared_memory();
      bool all = true;
      for (Owner& owner : owners_) {
        if (!owner.copied && reached(memory->word_of(word_, owner.rank), round_ + said_finished)) {
          for (const Copy& copy : owner.copies) std::memcpy(copy.to, copy.from, copy.bytes);
          owner.copied = true;
        }
        all = all && owner.copied;
      }
      if (all && !said_) {
        memory->set_word(word_, round_ + said_copied);
        said_ = true;
      }
    }
    for (Lane& lane : out_) lane.advance(transport_, tag_, [](int) {});
    for (Lane& lane : in_)
      lane.advance(transport_, tag_, [&](int number) {
        if (number < 0) return;
        const Packed& packed = incoming_[size_t(number)];
        for (const MessagePiece& piece : packed.segment.pieces) std::memcpy(at(piece.array, piece.begin), packed.bytes.data() + piece.offset, bytes_of(piece));
      });
  }

 private:
  struct Copy {
    const std::byte* from;
    std::byte* to;
    size_t bytes;
  };
  struct Owner {
    int rank;
    std::vector<Copy> copies;
    bool copied = false;
  };
  struct Packed {
    Segment segment;
    std::vector<std::byte> bytes;
  };

  std::byte* at(int range, int64_t element) const { return static_cast<std::byte*>(ranges_[size_t(range)].base) + element * ranges_[size_t(range)].element_bytes; }
  size_t bytes_of(const MessagePiece& piece) const { return size_t((piece.end - piece.begin) * ranges_[size_t(piece.array)].element_bytes); }

  void plan_in_place() {
    in_place_.assign(ranges_.size(), false);
    SharedMemory* memory = transport_.shared_memory();
    if (!memory) return;
    std::vector<SharedPlace> mine;
    for (size_t i = 0; i < ranges_.size(); ++i) {
      const auto& begins = ranges_[i].begins;
      int64_t begin = begins[size_t(rank_)], end = begins[size_t(rank_) + 1];
      mine.push_back(begin < end ? memory->place_of(at(int(i), begin), size_t((end - begin) * ranges_[i].element_bytes)) : SharedPlace{0, 0});
    }
    std::vector<std::vector<SharedPlace>> places;
    for (const auto& bytes : all_.gather(std::as_bytes(std::span(mine)))) {
      places.emplace_back(bytes.size() / sizeof(SharedPlace));
      std::memcpy(places.back().data(), bytes.data(), bytes.size());
    }
    bool any = false;
    for (size_t i = 0; i < ranges_.size(); ++i) {
      bool all = true;
      for (const auto& of_worker : places) all = all && of_worker[i].block >= 0;
      in_place_[i] = all;
      any = any || all;
    }
    word_ = any ? memory->claim_word() : -1;
    if (word_ < 0) {
      in_place_.assign(ranges_.size(), false);
      return;
    }
    round_ = memory->word_of(word_, rank_) / per_round * per_round;
    for (int w = 0; w < size_; ++w) {
      if (w == rank_) continue;
      Owner owner{w, {}};
      for (size_t i = 0; i < ranges_.size(); ++i) {
        int64_t begin = ranges_[i].begins[size_t(w)], end = ranges_[i].begins[size_t(w) + 1];
        if (!in_place_[i] || begin == end) continue;
        owner.copies.push_back({memory->address(w, places[size_t(w)][i]), at(int(i), begin), size_t((end - begin) * ranges_[i].element_bytes)});
      }
      owners_.push_back(std::move(owner));
    }
  }

  void plan_messages(size_t segment_bytes) {
    auto cut = [&](int owner) {
      SegmentCutter cutter(segment_bytes);
      for (size_t i = 0; i < ranges_.size(); ++i)
        if (!in_place_[i]) cutter.add(int(i), ranges_[i].begins[size_t(owner)], ranges_[i].begins[size_t(owner) + 1], size_t(ranges_[i].element_bytes));
      return cutter.take();
    };
    std::vector<Segment> mine = cut(rank_);
    std::vector<std::byte*> from;
    for (const Segment& segment : mine) {
      if (segment.pieces.size() > 1) outgoing_.push_back({segment, std::vector<std::byte>(segment.bytes)});
      from.push_back(segment.pieces.size() > 1 ? outgoing_.back().bytes.data() : at(segment.pieces[0].array, segment.pieces[0].begin));
    }
    for (int w = 0; w < size_; ++w) {
      if (w == rank_) continue;
      out_.emplace_back(w, true), in_.emplace_back(w, false);
      for (size_t i = 0; i < mine.size(); ++i) out_.back().add({from[i], mine[i].bytes, 0, -1});
      for (const Segment& segment : cut(w)) {
        if (segment.pieces.size() > 1) {
          incoming_.push_back({segment, std::vector<std::byte>(segment.bytes)});
          in_.back().add({incoming_.back().bytes.data(), segment.bytes, 0, int(incoming_.size()) - 1});
        } else {
          in_.back().add({at(segment.pieces[0].array, segment.pieces[0].begin), segment.bytes, 0, -1});
        }
      }
    }
  }

  /// The worker on whom it depends; -1: nobody, it is done.
  int awaited() const {
    if (size_ == 1) return -1;
    for (const Owner& owner : owners_)
      if (!owner.copied) return owner.rank;
    if (word_ >= 0)
      for (const Owner& owner : owners_)
        if (!reached(transport_.shared_memory()->word_of(word_, owner.rank), round_ + said_copied)) return owner.rank;
    for (const std::vector<Lane>* lanes : {&in_, &out_})
      for (const Lane& lane : *lanes)
        if (!lane.finished()) return lane.other();
    return -1;
  }

  Collectives& all_;
  Transport& transport_;
  std::vector<PublishRange> ranges_;
  int rank_, size_;
  bool on_its_way_ = false;

  std::vector<bool> in_place_;  ///< by range
  int word_ = -1;
  uint32_t round_ = 0;
  bool said_ = false;  ///< that all is copied
  std::vector<Owner> owners_;

  int tag_ = 0;
  std::vector<Lane> out_, in_;
  std::deque<Packed> outgoing_, incoming_;
};

Publish::Publish(Collectives& all, std::vector<PublishRange> ranges) : Publish(all, std::move(ranges), Options()) {}
Publish::Publish(Collectives& all, std::vector<PublishRange> ranges, Options options) : state_(std::make_unique<State>(all, std::move(ranges), options)) {}
Publish::~Publish() = default;
Publish::Publish(Publish&&) noexcept = default;
void Publish::start() { state_->start(); }
void Publish::finish() { state_->finish(); }

}  // namespace nnc
