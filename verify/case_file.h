// A graph with the values it is run on, in one .nnir file: the values stand in comments, so that every other command reads the
// file as the graph it is.
//
//   #= rows 3
//   #= draws 17 0 0                   seed, update and first row of random leaves, if they are not all 0
//   #= input @x 0 1 0.5
//   #= scalar @using.lr 0.125
//   #= persistent @fc1.weight 1 2
//   graph @train { ...
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/source.h"
#include "verify/reduce.h"

namespace nnc {

std::string print_case(const GraphCase&, const SourceMap*, const std::string& heading);

/// The values in a file's text for the graph that it holds; nothing if there are none. UserError E0638 if one is missing or does
/// not fit the graph.
std::optional<Bindings> parse_case_values(std::string_view text, const Graph&, const std::string& path);

}  // namespace nnc
