// The host's description: plausible, and never wider than what the host runs.
#include "base/target.h"

#include <fstream>
#include <sstream>

#include "tests/unit/catch.h"

using namespace nnc;

TEST_CASE("vector levels have names, widths and registers") {
  for (VectorLevel l : {VectorLevel::portable, VectorLevel::avx2, VectorLevel::avx512}) {
    CHECK(parse_vector_level(vector_level_name(l)) == l);
    CHECK(target_with_level(l).level == l);
  }
  CHECK_FALSE(parse_vector_level("sse9").has_value());
  CHECK(target_with_level(VectorLevel::portable).f32_lanes() == 4);
  CHECK(target_with_level(VectorLevel::avx2).f32_lanes() == 8);
  CHECK(target_with_level(VectorLevel::avx2).vector_registers == 16);
  CHECK(target_with_level(VectorLevel::avx512).f32_lanes() == 16);
  CHECK(target_with_level(VectorLevel::avx512).vector_registers == 32);
}

TEST_CASE("the host's level agrees with the flags that the kernel shows") {
  std::ifstream in("/proc/cpuinfo");
  std::stringstream text;
  text << in.rdbuf();
  std::string info = text.str() + " ";
  Target host = host_target();
  auto has = [&](const std::string& flag) { return info.find(" " + flag + " ") != std::string::npos; };
  CHECK((host.level >= VectorLevel::avx2) == (has("avx2") && has("fma")));
  CHECK((host.level == VectorLevel::avx512) == (has("avx512f") && has("avx512dq") && has("avx512bw") && has("avx512vl")));
  CHECK(host.vector_bytes >= 16);
}

TEST_CASE("the host's caches grow with their distance and are the same at every call") {
  Target host = host_target();
  CHECK(host.l1_bytes >= 4 << 10);
  CHECK(host.l1_bytes < host.l2_bytes);
  CHECK(host.l2_bytes < int64_t{1} << 32);
  CHECK(host.l3_bytes > 0);
  CHECK(host == host_target());
}
