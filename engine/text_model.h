// The model of a train block as one of text: characters in, scores of each position's next character out.
#pragma once

#include <cstdint>
#include <string>

#include "engine/compilation.h"
#include "ir/graph.h"
#include "passes/position_graph.h"

namespace nnc {

struct TextModel {
  Graph graph;               ///< of a prediction; one output, without updates
  std::string input;         ///< its only one
  NodeId tokens;             ///< that input
  int64_t context = 0;       ///< T
  int64_t characters = 0;    ///< V
  bool gives_scores = true;  ///< [B, T, V]; else characters, [B, T]
};

/// The module has a train block. UserError E0530 if its model takes other data than one text, or gives something else.
TextModel find_text_model(Compilation&);

/// E0531 at the operation that is in the way of one position at a time; `message` is followed by the reason.
Diagnostic describe_obstacle(const Graph&, const PositionObstacle&, const std::string& name, const std::string& message);

}  // namespace nnc
