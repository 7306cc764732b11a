/* lock.c - one process writes to a run directory: the directory itself is locked, which ends with the process, however
 * that ends. What a crash leaves is no lock. Where a file system has no locks (network ones), the log's owner and
 * heartbeat stand alone. */
#include "core/error.h"
#include "run/run_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who holds the lock of this inode, by the kernel's list; 0: unknown. */
static long owner_of(int fd) {
    char line[256];
    struct stat info;
    FILE *f = fstat(fd, &info) ? NULL : fopen("/proc/locks", "r");
    long owner = 0;
    while (f && !owner && fgets(line, sizeof line, f)) {
        long pid;
        unsigned long inode;
        if (sscanf(line, "%*d: FLOCK %*s WRITE %ld %*x:%*x:%lu", &pid, &inode) == 2 && inode == info.st_ino) {
            owner = pid;
        }
    }
    if (f) {
        fclose(f);
    }
    return owner;
}

nas_status nas__run_lock(const char *directory, int *lock) {
    *lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) == 0) {
        return NAS_OK;
    }
    bool held = errno == EWOULDBLOCK;
    long owner = held ? owner_of(*lock) : 0;
    close(*lock);
    *lock = -1;
    if (!held) {
        return NAS_OK;
    }
    return owner > 0
               ? nas__fail(NAS_USAGE, "%s: is still being written by process %ld: stop it first", directory, owner)
               : nas__fail(NAS_USAGE, "%s: is still being written by another process: stop it first", directory);
}

void nas__run_unlock(int lock) {
    if (lock >= 0) {
        close(lock);
    }
}
