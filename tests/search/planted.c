/* planted.c - see planted.h */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "search/trials.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[PLANTED_CANDIDATES] = {"flat", "rows", "columns", "diagonal"};
static const float patterns[PLANTED_CANDIDATES][4] = {
    {0.5f, 0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, -0.5f, -0.5f}, {0.5f, -0.5f, 0.5f, -0.5f}, {0.5f, -0.5f, -0.5f, 0.5f}};

/* --- the network ---------------------------------------------------------------------------------
 * Batch norm without gains keeps what a wrong candidate adds as loud as what the right one adds, so that no weight can
 * undo a wrong choice; each choice has a channel of the sum to itself, so that the head can give every bit its sign. */
struct detector {
    nas_module base;
    int quadrant, pattern;
};

static nas_tensor *detect(nas_module *self, nas_tensor *x) {
    const struct detector *d = (struct detector *)self;
    return nas_linear(nas_slice(x, 1, 4 * d->quadrant, 4), nas_input(2, (int64_t[]){1, 4}, patterns[d->pattern]), NULL);
}

static nas_module *candidate(int quadrant, int pattern, int hidden) {
    struct detector *d = nas_module_new(struct detector, detect);
    if (d) {
        d->quadrant = quadrant;
        d->pattern = pattern;
    }
    nas_module *norm = nas_bn(.channels = 1, .affine = NAS_AFFINE_WHEN_FIXED);
    return hidden ? nas_sequential(&d->base, nas_dense(.in = 1, .out = hidden), nas_dense(.in = hidden, .out = 1), norm)
                  : nas_sequential(&d->base, nas_dense(.in = 1, .out = 1), norm);
}

struct net {
    nas_module base;
    nas_module *choices[PLANTED_CHOICES], *head;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *seen[PLANTED_CHOICES];
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        float channel[PLANTED_CHOICES] = {0};
        channel[i] = 1;
        nas_tensor *y = nas_drop_path(nas_forward(n->choices[i], x), -1);
        seen[i] = nas_linear(y, nas_input(2, (int64_t[]){PLANTED_CHOICES, 1}, channel), NULL);
    }
    return nas_forward(n->head, nas_sum_of(PLANTED_CHOICES, seen));
}

int planted_by_cost(uint64_t seed, int i, int rank) {
    nas_rng rng = nas_rng_new(seed, 3000 + (uint64_t)i);
    int order[PLANTED_CANDIDATES] = {0, 1, 2, 3};
    for (int k = PLANTED_CANDIDATES - 1; k > 0; k--) {
        int other = (int)nas_rng_below(&rng, (uint32_t)k + 1), kept = order[k];
        order[k] = order[other];
        order[other] = kept;
    }
    return order[rank];
}

int planted_cheap_found(const nas_architecture *a, uint64_t seed) {
    int found = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        found += nas_architecture_get(a, i) == (uint64_t)1 << planted_by_cost(seed, i, 0);
    }
    return found;
}

/* cost_seed NULL: a detector per pattern; else the right detector, at four costs. */
static nas_module *model_of(int outputs, const uint64_t *cost_seed) {
    struct net *n = nas_module_new(struct net, net_forward);
    for (int i = 0; n && i < PLANTED_CHOICES; i++) {
        nas_candidate candidates[PLANTED_CANDIDATES];
        char name[16];
        snprintf(name, sizeof name, "quadrant%d", i);
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            int pattern = cost_seed ? planted_right(*cost_seed, i) : k, hidden = 0;
            for (int rank = 0; cost_seed && rank < PLANTED_CANDIDATES; rank++) {
                hidden = planted_by_cost(*cost_seed, i, rank) == k ? 1 << 2 * rank : hidden;
            }
            candidates[k] = (nas_candidate){names[k], candidate(i, pattern, hidden)};
        }
        n->choices[i] = nas_child(n, name, nas_layer_choice(n, name, PLANTED_CANDIDATES, candidates));
    }
    n->head =
        nas_child(n, "head", nas_sequential(nas_dropout_new(0.05f), nas_dense(.in = PLANTED_CHOICES, .out = outputs)));
    assert_no_error();
    return &n->base;
}

nas_module *planted_model(int outputs) { return model_of(outputs, NULL); }
nas_module *planted_cost_model(int outputs, uint64_t seed) { return model_of(outputs, &seed); }

/* --- the same on images --------------------------------------------------------------------------
 * Channel c shows what pattern (first + c) % 4 has seen, where `first` is not the right one: so does channel 0 of an
 * identity. */
static int first_pattern(uint64_t seed, int i) { return (planted_right(seed, i) + 1) % PLANTED_CANDIDATES; }

/* All channels of the result are what the detector's pattern has seen. Works on any multiple of four channels: it may
 * be given a part of them. */
static nas_tensor *detect_image(nas_module *self, nas_tensor *x) {
    enum { C = PLANTED_IMAGE_CHANNELS, K = PLANTED_CANDIDATES };
    const struct detector *d = (struct detector *)self;
    int64_t channels = nas_tensor_dim(x, 1);
    float weights[C * C];
    for (int i = 0; i < channels * channels; i++) {
        weights[i] = (d->quadrant + i) % K == d->pattern ? (float)K / (float)channels : 0;
    }
    return nas_conv2d(x, nas_input(4, (int64_t[]){channels, channels, 1, 1}, weights), NULL, (nas_conv_args){0});
}

static nas_module *image_candidate(int first, int pattern) {
    struct detector *d = nas_module_new(struct detector, detect_image);
    if (d) {
        d->quadrant = first;
        d->pattern = pattern;
    }
    return nas_sequential(&d->base,
                          nas_conv(.in = PLANTED_IMAGE_CHANNELS, .out = PLANTED_IMAGE_CHANNELS, .kernel = 1,
                                   .groups = PLANTED_IMAGE_CHANNELS),
                          nas_bn(.channels = PLANTED_IMAGE_CHANNELS, .affine = NAS_AFFINE_WHEN_FIXED));
}

struct image_net {
    struct net net;
    int first[PLANTED_CHOICES];
};

static nas_tensor *image_of(nas_tensor *x, int quadrant, int first) {
    enum { C = PLANTED_IMAGE_CHANNELS };
    float rows[C * 4];
    for (int i = 0; i < C * 4; i++) {
        rows[i] = patterns[(first + i / 4) % PLANTED_CANDIDATES][i % 4];
    }
    nas_tensor *y = nas_linear(nas_slice(x, 1, 4 * quadrant, 4), nas_input(2, (int64_t[]){C, 4}, rows), NULL);
    return nas_reshape(y, 4, (int64_t[]){nas_tensor_dim(x, 0), C, 1, 1});
}

static nas_tensor *images_forward(nas_module *self, nas_tensor *x) {
    struct image_net *n = (struct image_net *)self;
    nas_tensor *seen[PLANTED_CHOICES];
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        nas_tensor *y = nas_forward(n->net.choices[i], image_of(x, i, n->first[i]));
        seen[i] = nas_slice(nas_flatten(y), 1, 0, 1);
    }
    return nas_forward(n->net.head, nas_concat(PLANTED_CHOICES, seen, 1));
}

nas_module *planted_images(int outputs, uint64_t seed) {
    struct image_net *n = nas_module_new(struct image_net, images_forward);
    for (int i = 0; n && i < PLANTED_CHOICES; i++) {
        nas_candidate candidates[PLANTED_CANDIDATES + 1];
        char name[16];
        snprintf(name, sizeof name, "quadrant%d", i);
        n->first[i] = first_pattern(seed, i);
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            candidates[k] = (nas_candidate){names[k], image_candidate(n->first[i], k)};
        }
        candidates[PLANTED_SKIP] = (nas_candidate){"skip_connect", nas_identity_new()};
        n->net.choices[i] = nas_child(n, name, nas_layer_choice(n, name, PLANTED_CANDIDATES + 1, candidates));
    }
    n->net.head = nas_child(n, "head", nas_dense(.in = PLANTED_CHOICES, .out = outputs));
    assert_no_error();
    return &n->net.base;
}

/* --- the data ------------------------------------------------------------------------------------ */
int planted_right(uint64_t seed, int i) {
    nas_rng rng = nas_rng_new(seed, 1000 + (uint64_t)i);
    return (int)nas_rng_below(&rng, PLANTED_CANDIDATES);
}

int planted_found(const nas_architecture *a, uint64_t seed) {
    int found = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        found += nas_architecture_get(a, i) == (uint64_t)1 << planted_right(seed, i);
    }
    return found;
}

char *planted_answer(uint64_t seed) {
    char text[512] = "{", part[64];
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        snprintf(part, sizeof part, "%s\"quadrant%d\": \"%s\"", i ? ", " : "", i, names[planted_right(seed, i)]);
        strcat(text, part);
    }
    return strdup(strcat(text, "}"));
}

static float sign(nas_rng *rng, double probability_of_plus) {
    return nas_rng_uniform(rng) < probability_of_plus ? 1.0f : -1.0f;
}

/* One sample; the sum of its bits through *bits. */
static void draw(nas_rng *rng, uint64_t seed, bool label, float *x, float *bits) {
    memset(x, 0, PLANTED_VALUES * sizeof *x);
    *bits = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        float bit = sign(rng, label ? 0.75 : 0.25);
        *bits += bit;
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            float value = k == planted_right(seed, i) ? bit : sign(rng, 0.5);
            value += 0.2f * (float)nas_rng_normal(rng);
            for (int j = 0; j < 4; j++) {
                x[4 * i + j] += value * patterns[k][j];
            }
        }
    }
}

nas_dataset *planted_data(planted_task task, int64_t n, uint64_t seed) {
    float *x = malloc((size_t)(n * PLANTED_VALUES) * sizeof *x), *y = malloc((size_t)n * sizeof *y), bits;
    nas_rng rng = nas_rng_new(seed, 2000);
    for (int64_t i = 0; i < n; i++) {
        bool label = nas_rng_uniform(&rng) < 0.5;
        draw(&rng, seed, label, x + i * PLANTED_VALUES, &bits);
        y[i] = task == PLANTED_NUMBERS ? bits : task == PLANTED_CLASSES ? (float)label : (float)nas_rng_below(&rng, 2);
    }
    nas_dataset *data =
        nas_dataset_from_arrays(n, 1, (int64_t[]){PLANTED_VALUES}, x, 1, y, task == PLANTED_NUMBERS ? 0 : 2);
    free(x);
    free(y);
    assert_no_error();
    return data;
}

/* --- a search ------------------------------------------------------------------------------------ */
static planted search_of(nas_module *model, planted_task task, int64_t n, uint64_t seed) {
    planted p = {.model = model, .data = planted_data(task, n, seed)};
    assert_int_equal(nas_dataset_split(p.data, seed, 2, (const double[]){0.5, 0.5}, p.parts), NAS_OK);
    p.config = (nas_trainer_config){.model = p.model,
                                    .strategy = "darts",
                                    .options = "alpha_lr=0.05",
                                    .batch_size = 32,
                                    .num_epochs = 3,
                                    .dataset_train = p.parts[0],
                                    .dataset_valid = p.parts[1],
                                    .log_frequency = NAS_NONE,
                                    .seed = seed,
                                    .threads = 1};
    return p;
}

planted planted_new(planted_task task, int64_t n, uint64_t seed) {
    return search_of(planted_model(task == PLANTED_NUMBERS ? 1 : 2), task, n, seed);
}

planted planted_cost_new(planted_task task, int64_t n, uint64_t seed) {
    return search_of(planted_cost_model(task == PLANTED_NUMBERS ? 1 : 2, seed), task, n, seed);
}

void planted_free(planted *p) {
    nas_dataset_free(p->parts[0]);
    nas_dataset_free(p->parts[1]);
    nas_dataset_free(p->data);
    nas_free(p->model);
}

int planted_search(const char *strategy, const char *options, planted_task task, uint64_t seed) {
    planted p = planted_new(task, 3000, seed);
    p.config.strategy = strategy;
    p.config.options = options;
    p.config.num_epochs = 6;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    int found = planted_found(t->derived, seed);
    nas_trainer_free(t);
    planted_free(&p);
    return found;
}

void planted_finds_all(const char *strategy, const char *options, int seeds) {
    for (int seed = 1; seed <= seeds; seed++) {
        int found = planted_search(strategy, options, PLANTED_CLASSES, (uint64_t)seed);
        if (found != PLANTED_CHOICES) {
            fail_msg("%s, %s, seed %d: %d of %d right", strategy, options, seed, found, PLANTED_CHOICES);
        }
    }
}

int planted_cheap_search(const char *strategy, const char *options, int epochs, uint64_t seed) {
    planted p = planted_cost_new(PLANTED_CLASSES, 2048, seed);
    p.config.strategy = strategy;
    p.config.options = options;
    p.config.num_epochs = epochs;
    p.config.score_steps = NAS_NONE;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    int found = planted_cheap_found(t->derived, seed);
    nas_trainer_free(t);
    planted_free(&p);
    return found;
}

void planted_finds_cheapest(const char *strategy, const char *options, int epochs, int seeds) {
    for (int seed = 1; seed <= seeds; seed++) {
        int found = planted_cheap_search(strategy, options, epochs, (uint64_t)seed);
        if (found != PLANTED_CHOICES) {
            fail_msg("%s, %s, seed %d: %d of %d are the cheapest", strategy, options, seed, found, PLANTED_CHOICES);
        }
    }
}

/* --- resuming searches by trials ----------------------------------------------------------------- */
typedef struct outcome {
    uint64_t weights, hash;
    double score;
    size_t trials;
} outcome;

static outcome searched(nas_trainer *(*trainer_of)(planted *p, const char *options), const char *options,
                        const char *directory, int stop_at) {
    outcome o = {0};
    for (int segment = 0; segment < (stop_at ? 2 : 1); segment++) {
        planted p = planted_new(PLANTED_CLASSES, 640, 1);
        step_losses losses = {.stop_at = segment == 0 ? stop_at : 0};
        p.config.num_epochs = 3;
        p.config.on_step = record_loss;
        p.config.user = &losses;
        p.config.run_dir = directory;
        p.config.resume = segment > 0;
        nas_trainer *t = trainer_of(&p, options);
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        assert_true(nas_trainer_stopped(t) == (losses.stop_at > 0));
        const nas__trials *trials = t->s.memory;
        o = (outcome){.weights = weights_hash(p.model, EVERYTHING), .trials = trials->n_done};
        for (size_t i = 0; i < o.trials; i++) {
            o.hash = o.hash * 0x100000001b3u ^ trials->done[i]->hash;
        }
        nas_trainer_best(t, &o.score);
        nas_trainer_free(t);
        planted_free(&p);
    }
    return o;
}

void assert_trials_resume(nas_trainer *(*trainer_of)(planted *p, const char *options), const char *options,
                          size_t trials, int n_stops, const int *stops) {
    outcome whole = searched(trainer_of, options, NULL, 0);
    assert_int_equal(whole.trials, trials);
    for (int k = 0; k < n_stops; k++) {
        char *directory = temporary_directory();
        outcome parts = searched(trainer_of, options, directory, stops[k]);
        assert_true(whole.weights == parts.weights && whole.hash == parts.hash && whole.score == parts.score);
        assert_int_equal(whole.trials, parts.trials);
        remove_directory(directory);
    }
}

/* --- what tests compare -------------------------------------------------------------------------- */
typedef struct summing {
    uint64_t hash;
    unsigned roles;
} summing;

static nas_status add_to_hash(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    summing *sum = user;
    if (!(sum->roles & role)) {
        return NAS_OK;
    }
    size_t size = (size_t)nas_tensor_count(tensor) * sizeof(float);
    unsigned char *bytes = malloc(size);
    (void)path;
    nas_status status = nas_tensor_read(tensor, (float *)bytes);
    for (size_t i = 0; !status && i < size; i++) {
        sum->hash = (sum->hash ^ bytes[i]) * 0x100000001b3u;
    }
    free(bytes);
    return status;
}

uint64_t weights_hash(nas_module *model, unsigned roles) {
    summing sum = {0xcbf29ce484222325u, roles};
    assert_int_equal(nas_visit_parameters(model, add_to_hash, &sum), NAS_OK);
    return sum.hash;
}

bool record_loss(const nas_progress *progress, void *user) {
    step_losses *l = user;
    assert_true(l->n < (int)(sizeof l->values / sizeof *l->values));
    l->values[l->n++] = progress->loss;
    if (l->n == l->kill_at) {
        kill(getpid(), SIGKILL);
    }
    return l->n == l->stop_at;
}

void assert_same_losses(const double *a, const double *b, int n, const char *what) {
    for (int i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            fail_msg("%s: step %d of %d has loss %.17g instead of %.17g", what, i + 1, n, a[i], b[i]);
        }
    }
}

void assert_on_time(double seconds, double budget) {
    if (!(seconds > 0.87 * budget && seconds < 1.25 * budget)) {
        fail_msg("the run took %.2f s of %.2f s", seconds, budget);
    }
}

char *file_text(const char *directory, const char *name) {
    char *path = nas__join(directory, name), *text = nas__read_file(path, NULL);
    if (!text) {
        fail_msg("%s", nas_error_message());
    }
    free(path);
    return text;
}
