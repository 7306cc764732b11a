/* writer_private.h - what the two files of the writer share. */
#ifndef RUN_WRITER_PRIVATE_H
#define RUN_WRITER_PRIVATE_H

#include "run/writer.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

struct nas__row {
    nas__row *next;
    nas__statement statement;
    bool mark, ends_group, commit_now;
    int n;
    nas__value values[]; /* texts and blobs follow */
};

struct nas__writer {
    pthread_t thread;
    pthread_mutex_t lock; /* of the next block */
    pthread_cond_t rows_came, room;
    nas__rows queue;
    bool closing;
    uint64_t urgent, urgent_committed; /* groups to be committed at once: handed over, and committed */
    nas_status status;                 /* first error */
    char message[600];
    const char *final_status, *final_detail;

    /* Of the writer's thread alone. */
    sqlite3 *db;
    char *path;
    sqlite3_stmt *statements[NAS__SQL_STATEMENTS];
    nas__summary summary;
    struct stat identity; /* of the file at path */
    int commit_ms;
    bool failed, open; /* open: a transaction is */
    size_t rows;       /* in it */
    uint64_t urgent_written;
    int64_t opened_ms, committed_ms, busy_since_ms;
};

void nas__writer_fail(nas__writer *w, nas_status status, const char *what);
void nas__writer_fail_sql(nas__writer *w, int code);
/* Executes one row inside the open transaction and takes it into the summary; false after an error. */
bool nas__writer_row(nas__writer *w, const nas__row *row);
/* Writes the summary; false after an error. */
bool nas__writer_summary(nas__writer *w);

#endif
