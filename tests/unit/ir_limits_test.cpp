// Limits of axes: their text, their meaning, and what the verifier asks, on a small causal attention that is changed in one place at a time.
#include <string>
#include <vector>

#include "ir/axis_limits.h"
#include "ir/program.h"
#include "ir/program_interpreter.h"
#include "tests/program_text.h"
#include "tests/text_changes.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using nnc::test::program_of;
using nnc::test::TextChanges;
using nnc::test::with_changes;

namespace {

// Six positions in blocks of two, of three numbers each: the products with positions of blocks not behind the own one, their sums, and what a position gets from those of blocks
// not before its own.
const std::string sound = R"(program @limits {
  target any portable, 1 row planned
  arena 192 bytes, persistent 128 bytes

  persistent "x" : f32[6, 3] at 0, 72 bytes, frozen
  temporary "%5" : f32[6, 6] at 0, 144 bytes
  output "scores" : f32[6, 6] slot 0
  output "sums" : f32[6] slot 1
  output "back" : f32[6, 3] slot 2
  output "turned" : f32[6, 6] slot 3

  kernel products  # parallel
    contract q < 3; i < 2; e < 6 below 2*q + 2; d < 3: tile 1 x 1 vectors, blocks 2 x 6 x 3
      a[q, i, d] = v0:
        v0 = load x[6*q + 3*i + d] : f32
      b[q, d, e] = v1, packed:
        v1 = load x[3*e + d] : f32
      for each q, i, e:
        v2 = sum over k of a * b : f32
        scores[12*q + 6*i + e] <- v2 : f32
        %5[12*q + 6*i + e] <- v2 : f32

  kernel turned  # parallel
    contract s < 3; e < 6 from 2*s; i < 2; d < 3: tile 1 x 1 vectors, blocks 6 x 2 x 3
      a[s, e, d] = v0:
        v0 = load x[3*e + d] : f32
      b[s, d, i] = v1, packed:
        v1 = load x[6*s + 3*i + d] : f32
      for each s, e, i:
        v2 = sum over k of a * b : f32
        turned[2*s + 6*e + i] <- v2 : f32

  kernel rows  # parallel, after a barrier
    for q < 3, i < 2:
      for l < 6 below 2*q + 2  (vector along l):
        v0 = load %5[12*q + 6*i + l] : f32
        v1 = reduce_sum(v0) over the inner loop : f32
      sums[2*q + i] <- v1 : f32

  kernel back  # parallel
    contract s < 3; i < 2; d < 3; t < 6 from 2*s: tile 1 x 1 vectors, blocks 2 x 3 x 6
      a[s, i, t] = v0:
        v0 = load %5[2*s + i + 6*t] : f32
      b[s, t, d] = v1:
        v1 = load x[d + 3*t] : f32
      for each s, i, d:
        v2 = sum over k of a * b : f32
        back[6*s + 3*i + d] <- v2 : f32
}
)";

std::string first_problem(const TextChanges& changes) {
  const std::vector<std::string> problems = verify_program(program_of(with_changes(sound, changes), false));
  return problems.empty() ? "sound" : problems[0];
}

std::string faults(const TextChanges& changes) {
  try {
    program_of(with_changes(sound, changes), false);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "none";
}

const std::string below = "e < 6 below 2*q + 2", row_loop = "for l < 6 below 2*q + 2", from = "t < 6 from 2*s";

}  // namespace

TEST_CASE("limits are printed as they are read", "[ir][limits]") {
  const Program program = program_of(sound);
  CHECK(print_program(program, nullptr) == sound);
  const auto& products = std::get<ContractKernel>(program.kernels[0].body);
  CHECK(products.axes[2].limit == Limit{0, 2, false});
  CHECK(std::get<ContractKernel>(program.kernels[3].body).axes[3].limit == Limit{0, 2, true});
}

TEST_CASE("faults in the text of limits", "[ir][limits]") {
  CHECK_THAT(faults({{below, "e < 6 below 2*q + 3"}}), contains("expected 2: a limit is a multiple of the index behind the other axis'"));
  CHECK_THAT(faults({{below, "e < 6 below 2*q"}}), contains("expected `+`"));
  CHECK_THAT(faults({{below, "e < 6 below 2*z + 2"}}), contains("kernel products has no axis z"));
  CHECK_THAT(faults({{below, "e < 6 above 2*q"}}), contains("expected"));
  CHECK_THAT(faults({{"      sums[2*q + i] <- v1 : f32\n", "      sums[2*q + i] <- v1 : f32\n      for l < 6  (vector along l):\n        v2 = load %5[l] : f32\n"}}),
             contains("the inner loops of a kernel run over the same axes"));
  CHECK_THAT(faults({{"      sums[2*q + i] <- v1 : f32\n", "      sums[2*q + i] <- v1 : f32\n      for l < 6 below 2*i + 2  (vector along l):\n        v2 = load %5[l] : f32\n"}}),
             contains("the inner loops of a kernel run over the same axes"));
}

TEST_CASE("points that are not there are neither stored nor terms", "[ir][limits]") {
  const Program program = program_of(sound);
  Bindings bindings;
  bindings.rows = 1;
  std::vector<double> x;
  for (int i = 0; i < 18; ++i) x.push_back(double(i * i % 7) - 2);
  bindings.persistents["x"] = Tensor{DType::f32, {6, 3}, x};
  const Results results = interpret_program(program, bindings);
  auto product = [&](size_t i, size_t j) {
    double sum = 0;
    for (size_t d = 0; d < 3; ++d) sum += x[3 * i + d] * x[3 * j + d];
    return sum;
  };
  for (size_t t = 0; t < 6; ++t) {
    double sum = 0;
    for (size_t s = 0; s < 6; ++s) {
      const bool there = s / 2 <= t / 2;
      CHECK(std::isnan(results.outputs.at("scores").at(6 * t + s)) == !there);
      CHECK(std::isnan(results.outputs.at("turned").at(6 * t + s)) == !there);
      if (!there) continue;
      CHECK(results.outputs.at("scores").at(6 * t + s) == product(t, s));
      CHECK(results.outputs.at("turned").at(6 * t + s) == product(t, s));
      sum += product(t, s);
    }
    CHECK(results.outputs.at("sums").at(t) == sum);
    for (size_t d = 0; d < 3; ++d) {
      double back = 0;
      for (size_t u = 0; u < 6; ++u)
        if (t / 2 <= u / 2) back += product(u, t) * x[3 * u + d];
      CHECK(results.outputs.at("back").at(3 * t + d) == back);
    }
  }
  CHECK(share_of_points(program.kernels[0]) == 2.0 / 3);
  CHECK(share_of_points(program.kernels[2]) == 2.0 / 3);
  CHECK(share_of_points(program.kernels[3]) == 2.0 / 3);
}

TEST_CASE("limits stand where code can follow them", "[ir][limits]") {
  auto of = [](const std::string& axis, const std::string& kernel, const std::string& what) { return "P19: axis " + axis + " of " + kernel + ", which has a limit, " + what; };
  CHECK(first_problem({}) == "sound");
  CHECK(first_problem({{below, "e < 6 below 3*q + 3"}}) == "sound");
  CHECK(first_problem({{below, "e < 6 below 2*i + 2"}}) == of("e", "products", "depends on an axis that is none of the batch"));
  CHECK(first_problem({{below, "e < 6 below 2*d + 2"}}) == of("e", "products", "does not say by which axis before it"));
  CHECK(first_problem({{below, "e < 6 below 0*q + 0"}}) == of("e", "products", "has the step 0"));
  CHECK(first_problem({{below, "e < 6 below 1099511627776*q + 1099511627776"}}) == of("e", "products", "has the step 1099511627776"));
  CHECK(first_problem({{from, "t < 6 from 3*s"}}) == of("t", "back", "has no index somewhere"));
  CHECK(first_problem({{from, "t < 3, u < 2 from 1*s"}, {"a[s, i, t]", "a[s, i, t, u]"}, {"b[s, t, d]", "b[s, t, u, d]"}}) == of("u", "back", "is neither the last of m, nor n, nor the only one of k"));
  CHECK(first_problem({{"contract q < 3; i < 2;", "contract q < 3; g < 1 below 1*q + 1, i < 2;"}, {"a[q, i, d]", "a[q, g, i, d]"}, {"for each q, i, e", "for each q, g, i, e"}}) ==
        of("g", "products", "is neither the last of m, nor n, nor the only one of k"));
  CHECK(first_problem({{row_loop, "for l < 6 from 2*q"}}) == of("l", "rows", "begins late, which inner axes cannot"));
  CHECK(first_problem({{"for q < 3, i < 2:", "for q < 3, i < 2 below 1*q + 1:"}}) == of("i", "rows", "is an outer one"));
  CHECK(first_problem({{row_loop, "for m < 1, l < 6 below 2*m + 2"}}) == of("l", "rows", "depends on an inner axis or on the lanes"));
  CHECK(first_problem({{"for q < 3, i < 2:", "for i < 2, q < 3  (vector along q):"}, {row_loop + "  (vector along l)", row_loop}}) == of("l", "rows", "depends on an inner axis or on the lanes"));
  CHECK(first_problem({{"v1 = reduce_sum(v0) over the inner loop : f32", "v1 = reduce_sum(v0) over the inner loop : f32\n        v2 = argmax(v0) over the inner loop : i32"}}) ==
        of("l", "rows", "is in a kernel with an argmax"));
  CHECK(first_problem({{"        scores[12*q + 6*i + e] <- v2 : f32\n", "        scores[12*q + 6*i + e] <- v2 : f32\n        v3 = reduce_sum(v2) over the rows : f32\n"}}) ==
        of("e", "products", "is in a kernel that sums over its rows"));
  CHECK(first_problem({{"        v0 = load %5[2*s + i + 6*t] : f32\n", "        where 0 <= [t] < 6\n        v0 = load %5[2*s + i + 6*t] : f32\n"}}) == of("t", "back", "is in a contraction with guards"));
  CHECK(first_problem({{"        v0 = load %5[12*q + 6*i + l] : f32\n", "        where 0 <= [l] < 6\n        v0 = load %5[12*q + 6*i + l] : f32\n"}}) == of("l", "rows", "is in a kernel with guards or chains"));
  CHECK(first_problem({{"contract q < 3;", "contract q < 3B;"}, {"3B", "3*B"}}) == of("e", "products", "has to do with rows"));
  CHECK(first_problem({{"contract q < 3; i < 2;", "contract q < 3; i < 2 below 1*q + 1;"}}) == "sound");
  CHECK(first_problem({{"contract q < 3; i < 2;", "contract g < 1, q < 3 below 3*g + 3; i < 2;"}, {"a[q, i, d]", "a[g, q, i, d]"}, {"b[q, d, e]", "b[g, q, d, e]"}, {"for each q, i, e", "for each g, q, i, e"}}) ==
        of("q", "products", "is neither the last of m, nor n, nor the only one of k"));
  CHECK(first_problem({{"for q < 3, i < 2:", "for q < 3, i < 2 by 2, o < 1  (vector along o):"}, {row_loop + "  (vector along l)", row_loop}}) == of("l", "rows", "is in a kernel that takes indices together"));
}
