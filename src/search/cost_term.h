/* cost_term.h - what a network is expected to cost, as part of a differentiable search's loss (ProxylessNAS, Cai, Zhu
 * and Han, ICLR 2019; FBNet, Wu et al., CVPR 2019). */
#ifndef SEARCH_COST_TERM_H
#define SEARCH_COST_TERM_H

#include <espalier/strategy.h>

#include "hardware/cost_table.h"

/* Options of a strategy that weighs costs in: a field `nas__cost_options cost` of its struct. */
typedef struct nas__cost_options {
    int kind, loss;
    double weight, power;
    char target[NAS_OPTION_TEXT_SIZE], table[NAS_OPTION_TEXT_SIZE];
} nas__cost_options;
typedef enum nas__cost_loss_form { NAS__COST_MUL, NAS__COST_ADD } nas__cost_loss_form;

/* Their rows, with the strategy's own defaults as texts: the form of the loss, a (or lambda), b, and the target. */
#define NAS__OPTIONS_COST(struct_type, form, a, b, aim)                                                                \
    {"cost",                                                                                                           \
     NAS_OPTION_CHOICE,                                                                                                \
     offsetof(struct_type, cost.kind),                                                                                 \
     "none",                                                                                                           \
     0,                                                                                                                \
     0,                                                                                                                \
     "none|macs|params|latency",                                                                                       \
     "what the expected cost counts: multiply-adds, parameters, or the latency measured here"},                        \
        {"cost_table",                                                                                                 \
         NAS_OPTION_TEXT,                                                                                              \
         offsetof(struct_type, cost.table),                                                                            \
         "",                                                                                                           \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "a JSON file with the cost of each candidate, instead of counting or measuring"},                             \
        {"cost_loss",                                                                                                  \
         NAS_OPTION_CHOICE,                                                                                            \
         offsetof(struct_type, cost.loss),                                                                             \
         form,                                                                                                         \
         0,                                                                                                            \
         0,                                                                                                            \
         "mul|add",                                                                                                    \
         "mul: loss * a * (log E / log T)^b; add: loss + a * (E - T) / T; E is the expected cost"},                    \
        {"cost_weight", NAS_OPTION_FLOAT, offsetof(struct_type, cost.weight), a, 0, 1e6, NULL, "a of cost_loss"},      \
        {"cost_power", NAS_OPTION_FLOAT, offsetof(struct_type, cost.power), b, -100, 100, NULL, "b of cost_loss=mul"}, \
    {                                                                                                                  \
        "cost_target", NAS_OPTION_TEXT, offsetof(struct_type, cost.target), aim, 0, 0, NULL,                           \
            "T of cost_loss: 30M, 5ms, ...; auto: what E is while all candidates are equally likely; none: log T and " \
            "T are 1"                                                                                                  \
    }

typedef struct nas__cost_term {
    nas__cost_options options;
    nas__cost_table *table; /* NULL: cost=none, there is no term */
    double target;          /* in the table's unit (multiply-adds, parameters, microseconds) */
} nas__cost_term;

/* The table (counted, measured or read) and the target. Refuses what cannot work: a table of another kind, a target
 * that is no number, logarithms that are not positive. The strategy calls the others in its end and state. */
nas_status nas__cost_term_begin(nas__cost_term *c, nas_search *s, const nas__cost_options *options);
void nas__cost_term_end(nas__cost_term *c);
/* A resumed run has the latencies that were measured at its start. */
void nas__cost_term_state(nas__cost_term *c, nas_state *st);

/* E on the running tape, {1}: constant + sum of <weights[i], costs of choice i>, in the table's unit. weights[i] (n):
 * the probability of each candidate, a tensor of the pass; NULL: the decision in force counts. What a choice costs is
 * weighed with the probability that it is reached: of the candidate around it, and of the inputs that it feeds (an
 * input choice without weights that takes m of the n that run: m/n each). NULL and an error on failure. */
nas_tensor *nas__expected_cost(const nas__cost_table *t, nas_search *s, nas_tensor *const *weights);
/* The same number without a tape, from the strategy's `probabilities`; NaN when memory is out. */
double nas__expected_cost_now(const nas__cost_table *t, nas_search *s);
/* The same for the decisions in force, which are no weightings. */
double nas__decided_cost(const nas__cost_table *t, nas_search *s);
/* The loss with E weighed in (sticky); the loss itself when there is no term. */
nas_tensor *nas__cost_loss(const nas__cost_term *c, nas_tensor *loss, nas_tensor *expected);
#endif
