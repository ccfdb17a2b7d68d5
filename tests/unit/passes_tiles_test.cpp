// The choice of tiles keeps to what a target can hold, for any shape and level.
#include "passes/tiles.h"

#include <fmt/format.h>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

OperandLayout layout(bool readable, int64_t across, int64_t k) { return {readable, across, k}; }

TileRequest request(int64_t m, int64_t n, int64_t k) {
  TileRequest r;
  r.m = m;
  r.n = n;
  r.k = k;
  r.a = layout(true, k, 1);
  r.b = layout(true, 1, n);
  return r;
}

}  // namespace

TEST_CASE("tiles fit registers, blocks are whole tiles, unreadable operands are packed") {
  for (VectorLevel level : {VectorLevel::portable, VectorLevel::avx2, VectorLevel::avx512}) {
    Target target = target_with_level(level);
    for (int64_t m : {0, 1, 2, 7, 32, 784, 2048})
      for (int64_t n : {0, 1, 10, 16, 64, 100, 2048})
        for (int64_t k : {0, 1, 32, 784, 5000})
          for (int readable = 0; readable < 4; ++readable) {
            TileRequest r = request(m, n, k);
            r.a.readable = readable & 1;
            r.b.readable = readable & 2;
            TileChoice c = choose_tiles(target, r);
            INFO(fmt::format("{} m {} n {} k {}: {}x{} blocks {} {} {}", vector_level_name(level), m, n, k, c.mr, c.nr, c.mc,
                             c.nc, c.kc));
            REQUIRE(c.mr >= 1);
            REQUIRE(c.nr >= 1);
            CHECK(c.mr * c.nr + c.nr + 1 <= target.vector_registers);
            CHECK(c.mc % c.mr == 0);
            CHECK(c.nc % (c.nr * target.f32_lanes()) == 0);
            CHECK(c.kc >= 1);
            CHECK((r.a.readable || c.pack_a));
            CHECK((r.b.readable || c.pack_b));
            CHECK(c.mr * c.kc * 4 <= 2 * target.l2_bytes);
          }
  }
}

TEST_CASE("tiles of the first network's layers leave no remainder") {
  Target target = target_with_level(VectorLevel::avx512);
  target.l1_bytes = 32 << 10;
  target.l2_bytes = 1 << 20;
  TileChoice forward = choose_tiles(target, request(32, 64, 784));
  CHECK(32 % forward.mr == 0);
  CHECK(64 % (forward.nr * 16) == 0);
  CHECK(forward.mr * forward.nr >= 10);
  CHECK(forward.kc == 784);
  CHECK_FALSE(forward.pack_b);
  TileChoice gradient = choose_tiles(target, request(784, 64, 32));
  CHECK(784 % gradient.mr == 0);
  CHECK(gradient.mr * gradient.nr >= 10);
}

TEST_CASE("a large contraction is cut into pieces for a team, a small one is not") {
  Target target = target_with_level(VectorLevel::avx512);
  auto pieces = [&](const TileRequest& r) {
    TileChoice c = choose_tiles(target, r);
    return ((r.m + c.mc - 1) / c.mc) * ((r.n + c.nc - 1) / c.nc);
  };
  CHECK(pieces(request(256, 2048, 2048)) >= 8);
  CHECK(pieces(request(32, 64, 784)) >= 4);
  CHECK(pieces(request(8, 10, 16)) == 1);
}

TEST_CASE("vectors of a whole line leave in place what is less than a page apart and read by few, and take all of a long sum at once where the cache holds b") {
  for (const VectorLevel level : {VectorLevel::avx2, VectorLevel::avx512}) {
    const bool whole_lines = level == VectorLevel::avx512;
    Target target = target_with_level(level);
    target.l1_bytes = 48 << 10;
    target.l2_bytes = 2 << 20;
    INFO(vector_level_name(level));
    CHECK(choose_tiles(target, request(1024, 128, 512)).pack_a == !whole_lines);  // rows of a 2 KB apart
    CHECK(choose_tiles(target, request(1024, 128, 1024)).pack_a);                 // 4 KB
    TileRequest few = request(32, 512, 128);                                      // of b, read by four rows of tiles
    few.row_chain = 8;
    CHECK(choose_tiles(target, few).pack_b == !whole_lines);
    CHECK(choose_tiles(target, request(512, 512, 128)).pack_b);
    TileRequest gradient = request(512, 128, 2048);
    gradient.a = layout(true, 1, 512);
    CHECK((choose_tiles(target, gradient).kc == 2048) == whole_lines);
    gradient.n = 512;
    gradient.b = layout(true, 1, 512);
    CHECK(choose_tiles(target, gradient).kc < 2048);  // more of b than half of the second-level cache
  }
}

TEST_CASE("rows of a power of two apart are packed") {
  Target target = target_with_level(VectorLevel::avx512);
  TileRequest r = request(256, 2048, 2048);
  CHECK(choose_tiles(target, r).pack_a);
  CHECK(choose_tiles(target, r).pack_b);
  CHECK_FALSE(choose_tiles(target, request(32, 64, 64)).pack_a);
}
