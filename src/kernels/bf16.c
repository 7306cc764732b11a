/* bf16.c - whether bf16 is for this processor. */
#include "kernels/bf16.h"
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>

extern const nas__bf16_kernels nas__bf16_avx512;

const nas__bf16_kernels *nas__bf16_table(void) {
    return strcmp(nas__kernel_table()->isa, "avx512") == 0 ? &nas__bf16_avx512 : NULL;
}

/* Older compilers know no name for it: leaf 7, its second part. */
static bool has_avx512_bf16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
#else
const nas__bf16_kernels *nas__bf16_table(void) { return NULL; }
static bool has_avx512_bf16(void) { return false; }
#endif

/* ESPALIER_BF16=force: for tests, wherever vectors of f32 can stand in. */
const char *nas__bf16_missing(void) {
    const char *wish = getenv("ESPALIER_BF16");
    if (!nas__bf16_table()) {
        return "it needs AVX-512, which this processor lacks or ESPALIER_ISA takes away";
    }
    if (nas__cpu_has_amx_bf16() || has_avx512_bf16() || (wish && strcmp(wish, "force") == 0)) {
        return NULL;
    }
    return "this processor multiplies no bf16: it has neither AMX (amx_bf16) nor avx512_bf16";
}
