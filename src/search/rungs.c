/* rungs.c - see rungs.h */
#include "search/rungs.h"

enum { MOST = 4 };

nas__rungs nas__rungs_of(nas_search *s, int eta, int wanted) {
    nas__rungs r = {.n = wanted > 0 ? wanted : 1, .eta = eta};
    const nas__trial_options *o = s->options;
    bool epochs = o->evaluate == NAS__JUDGE_STANDALONE && !s->config->trial;
    for (double share = 1.0 / eta; wanted == 0 && r.n < MOST && (!epochs || share * s->config->num_epochs >= 0.999);
         share /= eta) {
        r.n++;
    }
    if (r.n == 1) {
        nas_search_note(s, NAS_LOG_WARN, "rungs",
                        "%s: %d epoch%s of training cannot be divided by eta %d, so every trial is trained whole; give "
                        "more --epochs",
                        s->strategy->name, s->config->num_epochs, s->config->num_epochs == 1 ? "" : "s", eta);
    }
    return r;
}

size_t nas__rung_size(const nas__trials *t, const nas__rungs *r, int k) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_done; i++) {
        n += !t->done[i]->repeated && nas__rung(r, t->done[i]->share) == k;
    }
    return n;
}

size_t nas__rung_place(const nas__trials *t, const nas__rungs *r, const nas__trial *trial) {
    size_t place = 0;
    bool earlier = true;
    for (size_t i = 0; i < t->n_done; i++) {
        const nas__trial *other = t->done[i];
        earlier = earlier && other != trial;
        bool rival = other != trial && !other->repeated && nas__rung(r, other->share) == nas__rung(r, trial->share);
        place += rival && (other->fitness > trial->fitness || (other->fitness == trial->fitness && earlier));
    }
    return place;
}
