// System calls that fail under the readers and writers of files: what is told, what is left in the folder, and what goes on in
// spite of it. (tests/state/fault_points.py lets every call of a whole run fail in turn; here each single answer is looked at.)
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <new>

#include "base/system_error.h"
#include "codegen/codegen.h"
#include "runtime/data/atomic_file.h"
#include "runtime/cores.h"
#include "runtime/data/file_bytes.h"
#include "runtime/data/table.h"
#include "runtime/data/text_file.h"
#include "tests/unit/failing_calls.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;
constexpr uint32_t whole = 0xFFFFFFFF;

// fstat is newfstatat with AT_EMPTY_PATH in newer C libraries.
const std::vector<FailingCall> no_fstat = {{SYS_newfstatat, EIO, 3, AT_EMPTY_PATH, AT_EMPTY_PATH}, {SYS_fstat, EIO}};
const FailingCall no_folders = {SYS_openat, EACCES, 2, O_DIRECTORY, O_DIRECTORY};
const FailingCall no_new_files = {SYS_openat, ENOSPC, 2, O_CREAT, O_CREAT};

/// The UserError of a call while system calls fail.
std::string error_under(const std::vector<FailingCall>& calls, const std::function<void()>& call) {
  std::string error;
  bool filtered = with_failing_calls(calls, [&] { error = error_of(call); });
  REQUIRE(filtered);
  return error;
}

void write_text(const std::string& path, const std::string& text) {
  write_file_atomically(path, [&](FileSink& sink) { sink.write(text); });
}

/// The descriptor that the next call of open gives in this process, where nothing else opens files meanwhile.
int next_descriptor() {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(fd);
  return fd;
}

std::string thousand_times(const std::string& text) {
  std::string all;
  for (int i = 0; i < 1000; ++i) all += text + std::to_string(i * 7919 % 1000);
  return all;
}

}  // namespace

TEST_CASE("faults: whatever fails before the rename leaves the old file and nothing else") {
  TempFolder folder;
  std::string path = folder.write("w", "old");
  for (auto [call, text] : std::vector<std::pair<FailingCall, const char*>>{{{SYS_fsync, EIO}, "input/output error"},
                                                                            {{SYS_rename, EXDEV}, "invalid cross-device link"},
                                                                            {{SYS_fchmod, EPERM}, "operation not permitted"},
                                                                            {{SYS_write, ENOSPC}, "no space left on device"},
                                                                            {{SYS_write, 0}, "no space left on device"},
                                                                            {no_new_files, "no space left on device"}}) {
    CAPTURE(call.number, call.error);
    CHECK(error_under({call}, [&] { write_text(path, "new"); }) == "E0413 cannot write `" + path + "`: " + text);
    CHECK(TempFolder::read(path) == "old");
    CHECK(folder.list() == Names{"w"});
  }
  CHECK(error_under({{SYS_newfstatat, EACCES, 3, whole, 0}}, [&] { write_text(path, "new"); }) ==
        "E0413 cannot write `" + path + "`: permission denied");
  CHECK(error_of([&] { write_file_atomically(path, [](FileSink&) { throw std::bad_alloc(); }); }) ==
        "E0413 cannot write `" + path + "`: cannot allocate memory");
  CHECK(TempFolder::read(path) == "old");
  CHECK(folder.list() == Names{"w"});
}

TEST_CASE("faults: after the rename the file is in place, and what is still in doubt is told") {
  TempFolder folder;
  std::string path = folder.write("w", "old");
  CHECK(error_under({no_folders}, [&] { write_text(path, "one"); }).empty());
  CHECK(TempFolder::read(path) == "one");
  // The temporary file has the next descriptor, the folder the one after it.
  uint32_t of_folder = uint32_t(next_descriptor() + 1);
  CHECK(error_under({{SYS_fsync, EIO, 0, whole, of_folder}}, [&] { write_text(path, "two"); }) ==
        "E0413 cannot write `" + path +
            "`: input/output error | the file is in place, but a power failure could bring the old one back");
  CHECK(TempFolder::read(path) == "two");
  for (int no_such_thing : {EINVAL, EROFS})  // file systems on which a folder cannot be synchronised
    CHECK(error_under({{SYS_fsync, no_such_thing, 0, whole, of_folder}}, [&] { write_text(path, "three"); }).empty());
  CHECK(TempFolder::read(path) == "three");
  CHECK(folder.list() == Names{"w"});
}

TEST_CASE("faults: locks, and what could not be removed") {
  TempFolder folder;
  std::string path = folder.path("w");
  CHECK(error_under({{SYS_flock, ENOLCK}}, [&] { write_text(path, "no locks here"); }).empty());
  CHECK(TempFolder::read(path) == "no locks here");
  // A temporary file that stayed is removed before the next run; what only has such a name is not.
  CHECK(error_under({{SYS_unlink, EIO}}, [&] { check_output_writable(path); }).empty());
  CHECK(folder.list().size() == 2);
  fs::create_directory(folder.path(".nnc-folder.tmp"));
  REQUIRE(mkfifo(folder.path(".nnc-pipe.tmp").c_str(), 0600) == 0);
  fs::create_symlink("w", folder.path(".nnc-link.tmp"));
  folder.write(".nnc-old.lock", "4711\n");
  folder.write(".nnc-notes.txt", "not ours");
  CHECK(error_under({no_folders}, [&] { check_output_writable(path); }).empty());  // a folder that may not be listed
  CHECK(folder.list().size() == 7);
  CHECK(error_of([&] { check_output_writable(path); }).empty());
  CHECK(folder.list() == Names{".nnc-folder.tmp", ".nnc-link.tmp", ".nnc-notes.txt", ".nnc-pipe.tmp", "w"});
}

TEST_CASE("faults: the lock of an output is a help, not a need") {
  TempFolder folder;
  std::string path = folder.path("w.safetensors"), lock = folder.path(".nnc-w.lock");
  for (const std::vector<FailingCall>& calls : {std::vector<FailingCall>{no_new_files}, {{SYS_flock, ENOLCK}}, no_fstat}) {
    bool filtered = with_failing_calls(calls, [&] {
      OutputLock held(path);
      OutputLock again(path);  // nothing is locked, so nothing is refused
    });
    REQUIRE(filtered);
  }
  // Locked without a number: the message only says less.
  REQUIRE(with_failing_calls({{SYS_ftruncate, EIO}}, [&] {
    OutputLock held(path);
    CHECK(error_of([&] { OutputLock other(path); }) ==
          "E0414 another run is writing `" + path +
              "` | give this one another name, `--out NAME.safetensors`, or wait for the other to end");
  }));
  {
    OutputLock held(path);
    CHECK(TempFolder::read(lock) == std::to_string(getpid()) + "\n");
    CHECK_THAT(error_of([&] { OutputLock other(folder.path("w")); }),
               starts_with("E0414 another run (process " + std::to_string(getpid()) + ") is writing"));
    OutputLock different(folder.path("w2.safetensors")), longest(folder.path(std::string(255, 'n')));
    CHECK(folder.list().size() == 3);
  }
  CHECK(folder.list().empty());
}

TEST_CASE("output: names that are taken, links that lead nowhere, and more files at once than are remembered") {
  TempFolder folder;
  std::string path = folder.path("w");
  // The name that the next temporary file would have belongs to somebody else.
  std::string name;
  write_file_atomically(path, [&](FileSink&) { name = folder.list().at(0); });
  size_t dash = name.rfind('-'), dot = name.rfind('.');
  std::string next = name.substr(0, dash + 1) + std::to_string(std::stoul(name.substr(dash + 1, dot - dash - 1)) + 1) + ".tmp";
  folder.write(next, "somebody else's");
  write_text(path, "text");
  CHECK(TempFolder::read(path) == "text");
  CHECK(TempFolder::read(folder.path(next)) == "somebody else's");
  fs::remove(folder.path(next));
  fs::create_symlink(folder.path("new"), folder.path("absolute"));
  write_text(folder.path("absolute"), "through a link");
  CHECK(fs::is_symlink(folder.path("absolute")));
  CHECK(TempFolder::read(folder.path("new")) == "through a link");
  CHECK(error_of([&] { write_text(folder.path("w/none/x"), ""); }) ==
        "E0413 cannot write `" + folder.path("w/none/x") + "`: not a directory");
  CHECK(error_under({{SYS_openat, EROFS, 2, O_CREAT, O_CREAT}}, [&] { write_text("/nnc-test-output", ""); }) ==
        "E0413 cannot write `/nnc-test-output`: read-only file system");
  std::function<void(int)> nested = [&](int depth) {
    if (depth < 12)
      write_file_atomically(folder.path("n" + std::to_string(depth)), [&](FileSink& sink) {
        nested(depth + 1);
        sink.write(std::to_string(depth));
      });
  };
  nested(0);
  for (int i = 0; i < 12; ++i) CHECK(TempFolder::read(folder.path("n" + std::to_string(i))) == std::to_string(i));
  CHECK(folder.list().size() == 15);
}

TEST_CASE("output: what a dying process removes is what it has not finished") {
  TempFolder folder;
  folder.write("w", "old");
  OutputLock lock(folder.path("w"));
  write_text(folder.path("done"), "done");
  std::string error = error_of([&] {
    write_file_atomically(folder.path("w"), [&](FileSink& sink) {
      sink.write("half");
      CHECK(folder.list().size() == 4);
      remove_unfinished_files();
      CHECK(folder.list() == Names{"done", "w"});
    });
  });
  CHECK(error == "E0413 cannot write `" + folder.path("w") + "`: no such file or directory");
  CHECK(TempFolder::read(folder.path("w")) == "old");
}

TEST_CASE("output: a pipe waits for its reader; a device that refuses is told") {
  TempFolder folder;
  std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(error_of([&] { check_output_writable(pipe); }).empty());
  CHECK(error_under({{SYS_access, EACCES}}, [&] { check_output_writable(pipe); }) ==
        "E0413 cannot write `" + pipe + "`: permission denied");
  CHECK(error_under({{SYS_openat, EACCES, 2, O_WRONLY, O_WRONLY}}, [&] { write_text(pipe, "x"); }) ==
        "E0413 cannot write `" + pipe + "`: permission denied");
  CHECK(error_under({{SYS_openat, ENODEV, 2, O_WRONLY, O_WRONLY}}, [&] { write_text("/dev/null", "x"); }) ==
        "E0413 cannot write `/dev/null`: no such device");
  std::string read;
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    read = read_text(pipe);
  });
  write_text(pipe, "for the reader");
  reader.join();
  CHECK(read == "for the reader");
}

TEST_CASE("text: every way in which reading fails is told; signals are no failure") {
  TempFolder folder;
  std::string path = folder.write("p.nn", "model");
  CHECK(read_text(path) == "model");
  CHECK(error_under(no_fstat, [&] { read_text(path); }) == "E0402 cannot read `" + path + "`: input/output error");
  CHECK(error_under({{SYS_read, EIO}}, [&] { read_text(path); }) == "E0402 cannot read `" + path + "`: input/output error");
  fs::resize_file(path, largest_text + 1);
  CHECK(error_of([&] { read_text(path); }) == "E0402 cannot read `" + path + "`: it is larger than 256 MB, which no program is");

  std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  struct sigaction action{}, before{};
  action.sa_handler = [](int) {};  // without SA_RESTART: calls are interrupted
  REQUIRE(sigaction(SIGUSR2, &action, &before) == 0);
  pthread_t reader = pthread_self();
  std::thread writer([&] {
    int fd = open(pipe.c_str(), O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < 5; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      pthread_kill(reader, SIGUSR2);
    }
    (void)!write(fd, "later", 5);
    close(fd);
  });
  CHECK(read_text(pipe) == "later");
  writer.join();
  sigaction(SIGUSR2, &before, nullptr);
}

TEST_CASE("text: a terminal is read to its end of file") {
  int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  REQUIRE(grantpt(terminal) == 0);
  REQUIRE(unlockpt(terminal) == 0);
  std::string name = ptsname(terminal);
  int held = open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);  // so that the terminal lives between two readers
  REQUIRE(held >= 0);
  const std::string typed = "model M(x)\n\x04";
  REQUIRE(write(terminal, typed.data(), typed.size()) == ssize_t(typed.size()));
  CHECK(read_text(name) == "model M(x)\n");
  CHECK(error_under({{SYS_poll, EIO}}, [&] { read_text(name); }) == "E0402 cannot read `" + name + "`: input/output error");
  // Waiting that is always interrupted: what is not there yet is asked for again.
  std::thread typist([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    (void)!write(terminal, typed.data(), typed.size());
  });
  std::string text;
  CHECK(error_under({{SYS_poll, EINTR}}, [&] { text = read_text(name); }).empty());
  typist.join();
  CHECK(text == "model M(x)\n");
  close(held);
  close(terminal);
}

TEST_CASE("input: every way in which a data file cannot be read is told") {
  TempFolder folder;
  std::string path = folder.write("x.csv", "1,2\n");
  CHECK(error_under(no_fstat, [&] { load_file(path); }) == "E0402 cannot read `x.csv`: input/output error");
  CHECK(error_under({{SYS_read, EIO}}, [&] { load_file(path); }) == "E0402 cannot read `x.csv`: input/output error");
  CHECK(error_under({{SYS_read, 0}}, [&] { load_file(path); }) ==
        "E0402 cannot read `x.csv`: the file became shorter while it was read");
  CHECK(error_under({{SYS_openat, EMFILE}}, [&] { load_file(path); }) == "E0402 cannot read `x.csv`: too many open files");
  CHECK_THROWS_AS(allocate_bytes(SIZE_MAX), std::bad_alloc);
  CHECK(file_name("a/b.csv") == "b.csv");
  CHECK(file_name("a/") == "a/");
  CHECK(error_text(ENOENT) == "no such file or directory");
  CHECK(error_text(EDOTDOT) == "RFS specific error");  // a name in capitals stays one
  CHECK(error_text(ELIBSCN) == ".lib section in a.out corrupted");
}

TEST_CASE("input: a large file that cannot be mapped is read, one too many as well") {
  map_large_files();
  TempFolder folder;
  std::string path = folder.write("large", "begin");
  fs::resize_file(path, (size_t{32} << 20) + 3);
  FileBytes file = load_file(path);
  CHECK(file.mapped);
  for (const FailingCall& call :
       {FailingCall{SYS_mmap, ENOMEM, 2, whole, PROT_READ}, {SYS_mmap, ENODEV, 3, MAP_FIXED | MAP_ANONYMOUS, MAP_FIXED}}) {
    CHECK(error_under({call}, [&] { file = load_file(path); }).empty());
    CHECK_FALSE(file.mapped);
    CHECK(file.size == (size_t{32} << 20) + 3);
    CHECK(file.text().substr(0, 6) == std::string("begin\0", 6));
  }
  std::vector<FileBytes> many;
  for (int i = 0; i < 65; ++i) many.push_back(load_file(path));
  CHECK(many[63].mapped);
  CHECK_FALSE(many[64].mapped);
  CHECK(many[64].text().substr(0, 5) == "begin");
  many.pop_back();
  many.pop_back();
  CHECK(load_file(path).mapped);  // in the place of the one that was let go
}

TEST_CASE("input: gzip members of any sizes, the last of which promises nothing about the whole") {
  TempFolder folder;
  std::string text = thousand_times("row of text, ");
  folder.write("x.gz", gzip(text) + gzip("end"));
  CHECK(load_file(folder.path("x.gz")).text() == text + "end");
  std::string exact(1 << 12, 'x');  // fills the first buffer to the byte
  folder.write("x.gz", gzip(exact) + gzip("end"));
  CHECK(load_file(folder.path("x.gz")).text() == exact + "end");
  folder.write("x.gz", gzip(text) + std::string(512, '\0'));  // as tapes are padded
  CHECK(load_file(folder.path("x.gz")).text() == text);
  for (const char* tail : {"\x1F", "\x1Fx", "text"}) {
    folder.write("x.gz", gzip(text) + tail);
    CHECK(error_of([&] { load_file(folder.path("x.gz")); }) == "E0405 `x.gz` holds other bytes after its gzip data");
  }
  folder.write("x.gz", gzip(""));
  CHECK(error_of([&] { load_file(folder.path("x.gz")); }) == "E0403 `x.gz` is empty once decompressed");
}

TEST_CASE("cores: without an affinity mask there is still one core") {
  int cores = 0;
  REQUIRE(with_failing_calls({{SYS_sched_getaffinity, ENOSYS}}, [&] { cores = affinity_cores(); }));
  CHECK(cores >= 1);
}

TEST_CASE("data: labels are checked in memory of their own, and too much data is told") {
  TempFolder folder;
  constexpr size_t rows = size_t{8} << 20;
  std::string dict = "{'descr': '<i4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ",), }\n";
  std::string path = folder.write(
      "labels.npy", std::string("\x93NUMPY\x01\x00", 8) + little<uint16_t>(uint16_t(dict.size())) + dict + little<int32_t>(4));
  fs::resize_file(path, 10 + dict.size() + 4 * rows);
  DataField request;
  request.name = "label";
  request.source.kind = SourceKind::npy;
  request.source.path = path;
  request.dtype = DType::i32;
  FieldData plain = read_field(request);
  request.classes = 5;
  FieldData labels = read_field(request);
  CHECK(labels.rows == int64_t(rows));
  CHECK_FALSE(labels.mapped);
  CHECK(reinterpret_cast<const int32_t*>(labels.data)[0] == 4);
  CHECK(labels.data != plain.data);
  request.classes = 4;
  CHECK_THAT(error_of([&] { read_field(request); }), starts_with("E0409 label 4 in row 1 of `labels.npy`"));
  if (code_sanitizer() != Sanitizer::none) return;  // its own memory would fail as well
  request.classes = 0;
  request.dtype = DType::f64;
  malloc_trim(0);  // nothing that was freed before is large enough
  CHECK(error_under({{SYS_mmap, ENOMEM, 2, whole, PROT_READ | PROT_WRITE}, {SYS_brk, 0}}, [&] { read_field(request); }) ==
        "E0402 the data does not fit into memory");
}
