/* pass.c - forward and backward passes for strategies, and the update of the weights. */
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>

nas_rng nas_search_rng(const nas_search *s, uint32_t purpose) {
    return nas_rng_new(s->config->seed, (uint64_t)purpose << 40 ^ (s->total_step * 2 + 1));
}

const nas_batch *nas_search_arch_batch(nas_search *s) {
    nas_trainer *t = nas__trainer_of(s);
    if (!t->arch_loader) {
        nas__fail(NAS_INVALID,
                  "strategy %s asks for images for its choices; set its .arch_batches, so that some are kept "
                  "for them",
                  s->strategy->name);
        return NULL;
    }
    const nas_batch *batch = nas_loader_next(t->arch_loader);
    if (!batch && !nas_error_status()) {
        batch = nas_loader_next(t->arch_loader); /* the next round through the part */
    }
    t->arch_drawn += batch != NULL;
    return batch;
}

/* Weightings belong to the tape that ends now: nobody must read them later. */
static void forget_weightings(nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        nas_decision d = nas_decision_of(space, i);
        if (d.weights || d.thresholds) {
            uint64_t any_one = d.run ? d.run & -d.run : 1;
            nas_decide(space, i, (nas_decision){.run = any_one, .part = d.part});
        }
    }
}

typedef struct outcome {
    nas_search *s;
    const nas_pass *pass;
    nas_pass_result *result;
} outcome;

/* The loss of a batch from the network's outputs, and what else the pass is asked for; NULL and an error on failure. */
static nas_tensor *judge(void *user, nas_tensor *output, nas_tensor *target) {
    nas_search *s = ((outcome *)user)->s;
    const nas_pass *pass = ((outcome *)user)->pass;
    nas_pass_result *result = ((outcome *)user)->result;
    nas_tensor *loss = !output           ? NULL
                       : pass->objective ? pass->objective(s, output, target, pass->user)
                                         : s->config->loss(output, target);
    if (loss && pass->penalty) {
        loss = nas_add(loss, pass->penalty(s, pass->user));
    }
    if (!loss) {
        return NULL;
    }
    result->loss = nas_tensor_item(loss);
    if (nas__check_loss(result->loss, s->step, s->epoch, s->lr)) {
        return NULL;
    }
    if (result->want_reward) {
        result->reward = nas_search_reward(s, output, target);
    }
    return loss;
}

static nas_status run_pass(nas_search *s, const nas_pass *pass, const nas_tape_config *config,
                           nas_pass_result *result) {
    nas_trainer *t = nas__trainer_of(s);
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    outcome o = {s, pass, result};
    nas_status status = pass->decide ? pass->decide(s, pass->user) : NAS_OK;
    if (status) {
        return status;
    }
    if (t->shards) {
        return nas__shards_pass(t->shards, t->tape,
                                &(nas__shard_pass){config, pass->batch, info, s->model, s->space, judge, &o});
    }
    nas_tensor *target = nas__batch_target(pass->batch, info);
    nas_tensor *loss = judge(&o, nas_forward(s->model, nas__batch_input(pass->batch, info)), target);
    if (!loss) {
        return nas_error_status();
    }
    /* Where only `none` was drawn nothing behind the loss is differentiated for: the gradients are zero. */
    return pass->grad && loss->needs_grad ? nas_backward(loss) : NAS_OK;
}

nas_status nas_search_pass(nas_search *s, const nas_pass *pass, nas_pass_result *result) {
    nas_trainer *t = nas__trainer_of(s);
    nas_pass_result ignored = {0};
    if (!pass->batch) {
        return nas_error_status() ? nas_error_status() : nas__fail(NAS_INVALID, "a pass without a batch");
    }
    double start = nas__now();
    nas_tape_config config = {.grad = pass->grad,
                              .training = pass->training,
                              .bn = NAS_BN_BATCH,
                              .freeze_running = pass->freeze_running,
                              .recompute = t->recompute,
                              .seed = t->config.seed,
                              .step = pass->same_noise ? t->passes : ++t->passes};
    nas_tape_begin(t->tape, &config);
    nas_status status = run_pass(s, pass, &config, result ? result : &ignored);
    t->pass_seconds = nas__now() - start;
    if (!status && t->on_pass) {
        status = t->on_pass(t, pass, t->on_pass_user);
    }
    forget_weightings(s->space);
    nas_tape_reset(t->tape);
    return status ? status : nas_error_status();
}

nas_status nas_search_update(nas_search *s, const nas_pass *pass, double *loss) {
    nas_trainer *t = nas__trainer_of(s);
    nas_pass_result result = {0};
    nas_status status = nas_search_pass(s, pass, &result);
    *loss = result.loss;
    if (!status) {
        status = nas__checked_step(s->optimizer, s->lr, t->config.clip_norm, s->step, s->epoch);
    }
    nas__score_forget(t);
    return status;
}

nas_status nas_search_weight_step(nas_search *s, const nas_batch *train, nas_status (*decide)(nas_search *, void *),
                                  void *user, double *loss) {
    return nas_search_update(
        s, &(nas_pass){.batch = train, .grad = NAS_ROLE_WEIGHT, .training = true, .decide = decide, .user = user},
        loss);
}
