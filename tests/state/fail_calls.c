// A library for LD_PRELOAD that makes one system call or allocation of a process fail.
//
// Problem: every call on the way of a save or a load can fail, and no disk fails on demand. Method: the C library's functions are
// wrapped; calls that count are numbered, and the one whose number is NNC_FAIL_AT fails with NNC_FAIL_ERROR (or writes half of what
// it was given). At the end of the process the number of calls that counted is written to NNC_FAIL_COUNT_TO, so that whoever runs
// it knows when all have had their turn.
//
//   NNC_FAIL_CALLS     names, separated by commas: open,write,fsync,rename,close,unlink,mmap,malloc,read,...
//   NNC_FAIL_AT        1, 2, ...; 0: nothing fails, calls are only counted
//   NNC_FAIL_ERROR     ENOSPC, EIO, ENOMEM, EINTR, EACCES, EDQUOT, or SHORT: half of a write or read is done, which is no fault
//   NNC_FAIL_PATH      only calls on paths (or descriptors of paths) that contain this
//   NNC_FAIL_ARM       calls count only after a path that contains this was opened
//   NNC_FAIL_SIZE      malloc, aligned_alloc: only of so many bytes and more
//   NNC_FAIL_ON        1: every call from NNC_FAIL_AT on fails, as on a disk that stays full
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *calls, *path_part, *arm_part, *count_to;
static long fail_at;
static size_t least_size;
static int error_number, is_short, stays;
static atomic_long counted;
static atomic_int armed;
static _Thread_local int inside;  // the wrappers' own calls do not count

static void *next(const char *name) {
  inside++;
  void *found = dlsym(RTLD_NEXT, name);
  inside--;
  return found;
}

__attribute__((constructor)) static void begin(void) {
  const char *error = getenv("NNC_FAIL_ERROR"), *at = getenv("NNC_FAIL_AT"), *size = getenv("NNC_FAIL_SIZE");
  const struct { const char *name; int number; } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"ENOMEM", ENOMEM},
                                                             {"EINTR", EINTR},   {"EACCES", EACCES}, {"EDQUOT", EDQUOT}};
  error_number = EIO;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
    if (error && strcmp(error, errors[i].name) == 0) error_number = errors[i].number;
  is_short = error && strcmp(error, "SHORT") == 0;
  fail_at = at ? atol(at) : 0;
  least_size = size ? strtoul(size, NULL, 10) : 0;
  stays = getenv("NNC_FAIL_ON") != NULL;
  path_part = getenv("NNC_FAIL_PATH");
  arm_part = getenv("NNC_FAIL_ARM");
  count_to = getenv("NNC_FAIL_COUNT_TO");
  armed = arm_part == NULL;
  calls = getenv("NNC_FAIL_CALLS");
}

__attribute__((destructor)) static void end(void) {
  if (!count_to) return;
  inside++;
  FILE *file = fopen(count_to, "w");
  if (file) {
    fprintf(file, "%ld\n", atomic_load(&counted));
    fclose(file);
  }
}

static int is_named(const char *name) {
  size_t length = strlen(name);
  for (const char *at = calls; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : "")
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return 1;
  return 0;
}

/// Whether this call is the one. `path` may be null for calls without one.
static int fails(const char *name, const char *path) {
  if (inside || !calls || !armed || !is_named(name)) return 0;
  if (path_part && (!path || !strstr(path, path_part))) return 0;
  long number = atomic_fetch_add(&counted, 1) + 1;
  int hit = fail_at > 0 && (number == fail_at || (stays && number > fail_at));
  if (hit) errno = error_number;
  return hit;
}

static int fails_on(const char *name, int fd) {
  if (inside || !calls || !is_named(name)) return 0;
  char link[64], path[4096] = "";
  inside++;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  inside--;
  if (length < 0) path[0] = 0;
  return fails(name, path);
}

static void arm(const char *path) {
  if (arm_part && path && strstr(path, arm_part)) armed = 1;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)next(#name)

static mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0; }

#define WRAP_OPEN(function)                                   \
  int function(const char *path, int flags, ...) {            \
    REAL(function);                                           \
    va_list list;                                             \
    va_start(list, flags);                                    \
    mode_t mode = mode_of(flags, list);                       \
    va_end(list);                                             \
    int failed = !(is_short) && fails("open", path);          \
    arm(path);                                                \
    return failed ? -1 : real(path, flags, mode);             \
  }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_FOPEN(function)                                  \
  FILE *function(const char *path, const char *mode) {        \
    REAL(function);                                           \
    int failed = !(is_short) && fails("open", path);          \
    arm(path);                                                \
    return failed ? NULL : real(path, mode);                  \
  }
WRAP_FOPEN(fopen)
WRAP_FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  if (!fails_on("write", fd)) return real(fd, data, size);
  return is_short && size > 1 ? real(fd, data, size / 2) : is_short ? real(fd, data, size) : -1;
}
ssize_t read(int fd, void *data, size_t size) {
  REAL(read);
  if (!fails_on("read", fd)) return real(fd, data, size);
  return is_short && size > 1 ? real(fd, data, size / 2) : is_short ? real(fd, data, size) : -1;
}
int fsync(int fd) {
  REAL(fsync);
  return fails_on("fsync", fd) ? -1 : real(fd);
}
int close(int fd) {
  REAL(close);
  int failed = fails_on("close", fd), error = errno;  // the descriptor is gone in any case, as on Linux
  int result = real(fd);
  if (!failed) return result;
  errno = error;
  return -1;
}
int rename(const char *from, const char *to) {
  REAL(rename);
  return fails("rename", from) ? -1 : real(from, to);
}
int unlink(const char *path) {
  REAL(unlink);
  return fails("unlink", path) ? -1 : real(path);
}
int fchmod(int fd, mode_t mode) {
  REAL(fchmod);
  return fails_on("fchmod", fd) ? -1 : real(fd, mode);
}
int flock(int fd, int operation) {
  REAL(flock);
  return fails_on("flock", fd) ? -1 : real(fd, operation);
}
int fstat(int fd, struct stat *status) {
  REAL(fstat);
  return fails_on("stat", fd) ? -1 : real(fd, status);
}
int stat(const char *path, struct stat *status) {
  REAL(stat);
  return fails("stat", path) ? -1 : real(path, status);
}
int truncate(const char *path, off_t size) {
  REAL(truncate);
  return fails("truncate", path) ? -1 : real(path, size);
}
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  REAL(mmap);
  int failed = fd >= 0 && fails_on("mmap", fd);
  return failed ? MAP_FAILED : real(at, size, protection, flags, fd, offset);
}
void *malloc(size_t size) {
  REAL(malloc);
  return size >= least_size && fails("malloc", path_part) ? NULL : real(size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  REAL(aligned_alloc);
  return size >= least_size && fails("malloc", path_part) ? NULL : real(alignment, size);
}
void *realloc(void *old, size_t size) {
  REAL(realloc);
  return size >= least_size && fails("malloc", path_part) ? NULL : real(old, size);
}
