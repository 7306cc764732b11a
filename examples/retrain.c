/* retrain.c - trains the network that train.c has found, with the same network code (net.h): fixed from the JSON file
 * it has only the chosen layers left. Then scores it on the test images, once, and saves its weights.
 *
 *     cc retrain.c $(pkg-config --cflags --libs espalier) -o retrain
 *     ./retrain model_dir             # 20 epochs on Fashion-MNIST
 *     ./retrain model_dir 1 20        # one epoch of at most 20 steps
 *     ./retrain model_dir 20 0 DIR    # all steps, the data's files in DIR */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>

static bool print_epoch(const nas_progress *p, void *user) {
    (void)user;
    printf("epoch %d of %d: loss %.3f, %.0f images/s\n", p->epoch, p->epochs, p->loss, p->images_per_second);
    return false;
}

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : "model_dir";
    int epochs = argc > 2 ? atoi(argv[2]) : 20, batches = argc > 3 ? atoi(argv[3]) : 0;
    const char *data_dir = argc > 4 ? argv[4] : NULL;
    char architecture[4096], weights[4096];
    snprintf(architecture, sizeof architecture, "%s/final_architecture.json", directory);
    snprintf(weights, sizeof weights, "%s/weights.safetensors", directory);

    nas_module *model = net_new();
    if (!model) {
        return nas_print_error();
    }
    long long before = nas_parameter_count(model);
    if (nas_apply_fixed_architecture(model, architecture)) {
        return nas_print_error();
    }
    printf("%s: %lld parameters, of %lld with all candidates\n", architecture, (long long)nas_parameter_count(model),
           before);

    nas_dataset *train = nas_dataset_open("fashion-mnist", data_dir, "train");
    nas_dataset *test = nas_dataset_open("fashion-mnist", data_dir, "test");
    if (!train || !test) {
        return nas_print_error();
    }
    nas_fit_config fit = {
        .model = model,
        .loss = nas_cross_entropy,
        .optimizer = nas_sgd(.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4),
        .batch_size = 128,
        .num_epochs = epochs,
        .dataset_train = train,
        .limit_batches = batches,
        .seed = 1,
        .on_epoch = print_epoch,
    };
    nas_transform plain =
        nas_transform_default(train, false); /* the same scaling as in training, without augmentation */
    nas_evaluate_config evaluate = {
        .model = model, .metrics = nas_classification_metrics, .data = test, .transform = &plain};
    nas_evaluation result;
    if (nas_fit(&fit, NULL) || nas_evaluate(&evaluate, &result) || nas_save_weights(model, weights)) {
        return nas_print_error();
    }
    printf("%lld test images: loss %.4f, accuracy %.4f; weights in %s\n", (long long)result.images, result.loss,
           result.metrics[0], weights);

    nas_dataset_free(train);
    nas_dataset_free(test);
    nas_module_free(model);
    return 0;
}
