// Whoever waits looks some thousand times, then lies down at its doorbell, a futex. The others look whether somebody sleeps after each thing they do for him: since his "I sleep" and their doing are both
// sequentially consistent and each then looks at the other's, one of them sees the other, and no call is lost.
#include "runtime/workers/local_transport.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>

#include <fmt/format.h>

#include "base/system_error.h"
#include "runtime/workers/local_messages.h"

namespace nnc {
namespace {

constexpr long nap_nanoseconds = 50'000'000;  // at the doorbell, before it is seen whether the others live
constexpr int share_tag = 16382;

void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Whether the process has ended, asked of /proc where there are no process descriptors.
bool has_ended(pid_t process) {
  if (kill(process, 0) != 0 && errno == ESRCH) return true;
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  if (!std::getline(file, text)) return false;
  size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() && (text[name_end + 2] == 'Z' || text[name_end + 2] == 'X');
}

class LocalTransport final : public Transport, public SharedMemory {
 public:
  LocalTransport(std::shared_ptr<LocalMemory> memory, int rank, int cores, std::vector<pid_t> children)
      : Transport(rank, memory->workers()), memory_(std::move(memory)), messages_(memory_, this->rank()), processes_(size_t(size())), children_(std::move(children)), crowded_(size() > cores) {
    std::fill(hosts_.begin(), hosts_.end(), host_name());
    end_ = memory_->control_bytes();
    me().process.store(int32_t(getpid()));
    me().state.store(LocalState::running);
    exceptions_ = std::uncaught_exceptions();
  }

  ~LocalTransport() override {
    if (me().state.load() == LocalState::running) {
      if (std::uncaught_exceptions() > exceptions_) {
        leave("it met an error");
      } else {
        me().state.store(LocalState::finished);
        call_all();
      }
    }
    see_children_off();
    for (const Process& process : processes_)
      if (process.descriptor >= 0) close(process.descriptor);
  }

  std::string_view name() const override { return "local"; }
  SharedMemory* shared_memory() override { return this; }
  void give_sign() override { me().signs.fetch_add(1); }

  // ---- messages

  Request start_send(int to, int tag, std::span<const std::byte> bytes) override { return Request(broken() ? -1 : messages_.start_send(to, tag, bytes)); }
  Request start_receive(int from, int tag, std::span<std::byte> bytes) override { return Request(broken() ? -1 : messages_.start_receive(from, tag, bytes)); }
  bool done(Request request) override { return !broken() && messages_.done(int(request)); }
  void progress() override {
    if (!broken()) messages_.progress();  // else what requests point to may be gone
  }

  // ---- shared memory

  std::byte* share(size_t bytes) override {
    const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE)), mine = (uint64_t(bytes) + page - 1) / page * page;
    std::vector<uint64_t> sizes = tell_all(mine);
    Block block{end_, {}, nullptr};
    uint64_t end = end_;
    for (uint64_t size : sizes) block.begins.push_back(end), end += size;
    block.begins.push_back(end);
    // One makes the file longer, then each takes its own part.
    int error = 0;
    if (rank() == 0 && end > end_ && !memory_->grow(end)) error = errno;
    refuse(tell_all(uint64_t(error)), end - end_);
    error = 0;
    if (!memory_->reserve(block.begins[size_t(rank())], mine)) error = errno;
    if (!error && end > end_ && !(block.address = memory_->map(end_, end - end_))) error = errno;
    refuse(tell_all(uint64_t(error)), end - end_);
    end_ = end;
    blocks_.push_back(block);
    return bytes == 0 ? nullptr : block.of(rank());
  }

  SharedPlace place_of(const void* begin, size_t bytes) const override {
    auto at = static_cast<const std::byte*>(begin);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const std::byte* from = blocks_[i].of(rank());
      size_t size = size_t(blocks_[i].begins[size_t(rank()) + 1] - blocks_[i].begins[size_t(rank())]);
      if (size > 0 && std::less_equal<>()(from, at) && std::less_equal<>()(at + bytes, from + size)) return {int32_t(i), uint64_t(at - from)};
    }
    return {};
  }

  std::byte* address(int rank, SharedPlace place) const override { return blocks_[size_t(place.block)].of(rank) + place.offset; }

  int claim_word() override {
    if (!free_words_.empty()) {
      int word = free_words_.back();
      free_words_.pop_back();
      return word;
    }
    return next_word_ < LocalMemory::words ? next_word_++ : -1;
  }
  void release_word(int word) override { free_words_.push_back(word); }
  void set_word(int word, uint32_t value) override {
    memory_->word(word, rank()).value.store(value, std::memory_order_seq_cst);
    call_all();
  }
  uint32_t word_of(int word, int rank) const override { return memory_->word(word, rank).value.load(std::memory_order_seq_cst); }

 protected:
  int spins() const override { return crowded_ ? 100 : 4000; }
  void spin(int look) override {
    if (crowded_ && look % 10 == 9) {
      sched_yield();
    } else {
      cpu_pause();
    }
  }
  void lie_down() override {
    me().sleeping.store(1, std::memory_order_seq_cst);
    bell_ = me().doorbell.load(std::memory_order_seq_cst);
  }
  void sleep() override {
    timespec nap{0, nap_nanoseconds};
    syscall(SYS_futex, &me().doorbell, FUTEX_WAIT, bell_, &nap, nullptr, 0);
    bell_ = me().doorbell.load(std::memory_order_seq_cst);
  }
  void rise() override {
    me().sleeping.store(0, std::memory_order_relaxed);
    me().waits_for.store(0, std::memory_order_relaxed);
  }
  void note_waiting(int awaited) override { me().waits_for.store(awaited + 1); }
  int waits_for(int other) override { return memory_->worker(other).waits_for.load() - 1; }

  void tell_leaving(std::string_view text, bool of_its_own) override {
    if (me().state.load() != LocalState::running) return;
    size_t size = std::min(text.size(), sizeof(me().reason) - 1);
    std::memcpy(me().reason, text.data(), size);
    me().reason[size] = 0;
    me().state.store(of_its_own ? LocalState::failed : LocalState::bereft);
    call_all();
  }

  std::optional<Loss> find_loss(bool thorough) override {
    std::optional<Loss> failed, bereft;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      const LocalWorker& worker = memory_->worker(other);
      LocalState state = worker.state.load();
      if (state == LocalState::failed && !failed) failed = understand(other, worker.reason);
      if (state == LocalState::bereft && !bereft) bereft = understand(other, worker.reason);
      // Looked at again after the process: what it says of itself counts.
      if (thorough && state == LocalState::running && ended(other) && worker.state.load() == LocalState::running) return Loss{other, Fate::died, ""};
    }
    return failed ? failed : bereft;
  }
  uint64_t signs() const override {
    uint64_t sum = 0;
    for (int other = 0; other < size(); ++other)
      if (other != rank()) sum += memory_->worker(other).signs.load();
    return sum;
  }
  bool has_finished(int other) override { return other >= 0 && other != rank() && memory_->worker(other).state.load() == LocalState::finished; }

 private:
  struct Process {
    int descriptor = -1;
    bool tried = false;
  };
  struct Block {
    uint64_t begin;
    std::vector<uint64_t> begins;  ///< in the file, one for each worker and the end
    std::byte* address;            ///< of `begin`
    std::byte* of(int rank) const { return address ? address + (begins[size_t(rank)] - begin) : nullptr; }
  };
  LocalWorker& me() const { return memory_->worker(rank()); }

  void call_all() {
    for (int other = 0; other < size(); ++other)
      if (other != rank()) memory_->call(other);
  }

  /// Every worker's number, for everybody.
  std::vector<uint64_t> tell_all(uint64_t mine) {
    std::vector<uint64_t> numbers(size_t(size()), mine);
    std::vector<Request> sends, receives;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      sends.push_back(start_send(other, share_tag, std::as_bytes(std::span(&mine, 1))));
      receives.push_back(start_receive(other, share_tag, std::as_writable_bytes(std::span(&numbers[size_t(other)], 1))));
    }
    size_t next = 0;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      wait(receives[next], other);
      wait(sends[next++], other);
    }
    return numbers;
  }

  void refuse(const std::vector<uint64_t>& errors, uint64_t bytes) const {
    for (uint64_t error : errors)
      if (error) {
        throw UserError(Code::E0546, fmt::format("no shared memory for {} workers: {} more bytes were refused: {}", size(), bytes, error_text(int(error))), "",
                        "start fewer workers, or free memory");
      }
  }

  bool ended(int other) {
    Process& process = processes_[size_t(other)];
    auto number = pid_t(memory_->worker(other).process.load());
    if (number == 0 || number == getpid()) return false;
    if (!process.tried) {
      process.tried = true;
      process.descriptor = int(syscall(SYS_pidfd_open, number, 0));
      if (process.descriptor >= 0) fcntl(process.descriptor, F_SETFD, FD_CLOEXEC);
    }
    if (process.descriptor < 0) return has_ended(number);
    pollfd entry{process.descriptor, POLLIN, 0};
    return poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN);
  }

  /// The children have nothing to do but to leave; one that does not is ended.
  void see_children_off() {
    const int naps = loss() || me().state.load() != LocalState::finished ? 200 : 1000;  // of 10 ms
    for (int nap = 0; !children_.empty(); ++nap) {
      std::erase_if(children_, [](pid_t child) {
        pid_t ended = waitpid(child, nullptr, WNOHANG);
        return ended == child || (ended < 0 && errno != EINTR);
      });
      if (children_.empty()) return;
      if (nap >= naps)
        for (pid_t child : children_) kill(child, SIGKILL);
      timespec pause{0, nap < 20 ? 1'000'000 : 10'000'000};
      nanosleep(&pause, nullptr);
    }
  }

  std::shared_ptr<LocalMemory> memory_;
  LocalMessages messages_;
  std::vector<Process> processes_;  ///< by rank
  std::vector<pid_t> children_;
  bool crowded_;  ///< more workers than cores: spinning keeps others from their work
  std::vector<int> free_words_;
  int next_word_ = 0;
  std::vector<Block> blocks_;
  uint64_t end_ = 0;  ///< of the file
  uint32_t bell_ = 0;
  int exceptions_ = 0;
};

}  // namespace

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return *name ? name : "this machine";
}

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalMemory> memory, int rank, int cores) {
  return std::make_unique<LocalTransport>(std::move(memory), rank, cores, std::vector<pid_t>{});
}

std::unique_ptr<Transport> make_local_parent(std::shared_ptr<LocalMemory> memory, int cores, std::vector<pid_t> children) {
  return std::make_unique<LocalTransport>(std::move(memory), 0, cores, std::move(children));
}

}  // namespace nnc
