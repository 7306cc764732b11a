/* loader.c - batches made in the background. Worker threads take numbered tickets (batch `ticket` counted over all
 * epochs) and fill slot ticket % slots of a ring; the caller takes them in order. What a batch holds depends on its
 * ticket alone, so threads and seeks cannot change it. */
#include "data/transform.h"
#include "core/error.h"
#include "core/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_WORKERS = 64, MESSAGE_SIZE = 1024, WORDS_PER_SAMPLE = 16 };

typedef struct slot {
    nas_batch batch;
    bool ready;
    nas_status status; /* why the batch could not be made, and its message */
    char message[MESSAGE_SIZE];
} slot;

/* What one thread needs to make batches. */
typedef struct maker {
    int32_t *order; /* of `epoch` */
    int64_t epoch;  /* -1: none yet */
    float *scratch;
} maker;

struct nas_loader {
    nas_loader_config config;
    nas_dataset *data;
    int64_t batches, sample; /* per epoch; floats per sample */
    slot *slots;
    int n_slots, n_workers;
    maker *makers; /* one per worker; makers[0] without workers */
    pthread_t *threads;
    pthread_mutex_t lock; /* guards all below, and `ready` of the slots */
    pthread_cond_t filled, emptied;
    int64_t next_ticket;  /* to be filled next */
    int64_t position;     /* ticket that the caller takes next; the slot of the one before is still his */
    int64_t epoch, batch; /* the same as the caller counts it: batch == batches at an epoch's end */
    int busy;             /* workers filling a slot */
    bool held, paused, stop;
    double waited;
};

/* --- making a batch ----------------------------------------------------------------------------- */
static void make_order(nas_loader *l, maker *m, int64_t epoch) {
    if (m->epoch == epoch || !l->config.shuffle) {
        return;
    }
    int64_t n = l->data->info.size;
    for (int64_t i = 0; i < n; i++) {
        m->order[i] = (int32_t)i;
    }
    nas_rng rng = nas_rng_new(l->config.seed, NAS__STREAM_ORDER + (uint64_t)epoch);
    nas_rng_shuffle(&rng, m->order, (size_t)n);
    m->epoch = epoch;
}

static nas_status make_batch(nas_loader *l, maker *m, int64_t ticket, nas_batch *batch) {
    int64_t epoch = ticket / l->batches, index = ticket % l->batches, first = index * l->config.batch_size;
    int64_t rest = l->data->info.size - first, n = rest < l->config.batch_size ? rest : l->config.batch_size;
    const nas_dataset *root = nas__dataset_root(l->data);
    make_order(l, m, epoch);
    batch->index = index;
    batch->n = n;
    int64_t parts = l->config.parts > 0 ? l->config.parts : 1;
    int64_t begin = n * l->config.first_part / parts, end = l->config.parts > 0 ? n * l->config.end_part / parts : n;
    for (int64_t i = begin; i < end; i++) {
        int64_t place = nas__dataset_place(l->data, l->config.shuffle ? m->order[first + i] : first + i);
        nas_rng rng = nas_rng_new(l->config.seed, NAS__STREAM_AUGMENT + (uint64_t)epoch);
        rng.position = (uint64_t)(first + i) * WORDS_PER_SAMPLE;
        nas_status status =
            nas__transform_sample(root, place, &l->config.transform, l->config.augment ? &rng : NULL, m->scratch,
                                  batch->x + i * l->sample, batch->y + i * root->info.target_count);
        if (status) {
            return status;
        }
    }
    return NAS_OK;
}

/* Errors belong to threads: the slot carries this one's to the caller. */
static void fill_slot(nas_loader *l, maker *m, int64_t ticket, slot *s) {
    nas_error_clear();
    s->status = make_batch(l, m, ticket, &s->batch);
    if (s->status) {
        strncpy(s->message, nas_error_message(), MESSAGE_SIZE - 1);
    }
}

typedef struct worker_start {
    nas_loader *loader;
    maker *maker;
} worker_start;

static void *work(void *argument) {
    worker_start *start = argument;
    nas_loader *l = start->loader;
    maker *m = start->maker;
    free(start);
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        /* The slot of the caller's current batch, position - 1, is not free yet. */
        if (l->paused || l->next_ticket >= l->position - l->held + l->n_slots) {
            pthread_cond_wait(&l->emptied, &l->lock);
            continue;
        }
        int64_t ticket = l->next_ticket++;
        slot *s = &l->slots[ticket % l->n_slots];
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        fill_slot(l, m, ticket, s);
        pthread_mutex_lock(&l->lock);
        s->ready = true;
        l->busy--;
        pthread_cond_broadcast(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- construction ------------------------------------------------------------------------------- */
static nas_status check(const nas_loader_config *c) {
    if (!c || !c->data) {
        return nas__fail(NAS_INVALID, "nas_loader_new: no data set");
    }
    const nas_dataset_info *info = nas_dataset_describe(c->data);
    if (c->batch_size < 1 || c->limit < 0) {
        return nas__fail(NAS_INVALID,
                         "%s: batch size %lld, limit %lld; the batch size is at least 1 and the limit not negative",
                         info->name, (long long)c->batch_size, (long long)c->limit);
    }
    if (c->drop_last && c->batch_size > info->size) {
        return nas__fail(NAS_INVALID,
                         "%s: a batch of %lld is larger than the %lld samples of this part; choose a smaller batch",
                         info->name, (long long)c->batch_size, (long long)info->size);
    }
    if (c->parts < 0 || c->first_part < 0 || c->end_part > c->parts || (c->parts > 0 && c->first_part >= c->end_part)) {
        return nas__fail(NAS_INVALID, "%s: parts %d to %d of %d parts of a batch", info->name, c->first_part,
                         c->end_part - 1, c->parts);
    }
    if (c->workers < NAS_NONE || c->workers > MAX_WORKERS) {
        return nas__fail(NAS_INVALID, "%s: %d loader threads; NAS_NONE or up to %d are possible", info->name,
                         c->workers, MAX_WORKERS);
    }
    return NAS_OK;
}

static nas_status complete_transform(nas_loader_config *c) {
    nas_transform none = {0}, *t = &c->transform;
    if (c->augment && memcmp(t, &none, sizeof none) == 0) {
        *t = nas_transform_default(c->data, true);
    }
    if (t->std[0] == 0) {
        nas_transform own = nas_transform_default(c->data, false);
        memcpy(t->mean, own.mean, sizeof t->mean);
        memcpy(t->std, own.std, sizeof t->std);
    }
    nas_dataset_info info = c->data->info;
    return nas__transform_check(t, &info);
}

static float *aligned_floats(int64_t count) {
    void *p = NULL;
    size_t bytes = (size_t)count * sizeof(float);
    if (posix_memalign(&p, 64, bytes ? bytes : 64)) {
        return nas__fail_null(NAS_NO_MEMORY, "no memory for a batch of %zu bytes; choose a smaller batch", bytes);
    }
    return p;
}

static bool allocate(nas_loader *l) {
    const nas_dataset_info *info = &l->data->info;
    int makers = l->n_workers ? l->n_workers : 1;
    int64_t largest = l->config.batch_size < info->size ? l->config.batch_size : info->size;
    l->slots = nas__alloc((size_t)l->n_slots * sizeof *l->slots);
    l->makers = nas__alloc((size_t)makers * sizeof *l->makers);
    l->threads = nas__alloc((size_t)makers * sizeof *l->threads);
    bool fine = l->slots && l->makers && l->threads;
    for (int i = 0; i < l->n_slots && fine; i++) {
        l->slots[i].batch.x = aligned_floats(largest * l->sample);
        l->slots[i].batch.y = l->slots[i].batch.x ? aligned_floats(largest * info->target_count) : NULL;
        fine = l->slots[i].batch.y != NULL;
    }
    bool through_scratch = nas__dataset_root(l->data)->read && l->config.augment;
    for (int i = 0; i < makers && fine; i++) {
        l->makers[i].epoch = -1;
        l->makers[i].order = l->config.shuffle ? nas__alloc((size_t)info->size * sizeof(int32_t)) : NULL;
        l->makers[i].scratch = through_scratch ? aligned_floats(l->sample) : NULL;
        fine = (l->makers[i].order || !l->config.shuffle) && (l->makers[i].scratch || !through_scratch);
    }
    return fine;
}

/* Workers leave all signals to the program's own threads. */
static bool start_workers(nas_loader *l) {
    int wanted = l->n_workers;
    sigset_t all, kept;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    for (l->n_workers = 0; l->n_workers < wanted; l->n_workers++) {
        worker_start *start = nas__alloc(sizeof *start);
        if (!start) {
            break;
        }
        *start = (worker_start){l, &l->makers[l->n_workers]};
        if (pthread_create(&l->threads[l->n_workers], NULL, work, start)) {
            free(start);
            nas__fail(NAS_NO_MEMORY, "the loader cannot start thread %d of %d", l->n_workers + 1, wanted);
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    return l->n_workers == wanted;
}

nas_loader *nas_loader_new(const nas_loader_config *config) {
    if (check(config)) {
        return NULL;
    }
    nas_loader_config c = *config;
    if (complete_transform(&c)) {
        return NULL;
    }
    nas_loader *l = nas__alloc(sizeof *l);
    if (!l) {
        return NULL;
    }
    l->config = c;
    l->data = nas_dataset_ref(c.data);
    l->sample = nas__sample_count(&l->data->info);
    int64_t n = l->data->info.size;
    l->batches = c.drop_last ? n / c.batch_size : (n - 1) / c.batch_size + 1;
    l->batches = c.limit && c.limit < l->batches ? c.limit : l->batches;
    l->n_workers = c.workers == NAS_NONE ? 0 : c.workers ? c.workers : 1;
    l->n_slots = l->n_workers ? l->n_workers + 2 : 1; /* the caller's, those being filled, and one ready */
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->emptied, NULL);
    if (!allocate(l)) {
        l->n_workers = 0; /* none was started */
        nas_loader_free(l);
        return NULL;
    }
    if (!start_workers(l)) {
        nas_loader_free(l);
        return NULL;
    }
    return l;
}

void nas_loader_free(nas_loader *l) {
    if (!l) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->emptied);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_workers; i++) {
        pthread_join(l->threads[i], NULL);
    }
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        free(l->slots[i].batch.x);
        free(l->slots[i].batch.y);
    }
    int makers = l->config.workers > 0 ? l->config.workers : 1;
    for (int i = 0; l->makers && i < makers; i++) {
        free(l->makers[i].order);
        free(l->makers[i].scratch);
    }
    free(l->slots);
    free(l->makers);
    free(l->threads);
    pthread_cond_destroy(&l->emptied);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    nas_dataset_free(l->data);
    free(l);
}

/* --- use ---------------------------------------------------------------------------------------- */
int64_t nas_loader_batches(const nas_loader *l) { return l ? l->batches : 0; }

double nas_loader_wait_seconds(const nas_loader *l) { return l ? l->waited : 0; }

nas_status nas_loader_seek(nas_loader *l, int64_t epoch, int64_t batch) {
    if (!l || epoch < 0 || batch < 0 || batch > l->batches || epoch > INT64_MAX / l->batches - 1) {
        return nas__fail(NAS_INVALID,
                         "nas_loader_seek: epoch %lld, batch %lld; there are batches 0 to %lld in an epoch",
                         (long long)epoch, (long long)batch, l ? (long long)l->batches : 0);
    }
    int64_t ticket = epoch * l->batches + batch;
    pthread_mutex_lock(&l->lock);
    if (ticket != l->position) {
        l->paused = true;
        while (l->busy) {
            pthread_cond_wait(&l->filled, &l->lock);
        }
        for (int i = 0; i < l->n_slots; i++) {
            l->slots[i].ready = false;
        }
        l->position = l->next_ticket = ticket;
        l->held = false;
        l->paused = false;
        pthread_cond_broadcast(&l->emptied);
    }
    l->epoch = epoch;
    l->batch = batch;
    pthread_mutex_unlock(&l->lock);
    return NAS_OK;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The slot of the batch at `position`, once it is filled; the caller's former slot goes back to the workers. */
static slot *take(nas_loader *l) {
    slot *s = &l->slots[l->position % l->n_slots];
    pthread_mutex_lock(&l->lock);
    if (l->held) {
        l->slots[(l->position - 1) % l->n_slots].ready = false;
        l->held = false;
        pthread_cond_broadcast(&l->emptied);
    }
    while (!s->ready) {
        pthread_cond_wait(&l->filled, &l->lock);
    }
    l->position++;
    l->held = true;
    pthread_mutex_unlock(&l->lock);
    return s;
}

const nas_batch *nas_loader_next(nas_loader *l) {
    if (!l) {
        return nas__fail_null(NAS_INVALID, "nas_loader_next: no loader");
    }
    if (l->batch == l->batches) {
        l->epoch++;
        l->batch = 0;
        return NULL;
    }
    double start = seconds();
    const slot *s = NULL;
    nas_status status;
    if (l->n_workers) {
        s = take(l);
        status = s->status;
        if (status) {
            nas__fail(status, "%s", s->message);
        }
    } else {
        s = l->slots;
        status = make_batch(l, l->makers, l->position++, &l->slots[0].batch);
    }
    l->batch++;
    l->waited += seconds() - start;
    return status ? NULL : &s->batch;
}
