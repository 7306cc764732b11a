/* superkernel_fixture.h - a search over superkernels whose right answer is known. A sample is six pictures of two
 * channels, a superkernel for each. A channel is noise, or a bit about the label: pairs of dots some pixels apart, of
 * one sign or of opposite signs. Dots 2 apart are seen together through a 3x3 kernel, dots 4 apart through a 5x5 one
 * alone. The first half of the depthwise channels reads channel 0 only, the second half channel 1: so a bit in channel
 * 1 needs the larger expansion. Where both channels are noise, skip is right: it costs nothing. */
#ifndef TESTS_SUPERKERNEL_FIXTURE_H
#define TESTS_SUPERKERNEL_FIXTURE_H

#include <espalier/search.h>

enum { DOT_BLOCKS = 6, DOT_SIDE = 12, DOT_CHANNELS = 2 };

typedef enum dot_task { DOTS, DOTS_SHUFFLED } dot_task;

/* The right candidate of block i in the data of this seed: as they are numbered, 2*(5x5) + (expansion 6), 4 = skip. */
int dots_right(uint64_t seed, int i);
nas_dataset *dots_data(dot_task task, int64_t n, uint64_t seed);
/* A new network with the choices "picture0" .. "picture5". */
nas_module *dots_model(void);
/* Fixes what each half of the depthwise channels reads; once the weights are initialised. */
void dots_wire(nas_module *model);
/* How many of the choices are right: skip, the expansion, and a kernel that is large enough. (A pair that a 3x3 kernel
 * sees fits into a 5x5 one in more than one way; weights that have settled there are of use.) */
int dots_found(const nas_architecture *a, uint64_t seed);

#endif
