/* darts_options.h - what `--set` says to DARTS, and what follows from it: the published repairs of DARTS are values of
 * these options, and can be combined. */
#ifndef SEARCH_DARTS_OPTIONS_H
#define SEARCH_DARTS_OPTIONS_H

#include <espalier/strategy.h>

/* As given: 0 (or auto) is left to the variant, NAS_NONE (or off) is off. */
typedef struct nas__darts_options {
    int variant, order, none, mix, edge_weights, select, stop;
    double alpha_lr, alpha_weight_decay, alpha_beta1, xi;
    int warmup_epochs, partial, partial2, stages, most_skips, select_batches;
    double zero_one, threshold, auxiliary, logsumexp, keep2, keep3, skip_dropout, select_share;
    bool eigenvalue, recompute;
} nas__darts_options;

extern const nas_option nas__darts_option_table[];

typedef enum nas__darts_mix { NAS__MIX_SOFTMAX = 1, NAS__MIX_SIGMOID, NAS__MIX_DIRICHLET } nas__darts_mix;
typedef enum nas__darts_stop { NAS__STOP_NEVER = 1, NAS__STOP_EIGENVALUE, NAS__STOP_SKIPS } nas__darts_stop;
enum { NAS__DARTS_STAGES = 3 };

/* With everything decided: 0 is off (most_skips: NAS_NONE). */
typedef struct nas__darts_plan {
    nas__darts_mix mix;
    nas__darts_stop stop;
    double alpha_lr, alpha_beta1;
    double frozen;     /* share of each stage with alpha as it is */
    int frozen_epochs; /* that many instead */
    double zero_one, threshold, auxiliary, logsumexp, skip_dropout;
    int stages, most_skips;
    int partial[NAS__DARTS_STAGES];
    double keep[NAS__DARTS_STAGES];
    bool fresh; /* each stage begins with new weights and alphas */
    bool edge_weights, without_none, perturbation, eigenvalue;
    double select_share;
    int select_batches;
} nas__darts_plan;
nas__darts_plan nas__darts_plan_of(const nas__darts_options *options);

#endif
