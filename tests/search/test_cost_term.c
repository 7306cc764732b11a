/* The expected cost and the losses that it enters: closed forms, finite differences, and the numbers of others. */
#include "support.h"

#include "core/file.h"
#include "search/cost_term.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nas_module *conv(int in, int out, int kernel) { return nas_conv(.in = in, .out = out, .kernel = kernel); }

/* One choice of three convolutions of a 10x10 image: 9000, 25000 and 49000 multiply-adds. */
static nas_module *three_kernels(void) {
    return nas_layer_choice(
        NULL, "layer", 3, ((nas_candidate[]){{"k3", conv(1, 10, 3)}, {"k5", conv(1, 10, 5)}, {"k7", conv(1, 10, 7)}}));
}

static bool one_third(nas_search *s, int choice, double *p) {
    (void)s;
    (void)choice;
    p[0] = p[1] = p[2] = 1.0 / 3;
    return true;
}
static const nas_strategy even_strategy = {.name = "even", .probabilities = one_third};

typedef struct fixture {
    nas_module *model;
    nas_dataset *data;
    nas_trainer_config config;
    nas_search s;
    nas_tape *tape;
} fixture;

static fixture open_fixture(nas_module *model, int channels, int side) {
    fixture f = {.model = model, .tape = nas_tape_new()};
    int64_t dims[3] = {channels, side, side};
    float *x = random_floats(1, (size_t)(2 * channels * side * side));
    f.data = nas_dataset_from_arrays(2, 3, dims, x, 1, (const float[]){0, 1}, 2);
    free(x);
    f.config.dataset_train = f.data;
    f.s = (nas_search){.model = model, .space = nas_space_new(model), .strategy = &even_strategy};
    assert_no_error();
    return f;
}

static void begin(fixture *f) { nas_tape_begin(f->tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH}); }

static void close_fixture(fixture *f) {
    nas_tape_free(f->tape);
    nas_space_free(f->s.space);
    nas_dataset_free(f->data);
    nas_module_free(f->model);
}

static nas_status open_term(fixture *f, nas__cost_term *c, nas__cost_options o) {
    f->s.config = &f->config;
    return nas__cost_term_begin(c, &f->s, &o);
}

static void near(double got, double expected, double tolerance, const char *what) {
    if (!(fabs(got - expected) <= tolerance * (1 + fabs(expected)))) {
        fail_msg("%s: %.12g instead of %.12g", what, got, expected);
    }
}

/* NNI's test of its expectation penalty: p = .2, .3, .5, loss 42, baseline 20000, scale 2. */
static void golden_values(void **state) {
    (void)state;
    fixture f = open_fixture(three_kernels(), 1, 10);
    nas__cost_term c;
    assert_int_equal(
        open_term(&f, &c, (nas__cost_options){.kind = 1, .loss = NAS__COST_ADD, .weight = 2, .target = "20k"}), NAS_OK);
    begin(&f);
    nas_tensor *p = nas_input(1, (int64_t[]){3}, (const float[]){0.2f, 0.3f, 0.5f});
    nas_tensor *expected = nas__expected_cost(c.table, &f.s, &p);
    near(nas_tensor_item(expected), 33800, 1e-6, "expected cost");
    nas_tensor *loss = nas__cost_loss(&c, nas_input(1, (int64_t[]){1}, (const float[]){42}), expected);
    near(nas_tensor_item(loss), 43.38, 1e-6, "loss");
    nas__cost_term_end(&c);
    close_fixture(&f);
}

/* dE/dalpha_i = p_i (F_i - sum p F), and through both losses; CE depends on alpha, too. */
static void closed_forms(void **state) {
    (void)state;
    static const double cost[3] = {9000, 25000, 49000};
    static const float logits[3] = {0.3f, -0.2f, 0.7f}, slope[3] = {1, -2, 0.5f};
    for (int form = 0; form < 3; form++) { /* mul, add, mul without a target */
        fixture f = open_fixture(three_kernels(), 1, 10);
        nas__cost_term c;
        bool add = form == 1;
        nas__cost_options o = {
            .kind = 1, .loss = add ? NAS__COST_ADD : NAS__COST_MUL, .weight = 0.2, .power = 0.6, .target = "40k"};
        strcpy(o.target, form == 2 ? "none" : "40k");
        assert_int_equal(open_term(&f, &c, o), NAS_OK);
        nas_tensor *alpha = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH);
        nas_tensor_write(alpha, logits);
        begin(&f);
        nas_tensor *p = nas_softmax(alpha);
        nas_tensor *ce = nas_add_scalar(nas_sum(nas_mul(alpha, nas_input(1, (int64_t[]){3}, slope))), 3);
        nas_tensor *loss = nas__cost_loss(&c, ce, nas__expected_cost(c.table, &f.s, &p));
        double q[3], sum = 0, e = 0, plain = 3;
        for (int k = 0; k < 3; k++) {
            sum += q[k] = exp(logits[k]);
            plain += logits[k] * slope[k];
        }
        for (int k = 0; k < 3; k++) {
            e += (q[k] /= sum) * cost[k];
        }
        double log_target = form == 2 ? 1 : log(40e3), ratio = log(e) / log_target;
        double factor = add ? 1 : 0.2 * pow(ratio, 0.6);
        double by_cost = add ? 0.2 / 40e3 : plain * 0.2 * 0.6 * pow(ratio, -0.4) / log_target / e;
        near(nas_tensor_item(loss), add ? plain + 0.2 * (e - 40e3) / 40e3 : plain * factor, 1e-5, "loss");
        assert_int_equal(nas_backward(loss), NAS_OK);
        float gradient[3];
        nas_tensor_read_grad(alpha, gradient);
        for (int k = 0; k < 3; k++) {
            near(gradient[k], factor * slope[k] + by_cost * q[k] * (cost[k] - e), 1e-5, "gradient");
        }
        nas_tensor_free(alpha);
        nas__cost_term_end(&c);
        close_fixture(&f);
    }
}

/* --- choices that may be unreached -------------------------------------------------------------------- */
struct net {
    nas_module base;
    nas_module *outer, *edges[2];
    nas_mutable *inputs;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *in[2] = {NULL, NULL};
    x = nas_forward(n->outer, x);
    for (int i = 0; i < 2; i++) {
        in[i] = nas_wanted(n->inputs, i) ? nas_forward(n->edges[i], x) : NULL;
    }
    return nas_choose(n->inputs, 2, in);
}

static nas_module *pair(const char *key, int kernel) {
    return nas_layer_choice(NULL, key, 2, ((nas_candidate[]){{"small", conv(1, 1, 1)}, {"large", conv(1, 1, kernel)}}));
}

static nas_module *net_new(void) {
    struct net *n = nas_module_new(struct net, net_forward);
    n->outer = nas_child(
        n, "outer",
        nas_layer_choice(n, "outer", 2, ((nas_candidate[]){{"plain", conv(1, 1, 3)}, {"nested", pair("inner", 5)}})));
    n->edges[0] = nas_child(n, "a", pair("a", 3));
    n->edges[1] = nas_child(n, "b", pair("b", 7));
    n->inputs = nas_input_choice(n, "in", .n_candidates = 2, .n_chosen = 1, .edges = ((const char *const[]){"a", "b"}));
    assert_no_error();
    return &n->base;
}

enum { CHOICES = 5 };

/* E from a tape, and the gradient to all logits through *gradient (may be NULL). */
static double expectation(fixture *f, const nas__cost_table *t, nas_tensor **alphas, float (*gradient)[2]) {
    nas_tensor *weights[CHOICES];
    begin(f);
    for (int i = 0; i < CHOICES; i++) {
        weights[i] = nas_softmax(alphas[i]);
        nas_zero_grad(alphas[i]);
    }
    nas_tensor *e = nas__expected_cost(t, &f->s, weights);
    double value = nas_tensor_item(e);
    assert_int_equal(nas_backward(e), NAS_OK);
    for (int i = 0; gradient && i < CHOICES; i++) {
        nas_tensor_read_grad(alphas[i], gradient[i]);
    }
    nas_tape_reset(f->tape);
    return value;
}

/* The probability-weighted sum over all architectures, each counted alone, and finite differences. */
static void nested_choices_and_edges_count_as_often_as_they_are_reached(void **state) {
    (void)state;
    fixture f = open_fixture(net_new(), 1, 4);
    assert_int_equal(nas_space_size(f.s.space), CHOICES);
    nas__cost_table *t = nas__cost_table_new(f.s.space, f.model, 3, (int64_t[]){1, 4, 4}, NAS__COST_MACS);
    nas_tensor *alphas[CHOICES];
    float *logits = random_floats(3, 2 * CHOICES), gradient[CHOICES][2];
    for (int i = 0; i < CHOICES; i++) {
        alphas[i] = nas_variable(1, (int64_t[]){2}, NAS_ROLE_ARCH);
        nas_tensor_write(alphas[i], logits + 2 * i);
    }
    nas_architecture *a = nas_architecture_new(f.s.space);
    double sum = 0;
    for (int code = 0; code < 1 << CHOICES; code++) {
        double p = 1;
        uint64_t macs;
        for (int i = 0; i < CHOICES; i++) {
            int k = code >> i & 1;
            p *= 1 / (1 + exp(logits[2 * i + 1 - k] - logits[2 * i + k]));
            nas_architecture_set(a, i, (uint64_t)1 << k);
        }
        nas_architecture_apply(a, f.s.space);
        assert_int_equal(nas_model_cost(f.model, 3, (int64_t[]){1, 4, 4}, &macs, NULL), NAS_OK);
        sum += p * (double)macs;
    }
    near(expectation(&f, t, alphas, gradient), sum, 1e-5, "E");
    for (int i = 0; i < CHOICES; i++) {
        for (int k = 0; k < 2; k++) {
            float moved[2] = {logits[2 * i], logits[2 * i + 1]}, up[2] = {moved[0], moved[1]};
            moved[k] -= 0.01f;
            up[k] += 0.01f;
            nas_tensor_write(alphas[i], moved);
            double lower = expectation(&f, t, alphas, NULL);
            nas_tensor_write(alphas[i], up);
            near(gradient[i][k], (expectation(&f, t, alphas, NULL) - lower) / 0.02, 1e-2, "dE/dalpha");
            nas_tensor_write(alphas[i], logits + 2 * i);
        }
    }
    for (int i = 0; i < CHOICES; i++) {
        nas_tensor_free(alphas[i]);
    }
    free(logits);
    nas_architecture_free(a);
    nas__cost_table_free(t);
    close_fixture(&f);
}

static void decisions_count_where_there_are_no_weights(void **state) {
    (void)state;
    fixture f = open_fixture(net_new(), 1, 4);
    nas__cost_table *t = nas__cost_table_new(f.s.space, f.model, 3, (int64_t[]){1, 4, 4}, NAS__COST_MACS);
    nas_tensor *none[CHOICES] = {0};
    nas_decide(f.s.space, nas_space_find(f.s.space, "outer"), (nas_decision){.run = 2});
    nas_decide(f.s.space, nas_space_find(f.s.space, "b"), (nas_decision){.run = 2});
    nas_decide(f.s.space, nas_space_find(f.s.space, "in"), (nas_decision){.run = 2});
    begin(&f);
    near(nas_tensor_item(nas__expected_cost(t, &f.s, none)), 16 * (1 + 49), 1e-6, "a path");
    nas_decide(f.s.space, nas_space_find(f.s.space, "in"), (nas_decision){.run = 3}); /* takes 1 of the 2 that run */
    near(nas_tensor_item(nas__expected_cost(t, &f.s, none)), 16 * (1 + 0.5 * (1 + 49)), 1e-6, "both edges");
    nas__cost_table_free(t);
    close_fixture(&f);
}

/* --- options ------------------------------------------------------------------------------------------ */
static void targets_and_what_is_refused(void **state) {
    (void)state;
    static const char table[] =
        "{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": "
        "%s, \"choices\": {\"layer\": {\"k3\": %s, \"k5\": 2, \"k7\": 6}}}";
    char *directory = temporary_directory(), *path = nas__join(directory, "table.json"), text[512];
    fixture f = open_fixture(three_kernels(), 1, 10);
    nas__cost_term c;
    assert_int_equal(open_term(&f, &c, (nas__cost_options){.kind = 1, .target = "auto"}), NAS_OK);
    near(c.target, (9000 + 25000 + 49000) / 3.0, 1e-6, "auto");
    nas__cost_term_end(&c);
    assert_int_equal(open_term(&f, &c, (nas__cost_options){.kind = 0, .target = "auto"}), NAS_OK);
    assert_null(c.table);
    snprintf(text, sizeof text, table, "10", "1");
    assert_int_equal(nas__write_file(path, text, strlen(text)), NAS_OK);
    nas__cost_options o = {.kind = 1, .loss = NAS__COST_ADD, .target = "auto"};
    snprintf(o.table, sizeof o.table, "%s", path);
    assert_int_equal(open_term(&f, &c, o), NAS_OK);
    near(c.target, 13, 1e-6, "auto of a file");
    nas__cost_term_end(&c);

    o.kind = 2;
    assert_int_not_equal(open_term(&f, &c, o), NAS_OK);
    assert_error(NAS_INVALID, "is a table of macs, but cost=params");
    nas__cost_term_end(&c);
    o.kind = 0;
    assert_int_not_equal(open_term(&f, &c, o), NAS_OK);
    assert_error(NAS_INVALID, "cost=none");
    o.kind = 1;
    snprintf(text, sizeof text, table, "0", "0.5");
    assert_int_equal(nas__write_file(path, text, strlen(text)), NAS_OK);
    o.loss = NAS__COST_MUL;
    assert_int_not_equal(open_term(&f, &c, o), NAS_OK);
    assert_error(NAS_INVALID, "use cost_loss=add");
    nas__cost_term_end(&c);
    assert_int_not_equal(open_term(&f, &c, (nas__cost_options){.kind = 1, .target = "5ms"}), NAS_OK);
    assert_error(NAS_INVALID, "cost_target=5ms");
    nas__cost_term_end(&c);
    close_fixture(&f);
    free(path);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_values),
        cmocka_unit_test(closed_forms),
        cmocka_unit_test(nested_choices_and_edges_count_as_often_as_they_are_reached),
        cmocka_unit_test(decisions_count_where_there_are_no_weights),
        cmocka_unit_test(targets_and_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
