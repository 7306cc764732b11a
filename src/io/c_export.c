/* c_export.c - a fixed network as one C99 file: its weights, an arena that plan.c has laid out, and a call for each
 * operation. */
#include "io/c_writer.h"

#include <espalier/io.h>

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    FILE *f;
    const nas__graph *g;
    const nas__plan *plan;
    const nas_export_config *config;
    char name[64];
    bool *written; /* per value: its constant, or its zeros */
    bool copies;   /* the output is memory that is not its own */
    int64_t weight_bytes;
} writer;

/* --- numbers and names --------------------------------------------------------------------------------- */
/* The nine digits that bring a float back. */
static void write_number(FILE *f, float x) {
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)x);
    fprintf(f, "%s%sf", text, strpbrk(text, ".e") ? "" : ".0");
}

static nas_status write_array(writer *w, const char *name, const char *comment, int64_t n, const float *values) {
    fprintf(w->f, "\n/* %s */\nstatic const float %s[%lld] = {", comment, name, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return nas__fail(NAS_NUMERIC, "%s: number %lld is not finite; the training has failed", comment,
                             (long long)i);
        }
        fputs(i % 8 ? ", " : i ? ",\n    " : "\n    ", w->f);
        write_number(w->f, values[i]);
    }
    fputs("};\n", w->f);
    w->weight_bytes += n * (int64_t)sizeof(float);
    return NAS_OK;
}

/* Weights are w0, w1, ...; the two arrays that a batch norm becomes belong to the value that it makes. */
static const char *place(const writer *w, int value, char *text, size_t size) {
    const nas__graph_value *v = value < 0 ? NULL : &w->g->values[value];
    int s = v ? w->plan->storage[value] : -1;
    if (!v) {
        snprintf(text, size, "0");
    } else if (v->constant) {
        snprintf(text, size, "%s_w%d", w->name, value);
    } else if (s == 0 || (s == w->plan->storage[w->g->output] && !w->copies)) {
        snprintf(text, size, "%s", s == 0 ? "input" : "output");
    } else {
        snprintf(text, size, "arena + %lld", (long long)w->plan->at[s]);
    }
    return text;
}

static void write_operand(writer *w, int value) {
    char text[128];
    fprintf(w->f, "%s, ", place(w, value, text, sizeof text));
}

/* --- one call for each operation ------------------------------------------------------------------------ */
typedef struct call {
    const nas__graph_node *n;
    const nas__graph_value *x, *y;
    int64_t count, area; /* of the output; of a channel of the input */
} call;

/* Product of the dimensions behind `dim`. */
static int64_t behind(const nas__graph_value *v, int dim) {
    int64_t product = 1;
    for (int i = dim + 1; i < v->ndim; i++) {
        product *= v->dims[i];
    }
    return product;
}

static call call_of(const writer *w, const nas__graph_node *n) {
    const nas__graph_value *x = &w->g->values[n->inputs[0]], *y = &w->g->values[n->output];
    return (call){n, x, y, nas__value_count(y), behind(x, 1)};
}

/* "    name(x, more, y, ": the first `inputs` operands and the output */
static void begin(writer *w, const call *c, const char *name, int inputs) {
    fprintf(w->f, "    %s(", name);
    for (int i = 0; i < inputs; i++) {
        write_operand(w, i < c->n->n_inputs ? c->n->inputs[i] : -1);
    }
    write_operand(w, c->n->output);
}

#define LONG(x) ((long long)(x))
static void write_conv(writer *w, const call *c) {
    const nas__told *t = &c->n->told;
    const int64_t *k = w->g->values[c->n->inputs[1]].dims, *x = c->x->dims, *y = c->y->dims;
    begin(w, c, "conv", 3);
    fprintf(w->f, "%lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %d, %d, %d, %d, %d);\n", LONG(x[1]), LONG(x[2]),
            LONG(x[3]), LONG(y[1]), LONG(y[2]), LONG(y[3]), LONG(k[2]), LONG(k[3]), t->stride, t->dilation, t->pad_h,
            t->pad_w, t->groups);
}

static void write_linear(writer *w, const call *c) {
    begin(w, c, "linear", 3);
    fprintf(w->f, "%lld, %lld);\n", LONG(c->x->dims[1]), LONG(c->y->dims[1]));
}

static void write_norm(writer *w, const call *c) {
    fputs("    affine(", w->f);
    write_operand(w, c->n->inputs[0]);
    fprintf(w->f, "%s_scale%d, %s_shift%d, ", w->name, c->n->output, w->name, c->n->output);
    write_operand(w, c->n->output);
    fprintf(w->f, "%lld, %lld);\n", LONG(c->x->dims[1]), LONG(c->area));
}

static void write_pool(writer *w, const call *c) {
    const int64_t *x = c->x->dims, *y = c->y->dims;
    const nas__told *t = &c->n->told;
    begin(w, c, c->n->kind == NAS__OP_MAX_POOL ? "max_pool" : "avg_pool", 1);
    fprintf(w->f, "%lld, %lld, %lld, %lld, %lld, %d, %d, %d, %d);\n", LONG(x[1]), LONG(x[2]), LONG(x[3]), LONG(y[2]),
            LONG(y[3]), t->kernel, t->stride, t->pad_h, t->count_padding);
}

static void write_global(writer *w, const call *c) {
    begin(w, c, "global_pool", 1);
    fprintf(w->f, "%lld, %lld);\n", LONG(c->x->dims[1]), LONG(c->area));
}

static void write_gate(writer *w, const call *c) {
    begin(w, c, "gate", 2);
    fprintf(w->f, "%lld, %lld);\n", LONG(c->x->dims[1]), LONG(c->area));
}

static void write_softmax(writer *w, const call *c) {
    int64_t n = c->x->dims[c->x->ndim - 1];
    begin(w, c, "softmax", 1);
    fprintf(w->f, "%lld, %lld, %d);\n", LONG(c->count / n), LONG(n), c->n->kind == NAS__OP_LOG_SOFTMAX);
}

static void write_sum(writer *w, const call *c) {
    for (int i = 1; i < c->n->n_inputs; i++) {
        fputs("    add(", w->f);
        write_operand(w, i == 1 ? c->n->inputs[0] : c->n->output);
        write_operand(w, c->n->inputs[i]);
        write_operand(w, c->n->output);
        fprintf(w->f, "%lld);\n", LONG(c->count));
    }
}

static void write_scale(writer *w, const call *c) {
    fputs("    scale(", w->f);
    write_operand(w, c->n->inputs[0]);
    write_number(w->f, c->n->told.number);
    fputs(", ", w->f);
    write_operand(w, c->n->output);
    fprintf(w->f, "%lld);\n", LONG(c->count));
}

static void copy_rows(writer *w, int from, int64_t offset, int to, int64_t at, const int64_t sizes[4]) {
    char x[128], y[128];
    fprintf(w->f, "    copy_rows(%s + %lld, %s + %lld, %lld, %lld, %lld, %lld);\n", place(w, from, x, sizeof x),
            LONG(offset), place(w, to, y, sizeof y), LONG(at), LONG(sizes[0]), LONG(sizes[1]), LONG(sizes[2]),
            LONG(sizes[3]));
}

static void write_concat(writer *w, const call *c) {
    int dim = c->n->told.dim;
    int64_t inner = behind(c->y, dim), all = c->y->dims[dim] * inner, at = 0;
    for (int i = 0; i < c->n->n_inputs; i++) {
        int64_t row = w->g->values[c->n->inputs[i]].dims[dim] * inner;
        copy_rows(w, c->n->inputs[i], 0, c->n->output, at, (int64_t[]){c->count / all, row, row, all});
        at += row;
    }
}

static void write_slice(writer *w, const call *c) {
    int dim = c->n->told.dim;
    int64_t inner = behind(c->y, dim), row = c->y->dims[dim] * inner;
    copy_rows(w, c->n->inputs[0], c->n->told.from * inner, c->n->output, 0,
              (int64_t[]){c->count / row, row, c->x->dims[dim] * inner, row});
}

static void write_every_other(writer *w, const call *c) {
    copy_rows(w, c->n->inputs[0], c->n->told.from * c->area, c->n->output, 0,
              (int64_t[]){c->y->dims[1], c->area, 2 * c->area, c->area});
}

static void write_shuffle(writer *w, const call *c) {
    int64_t groups = c->n->told.groups, each = c->x->dims[1] / groups;
    for (int64_t i = 0; i < groups; i++) {
        copy_rows(w, c->n->inputs[0], i * each * c->area, c->n->output, i * c->area,
                  (int64_t[]){each, c->area, c->area, groups * c->area});
    }
}

static void write_pad(writer *w, const call *c) {
    const int64_t *x = c->x->dims, *y = c->y->dims;
    begin(w, c, "pad", 1);
    fprintf(w->f, "%lld, %lld, %lld, %lld, %lld, %d, %d);\n", LONG(x[1]), LONG(x[2]), LONG(x[3]), LONG(y[2]),
            LONG(y[3]), c->n->told.pad_h, c->n->told.pad_w);
}

/* A reshape is the same memory, but for constants and what the caller gave. */
static void write_nothing(writer *w, const call *c) { (void)w, (void)c; }

static const struct {
    void (*write)(writer *w, const call *c); /* NULL: `each` with all inputs and the number of elements */
    nas__c_function needs;
    const char *each;
} calls[NAS__N_OPS] = {
    [NAS__OP_CONV] = {write_conv, NAS__C_CONV, NULL},
    [NAS__OP_LINEAR] = {write_linear, NAS__C_LINEAR, NULL},
    [NAS__OP_NORM] = {write_norm, NAS__C_AFFINE, NULL},
    [NAS__OP_MAX_POOL] = {write_pool, NAS__C_MAX_POOL, NULL},
    [NAS__OP_AVG_POOL] = {write_pool, NAS__C_AVG_POOL, NULL},
    [NAS__OP_GLOBAL_POOL] = {write_global, NAS__C_GLOBAL_POOL, NULL},
    [NAS__OP_RELU] = {NULL, NAS__C_RELU, "relu"},
    [NAS__OP_RELU6] = {NULL, NAS__C_RELU6, "relu6"},
    [NAS__OP_SIGMOID] = {NULL, NAS__C_SIGMOID, "sigmoid"},
    [NAS__OP_TANH] = {NULL, NAS__C_TANH, "hyperbolic"},
    [NAS__OP_GELU] = {NULL, NAS__C_GELU, "gelu"},
    [NAS__OP_SWISH] = {NULL, NAS__C_SWISH, "swish"},
    [NAS__OP_HARD_SIGMOID] = {NULL, NAS__C_HARD_SIGMOID, "hard_sigmoid"},
    [NAS__OP_HARD_SWISH] = {NULL, NAS__C_HARD_SWISH, "hard_swish"},
    [NAS__OP_SOFTMAX] = {write_softmax, NAS__C_SOFTMAX, NULL},
    [NAS__OP_LOG_SOFTMAX] = {write_softmax, NAS__C_SOFTMAX, NULL},
    [NAS__OP_SUM] = {write_sum, NAS__C_ADD, NULL},
    [NAS__OP_DIFFERENCE] = {NULL, NAS__C_SUB, "sub"},
    [NAS__OP_PRODUCT] = {NULL, NAS__C_MUL, "mul"},
    [NAS__OP_GATE] = {write_gate, NAS__C_GATE, NULL},
    [NAS__OP_SCALE] = {write_scale, NAS__C_SCALE, NULL},
    [NAS__OP_CONCAT] = {write_concat, NAS__C_ROWS, NULL},
    [NAS__OP_SLICE] = {write_slice, NAS__C_ROWS, NULL},
    [NAS__OP_EVERY_OTHER] = {write_every_other, NAS__C_ROWS, NULL},
    [NAS__OP_SHUFFLE] = {write_shuffle, NAS__C_ROWS, NULL},
    [NAS__OP_PAD] = {write_pad, NAS__C_PAD, NULL},
    [NAS__OP_RESHAPE] = {write_nothing, NAS__N_C_FUNCTIONS, NULL},
};

static void write_zeros(writer *w, const nas__graph_node *n) {
    char text[128];
    for (int k = 0; k < n->n_inputs; k++) {
        int value = n->inputs[k];
        if (value >= 0 && w->g->values[value].zero && !w->written[value]) {
            w->written[value] = true;
            fprintf(w->f, "    memset(%s, 0, %lld * sizeof(float));\n", place(w, value, text, sizeof text),
                    LONG(nas__value_count(&w->g->values[value])));
        }
    }
}

static void write_call(writer *w, const nas__graph_node *n) {
    call c = call_of(w, n);
    write_zeros(w, n);
    fprintf(w->f, "    /* %s */\n", n->name);
    if (calls[n->kind].write) {
        calls[n->kind].write(w, &c);
    } else {
        begin(w, &c, calls[n->kind].each, n->n_inputs);
        fprintf(w->f, "%lld);\n", LONG(c.count));
    }
}

/* --- the file ------------------------------------------------------------------------------------------ */
/* Batch norms become a factor and a term for each channel. */
static nas_status write_norm_arrays(writer *w, const nas__graph_node *n) {
    int64_t channels = w->g->values[n->inputs[0]].dims[1];
    const float *in[5] = {0};
    for (int i = 1; i < 5; i++) {
        in[i] = n->inputs[i] < 0 ? NULL : nas__data(w->g->values[n->inputs[i]].constant);
    }
    float *scale = nas__alloc(2 * (size_t)channels * sizeof *scale), *shift = scale + channels;
    char name[96];
    nas_status status = scale ? NAS_OK : nas_error_status();
    for (int64_t c = 0; !status && c < channels; c++) {
        scale[c] = (in[1] ? in[1][c] : 1) / sqrtf(in[4][c] + n->told.number);
        shift[c] = (in[2] ? in[2][c] : 0) - in[3][c] * scale[c];
    }
    snprintf(name, sizeof name, "%s_scale%d", w->name, n->output);
    status = status ? status : write_array(w, name, n->name, channels, scale);
    snprintf(name, sizeof name, "%s_shift%d", w->name, n->output);
    status = status ? status : write_array(w, name, n->name, channels, shift);
    free(scale);
    return status;
}

static nas_status write_weights(writer *w) {
    nas_status status = NAS_OK;
    char name[96];
    for (size_t i = 0; i < w->g->n_nodes && !status; i++) {
        const nas__graph_node *n = &w->g->nodes[i];
        if (n->kind == NAS__OP_NORM) {
            status = write_norm_arrays(w, n);
        }
        for (int k = 0; n->kind != NAS__OP_NORM && k < n->n_inputs && !status; k++) {
            const nas__graph_value *v = n->inputs[k] < 0 ? NULL : &w->g->values[n->inputs[k]];
            if (v && v->constant && !w->written[n->inputs[k]]) {
                w->written[n->inputs[k]] = true;
                status = write_array(w, place(w, n->inputs[k], name, sizeof name), v->name, nas__value_count(v),
                                     nas__data(v->constant));
            }
        }
    }
    return status;
}

static void write_functions(writer *w) {
    bool needed[NAS__N_C_FUNCTIONS + 1] = {false};
    for (size_t i = 0; i < w->g->n_nodes; i++) {
        needed[calls[w->g->nodes[i].kind].needs] = true;
    }
    for (int f = 0; f < NAS__N_C_FUNCTIONS; f++) {
        if (needed[f]) {
            fprintf(w->f, "\n%s", nas__c_text((nas__c_function)f));
        }
    }
}

static void write_head(writer *w) {
    const nas_export_config *config = w->config;
    fprintf(w->f,
            "/* A network of the space %s, written by espalier %s. C99, needs libm.\n *\n * void %s_run(const float "
            "*input, "
            "float *output);\n *\n * input: %lld floats (",
            config->space ? config->space : "of its author", nas_version(), w->name,
            LONG(nas__value_count(&w->g->values[0])));
    for (int i = 0; i < config->ndim; i++) {
        fprintf(w->f, "%s%lld", i ? "x" : "", LONG(config->dims[i]));
    }
    fprintf(w->f, ")");
    for (int c = 0; config->std[0] > 0 && c < config->dims[0] && c < 4; c++) {
        fprintf(w->f, "%s(pixel * %.9g - %.9g) / %.9g", c ? ", " : ", by channel ", (double)config->scale,
                (double)config->mean[c], (double)config->std[c]);
    }
    fprintf(w->f, "; output: %lld floats.\n * It uses static memory: one call at a time. */\n",
            LONG(nas__value_count(&w->g->values[w->g->output])));
    fprintf(w->f, "#include <math.h>\n#include <string.h>\n");
}

static nas_status write_all(writer *w) {
    char text[128];
    const nas__plan *plan = w->plan;
    write_head(w);
    if (plan->floats) {
        fprintf(w->f, "\nstatic float %s_arena[%lld];\n", w->name, LONG(plan->floats));
    }
    nas_status status = write_weights(w);
    write_functions(w);
    fprintf(w->f,
            "\nvoid %s_run(const float *input, float *output);\nvoid %s_run(const float *input, float *output) {\n",
            w->name, w->name);
    if (plan->floats) {
        fprintf(w->f, "    float *const arena = %s_arena;\n", w->name);
    }
    for (size_t i = 0; i < w->g->n_nodes; i++) {
        write_call(w, &w->g->nodes[i]);
    }
    if (w->g->values[w->g->output].zero) {
        fprintf(w->f, "    memset(output, 0, %lld * sizeof(float));\n",
                LONG(nas__value_count(&w->g->values[w->g->output])));
    }
    if (w->copies) {
        fprintf(w->f, "    memcpy(output, %s, %lld * sizeof(float));\n", place(w, w->g->output, text, sizeof text),
                LONG(nas__value_count(&w->g->values[w->g->output])));
    }
    fputs("}\n", w->f);
    return status;
}

/* The file's name up to a dot, as an identifier. */
static void name_after(const char *path, char *name, size_t size) {
    const char *slash = strrchr(path, '/'), *from = slash ? slash + 1 : path;
    size_t n = 0;
    if (!isalpha((unsigned char)*from)) {
        n = (size_t)snprintf(name, size, "network_");
    }
    for (; *from && *from != '.' && n + 1 < size; from++) {
        name[n++] = (char)(isalnum((unsigned char)*from) ? *from : '_');
    }
    name[n] = 0;
}

static nas_status write_file(writer *w, const char *path) {
    nas__atomic_file file = {0};
    w->written = nas__alloc(w->g->n_values * sizeof *w->written);
    nas_status status = w->written ? nas__atomic_open(&file, path) : nas_error_status();
    if (!status) {
        w->f = file.stream;
        status = write_all(w);
        if (status) {
            nas__atomic_abandon(&file);
        } else {
            status = nas__atomic_commit(&file);
        }
    }
    free(w->written);
    return status;
}

nas_status nas_export_c(nas_module *model, const nas_export_config *config, const char *path, nas_c_memory *memory) {
    if (!model || !config || !path) {
        return nas__fail(NAS_INVALID, "nas_export_c: model, config or path is NULL");
    }
    nas__graph *g = nas__graph_new(model, config->ndim, config->dims);
    nas__plan *plan = g ? nas__plan_new(g) : NULL;
    writer w = {.g = g, .plan = plan, .config = config};
    nas_status status = plan ? NAS_OK : nas_error_status();
    if (!status) {
        int s = plan->storage[g->output];
        w.copies = s == 0 || g->values[s].constant;
        name_after(path, w.name, sizeof w.name);
        status = write_file(&w, path);
    }
    if (memory) {
        *memory = (nas_c_memory){.arena_bytes = status ? 0 : plan->floats * (int64_t)sizeof(float),
                                 .weight_bytes = status ? 0 : w.weight_bytes};
    }
    nas__plan_free(plan);
    nas__graph_free(g);
    return status;
}
