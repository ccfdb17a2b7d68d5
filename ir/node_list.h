// Lists of nodes: the operands of one, and the users of each. Nodes are copied and walked far more often than lists are made, so neither costs memory of its own for each node.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace nnc {

struct NodeId {
  uint32_t value = UINT32_MAX;
  bool valid() const { return value != UINT32_MAX; }
  auto operator<=>(const NodeId&) const = default;
};

/// A value, as std::vector<NodeId> is and turns into. Up to four nodes stand in the list itself: the operands of all operations but scans.
class NodeList {
 public:
  using value_type = NodeId;
  using iterator = NodeId*;
  using const_iterator = const NodeId*;

  NodeList() = default;
  NodeList(std::initializer_list<NodeId> list) : NodeList(list.begin(), list.size()) {}
  NodeList(const std::vector<NodeId>& list) : NodeList(list.data(), list.size()) {}
  NodeList(const NodeList& other) : NodeList(other.data(), other.size_) {}
  NodeList(NodeList&& other) noexcept : size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, few)), places_(other.places_) {}
  NodeList& operator=(NodeList other) noexcept {
    std::swap(size_, other.size_), std::swap(capacity_, other.capacity_), std::swap(places_, other.places_);
    return *this;
  }
  ~NodeList() {
    if (capacity_ > few) delete[] places_.list;
  }
  operator std::vector<NodeId>() const { return {begin(), end()}; }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const NodeId* data() const { return capacity_ > few ? places_.list : places_.own; }
  NodeId* data() { return capacity_ > few ? places_.list : places_.own; }
  const NodeId* begin() const { return data(); }
  const NodeId* end() const { return data() + size_; }
  NodeId* begin() { return data(); }
  NodeId* end() { return data() + size_; }
  const NodeId& operator[](size_t i) const { return data()[i]; }
  NodeId& operator[](size_t i) { return data()[i]; }
  const NodeId& front() const { return data()[0]; }
  NodeId& front() { return data()[0]; }
  const NodeId& back() const { return data()[size_ - 1]; }
  NodeId& back() { return data()[size_ - 1]; }

  void push_back(NodeId node) {
    if (size_ == capacity_) grow();
    data()[size_++] = node;
  }
  void pop_back() { --size_; }
  void clear() { size_ = 0; }

  friend bool operator==(const NodeList& a, const NodeList& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  static constexpr uint32_t few = 4;
  union Places {
    NodeId own[few];
    NodeId* list;  ///< of `capacity_` nodes, more than `few`
    Places() : own{} {}
  };
  uint32_t size_ = 0, capacity_ = few;
  Places places_;

  NodeList(const NodeId* list, size_t size) : size_(uint32_t(size)) {
    if (size > few) {
      capacity_ = size_;
      places_.list = new NodeId[size];
    }
    std::copy_n(list, size, data());
  }
  void grow() {
    NodeId* list = new NodeId[size_t(capacity_) * 2];
    std::copy_n(data(), size_, list);
    if (capacity_ > few) delete[] places_.list;
    places_.list = list;
    capacity_ *= 2;
  }
};

/// The users of each node of a graph, ascending, once each.
class Users {
 public:
  Users() = default;
  /// `first` has for each node where its users begin in `list`, and the end of the last one's.
  Users(std::vector<uint32_t> first, std::vector<NodeId> list) : first_(std::move(first)), list_(std::move(list)) {}
  size_t size() const { return first_.empty() ? 0 : first_.size() - 1; }  ///< nodes
  std::span<const NodeId> operator[](size_t node) const { return {list_.data() + first_[node], list_.data() + first_[node + 1]}; }

 private:
  std::vector<uint32_t> first_;
  std::vector<NodeId> list_;
};

}  // namespace nnc
