// nnc plan: what several workers would make of a training step (engine/worker_plan.h). For each number of workers, processes of this machine measure a worker's part side by side.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/worker_plan.h"
#include "runtime/workers/launch.h"
#include "runtime/workers/local_memory.h"

namespace nnc {
namespace {

constexpr int most_workers = 1024;

struct PlanOptions {
  CommonOptions common;
  std::string workers, network;
  std::optional<int> cores, per_host;
  int turns = 9;
};

// --- what is asked for ---

[[noreturn]] void refuse_workers(const std::string& text, const std::string& why) {
  throw UserError(Code::E0601, fmt::format("`--workers {}`: {}", text, why), "the command line",
                  fmt::format("numbers of workers from 1 to {}, and ranges that double: `--workers 2..16` is 2, 4, 8, 16; `--workers 1,2,3`", most_workers));
}

/// "2,3,8..64": a range doubles from its beginning, and its end is the last.
std::vector<int> read_worker_counts(const std::string& text) {
  auto number = [&](std::string_view part) {
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size()) refuse_workers(text, fmt::format("`{}` is no number of workers", part));
    if (value < 1 || value > most_workers) refuse_workers(text, fmt::format("{} workers cannot be planned for", value));
    return value;
  };
  std::vector<int> counts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view part = std::string_view(text).substr(at, end - at);
    const size_t dots = part.find("..");
    if (dots == std::string_view::npos) {
      counts.push_back(number(part));
    } else {
      const int first = number(part.substr(0, dots)), last = number(part.substr(dots + 2));
      if (first > last) refuse_workers(text, fmt::format("the range `{}` ends before it begins", part));
      for (int n = first; n < last; n *= 2) counts.push_back(n);
      counts.push_back(last);
    }
    at = end + 1;
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

struct Unit {
  std::string_view name;
  double factor;
};
constexpr Unit time_units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};
constexpr Unit rate_units[] = {{"kB/s", 1e3}, {"MB/s", 1e6}, {"GB/s", 1e9}, {"TB/s", 1e12}, {"Mbit/s", 1e6 / 8}, {"Gbit/s", 1e9 / 8}, {"B/s", 1}};

/// A number with one of these units.
template <size_t N>
std::optional<double> read_quantity(std::string_view text, const Unit (&units)[N]) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  const std::string_view name = text.substr(size_t(end - text.data()));
  for (const Unit& unit : units)
    if (name == unit.name) return value * unit.factor;
  return std::nullopt;
}

Network read_network(const std::string& text) {
  auto refuse = [&](const std::string& why) {
    throw UserError(Code::E0601, fmt::format("`--network {}`: {}", text, why), "the command line",
                    "LATENCY,BANDWIDTH of a message between two workers: `--network 10us,12.5GB/s`; ns, us, ms or s, and MB/s, GB/s or Gbit/s. bench/exchange.py measures both");
  };
  const size_t comma = text.find(',');
  if (comma == std::string::npos) refuse("two figures are needed");
  const std::string latency_text = text.substr(0, comma), bandwidth_text = text.substr(comma + 1);
  const std::optional<double> latency = read_quantity(latency_text, time_units), bandwidth = read_quantity(bandwidth_text, rate_units);
  if (!latency) refuse(fmt::format("`{}` is no time", latency_text));
  if (!bandwidth) refuse(fmt::format("`{}` is no bandwidth", bandwidth_text));
  if (!(*latency >= 0 && *latency <= 10)) refuse(fmt::format("a message does not take {}; a latency is from 0 to 10 s", latency_text));
  if (!(*bandwidth >= 1e3 && *bandwidth <= 1e15)) refuse(fmt::format("no network has {}; a bandwidth is from 1 kB/s to 1000 TB/s", bandwidth_text));
  return {*latency, *bandwidth};
}

WorkerHosts hosts_of(const PlanOptions& o, int workers) {
  WorkerHosts hosts;
  hosts.here = default_threads();
  hosts.cores = o.cores.value_or(hosts.here);
  hosts.per_host = std::min(workers, o.network.empty() ? workers : o.per_host.value_or(1));
  hosts.threads = o.common.threads.value_or(std::max(1, hosts.cores / hosts.per_host));
  if (hosts.threads > hosts.here)
    throw UserError(Code::E0601, fmt::format("a worker with {} threads cannot be measured here, where {} core{}", hosts.threads, hosts.here, hosts.here == 1 ? " is" : "s are"), "the command line",
                    fmt::format("`--threads {}`, or more workers to a host: `--per-host {}`", hosts.here, (hosts.cores + hosts.here - 1) / hosts.here));
  return hosts;
}

/// All that can be said before anything is measured.
void check_request(Session& session, const PlanOptions& o, const std::vector<int>& counts) {
  const int most = counts.back();
  if (o.network.empty() && o.per_host)
    throw UserError(Code::E0601, "`--per-host` without `--network`: then all workers are on this machine", "the command line", "say what is between hosts: `--network 10us,12.5GB/s`");
  if (o.network.empty() && most > most_local_workers)
    throw UserError(Code::E0544, fmt::format("`--workers {}`: a run has 1 to {} workers on one machine", o.workers, most_local_workers), "the command line",
                    "of several machines: `--network 10us,12.5GB/s`");
  session.workers = most;
  require_pieces(session, planned_batch(session));
  for (int n : counts) hosts_of(o, n);
}

// --- measuring ---

/// As one of the processes that measure side by side; nothing in those that were only started for that, which have nothing more to do.
std::optional<PlannedStep> plan_among_others(Session& session, const WorkerHosts& hosts, const std::optional<Network>& network, int turns) {
  if (hosts.copies() == 1) return plan_step(session, hosts, network, nullptr, turns);
  constexpr double patience = 600;  // seconds: compiling takes its time
  std::unique_ptr<Transport> transport = start_workers({.workers = hosts.copies(), .transport = "local", .stall_seconds = patience, .cores = default_threads(), .environment = {}});
  try {
    Collectives beside(*transport);
    if (transport->rank() > 0) session.on_warning = {};
    PlannedStep step = plan_step(session, hosts, network, &beside, turns);
    beside.barrier();
    if (transport->rank() == 0) return step;
  } catch (const UserError& e) {
    transport->leave(e.diagnostic().message);
    if (transport->rank() == 0) throw;
  } catch (const ProgramErrors& e) {
    transport->leave(e.what());
    if (transport->rank() == 0) throw;
  }
  return std::nullopt;
}

// --- the table ---

std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

std::string network_text(const Network& n) { return fmt::format("{} and {}", time_text(n.latency), in_units(n.bandwidth, "B/s")); }

void print_as_text(const Session& session, const PlanOptions& o, const std::vector<PlannedStep>& steps) {
  const BatchPlan plan = planned_batch(session);
  std::printf("a batch of %lld rows in %lld pieces; ", static_cast<long long>(plan.whole()), static_cast<long long>(plan.pieces()));
  if (o.network.empty()) std::printf("all workers on one machine of %d cores, in its memory\n\n", steps.front().hosts.cores);
  else std::printf("hosts of %d cores, a network of %s\n\n", steps.front().hosts.cores, network_text(steps.back().network).c_str());
  std::vector<std::vector<std::string>> rows{{"workers", "a host", "threads", "rows", "itself", "exchange", "publish", "step", "faster", "efficiency", "sent", "received", "memory", "ring", "tree"}};
  for (const PlannedStep& s : steps) {
    const bool several = s.workers > 1;
    auto of_several = [&](std::string text) { return several ? std::move(text) : std::string("-"); };
    rows.push_back({std::to_string(s.workers), std::to_string(s.hosts.per_host), std::to_string(s.hosts.threads), std::to_string(s.rows), time_text(s.own_seconds), of_several(time_text(s.exchange_seconds)),
                    of_several(time_text(s.publish_seconds)), time_text(s.seconds()), fmt::format("{:.2f}", steps.front().seconds() / s.seconds()), fmt::format("{:.0f} %", 100 * efficiency(steps.front(), s)),
                    of_several(in_units(double(s.traffic.sent), "B")), of_several(in_units(double(s.traffic.received), "B")), in_units(double(s.memory.all(s.hosts.threads)), "B"),
                    of_several(time_text(s.ring_seconds)), of_several(time_text(s.tree_seconds))});
  }
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{}{:>{}}", i ? "  " : "", row[i], widths[i]);
    std::printf("%s\n", line.c_str());
  }
  std::printf("\nitself: measured here, what the worker with most rows computes and adds. exchange, publish: modelled, sums to the owners of their ranges, then new values to everybody.\n"
              "sent, received, memory: of one worker in a step. efficiency: speed for each core in use, beside one worker.\n"
              "ring, tree: for comparison, an all-reduce in the place of exchange and publish. docs/workers.md says what the model leaves out.\n");
  if (!o.network.empty()) return;
  for (const PlannedStep& s : steps)
    if (s.workers > 1) std::printf("memory as a network, measured among %d: %s\n", s.hosts.copies(), network_text(s.network).c_str());
}

void print_as_json(const PlannedStep& one, const PlannedStep& s) {
  nlohmann::ordered_json line{{"workers", s.workers},
                              {"per_host", s.hosts.per_host},
                              {"cores", s.hosts.cores},
                              {"threads", s.hosts.threads},
                              {"rows", s.rows},
                              {"pieces", s.pieces},
                              {"own_us", s.own_seconds * 1e6},
                              {"exchange_us", s.exchange_seconds * 1e6},
                              {"publish_us", s.publish_seconds * 1e6},
                              {"step_us", s.seconds() * 1e6},
                              {"faster", one.seconds() / s.seconds()},
                              {"efficiency", efficiency(one, s)},
                              {"sent_bytes", s.traffic.sent},
                              {"received_bytes", s.traffic.received},
                              {"memory", {{"parameters", s.memory.parameters}, {"optimizer", s.memory.optimizer}, {"partials", s.memory.partials}, {"arena", s.memory.arena}, {"local", s.memory.local}}}};
  if (s.workers > 1) {
    line["ring_us"] = s.ring_seconds * 1e6;
    line["tree_us"] = s.tree_seconds * 1e6;
    line["network"] = {{"latency_us", s.network.latency * 1e6}, {"bytes_per_second", s.network.bandwidth}};
  }
  print_json_line(line);
}

int plan(Session& session, const PlanOptions& o) {
  const std::vector<int> asked = read_worker_counts(o.workers);
  std::optional<Network> network;
  if (!o.network.empty()) network = read_network(o.network);
  session.load();
  session.require_train();
  check_request(session, o, asked);
  std::vector<int> counts = asked;
  if (counts.front() != 1) counts.insert(counts.begin(), 1);  // what the others are held against
  std::vector<PlannedStep> steps;
  for (int n : counts) {
    session.workers = n;
    std::optional<PlannedStep> step = plan_among_others(session, hosts_of(o, n), network, o.turns);
    if (!step) return exit_done;
    steps.push_back(*std::move(step));
    session.on_warning = {};  // all of them are said
  }
  if (!o.common.json) print_as_text(session, o, steps);
  else
    for (const PlannedStep& s : steps) print_as_json(steps.front(), s);
  return exit_done;
}

}  // namespace

Command plan_command() {
  auto o = std::make_shared<PlanOptions>();
  Command command("plan",
                  "what several workers would make of a step: time, bytes, memory; kernels measured here, the network by a model\n\n"
                  "  nnc plan net.nn --workers 2,4 --set data.pieces=4               on this machine\n"
                  "  nnc plan net.nn --workers 2..64 --network 10us,12.5GB/s --set data.pieces=64\n"
                  "  nnc plan net.nn --workers 8 --network 2us,25GB/s --cores 32 --per-host 16\n");
  add_common(command, o->common);
  command.option("--threads", o->common.threads, "of a worker (default: the cores of a host, shared out to its workers)").in_range(1, 1024);
  command.option("--workers", o->workers, "how many: numbers and ranges that double, 2,3,8..64").required();
  command.option("--network", o->network, "LATENCY,BANDWIDTH between workers of several hosts, 10us,12.5GB/s (default: all are on this machine)");
  command.option("--cores", o->cores, "of a host, shared by its workers (default: those of this machine)").in_range(1, 65536);
  command.option("--per-host", o->per_host, "with --network: workers of a host (1)").in_range(1, most_workers);
  command.option("--turns", o->turns, "how often each is measured (9)").in_range(1, 10000);
  command.when_memory_is_short = smaller_batch;
  command.run = [o] { return with_session(o->common, [&](Session& session) { return plan(session, *o); }); };
  return command;
}

}  // namespace nnc
