// Workers of one machine: messages through rings of shared memory, and blocks that all read in place.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "runtime/workers/local_memory.h"
#include "runtime/workers/transport.h"

namespace nnc {

/// Worker `rank` of those that meet in `memory`. All of them are made before any waits for another; they may be processes, or threads of one (as tests have it). `cores`: of the machine, for this
/// process to use.
std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalMemory> memory, int rank, int cores);
/// The same for worker 0, which sees to the others' end: they are its children, and have ended when the transport has.
std::unique_ptr<Transport> make_local_parent(std::shared_ptr<LocalMemory> memory, int cores, std::vector<pid_t> children);

/// The name of this machine.
std::string host_name();

}  // namespace nnc
