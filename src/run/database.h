/* database.h - run.sqlite before its writer takes it over. */
#ifndef RUN_DATABASE_H
#define RUN_DATABASE_H

#include "run/run_private.h"

/* A new database with the row of `run`, complete before it appears at path. */
nas_status nas__database_create(const char *path, const char *directory, const nas__run_info *info);
/* Opens for writing: WAL, or a rollback journal where WAL cannot work (*network). NULL and an error on failure. */
sqlite3 *nas__database_open(const char *path, bool *network);
/* Is it the log of this run, whole, of a format that we know, and is nobody writing it? */
nas_status nas__database_check(const char *path, const nas__run_info *info);
/* Deletes what is behind (epoch, step) and makes the row of `run` ours, in one transaction. */
nas_status nas__database_rewind(sqlite3 *db, const char *path, const char *directory, const nas__run_info *info,
                                int epoch, int64_t step);
/* Fills what a resumed run must know of its past: ids, architectures, segment, summary. */
nas_status nas__database_reload(sqlite3 *db, const char *path, nas__run *run, nas__summary *summary);

#endif
