// A file travels as it is in memory, unpacked if it was compressed, behind its size; what is wrong with it travels in its place, as text, so that every worker says the same.
#include "engine/sent_files.h"

#include <cstring>

#include "runtime/workers/diagnostic_text.h"

namespace nnc {
namespace {

struct Head {
  uint64_t bytes;
  uint64_t is_fault;
};

FileBytes load(Collectives& workers, int from, const std::string& path) {
  FileBytes file;
  std::string fault;
  if (workers.rank() == from)
    workers.while_others_wait([&] {
      try {
        file = load_file(path);
      } catch (const UserError& e) {
        fault = diagnostic_to_text(e.diagnostic());
      }
    });
  Head head{fault.empty() ? file.size : fault.size(), !fault.empty()};
  workers.broadcast_into(std::as_writable_bytes(std::span(&head, 1)), from);
  if (head.is_fault) {
    fault.resize(head.bytes);
    workers.broadcast_into(std::as_writable_bytes(std::span(fault)), from);
    throw UserError(diagnostic_from_text(fault));
  }
  if (workers.rank() != from) {
    OwnedBytes bytes = allocate_bytes(head.bytes);
    file = {bytes.data.get(), bytes.size, bytes.data, false};
  }
  // What the root has is only read.
  workers.broadcast_into({const_cast<std::byte*>(file.data), file.size}, from);
  return file;
}

}  // namespace

FileLoader load_on(Collectives& workers, int from) {
  return [&workers, from](const std::string& path) { return load(workers, from, path); };
}

}  // namespace nnc
