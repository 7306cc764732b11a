/* shards.c - see shards.h. A pass goes like this: the decisions are made once, on the caller's tape; the shards compute
 * their outputs, in lockstep where batch norm needs sums over all of them; the outputs come to everybody; the loss and
 * its gradient are computed from them, once for each rank and the same for all; each shard differentiates for its part
 * of them, and leaves its gradients to itself until they are added up. */
#include "search/shards.h"
#include "search/trainer.h"

#include "dist/fibers.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

/* What a shard gives to a persistent tensor between two stops; one that is used in several places may have several. */
typedef struct given {
    nas_tensor *to;
    size_t at; /* in the shard's values */
} given;

typedef struct shard {
    nas_tape *tape;
    nas__together together;
    given *given;
    float *values;
    size_t n_given, n_values, values_room;
} shard;

/* What a tensor held before the pass, and gets back. */
typedef struct held {
    nas_tensor *of;
    float *values;
} held;

struct nas__shards {
    int count;
    nas__own_parts own;
    nas__fibers *fibers;
    shard *shards;  /* own.n */
    nas_tape *tape; /* of the loss */
    /* of the running pass */
    const nas__shard_pass *pass;
    uint64_t slice; /* between two stops of any shard */
    nas_tensor **touched;
    size_t n_touched, n_held;
    held *held;
    nas_tensor **weights, **stand_ins; /* per choice: of its decision, and what the shards see in their place */
    int n_choices;
    float *seed; /* the gradient of the loss for all outputs; NULL: none is asked for */
};

int nas__shards_count(const nas__shards *s) { return s ? s->count : 1; }

static int64_t begin_of(const nas__shards *s, int part, int64_t n) { return n * part / s->count; }

/* --- gradients that stay apart ------------------------------------------------------------------------- */
static _Atomic uint64_t slices;

static void hold(nas__shards *s, nas_tensor *t) {
    size_t bytes = (size_t)nas__count(t) * sizeof(float);
    float *copy = nas__grow(&s->held, s->n_held, sizeof *s->held) ? nas__alloc(bytes) : NULL;
    if (copy) {
        memcpy(copy, t->grad_data, bytes);
        s->held[s->n_held++] = (held){t, copy};
        t->has_grad = false;
    }
}

static void before_gradient(void *user, nas_tensor *t) {
    nas__shards *s = user;
    if (t->gradient_seen == s->slice) {
        return;
    }
    t->gradient_seen = s->slice;
    if (t->has_grad) {
        hold(s, t);
    }
    if (nas__grow(&s->touched, s->n_touched, sizeof *s->touched)) {
        s->touched[s->n_touched++] = t;
    }
}

static bool room_for(shard *own, size_t more) {
    if (own->n_values + more > own->values_room) {
        size_t room = 2 * own->values_room + more;
        float *values = realloc(own->values, room * sizeof *values);
        if (!values) {
            nas__fail(NAS_NO_MEMORY, "no memory for the gradients of a shard (%zu bytes)", room * sizeof *values);
            return false;
        }
        own->values = values;
        own->values_room = room;
    }
    return true;
}

/* A shard stops: what it gave so far is put aside, so that the next one finds empty gradients. */
static void put_aside(void *user, int part) {
    nas__shards *s = user;
    shard *own = &s->shards[part - s->own.first];
    for (size_t i = 0; i < s->n_touched; i++) {
        nas_tensor *t = s->touched[i];
        size_t n = (size_t)nas__count(t);
        if (t->has_grad && nas__grow(&own->given, own->n_given, sizeof *own->given) && room_for(own, n)) {
            own->given[own->n_given++] = (given){t, own->n_values};
            memcpy(own->values + own->n_values, t->grad_data, n * sizeof(float));
            own->n_values += n;
        }
        t->has_grad = false;
    }
    s->n_touched = 0;
    s->slice = ++slices;
}

/* --- decisions ----------------------------------------------------------------------------------------- */
static nas_tensor *stand_in(nas__shards *s, int i, const nas_tensor *weights) {
    unsigned grad = s->pass->config->grad;
    nas_role role = weights->needs_grad ? (nas_role)(grad & -grad) : NAS_ROLE_DATA;
    nas_tensor *t = s->stand_ins[i];
    if (!t || t->role != role || nas__count(t) != nas__count(weights)) {
        nas_tensor_free(t);
        t = s->stand_ins[i] = nas__persistent(weights->ndim, weights->dims, role);
    }
    return t && !nas_tensor_write(t, weights->data) ? t : NULL;
}

static nas_status make_stand_ins(nas__shards *s, nas_space *space) {
    int n = nas_space_size(space);
    if (n != s->n_choices) { /* another model's */
        for (int i = 0; i < s->n_choices; i++) {
            nas_tensor_free(s->stand_ins[i]);
        }
        free(s->weights);
        free(s->stand_ins);
        s->weights = nas__alloc((size_t)n * sizeof(nas_tensor *));
        s->stand_ins = nas__alloc((size_t)n * sizeof(nas_tensor *));
        s->n_choices = s->weights && s->stand_ins ? n : 0;
    }
    for (int i = 0; i < s->n_choices && !nas_error_status(); i++) {
        nas_decision d = nas_decision_of(space, i);
        s->weights[i] = d.weights;
        if (d.thresholds) {
            return nas__fail(NAS_UNSUPPORTED, "a search by thresholds (single-path) computes its batches in one piece: "
                                              "leave out --shards, and start one rank");
        }
        if (d.weights && nas__data(d.weights)) {
            d.weights = stand_in(s, i, d.weights);
            nas_decide(space, i, d);
        }
    }
    return nas_error_status();
}

static void end_stand_ins(nas__shards *s, nas_space *space) {
    for (int i = 0; space && i < s->n_choices; i++) {
        nas_decision d = nas_decision_of(space, i);
        if (s->weights[i] && d.weights == s->stand_ins[i]) {
            d.weights = s->weights[i];
            nas_decide(space, i, d);
        }
    }
}

/* --- the loss ------------------------------------------------------------------------------------------ */
/* Outputs and targets of all shards, as they stand in the batch, from what each gave: its outputs and targets, padded
 * to those of the largest shard. */
static void assemble(const nas__shards *s, const double *all, size_t room, size_t outputs, size_t targets,
                     float *output, float *target) {
    int64_t n = s->pass->batch->n;
    for (int part = 0; part < s->count; part++, all += room) {
        size_t images = (size_t)(begin_of(s, part + 1, n) - begin_of(s, part, n));
        for (size_t i = 0; i < images * outputs; i++) {
            *output++ = (float)all[i];
        }
        for (size_t i = 0; i < images * targets; i++) {
            *target++ = (float)all[images * outputs + i];
        }
    }
}

static nas_status differentiate_loss(nas__shards *s, nas_tensor *output, nas_tensor *target, size_t count) {
    const nas__shard_pass *p = s->pass;
    nas_tensor *loss = p->objective(p->user, output, target);
    if (!loss) {
        return nas_error_status();
    }
    if (!p->config->grad || !loss->needs_grad) {
        return NAS_OK;
    }
    nas_status status = nas_backward(loss);
    s->seed = status || !output->needs_grad ? NULL : nas__alloc(count * sizeof *s->seed);
    return s->seed ? nas_tensor_read_grad(output, s->seed) : nas_error_status();
}

/* Of the whole batch, on a tape of its own, inside the first of this rank's shards. */
static nas_status compute_loss(nas__shards *s, const nas_tensor *own, const double *all, size_t room) {
    const nas__shard_pass *p = s->pass;
    int64_t n = p->batch->n, dims[NAS_MAX_DIMS];
    nas_batch whole = {.n = n};
    memcpy(dims, own->dims, (size_t)own->ndim * sizeof *dims);
    size_t outputs = (size_t)(nas__count(own) / own->dims[0]), targets = (size_t)p->info->target_count;
    dims[0] = n;
    float *values = nas__alloc((size_t)n * (outputs + targets) * sizeof *values);
    nas_tape_config config = *p->config;
    if (!values) {
        return nas_error_status();
    }
    whole.y = values + (size_t)n * outputs;
    assemble(s, all, room, outputs, targets, values, whole.y);
    end_stand_ins(s, p->space); /* what the loss asks of the decisions concerns the tensors behind them */
    nas_tape_begin(s->tape, &config);
    nas_tensor *output = nas_input(own->ndim, dims, values), *target = nas__batch_target(&whole, p->info);
    nas_status status = nas_error_status();
    if (!status) {
        output->needs_grad = own->needs_grad;
        output->retained = true;
        status = differentiate_loss(s, output, target, (size_t)n * outputs);
    }
    nas_tape_reset(s->tape);
    free(values);
    return status;
}

/* --- one shard ----------------------------------------------------------------------------------------- */
static nas_tensor *forward(nas__shards *s, int part, int64_t begin, int64_t n) {
    const nas__shard_pass *p = s->pass;
    shard *own = &s->shards[part - s->own.first];
    size_t sample = 1;
    for (int i = 0; i < p->info->ndim; i++) {
        sample *= (size_t)p->info->dims[i];
    }
    nas_batch mine = {.n = n, .x = p->batch->x + (size_t)begin * sample};
    nas_tape_config config = *p->config;
    config.first_sample = begin;
    nas_tape_begin(own->tape, &config);
    own->tape->together = &own->together;
    nas_tensor *output = nas_forward(p->model, nas__batch_input(&mine, p->info));
    if (output && output->dims[0] != n) {
        return nas__fail_null(NAS_UNSUPPORTED,
                              "shards: the network makes %s of %lld images; its result needs one row for each image",
                              nas__shape(output), (long long)n);
    }
    return output && nas__data(output) ? output : NULL;
}

/* Gives this shard's outputs and targets to all; returns everybody's, each padded to *room numbers. */
static const double *share_outputs(nas__shards *s, const nas_tensor *output, int64_t begin, size_t *room) {
    const nas__shard_pass *p = s->pass;
    size_t n = (size_t)output->dims[0], outputs = (size_t)nas__count(output) / n,
           targets = (size_t)p->info->target_count, most = (size_t)((p->batch->n - 1) / s->count + 1);
    *room = most * (outputs + targets);
    double *numbers = nas__alloc(*room * sizeof *numbers);
    float *values = numbers ? nas__alloc(n * outputs * sizeof *values) : NULL;
    const double *all = NULL;
    if (values && !nas_tensor_read(output, values)) {
        for (size_t i = 0; i < n * outputs; i++) {
            numbers[i] = values[i];
        }
        for (size_t i = 0; i < n * targets; i++) {
            numbers[n * outputs + i] = p->batch->y[(size_t)begin * targets + i];
        }
        all = nas__fibers_gather(s->fibers, numbers, *room);
    }
    free(numbers);
    free(values);
    return all;
}

static void compute_shard(void *user, int part) {
    nas__shards *s = user;
    int64_t begin = begin_of(s, part, s->pass->batch->n), n = begin_of(s, part + 1, s->pass->batch->n) - begin;
    shard *own = &s->shards[part - s->own.first];
    size_t room;
    nas_tensor *output = forward(s, part, begin, n);
    const double *all = output ? share_outputs(s, output, begin, &room) : NULL;
    if (all && part == s->own.first) {
        compute_loss(s, output, all, room);
    }
    if (all && s->seed && output->needs_grad && !nas_error_status()) {
        size_t row = (size_t)nas__count(output) / (size_t)n;
        nas_tensor *seed = nas_input(output->ndim, output->dims, s->seed + (size_t)begin * row);
        nas_backward(nas_sum(nas_mul(output, seed)));
    }
    nas_tape_reset(own->tape);
}

/* --- adding up ----------------------------------------------------------------------------------------- */
/* Do all ranks have gradients for as many numbers? Where paths are drawn alike, they do. */
static nas_status check_alike(const nas__shards *s) {
    double own[2] = {(double)s->shards[0].n_given, (double)s->shards[0].n_values}, *all;
    bool alike = true;
    for (int i = 1; i < s->own.n; i++) {
        alike = alike && s->shards[i].n_given == s->shards[0].n_given && s->shards[i].n_values == s->shards[0].n_values;
    }
    own[0] = alike ? own[0] : -1;
    all = nas__alloc(2 * (size_t)nas_ranks() * sizeof *all);
    nas_status status = all ? nas__ranks_gather_each(2, own, all) : nas_error_status();
    for (int r = 0; !status && r < nas_ranks(); r++) {
        if (all[2 * r] < 0 || all[2 * r] != all[0] || all[2 * r + 1] != all[1]) {
            status =
                nas__fail(NAS_ENGINE, "the shards of rank %d have gradients for other weights than those of rank 0", r);
        }
    }
    free(all);
    return status;
}

static nas_status add_up(nas__shards *s) {
    nas_status status = check_alike(s);
    size_t n = s->shards[0].n_values;
    nas__buffer *own = status ? NULL : nas__buffer_new((size_t)s->own.n * (n + 1) * sizeof(float)),
                *sum = own ? nas__buffer_new((n + 1) * sizeof(float)) : NULL;
    for (int i = 0; sum && i < s->own.n; i++) {
        memcpy(own->data + (size_t)i * n, s->shards[i].values, n * sizeof(float));
    }
    status = !sum ? nas_error_status() : n ? nas__ranks_sum(s->count, n, own->data, sum->data) : NAS_OK;
    for (size_t i = 0; !status && i < s->shards[0].n_given; i++) {
        given *g = &s->shards[0].given[i];
        nas__grad_add_array(g->to, sum->data + g->at);
    }
    for (size_t i = 0; i < s->n_held; i++) {
        if (!status) {
            nas__grad_add_array(s->held[i].of, s->held[i].values);
        }
        free(s->held[i].values);
    }
    s->n_held = 0;
    nas__buffer_unref(own);
    nas__buffer_unref(sum);
    return status ? status : nas_error_status();
}

/* The gradients of the decisions' weights go back to what these were made from. */
static nas_status through_decisions(nas__shards *s, nas_tape *tape) {
    for (int i = 0; s->pass->space && i < s->n_choices; i++) {
        nas_tensor *in = s->stand_ins[i];
        if (s->weights[i] && in && in->has_grad) {
            nas__grad_add_array(s->weights[i], in->grad_data);
            nas_zero_grad(in);
        }
    }
    return nas_error_status() ? nas_error_status() : nas__backward_given(tape);
}

nas_status nas__shards_pass(nas__shards *s, nas_tape *tape, const nas__shard_pass *pass) {
    s->pass = pass;
    s->slice = ++slices;
    s->n_touched = s->n_held = 0;
    for (int i = 0; i < s->own.n; i++) {
        s->shards[i].n_given = s->shards[i].n_values = 0;
    }
    nas_status status = pass->space ? make_stand_ins(s, pass->space) : NAS_OK;
    status = status ? status : nas__fibers_run(s->fibers, compute_shard, put_aside, s);
    if (!status && pass->config->grad) {
        status = add_up(s);
        status = status ? status : through_decisions(s, tape);
    }
    for (int i = 0; i < s->own.n; i++) {
        nas_tape_reset(s->shards[i].tape); /* where an error has left it */
    }
    end_stand_ins(s, pass->space);
    free(s->seed);
    s->seed = NULL;
    return status;
}

/* --- making one ---------------------------------------------------------------------------------------- */
static const double *gather(void *user, const double *own, size_t n) {
    return nas__fibers_gather(((nas__shards *)user)->fibers, own, n);
}

static bool make_tapes(nas__shards *s) {
    s->shards = nas__alloc((size_t)s->own.n * sizeof *s->shards);
    s->tape = nas_tape_new();
    bool complete = s->shards && s->tape;
    for (int i = 0; complete && i < s->own.n; i++) {
        s->shards[i].together = (nas__together){s->count, i == 0, gather, before_gradient, s};
        complete = (s->shards[i].tape = nas_tape_new()) != NULL;
    }
    return complete;
}

nas__shards *nas__shards_new(int count, int64_t batch_size) {
    count = count > 0 ? count : nas_ranks();
    if (count == 1 && nas_ranks() == 1) {
        return NULL;
    }
    if (count > batch_size) {
        return nas__fail_null(NAS_USAGE, "%d shards of a batch of %lld: every shard needs an image; take fewer shards",
                              count, (long long)batch_size);
    }
    nas__shards *s = nas__alloc(sizeof *s);
    if (!s) {
        return NULL;
    }
    s->count = count;
    s->own = nas__parts_of(nas_rank(), count);
    s->fibers = nas__fibers_new(count);
    if (!s->fibers || !make_tapes(s)) {
        nas__shards_free(s);
        return NULL;
    }
    return s;
}

void nas__shards_free(nas__shards *s) {
    if (!s) {
        return;
    }
    for (int i = 0; s->shards && i < s->own.n; i++) {
        nas_tape_free(s->shards[i].tape);
        free(s->shards[i].given);
        free(s->shards[i].values);
    }
    for (int i = 0; i < s->n_choices; i++) {
        nas_tensor_free(s->stand_ins[i]);
    }
    nas_tape_free(s->tape);
    nas__fibers_free(s->fibers);
    free(s->shards);
    free(s->weights);
    free(s->stand_ins);
    free(s->touched);
    free(s->held);
    free(s);
}

void nas__shards_loader(const nas__shards *s, nas_loader_config *config) {
    if (!s) {
        return;
    }
    int64_t size = nas_dataset_describe(config->data)->size, rest = size % config->batch_size;
    config->parts = s->count;
    config->first_part = s->own.first;
    config->end_part = s->own.first + s->own.n;
    config->drop_last = config->drop_last || (rest > 0 && rest < s->count && size > rest);
}
