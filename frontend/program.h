// The resolved files of one compilation: which name means what, per file. Shared by everything that lowers parts of it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "frontend/frontend.h"
#include "frontend/syntax/ast.h"
#include "frontend/value.h"

namespace nnc {

/// What a name means at the top of a file.
struct Global {
  std::vector<const Definition*> definitions;  ///< layer, fn, model, optimizer; several only where argument types tell them apart
  const ast::DimDeclaration* dim = nullptr;
  const ast::Data* data = nullptr;
  const SourceFile* file = nullptr;  ///< where it was defined
  Span span;
};

struct SourceFile {
  FileId id;
  std::string path, folder;  ///< folder ends with '/', or is empty
  bool is_std = false;
  std::unique_ptr<ast::File> tree;
  std::map<std::string, Global, std::less<>> globals;
  std::vector<const Definition*> definitions;  ///< its own, in order
  std::vector<const ast::Test*> tests;
  const ast::Train* train = nullptr;
  std::set<std::string> lost_names;  ///< reported as missing in a `use`: silence about them
  bool lacks_imports = false;        ///< a file that it takes whole could not be read, or not all of it
};

// In a namespace of its own: ir/program.h has a Program too, and two classes of one name would share one destructor, whichever the linker saw first.
namespace source {
struct Program {
  SourceMap* sources = nullptr;
  std::deque<SourceFile> files;  ///< [0] is std
  std::deque<Definition> definitions;
  SourceFile* main = nullptr;
  std::vector<Override> overrides;
  bool loses_values = false;  ///< a `let` of it is lost (E0214): parameters that do not reach the loss are a consequence

  const Global* find(const SourceFile& file, std::string_view name) const;
  /// The value given by --set for a path, or null.
  const std::string* override_of(std::string_view path) const;
  /// What --set may mean by a dim's name: that of the main file, own or taken by `use`; otherwise those of the files it uses.
  std::vector<const Global*> settable_dims(std::string_view name) const;
};
}  // namespace source
using source::Program;

/// Parses std, the file and what it uses, and fills `program`; reports syntax errors, unknown files and names defined twice.
void load_program(Program& program, FileId file, const LoadOptions& options, Diagnostics& diagnostics);

/// The value of an override that check_overrides let pass.
Value override_value(const std::string& text);

/// Whether parts of the train block could not be read: what it seems to lack may stand there.
bool is_train_partial(const Program& program);

/// Brings the paths of overrides to their normal form and reports those that name nothing (E0610), listing what exists.
void check_overrides(Program& program, Diagnostics& diagnostics);

/// "layer", "dimension", "function", ...
std::string_view global_kind(const Global&);
std::string_view kind_of(const Definition&);

/// "a layer", "an optimizer".
std::string with_article(std::string_view noun);

/// Help for a `B` that stands for nothing.
inline constexpr std::string_view how_rows_are_named = "the rows of a batch have this name where an argument has them: `x[B, 64]`";

/// Reports a `let` whose value is lost at the end of a `repeat` or an `if`, though it was meant to stay (E0214).
void check_lost_values(const Program& program, Diagnostics& diagnostics);

/// Reports unknown names in definitions, whether anyone calls them or not (E0201).
void check_names(const Program& program, Diagnostics& diagnostics);

}  // namespace nnc
