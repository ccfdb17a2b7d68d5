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
WrongUsage explain_usage(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words) {
  std::vector<std::string> commands, flags;
  const CLI::App* chosen = &app;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands.push_back(sub->get_name());
    if (sub->parsed()) chosen = sub;
  }
  for (const CLI::Option* o : chosen->get_options())
    for (const std::string& l : o->get_lnames()) flags.push_back("--" + l);
  WrongUsage wrong{usage_message(error.what()), {}};
  if (chosen == &app && words.size() > 1 && !words[1].starts_with("-")) {
    wrong.message = fmt::format("unknown command `{}`", words[1]);
    if (std::string near = nearest(words[1], commands); !near.empty())
      wrong.help = fmt::format("did you mean `nnc {}`?", near);
    else
      wrong.help = "`nnc --help` lists the commands";
    return wrong;
  }
  for (size_t i = 1; i < words.size(); ++i) {
    std::string word = words[i].substr(0, words[i].find('='));
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

/// The option of that name which takes a value; null if there is none.
const Option* option_with_value(const Command& command, std::string_view name) {
  for (const Option& o : command.options) {
    if (std::holds_alternative<bool*>(o.target)) continue;
    std::istringstream text(o.name);
    for (std::string own; std::getline(text, own, ',');)
      if (own == name) return &o;
  }
  return nullptr;
}

bool takes_several(const Option& o) { return std::holds_alternative<std::vector<std::string>*>(o.target) && o.name.starts_with("-"); }

/// An option that is written where another one's value should stand; CLI11 would take its name for that value.
std::optional<std::string> option_without_value(const Command& command, const std::vector<std::string>& words) {
  for (size_t i = 2; i < words.size(); ++i) {
    if (words[i] == "--") return std::nullopt;
    if (!option_with_value(command, words[i])) continue;
    if (++i < words.size() && words[i].starts_with("--")) return words[i - 1];
  }
  return std::nullopt;
}

/// NAME=VALUE, with a name as options take it: `using.lr=0.1`, `x=x.npy`.
bool is_assignment(const std::string& word) {
  static const std::regex form(R"([A-Za-z_][A-Za-z0-9_.]*=.*)");
  return std::regex_match(word, form);
}

/// `--set a=1 b=2 FILE` is `--set a=1 --set b=2 FILE`: what follows a value of an option that may be repeated and has its form is another.
std::vector<std::string> with_repeated_options(const Command& command, const std::vector<std::string>& words) {
  std::vector<std::string> result;
  for (size_t i = 0; i < words.size(); ++i) {
    result.push_back(words[i]);
    if (words[i] == "--") {
      result.insert(result.end(), words.begin() + std::ptrdiff_t(i) + 1, words.end());
      break;
    }
    const std::string name = words[i].substr(0, words[i].find('='));
    const Option* option = i >= 2 && name.starts_with("-") ? option_with_value(command, name) : nullptr;
    if (!option) continue;
    if (name == words[i] && i + 1 < words.size()) result.push_back(words[++i]);
    while (takes_several(*option) && i + 1 < words.size() && is_assignment(words[i + 1])) result.insert(result.end(), {name, words[++i]});
  }
  return result;
}

/// `nnc help` is `nnc --help`, `nnc help train` is `nnc train --help`.
std::vector<std::string> as_options(std::vector<std::string> words, const std::vector<Command>& commands) {
  if (words.size() < 2 || words[1] != "help") return words;
  if (words.size() == 2 || words[2].starts_with("-")) {
    words[1] = "--help";
    return words;
  }
  const bool is_known = std::ranges::count(commands, words[2], &Command::name) > 0;  // else it is that word which is wrong
  words = {words[0], words[2]};
  if (is_known) words.push_back("--help");
  return words;
}

/// CLI11 makes the largest number there is of one that is larger.
bool is_too_large(const std::string& text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data() + text.starts_with('+'), text.data() + text.size(), value);
  return error == std::errc::result_out_of_range;
}

void declare(CLI::App& app, const Option& o) {
  const std::string help = takes_several(o) ? fmt::format("{}; several stand behind one {} or each behind its own", o.help, o.name) : o.help;
  CLI::Option* declared = std::visit(
      [&](auto* target) {
        if constexpr (std::is_same_v<decltype(target), bool*>)
          return app.add_flag(o.name, *target, help);
        else
          return app.add_option(o.name, *target, help);
      },
      o.target);
  if (o.is_required) declared->required();
  if (std::holds_alternative<int64_t*>(o.target) || std::holds_alternative<std::optional<int64_t>*>(o.target))
    declared->check([](const std::string& text) {
      return is_too_large(text) ? fmt::format("Value {} not in range a whole number of at most 18 digits", text) : std::string();
    });
  if (o.range) declared->check(CLI::Range(o.range->first, o.range->second));
  if (!o.values.empty()) declared->check(CLI::IsMember(o.values));
  // `--set a=1 FILE`: an option that may be repeated takes one value each time (with_repeated_options has seen to the others).
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
  std::vector<std::string> words = as_options({argv, argv + argc}, commands);
  for (const Command& command : commands) {
    if (command.name != words[1]) continue;
    words = with_repeated_options(command, words);
    if (std::optional<std::string> option = option_without_value(command, words)) {
      result.wrong = WrongUsage{fmt::format("`{}` needs a value", *option),
                                fmt::format("`nnc {} --help` lists its options", command.name)};
      return result;
    }
  }
  std::vector<const char*> parsed;
  for (const std::string& word : words) parsed.push_back(word.c_str());
  try {
    app.parse(int(parsed.size()), parsed.data());
  } catch (const CLI::ParseError& error) {
    result.command = nullptr;
    if (error.get_exit_code() == int(CLI::ExitCodes::Success)) {
      std::ostringstream text;
      app.exit(error, text, text);
      result.text = text.str();
    } else {
      result.wrong = explain_usage(app, error, words);
    }
  }
  return result;
}

}  // namespace nnc
