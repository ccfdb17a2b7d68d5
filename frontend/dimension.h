// Dimensions: names, sizes, arithmetic. A name is an identity, not a string: every binding of a name (a call, a `dim`, a static
// argument) makes a new one, so that two Cs of two calls never meet by accident. Arithmetic on dimensions is a name too, kept in
// a normal form (a sum of products with integer factors), so that `4*H` here and `H*4` there are one dimension.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/source.h"
#include "ir/graph.h"

namespace nnc {

/// Where a size was bound: the place and how to speak of it ("from `Dense(10)`", "declared").
struct Origin {
  Span span;
  std::string text;
};

/// factor * atom * atom * ...; the atoms are sorted.
struct DimTerm {
  std::vector<uint32_t> atoms;
  int64_t factor = 0;
  auto operator<=>(const DimTerm&) const = default;
};

/// A sum of products in normal form: sorted by atoms, no two terms alike, no zero factor. Empty is 0; one term without atoms is a
/// number.
using DimSum = std::vector<DimTerm>;

DimSum number_sum(int64_t n);
DimSum atom_sum(uint32_t atom);
bool is_constant(const DimSum&);
int64_t constant_of(const DimSum&);  ///< of a constant sum
DimSum add(const DimSum&, const DimSum&, int64_t factor = 1);
DimSum multiply(const DimSum&, const DimSum&);

/// One dimension of a tensor as the program sees it. id 0: it has a size but no name.
struct Dim {
  uint32_t id = 0;
  Extent extent;
  Origin origin;
  bool named() const { return id != 0; }
};
using Dims = std::vector<Dim>;

/// All dimensions of one evaluation. Ids are indices; 0 is "no name".
class DimTable {
 public:
  DimTable();
  /// A new dimension of the frame (one evaluation of a definition). `outer`: what it is called outside of that frame.
  uint32_t make(std::string name, Extent extent, Origin origin, uint32_t frame, std::optional<DimSum> outer = std::nullopt);
  const std::string& name(uint32_t id) const { return entries_[id].name; }
  Extent extent(uint32_t id) const { return entries_[id].extent; }
  const Origin& origin(uint32_t id) const { return entries_[id].origin; }
  void set_outer(uint32_t id, DimSum outer) { entries_[id].outer = std::move(outer); }
  void set_origin(uint32_t id, Origin origin) { entries_[id].origin = std::move(origin); }
  const std::optional<DimSum>& outer(uint32_t id) const { return entries_[id].outer; }

  /// The sum as a size; nothing where it is no multiple of the number of rows, or where it overflows.
  std::optional<Extent> evaluate(const DimSum&) const;
  /// Exact (`/`) or rounded down (`//`). Nothing if an exact division leaves a remainder, or the divisor is 0 or varies.
  std::optional<DimSum> divide(const DimSum& a, const DimSum& b, bool floor);
  /// The dimension that a sum stands for: a number has no name, a single atom is itself, anything else a name of its own.
  Dim to_dim(const DimSum&, Origin origin = {});
  DimSum to_sum(const Dim&) const;
  /// The same outside of `frame`: its dimensions are replaced by what they are called there.
  DimSum leave(const DimSum&, uint32_t frame);
  Dim leave(const Dim&, uint32_t frame);

  std::string show(const DimSum&) const;
  std::string show(const Dim&) const;   ///< "T", "64", "4*H"
  std::string show(const Dims&) const;  ///< "[B, T, 64]"

 private:
  enum class Kind : uint8_t { atom, compound, quotient };
  struct Entry {
    Kind kind = Kind::atom;
    std::string name;
    Extent extent;
    Origin origin;
    uint32_t frame = 0;
    std::optional<DimSum> outer;
    DimSum sum, divisor;  // compound: sum; quotient: sum over divisor
    bool floor = false;
  };
  std::vector<Entry> entries_;
  std::map<DimSum, uint32_t> compounds_;
  std::map<std::pair<DimSum, DimSum>, uint32_t> quotients_;
};

}  // namespace nnc
