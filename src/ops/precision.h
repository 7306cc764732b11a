/* precision.h - which shapes of dense convolutions are computed in bf16. A search or training has such a choice of its
 * own, and has it in use, in its thread, while it computes; without one everything is f32. A shape is chosen once: the
 * list is part of a run's state, since another choice gives other bits. */
#ifndef OPS_PRECISION_H
#define OPS_PRECISION_H

#include "kernels/onednn.h"

#include <espalier/ops.h>

typedef enum nas__verdict { NAS__IN_BF16, NAS__NO_BF16_KERNEL, NAS__F32_IS_FASTER } nas__verdict;

typedef struct nas__precision_choice {
    nas__conv_shape shape;
    nas__verdict verdict;
} nas__precision_choice;

typedef struct nas__precision {
    nas_precision mode; /* NAS_F32 where bf16 is missing, whatever was asked for */
    nas__precision_choice *choices;
    size_t n;
} nas__precision;

nas__precision *nas__precision_new(nas_precision wanted); /* NULL and an error without memory */
void nas__precision_free(nas__precision *p);              /* NULL is fine */
/* In use by the calling thread from now on (borrowed); NULL: f32. Returns what was before. */
nas__precision *nas__precision_use(nas__precision *p);
/* An earlier choice; NAS_NO_MEMORY. */
nas_status nas__precision_choose(nas__precision *p, const nas__precision_choice *choice);

/* Is this convolution (dense, both activations blocked) one for bf16? Chooses when it comes up for the first time. */
bool nas__precision_is_bf16(const nas__conv_shape *s);
/* Has oneDNN an implementation in bf16 for all directions that is no reference? */
bool nas__bf16_is_fast(const nas__conv_shape *s);
/* "bf16 for 9 of 12 shapes of convolutions; f32 was faster for 64x16x32x32 to 16 1x1, ...". */
void nas__precision_text(const nas__precision *p, char *text, size_t size);
/* Seconds of forward and backward of such a convolution behind a ReLU, as the engine computes it, with everything that
 * comes with it: the fastest of `runs` by turns. Negative without memory. */
typedef struct nas__precision_times {
    double f32, bf16;
} nas__precision_times;
nas__precision_times nas__precision_measure(const nas__conv_shape *s, int runs);

#endif
