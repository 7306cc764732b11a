/* run_log.h - what the log of a run (run.sqlite) says. */
#ifndef TESTS_RUN_LOG_H
#define TESTS_RUN_LOG_H

/* The rows of a query as text, to be freed by the caller: a space behind each value, a line break behind each row. */
char *log_rows(const char *directory, const char *sql);
/* Fails, with a query that differs, unless the logs of two runs tell of the same search. */
void assert_same_log(const char *a, const char *b);

#endif
