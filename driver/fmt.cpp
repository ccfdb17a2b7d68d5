// nnc fmt: files in their canonical layout (frontend/syntax/format.cpp). A file that is laid out already is not written at all, so that its time stays and
// nothing is built again because of it; one that changes is replaced in one step, so that a crash leaves the old text or the new one.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "base/system_error.h"
#include "driver/commands.h"
#include "driver/outputs.h"
#include "frontend/syntax/format.h"

namespace nnc {
namespace {

struct FmtOptions {
  std::vector<std::string> files;
  bool check = false;
  bool json = false;
};

/// The first line in which two texts differ, 1-based, and how it reads in each.
struct Change {
  size_t line = 1;
  std::string before, after;
  std::string remark;  ///< where the two look the same
};

Change first_change(std::string_view before, std::string_view after) {
  Change change;
  for (;;) {
    size_t a = before.find('\n'), b = after.find('\n');
    std::string_view x = before.substr(0, a), y = after.substr(0, b);
    if (x != y || a == std::string_view::npos || b == std::string_view::npos) {
      auto trimmed = [](std::string_view s) { return s.substr(0, s.find_last_not_of(" \t\r") + 1); };
      change.before = trimmed(x), change.after = y;
      if (x == y)
        change.remark = a == std::string_view::npos ? "the last line has no line break" : "blank lines at the end of the file";
      else if (!x.empty() && x.back() == '\r' && trimmed(x) == y)
        change.remark = "the line ends with a carriage return (as on Windows)";
      else if (trimmed(x) == y)
        change.remark = "spaces at the end of the line";
      else if (x.substr(0, 3) == "\xEF\xBB\xBF" && trimmed(x.substr(3)) == y)
        change.remark = "the file begins with a byte order mark";
      else if (x.find('\t') != std::string_view::npos)
        change.remark = "the line holds tabs";
      return change;
    }
    before.remove_prefix(a + 1), after.remove_prefix(b + 1);
    ++change.line;
  }
}

void report_change(const std::string& name, std::string_view before, std::string_view after, bool json) {
  Change c = first_change(before, after);
  if (json) {
    nlohmann::ordered_json line{{"file", name}, {"formatted", false}, {"line", c.line}, {"found", c.before}, {"expected", c.after}};
    print_json_line(line);
    return;
  }
  std::printf("%s:%zu: would be formatted%s\n", name.c_str(), c.line, c.remark.empty() ? "" : (", " + c.remark).c_str());
  if (c.before == c.after) return;
  auto shortened = [](const std::string& s) { return s.size() > 160 ? s.substr(0, 157) + "..." : s; };
  std::printf("  - %s\n  + %s\n", shortened(c.before).c_str(), shortened(c.after).c_str());
}

/// What stands in the way of replacing the file, found before anything is written.
void require_replaceable(const std::string& path) {
  if (!std::filesystem::is_regular_file(path))
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: it is not a regular file", path), path,
                    "`nnc fmt - < FILE` writes the formatted text to standard output");
  // Replacing needs the folder's permission alone, and root has every permission: a file marked as read-only is meant to stay.
  using std::filesystem::perms;
  if ((std::filesystem::status(path).permissions() & (perms::owner_write | perms::group_write | perms::others_write)) == perms::none)
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: it is read-only", path), path,
                    "`nnc fmt - < FILE` writes the formatted text to standard output");
  if (access(path.c_str(), W_OK) != 0)
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path, error_text(errno)), path,
                    "`nnc fmt - < FILE` writes the formatted text to standard output");
}

/// False if the file is at fault, or, with --check, not formatted.
bool format_one(const std::string& path, const FmtOptions& o) {
  bool standard = path == "-";
  std::string name = standard ? "<stdin>" : path;
  SourceMap sources;
  FileId file = sources.add(name, standard ? read_standard_input() : read_text_file(path));
  Diagnostics diagnostics;
  std::optional<std::string> formatted = format_source(sources, file, diagnostics);
  for (const Diagnostic& d : diagnostics.sorted()) print_diagnostic(d, sources, o.json);
  if (!formatted) return false;
  std::string_view text = sources.text(file);
  bool changed = text != *formatted;
  if (o.check) {
    if (changed) report_change(name, text, *formatted, o.json);
    return !changed;
  }
  if (standard) {
    std::fwrite(formatted->data(), 1, formatted->size(), stdout);
    return true;
  }
  if (changed) {
    require_replaceable(path);
    write_text_file(path, *formatted);
  }
  if (o.json)
    print_json_line({{"file", name}, {"changed", changed}});
  else
    std::fprintf(stderr, "%s: %s\n", name.c_str(), changed ? "formatted" : "already formatted");
  return true;
}

int format_files(const FmtOptions& o) {
  if (o.files.size() > 1 && std::find(o.files.begin(), o.files.end(), "-") != o.files.end())
    throw UserError(Code::E0601, "`-` stands beside other files", "the command line", "format standard input by a command of its own");
  bool good = true;
  for (const std::string& path : o.files) {
    try {
      good &= format_one(path, o);
    } catch (const UserError& e) {
      print_diagnostic(e.diagnostic(), SourceMap{}, o.json);
      good = false;
    }
  }
  return good ? exit_done : exit_user_error;
}

}  // namespace

Command fmt_command() {
  auto o = std::make_shared<FmtOptions>();
  Command command("fmt",
                  "bring files into the canonical layout; line breaks, comments and meaning stay\n\n"
                  "  nnc fmt net.nn layers.nn\n"
                  "  nnc fmt --check *.nn         change nothing; exit status 1 if one would change\n"
                  "  nnc fmt - < net.nn           standard input to standard output\n");
  command.positional("FILE", o->files, "the .nn files, or `-`").required();
  command.flag("--check", o->check, "name the files that would change, and the first line of each that would");
  add_json(command, o->json);
  command.run = [o] { return format_files(*o); };
  return command;
}

}  // namespace nnc
