// What workers exchange and how long it takes by the model, against figures made by hand.
#include "runtime/workers/traffic.h"

#include <cmath>

#include "runtime/workers/collectives.h"
#include "runtime/workers/silent_transport.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

double microseconds(double seconds) { return std::round(seconds * 1e9) / 1e3; }

}  // namespace

TEST_CASE("bytes of an exchange whose ranges have owners") {
  // Two workers, a piece each: the other's range is sent, the own one comes in.
  const SharedArray halves{100, 4, {0, 48, 100}};
  const auto two = nodes_of_workers(2, 2);
  CHECK(exchange_traffic(halves, two, 0) == Traffic{52 * 4, 48 * 4});
  CHECK(exchange_traffic(halves, two, 1) == Traffic{48 * 4, 52 * 4});
  CHECK(exchange_traffic(halves, nodes_of_workers(1, 2), 0) == Traffic{0, 0});
  // Three workers with 8 pieces: [0, 2) and 2, then 3 and [4, 6), then [6, 8). Each node is a part that travels by itself.
  const SharedArray thirds{300, 4, {0, 100, 200, 300}};
  const auto three = nodes_of_workers(3, 8);
  CHECK(exchange_traffic(thirds, three, 0) == Traffic{2 * 2 * 400, (2 + 1) * 400});
  CHECK(exchange_traffic(thirds, three, 2) == Traffic{2 * 400, (2 + 2) * 400});
  // What is nobody's does not travel.
  CHECK(exchange_traffic({10, 4, {0, 0, 0, 10}}, three, 0) == Traffic{2 * 40, 0});
  CHECK(exchange_traffic({10, 4, {0, 0, 0, 10}}, three, 2) == Traffic{0, (2 + 2) * 40});
}

TEST_CASE("bytes of an exchange that everybody needs whole") {
  const auto three = nodes_of_workers(3, 8);
  // Small: everybody's parts to everybody.
  CHECK(exchange_traffic({1, 4, even_ranges(1, 3), true}, three, 1) == Traffic{2 * 2 * 4, (2 + 1) * 4});
  CHECK(exchange_traffic({512, 4, even_ranges(512, 3), true}, three, 0) == Traffic{2 * 2 * 2048, 3 * 2048});
  // Else parts to owners, and totals from there: 2 x 400 out, 800 in.
  CHECK(exchange_traffic({900, 4, even_ranges(900, 3), true}, three, 0) == Traffic{2 * 2 * 1200 + 2 * 1200, 3 * 1200 + 2 * 1200});
  CHECK(publish_traffic({900, 4, even_ranges(900, 3)}, 0) == Traffic{2400, 2400});
  CHECK(publish_traffic({100, 8, {0, 16, 100}}, 0) == Traffic{128, 672});
  CHECK(exchange_rounds({}) == 0);
  CHECK(exchange_rounds({{900, 4, even_ranges(900, 3), false}, {1, 4, even_ranges(1, 3), true}}) == 1);
  CHECK(exchange_rounds({{900, 4, even_ranges(900, 3), false}, {513, 4, even_ranges(513, 3), true}}) == 2);
  CHECK(even_ranges(10, 4) == std::vector<int64_t>{0, 2, 5, 7, 10});
}

TEST_CASE("parts that wait for others") {
  CHECK(most_waiting({}) == 0);
  CHECK(most_waiting({{0, 0}}) == 0);
  CHECK(most_waiting({{0, 0}, {1, 0}, {2, 0}, {3, 0}}) == 2);  // [0, 2) and 2 while 3 is made
  CHECK(most_waiting({{2, 1}, {4, 0}}) == 1);
  CHECK(most_waiting({{1, 0}, {2, 1}, {4, 2}, {8, 0}}) == 3);  // none of them join
}

TEST_CASE("times by the model") {
  const Network network{10e-6, 1e9};
  // Two rounds to three others: 6 latencies; 3 MB out while 2 MB come in.
  CHECK(microseconds(direct_seconds(network, 4, 2, {3'000'000, 2'000'000})) == 3060);
  CHECK(microseconds(direct_seconds(network, 4, 1, {2'000'000, 3'000'000})) == 3030);
  CHECK(microseconds(direct_seconds(network, 2, 0, {})) == 0);
  // 4 MB around a ring of 4: 6 messages of 1 MB; up and down a tree of depth 2: 4 of 4 MB.
  CHECK(microseconds(ring_seconds(network, 4, 4'000'000)) == 6060);
  CHECK(microseconds(tree_seconds(network, 4, 4'000'000)) == 16040);
  CHECK(microseconds(tree_seconds(network, 5, 1'000'000)) == 6060);
  CHECK(microseconds(tree_seconds(network, 2, 1'000'000)) == 2020);
  CHECK(microseconds(ring_seconds(network, 1, 1'000'000)) == 0);
}

TEST_CASE("a worker whose others are not there does its own part and never waits") {
  const std::unique_ptr<Transport> silence = make_silent_transport(1, 3);
  CHECK(silence->rank() == 1);
  CHECK(silence->size() == 3);
  Collectives all(*silence);
  std::vector<float> part(300, 2.0f), total(300, -1.0f);
  Exchange exchange(all, {{DType::f32, 300, Combine::sum, {part.data()}, total.data(), even_ranges(300, 3), false}}, nodes_of_workers(3, 3));
  Publish publish(all, {{total.data(), 4, even_ranges(300, 3)}});
  for (int step = 0; step < 3; ++step) {
    exchange.start(), exchange.finish();
    publish.start(), publish.finish();
    CHECK(total[100] == 2.0f);  // its own part, and zeros of the others
    CHECK(total[199] == 2.0f);
    CHECK(total[99] == -1.0f);
    CHECK(total[200] == -1.0f);
  }
}
