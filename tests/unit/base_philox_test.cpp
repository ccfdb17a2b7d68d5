// Random numbers: the published vectors, and the properties that runs rely on.
#include "base/check.h"
#include "base/philox.h"

#include <cmath>
#include <set>
#include <vector>

#include "tests/unit/catch.h"

using namespace nnc;
using Block = std::array<uint32_t, 4>;

TEST_CASE("philox4x32-10 gives the known answers of its authors") {
  // The three vectors that are published with the paper's library: all zeros, all ones, the digits of pi.
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("draws of random leaves are promised: numbers of tests/oracle/draws.py") {
  const uint64_t key = make_draw_key(7, "dropout1#0");
  CHECK(key == 0x8108382b8512b42c);
  CHECK(make_draw_key(7, "dropout1#1") != key);
  CHECK(make_draw_key(8, "dropout1#0") != key);
  struct Draw {
    uint64_t update;
    uint32_t row;
    uint64_t element;
    double value;  ///< times 2^24
  };
  for (const Draw& d : {Draw{0x0, 0x0, 0x0, 7199447}, Draw{0x0, 0x0, 0x1, 2143832}, Draw{0x0, 0x0, 0xf, 3204821}, Draw{0x0, 0x0, 0x10, 11573558}, Draw{0x0, 0x0, 0x3f, 7496171}, Draw{0x0, 0x0, 0x40, 41773}, Draw{0x0, 0x0, 0x3e8, 3245293}, Draw{0x0, 0x1, 0x0, 14854502}, Draw{0x1, 0x0, 0x0, 10437901}, Draw{0xffffffff, 0x0, 0x5, 8906270}, Draw{0x100000000, 0x0, 0x5, 10652029}, Draw{0x3, 0xffffffff, 0x3ffffffff, 7289424}})
    CHECK(double(draw_unit(key, d.update, d.row, d.element)) * 0x1p24 == d.value);
}

TEST_CASE("the hash of names is FNV-1a") {
  CHECK(stable_hash("") == 0xcbf29ce484222325);
  CHECK(stable_hash("a") == 0xaf63dc4c8601ec8c);
  CHECK(stable_hash("foobar") == 0x85944171f73967e8);
}

TEST_CASE("streams depend on seed and site, and copying copies the position") {
  auto first = [](uint64_t seed, const char* site) {
    RandomStream s(seed, stable_hash(site));
    return s.next_u64();
  };
  CHECK(first(1, "fc1.weight") == first(1, "fc1.weight"));
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 50; ++seed)
    for (const char* site : {"fc1.weight", "fc1.bias", "shuffle"}) seen.insert(first(seed, site));
  CHECK(seen.size() == 150);
  RandomStream a(7, 9);
  for (int i = 0; i < 5; ++i) a.next_u32();
  RandomStream b = a;
  for (int i = 0; i < 9; ++i) CHECK(a.next_u32() == b.next_u32());
}

TEST_CASE("draws have the moments of their distributions") {
  RandomStream s(12, 34);
  const int n = 200000;
  double unit_sum = 0, normal_sum = 0, normal_square = 0, normal_fourth = 0;
  for (int i = 0; i < n; ++i) {
    double u = s.next_unit();
    REQUIRE((u >= 0 && u < 1));
    unit_sum += u;
    double z = s.next_normal();
    normal_sum += z;
    normal_square += z * z;
    normal_fourth += z * z * z * z;
  }
  CHECK(std::abs(unit_sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(normal_sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(normal_square / n - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(normal_fourth / n - 3) < 5 * std::sqrt(96.0 / n));
}

TEST_CASE("bounded draws are uniform and in range") {
  RandomStream s(3, 4);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts.at(s.next_below(7));
  for (int c : counts) CHECK(std::abs(c - 10000) < 5 * 100);
  for (int i = 0; i < 100; ++i) CHECK(s.next_below(1) == 0);
  for (int i = 0; i < 100; ++i) CHECK(s.next_below((uint64_t{1} << 63) + 1) <= uint64_t{1} << 63);
  CHECK_THROWS_AS(s.next_below(0), InternalError);
}
