/* Late values, gradients and their sums, written out by every instruction set, against plain loops in double. */
#include "late_reference.h"

#include <stdio.h>

typedef struct problem {
    int n, c, hw;
    nas__on_load load;
    nas__late_grad late;
    bool in_place;
    float *x, *g, *z; /* inputs; plain */
    float *y, *t;     /* expected: late_values of x, late_gradient */
    double *sums;     /* [2][c] */
    char text[160];
} problem;

static size_t size(const problem *p) { return (size_t)p->n * p->c * p->hw; }

static problem make(int n, int c, int hw, nas_rng *rng) {
    problem p = {.n = n, .c = c, .hw = hw, .in_place = coin(rng)};
    p.load = random_load(rng, c);
    p.late = random_late(rng, c, 1);
    p.x = eighths(rng, size(&p), 16);
    p.g = scaled(rng, size(&p), 1);
    p.z = eighths(rng, size(&p), 16);
    p.y = malloc(size(&p) * sizeof(float));
    p.t = malloc(size(&p) * sizeof(float));
    p.sums = calloc((size_t)2 * c, sizeof(double));
    for (size_t i = 0; i < size(&p); i++) {
        const int channel = (int)(i / hw % c);
        const double g = masked_reference(&p.late, channel, p.g[i], p.z[i]);
        p.y[i] = (float)activate(&p.load, before_act(&p.load, channel, p.x[i]));
        p.t[i] = (float)late_reference(&p.late, channel, p.g[i], p.z[i]);
        p.sums[channel] += g;
        p.sums[c + channel] += g * (double)p.z[i];
    }
    snprintf(p.text, sizeof p.text, "n %d c %d hw %d load %d relu %d cap %g late %d%d masked %d%d cap %g in place %d",
             n, c, hw, p.load.scale != NULL, p.load.relu, (double)p.load.cap, p.late.a != NULL, p.late.b != NULL,
             p.late.masked, p.late.mask_scale != NULL, (double)p.late.cap, p.in_place);
    return p;
}

static void free_problem(problem *p) {
    free(p->x), free(p->g), free(p->z), free(p->y), free(p->t), free(p->sums);
    free_coefficients(&p->load, &p->late);
}

/* What a table makes of it. */
typedef struct results {
    size_t size;
    float *y, *t;
    double *sums;
} results;

static results run(const problem *p, const nas__kernels *k) {
    const int block = k->block, width = padded(p->c, block);
    results r = {.size = (size_t)p->n * width * p->hw, .sums = calloc((size_t)2 * width, sizeof(double))};
    float *x = to_blocked(p->x, p->n, p->c, p->hw, block), *g = to_blocked(p->g, p->n, p->c, p->hw, block);
    float *z = to_blocked(p->z, p->n, p->c, p->hw, block);
    const nas__on_load load = load_to_blocked(&p->load, 1, p->c, block);
    const nas__late_grad late = late_to_blocked(&p->late, p->c, block, g, z);
    nas__late_grad bare = late;
    bare.z = NULL; /* it is not looked at */
    k->late_sums(p->n, p->c, p->hw, &bare, z, r.sums);
    r.y = p->in_place ? x : new_array(r.size);
    r.t = !p->in_place ? new_array(r.size) : p->n % 2 && late.z ? z : g;
    k->late_values(p->n, p->c, p->hw, x, &load, r.y);
    k->late_gradient(p->n, p->c, p->hw, &late, r.t);
    assert_no_error();
    float *const all[] = {x, g, z};
    for (int i = 0; i < 3; i++) {
        if (all[i] != r.y && all[i] != r.t) {
            free(all[i]);
        }
    }
    free_coefficients(&load, &late);
    return r;
}

static void random_sizes(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    nas_rng rng = nas_rng_new(18, 5);
    for (int i = 0; i < 500; i++) {
        const int n = uniform_int(&rng, 1, coin(&rng) ? 3 : 40), hw = uniform_int(&rng, 1, coin(&rng) ? 20 : 200);
        problem p = make(n, uniform_int(&rng, 1, coin(&rng) ? 70 : 5), hw, &rng);
        for (int t = 0, tables_n = nas__usable_kernel_tables(tables); t < tables_n; t++) {
            const nas__kernels *k = tables[t];
            char text[200];
            results r = run(&p, k);
            snprintf(text, sizeof text, "%s values, %s", k->isa, p.text);
            check_blocked(r.y, p.y, p.n, p.c, p.hw, k->block, 0, text);
            snprintf(text, sizeof text, "%s gradient, %s", k->isa, p.text);
            check_blocked(r.t, p.t, p.n, p.c, p.hw, k->block, 1e-6, text);
            snprintf(text, sizeof text, "%s sums, %s", k->isa, p.text);
            check_channel_sums(r.sums, p.sums, p.c, k->block, 0.1 * p.n * p.hw, text);
        }
        free_problem(&p);
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const int threads = omp_get_max_threads();
    nas_rng rng = nas_rng_new(19, 5);
    for (int i = 0; i < 10; i++) {
        problem p = make(37, 20, 81, &rng);
        for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
            omp_set_num_threads(1);
            results one = run(&p, tables[t]);
            omp_set_num_threads(3);
            results three = run(&p, tables[t]);
            omp_set_num_threads(threads);
            assert_memory_equal(one.y, three.y, one.size * sizeof(float));
            assert_memory_equal(one.t, three.t, one.size * sizeof(float));
            assert_memory_equal(one.sums, three.sums, 2 * sizeof(double) * padded(p.c, tables[t]->block));
            free(one.y), free(one.t), free(one.sums), free(three.y), free(three.t), free(three.sums);
        }
        free_problem(&p);
    }
}

/* A NaN in an activation must not disappear in the ReLU. */
static void not_a_number_stays(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const float one = 1, nan = NAN;
        const int block = tables[t]->block;
        float *x = channel_array(&nan, 1, block), *scale = channel_array(&one, 1, block), *y = new_array(block);
        for (int capped = 0; capped < 2; capped++) {
            y[0] = 0;
            tables[t]->late_values(1, 1, 1, x, &(nas__on_load){scale, scale, true, capped ? 6 : 0}, y);
            assert_true(isnan(y[0]));
        }
        free(x), free(y), free(scale);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sizes),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(not_a_number_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
