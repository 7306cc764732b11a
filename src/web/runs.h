/* runs.h - the runs below a directory: found and kept up to date in the background, known by ids that never are paths.
 */
#ifndef WEB_RUNS_H
#define WEB_RUNS_H

#include "run/summary.h"

enum { NAS__RUN_ID = 13 }; /* 12 hexadecimal digits of a hash of the path below the directory, and the NUL */

typedef struct nas__runs nas__runs;
/* Called, from the thread that looks, after every look; so that streams may be woken. */
typedef void nas__runs_changed(void *user);
nas__runs *nas__runs_start(const char *directory, nas__runs_changed *changed, void *user);
/* Just these runs, wherever they are, looked at once. */
nas__runs *nas__runs_of(int n, const char *const *directories);
void nas__runs_stop(nas__runs *runs);

const char *nas__runs_directory(const nas__runs *runs);
bool nas__runs_scanning(nas__runs *runs); /* the first look is not over */
int nas__runs_count(nas__runs *runs);
/* Directory of a run (new, free()), NULL when there is none of this id. */
char *nas__runs_path(nas__runs *runs, const char *id);
/* The summary (new reference) of one run, NULL when there is none. */
json_t *nas__runs_summary(nas__runs *runs, const char *id);
/* Summaries of all (new array); of unreadable ones only id, name, path, status and status_detail. */
json_t *nas__runs_list(nas__runs *runs);
/* What changed behind *sequence, which is set to now: [["changed", summary] (new ones, too) or ["removed", {id}]]. */
json_t *nas__runs_news(nas__runs *runs, int64_t *sequence);

#endif
