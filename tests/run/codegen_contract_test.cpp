// Contract kernels against plain loops, to the bit where the epilogue only stores: a contraction is a sum of ascending chains of FMAs
// for each output, in an order that the shape alone decides, whatever the tiles, blocks, packing and threads.
#include <fmt/format.h>

#include "tests/run/codegen_contract_case.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::string describe(const ContractCase& c, int64_t rows) {
  auto extent = [](Extent e) { return fmt::format("{}{}", e.size, e.rows ? "*B" : ""); };
  std::string batch;
  for (Extent e : c.batch) batch += extent(e) + ",";
  return fmt::format(
      "{}: batch [{}] m {} n {} k {} rows {}/{} a {} order {} pack {}, b {} order {} pack {}, finish {}, tile {}x{}, blocks {} "
      "{} {}",
      vector_level_name(c.target.level), batch, extent(c.m), extent(c.n), extent(c.k), rows, c.planned_rows, int(c.a),
      c.a_order[0], c.pack_a, int(c.b), c.b_order[0], c.pack_b, int(c.finish), c.mr, c.nr, c.mc, c.nc, c.kc);
}

/// Number of floats that differ (by more than a tolerance where the epilogue computes).
size_t differences(const ContractCase& c, const AlignedBytes& got, const AlignedBytes& expected) {
  size_t count = 0;
  for (size_t i = 0; i + 4 <= got.size; i += 4) {
    float x, y;
    std::memcpy(&x, got.data + i, 4);
    std::memcpy(&y, expected.data + i, 4);
    if (c.finish == Finish::store)
      count += std::memcmp(&x, &y, 4) != 0;
    else
      count += !(std::fabs(x - y) <= 2e-5f * (1 + std::fabs(y)));
  }
  return count;
}

void check_case(const ContractCase& c, std::vector<int64_t> rows_list, std::vector<int> threads_list = {1}) {
  Program program = contract_program(c);
  CompileOptions options;
  options.verify = true;
  auto code = compile(program, nullptr, options);
  for (int64_t rows : rows_list) {
    Memory expected(program, 1);
    run_plainly(expected, rows, c.target.level != VectorLevel::portable);
    for (int threads : threads_list) {
      INFO(describe(c, rows) << ", threads " << threads);
      Memory got(program, 1);
      got.run(*code, rows, threads);
      CHECK(differences(c, got.arena, expected.arena) == 0);
      CHECK(differences(c, got.persistent, expected.persistent) == 0);
    }
  }
}

Extent fixed(int64_t size) { return {size, false}; }
Extent rows_of(int64_t size = 1) { return {size, true}; }

/// Blocks of one tile of 4 rows, read in place or packed: what remains is the order along k.
ContractCase long_sum(const Target& target, Extent k, int64_t kc, bool pack) {
  ContractCase c;
  c.target = target;
  c.m = fixed(5);
  c.n = fixed(target.f32_lanes() + 3);
  c.k = k;
  c.mr = 4;
  c.mc = 4;
  c.nc = 2 * target.f32_lanes();
  c.kc = kc;
  c.b_order = pack ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
  c.pack_a = c.pack_b = pack;
  return c;
}

}  // namespace

TEST_CASE("contraction: sizes around the vector and the tile") {
  for (const Target& target : runnable_targets()) {
    const int64_t v = target.f32_lanes();
    for (int64_t n : {int64_t(1), v - 1, v, v + 1, 2 * v, 5 * v - 3})
      for (int64_t m : {1, 3, 8, 13})
        for (int64_t k : {1, 5, 17}) {
          ContractCase c;
          c.target = target;
          c.m = fixed(m);
          c.n = fixed(n);
          c.k = fixed(k);
          c.mr = 4;
          bool packed = (n + m + k) % 2 == 0;
          c.pack_a = packed;
          c.pack_b = packed;
          check_case(c, {1});
        }
  }
}

TEST_CASE("contraction: empty extents") {
  for (const Target& target : runnable_targets()) {
    for (int zero = 0; zero < 3; ++zero) {
      ContractCase c;
      c.target = target;
      c.m = fixed(zero == 0 ? 0 : 9);
      c.n = fixed(zero == 1 ? 0 : 21);
      c.k = fixed(zero == 2 ? 0 : 7);
      check_case(c, {1});
      c.finish = Finish::bias_relu;
      check_case(c, {1});
    }
  }
}

TEST_CASE("contraction: every order of operands, packed or read in place") {
  for (const Target& target : runnable_targets()) {
    const int64_t v = target.f32_lanes();
    for (int order = 0; order < 4; ++order)
      for (int pack = 0; pack < 4; ++pack)
        for (int64_t k : {v - 1, 2 * v + 3}) {
          ContractCase c;
          c.target = target;
          c.m = fixed(21);
          c.n = fixed(3 * v + 5);
          c.k = fixed(k);
          c.mr = order % 2 ? 6 : 4;
          c.a_order = order & 1 ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
          c.b_order = order & 2 ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
          c.a_gap = 3;
          c.b_gap = 5;
          c.pack_a = pack & 1;
          c.pack_b = pack & 2;
          check_case(c, {1});
        }
  }
}

TEST_CASE("contraction: blocks of m, n and k change no bit, nor do threads") {
  for (const Target& target : runnable_targets()) {
    const int64_t v = target.f32_lanes();
    for (int64_t kc : {7, 33, 1000})
      for (int64_t mc : {8, 24, 1000})
        for (bool pack : {false, true}) {
          ContractCase c;
          c.target = target;
          c.m = fixed(45);
          c.n = fixed(5 * v + 2);
          c.k = fixed(70);
          c.mr = 4;
          c.b_order = pack ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
          c.mc = mc;
          c.nc = 2 * v;
          c.kc = kc;
          c.pack_a = c.pack_b = pack;
          check_case(c, {1}, {1, 2, 3, 7});
          c.finish = Finish::adam;
          check_case(c, {1}, {1, 2});
        }
  }
}

TEST_CASE("contraction: a long k is cut into chains, whatever the blocks") {
  for (const Target& target : runnable_targets()) {
    for (int64_t k : {1024, 1025, 2049, 3100, 5003})
      for (int64_t kc : {96, 1024, 100000})
        for (bool pack : {false, true}) {
          ContractCase c = long_sum(target, fixed(k), kc, pack);
          c.m = fixed(7);
          c.mc = 8;
          c.nc = target.f32_lanes();
          check_case(c, {1}, {1, 3});
        }
  }
}

TEST_CASE("contraction: a sum over rows is cut into pieces, and pieces into chains") {
  for (const Target& target : runnable_targets()) {
    for (auto [rows, each] : std::vector<std::pair<int64_t, int64_t>>{{255, 1}, {256, 1}, {300, 1}, {1100, 1}, {520, 3}, {300, 20}})
      for (int64_t kc : {48, 300, 640, 100000})
        for (bool pack : {false, true}) {
          ContractCase c = long_sum(target, rows_of(each), kc, pack);
          c.planned_rows = rows;
          const int64_t piece = piece_and_chain(c.k, rows, 1).first / each;
          check_case(c, {1, piece - 1, piece, std::min(piece + 1, rows), rows - 1, rows});
          if (rows != 256) continue;
          c.finish = Finish::adam;  // short enough for an epilogue in the tile
          check_case(c, {100, rows}, {1, 2});
        }
  }
}

TEST_CASE("contraction: rows along m, k, n and a batch axis, fewer than planned") {
  for (const Target& target : runnable_targets()) {
    const int64_t v = target.f32_lanes();
    for (bool pack : {false, true}) {
      ContractCase c;
      c.target = target;
      c.planned_rows = 2 * v + 4;
      std::vector<int64_t> rows{1, 2, 7, v, v + 1, c.planned_rows};
      c.pack_a = c.pack_b = pack;
      c.m = rows_of();
      c.n = fixed(37);
      c.k = fixed(29);
      check_case(c, rows);
      c.m = fixed(30);
      c.k = rows_of();
      check_case(c, rows);
      c.k = fixed(11);
      c.n = rows_of();
      check_case(c, rows);
      c.n = rows_of(3);
      c.m = rows_of(2);
      check_case(c, rows);
      c.n = fixed(5);
      c.batch = {rows_of(), fixed(3)};
      c.m = fixed(6);
      check_case(c, rows, {1, 3});
      c.k = rows_of();
      c.kc = v;
      c.b_order = {1, 0};
      check_case(c, rows, {1});
    }
  }
}

TEST_CASE("contraction: fields of bytes and floats, along m and along k") {
  for (const Target& target : runnable_targets()) {
    for (int64_t width : {3, 16, 51}) {
      for (Source source : {Source::u8_field, Source::f32_field})
        for (int mr : {1, 6, 8}) {
          ContractCase c;
          c.target = target;
          c.planned_rows = 19;
          c.a = source;
          c.mr = mr;
          c.nr = 1;
          c.m = rows_of();
          c.k = fixed(width);
          c.n = fixed(20);
          c.finish = Finish::bias_relu;
          check_case(c, {1, 8, 19});
          c.finish = Finish::store;
          c.kc = 32;
          check_case(c, {5, 19});
          c.m = fixed(width);
          c.k = rows_of();
          c.kc = 256;
          check_case(c, {1, 19});
          c.finish = Finish::update;
          check_case(c, {3, 19});
        }
      ContractCase c;
      c.target = target;
      c.planned_rows = 21;
      c.b = Source::u8_field;
      c.m = fixed(9);
      c.mr = 4;
      c.k = rows_of();
      c.n = fixed(width);
      check_case(c, {1, 21});
    }
  }
}

TEST_CASE("contraction: prologues and every epilogue") {
  for (const Target& target : runnable_targets()) {
    for (Finish finish : {Finish::store, Finish::bias_relu, Finish::update, Finish::momentum, Finish::adam})
      for (int64_t n : {10, 64})
        for (int order = 0; order < 2; ++order) {
          ContractCase c;
          c.target = target;
          c.planned_rows = 32;
          c.m = order ? rows_of() : fixed(44);
          c.k = order ? fixed(44) : rows_of();
          c.n = fixed(n);
          c.a = Source::scaled;
          c.b = order ? Source::scaled : Source::plain;
          c.b_order = order ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
          c.finish = finish;
          c.nr = 4;
          c.mr = 6;
          check_case(c, {5, 32}, {1, 2});
        }
  }
}

TEST_CASE("contraction: attention's batches and one large case") {
  for (const Target& target : runnable_targets()) {
    ContractCase c;
    c.target = target;
    c.planned_rows = 3;
    c.batch = {rows_of(), fixed(4)};
    c.m = fixed(17);
    c.n = fixed(17);
    c.k = fixed(24);
    c.a_gap = 7;
    c.b_order = {1, 0};
    c.b_gap = 1;
    check_case(c, {1, 3}, {1, 4});
    ContractCase large;
    large.target = target;
    large.m = fixed(131);
    large.n = fixed(259);
    large.k = fixed(300);
    large.b_order = {1, 0};
    large.pack_a = true;
    large.mc = 64;
    large.nc = 128;
    large.kc = 128;
    check_case(large, {1}, {1, 3});
  }
}
