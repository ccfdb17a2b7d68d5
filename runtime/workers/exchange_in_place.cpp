// Each worker sets its word to "parts are finished". An owner that sees this of all adds its range, reading the parts where they lie, and says "added"; who has seen that of all may change its parts, and
// copies what it needs of the others' ranges. A total that is wanted whole and small is added by everybody, and put in its place when all have added: others may still read a part there.
#include "runtime/workers/exchange_in_place.h"

#include <algorithm>
#include <cstring>

namespace nnc {
namespace {

/// Words: four numbers a round.
constexpr uint32_t said_finished = 1, said_added = 2, said_copied = 3, per_round = 4;

bool reached(uint32_t word, uint32_t value) { return int32_t(word - value) >= 0; }

size_t rounded_up(size_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

InPlaceSums::InPlaceSums(const ExchangePlan& plan) : plan_(plan), takes_(plan.items.size(), plan.size() == 1) {
  SharedMemory* memory = plan_.transport().shared_memory();
  Places places;
  if (memory && plan_.size() > 1) {
    places = tell_places();
    word_ = memory->claim_word();
    if (word_ >= 0) choose_items(places);
    if (word_ >= 0 && std::none_of(takes_.begin(), takes_.end(), [](bool yes) { return yes; })) {
      memory->release_word(word_);
      word_ = -1;
    }
    if (word_ >= 0) round_ = memory->word_of(word_, plan_.rank()) / per_round * per_round;
  }
  plan_sums(places);
}

InPlaceSums::~InPlaceSums() {
  if (word_ >= 0) plan_.transport().shared_memory()->release_word(word_);
}

InPlaceSums::Places InPlaceSums::tell_places() const {
  SharedMemory* memory = plan_.transport().shared_memory();
  std::vector<SharedPlace> mine;
  for (const ExchangeItem& item : plan_.items) {
    const size_t bytes = size_t(item.elements) * byte_size(item.type);
    for (const void* part : item.parts) mine.push_back(memory->place_of(part, bytes));
    mine.push_back(memory->place_of(item.total, bytes));
  }
  Places places;
  for (const auto& bytes : plan_.all.gather(std::as_bytes(std::span(mine)))) {
    places.emplace_back(bytes.size() / sizeof(SharedPlace));
    std::memcpy(places.back().data(), bytes.data(), bytes.size());
  }
  return places;
}

void InPlaceSums::choose_items(const Places& places) {
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const ExchangeItem& item = plan_.items[i];
    bool all = item.elements > 0;
    for (int w = 0; w < plan_.size(); ++w) {
      const int nodes = plan_.node_counts[size_t(w)];
      for (int part = 0; part < nodes; ++part) all = all && place(places, w, i, part).block >= 0;
      if (item.whole && !plan_.is_small(item)) all = all && place(places, w, i, nodes).block >= 0;
    }
    takes_[i] = all;
  }
}

void InPlaceSums::plan_sums(const Places& places) {
  SharedMemory* memory = plan_.transport().shared_memory();
  const int rank = plan_.rank(), size = plan_.size();
  auto taken = [&](size_t i) { return takes_[i] && plan_.items[i].elements > 0; };
  size_t small_bytes = 0, small_at = 0;
  for (size_t i = 0; i < plan_.items.size(); ++i)
    if (taken(i) && plan_.is_small(plan_.items[i])) small_bytes += rounded_up(size_t(plan_.items[i].elements) * plan_.element_bytes(int(i)));
  small_.resize(small_bytes);
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    if (!taken(i)) continue;
    const ExchangeItem& item = plan_.items[i];
    const size_t bytes = byte_size(item.type);
    const bool by_all = plan_.is_small(item) || size == 1;
    const int64_t begin = by_all ? 0 : item.begins[size_t(rank)], end = by_all ? item.elements : item.begins[size_t(rank) + 1];
    Sum sum{int(i), end - begin, {}, plan_.total(int(i), begin)};
    for (SumTree::Source source : plan_.tree.sources()) {
      auto part = source.rank == rank ? static_cast<const std::byte*>(item.parts[size_t(source.node)]) : memory->address(source.rank, place(places, source.rank, i, source.node));
      sum.parts.push_back(part + size_t(begin) * bytes);
    }
    if (by_all && size > 1) {
      sum.to = small_.data() + small_at;
      small_copies_.push_back({sum.to, plan_.total(int(i), 0), size_t(item.elements) * bytes});
      small_at += rounded_up(size_t(item.elements) * bytes);
    }
    if (sum.elements > 0) sums_.push_back(std::move(sum));
    if (!item.whole || by_all) continue;
    whole_ = true;  // as all workers know
    for (int w = 0; w < size; ++w) {
      const int64_t first = item.begins[size_t(w)], last = item.begins[size_t(w) + 1];
      if (w == rank || first == last) continue;
      const std::byte* total = memory->address(w, place(places, w, i, plan_.node_counts[size_t(w)]));
      copies_.push_back({total + size_t(first) * bytes, plan_.total(int(i), first), size_t(last - first) * bytes});
    }
  }
}

void InPlaceSums::start() {
  stage_ = Stage::parts;
  round_ += per_round;
  if (word_ >= 0) plan_.transport().shared_memory()->set_word(word_, round_ + said_finished);
}

void InPlaceSums::advance() {
  if (word_ < 0) {
    if (stage_ == Stage::parts) add_all();  // the only worker's, or none
    stage_ = Stage::done;
    return;
  }
  SharedMemory* memory = plan_.transport().shared_memory();
  if (stage_ == Stage::parts && behind(said_finished) < 0) {
    add_all();
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

int InPlaceSums::awaited() const {
  if (stage_ == Stage::done) return -1;
  return behind(stage_ == Stage::parts ? said_finished : stage_ == Stage::sums ? said_added : said_copied);
}

int InPlaceSums::behind(uint32_t said) const {
  for (int w = 0; w < plan_.size(); ++w)
    if (w != plan_.rank() && !reached(plan_.transport().shared_memory()->word_of(word_, w), round_ + said)) return w;
  return -1;
}

void InPlaceSums::add_all() const {
  for (const Sum& sum : sums_) {
    const ExchangeItem& item = plan_.items[size_t(sum.item)];
    plan_.tree.join(item.type, item.combine, sum.parts, sum.elements, sum.to);
  }
}

}  // namespace nnc
