/* database.c - makes and opens run.sqlite. */
#include "run/database.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/process.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

static nas_status sql_failed(sqlite3 *db, const char *path, const char *what) {
    return nas__fail(NAS_IO, "%s: %s: %s", path, what, db ? sqlite3_errmsg(db) : "out of memory");
}

static sqlite3 *open_database(const char *path, int flags) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        sql_failed(db, path, "cannot be opened");
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, 5000);
    return db;
}

/* --- the row of `run` ----------------------------------------------------------------------------- */
static const char insert_run[] =
    "INSERT INTO "
    "run(id,uuid,name,kind,strategy,space,space_hash,data,seed,threads,ranks,command,config,machine,version,"
    "created_unix_ms,segment,status,epochs,steps_per_epoch,log_every,epoch,step,evaluations,trend,warnings,errors,"
    "active_ms,cpu_ms) "
    "VALUES(1,?1,?2,?3,?4,?5,?6,?7,?8,?9,1,?10,?11,?12,?13,?14,1,'running',?15,?16,?17,0,0,0,'[]',0,0,0,0)";
static const char update_run[] =
    "UPDATE run SET threads=?9, command=coalesce(?10,command), config=coalesce(?11,config), machine=?12, version=?13, "
    "segment=segment+1, status='running', status_detail=NULL, epochs=?15, steps_per_epoch=?16, log_every=?17, "
    "name=?2 WHERE id=1";
/* Who writes it: separate, because both ways need it. */
static const char own_run[] =
    "UPDATE run SET pid=?1, pid_start=?2, boot_id=?3, host=?4, heartbeat_unix_ms=?5 WHERE id=1";

static void bind_text(sqlite3_stmt *s, int i, const char *text) {
    sqlite3_bind_text(s, i, text, -1, SQLITE_TRANSIENT); /* NULL binds NULL */
}

static const char *host_name(char *buffer, size_t size) {
    buffer[0] = 0;
    gethostname(buffer, size - 1);
    buffer[size - 1] = 0;
    return buffer;
}

static int write_owner(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    char boot[64], host[256];
    int code = sqlite3_prepare_v2(db, own_run, -1, &s, NULL);
    if (!code) {
        sqlite3_bind_int64(s, 1, getpid());
        sqlite3_bind_int64(s, 2, nas__process_start(getpid()));
        bind_text(s, 3, nas__read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot));
        bind_text(s, 4, host_name(host, sizeof host));
        sqlite3_bind_int64(s, 5, nas__unix_ms());
        code = sqlite3_step(s);
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static void bind_info(sqlite3_stmt *s, const char *name, const char *machine, const nas__run_info *info) {
    char uuid[64], hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)info->space_hash);
    bind_text(s, 1, nas__read_line("/proc/sys/kernel/random/uuid", uuid, sizeof uuid));
    bind_text(s, 2, name);
    bind_text(s, 3, info->kind);
    bind_text(s, 4, info->strategy);
    bind_text(s, 5, info->space);
    bind_text(s, 6, info->space_hash ? hash : NULL);
    bind_text(s, 7, info->data);
    sqlite3_bind_int64(s, 8, (sqlite3_int64)info->seed);
    sqlite3_bind_int64(s, 9, info->threads);
    bind_text(s, 10, info->command);
    bind_text(s, 11, info->config);
    bind_text(s, 12, machine);
    bind_text(s, 13, nas_version());
    sqlite3_bind_int64(s, 14, nas__unix_ms());
    sqlite3_bind_int64(s, 15, info->epochs);
    sqlite3_bind_int64(s, 16, info->steps_per_epoch);
    sqlite3_bind_int64(s, 17, info->log_every);
}

/* Name of a run: the last part of its directory's real path. */
static char *run_name(const char *directory) {
    char *real = realpath(directory, NULL);
    char *name = nas__strdup(basename(real ? real : (char[]){"run"}));
    free(real);
    return name;
}

static int write_run(sqlite3 *db, const char *sql, const char *directory, const nas__run_info *info) {
    sqlite3_stmt *s = NULL;
    char *machine = nas__machine_json(), *name = run_name(directory);
    int code = machine && name ? sqlite3_prepare_v2(db, sql, -1, &s, NULL) : SQLITE_NOMEM;
    if (!code) {
        bind_info(s, name, machine, info);
        code = sqlite3_step(s);
    }
    sqlite3_finalize(s);
    free(machine);
    free(name);
    return code == SQLITE_DONE ? write_owner(db) : code;
}

nas_status nas__database_create(const char *path, const char *directory, const nas__run_info *info) {
    char *temporary = nas__format("%s.tmp-%ld", path, (long)getpid());
    if (!temporary) {
        return nas_error_status();
    }
    unlink(temporary);
    sqlite3 *db = open_database(temporary, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    nas_status status = db ? NAS_OK : nas_error_status();
    if (db && (sqlite3_exec(db, nas__run_schema, NULL, NULL, NULL) || write_run(db, insert_run, directory, info))) {
        status = sql_failed(db, path, "cannot be created");
    }
    sqlite3_close(db);
    if (!status && rename(temporary, path)) {
        status = nas__fail(NAS_IO, "%s: cannot be created: %s", path, strerror(errno));
    }
    unlink(temporary);
    free(temporary);
    return status;
}

/* --- opening -------------------------------------------------------------------------------------- */
/* WAL's shared memory does not cross hosts. */
static bool on_network(const char *path) {
    static const unsigned long magic[] = {
        0x6969 /* NFS */,      0x517B /* SMB */,      0xFF534D42 /* CIFS */,
        0xFE534D42 /* SMB2 */, 0x65735546 /* FUSE */, 0x0BD00BD0 /* Lustre */,
        0x47504653 /* GPFS */, 0x00C36400 /* Ceph */, 0x01021997 /* 9P */,
    };
    struct statfs info;
    bool found = false;
    if (statfs(path, &info) == 0) {
        for (size_t i = 0; i < sizeof magic / sizeof *magic; i++) {
            found |= ((unsigned long)info.f_type & 0xffffffffUL) == magic[i];
        }
    }
    return found;
}

sqlite3 *nas__database_open(const char *path, bool *network) {
    *network = on_network(path);
    sqlite3 *db = open_database(path, SQLITE_OPEN_READWRITE);
    const char *setup = *network
                            ? "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=NORMAL"
                            : "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=1000; "
                              "PRAGMA journal_size_limit=16777216";
    if (db && sqlite3_exec(db, setup, NULL, NULL, NULL)) {
        sql_failed(db, path, "cannot be opened for writing");
        sqlite3_close(db);
        return NULL;
    }
    return db;
}

/* --- is it a run that can be resumed? ------------------------------------------------------------- */
static int64_t query_int(sqlite3 *db, const char *sql, int64_t otherwise) {
    sqlite3_stmt *s = NULL;
    int64_t value = otherwise;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        value = sqlite3_column_type(s, 0) == SQLITE_NULL ? otherwise : sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return value;
}

static nas_status check_format(sqlite3 *db, const char *path) {
    int64_t version = query_int(db, "PRAGMA user_version", 0);
    if (query_int(db, "PRAGMA application_id", 0) != NAS__RUN_APPLICATION_ID) {
        return nas__fail(NAS_PARSE, "%s: is damaged or not the log of a run: %s", path,
                         sqlite3_errcode(db) ? sqlite3_errmsg(db) : "its application id is another one");
    }
    if (version / 100 != NAS__RUN_MAJOR) {
        return nas__fail(NAS_UNSUPPORTED,
                         "%s: has format %lld.%02lld; this version writes format %d: use the version that made it",
                         path, (long long)version / 100, (long long)version % 100, NAS__RUN_MAJOR);
    }
    sqlite3_stmt *s = NULL;
    bool whole = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL) == SQLITE_OK &&
                 sqlite3_step(s) == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(s, 0), "ok");
    nas_status status = whole ? NAS_OK
                              : nas__fail(NAS_PARSE, "%s: is damaged: %s", path,
                                          s ? "its pages do not fit together" : sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return status;
}

static nas_status check_same(const char *path, const char *what, const char *stored, const char *given) {
    return stored && given && strcmp(stored, given)
               ? nas__fail(NAS_USAGE, "%s: was made with the %s %s and cannot go on with %s: choose another directory",
                           path, what, stored, given)
               : NAS_OK;
}

/* On this machine the process tells; on others only the heartbeat does. */
static bool owner_lives(sqlite3_stmt *s) {
    char boot[64], host[256];
    const char *stored_boot = (const char *)sqlite3_column_text(s, 6),
               *stored_host = (const char *)sqlite3_column_text(s, 7);
    bool here = stored_host && !strcmp(stored_host, host_name(host, sizeof host));
    if (here) {
        bool same_boot =
            stored_boot && !strcmp(stored_boot, nas__read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot));
        return same_boot && nas__process_start(sqlite3_column_int64(s, 4)) == sqlite3_column_int64(s, 5);
    }
    return nas__unix_ms() - sqlite3_column_int64(s, 8) < 60000;
}

nas_status nas__database_check(const char *path, const nas__run_info *info) {
    if (!nas__exists(path)) {
        return nas__fail(NAS_NOT_FOUND, "%s: there is no run to resume", path);
    }
    sqlite3 *db = open_database(path, SQLITE_OPEN_READWRITE);
    nas_status status = db ? check_format(db, path) : nas_error_status();
    sqlite3_stmt *s = NULL;
    if (!status && (sqlite3_prepare_v2(db,
                                       "SELECT kind, strategy, space, space_hash, pid, pid_start, boot_id, host, "
                                       "heartbeat_unix_ms, status FROM run",
                                       -1, &s, NULL) ||
                    sqlite3_step(s) != SQLITE_ROW)) {
        status =
            nas__fail(NAS_PARSE, "%s: is damaged: %s", path, s ? "the row of the run is missing" : sqlite3_errmsg(db));
    }
    if (!status) {
        char hash[17];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)info->space_hash);
        const char *given[] = {info->kind, info->strategy, info->space, info->space_hash ? hash : NULL};
        static const char *const what[] = {"kind", "strategy", "space", "space of hash"};
        for (int i = 0; i < 4 && !status; i++) {
            status = check_same(path, what[i], (const char *)sqlite3_column_text(s, i), given[i]);
        }
        const char *word = (const char *)sqlite3_column_text(s, 9);
        if (!status && word && !strcmp(word, "running") && owner_lives(s)) {
            status = nas__fail(NAS_USAGE, "%s: is still being written by process %lld: stop it first", path,
                               (long long)sqlite3_column_int64(s, 4));
        }
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return status;
}

/* --- going on ------------------------------------------------------------------------------------- */
static int delete_behind(sqlite3 *db, const char *sql, int64_t epoch, int64_t step) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (!code) {
        sqlite3_bind_int64(s, 1, epoch);
        if (sqlite3_bind_parameter_count(s) > 1) {
            sqlite3_bind_int64(s, 2, step);
        }
        code = sqlite3_step(s);
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

nas_status nas__database_rewind(sqlite3 *db, const char *path, const char *directory, const nas__run_info *info,
                                int epoch, int64_t step) {
    bool from_start = epoch == 0 && step == 0; /* then step 0 goes, too */
    int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int i = 0; !code && nas__run_rewind[i]; i++) {
        code = delete_behind(db, nas__run_rewind[i], from_start ? -1 : epoch, from_start ? -1 : step);
    }
    code = code ? code : write_run(db, update_run, directory, info);
    code = code ? code : sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    return code ? sql_failed(db, path, "cannot be rewound to the checkpoint") : NAS_OK;
}

static int reload_metrics(sqlite3 *db, nas__run *run) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(db, "SELECT name, split, per, id FROM metric ORDER BY id", -1, &s, NULL);
    while (!code && (code = sqlite3_step(s)) == SQLITE_ROW) {
        int id = nas__run_add_metric(run, (const char *)sqlite3_column_text(s, 0),
                                     (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 2));
        code = id && id == sqlite3_column_int(s, 3) ? SQLITE_OK : SQLITE_CORRUPT;
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int reload_architectures(sqlite3 *db, nas__run *run) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(db, "SELECT hash, id FROM architecture", -1, &s, NULL);
    while (!code && (code = sqlite3_step(s)) == SQLITE_ROW) {
        uint64_t hash;
        code = SQLITE_CORRUPT;
        if (sqlite3_column_bytes(s, 0) == sizeof hash) {
            memcpy(&hash, sqlite3_column_blob(s, 0), sizeof hash);
            code = nas__run_remember(run, hash, sqlite3_column_int64(s, 1)) ? SQLITE_OK : SQLITE_NOMEM;
        }
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int reload_trend(sqlite3 *db, nas__summary *summary) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(
        db, "SELECT value FROM epoch_metric WHERE metric_id=?1 AND value IS NOT NULL ORDER BY epoch", -1, &s, NULL);
    if (!code) {
        sqlite3_bind_int(s, 1, summary->primary_metric);
    }
    while (!code && (code = sqlite3_step(s)) == SQLITE_ROW) {
        code = nas__grow(&summary->trend, summary->n_trend, sizeof *summary->trend) ? SQLITE_OK : SQLITE_NOMEM;
        if (!code) {
            summary->trend[summary->n_trend++] = sqlite3_column_double(s, 0);
        }
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* The best evaluation that is left, by the primary metric's direction; the first one of equals. */
static int reload_best(sqlite3 *db, nas__summary *summary) {
    sqlite3_stmt *s = NULL;
    bool lower = query_int(db, "SELECT direction FROM metric JOIN run ON metric.id=primary_metric", 1) < 0;
    int code = sqlite3_prepare_v2(
        db,
        lower ? "SELECT id, score FROM evaluation WHERE metric_id=?1 AND score IS NOT NULL ORDER BY score, id LIMIT 1"
              : "SELECT id, score FROM evaluation WHERE metric_id=?1 AND score IS NOT NULL ORDER BY score DESC, id "
                "LIMIT 1",
        -1, &s, NULL);
    if (!code) {
        sqlite3_bind_int(s, 1, summary->primary_metric);
        code = sqlite3_step(s);
        if (code == SQLITE_ROW) {
            summary->best_evaluation = sqlite3_column_int64(s, 0);
            summary->best_score = sqlite3_column_double(s, 1);
        }
    }
    sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

nas_status nas__database_reload(sqlite3 *db, const char *path, nas__run *run, nas__summary *summary) {
    run->segment = (int)query_int(db, "SELECT segment FROM run", 1);
    run->last_evaluation = query_int(db, "SELECT max(id) FROM evaluation", 0);
    run->last_architecture = query_int(db, "SELECT max(id) FROM architecture", 0);
    summary->primary_metric = (int)query_int(db, "SELECT primary_metric FROM run", 0);
    summary->epoch = (int)query_int(db, "SELECT max(epoch) FROM epoch", 0);
    summary->step = query_int(db, "SELECT max(step) FROM (SELECT step FROM tick UNION ALL SELECT step FROM epoch)", 0);
    summary->active_ms =
        query_int(db, "SELECT max(t_ms) FROM (SELECT t_ms FROM tick UNION ALL SELECT t_ms FROM epoch)", 0);
    summary->cpu_ms = query_int(db, "SELECT cpu_ms FROM run", 0);
    summary->peak_rss_bytes = query_int(db, "SELECT peak_rss_bytes FROM run", 0);
    summary->evaluations = query_int(db, "SELECT count(*) FROM evaluation", 0);
    summary->warnings = query_int(db, "SELECT count(*) FROM event WHERE level=20", 0);
    summary->errors = query_int(db, "SELECT count(*) FROM event WHERE level>=30", 0);
    int code = reload_metrics(db, run);
    code = code ? code : reload_architectures(db, run);
    code = code ? code : reload_trend(db, summary);
    code = code ? code : reload_best(db, summary);
    return code ? nas__fail(NAS_PARSE, "%s: is damaged: %s", path, sqlite3_errstr(code)) : NAS_OK;
}
