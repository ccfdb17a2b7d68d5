// nnc check: every mistake of a file at once, nothing run. nnc explain: what a code means.
#include <cstdio>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "driver/commands.h"

namespace nnc {
namespace {

int check(const CommonOptions& options) {
  Session session(options);
  session.load();
  if (!options.json) std::fprintf(stderr, "%s: no errors\n", options.file.c_str());
  return exit_done;
}

int explain(const std::string& word) {
  std::vector<std::string> names;
  for (Code code : all_codes()) {
    names.emplace_back(code_name(code));
    if (names.back() != word) continue;
    std::printf("%s: %s\n\n%s\n", word.c_str(), std::string(code_summary(code)).c_str(),
                std::string(code_explanation(code)).c_str());
    return exit_done;
  }
  std::string near = nearest(word, names);
  throw UserError(Code::E0601, fmt::format("there is no diagnostic `{}`", word), "the command line",
                  near.empty() ? "codes look like E0103" : fmt::format("did you mean `{}`?", near));
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto o = std::make_shared<CommonOptions>();
  CLI::App* command = app.add_subcommand("check",
                                         "parse, resolve and check shapes; every diagnostic at once\n\n"
                                         "  nnc check digits.nn\n"
                                         "  nnc check digits.nn --set data.batch=64 --json\n");
  add_common(*command, *o, false, false);
  command->callback([o, &action] { action = [o] { return check(*o); }; });
}

void add_explain(CLI::App& app, Action& action) {
  auto word = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("explain", "what a diagnostic means and how to mend it\n\n  nnc explain E0103\n");
  command->add_option("CODE", *word, "the code of a diagnostic")->required();
  command->callback([word, &action] { action = [word] { return explain(*word); }; });
}

}  // namespace nnc
