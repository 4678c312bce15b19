/* Fails, or kills this process, at a chosen change of the file system below one folder. Loaded with LD_PRELOAD.

   A file that is mapped into memory, shared by a process and all processes that it starts, counts the changes and says what
   happens at which one; disk_faults.py makes it. DISK_FAULTS names it in the environment, or disk_faults_arm() after a fork. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
  int64_t calls;      /* changes so far: files opened to be written, writes, renames, removals, folders, syncs */
  int64_t kill_at;    /* SIGKILL in the middle of the change with this number; 0: never */
  int64_t written;    /* bytes */
  int64_t full_at;    /* the disk is full from the change with this number on, which is cut in the middle; 0: never */
  int64_t room;       /* bytes that the disk takes, once it is known; -1: any number */
  int64_t leader;     /* process that is killed as well; 0: only the one that makes the change */
  int64_t no_new;     /* 1: a full disk refuses new files and folders, too */
  int64_t fired;      /* number of faults */
  int64_t mapped;     /* shared writable maps of files below the folder: a full disk would end them with SIGBUS */
  char root[PATH_MAX];
  char at[PATH_MAX];  /* path of the first fault */
};

static struct control *control;

void disk_faults_arm(const char *path) {
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  control = memory == MAP_FAILED ? NULL : memory;
}

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("DISK_FAULTS");
  if (path && *path) disk_faults_arm(path);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int below(const char *path) {
  size_t length = strlen(control->root);
  return strncmp(path, control->root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int file, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t count = readlink(link, path, PATH_MAX - 1);
  if (count < 0) return 0;
  path[count] = 0;
  return 1;
}

static int watched_file(int file, char *path) {
  return control && path_of(file, path) && below(path);
}

static int watched_path(int folder, const char *name, char *path) {
  if (!control || !name) return 0;
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char base[PATH_MAX];
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(folder, base)) return 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return below(path);
}

static void note(const char *path) {
  if (__atomic_fetch_add(&control->fired, 1, __ATOMIC_SEQ_CST) == 0) snprintf(control->at, PATH_MAX, "%s", path);
}

static void end(const char *path) {
  note(path);
  if (control->leader > 0) kill((pid_t)control->leader, SIGKILL);
  raise(SIGKILL);
}

/* Count a change of so many bytes; whether it is the one at which the process dies. */
static int last(size_t bytes) {
  int64_t number = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
  if (control->full_at && number >= control->full_at && control->room < 0) control->room = control->written + (int64_t)bytes / 2;
  return number == control->kill_at;
}

static int full(void) { return control->room >= 0 && control->written >= control->room; }

/* Count a change of names; 0: it fails, since the disk is full. */
static int change(const char *path, int makes) {
  if (last(0)) end(path);
  if (makes && control->no_new && full()) {
    note(path);
    errno = ENOSPC;
    return 0;
  }
  return 1;
}

/* How many of these bytes are written: half of them before the process dies, or those that the disk has room for; -1: none. */
static ssize_t allowed(const char *path, size_t count, int *dies) {
  *dies = last(count);
  if (*dies) return (ssize_t)(count / 2);
  if (control->room < 0) {
    __atomic_add_fetch(&control->written, (int64_t)count, __ATOMIC_SEQ_CST);
    return (ssize_t)count;
  }
  int64_t before = __atomic_fetch_add(&control->written, (int64_t)count, __ATOMIC_SEQ_CST);
  int64_t left = control->room - before;
  if (left >= (int64_t)count) return (ssize_t)count;
  note(path);
  if (left > 0) return (ssize_t)left;
  errno = ENOSPC;
  return -1;
}

#define WRITES(path, count, call) \
  int dies; \
  ssize_t some = allowed(path, count, &dies); \
  if (some < 0) return some; \
  ssize_t done = call; \
  if (dies) end(path); \
  return done

ssize_t write(int file, const void *data, size_t count) {
  REAL(write);
  char path[PATH_MAX];
  if (!count || !watched_file(file, path)) return real(file, data, count);
  WRITES(path, count, real(file, data, (size_t)some));
}

ssize_t pwrite(int file, const void *data, size_t count, off_t offset) {
  REAL(pwrite);
  char path[PATH_MAX];
  if (!count || !watched_file(file, path)) return real(file, data, count, offset);
  WRITES(path, count, real(file, data, (size_t)some, offset));
}

ssize_t pwrite64(int file, const void *data, size_t count, off64_t offset) {
  REAL(pwrite64);
  char path[PATH_MAX];
  if (!count || !watched_file(file, path)) return real(file, data, count, offset);
  WRITES(path, count, real(file, data, (size_t)some, offset));
}

ssize_t writev(int file, const struct iovec *parts, int number) {
  REAL(writev);
  char path[PATH_MAX];
  if (!number || !watched_file(file, path)) return real(file, parts, number);
  for (int i = 0; i < number; i++)
    if (parts[i].iov_len) return write(file, parts[i].iov_base, parts[i].iov_len); /* a short write is allowed */
  return 0;
}

size_t fwrite(const void *data, size_t size, size_t number, FILE *stream) {
  REAL(fwrite);
  char path[PATH_MAX];
  if (!size || !number || !watched_file(fileno(stream), path)) return real(data, size, number, stream);
  int dies;
  ssize_t some = allowed(path, size * number, &dies);
  if (some < 0) return 0;
  size_t done = real(data, 1, (size_t)some, stream);
  int reason = (size_t)some < size * number ? ENOSPC : errno;
  fflush(stream);
  if (dies) end(path);
  errno = reason;
  return done / size;
}

static int extends(int file, int64_t length, const char *path) {
  if (!change(path, 0)) return -1;
  struct stat state;
  int64_t more = fstat(file, &state) == 0 && length > state.st_size ? length - state.st_size : 0;
  if (control->room >= 0 && control->written + more > control->room) {
    note(path);
    errno = ENOSPC;
    return -1;
  }
  return 0;
}

int posix_fallocate(int file, off_t offset, off_t length) {
  REAL(posix_fallocate);
  char path[PATH_MAX];
  if (watched_file(file, path) && extends(file, offset + length, path)) return ENOSPC;
  return real(file, offset, length);
}

int posix_fallocate64(int file, off64_t offset, off64_t length) {
  REAL(posix_fallocate64);
  char path[PATH_MAX];
  if (watched_file(file, path) && extends(file, offset + length, path)) return ENOSPC;
  return real(file, offset, length);
}

int fallocate(int file, int mode, off_t offset, off_t length) {
  REAL(fallocate);
  char path[PATH_MAX];
  if (watched_file(file, path) && extends(file, offset + length, path)) return -1;
  return real(file, mode, offset, length);
}

static int makes_file(int flags) { return (flags & (O_WRONLY | O_RDWR)) != 0; }

#define OPENS(name, folder_of, parameters, arguments) \
  int name parameters { \
    REAL(name); \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
      va_list rest; \
      va_start(rest, flags); \
      mode = va_arg(rest, mode_t); \
      va_end(rest); \
    } \
    char full_path[PATH_MAX]; \
    if (makes_file(flags) && watched_path(folder_of, path, full_path)) { \
      int new_one = (flags & O_CREAT) && access(full_path, F_OK) != 0; \
      if (!change(full_path, new_one)) return -1; \
    } \
    return real arguments; \
  }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENS(openat64, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

#define CHANGES(name, folder_of, makes, parameters, arguments) \
  int name parameters { \
    REAL(name); \
    char full_path[PATH_MAX]; \
    if (watched_path(folder_of, path, full_path) && !change(full_path, makes && access(full_path, F_OK) != 0)) return -1; \
    return real arguments; \
  }

/* A name that is there already is refused for that, not for want of room. */
CHANGES(rename, AT_FDCWD, 0, (const char *path, const char *to), (path, to))
CHANGES(renameat, folder, 0, (int folder, const char *path, int other, const char *to), (folder, path, other, to))
CHANGES(renameat2, folder, 0, (int folder, const char *path, int other, const char *to, unsigned flags), (folder, path, other, to, flags))
CHANGES(unlink, AT_FDCWD, 0, (const char *path), (path))
CHANGES(unlinkat, folder, 0, (int folder, const char *path, int flags), (folder, path, flags))
CHANGES(rmdir, AT_FDCWD, 0, (const char *path), (path))
CHANGES(mkdir, AT_FDCWD, 1, (const char *path, mode_t mode), (path, mode))
CHANGES(mkdirat, folder, 1, (int folder, const char *path, mode_t mode), (folder, path, mode))
CHANGES(symlink, AT_FDCWD, 1, (const char *to, const char *path), (to, path))
CHANGES(link, AT_FDCWD, 1, (const char *path, const char *to), (path, to))

#define SYNCS(name) \
  int name(int file) { \
    REAL(name); \
    char path[PATH_MAX]; \
    if (watched_file(file, path) && !change(path, 0)) return -1; \
    return real(file); \
  }

SYNCS(fsync)
SYNCS(fdatasync)

static int resizes(int file, int64_t length) {
  char path[PATH_MAX];
  return watched_file(file, path) && extends(file, length, path);
}

int ftruncate(int file, off_t length) {
  REAL(ftruncate);
  return resizes(file, length) ? -1 : real(file, length);
}

int ftruncate64(int file, off64_t length) {
  REAL(ftruncate64);
  return resizes(file, length) ? -1 : real(file, length);
}

static void *maps(void *memory, int protection, int flags, int file) {
  char path[PATH_MAX];
  if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && file >= 0 && watched_file(file, path)) {
    if (__atomic_fetch_add(&control->mapped, 1, __ATOMIC_SEQ_CST) == 0 && !control->fired) snprintf(control->at, PATH_MAX, "%s", path);
  }
  return memory;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  REAL(mmap);
  return maps(real(address, length, protection, flags, file, offset), protection, flags, file);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off64_t offset) {
  REAL(mmap64);
  return maps(real(address, length, protection, flags, file, offset), protection, flags, file);
}

/* The calls below would pass by the ones above; callers then copy with write. */
ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
  char path[PATH_MAX];
  if (watched_file(to, path)) {
    errno = EINVAL;
    return -1;
  }
  static ssize_t (*real)(int, int, off_t *, size_t);
  if (!real) real = (ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile");
  return real(to, from, offset, count);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *where, size_t count, unsigned flags) {
  REAL(copy_file_range);
  char path[PATH_MAX];
  if (watched_file(to, path)) {
    errno = ENOSYS;
    return -1;
  }
  return real(from, at, to, where, count, flags);
}
