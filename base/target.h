// What the compiler knows of the machine it generates code for. Decisions in passes depend on this, on permissions and on shapes alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/types.h"

namespace nnc {

/// Vector level that kernels are generated for.
enum class VectorLevel : uint8_t { portable, avx2, avx512 };

std::string_view vector_level_name(VectorLevel);                   ///< "portable", "avx2", "avx512"
std::optional<VectorLevel> parse_vector_level(std::string_view);  ///< the inverse

struct Target {
  std::string cpu;               ///< LLVM's name of the CPU ("znver4"), "" until codegen fills it in for the host
  VectorLevel level = VectorLevel::portable;
  int vector_bytes = 16;         ///< 16 portable, 32 AVX2, 64 AVX-512
  int vector_registers = 16;     ///< 32 with AVX-512
  int64_t l1_bytes = 32 << 10;   ///< data cache of one core
  int64_t l2_bytes = 512 << 10;  ///< per core
  int64_t l3_bytes = 8 << 20;    ///< shared
  bool operator==(const Target&) const = default;
  int f32_lanes() const { return vector_bytes / int(byte_size(DType::f32)); }
};

/// The host, from cpuid and the system's cache description; never wider than what the host can run.
Target host_target();
/// A machine of the given level with the host's caches; it may be wider than the host (code to look at, not to run).
Target target_with_level(VectorLevel);

}  // namespace nnc
