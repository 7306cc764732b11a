/* latency.h - what candidates of a search's space take: by the table that the configuration names, or measured when it
 * is first asked for; one table for the limits, the cost in the loss, and the objectives. */
#ifndef SEARCH_LATENCY_H
#define SEARCH_LATENCY_H

#include "hardware/cost_table.h"

#include <espalier/search.h>

/* Of any kind for the search's space; NULL and an error that says what is missing. */
nas__cost_table *nas__search_costs(nas_trainer *t, nas__cost_kind kind);

/* The best network, fixed and measured here, beside the table's prediction. */
typedef struct nas__final_latency {
    double predicted_ms, measured_ms;
    bool same_machine; /* the table is of this one, so the two compare */
} nas__final_latency;
/* NAS_NOT_FOUND without an error when there is no latency in this search, no best network, or no .new_model. */
nas_status nas__measure_final(nas_trainer *t, nas__final_latency *final);

#endif
