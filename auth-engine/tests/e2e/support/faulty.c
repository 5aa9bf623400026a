/* Stands between the engine and the disk or the clock of one process, told by a file what to do (FAULTY_ORDERS):
 *
 *   none                 nothing
 *   write ERRNO          every write to a segment in use fails with that number; half of it may have happened
 *   sync ERRNO           the next sync of a segment fails, once
 *   stall MILLISECONDS   the next write to a segment takes so long, once
 *   clock SECONDS        the wall clock is off by so much
 *
 * FAULTY_BUFFERED: files are opened through the page cache, so that syncs are calls of their own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fdatasync)(int);
static int (*real_open)(const char *, int, ...);
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void find(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
}

static const char *orders(void) { return getenv("FAULTY_ORDERS"); }

/* The number behind the word, when that is the order that stands. */
static int told(const char *word, long *number) {
    char text[64] = {0};
    int file = orders() ? real_open(orders(), O_RDONLY) : -1;
    if (file < 0) return 0;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    size_t length = strlen(word);
    if (got <= 0 || strncmp(text, word, length) != 0 || text[length] != ' ') return 0;
    *number = atol(text + length + 1);
    return 1;
}

static void done(void) {
    int file = real_open(orders(), O_WRONLY | O_TRUNC);
    if (file >= 0) {
        (void)!write(file, "none ", 5);
        close(file);
    }
}

/* A segment that has its name: one that is made ahead still ends in .tmp. */
static int is_segment(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return length > 8 && strcmp(path + length - 8, ".segment") == 0;
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    long number;
    if (is_segment(fd)) {
        if (told("write", &number)) {
            if (length >= 8192) real_pwrite(fd, from, length / 8192 * 4096, at);
            errno = (int)number;
            return -1;
        }
        if (told("stall", &number)) {
            done();
            usleep((useconds_t)number * 1000);
        }
    }
    return real_pwrite(fd, from, length, at);
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at) { return pwrite64(fd, from, length, at); }

int fdatasync(int fd) {
    long number;
    if (is_segment(fd) && told("sync", &number)) {
        done();
        errno = (int)number;
        return -1;
    }
    return real_fdatasync(fd);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    if (getenv("FAULTY_BUFFERED") && (flags & O_DIRECT)) {
        errno = EINVAL;
        return -1;
    }
    return real_open(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    long number;
    int result = real_clock(clock, to);
    if (result == 0 && clock == CLOCK_REALTIME && told("clock", &number)) to->tv_sec += number;
    return result;
}
