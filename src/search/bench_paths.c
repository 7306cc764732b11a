/* bench_paths.c - what a search's passes take beside the networks of the paths that they drew, round by round in turns,
 * so that what slows the machine down slows both. */
#include "search/bench_subject.h"

#include "core/statistics.h"
#include "search/registry.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PATHS = 2 * NAS__BENCH_PASSES };

typedef struct path {
    char *architecture; /* JSON */
    nas__bench_workload training;
    nas__bench_subject network;
    bool open;
    double *seconds; /* per round */
    size_t bytes;    /* the most of the rounds */
} path;

typedef struct comparison {
    nas__bench_paths *out;
    path paths[MOST_PATHS];
    int n_paths, first[NAS__BENCH_PASSES];
    double *seconds[NAS__BENCH_PASSES]; /* per round */
    int rounds, round, pass;            /* round -1: the paths are taken down */
    bool no_path;
} comparison;

/* --- which paths a pass is of ---------------------------------------------------------------------- */
/* The candidate that a choice adds to path `which` of a pass; 0: what runs is no path, or there is no such path. */
static uint64_t taken(const nas_decision *d, int which) {
    uint64_t rival = d->run & d->detached, active = d->run & ~rival, set = which && rival ? rival : active;
    return __builtin_popcountll(active) <= 1 && __builtin_popcountll(rival) <= 1 ? set : 0;
}

static int count_paths(const nas_space *space) {
    int n = 1;
    for (int i = 0; i < nas_space_size(space); i++) {
        nas_decision d = nas_decision_of(space, i);
        if (!taken(&d, 0)) {
            return 0;
        }
        n = d.run & d.detached ? 2 : n;
    }
    return n;
}

static nas_status add_path(comparison *c, const nas_trainer *t, int which) {
    path *p = &c->paths[c->n_paths];
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_status status = a ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < nas_space_size(t->s.space); i++) {
        nas_decision d = nas_decision_of(t->s.space, i);
        status = nas_architecture_set(a, i, taken(&d, which));
    }
    p->architecture = status ? NULL : nas_architecture_json(a, false);
    c->n_paths += p->architecture != NULL;
    nas_architecture_free(a);
    return p->architecture ? NAS_OK : nas_error_status();
}

static nas_status on_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    comparison *c = user;
    int k = c->pass++;
    if (c->round >= 0) {
        c->seconds[k][c->round] = t->pass_seconds;
        return NAS_OK;
    }
    int n = count_paths(t->s.space);
    c->no_path = c->no_path || !n || k == NAS__BENCH_PASSES || c->n_paths + n > MOST_PATHS;
    nas_status status = NAS_OK;
    if (!c->no_path) {
        c->out->of[k] = (nas__bench_pass){.of_weights = pass->grad == NAS_ROLE_WEIGHT, .networks = n};
        c->first[k] = c->n_paths;
    }
    for (int i = 0; !c->no_path && !status && i < n; i++) {
        status = add_path(c, t, i);
    }
    return status;
}

/* --- rounds ---------------------------------------------------------------------------------------- */
static nas_status step(comparison *c, nas__bench_subject *search) {
    size_t before = nas_memory().live_bytes;
    double loss;
    nas_memory_reset_peak();
    c->pass = 0;
    nas_status status = nas__bench_step(search, &loss);
    c->out->step_bytes = nas_memory().peak_bytes - before;
    return status;
}

static nas_status pass_of_network(path *p, int round) {
    nas__bench_subject *b = &p->network;
    const nas_batch *batch = nas__bench_next_batch(b);
    size_t before = nas_memory().live_bytes;
    double loss, start = nas__now();
    nas_memory_reset_peak();
    nas_status status =
        batch
            ? nas__weight_pass(b->tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .training = true, .step = b->step},
                               b->model, nas_cross_entropy, batch, nas_dataset_describe(b->train), &loss)
            : nas_error_status();
    if (round >= 0) {
        p->seconds[round] = nas__now() - start;
        p->bytes = nas_memory().peak_bytes - before;
    }
    nas_optimizer_zero_grad(b->optimizer);
    b->step++;
    return status;
}

static nas_status open_paths(comparison *c, const nas__bench_workload *w, const nas__bench_config *config) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < c->n_paths; i++) {
        path *p = &c->paths[i];
        p->training = *w;
        p->training.kind = NAS__BENCH_TRAINING;
        p->training.architecture = p->architecture;
        p->seconds = nas__alloc((size_t)c->rounds * sizeof *p->seconds);
        p->open = true;
        status = p->seconds ? nas__bench_open(&p->network, &p->training, config, 1) : nas_error_status();
        for (int warm = 0; !status && warm < NAS__BENCH_WARM_UP; warm++) {
            status = pass_of_network(p, -1);
        }
    }
    return status;
}

static nas_status play_rounds(comparison *c, nas__bench_subject *search) {
    nas_status status = NAS_OK;
    for (c->round = 0; !status && c->round < c->rounds; c->round++) {
        status = step(c, search);
        for (int i = 0; !status && i < c->n_paths; i++) {
            status = pass_of_network(&c->paths[i], c->round);
        }
    }
    return status;
}

/* --- what came out --------------------------------------------------------------------------------- */
static size_t weights_of(nas_module *model) {
    int64_t parameters = nas_parameter_count(model);
    return parameters > 0 ? (size_t)parameters * sizeof(float) : 0;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static nas_status summarise(comparison *c, nas__bench_subject *search) {
    nas__bench_paths *out = c->out;
    double *together = nas__alloc((size_t)c->rounds * sizeof *together),
           *ratios = nas__alloc((size_t)c->rounds * sizeof *ratios);
    for (int k = 0; together && ratios && k < out->n; k++) {
        nas__bench_pass *pass = &out->of[k];
        for (int r = 0; r < c->rounds; r++) {
            together[r] = 0;
            for (int i = 0; i < pass->networks; i++) {
                together[r] += c->paths[c->first[k] + i].seconds[r];
            }
            ratios[r] = c->seconds[k][r] / together[r];
        }
        pass->ratio = nas__median(c->rounds, ratios);
        pass->seconds = nas__median(c->rounds, c->seconds[k]);
        pass->networks_seconds = nas__median(c->rounds, together);
    }
    free(together);
    free(ratios);
    out->weights_bytes = weights_of(search->model);
    for (int i = 0; i < c->n_paths; i++) {
        out->network_bytes = larger(out->network_bytes, c->paths[i].bytes);
        out->network_weights_bytes = larger(out->network_weights_bytes, weights_of(c->paths[i].network.model));
    }
    return nas_error_status();
}

/* Alpha does not move, so that every round draws what the first one did. */
static nas_status compare(comparison *c, nas__bench_subject *search, const nas__bench_workload *w,
                          const nas__bench_config *config) {
    nas_status status = nas__bench_open(search, w, config, c->rounds + NAS__BENCH_WARM_UP);
    status = status ? status : nas__bench_rewind(search);
    if (status) {
        return status;
    }
    search->trainer->on_pass = on_pass;
    search->trainer->on_pass_user = c;
    c->round = -1;
    status = step(c, search);
    c->out->n = status || c->no_path ? 0 : c->pass;
    if (!c->out->n) {
        return status;
    }
    c->round = 0; /* once more: buffers of the first step are there now */
    status = open_paths(c, w, config);
    for (int k = 0; !status && k < c->out->n; k++) {
        c->seconds[k] = nas__alloc((size_t)c->rounds * sizeof *c->seconds[k]);
        status = c->seconds[k] ? NAS_OK : nas_error_status();
    }
    status = status ? status : step(c, search);
    status = status ? status : play_rounds(c, search);
    return status ? status : summarise(c, search);
}

static bool has_alpha(const char *strategy) {
    const nas_option *o = strategy ? nas__strategy_find(strategy)->options : NULL;
    while (o && o->name && strcmp(o->name, "alpha_lr") != 0) {
        o++;
    }
    return o && o->name;
}

nas_status nas__bench_against_paths(const nas__bench_workload *w, const nas__bench_config *config,
                                    nas__bench_paths *out) {
    enum { DEFAULT_ROUNDS = 5 };
    comparison c = {.out = out, .rounds = config->steps > 0 ? config->steps : DEFAULT_ROUNDS};
    nas__bench_subject search = {0};
    nas__bench_workload still = *w;
    *out = (nas__bench_paths){0};
    if (w->kind != NAS__BENCH_SEARCH || !has_alpha(w->strategy)) {
        return NAS_OK;
    }
    char *options = w->strategy_options ? nas__format("%s,alpha_lr=0", w->strategy_options) : nas__strdup("alpha_lr=0");
    still.strategy_options = options;
    nas_status status = options ? compare(&c, &search, &still, config) : nas_error_status();
    for (int i = 0; i < c.n_paths; i++) {
        if (c.paths[i].open) {
            nas__bench_close(&c.paths[i].network);
        }
        free(c.paths[i].seconds);
        free(c.paths[i].architecture);
    }
    for (int k = 0; k < NAS__BENCH_PASSES; k++) {
        free(c.seconds[k]);
    }
    nas__bench_close(&search);
    free(options);
    nas__memory_trim();
    return status;
}
