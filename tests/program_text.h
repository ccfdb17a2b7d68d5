// Programs of kernels as text: how tests write them.
#pragma once

#include <stdexcept>
#include <string>

#include "base/diagnostics.h"
#include "ir/program.h"

namespace nnc::test {

/// The program of a text; what is wrong with it is thrown as std::logic_error. Without `verify` only its grammar must be right.
inline Program program_of(const std::string& text, bool verify = true) {
  SourceMap sources;
  Diagnostics diagnostics;
  std::optional<Program> program = parse_program(sources, sources.add("test.nnir", text), diagnostics, verify);
  std::string faults;
  for (const Diagnostic& d : diagnostics.sorted()) faults += render_text(d, sources, false);
  if (!program) throw std::logic_error(faults);
  return std::move(*program);
}

}  // namespace nnc::test
