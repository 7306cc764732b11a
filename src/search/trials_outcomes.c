/* trials_outcomes.c - a line of JSON for every trial that was judged, in the run's directory. Checkpoints are too large
 * to be written after each trial; a search that dies finds here what came of those behind its last one, also of those
 * that were done before their turn. */
#include "core/file.h"
#include "search/trials.h"
#include "io/json.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct outcome {
    int64_t number;
    uint64_t hash;
    double share, seconds, metrics[NAS__MOST_METRICS];
} outcome;

typedef struct nas__outcomes {
    outcome *list; /* of the process before */
    size_t n;
    char *path;
} nas__outcomes;

void nas__outcomes_free(nas__outcomes *o) {
    if (o) {
        free(o->list);
        free(o->path);
        free(o);
    }
}

/* --- metrics ----------------------------------------------------------------------------------------------------- */
void nas__metrics_read(const json_t *list, double *metrics) {
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value) {
        if (i < NAS__MOST_METRICS) {
            metrics[i] = json_is_number(value) ? json_number_value(value) : NAN;
        }
    }
}

json_t *nas__metrics_json(const double *metrics) {
    json_t *list = json_array();
    for (int i = 0; i < NAS__MOST_METRICS; i++) {
        json_array_append_new(list, nas__real_json(metrics[i]));
    }
    return list;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */
/* False: the line is none, or the last one, which was cut off. */
static bool read_line(const char *line, outcome *o) {
    json_t *json = json_loads(line, 0, NULL), *metrics = json_object_get(json, "metrics");
    const char *hash = json_string_value(json_object_get(json, "hash"));
    *o = (outcome){.number = json_integer_value(json_object_get(json, "trial")),
                   .hash = hash ? strtoull(hash, NULL, 16) : 0,
                   .share = json_number_value(json_object_get(json, "share")),
                   .seconds = json_number_value(json_object_get(json, "seconds"))};
    nas__metrics_read(metrics, o->metrics);
    bool whole = o->number > 0 && hash && json_array_size(metrics) == NAS__MOST_METRICS;
    json_decref(json);
    return whole;
}

static nas_status read_all(nas__outcomes *o) {
    char *text = nas__exists(o->path) ? nas__read_file(o->path, NULL) : NULL, *rest = text;
    for (char *line; rest && !nas_error_status() && (line = strsep(&rest, "\n"));) {
        outcome one;
        if (read_line(line, &one) && nas__grow(&o->list, o->n, sizeof *o->list)) {
            o->list[o->n++] = one;
        }
    }
    free(text);
    return nas_error_status();
}

/* Looks at what costs something: trainings. Without a directory there is no line. */
nas_status nas__outcomes_open(nas__trials *t) {
    const nas__trial_options *options = t->s->options;
    const char *run_dir = t->s->config->run_dir;
    if (options->evaluate != NAS__JUDGE_STANDALONE || !run_dir) {
        return NAS_OK;
    }
    nas__outcomes *o = t->outcomes = nas__alloc(sizeof *o);
    char *directory = o ? nas__join(run_dir, NAS__TRIALS_DIRECTORY) : NULL;
    nas_status status = directory ? nas__make_directory(directory) : nas_error_status();
    if (!status) {
        o->path = nas__join(directory, "outcomes.jsonl");
        status = o->path ? read_all(o) : nas_error_status();
    }
    free(directory);
    return status;
}

bool nas__outcomes_recall(const nas__trials *t, nas__trial *trial) {
    for (size_t i = 0; t->outcomes && i < t->outcomes->n; i++) {
        const outcome *o = &t->outcomes->list[i];
        if (o->number == trial->index + 1 && o->hash == trial->hash && o->share == trial->share) {
            memcpy(trial->metrics, o->metrics, sizeof trial->metrics);
            trial->seconds = o->seconds;
            return true;
        }
    }
    return false;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */
static json_t *to_json(const nas__trial *trial) {
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)trial->hash);
    return json_pack("{s:I, s:s, s:f, s:f, s:o}", "trial", (json_int_t)trial->index + 1, "hash", hash, "share",
                     trial->share, "seconds", trial->seconds, "metrics", nas__metrics_json(trial->metrics));
}

/* A line break comes first: what was cut off stands on a line of its own. One call writes all. */
static nas_status append(const char *path, const char *text) {
    char *line = nas__format("\n%s", text);
    int file = line ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    bool written = file >= 0 && write(file, line, strlen(line)) == (ssize_t)strlen(line);
    if (file >= 0) {
        close(file);
    }
    free(line);
    return written || nas_error_status() ? nas_error_status() : nas__fail(NAS_IO, "%s: cannot be written", path);
}

nas_status nas__outcomes_add(nas__trials *t, const nas__trial *trial) {
    json_t *json = t->outcomes ? to_json(trial) : NULL;
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(json);
    nas_status status = !t->outcomes ? NAS_OK
                        : text       ? append(t->outcomes->path, text)
                                     : nas__fail(NAS_NO_MEMORY, "no memory for the outcome of a trial");
    free(text);
    return status;
}
