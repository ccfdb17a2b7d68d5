// The order in which a contraction over several axes adds up its terms: chains of at most so many terms, whole lines of a short last axis.
#include "ir/program.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// The order of a kernel with these axes of k.
SumOrder order_of(const std::vector<Extent>& k, int64_t rows = 1) {
  ContractKernel kernel;
  kernel.axes = {{"m", {4, false}}, {"n", {4, false}}};
  for (const Extent& e : k) kernel.axes.push_back({"k", e});
  return sum_order_of(kernel, rows);
}

}  // namespace

TEST_CASE("chains of a contraction over several axes go over whole lines of a short last one", "[ir]") {
  SumOrder order = order_of({{400, false}, {9, false}});  // 3600 terms: 4 chains of 900
  CHECK(order.length == 3600);
  CHECK(order.step == 9);
  CHECK(order.chain == 900);
  CHECK(order.per_piece == 4);
  order = order_of({{128, false}, {9, false}});  // 1152 terms: two chains of 64 lines
  CHECK(order.chain == 576);
  order = order_of({{40, false}, {9, false}, {3, false}});
  CHECK(order.step == 3);
  CHECK(order.chain == 540);
  order = order_of({{512, false}, {3, false}});  // 1536 terms are 2 chains
  CHECK(order.chain == 768);
}

TEST_CASE("no chain of whole lines has more terms than one of single terms", "[ir]") {
  for (int64_t lines : {16, 17, 113, 114, 128, 500, 1024})
    for (int64_t line : {1, 2, 3, 7, 9, 25, 49, 63, 64}) {
      SumOrder order = order_of({{lines, false}, {line, false}});
      INFO(lines << " lines of " << line);
      CHECK(order.step == line);
      CHECK(order.chain % line == 0);
      CHECK((order.per_piece == 1 ? order.length : order.chain) <= contraction_chain);
    }
}

TEST_CASE("long lines, rows and a single axis are cut anywhere", "[ir]") {
  CHECK(order_of({{20, false}, {65, false}}).step == 1);
  CHECK(order_of({{20, false}, {65, false}}).chain == 650);
  CHECK(order_of({{9, false}, {1, true}}, 300).step == 1);
  CHECK(order_of({{60, false}}).step == 1);
}
