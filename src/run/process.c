/* process.c - see process.h */
#include "run/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t nas__unix_ms(void) { return clock_ms(CLOCK_REALTIME); }

int64_t nas__monotonic_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

int64_t nas__cpu_ms(void) { return clock_ms(CLOCK_PROCESS_CPUTIME_ID); }

int64_t nas__peak_rss_bytes(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (int64_t)usage.ru_maxrss * 1024;
}

const char *nas__read_line(const char *path, char *buffer, size_t size) {
    buffer[0] = 0;
    FILE *f = fopen(path, "r");
    if (f) {
        if (!fgets(buffer, (int)size, f)) {
            buffer[0] = 0;
        }
        buffer[strcspn(buffer, "\n")] = 0;
        fclose(f);
    }
    return buffer;
}

int64_t nas__rss_bytes(void) {
    char line[128];
    long long total, resident;
    return sscanf(nas__read_line("/proc/self/statm", line, sizeof line), "%lld %lld", &total, &resident) == 2
               ? (int64_t)resident * sysconf(_SC_PAGESIZE)
               : 0;
}

/* Field `n` (3 = state) of /proc/PID/stat, behind the command in parentheses that may contain anything. */
static const char *stat_field(int64_t pid, int n, char *line, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    const char *p = strrchr(nas__read_line(path, line, size), ')');
    for (int i = 2; p && i < n; i++) {
        p = strchr(p + 1, ' ');
    }
    return p ? p + 1 : NULL;
}

int64_t nas__process_start(int64_t pid) {
    char line[1024];
    const char *state = stat_field(pid, 3, line, sizeof line);
    if (!state || *state == 'Z' || *state == 'X') {
        return -1;
    }
    const char *start = stat_field(pid, 22, line, sizeof line);
    return start ? strtoll(start, NULL, 10) : -1;
}

int nas__process_threads(void) {
    char line[1024];
    const char *threads = stat_field(getpid(), 20, line, sizeof line);
    return threads ? atoi(threads) : 0;
}
