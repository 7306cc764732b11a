/* bench_kernels.c - see bench_kernels.h. Every kernel is a job: a function that runs it once on the four arrays that
 * all of them share. */
#include "search/bench_kernels.h"

#include "core/memory.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "search/pace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ARRAYS = 4, BATCH = 64, LEAST_RUNS = 3, MOST_RUNS = 30, TERMS = 8, FLAT = 4 << 20 };

typedef struct job {
    const nas__kernels *k;
    bool quick, max;
    float *a[ARRAYS]; /* inputs, weights or coefficients, and results, by the job */
    double *sums;
    nas__direction direction;
    nas__unit unit; /* depthwise */
    nas__conv_shape conv;
    nas__pool_shape pool;
    int n, c, hw;
    size_t room, count; /* floats of each array; of a flat one */
    void (*visit)(const nas__bench_kernel *, void *);
    void *user;
} job;

static const double none = NAN;
static const char *const passes[] = {"forward", "backward data", "backward weights"};

/* --- measuring ----------------------------------------------------------------------------------- */
static double fastest(const job *j, void (*run)(const job *)) {
    enum { ENOUGH_MS = 30 };
    double best = INFINITY, started = nas__now();
    run(j);
    for (int i = 0; i < (j->quick ? 1 : MOST_RUNS) && !nas_error_status(); i++) {
        double start = nas__now(), end;
        run(j);
        end = nas__now();
        best = fmin(best, end - start);
        if (i + 1 >= LEAST_RUNS && end - started > 1e-3 * ENOUGH_MS) {
            break;
        }
    }
    return best;
}

static void report(const job *j, nas__bench_kernel kernel) {
    if (!nas_error_status()) {
        j->visit(&kernel, j->user);
    }
}

static size_t blocked(const job *j, int n, int c, int pixels) {
    int block = j->k->block;
    return (size_t)n * ((c + block - 1) / block * block) * pixels;
}

/* --- convolutions -------------------------------------------------------------------------------- */
static void onednn_conv(const job *j) {
    const nas__conv_shape *s = &j->conv;
    if (j->direction == NAS__FORWARD) {
        nas__conv_forward(s, j->a[0], j->a[1], NULL, j->a[2]);
    } else if (j->direction == NAS__BACKWARD_DATA) {
        nas__conv_backward_data(s, j->a[2], j->a[1], j->a[3]);
    } else {
        nas__conv_backward_weights(s, j->a[0], j->a[2], j->a[3], NULL);
    }
}

static double onednn_seconds(const job *j) {
    bool fast = nas__conv_is_fast(&j->conv, j->direction == NAS__BACKWARD_DATA, j->direction == NAS__BACKWARD_WEIGHTS);
    return fast ? fastest(j, onednn_conv) : none;
}

static void own_depthwise(const job *j) {
    nas__late_grad dz = {.g = j->a[2], .scale = 1};
    nas__unit_grads g = {.x = j->a[0],
                         .dz = &dz,
                         .dx = j->direction == NAS__BACKWARD_DATA ? j->a[3] : NULL,
                         .d_depthwise = j->direction == NAS__BACKWARD_WEIGHTS ? j->a[3] : NULL};
    if (j->direction == NAS__FORWARD) {
        j->k->unit_forward(&j->unit, j->a[0], NULL, NULL, NULL, j->a[2], NULL);
    } else {
        j->k->unit_backward(&j->unit, &g);
    }
}

/* 1x1: the weights of both passes are any numbers. */
static void own_pointwise(const job *j) {
    const nas__conv_shape *s = &j->conv;
    const nas__pointwise p = {.n = s->n,
                              .parts = 1,
                              .in = s->ic,
                              .out = s->oc,
                              .h = s->ih,
                              .w = s->iw,
                              .oh = s->oh,
                              .ow = s->ow,
                              .stride = 1,
                              .weights = j->a[1],
                              .weights_t = j->a[1]};
    const float *x = j->a[0];
    nas__late_grad dz = {.g = j->a[2], .scale = 1};
    nas__pointwise_grads g = {.x = &x, .dz = &dz, .accumulate = &(bool){false}};
    if (j->direction == NAS__FORWARD) {
        j->k->pointwise_forward(&p, &x, NULL, NULL, NULL, j->a[2], NULL);
    } else {
        g.dx = j->direction == NAS__BACKWARD_DATA ? (float *[]){j->a[3]} : NULL;
        g.d_weights = j->direction == NAS__BACKWARD_WEIGHTS ? j->a[3] : NULL;
        j->k->pointwise_backward(&p, &g);
    }
}

/* 3x3: the weights are transformed anew, as they are in every step; the plain ones are any numbers. */
static void own_conv3(const job *j) {
    const nas__conv_shape *s = &j->conv;
    nas__conv3 c = {s->n, s->ic, s->oc, s->ih, s->iw, s->oh, s->ow, s->pad_h, s->pad_w};
    float *u = j->a[1];
    nas__late_grad dz = {.g = j->a[2], .scale = 1};
    nas__conv3_grads g = {.x = j->a[0], .dz = &dz, .u = u};
    if (j->direction != NAS__BACKWARD_WEIGHTS) {
        j->k->conv3_weights(&c, j->a[0], j->direction == NAS__BACKWARD_DATA, u);
    }
    if (j->direction == NAS__FORWARD) {
        j->k->conv3_forward(&c, j->a[0], NULL, u, NULL, NULL, j->a[2], NULL);
    } else {
        g.dx = j->direction == NAS__BACKWARD_DATA ? j->a[3] : NULL;
        g.dw = j->direction == NAS__BACKWARD_WEIGHTS ? j->a[3] : NULL;
        j->k->conv3_backward(&c, &g);
    }
}

/* Half of a separable convolution, with what the engine asks for: ReLU on load, moments on store; both gradients. */
static void own_unit(const job *j) {
    nas__unit u = j->unit;
    int block = j->k->block, wide = (u.in + block - 1) / block * block, taps = u.kernel_h * u.kernel_w;
    u.pointwise = u.pointwise_t = j->a[1] + (size_t)wide * taps;
    nas__on_load load = {.relu = true};
    nas__late_grad dz = {.g = j->a[2], .scale = 1};
    float *gradients = j->a[1] + (1 << 17);
    nas__unit_grads g = {.x = j->a[0],
                         .load = &load,
                         .dz = &dz,
                         .dx = j->a[3],
                         .d_depthwise = gradients,
                         .d_pointwise = gradients + (size_t)wide * taps};
    if (j->direction == NAS__FORWARD) {
        j->k->unit_forward(&u, j->a[0], &load, NULL, NULL, j->a[2], j->sums);
    } else {
        j->k->unit_backward(&u, &g);
    }
}

static void convolution(job *j, const char *name, nas__conv_shape s, void (*own)(const job *)) {
    double weights = (double)s.oc * (s.ic / s.groups) * s.kh * s.kw, pixels = (double)s.n * s.oh * s.ow;
    double x = (double)blocked(j, s.n, s.ic, s.ih * s.iw), y = (double)blocked(j, s.n, s.oc, s.oh * s.ow);
    j->conv = s;
    for (int d = NAS__FORWARD; d <= NAS__BACKWARD_WEIGHTS; d++) {
        j->direction = (nas__direction)d;
        nas__bench_kernel row = {.name = name,
                                 .pass = passes[d],
                                 .flops = 2 * pixels * weights,
                                 .bytes = sizeof(float) * (x + y + weights),
                                 .ours = own ? fastest(j, own) : none,
                                 .onednn = onednn_seconds(j)};
        snprintf(row.shape, sizeof row.shape, "%dx%dx%dx%d to %d k%d s%d d%d", s.n, s.ic, s.ih, s.iw, s.oc, s.kh,
                 s.stride, s.dilation);
        report(j, row);
    }
}

static void separable(job *j) {
    const nas__unit *s = &j->unit;
    double pixels = (double)s->n * s->oh * s->ow, weights = (double)s->in * (s->kernel_h * s->kernel_w + s->in);
    double x = (double)blocked(j, s->n, s->in, s->h * s->w), y = (double)blocked(j, s->n, s->in, s->oh * s->ow);
    for (int backward = 0; backward < 2; backward++) {
        j->direction = backward ? NAS__BACKWARD_DATA : NAS__FORWARD;
        nas__bench_kernel row = {.name = "separable unit",
                                 .pass = backward ? "backward" : passes[0],
                                 .flops = (backward ? 4 : 2) * pixels * weights,
                                 .bytes = sizeof(float) * ((backward ? 2 : 1) * x + y + weights),
                                 .ours = fastest(j, own_unit),
                                 .onednn = none};
        snprintf(row.shape, sizeof row.shape, "%dx%dx%dx%d k%d s%d d%d", s->n, s->in, s->h, s->w, s->kernel_h,
                 s->stride, s->dilation);
        report(j, row);
    }
}

static void depthwise(job *j, int c, int size, int kernel, int stride, int dilation) {
    nas__conv_shape s = nas__conv_square(j->n, c, c, size, kernel, stride, dilation, c);
    j->unit = (nas__unit){s.n,    c,      c,      size,     size,    s.oh,    s.ow,
                          kernel, kernel, stride, dilation, s.pad_h, s.pad_w, .depthwise = j->a[1]};
    convolution(j, "depthwise", s, own_depthwise);
    separable(j);
}

/* --- passes over memory: tensors in and out, of one shape ------------------------------------------- */
static void passing(const job *j, const char *name, const char *pass, double tensors, void (*own)(const job *)) {
    nas__bench_kernel row = {.name = name,
                             .pass = pass,
                             .bytes = sizeof(float) * tensors * (double)blocked(j, j->n, j->c, j->hw),
                             .ours = fastest(j, own),
                             .onednn = none};
    int size = (int)sqrt(j->hw);
    snprintf(row.shape, sizeof row.shape, "%dx%dx%dx%d", j->n, j->c, size, size);
    report(j, row);
}

static void pool_forward(const job *j) { j->k->pool_forward_late(&j->pool, j->max, j->a[0], j->a[2]); }

static void pool_backward(const job *j) {
    nas__late_grad dy = {.g = j->a[2], .scale = 1};
    j->k->pools_backward_late(&j->pool, j->a[0], j->max ? &dy : NULL, j->max ? NULL : &dy, j->a[3], false);
}

static void pools_backward(const job *j) {
    nas__late_grad dy = {.g = j->a[2], .scale = 1};
    j->k->pools_backward_late(&j->pool, j->a[0], &dy, &dy, j->a[3], false);
}

static void bn_stats(const job *j) { j->k->bn_stats(j->n, j->c, j->hw, j->a[0], j->a[1], j->a[1] + 4096); }

/* Batch norm and ReLU: values, and gradients from the sums over them, as what reads memory as it is asks for them. */
static void bn_apply(const job *j) {
    nas__on_load load = {.scale = j->a[1], .shift = j->a[1] + 4096, .relu = true};
    j->k->late_values(j->n, j->c, j->hw, j->a[0], &load, j->a[2]);
}

static void bn_backward(const job *j) {
    float *c = j->a[1];
    nas__late_grad late = {.g = j->a[2], .scale = 1, .z = j->a[0], .masked = true};
    late.a = late.mask_scale = c;
    late.b = late.mask_shift = c + 4096;
    late.k = c + 8192;
    j->k->late_sums(j->n, j->c, j->hw, &late, j->a[0], j->sums);
    j->k->late_gradient(j->n, j->c, j->hw, &late, j->a[3]);
}

/* The terms lie as far apart as the array allows, so that none is still in a near cache when the next is read. */
static void gather_terms(const job *j, nas__term *terms) {
    size_t line = 16, shift = (j->room - blocked(j, j->n, j->c, j->hw)) / TERMS / line * line;
    for (int i = 0; i < TERMS; i++) {
        terms[i] = (nas__term){.z = j->a[0] + i * shift};
    }
}

static void mixed_forward(const job *j) {
    nas__term terms[TERMS];
    gather_terms(j, terms);
    j->k->terms_forward(TERMS, terms, j->n, j->c, j->hw, j->a[1], j->a[1], j->a[2]);
}

static void mixed_backward(const job *j) {
    nas__term terms[TERMS];
    gather_terms(j, terms);
    j->k->terms_backward(TERMS, terms, j->n, j->c, j->hw, j->a[2], j->sums, j->sums + 4096);
}

static void passes_over(job *j, int c, int size) {
    j->c = c;
    j->hw = size * size;
    j->pool = (nas__pool_shape){j->n, c, size, size, size, size, 3, 1, 1, false};
    for (int max = 1; max >= 0; max--) {
        j->max = max;
        passing(j, max ? "max_pool 3x3" : "avg_pool 3x3", passes[0], 2, pool_forward);
        passing(j, max ? "max_pool 3x3" : "avg_pool 3x3", passes[1], max ? 3 : 2, pool_backward);
    }
    passing(j, "both pools 3x3", passes[1], 4, pools_backward);
    passing(j, "batch_norm statistics", passes[0], 1, bn_stats);
    passing(j, "batch_norm and relu", passes[0], 2, bn_apply);
    passing(j, "batch_norm and relu", passes[1], 5, bn_backward);
    passing(j, "mixed sum of 8", passes[0], TERMS + 1, mixed_forward);
    passing(j, "mixed sum of 8", passes[1], TERMS + 1, mixed_backward);
}

/* --- optimisers ---------------------------------------------------------------------------------- */
static void sgd(const job *j) {
    nas__sgd_args args = {.lr = 1e-9f, .momentum = 0.9f, .weight_decay = 3e-4f, .grad_scale = 1};
    j->k->sgd(j->count, &args, j->a[0], j->a[2], j->a[3]);
}

static void adam(const job *j) {
    nas__adam_args args = {.lr = 1e-9f,
                           .beta1 = 0.5f,
                           .beta2 = 0.999f,
                           .eps = 1e-8f,
                           .grad_scale = 1,
                           .correction1 = 0.5,
                           .correction2 = 0.001};
    j->k->adam(j->count, &args, j->a[0], j->a[2], j->a[3], j->a[1]);
}

static void optimisers(job *j, size_t count) {
    j->count = count;
    nas__bench_kernel row = {.pass = "update", .onednn = none};
    snprintf(row.shape, sizeof row.shape, "%zu", count);
    row.name = "sgd";
    row.bytes = 5.0 * sizeof(float) * (double)count;
    row.ours = fastest(j, sgd);
    report(j, row);
    row.name = "adam";
    row.bytes = 7.0 * sizeof(float) * (double)count;
    row.ours = fastest(j, adam);
    report(j, row);
}

/* --- all of them --------------------------------------------------------------------------------- */
static void depthwise_kernels(job *j, int c, int size) {
    for (int kernel = 3; kernel <= 7; kernel += 2) {
        for (int stride = 1; stride <= 2; stride++) {
            for (int dilation = 1; dilation <= (kernel < 7 ? 2 : 1); dilation++) {
                depthwise(j, c, size, kernel, stride, dilation);
            }
        }
    }
}

static void dense_kernels(job *j, int c, int size) {
    convolution(j, "conv 1x1", nas__conv_square(j->n, c, c, size, 1, 1, 1, 1), own_pointwise);
    convolution(j, "conv 1x1", nas__conv_square(j->n, 4 * c, c, size, 1, 1, 1, 1), own_pointwise);
    convolution(j, "conv 3x3", nas__conv_square(j->n, c, c, size, 3, 1, 1, 1), own_conv3);
    if (size > 2) {
        convolution(j, "conv 3x3", nas__conv_square(j->n, c, 2 * c, size, 3, 2, 1, 1), NULL);
    }
}

static void all(job *j) {
    static const int shapes[][2] = {{16, 32}, {32, 16}, {64, 8}, {36, 32}, {144, 8}};
    int n_shapes = j->quick ? 1 : (int)(sizeof shapes / sizeof *shapes);
    for (int i = 0; i < n_shapes && !nas_error_status(); i++) {
        int c = shapes[i][0], size = j->quick ? 8 : shapes[i][1];
        depthwise_kernels(j, c, size);
        dense_kernels(j, c, size);
        passes_over(j, c, size);
    }
    for (int c = 64, size = 32; !j->quick && c <= 512; c *= 2, size /= 2) { /* ResNet-18 */
        convolution(j, "conv 3x3", nas__conv_square(j->n, c, c, size, 3, 1, 1, 1), own_conv3);
    }
    optimisers(j, j->quick ? 4096 : FLAT);
}

nas_status nas__bench_kernels(bool quick, void (*visit)(const nas__bench_kernel *kernel, void *user), void *user) {
    /* the widest input of all is 64 x 4*36 channels x 32 x 32 */
    size_t floats = quick ? 1u << 18 : (size_t)BATCH * 160 * 32 * 32;
    job j = {
        .k = nas__kernel_table(), .quick = quick, .room = floats, .n = quick ? 2 : BATCH, .visit = visit, .user = user};
    nas__buffer *buffers[ARRAYS + 1] = {0};
    nas_status status = NAS_OK;
    for (int i = 0; i <= ARRAYS && !status; i++) {
        buffers[i] = nas__buffer_new((i < ARRAYS ? floats : 1u << 18) * sizeof(float));
        status = buffers[i] ? NAS_OK : nas_error_status();
        for (size_t k = 0; !status && k < (i < ARRAYS ? floats : 1u << 18); k++) {
            buffers[i]->data[k] = (float)(k % 61 + 1) / 61;
        }
    }
    for (int i = 0; i < ARRAYS && !status; i++) {
        j.a[i] = buffers[i]->data;
    }
    if (!status) {
        j.sums = (double *)buffers[ARRAYS]->data;
        all(&j);
    }
    for (int i = 0; i <= ARRAYS; i++) {
        nas__buffer_unref(buffers[i]);
    }
    nas__memory_trim();
    return nas_error_status();
}
