/* file.c - see file.h */
#include "core/file.h"
#include "core/error.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_TEXT = 256 << 20 };

FILE *nas__open_file(const char *path, size_t *size) {
    /* A pipe that nobody writes to would keep open() waiting. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    if (fd < 0) {
        return nas__fail_null(errno == ENOENT ? NAS_NOT_FOUND : NAS_IO, "%s: %s", path, strerror(errno));
    }
    if (fstat(fd, &info) || !S_ISREG(info.st_mode)) {
        close(fd);
        return nas__fail_null(NAS_IO, "%s: is not a file", path);
    }
    FILE *f = fdopen(fd, "rb");
    if (!f) {
        close(fd);
        return nas__fail_null(NAS_NO_MEMORY, "%s: cannot be read: %s", path, strerror(errno));
    }
    *size = (size_t)info.st_size;
    return f;
}

char *nas__read_file(const char *path, size_t *size) {
    size_t n;
    FILE *f = nas__open_file(path, &n);
    if (!f) {
        return NULL;
    }
    char *data = nas__alloc(n + 1);
    if (!data) {
        nas__error_context("%s", path);
    } else if (fread(data, 1, n, f) != n) {
        free(data);
        data = nas__fail_null(NAS_IO, "%s: cannot be read: %s", path,
                              ferror(f) ? strerror(errno) : "it became shorter while being read");
    }
    fclose(f);
    if (data && size) {
        *size = n;
    }
    return data;
}

char *nas__read_text(const char *path) {
    size_t size;
    FILE *f = nas__open_file(path, &size);
    if (!f) {
        return NULL;
    }
    fclose(f);
    if (size > MOST_TEXT) {
        return nas__fail_null(NAS_PARSE, "%s: %zu MB are too much for a text; %d can be read", path, size >> 20,
                              MOST_TEXT >> 20);
    }
    char *text = nas__read_file(path, &size);
    if (text && strlen(text) != size) {
        free(text);
        text = nas__fail_null(NAS_PARSE, "%s: not a text file (it has a zero byte)", path);
    }
    return text;
}

nas_status nas__atomic_open(nas__atomic_file *f, const char *path) {
    f->path = nas__strdup(path);
    f->temporary = nas__format("%s.tmp-%ld", path, (long)getpid());
    if (!f->path || !f->temporary) {
        nas__atomic_abandon(f);
        return nas_error_status();
    }
    f->stream = fopen(f->temporary, "wb");
    if (!f->stream) {
        nas_status status = nas__fail(NAS_IO, "%s: cannot be written: %s", path, strerror(errno));
        nas__atomic_abandon(f);
        return status;
    }
    return NAS_OK;
}

static void sync_directory(const char *path) {
    char *copy = strdup(path);
    if (copy) {
        int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY);
        if (fd >= 0) {
            fsync(fd);
            close(fd);
        }
        free(copy);
    }
}

nas_status nas__atomic_commit(nas__atomic_file *f) {
    bool bad = ferror(f->stream) || fflush(f->stream) || fsync(fileno(f->stream));
    int error = errno;
    bad |= fclose(f->stream) != 0;
    f->stream = NULL;
    if (!bad && rename(f->temporary, f->path)) {
        bad = true;
        error = errno;
    }
    nas_status status = NAS_OK;
    if (bad) {
        status = nas__fail(NAS_IO, "%s: cannot be written: %s; what was there before is unchanged", f->path,
                           strerror(error));
    } else {
        sync_directory(f->path);
        free(f->temporary);
        f->temporary = NULL;
    }
    nas__atomic_abandon(f);
    return status;
}

void nas__atomic_abandon(nas__atomic_file *f) {
    if (f->stream) {
        fclose(f->stream);
    }
    if (f->temporary) {
        unlink(f->temporary);
    }
    free(f->temporary);
    free(f->path);
    *f = (nas__atomic_file){0};
}

nas_status nas__write_file(const char *path, const void *data, size_t size) {
    nas__atomic_file f = {0};
    nas_status status = nas__atomic_open(&f, path);
    if (status) {
        return status;
    }
    fwrite(data, 1, size, f.stream); /* a failure shows in ferror at the commit */
    return nas__atomic_commit(&f);
}

nas_status nas__make_directory(const char *path) {
    char *copy = nas__strdup(path);
    if (!copy) {
        return nas_error_status();
    }
    nas_status status = NAS_OK;
    for (char *p = copy + 1; !status; p++) {
        if (*p == '/' || *p == 0) {
            char kept = *p;
            *p = 0;
            if (mkdir(copy, 0777) && errno != EEXIST) {
                status = nas__fail(NAS_IO, "%s: the directory cannot be created: %s", path, strerror(errno));
            }
            *p = kept;
            if (!kept) {
                break;
            }
        }
    }
    free(copy);
    if (!status && !nas__is_directory(path)) {
        status = nas__fail(NAS_IO, "%s: exists and is not a directory", path);
    }
    return status;
}

bool nas__exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool nas__is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool nas__is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *nas__join(const char *directory, const char *name) {
    size_t n = strlen(directory);
    return nas__format("%s%s%s", directory, n && directory[n - 1] == '/' ? "" : "/", name);
}
