/* darts_custom.c - a search space of your own, searched by DARTS in second order, with a metric of your own that says
 * which network is best. Shows several layer choices, a choice inside a candidate, an input choice that takes one or
 * two of three inputs, and a metric where lower is better.
 *
 *     cc darts_custom.c $(pkg-config --cflags --libs espalier) -o darts_custom
 *     ./darts_custom           # 10 epochs on Fashion-MNIST (Debian package dataset-fashion-mnist)
 *     ./darts_custom 1 10      # one epoch of at most 10 steps
 *     ./darts_custom 10 0 DIR  # all steps, the data's files in DIR */
#include <espalier/espalier.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHANNELS = 16, CLASSES = 10, BLOCKS = 2 };

/* --- the space ---------------------------------------------------------------------------------- */
struct net {
    nas_module base;
    nas_module *stem, *block[BLOCKS], *half, *head;
    nas_mutable *sources;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *y[BLOCKS + 1] = {nas_forward(n->half, nas_forward(n->stem, x))};
    for (int i = 0; i < BLOCKS; i++) {
        y[i + 1] = nas_forward(n->block[i], y[i]);
    }
    return nas_forward(n->head, nas_choose(n->sources, BLOCKS + 1, y));
}

/* The candidate "bottleneck" has a choice of its own, which counts only when that candidate is chosen. Without a key a
 * choice is named after its place in the network. */
static nas_module *block_new(void) {
    nas_module *inner =
        nas_layer_choice(NULL, NULL, 2,
                         ((nas_candidate[]){
                             {"conv3x3", nas_conv_bn_relu(.in = CHANNELS / 2, .out = CHANNELS / 2, .kernel = 3)},
                             {"conv5x5", nas_conv_bn_relu(.in = CHANNELS / 2, .out = CHANNELS / 2, .kernel = 5)},
                         }));
    nas_module *bottleneck = nas_sequential(nas_conv_bn_relu(.in = CHANNELS, .out = CHANNELS / 2, .kernel = 1), inner,
                                            nas_conv_bn_relu(.in = CHANNELS / 2, .out = CHANNELS, .kernel = 1));
    return nas_layer_choice(
        NULL, NULL, 4,
        ((nas_candidate[]){
            {"bottleneck", bottleneck},
            {"sep3x3", nas_sep_conv(.in = CHANNELS, .kernel = 3)},
            {"max_pool", nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = 1, .padding = NAS_SAME)},
            {"skip", nas_identity_new()},
        }));
}

static nas_module *net_new(void) {
    struct net *n = nas_module_new(struct net, net_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(n, "stem", nas_conv_bn_relu(.in = 1, .out = CHANNELS, .kernel = 3));
    n->half = nas_child(n, "half", nas_pool(.kind = NAS_POOL_MAX, .kernel = 2));
    n->block[0] = nas_child(n, "block1", block_new());
    n->block[1] = nas_child(n, "block2", block_new());
    n->sources = nas_input_choice(n, "sources", .names = (const char *[]){"stem", "block1", "block2"},
                                  .n_candidates = BLOCKS + 1, .n_min = 1, .n_max = 2, .reduce = NAS_MEAN);
    n->head = nas_child(n, "head",
                        nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = CHANNELS, .out = CLASSES)));
    if (nas_error_status()) {
        nas_free(n);
        return NULL;
    }
    return &n->base;
}

/* --- the metric --------------------------------------------------------------------------------- */
/* What a mistake costs in a shop: a top taken for another top (T-shirt, pullover, coat, shirt) is half as bad as a bag
 * taken for a boot. A metric gets the outputs and targets of one batch and returns their mean. */
static bool is_top(int class) { return class == 0 || class == 2 || class == 4 || class == 6; }

static double mistake(const float *scores, int truth) {
    int answer = 0;
    for (int k = 1; k < CLASSES; k++) {
        answer = scores[k] > scores[answer] ? k : answer;
    }
    return answer == truth ? 0 : is_top(answer) && is_top(truth) ? 0.5 : 1;
}

static double shop_cost(const nas_tensor *output, const nas_tensor *target) {
    int64_t n = nas_tensor_dim(output, 0);
    float *scores = malloc((size_t)n * CLASSES * sizeof *scores), *truth = malloc((size_t)n * sizeof *truth);
    double sum = NAN; /* what a metric returns when it could not measure */
    if (scores && truth && !nas_tensor_read(output, scores) && !nas_tensor_read(target, truth)) {
        sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += mistake(scores + i * CLASSES, (int)truth[i]);
        }
    }
    free(scores);
    free(truth);
    return sum / (double)n;
}

/* The first metric of the list chooses among networks; the others are only shown. */
static const nas_metric metrics[] = {
    {.name = "cost", .measure = shop_cost, .lower_is_better = true},
    {.name = "acc1", .measure = nas_top1_accuracy},
    {.name = NULL},
};

/* --- the search --------------------------------------------------------------------------------- */
static bool print_epoch(const nas_progress *p, void *user) {
    (void)user;
    printf("epoch %d of %d: loss %.3f, %s of the derived network %.3f (best %.3f), entropy of the choices %.2f\n",
           p->epoch, p->epochs, p->loss, p->metric, p->score, p->best_score, p->entropy);
    return false;
}

int main(int argc, char **argv) {
    nas_dataset *images = nas_dataset_open("fashion-mnist", argc > 3 ? argv[3] : NULL, "train"), *part[3];
    nas_module *model = net_new();
    /* for the weights, for the choices, and for scoring what they would give */
    if (!images || !model || nas_dataset_split(images, 1, 3, (const double[]){0.45, 0.45, 0.1}, part)) {
        return nas_print_error();
    }
    nas_trainer_config config = {
        .model = model,
        .strategy = "darts",
        .options = "order=2,alpha_lr=3e-3",
        .metrics = metrics,
        .optimizer = nas_sgd(.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4),
        .batch_size = 64,
        .num_epochs = argc > 1 ? atoi(argv[1]) : 10,
        .limit_batches = argc > 2 ? atoi(argv[2]) : 0,
        .dataset_train = part[0],
        .dataset_valid = part[1],
        .dataset_score = part[2],
        .on_epoch = print_epoch,
    };
    nas_trainer *trainer = nas_trainer_new(&config);
    if (!trainer || nas_trainer_train(trainer) || nas_trainer_export(trainer, "darts_custom.json")) {
        return nas_print_error();
    }
    nas_trainer_free(trainer);

    /* The network of that file: unused candidates are gone. */
    long long searched = nas_parameter_count(model);
    nas_module *found = net_new();
    if (!found || nas_apply_fixed_architecture(found, "darts_custom.json")) {
        return nas_print_error();
    }
    printf("darts_custom.json: %lld of %lld parameters are left\n", (long long)nas_parameter_count(found), searched);

    nas_module_free(found);
    nas_module_free(model);
    for (int i = 0; i < 3; i++) {
        nas_dataset_free(part[i]);
    }
    nas_dataset_free(images);
    return 0;
}
