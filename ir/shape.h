// Sizes of a tensor's dimensions. Types are copied far more often than they are made (every element-wise node has its operand's), so copies of a
// shape share its extents, and a copy costs no memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <new>
#include <utility>

namespace nnc {

/// Size of one dimension: `size`, times the number of rows of the batch if `rows`. Printed 64, B, 64*B.
struct Extent {
  int64_t size = 1;
  bool rows = false;
  bool operator==(const Extent&) const = default;
  int64_t at(int64_t row_count) const { return rows ? size * row_count : size; }
};

/// A list of extents, outermost first: a value, as std::vector<Extent> is. Its elements are read in place and changed by `set`, which gives this shape
/// extents of its own if it shares them. Iterators and references are valid until it is changed. Copies may be used by several threads.
class Shape {
 public:
  using value_type = Extent;
  using const_iterator = const Extent*;
  using iterator = const_iterator;

  Shape() = default;
  Shape(std::initializer_list<Extent> extents) : Shape(extents.begin(), extents.end()) {}
  explicit Shape(size_t size, Extent extent = {}) : block_(size ? make(size) : nullptr) {
    for (size_t i = 0; i < size; ++i) put(extent);
  }
  template <std::input_iterator Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) push_back(*first);
  }
  Shape(const Extent* first, const Extent* last) : block_(first != last ? make(size_t(last - first)) : nullptr) {
    for (; first != last; ++first) put(*first);
  }
  Shape(const Shape& other) : block_(other.block_) {
    if (block_) block_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Shape(Shape&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Shape& operator=(Shape other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Shape() {
    if (block_ && (is_lone_owner() || block_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1)) ::operator delete(block_);
  }

  size_t size() const { return block_ ? block_->size : 0; }
  bool empty() const { return size() == 0; }
  const Extent* data() const { return block_ ? block_->extents() : nullptr; }
  const Extent* begin() const { return data(); }
  const Extent* end() const { return data() + size(); }
  std::reverse_iterator<const Extent*> rbegin() const { return std::reverse_iterator(end()); }
  std::reverse_iterator<const Extent*> rend() const { return std::reverse_iterator(begin()); }
  const Extent& operator[](size_t i) const { return block_->extents()[i]; }
  const Extent& front() const { return block_->extents()[0]; }
  const Extent& back() const { return block_->extents()[block_->size - 1]; }

  void set(size_t i, Extent extent) {
    own(size());
    block_->extents()[i] = extent;
  }
  void set_size(size_t i, int64_t size) { set(i, {size, (*this)[i].rows}); }
  void push_back(Extent extent) {
    own(size() + 1);
    put(extent);
  }
  void pop_back() {
    own(size());
    --block_->size;
  }
  void insert(const Extent* place, Extent extent) {
    const size_t at = size_t(place - begin());
    push_back(extent);
    std::rotate(block_->extents() + at, block_->extents() + block_->size - 1, block_->extents() + block_->size);
  }
  template <std::forward_iterator Iterator>
  void insert(const Extent* place, Iterator first, Iterator last) {
    for (size_t at = size_t(place - begin()); first != last; ++first, ++at) insert(begin() + at, *first);
  }
  void erase(const Extent* place) { erase(place, place + 1); }
  void erase(const Extent* first, const Extent* last) {
    if (first == last) return;
    const size_t at = size_t(first - begin()), count = size_t(last - first);
    own(size());
    std::copy(block_->extents() + at + count, block_->extents() + block_->size, block_->extents() + at);
    block_->size -= uint32_t(count);
  }
  void resize(size_t size, Extent extent = {}) {
    if (size < this->size()) return erase(begin() + size, end());
    own(size);
    while (block_ && block_->size < size) put(extent);
  }
  void clear() { *this = Shape(); }
  void reserve(size_t size) { own(std::max(size, this->size())); }

  friend bool operator==(const Shape& a, const Shape& b) { return a.block_ == b.block_ || std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  /// Stands in front of the extents.
  struct alignas(Extent) Block {
    std::atomic<uint32_t> owners;
    uint32_t size, capacity;
    Extent* extents() { return reinterpret_cast<Extent*>(this + 1); }
  };

  Block* block_ = nullptr;

  static Block* make(size_t capacity) { return new (::operator new(sizeof(Block) + capacity * sizeof(Extent))) Block{1, 0, uint32_t(capacity)}; }
  void put(Extent extent) { new (block_->extents() + block_->size++) Extent(extent); }
  bool is_lone_owner() const { return block_->owners.load(std::memory_order_acquire) == 1; }
  /// Makes the extents this shape's own, with room for so many.
  void own(size_t capacity) {
    if (block_ ? block_->capacity >= capacity && is_lone_owner() : capacity == 0) return;
    Shape copy;
    copy.block_ = make(std::max(capacity, size() + size() / 2));
    for (const Extent& e : *this) copy.put(e);
    std::swap(block_, copy.block_);
  }
};

}  // namespace nnc
