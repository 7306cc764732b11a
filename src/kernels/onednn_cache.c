/* onednn_cache.c - see onednn_cache.h */
#include "kernels/onednn_cache.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "core/error.h"
#include "core/memory.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct context {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr;
    nas__plan **buckets; /* a power of two of them */
    size_t n_buckets, n_plans;
} context;

static _Thread_local context *mine;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

nas_status nas__onednn_check(dnnl_status_t status, const char *what) {
    switch (status) {
    case dnnl_success:
        return NAS_OK;
    case dnnl_out_of_memory:
        return nas__fail(NAS_NO_MEMORY, "oneDNN: no memory for %s; use a smaller batch or network", what);
    case dnnl_unimplemented:
        return nas__fail(NAS_UNSUPPORTED, "oneDNN has no implementation for %s on this machine", what);
    default:
        return nas__fail(NAS_ENGINE, "oneDNN failed (status %d) at %s", (int)status, what);
    }
}

/* --- the thread's context ------------------------------------------------------------------------ */
static void free_step(nas__step *step) {
    for (int i = 0; i < step->n_args; i++) {
        dnnl_memory_destroy(step->args[i].memory);
    }
    dnnl_primitive_destroy(step->primitive);
}

static void free_plan(nas__plan *plan) {
    free_step(&plan->main);
    free_step(&plan->reorder);
    free(plan);
}

static void free_context(void *memory) {
    context *c = memory;
    for (size_t i = 0; i < c->n_buckets; i++) {
        while (c->buckets[i]) {
            nas__plan *plan = c->buckets[i];
            c->buckets[i] = plan->next;
            free_plan(plan);
        }
    }
    dnnl_primitive_attr_destroy(c->attr);
    dnnl_stream_destroy(c->stream);
    dnnl_engine_destroy(c->engine);
    free(c->buckets);
    free(c);
    mine = NULL;
}

/* oneDNN must prefer the same channel block as our own kernels, so it may use no more than their instruction set. It
 * refuses where it is already in use or knows no such set (not x86): its own choice then stands. */
static void prepare_process(void) {
    const nas__kernels *table = nas__kernel_table();
    if (strcmp(table->isa, "avx2") == 0) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    } else if (strcmp(table->isa, "generic") == 0) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    }
    pthread_key_create(&at_exit, free_context);
}

static context *new_context(void) {
    pthread_once(&once, prepare_process);
    context *c = nas__alloc(sizeof *c);
    if (!c) {
        return NULL;
    }
    c->n_buckets = 256;
    c->buckets = nas__alloc(c->n_buckets * sizeof *c->buckets);
    dnnl_status_t status = c->buckets ? dnnl_engine_create(&c->engine, dnnl_cpu, 0) : dnnl_out_of_memory;
    status = status ? status : dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags);
    status = status ? status : dnnl_primitive_attr_create(&c->attr);
    status = status ? status : dnnl_primitive_attr_set_scratchpad_mode(c->attr, dnnl_scratchpad_mode_user);
    if (nas__onednn_check(status, "its start")) {
        free_context(c);
        return NULL;
    }
    pthread_setspecific(at_exit, c);
    return mine = c;
}

dnnl_engine_t nas__plan_engine(void) { return mine->engine; }

const_dnnl_primitive_attr_t nas__plan_attr(void) { return mine->attr; }

/* --- the table ----------------------------------------------------------------------------------- */
static uint64_t hash_of(const nas__plan_key *key) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < NAS__KEY_LENGTH; i++) {
        h = (h ^ (uint32_t)key->v[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 29;
    }
    return h;
}

static void widen(context *c) {
    size_t n = 2 * c->n_buckets;
    nas__plan **wider = calloc(n, sizeof *wider);
    if (!wider) {
        return; /* longer chains are slower but right */
    }
    for (size_t i = 0; i < c->n_buckets; i++) {
        while (c->buckets[i]) {
            nas__plan *plan = c->buckets[i];
            c->buckets[i] = plan->next;
            plan->next = wider[plan->hash & (n - 1)];
            wider[plan->hash & (n - 1)] = plan;
        }
    }
    free(c->buckets);
    c->buckets = wider;
    c->n_buckets = n;
}

static nas__plan *add_plan(context *c, const nas__plan_key *key, uint64_t hash, nas__plan_build *build,
                           const void *what) {
    nas__plan *plan = nas__alloc(sizeof *plan);
    if (!plan) {
        return NULL;
    }
    plan->key = *key;
    plan->hash = hash;
    if (build(plan, what)) {
        free_plan(plan);
        return NULL;
    }
    if (c->n_plans++ == c->n_buckets) {
        widen(c);
    }
    nas__plan **bucket = &c->buckets[hash & (c->n_buckets - 1)];
    plan->next = *bucket;
    return *bucket = plan;
}

nas__plan *nas__plan_get(nas__plan_key *key, nas__plan_build *build, const void *what) {
    context *c = mine ? mine : new_context();
    if (!c) {
        return NULL;
    }
    key->v[1] = omp_get_max_threads(); /* enters oneDNN's choice of code and its scratch memory */
    uint64_t hash = hash_of(key);
    for (nas__plan *plan = c->buckets[hash & (c->n_buckets - 1)]; plan; plan = plan->next) {
        if (plan->hash == hash && memcmp(&plan->key, key, sizeof *key) == 0) {
            return plan;
        }
    }
    return add_plan(c, key, hash, build, what);
}

/* --- building ------------------------------------------------------------------------------------ */
const char *nas__implementation(const_dnnl_primitive_desc_t pd) {
    const char *name = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) || !name ? "unknown" : name;
}

static dnnl_status_t add_argument(nas__step *step, int arg, nas__cmd md) {
    dnnl_exec_arg_t *slot = &step->args[step->n_args];
    slot->arg = arg;
    dnnl_status_t status = nas__memory_new(&slot->memory, md, mine->engine);
    step->n_args += !status;
    return status;
}

static nas_status make_step(nas__step *step, const char *label, const_dnnl_primitive_desc_t pd, int n_args,
                            const int *args) {
    dnnl_status_t status = dnnl_primitive_create(&step->primitive, pd);
    for (int i = 0; i < n_args && !status; i++) {
        status = add_argument(step, args[i], nas__pd_md(pd, args[i]));
    }
    nas__cmd scratch = nas__pd_md(pd, DNNL_ARG_SCRATCHPAD);
    size_t bytes = scratch ? nas__md_size(scratch) : 0;
    if (!status && bytes) {
        status = add_argument(step, DNNL_ARG_SCRATCHPAD, scratch);
        step->scratch_bytes = bytes;
    }
    return nas__onednn_check(status, label);
}

nas_status nas__plan_primitive(nas__plan *plan, const char *label, const_dnnl_primitive_desc_t pd, int n_args,
                               const int *args) {
    snprintf(plan->name, sizeof plan->name, "%s %s", label, nas__implementation(pd));
    return make_step(&plan->main, label, pd, n_args, args);
}

nas_status nas__plan_stage(nas__plan *plan, const_dnnl_primitive_desc_t pd, int index, nas__cmd plain, bool after) {
    nas__cmd wanted = nas__pd_md(pd, plan->main.args[index].arg);
    if (nas__md_equal(wanted, plain)) {
        return NAS_OK;
    }
    plan->staged = index;
    plan->reorder_after = after;
    plan->staged_bytes = (nas__md_size(wanted) + 63) / 64 * 64;
    dnnl_primitive_desc_t reorder = NULL;
    dnnl_status_t status =
        nas__pd_reorder(&reorder, mine->engine, after ? wanted : plain, after ? plain : wanted, mine->attr);
    if (nas__onednn_check(status, "a reorder of weights")) {
        return nas_error_status();
    }
    nas_status made =
        make_step(&plan->reorder, "a reorder of weights", reorder, 2, (const int[]){DNNL_ARG_FROM, DNNL_ARG_TO});
    dnnl_primitive_desc_destroy(reorder);
    return made;
}

/* --- running ------------------------------------------------------------------------------------- */
static dnnl_status_t run_step(nas__step *step, const void *const *data, char *scratch) {
    int given = step->n_args - (step->scratch_bytes > 0);
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < step->n_args && !status; i++) {
        /* The cast: one kind of handle serves sources and destinations. */
        status = dnnl_memory_set_data_handle(step->args[i].memory, i < given ? (void *)data[i] : scratch);
    }
    return status ? status : dnnl_primitive_execute(step->primitive, mine->stream, step->n_args, step->args);
}

static dnnl_status_t run_steps(nas__plan *plan, const void *const *data, char *work) {
    char *scratch = work + plan->staged_bytes;
    if (!plan->reorder.primitive) {
        return run_step(&plan->main, data, scratch);
    }
    const void *inner[NAS__PLAN_ARGS];
    memcpy(inner, data, (size_t)(plan->main.n_args - (plan->main.scratch_bytes > 0)) * sizeof *inner);
    inner[plan->staged] = work;
    const void *outside = data[plan->staged];
    dnnl_status_t status = dnnl_success;
    if (!plan->reorder_after) {
        status = run_step(&plan->reorder, (const void *[]){outside, work}, scratch);
    }
    status = status ? status : run_step(&plan->main, inner, scratch);
    if (plan->reorder_after && !status) {
        status = run_step(&plan->reorder, (const void *[]){work, outside}, scratch);
    }
    return status;
}

nas_status nas__plan_run(nas__plan *plan, const void *const *data) {
    size_t scratch =
        plan->main.scratch_bytes > plan->reorder.scratch_bytes ? plan->main.scratch_bytes : plan->reorder.scratch_bytes;
    nas__buffer *work = NULL;
    if (plan->staged_bytes + scratch && !(work = nas__buffer_new(plan->staged_bytes + scratch))) {
        return NAS_NO_MEMORY;
    }
    dnnl_status_t status = run_steps(plan, data, work ? (char *)work->data : NULL);
    status = status ? status : dnnl_stream_wait(mine->stream);
    nas__buffer_unref(work);
    return nas__onednn_check(status, plan->name);
}

/* One step with scratch memory of its own. */
static nas_status run_alone(const nas__plan *plan, nas__step *step, const void *const *data) {
    nas__buffer *work = step->scratch_bytes ? nas__buffer_new(step->scratch_bytes) : NULL;
    if (step->scratch_bytes && !work) {
        return NAS_NO_MEMORY;
    }
    dnnl_status_t status = run_step(step, data, work ? (char *)work->data : NULL);
    status = status ? status : dnnl_stream_wait(mine->stream);
    nas__buffer_unref(work);
    return nas__onednn_check(status, plan->name);
}

nas_status nas__plan_prepare(nas__plan *plan, const void *plain, void *staged) {
    return run_alone(plan, &plan->reorder, (const void *[]){plain, staged});
}

nas_status nas__plan_run_prepared(nas__plan *plan, const void *const *data) {
    return run_alone(plan, &plan->main, data);
}

/* --- what is known ------------------------------------------------------------------------------- */
void nas__onednn_implementations(void (*visit)(const char *name, void *user), void *user) {
    for (size_t i = 0; mine && i < mine->n_buckets; i++) {
        for (nas__plan *plan = mine->buckets[i]; plan; plan = plan->next) {
            if (plan->main.primitive) {
                visit(plan->name, user);
            }
        }
    }
}

const char *nas__onednn_version(void) {
    static _Thread_local char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}
