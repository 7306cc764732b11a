/* phase.c - for strategies that search in phases: schedules and weights that begin anew, and an end before the last
 * epoch.
 */
#include "nn/optim.h"
#include "search/trainer.h"

#include <math.h>

void nas__search_finish(nas_search *s) { nas__trainer_of(s)->ended = 1; }

double nas__search_lr(const nas_trainer *t) {
    double length = t->phase_end - t->phase_begin;
    double progress = length > 0 ? fmin(1, fmax(0, (t->s.progress - t->phase_begin) / length)) : 1;
    return t->phase_scale * nas_schedule_lr(&t->config.schedule, nas_optimizer_lr(t->s.optimizer), progress);
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
