/* writer.c - queue and thread; see writer.h. What one row does to the database and to the summary is in writer_rows.c.
 */
#include "run/writer_private.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    QUEUE_ROWS = 65536,
    COMMIT_ROWS = 4096,
    HEARTBEAT_MS = 4000,   /* readers expect one every 5 s */
    BUSY_LIMIT_MS = 60000, /* a reader of a rollback journal may hold a commit up for so long */
    FLUSH_LIMIT_MS = 2000
};

void nas__writer_fail(nas__writer *w, nas_status status, const char *what) {
    pthread_mutex_lock(&w->lock);
    if (!w->status) {
        w->status = status;
        snprintf(w->message, sizeof w->message, "%s: the run cannot be logged any more: %s", w->path, what);
    }
    pthread_cond_broadcast(&w->room); /* nobody waits for a writer that does not write */
    pthread_mutex_unlock(&w->lock);
    w->failed = true;
}

static const char gone[] = "its file was removed or replaced by somebody else";

/* SQLite would go on writing to an unlinked file without a word. */
static bool file_is_gone(const nas__writer *w) {
    struct stat info;
    return stat(w->path, &info) != 0 || info.st_ino != w->identity.st_ino || info.st_dev != w->identity.st_dev;
}

void nas__writer_fail_sql(nas__writer *w, int code) {
    const char *why =
        (code & 0xff) == SQLITE_FULL ? "the disk is full; free some space and resume the run" : sqlite3_errmsg(w->db);
    nas__writer_fail(w, NAS_IO, file_is_gone(w) ? gone : why);
}

static void begin(nas__writer *w) {
    int64_t started = nas__monotonic_ms();
    int code;
    do {
        code = sqlite3_exec(w->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    } while (code == SQLITE_BUSY && nas__monotonic_ms() - started < BUSY_LIMIT_MS);
    if (code) {
        nas__writer_fail_sql(w, code);
        return;
    }
    w->open = true;
    w->opened_ms = w->busy_since_ms = nas__monotonic_ms();
    w->rows = 0;
}

/* Commits the summary and what was written since the last time; false when that failed or has to wait for a reader. */
static bool commit(nas__writer *w) {
    if (file_is_gone(w)) {
        nas__writer_fail(w, NAS_IO, gone);
        return false;
    }
    if (!w->open) {
        begin(w);
    }
    if (w->failed || !nas__writer_summary(w)) {
        return false;
    }
    int code = sqlite3_exec(w->db, "COMMIT", NULL, NULL, NULL);
    int64_t now = nas__monotonic_ms();
    if (code == SQLITE_BUSY && now - w->busy_since_ms < BUSY_LIMIT_MS) {
        w->opened_ms = now; /* the transaction stays open: the next commit takes it along */
    } else if (code) {
        nas__writer_fail_sql(w, code);
    } else {
        w->open = false;
        w->committed_ms = now;
        pthread_mutex_lock(&w->lock);
        w->urgent_committed = w->urgent_written;
        pthread_cond_broadcast(&w->room);
        pthread_mutex_unlock(&w->lock);
    }
    return !code;
}

static void write_rows(nas__writer *w, nas__rows *rows) {
    for (nas__row *row = rows->first; row && !w->failed; row = row->next) {
        if (!w->open) {
            begin(w);
        }
        if (w->failed || !nas__writer_row(w, row)) {
            return;
        }
        w->rows++;
        w->urgent_written += row->ends_group && row->commit_now;
        if (row->ends_group &&
            (row->commit_now || w->rows >= COMMIT_ROWS || nas__monotonic_ms() - w->opened_ms >= w->commit_ms)) {
            commit(w);
        }
    }
}

/* Takes all rows of the queue; waits for them until something else is due. Returns false when there is nothing more to
 * come. */
static bool take(nas__writer *w, nas__rows *rows) {
    int64_t due = w->open ? w->opened_ms + w->commit_ms : w->committed_ms + HEARTBEAT_MS;
    struct timespec until = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000};
    pthread_mutex_lock(&w->lock);
    int code = 0;
    while (!w->queue.n && !w->closing && code != ETIMEDOUT) {
        code = w->failed ? pthread_cond_wait(&w->rows_came, &w->lock)
                         : pthread_cond_timedwait(&w->rows_came, &w->lock, &until);
    }
    *rows = w->queue;
    w->queue = (nas__rows){0};
    bool more = rows->n || !w->closing;
    pthread_cond_broadcast(&w->room);
    pthread_mutex_unlock(&w->lock);
    return more;
}

/* One plain file that opens on read-only media; while a reader holds it, it stays in WAL. */
static void make_plain_file(nas__writer *w) {
    sqlite3_busy_timeout(w->db, 200);
    sqlite3_wal_checkpoint_v2(w->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_exec(w->db, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
}

static void *run_writer(void *argument) {
    nas__writer *w = argument;
    nas__rows rows;
    while (take(w, &rows)) {
        write_rows(w, &rows);
        nas__rows_free(&rows);
        int64_t now = nas__monotonic_ms();
        if (!w->failed && (w->open ? now - w->opened_ms >= w->commit_ms : now - w->committed_ms >= HEARTBEAT_MS)) {
            commit(w);
        }
    }
    bool done = false;
    while (!w->failed && !done) {
        done = commit(w); /* with the final status; again when a reader was in the way */
    }
    if (done) {
        make_plain_file(w);
    }
    return NULL;
}

/* Signals are for the threads of the program. */
static int start_thread(nas__writer *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&w->thread, NULL, run_writer, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

static void writer_free(nas__writer *w) {
    for (int i = 0; i < NAS__SQL_STATEMENTS; i++) {
        sqlite3_finalize(w->statements[i]);
    }
    sqlite3_close(w->db);
    nas__rows_free(&w->queue);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->rows_came);
    pthread_cond_destroy(&w->room);
    free(w->summary.trend);
    free(w->path);
    free(w);
}

static void init_locks(nas__writer *w) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->rows_came, &monotonic);
    pthread_cond_init(&w->room, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&w->lock, NULL);
}

nas__writer *nas__writer_start(const nas__writer_config *config) {
    nas__writer *w = nas__alloc(sizeof *w);
    if (!w) {
        sqlite3_close(config->db);
        free(config->summary.trend);
        return NULL;
    }
    init_locks(w);
    w->db = config->db;
    w->summary = config->summary;
    w->commit_ms = config->commit_ms;
    w->final_status = "running";
    w->committed_ms = nas__monotonic_ms();
    w->path = nas__strdup(config->path);
    int code = w->path && stat(w->path, &w->identity) == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
    for (int i = 0; i < NAS__SQL_STATEMENTS && !code; i++) {
        code = sqlite3_prepare_v3(w->db, nas__run_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &w->statements[i], NULL);
    }
    if (code) {
        nas__fail(NAS_IO, "%s: cannot be prepared for writing: %s", config->path, sqlite3_errmsg(w->db));
    } else if (start_thread(w) == 0) {
        return w;
    } else {
        nas__fail(NAS_NO_MEMORY, "%s: no thread could be started for writing it", config->path);
    }
    writer_free(w);
    return NULL;
}

void nas__writer_push(nas__writer *w, nas__rows *rows, bool commit_now) {
    if (!rows->n) {
        return;
    }
    rows->last->ends_group = true;
    rows->last->commit_now = commit_now;
    pthread_mutex_lock(&w->lock);
    while (w->queue.n >= QUEUE_ROWS && !w->status) {
        pthread_cond_wait(&w->room, &w->lock);
    }
    if (!w->status) {
        if (w->queue.last) {
            w->queue.last->next = rows->first;
        } else {
            w->queue.first = rows->first;
        }
        w->queue.last = rows->last;
        w->queue.n += rows->n;
        w->urgent += commit_now;
        *rows = (nas__rows){0};
        pthread_cond_signal(&w->rows_came);
    }
    pthread_mutex_unlock(&w->lock);
    nas__rows_free(rows); /* of a writer that has failed */
}

nas_status nas__writer_flush(nas__writer *w) {
    int64_t due = nas__monotonic_ms() + FLUSH_LIMIT_MS;
    struct timespec until = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000};
    pthread_mutex_lock(&w->lock);
    for (int code = 0; w->urgent_committed < w->urgent && !w->status && code != ETIMEDOUT;) {
        code = pthread_cond_timedwait(&w->room, &w->lock, &until);
    }
    pthread_mutex_unlock(&w->lock);
    return nas__writer_check(w);
}

nas_status nas__writer_check(nas__writer *w) {
    pthread_mutex_lock(&w->lock);
    nas_status status = w->status ? nas__fail(w->status, "%s", w->message) : NAS_OK;
    pthread_mutex_unlock(&w->lock);
    return status;
}

nas_status nas__writer_stop(nas__writer *w, const char *status, const char *detail) {
    pthread_mutex_lock(&w->lock);
    w->final_status = status;
    w->final_detail = detail;
    w->closing = true;
    pthread_cond_signal(&w->rows_came);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    nas_status result = nas__writer_check(w);
    writer_free(w);
    return result;
}
