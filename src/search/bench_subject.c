/* bench_subject.c - see bench_subject.h. Searches are a real trainer's steps, trainings nas_fit's; random images serve
 * both. */
#include "search/bench_subject.h"

#include "core/options.h"

#include <math.h>
#include <stdlib.h>

enum { ARCH_BATCHES = 4, SETTLING_PASSES = 30, SETTLING_IMAGES = 8 };

/* --- data ---------------------------------------------------------------------------------------- */
static nas_dataset *random_images(uint64_t seed, uint64_t stream, int64_t n, int side) {
    enum { CHANNELS = NAS__BENCH_CHANNELS, CLASSES = NAS__BENCH_CLASSES };
    size_t pixels = (size_t)n * CHANNELS * (size_t)side * (size_t)side;
    float *x = nas__alloc(pixels * sizeof *x), *y = nas__alloc((size_t)n * sizeof *y);
    nas_rng rng = nas_rng_new(seed, 0x62656e6368u + stream);
    for (size_t i = 0; x && i < pixels; i++) {
        x[i] = (float)nas_rng_uniform(&rng);
    }
    for (int64_t i = 0; y && i < n; i++) {
        y[i] = (float)nas_rng_below(&rng, CLASSES);
    }
    nas_dataset *d = x && y ? nas_dataset_from_arrays(n, 3, (int64_t[]){CHANNELS, side, side}, x, 1, y, CLASSES) : NULL;
    free(x);
    free(y);
    return d;
}

/* --- the network --------------------------------------------------------------------------------- */
static nas_module *build_space(const nas__bench_workload *w) {
    const nas_space_info *info = nas_space_info_find(w->space);
    void *options = info ? nas__alloc(info->options_size) : NULL;
    nas_status status =
        options ? nas__options_read(info->options, options, w->space, w->space_options) : nas_error_status();
    nas_space_config config = {.channels = NAS__BENCH_CHANNELS,
                               .height = w->side,
                               .width = w->side,
                               .outputs = NAS__BENCH_CLASSES,
                               .options = options};
    nas_module *model = status ? NULL : nas_space_build(w->space, &config);
    free(options);
    if (model && w->architecture && nas_apply_fixed_architecture_text(model, w->architecture)) {
        nas_module_free(model);
        return NULL;
    }
    return model;
}

static nas_module *build(const nas__bench_workload *w) {
    return w->network ? w->network(NAS__BENCH_CHANNELS, NAS__BENCH_CLASSES) : build_space(w);
}

/* --- opening and closing ------------------------------------------------------------------------- */
static nas_status open_search(nas__bench_subject *b, const nas__bench_config *config) {
    const nas__bench_workload *w = b->workload;
    b->arch = random_images(config->seed, 1, b->batch * ARCH_BATCHES, w->side);
    b->score =
        random_images(config->seed, 2, b->batch * (w->kind == NAS__BENCH_EVALUATION ? NAS__BENCH_PART : 1), w->side);
    if (!b->arch || !b->score) {
        return nas_error_status();
    }
    b->trainer = nas_trainer_new(&(nas_trainer_config){.model = b->model,
                                                       .space_name = w->space,
                                                       .strategy = w->strategy,
                                                       .options = w->strategy_options,
                                                       .batch_size = b->batch,
                                                       .num_epochs = 1,
                                                       .dataset_train = b->train,
                                                       .dataset_valid = b->arch,
                                                       .dataset_score = b->score,
                                                       .log_frequency = NAS_NONE,
                                                       .seed = config->seed,
                                                       .threads = config->threads});
    return nas_error_status();
}

static nas_status open_evaluation(nas__bench_subject *b, const nas__bench_config *config) {
    nas_rng rng = nas_rng_new(config->seed, 0x70617468u);
    nas_status status = open_search(b, config);
    for (int i = 0; !status && i < NAS__BENCH_PATHS; i++) {
        b->paths[i] = nas_architecture_new(b->trainer->s.space);
        status = b->paths[i] ? NAS_OK : nas_error_status();
        if (!status) {
            nas_architecture_random(b->paths[i], &rng);
        }
    }
    return status;
}

/* Running estimates that belong to these weights: those of a fresh network let its values fade to nothing. */
static nas_status settle(nas__bench_subject *b) {
    nas_dataset *images = random_images(1, 3, SETTLING_IMAGES, b->workload->side);
    const nas_dataset_info *info = images ? nas_dataset_describe(images) : NULL;
    nas_loader *loader =
        images
            ? nas_loader_new(&(nas_loader_config){.data = images, .batch_size = SETTLING_IMAGES, .workers = NAS_NONE})
            : NULL;
    const nas_batch *batch = loader ? nas_loader_next(loader) : NULL;
    for (int i = 0; batch && i < SETTLING_PASSES && !nas_error_status(); i++) {
        nas_tape_begin(b->tape, &(nas_tape_config){.bn = NAS_BN_BATCH});
        nas_forward(b->model, nas__batch_input(batch, info));
        nas_tape_reset(b->tape);
    }
    nas_loader_free(loader);
    nas_dataset_free(images);
    return nas_error_status();
}

static nas_status open_network(nas__bench_subject *b, const nas__bench_config *config) {
    nas_set_threads(config->threads);
    b->tape = nas_tape_new();
    b->loader = nas_loader_new(&(nas_loader_config){.data = b->train,
                                                    .batch_size = b->batch,
                                                    .shuffle = true,
                                                    .drop_last = true,
                                                    .transform = nas_transform_default(b->train, false),
                                                    .seed = config->seed});
    if (!b->tape || !b->loader || nas_initialise(b->model, config->seed)) {
        return nas_error_status();
    }
    if (b->workload->kind == NAS__BENCH_INFERENCE) {
        return settle(b);
    }
    b->optimizer = nas_sgd(.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4);
    return b->optimizer ? nas_optimizer_bind_model(b->optimizer, b->model) : nas_error_status();
}

nas_status nas__bench_open(nas__bench_subject *b, const nas__bench_workload *w, const nas__bench_config *config,
                           int steps) {
    *b = (nas__bench_subject){.workload = w, .batch = config->batch > 0 ? config->batch : w->batch};
    b->model = build(w);
    int batches = w->kind == NAS__BENCH_EVALUATION ? NAS__BENCH_PART : steps;
    b->train = b->model ? random_images(config->seed, 0, b->batch * batches, w->side) : NULL;
    if (!b->train) {
        return nas_error_status();
    }
    return w->kind == NAS__BENCH_SEARCH       ? open_search(b, config)
           : w->kind == NAS__BENCH_EVALUATION ? open_evaluation(b, config)
                                              : open_network(b, config);
}

void nas__bench_close(nas__bench_subject *b) {
    for (int i = 0; i < NAS__BENCH_PATHS; i++) {
        nas_architecture_free(b->paths[i]);
    }
    nas_trainer_free(b->trainer);
    nas_loader_free(b->loader);
    nas_tape_free(b->tape);
    nas_optimizer_free(b->optimizer);
    nas_module_free(b->model);
    nas_dataset_free(b->train);
    nas_dataset_free(b->arch);
    nas_dataset_free(b->score);
    free(b->output);
}

/* --- steps --------------------------------------------------------------------------------------- */
nas_status nas__bench_rewind(nas__bench_subject *b) {
    nas_trainer *t = b->trainer;
    if (!t) {
        return nas_loader_seek(b->loader, 0, 0);
    }
    nas__pace_start(&t->pace, 0, 1, t->s.steps_per_epoch, NAS_NONE, 0);
    nas_status status = nas_loader_seek(t->train_loader, 0, 0);
    return status || !t->arch_loader ? status : nas_loader_seek(t->arch_loader, 0, 0);
}

static nas_status search_step(nas__bench_subject *b, double *loss) {
    nas_trainer *t = b->trainer;
    nas_status status = nas__trainer_step(t, loss);
    t->s.step++; /* total_step stays: what is drawn is the same in every step, and so is the work */
    return status;
}

static nas_status evaluation_step(nas__bench_subject *b) {
    double metrics[NAS__MOST_METRICS];
    return nas__score_path(b->trainer, b->paths[b->step++ % NAS__BENCH_PATHS], 1, metrics);
}

static nas_status training_step(nas__bench_subject *b, const nas_batch *batch, double *loss) {
    enum { CLIP = 5 };
    double lr = nas_optimizer_lr(b->optimizer);
    nas_tape_config pass = {.grad = NAS_ROLE_WEIGHT, .training = true, .step = b->step};
    nas_status status =
        nas__weight_pass(b->tape, &pass, b->model, nas_cross_entropy, batch, nas_dataset_describe(b->train), loss);
    return status ? status : nas__checked_step(b->optimizer, lr, CLIP, (int64_t)b->step, 0);
}

static nas_status inference_step(nas__bench_subject *b, const nas_batch *batch) {
    nas_tape_begin(b->tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *y = nas_forward(b->model, nas__batch_input(batch, nas_dataset_describe(b->train)));
    b->output = b->output || !y ? b->output : nas__alloc((size_t)nas_tensor_count(y) * sizeof *b->output);
    if (y && b->output) {
        nas_tensor_read(y, b->output);
    }
    nas_tape_reset(b->tape);
    return nas_error_status();
}

const nas_batch *nas__bench_next_batch(nas__bench_subject *b) {
    const nas_batch *batch = nas_loader_next(b->loader);
    return batch || nas_error_status() ? batch : nas_loader_next(b->loader); /* the next round */
}

nas_status nas__bench_step(nas__bench_subject *b, double *loss) {
    *loss = NAN;
    if (b->workload->kind == NAS__BENCH_EVALUATION) {
        nas_status scored = evaluation_step(b);
        return scored ? scored : nas_error_status();
    }
    if (b->trainer) {
        nas_status searched = search_step(b, loss);
        return searched ? searched : nas_error_status();
    }
    const nas_batch *batch = b->image ? b->image : nas__bench_next_batch(b);
    b->image = b->optimizer ? NULL : batch;
    nas_status status = !batch         ? nas_error_status()
                        : b->optimizer ? training_step(b, batch, loss)
                                       : inference_step(b, batch);
    b->step++;
    return status ? status : nas_error_status();
}

/* --- counting ------------------------------------------------------------------------------------ */
static nas_status count_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    return nas__bench_count(&(nas__bench_counted){.model = t->s.model,
                                                  .loss = t->config.loss,
                                                  .batch = pass->batch,
                                                  .info = nas_dataset_describe(t->config.dataset_train),
                                                  .grad = pass->grad},
                            user);
}

static nas_status count_network(nas__bench_subject *b, nas__bench_counts *counts) {
    const nas_batch *batch = nas__bench_next_batch(b);
    nas__bench_counted pass = {.model = b->model, .batch = batch, .info = nas_dataset_describe(b->train)};
    if (b->optimizer) {
        pass.loss = nas_cross_entropy;
        pass.grad = NAS_ROLE_WEIGHT;
    } else {
        pass.bn = NAS_BN_RUNNING;
    }
    nas_status status = batch ? nas__bench_count(&pass, counts) : nas_error_status();
    return status ? status : nas__bench_rewind(b);
}

static nas_status count_part(nas__bench_subject *b, nas_loader *loader, nas__bench_counts *counts) {
    nas_status status = nas_loader_seek(loader, 0, 0);
    for (const nas_batch *batch; !status && (batch = nas_loader_next(loader));) {
        nas__bench_counted pass = {.model = b->model, .batch = batch, .info = nas_dataset_describe(b->train)};
        status = nas__bench_count(&pass, counts);
    }
    return status ? status : nas_error_status();
}

/* The mean of all paths. */
static nas_status count_evaluations(nas__bench_subject *b, nas__bench_counts *counts) {
    nas_trainer *t = b->trainer;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < NAS__BENCH_PATHS; i++) {
        nas_architecture_apply(b->paths[i], t->s.space);
        status = count_part(b, t->calibration_loader, counts);
        status = status ? status : count_part(b, t->valid_loader, counts);
    }
    counts->flops /= NAS__BENCH_PATHS;
    counts->bytes /= NAS__BENCH_PATHS;
    return status;
}

nas_status nas__bench_outputs(nas__bench_subject *b, float *output) {
    nas_trainer *t = b->trainer;
    nas_status status = nas_loader_seek(t->valid_loader, 0, 0);
    for (const nas_batch *batch; !status && (batch = nas_loader_next(t->valid_loader));) {
        nas_tape_begin(t->tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATED});
        nas_tensor *y = nas_forward(b->model, nas__batch_input(batch, nas_dataset_describe(b->train)));
        if (y) {
            nas_tensor_read(y, output);
            output += nas_tensor_count(y);
        }
        nas_tape_reset(t->tape);
        status = nas_error_status();
    }
    return status ? status : nas_error_status();
}

nas_status nas__bench_counted_step(nas__bench_subject *b, double *loss, nas__bench_counts *counts) {
    nas_trainer *t = b->trainer;
    *counts = (nas__bench_counts){0};
    nas_status status = b->workload->kind == NAS__BENCH_EVALUATION ? count_evaluations(b, counts)
                        : t                                        ? NAS_OK
                                                                   : count_network(b, counts);
    if (!status &&
        b->workload->kind == NAS__BENCH_INFERENCE) { /* as a network is readied for use, once it is counted */
        status = nas_fold_batch_norm(b->model, NULL);
    }
    if (t) {
        t->on_pass = count_pass;
        t->on_pass_user = counts;
    }
    status = status ? status : nas__bench_step(b, loss);
    if (t) {
        t->on_pass = NULL;
    }
    return status;
}

double nas__bench_waited(const nas__bench_subject *b) {
    const nas_trainer *t = b->trainer;
    double waited = nas_loader_wait_seconds(t ? t->train_loader : b->loader);
    return t && t->arch_loader ? waited + nas_loader_wait_seconds(t->arch_loader) : waited;
}
