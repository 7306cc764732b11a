/* SPOS: what a step changes. A fair one has the gradients of its paths; what is off the path stays. */
#include "search/planted.h"
#include "search/trainer.h"
#include "support.h"

#include "nn/optim.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct watched {
    nas_trainer *trainer;
    const nas_batch *batch;
    uint64_t passes[PLANTED_CANDIDATES], run[PLANTED_CANDIDATES][PLANTED_CHOICES];
    int n, steps;
    bool fair, busy;
    float *weights, *momentum; /* before the update */
} watched;

static nas_status remember_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    watched *w = user;
    if (!w->busy) {
        w->batch = pass->batch;
        w->passes[w->n] = t->passes;
        for (int i = 0; i < PLANTED_CHOICES; i++) {
            w->run[w->n][i] = nas_decision_of(t->s.space, i).run;
        }
        w->n++;
    }
    return NAS_OK;
}

static float *copied(const float *values, size_t n) {
    return memcpy(malloc(n * sizeof *values), values, n * sizeof *values);
}

static void add_gradients(const nas_optimizer *o, double *sum) {
    for (size_t i = 0; i < o->n; i++) {
        for (size_t k = 0; k < (size_t)nas_tensor_count(o->tensors[i]) && o->tensors[i]->has_grad; k++) {
            sum[o->offset[i] + k] += o->tensors[i]->grad_data[k];
        }
    }
}

/* Each path again, alone. */
static void compare_with_single_paths(watched *w, const nas_optimizer *o) {
    nas_trainer *t = w->trainer;
    uint64_t passes = t->passes;
    size_t n = o->offset[o->n];
    double *sum = calloc(n, sizeof *sum), *total = calloc(n, sizeof *total);
    add_gradients(o, total);
    assert_int_equal(w->n, PLANTED_CANDIDATES);
    for (int j = 0; j < w->n; j++) {
        nas_optimizer_zero_grad(t->s.optimizer);
        for (int i = 0; i < PLANTED_CHOICES; i++) {
            assert_int_equal(nas_decide(t->s.space, i, (nas_decision){.run = w->run[j][i]}), NAS_OK);
        }
        t->passes = w->passes[j];
        assert_int_equal(nas_search_pass(&t->s,
                                         &(nas_pass){.batch = w->batch,
                                                     .grad = NAS_ROLE_WEIGHT,
                                                     .training = true,
                                                     .freeze_running = true,
                                                     .same_noise = true},
                                         NULL),
                         NAS_OK);
        add_gradients(o, sum);
    }
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs(total[i] - sum[i]) <= 1e-6 * fmax(1, fabs(sum[i])));
        largest = fmax(largest, fabs(sum[i]));
    }
    assert_true(largest > 0.01);
    for (size_t i = 0; i < o->n; i++) { /* the update goes on with what it was given: every weight is in some path */
        for (size_t k = 0; k < (size_t)nas_tensor_count(o->tensors[i]); k++) {
            o->tensors[i]->grad_data[k] = (float)total[o->offset[i] + k];
        }
        o->tensors[i]->has_grad = true;
    }
    t->passes = passes;
    free(sum);
    free(total);
}

typedef struct lookup {
    watched *w;
    const nas_optimizer *o;
    int off, on;
} lookup;

/* "quadrant2.rows.1.weight": is candidate "rows" of choice 2 on the path? */
static nas_status check_parameter(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    lookup *l = user;
    size_t i = 0;
    int choice;
    char name[16];
    if (role != NAS_ROLE_WEIGHT || sscanf(path, "quadrant%d.%15[a-z]", &choice, name) != 2) {
        return NAS_OK;
    }
    while (l->o->tensors[i] != tensor) {
        i++;
    }
    const nas_choice *c = nas_space_choice(l->w->trainer->s.space, choice);
    int candidate = 0;
    while (strcmp(c->names[candidate], name) != 0) {
        candidate++;
    }
    size_t from = l->o->offset[i], bytes = (size_t)nas_tensor_count(tensor) * sizeof(float);
    bool same = memcmp(tensor->data, l->w->weights + from, bytes) == 0 &&
                memcmp(l->o->first->data + from, l->w->momentum + from, bytes) == 0;
    bool on = l->w->run[0][choice] >> candidate & 1;
    /* a bias in front of a batch norm has no gradient but rounding */
    assert_true(on ? !same || strstr(path, "bias") : same);
    l->on += on;
    l->off += !on;
    return NAS_OK;
}

static void on_update(void *user, const nas_optimizer *o, bool done) {
    watched *w = user;
    size_t n = o->offset[o->n];
    if (w->busy) {
        return;
    }
    w->busy = true;
    if (w->fair && !done) {
        compare_with_single_paths(w, o);
    } else if (!w->fair && !done) {
        w->weights = copied(o->tensors[0]->data, n);
        w->momentum = copied(o->first->data, n);
    } else if (!w->fair) {
        lookup l = {w, o, 0, 0};
        assert_int_equal(nas_visit_parameters(w->trainer->s.model, check_parameter, &l), NAS_OK);
        assert_true(l.on > 0 && l.off == (PLANTED_CANDIDATES - 1) * l.on);
        free(w->weights);
        free(w->momentum);
    }
    w->steps += done;
    w->n = done ? 0 : w->n;
    w->busy = false;
}

static void watch(const char *options) {
    planted p = planted_new(PLANTED_CLASSES, 640, 2);
    watched w = {.fair = strstr(options, "fair") != NULL};
    p.config.num_epochs = 3;
    p.config.strategy = "spos";
    p.config.options = options;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    nas_trainer *t = w.trainer = nas_trainer_new(&p.config);
    assert_no_error();
    t->on_pass = remember_pass;
    t->on_pass_user = &w;
    nas__watch_updates(&(nas__update_watcher){on_update, &w});
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas__watch_updates(NULL);
    assert_int_equal(w.steps, 30);
    nas_trainer_free(t);
    planted_free(&p);
}

static void a_fair_step_has_the_gradients_of_its_paths(void **unused) {
    (void)unused;
    watch("sampling=fair,trials=1");
}

static void what_is_off_the_path_stays(void **unused) {
    (void)unused;
    watch("trials=1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fair_step_has_the_gradients_of_its_paths),
        cmocka_unit_test(what_is_off_the_path_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
