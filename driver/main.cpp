// nnc: the command line. Every command stands in a file of its own; here are the list of them, the help, and the way faults become
// exit statuses.
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/host.h"

#ifndef NNC_VERSION
#define NNC_VERSION "0.1.1"
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

int report_usage(const WrongUsage& wrong, bool json) {
  if (json) {
    nlohmann::ordered_json object{{"severity", "error"}, {"message", wrong.message}, {"help", wrong.help}};
    print_json_line(object);
  } else {
    std::fprintf(stderr, "error: %s\n  = help: %s\n", wrong.message.c_str(), wrong.help.c_str());
  }
  return exit_usage;
}

std::string version_text() {
  Target host = host_target_with_cpu();
  return fmt::format("nnc {}, LLVM {}, {}, {} vectors of {} bytes", NNC_VERSION, llvm_version(), host.cpu,
                     vector_level_name(host.level), host.vector_bytes);
}

/// Why the first write to standard output that failed did so; 0: none has. A stream remembers that something failed, but not why,
/// and it may have been long ago.
int output_error = 0;

/// A limit or a disk that is nearly full takes a part of the text first; only the next write says why.
ssize_t write_output(void*, const char* text, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t written = write(STDOUT_FILENO, text + done, size - done);
    if (written >= 0) {
      done += size_t(written);
    } else if (errno != EINTR) {
      if (!output_error) output_error = errno;
      break;
    }
  }
  return ssize_t(done);  // less than was asked for: a failure, to the stream
}

/// From here on `stdout` writes to standard output through write_output.
void keep_output_errors() {
  std::FILE* stream = fopencookie(nullptr, "w", {nullptr, write_output, nullptr, nullptr});
  if (!stream) return;
  if (isatty(STDOUT_FILENO)) std::setvbuf(stream, nullptr, _IOLBF, BUFSIZ);
  stdout = stream;
}

int report_output_error(int error) {
  std::fprintf(stderr, "error: cannot write to standard output: %s\n", std::strerror(error));
  return exit_user_error;
}

/// The command, or the help or version that was asked for instead.
int perform(const CommandLine& line) {
  if (line.command) return line.command->run();
  std::fputs(line.text.c_str(), stdout);
  return exit_done;
}

/// A fault that comes as far as here is told without places in files, whose text is gone; with_session has told the others.
int run_main(int argc, char** argv) {
  const std::vector<Command> commands{train_command(), eval_command(),      predict_command(), run_command(), ir_command(),
                                      opt_command(),   check_command(),     explain_command(), fmt_command(), summary_command(),
                                      test_command(),  gradcheck_command(), bench_command(),   plan_command()};
  bool json = false;
  for (int i = 1; i < argc; ++i) json = json || std::string_view(argv[i]) == "--json";
  CommandLine line;
  try {
    line = read_command_line(examples, version_text, commands, argc, argv);
    if (line.wrong) return report_usage(*line.wrong, json);
    int status = perform(line);
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) return report_output_error(output_error ? output_error : errno);
    return status;
  } catch (const UserError& e) {
    print_diagnostic(e.diagnostic(), {}, json);
    return exit_user_error;
  } catch (const InternalError& e) {
    std::fprintf(
        stderr,
        "internal error in nnc: %s\nThis is a bug in nnc, not in your file. Please report it, with the file that shows it.\n",
        e.what());
    return exit_internal;
  } catch (const std::bad_alloc&) {
    try {
      UserError error(Code::E0604, "not enough memory for this program", "", line.command ? line.command->when_memory_is_short : "");
      print_diagnostic(error.diagnostic(), {}, json);
    } catch (const std::bad_alloc&) {
      std::fputs("error[E0604]: not enough memory for this program\n", stderr);
    }
    return exit_user_error;
  } catch (const std::exception& e) {
    // fmt throws where text could not be printed.
    if (output_error && dynamic_cast<const std::system_error*>(&e)) return report_output_error(output_error);
    std::fprintf(
        stderr,
        "internal error in nnc: %s\nThis is a bug in nnc, not in your file. Please report it, with the file that shows it.\n",
        e.what());
    return exit_internal;
  }
}

}  // namespace

}  // namespace nnc

/// Passes build a graph from a graph and compile part by part: what they free is soon asked for again, and is not given back to the system to come as new pages, each cleared and mapped anew.
static void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

int main(int argc, char** argv) {
  // A file that is opened must not become the standard output of a process that was started without one. What stands there instead
  // fails where it is used: it cannot be read as input, nor written as output.
  for (int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  // A limit on the size of files is an error of the write, like a full disk, which has a message and costs no state.
  std::signal(SIGXFSZ, SIG_IGN);
  nnc::map_large_files();
  keep_freed_memory();
  nnc::keep_output_errors();
  return nnc::run_main(argc, argv);
}
