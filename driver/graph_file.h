// Graphs that come from elsewhere than a train block, and what the command line says of sizes.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "driver/session.h"

namespace nnc {

bool is_graph_file(const std::string& path);  ///< by its ending, .nnir
/// The graph of a .nnir file ("-": standard input), whose text goes into the session's sources. ProgramErrors with what is wrong in it, UserError if it cannot be read.
Graph load_graph(Session&, const std::string& path);

/// The same for a file that may hold a program of kernels instead.
std::variant<Graph, Program> load_graph_or_program(Session&, const std::string& path);

/// An option by its name, and whether it was given.
using GivenOption = std::pair<const char*, bool>;
/// UserError for the first that was given: a graph is as it was written, and nothing of it can be chosen or set.
void require_none_given(const std::string& graph_file, std::initializer_list<GivenOption>);
/// The same for a program, in which the graph's sizes, its kernels and the target are settled.
void require_none_given_with_program(const std::string& program_file, std::initializer_list<GivenOption>);

/// "NAME=VALUE" in two; UserError if there is no name or no value.
std::pair<std::string, std::string> split_option(const std::string& option, const std::string& text, const char* form);
/// --dim N=64, each.
std::map<std::string, int64_t> parse_dims(const std::vector<std::string>&);
/// A size as written, from 0 to 2^40; nothing for anything else.
std::optional<int64_t> parse_size(const std::string&);

}  // namespace nnc
