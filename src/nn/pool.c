/* pool.c - the pooling layer, with DARTS' batch norm behind it while searching. */
#include "nn/module.h"

#include "core/error.h"

typedef struct pool {
    nas_module base;
    nas_pool_kind kind;
    nas_pool_args args;
    nas_module *bn;
} pool;

static nas_tensor *pool_forward(nas_module *self, nas_tensor *x) {
    pool *p = (pool *)self;
    nas_tensor *y = p->kind == NAS_POOL_GLOBAL ? nas_global_avg_pool(x)
                    : p->kind == NAS_POOL_MAX  ? nas_max_pool(x, p->args)
                                               : nas_avg_pool(x, p->args);
    return p->bn ? nas_forward(p->bn, y) : y;
}

nas_module *nas_pool_new(const nas_pool_config *c) {
    int padding = c->padding == NAS_SAME ? (c->kernel - 1) / 2 : c->padding;
    if (c->kind != NAS_POOL_GLOBAL &&
        (c->kernel < 1 || c->kernel > 15 || c->stride < 0 || padding < 0 || padding >= c->kernel)) {
        return nas__fail_null(
            NAS_INVALID,
            "nas_pool: .kernel %d must be 1..15, .stride %d not negative, .padding %d less than the kernel", c->kernel,
            c->stride, c->padding);
    }
    pool *p = nas_module_alloc(sizeof *p, pool_forward, "pool");
    if (!p) {
        return NULL;
    }
    p->kind = c->kind;
    p->args = (nas_pool_args){
        .kernel = c->kernel, .stride = c->stride, .padding = padding, .count_padding = c->count_padding};
    if (c->bn_search_only) {
        p->bn = nas_child(p, "bn", nas_bn(.channels = c->channels, .affine = NAS_AFFINE_NEVER, .search_only = true));
    }
    return nas__module_complete(p, p->bn || !c->bn_search_only);
}
