// Copies of what lasts, taken by several workers, and what worker 0 puts together of them when another has died: each worker's state says whose it is and of which step.
#include "runtime/state_copy.h"

#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "runtime/step_runner.h"
#include "tests/unit/catch.h"
#include "tests/workers/local_run.h"
#include "tests/workers/unshared_transport.h"

using namespace nnc;
using namespace nnc::test;

namespace {

const std::vector<int64_t> uneven = {0, 5, 5, 12};  // of three workers; the second has nothing

/// Of so many workers: a weight, that all have, and states in parts: of uneven sizes, of even ones, and all of it with the last worker.
StepProgram program_of(int rank, int workers, bool in_parts = true) {
  StepProgram program;
  int64_t bytes = 0;
  auto add = [&](const std::string& name, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> parts, std::vector<int> order) {
    PersistentSlot slot{name, dtype, std::move(shape), std::move(order), bytes, parts.empty()};
    if (!parts.empty()) {
      slot.part = ElementRange{parts[size_t(rank)], parts[size_t(rank) + 1]};
      slot.parts = std::move(parts);
    }
    bytes += (slot.here().count() * int64_t(byte_size(dtype)) + 63) / 64 * 64;
    program.persistents.push_back(slot);
  };
  auto begins = [&](int64_t elements, auto begin) {
    std::vector<int64_t> all;
    for (int w = 0; in_parts && w <= workers; ++w) all.push_back(w == workers ? elements : begin(w));
    return all;
  };
  add("first", DType::f32, {12}, begins(12, [&](int w) { return workers == 3 ? uneven[size_t(w)] : 12 * w / workers; }), {});
  add("weight", DType::f32, {4}, {}, {});
  add("second", DType::f64, {2, 3000}, begins(6000, [&](int w) { return 6000 * w / workers; }), {1, 0});
  add("last", DType::f32, {3}, begins(3, [](int) { return 0; }), {});
  program.persistent_bytes = bytes;
  return program;
}

/// What element `at` in memory of persistent `index` is after so many updates, with the worker who has it.
double value(size_t index, int worker, int64_t number, int64_t at) { return double(number * 100'000 + int64_t(index) * 20'000 + worker * 7'000 + at); }

/// One worker's runner, whose steps are made by hand.
class Copied {
 public:
  explicit Copied(Collectives* workers, bool in_parts = true) : team_(1), workers_(workers), rank_(workers ? workers->rank() : 0), runner_(program_of(rank_, workers ? workers->size() : 1, in_parts), team_, workers) {}

  StepRunner& runner() { return runner_; }
  std::span<std::byte> state() { return {const_cast<std::byte*>(runner_.persistent_block().data()), runner_.persistent_block().size()}; }

  /// The state after so many updates.
  void step(int64_t number) {
    for (size_t i = 0; i < runner_.program().persistents.size(); ++i) {
      const PersistentSlot& slot = runner_.program().persistents[i];
      const ElementRange here = slot.here();
      for (int64_t at = here.begin; at < here.end; ++at) {
        const double v = value(i, slot.part ? rank_ : 0, number, at);
        std::byte* to = state().data() + slot.offset + (at - here.begin) * int64_t(byte_size(slot.dtype));
        if (slot.dtype == DType::f32) {
          const auto single = float(v);
          std::memcpy(to, &single, sizeof single);
        } else {
          std::memcpy(to, &v, sizeof v);
        }
      }
    }
  }

  /// Of which number all is that worker 0 has recovered; what is not of that number, or another's, is said.
  std::string recovered() {
    int missing = 7;
    const std::optional<int64_t> number = runner_.recover_state(missing);
    if (missing != -1) return fmt::format("worker {} is missing", missing);
    if (!number) return "nothing";
    for (size_t i = 0; i < runner_.program().persistents.size(); ++i) {
      const PersistentSlot& slot = runner_.program().persistents[i];
      std::vector<std::byte> bytes(size_t(slot.elements()) * byte_size(slot.dtype));
      runner_.get_persistent(i, bytes.data());
      for (int64_t at = 0; at < slot.elements(); ++at) {
        // Row-major; one persistent stands by columns.
        const int64_t n = slot.order.empty() ? at : at % slot.shape[0] * slot.shape[1] + at / slot.shape[0];
        int owner = 0;
        while (slot.part && at >= slot.parts[size_t(owner) + 1]) ++owner;
        const double expected = value(i, owner, *number, at);
        double found = 0;
        if (slot.dtype == DType::f32) {
          float single = 0;
          std::memcpy(&single, bytes.data() + size_t(n) * sizeof single, sizeof single);
          found = single;
        } else {
          std::memcpy(&found, bytes.data() + size_t(n) * sizeof found, sizeof found);
        }
        if (found != expected) return fmt::format("{}: element {} of {} is {}, not {}", *number, at, slot.name, found, expected);
      }
    }
    return std::to_string(*number);
  }

 private:
  Team team_;
  Collectives* workers_;
  int rank_;
  StepRunner runner_;
};

void pause_milliseconds(long milliseconds) {
  timespec pause{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  nanosleep(&pause, nullptr);
}

/// Runs `work` on so many processes, of which worker 1 dies in it. What worker 0 says: of which number all is that it recovers.
template <class Act>
std::string after_death(int workers, Act&& work) {
  const std::vector<std::string> said = run_processes(workers, [&](Transport& t) -> std::string {
    Collectives all(t);
    Copied copied(&all);
    try {
      work(all, copied);
    } catch (const WorkerLost& lost) {
      const std::string found = copied.recovered();
      return lost.rank() == 1 ? found : fmt::format("worker {} is lost, not 1", lost.rank());
    }
    return "nobody is lost";
  });
  // The others have nothing to put together.
  for (int w = 2; w < workers; ++w) CHECK(said[size_t(w)] == "nothing");
  return said[0];
}

void die_if(bool dies, int by) {
  if (!dies) return;
  if (by == 0) _exit(3);
  raise(by);
}

}  // namespace

TEST_CASE("a copy is what a run with one worker goes back to", "[state_copy]") {
  Copied one(nullptr, false);
  int missing = 7;
  CHECK_FALSE(one.runner().recover_state(missing));
  CHECK(missing == -1);
  CHECK(one.runner().kept_number() == -1);
  CHECK(one.runner().kept_state().empty());
  for (int64_t number : {0, 3, 8}) {
    one.step(number);
    CHECK(one.runner().keep_state(number) == -1);
    CHECK(one.runner().kept_number() == number);
    one.step(number + 1);
    CHECK(std::memcmp(one.runner().kept_state().data(), one.state().data(), 4) != 0);
    CHECK(one.recovered() == std::to_string(number));
  }
  // What is not finite is not copied, unless it is to be left alone.
  one.step(9);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(one.state().data() + one.runner().program().persistents[1].offset, &nan, sizeof nan);
  CHECK(one.runner().keep_state(9) == 1);
  CHECK(one.runner().kept_number() == 8);
  CHECK(one.runner().keep_state(9, {false, true}) == -1);
  CHECK(one.runner().kept_number() == 9);
}

TEST_CASE("copies of several workers are of one number, and none is taken of what is not finite on one", "[state_copy]") {
  const std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    Collectives all(t);
    Copied copied(&all);
    std::string text = copied.recovered();
    copied.step(4);
    text += fmt::format(" {}", copied.runner().keep_state(4));
    copied.step(5);
    if (t.rank() == 2) {
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(copied.state().data(), &nan, sizeof nan);
    }
    text += fmt::format(" {} {}", copied.runner().keep_state(5), copied.runner().kept_number());
    all.barrier();
    text += " " + copied.recovered();
    all.barrier();  // until worker 0 has read the others' memory
    return text;
  });
  CHECK(said == std::vector<std::string>{"nothing -1 0 4 4", "nothing -1 0 4 nothing", "nothing -1 0 4 nothing"});
}

TEST_CASE("one dies before it has begun a copy: the copy before is all workers'", "[state_copy]") {
  for (int by : {0, SIGKILL})
    for (int workers : {2, 3, 4})
      for (int64_t copies : {0, 1, 2}) {
        CAPTURE(by, workers, copies);
        CHECK(after_death(workers, [&](Collectives& all, Copied& copied) {
                for (int64_t number = 1; number <= copies; ++number) {
                  copied.step(10 * number);
                  copied.runner().keep_state(10 * number);
                }
                copied.step(10 * copies + 10);
                die_if(all.rank() == 1, by);
                copied.runner().keep_state(10 * copies + 10);
              }) == (copies == 0 ? "nothing" : std::to_string(10 * copies)));
      }
}

TEST_CASE("one dies when it has copied: that copy is all workers'", "[state_copy]") {
  for (int by : {0, SIGKILL})
    for (int workers : {2, 3, 4}) {
      CAPTURE(by, workers);
      CHECK(after_death(workers, [&](Collectives& all, Copied& copied) {
              for (int64_t number : {10, 20}) {
                copied.step(number);
                copied.runner().keep_state(number);
              }
              copied.step(21);
              die_if(all.rank() == 1, by);
              all.barrier();
            }) == "20");
    }
}

TEST_CASE("one dies between the beginning of a copy and its own copying, while others have copied: the newest state is all workers'", "[state_copy]") {
  for (int by : {0, SIGKILL})
    for (int workers : {2, 3, 4})
      for (int64_t copies : {0, 1}) {
        CAPTURE(by, workers, copies);
        // Worker 0 reads by StateCopy itself: parts are the others' state, or their copies.
        const std::vector<std::string> said = run_processes(workers, [&](Transport& t) -> std::string {
          Collectives all(t);
          Copied copied(&all);
          StateCopy copy(copied.runner().program(), copied.state(), &all);
          for (int64_t number = 1; number <= copies; ++number) {
            copied.step(10 * number);
            copy.begin(10 * number);
            all.barrier();
            copy.take();
          }
          copied.step(50);
          copy.begin(50);
          all.barrier();
          if (t.rank() == 1) {
            pause_milliseconds(60);
            die_if(true, by);
          }
          try {
            copy.take();
            return "went on before all had copied";
          } catch (const WorkerLost&) {
          }
          if (t.rank() > 0) return "";
          copied.step(51);  // what worker 0 has copied is the copy, whatever becomes of its state
          int missing = 7;
          const std::optional<StateCopy::Whole> whole = copy.recover(missing);
          if (!whole || missing != -1) return "nothing";
          std::string text = fmt::format("{} {}", whole->number, whole->is_state);
          size_t part = 0;
          for (size_t i = 0; i < copied.runner().program().persistents.size(); ++i) {
            const PersistentSlot& slot = copied.runner().program().persistents[i];
            if (!slot.part) continue;
            for (int w = 0; w < workers; ++w)
              for (int64_t at = slot.parts[size_t(w)]; at < slot.parts[size_t(w) + 1]; ++at) {
                const std::byte* from = whole->parts[part][size_t(w)] + (at - slot.parts[size_t(w)]) * int64_t(byte_size(slot.dtype));
                float single = 0;
                double found = 0;
                std::memcpy(&single, from, sizeof single);
                std::memcpy(&found, from, slot.dtype == DType::f64 ? sizeof found : 0);
                if (slot.dtype == DType::f32) found = single;
                if (found != value(i, w, 50, at)) return fmt::format("element {} of {}'s part of {} is {}", at, w, slot.name, found);
              }
            ++part;
          }
          return part == whole->parts.size() ? text : "parts of nothing";
        });
        CHECK(said[0] == "50 false");
      }
}

TEST_CASE("one dies while it copies: its state counts, not what it had copied so far", "[state_copy]") {
  // Memory that cannot be read ends it in the middle of its copy.
  CHECK(after_death(3, [&](Collectives& all, Copied& copied) {
          copied.step(10);
          copied.runner().keep_state(10);
          copied.step(20);
          if (all.rank() != 1) {
            copied.runner().keep_state(20);
            // Who came here would have a state that nobody else has.
            copied.step(30);
            copied.runner().keep_state(30);
            return;
          }
          // Its own part of what keep_state does, but for the search through memory for what is not finite.
          signal(SIGSEGV, SIG_DFL);
          const auto page = size_t(sysconf(_SC_PAGESIZE));
          mprotect(copied.state().data() + copied.state().size() / page * page, page, PROT_NONE);
          std::vector<bool> ignored(copied.runner().program().persistents.size(), true);
          copied.runner().keep_state(20, ignored);
        }) == "20");
}

TEST_CASE("a copy that is not taken after all leaves the one before", "[state_copy]") {
  CHECK(after_death(3, [&](Collectives& all, Copied& copied) {
          copied.step(10);
          copied.runner().keep_state(10);
          copied.step(20);
          if (all.rank() == 2) {
            const double nan = std::numeric_limits<double>::quiet_NaN();
            std::memcpy(copied.state().data() + copied.runner().program().persistents[2].offset, &nan, sizeof nan);
          }
          copied.runner().keep_state(20);
          copied.step(30);
          die_if(all.rank() == 1, SIGKILL);
          all.barrier();
        }) == "10");
}

TEST_CASE("without shared memory each that is left sends what it has, and what it has of the one before", "[state_copy]") {
  // Worker 1 is the others' loss, before a copy or when it has copied. Then it leaves its part behind, or nothing; or its neighbour does neither.
  enum class Left { all, not_its_own, nor_its_neighbours };
  for (const bool has_copied : {false, true})
    for (const Left left : {Left::all, Left::not_its_own, Left::nor_its_neighbours})
      for (int workers : {2, 3}) {
        if (left == Left::nor_its_neighbours && workers == 2) continue;  // whose neighbour is worker 0
        CAPTURE(has_copied, int(left), workers);
        Unshared unshared{size_t(workers)};
        std::atomic<int> ready{0};  // have copied 10
        std::string found;
        const std::string wrong = run_threads(workers, [&](Transport& t) -> std::string {
          UnsharedTransport transport(t, unshared);
          Collectives all(transport);
          Copied copied(&all);
          copied.step(10);
          copied.runner().keep_state(10);
          for (++ready; ready < workers;) pause_milliseconds(1);
          copied.step(20);
          const bool is_lost = t.rank() == 1;
          try {
            if (is_lost && !has_copied) throw std::runtime_error("an error");
            copied.runner().keep_state(20);
            if (is_lost) {
              for (++ready; ready < 2 * workers;) pause_milliseconds(1);
              throw std::runtime_error("an error");
            }
            ++ready;
            copied.step(30);
            all.barrier();
          } catch (const std::runtime_error&) {
            unshared.lost = 1;
            if (left != Left::all) return "";
          } catch (const WorkerLost&) {
            if (t.rank() == 2 && left == Left::nor_its_neighbours) return "";
          }
          const std::string text = copied.recovered();
          if (t.rank() == 0) found = text;
          return t.rank() == 0 || text == "nothing" ? "" : "worker " + std::to_string(t.rank()) + " has " + text;
        });
        CHECK(wrong == "");
        CHECK(found == (left == Left::nor_its_neighbours ? "worker 1 is missing" : has_copied ? "20" : "10"));
      }
}

TEST_CASE("without shared memory one that has begun to copy sends its state", "[state_copy]") {
  Unshared unshared{3};
  std::string found;
  const std::string wrong = run_threads(3, [&](Transport& t) -> std::string {
    UnsharedTransport transport(t, unshared);
    Collectives all(transport);
    Copied copied(&all);
    StateCopy copy(copied.runner().program(), copied.state(), &all);
    copied.step(20);
    copy.begin(20);
    all.barrier();
    if (t.rank() == 1) {
      pause_milliseconds(50);
      unshared.lost = 1;
    } else {
      try {
        copy.take();
        return "went on before all had copied";
      } catch (const WorkerLost&) {
      }
      copied.step(21);
    }
    int missing = 7;
    const std::optional<StateCopy::Whole> whole = copy.recover(missing);
    if (t.rank() != 0) return whole ? "has something" : "";
    // The last elements of what the three have of the matrix.
    if (whole && missing == -1) found = std::to_string(whole->number);
    for (int w = 0; whole && w < 3; ++w) {
      double last = 0;
      std::memcpy(&last, whole->parts[1][size_t(w)] + 1999 * sizeof last, sizeof last);
      found += last == value(2, w, 20, 2000 * w + 1999) ? " right" : " wrong";
    }
    return "";
  });
  CHECK(wrong == "");
  CHECK(found == "20 right right right");
}
