// The canonical layout of a .nn file, for `nnc fmt`: spaces, indentation, blank lines and columns change, tokens and comments never.
#pragma once

#include <optional>
#include <string>

#include "base/diagnostics.h"
#include "base/source.h"

namespace nnc {

/// The text of `file` in the layout that format.cpp describes. A file with syntax errors gives nothing; they are reported. The result has the
/// same tokens, the same comments in the same places and the same syntax tree as the file, and formatting it again changes nothing: the
/// first is checked on every call (InternalError if it did not hold), the second by tests.
std::optional<std::string> format_source(const SourceMap&, FileId file, Diagnostics&);

}  // namespace nnc
