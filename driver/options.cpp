// From tables of options to CLI11 and back. CLI11 says what is wrong with a command line in words and forms that differ between
// its versions; here they become ours, with a guess at what was meant.
#include "driver/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <regex>
#include <sstream>
#include <string_view>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/check.h"
#include "base/diagnostics.h"

namespace nnc {
namespace {

/// CLI11's messages in the words and the form of ours.
std::string usage_message(const std::string& text) {
  static const std::regex number(R"(Could not convert: (\S+) = (.*))"), range(R"((--\S+): Value (.*) not in range (.*))");
  static const std::regex member(R"((--\S+): (.*) not in \{(.*)\})"), value(R"((--\S+): .*required .* missing)");
  static const std::regex repeated(R"((--\S+): .*required but received (\d+))");
  static const std::regex extra(R"(The following arguments? w(?:as|ere) not expected: (.*))");
  std::smatch m;
  if (std::regex_match(text, m, number)) return fmt::format("`{}` takes a whole number, found `{}`", m.str(1), m.str(2));
  if (std::regex_match(text, m, range)) {
    // CLI11 writes a range as `1 to 1024` or `[1 - 1024]`, by version.
    std::string wanted = std::regex_replace(m.str(3), std::regex(R"(\[(.*) - (.*)\])"), "$1 to $2");
    return fmt::format("`{}` takes {}, found `{}`", m.str(1), wanted, m.str(2));
  }
  if (std::regex_match(text, m, member))
    return fmt::format("`{}` takes one of {}, found `{}`", m.str(1), std::regex_replace(m.str(3), std::regex(","), ", "),
                       m.str(2));
  if (std::regex_match(text, m, value)) return fmt::format("`{}` needs a value", m.str(1));
  if (std::regex_match(text, m, repeated)) return fmt::format("`{}` takes one value, found {}", m.str(1), m.str(2));
  if (std::regex_match(text, m, extra)) return fmt::format("unexpected argument `{}`", m.str(1));
  return text;
}

/// What was written and what it may have been meant to be. CLI11 tells of the first value that is wrong; a command or an option
/// that does not exist says more about the mistake.
WrongUsage explain_usage(const CLI::App& app, const CLI::ParseError& error, int argc, const char* const* argv) {
  std::vector<std::string> commands, flags;
  const CLI::App* chosen = &app;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands.push_back(sub->get_name());
    if (sub->parsed()) chosen = sub;
  }
  for (const CLI::Option* o : chosen->get_options())
    for (const std::string& l : o->get_lnames()) flags.push_back("--" + l);
  WrongUsage wrong{usage_message(error.what()), {}};
  if (chosen == &app && argc > 1 && argv[1][0] != '-') {
    wrong.message = fmt::format("unknown command `{}`", argv[1]);
    if (std::string near = nearest(argv[1], commands); !near.empty())
      wrong.help = fmt::format("did you mean `nnc {}`?", near);
    else
      wrong.help = "`nnc --help` lists the commands";
    return wrong;
  }
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    word = word.substr(0, word.find('='));
    bool is_option = word.size() > 1 && word[0] == '-' &&
                     (std::isalpha(static_cast<unsigned char>(word[1])) || word.size() > 2) &&
                     !std::isdigit(static_cast<unsigned char>(word[1]));
    if (!is_option || word == "-h" || std::find(flags.begin(), flags.end(), word) != flags.end()) continue;
    wrong.message = chosen == &app ? fmt::format("unknown option `{}`", word)
                                   : fmt::format("`nnc {}` has no option `{}`", chosen->get_name(), word);
    if (std::string near = nearest(word, flags); !near.empty()) wrong.help = fmt::format("did you mean `{}`?", near);
    break;
  }
  if (wrong.help.empty())
    wrong.help =
        chosen == &app ? "`nnc --help` lists the commands" : fmt::format("`nnc {} --help` lists its options", chosen->get_name());
  return wrong;
}

/// Examples stay on lines of their own: CLI11 2.5 and later fills descriptions like paragraphs unless told otherwise.
template <class Formatter>
void keep_lines(Formatter& formatter) {
  if constexpr (requires { formatter.enable_description_formatting(false); }) formatter.enable_description_formatting(false);
}

/// An option that is written where another one's value should stand; CLI11 would take its name for that value.
std::optional<std::string> option_without_value(const Command& command, int argc, const char* const* argv) {
  auto names = [](const Option& o) {
    std::vector<std::string> list;
    std::istringstream text(o.name);
    for (std::string name; std::getline(text, name, ',');) list.push_back(name);
    return list;
  };
  for (int i = 2; i < argc; ++i) {
    std::string_view word = argv[i];
    if (word == "--") return std::nullopt;
    for (const Option& o : command.options) {
      std::vector<std::string> list = names(o);
      if (std::holds_alternative<bool*>(o.target) || std::find(list.begin(), list.end(), word) == list.end()) continue;
      if (++i < argc && std::string_view(argv[i]).starts_with("--")) return std::string(word);
      break;
    }
  }
  return std::nullopt;
}

/// CLI11 makes the largest number there is of one that is larger.
bool is_too_large(const std::string& text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data() + text.starts_with('+'), text.data() + text.size(), value);
  return error == std::errc::result_out_of_range;
}

void declare(CLI::App& app, const Option& o) {
  CLI::Option* declared = std::visit(
      [&](auto* target) {
        if constexpr (std::is_same_v<decltype(target), bool*>)
          return app.add_flag(o.name, *target, o.help);
        else
          return app.add_option(o.name, *target, o.help);
      },
      o.target);
  if (o.is_required) declared->required();
  if (std::holds_alternative<int64_t*>(o.target) || std::holds_alternative<std::optional<int64_t>*>(o.target))
    declared->check([](const std::string& text) {
      return is_too_large(text) ? fmt::format("Value {} not in range a whole number of at most 18 digits", text) : std::string();
    });
  if (o.range) declared->check(CLI::Range(o.range->first, o.range->second));
  if (!o.values.empty()) declared->check(CLI::IsMember(o.values));
  // `--set a=1 FILE`: an option that may be repeated takes one value each time.
  if (o.name.starts_with("-")) declared->allow_extra_args(false);
}

}  // namespace

Option& Option::required() {
  is_required = true;
  return *this;
}

Option& Option::in_range(int64_t least, int64_t most) {
  range = {least, most};
  return *this;
}

Option& Option::one_of(std::vector<std::string> list) {
  values = std::move(list);
  return *this;
}

Option& Command::add_named(const std::string& option_name, OptionTarget target, const std::string& text) {
  NNC_CHECK(option_name.starts_with("--"), fmt::format("`{}` is not the name of an option", option_name));
  return options.emplace_back(option_name, target, text);
}

Option& Command::add_positional(const std::string& value_name, OptionTarget target, const std::string& text) {
  NNC_CHECK(!value_name.starts_with("-"), fmt::format("`{}` is the name of an option", value_name));
  return options.emplace_back(value_name, target, text);
}

CommandLine read_command_line(const std::string& about, const std::function<std::string()>& version,
                              const std::vector<Command>& commands, int argc, const char* const* argv) {
  CLI::App app{about, "nnc"};
  keep_lines(*app.get_formatter());
  app.require_subcommand(1);
  app.set_version_flag("--version", version);
  CommandLine result;
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(command.name, command.help);
    for (const Option& o : command.options) declare(*sub, o);
    sub->callback([&result, &command] { result.command = &command; });
  }
  if (argc <= 1) {
    result.text = app.help();
    return result;
  }
  for (const Command& command : commands) {
    if (command.name != argv[1]) continue;
    if (std::optional<std::string> option = option_without_value(command, argc, argv)) {
      result.wrong = WrongUsage{fmt::format("`{}` needs a value", *option),
                                fmt::format("`nnc {} --help` lists its options", command.name)};
      return result;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    result.command = nullptr;
    if (error.get_exit_code() == int(CLI::ExitCodes::Success)) {
      std::ostringstream text;
      app.exit(error, text, text);
      result.text = text.str();
    } else {
      result.wrong = explain_usage(app, error, argc, argv);
    }
  }
  return result;
}

}  // namespace nnc
