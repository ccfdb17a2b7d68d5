// An exchange has two roads, chosen item by item when it is made: in place, where every worker's parts lie in memory that all see, else by messages. Both add in the order of SumTree.
#include <algorithm>

#include "base/check.h"
#include "runtime/workers/collectives.h"
#include "runtime/workers/exchange_in_place.h"
#include "runtime/workers/exchange_messages.h"

namespace nnc {
namespace {

ExchangePlan checked_plan(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes) {
  NNC_CHECK(int(nodes.size()) == all.size(), "nodes of every worker");
  ExchangePlan plan{all, std::move(items), SumTree(nodes), {}};
  for (const auto& list : nodes) plan.node_counts.push_back(int(list.size()));
  for (const ExchangeItem& item : plan.items) {
    NNC_CHECK(int(item.parts.size()) == plan.node_counts[size_t(all.rank())], "a part for each node of this worker");
    NNC_CHECK(int(item.begins.size()) == all.size() + 1 && item.begins.front() == 0 && item.begins.back() == item.elements && std::is_sorted(item.begins.begin(), item.begins.end()),
              "owners' ranges are all elements");
  }
  return plan;
}

}  // namespace

class Exchange::State final : public OnItsWay {
 public:
  State(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes, Options options)
      : plan_(checked_plan(all, std::move(items), nodes)), in_place_(plan_), messages_(plan_, not_in_place(), options.segment_bytes) {}

  ~State() override {
    if (!on_its_way_) return;
    plan_.all.remove(this);
    plan_.transport().abandon();
  }

  void start() {
    NNC_CHECK(!on_its_way_, "an exchange that is on its way is started again");
    on_its_way_ = true;
    plan_.all.add(this);
    in_place_.start();
    messages_.start();
    plan_.transport().progress();
    advance();
  }

  void finish() {
    NNC_CHECK(on_its_way_, "an exchange is finished that was not started");
    plan_.transport().wait_until(
        [&] {
          plan_.all.advance_all();
          return in_place_.complete() && messages_.complete();
        },
        [&] { return in_place_.complete() ? messages_.awaited() : in_place_.awaited(); });
    on_its_way_ = false;
    plan_.all.remove(this);
  }

  void advance() override {
    in_place_.advance();
    messages_.advance();
  }

 private:
  std::vector<bool> not_in_place() const {
    std::vector<bool> items(plan_.items.size());
    for (size_t i = 0; i < items.size(); ++i) items[i] = !in_place_.takes(i);
    return items;
  }

  ExchangePlan plan_;
  InPlaceSums in_place_;
  SumMessages messages_;
  bool on_its_way_ = false;
};

Exchange::Exchange(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes) : Exchange(all, std::move(items), nodes, Options()) {}
Exchange::Exchange(Collectives& all, std::vector<ExchangeItem> items, const std::vector<std::vector<SumNode>>& nodes, Options options)
    : state_(std::make_unique<State>(all, std::move(items), nodes, options)) {}
Exchange::~Exchange() = default;
Exchange::Exchange(Exchange&&) noexcept = default;
void Exchange::start() { state_->start(); }
void Exchange::finish() { state_->finish(); }

}  // namespace nnc
