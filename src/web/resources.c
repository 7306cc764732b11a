/* resources.c - the table of resources, and how a path finds its row. */
#include "web/api.h"
#include "core/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const nas__resource nas__resources[] = {
    {"/api/server", false, false, nas__get_server},
    {"/api/runs", false, false, nas__get_runs},
    {"/api/compare", false, false, nas__get_compare},
    {"", true, false, nas__get_run},
    {"space", true, false, nas__get_space},
    {"series", true, false, nas__get_series},
    {"epochs", true, false, nas__get_epochs},
    {"probabilities", true, false, nas__get_probabilities},
    {"architectures", true, true, nas__get_architectures},
    {"events", true, false, nas__get_events},
    {"samples", true, false, nas__get_samples},
    {"profile", true, false, nas__get_profile},
    {"files", true, true, nas__get_file},
};
const int nas__n_resources = sizeof nas__resources / sizeof *nas__resources;

/* --- errors -------------------------------------------------------------------------------------------- */
json_t *nas__api_fail(nas__call *call, int status, const char *code, const char *message, const char *hint) {
    if (!call->status) {
        call->status = status;
        call->error = json_pack("{s:{s:s, s:s, s:s}}", "error", "code", code, "message", message, "hint", hint);
    }
    return NULL;
}

json_t *nas__api_failed(nas__call *call) {
    const char *message = nas_error_message();
    switch (nas_error_status()) {
    case NAS_UNSUPPORTED:
        nas__api_fail(call, 503, "newer_format", message, "look at it with the version of espalier that wrote it");
        break;
    case NAS_PARSE:
        nas__api_fail(call, 500, "damaged", message, "the run cannot be shown; others are unaffected");
        break;
    case NAS_NOT_FOUND:
        nas__api_fail(call, 404, "run_not_found", message, "it may have been deleted or moved");
        break;
    default:
        nas__api_fail(call, 503, "unreadable", message, "try again in two seconds");
    }
    nas_error_clear();
    return NULL;
}

/* --- parameters ----------------------------------------------------------------------------------------- */
const char *nas__api_text(nas__call *call, const char *name) {
    const char *value = call->parameter(call->user, name);
    return value ? value : "";
}

int64_t nas__api_int(nas__call *call, const char *name, int64_t otherwise, int64_t min, int64_t max) {
    const char *text = nas__api_text(call, name);
    char *end;
    if (!*text) {
        return otherwise;
    }
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || value < min || value > max) {
        char message[160];
        snprintf(message, sizeof message, "%s takes a whole number from %lld to %lld", name, (long long)min,
                 (long long)max);
        nas__api_fail(call, 400, "bad_parameter", message, "docs/http-api.md lists the parameters");
        return otherwise;
    }
    return value;
}

int nas__api_word(nas__call *call, const char *name, int otherwise, const char *const *words) {
    const char *text = nas__api_text(call, name);
    char message[256];
    int n = snprintf(message, sizeof message, "%s takes one of", name);
    for (int i = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) {
            return i;
        }
        n += snprintf(message + n, sizeof message - (size_t)n, " %s", words[i]);
    }
    if (*text) {
        nas__api_fail(call, 400, "bad_parameter", message, "docs/http-api.md lists the parameters");
        return -1;
    }
    return otherwise;
}

json_t *nas__api_columns(nas__call *call, const char *sql, int n, const int64_t *values, int64_t limit) {
    sqlite3_stmt *s = call->status ? NULL : nas__reader_query(&call->run, sql, n, values);
    json_t *columns = s ? nas__columns_json(&call->run, s, limit) : NULL;
    if (!columns) {
        return nas_error_status() ? nas__api_failed(call) : NULL;
    }
    return json_pack("{s:o}", "columns", columns);
}

/* --- routing --------------------------------------------------------------------------------------------- */
static const char of_runs[] = "/api/runs/";

static const nas__resource *find(const char *path, bool of_run, const char **rest) {
    for (int i = 0; i < nas__n_resources; i++) {
        const nas__resource *resource = &nas__resources[i];
        size_t n = strlen(resource->name);
        if (resource->of_run != of_run || strncmp(path, resource->name, n)) {
            continue;
        }
        *rest = path[n] == '/' ? path + n + 1 : path + n;
        if (!path[n] || (resource->has_rest && path[n] == '/' && **rest)) {
            return resource;
        }
    }
    return NULL;
}

/* Of "/api/runs/ID/rest": ID, checked to be one, and the rest. */
static const char *split_id(const char *path, char id[NAS__RUN_ID]) {
    size_t n = strspn(path, "0123456789abcdef");
    if (n != NAS__RUN_ID - 1 || (path[n] && path[n] != '/')) {
        return NULL;
    }
    memcpy(id, path, n);
    id[n] = 0;
    return path[n] ? path + n + 1 : path + n;
}

static json_t *get_of_run(nas__call *call, const char *path) {
    const char *inner = split_id(path + sizeof of_runs - 1, call->id);
    const nas__resource *resource = inner ? find(inner, true, &call->rest) : NULL;
    call->directory = resource ? nas__runs_path(call->runs, call->id) : NULL;
    if (inner && !resource) {
        return nas__api_fail(call, 404, "not_found", "a run has no such resource", "docs/http-api.md lists them");
    }
    if (!call->directory && nas__runs_scanning(call->runs)) {
        return nas__api_fail(call, 503, "scanning", "the runs are still being looked for", "try again in two seconds");
    }
    if (!call->directory) {
        return nas__api_fail(call, 404, "run_not_found", "there is no run of this id", "/api/runs lists the runs");
    }
    if (nas__reader_open(&call->run, call->directory)) {
        return nas__api_failed(call);
    }
    return resource->get(call);
}

json_t *nas__api_get(nas__call *call, const char *path) {
    nas_error_clear();
    call->rest = "";
    json_t *answer = NULL;
    if (!strncmp(path, of_runs, sizeof of_runs - 1)) {
        answer = get_of_run(call, path);
        nas__reader_close(&call->run);
        free(call->directory);
        call->directory = NULL;
    } else {
        const nas__resource *resource = find(path, false, &call->rest);
        answer = resource ? resource->get(call)
                          : nas__api_fail(call, 404, "not_found", "there is no such resource",
                                          "docs/http-api.md lists them");
    }
    if (call->status) { /* half an answer is none */
        json_decref(answer);
        answer = NULL;
    } else if (!answer) {
        nas__api_failed(call);
    }
    nas_error_clear();
    return answer;
}
