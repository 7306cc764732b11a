/* exported.h - networks to export: of every space, and one with every operation. */
#ifndef TESTS_EXPORTED_H
#define TESTS_EXPORTED_H

#include <espalier/io.h>
#include <espalier/space.h>

typedef struct exported {
    nas_module *model;
    nas_export_config config;
    char *architecture;
} exported;

/* A small network of a space, its architecture and weights drawn by seed, with estimates of batch norms from images;
 * signal1d has a signal, all others images. */
exported exported_space(const char *space, uint64_t seed);
/* One that has every operation that can be exported. */
exported exported_operations(void);
void exported_free(exported *e);
/* Numbers of one sample and of its outputs. */
int64_t exported_inputs(const exported *e);
int64_t exported_outputs(const exported *e);
/* What the library itself makes of n samples: as many rows of outputs. */
void exported_forward(const exported *e, int n, const float *x, float *y);

#endif
