/* Working memory of the kernels: one buffer per holder, a part per thread, and what happens when there is none. */
#include "blocked.h"

#include <espalier/nn.h>
#include <espalier/ops.h>

#include "kernels/scratch.h"

static bool out_of_memory;

/* Stands in for the C library's, in this program and all that is linked into it. */
void *aligned_alloc(size_t alignment, size_t size) {
    void *memory;
    return out_of_memory || posix_memalign(&memory, alignment, size) ? NULL : memory;
}

/* --- what every kernel does without memory --------------------------------------------------------- */
enum { SIDE = 5, PIXELS = SIDE * SIDE, CHANNELS = 3, IMAGES = 2 };

typedef struct arrays {
    float *x, *dy, *w, *out;
} arrays;

static const nas__pool_shape pool = {
    .n = IMAGES, .c = CHANNELS, .h = SIDE, .w = SIDE, .oh = SIDE, .ow = SIDE, .kernel = 3, .stride = 1, .pad = 1};

static nas__unit unit(const arrays *a) {
    return (nas__unit){.n = IMAGES,
                       .in = CHANNELS,
                       .out = CHANNELS,
                       .h = SIDE,
                       .w = SIDE,
                       .oh = SIDE,
                       .ow = SIDE,
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride = 1,
                       .dilation = 1,
                       .pad_h = 1,
                       .pad_w = 1,
                       .depthwise = a->w,
                       .pointwise = a->w,
                       .pointwise_t = a->w};
}
static void unit_forward(const nas__kernels *k, arrays *a) {
    const nas__unit u = unit(a);
    k->unit_forward(&u, a->x, NULL, NULL, NULL, a->out, NULL);
}
static void unit_backward(const nas__kernels *k, arrays *a) {
    const nas__unit u = unit(a);
    k->unit_backward(
        &u, &(nas__unit_grads){.x = a->x, .dz = &(nas__late_grad){.g = a->dy, .scale = 1}, .d_depthwise = a->out});
}
static nas__unit depthwise(const arrays *a) {
    nas__unit u = unit(a);
    u.pointwise = u.pointwise_t = NULL;
    return u;
}
static void dw_forward(const nas__kernels *k, arrays *a) {
    const nas__unit u = depthwise(a);
    k->unit_forward(&u, a->x, NULL, NULL, NULL, a->out, NULL);
}
static void dw_data(const nas__kernels *k, arrays *a) {
    const nas__unit u = depthwise(a);
    k->unit_backward(&u, &(nas__unit_grads){.x = a->x, .dz = &(nas__late_grad){.g = a->dy, .scale = 1}, .dx = a->out});
}
static void dw_weights(const nas__kernels *k, arrays *a) {
    const nas__unit u = depthwise(a);
    k->unit_backward(
        &u, &(nas__unit_grads){.x = a->x, .dz = &(nas__late_grad){.g = a->dy, .scale = 1}, .d_depthwise = a->out});
}
static const nas__pointwise pointwise = {.n = IMAGES,
                                         .parts = 1,
                                         .in = CHANNELS,
                                         .out = CHANNELS,
                                         .h = SIDE,
                                         .w = SIDE,
                                         .oh = SIDE,
                                         .ow = SIDE,
                                         .stride = 1};
static void pointwise_forward(const nas__kernels *k, arrays *a) {
    nas__pointwise p = pointwise;
    p.weights = a->w;
    k->pointwise_forward(&p, (const float *const[]){a->x}, NULL, NULL, NULL, a->out, NULL);
}
static void pointwise_backward(const nas__kernels *k, arrays *a) {
    k->pointwise_backward(&pointwise, &(nas__pointwise_grads){.x = (const float *const[]){a->x},
                                                              .dz = &(nas__late_grad){.g = a->dy, .scale = 1},
                                                              .d_weights = a->out});
}
static void late_sums(const nas__kernels *k, arrays *a) {
    double sums[2 * 16] = {0};
    k->late_sums(IMAGES, CHANNELS, PIXELS, &(nas__late_grad){.g = a->dy, .scale = 1}, a->x, sums);
    a->out[0] = (float)sums[0];
}
static void pool_sums(const nas__kernels *k, arrays *a) {
    double sums[2 * 16];
    k->pools_sums(&pool, a->x, sums, NULL);
    a->out[0] = (float)sums[0];
}
static void pool_backward(const nas__kernels *k, arrays *a) {
    k->pools_backward_late(&pool, a->x, NULL, &(nas__late_grad){.g = a->dy, .scale = 1}, a->out, false);
}
static void terms(const nas__kernels *k, arrays *a) {
    const nas__term both[] = {{a->x, NULL, false}, {a->dy, &pool, true}};
    k->terms_forward(2, both, IMAGES, CHANNELS, PIXELS, a->w, a->w, a->out);
}
static void terms_backward(const nas__kernels *k, arrays *a) {
    const nas__term both[] = {{a->x, NULL, false}, {a->dy, &pool, true}};
    double dots[2 * 16], sum[16];
    k->terms_backward(2, both, IMAGES, CHANNELS, PIXELS, a->dy, dots, sum);
    a->out[0] = (float)(dots[0] + sum[0]);
}
static void stats(const nas__kernels *k, arrays *a) {
    k->bn_stats(IMAGES, CHANNELS, PIXELS, a->x, a->out, a->out + k->block);
}
static void mix(const nas__kernels *k, arrays *a) {
    double dots[2];
    k->mix_backward(2, (const float *const[]){a->x, a->dy}, a->dy, (size_t)IMAGES * PIXELS * k->block, dots);
    a->out[0] = (float)dots[1];
}
static void dot(const nas__kernels *k, arrays *a) {
    a->out[0] = (float)k->dot((size_t)IMAGES * PIXELS * k->block, a->x, a->dy);
}

static const struct {
    const char *name;
    void (*run)(const nas__kernels *k, arrays *a);
} kernels[] = {{"depthwise", dw_forward},
               {"depthwise data", dw_data},
               {"depthwise weights", dw_weights},
               {"unit", unit_forward},
               {"gradients of a unit", unit_backward},
               {"1x1 convolution", pointwise_forward},
               {"gradients of a 1x1 convolution", pointwise_backward},
               {"sums of late gradients", late_sums},
               {"sums of a pooling", pool_sums},
               {"average backward", pool_backward},
               {"terms", terms},
               {"products of terms", terms_backward},
               {"statistics", stats},
               {"products of mixing", mix},
               {"dot", dot}};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static arrays make_arrays(int block) {
    float *plain = random_floats(1, (size_t)IMAGES * CHANNELS * PIXELS);
    arrays a = {.x = to_blocked(plain, IMAGES, CHANNELS, PIXELS, block),
                .dy = to_blocked(plain, IMAGES, CHANNELS, PIXELS, block),
                .w = to_blocked(plain, 1, CHANNELS, 9, block),
                .out = new_array((size_t)IMAGES * PIXELS * block)};
    free(plain);
    return a;
}

/* Runs first: no buffer of an earlier call may help. */
static void kernels_report_it(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        arrays a = make_arrays(tables[t]->block);
        for (int i = 0; i < KERNELS; i++) {
            out_of_memory = true;
            kernels[i].run(tables[t], &a);
            out_of_memory = false;
            if (nas_error_status() != NAS_NO_MEMORY) {
                fail_msg("%s: %s did not report that memory is out", tables[t]->isa, kernels[i].name);
            }
            assert_error(NAS_NO_MEMORY, "working memory");
        }
        free(a.x), free(a.dy), free(a.w), free(a.out);
    }
}

/* The norm of the gradient needs memory: without it no weight may change. */
static void optimiser_fails_with_it(void **state) {
    (void)state;
    const int64_t count = (int64_t)1 << 22; /* more than earlier buffers are good for */
    nas_tape *tape = nas_tape_new();
    nas_tensor *w = nas_variable(1, &count, NAS_ROLE_WEIGHT);
    float *values = random_floats(1, (size_t)count), *after = malloc((size_t)count * sizeof *after);
    nas_tensor_write(w, values);
    nas_optimizer *sgd = nas_sgd(.lr = 0.1);
    assert_int_equal(nas_optimizer_bind(sgd, 1, &w), NAS_OK);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    assert_int_equal(nas_backward(nas_sum(nas_mul(w, w))), NAS_OK);
    out_of_memory = true;
    nas_status status = nas_optimizer_step(sgd, 0.1, 5);
    out_of_memory = false;
    assert_int_equal(status, NAS_NO_MEMORY);
    assert_error(NAS_NO_MEMORY, "working memory");
    nas_tensor_read(w, after);
    assert_memory_equal(values, after, (size_t)count * sizeof *after);
    assert_int_equal(nas_optimizer_step(sgd, 0.1, 5), NAS_OK);
    nas_tensor_read(w, after);
    assert_memory_not_equal(values, after, (size_t)count * sizeof *after);
    nas_tape_free(tape);
    nas_optimizer_free(sgd);
    nas_tensor_free(w);
    free(values), free(after);
}

static void absurd_sizes_are_refused(void **state) {
    (void)state;
    assert_null(nas__scratch_acquire(SIZE_MAX / 2));
    assert_error(NAS_NO_MEMORY, "working memory");
    assert_null(nas__scratch_acquire_team(SIZE_MAX / 4 - 70000));
    assert_error(NAS_NO_MEMORY, "working memory");
}

/* --- and with memory ------------------------------------------------------------------------------ */
static void kernels_recover(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        arrays a = make_arrays(tables[t]->block);
        for (int i = 0; i < KERNELS; i++) {
            kernels[i].run(tables[t], &a);
            assert_no_error();
            assert_false(isnan(a.out[0]));
            a.out[0] = NAN;
        }
        free(a.x), free(a.dy), free(a.w), free(a.out);
    }
}

static void threads_have_parts_of_their_own(void **state) {
    (void)state;
    enum { COUNT = 70001 };
    const int threads = omp_get_max_threads();
    omp_set_num_threads(4);
    nas__scratch *outer = nas__scratch_acquire(10), *team = nas__scratch_acquire_team(COUNT);
    assert_true(outer && team && outer != team);
    int wrong = 0;
    memset(nas__scratch_floats(outer), 0, 10 * sizeof(float));
#pragma omp parallel reduction(+ : wrong)
    {
        float *part = nas__scratch_mine(team), me = (float)omp_get_thread_num();
        wrong += (uintptr_t)part % 4096 != 0;
        for (int i = 0; i < COUNT; i++) {
            part[i] = me;
        }
#pragma omp barrier
        for (int i = 0; i < COUNT; i++) {
            wrong += part[i] != me;
        }
    }
    for (int i = 0; i < 10; i++) {
        wrong += nas__scratch_floats(outer)[i] != 0;
    }
    assert_int_equal(wrong, 0);
    nas__scratch_release(team);
    nas__scratch_release(outer);
    nas__scratch *again = nas__scratch_acquire_team(COUNT); /* a free buffer is taken again */
    assert_true(again == outer || again == team);
    nas__scratch_release(again);
    omp_set_num_threads(threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_report_it),
        cmocka_unit_test(optimiser_fails_with_it),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(kernels_recover),
        cmocka_unit_test(threads_have_parts_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
