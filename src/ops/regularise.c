/* regularise.c - dropout (Srivastava et al. 2014) and drop-path (Larsson et al. 2017, "FractalNet"). */
#include "core/random.h"
#include "ops/common.h"

/* --- dropout ------------------------------------------------------------------------------------- */
typedef struct dropout_state {
    nas_rng rng; /* the mask is a function of the stream: it is drawn again going back instead of being kept */
    float p;
} dropout_state;

/* y = x/(1-p) where the element survives. Every piece has its own position in the stream, whatever the threads. */
static void mask(const dropout_state *s, size_t count, const float *x, float *y) {
    enum { PIECE = 1024 };
    uint32_t limit = (uint32_t)((double)s->p * 0x1p32);
    float scale = 1 / (1 - s->p);
#pragma omp parallel for schedule(static) if (count > PIECE)
    for (size_t first = 0; first < count; first += PIECE) {
        uint32_t words[PIECE];
        size_t n = count - first < PIECE ? count - first : PIECE;
        nas_rng rng = s->rng;
        rng.position += first;
        nas__rng_fill(&rng, words, n);
        for (size_t i = 0; i < n; i++) {
            y[first + i] = words[i] >= limit ? x[first + i] * scale : 0;
        }
    }
}

static void dropout_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        mask(node->state, nas__storage(x), dy, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

/* Is there something to do? Also checks p. */
static bool active(const char *op, const nas_tensor *x, double p, bool *bad) {
    nas_tape *tape = nas__tape();
    *bad = !tape;
    if (tape && !(p >= 0 && p < 1)) {
        nas__fail(NAS_INVALID, "%s: the probability is %g; it must be in [0, 1)", op, p);
        *bad = true;
    }
    return !*bad && p > 0 && tape->config.training && !tape->config.dry && !x->is_zero;
}

nas_tensor *nas_dropout(nas_tensor *x, float p) {
    if (!x) {
        return nas__null_input("nas_dropout");
    }
    bool bad;
    if (!active("nas_dropout", x, p, &bad)) {
        return bad ? NULL : x;
    }
    nas_tensor *y = nas__like(x);
    if (!y) {
        return NULL;
    }
    dropout_state s = {nas__op_rng(), p};
    s.rng.position = (uint64_t)nas__tape()->config.first_sample * (nas__storage(x) / (size_t)x->dims[0]);
    mask(&s, nas__storage(x), nas__data(x), y->data);
    nas__node *node = nas__record("dropout", dropout_backward, 1, &x, 1, &y, sizeof s);
    if (node) {
        *(dropout_state *)node->state = s;
    }
    return y;
}

/* --- drop-path ----------------------------------------------------------------------------------- */
static void drop_path_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        size_t n = (size_t)x->dims[0];
        nas__kernel_table()->scale_per_sample((int)n, nas__storage(x) / n, node->saved[0]->data, dy, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_drop_path(nas_tensor *x, float p) {
    if (!x) {
        return nas__null_input("nas_drop_path");
    }
    bool bad;
    double rate = p < 0 && nas__tape() ? nas__tape()->config.drop_path : p;
    if (!active("nas_drop_path", x, rate, &bad)) {
        return bad ? NULL : x;
    }
    size_t n = (size_t)x->dims[0];
    nas_tensor *y = nas__like(x);
    nas__buffer *factors = y ? nas__floats(n) : NULL;
    if (!factors) {
        return NULL;
    }
    nas_rng rng = nas__op_rng();
    rng.position = 2 * (uint64_t)nas__tape()->config.first_sample; /* a number takes two words */
    for (size_t i = 0; i < n; i++) {
        factors->data[i] = nas_rng_uniform(&rng) >= rate ? (float)(1 / (1 - rate)) : 0;
    }
    nas__kernel_table()->scale_per_sample((int)n, nas__storage(x) / n, factors->data, nas__data(x), y->data);
    nas__node *node = nas__record("drop_path", drop_path_backward, 1, &x, 1, &y, 0);
    if (node) {
        node->saved[0] = factors;
    } else {
        nas__buffer_unref(factors);
    }
    return y;
}
