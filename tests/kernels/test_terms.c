/* Mixed sums whose terms may be pooled on the way, and their products, against plain loops in double. */
#include "pool_reference.h"

#include <stdio.h>

enum { MOST = 40 };

/* Terms of all kinds: tensors of the result's shape, and two inputs of one pooling, max and average. */
typedef struct problem {
    nas__pool_shape s;
    int n_terms, source[MOST]; /* source: 0, 1 pooled from an input; 2: a tensor of its own */
    bool max[MOST];
    float *input[2], *pooled[2][2]; /* plain; pooled: [input][max] */
    float *z[MOST];                 /* the term's values, plain */
    float *scale, *shift, *dy, *y;  /* scale: [n_terms][c] */
    double *dots, *sum;             /* [n_terms][c], [c] */
    nas__pool_shape shapes[2];      /* equal, at two addresses */
    char text[200];
} problem;

static void reference(problem *p) {
    const nas__pool_shape *s = &p->s;
    const int hw = s->oh * s->ow;
    for (size_t i = 0; i < (size_t)s->n * s->c * hw; i++) {
        const int channel = (int)(i / hw % s->c);
        double sum = p->shift[channel];
        for (int t = 0; t < p->n_terms; t++) {
            sum += (double)p->scale[t * s->c + channel] * p->z[t][i];
            p->dots[t * s->c + channel] += (double)p->dy[i] * p->z[t][i];
        }
        p->y[i] = (float)sum;
        p->sum[channel] += p->dy[i];
    }
}

static float *coefficients(const float *plain, int rows, int c, int block) {
    return to_blocked(plain, rows, c, 1, block); /* every row padded with zeroes */
}

static void check_sums(const problem *p, const nas__kernels *k, const double *got, const double *expected, int rows,
                       const char *what) {
    const int cp = padded(p->s.c, k->block);
    const double tolerance = 1e-6 * sqrt((double)p->s.n * p->s.oh * p->s.ow) + 1e-6;
    for (int i = 0; i < rows * cp; i++) {
        const bool tail = i % cp >= p->s.c;
        const double wanted = tail ? 0 : expected[i / cp * p->s.c + i % cp];
        if (!(fabs(got[i] - wanted) <= (tail ? 0 : tolerance))) {
            fail_msg("%s %s: %s %d, channel %d is %.9g instead of %.9g", k->isa, p->text, what, i / cp, i % cp, got[i],
                     wanted);
        }
    }
}

static void run(const problem *p, const nas__kernels *k, const nas__term *terms) {
    const nas__pool_shape *s = &p->s;
    const int b = k->block, cp = padded(s->c, b), hw = s->oh * s->ow;
    float *scale = coefficients(p->scale, p->n_terms, s->c, b), *shift = coefficients(p->shift, 1, s->c, b);
    float *dy = to_blocked(p->dy, s->n, s->c, hw, b), *y = new_array((size_t)s->n * cp * hw);
    k->terms_forward(p->n_terms, terms, s->n, s->c, hw, scale, shift, y);
    check_blocked(y, p->y, s->n, s->c, hw, b, 5e-6, p->text);
    double *dots = malloc((size_t)(p->n_terms * cp + 1) * sizeof *dots), *sum = malloc(cp * sizeof *sum);
    k->terms_backward(p->n_terms, terms, s->n, s->c, hw, dy, dots, sum);
    check_sums(p, k, dots, p->dots, p->n_terms, "product");
    check_sums(p, k, sum, p->sum, 1, "sum");
    free(scale), free(shift), free(dy), free(dots), free(sum);
}

static void check_table(const problem *p, const nas__kernels *k) {
    const nas__pool_shape *s = &p->s;
    float *z[MOST], *input[2];
    nas__term terms[MOST];
    for (int i = 0; i < 2; i++) {
        input[i] = to_blocked(p->input[i], s->n, s->c, s->h * s->w, k->block);
    }
    for (int t = 0; t < p->n_terms; t++) {
        const int source = p->source[t];
        z[t] = source < 2 ? NULL : to_blocked(p->z[t], s->n, s->c, s->oh * s->ow, k->block);
        terms[t] = (nas__term){source < 2 ? input[source] : z[t], source < 2 ? p->shapes + t % 2 : NULL, p->max[t]};
    }
    run(p, k, terms);
    for (int t = 0; t < p->n_terms; t++) {
        free(z[t]);
    }
    free(input[0]), free(input[1]);
}

static problem new_problem(nas__pool_shape s, int n_terms, bool pools, uint64_t seed) {
    const size_t outs = (size_t)s.n * s.c * s.oh * s.ow;
    nas_rng rng = nas_rng_new(seed, 6);
    problem p = {.s = s, .n_terms = n_terms, .shapes = {s, s}};
    for (int i = 0; i < 2; i++) {
        p.input[i] = quarters(100 * seed + i, (size_t)s.n * s.c * s.h * s.w);
        p.pooled[i][0] = pooled_reference(&s, p.input[i], false);
        p.pooled[i][1] = pooled_reference(&s, p.input[i], true);
    }
    for (int t = 0; t < n_terms; t++) {
        p.source[t] = pools ? uniform_int(&rng, 0, 2) : 2;
        p.max[t] = uniform_int(&rng, 0, 1);
        p.z[t] = p.source[t] < 2 ? p.pooled[p.source[t]][p.max[t]] : random_floats(100 * seed + 2 + t, outs);
    }
    p.scale = random_floats(100 * seed + 50, (size_t)n_terms * s.c + 1);
    p.shift = random_floats(100 * seed + 51, s.c);
    p.dy = random_floats(100 * seed + 52, outs);
    p.y = malloc(outs * sizeof *p.y);
    p.dots = calloc((size_t)n_terms * s.c + 1, sizeof *p.dots);
    p.sum = calloc(s.c, sizeof *p.sum);
    snprintf(p.text, sizeof p.text, "%d terms: n %d c %d %dx%d -> %dx%d kernel %d stride %d pad %d", n_terms, s.n, s.c,
             s.h, s.w, s.oh, s.ow, s.kernel, s.stride, s.pad);
    return p;
}

static void check(nas__pool_shape s, int n_terms, bool pools, uint64_t seed) {
    problem p = new_problem(s, n_terms, pools, seed);
    reference(&p);
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        check_table(&p, tables[t]);
    }
    for (int t = 0; t < n_terms; t++) {
        if (p.source[t] == 2) {
            free(p.z[t]);
        }
    }
    for (int i = 0; i < 2; i++) {
        free(p.input[i]), free(p.pooled[i][0]), free(p.pooled[i][1]);
    }
    free(p.scale), free(p.shift), free(p.dy), free(p.y), free(p.dots), free(p.sum);
}

static void all_numbers_of_terms(void **state) {
    (void)state;
    const nas__pool_shape s = {2, 17, 12, 13, 12, 13, 3, 1, 1, false}, reduced = {1, 5, 11, 8, 6, 4, 3, 2, 1, true};
    for (int n = 0; n <= MOST; n++) {
        check(s, n, n % 2, n);
        check(reduced, n, true, 50 + n);
    }
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(23, 5);
    for (uint64_t i = 0; i < 500; i++) {
        check(random_pool(&rng), uniform_int(&rng, 1, 9), i % 8, 100 + i);
    }
}

/* More than one piece per plane, the last one shorter. */
static void large_planes(void **state) {
    (void)state;
    const nas__pool_shape s = {1, 3, 41, 43, 41, 43, 3, 1, 1, false}, reduced = {1, 3, 67, 70, 34, 35, 3, 2, 1, false};
    for (int n = 1; n <= MOST; n += 13) {
        check(s, n, false, 700 + n);
        check(s, n, true, 800 + n);
        check(reduced, n, true, 900 + n);
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const nas__pool_shape s = {9, 5, 16, 16, 16, 16, 3, 1, 1, false};
    const int threads = omp_get_max_threads();
    float *values = random_floats(1, (size_t)s.n * s.c * 256);
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        float *x = to_blocked(values, s.n, s.c, 256, tables[t]->block);
        const nas__term terms[] = {{x, NULL, false}, {x, &s, true}, {x, &s, false}};
        double one[4][16] = {0}, three[4][16] = {0};
        omp_set_num_threads(1);
        tables[t]->terms_backward(3, terms, s.n, s.c, 256, x, one[0], one[3]);
        omp_set_num_threads(3);
        tables[t]->terms_backward(3, terms, s.n, s.c, 256, x, three[0], three[3]);
        omp_set_num_threads(threads);
        assert_memory_equal(one, three, sizeof one);
        free(x);
    }
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_numbers_of_terms),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(large_planes),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
