// Causality along the positions of a sequence: a proof that what a graph gives for a position follows from tokens at positions up to that one, or the operation at which a later one comes in.
//
// An *axis of positions* of a value is one along which its index says how far it looks: an element depends on tokens at positions up to the largest of its indices along these axes, and on no others.
// Two such axes, t of what asks and s of what is asked, meet in attention; they become one again in a reduction over s, if what stands at s > t adds nothing of later tokens to it.
//
// Assumed: all values are finite but where a known number is not, and what divides is not 0. So a product with a known 0 is 0, and with a known -inf added a value is -inf.
//
// Requires: a verified graph; `tokens` is an input, its positions are axis 1; the batch has one row (B = 1).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// Why positions cannot be computed one after another.
struct PositionObstacle {
  NodeId node;
  std::string reason;  ///< what the operation does, lower case, no full stop: "the largest over positions reads later ones"
};

class Causality {
 public:
  /// Walks the graph, which outlives this.
  Causality(const Graph&, NodeId tokens);

  /// The first operation, in order, of those that outputs need that reads later positions or is not understood; nothing if all outputs are causal.
  const std::optional<PositionObstacle>& obstacle() const { return obstacle_; }
  bool depends_on_tokens(NodeId id) const { return depends_[id.value]; }
  /// Axes of positions, ascending; none for what does not depend on tokens. Of nodes before the obstacle.
  const std::vector<int>& positions(NodeId id) const { return positions_[id.value]; }

  /// What is known of the elements of a value that stand at s > t, for two of its axes.
  struct Later {
    enum class Kind : uint8_t {
      unknown,     ///< may depend on the tokens up to s
      not_by_s,    ///< do not depend on tokens by their index along s, only by those along t and other axes of positions
      number       ///< are all this number
    };
    Kind kind = Kind::unknown;
    Number number;
  };
  Later later(NodeId, int t, int s);

 private:
  void visit(NodeId);
  void visit_reduction(NodeId, std::vector<int> kept);
  void visit_contraction(NodeId);
  void visit_gather(NodeId);
  void visit_window(NodeId);
  void visit_scan(NodeId);
  void visit_result(NodeId);
  void carry_axes(NodeId);
  void fail(NodeId, std::string reason);
  bool has_position(NodeId id, int axis) const;

  Later find_later(NodeId, int t, int s);
  Later later_of_rule(NodeId, int t, int s);
  Later later_of_operand(NodeId, size_t operand, int t, int s);
  Later later_elementwise(NodeId, int t, int s);
  Later later_reduction(NodeId, int t, int s);
  Later product_later(NodeId, int t_label, int s_label);
  Later later_by_labels(NodeId, const std::vector<int>& labels, int t_label, int s_label);
  Later look_at_numbers(NodeId, int t, int s);

  const Graph& graph_;
  NodeId tokens_;
  std::optional<PositionObstacle> obstacle_;
  std::vector<bool> depends_;   ///< on tokens
  std::vector<bool> computable_;  ///< of constants and indices alone
  std::vector<std::vector<int>> positions_;
  std::map<std::tuple<uint32_t, int, int>, Later> known_;
};

}  // namespace nnc
