/* simd_functions.h - every kernel of the table (kernels.h) under its per-instruction-set name. Each simd_*.c defines
 * some of them, simd_table.c gathers them. Entry `foo` of the table is NAS_SIMD(nas__foo). */
#ifndef NAS_KERNELS_SIMD_FUNCTIONS_H
#define NAS_KERNELS_SIMD_FUNCTIONS_H

#include "kernels/kernels.h"
#include "kernels/kernel_tables.h"
#include "kernels/simd.h"

/* simd_unit*.c */
void NAS_SIMD(nas__unit_forward)(const nas__unit *u, const float *x, const nas__on_load *load, const float *bias,
                                 const nas__on_load *act, float *z, double *sums);
void NAS_SIMD(nas__unit_backward)(const nas__unit *u, const nas__unit_grads *g);

/* simd_pool.c */
void NAS_SIMD(nas__global_pool_forward)(int n, int c, int hw, const float *x, float *y);
void NAS_SIMD(nas__global_pool_backward)(int n, int c, int hw, const float *dy, float *dx);

/* simd_norm.c */
void NAS_SIMD(nas__bn_stats)(int n, int c, int hw, const float *x, float *mean, float *var);

/* simd_pointwise*.c */
void NAS_SIMD(nas__pointwise_forward)(const nas__pointwise *p, const float *const *x, const nas__on_load *load,
                                      const float *bias, const nas__on_load *act, float *z, double *sums);
void NAS_SIMD(nas__pointwise_backward)(const nas__pointwise *p, const nas__pointwise_grads *g);

/* simd_halves.c */
void NAS_SIMD(nas__halves_forward)(const nas__halves *s, const float *const *x, const nas__on_load *load, float *even,
                                   float *odd);
void NAS_SIMD(nas__halves_backward)(const nas__halves *s, const nas__halves_grads *g);

/* simd_late.c */
void NAS_SIMD(nas__late_values)(int n, int c, int hw, const float *x, const nas__on_load *load, float *y);
void NAS_SIMD(nas__late_gradient)(int n, int c, int hw, const nas__late_grad *late, float *out);
void NAS_SIMD(nas__late_sums)(int n, int c, int hw, const nas__late_grad *late, const float *z, double *sums);

/* simd_mix.c */
void NAS_SIMD(nas__mix_forward)(int n_inputs, const float *const *x, const float *w, size_t count, float *y);
void NAS_SIMD(nas__mix_backward)(int n_inputs, const float *const *x, const float *dy, size_t count, double *dots);

/* simd_terms.c */
void NAS_SIMD(nas__terms_forward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *scale,
                                  const float *shift, float *y);
void NAS_SIMD(nas__terms_backward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *dy, double *dots,
                                   double *sum);

/* simd_pool_rows.c, simd_pool_late.c */
void NAS_SIMD(nas__pool_forward_late)(const nas__pool_shape *s, bool max, const float *x, float *y);
void NAS_SIMD(nas__pools_sums)(const nas__pool_shape *s, const float *x, double *max, double *average);
void NAS_SIMD(nas__pools_backward_late)(const nas__pool_shape *s, const float *x, const nas__late_grad *max,
                                        const nas__late_grad *average, float *dx, bool accumulate);

/* simd_flat.c */
void NAS_SIMD(nas__relu_forward)(size_t count, const float *x, float *y, float cap);
void NAS_SIMD(nas__relu_backward)(size_t count, const float *x, const float *dy, float dy_scale, float *dx, float cap);
void NAS_SIMD(nas__add)(size_t count, const float *a, const float *b, float *y);
void NAS_SIMD(nas__mul)(size_t count, const float *a, const float *b, float *y);
void NAS_SIMD(nas__axpby)(size_t count, float a, const float *x, float b, float *y);
void NAS_SIMD(nas__scale_per_sample)(int n, size_t count_per_sample, const float *factor, const float *x, float *y);
double NAS_SIMD(nas__dot)(size_t count, const float *a, const float *b);

/* simd_optim.c */
void NAS_SIMD(nas__sgd)(size_t count, const nas__sgd_args *args, float *w, const float *g, float *buf);
void NAS_SIMD(nas__adam)(size_t count, const nas__adam_args *args, float *w, const float *g, float *m, float *v);

/* simd_conv3*.c */
size_t NAS_SIMD(nas__conv3_weights_size)(const nas__conv3 *s);
void NAS_SIMD(nas__conv3_weights)(const nas__conv3 *s, const float *w, bool backward, float *u);
void NAS_SIMD(nas__conv3_forward)(const nas__conv3 *s, const float *x, const nas__on_load *load, const float *u,
                                  const float *bias, const nas__on_load *act, float *z, double *sums);
void NAS_SIMD(nas__conv3_backward)(const nas__conv3 *s, const nas__conv3_grads *g);

#endif
