// MPI's own blocking calls spin, never look at the clock and end the process when somebody dies; so only its non-blocking sends and receives are used, and every wait is a loop of tests that gives the
// processor away more and more. A worker that dies is seen by mpirun, which ends the others; one that leaves with an error tells them first, so that worker 0 can say why.
#include "runtime/workers/mpi_transport.h"

#include <dlfcn.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>

#include <fmt/format.h>

#include "base/check.h"
#include "runtime/workers/local_transport.h"
#include "runtime/workers/mpi/table.h"

namespace nnc {
namespace {

constexpr int host_tag = 16379;
constexpr long shortest_nap = 20'000, longest_nap = 160'000;  // nanoseconds; they become longer while cores are shared
constexpr int left_tag = 16378;
constexpr int most_waiting = 500;  // naps of 10 ms, for what others have left behind
constexpr int most_lingering = 3000;  // naps of 10 ms, of a worker that has said farewell

/// The folder of this program's binary, with a slash.
std::string own_folder() {
  char path[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  std::string text(path, size > 0 ? size_t(size) : 0);
  return text.substr(0, text.rfind('/') + 1);
}

const NncMpiTable* load_table(const std::string& library) {
  const std::string file = "nnc-mpi-" + library + ".so", folder = own_folder();
  Diagnostic d;
  d.code = Code::E0545;
  d.message = fmt::format("{} cannot be loaded", file);
  for (const std::string& path : {folder + file, folder + "../lib/nnc/" + file}) {
    if (access(path.c_str(), F_OK) != 0) {
      d.notes.push_back(fmt::format("there is no {}", path));
      continue;
    }
    // Parts of OpenMPI that it loads itself look for the library among what is global.
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    auto table = handle ? reinterpret_cast<decltype(&nnc_mpi_table)>(dlsym(handle, "nnc_mpi_table")) : nullptr;
    if (!table) {
      const char* words = dlerror();
      d.notes.push_back(words ? words : path);
      continue;
    }
    if (table()->version == NNC_MPI_TABLE_VERSION) return table();
    d.notes.push_back(fmt::format("{} belongs to another version of nnc", path));
  }
  d.help.push_back(fmt::format("install {} and build nnc again, or train on this machine alone with --workers N", library == "mpich" ? "libmpich-dev and mpich" : "libopenmpi-dev and openmpi-bin"));
  throw UserError(std::move(d));
}

class MpiTransport final : public Transport {
 public:
  MpiTransport(const NncMpiTable* table, std::string name, int rank, int size, double stall_seconds) : Transport(rank, size), table_(table), name_(std::move(name)) {
    set_stall_seconds(stall_seconds);
    exceptions_ = std::uncaught_exceptions();
    try {
      tell_hosts();
    } catch (...) {
      ended_ = true;
      throw;
    }
  }

  ~MpiTransport() override {
    const bool in_order = !loss() && !left_ && std::uncaught_exceptions() <= exceptions_;
    if (in_order) {
      // Whoever ends the library while another still uses it may hang.
      try {
        barrier();
        table_->end();
        return;
      } catch (const std::exception&) {
      }
    }
    if (!left_) leave("it met an error");
    // mpirun ends all when one leaves like this; worker 0 is to say why before.
    for (int i = 0; i < most_lingering && rank() != 0 && !ended_; ++i) {
      table_->progress();
      take_nap();
    }
  }

  std::string_view name() const override { return name_; }

  Request start_send(int to, int tag, std::span<const std::byte> bytes) override {
    NNC_CHECK(bytes.size() <= INT_MAX, "a message is too long");
    int64_t request = 0;
    if (!broken()) check(table_->send(bytes.data(), bytes.size(), to, tag, &request));
    return Request(request);
  }
  Request start_receive(int from, int tag, std::span<std::byte> bytes) override {
    NNC_CHECK(bytes.size() <= INT_MAX, "a message is too long");
    int64_t request = 0;
    if (!broken()) check(table_->receive(bytes.data(), bytes.size(), from, tag, &request));
    return Request(request);
  }
  bool done(Request request) override {
    int32_t done = 0;
    if (!broken()) check(table_->test(int64_t(request), &done));
    return done != 0;
  }
  void progress() override {}  // every test moves all
  void give_sign() override {
    if (!broken()) check(table_->give_sign());
  }

  // Beyond broken(): memory of these messages is this object's own. They go on their way while this worker lingers.
  void leave_behind(std::vector<std::byte> bytes) override {
    left_behind_ = std::move(bytes);
    in_parts(left_behind_, [&](std::span<std::byte> part) {
      int64_t request = 0;
      table_->send(part.data(), part.size(), 0, left_tag, &request);
    });
  }
  std::vector<std::vector<std::byte>> collect_left_behind(const std::vector<size_t>& sizes) override {
    std::vector<std::vector<std::byte>> all(sizes.size());
    struct Arriving {
      size_t from;
      int64_t request;
    };
    std::vector<Arriving> arriving;
    std::vector<size_t> missing(sizes.size(), 0);  // messages
    auto& memory = collected_;  // a message that never comes has memory for ever
    memory.resize(sizes.size());
    for (size_t from = 1; from < sizes.size(); ++from) {
      memory[from].resize(sizes[from]);
      in_parts(memory[from], [&](std::span<std::byte> part) {
        int64_t request = 0;
        if (!table_->receive(part.data(), part.size(), int32_t(from), left_tag, &request)) arriving.push_back({from, request});
        ++missing[from];
      });
    }
    for (int i = 0; i < most_waiting && !arriving.empty(); ++i) {
      std::erase_if(arriving, [&](const Arriving& a) {
        int32_t done = 0;
        if (table_->test(a.request, &done) || !done) return false;
        --missing[a.from];
        return true;
      });
      if (!arriving.empty()) take_nap();
    }
    for (size_t from = 1; from < sizes.size(); ++from)
      if (missing[from] == 0) all[from] = std::move(memory[from]);
    return all;
  }

 protected:
  int spins() const override { return crowded_ ? 20 : 2000; }
  void spin(int look) override {
    if (crowded_ || look >= 200) sched_yield();
  }
  void lie_down() override { nap_ = shortest_nap; }
  void sleep() override {
    timespec nap{0, nap_};
    nanosleep(&nap, nullptr);
    if (crowded_) nap_ = std::min(2 * nap_, longest_nap);
  }
  void tell_leaving(std::string_view text, bool of_its_own) override {
    if (left_) return;
    left_ = true;
    if (!of_its_own) return;
    char bytes[NNC_MPI_FAREWELL_BYTES] = "";
    std::memcpy(bytes, text.data(), std::min(text.size(), sizeof bytes - 1));
    table_->say_farewell(bytes);
  }
  std::optional<Loss> find_loss(bool thorough) override {
    if (!thorough) return std::nullopt;
    char text[NNC_MPI_FAREWELL_BYTES];
    for (int32_t rank = 0;;) {
      check(table_->hear_farewell(&rank, text));
      if (rank < 0) return std::nullopt;
      text[sizeof text - 1] = 0;
      if (std::string_view(text) != NNC_MPI_SIGN_OF_LIFE) return understand(rank, text);
      ++signs_;
    }
  }
  uint64_t signs() const override { return signs_; }

 private:
  void check(int code) {
    if (code) throw UserError(Code::E0545, fmt::format("{} failed: {}", name_, table_->error(code)));
  }

  static void take_nap() {
    timespec nap{0, 10'000'000};
    nanosleep(&nap, nullptr);
  }

  template <class Use>
  static void in_parts(std::span<std::byte> bytes, Use&& use) {
    constexpr size_t most = size_t(64) << 20;
    for (size_t at = 0; at < bytes.size(); at += most) use(bytes.subspan(at, std::min(most, bytes.size() - at)));
  }

  void tell_hosts() {
    struct Name {
      char text[256];
    };
    std::vector<Name> names(size_t(size()), Name{});
    std::string mine = host_name();
    std::memcpy(names[size_t(rank())].text, mine.data(), std::min(mine.size(), sizeof(Name) - 1));
    for (int other = 0; other < size(); ++other) hosts_[size_t(other)] = "an unknown host";
    std::vector<std::pair<Request, int>> pending;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      pending.push_back({start_receive(other, host_tag, std::as_writable_bytes(std::span(&names[size_t(other)], 1))), other});
      pending.push_back({start_send(other, host_tag, std::as_bytes(std::span(&names[size_t(rank())], 1))), other});
    }
    for (auto [request, other] : pending) wait(request, other);
    for (int other = 0; other < size(); ++other) hosts_[size_t(other)] = names[size_t(other)].text;
    // Of the host, not of this process: launchers bind each to cores of its own.
    crowded_ = std::ranges::count(hosts_, hosts_[size_t(rank())]) > sysconf(_SC_NPROCESSORS_ONLN);
  }

  const NncMpiTable* table_;
  std::string name_;
  bool left_ = false, ended_ = false;
  bool crowded_ = false;  ///< more workers than cores on this host: each look at a message takes time from those that compute
  long nap_ = 0;          ///< nanoseconds
  uint64_t signs_ = 0;  ///< of life, of others
  std::vector<std::byte> left_behind_;
  std::vector<std::vector<std::byte>> collected_;
  int exceptions_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(const std::string& library, double stall_seconds) {
  const NncMpiTable* table = load_table(library);
  int32_t rank = 0, size = 1;
  if (int code = table->begin(&rank, &size)) throw UserError(Code::E0545, fmt::format("{} could not begin: {}", library, table->error(code)));
  return std::make_unique<MpiTransport>(table, library, rank, size, stall_seconds);
}

}  // namespace nnc
