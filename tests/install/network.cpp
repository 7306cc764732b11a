// The network of examples/net.h in C++, which has no designated initialisers: searched for some steps, fixed, smaller.
#include <espalier/espalier.h>

#include <cstdio>
#include <vector>

struct net : nas_module {
    nas_module *stem, *conv, *head;
    nas_mutable *skip;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    net *n = static_cast<net *>(self);
    nas_tensor *a = nas_forward(n->stem, x);
    nas_tensor *inputs[] = {a, nas_forward(n->conv, a)};
    return nas_forward(n->head, nas_choose(n->skip, 2, inputs));
}

static nas_module *conv_bn_relu(int in, int out, int kernel) {
    nas_conv_config config = {};
    config.in = in;
    config.out = out;
    config.kernel = kernel;
    return nas_conv_bn_relu_new(&config);
}

static nas_module *head_new() {
    nas_pool_config pool = {};
    pool.kind = NAS_POOL_GLOBAL;
    nas_dense_config dense = {};
    dense.in = 8;
    dense.out = 3;
    nas_module *layers[] = {nas_pool_new(&pool), nas_dense_new(&dense)};
    return nas_sequential_new(2, layers);
}

static nas_module *net_new() {
    net *n = nas_module_new(net, net_forward);
    const nas_candidate candidates[] = {{"conv3x3", conv_bn_relu(8, 8, 3)}, {"conv5x5", conv_bn_relu(8, 8, 5)}};
    const char *names[] = {"layer1", "layer2"};
    nas_input_choice_config skip = {};
    skip.names = names;
    skip.n_candidates = 2;
    skip.n_chosen = 1;
    n->stem = nas_child(n, "stem", conv_bn_relu(1, 8, 3));
    n->conv = nas_child(n, "conv", nas_layer_choice(n, "LayerChoice1", 2, candidates));
    n->skip = nas_input_choice_new(n, "InputChoice2", &skip);
    n->head = nas_child(n, "head", head_new());
    return nas_error_status() ? nullptr : n;
}

// Three classes of noise, 8x8 pixels, each a little brighter than the one before.
static nas_dataset *data_new(int n) {
    const int64_t dims[] = {1, 8, 8};
    nas_rng rng = nas_rng_new(1, 2);
    std::vector<float> x, y;
    for (int i = 0; i < n; i++) {
        y.push_back(static_cast<float>(i % 3));
        for (int k = 0; k < 64; k++) {
            x.push_back(static_cast<float>(nas_rng_uniform(&rng) + 0.3 * (i % 3)));
        }
    }
    return nas_dataset_from_arrays(n, 3, dims, x.data(), 1, y.data(), 3);
}

int main() {
    nas_module *model = net_new(), *fixed = net_new();
    nas_dataset *data = data_new(120), *parts[2];
    const double halves[] = {0.5, 0.5};
    if (!model || !fixed || nas_dataset_split(data, 1, 2, halves, parts)) {
        return nas_print_error();
    }
    nas_trainer_config config = {};
    config.model = model;
    config.strategy = "darts";
    config.batch_size = 8;
    config.num_epochs = 2;
    config.dataset_train = parts[0];
    config.dataset_valid = parts[1];
    nas_trainer *trainer = nas_trainer_new(&config);
    if (!trainer || nas_trainer_train(trainer) || nas_trainer_export(trainer, "final_architecture.json") ||
        nas_apply_fixed_architecture(fixed, "final_architecture.json")) {
        return nas_print_error();
    }
    long long all = nas_parameter_count(model), left = nas_parameter_count(fixed);
    std::printf("%lld of %lld parameters are left\n", left, all);
    // One of the two candidates is gone: 8*8*9 or 8*8*25 weights, and 8 + 8 numbers of its batch norm.
    bool pruned = all - left == 8 * 8 * 9 + 16 || all - left == 8 * 8 * 25 + 16;
    nas_trainer_free(trainer);
    nas_module_free(model);
    nas_module_free(fixed);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return pruned ? 0 : 1;
}
