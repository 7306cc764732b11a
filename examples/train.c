/* train.c - searches a network of your own: one big network with choices in it is trained together with a controller
 * (ENAS) that learns which choices are good; the best ones are written to model_dir/final_architecture.json. The
 * network is in net.h.
 *
 *     cc train.c $(pkg-config --cflags --libs espalier) -o train
 *     ./train                  # 10 epochs on Fashion-MNIST (Debian package dataset-fashion-mnist)
 *     ./train 1 20             # one epoch of at most 20 steps: a look at how it goes
 *     ./train 10 0 DIR         # all steps, the data's files in DIR
 *
 * retrain.c goes on from there. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>

/* The library prints nothing by itself; its messages come here. */
static void print_line(nas_log_level level, const char *message, void *user) {
    (void)user;
    if (level >= NAS_LOG_INFO) {
        puts(message);
    }
}

int main(int argc, char **argv) {
    int epochs = argc > 1 ? atoi(argv[1]) : 10, batches = argc > 2 ? atoi(argv[2]) : 0;
    const char *data_dir = argc > 3 ? argv[3] : NULL; /* NULL: where the package has put the files */
    nas_set_log(print_line, NULL);

    /* Half of the training images teach the weights, half the choices. The test images are not touched here. */
    nas_dataset *images = nas_dataset_open("fashion-mnist", data_dir, "train"), *half[2];
    if (!images || nas_dataset_split(images, 1, 2, (const double[]){0.5, 0.5}, half)) {
        return nas_print_error();
    }
    nas_dataset *train = half[0], *valid = half[1];

    nas_module *model = net_new();
    if (!model) {
        return nas_print_error();
    }
    nas_trainer_config config = {
        .model = model,
        .strategy = "enas",
        .loss = nas_cross_entropy,
        .metrics = nas_classification_metrics,
        .reward = nas_top1_accuracy,
        .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4),
        .batch_size = 128,
        .num_epochs = epochs,
        .dataset_train = train,
        .dataset_valid = valid,
        .log_frequency = 10,
        .limit_batches = batches,
        .seed = 1,
    };
    nas_trainer *trainer = nas_trainer_new(&config);
    if (!trainer || nas_trainer_train(trainer) || nas_trainer_export(trainer, "model_dir/final_architecture.json")) {
        return nas_print_error();
    }
    char *found = nas_architecture_json(nas_trainer_best(trainer, NULL), false);
    if (!found) {
        return nas_print_error();
    }
    printf("model_dir/final_architecture.json: %s\n", found);

    free(found);
    nas_trainer_free(trainer);
    nas_module_free(model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
    nas_dataset_free(images);
    return 0;
}
