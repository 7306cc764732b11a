/* segmentation.c - not only classification: a class for every pixel. The images are garments of Fashion-MNIST before a
 * noisy background, the answer to each is a mask: which pixels belong to the garment? Searches a network that keeps the
 * size of the image, with a loss per pixel and the intersection over union as the metric, then trains the network that
 * was found.
 *
 *     cc segmentation.c $(pkg-config --cflags --libs espalier) -lm -o segmentation
 *     ./segmentation darts         # or gdas
 *     ./segmentation gdas 1 5      # one epoch of at most 5 steps
 *     ./segmentation darts 4 0 DIR # all steps, the data's files in DIR */
#include <espalier/espalier.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHANNELS = 16, BLOCKS = 3, SIDE = 28, PIXELS = SIDE * SIDE };

/* --- the space: blocks that see little or much around a pixel ----------------------------------------- */
struct net {
    nas_module base;
    nas_module *stem, *blocks[BLOCKS], *head;
    nas_mutable *sources;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *y[BLOCKS + 1] = {nas_forward(n->stem, x)};
    for (int i = 0; i < BLOCKS; i++) {
        y[i + 1] = nas_forward(n->blocks[i], y[i]);
    }
    return nas_forward(n->head, nas_choose(n->sources, BLOCKS + 1, y));
}

static nas_module *net_new(void) {
    enum { LATER = NAS_AFFINE_WHEN_FIXED };
    struct net *n = nas_module_new(struct net, net_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(n, "stem", nas_conv_bn_relu(.in = 1, .out = CHANNELS, .kernel = 3));
    for (int i = 0; i < BLOCKS; i++) {
        char name[16];
        snprintf(name, sizeof name, "block%d", i + 1);
        n->blocks[i] = nas_child(
            n, name,
            nas_layer_choice(
                n, name, 5,
                ((nas_candidate[]){
                    {"conv1x1", nas_relu_conv_bn(.in = CHANNELS, .out = CHANNELS, .kernel = 1, .affine = LATER)},
                    {"conv3x3", nas_relu_conv_bn(.in = CHANNELS, .out = CHANNELS, .kernel = 3, .affine = LATER)},
                    {"sep5x5", nas_sep_conv(.in = CHANNELS, .kernel = 5, .affine = LATER)},
                    {"dil3x3", nas_dil_conv(.in = CHANNELS, .kernel = 3, .affine = LATER)},
                    {"skip", nas_identity_new()}})));
    }
    n->sources = nas_input_choice(n, "sources", .names = (const char *[]){"stem", "block1", "block2", "block3"},
                                  .n_candidates = BLOCKS + 1, .n_min = 1, .n_max = 2, .reduce = NAS_SUM);
    n->head = nas_child(n, "head", nas_conv(.in = CHANNELS, .out = 2, .kernel = 1, .bias = true));
    if (nas_error_status()) {
        nas_free(n);
        return NULL;
    }
    return &n->base;
}

/* --- images and masks ---------------------------------------------------------------------------------- */
static nas_status read_masked(void *user, int64_t index, float *x, float *y) {
    nas_dataset *garments = user;
    nas_rng rng = nas_rng_new((uint64_t)index, 28); /* always the same background for the same image */
    if (nas_dataset_read(garments, index, x, NULL)) {
        return nas_error_status();
    }
    for (int i = 0; i < PIXELS; i++) {
        y[i] = x[i] > 0.1f;
        x[i] = y[i] > 0 ? x[i] : (float)nas_rng_uniform(&rng);
    }
    return NAS_OK;
}

static void release(void *user) { nas_dataset_free(user); }

static nas_dataset *masked(const char *data_dir, const char *part) {
    nas_dataset *garments = nas_dataset_open("fashion-mnist", data_dir, part);
    return !garments ? NULL
                     : nas_dataset_new(&(nas_dataset_info){.name = "garments and their masks",
                                                           .size = nas_dataset_describe(garments)->size,
                                                           .ndim = 3,
                                                           .dims = {1, SIDE, SIDE},
                                                           .target_count = PIXELS,
                                                           .target_ndim = 2,
                                                           .target_dims = {SIDE, SIDE}},
                                       read_masked, release, garments);
}

/* --- the metric ------------------------------------------------------------------------------------------ */
static double overlap(const float *scores, const float *mask) {
    int both = 0, either = 0;
    for (int i = 0; i < PIXELS; i++) {
        bool found = scores[PIXELS + i] > scores[i], wanted = mask[i] > 0; /* scores of class 0, then of class 1 */
        both += found && wanted;
        either += found || wanted;
    }
    return either ? (double)both / either : 1;
}

/* Of a batch: outputs (N,2,28,28), targets (N,28,28). The mean over its images. */
static double intersection_over_union(const nas_tensor *output, const nas_tensor *target) {
    int64_t n = nas_tensor_dim(output, 0);
    float *scores = malloc((size_t)n * 2 * PIXELS * sizeof *scores),
          *masks = malloc((size_t)n * PIXELS * sizeof *masks);
    double sum = NAN; /* what a metric returns when it could not measure */
    if (scores && masks && !nas_tensor_read(output, scores) && !nas_tensor_read(target, masks)) {
        sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += overlap(scores + i * 2 * PIXELS, masks + i * PIXELS);
        }
    }
    free(scores);
    free(masks);
    return sum / (double)n;
}

static const nas_metric metrics[] = {{.name = "iou", .measure = intersection_over_union}, {.name = NULL}};

/* --- search and training ----------------------------------------------------------------------------------- */
static nas_status search(nas_module *model, const char *strategy, int epochs, int batches, nas_dataset **part) {
    nas_transform plain = nas_transform_default(part[0], false); /* a mask would not be shifted with its image */
    nas_trainer *trainer = nas_trainer_new(&(nas_trainer_config){
        .model = model,
        .strategy = strategy,
        .options = "alpha_lr=3e-3",
        .loss = nas_cross_entropy,
        .metrics = metrics,
        .num_epochs = epochs,
        .limit_batches = batches,
        .dataset_train = part[0],
        .dataset_valid = part[1],
        .transform = &plain,
        .score_images = 1000,
    });
    double iou;
    nas_status status = trainer ? nas_trainer_train(trainer) : nas_error_status();
    status = status ? status : nas_trainer_export(trainer, "segmentation.json");
    if (!status && nas_trainer_best(trainer, &iou)) {
        char *found = nas_architecture_json(nas_trainer_best(trainer, NULL), false);
        printf("%s found %s, IoU %.4f with the shared weights\n", strategy, found ? found : "", iou);
        free(found);
    }
    nas_trainer_free(trainer);
    return status;
}

int main(int argc, char **argv) {
    const char *strategy = argc > 1 ? argv[1] : "darts", *data_dir = argc > 4 ? argv[4] : NULL;
    int epochs = argc > 2 ? atoi(argv[2]) : 4, batches = argc > 3 ? atoi(argv[3]) : 0;
    nas_dataset *train = masked(data_dir, "train"), *test = masked(data_dir, "test"), *part[2];
    nas_module *model = net_new(), *found = net_new();
    if (!train || !test || !model || !found || nas_dataset_split(train, 1, 2, (const double[]){0.5, 0.5}, part) ||
        search(model, strategy, epochs, batches, part) || nas_apply_fixed_architecture(found, "segmentation.json")) {
        return nas_print_error();
    }
    nas_transform plain = nas_transform_default(train, false);
    nas_evaluation result;
    nas_fit_config fit = {.model = found,
                          .loss = nas_cross_entropy,
                          .metrics = metrics,
                          .num_epochs = epochs,
                          .limit_batches = batches,
                          .dataset_train = train,
                          .transform = &plain};
    nas_evaluate_config evaluate = {.model = found,
                                    .loss = nas_cross_entropy,
                                    .metrics = metrics,
                                    .data = test,
                                    .transform = &plain,
                                    .limit_batches = batches};
    if (nas_fit(&fit, NULL) || nas_evaluate(&evaluate, &result)) {
        return nas_print_error();
    }
    printf("%lld test images: loss %.4f per pixel, IoU %.4f\n", (long long)result.images, result.loss,
           result.metrics[0]);

    nas_module_free(model);
    nas_module_free(found);
    for (int i = 0; i < 2; i++) {
        nas_dataset_free(part[i]);
    }
    nas_dataset_free(train);
    nas_dataset_free(test);
    return 0;
}
