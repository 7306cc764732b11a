/* open.c - makes, reopens and closes the log of a run. */
#include "run/run_private.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/database.h"
#include "run/process.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char database_name[] = "run.sqlite";

bool nas__run_exists(const char *directory) {
    char *path = nas__join(directory, database_name);
    bool exists = path && nas__exists(path);
    free(path);
    return exists;
}

/* A crash while a run was being made may have left its half-made database: that does not count. */
static nas_status refuse_used_directory(const char *directory) {
    DIR *d = opendir(directory);
    if (!d) {
        return nas__fail(NAS_IO, "%s: the directory cannot be read", directory);
    }
    nas_status status = NAS_OK;
    for (const struct dirent *e; !status && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strncmp(e->d_name, "run.sqlite.tmp-", 15)) {
            status = nas__fail(NAS_USAGE, "%s: is not empty (%s): choose another directory, or resume the run in it",
                               directory, e->d_name);
        }
    }
    closedir(d);
    return status;
}

static void run_free(nas__run *run) {
    for (size_t i = 0; i < run->n_metrics; i++) {
        free(run->metrics[i].name);
        free(run->metrics[i].split);
        free(run->metrics[i].per);
    }
    nas__rows_free(&run->held);
    nas__run_unlock(run->lock);
    free(run->metrics);
    free(run->known);
    free(run->code_offset);
    free(run->directory);
    free(run);
}

/* Takes db and summary over. */
static nas__run *start(nas__run *run, const char *path, sqlite3 *db, nas__summary *summary, bool network) {
    run->started_ms = summary->started_ms = nas__monotonic_ms();
    run->active_ms = summary->active_ms;
    run->last_epoch = summary->epoch;
    run->cpu_before_ms = summary->cpu_ms -= nas__cpu_ms();
    nas__writer_config config = {.db = db, .path = path, .summary = *summary, .commit_ms = network ? 5000 : 500};
    run->writer = nas__writer_start(&config);
    if (!run->writer) {
        run_free(run);
        return NULL;
    }
    if (network) {
        nas__run_event(
            run, NAS_LOG_INFO, "journal", run->last_epoch, summary->step,
            "the directory is on a network or FUSE file system: rollback journal instead of WAL, a commit every 5 s");
    }
    return run;
}

nas__run *nas__run_create(const char *directory, const nas__run_info *info) {
    int lock = -1;
    nas_status status = nas__make_directory(directory);
    status = status ? status : nas__run_lock(directory, &lock);
    status = status ? status : refuse_used_directory(directory);
    char *path = status ? NULL : nas__join(directory, database_name);
    nas__run *run = path ? nas__alloc(sizeof *run) : NULL;
    sqlite3 *db = NULL;
    bool network = false;
    if (!run) {
        nas__run_unlock(lock);
    } else {
        run->lock = lock;
        run->segment = 1;
        run->directory = nas__strdup(directory);
        status = run->directory ? nas__database_create(path, directory, info) : nas_error_status();
        status = status ? status : nas__run_write_config(directory, info->config);
        db = status ? NULL : nas__database_open(path, &network);
    }
    if (run && !db) {
        run_free(run);
        run = NULL;
    }
    if (run) {
        run = start(run, path, db, &(nas__summary){.best_score = NAN}, network);
    }
    free(path);
    return run;
}

nas__run *nas__run_resume(const char *directory, const nas__run_info *info, int epoch, int64_t step) {
    char *path = nas__join(directory, database_name);
    nas__run *run = path ? nas__alloc(sizeof *run) : NULL;
    nas__summary summary = {.best_score = NAN};
    bool network = false;
    sqlite3 *db = NULL;
    if (run) {
        run->directory = nas__strdup(directory);
        nas_status status = nas__run_lock(directory, &run->lock);
        status = !status && run->directory ? nas__database_check(path, info) : nas_error_status();
        db = status ? NULL : nas__database_open(path, &network);
        status = db ? nas__database_rewind(db, path, directory, info, epoch, step) : nas_error_status();
        status = status ? status : nas__database_reload(db, path, run, &summary);
        status = status || !info->config ? status : nas__run_write_config(directory, info->config);
        if (status) {
            sqlite3_close(db);
            free(summary.trend);
            run_free(run);
            run = NULL;
        }
    }
    if (run) {
        run = start(run, path, db, &summary, network);
    }
    if (run) {
        nas__run_event(run, NAS_LOG_INFO, "resume", epoch, step, NULL);
    }
    free(path);
    return run;
}

nas_status nas__run_flush(nas__run *run) { return run ? nas__writer_flush(run->writer) : NAS_OK; }

nas_status nas__run_check(nas__run *run) { return run ? nas__writer_check(run->writer) : NAS_OK; }

nas_status nas__run_close(nas__run *run, const char *status, const char *detail) {
    if (!run) {
        return NAS_OK;
    }
    nas_status result = nas__writer_stop(run->writer, status, detail);
    run_free(run);
    return result;
}
