/* hub.h - streams of server-sent events: what is new in runs, or in the list of them (docs/http-api.md). A client is a
 * cursor into the database: nothing is queued for it, so a slow one is no burden. */
#ifndef WEB_HUB_H
#define WEB_HUB_H

#include "web/runs.h"

#include <microhttpd.h>

typedef struct nas__hub nas__hub;
nas__hub *nas__hub_start(void);
/* The runs whose list and directories the streams follow; once, before the first stream. */
void nas__hub_watch(nas__hub *hub, nas__runs *runs);
/* Says good-bye to all clients, so that their connections end. */
void nas__hub_finish(nas__hub *hub);
void nas__hub_free(nas__hub *hub);
/* Lets every client look whether there is news. */
void nas__hub_wake(nas__hub *hub);

/* A response that never ends. ids: "a,b" or "" for the list of runs; last_id: of the last event that the client got, or
 * NULL. NULL and *status of HTTP: 404 unknown run, 503 too many. */
struct MHD_Response *nas__hub_open(nas__hub *hub, struct MHD_Connection *c, const char *ids, const char *last_id,
                                   int *status);

#endif
