// Graphs that come from elsewhere than a train block: .nnir files, and definitions called with inputs of types given on the
// command line.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "driver/session.h"

namespace nnc {

bool is_graph_file(const std::string& path);  ///< by its ending, .nnir
/// Reads a .nnir file ("-": standard input) into the session's sources; prints what is wrong and throws CommandFailed.
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
/// "x=f32[B, 64]", "x=[4, 64]": an input that is described, not given.
ArgumentSpec parse_described_input(const std::string&);
/// The definition, by name; UserError with what there is if the file has no such one.
void require_definition(const Module&, const std::string& name, const std::string& file);

}  // namespace nnc
