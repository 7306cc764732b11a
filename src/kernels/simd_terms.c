/* simd_terms.c - sums of many tensors with coefficients per channel, some of them pooled on the way, and the products
 * that their backward pass needs. A chunk of y (or of dy) stays near the core while the terms pass by in groups; pooled
 * terms exist only as long as their chunk. */
#include "kernels/simd_pool.h"
#include "kernels/scratch.h"
#include "kernels/simd_ahead.h"
#include "kernels/tasks.h"

/* While one chunk is computed the next one is fetched, since the processor's own prefetching loses its way where one
 * stream makes room for the other. All pooled chunks together must stay in a core's second-level cache. */
enum { CHUNK = AHEAD_PIXELS, POOLED_FLOATS = 1 << 17, FORWARD_GROUP = 8, BACKWARD_GROUP = 4 };

/* The place of a term whose pooling another term computes. */
enum { WITH_OTHER = -1 };

/* A term as the chunks are read from it. */
typedef struct stream {
    const float *z;
    size_t plane; /* floats */
    const nas__pool_shape *pool;
    bool max;
    int slot;    /* pooled: the number of its chunk in scratch memory */
    int partner; /* pooled: the term that is the other pooling of the same windows, itself if none, WITH_OTHER */
} stream;

typedef struct terms {
    int n, cb, hw, chunk; /* chunk: pixels; whole rows of pooled terms */
    int pooled, width;    /* width of a row of pooled terms, or 1 */
    nas__scratch *scratch, *desks;
    double *partial; /* the number asked for */
    stream *streams;
} terms;

static bool same_windows(const nas__term *a, const nas__term *b) {
    return a->z == b->z && b->pool && a->pool->kernel == b->pool->kernel && a->pool->stride == b->pool->stride &&
           a->pool->pad == b->pool->pad && a->pool->h == b->pool->h && a->pool->w == b->pool->w;
}

static void find_partner(terms *all, const nas__term *t, int i) {
    stream *s = all->streams + i;
    if (s->partner == WITH_OTHER) {
        return;
    }
    s->partner = i;
    for (int j = i + 1; j < all->n && s->partner == i; j++) {
        if (all->streams[j].partner != WITH_OTHER && t[j].max != t[i].max && same_windows(t + i, t + j)) {
            s->partner = j;
            all->streams[j].partner = WITH_OTHER;
        }
    }
}

/* Whole rows, as equal chunks as can be. */
static int chunk_size(const terms *all) {
    const int room = all->pooled ? POOLED_FLOATS / (all->pooled * BLOCK) : CHUNK;
    const int most = (room < CHUNK ? room : CHUNK) / all->width, rows = all->hw / all->width;
    const int chunks = most < 1 ? rows : (rows + most - 1) / most;
    return (rows + chunks - 1) / chunks * all->width;
}

static void read_terms(terms *all, const nas__term *t) {
    for (int i = 0; i < all->n; i++) {
        const nas__pool_shape *pool = t[i].pool;
        all->streams[i] = (stream){.z = t[i].z, .plane = (size_t)all->hw * BLOCK, .pool = pool, .max = t[i].max};
        if (pool) {
            all->streams[i].plane = (size_t)pool->h * pool->w * BLOCK;
            all->streams[i].slot = all->pooled++;
            all->width = pool->ow;
        }
    }
    for (int i = 0; i < all->n; i++) {
        if (t[i].pool) {
            find_partner(all, t, i);
        }
    }
    all->chunk = chunk_size(all);
}

/* False, with an error, when there is no memory. */
static bool prepare(terms *all, int n_terms, const nas__term *t, int c, int hw, size_t partials) {
    *all = (terms){.n = n_terms, .cb = (c + BLOCK - 1) / BLOCK, .hw = hw, .width = 1};
    all->scratch = nas__scratch_acquire((partials * sizeof(double) + n_terms * sizeof(stream)) / sizeof(float));
    if (!all->scratch) {
        return false;
    }
    all->partial = (double *)nas__scratch_floats(all->scratch);
    all->streams = (stream *)(all->partial + partials);
    read_terms(all, t);
    all->desks =
        nas__scratch_acquire_team((size_t)all->pooled * all->chunk * BLOCK + n_terms * sizeof(float *) / sizeof(float));
    if (!all->desks) {
        nas__scratch_release(all->scratch);
    }
    return all->desks;
}

static void finish(const terms *all) {
    nas__scratch_release(all->desks);
    nas__scratch_release(all->scratch);
}

/* What one thread works with: the chunks of pooled terms, and where each term's chunk lies. */
typedef struct desk {
    float *pooled;
    const float **x;
} desk;

static desk my_desk(const terms *all) {
    float *pooled = nas__scratch_mine(all->desks);
    return (desk){pooled, (const float **)(pooled + (size_t)all->pooled * all->chunk * BLOCK)};
}

static void pool_chunk(const terms *all, int i, size_t plane, int from, int pixels, float *pooled) {
    const stream *s = all->streams + i, *other = all->streams + s->partner;
    const size_t size = (size_t)all->chunk * BLOCK;
    float *mine = pooled + s->slot * size, *others = other == s ? NULL : pooled + other->slot * size;
    NAS_SIMD(nas__pool_rows)
    (s->pool, s->z + plane * s->plane, from / all->width, (from + pixels) / all->width, s->max ? mine : others,
     s->max ? others : mine);
}

/* Points d->x to the terms' pixels from `from` on. */
static void lay_out(const terms *all, size_t plane, int from, int pixels, const desk *d) {
    for (int i = 0; i < all->n; i++) {
        const stream *s = all->streams + i;
        if (!s->pool) {
            d->x[i] = s->z + plane * s->plane + (size_t)from * BLOCK;
            continue;
        }
        d->x[i] = d->pooled + (size_t)s->slot * all->chunk * BLOCK;
        if (s->partner != WITH_OTHER) {
            pool_chunk(all, i, plane, from, pixels, d->pooled);
        }
    }
}

/* --- forward ----------------------------------------------------------------------------------- */

/* y = the sum of n terms plus `shift`, or plus y itself without; n is a constant in each instance. */
NAS_INLINE void sum_group(const int n, const float *const *x, const float *scale, size_t stride, const float *shift,
                          int pixels, float *y) {
    vec weight[FORWARD_GROUP];
    const float *from[FORWARD_GROUP];
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        weight[j] = vload(scale + j * stride);
        from[j] = x[j];
    }
    const vec start = shift ? vload(shift) : vzero();
    for (ptrdiff_t i = 0; i < (ptrdiff_t)pixels * BLOCK; i += BLOCK) {
        vec sum = shift ? start : vload(y + i);
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            sum = vfma(weight[j], vload(from[j] + i), sum);
            ahead_of(from[j] + i);
        }
        vstore(y + i, sum);
    }
}

#define GROUPS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)

/* One function per count, to keep the weights in registers. */
#define DEFINE(N)                                                                                                      \
    static __attribute__((noinline)) void sum_##N(const float *const *x, const float *scale, size_t stride,            \
                                                  const float *shift, int pixels, float *y) {                          \
        sum_group(N, x, scale, stride, shift, pixels, y);                                                              \
    }
GROUPS(DEFINE)

static void sum_chunk(int n, const float *const *x, const float *scale, size_t stride, const float *shift, int pixels,
                      float *y) {
    int first = 0;
    do {
        const float *const *from = x + first, *weights = scale + first * stride;
        switch (n - first) {
#define CALL(N)                                                                                                        \
    case N:                                                                                                            \
        sum_##N(from, weights, stride, shift, pixels, y);                                                              \
        break;
            GROUPS(CALL)
        default:
            sum_8(from, weights, stride, shift, pixels, y);
            break;
        }
        shift = NULL;
        first += FORWARD_GROUP;
    } while (first < n);
}

void NAS_SIMD(nas__terms_forward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *scale,
                                  const float *shift, float *y) {
    terms all;
    if (!prepare(&all, n_terms, t, c, hw, 0)) {
        return;
    }
    const int planes = n * all.cb;
    const size_t padded = (size_t)all.cb * BLOCK;
    nas__tasks tasks;
    nas__tasks_share(&tasks, planes);
#pragma omp parallel if ((size_t)planes * hw * BLOCK >= SERIAL_BELOW)
    {
        const desk d = my_desk(&all);
        nas__turn turn = {0};
        for (int p; (p = nas__tasks_next(&tasks, &turn)) >= 0;) {
            const int channel = p % all.cb * BLOCK;
            for (int from = 0; from < hw; from += all.chunk) {
                const int pixels = hw - from < all.chunk ? hw - from : all.chunk;
                lay_out(&all, p, from, pixels, &d);
                sum_chunk(n_terms, d.x, scale + channel, padded, shift + channel, pixels,
                          y + ((size_t)p * hw + from) * BLOCK);
            }
        }
    }
    finish(&all);
}

/* --- backward ---------------------------------------------------------------------------------- */

/* total[j] += dy * x[j] for n terms; two accumulators each hide the multiply-add's latency. */
NAS_INLINE void dot_group(const int n, const float *const *x, const float *dy, int pixels, double *total) {
    vec even[BACKWARD_GROUP], odd[BACKWARD_GROUP];
    const float *from[BACKWARD_GROUP];
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        even[j] = odd[j] = vzero();
        from[j] = x[j];
    }
    ptrdiff_t i = 0;
    const ptrdiff_t to = (ptrdiff_t)pixels * BLOCK;
    for (; i + 2 * BLOCK <= to; i += 2 * BLOCK) {
        const vec g = vload(dy + i), h = vload(dy + i + BLOCK);
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            even[j] = vfma(g, vload(from[j] + i), even[j]);
            odd[j] = vfma(h, vload(from[j] + i + BLOCK), odd[j]);
            ahead_of(from[j] + i);
            ahead_of(from[j] + i + BLOCK);
        }
    }
    const vec last = i < to ? vload(dy + i) : vzero();
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        fold(total + j * BLOCK, i < to ? vfma(last, vload(from[j] + i), even[j]) + odd[j] : even[j] + odd[j]);
    }
}

static void dot_chunk(int n, const float *const *x, const float *dy, int pixels, double *total) {
    for (int first = 0; first < n; first += BACKWARD_GROUP) {
        const float *const *from = x + first;
        double *to = total + (size_t)first * BLOCK;
        switch (n - first) {
        case 1:
            dot_group(1, from, dy, pixels, to);
            break;
        case 2:
            dot_group(2, from, dy, pixels, to);
            break;
        case 3:
            dot_group(3, from, dy, pixels, to);
            break;
        default:
            dot_group(4, from, dy, pixels, to);
            break;
        }
    }
}

static void add_pixels(const float *dy, int pixels, double *total) {
    vec sum[4] = {vzero(), vzero(), vzero(), vzero()};
    int i = 0;
    for (; i + 4 <= pixels; i += 4) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            sum[j] += vload(dy + (ptrdiff_t)(i + j) * BLOCK);
        }
    }
    for (; i < pixels; i++) {
        sum[0] += vload(dy + (ptrdiff_t)i * BLOCK);
    }
    fold(total, (sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Adds one plane's products to total[0 .. n-1][block], and its sum to total[n][block]. */
static void dot_plane(const terms *all, size_t plane, const float *dy, const desk *d, double *total) {
    for (int from = 0; from < all->hw; from += all->chunk) {
        const int pixels = all->hw - from < all->chunk ? all->hw - from : all->chunk;
        const float *chunk = dy + (plane * all->hw + from) * BLOCK;
        lay_out(all, plane, from, pixels, d);
        add_pixels(chunk, pixels, total + (size_t)all->n * BLOCK);
        dot_chunk(all->n, d->x, chunk, pixels, total);
    }
}

/* Fills partial[group][cb][n_terms + 1][block]. */
static void dot_groups(const terms *all, int n, int groups, const float *dy) {
    const size_t size = (size_t)(all->n + 1) * BLOCK;
    nas__tasks tasks;
    nas__tasks_share(&tasks, groups * all->cb);
#pragma omp parallel if ((size_t)n * all->cb * all->hw * BLOCK >= SERIAL_BELOW)
    {
        const desk d = my_desk(all);
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            const int g = task / all->cb, block = task % all->cb;
            double *total = all->partial + task * size;
            memset(total, 0, size * sizeof(double));
            for (int image = group_start(n, g, groups); image < group_start(n, g + 1, groups); image++) {
                dot_plane(all, (size_t)image * all->cb + block, dy, &d, total);
            }
        }
    }
}

void NAS_SIMD(nas__terms_backward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *dy, double *dots,
                                   double *sum) {
    const int cb = (c + BLOCK - 1) / BLOCK, groups = image_groups(n, cb);
    const size_t padded = (size_t)cb * BLOCK, size = (size_t)(n_terms + 1) * BLOCK;
    terms all;
    if (!prepare(&all, n_terms, t, c, hw, groups * cb * size)) {
        return;
    }
    dot_groups(&all, n, groups, dy);
    memset(dots, 0, n_terms * padded * sizeof(double));
    memset(sum, 0, padded * sizeof(double));
    for (int task = 0; task < groups * cb; task++) {
        for (int i = 0; i <= n_terms; i++) {
            const double *from = all.partial + task * size + (size_t)i * BLOCK;
            double *to = (i < n_terms ? dots + i * padded : sum) + task % cb * BLOCK;
            for (int j = 0; j < BLOCK; j++) {
                to[j] += from[j];
            }
        }
    }
    finish(&all);
}
