/* graph.c - see graph.h */
#include "io/graph.h"

#include "core/error.h"
#include "core/memory.h"
#include "io/foldable.h"
#include "nn/module.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

enum { NOT_FOUND = -1, SAMPLES = 3 /* of the dry pass: results whose first dimension is another are no samples */ };

/* What passes call an operation, and its kind. */
static const struct {
    const char *recorded;
    nas__op_kind kind;
    const char *name;
} kinds[] = {
    {"conv", NAS__OP_CONV, "conv"},
    {"depthwise", NAS__OP_CONV, "conv"},
    {"linear", NAS__OP_LINEAR, "linear"},
    {"batch_norm", NAS__OP_NORM, "batch_norm"},
    {"nas_max_pool", NAS__OP_MAX_POOL, "max_pool"},
    {"nas_avg_pool", NAS__OP_AVG_POOL, "avg_pool"},
    {"global_avg_pool", NAS__OP_GLOBAL_POOL, "global_avg_pool"},
    {"relu", NAS__OP_RELU, "relu"},
    {"relu6", NAS__OP_RELU6, "relu6"},
    {"nas_sigmoid", NAS__OP_SIGMOID, "sigmoid"},
    {"nas_tanh", NAS__OP_TANH, "tanh"},
    {"nas_gelu", NAS__OP_GELU, "gelu"},
    {"nas_swish", NAS__OP_SWISH, "swish"},
    {"hard_sigmoid", NAS__OP_HARD_SIGMOID, "hard_sigmoid"},
    {"hard_swish", NAS__OP_HARD_SWISH, "hard_swish"},
    {"nas_softmax", NAS__OP_SOFTMAX, "softmax"},
    {"nas_log_softmax", NAS__OP_LOG_SOFTMAX, "log_softmax"},
    {"nas_add", NAS__OP_SUM, "add"},
    {"sum_of", NAS__OP_SUM, "add"},
    {"nas_sub", NAS__OP_DIFFERENCE, "sub"},
    {"mul", NAS__OP_PRODUCT, "mul"},
    {"mul_channels", NAS__OP_GATE, "mul_channels"},
    {"scale", NAS__OP_SCALE, "scale"},
    {"concat", NAS__OP_CONCAT, "concat"},
    {"slice", NAS__OP_SLICE, "slice"},
    {"split_even_odd", NAS__OP_EVERY_OTHER, "every_other"},
    {"channel_shuffle", NAS__OP_SHUFFLE, "channel_shuffle"},
    {"pad", NAS__OP_PAD, "pad"},
    {"reshape", NAS__OP_RESHAPE, "reshape"},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds, MOST_DEPTH = 64 };

const char *nas__op_name(nas__op_kind kind) {
    for (int i = 0; i < N_KINDS; i++) {
        if (kinds[i].kind == kind) {
            return kinds[i].name;
        }
    }
    return "";
}

int64_t nas__value_count(const nas__graph_value *v) {
    int64_t count = 1;
    for (int i = 0; i < v->ndim; i++) {
        count *= v->dims[i];
    }
    return count;
}

/* --- what the pass tells ----------------------------------------------------------------------------- */
typedef struct tracer {
    nas_module *model;
    nas__graph *graph;
    const nas_tensor **tensors; /* of the values; two may be one value in two layouts */
    int *values;
    size_t n_tensors;
    const nas_module *inside[MOST_DEPTH]; /* modules whose forward functions run */
    int depth;
    const nas__foldable *foldable; /* of a counted graph; NULL: of one to be written */
    int64_t *floats;
    bool *has; /* per value: counted */
} tracer;

/* The innermost that there is a place for; outside of all, the model. */
static const nas_module *running(const tracer *t) {
    return t->depth ? t->inside[(t->depth < MOST_DEPTH ? t->depth : MOST_DEPTH) - 1] : t->model;
}

static int known(const tracer *t, const nas_tensor *x) {
    for (size_t i = t->n_tensors; i-- > 0;) {
        if (t->tensors[i] == x) {
            return t->values[i];
        }
    }
    return NOT_FOUND;
}

static void remember(tracer *t, const nas_tensor *x, int value) {
    if (nas__grow(&t->tensors, t->n_tensors, sizeof *t->tensors) &&
        nas__grow(&t->values, t->n_tensors, sizeof *t->values)) {
        t->tensors[t->n_tensors] = x;
        t->values[t->n_tensors++] = value;
    }
}

typedef struct search {
    const nas_tensor *wanted;
    char *path;
} search;

static nas_status path_of(const char *path, nas__parameter *p, void *user) {
    search *s = user;
    if (p->tensor == s->wanted && !s->path) {
        s->path = nas__strdup(path);
    }
    return NAS_OK;
}

/* Constants are named by their path in the model; those of nobody by a number. */
static char *constant_name(const tracer *t, const nas_tensor *x) {
    search s = {x, NULL};
    if (t->foldable) {
        return nas__strdup(""); /* in a counted graph nothing has a name */
    }
    nas__module_parameters(t->model, path_of, &s);
    return s.path ? s.path : nas__format("constant_%zu", t->graph->n_values);
}

/* Takes the name. weight: it is made of constants alone. */
static int add_value(tracer *t, nas_tensor *x, char *name, bool weight) {
    nas__graph *g = t->graph;
    if (!name || !nas__grow(&g->values, g->n_values, sizeof *g->values) ||
        !nas__grow(&t->has, g->n_values, sizeof *t->has)) {
        free(name);
        return NOT_FOUND;
    }
    nas__graph_value *v = &g->values[g->n_values];
    *v = (nas__graph_value){.name = name,
                            .ndim = x->ndim,
                            .constant = x->persistent ? x : NULL,
                            .zero = x->is_zero && !weight,
                            .weight = weight};
    t->has[g->n_values] = false;
    memcpy(v->dims, x->dims, sizeof v->dims);
    bool constant = x->persistent || weight;
    if (!constant && v->dims[0] != SAMPLES) {
        nas__fail(NAS_UNSUPPORTED, "%s mixes the samples of a batch (%s): such a network cannot be exported", name,
                  nas__shape(x));
    }
    v->dims[0] = constant ? v->dims[0] : 1;
    remember(t, x, (int)g->n_values);
    return (int)g->n_values++;
}

static int value_of(tracer *t, nas_tensor *x) {
    int value = x ? known(t, x) : NOT_FOUND;
    if (!x || value != NOT_FOUND) {
        return value;
    }
    if (!x->persistent && !x->is_zero) {
        nas__fail(NAS_UNSUPPORTED,
                  "%s computes with numbers that are neither its input nor its weights: such a "
                  "network cannot be exported",
                  nas_module_path(running(t)));
        return NOT_FOUND;
    }
    return add_value(t, x, x->persistent ? constant_name(t, x) : nas__format("zeros_%zu", t->graph->n_values), false);
}

static bool has_node(const nas__graph *g, const char *name) {
    for (size_t i = g->n_nodes; i-- > 0;) {
        if (!strcmp(g->nodes[i].name, name)) {
            return true;
        }
    }
    return false;
}

static char *node_name(const tracer *t, const char *op) {
    if (t->foldable) {
        return nas__strdup("");
    }
    const char *path = nas_module_path(running(t)), *slash = *path ? "/" : "";
    char *name = nas__format("%s%s%s", path, slash, op);
    for (int i = 2; name && has_node(t->graph, name); i++) {
        free(name);
        name = nas__format("%s%s%s_%d", path, slash, op, i);
    }
    return name;
}

/* A depthwise convolution and the bias that is a pass of its own. */
static void add_bias(tracer *t, const nas__node *op) {
    nas__graph *g = t->graph;
    int x = value_of(t, op->inputs[0]), bias = value_of(t, op->inputs[1]);
    nas__graph_node *conv = g->n_nodes ? &g->nodes[g->n_nodes - 1] : NULL;
    if (nas_error_status() || !conv || conv->output != x || conv->kind != NAS__OP_CONV) {
        nas__fail(NAS_UNSUPPORTED, "a bias that follows no convolution cannot be exported");
        return;
    }
    conv->inputs[conv->n_inputs++] = bias;
    remember(t, op->outputs[0], x);
}

static void add_node(tracer *t, const nas__node *op, int kind) {
    nas__graph *g = t->graph;
    if (!nas__grow(&g->nodes, g->n_nodes, sizeof *g->nodes)) {
        return;
    }
    nas__graph_node node = {.kind = kinds[kind].kind,
                            .name = node_name(t, kinds[kind].name),
                            .inputs = nas__alloc(((size_t)op->n_inputs + 1) * sizeof(int)),
                            .n_inputs = op->n_inputs,
                            .told = op->told ? *op->told : (nas__told){0}};
    for (int i = 0; node.inputs && i < op->n_inputs; i++) {
        node.inputs[i] = value_of(t, op->inputs[i]);
    }
    node.output = node.name ? add_value(t, op->outputs[0], nas__strdup(node.name), false) : NOT_FOUND;
    g->nodes[g->n_nodes++] = node;
    if (t->floats && !nas_error_status()) {
        *t->floats += nas__node_weights(g, &g->nodes[g->n_nodes - 1], t->has);
    }
}

/* --- counting ----------------------------------------------------------------------------------------- */
int64_t nas__node_weights(const nas__graph *g, const nas__graph_node *n, bool *has) {
    int64_t floats = n->bias;
    if (n->kind == NAS__OP_NORM) {
        return 2 * g->values[n->inputs[0]].dims[1]; /* a factor and a term for each channel */
    }
    for (int k = 0; k < n->n_inputs; k++) {
        const nas__graph_value *v = n->inputs[k] < 0 ? NULL : &g->values[n->inputs[k]];
        if (v && (v->constant || v->weight) && !has[n->inputs[k]]) {
            has[n->inputs[k]] = true;
            floats += nas__value_count(v);
        }
    }
    return floats;
}

/* Parts of weights, as paths take them from those that they share: a fixed network has the part alone. */
static bool is_of_weights(const tracer *t, const nas__node *op) {
    bool weights = op->n_inputs > 0;
    for (int i = 0; weights && i < op->n_inputs; i++) {
        const nas_tensor *x = op->inputs[i];
        int value = x && !x->persistent ? known(t, x) : NOT_FOUND;
        weights = !x || x->persistent || (value != NOT_FOUND && t->graph->values[value].weight);
    }
    return weights;
}

/* A batch norm that is folded leaves a bias in what makes its input: a convolution, or several side by side. */
static void leave_bias(tracer *t, int value) {
    nas__graph *g = t->graph;
    size_t i = g->n_nodes;
    while (i > 0 && g->nodes[i - 1].output != value) {
        i--;
    }
    nas__graph_node *n = i ? &g->nodes[i - 1] : NULL;
    if (n && n->kind == NAS__OP_CONV && n->n_inputs < 3 && !n->bias) {
        n->bias = g->values[value].dims[1];
        if (t->floats) {
            *t->floats += n->bias;
        }
    }
    for (int k = 0; n && n->kind == NAS__OP_CONCAT && k < n->n_inputs; k++) {
        leave_bias(t, n->inputs[k]);
    }
}

/* True: the operation is not there in a fixed and folded network. */
static bool goes_away(tracer *t, const nas__node *op) {
    if (is_of_weights(t, op)) {
        for (int i = 0; i < op->n_outputs; i++) {
            add_value(t, op->outputs[i], nas__strdup(""), true);
        }
        return true;
    }
    enum { MEAN = 3 }; /* of the inputs */
    bool norm = !strcmp(op->name, "batch_norm") && op->n_inputs > MEAN;
    bool searched = norm && nas__bn_goes_when_fixed(running(t)),
         folded = searched || (norm && nas__foldable_has(t->foldable, op->inputs[MEAN]));
    int x = folded ? value_of(t, op->inputs[0]) : NOT_FOUND;
    if (folded) {
        remember(t, op->outputs[0], x);
    }
    if (folded && !searched) {
        leave_bias(t, x);
    }
    return folded;
}

static void on_computed(void *user, nas__event event, const nas__node *op) {
    tracer *t = user;
    if (event != NAS__COMPUTED || nas_error_status()) {
        return;
    }
    if (!strcmp(op->name, "reorder")) {
        remember(t, op->outputs[0], value_of(t, op->inputs[0]));
        return;
    }
    if (t->foldable && goes_away(t, op)) {
        return;
    }
    if (!strcmp(op->name, "channel_bias")) {
        add_bias(t, op);
        return;
    }
    int kind = 0;
    while (kind < N_KINDS && strcmp(kinds[kind].recorded, op->name) != 0) {
        kind++;
    }
    if (kind == N_KINDS) {
        nas__fail(NAS_UNSUPPORTED, "%s: the operation \"%s\" cannot be exported", nas_module_path(running(t)),
                  op->name);
        return;
    }
    add_node(t, op, kind);
}

static void on_forward(void *user, const nas_module *module, bool done) {
    tracer *t = user;
    t->depth -= done;
    if (!done && t->depth < MOST_DEPTH) {
        t->inside[t->depth] = module;
    }
    t->depth += !done;
}

/* --- what the output needs --------------------------------------------------------------------------- */
static void free_node(nas__graph_node *n) {
    free(n->name);
    free(n->inputs);
}

/* Values that nobody needs stay in their list, so that numbers stay what they are. */
static nas_status keep_needed(nas__graph *g) {
    bool *needed = nas__alloc(g->n_values * sizeof *needed);
    if (!needed) {
        return nas_error_status();
    }
    needed[g->output] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const nas__graph_node *n = &g->nodes[i];
        for (int k = 0; needed[n->output] && k < n->n_inputs; k++) {
            if (n->inputs[k] >= 0) {
                needed[n->inputs[k]] = true;
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (needed[g->nodes[i].output]) {
            g->nodes[kept++] = g->nodes[i];
        } else {
            free_node(&g->nodes[i]);
        }
    }
    g->n_nodes = kept;
    free(needed);
    return NAS_OK;
}

/* --- the graph --------------------------------------------------------------------------------------- */
static nas_status refuse_choices(nas_module *module, void *user) {
    (void)user;
    const nas_mutable *m = nas__layer_mutable(module);
    for (size_t i = 0; m || (m = nas__attached_mutable(module, i)); i++, m = NULL) {
        if (!m->fixed) {
            char *key = nas__mutable_key(m);
            nas__fail(NAS_USAGE, "the choice \"%s\" is open; a network is exported when its architecture is fixed",
                      key);
            free(key);
            return nas_error_status();
        }
    }
    return NAS_OK;
}

static nas_status run_dry(tracer *t, int ndim, const int64_t *dims) {
    int64_t batch[NAS_MAX_DIMS] = {SAMPLES};
    memcpy(batch + 1, dims, (size_t)ndim * sizeof *dims);
    nas_tape *tape = nas_tape_new();
    if (!tape) {
        return nas_error_status();
    }
    nas__watcher watcher = {.event = on_computed, .user = t};
    nas__forward_watcher forward = {on_forward, t};
    nas_tape_begin(tape, &(nas_tape_config){.dry = true, .bn = NAS_BN_RUNNING});
    nas_tensor *x = nas_input(ndim + 1, batch, NULL);
    int input = x ? add_value(t, x, nas__strdup("input"), false) : NOT_FOUND;
    nas__watch(&watcher);
    nas__watch_forward(&forward);
    nas_tensor *y = input == 0 ? nas_forward(t->model, x) : NULL;
    nas__watch(NULL);
    nas__watch_forward(NULL);
    t->graph->output = y && !nas_error_status() ? value_of(t, y) : NOT_FOUND;
    nas_tape_free(tape);
    return nas_error_status();
}

static nas__graph *trace(tracer *t, int ndim, const int64_t *dims) {
    if (!t->model || ndim < 1 || ndim >= NAS_MAX_DIMS) {
        return nas__fail_null(NAS_INVALID, "export: a model and 1 to %d dimensions of a sample are needed",
                              NAS_MAX_DIMS - 1);
    }
    t->graph = nas__alloc(sizeof(nas__graph));
    nas_status status = t->graph ? nas__initialise_once(t->model) : nas_error_status();
    status = status || t->foldable ? status : nas__module_walk(t->model, refuse_choices, NULL);
    status = status ? status : run_dry(t, ndim, dims);
    status = status ? status : keep_needed(t->graph);
    free(t->tensors);
    free(t->values);
    free(t->has);
    if (status) {
        nas__graph_free(t->graph);
    }
    return status ? NULL : t->graph;
}

nas__graph *nas__graph_new(nas_module *model, int ndim, const int64_t *dims) {
    return trace(&(tracer){.model = model}, ndim, dims);
}

nas__graph *nas__graph_count(nas_module *model, int ndim, const int64_t *dims, int64_t *floats) {
    nas__foldable *foldable = model ? nas__foldable_new(model) : NULL;
    nas__graph *g = foldable || !model
                        ? trace(&(tracer){.model = model, .foldable = foldable, .floats = floats}, ndim, dims)
                        : NULL;
    nas__foldable_free(foldable);
    return g;
}

void nas__graph_free(nas__graph *g) {
    for (size_t i = 0; g && i < g->n_nodes; i++) {
        free_node(&g->nodes[i]);
    }
    for (size_t i = 0; g && i < g->n_values; i++) {
        free(g->values[i].name);
    }
    if (g) {
        free(g->nodes);
        free(g->values);
        free(g);
    }
}
