// Kernels that are equal but for where they work are one function. See sharing.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// Where a kernel works, each place numbered by its first use.
struct KernelPlaces {
  std::vector<BufferId> buffers;
  std::vector<std::string> sites;  ///< of draws; numbered on after the buffers
};
KernelPlaces find_places(const Kernel&);

/// For each of some buffers the number of the first one whose memory it overlaps, perhaps by way of others: equal numbers may be one memory, different ones
/// never are.
std::vector<size_t> alias_groups(const Program&, const std::vector<BufferId>&);

/// What the code of a kernel adds to a block of memory to find a buffer: bytes into the persistents, the arena, the step's scalars or results, or into the
/// context's list of fields or outputs; for what is local to a thread bytes from the beginning of its scratch, before which it stands. 0 for a literal, which is a part of the code.
int64_t buffer_place(const Program&, const Buffer&);
/// What the key of a site's random numbers is mixed from.
int64_t site_place(const std::string& site);

/// The places of a kernel as a function reads them that several kernels share.
std::vector<int64_t> place_table(const Program&, const Kernel&);

struct KernelFunction {
  size_t kernel = 0;  ///< the first that it is for, and which it is made from
  size_t uses = 1;
};
struct KernelSharing {
  std::vector<KernelFunction> functions;  ///< in the order of their first kernels
  std::vector<size_t> function_of;        ///< by kernel: its function
};
KernelSharing share_kernels(const Program&);
/// A function for each kernel.
KernelSharing separate_kernels(const Program&);

}  // namespace nnc
