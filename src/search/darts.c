/* darts.c - DARTS: Differentiable Architecture Search (Liu, Simonyan and Yang, ICLR 2019). Every candidate runs on
 * every edge, mixed by softmax(alpha); alpha descends on the arch part's loss before each step of the weights on the
 * training part. */
#include "core/error.h"
#include "core/memory.h"
#include "nn/optim.h"
#include "search/alphas.h"
#include "search/unrolled.h"

#include <stdlib.h>

typedef struct darts_options {
    int order, none;
    double alpha_lr, alpha_weight_decay, alpha_beta1, xi;
    int warmup_epochs;
    bool recompute;
} darts_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(darts_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(order, NAS_OPTION_INT, "1", 1, 2, NULL,
        "1: alpha's gradient at the present weights; 2: through one virtual step of the weights"),
    ROW(alpha_lr, NAS_OPTION_FLOAT, "3e-4", 0, 10, NULL, "learning rate of alpha (Adam)"),
    ROW(alpha_weight_decay, NAS_OPTION_FLOAT, "1e-3", 0, 1, NULL, "L2 term of alpha"),
    ROW(alpha_beta1, NAS_OPTION_FLOAT, "0.5", 0, 0.9999, NULL, "Adam's first decay rate for alpha"),
    ROW(xi, NAS_OPTION_FLOAT, "0", 0, 10, NULL,
        "order 2: step size of the virtual step; 0: the weights' present learning rate"),
    ROW(warmup_epochs, NAS_OPTION_INT, "0", 0, 100000, NULL, "epochs with alpha frozen at the start"),
    ROW(none, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|exclude|include",
        "may `none` be derived? auto: not where an input choice drops edges"),
    NAS_OPTION_RECOMPUTE(darts_options),
    {0},
};

typedef struct darts {
    nas__alphas alphas;
    const nas_batch *train, *arch;  /* of the running step */
    const float **momentum_buffers; /* of the weights' optimiser, for the virtual step */
} darts;

static nas_status accepts(const nas_space *space) { return nas__alphas_accept(space, "darts"); }

static nas_status begin(nas_search *s) {
    const darts_options *o = s->options;
    darts *d = s->memory;
    d->momentum_buffers = nas__alloc(s->optimizer->n * sizeof *d->momentum_buffers);
    return !d->momentum_buffers ? nas_error_status()
                                : nas__alphas_new(&d->alphas, s,
                                                  &(nas__alphas_config){.deviation = 1e-3,
                                                                        .lr = o->alpha_lr,
                                                                        .beta1 = o->alpha_beta1,
                                                                        .beta2 = 0.999,
                                                                        .weight_decay = o->alpha_weight_decay});
}

static void end(nas_search *s) {
    darts *d = s->memory;
    nas__alphas_free(&d->alphas);
    free(d->momentum_buffers);
}

static uint64_t all(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

static nas_status mix_everything(nas_search *s, void *user) {
    darts *d = s->memory;
    (void)user;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < d->alphas.n; i++) {
        nas_tensor *alpha = d->alphas.of_choice[i];
        status = nas_decide(
            s->space, i,
            (nas_decision){.run = all(nas_space_choice(s->space, i)->n), .weights = alpha ? nas_softmax(alpha) : NULL});
    }
    return status ? status : nas_error_status();
}

static nas_status differentiate(void *user, bool train, unsigned roles) {
    nas_search *s = user;
    darts *d = s->memory;
    /* The passes of one second-order gradient are of one function: with dropout drawn anew, the difference of its two
     * sides would be noise. */
    bool first = roles == (train ? NAS_ROLE_WEIGHT : NAS_ROLE_ARCH);
    return nas_search_pass(s,
                           &(nas_pass){.batch = train ? d->train : d->arch,
                                       .grad = roles,
                                       .training = true,
                                       .freeze_running = true,
                                       .same_noise = !first,
                                       .decide = mix_everything},
                           NULL);
}

static nas_status second_order(nas_search *s) {
    const darts_options *o = s->options;
    darts *d = s->memory;
    const nas_optimizer *weights = s->optimizer, *alphas = d->alphas.optimizer;
    for (size_t i = 0; i < weights->n; i++) {
        d->momentum_buffers[i] = weights->is_adam ? NULL : nas__optimizer_momentum(weights, i);
    }
    return nas__unrolled_gradient(&(nas__bilevel){.n_weights = weights->n,
                                                  .n_alphas = alphas->n,
                                                  .weights = weights->tensors,
                                                  .alphas = alphas->tensors,
                                                  .momentum_buffers = d->momentum_buffers,
                                                  .momentum = weights->sgd.momentum,
                                                  .weight_decay = weights->is_adam ? 0 : weights->sgd.weight_decay,
                                                  .eta = o->xi > 0 ? o->xi : s->lr,
                                                  .differentiate = differentiate,
                                                  .user = s});
}

static nas_status arch_step(nas_search *s) {
    darts *d = s->memory;
    d->arch = nas_search_arch_batch(s);
    if (!d->arch) {
        return nas_error_status();
    }
    nas_status status =
        ((const darts_options *)s->options)->order == 2 ? second_order(s) : differentiate(s, false, NAS_ROLE_ARCH);
    return status ? status : nas__alphas_step(&d->alphas);
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    darts *d = s->memory;
    d->train = train;
    nas_status status = s->epoch >= ((const darts_options *)s->options)->warmup_epochs ? arch_step(s) : NAS_OK;
    return status ? status : nas_search_weight_step(s, train, mix_everything, NULL, loss);
}

static nas_status derive(nas_search *s, nas_architecture *out) {
    return nas__alphas_derive(&((darts *)s->memory)->alphas, s,
                              (nas__none_rule)((const darts_options *)s->options)->none, out);
}

static bool probabilities(nas_search *s, int choice, double *p) {
    return nas__alphas_softmax(&((darts *)s->memory)->alphas, s, choice, p);
}

static nas_status state(nas_search *s, nas_state *st) {
    nas__alphas_state(&((darts *)s->memory)->alphas, s, st);
    return NAS_OK;
}

const nas_strategy nas__strategy_darts = {
    .name = "darts",
    .summary = "gradient descent on softmax-mixed candidates, first or second order",
    .paper = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019",
    .options = options,
    .options_size = sizeof(darts_options),
    .state_size = sizeof(darts),
    .score_steps = 32,
    .accepts = accepts,
    .begin = begin,
    .step = step,
    .derive = derive,
    .probabilities = probabilities,
    .state = state,
    .end = end,
};
