/* process.h - what the system says about this process: who it is (so that a dead run can be told from a living one),
 * and what it uses. */
#ifndef RUN_PROCESS_H
#define RUN_PROCESS_H

#include <espalier/core.h>

int64_t nas__unix_ms(void);
int64_t nas__monotonic_ms(void);
int64_t nas__cpu_ms(void); /* of all threads of this process */
int64_t nas__peak_rss_bytes(void);
int64_t nas__rss_bytes(void);
int nas__process_threads(void);

/* Start time of a process in clock ticks since boot; -1 when there is none of this id (or it has ended). With the id
 * and the boot it names one process for ever. */
int64_t nas__process_start(int64_t pid);
/* Text of a small file of one line, such as /proc/sys/kernel/random/boot_id; "" when it cannot be read. */
const char *nas__read_line(const char *path, char *buffer, size_t size);

#endif
