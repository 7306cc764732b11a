/* simd_optim.c - optimiser updates in one pass over flat parameters, with PyTorch's formulas. */
#include "kernels/simd_functions.h"

#include <math.h>

/* What a piece has to do; `momentum`, `first` and `nesterov` are constants in each instance. */
NAS_INLINE void sgd_range(size_t count, const nas__sgd_args *args, float *w, const float *g, float *buf,
                          const bool momentum, const bool first, const bool nesterov) {
    const float lr = args->lr, decay = args->weight_decay, scale = args->grad_scale;
    const float keep = args->momentum, take = 1 - args->dampening;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        float step = scale * g[i] + decay * w[i];
        if (momentum) {
            const float b = first ? step : keep * buf[i] + take * step;
            buf[i] = b;
            step = nesterov ? step + keep * b : b;
        }
        w[i] -= lr * step;
    }
}

static void sgd_piece(size_t count, const nas__sgd_args *args, float *w, const float *g, float *buf) {
    if (args->momentum == 0) {
        sgd_range(count, args, w, g, NULL, false, false, false);
    } else if (args->first) {
        if (args->nesterov) {
            sgd_range(count, args, w, g, buf, true, true, true);
        } else {
            sgd_range(count, args, w, g, buf, true, true, false);
        }
    } else if (args->nesterov) {
        sgd_range(count, args, w, g, buf, true, false, true);
    } else {
        sgd_range(count, args, w, g, buf, true, false, false);
    }
}

void NAS_SIMD(nas__sgd)(size_t count, const nas__sgd_args *args, float *w, const float *g, float *buf) {
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t length = count - from < FLAT_PIECE ? count - from : FLAT_PIECE;
        sgd_piece(length, args, w + from, g + from, buf ? buf + from : NULL);
    }
}

typedef struct adam_factors {
    float rate, root, shrink,
        decay; /* lr / correction1, 1 / sqrt(correction2), decoupled decay, decay in the gradient */
} adam_factors;

static void adam_piece(size_t count, const nas__adam_args *args, const adam_factors *f, float *w, const float *g,
                       float *m, float *v) {
    const float beta1 = args->beta1, beta2 = args->beta2, eps = args->eps, scale = args->grad_scale;
    const float take1 = 1 - beta1, take2 = 1 - beta2;
    const float rate = f->rate, root = f->root, shrink = f->shrink, decay = f->decay;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        const float step = scale * g[i] + decay * w[i];
        const float first = beta1 * m[i] + take1 * step;
        const float second = beta2 * v[i] + take2 * step * step;
        m[i] = first;
        v[i] = second;
        w[i] = shrink * w[i] - rate * (first / (sqrtf(second) * root + eps));
    }
}

void NAS_SIMD(nas__adam)(size_t count, const nas__adam_args *args, float *w, const float *g, float *m, float *v) {
    const adam_factors f = {
        .rate = (float)(args->lr / args->correction1),
        .root = (float)(1 / sqrt(args->correction2)),
        .shrink = args->decoupled ? (float)(1 - (double)args->lr * args->weight_decay) : 1,
        .decay = args->decoupled ? 0 : args->weight_decay,
    };
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t length = count - from < FLAT_PIECE ? count - from : FLAT_PIECE;
        adam_piece(length, args, &f, w + from, g + from, m + from, v + from);
    }
}
