/* random.c - Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw, SC 2011, "Parallel random numbers:
 * as easy as 1, 2, 3"): word number `position` of a stream is a pure function of (seed, stream, position). */
#include "core/random.h"

#include <math.h>

static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

nas_rng nas_rng_new(uint64_t seed, uint64_t stream) { return (nas_rng){.seed = seed, .stream = stream}; }

/* The four words at positions 4*block .. 4*block + 3. */
static void words_of(const nas_rng *rng, uint64_t block, uint32_t out[4]) {
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)rng->stream,
                           (uint32_t)(rng->stream >> 32)};
    uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    philox(counter, key, out);
}

uint32_t nas_rng_u32(nas_rng *rng) {
    uint32_t out[4];
    words_of(rng, rng->position >> 2, out);
    return out[rng->position++ & 3];
}

void nas__rng_fill(nas_rng *rng, uint32_t *words, size_t count) {
    size_t i = 0;
    for (; i < count && (rng->position & 3); i++) {
        words[i] = nas_rng_u32(rng);
    }
    for (; i + 4 <= count; i += 4, rng->position += 4) {
        words_of(rng, rng->position >> 2, words + i);
    }
    for (; i < count; i++) {
        words[i] = nas_rng_u32(rng);
    }
}

double nas_rng_uniform(nas_rng *rng) {
    uint64_t high = nas_rng_u32(rng) >> 5, low = nas_rng_u32(rng) >> 6; /* 27 + 26 = 53 bits */
    return (double)(high << 26 | low) * 0x1p-53;
}

double
nas_rng_normal(nas_rng *rng) { /* Box and Muller; the second value is given up so that a stream has no hidden state */
    double u = 1.0 - nas_rng_uniform(rng), v = nas_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint32_t nas_rng_below(nas_rng *rng, uint32_t n) {
    uint32_t limit = -n % n; /* 2^32 mod n: values below it would be favoured */
    for (;;) {
        uint32_t r = nas_rng_u32(rng);
        if (r >= limit) {
            return r % n;
        }
    }
}

int nas_rng_choose(nas_rng *rng, int n, const double *p) {
    double u = nas_rng_uniform(rng);
    int chosen = 0; /* rounding never leads to one of probability 0 */
    for (int i = 0; i < n && u >= 0; u -= p[i++]) {
        chosen = p[i] > 0 ? i : chosen;
    }
    return chosen;
}

void nas_rng_shuffle(nas_rng *rng, int32_t *a, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = nas_rng_below(rng, (uint32_t)i);
        int32_t t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}
