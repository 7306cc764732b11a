/* mobile.c - see mobile.h. */
#include "space/spaces/mobile.h"

#include "nn/module.h"

#include <stdio.h>
#include <stdlib.h>

/* --- options ---------------------------------------------------------------------------------------------- */
static int scaled(const nas__mobile_options *o, int width) {
    return o->width == 1 || !width ? width : nas_round_channels(width * o->width, 8);
}

bool nas__mobile_stages(nas__mobile *m, const char *space, const nas__mobile_options *o,
                        const nas_space_config *config) {
    int strides[NAS_LIST_MOST + 1];
    m->n_stages = o->depths.n;
    if (o->widths.n < m->n_stages || o->strides.n < m->n_stages + 1) {
        return nas__fail_null(NAS_INVALID,
                              "space %s: depths has %d stages, but widths has %d, and strides has %d numbers (one for "
                              "the stem and one for each stage are needed)",
                              space, m->n_stages, o->widths.n, o->strides.n);
    }
    for (int i = 0; i <= m->n_stages; i++) {
        strides[i] = o->strides.values[i];
    }
    if (o->fit_strides) {
        nas__fit_strides(config, m->n_stages + 1, strides);
    }
    m->stem = scaled(o, o->stem);
    m->first = scaled(o, m->first);
    m->last = o->width > 1 ? scaled(o, o->last) : o->last;
    m->stem_stride = strides[0];
    for (int i = 0; i < m->n_stages; i++) {
        m->stages[i] = (nas__mobile_stage){.width = scaled(o, o->widths.values[i]),
                                           .blocks = o->depths.values[i],
                                           .stride = strides[i + 1],
                                           .activation = m->activation};
    }
    return true;
}

/* --- a block: a choice of inverted residuals ------------------------------------------------------------------- */
typedef struct residual {
    nas_module base;
    nas_module *choice;
} residual;

static nas_tensor *residual_forward(nas_module *self, nas_tensor *x) {
    return nas_add(x, nas_forward(((residual *)self)->choice, x));
}

static nas_module *residual_new(nas_module *choice) {
    residual *r = nas_module_new(residual, residual_forward);
    if (!r) {
        nas_module_free(choice);
        return NULL;
    }
    r->choice = nas_child(r, "choice", choice);
    return nas__module_complete(r, r->choice != NULL);
}

typedef struct block {
    int in, out, stride;
    nas_activation activation;
} block;

static nas_module *candidate_new(const nas__mobile *m, const nas__mobile_candidate *c, const block *b) {
    return nas_mbconv(.in = b->in, .out = b->out, .stride = b->stride, .kernel = c->kernel, .expansion = c->expansion,
                      .groups = c->groups, .squeeze = c->squeeze, .activation = b->activation,
                      .always_expand = m->always_expand, .no_shortcut = m->shared_shortcut, .bn_eps = m->bn_eps);
}

static nas_module *block_new(const nas__mobile *m, const char *key, const block *b) {
    nas_candidate list[NAS__MOBILE_CANDIDATES + 1];
    bool kept = b->stride == 1 && b->in == b->out;
    int n = m->n_candidates;
    for (int i = 0; i < n; i++) {
        list[i] = (nas_candidate){m->candidates[i].name, candidate_new(m, &m->candidates[i], b)};
    }
    if (kept && m->nothing) {
        list[n++] = (nas_candidate){m->nothing, m->shared_shortcut ? nas_none_new(1) : nas_identity_new()};
    }
    if (!kept && m->reducing_skip) {
        list[n++] =
            (nas_candidate){m->nothing, nas_conv_bn_relu(.in = b->in, .out = b->out, .kernel = 1, .stride = b->stride)};
    }
    nas_module *choice = nas_layer_choice(NULL, key, n, list);
    return kept && m->shared_shortcut ? residual_new(choice) : choice;
}

/* --- the network ------------------------------------------------------------------------------------------- */
static nas_module *conv_norm(int in, int out, int kernel, int stride, nas_activation activation, float eps) {
    return nas_sequential(nas_conv(.in = in, .out = out, .kernel = kernel, .stride = stride),
                          nas_bn(.channels = out, .eps = eps), nas_activation_new(activation));
}

/* Block i of a stage whose input has `in` channels; its choice has that key. */
static nas_module *stage_block(const nas__mobile *m, const nas__mobile_stage *s, int i, int in, const char *key) {
    block b = {i ? s->width : in, s->width, i ? 1 : s->stride, s->activation};
    return block_new(m, key, &b);
}

static nas_module *whole_stage(nas_module *network, const nas__mobile *m, int stage, int in, int *number) {
    const nas__mobile_stage *s = &m->stages[stage];
    nas_module *last = NULL;
    for (int i = 0; i < s->blocks; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_%d", m->key, ++*number);
        last = nas_child(network, key, stage_block(m, s, i, in, key));
        if (!last) {
            break;
        }
    }
    return last;
}

static nas_module *searched_stage(nas_module *network, const nas__mobile *m, int stage, int in) {
    const nas__mobile_stage *s = &m->stages[stage];
    nas_module *blocks[NAS_MAX_CANDIDATES];
    char name[32], key[48];
    for (int i = 0; i < s->blocks; i++) {
        snprintf(key, sizeof key, "stage_%d/%s_%d", stage + 1, m->key, i + 1);
        blocks[i] = stage_block(m, s, i, in, key);
    }
    snprintf(name, sizeof name, "stage_%d", stage + 1);
    snprintf(key, sizeof key, "stage_%d/depth", stage + 1);
    int least = m->least_depth < s->blocks ? m->least_depth : s->blocks;
    return nas_child(network, name, nas_repeat(network, key, least, s->blocks, blocks));
}

static nas_module *head_new(const nas__mobile *m, int outputs) {
    return m->hidden ? nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = m->last, .out = m->hidden),
                                      nas_activation_new(m->activation), nas_dense(.in = m->hidden, .out = outputs))
                     : nas__head(m->last, outputs);
}

static bool add_first(nas_module *network, const nas__mobile *m) {
    return nas_child(network, "first",
                     nas_mbconv(.in = m->stem, .out = m->first, .kernel = 3, .activation = m->first_activation,
                                .bn_eps = m->bn_eps)) != NULL;
}

nas_module *nas__mobile_new(const nas__mobile *m, const nas_space_config *config) {
    nas_module *network = nas__row_network_new();
    bool complete =
        network &&
        nas_child(network, "stem", conv_norm(config->channels, m->stem, 3, m->stem_stride, m->activation, m->bn_eps));
    complete = complete && (!m->first || add_first(network, m));
    int in = m->first ? m->first : m->stem, number = 0;
    for (int i = 0; complete && i < m->n_stages; i++) {
        complete =
            (m->least_depth ? searched_stage(network, m, i, in) : whole_stage(network, m, i, in, &number)) != NULL;
        in = m->stages[i].width;
    }
    complete = complete && nas_child(network, "last", conv_norm(in, m->last, 1, 1, m->activation, m->bn_eps)) &&
               nas_child(network, "head", head_new(m, config->outputs));
    return nas__module_complete(network, complete);
}
