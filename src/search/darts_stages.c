/* darts_stages.c - searches in stages, each with fewer candidates: P-DARTS (Chen et al., ICCV 2019), where the network
 * grows and all weights begin anew, and DrNAS (Chen et al., ICLR 2021), where they go on with more channels. */
#include "search/darts.h"

#include <math.h>
#include <string.h>

/* The candidate `none` of a choice that the search is without; -1: there is none such. A Dirichlet search keeps it
 * where it is how an edge is dropped; sigmoids have their threshold for that. */
static int left_out(const nas_search *s, int i) {
    const nas__darts *d = s->memory;
    const nas_choice *choice = nas_space_choice(s->space, i);
    bool leave = d->plan.without_none && choice->kind == NAS_LAYER && choice->n > 1 &&
                 (d->plan.mix == NAS__MIX_SIGMOID || d->alphas.behind_input[i]);
    for (int k = 0; leave && k < choice->n; k++) {
        if (strcmp(choice->names[k], "none") == 0) {
            return k;
        }
    }
    return -1;
}

void nas__darts_restrict(nas_search *s) {
    nas__darts *d = s->memory;
    for (int i = 0; i < d->alphas.n; i++) {
        int none = left_out(s, i);
        d->alphas.allowed[i] &= none >= 0 ? ~((uint64_t)1 << none) : ~(uint64_t)0;
    }
}

/* --- where in the search ------------------------------------------------------------------------------ */
static double stage_begins(const nas__darts *d, int64_t stage) {
    return nas__darts_selection_begins(d) * (double)stage / d->plan.stages;
}

double nas__darts_stage_progress(const nas_search *s) {
    const nas__darts *d = s->memory;
    double begin = stage_begins(d, d->stage), end = stage_begins(d, d->stage + 1);
    return fmin(1, fmax(0, (s->progress - begin) / (end - begin)));
}

bool nas__darts_frozen(const nas_search *s) {
    const nas__darts *d = s->memory;
    return d->plan.frozen_epochs > 0 ? s->epoch - d->stage_epoch < d->plan.frozen_epochs
                                     : nas__darts_stage_progress(s) < d->plan.frozen;
}

/* --- the next stage -------------------------------------------------------------------------------------- */
/* The strongest of a choice's candidates, `keep` of those that it began with. */
static uint64_t strongest(const nas_search *s, int choice, int keep) {
    const nas__darts *d = s->memory;
    double p[NAS_MAX_CANDIDATES];
    uint64_t kept = 0;
    int n = nas_space_choice(s->space, choice)->n;
    nas__alphas_strengths(&d->alphas, s, choice, p);
    for (int taken = 0; taken < keep; taken++) {
        int best = -1;
        for (int k = 0; k < n; k++) {
            if (((d->alphas.allowed[choice] & ~kept) >> k & 1) && (best < 0 || p[k] > p[best])) {
                best = k;
            }
        }
        kept |= best < 0 ? 0 : (uint64_t)1 << best;
    }
    return kept;
}

static void drop_weakest(nas_search *s, int64_t stage) {
    nas__darts *d = s->memory;
    for (int i = 0; i < d->alphas.n; i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        if (choice->kind == NAS_LAYER && d->alphas.of_choice[i]) {
            int keep = (int)ceil(d->plan.keep[stage] * (choice->n - (left_out(s, i) >= 0)) - 1e-9);
            d->alphas.allowed[i] = strongest(s, i, keep > 0 ? keep : 1);
        }
    }
}

/* P-DARTS: 5, 11 and 17 cells. Stages that go on with their weights have one network. */
nas_status nas__darts_deepen(nas_search *s) {
    static const double shares[NAS__DARTS_STAGES] = {5.0 / 17, 11.0 / 17, 1};
    const nas__darts *d = s->memory;
    return d->plan.fresh && d->plan.stages > 1
               ? nas__search_depth(s, shares[NAS__DARTS_STAGES - d->plan.stages + d->stage])
               : NAS_OK;
}

static nas_status next_stage(nas_search *s) {
    nas__darts *d = s->memory;
    d->stage++;
    d->stage_epoch = s->epoch;
    drop_weakest(s, d->stage);
    nas_search_note(s, NAS_LOG_INFO, "stage", "stage %d of %d: %.0f %% of the candidates go on", (int)d->stage + 1,
                    d->plan.stages, 100 * d->plan.keep[d->stage]);
    if (!d->plan.fresh) {
        return NAS_OK;
    }
    nas__alphas_restart(&d->alphas, s, 1e-3, (uint64_t)d->stage);
    nas_status status = nas__darts_deepen(s);
    return status ? status : nas__search_renew(s, (int)d->stage);
}

nas_status nas__darts_begin_epoch(nas_search *s) {
    nas__darts *d = s->memory;
    nas_status status = NAS_OK;
    while (!status && d->stage + 1 < d->plan.stages && s->progress >= stage_begins(d, d->stage + 1) - 1e-9) {
        status = next_stage(s);
    }
    /* Learning rates begin anew with each stage, and at a tenth where edges are decided. */
    double selection = nas__darts_selection_begins(d);
    if (s->progress >= selection) {
        nas__search_schedule(s, selection, 1, 0.1);
    } else {
        nas__search_schedule(s, stage_begins(d, d->stage), stage_begins(d, d->stage + 1), 1);
    }
    return status;
}
