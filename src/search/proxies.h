/* proxies.h - how good may a network become, by a look at its random weights: scores that cost one or two passes. */
#ifndef SEARCH_PROXIES_H
#define SEARCH_PROXIES_H

#include <espalier/data.h>
#include <espalier/nn.h>

typedef enum nas__proxy {
    NAS__PROXY_SYNFLOW,   /* log of sum |w dR/dw|, R the network's output for ones, with |w| and without batch norms
                             (Tanaka et al., NeurIPS 2020) */
    NAS__PROXY_NASWOT,    /* log det of how many ReLUs agree for two samples (Mellor et al., ICML 2021) */
    NAS__PROXY_JACOB_COV, /* how little the samples' Jacobians correlate (Mellor et al., 2020) */
    NAS__PROXY_SNIP,      /* sum |w dL/dw| (Lee et al., ICLR 2019) */
    NAS__PROXY_GRAD_NORM, /* sum of the layers' ||dL/dw|| (Abdelfattah et al., ICLR 2021) */
    NAS__PROXIES
} nas__proxy;
#define NAS__PROXY_WORDS "synflow|naswot|jacob_cov|snip|grad_norm"
extern const char *const nas__proxy_names[NAS__PROXIES];

/* A batch on which they look at a network, with the loss of snip and grad_norm. */
typedef struct nas__proxy_look {
    const nas_batch *batch;
    const nas_dataset_info *info;
    nas_loss_fn loss;
} nas__proxy_look;

/* The score, higher is better, of a network without choices and with initialised weights; of sums over weights those of
 * convolutions and dense layers count. -infinity: the network does not tell samples apart, or no gradient arrives.
 * NAS_NUMERIC when numbers overflow. synflow leaves the network with other weights and without batch norms. */
nas_status nas__proxy_score(nas_module *model, nas__proxy proxy, const nas__proxy_look *look, double *score);

/* Inside: log det and the trace of the inverse (may be NULL) of a symmetric matrix (n, n), which is overwritten; false
 * when it is not positive definite. */
bool nas__log_det(int n, double *a, double *log_det, double *inverse_trace);

#endif
