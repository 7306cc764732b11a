/* kernel_tables.h - the tables that exist in this build, one per instruction set. Only the dispatcher and the tests
 * look at them directly, by way of nas__usable_kernel_tables(). */
#ifndef NAS_KERNELS_KERNEL_TABLES_H
#define NAS_KERNELS_KERNEL_TABLES_H

#include "kernels/kernels.h"

extern const nas__kernels nas__kernels_generic;
#if defined(__x86_64__)
extern const nas__kernels nas__kernels_avx2;
extern const nas__kernels nas__kernels_avx512;
#endif

/* The tables that the running CPU can execute, best first; returns their number (at most 3). */
int nas__usable_kernel_tables(const nas__kernels *tables[3]);

#endif
