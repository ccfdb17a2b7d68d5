// Arithmetic on dimensions: one normal form, so that equal sizes written differently are one dimension.
#include "frontend/dimension.h"

#include "tests/unit/catch.h"

namespace nnc {
namespace {

TEST_CASE("products and sums of dimensions have one form", "[frontend][dimension]") {
  DimTable t;
  uint32_t h = t.make("H", {6, false}, {}, 0), c = t.make("C", {4, false}, {}, 0);
  DimSum four_h = multiply(number_sum(4), atom_sum(h));
  CHECK(t.to_dim(four_h).id == t.to_dim(multiply(atom_sum(h), number_sum(4))).id);
  CHECK(t.to_dim(add(atom_sum(h), atom_sum(c))).id == t.to_dim(add(atom_sum(c), atom_sum(h))).id);
  CHECK(t.to_dim(add(four_h, atom_sum(h), -4)).named() == false);
  CHECK(t.show(four_h) == "4*H");
  CHECK(t.show(add(multiply(atom_sum(c), atom_sum(h)), number_sum(1))) == "H*C + 1");
  CHECK(t.evaluate(four_h) == Extent{24, false});
}

TEST_CASE("a quotient or difference beyond 64 bits is none, or as large as can be", "[frontend][dimension]") {
  DimTable t;
  uint32_t h = t.make("H", {6, false}, {}, 0);
  const DimSum least = number_sum(INT64_MIN), opposite = number_sum(-1);
  CHECK(!t.divide(least, opposite, false));
  CHECK(!t.divide(least, opposite, true));
  CHECK(t.divide(least, number_sum(-2), false) == number_sum(int64_t(1) << 62));
  // Nothing cancels; as a size it is as large as any.
  CHECK(t.divide(multiply(least, atom_sum(h)), multiply(opposite, atom_sum(h)), true) != number_sum(INT64_MIN));
  CHECK(add({}, least, -1) == number_sum(INT64_MAX));
}

TEST_CASE("division cancels where it can and is a name of its own otherwise", "[frontend][dimension]") {
  DimTable t;
  uint32_t h = t.make("H", {6, false}, {}, 0), c = t.make("C", {12, false}, {}, 0);
  DimSum product = multiply(atom_sum(h), atom_sum(c));
  REQUIRE(t.divide(product, atom_sum(c), false) == atom_sum(h));
  std::optional<DimSum> quotient = t.divide(atom_sum(c), atom_sum(h), false);
  REQUIRE(quotient);
  CHECK(t.to_dim(*quotient).extent.size == 2);
  CHECK(t.show(*quotient) == "C / H");
  CHECK(t.divide(atom_sum(c), atom_sum(h), false) == quotient);
  CHECK_FALSE(t.divide(atom_sum(c), number_sum(5), false));
  CHECK(t.to_dim(*t.divide(atom_sum(c), number_sum(5), true)).extent.size == 2);
  CHECK_FALSE(t.divide(atom_sum(c), number_sum(0), true));
}

TEST_CASE("the number of rows multiplies and does not add", "[frontend][dimension]") {
  DimTable t;
  uint32_t b = t.make("B", {1, true}, {}, 0), c = t.make("C", {12, false}, {}, 0);
  CHECK(t.evaluate(multiply(atom_sum(b), atom_sum(c))) == Extent{12, true});
  CHECK_FALSE(t.evaluate(multiply(atom_sum(b), atom_sum(b))));
  CHECK_FALSE(t.evaluate(add(atom_sum(b), number_sum(1))));
}

TEST_CASE("leaving a frame gives back the caller's names", "[frontend][dimension]") {
  DimTable t;
  uint32_t model = t.make("Model", {8, false}, {}, 0);
  uint32_t out = t.make("Out", {8, false}, {}, 1, atom_sum(model)), in = t.make("In", {10, false}, {}, 1, number_sum(10));
  CHECK(t.leave(t.to_dim(atom_sum(out)), 1).id == model);
  CHECK_FALSE(t.leave(t.to_dim(atom_sum(in)), 1).named());
  CHECK(t.show(t.leave(t.to_dim(multiply(number_sum(4), atom_sum(out))), 1)) == "4*Model");
  uint32_t half = t.make("Half", {4, false}, {}, 1, *t.divide(atom_sum(out), number_sum(2), false));
  CHECK(t.show(t.leave(t.to_dim(atom_sum(half)), 1)) == "Model / 2");
}

}  // namespace
}  // namespace nnc
