/* controller_walk.c - one walk of the controller over a space: drawing an architecture, or following a drawn one again.
 */
#include "core/error.h"
#include "core/memory.h"
#include "core/threads.h"
#include "search/controller.h"

#include <espalier/ops.h>
#include <math.h>
#include <stdlib.h>

enum { CLOSED = -30000 }; /* logit of a candidate that was drawn already: its probability is 0 in float32 */

typedef struct walk {
    nas__controller *c;
    nas__sample *sample;
    nas_rng *rng; /* NULL: follows the sample's tokens */
    bool count;
    int token;
    nas_tensor *x, *h, *cell;
    nas_tensor **anchors; /* per choice, then per input of a row; NULL where none was made */
    nas_tensor *log_pi, *kl, *entropy;
    bool wants_entropy; /* as a tensor */
    double saturation;
    int64_t logits;
} walk;

/* --- the LSTM and its tokens ---------------------------------------------------------------------- */
static nas_status advance(walk *w) {
    nas_tensor *h, *cell;
    if (!nas_lstm_cell(w->x, w->h, w->cell, w->c->lstm, NULL, &h, &cell)) {
        return nas_error_status();
    }
    w->h = h;
    w->cell = cell;
    return NAS_OK;
}

static nas_tensor *row(nas_tensor *table, int index) {
    return nas_embedding(nas_input(NAS_DIMS(1), (float[]){(float)index}), table);
}

/* c tanh(l / T) of a row of logits. */
static nas_tensor *cap(walk *w, nas_tensor *logits, double reduce) {
    const nas__controller_config *config = &w->c->config;
    logits = config->temperature > 0 ? nas_scale(logits, (float)(1 / config->temperature)) : logits;
    if (!(config->tanh_constant > 0)) {
        return logits;
    }
    float values[NAS_MAX_CANDIDATES];
    nas_tensor *t = nas_tanh(logits);
    int64_t n = t && !nas_tensor_read(t, values) ? nas_tensor_count(t) : 0;
    for (int64_t k = 0; k < n; k++) {
        w->saturation += fabs(values[k]);
    }
    w->logits += n;
    return nas_scale(t, (float)(config->tanh_constant / (reduce > 0 ? reduce : 1)));
}

static void add_term(nas_tensor **sum, nas_tensor *term) { *sum = *sum ? nas_add(*sum, term) : term; }

/* The next token, drawn by its log probabilities or the sample's; and what it says about the walk. */
static int take(walk *w, const float *log_p, int n) {
    double p[NAS_MAX_CANDIDATES], total = 0;
    int open = 0;
    for (int k = 0; k < n; k++) {
        total += p[k] = exp(log_p[k]);
        open += p[k] > 0;
        w->sample->entropy -= p[k] > 0 ? p[k] * log_p[k] : 0;
    }
    w->sample->uniform += log(open);
    if (w->rng) {
        double u = nas_rng_uniform(w->rng) * total;
        int taken = -1;
        for (int k = 0; k < n && (taken < 0 || u >= 0); k++) {
            taken = p[k] > 0 ? k : taken; /* the last possible one when rounding leaves something of u */
            u -= p[k];
        }
        w->sample->tokens[w->token] = taken;
    }
    w->sample->arity[w->token] = n;
    int token = w->sample->tokens[w->token++];
    w->sample->log_pi += log_p[token];
    return token;
}

static void count_probability(walk *w, int choice, int candidate, double p) {
    if (w->count) {
        w->c->marginals[choice * NAS_MAX_CANDIDATES + candidate] += p;
    }
}

/* A token out of a row of logits; its term goes to log pi. Negative on failure. */
static int softmax_token(walk *w, int choice, nas_tensor *logits) {
    float log_p[NAS_MAX_CANDIDATES];
    nas_tensor *lp = nas_log_softmax(logits);
    if (!lp || nas_tensor_read(lp, log_p)) {
        return -1;
    }
    int n = (int)nas_tensor_count(lp), token = take(w, log_p, n);
    for (int k = 0; k < n; k++) {
        count_probability(w, choice, k, exp(log_p[k]));
    }
    add_term(&w->log_pi, nas_sum(nas_slice(lp, 1, token, 1)));
    if (w->wants_entropy) {
        add_term(&w->entropy, nas_scale(nas_sum(nas_mul(nas_softmax(logits), lp)), -1));
    }
    return token;
}

/* --- layers and values ---------------------------------------------------------------------------- */
static nas_status visit_single(walk *w, const nas__visit *v, uint64_t *set) {
    const nas__vocabulary *words = &w->c->vocabularies[v->vocabulary];
    nas_tensor *logits = advance(w) ? NULL : nas_linear(w->h, words->output, NULL);
    logits = words->bias ? nas_add(logits, words->bias) : logits;
    int token = softmax_token(w, v->choice, cap(w, logits, w->c->config.op_reduce));
    if (token < 0) {
        return nas_error_status();
    }
    w->anchors[v->choice] = w->h;
    w->x = row(words->embedding, token);
    *set = (uint64_t)1 << token;
    return NAS_OK;
}

/* --- inputs --------------------------------------------------------------------------------------- */
static nas_tensor *anchor(const walk *w, const nas__anchor *a) {
    nas_tensor *state = a->choice >= 0 ? w->anchors[a->choice] : NULL;
    return state ? state : row(w->c->vocabularies[a->vocabulary].embedding, a->row);
}

static nas_tensor *zero(const walk *w) { return nas_zero(2, (int64_t[]){1, w->c->config.hidden}); }

static bool is_input(const walk *w, const nas__anchor *a) { return a->choice >= nas_space_size(w->c->space); }

static nas_tensor *anchors_of(const walk *w, const nas__visit *v, int n, nas_tensor **list) {
    for (int k = 0; k < n; k++) {
        list[k] = anchor(w, &v->anchors[k]);
    }
    return nas_concat(n, list, 0);
}

/* v tanh(W1 a_i + W2 h), a row of n, capped. */
static nas_tensor *attend(walk *w, nas_tensor *keys, int n) {
    nas_tensor *query = nas_linear(w->h, w->c->of_state, NULL);
    nas_tensor *q = nas_linear(nas_tanh(nas_linear(keys, w->c->of_anchor, query)), w->c->attention, NULL);
    return cap(w, nas_reshape(q, 2, (int64_t[]){1, n}), 1);
}

static nas_status draw_inputs(walk *w, const nas__visit *v, const nas_choice *choice, uint64_t *set) {
    nas_tensor *anchors[NAS_MAX_CANDIDATES], *keys = anchors_of(w, v, choice->n, anchors);
    float closed[NAS_MAX_CANDIDATES] = {0};
    for (int drawn = 0; drawn < choice->n_max; drawn++) {
        nas_tensor *logits = advance(w) ? NULL : attend(w, keys, choice->n);
        logits = drawn ? nas_add(logits, nas_input(NAS_DIMS(1, choice->n), closed)) : logits;
        int token = softmax_token(w, v->choice, logits);
        if (token < 0) {
            return nas_error_status();
        }
        *set |= (uint64_t)1 << token;
        closed[token] = CLOSED;
        w->x = is_input(w, &v->anchors[token]) ? zero(w) : anchors[token];
    }
    return NAS_OK;
}

/* Which bits are 1, and which of them were free to be. */
typedef struct bits {
    bool one[NAS_MAX_CANDIDATES];
    float taken[2 * NAS_MAX_CANDIDATES], free_[2 * NAS_MAX_CANDIDATES]; /* of both values of each */
    int n_one;
} bits;

static void take_bits(walk *w, int index, const nas_choice *choice, const float *log_p, bits *b) {
    for (int k = 0; k < choice->n; k++) {
        bool must = choice->n_min - b->n_one >= choice->n - k, may = b->n_one < choice->n_max;
        int bit = must || !may ? must : take(w, log_p + 2 * k, 2);
        if (!must && may) {
            b->taken[2 * k + bit] = 1;
            b->free_[2 * k] = b->free_[2 * k + 1] = 1;
        }
        b->one[k] = bit;
        b->n_one += bit;
        count_probability(w, index, k, must || !may ? bit : exp(log_p[2 * k + 1]));
    }
}

/* sum over the free bits of p log(p / target). */
static nas_tensor *divergence(const walk *w, nas_tensor *pairs, const bits *b, int n) {
    float target[2 * NAS_MAX_CANDIDATES];
    for (int k = 0; k < n; k++) {
        target[2 * k] = (float)log(1 - w->c->config.skip_target);
        target[2 * k + 1] = (float)log(w->c->config.skip_target);
    }
    pairs = w->c->config.skip_compat ? nas_scale(pairs, 0.5f) : pairs;
    nas_tensor *terms = nas_mul(nas_softmax(pairs), nas_sub(nas_log_softmax(pairs), nas_input(NAS_DIMS(n, 2), target)));
    return nas_sum(nas_mul(terms, nas_input(NAS_DIMS(n, 2), b->free_)));
}

/* The next input: sum of the chosen anchors / (1 + how many). */
static nas_tensor *mean_of_chosen(const walk *w, nas_tensor **anchors, const bits *b, int n) {
    nas_tensor *chosen[NAS_MAX_CANDIDATES];
    int n_chosen = 0;
    for (int k = 0; k < n; k++) {
        if (b->one[k]) {
            chosen[n_chosen++] = anchors[k];
        }
    }
    return n_chosen ? nas_scale(nas_sum_of(n_chosen, chosen), 1.0f / (float)(1 + n_chosen)) : zero(w);
}

static nas_status draw_bits(walk *w, const nas__visit *v, const nas_choice *choice, uint64_t *set) {
    float log_p[2 * NAS_MAX_CANDIDATES];
    bits b = {0};
    int n = choice->n;
    nas_tensor *anchors[NAS_MAX_CANDIDATES], *keys = anchors_of(w, v, n, anchors);
    nas_tensor *q = advance(w) ? NULL : nas_reshape(attend(w, keys, n), 2, (int64_t[]){n, 1});
    nas_tensor *pairs = q ? nas_concat(2, (nas_tensor *[]){nas_scale(q, -1), q}, 1) : NULL;
    nas_tensor *lp = nas_log_softmax(pairs);
    if (!lp || nas_tensor_read(lp, log_p)) {
        return nas_error_status();
    }
    take_bits(w, v->choice, choice, log_p, &b);
    add_term(&w->log_pi, nas_sum(nas_mul(lp, nas_input(NAS_DIMS(n, 2), b.taken))));
    add_term(&w->kl, divergence(w, pairs, &b, n));
    if (w->wants_entropy) {
        nas_tensor *terms = nas_mul(nas_mul(nas_softmax(pairs), lp), nas_input(NAS_DIMS(n, 2), b.free_));
        add_term(&w->entropy, nas_scale(nas_sum(terms), -1));
    }
    for (int k = 0; k < n; k++) {
        *set |= (uint64_t)b.one[k] << k;
    }
    w->x = mean_of_chosen(w, anchors, &b, n);
    w->anchors[v->choice] = w->h;
    return nas_error_status();
}

/* --- the walk ------------------------------------------------------------------------------------- */
static nas_status decide(walk *w, const nas__visit *v, const nas_choice *choice, uint64_t *set) {
    if (choice->n_min == choice->n) { /* nothing to choose: no token */
        for (int k = 0; k < choice->n; k++) {
            *set |= (uint64_t)1 << k;
            count_probability(w, v->choice, k, 1);
        }
        return NAS_OK;
    }
    return choice->kind != NAS_INPUT        ? visit_single(w, v, set)
           : choice->n_min == choice->n_max ? draw_inputs(w, v, choice, set)
                                            : draw_bits(w, v, choice, set);
}

/* The state behind a node's last edge stands for the node; bits have their own already. */
static nas_status finish_node(walk *w, const nas__visit *nodes, int input) {
    const nas__visit *v = nodes;
    while (v->choice != input) {
        v++;
    }
    if (!v->is_anchor || w->anchors[input] || !nas_architecture_reaches(w->sample->architecture, input)) {
        return NAS_OK;
    }
    nas_status status = advance(w);
    w->anchors[input] = w->h;
    w->x = w->c->start;
    return status;
}

/* A step for each input of a row of nodes. */
static nas_status make_inputs(walk *w, const nas__visit *v) {
    nas_status status = NAS_OK;
    w->x = v->n_inputs && v->starts_anew ? w->c->start : w->x;
    for (int k = 0; !status && k < v->n_inputs; k++) {
        status = advance(w);
        w->anchors[v->first_input + k] = w->h;
        w->x = w->c->start;
    }
    return status;
}

static nas_status visit(walk *w, const nas__visit *v) {
    nas_status status = make_inputs(w, v);
    if (status) {
        return status;
    }
    if (nas_architecture_reaches(w->sample->architecture, v->choice)) {
        uint64_t set = 0;
        status = decide(w, v, nas_space_choice(w->c->space, v->choice), &set);
        status = status ? status : nas_architecture_set(w->sample->architecture, v->choice, set);
        w->c->reached[v->choice] += w->count;
    }
    return status || v->finishes < 0 ? status : finish_node(w, w->c->visits, v->finishes);
}

/* Leaves log pi and kl on the controller's tape, which the caller ends. */
static nas_status go(walk *w, unsigned grad) {
    nas__controller *c = w->c;
    nas_architecture *first = nas_architecture_new(c->space);
    w->anchors = nas__alloc((size_t)(c->n_visits + c->n_row_inputs) * sizeof *w->anchors);
    if (!first || !w->anchors) {
        nas_architecture_free(first);
        return nas_error_status();
    }
    nas_architecture_free(w->sample->architecture);
    w->sample->architecture = first;
    w->sample->log_pi = w->sample->entropy = w->sample->uniform = 0;
    nas_tape_begin(c->tape, &(nas_tape_config){.grad = grad});
    nas__apply_one_thread();
    w->x = c->start;
    w->h = w->cell = zero(w);
    nas_status status = w->h ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < c->n_visits; i++) {
        status = visit(w, &c->visits[i]);
    }
    free(w->anchors);
    w->sample->n_tokens = w->token;
    w->sample->kl = w->kl ? nas_tensor_item(w->kl) : 0;
    w->sample->saturation = w->logits ? w->saturation / (double)w->logits : 0;
    return status ? status : nas_error_status();
}

static void leave(nas__controller *c) {
    nas_tape_reset(c->tape);
    nas__apply_threads();
}

nas_status nas__controller_draw(nas__controller *c, nas_rng *rng, bool count, nas__sample *sample) {
    nas_status status = go(&(walk){.c = c, .sample = sample, .rng = rng, .count = count}, 0);
    leave(c);
    return status;
}

nas_status nas__controller_replay(nas__controller *c, nas__sample *sample) {
    nas_status status = go(&(walk){.c = c, .sample = sample}, 0);
    leave(c);
    return status;
}

/* What the advantage is multiplied with in the gradient of log pi. */
static double factor_of(const nas__lesson *l, double log_pi) {
    if (!(l->clip > 0)) {
        return 1;
    }
    double ratio = exp(log_pi - l->old_log_pi);
    bool clipped = l->advantage > 0 ? ratio > 1 + l->clip : ratio < 1 - l->clip;
    return clipped ? 0 : ratio;
}

nas_status nas__controller_learn(nas__controller *c, nas__sample *sample, const nas__lesson *l, double share) {
    walk w = {.c = c, .sample = sample, .wants_entropy = l->entropy_weight != 0};
    nas_status status = go(&w, NAS_ROLE_ARCH);
    double weight = l->advantage * factor_of(l, sample->log_pi) * share;
    nas_tensor *loss = w.log_pi ? nas_scale(w.log_pi, (float)-weight) : NULL;
    if (w.kl && l->kl_weight != 0) {
        add_term(&loss, nas_scale(w.kl, (float)(l->kl_weight * share)));
    }
    if (w.entropy) {
        add_term(&loss, nas_scale(w.entropy, (float)(-l->entropy_weight * share)));
    }
    if (!status && loss) { /* a space without any choice left has nothing to learn */
        status = nas_backward(loss);
    }
    leave(c);
    return status ? status : nas_error_status();
}
