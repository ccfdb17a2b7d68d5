// Sums are persistents of kind `partial` that a share stage stores; what they are for is seen where the last stage reads them.
#include "engine/step_exchanges.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"

namespace nnc {
namespace {

/// Which updates of the last stage each partial sum leads to, and of which it is the gradient: the new value is made of it, element by element.
class SumUses {
 public:
  explicit SumUses(const Graph& last) : last_(last) {
    for (const Update& update : last.updates) {
      const Persistent& updated = *last.find_persistent(update.name);
      follow(update, updated, false);
      if (updated.kind == PersistentKind::parameter) follow(update, updated, true);
    }
  }
  void describe(ExchangedSum& sum, bool is_read_by_rows) const {
    const auto led_to = updates_.find(sum.name);
    const auto own = gradients_.find(sum.name);
    std::vector<std::string> parameters;
    if (led_to != updates_.end())
      std::ranges::copy_if(led_to->second, std::back_inserter(parameters), [&](const std::string& name) { return last_.find_persistent(name)->kind == PersistentKind::parameter; });
    if (is_read_by_rows) sum.use = SumUse::rows;
    else if (own != gradients_.end()) sum.use = SumUse::gradient, sum.parameter = own->second;
    else if (parameters.size() == 1) sum.use = SumUse::gradient, sum.parameter = parameters.front();
    else if (led_to != updates_.end()) sum.use = SumUse::updates;
    else sum.use = SumUse::result;
  }

 private:
  /// `aligned`: only through operations on values of its shape.
  void follow(const Update& update, const Persistent& updated, bool aligned) {
    std::vector<NodeId> pending{update.node};
    std::set<NodeId> seen{update.node};
    while (!pending.empty()) {
      const NodeId at = pending.back();
      pending.pop_back();
      const Node& node = last_[at];
      const Persistent* read = node.op == Op::parameter ? last_.find_persistent(node.attributes.text) : nullptr;
      if (read && read->kind == PersistentKind::partial) {
        if (aligned) gradients_.try_emplace(read->name, updated.name);
        else updates_[read->name].push_back(updated.name);
      }
      for (NodeId o : node.operands)
        if ((!aligned || last_.type(o).shape == updated.type.shape) && seen.insert(o).second) pending.push_back(o);
    }
  }

  const Graph& last_;
  std::map<std::string, std::vector<std::string>> updates_;
  std::map<std::string, std::string> gradients_;
};

std::set<std::string> stored_persistents(const Program& program) {
  std::set<std::string> names;
  for (const Kernel& kernel : program.kernels)
    for_each_access(kernel, [&](const Instruction& i) {
      if (writes_memory(i) && program[i.access.buffer].kind == BufferKind::persistent) names.insert(program[memory_of(program, i.access.buffer)].name);
    });
  return names;
}

template <class Cost>
Traffic most_of_workers(int workers, const std::vector<SharedArray>& arrays, Cost&& cost) {
  Traffic most;
  for (int w = 0; w < workers; ++w) {
    Traffic own;
    for (const SharedArray& a : arrays) own += cost(a, w);
    most = {std::max(most.sent, own.sent), std::max(most.received, own.received)};
  }
  return most;
}

}  // namespace

std::string_view sum_use_name(SumUse use) {
  switch (use) {
    case SumUse::rows: return "rows";
    case SumUse::gradient: return "gradient";
    case SumUse::updates: return "updates";
    case SumUse::result: return "result";
  }
  NNC_UNREACHABLE("a use of no name");
}

int busiest_worker(const BatchPlan& plan, int workers) {
  int busiest = 0;
  int64_t most = 0;
  for (int w = 0; w < workers; ++w) {
    const PieceRun run = run_of(w, workers, plan.pieces());
    if (run.end - run.begin > most) most = run.end - run.begin, busiest = w;
  }
  return busiest;
}

std::vector<SharedArray> StepExchanges::sums_of(size_t stage) const {
  std::vector<SharedArray> arrays;
  for (const ExchangedSum& sum : sums)
    if (sum.stage == stage) arrays.push_back(sum.array);
  return arrays;
}

std::vector<SharedArray> StepExchanges::published() const {
  std::vector<SharedArray> arrays;
  for (const OwnedArray& o : owned)
    if (o.is_published) arrays.push_back(o.array);
  return arrays;
}

Traffic StepExchanges::busiest_exchange(const std::vector<SharedArray>& arrays) const {
  return most_of_workers(workers, arrays, [&](const SharedArray& a, int w) { return exchange_traffic(a, nodes, w); });
}

Traffic StepExchanges::busiest_publish(const std::vector<SharedArray>& arrays) const { return most_of_workers(workers, arrays, publish_traffic); }

StepExchanges find_exchanges(const TrainingGraphs& graphs, const StepPrograms& programs, int workers) {
  StepExchanges e;
  e.workers = workers;
  e.batches = programs.plan.accumulate;
  e.pieces = programs.plan.pieces();
  e.nodes = nodes_of_workers(workers, e.pieces);
  for (int w = 0; w < workers; ++w) {
    const PieceRun run = run_of(w, workers, e.pieces);
    e.rows.push_back(std::min(run.end * programs.plan.piece, programs.plan.whole()) - std::min(run.begin * programs.plan.piece, programs.plan.whole()));
  }
  e.busiest = busiest_worker(programs.plan, workers);
  if (!graphs.stages) return e;
  e.share_stages = programs.stages.size() - 1;
  const SumUses uses(graphs.stages->last);
  for (size_t stage = 0; stage < e.share_stages; ++stage) {
    const std::set<std::string> stored = stored_persistents(programs.stages[stage]);
    e.stops += int(segments_of(programs.stages[stage]).size()) - 1;
    for (const StageSum& sum : programs.sums) {
      if (!stored.contains(sum.name)) continue;
      ExchangedSum s{sum.name, SumUse::result, "", sum.type, {}, stage, {sum.type.elements(1), int64_t(byte_size(sum.type.dtype)), {}, true}};
      if (const Persistent* p = graphs.stages->last.find_persistent(sum.name)) s.span = p->span;
      const auto owned = std::ranges::find_if(programs.owned, [&](const OwnedRange& o) { return o.name == sum.name && !o.updated; });
      s.array.whole = sum.exchanged || owned == programs.owned.end();
      s.array.begins = s.array.whole ? even_ranges(s.array.elements, workers) : owned->begins;
      uses.describe(s, sum.exchanged || stage + 1 < e.share_stages);
      e.sums.push_back(std::move(s));
    }
  }
  std::ranges::stable_sort(e.sums, {}, [](const ExchangedSum& s) { return std::pair(s.stage, s.use); });
  for (const HandedRows& h : programs.handed) {
    SharedArray& array = e.handed.emplace_back();
    array.elements = programs.plan.whole();
    array.element_bytes = h.type.elements(1) * int64_t(byte_size(h.type.dtype));
    array.begins = {0};
    for (int64_t rows : e.rows) array.begins.push_back(array.begins.back() + rows);
  }
  for (const OwnedRange& o : programs.owned) {
    if (!o.updated) continue;
    const Persistent& p = *graphs.stages->last.find_persistent(o.name);
    e.owned.push_back({o.name, p.kind, {p.type.elements(1), int64_t(byte_size(p.type.dtype)), o.begins, true}, !o.in_parts});
  }
  return e;
}

WorkerMemory worker_memory(const StepPrograms& programs, const StepExchanges& exchanges) {
  WorkerMemory m;
  const Program& last = programs.last();
  for (const PersistentPlace& place : last.persistents) {
    const int64_t bytes = last[place.buffer].bytes;
    (place.persistent.kind == PersistentKind::partial           ? m.partials
     : place.persistent.kind == PersistentKind::optimizer_state ? m.optimizer
                                                                : m.parameters) += bytes;
  }
  for (const Program& stage : programs.stages) m.arena = std::max(m.arena, stage.arena_bytes), m.local = std::max(m.local, stage.local_bytes);
  if (!programs.is_staged()) return m;
  // Parts that wait until those beside them are there.
  const int64_t most = std::max<int64_t>(1, programs.stages.front().rows / programs.plan.piece);
  std::vector<SumNode> shares;
  for (SumNode node : exchanges.nodes[size_t(exchanges.busiest)]) {
    const int64_t end = node.end();
    while (node.count() > most) --node.level;
    for (; node.first < end; node.first += node.count()) shares.push_back(node);
  }
  int64_t waiting = 0;
  for (const ExchangedSum& sum : exchanges.sums) waiting += (sum.array.bytes() + 63) / 64 * 64;
  m.partials += int64_t(most_waiting(shares)) * waiting;
  for (const SharedArray& rows : exchanges.handed) m.partials += rows.bytes();
  // Shares that stop for what all give stand side by side.
  if (std::ranges::any_of(programs.sums, &StageSum::exchanged)) m.arena *= int64_t(std::max<size_t>(shares.size(), 1));
  return m;
}

}  // namespace nnc
