/*
 * Loaded before the C library into a program under test (ld.so(8), LD_PRELOAD): the file KITH_TROUBLE says what goes wrong from
 * now on. Its lines: `clock SECONDS` moves the date and leaves the monotonic clock alone; `eio` fails writes to regular files.
 * GNU C library, x86-64 or any other.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void look(long *offset, int *fails) {
  char text[64] = "";
  const char *path = getenv("KITH_TROUBLE");
  *offset = 0;
  *fails = 0;
  if (!path) return;
  int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  if (syscall(SYS_read, file, text, sizeof text - 1) > 0) {
    *fails = strncmp(text, "eio", 3) == 0;
    if (strncmp(text, "clock ", 6) == 0) *offset = atol(text + 6);
  }
  syscall(SYS_close, file);
}

static int isFailing(int file) {
  struct stat about;
  long offset;
  int fails;
  look(&offset, &fails);
  return fails && fstat(file, &about) == 0 && S_ISREG(about.st_mode);
}

int clock_gettime(clockid_t which, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, which, now);
  if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
    long offset;
    int fails;
    look(&offset, &fails);
    now->tv_sec += offset;
  }
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec time;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &time) != 0) return -1;
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}

#define FAIL_OR(file, name, ...) \
  if (isFailing(file)) { errno = EIO; return -1; } \
  return syscall(name, __VA_ARGS__)

ssize_t write(int file, const void *bytes, size_t length) { FAIL_OR(file, SYS_write, file, bytes, length); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
  FAIL_OR(file, SYS_pwrite64, file, bytes, length, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) { FAIL_OR(file, SYS_writev, file, parts, count); }
int fsync(int file) { FAIL_OR(file, SYS_fsync, file); }
int fdatasync(int file) { FAIL_OR(file, SYS_fdatasync, file); }
