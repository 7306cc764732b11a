/* export.c - the best architecture found, and beside it what is known about it. */
#include "search/trainer.h"
#include "core/file.h"
#include "io/json.h"

#include <jansson.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

char *nas__canonical(const nas_trainer *t, const nas_architecture *a) {
    return nas__canonical_name(t->config.space_name, a);
}

/* Of each limit: what is allowed, and what the best one has (latencies in milliseconds). */
static json_t *limits_json(nas_trainer *t) {
    json_t *all = json_object();
    for (int i = 0; i < t->limits.n; i++) {
        const nas__limit *limit = &t->limits.of[i];
        bool latency = limit->kind == NAS__COST_LATENCY;
        double unit = latency ? 1e3 : 1;
        json_object_set_new(
            all, latency ? "latency_ms" : nas__cost_name(limit->kind),
            json_pack("{s:f, s:f}", "limit", limit->most / unit, "value", nas__limit_cost(t, i, t->best) / unit));
    }
    return all;
}

/* Of the row that was found: what was seen, what is true, and what random networks would have led to. */
static json_t *truth_json(const nas_trainer *t) {
    const nas__truth *truth = t->truth;
    const nas__truth_row *row = nas__truth_of(truth, t->config.space_name, t->best);
    if (!row) {
        return json_null();
    }
    double networks = (double)truth->n, q = (double)nas__truth_as_good(truth, row->truth) / networks;
    int64_t better = nas__truth_better(truth, row->truth);
    return json_pack("{s:s, s:I, s:f, s:f, s:I, s:f, s:f, s:f, s:o, s:f}", "file", truth->path, "networks",
                     (json_int_t)truth->n, "seen", row->seen, "truth", row->truth, "rank", (json_int_t)better + 1,
                     "percentile", 100 * (1 - (double)better / networks), "best", nas__truth_best(truth), "share", q,
                     "best_of_random", nas__real_json(nas__truth_best_of(truth, t->evaluations)), "chance_of_random",
                     1 - pow(1 - q, t->evaluations));
}

static char *describe(nas_trainer *t) {
    char hash[17], *text = nas__canonical(t, t->best);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)nas_space_hash(t->s.space));
    const nas_metric *metric = &t->config.metrics[0];
    json_t *root =
        json_pack("{s:s, s:s?, s:s, s:s, s:o, s:s, s:s, s:b, s:i, s:i, s:i, s:I}", "strategy", t->s.strategy->name,
                  "space", t->config.space_name, "space_hash", hash, "canonical", text ? text : "", "score",
                  nas__real_json(t->best_score), "metric", metric->name, "split", t->truth ? "table" : "valid",
                  "lower_is_better", metric->lower_is_better, "epoch", t->best_epoch, "epochs", t->s.epoch,
                  "evaluations", t->evaluations, "seed", (json_int_t)t->config.seed);
    json_object_set_new(root, "valid_images", json_integer(t->score_images));
    json_object_set_new(root, "score_steps", json_integer(t->settle_steps));
    if (root && t->limits.n) {
        json_object_set_new(root, "limits", limits_json(t));
    }
    if (root && t->truth) {
        json_object_set_new(root, "table", truth_json(t));
    }
    char *dump = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(root);
    free(text);
    return dump;
}

static nas_status write_line(const char *path, const char *text) {
    char *line = nas__format("%s\n", text);
    nas_status status = line ? nas__write_file(path, line, strlen(line)) : nas_error_status();
    free(line);
    return status;
}

nas_status nas_trainer_export(nas_trainer *t, const char *path) {
    if (!t->best) {
        return nas__fail(NAS_USAGE, "nothing was scored yet: run nas_trainer_train first (a search that is stopped in "
                                    "its first steps has no result)");
    }
    if (nas_rank() > 0) {
        return NAS_OK;
    }
    char *copy = nas__strdup(path), *directory = copy ? dirname(copy) : NULL;
    char *beside = directory ? nas__join(directory, "search-result.json") : NULL;
    char *architecture = nas_architecture_json(t->best, true), *result = describe(t);
    nas_status status = beside && architecture && result ? nas__make_directory(directory) : NAS_NO_MEMORY;
    status = status ? status : write_line(path, architecture);
    status = status ? status : write_line(beside, result);
    free(copy);
    free(beside);
    free(architecture);
    free(result);
    return status;
}
