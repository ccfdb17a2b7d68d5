// Common subexpression elimination: equal operations over equal operands become one node.
//
// Requires:   a verified graph.
// Guarantees: no two nodes of equal operation, operands (in any order where operands commute) and attributes; the first one's
// place, span
//             and scope stay. Values do not change by a bit. Node ids change.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// True if something was merged.
bool merge_common_subexpressions(Graph&);

/// Nodes of a graph by what they compute: equal are those of one operation with equal attributes over the same operands, in any order where operands commute.
class KnownNodes {
 public:
  explicit KnownNodes(const Graph& graph, size_t expected = 0) : graph_(graph) { make_slots(expected); }
  /// The first that was entered of those equal to `node` with `operands` for its own; if there is none, `fresh` is entered, which must be that node of the graph when
  /// this is asked again.
  NodeId find_or_enter(const Node& node, NodeList operands, NodeId fresh);

 private:
  struct Entry {
    uint64_t hash;
    NodeId node;
    NodeList operands;  ///< as they are compared
  };
  const Graph& graph_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  ///< a hash table: of a power of two, numbers of entries; one whose slot is taken stands in the next free one

  static constexpr uint32_t no_entry = UINT32_MAX;
  void make_slots(size_t entries);
  size_t first_slot(uint64_t hash) const { return size_t(hash ^ (hash >> 32)) & (slots_.size() - 1); }
  size_t next_slot(size_t at) const { return (at + 1) & (slots_.size() - 1); }
};

}  // namespace nnc
