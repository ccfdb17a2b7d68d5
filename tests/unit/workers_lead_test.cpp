// Worker 0 that works and asks the others meanwhile, and parts of all workers put together in one's memory.
#include <signal.h>
#include <time.h>

#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "runtime/workers/collectives.h"
#include "tests/unit/catch.h"
#include "tests/unit/failing_calls.h"
#include "tests/workers/local_run.h"

using namespace nnc;
using namespace nnc::test;

namespace {

using Ask = std::function<void(int64_t)>;

/// Worker 0 asks for 3, 1, 4, 1, 5: all that the workers say of each, in order.
std::string ask_in_order(Transport& t) {
  Collectives all(t);
  std::string answers, served;
  std::vector<std::string> gathered;
  const std::thread::id here = std::this_thread::get_id();
  all.lead(
      [&](const Ask& ask) {
        for (int64_t number : {3, 1, 4, 1, 5}) {
          ask(number);
          for (const std::string& text : gathered) answers += text + " ";
        }
        answers += std::this_thread::get_id() != here ? "aside" : "here";
      },
      [&](int64_t number) {
        served += std::to_string(number);
        gathered = all.gather(fmt::format("{}:{}", t.rank(), number * 10));
        if (std::this_thread::get_id() != here) served += "elsewhere";
      });
  if (served != "31415") return "served " + served;
  all.barrier();  // and nothing is left over
  std::string expected;
  for (int64_t number : {3, 1, 4, 1, 5})
    for (int w = 0; w < t.size(); ++w) expected += fmt::format("{}:{} ", w, number * 10);
  if (answers != (t.rank() == 0 ? expected + "aside" : "")) return "answers " + answers;
  return "";
}

/// Parts of these numbers of bytes, in the memory of each root.
std::string gather_parts(Transport& t, const std::vector<size_t>& counts) {
  Collectives all(t);
  std::vector<size_t> begins{0};
  for (size_t count : counts) begins.push_back(begins.back() + count);
  auto content = [](size_t at) { return std::byte(at * 31 + at / 257); };
  std::vector<std::byte> mine;
  for (size_t at = begins[size_t(t.rank())]; at < begins[size_t(t.rank()) + 1]; ++at) mine.push_back(content(at));
  for (int root : {0, 1}) {
    std::vector<std::byte> found(t.rank() == root ? begins.back() + 1 : 0, std::byte{99});
    all.gather_into(found.data(), mine, begins, root);
    if (t.rank() != root) continue;
    for (size_t at = 0; at < begins.back(); ++at)
      if (found[at] != content(at)) return fmt::format("byte {} at root {} is wrong\n", at, root);
    if (found.back() != std::byte{99}) return "written beyond the end\n";
  }
  return "";
}

void pause_milliseconds(long milliseconds) {
  timespec pause{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  nanosleep(&pause, nullptr);
}

}  // namespace

TEST_CASE("who leads asks the others as often as it likes, and has answers in order", "[lead]") {
  for (int workers : {2, 3, 5}) {
    CAPTURE(workers);
    CHECK(run_threads(workers, ask_in_order) == "");
    CHECK(run_processes(workers, ask_in_order) == std::vector<std::string>(size_t(workers)));
  }
}

TEST_CASE("one worker leads itself", "[lead]") {
  CHECK(run_threads(1, [](Transport& t) -> std::string {
          std::string text;
          const std::thread::id here = std::this_thread::get_id();
          Collectives(t).lead([&](const Ask& ask) { ask(7), ask(8); }, [&](int64_t number) { text += std::to_string(number) + (std::this_thread::get_id() == here ? "" : "elsewhere"); });
          return text;
        }) == "78");
}

TEST_CASE("who leads works by itself where no thread is left", "[lead]") {
  const std::vector<std::string> said = run_processes(2, [](Transport& t) -> std::string {
    Collectives all(t);
    std::string text;
    auto lead = [&] {
      const std::thread::id here = std::this_thread::get_id();
      std::vector<std::string> gathered;
      all.lead(
          [&](const Ask& ask) {
            for (int64_t number : {1, 2}) {
              ask(number);
              text += gathered[1];
            }
            text += std::this_thread::get_id() == here ? " here" : " aside";
          },
          [&](int64_t number) { gathered = all.gather(std::to_string(number * 10 + t.rank())); });
    };
    if (t.rank() != 0)
      lead();
    else if (!with_failing_calls({{SYS_clone, EAGAIN}, {SYS_clone3, EAGAIN}}, lead))
      lead(), text = "1121 here";  // the system allows no filters
    return text;
  });
  CHECK(said == std::vector<std::string>{"1121 here", ""});
}

TEST_CASE("what the work of the one who leads meets is its own error, and the others go on", "[lead]") {
  const std::vector<std::string> said = run_processes(3, [](Transport& t) -> std::string {
    t.set_stall_seconds(5);
    Collectives all(t);
    std::string text;
    try {
      all.lead(
          [&](const Ask& ask) {
            ask(1);
            throw UserError(Code::E0413, "a full disk");
          },
          [&](int64_t number) { text += std::to_string(number); });
    } catch (const UserError& e) {
      text += e.what();
    }
    all.barrier();
    return text;
  });
  CHECK(said == std::vector<std::string>{"1a full disk", "1", "1"});
}

TEST_CASE("what serving meets at the one who leads is thrown to the work, and out of the call", "[lead]") {
  const std::vector<std::string> said = run_processes(2, [](Transport& t) -> std::string {
    Collectives all(t);
    std::string text, served;
    try {
      all.lead(
          [&](const Ask& ask) {
            for (int64_t number : {1, 2, 3}) try {
                ask(number);
                text += std::to_string(number);
              } catch (const std::runtime_error& e) {
                text += e.what();
              }
          },
          [&](int64_t number) {
            served += std::to_string(number);
            if (number == 2 && t.rank() == 0) throw std::runtime_error("no memory ");
          });
    } catch (const std::runtime_error& e) {
      t.leave(e.what());
      return text + served;
    }
    return "nothing";
  });
  // Nothing is asked after that; the other waits for what never comes, and is told.
  CHECK(said[0] == "1no memory no memory 12");
  CHECK_THAT(said[1], starts_with("E0540: worker 0"));
}

TEST_CASE("a worker that dies when it is asked is lost to the one who leads, and to all", "[lead]") {
  for (int by : {0, SIGKILL}) {
    CAPTURE(by);
    const std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
      Collectives all(t);
      std::string text;
      try {
        all.lead(
            [&](const Ask& ask) {
              for (int64_t number = 0; number < 5; ++number) try {
                  ask(number);
                  text += std::to_string(number);
                } catch (const WorkerLost& lost) {
                  text += fmt::format("-{}", lost.rank());
                  throw;
                }
            },
            [&](int64_t number) {
              if (number == 2 && t.rank() == 1) by == 0 ? _exit(3) : void(raise(by));
              all.barrier();
            });
      } catch (const WorkerLost& lost) {
        return text + fmt::format(" {}", lost.rank());
      }
      return "nobody is lost";
    });
    CHECK(said[0] == "01-1 1");
    CHECK(said[2] == " 1");
  }
}

TEST_CASE("the others wait for the work of the one who leads as long as it takes", "[lead]") {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> said = run_processes(3, [](Transport& t) -> std::string {
    t.set_stall_seconds(1);
    Collectives all(t);
    std::string text;
    all.lead(
        [&](const Ask& ask) {
          pause_milliseconds(1'800);
          ask(1);
          pause_milliseconds(1'800);
        },
        [&](int64_t number) { text += std::to_string(number); });
    all.barrier();
    return text;
  });
  CHECK(said == std::vector<std::string>{"1", "1", "1"});
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);
}

TEST_CASE("parts of all workers stand one behind the other in one's memory", "[lead]") {
  const std::vector<std::vector<size_t>> cases = {{3, 5}, {0, 9}, {9, 0}, {0, 0}, {100'000, 1}, {7, 0, 200'001}, {0, 0, 5, 1}, {1, 300'000, 0, 2, 50'000}};
  for (const std::vector<size_t>& counts : cases) {
    CAPTURE(counts);
    CHECK(run_threads(int(counts.size()), [&](Transport& t) { return gather_parts(t, counts); }) == "");
    CHECK(run_processes(int(counts.size()), [&](Transport& t) { return gather_parts(t, counts); }) == std::vector<std::string>(counts.size()));
  }
  // More than one message holds.
  CHECK(run_threads(2, [&](Transport& t) { return gather_parts(t, {10, (size_t(64) << 20) + 12'345}); }) == "");
}

TEST_CASE("what worker 0 says is everybody's text", "[lead]") {
  CHECK(run_threads(3, [](Transport& t) -> std::string {
          Collectives all(t);
          std::string text;
          for (const std::string& said : {std::string("first"), std::string(), std::string(100'000, 'x')})
            if (all.tell(t.rank() == 0 ? said : "of no account") != said) text += "wrong ";
          return text;
        }) == "");
}
