/* profile_measure.c - measuring random networks of a space, fixed and folded as they are deployed, and what their
 * candidates take in them. */
#include "hardware/profile.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/statistics.h"
#include "hardware/stopwatch.h"
#include "nn/module.h"
#include "space/space.h"
#include "tensor/prepared.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 2, LEAST_PASSES = 8, PASSES = 24, MOST_PASSES = 64, CANARY_FIRST = 99 };
enum { NETWORKS_PER_SAMPLE = 5 };     /* of which one has it: as many whole ones are wanted for the fit */
static const double ENOUGH_NS = 80e6; /* of the passes over one network */
enum { OF_MEASURING = 0x70726f66, OF_VALIDATION = 0x76616c69 }; /* streams of random numbers */

typedef struct session {
    const nas__profile_config *config;
    const nas__profile_engine *engine;
    nas__profile *p;
    nas_module *model; /* the supernet: made here and never run, or given and run itself */
    nas_space *space;
    bool given;
    nas_architecture *next;
    nas__profile_places places;
    nas__canary canary;
    nas_rng rng;
    double *parts; /* of the network at hand */
    int *planned;  /* per entry: how often the next network has it */
    double start, enough_ns;
    int most_passes;
} session;

/* --- one network --------------------------------------------------------------------------------------- */
static nas_module *make_fixed(session *s, const char *architecture) {
    nas_module *model = s->config->make(s->config->user);
    if (model && (nas_apply_fixed_architecture_text(model, architecture) || nas_fold_batch_norm(model, NULL))) {
        nas_module_free(model);
        return NULL;
    }
    return model;
}

static double canary_ns(session *s) {
    return s->engine->canary_ns ? s->engine->canary_ns(s->engine->user) : nas__canary_ns(&s->canary);
}

/* Every pass is followed by the canary: what they take is compared within milliseconds. samples: MOST_PASSES of the
 * whole, then of each place. How many there are; 0 and an error on failure. */
static int run_passes(session *s, void *opened, double *samples) {
    double sum = 0;
    int n = 0;
    for (int i = -WARM_UP; n < s->most_passes && (n < LEAST_PASSES || sum < s->enough_ns); i++) {
        double whole, canary;
        if (s->engine->pass(opened, s->parts, &whole) || (canary = canary_ns(s)) < 0) {
            return 0;
        }
        double factor = s->p->canary_ns / canary;
        samples[n] = factor * whole;
        for (size_t k = 0; k < s->places.n; k++) {
            samples[(k + 1) * MOST_PASSES + (size_t)n] = factor * s->parts[k];
        }
        sum += i < 0 ? 0 : whole + canary;
        n += i >= 0;
    }
    return n;
}

/* Medians over the passes, of the parts into s->parts. */
static nas_status time_model(session *s, nas_module *model, double *whole) {
    double *samples = nas__alloc((s->places.n + 1) * MOST_PASSES * sizeof *samples);
    void *opened = samples ? s->engine->open(s->engine->user, s->config, model, &s->places) : NULL;
    int n = opened ? run_passes(s, opened, samples) : 0;
    *whole = n ? nas__median(n, samples) : NAN;
    for (size_t k = 0; n && k < s->places.n; k++) {
        s->parts[k] = isnan(s->parts[k]) ? NAN : nas__median(n, samples + (k + 1) * MOST_PASSES);
    }
    s->engine->close(opened);
    free(samples);
    return nas_error_status();
}

static nas_status time_architecture(session *s, const nas_architecture *a, char **architecture, double *whole) {
    *architecture = nas__profile_choose(&s->places, a) ? NULL : nas_architecture_json(a, false);
    if (*architecture && s->given) {
        nas_architecture_apply(a, s->space);
        return time_model(s, s->model, whole);
    }
    nas_module *model = *architecture ? make_fixed(s, *architecture) : NULL;
    nas_status status = model ? time_model(s, model, whole) : nas_error_status();
    nas_module_free(model);
    return status;
}

/* --- which network is next ----------------------------------------------------------------------------- */
/* Samples of the candidate's rarest entry. */
static double samples_of(const session *s, int choice, int candidate) {
    double least = INFINITY;
    for (size_t i = 0; i < s->places.n; i++) {
        const nas__profile_place *place = &s->places.of[i];
        const nas__site *site = &s->space->sites[place->site];
        if (site->choice == choice && (nas__child_candidates(site->mutable_, place->child) >> candidate & 1)) {
            least = fmin(least, (double)(s->p->entries[place->entry].n + (size_t)s->planned[place->entry]));
        }
    }
    return least;
}

static void plan_choice(session *s, int choice) {
    const nas_choice *c = nas_space_choice(s->space, choice);
    int best = 0;
    double least = INFINITY;
    for (int k = 0; k < c->n; k++) {
        double samples = samples_of(s, choice, k) + 0.5 * nas_rng_uniform(&s->rng); /* ties by chance */
        best = samples < least ? k : best;
        least = fmin(least, samples);
    }
    nas_architecture_set(s->next, choice, (uint64_t)1 << best);
    for (size_t i = 0; i < s->places.n; i++) {
        const nas__site *site = &s->space->sites[s->places.of[i].site];
        s->planned[s->places.of[i].entry] +=
            site->choice == choice && (nas__child_candidates(site->mutable_, s->places.of[i].child) >> best & 1);
    }
}

/* By turns a random network and one of what has been measured least. */
static void plan(session *s, int networks) {
    nas_architecture_random(s->next, &s->rng);
    memset(s->planned, 0, s->p->n_entries * sizeof *s->planned);
    for (int i = 0; networks % 2 && i < nas_space_size(s->space); i++) {
        if (nas_space_choice(s->space, i)->kind == NAS_LAYER) {
            plan_choice(s, i);
        }
    }
}

/* --- the session --------------------------------------------------------------------------------------- */
static nas_status find_places(session *s) {
    const nas__profile_config *config = s->config;
    s->next = s->space ? nas_architecture_new(s->space) : NULL;
    nas_status status = s->next ? NAS_OK : nas_error_status();
    status =
        status ? status : nas__profile_places_find(&s->places, s->p, s->space, s->model, config->ndim, config->dims);
    s->parts = status ? NULL : nas__alloc((s->places.n + 1) * sizeof *s->parts);
    s->planned = s->parts ? nas__alloc(s->p->n_entries * sizeof *s->planned) : NULL;
    return nas_error_status();
}

/* What the canary takes when nothing else happens: the table's, or now. */
static nas_status know_canary(session *s) {
    double ns[CANARY_FIRST];
    for (int i = 0; i < CANARY_FIRST && !(s->p->canary_ns > 0); i++) {
        ns[i] = canary_ns(s);
        if (ns[i] < 0) {
            return nas_error_status();
        }
    }
    s->p->canary_ns = s->p->canary_ns > 0 ? s->p->canary_ns : nas__median(CANARY_FIRST, ns);
    return NAS_OK;
}

/* space, model: NULL, they are made. */
static nas_status begin(session *s, const nas__profile_config *config, uint64_t stream, nas_space *space,
                        nas_module *model) {
    *s = (session){.config = config,
                   .given = model != NULL,
                   .enough_ns = ENOUGH_NS,
                   .most_passes = PASSES,
                   .model = model ? model : config->make(config->user),
                   .engine = config->engine ? config->engine : &nas__profile_own_engine,
                   .p = config->profile,
                   .rng = nas_rng_new(config->seed, stream),
                   .start = nas__now_ns()};
    s->space = space ? space : s->model ? nas_space_new(s->model) : NULL;
    nas_status status = find_places(s);
    status = status ? status : nas__canary_open(&s->canary);
    return status ? status : know_canary(s);
}

static void end(session *s) {
    nas__canary_close(&s->canary);
    nas__profile_places_free(&s->places);
    nas_architecture_free(s->next);
    if (!s->given) {
        nas_space_free(s->space);
        nas_module_free(s->model);
    }
    free(s->parts);
    free(s->planned);
}

/* --- measuring a space --------------------------------------------------------------------------------- */
static nas_status keep(session *s, char *architecture, double whole) {
    double rest = whole;
    nas_status status = NAS_OK;
    for (size_t i = 0; !status && i < s->places.n; i++) {
        if (!isnan(s->parts[i])) {
            double ns = s->parts[i];
            rest -= ns;
            status = nas__profile_sample(s->p, s->places.of[i].entry, ns);
        }
    }
    status = status ? status : nas__profile_sample(s->p, s->places.rest, fmax(0, rest));
    if (status) {
        free(architecture);
        return status;
    }
    return nas__profile_add_network(s->p, s->places.rest, architecture, whole);
}

/* The share of the samples that there are; 1 when nothing is missing. Whole networks count, too. */
static double done(const session *s) {
    double have = 0;
    const double networks = (double)s->p->entries[s->places.rest].n;
    for (size_t i = 0; i < s->places.n; i++) {
        have += fmin(1, (double)s->p->entries[s->places.of[i].entry].n / s->config->samples);
    }
    return fmin(have / (double)s->places.n, networks / (NETWORKS_PER_SAMPLE * s->config->samples));
}

static bool enough(const session *s, int networks) {
    nas__profile_progress progress = {networks, done(s), 1e-9 * (nas__now_ns() - s->start)};
    bool on = !s->config->progress || s->config->progress(&progress, s->config->user);
    return !on || progress.done >= 1 || (networks && progress.seconds > s->config->seconds);
}

static nas_status measure_one(session *s, int networks) {
    char *architecture;
    double whole;
    plan(s, networks);
    if (time_architecture(s, s->next, &architecture, &whole)) {
        free(architecture);
        return nas_error_status();
    }
    return keep(s, architecture, whole);
}

static nas_status measure_all(session *s) {
    nas_status status = NAS_OK;
    for (int networks = 0; !status && !enough(s, networks); networks++) {
        status = measure_one(s, networks);
    }
    return status;
}

nas_status nas__profile_measure(const nas__profile_config *config) {
    session s;
    nas_status status = begin(&s, config, OF_MEASURING + config->profile->n_networks, NULL, NULL);
    status = status ? status : measure_all(&s);
    end(&s);
    return status ? nas__error_context("measuring latencies") : NAS_OK;
}

/* --- other subjects ------------------------------------------------------------------------------------ */
static nas_status freeze(const char *path, nas__parameter *p, void *user) {
    (void)path;
    (*(void (**)(nas_tensor *))user)(p->tensor);
    return NAS_OK;
}

nas_status nas__profile_supernet(const nas__profile_config *config, nas_space *space, nas_module *model) {
    session s;
    void (*action)(nas_tensor *) = nas__freeze;
    nas_status status = begin(&s, config, OF_MEASURING, space, model);
    /* weights are prepared once, as those of a network that is used */
    status = status ? status : nas__initialise_once(model);
    status = status ? status : nas__module_parameters(model, freeze, &action);
    status = status ? status : measure_all(&s);
    action = nas__thaw;
    nas__module_parameters(model, freeze, &action);
    end(&s);
    return status ? nas__error_context("measuring latencies") : NAS_OK;
}

nas_status nas__profile_validate(const nas__profile_config *config, int n, double *predicted, double *measured) {
    session s;
    nas_status status = begin(&s, config, OF_VALIDATION, NULL, NULL);
    s.enough_ns = INFINITY;
    s.most_passes = MOST_PASSES;
    nas__cost_table *t = status ? NULL : nas__profile_costs(s.p, &s.places, s.space, NULL);
    status = t ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < n; i++) {
        char *architecture;
        nas_architecture_random(s.next, &s.rng);
        status = time_architecture(&s, s.next, &architecture, &measured[i]);
        predicted[i] = 1e3 * nas__cost_of_architecture(t, s.next);
        free(architecture);
        nas__profile_progress progress = {i + 1, (double)(i + 1) / n, 1e-9 * (nas__now_ns() - s.start)};
        if (!status && config->progress && !config->progress(&progress, config->user)) {
            status = nas__fail(NAS_INTERRUPTED, "interrupted");
        }
    }
    nas__cost_table_free(t);
    end(&s);
    return status;
}

nas_status nas__profile_one(const nas__profile_config *config, nas_module *model, double *ns) {
    session s = {.config = config,
                 .engine = config->engine ? config->engine : &nas__profile_own_engine,
                 .p = config->profile,
                 .enough_ns = INFINITY,
                 .most_passes = MOST_PASSES};
    nas_status status = nas__canary_open(&s.canary);
    status = status ? status : know_canary(&s);
    status = status ? status : time_model(&s, model, ns);
    nas__canary_close(&s.canary);
    return status;
}
