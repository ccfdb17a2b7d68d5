// Every message is done as soon as it is asked for, so that nobody ever waits.
#include "runtime/workers/silent_transport.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/workers/local_transport.h"

namespace nnc {
namespace {

class SilentTransport final : public Transport {
 public:
  SilentTransport(int rank, int size) : Transport(rank, size) { std::fill(hosts_.begin(), hosts_.end(), host_name()); }
  std::string_view name() const override { return "silent"; }
  Request start_send(int, int, std::span<const std::byte>) override { return Request(0); }
  Request start_receive(int, int, std::span<std::byte>) override { return Request(0); }
  bool done(Request) override { return true; }
  void progress() override {}

 protected:
  int spins() const override { return 1; }
  void spin(int) override {}
  void sleep() override { NNC_UNREACHABLE("a worker waits for others that are not there"); }
  std::optional<Loss> find_loss(bool) override { return std::nullopt; }
};

}  // namespace

std::unique_ptr<Transport> make_silent_transport(int rank, int size) { return std::make_unique<SilentTransport>(rank, size); }

}  // namespace nnc
