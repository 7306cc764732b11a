/* simd_conv3_weights.c - Winograd's transforms of 3x3 kernels, U = G g G^T, and back for their gradient. The lanes are
 * output channels of the product, as everywhere; plain weights come to them by a small transposition. */
#include "simd_conv3.h"

#define A2 C3_A2
#define B2 C3_B2
#define G0 (1.0f / (A2 * B2))
#define GA (1.0f / (2 * A2 * (A2 - B2)))
#define GB (1.0f / (2 * B2 * (B2 - A2)))

/* u = G g */
NAS_INLINE void to_points(const vec g[3], vec u[6]) {
    const vec a = vfma(vset1(A2), g[2], g[0]) * vset1(GA), b = vfma(vset1(B2), g[2], g[0]) * vset1(GB);
    u[0] = g[0] * vset1(G0);
    u[1] = vfma(vset1(C3_A * GA), g[1], a);
    u[2] = vfma(vset1(-C3_A * GA), g[1], a);
    u[3] = vfma(vset1(C3_B * GB), g[1], b);
    u[4] = vfma(vset1(-C3_B * GB), g[1], b);
    u[5] = g[2];
}

/* g = G^T u */
NAS_INLINE void from_points(const vec u[6], vec g[3]) {
    const vec even_a = (u[1] + u[2]) * vset1(GA), even_b = (u[3] + u[4]) * vset1(GB);
    g[0] = vfma(vset1(G0), u[0], even_a + even_b);
    g[1] = vfma(vset1(C3_A * GA), u[1] - u[2], vset1(C3_B * GB) * (u[3] - u[4]));
    g[2] = vfma(vset1(A2), even_a, vfma(vset1(B2), even_b, u[5]));
}

/* Offset of (in, block) in a position of U: panels of C3_PANEL blocks. */
NAS_INLINE size_t place(int in, int blocks, int i, int block) {
    const int panel = block / C3_PANEL * C3_PANEL, width = c3_min(C3_PANEL, blocks - panel);
    return ((size_t)panel * in + (size_t)i * width + (block - panel)) * BLOCK;
}

size_t NAS_SIMD(nas__conv3_weights_size)(const nas__conv3 *s) {
    const size_t forward = (size_t)s->in * c3_blocks(s->out), backward = (size_t)s->out * c3_blocks(s->in);
    return C3_POSITIONS * BLOCK * (forward > backward ? forward : backward);
}

typedef struct kernels {
    int in, lanes;                /* channels that are summed, channels that lie in the lanes */
    ptrdiff_t in_step, lane_step; /* floats between their plain kernels */
    bool turned;                  /* rotated by 180 degrees */
} kernels;

NAS_INLINE void one_kernel(const kernels *k, const float *w, int i, int block, float *u) {
    const int lanes = c3_min(BLOCK, k->lanes - block * BLOCK), blocks = c3_blocks(k->lanes);
    const size_t position = (size_t)k->in * blocks * BLOCK;
    float taps[9][BLOCK] __attribute__((aligned(64))) = {{0}};
    vec g[3][3], half[6][3];
    w += i * k->in_step + (ptrdiff_t)block * BLOCK * k->lane_step;
    for (int lane = 0; lane < lanes; lane++, w += k->lane_step) {
        for (int t = 0; t < 9; t++) {
            taps[k->turned ? 8 - t : t][lane] = w[t];
        }
    }
    for (int t = 0; t < 9; t++) {
        g[t % 3][t / 3] = vload(taps[t]);
    }
    for (int c = 0; c < 3; c++) {
        vec u1[6];
        to_points(g[c], u1);
        for (int p = 0; p < 6; p++) {
            half[p][c] = u1[p];
        }
    }
    u += place(k->in, blocks, i, block);
    for (int p = 0; p < 6; p++) {
        vec u2[6];
        to_points(half[p], u2);
        for (int q = 0; q < 6; q++) {
            vstore(u + (size_t)(p * 6 + q) * position, u2[q]);
        }
    }
}

void NAS_SIMD(nas__conv3_weights)(const nas__conv3 *s, const float *w, bool backward, float *u) {
    const kernels k = {.in = backward ? s->out : s->in,
                       .lanes = backward ? s->in : s->out,
                       .in_step = backward ? (ptrdiff_t)s->in * 9 : 9,
                       .lane_step = backward ? 9 : (ptrdiff_t)s->in * 9,
                       .turned = backward};
    const int blocks = c3_blocks(k.lanes);
#pragma omp parallel for schedule(static) if (k.in * blocks >= 64)
    for (int task = 0; task < k.in * blocks; task++) {
        one_kernel(&k, w, task % k.in, task / k.in, u);
    }
}

void NAS_SIMD(nas__conv3_kernel_gradient)(const float *du, size_t position, size_t part, int n_parts, int lanes,
                                          ptrdiff_t lane_step, float *dw) {
    vec half[3][6];
    for (int q = 0; q < 6; q++) {
        vec u[6], g[3];
        for (int p = 0; p < 6; p++) {
            const float *from = du + (size_t)(p * 6 + q) * position;
            u[p] = vload(from);
            for (int n = 1; n < n_parts; n++) {
                u[p] += vload(from + n * part);
            }
        }
        from_points(u, g);
        for (int r = 0; r < 3; r++) {
            half[r][q] = g[r];
        }
    }
    float taps[9][BLOCK] __attribute__((aligned(64)));
    for (int r = 0; r < 3; r++) {
        vec g[3];
        from_points(half[r], g);
        for (int c = 0; c < 3; c++) {
            vstore(taps[r * 3 + c], g[c]);
        }
    }
    for (int lane = 0; lane < lanes; lane++, dw += lane_step) {
        for (int t = 0; t < 9; t++) {
            dw[t] = taps[t][lane];
        }
    }
}

void NAS_SIMD(nas__conv3_weight_gradient)(const nas__conv3 *s, const float *du, size_t part, int n_parts, float *dw) {
    const int blocks = c3_blocks(s->out);
    const size_t position = (size_t)s->in * blocks * BLOCK;
#pragma omp for schedule(static)
    for (int task = 0; task < blocks * s->in; task++) {
        const int i = task % s->in, block = task / s->in;
        NAS_SIMD(nas__conv3_kernel_gradient)
        (du + place(s->in, blocks, i, block), position, part, n_parts, c3_min(BLOCK, s->out - block * BLOCK),
         (ptrdiff_t)s->in * 9, dw + ((size_t)block * BLOCK * s->in + i) * 9);
    }
}
