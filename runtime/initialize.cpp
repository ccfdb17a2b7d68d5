// Draws by Philox streams keyed by seed and name, so that a new layer changes no other layer's start. Orthogonal matrices by Gram-Schmidt, twice, which
// is orthogonal to working precision (Giraud, Langou, Rozloznik 2005), of a matrix of normal draws, hence uniformly distributed.
#include "runtime/initialize.h"

#include <algorithm>
#include <cmath>

#include "base/philox.h"

namespace nnc {
namespace {

std::vector<double> draw_orthogonal(double gain, int64_t rows, int64_t columns, RandomStream& random) {
  int64_t vectors = std::min(rows, columns), length = std::max(rows, columns);
  std::vector<double> q(size_t(vectors * length));
  for (int64_t v = 0; v < vectors; ++v) {
    double* own = q.data() + v * length;
    double norm = 0;
    while (norm < 1e-6) {
      for (int64_t i = 0; i < length; ++i) own[i] = random.next_normal();
      for (int pass = 0; pass < 2; ++pass)
        for (int64_t w = 0; w < v; ++w) {
          const double* other = q.data() + w * length;
          double dot = 0;
          for (int64_t i = 0; i < length; ++i) dot += own[i] * other[i];
          for (int64_t i = 0; i < length; ++i) own[i] -= dot * other[i];
        }
      norm = 0;
      for (int64_t i = 0; i < length; ++i) norm += own[i] * own[i];
      norm = std::sqrt(norm);
    }
    for (int64_t i = 0; i < length; ++i) own[i] /= norm;
  }
  std::vector<double> values(size_t(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      values[size_t(r * columns + c)] = gain * (rows <= columns ? q[size_t(r * length + c)] : q[size_t(c * length + r)]);
  return values;
}

}  // namespace

std::vector<double> draw(const Initializer& how, const std::vector<int64_t>& shape, uint64_t seed, std::string_view name) {
  int64_t count = 1;
  for (int64_t s : shape) count *= s;
  RandomStream random(seed, stable_hash(name));
  std::vector<double> values(static_cast<size_t>(count));
  switch (how.kind) {
    case Initializer::Kind::constant:
      std::fill(values.begin(), values.end(), how.a);
      break;
    case Initializer::Kind::normal:
      for (double& v : values) v = how.a + how.b * random.next_normal();
      break;
    case Initializer::Kind::truncated_normal:
      for (double& v : values) {
        double z = random.next_normal();
        while (std::fabs(z) > 2) z = random.next_normal();
        v = how.a + how.b * z;
      }
      break;
    case Initializer::Kind::uniform:
      for (double& v : values) v = how.a + (how.b - how.a) * random.next_unit();
      break;
    case Initializer::Kind::orthogonal:
      if (count > 0) {
        int64_t rows = shape.empty() ? 1 : shape[0];
        values = draw_orthogonal(how.a, rows, count / rows, random);
      }
      break;
  }
  if (how.zero_row >= 0 && !shape.empty() && how.zero_row < shape[0]) {
    const auto row = values.begin() + how.zero_row * (count / shape[0]);
    std::fill(row, row + count / shape[0], 0.0);
  }
  return values;
}

}  // namespace nnc
