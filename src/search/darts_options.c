/* darts_options.c - see darts_options.h */
#include "search/darts_options.h"

#include <stddef.h>

/* In the order of the option `variant`. */
typedef enum variant { DARTS, FAIR, MINUS, DRNAS, PC, BETA, PROGRESSIVE, PERTURBATION, EARLY } variant;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(nas__darts_options, field), __VA_ARGS__ }
const nas_option nas__darts_option_table[] = {
    ROW(variant, NAS_OPTION_CHOICE, "darts", 0, 0, "darts|fair|minus|drnas|pc|beta|progressive|perturbation|early",
        "a published repair of DARTS: it decides about the options that are left at 0 or auto"),
    ROW(order, NAS_OPTION_INT, "1", 1, 2, NULL,
        "1: alpha's gradient at the present weights; 2: through one virtual step of the weights"),
    ROW(alpha_lr, NAS_OPTION_FLOAT, "0", 0, 10, NULL,
        "learning rate of alpha (Adam); 0: as published (3e-4; pc, drnas, progressive 6e-4; fair 3e-3)"),
    ROW(alpha_weight_decay, NAS_OPTION_FLOAT, "1e-3", 0, 1, NULL, "L2 term of alpha"),
    ROW(alpha_beta1, NAS_OPTION_FLOAT, "0", -1, 0.9999, NULL,
        "Adam's first decay rate for alpha; 0: as published (0.5; fair 0.9), -1: none"),
    ROW(xi, NAS_OPTION_FLOAT, "0", 0, 10, NULL,
        "order 2: step size of the virtual step; 0: the weights' present learning rate"),
    ROW(warmup_epochs, NAS_OPTION_INT, "0", -1, 100000, NULL,
        "epochs with alpha frozen at the start of each stage; 0: as published (none; pc 30 %, drnas and progressive "
        "40 % of the stage), -1: none"),
    ROW(none, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|exclude|include",
        "may `none` be derived? auto: not where an input choice drops edges"),
    ROW(mix, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|softmax|sigmoid|dirichlet",
        "weights of the candidates: softmax of alpha, a sigmoid of each (fair), or a Dirichlet draw (drnas)"),
    ROW(zero_one, NAS_OPTION_FLOAT, "0", -1, 1000, NULL,
        "sigmoid: weight of the loss that drives each towards 0 or 1; 0: as published (fair 10), -1: none"),
    ROW(threshold, NAS_OPTION_FLOAT, "0", -1, 1, NULL,
        "sigmoid: what is weaker is dropped when deriving; 0: as published (fair 0.85), -1: none"),
    ROW(auxiliary, NAS_OPTION_FLOAT, "0", -1, 10, NULL,
        "a further skip connection with this weight, which falls to 0 over the search; 0: as published (minus 1), -1: "
        "none"),
    ROW(logsumexp, NAS_OPTION_FLOAT, "0", -1, 1000, NULL,
        "weight of the mean of logsumexp(alpha) in alpha's loss, risen to from 0; 0: as published (beta 50), -1: none"),
    ROW(partial, NAS_OPTION_INT, "0", 0, 64, NULL,
        "candidates see one in so many channels; 0: as published (1; pc 4, drnas 6)"),
    ROW(partial2, NAS_OPTION_INT, "0", 0, 64, NULL,
        "the same from the second stage on; 0: as published (as before; drnas 4)"),
    ROW(edge_weights, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|off|on",
        "a softmax over the inputs of each node that can drop some weighs its edges; auto: in pc"),
    ROW(stages, NAS_OPTION_INT, "0", 0, NAS__DARTS_STAGES, NULL,
        "parts of the search, each with fewer candidates; 0: as published (1; drnas 2, progressive 3)"),
    ROW(keep2, NAS_OPTION_FLOAT, "0", 0, 1, NULL,
        "share of the candidates in the second stage; 0: as published (drnas 4/7, else 5/8)"),
    ROW(keep3, NAS_OPTION_FLOAT, "0", 0, 1, NULL, "share of the candidates in the third stage; 0: 3/8"),
    ROW(skip_dropout, NAS_OPTION_FLOAT, "0", -1, 0.95, NULL,
        "dropout behind skip connections at the start of the last stage; 0: as published (progressive 0.7), -1: none"),
    ROW(most_skips, NAS_OPTION_INT, "0", -1, 1000, NULL,
        "skip connections that a derived cell has at most; 0: as published (progressive 2), -1: any"),
    ROW(select, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|strongest|perturbation",
        "derive the largest alpha, or the candidate without which the supernet loses most (perturbation)"),
    ROW(select_share, NAS_OPTION_FLOAT, "0.5", 0, 1, NULL,
        "perturbation: share of the search in which edges are decided, with training in between"),
    ROW(select_batches, NAS_OPTION_INT, "8", 1, 100000, NULL, "perturbation: batches that a candidate is judged by"),
    ROW(stop, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|never|eigenvalue|skips",
        "end early when the dominant eigenvalue grows (early), or when a quarter of the cell is skip connections or "
        "the ranking of candidates has rested for 10 epochs (DARTS+)"),
    ROW(eigenvalue, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "measure the dominant eigenvalue of the validation loss each epoch (with stop=eigenvalue always)"),
    NAS_OPTION_RECOMPUTE(nas__darts_options),
    {0},
};

/* What the papers and their code say. */
static const nas__darts_plan published[] = {
    [DARTS] = {0},
    [FAIR] = {.mix = NAS__MIX_SIGMOID,
              .alpha_lr = 3e-3,
              .alpha_beta1 = 0.9,
              .zero_one = 10,
              .threshold = 0.85,
              .without_none = true},
    [MINUS] = {.auxiliary = 1},
    [DRNAS] = {.mix = NAS__MIX_DIRICHLET,
               .alpha_lr = 6e-4,
               .frozen = 0.4,
               .stages = 2,
               .partial = {6, 4, 4},
               .keep = {1, 4.0 / 7},
               .without_none = true},
    [PC] = {.alpha_lr = 6e-4, .frozen = 0.3, .partial = {4, 4, 4}, .edge_weights = true},
    [BETA] = {.logsumexp = 50},
    [PROGRESSIVE] = {.alpha_lr = 6e-4, .frozen = 0.4, .stages = 3, .skip_dropout = 0.7, .most_skips = 2, .fresh = true},
    [PERTURBATION] = {.perturbation = true},
    [EARLY] = {.stop = NAS__STOP_EIGENVALUE},
};

/* The option where it says something, else the variant's value. */
static double decide(double option, double of_variant) { return option < 0 ? 0 : option > 0 ? option : of_variant; }

static double or_else(double value, double standard) { return value > 0 ? value : standard; }

nas__darts_plan nas__darts_plan_of(const nas__darts_options *o) {
    nas__darts_plan p = published[o->variant];
    p.mix = o->mix ? (nas__darts_mix)o->mix : p.mix ? p.mix : NAS__MIX_SOFTMAX;
    p.stop = o->stop ? (nas__darts_stop)o->stop : p.stop ? p.stop : NAS__STOP_NEVER;
    p.alpha_lr = or_else(o->alpha_lr, or_else(p.alpha_lr, 3e-4));
    p.alpha_beta1 = decide(o->alpha_beta1, or_else(p.alpha_beta1, 0.5));
    p.frozen = o->warmup_epochs ? 0 : p.frozen;
    p.frozen_epochs = o->warmup_epochs > 0 ? o->warmup_epochs : 0;
    p.zero_one = p.mix == NAS__MIX_SIGMOID ? decide(o->zero_one, p.zero_one) : 0;
    p.threshold = p.mix == NAS__MIX_SIGMOID ? decide(o->threshold, p.threshold) : 0;
    p.auxiliary = decide(o->auxiliary, p.auxiliary);
    p.logsumexp = decide(o->logsumexp, p.logsumexp);
    p.skip_dropout = decide(o->skip_dropout, p.skip_dropout);
    p.stages = (int)or_else(o->stages, or_else(p.stages, 1));
    p.most_skips = o->most_skips < 0 || (!o->most_skips && !p.most_skips) ? NAS_NONE
                   : o->most_skips                                        ? o->most_skips
                                                                          : p.most_skips;
    p.partial[0] = (int)or_else(o->partial, or_else(p.partial[0], 1));
    p.partial[1] = (int)or_else(o->partial2, o->partial || !p.partial[1] ? p.partial[0] : p.partial[1]);
    p.partial[2] = p.partial[1];
    p.keep[0] = 1;
    p.keep[1] = or_else(o->keep2, or_else(p.keep[1], 5.0 / 8));
    p.keep[2] = or_else(o->keep3, 3.0 / 8);
    p.edge_weights = o->edge_weights ? o->edge_weights == 2 : p.edge_weights;
    p.perturbation = o->select ? o->select == 2 : p.perturbation;
    p.select_share = p.perturbation ? o->select_share : 0;
    p.select_batches = o->select_batches;
    p.eigenvalue = o->eigenvalue || p.stop == NAS__STOP_EIGENVALUE;
    p.without_none = p.without_none || o->mix == NAS__MIX_SIGMOID;
    return p;
}
