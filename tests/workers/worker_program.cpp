// One worker, as mpirun starts it (or, with --workers, the first of several on this machine): what the tests of MPI and bench/exchange.py run.
//
//   nnc_worker random [--seed S] [--turns N]      random exchanges held against sums made alone; "all right" by worker 0
//   nnc_worker forever [--die RANK STEP | --stop RANK STEP | --leave RANK STEP]    exchanges until somebody dies, stops or leaves with an error
//   nnc_worker keep [--die ... | --stop ... | --leave ...]    as forever, with states in parts; worker 0 says what it puts together of their copies: "copies of step N"
//   nnc_worker busy                               worker 0 works by itself for longer than the others' patience (--stall), and says so; "waited" by worker 0
//   nnc_worker compare [--other RANK]             a fact that differs on one worker
//   nnc_worker time [--bytes N]                   median times in microseconds of exchanging and publishing, of three sizes or of this one, one JSON object by worker 0
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/state_copy.h"
#include "runtime/workers/launch.h"
#include "tests/workers/random_exchange.h"

namespace {

using namespace nnc;

struct Arguments {
  std::string command;
  WorkerOptions options;
  uint32_t seed = 1;
  int turns = 20, rank = -1, step = 0;
  int64_t bytes = 0;
  std::string event;
};

Arguments read_arguments(int argc, char** argv) {
  Arguments a;
  a.command = argc > 1 ? argv[1] : "";
  a.options.cores = 2;
  a.options.environment = [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  };
  for (int i = 2; i < argc; ++i) {
    std::string name = argv[i];
    auto next = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (name == "--workers") a.options.workers = std::atoi(next());
    if (name == "--transport") a.options.transport = next();
    if (name == "--stall") a.options.stall_seconds = std::atof(next());
    if (name == "--seed") a.seed = uint32_t(std::atoi(next()));
    if (name == "--turns") a.turns = std::atoi(next());
    if (name == "--bytes") a.bytes = std::atoll(next());
    if (name == "--other") a.rank = std::atoi(next());
    if (name == "--die" || name == "--stop" || name == "--leave") a.event = name.substr(2), a.rank = std::atoi(next()), a.step = std::atoi(next());
  }
  return a;
}

std::vector<int64_t> even(int64_t elements, int workers) {
  std::vector<int64_t> begins;
  for (int w = 0; w <= workers; ++w) begins.push_back(elements * w / workers);
  return begins;
}

/// Ends this worker, or stops it, if that is asked of it in this step.
void meet_event(const Arguments& a, const Transport& transport, int step) {
  if (transport.rank() != a.rank || step != a.step) return;
  if (a.event == "die") raise(SIGKILL);
  if (a.event == "stop") raise(SIGSTOP);
  throw UserError(Code::E0413, "cannot write `x`: no space left on device");
}

/// Three states in parts, one of them with nothing for most workers; all their elements are the number of the step. A copy is taken after every second step.
class KeptStates {
 public:
  KeptStates(const Arguments& a, Transport& transport) : arguments_(a), transport_(transport), all_(transport) {
    for (int64_t elements : {100'000, 3, 64 * transport.size()}) {
      PersistentSlot slot;
      slot.shape = {elements};
      slot.parts = even(elements, transport.size());
      slot.part = {slot.parts[size_t(transport.rank())], slot.parts[size_t(transport.rank()) + 1]};
      slot.offset = bytes_;
      bytes_ += (slot.part->count() * 4 + 63) / 64 * 64;
      program_.persistents.push_back(std::move(slot));
    }
    std::byte* shared = transport.share(size_t(bytes_));
    if (!shared) own_.resize(size_t(bytes_));
    state_ = {shared ? shared : own_.data(), size_t(bytes_)};
    copy_.emplace(program_, state_, &all_);
  }

  void go_on_for_ever() {
    for (int step = 1;; ++step) {
      auto* values = reinterpret_cast<float*>(state_.data());
      std::fill_n(values, state_.size() / 4, float(step));
      meet_event(arguments_, transport_, step);
      if (step % 2 == 0) {
        copy_->begin(step);
        all_.agree_any(false);
        copy_->take();
      } else {
        all_.barrier();
      }
    }
  }

  /// Of worker 0, in words.
  std::string recovered() {
    int missing = -1;
    const auto whole = copy_->recover(missing);
    if (missing >= 0) return fmt::format("worker {} is missing", missing);
    if (!whole) return transport_.rank() == 0 ? "nothing" : "";
    for (size_t p = 0; p < program_.persistents.size(); ++p)
      for (int w = 0; w < transport_.size(); ++w) {
        const std::vector<int64_t>& parts = program_.persistents[p].parts;
        for (int64_t e = 0; e < parts[size_t(w) + 1] - parts[size_t(w)]; ++e) {
          float value = 0;
          std::memcpy(&value, whole->parts[p][size_t(w)] + 4 * e, sizeof value);
          if (value != float(whole->number)) return fmt::format("{} in the copy of step {}, at {} of part {} of worker {}", value, whole->number, e, p, w);
        }
      }
    return fmt::format("copies of step {}", whole->number);
  }

 private:
  const Arguments& arguments_;
  Transport& transport_;
  Collectives all_;
  StepProgram program_;
  int64_t bytes_ = 0;
  std::vector<std::byte> own_;
  std::span<std::byte> state_;
  std::optional<StateCopy> copy_;
};

/// What worker 0 has after the end of another, or of its own, stands before the error.
void keep_for_ever(const Arguments& a, Transport& transport) {
  KeptStates states(a, transport);
  try {
    states.go_on_for_ever();
  } catch (const UserError& e) {
    transport.leave(e.what());
    const std::string words = states.recovered();
    if (transport.rank() == 0) std::puts(words.c_str());
    std::fflush(stdout);
    throw;
  }
}

void go_on_for_ever(const Arguments& a, Transport& transport) {
  Collectives all(transport);
  const int64_t elements = 200'000;
  std::vector<float> part(size_t(elements), 1.0f), total(part);
  Exchange exchange(all, {{DType::f32, elements, Combine::sum, {part.data()}, total.data(), even(elements, all.size()), true}}, nodes_of_workers(all.size(), all.size()));
  for (int step = 0;; ++step) {
    meet_event(a, transport, step);
    exchange.start();
    exchange.finish();
  }
}

/// The median of several turns, in microseconds. before() is not counted.
template <class Turn>
double median_time(Collectives& all, int turns, Turn&& turn, const std::function<void()>& before = [] {}) {
  std::vector<double> times;
  for (int i = 0; i < turns + turns / 4 + 2; ++i) {
    before();
    all.barrier();
    auto start = std::chrono::steady_clock::now();
    turn();
    double time = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    if (i >= turns / 4 + 2) times.push_back(time);
  }
  std::nth_element(times.begin(), times.begin() + std::ptrdiff_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

struct MeasuredSize {
  const char* name;
  int64_t bytes;
  int turns;
};

void measure(Transport& transport, int64_t asked) {
  Collectives all(transport);
  nlohmann::ordered_json rows;
  std::vector<MeasuredSize> sizes{{"200 KB", 200'000, 2000}, {"4 MB", 4'000'000, 300}, {"20 MB", 20'000'000, 60}};
  if (asked > 0) sizes = {{"asked", asked, int(std::clamp<int64_t>(1'200'000'000 / asked, 10, 2000))}};
  for (auto [name, bytes, turns] : sizes) {
    const int64_t elements = bytes / 4;
    std::vector<float> own;
    float* part = reinterpret_cast<float*>(transport.share(size_t(bytes)));
    if (!part) {
      own.resize(size_t(elements));
      part = own.data();
    }
    std::fill_n(part, elements, 0.0f);
    std::vector<int64_t> begins = even(elements, all.size());
    Exchange shards(all, {{DType::f32, elements, Combine::sum, {part}, part, begins, false}}, nodes_of_workers(all.size(), all.size()));
    Publish publish(all, {{part, 4, begins}});
    double sum = median_time(all, turns, [&] { shards.start(), shards.finish(); });
    double spread = median_time(all, turns, [&] { publish.start(), publish.finish(); });
    double both = median_time(all, turns, [&] { shards.start(), shards.finish(), publish.start(), publish.finish(); });
    double fresh = median_time(all, turns, [&] { shards.start(), shards.finish(), publish.start(), publish.finish(); }, [&] { std::fill_n(part, elements, 1.0f); });
    if (part[0] != float(all.size()) || part[elements - 1] != float(all.size())) throw std::runtime_error("a wrong sum");
    rows[name] = {{"bytes", bytes}, {"shards_us", sum}, {"publish_us", spread}, {"both_us", both}, {"fresh_both_us", fresh}};
  }
  std::vector<float> scalars(8, 1.0f), results(8);
  std::vector<ExchangeItem> items;
  for (size_t i = 0; i < 8; ++i) {
    std::vector<int64_t> begins(size_t(all.size()), 0);
    begins.push_back(1);
    items.push_back({DType::f32, 1, Combine::sum, {&scalars[i]}, &results[i], begins, true});
  }
  Exchange small(all, items, nodes_of_workers(all.size(), all.size()));
  rows["8 scalars"] = {{"whole_us", median_time(all, 2000, [&] { small.start(), small.finish(); })}};
  rows["barrier"] = {{"us", median_time(all, 2000, [&] { all.barrier(); })}};
  if (all.rank() == 0) std::printf("%s\n", nlohmann::ordered_json{{"transport", transport.name()}, {"workers", all.size()}, {"times", rows}}.dump().c_str());
}

int work(const Arguments& a, Transport& transport) {
  if (a.command == "random") {
    std::string wrong = test::exchange_at_random(transport, a.seed, a.turns);
    std::fputs(wrong.c_str(), stderr);
    if (!wrong.empty()) return 1;
    if (transport.rank() == 0) std::printf("all right: %d workers, %s\n", transport.size(), std::string(transport.name()).c_str());
  } else if (a.command == "forever") {
    go_on_for_ever(a, transport);
  } else if (a.command == "keep") {
    keep_for_ever(a, transport);
  } else if (a.command == "busy") {
    Collectives all(transport);
    if (transport.rank() == 0) all.while_others_wait([&] { std::this_thread::sleep_for(std::chrono::duration<double>(3 * a.options.stall_seconds)); });
    transport.barrier();
    if (transport.rank() == 0) std::puts("waited");
  } else if (a.command == "compare") {
    Collectives all(transport);
    compare_at_start(all, {{"version", "1"}, {"program", transport.rank() == a.rank ? "b" : "a"}, {"seed", "0"}});
    if (transport.rank() == 0) std::puts("alike");
  } else if (a.command == "time") {
    measure(transport, a.bytes);
  } else {
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments a = read_arguments(argc, argv);
  std::unique_ptr<Transport> transport;
  int status = 1;
  try {
    transport = start_workers(a.options);
    status = work(a, *transport);
    std::fflush(stdout);
  } catch (const UserError& e) {
    if (!transport || transport->rank() == 0) std::fputs(render_text(e.diagnostic(), {}, false).c_str(), stderr);
    if (transport) transport->leave(e.what());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    if (transport) transport->leave(e.what());
  }
  return status;
}
