// The host's vector level and caches. The compiler's built-in asks cpuid and XGETBV, so that a level counts only where the
// operating system saves its registers too. Caches come from sysfs, else from sysconf, else the defaults of the struct stand.
#include "base/target.h"

#include <unistd.h>

#include <fstream>

#include "base/check.h"

namespace nnc {
namespace {

VectorLevel host_level() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma"))
    return VectorLevel::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return VectorLevel::avx2;
#endif
  return VectorLevel::portable;
}

std::string read_word(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

/// "48K", "2048K", "32M" as bytes; 0 if it is something else.
int64_t parse_cache_size(const std::string& text) {
  int64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && i < 12 && text[i] >= '0' && text[i] <= '9'; ++i) value = value * 10 + (text[i] - '0');
  if (i == 0) return 0;
  if (i == text.size()) return value;
  if (i + 1 != text.size()) return 0;
  switch (text[i]) {
    case 'K':
      return value << 10;
    case 'M':
      return value << 20;
    case 'G':
      return value << 30;
    default:
      return 0;
  }
}

void describe_caches(Target& target) {
  int64_t found[4] = {};
  for (int index = 0; index < 8; ++index) {
    std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    std::string type = read_word(folder + "type"), level = read_word(folder + "level");
    if (level.empty()) break;
    if (type != "Data" && type != "Unified") continue;
    if (level.size() == 1 && level[0] >= '1' && level[0] <= '3')
      found[level[0] - '0'] = parse_cache_size(read_word(folder + "size"));
  }
#ifdef _SC_LEVEL1_DCACHE_SIZE
  if (found[1] <= 0) found[1] = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  if (found[2] <= 0) found[2] = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (found[3] <= 0) found[3] = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  if (found[1] > 0) target.l1_bytes = found[1];
  if (found[2] > 0) target.l2_bytes = found[2];
  if (found[3] > 0) target.l3_bytes = found[3];
}

}  // namespace

std::string_view vector_level_name(VectorLevel level) {
  switch (level) {
    case VectorLevel::portable:
      return "portable";
    case VectorLevel::avx2:
      return "avx2";
    case VectorLevel::avx512:
      return "avx512";
  }
  NNC_UNREACHABLE("vector level");
}

std::optional<VectorLevel> parse_vector_level(std::string_view name) {
  for (VectorLevel level : {VectorLevel::portable, VectorLevel::avx2, VectorLevel::avx512})
    if (vector_level_name(level) == name) return level;
  return std::nullopt;
}

Target host_target() { return target_with_level(host_level()); }

Target target_with_level(VectorLevel level) {
  Target target;
  target.level = level;
  target.vector_bytes = level == VectorLevel::avx512 ? 64 : level == VectorLevel::avx2 ? 32 : 16;
  target.vector_registers = level == VectorLevel::avx512 ? 32 : 16;
  describe_caches(target);
  return target;
}

}  // namespace nnc
