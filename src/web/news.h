/* news.h - what is new in one run since a cursor, as text of server-sent events. */
#ifndef WEB_NEWS_H
#define WEB_NEWS_H

#include "run/summary.h"
#include "web/runs.h"

/* How far a client has seen a run. */
typedef struct nas__cursor {
    int64_t segment, epoch, event, head; /* head: the newest step or sample, whichever was seen */
    int state;                           /* nas__run_state, -1: none told */
    bool greeted;
} nas__cursor;

/* A run that somebody follows: its log stays open. What is new is the same for all clients at the same place, so the
 * last answer is kept. Guarded by the hub's mutex. */
typedef struct nas__followed {
    char id[NAS__RUN_ID], *directory;
    nas__reader run;
    int64_t version; /* of the data, as SQLite counts */
    int users;
    nas__cursor memo_from, memo_to;
    char *memo;
    struct nas__followed *next;
} nas__followed;

bool nas__followed_open(nas__followed *f, const char *id, const char *directory);
void nas__followed_close(nas__followed *f);
/* Has something been written since the last call? */
bool nas__followed_changed(nas__followed *f);
/* Lets the next call read anew: a run may be dead without having written anything. */
void nas__followed_forget(nas__followed *f);
/* Appends events behind the cursor to *text (realloc()ed) and moves the cursor. */
void nas__followed_news(nas__followed *f, nas__cursor *cursor, char **text);

/* Appends "event: NAME", "id: ID" (if not NULL), "data: JSON"; takes data over. */
void nas__event_append(char **text, const char *name, const char *id, json_t *data);

#endif
