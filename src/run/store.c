/* store.c - the rows that a run is given, made into rows of tables. */
#include "run/run_private.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_MS = 5000 };

int64_t nas__run_t_ms(const nas__run *run) { return run->active_ms + nas__monotonic_ms() - run->started_ms; }

/* --- metrics -------------------------------------------------------------------------------------- */
int nas__run_add_metric(nas__run *run, const char *name, const char *split, const char *per) {
    nas__run_metric_key key = {nas__strdup(name ? name : ""), nas__strdup(split ? split : ""),
                               nas__strdup(per ? per : "")};
    if (!key.name || !key.split || !key.per || !nas__grow(&run->metrics, run->n_metrics, sizeof *run->metrics)) {
        free(key.name);
        free(key.split);
        free(key.per);
        return 0;
    }
    run->metrics[run->n_metrics++] = key;
    return (int)run->n_metrics;
}

int nas__run_metric(nas__run *run, const char *name, const char *split, const char *unit, int direction,
                    const char *per, bool primary) {
    if (!run) {
        return 0;
    }
    for (size_t i = 0; i < run->n_metrics; i++) {
        const nas__run_metric_key *m = &run->metrics[i];
        if (!strcmp(m->name, name) && !strcmp(m->split, split) && !strcmp(m->per, per)) {
            return (int)i + 1;
        }
    }
    int id = nas__run_add_metric(run, name, split, per);
    nas__rows rows = {0};
    if (id) {
        NAS__ROW(&rows, NAS__SQL_METRIC, primary, nas__int(id), nas__text(name), nas__text(split), nas__text(unit),
                 nas__int(direction), nas__text(per));
    }
    nas__writer_push(run->writer, &rows, false);
    return id;
}

/* --- steps and epochs ------------------------------------------------------------------------------ */
void nas__run_tick(nas__run *run, int64_t step, int epoch, int n, const int *metrics, const double *values) {
    if (!run) {
        return;
    }
    nas__rows rows = {0};
    NAS__ROW(&rows, NAS__SQL_TICK, false, nas__int(step), nas__int(epoch), nas__int(nas__run_t_ms(run)),
             nas__int(nas__unix_ms()));
    for (int i = 0; i < n; i++) {
        NAS__ROW(&rows, NAS__SQL_SCALAR, false, nas__int(metrics[i]), nas__int(step), nas__real(values[i]));
    }
    nas__writer_push(run->writer, &rows, false);
}

void nas__run_epoch(nas__run *run, const nas__run_epoch_row *row) {
    if (!run) {
        return;
    }
    nas__rows *rows = &run->held;
    NAS__ROW(rows, NAS__SQL_EPOCH, false, nas__int(row->epoch), nas__int(row->step), nas__int(nas__run_t_ms(run)),
             nas__int(nas__unix_ms()), nas__real(row->entropy), nas__real(row->skip_share), nas__int(row->rank_stable),
             nas__real(row->images_per_s),
             row->derived_architecture ? nas__int(row->derived_architecture) : nas__null_value());
    for (int i = 0; i < row->n; i++) {
        NAS__ROW(rows, NAS__SQL_EPOCH_METRIC, false, nas__int(row->epoch), nas__int(row->metrics[i]),
                 nas__real(row->values[i]));
    }
    run->last_epoch = row->epoch;
    nas__writer_push(run->writer, rows, true);
}

static void put_le32(unsigned char *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(bits >> (8 * i));
    }
}

void nas__run_probability(nas__run *run, int epoch, int choice, int n, const double *p, int argmax, double entropy) {
    unsigned char blob[4 * NAS_MAX_CANDIDATES];
    if (!run || n > NAS_MAX_CANDIDATES) {
        return;
    }
    for (int i = 0; i < n; i++) {
        put_le32(blob + 4 * i, (float)p[i]);
    }
    nas__rows now = {0};
    nas__rows *rows = epoch > run->last_epoch ? &run->held : &now;
    NAS__ROW(rows, NAS__SQL_PROBABILITY, false, nas__int(epoch), nas__int(choice + 1), nas__blob(blob, 4 * (size_t)n),
             nas__int(argmax), nas__real(entropy));
    nas__writer_push(run->writer, &now, false);
}

/* --- architectures known by their hash -------------------------------------------------------------- */
static nas__known_architecture *slot_of(const nas__run *run, uint64_t hash) {
    size_t i = (size_t)(hash * 0x9E3779B97F4A7C15ULL >> 20) & (run->known_size - 1);
    while (run->known[i].id && run->known[i].hash != hash) {
        i = (i + 1) & (run->known_size - 1);
    }
    return &run->known[i];
}

static bool make_room(nas__run *run) {
    nas__run grown = {.known_size = run->known_size ? 2 * run->known_size : 256};
    grown.known = nas__alloc(grown.known_size * sizeof *grown.known);
    if (!grown.known) {
        return false;
    }
    for (size_t i = 0; i < run->known_size; i++) {
        if (run->known[i].id) {
            *slot_of(&grown, run->known[i].hash) = run->known[i];
        }
    }
    free(run->known);
    run->known = grown.known;
    run->known_size = grown.known_size;
    return true;
}

bool nas__run_remember(nas__run *run, uint64_t hash, int64_t id) {
    if (run->n_known * 2 >= run->known_size && !make_room(run)) {
        return false;
    }
    *slot_of(run, hash) = (nas__known_architecture){hash, id};
    run->n_known++;
    return true;
}

int64_t nas__run_known(const nas__run *run, uint64_t hash) { return run->known_size ? slot_of(run, hash)->id : 0; }

/* --- the rest --------------------------------------------------------------------------------------- */
void nas__run_evaluation(nas__run *run, int64_t architecture, int epoch, int64_t step, int metric, double score,
                         int kind, double seconds, bool best) {
    if (!run) {
        return;
    }
    nas__rows rows = {0};
    NAS__ROW(&rows, NAS__SQL_EVALUATION, best, nas__int(++run->last_evaluation),
             architecture ? nas__int(architecture) : nas__null_value(), nas__int(epoch), nas__int(step),
             nas__int(nas__run_t_ms(run)), nas__int(metric), nas__real(score), nas__int(kind), nas__real(seconds));
    nas__writer_push(run->writer, &rows, false);
}

void nas__run_event(nas__run *run, nas_log_level level, const char *kind, int epoch, int64_t step,
                    const char *message) {
    if (!run) {
        return;
    }
    nas__rows rows = {0};
    NAS__ROW(&rows, NAS__SQL_EVENT, false, nas__int(nas__unix_ms()), nas__int(run->segment), nas__int(step),
             nas__int(epoch), nas__int(level), nas__text(kind), nas__null_value(), nas__text(message),
             nas__null_value());
    nas__writer_push(run->writer, &rows, false);
}

void nas__run_sample(nas__run *run, double images_per_s, double step_ms, double data_wait_ms) {
    int64_t now = run ? nas__monotonic_ms() : 0;
    if (!run || (run->sampled_ms && now - run->sampled_ms < SAMPLE_MS)) {
        return;
    }
    run->sampled_ms = now;
    nas__rows rows = {0};
    NAS__ROW(&rows, NAS__SQL_SAMPLE, false, nas__int(nas__run_t_ms(run)), nas__int(nas__unix_ms()),
             nas__int(nas__rss_bytes()), nas__int(run->cpu_before_ms + nas__cpu_ms()), nas__int(nas__process_threads()),
             nas__real(images_per_s), nas__real(step_ms), nas__real(data_wait_ms), nas__null_value());
    nas__writer_push(run->writer, &rows, false);
}
