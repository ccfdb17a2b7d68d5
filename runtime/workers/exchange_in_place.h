// The road of an exchange on which nothing travels: parts are read where they lie, in memory that all workers see.
#pragma once

#include "runtime/workers/exchange_plan.h"

namespace nnc {

class InPlaceSums {
 public:
  /// Collective: workers tell each other where their parts lie. Takes the items of which all parts can be read.
  explicit InPlaceSums(const ExchangePlan& plan);
  InPlaceSums(const InPlaceSums&) = delete;
  InPlaceSums& operator=(const InPlaceSums&) = delete;
  ~InPlaceSums();

  bool takes(size_t item) const { return takes_[item]; }
  void start();
  void advance();
  bool complete() const { return stage_ == Stage::done; }
  int awaited() const;  ///< the worker on whom it depends; -1: unknown

 private:
  /// Places of all workers: of each, for each item its parts, then its total.
  using Places = std::vector<std::vector<SharedPlace>>;
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
  };

  /// How far this worker is: it waits until all parts are finished, all sums made, all copies made.
  enum class Stage : uint8_t { parts, sums, copies, done };

  Places tell_places() const;
  SharedPlace place(const Places& places, int rank, size_t item, int part) const { return places[size_t(rank)][item * size_t(plan_.node_counts[size_t(rank)] + 1) + size_t(part)]; }
  void choose_items(const Places& places);
  void plan_sums(const Places& places);
  int behind(uint32_t said) const;  ///< a worker that has not said so yet; -1: all have
  void add_all() const;

  const ExchangePlan& plan_;
  std::vector<bool> takes_;  ///< by item
  int word_ = -1;
  uint32_t round_ = 0;
  Stage stage_ = Stage::done;
  std::vector<Sum> sums_;
  std::vector<std::byte> small_;  ///< results of small items until others have read their parts
  std::vector<Copy> small_copies_, copies_;
  bool whole_ = false;  ///< somebody copies results
};

}  // namespace nnc
