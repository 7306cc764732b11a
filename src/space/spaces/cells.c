/* cells.c - see cells.h */
#include "space/spaces/cells.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdio.h>

enum { MOST_LAYERS = 64 };

/* --- the network --------------------------------------------------------------------------------------------- */
typedef struct network {
    nas_module base;
    nas_module *stem, *head, *cells[MOST_LAYERS];
    int layers;
    bool pads; /* images; other stems bring what they are given to a size that reductions halve */
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *stem = nas_forward(n->stem, n->pads ? nas__pad_image(x, 4) : x), *last[2] = {stem, stem};
    for (int i = 0; i < n->layers; i++) {
        nas_tensor *out = nas_cell_forward(n->cells[i], 2, last);
        last[0] = last[1];
        last[1] = out;
    }
    return nas_forward(n->head, last[1]);
}

static bool is_reduction(int layer, int layers) {
    return layers > 2 && (layer == layers / 3 || layer == 2 * layers / 3);
}

/* The channels of the last cell's output, or 0. */
static int add_cells(network *n, const nas__cells *cells, const nas__cells_options *o) {
    int stem = o->channels * o->stem_multiplier;
    nas_cell_config c = {.ops = cells->ops,
                         .n_ops = cells->n_ops,
                         .channels = o->channels,
                         .n_inputs = 2,
                         .nodes = o->nodes,
                         .in = {stem, stem},
                         .wiring = cells->wiring,
                         .merge = cells->merge,
                         .drop_path = true};
    for (int i = 0; i < o->layers; i++) {
        bool reduces = is_reduction(i, o->layers);
        char name[24];
        c.preprocess[0] = c.stride == 2 ? NAS_CELL_REDUCE : NAS_CELL_CONV;
        c.prefix = reduces ? "reduce" : "normal";
        c.stride = reduces ? 2 : 1;
        c.channels *= reduces ? 2 : 1;
        snprintf(name, sizeof name, "cell_%d", i);
        n->cells[i] = nas_child(n, name, nas_cell_new(&c));
        if (!n->cells[i]) {
            return 0;
        }
        c.in[0] = c.in[1];
        c.from[0] = c.from[1];
        c.from[1] = n->cells[i];
        c.in[1] = nas_cell_channels(n->cells[i]);
    }
    n->layers = o->layers;
    return c.in[1];
}

nas_module *nas__cells_new(const nas__cells *cells, const nas_space_config *config, const nas__cells_options *o) {
    network *n = o->channels % 2 ? nas__fail_null(NAS_INVALID, "space %s: channels is %d, but it must be even",
                                                  cells->space, o->channels)
                                 : nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->pads = !cells->stem;
    n->stem = nas_child(n, "stem", (cells->stem ? cells->stem : nas__stem)(config, o->channels * o->stem_multiplier));
    int channels = n->stem ? add_cells(n, cells, o) : 0;
    n->head = channels ? nas_child(n, "head", nas__head(channels, config->outputs)) : NULL;
    return nas__module_complete(n, n->head && !nas_cell_feed(n->cells[n->layers - 1], n->head));
}
