// Into which pieces the rows of an update are cut, whoever computes which of them; what cannot be cut, and whether what is suggested instead can.
#include "frontend/batch_plan.h"

#include <regex>

#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

TrainSpec spec_of(int64_t pieces, int64_t accumulate) {
  TrainSpec spec;
  spec.pieces = pieces;
  spec.accumulate = accumulate;
  return spec;
}

std::vector<int64_t> suggested(const Diagnostic& d) {
  std::vector<int64_t> numbers;
  REQUIRE(d.help.size() == 1);
  const std::regex pattern("`pieces: ([0-9]+)`");
  for (std::sregex_iterator i(d.help[0].begin(), d.help[0].end(), pattern), end; i != end; ++i) numbers.push_back(std::stoll((*i)[1]));
  return numbers;
}

}  // namespace

TEST_CASE("a batch that nobody cuts has the pieces that its rows have", "[batch_plan]") {
  for (int64_t rows : {1, 2, 127, 128, 255, 256, 300, 1024, 1025, 8192, 60000}) {
    const BatchPlan plan = plan_batch(spec_of(0, 1), rows);
    INFO(rows << " rows");
    CHECK(plan.whole() == rows);
    CHECK(plan.planned() == PlannedRows(rows));
  }
  CHECK(plan_batch(spec_of(0, 1), 1024).pieces() == 8);
}

TEST_CASE("batches that make up a whole one have whole pieces where nobody cuts them", "[batch_plan]") {
  for (int64_t rows = 1; rows <= 300; rows += rows < 20 ? 1 : 13)
    for (int64_t accumulate : {2, 3, 4, 7, 64}) {
      INFO(accumulate << " batches of " << rows << " rows");
      CHECK_FALSE(find_batch_fault(spec_of(0, accumulate), rows));
      const BatchPlan plan = plan_batch(spec_of(0, accumulate), rows);
      CHECK(plan.whole() == rows * accumulate);
      CHECK(rows % plan.piece == 0);
      CHECK(plan.pieces() % accumulate == 0);
      CHECK(plan.pieces() >= std::min(plan.whole(), pieces_of(plan.whole())));
    }
  // As many as the whole batch has, where that comes out even.
  CHECK(plan_batch(spec_of(0, 4), 256).planned() == PlannedRows(256, 1024, 128));
}

TEST_CASE("pieces that are asked for: those of the whole batch, or a fault that says what would do", "[batch_plan]") {
  int faults = 0, pairs = 0;
  for (int64_t rows = 1; rows <= 36; ++rows)
    for (int64_t accumulate = 1; accumulate <= 6; ++accumulate)
      for (int64_t pieces = 1; pieces <= rows * accumulate; ++pieces) {
        const TrainSpec spec = spec_of(pieces, accumulate);
        const int64_t piece = piece_rows(rows * accumulate, pieces);
        INFO(pieces << " pieces of " << accumulate << " batches of " << rows << " rows");
        const std::optional<Diagnostic> fault = find_batch_fault(spec, rows);
        REQUIRE(fault.has_value() == (accumulate > 1 && rows % piece != 0));
        if (!fault) {
          const BatchPlan plan = plan_batch(spec, rows);
          REQUIRE(plan.piece == piece);
          REQUIRE(plan.pieces() <= pieces);
          // One large batch is cut in the same way.
          REQUIRE(plan_batch(spec_of(pieces, 1), rows * accumulate).piece == plan.piece);
          continue;
        }
        ++faults;
        CHECK(fault->code == Code::E0311);
        const std::vector<int64_t> numbers = suggested(*fault);
        REQUIRE((numbers.size() == 1 || numbers.size() == 2));
        for (int64_t number : numbers) {
          INFO(number << " are suggested");
          CHECK_FALSE(find_batch_fault(spec_of(number, accumulate), rows));
          CHECK(plan_batch(spec_of(number, accumulate), rows).pieces() == number);
        }
        if (numbers.size() < 2) continue;
        ++pairs;
        CHECK(numbers[0] < numbers[1]);
        CHECK(pieces <= numbers[1]);
      }
  CHECK(faults > 1000);
  CHECK(pairs > 500);
}

TEST_CASE("more pieces than rows, more rows than are counted", "[batch_plan]") {
  CHECK_FALSE(find_batch_fault(spec_of(8, 1), 8));
  const std::optional<Diagnostic> many = find_batch_fault(spec_of(9, 1), 8);
  REQUIRE(many);
  CHECK(many->message == "a batch of 8 rows cannot be cut into 9 pieces");
  CHECK(suggested(*many) == std::vector<int64_t>{8});
  const std::optional<Diagnostic> made_up = find_batch_fault(spec_of(9, 2), 4);
  REQUIRE(made_up);
  CHECK(made_up->message == "2 batches of 4 rows cannot be cut into 9 pieces");
  CHECK_FALSE(find_batch_fault(spec_of(0, int64_t(1) << 30), 4));
  const std::optional<Diagnostic> rows = find_batch_fault(spec_of(0, (int64_t(1) << 30) + 1), 4);
  REQUIRE(rows);
  CHECK_THAT(rows->message, contains("are too many for one update"));
  // Products beyond 64 bits are no exception.
  CHECK(find_batch_fault(spec_of(0, int64_t(1) << 40), int64_t(1) << 40));
}
