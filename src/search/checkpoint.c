/* checkpoint.c - everything that the rest of a search depends on, in one file, written after each epoch. */
#include "search/trainer.h"
#include "io/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct counters {
    uint64_t format, space_hash, passes, arch_drawn, total_step;
    int64_t epochs_done, best_epoch, evaluations, unchanged_epochs;
    double best_score, best_share, used_seconds, progress;
    double limits[NAS__COST_KINDS]; /* by kind; 0: none */
} counters;

static void bind_architecture(nas_state *st, const char *name, nas_architecture *a, const nas_space *space,
                              uint64_t *sets) {
    for (int i = 0; i < nas_space_size(space); i++) {
        sets[i] = a ? nas_architecture_get(a, i) : 0;
    }
    nas_state_u64(st, name, sets, (size_t)nas_space_size(space));
}

/* The model that the weights belong to comes before them. */
static void bind_depth(nas_trainer *t, nas_state *st) {
    double *depth = &t->depth;
    size_t n = 1;
    nas_state_list_f64(st, "search.depth", &depth, &n);
    if (nas_state_is_loading(st)) {
        if (n == 1 && nas__search_depth(&t->s, *depth)) {
            nas_state_fail(st);
        }
        free(depth);
    }
}

static void bind(nas_trainer *t, nas_state *st, counters *c) {
    nas_state_u64(st, "search.format", &c->format, 1);
    nas_state_u64(st, "search.space_hash", &c->space_hash, 1);
    nas_state_u64(st, "search.passes", &c->passes, 1);
    nas_state_u64(st, "search.arch_drawn", &c->arch_drawn, 1);
    nas_state_u64(st, "search.total_step", &c->total_step, 1);
    nas_state_i64(st, "search.epochs_done", &c->epochs_done, 1);
    nas_state_i64(st, "search.best_epoch", &c->best_epoch, 1);
    nas_state_i64(st, "search.evaluations", &c->evaluations, 1);
    nas_state_i64(st, "search.unchanged_epochs", &c->unchanged_epochs, 1);
    nas_state_f64(st, "search.best_score", &c->best_score, 1);
    nas_state_f64(st, "search.best_share", &c->best_share, 1);
    nas_state_f64(st, "search.score_share", &t->score_share, 1);
    nas_state_i64(st, "search.score_images", &t->score_images, 1);
    nas_state_f64(st, "search.used_seconds", &c->used_seconds, 1);
    nas_state_f64(st, "search.progress", &c->progress, 1);
    nas_state_u64(st, "search.ended", &t->ended, 1);
    nas_state_u64(st, "search.collapse_told", &t->collapse_told, 1);
    nas_state_list_f64(st, "search.eigenvalues", &t->eigenvalues, &t->n_eigenvalues);
    nas__precision_state(t->precision, t->config.precision, st);
    nas__guard_state(&t->guard, st);
    bind_depth(t, st);
    nas_state_f64(st, "search.limits", c->limits, NAS__COST_KINDS);
    nas__limits_state(&t->limits, st);
    nas_state_model(st, "model.", t->s.model);
    nas_state_optimizer(st, "optimizer.", t->s.optimizer);
    if (t->s.strategy->state) {
        t->s.strategy->state(&t->s, st);
    }
}

static uint64_t *new_sets(const nas_trainer *t) {
    return nas__alloc(2 * (size_t)nas_space_size(t->s.space) * sizeof(uint64_t));
}

static void limits_by_kind(const nas_trainer *t, double *most) {
    for (int i = 0; i < t->limits.n; i++) {
        most[t->limits.of[i].kind] = t->limits.of[i].most;
    }
}

nas_status nas__checkpoint_save(nas_trainer *t) {
    if (!t->run) {
        return NAS_OK;
    }
    counters c = {.format = 1,
                  .space_hash = nas_space_hash(t->s.space),
                  .passes = t->passes,
                  .arch_drawn = t->arch_drawn,
                  .total_step = t->s.total_step,
                  .epochs_done = t->s.epoch + !t->concluding,
                  .best_epoch = t->best_epoch,
                  .evaluations = t->evaluations,
                  .unchanged_epochs = t->unchanged_epochs,
                  .best_score = t->best_score,
                  .best_share = t->best_share,
                  .used_seconds = nas__pace_seconds(&t->pace),
                  .progress = t->pace.progress};
    limits_by_kind(t, c.limits);
    uint64_t *sets = new_sets(t);
    char *path = sets ? nas__checkpoint_path(t->config.run_dir, t->s.epoch + 1) : NULL;
    nas_state *st = path ? nas__state_save_begin(path, NULL) : NULL;
    nas_status status = nas_error_status();
    if (st) {
        bind(t, st, &c);
        bind_architecture(st, "search.best", t->best, t->s.space, sets);
        bind_architecture(st, "search.derived", t->derived, t->s.space, sets + nas_space_size(t->s.space));
        status = nas__state_finish(st);
    }
    if (!status) {
        nas__checkpoint_prune(t->config.run_dir, nas__checkpoints_kept(&t->config.checkpoints));
        t->last_checkpoint = nas__now();
        t->unsaved = 0;
    }
    free(sets);
    free(path);
    return status;
}

/* All sets are empty where there was none. */
static nas_status restore_architecture(nas_trainer *t, nas_architecture **a, const uint64_t *sets) {
    bool none = true;
    for (int i = 0; i < nas_space_size(t->s.space); i++) {
        none = none && sets[i] == 0;
    }
    *a = none ? NULL : nas_architecture_new(t->s.space);
    nas_status status = nas_error_status();
    for (int i = 0; !none && !status && i < nas_space_size(t->s.space); i++) {
        status = nas_architecture_set(*a, i, sets[i]);
    }
    return status;
}

static nas_status restore(nas_trainer *t, const counters *c, const uint64_t *sets) {
    if (c->format != 1 || c->space_hash != nas_space_hash(t->s.space)) {
        return nas__fail(NAS_INVALID,
                         "%s: the checkpoint is of another space; resume with the options that the run was started "
                         "with (config.json)",
                         t->config.run_dir);
    }
    double limits[NAS__COST_KINDS] = {0};
    limits_by_kind(t, limits);
    if (memcmp(limits, c->limits, sizeof limits) != 0) {
        return nas__fail(NAS_INVALID, "%s: the run was started with other limits than %s; resume it with its own",
                         t->config.run_dir, t->config.limits ? t->config.limits : "none");
    }
    t->passes = c->passes;
    t->arch_drawn = c->arch_drawn;
    t->s.total_step = c->total_step;
    t->s.epoch = (int)c->epochs_done;
    t->best_epoch = (int)c->best_epoch;
    t->evaluations = (int)c->evaluations;
    t->unchanged_epochs = (int)c->unchanged_epochs;
    t->best_score = c->best_score;
    t->best_share = c->best_share;
    t->used_seconds = c->used_seconds;
    t->pace.progress = c->progress;
    nas_status status = restore_architecture(t, &t->best, sets);
    status = status ? status : restore_architecture(t, &t->derived, sets + nas_space_size(t->s.space));
    status = status ? status : nas_loader_seek(t->train_loader, t->s.epoch, 0);
    if (status || !t->arch_loader) {
        return status;
    }
    uint64_t batches = (uint64_t)nas_loader_batches(t->arch_loader);
    return nas_loader_seek(t->arch_loader, (int64_t)(t->arch_drawn / batches), (int64_t)(t->arch_drawn % batches));
}

nas_status nas__checkpoint_load(nas_trainer *t, const char *directory, int *epochs) {
    *epochs = 0;
    char *path = nas__checkpoint_newest(directory);
    if (!path) {
        return nas_error_status();
    }
    counters c = {0};
    uint64_t *sets = new_sets(t);
    nas_state *st = sets ? nas__state_load_begin(path) : NULL;
    nas_status status = nas_error_status();
    if (st) {
        bind(t, st, &c);
        nas_state_u64(st, "search.best", sets, (size_t)nas_space_size(t->s.space));
        nas_state_u64(st, "search.derived", sets + nas_space_size(t->s.space), (size_t)nas_space_size(t->s.space));
        status = nas__state_finish(st);
    }
    if (!status) {
        status = restore(t, &c, sets);
        *epochs = t->s.epoch;
    }
    free(sets);
    free(path);
    return status;
}
