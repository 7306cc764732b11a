/* darts_stop.c - ends a search before it collapses: when the dominant eigenvalue of d2 L_valid/d alpha2 grows, with the
 * alphas of before (R-DARTS, Zela et al., ICLR 2020), or when skip connections become many or the ranking of the
 * candidates rests (DARTS+, Liang et al. 2019). */
#include "nn/optim.h"
#include "search/collapse.h"
#include "search/darts.h"
#include "search/eigenvalue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_DIRECTION = 0xd1c1, KEPT = NAS__SHARP_LAG + 1, RESTED = 10 };

/* --- the alphas of the last epochs ------------------------------------------------------------------------ */
nas_status nas__darts_snapshots_new(nas_search *s) {
    nas__darts *d = s->memory;
    if (d->plan.stop != NAS__STOP_EIGENVALUE) {
        return NAS_OK;
    }
    for (int i = 0; i < d->alphas.n; i++) {
        d->snapshot_size += d->alphas.of_choice[i] ? (size_t)nas_tensor_count(d->alphas.of_choice[i]) : 0;
    }
    d->snapshots = nas__alloc(KEPT * d->snapshot_size * sizeof *d->snapshots);
    return d->snapshots ? NAS_OK : nas_error_status();
}

/* Of the n-th measurement (from 0): kept until KEPT later ones have come. */
static float *snapshot(const nas__darts *d, size_t n) { return d->snapshots + n % KEPT * d->snapshot_size; }

static void copy_alphas(const nas__darts *d, float *values, bool back) {
    for (int i = 0; i < d->alphas.n; i++) {
        nas_tensor *alpha = d->alphas.of_choice[i];
        if (alpha && back) {
            nas_tensor_write(alpha, values);
        } else if (alpha) {
            nas_tensor_read(alpha, values);
        }
        values += alpha ? nas_tensor_count(alpha) : 0;
    }
}

/* --- the eigenvalue ----------------------------------------------------------------------------------------- */
typedef struct curve {
    nas_search *s;
    bool begun;
} curve;

static nas_status differentiate(void *user) {
    curve *c = user;
    nas__darts *d = c->s->memory;
    bool same = c->begun;
    c->begun = true;
    return nas_search_pass(c->s,
                           &(nas_pass){.batch = d->arch,
                                       .grad = NAS_ROLE_ARCH,
                                       .training = true,
                                       .freeze_running = true,
                                       .same_noise = same,
                                       .decide = nas__darts_decide},
                           NULL);
}

static nas_status measure(nas_search *s, double *value) {
    nas__darts *d = s->memory;
    curve c = {.s = s};
    d->arch = nas_search_arch_batch(s);
    return d->arch ? nas__dominant_eigenvalue(&(nas__curvature){.n = d->alphas.optimizer->n,
                                                                .alphas = d->alphas.optimizer->tensors,
                                                                .differentiate = differentiate,
                                                                .user = &c,
                                                                .rng = nas_search_rng(s, PURPOSE_DIRECTION)},
                                              value)
                   : nas_error_status();
}

static void stop_at_growth(nas_search *s) {
    nas__darts *d = s->memory;
    const nas_trainer *t = nas__trainer_of(s);
    size_t n = t->n_eigenvalues;
    copy_alphas(d, snapshot(d, n - 1), false);
    double growth = nas__eigenvalue_growth(t->eigenvalues, (int)n, NAS__SHARP_FIRST);
    if (growth > NAS__SHARP) {
        copy_alphas(d, snapshot(d, n - 1 - NAS__SHARP_LAG), true);
        nas_search_note(s, NAS_LOG_INFO, "early-stop",
                        "the dominant eigenvalue grew by a factor of %.2f in %d epochs: the search ends here, with the "
                        "alphas of before",
                        growth, NAS__SHARP_LAG);
        nas__search_finish(s);
    }
}

/* --- skips and rankings --------------------------------------------------------------------------------------- */
static double mean_entropy(const nas_search *s) {
    const nas__darts *d = s->memory;
    double sum = 0, p[NAS_MAX_CANDIDATES];
    int n = 0;
    for (int i = 0; i < d->alphas.n; i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        if (choice->kind == NAS_LAYER && choice->n > 1 && nas__alphas_softmax(&d->alphas, s, i, p)) {
            for (int k = 0; k < choice->n; k++) {
                sum -= p[k] > 0 ? p[k] * log(p[k]) / log(choice->n) : 0;
            }
            n++;
        }
    }
    return n ? sum / n : 1;
}

/* A hash of the order of all candidates of all choices. */
static uint64_t ranking_of(const nas_search *s) {
    const nas__darts *d = s->memory;
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < d->alphas.n; i++) {
        double p[NAS_MAX_CANDIDATES];
        int n = nas_space_choice(s->space, i)->n;
        bool has = nas__alphas_softmax(&d->alphas, s, i, p);
        for (int k = 0; has && k < n; k++) {
            int rank = 0;
            for (int j = 0; j < n; j++) {
                rank += p[j] > p[k] || (p[j] == p[k] && j < k);
            }
            hash = (hash ^ (uint64_t)rank) * 0x100000001b3u;
        }
    }
    return hash;
}

static nas_status stop_at_skips(nas_search *s) {
    enum { SKIPS = 2 }; /* of the eight operations of a DARTS cell */
    nas__darts *d = s->memory;
    nas_architecture *a = nas_architecture_new(s->space);
    nas_status status = a ? s->strategy->derive(s, a) : nas_error_status();
    uint64_t ranking = ranking_of(s);
    d->rested = ranking == d->ranking ? d->rested + 1 : 0;
    d->ranking = ranking;
    nas__skip_count count = status ? (nas__skip_count){0} : nas__count_skips(a);
    nas_architecture_free(a);
    if (!status && count.skips >= SKIPS && count.share >= SKIPS / 8.0 && mean_entropy(s) <= NAS__UNDECIDED) {
        nas_search_note(s, NAS_LOG_INFO, "early-stop", "%d of %d operations are skip connections: the search ends here",
                        count.skips, count.layers);
        nas__search_finish(s);
    } else if (!status && d->rested >= RESTED) {
        nas_search_note(s, NAS_LOG_INFO, "early-stop",
                        "the ranking of the candidates has not changed for %d epochs: the search ends here", RESTED);
        nas__search_finish(s);
    }
    return status;
}

nas_status nas__darts_look_back(nas_search *s) {
    nas__darts *d = s->memory;
    double value = 0;
    if (nas__darts_frozen(s)) {
        return NAS_OK;
    }
    nas_status status = d->plan.eigenvalue ? measure(s, &value) : NAS_OK;
    if (!status && d->plan.eigenvalue) {
        status = nas__watch_eigenvalue(s, value);
    }
    if (!status && d->plan.stop == NAS__STOP_EIGENVALUE) {
        stop_at_growth(s);
    }
    return status || d->plan.stop != NAS__STOP_SKIPS ? status : stop_at_skips(s);
}
