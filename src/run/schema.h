/* schema.h - the SQL of run.sqlite, format 1 (docs/run-format.md), and the statements of its writer. */
#ifndef RUN_SCHEMA_H
#define RUN_SCHEMA_H

#include <espalier/core.h>

#include <sqlite3.h>

enum { NAS__RUN_APPLICATION_ID = 0x45535041, NAS__RUN_MAJOR = 1, NAS__RUN_VERSION = 100 /* major * 100 + minor */ };

typedef enum nas__statement {
    NAS__SQL_METRIC,
    NAS__SQL_TICK,
    NAS__SQL_SCALAR,
    NAS__SQL_EPOCH,
    NAS__SQL_EPOCH_METRIC,
    NAS__SQL_STAGE,
    NAS__SQL_NODE,
    NAS__SQL_MUTABLE,
    NAS__SQL_CANDIDATE,
    NAS__SQL_EDGE,
    NAS__SQL_PROBABILITY,
    NAS__SQL_ARCHITECTURE,
    NAS__SQL_EVALUATION,
    NAS__SQL_EVENT,
    NAS__SQL_SAMPLE,
    NAS__SQL_SUMMARY, /* the changing columns of the row of `run` */
    NAS__SQL_STATEMENTS
} nas__statement;
extern const char *const nas__run_sql[NAS__SQL_STATEMENTS];

/* The tables and their marks, in one script. */
extern const char nas__run_schema[];
/* Deletes every row behind epoch ?1 and step ?2; a NULL ends the list. */
extern const char *const nas__run_rewind[];

#endif
