/* kernels.c - chooses the kernel table for the running CPU, once. */
#include "kernels/kernels.h"
#include "kernels/kernel_tables.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

int nas__usable_kernel_tables(const nas__kernels *tables[3]) {
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && avx2) {
        tables[n++] = &nas__kernels_avx512;
    }
    if (avx2) {
        tables[n++] = &nas__kernels_avx2;
    }
#endif
    tables[n++] = &nas__kernels_generic;
    return n;
}

static const nas__kernels *choose(void) {
    const nas__kernels *tables[3];
    int n = nas__usable_kernel_tables(tables);
    const char *wanted = getenv("ESPALIER_ISA");
    for (int i = 0; wanted && i < n; i++) {
        if (strcmp(wanted, tables[i]->isa) == 0) {
            return tables[i];
        }
    }
    return tables[0]; /* the CPU lacks the forced one, or none was forced */
}

const nas__kernels *nas__kernel_table(void) {
    /* Threads that come first at the same time all choose the same table, so the race is harmless. */
    static _Atomic(const nas__kernels *) chosen;
    const nas__kernels *table = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!table) {
        table = choose();
        atomic_store_explicit(&chosen, table, memory_order_release);
    }
    return table;
}

bool nas__cpu_has_amx_bf16(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d; /* older compilers know no name for it: leaf 7, AMX-BF16 and AMX-TILE */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
#else
    return false;
#endif
}
