/* enas.h - what the two spaces of ENAS (Pham et al., ICML 2018) share. */
#ifndef SPACE_SPACES_ENAS_H
#define SPACE_SPACES_ENAS_H

#include "space/spaces/spaces.h"

/* The factorized reduction as their program has it: no ReLU before it. `out` must be even. */
nas_module *nas__enas_reduce_new(int in, int out);
/* Global average pooling, dropout, a linear layer without bias. */
nas_module *nas__enas_head(int in, double dropout, int outputs);

/* Architectures as a row of numbers. */
typedef struct nas__tokens {
    const char *text, *at;
    const char *form; /* how such a row is made, for messages */
    bool failed;
} nas__tokens;
/* The next number, of which there are `most`; -1 and an error when it is none of them, or after an error. */
int nas__tokens_next(nas__tokens *t, int most);
/* `a`, or NULL, with it freed, when something failed or is left over. */
nas_architecture *nas__tokens_end(nas__tokens *t, nas_architecture *a);

#endif
