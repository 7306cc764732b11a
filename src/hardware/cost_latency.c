/* cost_latency.c - latencies of all candidates, measured here on the model itself, at batch 1. */
#include "core/error.h"
#include "hardware/cost_table.h"
#include "hardware/profile.h"

#include <string.h>

enum { SAMPLES = 4 };
static const double MOST_SECONDS = 60;

nas_status nas__cost_measure(nas__cost_table *t, nas_space *space, nas_module *model, int ndim, const int64_t *dims) {
    nas__profile *p = nas__profile_new("this", "this", 1, nas_threads());
    if (!p) {
        return nas_error_status();
    }
    nas__profile_config config = {.profile = p, .ndim = ndim, .samples = SAMPLES, .seconds = MOST_SECONDS};
    memcpy(config.dims, dims, (size_t)ndim * sizeof *dims);
    nas__profile_places places = {0};
    nas_status status = nas__profile_supernet(&config, space, model);
    status = status ? status : nas__profile_places_find(&places, p, space, model, ndim, dims);
    nas__cost_table *measured = status ? NULL : nas__profile_costs(p, &places, space, NULL);
    if (measured) {
        t->constant = measured->constant;
        memcpy(t->cost, measured->cost, (size_t)t->first[t->n] * sizeof *t->cost);
    }
    nas__cost_table_free(measured);
    nas__profile_places_free(&places);
    nas__profile_free(p);
    return nas_error_status();
}
