/* proxies.c - see proxies.h: what is summed over the weights, and the table of all. */
#include "search/proxies.h"
#include "nn/layers.h"
#include "search/proxies_samples.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const nas__proxy_names[NAS__PROXIES] = {"synflow", "naswot", "jacob_cov", "snip", "grad_norm"};

/* --- sums over weights ------------------------------------------------------------------------------------------- */
typedef struct sums {
    double products, norms; /* of |w g|; of the layers' norms of g */
} sums;

static nas_status add_weight(const char *path, nas__parameter *p, void *user) {
    (void)path;
    sums *s = user;
    size_t n = (size_t)nas__count(p->tensor);
    float *g = p->role == NAS_ROLE_WEIGHT && p->tensor->ndim >= 2 ? nas__alloc(n * sizeof *g) : NULL;
    if (!g) {
        return nas_error_status();
    }
    double squares = 0;
    nas_status status = nas_tensor_read_grad(p->tensor, g);
    for (size_t i = 0; !status && i < n; i++) {
        s->products += fabs((double)p->tensor->data[i] * g[i]);
        squares += (double)g[i] * g[i];
    }
    s->norms += sqrt(squares);
    free(g);
    return status;
}

static nas_status forget_gradient(const char *path, nas__parameter *p, void *user) {
    (void)path, (void)user;
    nas_zero_grad(p->tensor);
    return NAS_OK;
}

static nas_status of_loss(nas_module *model, const nas__proxy_look *look, sums *s) {
    double loss = NAN;
    nas_tape *tape = nas_tape_new();
    nas_tape_config pass = {.grad = NAS_ROLE_WEIGHT, .freeze_running = true};
    nas_status status = nas__module_parameters(model, forget_gradient, NULL);
    status = status || !tape ? nas_error_status()
                             : nas__weight_pass(tape, &pass, model, look->loss, look->batch, look->info, &loss);
    if (!status && !isfinite(loss)) {
        status = nas__fail(NAS_NUMERIC, "the loss of the untrained network is %g", loss);
    }
    status = status ? status : nas__module_parameters(model, add_weight, s);
    nas_tape_free(tape);
    return status;
}

static nas_status snip(nas_module *model, const nas__proxy_look *look, double *score) {
    sums s = {0};
    nas_status status = of_loss(model, look, &s);
    *score = s.products > 0 ? s.products : -INFINITY;
    return status;
}

static nas_status grad_norm(nas_module *model, const nas__proxy_look *look, double *score) {
    sums s = {0};
    nas_status status = of_loss(model, look, &s);
    *score = s.norms > 0 ? s.norms : -INFINITY;
    return status;
}

/* --- synflow ----------------------------------------------------------------------------------------------------- */
static nas_status drop_norm(nas_module *module, void *user) {
    (void)user;
    if (nas__bn_fixed_parameters(module) >= 0) {
        nas__bn_drop(module);
    }
    return NAS_OK;
}

/* Without biases the output is proportional to the input, which saves it from overflowing. */
static nas_status make_positive(const char *path, nas__parameter *p, void *user) {
    (void)path, (void)user;
    bool bias = strcmp(p->name, "bias") == 0;
    for (int64_t i = 0; p->role == NAS_ROLE_WEIGHT && i < nas__count(p->tensor); i++) {
        p->tensor->data[i] = bias ? 0 : fabsf(p->tensor->data[i]);
    }
    nas_zero_grad(p->tensor);
    return NAS_OK;
}

/* Sum of |w dR/dw| times `in` times `out`, for an input of that many instead of ones, and that many times the output.
 */
static nas_status flow(nas_module *model, const nas_dataset_info *info, float in, float out, double *sum) {
    int64_t dims[NAS_MAX_DIMS] = {1}, n = 1;
    for (int i = 0; i < info->ndim; i++) {
        n *= dims[i + 1] = info->dims[i];
    }
    float *values = nas__alloc((size_t)n * sizeof *values);
    nas_tape *tape = nas_tape_new();
    sums s = {0};
    nas_status status = values && tape ? nas__module_parameters(model, make_positive, NULL) : nas_error_status();
    for (int64_t i = 0; values && i < n; i++) {
        values[i] = in;
    }
    if (!status) {
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .freeze_running = true});
        nas_tensor *y = nas_forward(model, nas_input(info->ndim + 1, dims, values));
        nas_tensor *total = nas_scale(nas_sum(y), out);
        status = total && !nas_backward(total) ? nas__module_parameters(model, add_weight, &s) : nas_error_status();
    }
    *sum = s.products;
    nas_tape_free(tape);
    free(values);
    return status;
}

/* Single precision ends at 2^128: where that is not enough, smaller inputs and outputs make room for 2^180 times more.
 */
static nas_status synflow(nas_module *model, const nas__proxy_look *look, double *score) {
    static const int exponents[] = {0, 60, 90};
    double sum = NAN;
    nas_status status = nas__module_walk(model, drop_norm, NULL);
    for (size_t i = 0; !status && i < sizeof exponents / sizeof *exponents; i++) {
        float scale = ldexpf(1, -exponents[i]);
        status = flow(model, look->info, scale, scale, &sum);
        *score = sum > 0 ? log(sum) + 2 * exponents[i] * log(2) : -INFINITY;
        if (isfinite(sum)) {
            return status;
        }
    }
    return status ? status : nas__fail(NAS_NUMERIC, "synflow: the network is too deep for single precision");
}

/* --- all of them ------------------------------------------------------------------------------------------------- */
nas_status nas__proxy_score(nas_module *model, nas__proxy proxy, const nas__proxy_look *look, double *score) {
    static nas_status (*const functions[NAS__PROXIES])(nas_module *, const nas__proxy_look *, double *) = {
        synflow, nas__proxy_naswot, nas__proxy_jacob_cov, snip, grad_norm};
    *score = NAN;
    return functions[proxy](model, look, score);
}
