// What may follow `nnc COMMAND`: a command is a table of options, each with its name, the variable that its value goes to, its
// help and what a value must be. One file (options.cpp) hands the tables to CLI11, whose header costs more to compile than a
// command's own code does.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace nnc {

/// Where a value goes. A vector takes one value each time that its option is written; an optional stays empty without it.
using OptionTarget =
    std::variant<bool*, std::string*, std::vector<std::string>*, int*, int64_t*, std::optional<int>*, std::optional<int64_t>*, std::optional<std::string>*>;

class Option {
 public:
  Option(std::string name, OptionTarget target, std::string help)
      : name(std::move(name)), help(std::move(help)), target(target) {}
  /// The command line is wrong without it.
  Option& required();
  /// A value outside of [least, most] is wrong usage.
  Option& in_range(int64_t least, int64_t most);
  /// A value that is not in the list is wrong usage.
  Option& one_of(std::vector<std::string> values);

  std::string name;  ///< "--threads", "--weights,--init" (two names), "FILE" (stands without a name)
  std::string help;
  OptionTarget target;
  bool is_required = false;
  std::optional<std::pair<int64_t, int64_t>> range;
  std::vector<std::string> values;  ///< empty: any
};

/// The variables that options are bound to must live as long as the command; `run` usually owns them.
class Command {
 public:
  /// The help begins with one line for the list of commands; examples follow it.
  Command(std::string name, std::string help) : name(std::move(name)), help(std::move(help)) {}
  // What is returned lives until the next declaration.
  Option& flag(const std::string& name, bool& value, const std::string& help) { return add_named(name, &value, help); }
  template <class T>
  Option& option(const std::string& name, T& value, const std::string& help) {
    return add_named(name, &value, help);
  }
  /// Stands without a name; several do in the order of declaration.
  template <class T>
  Option& positional(const std::string& name, T& value, const std::string& help) {
    return add_positional(name, &value, help);
  }

  std::string name, help;
  std::vector<Option> options;  ///< in the order of the help
  std::function<int()> run;     ///< the exit status
  std::string when_memory_is_short = "smaller inputs and dimensions need less";  ///< what to try

 private:
  Option& add_named(const std::string& name, OptionTarget, const std::string& help);
  Option& add_positional(const std::string& name, OptionTarget, const std::string& help);
};

/// A command line that asks for nothing that there is.
struct WrongUsage {
  std::string message, help;
};

/// What a command line asks for: a command (its options' variables are set then), or a text to print, or neither.
struct CommandLine {
  const Command* command = nullptr;
  std::string text;  ///< help or version, ends with a line break
  std::optional<WrongUsage> wrong;
};

/// `about` leads the help, `version` is asked for `--version` alone. The result points into `commands`.
CommandLine read_command_line(const std::string& about, const std::function<std::string()>& version,
                              const std::vector<Command>& commands, int argc, const char* const* argv);

}  // namespace nnc
