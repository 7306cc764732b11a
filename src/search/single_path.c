/* single_path.c - Single-Path NAS (Stamoulis et al. 2019): one network of superkernels, whose weights and thresholds
 * are trained together on the training part. A decision is whether the norm of what it adds reaches its threshold; the
 * logarithm of the cost, a differentiable function of the decisions, joins the loss after a warm-up. */
#include "core/error.h"
#include "core/memory.h"
#include "io/state.h"
#include "search/block_runtime.h"
#include "search/cost_term.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = NAS_SUPERKERNEL_THRESHOLDS, PURPOSE_DROPOUT = 0x51f };

typedef struct single_path_options {
    double threshold_lr, warmup, keep, label_smoothing, cost_weight;
    int norm, cost;
    bool mask_after_bn, recompute;
    char cost_table[NAS_OPTION_TEXT_SIZE];
} single_path_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(single_path_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(cost, NAS_OPTION_CHOICE, "macs", 0, 0, "macs|params|latency",
        "what R, the cost whose logarithm joins the loss, counts: multiply-adds, parameters, or the latency measured "
        "here"),
    ROW(cost_weight, NAS_OPTION_FLOAT, "1", 0, 1e6, NULL,
        "lambda: the loss gets lambda * ln R; the notes after the warm-up help to choose it"),
    ROW(cost_table, NAS_OPTION_TEXT, "", 0, 0, NULL,
        "a JSON file with the cost of each candidate, instead of counting or measuring"),
    ROW(warmup, NAS_OPTION_FLOAT, "0.4", 0, 1, NULL,
        "share of the search without the cost, and with dropout of the decisions (0.625 in the authors' program)"),
    ROW(keep, NAS_OPTION_FLOAT, "0.6", 0.01, 1, NULL, "warm-up: probability of keeping a decision in a step"),
    ROW(threshold_lr, NAS_OPTION_FLOAT, "0.1", 0, 1000, NULL,
        "learning rate of the thresholds, as a multiple of that of the weights"),
    ROW(norm, NAS_OPTION_CHOICE, "mean", 0, 0, "mean|sum",
        "norms are roots of the mean square of the weights, or of the sum of squares (the authors' program)"),
    ROW(mask_after_bn, NAS_OPTION_BOOL, "1", 0, 0, NULL,
        "also mask what batch norm makes of dropped channels and blocks, so that the supernet computes what the pruned "
        "network does (0: the authors' program)"),
    ROW(label_smoothing, NAS_OPTION_FLOAT, "0.1", 0, 0.99, NULL, "of the cross-entropy, if that is the loss"),
    NAS_OPTION_RECOMPUTE(single_path_options),
    {0},
};

typedef struct block {
    nas_tensor *t;
    nas_thresholds decided_by;
    float factors[T];
} block;

typedef struct single_path {
    int n;
    block *blocks; /* per choice */
    nas_optimizer *optimizer;
    nas__cost_term cost;
    uint64_t *candidates;          /* in force after the last step, per choice */
    uint64_t flips;                /* of this epoch */
    double of_loss, of_cost;       /* sums of the magnitudes of the thresholds' gradients in the warm-up */
    uint64_t warm_steps, balanced; /* balanced: the note was made */
} single_path;

static nas_status accepts(const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        if (!c->superkernel) {
            return nas__fail(NAS_UNSUPPORTED,
                             "single-path trains the thresholds of superkernels, and \"%s\" is none: its candidates "
                             "have weights of their own",
                             c->key);
        }
    }
    return NAS_OK;
}

/* --- beginning and end ----------------------------------------------------------------------------- */
static bool is_warm_up(const nas_search *s) { return s->progress < ((const single_path_options *)s->options)->warmup; }

static nas_status make_block(nas_search *s, block *b, int choice) {
    const single_path_options *o = s->options;
    b->t = nas_variable(1, (int64_t[]){T}, NAS_ROLE_ARCH);
    b->decided_by = (nas_thresholds){.values = b->t, .mean_norm = o->norm == 0, .mask_early = !o->mask_after_bn};
    nas__block_runtime checked;
    return b->t ? nas__block_runtime_read(&checked, ((single_path *)s->memory)->cost.table, s->space, choice)
                : nas_error_status();
}

/* Weight decay would pull the thresholds to 0, which keeps everything. */
static nas_status bind_thresholds(single_path *p) {
    nas_tensor **list = nas__alloc((size_t)p->n * sizeof *list);
    for (int i = 0; list && i < p->n; i++) {
        list[i] = p->blocks[i].t;
    }
    p->optimizer = nas_sgd(.lr = 1, .momentum = 0.9);
    nas_status status =
        list && p->optimizer ? nas_optimizer_bind(p->optimizer, (size_t)p->n, list) : nas_error_status();
    free(list);
    return status;
}

static nas_status candidate_now(nas_search *s, int choice, uint64_t *candidate) {
    double margins[T];
    int k = 0;
    nas_status status =
        nas_margins(s->space, choice, &((single_path *)s->memory)->blocks[choice].decided_by, margins, &k);
    *candidate = (uint64_t)k;
    return status;
}

static nas_status begin(nas_search *s) {
    const single_path_options *o = s->options;
    single_path *p = s->memory;
    nas__cost_options cost = {.kind = o->cost + 1, .loss = NAS__COST_ADD, .target = "none"};
    memcpy(cost.table, o->cost_table, sizeof cost.table);
    p->n = nas_space_size(s->space);
    p->blocks = nas__alloc((size_t)p->n * sizeof *p->blocks);
    p->candidates = nas__alloc((size_t)p->n * sizeof *p->candidates);
    nas_status status = p->blocks && p->candidates ? nas__cost_term_begin(&p->cost, s, &cost) : nas_error_status();
    for (int i = 0; !status && i < p->n; i++) {
        status = make_block(s, &p->blocks[i], i);
        status = status ? status : candidate_now(s, i, &p->candidates[i]);
    }
    return status ? status : bind_thresholds(p);
}

static void end(nas_search *s) {
    single_path *p = s->memory;
    for (int i = 0; p->blocks && i < p->n; i++) {
        nas_tensor_free(p->blocks[i].t);
    }
    nas_optimizer_free(p->optimizer);
    nas__cost_term_end(&p->cost);
    free(p->blocks);
    free(p->candidates);
}

/* --- a step ------------------------------------------------------------------------------------------ */
static nas_status decide(nas_search *s, void *user) {
    const single_path_options *o = s->options;
    single_path *p = s->memory;
    bool drop = is_warm_up(s) && o->keep < 1;
    nas_rng rng = nas_search_rng(s, PURPOSE_DROPOUT);
    nas_status status = NAS_OK;
    (void)user;
    for (int i = 0; !status && i < p->n; i++) {
        block *b = &p->blocks[i];
        for (int k = 0; drop && k < T; k++) {
            b->factors[k] = nas_rng_uniform(&rng) < o->keep ? (float)(1 / o->keep) : 0;
        }
        b->decided_by.factors = drop ? b->factors : NULL;
        status = nas_decide(s->space, i, (nas_decision){.thresholds = &b->decided_by});
    }
    return status;
}

/* From the table as it is now: a resumed run finds its own in the checkpoint. */
static nas__block_runtime runtime_of(const nas_search *s, int choice) {
    nas__block_runtime r = {{0}};
    nas__block_runtime_read(&r, ((single_path *)s->memory)->cost.table, s->space, choice);
    return r;
}

/* ln R; the cost of what is not searched is in R. */
static nas_tensor *log_cost(nas_search *s) {
    single_path *p = s->memory;
    nas_tensor *sum = NULL;
    for (int i = 0; i < p->n; i++) {
        nas__block_runtime runtime = runtime_of(s, i);
        nas_tensor *r = nas__block_runtime_tensor(&runtime, nas_indicators(s->space, i));
        sum = sum ? nas_add(sum, r) : r;
    }
    return nas_log(nas_add_scalar(sum, (float)nas__cost_constant(p->cost.table)));
}

static nas_tensor *objective(nas_search *s, nas_tensor *output, nas_tensor *target, void *user) {
    const single_path_options *o = s->options;
    (void)user;
    nas_tensor *loss = s->config->loss == nas_cross_entropy && o->label_smoothing > 0
                           ? nas_cross_entropy_smooth(output, target, (float)o->label_smoothing)
                           : s->config->loss(output, target);
    return is_warm_up(s) || o->cost_weight == 0 ? loss : nas_add(loss, nas_scale(log_cost(s), (float)o->cost_weight));
}

/* --- how loss and cost pull --------------------------------------------------------------------------- */
/* The magnitudes of d ln R / dt, added up: R as it is at the present margins. */
static double cost_pull(const nas_search *s, const double *margins) {
    const single_path *p = s->memory;
    double total = nas__cost_constant(p->cost.table), pull = 0;
    for (int i = 0; i < p->n; i++) {
        double slopes[T], d[T];
        for (int k = 0; k < T; k++) {
            d[k] = margins[T * i + k] >= 0;
        }
        nas__block_runtime runtime = runtime_of(s, i);
        total += nas__block_runtime_at(&runtime, d, slopes);
        for (int k = 0; k < T; k++) {
            double sigmoid = 1 / (1 + exp(-margins[T * i + k]));
            pull += fabs(slopes[k]) * sigmoid * (1 - sigmoid);
        }
    }
    return total > 0 ? pull / total : 0;
}

static nas_status add_pulls(nas_search *s) {
    single_path *p = s->memory;
    double *margins = nas__alloc((size_t)(p->n * T) * sizeof *margins);
    nas_status status = margins ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < p->n; i++) {
        float g[T];
        status = nas_margins(s->space, i, &p->blocks[i].decided_by, margins + T * i, NULL);
        status = status ? status : nas_tensor_read_grad(p->blocks[i].t, g);
        for (int k = 0; !status && k < T; k++) {
            p->of_loss += fabs((double)g[k]);
        }
    }
    p->of_cost += status ? 0 : cost_pull(s, margins);
    p->warm_steps++;
    free(margins);
    return status;
}

static void tell_balance(nas_search *s) {
    const single_path_options *o = s->options;
    single_path *p = s->memory;
    if (!p->balanced && p->warm_steps && p->of_cost > 0) {
        double n = (double)p->warm_steps;
        nas_search_note(s, NAS_LOG_INFO, "thresholds",
                        "the warm-up is over: the loss pulls the thresholds by %.3g a step, ln R by %.3g; with "
                        "cost_weight %.3g they would balance, it is %.3g",
                        p->of_loss / n, p->of_cost / n, p->of_loss / p->of_cost, o->cost_weight);
    }
    p->balanced = true;
}

static nas_status count_flips(nas_search *s) {
    single_path *p = s->memory;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < p->n; i++) {
        uint64_t before = p->candidates[i];
        status = candidate_now(s, i, &p->candidates[i]);
        p->flips += p->candidates[i] != before;
    }
    return status;
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    const single_path_options *o = s->options;
    single_path *p = s->memory;
    p->flips = s->step == 0 ? 0 : p->flips;
    if (!is_warm_up(s)) {
        tell_balance(s);
    }
    nas_status status = nas_search_update(s,
                                          &(nas_pass){.batch = train,
                                                      .grad = NAS_ROLE_WEIGHT | NAS_ROLE_ARCH,
                                                      .training = true,
                                                      .decide = decide,
                                                      .objective = objective},
                                          loss);
    status = status || !is_warm_up(s) ? status : add_pulls(s);
    status = status ? status : nas_optimizer_step(p->optimizer, o->threshold_lr * s->lr, 0);
    return status ? status : count_flips(s);
}

/* --- results ------------------------------------------------------------------------------------------ */
static nas_status end_epoch(nas_search *s) {
    single_path *p = s->memory;
    double least = INFINITY, margins[T];
    int at = 0, which = 0;
    static const char *const names[T] = {"kernel", "expansion", "skip"};
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < p->n; i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        status = nas_margins(s->space, i, &p->blocks[i].decided_by, margins, NULL);
        nas_search_note(s, NAS_LOG_DEBUG, "margins", "%s: %s, margins %.4g (kernel), %.4g (expansion), %.4g (skip)",
                        c->key, c->names[p->candidates[i]], margins[0], margins[1], margins[2]);
        for (int k = 0; k < T - (c->n < 5); k++) {
            if (fabs(margins[k]) < least) {
                least = fabs(margins[k]);
                at = i;
                which = k;
            }
        }
    }
    nas_search_note(s, NAS_LOG_INFO, "thresholds",
                    "%llu decisions flipped; the nearest to its threshold is %s of %s, by %.3g",
                    (unsigned long long)p->flips, names[which], nas_space_choice(s->space, at)->key, least);
    return status;
}

static nas_status derive(nas_search *s, nas_architecture *out) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        uint64_t k;
        status = candidate_now(s, i, &k);
        status = status ? status : nas_architecture_set(out, i, (uint64_t)1 << k);
    }
    return status;
}

/* No probabilities are trained; what stands for them falls with the way that the margins, as shares of norm and
 * threshold, would have to go until that candidate were decided. The derived one is the most probable. */
static bool probabilities(nas_search *s, int choice, double *pr) {
    static const double steepness = 5;
    single_path *p = s->memory;
    double m[T], sum = 0;
    float t[T];
    const nas_choice *c = nas_space_choice(s->space, choice);
    if (nas_margins(s->space, choice, &p->blocks[choice].decided_by, m, NULL) ||
        nas_tensor_read(p->blocks[choice].t, t)) {
        return false;
    }
    for (int k = 0; k < T; k++) {
        double norm = m[k] + (double)t[k];
        m[k] /= fabs(norm) + fabs((double)t[k]) + 1e-12;
    }
    for (int k = 0; k < c->n; k++) {
        bool skip = k == nas_superkernel_candidate(c, true, true, false) && c->n > 4;
        double kernel = k & 2 ? -m[0] : m[0], expansion = k & 1 ? -m[1] : m[1];
        double way = skip       ? fmax(m[2], 0)
                     : c->n > 4 ? fmax(-m[2], 0) + fmax(kernel, 0) + fmax(expansion, 0)
                                : fmax(kernel, 0) + fmax(expansion, 0);
        sum += pr[k] = exp(-steepness * way);
    }
    for (int k = 0; k < c->n; k++) {
        pr[k] /= sum;
    }
    return true;
}

static nas_status state(nas_search *s, nas_state *st) {
    single_path *p = s->memory;
    for (int i = 0; i < p->n; i++) {
        char name[256];
        snprintf(name, sizeof name, "threshold.%s", nas_space_choice(s->space, i)->key);
        nas_state_tensor(st, name, p->blocks[i].t);
    }
    nas_state_optimizer(st, "threshold_optimizer.", p->optimizer);
    nas_state_u64(st, "candidates", p->candidates, (size_t)p->n);
    nas_state_f64(st, "pull.loss", &p->of_loss, 1);
    nas_state_f64(st, "pull.cost", &p->of_cost, 1);
    nas_state_u64(st, "pull.steps", &p->warm_steps, 1);
    nas_state_u64(st, "pull.told", &p->balanced, 1);
    nas__cost_term_state(&p->cost, st);
    return NAS_OK;
}

const nas_strategy nas__strategy_single_path = {
    .name = "single-path",
    .summary = "superkernels whose trainable thresholds decide kernel, expansion and skip, in one network and one pass",
    .paper = "Stamoulis et al.: Single-Path NAS: Designing Hardware-Efficient ConvNets in less than 4 Hours, 2019",
    .options = options,
    .options_size = sizeof(single_path_options),
    .state_size = sizeof(single_path),
    .exports_last = true,
    .accepts = accepts,
    .begin = begin,
    .step = step,
    .end_epoch = end_epoch,
    .derive = derive,
    .probabilities = probabilities,
    .state = state,
    .end = end,
};
