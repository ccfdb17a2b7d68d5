// The walk that passes over scans share: each scan may give way to other nodes, among them a new scan, whose values take the places of its results.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

bool has_scan(const Graph&);

/// What takes the place of a scan: for each of its results that is read a node of `graph`, to which the function may add; nothing leaves the scan as it is. The scan's operands are nodes of
/// `graph`; read[k]: an output or update needs result k.
using ScanRewrite = std::function<std::optional<std::vector<NodeId>>(Graph& graph, const Node& scan, const std::vector<bool>& read)>;

/// Operands of one kind of a scan in the making, each once.
class OperandList {
 public:
  /// The operand's number among those of its kind.
  int number_of(NodeId operand);
  const std::vector<NodeId>& nodes() const { return nodes_; }

 private:
  std::vector<NodeId> nodes_;
  std::map<NodeId, int> numbers_;
};

/// Adds the scan: its attributes are those of `old` but for body, carries and sequences.
NodeId add_scan(Graph&, const Node& old, Graph body, const std::vector<NodeId>& carries, const OperandList& sequences, const OperandList& captures);

/// Rewrites each live scan of the graph, those in bodies apart; whether one gave way. What is dead goes.
bool rewrite_scans(Graph&, const ScanRewrite&);

}  // namespace nnc
