/* simd_mix.c - the weighted sum of many tensors and its weight gradients, each tensor read once. A piece of y (or of
 * dy) stays in the first-level cache while the inputs pass by in groups. */
#include "kernels/simd_functions.h"
#include "kernels/scratch.h"

enum { INPUTS = 16, FORWARD_GROUP = 8, BACKWARD_GROUP = 4 };

/* The inputs that are there, at most INPUTS of them at once. */
typedef struct inputs {
    int n, index[INPUTS];
    const float *x[INPUTS];
    float w[INPUTS];
} inputs;

/* Takes inputs from *next on; false when none was left. */
static bool gather(inputs *in, int n_inputs, const float *const *x, const float *w, int *next) {
    in->n = 0;
    for (; *next < n_inputs && in->n < INPUTS; ++*next) {
        if (x[*next]) {
            in->index[in->n] = *next;
            in->x[in->n] = x[*next];
            in->w[in->n++] = w ? w[*next] : 1;
        }
    }
    return in->n > 0;
}

/* y (+)= the sum of n inputs over `count` floats; n is a constant in each instance. */
NAS_INLINE void sum_group(const int n, const float *const *x, const float *w, size_t from, size_t count, bool add,
                          float *y) {
    vec weight[FORWARD_GROUP];
    for (int j = 0; j < n; j++) {
        weight[j] = vset1(w[j]);
    }
    size_t i = from;
    for (; i + BLOCK <= from + count; i += BLOCK) {
        vec sum = add ? vloadu(y + i) : vzero();
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            sum = vfma(weight[j], vloadu(x[j] + i), sum);
        }
        vstoreu(y + i, sum);
    }
    for (; i < from + count; i++) {
        float sum = add ? y[i] : 0;
        for (int j = 0; j < n; j++) {
            sum += w[j] * x[j][i];
        }
        y[i] = sum;
    }
}

#define GROUPS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)

/* One function per count, to keep the weights in registers. */
#define DEFINE(N)                                                                                                      \
    static __attribute__((noinline)) void sum_##N(const float *const *x, const float *w, size_t from, size_t count,    \
                                                  bool add, float *y) {                                                \
        sum_group(N, x, w, from, count, add, y);                                                                       \
    }
GROUPS(DEFINE)

static void sum_piece(const inputs *in, size_t from, size_t count, bool add, float *y) {
    for (int first = 0; first < in->n; first += FORWARD_GROUP) {
        const float *const *x = in->x + first, *w = in->w + first;
        switch (in->n - first) {
#define CALL(N)                                                                                                        \
    case N:                                                                                                            \
        sum_##N(x, w, from, count, add, y);                                                                            \
        break;
            GROUPS(CALL)
        default:
            sum_8(x, w, from, count, add, y);
            break;
        }
        add = true;
    }
}

void NAS_SIMD(nas__mix_forward)(int n_inputs, const float *const *x, const float *w, size_t count, float *y) {
    inputs in;
    int next = 0;
    if (!gather(&in, n_inputs, x, w, &next)) {
        memset(y, 0, count * sizeof(float));
        return;
    }
    bool add = false;
    do {
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
        for (size_t from = 0; from < count; from += FLAT_PIECE) {
            sum_piece(&in, from, count - from < FLAT_PIECE ? count - from : FLAT_PIECE, add, y);
        }
        add = true;
    } while (gather(&in, n_inputs, x, w, &next));
}

/* dots[j] = <dy, x[j]> for n inputs over `count` floats; two accumulators each hide the multiply-add's latency. */
NAS_INLINE void dot_group(const int n, const float *const *x, const float *dy, size_t from, size_t count,
                          double *dots) {
    vec even[BACKWARD_GROUP], odd[BACKWARD_GROUP];
    for (int j = 0; j < n; j++) {
        even[j] = odd[j] = vzero();
    }
    const size_t to = from + count;
    size_t i = from;
    for (; i + 2 * BLOCK <= to; i += 2 * BLOCK) {
        const vec g = vloadu(dy + i), h = vloadu(dy + i + BLOCK);
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            even[j] = vfma(g, vloadu(x[j] + i), even[j]);
            odd[j] = vfma(h, vloadu(x[j] + i + BLOCK), odd[j]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        double lanes[BLOCK] = {0}, total = 0;
        fold(lanes, even[j]);
        fold(lanes, odd[j]);
        for (int k = 0; k < BLOCK; k++) {
            total += lanes[k];
        }
        for (size_t k = i; k < to; k++) {
            total += (double)dy[k] * (double)x[j][k];
        }
        dots[j] = total;
    }
}

static void dot_piece(const inputs *in, const float *dy, size_t from, size_t count, double *dots) {
    for (int first = 0; first < in->n; first += BACKWARD_GROUP) {
        const float *const *x = in->x + first;
        switch (in->n - first) {
        case 1:
            dot_group(1, x, dy, from, count, dots + first);
            break;
        case 2:
            dot_group(2, x, dy, from, count, dots + first);
            break;
        case 3:
            dot_group(3, x, dy, from, count, dots + first);
            break;
        default:
            dot_group(4, x, dy, from, count, dots + first);
            break;
        }
    }
}

/* Fills partial[piece][INPUTS], then adds the pieces in order. */
static void dot_all(const inputs *in, const float *dy, size_t count, double *partial, double *dots) {
    const size_t pieces = (count + FLAT_PIECE - 1) / FLAT_PIECE;
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t piece = 0; piece < pieces; piece++) {
        const size_t from = piece * FLAT_PIECE;
        dot_piece(in, dy, from, count - from < FLAT_PIECE ? count - from : FLAT_PIECE, partial + piece * INPUTS);
    }
    for (size_t piece = 0; piece < pieces; piece++) {
        for (int j = 0; j < in->n; j++) {
            dots[in->index[j]] += partial[piece * INPUTS + j];
        }
    }
}

void NAS_SIMD(nas__mix_backward)(int n_inputs, const float *const *x, const float *dy, size_t count, double *dots) {
    inputs in;
    int next = 0;
    for (int i = 0; i < n_inputs; i++) {
        dots[i] = 0;
    }
    nas__scratch *scratch = nas__scratch_acquire((count + FLAT_PIECE - 1) / FLAT_PIECE * INPUTS * 2);
    if (!scratch) {
        return;
    }
    while (gather(&in, n_inputs, x, NULL, &next)) {
        dot_all(&in, dy, count, (double *)nas__scratch_floats(scratch), dots);
    }
    nas__scratch_release(scratch);
}
