/* onednn.h - what the operations ask of oneDNN, without its types. Every function runs one cached primitive on the
 * calling thread's stream. Activations are blocked or plain as the shape says, weights are plain (O, I/groups, kh, kw).
 */
#ifndef KERNELS_ONEDNN_H
#define KERNELS_ONEDNN_H

#include <espalier/core.h>

typedef struct nas__conv_shape {
    int n, ic, ih, iw, oc, oh, ow;
    int kh, kw, stride, dilation, pad_h, pad_w, groups;
    int plain_src, plain_dst; /* layouts of the two activations: 0 blocked, 1 plain */
    int bf16; /* instead: both of bf16 with the channels innermost; weights, bias and their gradients f32 as ever */
} nas__conv_shape;

/* Of square images and an odd kernel, padded so that stride 1 keeps their size. */
nas__conv_shape nas__conv_square(int n, int in, int out, int size, int kernel, int stride, int dilation, int groups);

typedef enum nas__direction { NAS__FORWARD, NAS__BACKWARD_DATA, NAS__BACKWARD_WEIGHTS } nas__direction;

/* bias may be NULL. */
nas_status nas__conv_forward(const nas__conv_shape *s, const void *src, const float *weight, const float *bias,
                             void *dst);
/* Weights that are used often are better kept in the layout that the primitive wants. Floats of it; 0: the plain one.
 * *form (not 0) tells layouts apart. */
size_t nas__conv_weights_size(const nas__conv_shape *s, bool bias, uint64_t *form);
nas_status nas__conv_weights(const nas__conv_shape *s, bool bias, const float *weight, float *prepared);
nas_status nas__conv_forward_prepared(const nas__conv_shape *s, const float *src, const float *prepared,
                                      const float *bias, float *dst);
nas_status nas__conv_backward_data(const nas__conv_shape *s, const void *diff_dst, const float *weight, void *diff_src);
nas_status nas__conv_backward_weights(const nas__conv_shape *s, const void *src, const void *diff_dst,
                                      float *diff_weight, float *diff_bias);
/* Is there a fast implementation (not "ref", not "gemm") for all of this shape's directions that `backward` asks for?
 */
bool nas__conv_is_fast(const nas__conv_shape *s, bool backward_data, bool backward_weights);

/* c (m,n) = op(a) op(b), row-major and dense; op transposes when asked: a is then (k,m), b is (n,k). */
nas_status nas__matmul(int64_t m, int64_t n, int64_t k, const float *a, bool transpose_a, const float *b,
                       bool transpose_b, float *c);

typedef enum nas__eltwise { NAS__SIGMOID, NAS__TANH, NAS__GELU, NAS__SWISH } nas__eltwise;
nas_status nas__eltwise_forward(nas__eltwise kind, size_t count, const float *x, float *y);
/* dx from dy and the input x. */
nas_status nas__eltwise_backward(nas__eltwise kind, size_t count, const float *x, const float *dy, float *dx);

/* Names of all implementations in the calling thread's cache ("conv_fwd jit:avx512_core"), for tests and `doctor`. */
void nas__onednn_implementations(void (*visit)(const char *name, void *user), void *user);
/* "2.6.3" of the library that is loaded. */
const char *nas__onednn_version(void);

#endif
