/* summary.h - what a run is, how it is, and what to do next: for the page, `log`, `compare` and `report` alike. */
#ifndef RUN_SUMMARY_H
#define RUN_SUMMARY_H

#include "run/reader.h"

/* How a run really is. The word in the log may be that of a process that is gone. */
typedef enum nas__run_state {
    NAS__RUN_RUNNING,
    NAS__RUN_STALLED, /* the process is there but makes no progress */
    NAS__RUN_CRASHED, /* the process is gone and had no time to say so */
    NAS__RUN_STOPPED, /* by its user */
    NAS__RUN_FINISHED,
    NAS__RUN_FAILED,
    NAS__RUN_UNREADABLE
} nas__run_state;
const char *nas__run_state_word(nas__run_state state);
/* Is a process writing it, as far as can be told? */
bool nas__run_is_alive(nas__run_state state);

/* The row of a runs table (new reference), or NULL and an error:
 * {kind, name, status, status_detail, strategy, space, data, seed, created_unix_ms, elapsed_s, eta_s, epoch, epochs,
 * step, best: {score, metric, split, direction, epoch, macs, params, latency_ms, latency_kind} or null, trend: [...],
 * cpu_s, peak_rss_bytes, notes: {warn, error}, segment}. state may be NULL. */
json_t *nas__run_summary(nas__reader *r, nas__run_state *state);

/* {level: "ok"|"watch"|"broken", reasons: [{code, text, value, threshold}]} */
json_t *nas__run_health(nas__reader *r, nas__run_state state);
/* At most three of {code, text, evidence, command}; directory as the commands shall name it. */
json_t *nas__run_advice(nas__reader *r, nas__run_state state, const char *directory);

#endif
