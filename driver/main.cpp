// nnc: the command line. Every command stands in a file of its own; here are the common options, the way faults become exit
// statuses, and the help.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <regex>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "driver/commands.h"
#include "driver/terminal.h"

#ifndef NNC_VERSION
#define NNC_VERSION "0.1.0"
#endif

namespace nnc {
namespace {

const char* const examples =
    "nnc compiles neural networks described in .nn files and trains them on this machine's CPU.\n"
    "\n"
    "  nnc train examples/digits.nn                 train, show progress, write digits.safetensors\n"
    "  nnc eval examples/digits.nn --weights digits.safetensors\n"
    "  nnc predict examples/digits.nn --weights digits.safetensors --input image=x.npy --classes\n"
    "  nnc check net.nn                             every mistake at once, nothing run\n"
    "  nnc ir net.nn --stage kernels                the program at any stage, down to assembly\n"
    "  nnc bench net.nn                             time of a step, share of the machine's peak\n";

void print_fault(const CommonOptions& options, const Diagnostic& d) {
  SourceMap none;
  std::string text = options.json ? render_json(d, none) : render_text(d, none, terminal(stderr).colour);
  if (text.empty() || text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), options.json ? stdout : stderr);
}

/// CLI11's messages in the words and the form of ours.
std::string usage_message(std::string text) {
  static const std::regex number(R"(Could not convert: (\S+) = (.*))"), range(R"((--\S+): Value (.*) not in range (.*))");
  static const std::regex member(R"((--\S+): (.*) not in \{(.*)\})"), value(R"((--\S+): .*required .* missing)");
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
  if (std::regex_match(text, m, extra)) return fmt::format("unexpected argument `{}`", m.str(1));
  return text;
}

/// A wrong command or flag: what was written and what it may have been meant to be.
int report_usage(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv, bool json) {
  if (error.get_exit_code() == int(CLI::ExitCodes::Success)) return app.exit(error);
  std::vector<std::string> commands, flags;
  const CLI::App* chosen = &app;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands.push_back(sub->get_name());
    if (sub->parsed()) chosen = sub;
  }
  for (const CLI::Option* o : chosen->get_options())
    for (const std::string& l : o->get_lnames()) flags.push_back("--" + l);
  std::string message = usage_message(error.what()), help;
  if (chosen == &app && argc > 1 && argv[1][0] != '-') {
    message = fmt::format("unknown command `{}`", argv[1]);
    if (std::string near = nearest(argv[1], commands); !near.empty())
      help = fmt::format("did you mean `nnc {}`?", near);
    else
      help = "`nnc --help` lists the commands";
  } else {
    for (int i = 1; i < argc; ++i) {
      std::string word = argv[i];
      word = word.substr(0, word.find('='));
      bool is_option = word.size() > 1 && word[0] == '-' &&
                       (std::isalpha(static_cast<unsigned char>(word[1])) || word.size() > 2) &&
                       !std::isdigit(static_cast<unsigned char>(word[1]));
      if (!is_option || word == "-h" || std::find(flags.begin(), flags.end(), word) != flags.end()) continue;
      message = chosen == &app ? fmt::format("unknown option `{}`", word)
                               : fmt::format("`nnc {}` has no option `{}`", chosen->get_name(), word);
      if (std::string near = nearest(word, flags); !near.empty()) help = fmt::format("did you mean `{}`?", near);
      break;
    }
    if (help.empty())
      help = chosen == &app ? "`nnc --help` lists the commands"
                            : fmt::format("`nnc {} --help` lists its options", chosen->get_name());
  }
  if (json) {
    nlohmann::ordered_json object{{"severity", "error"}, {"message", message}, {"help", help}};
    std::printf("%s\n", object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    std::fprintf(stderr, "error: %s\n  = help: %s\n", message.c_str(), help.c_str());
  }
  return exit_usage;
}

int run_main(int argc, char** argv) {
  CLI::App app{examples, "nnc"};
  app.require_subcommand(1);
  app.set_version_flag("--version", [] {
    Target host = host_target_with_cpu();
    return fmt::format("nnc {}, LLVM {}, {}, {} vectors of {} bytes", NNC_VERSION, llvm_version(), host.cpu,
                       vector_level_name(host.level), host.vector_bytes);
  });
  Action action;
  add_train(app, action);
  add_eval(app, action);
  add_predict(app, action);
  add_run(app, action);
  add_ir(app, action);
  add_opt(app, action);
  add_check(app, action);
  add_explain(app, action);
  add_fmt(app, action);
  add_summary(app, action);
  add_test(app, action);
  add_gradcheck(app, action);
  add_bench(app, action);
  // `--set a=1 FILE`: an option that may be repeated takes one value each time.
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    for (CLI::Option* option : command->get_options([](CLI::Option* o) { return !o->get_positional(); }))
      option->allow_extra_args(false);
  bool json = false;
  for (int i = 1; i < argc; ++i) json = json || std::string_view(argv[i]) == "--json";
  CommonOptions shared;
  shared.json = json;
  try {
    if (argc == 1) {
      std::fputs(app.help().c_str(), stdout);
      return exit_done;
    }
    app.parse(argc, argv);
    int status = action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
      std::fprintf(stderr, "error: cannot write to standard output: %s\n", std::strerror(errno));
      return exit_user_error;
    }
    return status;
  } catch (const CLI::ParseError& e) {
    return report_usage(app, e, argc, argv, json);
  } catch (const CommandFailed& e) {
    return e.status;
  } catch (const UserError& e) {
    print_fault(shared, e.diagnostic());
    return exit_user_error;
  } catch (const InternalError& e) {
    std::fprintf(
        stderr,
        "internal error in nnc: %s\nThis is a bug in nnc, not in your file. Please report it, with the file that shows it.\n",
        e.what());
    return exit_internal;
  } catch (const std::bad_alloc&) {
    print_fault(shared, UserError(Code::E0604, "not enough memory for this program", "",
                                  "a smaller batch needs less: `--set data.batch=16`")
                            .diagnostic());
    return exit_user_error;
  } catch (const std::exception& e) {
    std::fprintf(
        stderr,
        "internal error in nnc: %s\nThis is a bug in nnc, not in your file. Please report it, with the file that shows it.\n",
        e.what());
    return exit_internal;
  }
}

}  // namespace

void add_common(CLI::App& command, CommonOptions& o, bool data, bool threads) {
  command.add_option("FILE", o.file, "the .nn file")->required();
  command.add_option("--set", o.set,
                     "PATH=VALUE: a dim (Layers=2) or an option of the train block (data.batch=64, using.lr=0.05)");
  command.add_option("--seed", o.seed, "seed of the run instead of the file's");
  command.add_option("--cpu", o.cpu, "generate code for this CPU (an LLVM name) or level (portable, avx2, avx512)");
  command.add_flag("--json", o.json, "diagnostics and results as JSON lines");
  if (data) command.add_option("--data", o.data, "FIELD=PATH: another file for a data field");
  if (threads)
    command.add_option("--threads", o.threads, "threads (default: the cores this process may use)")->check(CLI::Range(1, 1024));
}

}  // namespace nnc

int main(int argc, char** argv) {
  // A file that is opened must not become the standard output of a process that was started without one.
  for (int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", O_RDONLY);
  return nnc::run_main(argc, argv);
}
