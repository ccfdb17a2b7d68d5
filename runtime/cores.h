// How many cores this process may really use.
#pragma once

#include <string>

namespace nnc {

/// Cores in the affinity mask, no more than the CPU quota of the control groups that this process is in; at least 1.
int usable_cores();

/// The CPU quota in cores (1.5: three halves of a core), infinity without one. Version 1 and 2 hierarchies, every group from the process's own up to the
/// root of what is mounted. `root` stands before every path that is read: a folder that holds proc/self/cgroup, proc/self/mountinfo and the mounts.
double cpu_quota(const std::string& root = "");

/// Cores in the affinity mask of this thread.
int affinity_cores();

}  // namespace nnc
