/* regression.c - not only classification: a table of numbers, a number to predict, squared error as the loss and the
 * negative root mean squared error as the reward. Searches a network for rows of a CSV file, then trains the network
 * that was found. Without a file it makes one: of every garment of Fashion-MNIST the brightness of the tiles of its
 * upper half, to predict how bright the lower half is.
 *
 *     cc regression.c $(pkg-config --cflags --libs espalier) -lm -o regression
 *     ./regression darts                       # or gdas
 *     ./regression gdas 1 5                    # one epoch of at most 5 steps
 *     ./regression darts 10 0 my.csv,target=y  # a table of your own */
#include <espalier/espalier.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 64, LAYERS = 3, SIDE = 28, TILE = 4, ROWS = 8000 };

/* --- the space: three layers, each of one of five kinds, and which of their results the answer is made of ----------
 */
struct net {
    nas_module base;
    nas_module *first, *layers[LAYERS], *last;
    nas_mutable *sources;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *y[LAYERS + 1] = {nas_relu(nas_forward(n->first, x))};
    for (int i = 0; i < LAYERS; i++) {
        y[i + 1] = nas_forward(n->layers[i], y[i]);
    }
    return nas_forward(n->last, nas_choose(n->sources, LAYERS + 1, y));
}

static nas_module *dense_and(nas_activation kind) {
    return nas_sequential(nas_dense(.in = HIDDEN, .out = HIDDEN), nas_activation_new(kind));
}

static nas_module *net_new(int columns) {
    struct net *n = nas_module_new(struct net, net_forward);
    if (!n) {
        return NULL;
    }
    n->first = nas_child(n, "first", nas_dense(.in = columns, .out = HIDDEN));
    for (int i = 0; i < LAYERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", i + 1);
        nas_module *bottleneck =
            nas_sequential(nas_dense(.in = HIDDEN, .out = HIDDEN / 4), nas_activation_new(NAS_RELU),
                           nas_dense(.in = HIDDEN / 4, .out = HIDDEN));
        n->layers[i] = nas_child(n, name,
                                 nas_layer_choice(n, name, 5,
                                                  ((nas_candidate[]){{"relu", dense_and(NAS_RELU)},
                                                                     {"tanh", dense_and(NAS_TANH)},
                                                                     {"gelu", dense_and(NAS_GELU)},
                                                                     {"bottleneck", bottleneck},
                                                                     {"skip", nas_identity_new()}})));
    }
    n->sources = nas_input_choice(n, "sources", .names = (const char *[]){"first", "layer1", "layer2", "layer3"},
                                  .n_candidates = LAYERS + 1, .n_min = 1, .reduce = NAS_SUM);
    n->last = nas_child(n, "last", nas_dense(.in = HIDDEN, .out = 1));
    if (nas_error_status()) {
        nas_free(n);
        return NULL;
    }
    return &n->base;
}

/* --- a table ---------------------------------------------------------------------------------------- */
static float brightness(const float *image, int top, int left, int height, int width) {
    float sum = 0;
    for (int row = top; row < top + height; row++) {
        for (int column = left; column < left + width; column++) {
            sum += image[row * SIDE + column];
        }
    }
    return sum / (float)(height * width);
}

static int write_table(const char *path, const char *data_dir) {
    nas_dataset *images = nas_dataset_open("fashion-mnist", data_dir, "train");
    FILE *file = images ? fopen(path, "w") : NULL;
    float image[SIDE * SIDE];
    if (!file) {
        nas_dataset_free(images);
        return -1;
    }
    for (int tile = 0; tile < SIDE / TILE * (SIDE / 2 / TILE); tile++) {
        fprintf(file, "tile%d,", tile);
    }
    fprintf(file, "lower\n");
    for (int i = 0; i < ROWS && !nas_dataset_read(images, i, image, NULL); i++) {
        for (int row = 0; row + TILE <= SIDE / 2; row += TILE) {
            for (int column = 0; column < SIDE; column += TILE) {
                fprintf(file, "%.4f,", brightness(image, row, column, TILE, TILE));
            }
        }
        fprintf(file, "%.4f\n", brightness(image, SIDE / 2, 0, SIDE / 2, SIDE));
    }
    nas_dataset_free(images);
    return fclose(file);
}

/* --- search and training ----------------------------------------------------------------------------- */
static nas_status search(nas_module *model, const char *strategy, int epochs, int batches, nas_dataset **part) {
    nas_trainer *trainer = nas_trainer_new(&(nas_trainer_config){
        .model = model,
        .strategy = strategy,
        .loss = nas_mse,
        .metrics = nas_regression_metrics, /* the root mean squared error chooses among networks */
        .reward = nas_negative_rmse,       /* what strategies that learn from rewards maximise */
        .optimizer = nas_sgd(.lr = 0.02, .momentum = 0.9, .weight_decay = 1e-4),
        .num_epochs = epochs,
        .limit_batches = batches,
        .dataset_train = part[0],
        .dataset_valid = part[1],
    });
    double rmse;
    nas_status status = trainer ? nas_trainer_train(trainer) : nas_error_status();
    status = status ? status : nas_trainer_export(trainer, "regression.json");
    if (!status && nas_trainer_best(trainer, &rmse)) {
        char *found = nas_architecture_json(nas_trainer_best(trainer, NULL), false);
        printf("%s found %s, RMSE %.4f with the shared weights\n", strategy, found ? found : "", rmse);
        free(found);
    }
    nas_trainer_free(trainer);
    return status;
}

int main(int argc, char **argv) {
    const char *strategy = argc > 1 ? argv[1] : "darts";
    int epochs = argc > 2 ? atoi(argv[2]) : 10, batches = argc > 3 ? atoi(argv[3]) : 0;
    char spec[1024] = "csv:garments.csv,target=lower,task=regression";
    if (argc > 4) {
        snprintf(spec, sizeof spec, "csv:%s,task=regression", argv[4]);
    } else if (write_table("garments.csv", NULL)) {
        return nas_error_status() ? nas_print_error() : (perror("garments.csv"), 1);
    }
    nas_dataset *train = nas_dataset_open(spec, NULL, "train"), *test = nas_dataset_open(spec, NULL, "test"), *part[2];
    if (!train || !test || nas_dataset_split(train, 1, 2, (const double[]){0.5, 0.5}, part)) {
        return nas_print_error();
    }
    int columns = (int)nas_dataset_describe(train)->dims[0];
    nas_module *model = net_new(columns), *found = net_new(columns);
    if (!model || !found || search(model, strategy, epochs, batches, part) ||
        nas_apply_fixed_architecture(found, "regression.json")) {
        return nas_print_error();
    }
    nas_evaluation result;
    nas_fit_config fit = {.model = found,
                          .loss = nas_mse,
                          .metrics = nas_regression_metrics,
                          .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4),
                          .num_epochs = 2 * epochs,
                          .limit_batches = batches,
                          .dataset_train = train};
    nas_evaluate_config evaluate = {.model = found, .loss = nas_mse, .metrics = nas_regression_metrics, .data = test};
    if (nas_fit(&fit, NULL) || nas_evaluate(&evaluate, &result)) {
        return nas_print_error();
    }
    printf("%lld rows of the test part: RMSE %.4f\n", (long long)result.images, result.metrics[0]);

    nas_module_free(model);
    nas_module_free(found);
    for (int i = 0; i < 2; i++) {
        nas_dataset_free(part[i]);
    }
    nas_dataset_free(train);
    nas_dataset_free(test);
    return 0;
}
