/* simd_sums.h - two sums per channel, taken in parts: which images belong together never depends on the threads. */
#ifndef NAS_KERNELS_SIMD_SUMS_H
#define NAS_KERNELS_SIMD_SUMS_H

#include "kernels/simd.h"

/* Partial sums of two quantities per channel; one per group of images and channel block. */
typedef struct pair {
    double first[BLOCK], second[BLOCK];
} pair;

/* Of one block: the groups' partial sums, each group's behind one another, added in order. */
static inline pair add_groups(const pair *partial, int groups, int blocks, int block) {
    pair total = partial[block];
    for (int g = 1; g < groups; g++) {
        const pair *of_group = &partial[(size_t)g * blocks + block];
        for (int i = 0; i < BLOCK; i++) {
            total.first[i] += of_group->first[i];
            total.second[i] += of_group->second[i];
        }
    }
    return total;
}

#endif
