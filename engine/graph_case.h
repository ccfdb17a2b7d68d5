// A graph together with the values it is run on.
#pragma once

#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc {

struct GraphCase {
  Graph graph;
  Bindings bindings;
};

}  // namespace nnc
