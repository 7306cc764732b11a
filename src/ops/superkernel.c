/* superkernel.c - the superkernel of Single-Path NAS (Stamoulis et al. 2019): the weights of the largest candidate,
 * masked by indicators that compare the norm of what a decision adds with a threshold. Forward an indicator is 0 or 1;
 * backward it has the derivative of the sigmoid. */
#include "ops/common.h"

#include <math.h>
#include <string.h>

enum { MOST_TAPS = 15 * 15 };

/* One indicator: d = factor * [norm - t >= 0], slope = factor * s'(norm - t). */
typedef struct indicator {
    double norm, share; /* norm = sqrt(share * sum of squares) */
    double d, slope;
} indicator;

typedef struct superkernel_state {
    nas_superkernel_args args;
    indicator of[NAS_SUPERKERNEL_THRESHOLDS];
    nas_superkernel_parts parts;
    int64_t channels, half, taps, out;
    bool ring[MOST_TAPS]; /* the outermost taps, which the smaller kernel lacks */
} superkernel_state;

enum { KERNEL = NAS_SUPERKERNEL_KERNEL, EXPANSION = NAS_SUPERKERNEL_EXPANSION, SKIP = NAS_SUPERKERNEL_SKIP };

/* --- norms and indicators ------------------------------------------------------------------------ */
static double weight_in_v(const superkernel_state *s, const float *w, int64_t channel, int64_t tap) {
    return w[channel * s->taps + tap] * (s->ring[tap] ? s->of[KERNEL].d : 1);
}

static void indicate(superkernel_state *s, int which, double squares, int64_t count, const float *thresholds) {
    indicator *i = &s->of[which];
    i->share = s->args.mean_norm ? 1.0 / (double)count : 1;
    i->norm = sqrt(i->share * squares + 1e-12); /* a norm of exactly zero has no gradient */
    double x = i->norm - thresholds[which], sigmoid = 1 / (1 + exp(-x));
    double factor = s->args.factors ? s->args.factors[which] : 1;
    i->d = factor * (s->args.relaxed ? sigmoid : x >= 0);
    i->slope = factor * sigmoid * (1 - sigmoid);
}

static void indicate_kernel(superkernel_state *s, const float *w, const float *thresholds) {
    double squares = 0;
    int64_t count = 0;
    for (int64_t t = 0; t < s->taps; t++) {
        count += s->ring[t] ? s->channels : 0;
        for (int64_t c = 0; s->ring[t] && c < s->channels; c++) {
            squares += (double)w[c * s->taps + t] * w[c * s->taps + t];
        }
    }
    indicate(s, KERNEL, squares, count, thresholds);
}

/* Of the channels [from, to) of v, the kernel behind the first decision. */
static void indicate_channels(superkernel_state *s, int which, int64_t from, int64_t to, const float *w,
                              const float *thresholds) {
    double squares = 0;
    for (int64_t c = from; c < to; c++) {
        for (int64_t t = 0; t < s->taps; t++) {
            double v = weight_in_v(s, w, c, t);
            squares += v * v;
        }
    }
    indicate(s, which, squares, (to - from) * s->taps, thresholds);
}

static void decide(superkernel_state *s, const float *w, const float *thresholds) {
    indicate_kernel(s, w, thresholds);
    indicate_channels(s, EXPANSION, s->half, s->channels, w, thresholds);
    if (s->args.no_skip) {
        s->of[SKIP] = (indicator){.norm = 1, .d = 1};
    } else {
        indicate_channels(s, SKIP, 0, s->half, w, thresholds);
    }
}

/* --- forward ------------------------------------------------------------------------------------- */
static void mask_depthwise(const superkernel_state *s, const float *w, float *u) {
    for (int64_t c = 0; c < s->channels; c++) {
        double kept = s->of[SKIP].d * (c < s->half ? 1 : s->of[EXPANSION].d);
        for (int64_t t = 0; t < s->taps; t++) {
            u[c * s->taps + t] = (float)(kept * weight_in_v(s, w, c, t));
        }
    }
}

static void mask_project(const superkernel_state *s, const float *p, float *masked) {
    float kept = (float)s->of[EXPANSION].d;
    for (int64_t i = 0; i < s->out * s->channels; i++) {
        masked[i] = i % s->channels < s->half ? p[i] : kept * p[i];
    }
}

/* --- backward ------------------------------------------------------------------------------------ */
/* dL/dd of the three, from all that depends on them but v. */
typedef struct sensitivities {
    double d[NAS_SUPERKERNEL_THRESHOLDS];
} sensitivities;

static void add_given(const superkernel_state *s, sensitivities *to) {
    const float *indicators = nas__grad_data(s->parts.indicators), *gate = nas__grad_data(s->parts.gate);
    for (int i = 0; indicators && i < NAS_SUPERKERNEL_THRESHOLDS; i++) {
        to->d[i] += indicators[i];
    }
    to->d[SKIP] += gate ? gate[1] : 0;
}

static void project_gradient(const superkernel_state *s, nas_tensor *project, sensitivities *to) {
    const float *dp = nas__grad_data(s->parts.project), *p = nas__data(project);
    nas__buffer *scratch;
    float *out = dp && nas__wants(project) ? nas__grad_begin(project, &scratch) : NULL;
    double dot = 0;
    for (int64_t i = 0; dp && i < s->out * s->channels; i++) {
        bool upper = i % s->channels >= s->half;
        dot += upper ? (double)dp[i] * p[i] : 0;
        if (out) {
            out[i] = upper ? (float)s->of[EXPANSION].d * dp[i] : dp[i];
        }
    }
    to->d[EXPANSION] += dot;
    if (out) {
        nas__grad_end(project, scratch);
    }
}

/* <U_A, v_A> and <U_B, v_B> */
static void depthwise_products(const superkernel_state *s, const float *w, const float *du, double products[2]) {
    for (int64_t c = 0; du && c < s->channels; c++) {
        for (int64_t t = 0; t < s->taps; t++) {
            products[c >= s->half] += (double)du[c * s->taps + t] * weight_in_v(s, w, c, t);
        }
    }
}

/* dv of the channels: what the masked kernel gives back, and what the norm of their part does. Then v = w3 + d5*w5. */
static double depthwise_gradient(const superkernel_state *s, const float *w, const float *du, const double *through,
                                 double *dv) {
    double d_kernel = 0;
    for (int64_t c = 0; c < s->channels; c++) {
        int part = c < s->half ? SKIP : EXPANSION;
        double kept = s->of[SKIP].d * (part == SKIP ? 1 : s->of[EXPANSION].d);
        double along_norm = through[part] * s->of[part].share / s->of[part].norm;
        for (int64_t t = 0; t < s->taps; t++) {
            double g = (du ? kept * du[c * s->taps + t] : 0) + along_norm * weight_in_v(s, w, c, t);
            d_kernel += s->ring[t] ? g * w[c * s->taps + t] : 0;
            dv[c * s->taps + t] = g;
        }
    }
    return d_kernel;
}

static void give_weight(const superkernel_state *s, nas_tensor *weight, const double *dv, double through_kernel) {
    nas__buffer *scratch;
    float *out = nas__grad_begin(weight, &scratch);
    const indicator *k = &s->of[KERNEL];
    const float *w = nas__data(weight);
    for (int64_t i = 0; out && i < s->channels * s->taps; i++) {
        out[i] = (float)(s->ring[i % s->taps] ? k->d * dv[i] + through_kernel * k->share * w[i] / k->norm : dv[i]);
    }
    if (out) {
        nas__grad_end(weight, scratch);
    }
}

static void superkernel_backward(nas__node *node) {
    const superkernel_state *s = node->state;
    nas_tensor *weight = node->inputs[0], *project = node->inputs[1], *thresholds = node->inputs[2];
    const float *du = nas__grad_data(s->parts.depthwise), *w = nas__data(weight);
    nas__buffer *memory = nas__buffer_new((size_t)(s->channels * s->taps) * sizeof(double));
    double products[2] = {0}, through[NAS_SUPERKERNEL_THRESHOLDS], *dv = memory ? (double *)memory->data : NULL;
    sensitivities to = {{0}};
    if (!dv) {
        return;
    }
    add_given(s, &to);
    project_gradient(s, project, &to);
    depthwise_products(s, w, du, products);
    to.d[EXPANSION] += s->of[SKIP].d * products[1];
    to.d[SKIP] += products[0] + s->of[EXPANSION].d * products[1];
    through[EXPANSION] = s->of[EXPANSION].slope * to.d[EXPANSION];
    through[SKIP] = s->of[SKIP].slope * to.d[SKIP];
    to.d[KERNEL] += depthwise_gradient(s, w, du, through, dv);
    through[KERNEL] = s->of[KERNEL].slope * to.d[KERNEL];
    if (nas__wants(weight)) {
        give_weight(s, weight, dv, through[KERNEL]);
    }
    if (nas__wants(thresholds)) {
        float dt[NAS_SUPERKERNEL_THRESHOLDS];
        for (int i = 0; i < NAS_SUPERKERNEL_THRESHOLDS; i++) {
            dt[i] = (float)-through[i];
        }
        nas__grad_add_array(thresholds, dt);
    }
    nas__buffer_unref(memory);
}

/* --- the operation ------------------------------------------------------------------------------- */
static bool fits(const nas_tensor *w, const nas_tensor *p, const nas_tensor *t) {
    bool square = w->ndim == 4 && w->dims[1] == 1 && w->dims[2] == w->dims[3] && w->dims[2] % 2 == 1 && w->dims[2] > 2;
    if (!square || w->dims[2] > 15 || w->dims[0] % 2 || p->ndim != 4 || p->dims[1] != w->dims[0] || p->dims[2] != 1 ||
        p->dims[3] != 1 || nas__count(t) != NAS_SUPERKERNEL_THRESHOLDS) {
        return nas__fail_null(NAS_SHAPE,
                              "nas_superkernel: depthwise weights %s, projecting weights %s and thresholds %s do not "
                              "fit: (C,1,k,k) with even C and odd k of 3 to 15, (O,C,1,1) and (3) are needed",
                              nas__shape(w), nas__shape(p), nas__shape(t));
    }
    return true;
}

static void describe(superkernel_state *s, const nas_tensor *w, const nas_tensor *p, const nas_superkernel_args *args) {
    int64_t side = w->dims[2];
    *s = (superkernel_state){
        .args = *args, .channels = w->dims[0], .half = w->dims[0] / 2, .taps = side * side, .out = p->dims[0]};
    for (int64_t t = 0; t < s->taps; t++) {
        int64_t y = t / side, x = t % side;
        s->ring[t] = y == 0 || x == 0 || y == side - 1 || x == side - 1;
    }
}

static bool make_parts(nas_tensor *w, nas_tensor *p, nas_superkernel_parts *parts) {
    parts->depthwise = nas__new(4, w->dims, NAS__PLAIN);
    parts->project = nas__new(4, p->dims, NAS__PLAIN);
    parts->gate = nas__new(1, (int64_t[]){2}, NAS__PLAIN);
    parts->indicators = nas__new(1, (int64_t[]){NAS_SUPERKERNEL_THRESHOLDS}, NAS__PLAIN);
    return parts->depthwise && parts->project && parts->gate && parts->indicators;
}

static void fill(const superkernel_state *s, const float *w, const float *p) {
    mask_depthwise(s, w, s->parts.depthwise->data);
    mask_project(s, p, s->parts.project->data);
    s->parts.gate->data[0] = 1;
    s->parts.gate->data[1] = (float)s->of[SKIP].d;
    for (int i = 0; i < NAS_SUPERKERNEL_THRESHOLDS; i++) {
        s->parts.indicators->data[i] = (float)s->of[i].d;
    }
}

bool nas_superkernel(nas_tensor *weight, nas_tensor *project, nas_tensor *thresholds, const nas_superkernel_args *args,
                     nas_superkernel_parts *parts) {
    *parts = (nas_superkernel_parts){0};
    if (!weight || !project || !thresholds) {
        return nas__null_input("nas_superkernel");
    }
    if (!fits(weight, project, thresholds)) {
        return false;
    }
    weight = nas__as(weight, NAS__PLAIN);
    project = nas__as(project, NAS__PLAIN);
    nas_tape *tape = weight && project ? nas__tape() : NULL;
    superkernel_state *s = tape ? nas__arena_alloc(&tape->arena, sizeof *s) : NULL;
    if (!s || !make_parts(weight, project, parts)) {
        return false;
    }
    nas_tensor *outputs[] = {parts->depthwise, parts->project, parts->gate, parts->indicators};
    describe(s, weight, project, args);
    s->parts = *parts;
    if (!nas__dry()) {
        const float *w = nas__data(weight), *p = nas__data(project), *t = nas__data(thresholds);
        if (!w || !p || !t) {
            return false;
        }
        decide(s, w, t);
        fill(s, w, p);
    }
    nas__node *node = nas__record("superkernel", superkernel_backward, 3, (nas_tensor *[]){weight, project, thresholds},
                                  4, outputs, sizeof *s);
    if (node) {
        *(superkernel_state *)node->state = *s;
    }
    return true;
}

nas_status nas_superkernel_margins(const nas_tensor *weight, const nas_tensor *thresholds,
                                   const nas_superkernel_args *args, double margins[NAS_SUPERKERNEL_THRESHOLDS]) {
    superkernel_state s;
    if (!weight || !weight->data || !thresholds || !thresholds->data) {
        return nas__fail(NAS_INVALID, "nas_superkernel_margins: weights and thresholds with values are needed");
    }
    describe(&s, weight, weight, args);
    s.args.factors = NULL;
    s.args.relaxed = false;
    decide(&s, weight->data, thresholds->data);
    for (int i = 0; i < NAS_SUPERKERNEL_THRESHOLDS; i++) {
        margins[i] = s.of[i].norm - (i == SKIP && args->no_skip ? 0 : (double)thresholds->data[i]);
    }
    return NAS_OK;
}
