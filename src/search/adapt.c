/* adapt.c - a supernet that was trained as a mixture has never run one path alone, and its path's score under the
 * mixture's weights is close to chance (docs/decisions/0006). So the path's weights settle for a few steps on training
 * batches before it is scored, and everything is put back afterwards, bit for bit. */
#include "nn/optim.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

struct nas__settled {
    float *weights, *first, *second;
    int64_t *steps;
};

static size_t floats_of(const nas_optimizer *o) { return o->offset[o->n]; }

static float *copy_of(const float *values, size_t count) {
    float *copy = values ? nas__alloc(count * sizeof *copy) : NULL;
    return copy ? memcpy(copy, values, count * sizeof *copy) : NULL;
}

static void put_back(float *to, float *from, size_t count) {
    if (from) {
        memcpy(to, from, count * sizeof *to);
    }
    free(from);
}

static nas__settled *remember(const nas_optimizer *o) {
    nas__settled *s = nas__alloc(sizeof *s);
    if (s) {
        s->weights = copy_of(o->tensors[0]->data, floats_of(o));
        s->first = copy_of(o->first ? o->first->data : NULL, floats_of(o));
        s->second = copy_of(o->second ? o->second->data : NULL, floats_of(o));
        s->steps = nas__alloc(o->n * sizeof *s->steps);
    }
    if (s && s->steps) {
        memcpy(s->steps, o->steps, o->n * sizeof *s->steps);
    }
    return s;
}

void nas__unsettle(nas_trainer *t, nas__settled *s) {
    nas_optimizer *o = t->s.optimizer;
    if (!s) {
        return;
    }
    nas_optimizer_zero_grad(o);
    put_back(o->tensors[0]->data, s->weights, floats_of(o));
    put_back(o->first ? o->first->data : NULL, s->first, floats_of(o));
    put_back(o->second ? o->second->data : NULL, s->second, floats_of(o));
    if (s->steps) {
        memcpy(o->steps, s->steps, o->n * sizeof *s->steps);
    }
    free(s->steps);
    free(s);
}

static nas_status step(nas_trainer *t, const nas_batch *batch, double lr) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    nas_tape_begin(t->tape,
                   &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .freeze_running = true, .seed = t->config.seed});
    nas_tensor *output = nas_forward(t->s.model, nas__batch_input(batch, info));
    nas_status status = nas_backward(t->config.loss(output, nas__batch_target(batch, info)));
    nas_tape_reset(t->tape);
    return status ? status : nas_optimizer_step(t->s.optimizer, lr, t->config.clip_norm);
}

nas__settled *nas__settle(nas_trainer *t) {
    nas_optimizer *o = t->s.optimizer;
    if (t->settle_steps == 0 || o->n == 0) {
        return NULL;
    }
    nas__settled *s = remember(o);
    memset(o->steps, 0, o->n * sizeof *o->steps); /* fresh moments */
    double lr = 0.5 * nas_optimizer_lr(o);
    nas_status status = nas_error_status() ? nas_error_status() : nas_loader_seek(t->settle_loader, 0, 0);
    for (int i = 0; !status && i < t->settle_steps && nas__scoring_goes_on(t); i++) {
        const nas_batch *batch = nas_loader_next(t->settle_loader);
        if (!batch) {
            break;
        }
        status = step(t, batch, lr * (1 - (double)i / t->settle_steps));
        if (status == NAS_NUMERIC) { /* this path does not train: its score will say so */
            nas_error_clear();
            break;
        }
    }
    return s;
}
