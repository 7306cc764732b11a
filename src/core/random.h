/* random.h - many random words at once. */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H

#include <espalier/core.h>

/* The next `count` values of nas_rng_u32(), four for the price of one. */
void nas__rng_fill(nas_rng *rng, uint32_t *words, size_t count);

#endif
