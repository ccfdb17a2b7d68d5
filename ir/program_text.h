// What the printer and the parser of programs agree on: keywords, names, and what is written only where it differs from what follows from the rest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/program.h"

namespace nnc {

inline constexpr BufferKind all_buffer_kinds[] = {BufferKind::field,   BufferKind::persistent, BufferKind::temporary,
                                                  BufferKind::scalars, BufferKind::results,    BufferKind::literal,
                                                  BufferKind::output,  BufferKind::local};
/// field, persistent, temporary, scalar, result, literal, output, local.
std::string_view buffer_keyword(BufferKind);
/// Of a buffer that is a part of another one.
inline constexpr std::string_view slot_keyword = "slot";
/// v12: what values are called, and axes therefore cannot be.
bool is_value_name(std::string_view);
/// %12, %12.carry.0: buffers of nodes are called so, without quotes.
bool is_node_name(std::string_view);
/// Names of a kernel's axes as they are written: their own where these are words, none twice, none of a value; else axis0, axis1, ...
std::vector<std::string> written_axis_names(const std::vector<Axis>&);
/// The axes of a contraction's operands, of its epilogue, and of what follows all of its axis `rows`: "g, h, m, k", "g, k, n", "g, h, m, n", "g, h, n", "m".
struct ContractAxes {
  std::string a, b, epilogue, after_rows, rows;
};
ContractAxes contract_axes(const ContractKernel&);
/// "3.21 MFLOP", "144 B".
std::string quantity_text(double value, std::string_view unit);
/// What MapKernel::serial is where the text says nothing: one thread runs the kernel, and it has no outer loop or stores at computed or colliding indices.
bool serial_by_nature(const MapKernel&, bool parallel);
/// A map kernel that is one inner loop and nothing else would read as one outer loop.
bool lone_inner_loop(const MapKernel&);

}  // namespace nnc
