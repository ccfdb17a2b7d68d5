// Arithmetic on dimensions is polynomial arithmetic over the identities of names. Sums are kept in one normal form, hence equal
// sums are equal vectors. A division that does not cancel becomes a new atom, remembered by numerator and divisor: writing `C /
// Heads` twice gives one dimension. Names leave the frame that made them by substitution.
#include "frontend/dimension.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace nnc {

DimSum number_sum(int64_t n) { return n == 0 ? DimSum{} : DimSum{{{}, n}}; }
DimSum atom_sum(uint32_t atom) { return {{{atom}, 1}}; }
bool is_constant(const DimSum& s) { return s.empty() || (s.size() == 1 && s[0].atoms.empty()); }
int64_t constant_of(const DimSum& s) { return s.empty() ? 0 : s[0].factor; }

namespace {

DimSum normalised(DimSum terms) {
  std::sort(terms.begin(), terms.end(), [](const DimTerm& a, const DimTerm& b) { return a.atoms < b.atoms; });
  DimSum result;
  for (DimTerm& t : terms) {
    if (!result.empty() && result.back().atoms == t.atoms) {
      int64_t& factor = result.back().factor;
      if (__builtin_add_overflow(factor, t.factor, &factor)) factor = INT64_MAX;  // as in multiply()
    } else
      result.push_back(std::move(t));
  }
  std::erase_if(result, [](const DimTerm& t) { return t.factor == 0; });
  return result;
}

/// a * b; what is beyond 2^40 counts as 2^40, which is more than anything can hold.
int64_t limited_product(int64_t a, int64_t b) {
  constexpr int64_t most = int64_t(1) << 40;
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) product = (a < 0) == (b < 0) ? most : -most;
  return std::clamp(product, -most, most);
}

/// The one quotient that 64 bits do not hold.
bool overflows(int64_t a, int64_t b) { return a == INT64_MIN && b == -1; }

int64_t floor_divide(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

}  // namespace

DimSum add(const DimSum& a, const DimSum& b, int64_t factor) {
  DimSum terms = a;
  for (DimTerm t : b) {
    if (__builtin_mul_overflow(t.factor, factor, &t.factor)) t.factor = INT64_MAX;  // as in multiply()
    terms.push_back(std::move(t));
  }
  return normalised(std::move(terms));
}

DimSum multiply(const DimSum& a, const DimSum& b) {
  DimSum terms;
  for (const DimTerm& x : a)
    for (const DimTerm& y : b) {
      DimTerm t{x.atoms, x.factor};
      if (__builtin_mul_overflow(x.factor, y.factor, &t.factor)) t.factor = INT64_MAX;  // more than anything can hold, as it was
      t.atoms.insert(t.atoms.end(), y.atoms.begin(), y.atoms.end());
      std::sort(t.atoms.begin(), t.atoms.end());
      terms.push_back(std::move(t));
    }
  return normalised(std::move(terms));
}

DimTable::DimTable() { entries_.emplace_back(); }

uint32_t DimTable::make(std::string name, Extent extent, Origin origin, uint32_t frame, std::optional<DimSum> outer) {
  Entry e;
  e.name = std::move(name);
  e.extent = extent;
  e.origin = std::move(origin);
  e.frame = frame;
  e.outer = std::move(outer);
  entries_.push_back(std::move(e));
  return uint32_t(entries_.size() - 1);
}

std::optional<Extent> DimTable::evaluate(const DimSum& sum) const {
  Extent total{0, false};
  for (const DimTerm& t : sum) {
    int64_t size = limited_product(t.factor, 1);
    bool rows = false;
    for (uint32_t atom : t.atoms) {
      const Extent& e = entries_[atom].extent;
      if (e.rows && rows) return std::nullopt;
      rows |= e.rows;
      size = limited_product(size, e.size);
    }
    if (&t != &sum[0] && rows != total.rows) return std::nullopt;
    total.rows = rows;
    total.size += size;
  }
  return total;
}

std::optional<DimSum> DimTable::divide(const DimSum& a, const DimSum& b, bool floor) {
  if (b.empty()) return std::nullopt;
  if (is_constant(a) && is_constant(b)) {
    int64_t x = constant_of(a), y = constant_of(b);
    if (overflows(x, y) || (!floor && x % y != 0)) return std::nullopt;
    return number_sum(floor_divide(x, y));
  }
  if (b.size() == 1) {  // cancel term by term
    DimSum result;
    bool cancels = true;
    for (const DimTerm& t : a) {
      DimTerm quotient{{}, 0};
      cancels = cancels && !overflows(t.factor, b[0].factor) && t.factor % b[0].factor == 0 &&
                std::includes(t.atoms.begin(), t.atoms.end(), b[0].atoms.begin(), b[0].atoms.end());
      if (!cancels) break;
      quotient.factor = t.factor / b[0].factor;
      std::set_difference(t.atoms.begin(), t.atoms.end(), b[0].atoms.begin(), b[0].atoms.end(),
                          std::back_inserter(quotient.atoms));
      result.push_back(std::move(quotient));
    }
    if (cancels) return normalised(std::move(result));
  }
  std::optional<Extent> x = evaluate(a), y = evaluate(b);
  if (!x || !y || y->rows || y->size == 0) return std::nullopt;
  if (x->size % y->size != 0 && (!floor || x->rows)) return std::nullopt;
  auto [it, is_new] = quotients_.try_emplace({a, b}, uint32_t(0));
  if (is_new) {
    Entry e;
    e.kind = Kind::quotient;
    e.extent = {floor_divide(x->size, y->size), x->rows};
    auto operand = [&](const DimSum& s) { return s.size() > 1 ? "(" + show(s) + ")" : show(s); };
    e.name = fmt::format("{} {} {}", operand(a), floor ? "//" : "/", operand(b));
    e.sum = a;
    e.divisor = b;
    e.floor = floor;
    entries_.push_back(std::move(e));
    it->second = uint32_t(entries_.size() - 1);
  }
  return atom_sum(it->second);
}

Dim DimTable::to_dim(const DimSum& sum, Origin origin) {
  if (is_constant(sum)) return {0, {constant_of(sum), false}, std::move(origin)};
  if (sum.size() == 1 && sum[0].factor == 1 && sum[0].atoms.size() == 1) {
    const Entry& e = entries_[sum[0].atoms[0]];
    return {sum[0].atoms[0], e.extent, e.origin.span.valid() ? e.origin : std::move(origin)};
  }
  auto [it, is_new] = compounds_.try_emplace(sum, uint32_t(0));
  if (is_new) {
    Entry e;
    e.kind = Kind::compound;
    std::optional<Extent> extent = evaluate(sum);
    NNC_CHECK(extent.has_value(), "a dimension without a size");
    e.extent = *extent;
    e.name = show(sum);
    e.origin = origin;
    e.sum = sum;
    entries_.push_back(std::move(e));
    it->second = uint32_t(entries_.size() - 1);
  }
  return {it->second, entries_[it->second].extent, std::move(origin)};
}

DimSum DimTable::to_sum(const Dim& d) const {
  if (!d.named()) return number_sum(d.extent.size);
  const Entry& e = entries_[d.id];
  return e.kind == Kind::compound ? e.sum : atom_sum(d.id);
}

DimSum DimTable::leave(const DimSum& sum, uint32_t frame) {
  DimSum result;
  for (const DimTerm& t : sum) {
    DimSum product = number_sum(t.factor);
    for (uint32_t atom : t.atoms) {
      DimSum replaced = atom_sum(atom);
      if (entries_[atom].kind == Kind::quotient) {
        DimSum a = entries_[atom].sum, b = entries_[atom].divisor;
        DimSum outer_a = leave(a, frame), outer_b = leave(b, frame);
        if (outer_a != a || outer_b != b) {
          std::optional<DimSum> quotient = divide(outer_a, outer_b, entries_[atom].floor);
          replaced = quotient ? *quotient : number_sum(entries_[atom].extent.size);
        }
      } else if (entries_[atom].frame == frame && entries_[atom].outer) {
        DimSum outer = *entries_[atom].outer;
        replaced = leave(outer, frame);
      }
      product = multiply(product, replaced);
    }
    result = add(result, product);
  }
  return result;
}

Dim DimTable::leave(const Dim& d, uint32_t frame) {
  if (!d.named()) return d;
  Dim outer = to_dim(leave(to_sum(d), frame), d.origin);
  if (!outer.named() && d.extent.rows) return d;  // the number of rows keeps whatever name it has
  if (!outer.origin.span.valid()) outer.origin = d.origin;
  return outer;
}

std::string DimTable::show(const DimSum& sum) const {
  if (is_constant(sum)) return std::to_string(constant_of(sum));
  std::string text, constant;
  for (const DimTerm& t : sum) {
    int64_t factor = t.factor;
    uint64_t magnitude = factor < 0 ? 0 - uint64_t(factor) : uint64_t(factor);
    if (t.atoms.empty()) {
      constant = fmt::format(" {} {}", factor < 0 ? '-' : '+', magnitude);
      continue;
    }
    if (!text.empty())
      text += factor < 0 ? " - " : " + ";
    else if (factor < 0)
      text += "-";
    std::string product;
    if (factor != 1 && factor != -1) product = std::to_string(magnitude);
    for (uint32_t atom : t.atoms) {
      bool wrap = entries_[atom].kind == Kind::quotient && (t.atoms.size() > 1 || !product.empty());
      product += fmt::format("{}{}", product.empty() ? "" : "*", wrap ? "(" + entries_[atom].name + ")" : entries_[atom].name);
    }
    text += product;
  }
  return text + constant;
}

std::string DimTable::show(const Dim& d) const {
  if (!d.named()) return d.extent.rows ? to_string(d.extent) : std::to_string(d.extent.size);
  return entries_[d.id].name;
}

std::string DimTable::show(const Dims& dims) const {
  std::string text = "[";
  for (const Dim& d : dims) text += (text.size() > 1 ? ", " : "") + show(d);
  return text + "]";
}

}  // namespace nnc
