// Broadcast, gather and agreement: seldom called, or small, so that they are plain loops over messages.
#include "runtime/workers/collectives.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "runtime/workers/diagnostic_text.h"
#include "runtime/workers/lane.h"

namespace nnc {
namespace {

constexpr int size_tag = 16381;
constexpr int bytes_tag = 16380;
constexpr size_t most_bytes = size_t(64) << 20;  // of one message

/// The messages of a large array.
template <class Use>
void in_messages(std::span<std::byte> bytes, Use&& use) {
  for (size_t at = 0; at < bytes.size(); at += most_bytes) use(bytes.subspan(at, std::min(most_bytes, bytes.size() - at)));
}

struct Pending {
  Transport::Request request;
  int other;
};

void wait_all(Transport& transport, std::vector<Pending>& pending) {
  for (const Pending& p : pending) transport.wait(p.request, p.other);
  pending.clear();
}

}  // namespace

void Collectives::broadcast_into(std::span<std::byte> bytes, int root) {
  std::vector<Pending> pending;
  in_messages(bytes, [&](std::span<std::byte> part) {
    if (rank() != root) {
      transport_.wait(transport_.start_receive(root, bytes_tag, part), root);
      return;
    }
    for (int other = 0; other < size(); ++other)
      if (other != root) pending.push_back({transport_.start_send(other, bytes_tag, part), other});
    wait_all(transport_, pending);
  });
}

std::vector<std::byte> Collectives::broadcast(std::vector<std::byte> bytes, int root) {
  uint64_t count = bytes.size();
  broadcast_into(std::as_writable_bytes(std::span(&count, 1)), root);
  bytes.resize(count);
  broadcast_into(bytes, root);
  return bytes;
}

std::string Collectives::tell(const std::string& text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  const std::vector<std::byte> bytes = broadcast({begin, begin + text.size()}, 0);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::vector<std::byte>> Collectives::gather(std::span<const std::byte> mine) {
  std::vector<std::vector<std::byte>> all(static_cast<size_t>(size()));
  all[size_t(rank())].assign(mine.begin(), mine.end());
  std::vector<uint64_t> counts(all.size(), mine.size());
  std::vector<Pending> pending;
  auto others = [&](auto&& each) {
    for (int other = 0; other < size(); ++other)
      if (other != rank()) each(other);
    wait_all(transport_, pending);
  };
  others([&](int other) {
    pending.push_back({transport_.start_receive(other, size_tag, std::as_writable_bytes(std::span(&counts[size_t(other)], 1))), other});
    pending.push_back({transport_.start_send(other, size_tag, std::as_bytes(std::span(&counts[size_t(rank())], 1))), other});
  });
  others([&](int other) {
    all[size_t(other)].resize(counts[size_t(other)]);
    in_messages(all[size_t(other)], [&](std::span<std::byte> part) { pending.push_back({transport_.start_receive(other, bytes_tag, part), other}); });
    in_messages(all[size_t(rank())], [&](std::span<std::byte> part) { pending.push_back({transport_.start_send(other, bytes_tag, part), other}); });
  });
  return all;
}

std::vector<std::string> Collectives::gather(const std::string& text) {
  std::vector<std::string> texts;
  for (const auto& bytes : gather(std::as_bytes(std::span(text.data(), text.size()))))
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return texts;
}

bool Collectives::agree_any(bool mine) { return least(mine ? 0 : 1) == 0; }

int64_t Collectives::least(int64_t mine) {
  std::vector<int64_t> all(static_cast<size_t>(size()), mine);
  std::vector<Pending> pending;
  for (int other = 0; other < size(); ++other) {
    if (other == rank()) continue;
    pending.push_back({transport_.start_receive(other, size_tag, std::as_writable_bytes(std::span(&all[size_t(other)], 1))), other});
    pending.push_back({transport_.start_send(other, size_tag, std::as_bytes(std::span(&all[size_t(rank())], 1))), other});
  }
  wait_all(transport_, pending);
  return *std::min_element(all.begin(), all.end());
}

void Collectives::together(const std::function<void()>& work) {
  std::optional<Diagnostic> mine;
  try {
    work();
  } catch (const WorkerLost&) {
    throw;  // nobody is there to agree with
  } catch (const UserError& error) {
    if (size() == 1) throw;
    mine = error.diagnostic();
  }
  if (size() == 1 || !agree_any(mine.has_value())) return;
  std::vector<std::string> texts = gather(mine ? diagnostic_to_text(*mine) : "");
  for (int other = 0; other < size(); ++other) {
    if (texts[size_t(other)].empty()) continue;
    Diagnostic first = diagnostic_from_text(texts[size_t(other)]);
    if (other > 0) first.notes.push_back("this is what " + transport_.describe(other) + " met");
    throw UserError(std::move(first));
  }
}

void Collectives::while_others_wait(const std::function<void()>& work) {
  std::future<void> done;
  if (size() > 1) try {
      done = std::async(std::launch::async, work);
    } catch (const std::system_error&) {
      // No thread is left: then without signs.
    }
  if (!done.valid()) return work();
  while (done.wait_for(std::chrono::milliseconds(500)) != std::future_status::ready) transport_.give_sign();
  done.get();
}

void Collectives::lead(const std::function<void(const std::function<void(int64_t)>& ask)>& work, const std::function<void(int64_t)>& serve) {
  constexpr int64_t ended = -1;
  if (size() == 1) return work(serve);
  auto tell = [&](int64_t number) {
    broadcast_into(std::as_writable_bytes(std::span(&number, 1)), 0);
    return number;
  };
  if (rank() != 0) {
    for (int64_t number; (number = tell(ended)) != ended;) serve(number);
    return;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<int64_t> asked;
  std::exception_ptr failure;  // of the thread that serves, which asks for nothing afterwards
  bool is_done = false;
  auto answer = [&](int64_t number) {
    if (!failure) try {
        tell(number);
        serve(number);
      } catch (...) {
        failure = std::current_exception();
      }
    if (failure) std::rethrow_exception(failure);
  };
  auto ask = [&](int64_t number) {
    std::unique_lock lock(mutex);
    asked = number;
    changed.notify_all();
    changed.wait(lock, [&] { return !asked; });
    if (failure) std::rethrow_exception(failure);
  };
  std::exception_ptr fault;  // of the work
  auto run = [&](const std::function<void(int64_t)>& how) {
    try {
      work(how);
    } catch (...) {
      fault = std::current_exception();
    }
  };
  std::future<void> other;
  try {
    other = std::async(std::launch::async, [&] {
      run(ask);
      std::lock_guard lock(mutex);
      is_done = true;
      changed.notify_all();
    });
  } catch (const std::system_error&) {
    run(answer);  // no thread is left: then without signs
    is_done = true;
  }
  std::unique_lock lock(mutex);
  while (!is_done) {
    const bool woken = changed.wait_for(lock, std::chrono::milliseconds(500), [&] { return asked || is_done; });
    if (!woken) transport_.give_sign();
    if (!asked) continue;
    try {
      answer(*asked);
    } catch (...) {
    }
    asked.reset();
    changed.notify_all();
  }
  lock.unlock();
  if (other.valid()) other.get();
  if (failure) std::rethrow_exception(failure);
  tell(ended);
  if (fault) std::rethrow_exception(fault);
}

void Collectives::gather_into(std::byte* all, std::span<const std::byte> mine, const std::vector<size_t>& begins, int root) {
  std::vector<Pending> pending;
  if (rank() == root) {
    if (!mine.empty()) std::memcpy(all + begins[size_t(root)], mine.data(), mine.size());
    for (int other = 0; other < size(); ++other) {
      if (other == root) continue;
      const std::span<std::byte> to{all + begins[size_t(other)], begins[size_t(other) + 1] - begins[size_t(other)]};
      in_messages(to, [&](std::span<std::byte> part) { pending.push_back({transport_.start_receive(other, bytes_tag, part), other}); });
    }
  } else {
    // What is sent is only read.
    in_messages({const_cast<std::byte*>(mine.data()), mine.size()}, [&](std::span<std::byte> part) { pending.push_back({transport_.start_send(root, bytes_tag, part), root}); });
  }
  wait_all(transport_, pending);
}

void Collectives::pass_on(std::span<const std::byte> mine, std::span<std::byte> from_before) {
  const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();
  std::vector<Pending> pending;
  in_messages(from_before, [&](std::span<std::byte> part) { pending.push_back({transport_.start_receive(before, bytes_tag, part), before}); });
  in_messages({const_cast<std::byte*>(mine.data()), mine.size()}, [&](std::span<std::byte> part) { pending.push_back({transport_.start_send(next, bytes_tag, part), next}); });  // only read
  wait_all(transport_, pending);
}

void Collectives::progress() {
  if (moving_.empty()) return;
  transport_.progress();
  advance_all();
}

}  // namespace nnc
