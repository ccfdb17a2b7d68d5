// Workers of one machine: messages, collectives and exchanges, as threads (for ThreadSanitizer) and as processes; what becomes of those that wait for one that has died, left or stopped.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <chrono>
#include <numeric>

#include "tests/unit/catch.h"
#include "tests/unit/failing_calls.h"
#include "tests/workers/local_run.h"
#include "tests/workers/random_exchange.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

double seconds_since(std::chrono::steady_clock::time_point start) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

/// A message longer than any ring, short ones before and after, with tags that are asked for in another order.
std::string talk(Transport& transport) {
  std::string wrong;
  const int size = transport.size(), rank = transport.rank();
  for (int round = 0; round < 20; ++round) {
    std::vector<Transport::Request> sends;
    std::vector<std::vector<uint32_t>> outgoing;
    auto content = [&](int from, int to, int tag) {
      std::vector<uint32_t> numbers(tag == 1 ? 100'000 : tag == 2 ? 0 : size_t(round * 7 + 1));
      std::iota(numbers.begin(), numbers.end(), uint32_t(from * 1000 + to * 100 + tag + round));
      return numbers;
    };
    for (int other = 0; other < size; ++other)
      if (other != rank)
        for (int tag : {0, 1, 2, 3}) outgoing.push_back(content(rank, other, tag));
    size_t next = 0;
    for (int other = 0; other < size; ++other)
      if (other != rank)
        for (int tag : {0, 1, 2, 3}) sends.push_back(transport.start_send(other, tag, std::as_bytes(std::span(outgoing[next++]))));
    for (int other = 0; other < size; ++other) {
      if (other == rank) continue;
      for (int tag : {3, 1, 0, 2}) {
        std::vector<uint32_t> expected = content(other, rank, tag), found(expected.size());
        transport.wait(transport.start_receive(other, tag, std::as_writable_bytes(std::span(found))), other);
        if (found != expected) wrong += fmt::format("worker {}: message {} from {} is wrong\n", rank, tag, other);
      }
    }
    next = 0;
    for (int other = 0; other < size; ++other)
      if (other != rank)
        for (int i = 0; i < 4; ++i) transport.wait(sends[next++], other);
    transport.barrier();
  }
  return wrong;
}

std::string agree(Transport& transport) {
  Collectives all(transport);
  std::string wrong;
  auto expect = [&](bool right, const char* what) {
    if (!right) wrong += fmt::format("worker {}: {}\n", all.rank(), what);
  };
  for (int root = 0; root < all.size(); ++root) {
    std::vector<std::byte> text = bytes_of(std::string(size_t(root) * 50'000, char('a' + root)));
    expect(all.broadcast(all.rank() == root ? text : bytes_of("nothing"), root) == text, "broadcast");
  }
  for (int round = 0; round < 3; ++round) {
    std::vector<std::string> texts = all.gather(std::string(size_t(all.rank() * round * 30'000), char('a' + all.rank())));
    for (int w = 0; w < all.size(); ++w) expect(texts[size_t(w)] == std::string(size_t(w * round * 30'000), char('a' + w)), "gather");
  }
  for (int who = -1; who < all.size(); ++who) expect(all.agree_any(all.rank() == who) == (who >= 0), "agree_any");
  expect(all.least(100 - all.rank()) == 101 - all.size(), "least");
  return wrong;
}

/// Sums of 200,000 numbers until something ends it.
void exchange_for_ever(Transport& transport, const std::function<void(int)>& before_step) {
  Collectives all(transport);
  const int64_t elements = 200'000;
  std::byte* block = transport.share(size_t(elements) * 8);
  auto *part = reinterpret_cast<float*>(block), *total = part + elements;
  std::fill_n(part, elements, 1.0f);
  std::vector<int64_t> begins;
  for (int w = 0; w <= all.size(); ++w) begins.push_back(elements * w / all.size());
  std::vector<float> small(100, 1.0f), small_total(100);
  std::vector<int64_t> small_begins(size_t(all.size()), 0);
  small_begins.push_back(100);
  ExchangeItem large{DType::f32, elements, Combine::sum, {part}, total, begins, false}, little{DType::f32, 100, Combine::sum, {small.data()}, small_total.data(), small_begins, true};
  Exchange exchange(all, {large, little}, nodes_of_workers(all.size(), all.size()));
  for (int step = 0;; ++step) {
    before_step(step);
    exchange.start();
    exchange.finish();
  }
}

}  // namespace

TEST_CASE("messages arrive whole and in order, whoever asks for them when") {
  for (int workers : {2, 3, 5}) {
    CAPTURE(workers);
    CHECK(run_threads(workers, talk) == "");
    CHECK(run_processes(workers, talk) == std::vector<std::string>(size_t(workers)));
  }
}

TEST_CASE("workers broadcast, gather and agree") {
  for (int workers : {2, 3, 6}) {
    CAPTURE(workers);
    CHECK(run_threads(workers, agree) == "");
    CHECK(run_processes(workers, agree) == std::vector<std::string>(size_t(workers)));
  }
}

TEST_CASE("exchanges among threads give the bits of one worker") {
  for (int workers : {2, 3, 4, 6}) {
    CAPTURE(workers);
    CHECK(run_threads(workers, [](Transport& t) { return exchange_at_random(t, 100, 6); }) == "");
  }
}

TEST_CASE("exchanges among processes give the bits of one worker") {
  for (int workers : {2, 3, 4, 6, 9}) {
    CAPTURE(workers);
    CHECK(run_processes(workers, [](Transport& t) { return exchange_at_random(t, 4000, 6); }) == std::vector<std::string>(size_t(workers)));
  }
}

TEST_CASE("a wait for a worker that was killed ends with its name") {
  for (int workers : {2, 4}) {
    CAPTURE(workers);
    auto start = std::chrono::steady_clock::now();
    std::vector<std::string> said = run_processes(workers, [&](Transport& t) -> std::string {
      exchange_for_ever(t, [&](int step) {
        if (step == 30 && t.rank() == 1) raise(SIGKILL);
      });
      return "";
    });
    CHECK(seconds_since(start) < 20);
    CHECK_THAT(said[1], contains("killed by signal 9"));
    for (int w = 0; w < workers; ++w) {
      if (w == 1) continue;
      CHECK_THAT(said[size_t(w)], contains("E0540: worker 1 (on " + host_name() + ")"));
      CHECK_THAT(said[size_t(w)], contains("has died"));
    }
  }
}

TEST_CASE("a worker that leaves with an error is the others' error") {
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    exchange_for_ever(t, [&](int step) {
      if (step == 5 && t.rank() == 2) throw UserError(Code::E0413, "cannot write `x`: no space left on device");
    });
    return "";
  });
  CHECK_THAT(said[2], starts_with("E0413"));
  for (int w : {0, 1}) CHECK_THAT(said[size_t(w)], contains("E0540: worker 2 (on " + host_name() + ") has left this run: cannot write `x`: no space left on device"));
}

TEST_CASE("what a worker has sent before it left counts") {
  for (int turn = 0; turn < 10; ++turn) {
    std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
      std::vector<std::byte> bytes(1000, std::byte{7});
      if (t.rank() == 0) {
        std::vector<std::byte> found(1000);
        t.wait(t.start_receive(1, 5, found), 1);
        return found == bytes ? "right" : "wrong";
      }
      timespec pause{0, 30'000'000};
      nanosleep(&pause, nullptr);
      t.start_send(0, 5, bytes);
      throw UserError(Code::E0413, "a full disk");
    });
    CHECK(said[0] == "right");
  }
}

TEST_CASE("the worker at fault is named, also by one that waits for another") {
  // 0 waits for 1, 1 for 2, and 2 does nothing.
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    t.set_stall_seconds(1 + 0.2 * t.rank());
    std::byte nothing{};
    if (t.rank() < 2) t.wait(t.start_receive(t.rank() + 1, 5, std::span(&nothing, 1)), t.rank() + 1);
    timespec pause{3, 0};
    nanosleep(&pause, nullptr);
    return "";
  });
  for (int w : {0, 1}) CHECK_THAT(said[size_t(w)], starts_with("E0541: worker 2 (on " + host_name() + ") does not answer: worker 0 (on " + host_name() + ")"));
}

TEST_CASE("a worker that has finished is not waited for") {
  std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
    t.barrier();
    if (t.rank() == 1) return "done";
    std::byte nothing{};
    t.wait(t.start_receive(1, 5, std::span(&nothing, 1)), 1);
    return "";
  });
  CHECK(said[1] == "done");
  CHECK_THAT(said[0], contains("E0540: worker 1"));
}

TEST_CASE("a wait for a worker that is stopped ends after the limit, and says for whom") {
  auto start = std::chrono::steady_clock::now();
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    t.set_stall_seconds(1);
    try {
      exchange_for_ever(t, [&](int step) {
        if (step == 10 && t.rank() == 1) {
          // Stopped, until a helper of its own lets it go on again after the others have given up.
          pid_t stopped = getpid();
          if (fork() == 0) {
            timespec pause{4, 0};
            nanosleep(&pause, nullptr);
            kill(stopped, SIGCONT);
            _exit(0);
          }
          raise(SIGSTOP);
        }
      });
    } catch (const WorkerLost& lost) {
      return fmt::format("{} {} {}", code_name(lost.diagnostic().code), lost.rank(), lost.what());
    }
    return "";
  });
  CHECK(seconds_since(start) < 30);
  // One of the two gave up first, and told the other.
  for (int w : {0, 2}) CHECK_THAT(said[size_t(w)], starts_with("E0541 1 worker 1 (on " + host_name() + ") does not answer: worker "));
}

TEST_CASE("time in which a worker was itself stopped does not count as waiting") {
  // Both are stopped for longer than the limit, as by Ctrl-Z, and go on one after the other.
  std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
    t.set_stall_seconds(2);
    std::vector<std::string> processes = Collectives(t).gather(std::to_string(getpid()));
    bool over = false;
    pid_t helper = 0;
    if (t.rank() == 0 && (helper = fork()) == 0) {
      auto send = [&](int number) {
        for (const std::string& process : processes) {
          kill(pid_t(std::stol(process)), number);
          timespec pause{0, 100'000'000};
          nanosleep(&pause, nullptr);
        }
      };
      send(SIGSTOP);
      timespec pause{4, 0};
      nanosleep(&pause, nullptr);
      send(SIGCONT);
      _exit(0);
    }
    try {
      exchange_for_ever(t, [&](int) {
        if (t.rank() == 0) over = waitpid(helper, nullptr, WNOHANG) == helper;
        if (Collectives(t).agree_any(over)) throw std::runtime_error("enough");
      });
    } catch (const std::runtime_error&) {
      return "enough";
    }
    return "";
  });
  CHECK(said == std::vector<std::string>{"enough", "enough"});
}

TEST_CASE("a worker that is busy with something of its own is waited for as long as it gives signs") {
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    t.set_stall_seconds(1);
    Collectives all(t);
    std::string result;
    if (t.rank() == 0)
      all.while_others_wait([&] {
        timespec pause{3, 0};
        nanosleep(&pause, nullptr);
        result = "saved";
      });
    t.barrier();
    // What is thrown there is thrown here.
    if (t.rank() == 0) try {
        all.while_others_wait([] { throw UserError(Code::E0413, "a full disk"); });
      } catch (const UserError& e) {
        result += std::string(", then ") + e.what();
      }
    t.barrier();
    return result;
  });
  CHECK(said == std::vector<std::string>{"saved, then a full disk", "", ""});
}

TEST_CASE("who is asked to stop while another is silent is told so, once") {
  std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
    std::string told;
    auto start = std::chrono::steady_clock::now();
    if (t.rank() == 0) t.watch_stops([&] { return seconds_since(start) > 0.2; }, [&](int awaited, double seconds) { told += fmt::format("worker {} after {} s", awaited, seconds > 0.3 && seconds < 1.4 ? "some" : "wrong"); });
    if (t.rank() == 1) {
      timespec pause{1, 500'000'000};
      nanosleep(&pause, nullptr);
    }
    t.barrier();
    return told;
  });
  CHECK(said == std::vector<std::string>{"worker 1 after some s", ""});
}

TEST_CASE("what one worker alone meets is everybody's error, with its place") {
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    Collectives all(t);
    std::string done;
    all.together([&] { done = "done"; });
    try {
      all.together([&] {
        if (t.rank() > 0) throw UserError(Code::E0402, fmt::format("`x{}` cannot be read", t.rank()), "x.csv:3", "look");
      });
    } catch (const UserError& e) {
      const Diagnostic& d = e.diagnostic();
      return fmt::format("{} {} {} | {} | {} | {}", done, code_name(d.code), d.message, d.place, d.notes.at(0), d.help.at(0));
    }
    return "nothing";
  });
  for (const std::string& text : said) CHECK(text == "done E0402 `x1` cannot be read | x.csv:3 | this is what worker 1 (on " + host_name() + ") met | look");
}

TEST_CASE("shared memory that is refused is one error on all workers") {
  for (int call : {SYS_ftruncate, SYS_fallocate, SYS_mmap}) {
    CAPTURE(call);
    std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
      std::string text;
      const FailingCall refused = call == SYS_mmap ? FailingCall{call, ENOMEM, 3, MAP_SHARED, MAP_SHARED} : FailingCall{call, ENOSPC};  // memory of its own a process still gets
      bool ran = with_failing_calls({refused}, [&] {
        try {
          t.share(1 << 20);
          text = "shared";
        } catch (const UserError& e) {
          text = std::string(code_name(e.diagnostic().code)) + " " + e.what();
        }
      });
      return ran ? text : "no filters";
    });
    for (const std::string& text : said)
      if (text != "no filters") CHECK_THAT(text, contains("E0546 no shared memory for 2 workers: 2097152 more bytes were refused"));
  }
  bool thrown = false;
  if (with_failing_calls({{SYS_memfd_create, EMFILE}}, [&] {
        try {
          LocalMemory memory(2);
        } catch (const UserError& e) {
          thrown = e.diagnostic().code == Code::E0546;
        }
      }))
    CHECK(thrown);
}

TEST_CASE("who sleeps is woken, and does not wait for his next look at the others") {
  // A turn without the call would take a nap at the doorbell, 50 ms.
  const int turns = 60;
  auto start = std::chrono::steady_clock::now();
  std::vector<std::string> said = run_processes(2, [&](Transport& t) -> std::string {
    for (int turn = 0; turn < turns; ++turn) {
      std::byte ball{};
      const int other = 1 - t.rank();
      if (t.rank() == 1) {
        timespec pause{0, 3'000'000};
        nanosleep(&pause, nullptr);
        t.wait(t.start_send(other, 1, std::span(&ball, 1)), other);
      } else {
        t.wait(t.start_receive(other, 1, std::span(&ball, 1)), other);
      }
    }
    return "";
  });
  CHECK(said == std::vector<std::string>(2));
  CHECK(seconds_since(start) < turns * 0.04);
}
