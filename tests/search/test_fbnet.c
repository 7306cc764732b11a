/* FBNet by what can be observed of it: it finds what was planted, and what is cheapest where only that counts; its
 * gradients, cost included, are those of the paper's loss in double precision; its two phases change only what they
 * should; and the distribution that it learns is better than chance. */
#include "search/gumbel_fixture.h"

#include "core/file.h"
#include "search/cost_term.h"

#include <stdio.h>

/* --- the planted optimum ------------------------------------------------------------------------- */
static void all_are_found(void **state) {
    (void)state;
    finds_all("fbnet", "theta_lr=0.05,final_samples=0");
}

static void in_turns_all_are_found(void **state) {
    (void)state;
    finds_all("fbnet", "theta_lr=0.05,phases=batch,final_samples=0");
}

static void with_equal_costs_all_are_found(void **state) {
    (void)state;
    finds_all("fbnet", "theta_lr=0.05,cost=macs,final_samples=2");
}

static void shuffled_labels_find_nothing(void **state) {
    (void)state;
    assert_in_range(found_in_four("fbnet", "theta_lr=0.05,final_samples=0", PLANTED_SHUFFLED, INTACT), 0, 12);
}

static void nothing_without_its_parts(void **state) {
    (void)state;
    static const char *const fixed[] = {"theta_lr=0.05,final_samples=0,tau_max=1e-6,tau_min=1e-6",
                                        "theta_lr=0.05,final_samples=0,tau_max=1e6,tau_min=1e6",
                                        "theta_lr=0.05,final_samples=0,warmup=1"};
    for (int i = 0; i < 3; i++) {
        assert_in_range(found_in_four("fbnet", fixed[i], PLANTED_CLASSES, INTACT), 0, 12);
    }
    assert_in_range(found_in_four("fbnet", "theta_lr=0.05,final_samples=0", PLANTED_CLASSES, NO_GRADIENT), 0, 12);
}

/* Equally good, of unequal cost; without the term what is derived is any of them. */
static void the_planted_cost_optimum_is_found(void **state) {
    (void)state;
    int by_chance = 0;
    planted_finds_cheapest(
        "fbnet", "theta_lr=0.05,final_samples=0,cost=params,cost_loss=add,cost_target=auto,cost_weight=10", 12, 5);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        by_chance += planted_cheap_search("fbnet", "theta_lr=0.05,final_samples=0", 6, seed);
    }
    assert_in_range(by_chance, 0, 12);
}

/* --- gradients against double precision ------------------------------------------------------------ */
enum { LAYERS = 2, OPS = 3, WIDTH = 4, CLASSES = 2, ROWS = 6, PURPOSE = 9 };
static const double costs[LAYERS][OPS] = {{5, 40, 11}, {300, 20, 7}};
static const double constant = 17, weight = 0.2, power = 0.6;

typedef struct problem {
    double w[LAYERS][OPS][WIDTH][WIDTH], x[ROWS][WIDTH], theta[LAYERS][OPS], tau;
    float noise[LAYERS][OPS];
    int label[ROWS];
} problem;

static void masks_of(const problem *p, int layer, double *m) {
    double sum = 0;
    for (int k = 0; k < OPS; k++) {
        sum += m[k] = exp((p->theta[layer][k] + p->noise[layer][k]) / p->tau);
    }
    for (int k = 0; k < OPS; k++) {
        m[k] /= sum;
    }
}

static double expected_cost(const problem *p) {
    double sum = constant, m[OPS];
    for (int l = 0; l < LAYERS; l++) {
        masks_of(p, l, m);
        for (int k = 0; k < OPS; k++) {
            sum += m[k] * costs[l][k];
        }
    }
    return sum;
}

static double cross_entropy(const problem *p) {
    double loss = 0, m[LAYERS][OPS];
    for (int l = 0; l < LAYERS; l++) {
        masks_of(p, l, m[l]);
    }
    for (int r = 0; r < ROWS; r++) {
        double at[LAYERS + 1][WIDTH] = {{0}};
        memcpy(at[0], p->x[r], sizeof at[0]);
        for (int l = 0; l < LAYERS; l++) {
            for (int k = 0; k < OPS; k++) {
                for (int o = 0; o < (l ? CLASSES : WIDTH); o++) {
                    for (int i = 0; i < WIDTH; i++) {
                        at[l + 1][o] += m[l][k] * p->w[l][k][o][i] * at[l][i];
                    }
                }
            }
        }
        double a = at[LAYERS][p->label[r]], b = at[LAYERS][1 - p->label[r]];
        loss += log1p(exp(b - a)) / ROWS;
    }
    return loss;
}

static double paper_loss(const problem *p) { return cross_entropy(p) * weight * pow(log(expected_cost(p)), power); }

typedef struct network {
    nas_module *model;
    nas_space *space;
    nas_trainer_config config;
    nas_search search;
    nas__gumbel gumbel;
    nas__cost_table *table;
    nas_tape *tape;
    nas_rng rng;
    double tau;
} network;

static nas_status copy_weight(const char *path, nas_tensor *t, nas_role role, void *user) {
    problem *p = user;
    int l, k;
    (void)role;
    float values[WIDTH * WIDTH];
    assert_int_equal(sscanf(path, "%d.%d.weight", &l, &k), 2);
    nas_tensor_read(t, values);
    for (int i = 0; i < nas_tensor_count(t); i++) {
        p->w[l][k][i / WIDTH][i % WIDTH] = values[i];
    }
    return NAS_OK;
}

static network *network_new(problem *p) {
    network *n = calloc(1, sizeof *n);
    nas_module *layers[LAYERS];
    for (int l = 0; l < LAYERS; l++) {
        nas_candidate candidates[OPS];
        for (int k = 0; k < OPS; k++) {
            candidates[k] = (nas_candidate){NULL, nas_dense(.in = WIDTH, .out = l ? CLASSES : WIDTH, .no_bias = true)};
        }
        layers[l] = nas_layer_choice(NULL, l ? "second" : "first", OPS, candidates);
    }
    n->model = nas_sequential_new(LAYERS, layers);
    n->space = nas_space_new(n->model);
    n->search = (nas_search){.space = n->space, .model = n->model, .config = &n->config};
    assert_int_equal(nas_initialise(n->model, 3), NAS_OK);
    assert_int_equal(nas__gumbel_new(&n->gumbel, &n->search, &(nas__alphas_config){.deviation = 1, .lr = 0.1}), NAS_OK);
    n->table = nas__cost_table_new(n->space, n->model, 1, (int64_t[]){WIDTH}, NAS__COST_MACS);
    assert_no_error();
    n->table->constant = constant;
    for (int l = 0; l < LAYERS; l++) {
        memcpy(n->table->cost + n->table->first[l], costs[l], sizeof costs[l]);
    }
    n->tape = nas_tape_new();
    nas_visit_parameters(n->model, copy_weight, p);
    return n;
}

static void network_free(network *n) {
    nas__gumbel_free(&n->gumbel);
    nas__cost_table_free(n->table);
    nas_space_free(n->space);
    nas_free(n->model);
    nas_tape_free(n->tape);
    free(n);
}

/* The pass of the next draw; the same noise, and theta, to the problem. */
static void decide(network *n, problem *p, double tau) {
    nas_rng rng = n->rng;
    n->tau = p->tau = tau;
    for (int l = 0; l < LAYERS; l++) {
        float theta[OPS];
        nas_tensor_read(n->gumbel.alphas.of_choice[l], theta);
        nas__gumbel_noise(&rng, OPS, p->noise[l]);
        for (int k = 0; k < OPS; k++) {
            p->theta[l][k] = theta[k];
        }
    }
    nas_tape_reset(n->tape);
    nas_tape_begin(n->tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
    assert_int_equal(nas__gumbel_decide(&n->gumbel, &n->search, &n->rng, &(nas__gumbel_pass){.tau = tau}), NAS_OK);
}

static nas_tensor *loss_of(network *n, problem *p) {
    float x[ROWS * WIDTH], y[ROWS];
    nas_rng rng = nas_rng_new(5, PURPOSE);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        p->x[i / WIDTH][i % WIDTH] = x[i] = (float)nas_rng_normal(&rng);
    }
    for (int r = 0; r < ROWS; r++) {
        p->label[r] = (int)nas_rng_below(&rng, CLASSES);
        y[r] = (float)p->label[r];
    }
    nas_tensor *output = nas_forward(n->model, nas_input(2, (int64_t[]){ROWS, WIDTH}, x));
    nas_tensor *loss = nas_cross_entropy(output, nas_input(1, (int64_t[]){ROWS}, y));
    nas__cost_term term = {.options = {.loss = NAS__COST_MUL, .weight = weight, .power = power, .target = "none"},
                           .table = n->table,
                           .target = 1};
    return nas__cost_loss(&term, loss, nas__expected_cost(n->table, &n->search, n->gumbel.weights));
}

static void gradients_are_those_of_the_loss(void **state) {
    (void)state;
    problem p = {0};
    network *n = network_new(&p);
    n->rng = nas_rng_new(4, PURPOSE);
    for (int i = 0; i < 20; i++) {
        decide(n, &p, i % 2 ? 5 : 0.7);
        nas_tensor *loss = loss_of(n, &p);
        assert_true(fabs(nas_tensor_item(loss) - paper_loss(&p)) < 1e-5 * paper_loss(&p));
        assert_int_equal(nas_backward(loss), NAS_OK);
        double largest = 0, worst = 0;
        for (int l = 0; l < LAYERS; l++) {
            float got[OPS];
            nas_tensor_read_grad(n->gumbel.alphas.of_choice[l], got);
            nas_zero_grad(n->gumbel.alphas.of_choice[l]);
            for (int k = 0; k < OPS; k++) {
                double at = p.theta[l][k], h = 1e-5;
                p.theta[l][k] = at + h;
                double above = paper_loss(&p);
                p.theta[l][k] = at - h;
                double slope = (above - paper_loss(&p)) / (2 * h);
                p.theta[l][k] = at;
                largest = fmax(largest, fabs(slope));
                worst = fmax(worst, fabs(slope - got[k]));
            }
        }
        if (!(worst <= 1e-4 * largest)) {
            fail_msg("draw %d: gradients up to %g are off by %g", i, largest, worst);
        }
    }
    network_free(n);
}

/* The expectation under given masks is the sum by hand; under one-hot masks that of the table, exactly. */
static void expected_costs_are_sums(void **state) {
    (void)state;
    problem p = {0};
    network *n = network_new(&p);
    n->rng = nas_rng_new(6, PURPOSE);
    for (int i = 0; i < 20; i++) {
        decide(n, &p, 1);
        double got = nas_tensor_item(nas__expected_cost(n->table, &n->search, n->gumbel.weights));
        assert_true(fabs(got - expected_cost(&p)) < 1e-6 * got);
        nas_tensor *hot[LAYERS];
        double sum = constant;
        for (int l = 0; l < LAYERS; l++) {
            int index;
            hot[l] = nas__gumbel_softmax(n->gumbel.alphas.of_choice[l], p.noise[l], 1, true, &index);
            sum += costs[l][index];
        }
        assert_true(nas_tensor_item(nas__expected_cost(n->table, &n->search, hot)) == (float)sum);
    }
    network_free(n);
}

/* --- costs that decide ------------------------------------------------------------------------------- */
/* A table in which candidate k of choice i costs more the nearer it is to what is planted there. */
static char *steep_table(const char *directory, uint64_t seed) {
    nas_module *model = planted_model(2);
    nas_space *space = nas_space_new(model);
    nas__cost_table *t = nas__cost_table_new(space, model, 1, (int64_t[]){PLANTED_VALUES}, NAS__COST_MACS);
    char *path = nas__join(directory, "costs.json");
    assert_no_error();
    t->constant = 100;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            int distance = (k - planted_right(seed, i) + PLANTED_CANDIDATES) % PLANTED_CANDIDATES;
            t->cost[t->first[i] + k] = 100 * (PLANTED_CANDIDATES - distance);
        }
    }
    assert_int_equal(nas__cost_table_write(t, space, path), NAS_OK);
    nas__cost_table_free(t);
    nas_space_free(space);
    nas_free(model);
    return path;
}

static nas_tensor *one(nas_tensor *output, nas_tensor *target) {
    (void)target;
    return nas_add_scalar(nas_scale(nas_sum(output), 0), 1);
}

typedef struct sweep {
    double cost;           /* of what is derived */
    double least;          /* probability of a choice's cheapest candidate */
    double entropy;        /* mean over the choices, as a part of log(n) */
    double drawn, uniform; /* mean scores of architectures */
} sweep;

static void look_at(nas_trainer *t, uint64_t seed, sweep *s) {
    *s = (sweep){.cost = 100, .least = 1};
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        double p[NAS_MAX_CANDIDATES];
        t->s.strategy->probabilities(&t->s, i, p);
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            int distance = (k - planted_right(seed, i) + PLANTED_CANDIDATES) % PLANTED_CANDIDATES;
            s->cost += nas_architecture_get(t->derived, i) >> k & 1 ? 100 * (PLANTED_CANDIDATES - distance) : 0;
            s->least = distance == PLANTED_CANDIDATES - 1 ? fmin(s->least, p[k]) : s->least;
            s->entropy -= p[k] > 0 ? p[k] * log(p[k]) / log(PLANTED_CANDIDATES) / PLANTED_CHOICES : 0;
        }
    }
}

static double mean_score(nas_trainer *t, bool uniform) {
    enum { NETS = 5 };
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_rng rng = nas_rng_new(11, uniform);
    double sum = 0, score;
    for (int n = 0; n < NETS; n++) {
        nas_architecture_random(a, &rng);
        for (int i = 0; !uniform && i < PLANTED_CHOICES; i++) {
            double p[NAS_MAX_CANDIDATES], u = nas_rng_uniform(&rng);
            t->s.strategy->probabilities(&t->s, i, p);
            int k = 0;
            while (k < PLANTED_CANDIDATES - 1 && u >= p[k]) {
                u -= p[k++];
            }
            nas_architecture_set(a, i, (uint64_t)1 << k);
        }
        assert_int_equal(nas_search_score(&t->s, a, &score), NAS_OK);
        sum += score / NETS;
    }
    nas_architecture_free(a);
    return sum;
}

static sweep search_with(const char *options, nas_loss_fn loss, uint64_t seed, bool scores) {
    planted p = planted_new(PLANTED_CLASSES, 2000, seed);
    sweep s;
    p.config.strategy = "fbnet";
    p.config.options = options;
    p.config.num_epochs = 6;
    p.config.loss = loss;
    p.config.score_steps = scores ? 0 : NAS_NONE;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9);
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    look_at(t, seed, &s);
    s.drawn = scores ? mean_score(t, false) : 0;
    s.uniform = scores ? mean_score(t, true) : 0;
    nas_trainer_free(t);
    planted_free(&p);
    return s;
}

static void cost_options(char *options, size_t size, const char *path, const char *more) {
    snprintf(options, size, "final_samples=0,theta_weight_decay=0,cost=macs,cost_table=%s,%s", path, more);
}

/* Only the cost counts: every choice settles on its cheapest candidate. */
static void alone_the_cost_decides(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = steep_table(directory, 1), options[512];
    static const char *const forms[] = {"theta_lr=0.1", "theta_lr=0.1,cost_loss=add,cost_target=auto"};
    for (int i = 0; i < 2; i++) {
        cost_options(options, sizeof options, path, forms[i]);
        sweep s = search_with(options, one, 1, false);
        if (!(s.least > 0.9)) {
            fail_msg("%s: a cheapest candidate has probability %.3f", forms[i], s.least);
        }
        assert_true(s.cost == 100 + PLANTED_CHOICES * 100);
    }
    free(path);
    remove_directory(directory);
}

/* The more the cost weighs, the less the derived network costs: from all right and dear to all wrong and cheap. */
static void costs_fall_with_their_weight(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = steep_table(directory, 2), options[512], more[128];
    static const double weights[] = {1e-6, 0.1, 1, 100};
    double before = HUGE_VAL;
    for (int i = 0; i < 4; i++) {
        snprintf(more, sizeof more, "theta_lr=0.05,cost_loss=add,cost_target=auto,cost_weight=%g", weights[i]);
        cost_options(options, sizeof options, path, more);
        double cost = search_with(options, nas_cross_entropy, 2, false).cost;
        if (!(cost <= before)) {
            fail_msg("weight %g: cost %g after %g", weights[i], cost, before);
        }
        assert_true(i != 0 || cost == 100 + PLANTED_CHOICES * 400.0);
        assert_true(i != 3 || cost == 100 + PLANTED_CHOICES * 100.0);
        before = cost;
    }
    free(path);
    remove_directory(directory);
}

/* The same retraining (that before a score) for all. */
static void the_distribution_is_better_than_chance(void **state) {
    (void)state;
    sweep s = search_with("theta_lr=0.05", nas_cross_entropy, 3, true);
    assert_true(s.entropy < 0.9);
    if (!(s.drawn > s.uniform)) {
        fail_msg("networks that were drawn score %.3f, uniform ones %.3f", s.drawn, s.uniform);
    }
}

/* --- phases ------------------------------------------------------------------------------------------ */
static struct {
    nas_trainer *trainer;
    nas_module *model;
    uint64_t weights, theta;
    int weight_steps, theta_steps, idle;
} seen;

static uint64_t theta_hash(const nas_trainer *t) {
    const nas__alphas *a = &((nas__gumbel *)t->s.memory)->alphas;
    uint64_t hash = 7;
    for (int i = 0; i < a->n; i++) {
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            uint32_t bits;
            memcpy(&bits, &a->of_choice[i]->data[k], sizeof bits);
            hash = (hash ^ bits) * 0x100000001b3u;
        }
    }
    return hash;
}

static bool check_phase(const nas_progress *progress, void *user) {
    (void)user;
    uint64_t weights = weights_hash(seen.model, NAS_ROLE_WEIGHT), theta = theta_hash(seen.trainer);
    bool first = progress->step <= seen.trainer->s.train_steps;
    assert_true(weights == seen.weights || first);
    assert_true(theta == seen.theta || !first);
    seen.weight_steps += weights != seen.weights;
    seen.theta_steps += theta != seen.theta;
    seen.idle += weights == seen.weights && theta == seen.theta;
    seen.weights = weights;
    seen.theta = theta;
    return false;
}

/* Ten epochs, the first two of them (0.2) for the weights alone: five steps on each part. */
static void phases_change_their_own(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 640, 1);
    nas_dataset *parts[3];
    assert_int_equal(nas_dataset_split(p.data, 1, 3, (const double[]){0.4, 0.2, 0.4}, parts), NAS_OK);
    p.config.dataset_train = parts[0];
    p.config.dataset_valid = parts[1];
    p.config.dataset_score = parts[2];
    p.config.strategy = "fbnet";
    p.config.options = "warmup=0.2,final_samples=1";
    p.config.num_epochs = 10;
    p.config.on_step = check_phase;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    seen.trainer = t;
    seen.model = p.model;
    seen.weights = weights_hash(p.model, NAS_ROLE_WEIGHT);
    seen.theta = theta_hash(t);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(seen.weight_steps, 10 * 8);
    assert_int_equal(seen.theta_steps, 8 * 4);
    assert_int_equal(seen.idle, 2 * 4);
    nas_trainer_free(t);
    for (int i = 0; i < 3; i++) {
        nas_dataset_free(parts[i]);
    }
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_found),
        cmocka_unit_test(in_turns_all_are_found),
        cmocka_unit_test(with_equal_costs_all_are_found),
        cmocka_unit_test(shuffled_labels_find_nothing),
        cmocka_unit_test(nothing_without_its_parts),
        cmocka_unit_test(the_planted_cost_optimum_is_found),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(expected_costs_are_sums),
        cmocka_unit_test(alone_the_cost_decides),
        cmocka_unit_test(costs_fall_with_their_weight),
        cmocka_unit_test(the_distribution_is_better_than_chance),
        cmocka_unit_test(phases_change_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
