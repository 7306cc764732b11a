/* phase.c - for strategies that search in phases: schedules, weights and networks that begin anew, and an end before
 * the last epoch. */
#include "nn/optim.h"
#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>

void nas__search_finish(nas_search *s) { nas__trainer_of(s)->ended = 1; }

double nas__search_lr(const nas_trainer *t) {
    double length = t->phase_end - t->phase_begin;
    double progress = length > 0 ? fmin(1, fmax(0, (t->s.progress - t->phase_begin) / length)) : 1;
    return t->guard.rate * t->phase_scale *
           nas_schedule_lr(&t->config.schedule, nas_optimizer_lr(t->s.optimizer), progress);
}

void nas__search_schedule(nas_search *s, double begin, double end, double scale) {
    nas_trainer *t = nas__trainer_of(s);
    t->phase_begin = begin;
    t->phase_end = end;
    t->phase_scale = scale;
    s->lr = nas__search_lr(t);
}

nas_status nas__search_renew(nas_search *s, int stage) {
    nas__optimizer_forget(s->optimizer);
    nas__score_forget(nas__trainer_of(s));
    return nas_initialise(s->model, s->config->seed + ((uint64_t)stage << 32));
}

/* --- the network of a stage --------------------------------------------------------------------------- */
/* A new model with the choices of the whole one, and its space; NULL without an error: only the whole one has them. */
static nas_module *shallow_model(nas_trainer *t, double share, nas_space **space) {
    for (; share < 0.999; share += 0.1) {
        nas_module *model = t->config.stage_model(share, t->config.user);
        *space = model ? nas_space_new(model) : NULL;
        if (*space && nas_space_hash(*space) == nas_space_hash(t->whole)) {
            return model;
        }
        nas_space_free(*space);
        nas_free(model);
        if (nas_error_status()) {
            return NULL;
        }
    }
    return NULL;
}

/* The weights' optimiser, anew, for another model. */
static nas_status rebind(nas_trainer *t, nas_module *model) {
    const nas_optimizer *old = t->s.optimizer;
    nas_optimizer *o = nas__optimizer_like(old);
    nas_status status = o ? nas_initialise(model, t->config.seed) : nas_error_status();
    status = status ? status : nas_optimizer_bind_model(o, model);
    if (status) {
        nas_optimizer_free(o);
        return status;
    }
    nas_optimizer_free(t->config.optimizer);
    t->s.optimizer = t->config.optimizer = o;
    return NAS_OK;
}

nas_status nas__search_depth(nas_search *s, double share) {
    nas_trainer *t = nas__trainer_of(s);
    if (!t->config.stage_model || t->config.limits || share == t->depth) {
        return NAS_OK;
    }
    t->whole = t->whole ? t->whole : s->space;
    nas_space *space = NULL;
    nas_module *model = shallow_model(t, share, &space);
    if (nas_error_status() || !nas__grow(&t->spaces, t->n_spaces, sizeof *t->spaces) ||
        rebind(t, model ? model : t->config.model)) {
        nas_space_free(model ? space : NULL);
        nas_free(model);
        return nas_error_status();
    }
    if (s->space != t->whole) {
        t->spaces[t->n_spaces++] = s->space;
    }
    nas_free(t->stage_model);
    t->stage_model = model;
    s->model = model ? model : t->config.model;
    s->space = model ? space : t->whole;
    t->depth = share;
    nas__score_forget(t);
    nas_architecture_free(t->best); /* scores of networks of unequal depth do not compare */
    t->best = NULL;
    t->best_score = NAN;
    return NAS_OK;
}

void nas__search_depth_close(nas_trainer *t) {
    for (size_t i = 0; i < t->n_spaces; i++) {
        nas_space_free(t->spaces[i]);
    }
    if (t->whole && t->whole != t->s.space) {
        nas_space_free(t->whole);
    }
    nas_free(t->stage_model);
    free(t->spaces);
}
