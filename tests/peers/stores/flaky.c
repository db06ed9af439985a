/* A file system that is not there, for a program that is started with this library in LD_PRELOAD.
 *
 * FLAKY_FOLDER is the folder whose files are concerned, FLAKY_ORDERS a file with one order: "fail N"
 * answers each opening with the error number N, "hang" holds it up until the order is withdrawn.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int order(char *text, size_t size)
{
    static int (*plain_open)(const char *, int, ...);
    ssize_t length;
    int file;
    if (!plain_open)
        plain_open = dlsym(RTLD_NEXT, "open64");
    file = plain_open(getenv("FLAKY_ORDERS"), O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int fails(const char *path)
{
    char text[64];
    const char *folder = getenv("FLAKY_FOLDER");
    if (!path || !folder || strncmp(path, folder, strlen(folder)))
        return 0;
    while (order(text, sizeof text)) {
        if (!strncmp(text, "fail ", 5)) {
            errno = atoi(text + 5);
            return 1;
        }
        usleep(50000);
    }
    return 0;
}

#define OPENER(name)                                                                   \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        static int (*next)(const char *, int, ...);                                    \
        mode_t mode = 0;                                                               \
        va_list rest;                                                                  \
        if (!next)                                                                     \
            next = dlsym(RTLD_NEXT, #name);                                            \
        if (flags & (O_CREAT | O_TMPFILE)) {                                           \
            va_start(rest, flags);                                                     \
            mode = va_arg(rest, mode_t);                                               \
            va_end(rest);                                                              \
        }                                                                              \
        return fails(path) ? -1 : next(path, flags, mode);                             \
    }

OPENER(open)
OPENER(open64)

DIR *opendir(const char *path)
{
    static DIR *(*next)(const char *);
    if (!next)
        next = dlsym(RTLD_NEXT, "opendir");
    return fails(path) ? NULL : next(path);
}
