/* superkernel_fixture.c - see superkernel_fixture.h */
#include "search/superkernel_fixture.h"
#include "support.h"

#include "nn/module.h"
#include "tensor/prepared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIDDLE = DOT_SIDE / 2, PIXELS = DOT_SIDE * DOT_SIDE, VALUES = DOT_BLOCKS * DOT_CHANNELS * PIXELS };

/* --- the network ----------------------------------------------------------------------------------- */
struct net {
    nas_module base;
    nas_module *blocks[DOT_BLOCKS], *head;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *seen[DOT_BLOCKS];
    for (int i = 0; i < DOT_BLOCKS; i++) {
        nas_tensor *y = nas_forward(n->blocks[i], nas_slice(x, 1, DOT_CHANNELS * i, DOT_CHANNELS));
        seen[i] = nas_flatten(nas_slice(nas_slice(y, 2, MIDDLE, 1), 3, MIDDLE, 1));
    }
    return nas_forward(n->head, nas_concat(DOT_BLOCKS, seen, 1));
}

nas_module *dots_model(void) {
    struct net *n = nas_module_new(struct net, net_forward);
    for (int i = 0; n && i < DOT_BLOCKS; i++) {
        char name[16];
        snprintf(name, sizeof name, "picture%d", i);
        n->blocks[i] = nas_child(n, name, nas_superkernel_block(name, .in = DOT_CHANNELS, .out = DOT_CHANNELS));
    }
    n->head = nas_child(n, "head", nas_dense(.in = DOT_BLOCKS * DOT_CHANNELS, .out = 2));
    assert_no_error();
    return &n->base;
}

static nas_status wire_one(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    (void)user;
    if (strstr(path, "expand.weight")) {
        enum { HALF = 3 * DOT_CHANNELS };
        float w[2 * HALF * DOT_CHANNELS] = {0};
        for (int c = 0; c < 2 * HALF; c++) {
            w[c * DOT_CHANNELS + c / HALF] = c % 2 ? 1 : -1;
        }
        nas_tensor_write(tensor, w);
        nas__freeze(tensor);
    }
    return NAS_OK;
}

void dots_wire(nas_module *model) { assert_int_equal(nas_visit_parameters(model, wire_one, NULL), NAS_OK); }

/* --- the data -------------------------------------------------------------------------------------- */
int dots_right(dot_task task, uint64_t seed, int i) {
    int order[DOT_BLOCKS] = {0, 1, 2, 3, 4, 0}; /* each at least once */
    nas_rng rng = nas_rng_new(seed, 3000);
    order[DOT_BLOCKS - 1] = (int)nas_rng_below(&rng, 5);
    for (int k = DOT_BLOCKS - 1; k > 0; k--) {
        int other = (int)nas_rng_below(&rng, (uint32_t)k + 1), kept = order[k];
        order[k] = order[other];
        order[other] = kept;
    }
    return task == DOTS_EQUAL ? 0 : order[i];
}

int dots_found(const nas_architecture *a, dot_task task, uint64_t seed) {
    int found = 0;
    for (int i = 0; i < DOT_BLOCKS; i++) {
        found += nas_architecture_get(a, i) == (uint64_t)1 << dots_right(task, seed, i);
    }
    return found;
}

static float sign(nas_rng *rng, double probability_of_plus) {
    return nas_rng_uniform(rng) < probability_of_plus ? 1.0f : -1.0f;
}

/* Around the middle, along the row and along the column: a pair at each distance, one of which may carry the bit. */
static void draw_channel(nas_rng *rng, int distance, const float *bit, float *x) {
    for (int apart = 1; apart <= MIDDLE; apart++) {
        for (int step = 1; step <= DOT_SIDE; step += DOT_SIDE - 1) { /* to the next column, to the next row */
            float first = sign(rng, 0.5), second = sign(rng, 0.5);
            x[PIXELS / 2 - apart * step] = first;
            x[PIXELS / 2 + apart * step] = bit && 2 * apart == distance ? first * *bit : second;
        }
    }
}

static void draw(nas_rng *rng, dot_task task, uint64_t seed, bool label, float *x) {
    memset(x, 0, VALUES * sizeof *x);
    for (int i = 0; i < DOT_BLOCKS; i++) {
        int right = dots_right(task, seed, i), distance = right & 2 ? 4 : 2;
        for (int c = 0; c < DOT_CHANNELS; c++) {
            bool told = right != 4 && c <= (right & 1);
            float bit = sign(rng, label ? 0.8 : 0.2);
            draw_channel(rng, distance, told ? &bit : NULL, x + (DOT_CHANNELS * i + c) * PIXELS);
        }
    }
}

nas_dataset *dots_data(dot_task task, int64_t n, uint64_t seed) {
    float *x = malloc((size_t)(n * VALUES) * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    nas_rng rng = nas_rng_new(seed, 4000);
    for (int64_t i = 0; i < n; i++) {
        bool label = nas_rng_uniform(&rng) < 0.5;
        draw(&rng, task, seed, label, x + i * VALUES);
        y[i] = task == DOTS_SHUFFLED ? (float)nas_rng_below(&rng, 2) : (float)label;
    }
    nas_dataset *data =
        nas_dataset_from_arrays(n, 3, (int64_t[]){DOT_BLOCKS * DOT_CHANNELS, DOT_SIDE, DOT_SIDE}, x, 1, y, 2);
    free(x);
    free(y);
    assert_no_error();
    return data;
}
