/* api.h - a resource of the HTTP API: from the parameters of a request to JSON (docs/http-api.md). Knows nothing of
 * connections. */
#ifndef WEB_API_H
#define WEB_API_H

#include "web/runs.h"

/* One request for a resource. */
typedef struct nas__call {
    nas__runs *runs;
    char id[NAS__RUN_ID]; /* of the run in the URL; "" in resources that have none */
    char *directory;      /* of that run */
    nas__reader run;      /* of that run, opened */
    const char *rest;     /* what follows the resource's name in the path, such as an architecture's id; "" */
    const char *(*parameter)(void *user, const char *name); /* of the query; NULL when it is not there */
    void *user;
    int status; /* of HTTP; 0: all is well */
    json_t *error;
} nas__call;

typedef struct nas__resource {
    const char *name; /* "/api/runs", or below a run "series" */
    bool of_run, has_rest;
    json_t *(*get)(nas__call *call);
} nas__resource;
extern const nas__resource nas__resources[];
extern const int nas__n_resources;

/* The answer to the path (new), or call->status and call->error. */
json_t *nas__api_get(nas__call *call, const char *path);

/* Notes an error of the request; returns NULL. */
json_t *nas__api_fail(nas__call *call, int status, const char *code, const char *message, const char *hint);
/* The same from the pending error of a database. */
json_t *nas__api_failed(nas__call *call);

/* A parameter as a number within [min, max]; `otherwise` when it is not there. Wrong ones fail the call. */
int64_t nas__api_int(nas__call *call, const char *name, int64_t otherwise, int64_t min, int64_t max);
/* A parameter as the index of one of the words (NULL behind the last); -1 and a failed call for any other. */
int nas__api_word(nas__call *call, const char *name, int otherwise, const char *const *words);
/* Text of a parameter, or "". */
const char *nas__api_text(nas__call *call, const char *name);
/* All rows of a query as {"columns": {...}}. */
json_t *nas__api_columns(nas__call *call, const char *sql, int n, const int64_t *values, int64_t limit);

/* {step, epoch, evaluation, event, sample}: where a run is now. */
json_t *nas__api_cursors(nas__reader *run);

/* --- the resources ------------------------------------------------------------------------------------- */
json_t *nas__get_server(nas__call *call);
json_t *nas__get_runs(nas__call *call);
json_t *nas__get_compare(nas__call *call);
json_t *nas__get_run(nas__call *call);
json_t *nas__get_space(nas__call *call);
json_t *nas__get_series(nas__call *call);
json_t *nas__get_epochs(nas__call *call);
json_t *nas__get_probabilities(nas__call *call);
json_t *nas__get_architectures(nas__call *call);
json_t *nas__get_events(nas__call *call);
json_t *nas__get_samples(nas__call *call);
json_t *nas__get_profile(nas__call *call);
json_t *nas__get_file(nas__call *call);

/* Limits that /api/server states and the resources keep. */
enum { NAS__MOST_POINTS = 4000, NAS__MOST_VALUES = 500000, NAS__MOST_ARCHITECTURES = 100000, NAS__MOST_STREAMS = 128 };

#endif
