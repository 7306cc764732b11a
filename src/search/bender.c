/* bender.c - one-shot search with path dropout (Bender et al., ICML 2018): all candidates run at once and are summed,
 * but for those that are dropped at random, ever more in the course of the training. A batch is split into ghost
 * batches; each is a pass of its own with paths and batch statistics of its own, and their gradients add up to one
 * update. Then architectures are scored with the shared weights and with the statistics of the scoring batches. */
#include "search/bender.h"
#include "nn/optim.h"
#include "search/generations.h"
#include "space/space.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_MASK = 0xbe4de1 };

typedef enum finder { RANDOM, EVOLUTION } finder;

typedef struct bender_options {
    nas__trial_options trial;
    nas__generations search;
    int finder, ghost;
    double r;
} bender_options;

static const nas_option options[] = {
    {"r", NAS_OPTION_FLOAT, offsetof(bender_options, r), "0.01", 0, 0.999, NULL,
     "probability that all k paths into one point are dropped, at the end of the training; each is with r^(1/k)"},
    {"ghost", NAS_OPTION_INT, offsetof(bender_options, ghost), "32", 2, 65536, NULL,
     "images that share their paths and their batch statistics; --batch has several times as many"},
    {"search", NAS_OPTION_CHOICE, offsetof(bender_options, finder), "random", 0, 0, "random|evolution",
     "how architectures are found; random: as many as the generations have"},
    NAS__GENERATIONS_ROWS(bender_options),
    NAS__TRIAL_OPTION_ROWS(bender_options, "shared"),
    {0},
};

typedef struct memory {
    nas__trials trials; /* first */
    float *sum;         /* of the ghost batches' gradients, as the optimiser's memory is laid out */
    int64_t *images;    /* of the batch, whose pass used each tensor */
} memory;

static const bender_options *options_of(const nas_search *s) { return s->options; }

/* --- dropping paths ------------------------------------------------------------------------------------------------
 */
double nas__path_rate(double r, int k, double progress) { return r > 0 ? progress * pow(r, 1.0 / k) : 0; }

uint64_t nas__path_mask(int k, double rate, nas_rng *rng) {
    uint64_t kept = 0;
    for (int i = 0; i < k; i++) {
        kept |= (uint64_t)(nas_rng_uniform(rng) >= rate) << i;
    }
    return kept;
}

/* Where no input of a node is left, its network has nothing to take the shape of zeros from: one input is taken, and
 * what computes it gives zeros. Where nothing is known to compute it, that input stays. */
static nas_status take_nothing(nas_space *space, int i, nas_rng *rng) {
    const nas_choice *c = nas_space_choice(space, i);
    if (c->kind != NAS_INPUT || nas_decision_of(space, i).run) {
        return NAS_OK;
    }
    int input = (int)nas_rng_below(rng, (uint32_t)c->n), edge = c->edges ? c->edges[input] : -1;
    nas_status status = edge >= 0 ? nas__decide_paths(space, edge, 0) : NAS_OK;
    return status ? status : nas__decide_paths(space, i, (uint64_t)1 << input);
}

/* A single candidate is no optional path. Cells that share a key share their paths. */
static nas_status drop_paths(nas_search *s, nas_rng *rng) {
    nas_status status = NAS_OK;
    int choices = nas_space_size(s->space);
    for (int i = 0; !status && i < choices; i++) {
        int n = nas_space_choice(s->space, i)->n;
        uint64_t kept = n > 1 ? nas__path_mask(n, nas__path_rate(options_of(s)->r, n, s->progress), rng) : 1;
        status = nas__decide_paths(s->space, i, kept);
    }
    for (int i = 0; !status && i < choices; i++) {
        status = take_nothing(s->space, i, rng);
    }
    return status;
}

static nas_status refuse(const nas_choice *c, const char *reason) {
    return nas__fail(NAS_UNSUPPORTED, "bender sums candidates, of which it drops some; choice \"%s\" %s", c->key,
                     reason);
}

static nas_status accepts(const nas_space *space) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < space->n_sites; i++) {
        const nas_choice *c = nas_space_choice(space, space->sites[i].choice);
        const nas_mutable *m = space->sites[i].mutable_;
        status = c->kind == NAS_VALUE ? refuse(c, "takes one number")
                 : c->superkernel     ? refuse(c, "has candidates that are parts of one another")
                 : m && m->repeat     ? refuse(c, "has depths as candidates, which share their blocks")
                 : c->kind == NAS_INPUT && space->choices[space->sites[i].choice].concat
                     ? refuse(c, "concatenates, so that what is left out would be missed")
                     : NAS_OK;
    }
    return status;
}

/* --- a step --------------------------------------------------------------------------------------------------------
 */
typedef struct ghost {
    nas_rng *rng;
    double share; /* of the batch's images */
} ghost;

static nas_status decide(nas_search *s, void *user) { return drop_paths(s, ((ghost *)user)->rng); }

static nas_tensor *share_of_loss(nas_search *s, nas_tensor *output, nas_tensor *target, void *user) {
    return nas_scale(s->config->loss(output, target), (float)((const ghost *)user)->share);
}

/* Takes the gradients of a pass over n images; what has none was not used. */
static void collect(memory *m, nas_optimizer *o, int64_t n) {
    for (size_t i = 0; i < o->n; i++) {
        const nas_tensor *t = o->tensors[i];
        float *sum = m->sum + o->offset[i];
        for (size_t k = 0; t->has_grad && k < (size_t)nas__count(t); k++) {
            sum[k] += t->grad_data[k];
        }
        m->images[i] += t->has_grad ? n : 0;
    }
    nas_optimizer_zero_grad(o);
}

/* Weight decay of what was used, in proportion to the images that used it. */
static void give_back(const memory *m, nas_optimizer *o, int64_t n, double decay) {
    for (size_t i = 0; i < o->n; i++) {
        nas_tensor *t = o->tensors[i];
        float pull = (float)(decay * (double)m->images[i] / (double)n);
        t->has_grad = m->images[i] > 0;
        for (size_t k = 0; t->has_grad && k < (size_t)nas__count(t); k++) {
            t->grad_data[k] = m->sum[o->offset[i] + k] + pull * t->data[k];
        }
    }
}

static nas_status update(nas_search *s, int64_t n) {
    nas_optimizer *o = s->optimizer;
    double *decay = o->is_adam ? &o->adam.weight_decay : &o->sgd.weight_decay, whole = *decay;
    give_back(s->memory, o, n, whole);
    *decay = 0;
    nas_status status = nas__checked_step(o, s->lr, s->config->clip_norm, s->step, s->epoch);
    *decay = whole;
    return status;
}

static nas_status ghost_pass(nas_search *s, const nas_batch *train, int64_t from, int64_t to, ghost *g, double *loss) {
    const nas_dataset_info *info = nas_dataset_describe(s->config->dataset_train);
    int64_t values = 1;
    for (int i = 0; i < info->ndim; i++) {
        values *= info->dims[i];
    }
    nas_batch part = {.n = to - from,
                      .x = train->x + from * values,
                      .y = train->y + from * info->target_count,
                      .index = train->index};
    nas_pass_result result = {0};
    g->share = (double)part.n / (double)train->n;
    nas_status status = nas_search_pass(s,
                                        &(nas_pass){.batch = &part,
                                                    .grad = NAS_ROLE_WEIGHT,
                                                    .training = true,
                                                    .decide = decide,
                                                    .objective = share_of_loss,
                                                    .user = g},
                                        &result);
    *loss += result.loss;
    collect(s->memory, s->optimizer, part.n);
    return status;
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    memory *m = s->memory;
    const nas_optimizer *o = s->optimizer;
    nas_rng rng = nas_search_rng(s, PURPOSE_MASK);
    ghost g = {.rng = &rng};
    int64_t groups = (train->n + options_of(s)->ghost / 2) / options_of(s)->ghost;
    groups = groups < 1 ? 1 : groups;
    memset(m->sum, 0, o->offset[o->n] * sizeof *m->sum);
    memset(m->images, 0, o->n * sizeof *m->images);
    nas_status status = NAS_OK;
    *loss = 0;
    for (int64_t i = 0; !status && i < groups; i++) {
        status = ghost_pass(s, train, train->n * i / groups, train->n * (i + 1) / groups, &g, loss);
    }
    status = status ? status : update(s, train->n);
    nas__score_forget(nas__trainer_of(s));
    return status;
}

/* --- the strategy --------------------------------------------------------------------------------------------------
 */
static nas_status begin(nas_search *s) {
    memory *m = s->memory;
    const nas_optimizer *o = s->optimizer;
    nas__trainer_of(s)->score_bn = NAS_BN_BATCH; /* removed paths shift statistics: no average fits */
    m->sum = nas__alloc((o->offset[o->n] + 1) * sizeof *m->sum);
    m->images = nas__alloc((o->n + 1) * sizeof *m->images);
    if (!m->sum || !m->images) {
        return nas_error_status();
    }
    return nas__trials_begin(s, options_of(s)->finder == RANDOM ? &nas__random_generations_policy
                                                                : &nas__generations_policy);
}

static void end(nas_search *s) {
    memory *m = s->memory;
    free(m->sum);
    free(m->images);
    nas__trials_end(s);
}

const nas_strategy nas__strategy_bender = {
    .name = "bender",
    .summary = "all candidates at once, with paths dropped at random; then random or evolutionary search",
    .paper =
        "Bender, Kindermans, Zoph, Vasudevan, Le: Understanding and Simplifying One-Shot Architecture Search, ICML "
        "2018",
    .options = options,
    .options_size = sizeof(bender_options),
    .state_size = sizeof(memory),
    .accepts = accepts,
    .begin = begin,
    .train_epochs = nas__trials_train_epochs,
    .step = step,
    .conclude = nas__trials_conclude,
    .conclude_share = nas__trials_conclude_share,
    .state = nas__trials_state,
    .end = end,
};
