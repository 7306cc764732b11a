/* block_runtime.h - what a superkernel costs as a function of its indicators (Stamoulis et al. 2019): exact for k5e3,
 * k5e6, k3e6 and skip, an approximation for k3e3. */
#ifndef SEARCH_BLOCK_RUNTIME_H
#define SEARCH_BLOCK_RUNTIME_H

#include <espalier/space.h>

#include "hardware/cost_table.h"

/* Costs of the candidates without skip, in their order: 2*(large kernel) + (large expansion). */
typedef struct nas__block_runtime {
    double of[4];
} nas__block_runtime;

/* Of a superkernel of the space; fails when a candidate costs nothing (NAS_INVALID). */
nas_status nas__block_runtime_read(nas__block_runtime *r, const nas__cost_table *t, const nas_space *space, int choice);
/* At indicators (kernel, expansion, skip); its three derivatives through slopes (may be NULL). */
double nas__block_runtime_at(const nas__block_runtime *r, const double indicators[3], double slopes[3]);
/* The same on the tape, {1}; indicators (3). Sticky. */
nas_tensor *nas__block_runtime_tensor(const nas__block_runtime *r, nas_tensor *indicators);

#endif
