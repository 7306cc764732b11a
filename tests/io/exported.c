/* exported.c - see exported.h */
#include "io/exported.h"
#include "space/small_spaces.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

static nas_tensor *input_of(const exported *e, int n, const float *x) {
    int64_t dims[NAS_MAX_DIMS] = {n};
    memcpy(dims + 1, e->config.dims, (size_t)e->config.ndim * sizeof *dims);
    return nas_input(e->config.ndim + 1, dims, x);
}

int64_t exported_inputs(const exported *e) {
    int64_t count = 1;
    for (int i = 0; i < e->config.ndim; i++) {
        count *= e->config.dims[i];
    }
    return count;
}

static nas_tensor *forward(const exported *e, nas_tape *tape, nas_tape_config pass, int n, const float *x) {
    nas_tape_begin(tape, &pass);
    nas_tensor *y = nas_forward(e->model, input_of(e, n, x));
    if (!y) {
        fail_msg("%s: %s", e->config.space, nas_error_message());
    }
    return y;
}

int64_t exported_outputs(const exported *e) {
    nas_tape *tape = nas_tape_new();
    int64_t count = nas_tensor_count(forward(e, tape, (nas_tape_config){.dry = true}, 1, NULL));
    nas_tape_free(tape);
    return count;
}

void exported_forward(const exported *e, int n, const float *x, float *y) {
    nas_tape *tape = nas_tape_new();
    assert_int_equal(nas_tensor_read(forward(e, tape, (nas_tape_config){.bn = NAS_BN_RUNNING}, n, x), y), NAS_OK);
    nas_tape_free(tape);
}

/* --- weights that are not those of the start ----------------------------------------------------------- */
static nas_status shake(const char *path, nas_tensor *t, nas_role role, void *user) {
    uint64_t *seed = user;
    size_t n = (size_t)nas_tensor_count(t);
    if (role == NAS_ROLE_WEIGHT && nas_tensor_ndim(t) == 1) {
        float *values = random_floats(++*seed, 2 * n);
        assert_int_equal(nas_tensor_read(t, values + n), NAS_OK);
        for (size_t i = 0; i < n; i++) {
            values[i] = values[n + i] + 0.3f * values[i];
        }
        nas_tensor_write(t, values);
        free(values);
    }
    (void)path;
    return NAS_OK;
}

static void make_estimates(const exported *e, uint64_t seed) {
    enum { IMAGES = 8 };
    nas_tape *tape = nas_tape_new();
    for (uint64_t batch = 0; batch < 3; batch++) {
        float *x = random_floats(100 * seed + batch, (size_t)(IMAGES * exported_inputs(e)));
        forward(e, tape, (nas_tape_config){.bn = NAS_BN_BATCH}, IMAGES, x);
        free(x);
    }
    nas_tape_free(tape);
}

static void give_weights(exported *e, uint64_t seed) {
    uint64_t stream = 1000 * (seed + 1);
    assert_int_equal(nas_initialise(e->model, seed), NAS_OK);
    assert_int_equal(nas_visit_parameters(e->model, shake, &stream), NAS_OK);
    make_estimates(e, seed);
}

exported exported_space(const char *name, uint64_t seed) {
    static const nas_space_config signal = {2, 1, 64, 5, NULL};
    const nas_space_config c = strcmp(name, "signal1d") ? space_images[seed % 2] : signal;
    exported e = {.model = space_small(name, c),
                  .config = {.ndim = 3, .dims = {c.channels, c.height, c.width}, .space = name}};
    nas_space *space = nas_space_new(e.model);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(seed, 1);
    nas_architecture_random(a, &rng);
    e.config.architecture = e.architecture = nas_architecture_json(a, true);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(e.model, e.architecture), NAS_OK);
    give_weights(&e, seed);
    return e;
}

/* --- every operation ----------------------------------------------------------------------------------- */
typedef struct all {
    nas_module base;
    nas_module *conv, *grouped, *depthwise, *flat, *norm, *plain_norm, *dense;
    nas_tensor *factors;
} all;

static nas_tensor *activations(nas_tensor *x) {
    nas_tensor *each[] = {nas_relu(x),  nas_relu6(nas_scale(x, 4)), nas_sigmoid(x),   nas_tanh(x), nas_gelu(x),
                          nas_swish(x), nas_hard_sigmoid(x),        nas_hard_swish(x)};
    return nas_sum_of(8, each);
}

static nas_tensor *all_forward(nas_module *self, nas_tensor *x) {
    all *n = (all *)self;
    x = nas_forward(n->norm, nas_forward(n->conv, x)); /* 8 x 12 x 10 */
    nas_tensor *parts[2], *halves[2];
    nas_split_even_odd(x, halves);
    nas_split(x, 1, 2, (int64_t[]){2, 6}, parts);
    x = nas_concat(4, (nas_tensor *[]){halves[1], parts[1], halves[0], parts[0]}, 1); /* 16 */
    x = nas_forward(n->grouped, nas_channel_shuffle(x, 4));
    x = nas_add(nas_forward(n->depthwise, x), nas_forward(n->flat, x));
    x = activations(nas_forward(n->plain_norm, x));
    x = nas_mul(x, n->factors);
    x = nas_mul(x, nas_sigmoid(nas_global_avg_pool(x)));
    x = nas_pad(nas_pad(x, 2, 1, -1, 3), -1, 0, 0, -2); /* 14 x 10 */
    nas_tensor *most = nas_max_pool(x, (nas_pool_args){.kernel = 3, .stride = 2, .padding = 1}),
               *mean = nas_avg_pool(x, (nas_pool_args){.kernel = 3, .stride = 2, .padding = 1}),
               *all_of =
                   nas_avg_pool(x, (nas_pool_args){.kernel = 3, .stride = 2, .padding = 1, .count_padding = true});
    x = nas_sub(nas_mul(most, mean), all_of); /* 7 x 5 */
    nas_tensor *none = nas_zero(4, (int64_t[]){nas_tensor_dim(x, 0), 2, 7, 5});
    x = nas_concat(3, (nas_tensor *[]){none, x, none}, 1);
    x = nas_slice(x, 2, 1, 4); /* 20 x 4 x 5 */
    x = nas_reshape(x, 3, (int64_t[]){nas_tensor_dim(x, 0), 10, 40});
    nas_tensor *y = nas_forward(n->dense, nas_flatten(x));
    return nas_concat(2, (nas_tensor *[]){nas_softmax(y), nas_log_softmax(y)}, 1);
}

exported exported_operations(void) {
    all *n = nas_module_new(all, all_forward);
    n->conv = nas_child(n, "conv", nas_conv(.in = 3, .out = 8, .kernel = 3, .dilation = 2, .padding = NAS_NONE));
    n->norm = nas_child(n, "norm", nas_bn(.channels = 8, .relu = true));
    n->grouped = nas_child(n, "grouped", nas_conv(.in = 16, .out = 16, .kernel = 1, .groups = 4, .bias = true));
    n->depthwise = nas_child(n, "depthwise", nas_conv(.in = 16, .out = 16, .kernel = 5, .groups = 16, .bias = true));
    n->flat = nas_child(n, "flat", nas_conv(.in = 16, .out = 16, .kernel = 1, .kernel_w = 7));
    n->plain_norm = nas_child(n, "plain_norm", nas_bn(.channels = 16, .affine = NAS_AFFINE_NEVER, .eps = 1e-3f));
    n->dense = nas_child(n, "dense", nas_dense(.in = 400, .out = 6));
    n->factors = nas_parameter(&n->base, "factors", NAS_DIMS(16), NAS_INIT_ONE);
    assert_no_error();
    exported e = {.model = &n->base, .config = {.ndim = 3, .dims = {3, 16, 14}, .space = "operations"}};
    give_weights(&e, 1);
    return e;
}

void exported_free(exported *e) {
    nas_module_free(e->model);
    free(e->architecture);
}
