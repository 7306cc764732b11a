/* precision.c - see precision.h. */
#include "ops/precision.h"

#include "kernels/bf16.h"
#include "ops/common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Thread_local nas__precision *in_use;

const char *nas_bf16_missing(void) { return nas__bf16_missing(); }

nas__precision *nas__precision_new(nas_precision wanted) {
    nas__precision *p = nas__alloc(sizeof *p);
    if (p) {
        p->mode = nas_bf16_missing() ? NAS_F32 : wanted;
    }
    return p;
}

void nas__precision_free(nas__precision *p) {
    if (p) {
        free(p->choices);
        free(p);
    }
}

nas__precision *nas__precision_use(nas__precision *p) {
    nas__precision *before = in_use;
    in_use = p;
    return before;
}

nas_status nas__precision_choose(nas__precision *p, const nas__precision_choice *choice) {
    if (!nas__grow(&p->choices, p->n, sizeof *p->choices)) {
        return nas_error_status();
    }
    p->choices[p->n++] = *choice;
    return NAS_OK;
}

static const nas__precision_choice *find(const nas__precision *p, const nas__conv_shape *s) {
    for (size_t i = 0; i < p->n; i++) {
        if (memcmp(&p->choices[i].shape, s, sizeof *s) == 0) {
            return &p->choices[i];
        }
    }
    return NULL;
}

/* --- measuring ------------------------------------------------------------------------------------- */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill(size_t count, float *values) {
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)((int)(i % 61) - 30) / 30;
    }
}

/* The operation and its backward step, from a gradient of ones and such. */
static double compute(const nas__conv_shape *s, nas_tensor *x, nas_tensor *weight, nas__buffer *gradient) {
    nas_conv_args args = {.stride = s->stride, .dilation = s->dilation, .padding = s->pad_h};
    double start = now();
    nas_tensor *y = nas_conv2d(nas_relu(x), weight, NULL, args);
    if (y) {
        nas__grad_give(y, nas__buffer_ref(gradient), 1);
        for (nas__node *node = y->tape->last; node && !nas_error_status(); node = node->previous) {
            node->backward(node);
        }
    }
    return y && !nas_error_status() ? now() - start : -1;
}

static double run_once(nas_tape *tape, const nas__conv_shape *s, nas_tensor *weight, bool bf16) {
    nas__precision_choice only = {*s, bf16 ? NAS__IN_BF16 : NAS__F32_IS_FASTER};
    nas__precision forced = {.mode = NAS_BF16, .choices = &only, .n = 1}, *before = nas__precision_use(&forced);
    double seconds = -1;
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .training = true});
    nas_tensor *x = nas__new(4, (int64_t[]){s->n, s->ic, s->ih, s->iw}, NAS__BLOCKED);
    size_t count = (size_t)s->n * (size_t)nas__padded(s->oc) * (size_t)s->oh * (size_t)s->ow;
    nas__buffer *gradient = nas__floats(count);
    if (x && gradient) {
        x->needs_grad = true;
        fill(nas__storage(x), x->data);
        fill(count, gradient->data);
        seconds = compute(s, x, weight, gradient);
    }
    nas__buffer_unref(gradient);
    nas_zero_grad(weight);
    nas_tape_reset(tape);
    nas__precision_use(before);
    return seconds;
}

nas__precision_times nas__precision_measure(const nas__conv_shape *s, int runs) {
    nas__precision_times best = {-1, -1};
    const nas__watcher *watcher = nas__watch(NULL);
    nas_tape *tape = nas_tape_new();
    nas_tensor *weight = nas__persistent(4, (int64_t[]){s->oc, s->ic, s->kh, s->kw}, NAS_ROLE_WEIGHT);
    if (tape && weight) {
        fill((size_t)nas__count(weight), weight->data);
        for (int i = 0; i <= runs; i++) { /* the first makes the primitives */
            double f32 = run_once(tape, s, weight, false), bf16 = run_once(tape, s, weight, true);
            best.f32 = i > 1 ? fmin(best.f32, f32) : f32;
            best.bf16 = i > 1 ? fmin(best.bf16, bf16) : bf16;
        }
    }
    nas_tensor_free(weight);
    nas_tape_free(tape);
    nas__watch(watcher);
    return best;
}

/* --- choosing -------------------------------------------------------------------------------------- */
bool nas__bf16_is_fast(const nas__conv_shape *s) {
    nas__conv_shape bf16 = *s;
    bf16.bf16 = 1;
    return nas__conv_is_fast(&bf16, true, true);
}

static bool is_faster_in_bf16(const nas__conv_shape *s) {
    enum { RUNS = 4 };
    nas__precision_times t = nas__precision_measure(s, RUNS);
    return t.bf16 >= 0 && t.bf16 < t.f32;
}

static nas__verdict judge(const nas__precision *p, const nas__conv_shape *s) {
    return !nas__bf16_is_fast(s)                          ? NAS__NO_BF16_KERNEL
           : p->mode == NAS_AUTO && !is_faster_in_bf16(s) ? NAS__F32_IS_FASTER
                                                          : NAS__IN_BF16;
}

bool nas__precision_is_bf16(const nas__conv_shape *s) {
    nas__precision *p = in_use;
    if (!p || p->mode == NAS_F32) {
        return false;
    }
    const nas__precision_choice *known = find(p, s);
    if (known) {
        return known->verdict == NAS__IN_BF16;
    }
    const nas__precision_choice fresh = {*s, judge(p, s)};
    return !nas__precision_choose(p, &fresh) && fresh.verdict == NAS__IN_BF16;
}

/* --- telling --------------------------------------------------------------------------------------- */
static void list(const nas__precision *p, nas__verdict verdict, const char *title, char *text, size_t size) {
    size_t used = strlen(text), listed = 0;
    for (size_t i = 0; i < p->n && used < size; i++) {
        const nas__conv_shape *s = &p->choices[i].shape;
        if (p->choices[i].verdict == verdict) {
            used += (size_t)snprintf(text + used, size - used, "%s%dx%dx%dx%d to %d %dx%d/%d", listed++ ? ", " : title,
                                     s->n, s->ic, s->ih, s->iw, s->oc, s->kh, s->kw, s->stride);
        }
    }
}

void nas__precision_text(const nas__precision *p, char *text, size_t size) {
    size_t bf16 = 0;
    for (size_t i = 0; i < p->n; i++) {
        bf16 += p->choices[i].verdict == NAS__IN_BF16;
    }
    snprintf(text, size, "bf16 for %zu of %zu shapes of dense convolutions", bf16, p->n);
    list(p, NAS__F32_IS_FASTER, "; f32 is faster for ", text, size);
    list(p, NAS__NO_BF16_KERNEL, "; oneDNN has no fast bf16 for ", text, size);
}
