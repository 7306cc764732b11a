/* superkernel_fixture.h - a search over superkernels whose right answer is known. A sample is six pictures of two
 * channels, a superkernel for each, of whose result the head reads the middle pixel alone. Around the middle stand
 * pairs of dots, some 2 apart and some 4: a pair is noise, or its two signs are equal or not as a bit about the label
 * is. Dots 2 apart are within a 3x3 kernel, whose outer ring would add noise; dots 4 apart are within a 5x5 one alone.
 * (A head that reads all pixels leaves it open where a kernel has its pair: 12 of the 15 places of a row's pair touch
 * the ring.) The first half of the depthwise channels reads channel 0 only, the second half channel 1: so a bit in
 * channel 1 needs the larger expansion. Where both channels are noise, skip is right: it costs nothing. */
#ifndef TESTS_SUPERKERNEL_FIXTURE_H
#define TESTS_SUPERKERNEL_FIXTURE_H

#include <espalier/search.h>

enum { DOT_BLOCKS = 6, DOT_SIDE = 5, DOT_CHANNELS = 2 };

/* DOTS_EQUAL: every picture has its bit in channel 0, in dots 2 apart, so that all candidates but skip see as much, and
 * the first costs the least. */
typedef enum dot_task { DOTS, DOTS_SHUFFLED, DOTS_EQUAL } dot_task;

/* The right candidate of block i in the data of this seed: as they are numbered, 2*(5x5) + (expansion 6), 4 = skip. */
int dots_right(dot_task task, uint64_t seed, int i);
nas_dataset *dots_data(dot_task task, int64_t n, uint64_t seed);
/* A new network with the choices "picture0" .. "picture5". */
nas_module *dots_model(void);
/* Fixes what each half of the depthwise channels reads; once the weights are initialised. */
void dots_wire(nas_module *model);
/* How many of the choices are right. */
int dots_found(const nas_architecture *a, dot_task task, uint64_t seed);

#endif
