/* onnx_import.c - an ONNX file as a module: its nodes become operations of this library, its constants parameters. */
#include "io/onnx_import.h"

#include "core/memory.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

nas_status nas__import_refuse(const nas__importer *p, const char *what) {
    return nas__fail(NAS_UNSUPPORTED, "node \"%s\" (%s): %s", p->node->name ? p->node->name : "",
                     p->node->op_type ? p->node->op_type : "no operation", what);
}

/* --- names and constants ----------------------------------------------------------------------------------- */
const nas__known *nas__import_find(const nas__importer *p, const char *text) {
    for (size_t i = p->n_names; i-- > 0;) {
        if (!strcmp(p->names[i].text, text)) {
            return &p->names[i];
        }
    }
    return NULL;
}

nas_status nas__import_name(nas__importer *p, const char *text, int value, const Onnx__TensorProto *constant) {
    if (!nas__grow(&p->names, p->n_names, sizeof *p->names)) {
        return nas_error_status();
    }
    p->names[p->n_names++] = (nas__known){text, value, constant};
    return NAS_OK;
}

/* The constant at input i; NULL: it is none, or not there. */
const Onnx__TensorProto *nas__import_constant(const nas__importer *p, size_t i) {
    const nas__known *n = i < p->node->n_input ? nas__import_find(p, p->node->input[i]) : NULL;
    return n ? n->constant : NULL;
}

/* --- the graph --------------------------------------------------------------------------------------------- */
/* Inputs that are results; operations whose only constants are weights read these alone. */
static nas_status read_inputs(nas__importer *p, nas__step *s) {
    const Onnx__NodeProto *n = p->node;
    s->in = nas__alloc((n->n_input + 1) * sizeof *s->in);
    for (size_t i = 0; s->in && i < n->n_input; i++) {
        const nas__known *x = *n->input[i] ? nas__import_find(p, n->input[i]) : NULL;
        if (*n->input[i] && !x) {
            return nas__fail(NAS_PARSE, "node \"%s\" reads \"%s\", which nothing before it gives",
                             n->name ? n->name : "", n->input[i]);
        }
        if (x && !x->constant) {
            s->in[s->n_in++] = x->value;
        }
    }
    return nas_error_status();
}

static nas_status check_node(nas__importer *p, const nas__import_operation *operation) {
    const Onnx__NodeProto *n = p->node;
    bool inputs = operation && strcmp(operation->op, "Constant") != 0;
    return !operation || (n->domain && *n->domain && strcmp(n->domain, "ai.onnx") != 0)
               ? nas__import_refuse(p, "this operation is not read")
           : n->n_input > NAS__MOST_INPUTS ? nas__import_refuse(p, "it has more than 64 inputs")
           : n->n_output < 1 || (inputs && (n->n_input < 1 || !*n->input[0]))
               ? nas__import_refuse(p, "it has no input, or no output")
               : NAS_OK;
}

static nas_status read_node(nas__importer *p, const Onnx__NodeProto *n) {
    const nas__import_operation *operation = nas__import_operation_of(n->op_type);
    nas__step s = {.out = p->m->n_values};
    p->node = n;
    p->step = &s;
    nas_status status = check_node(p, operation);
    status = status ? status : read_inputs(p, &s);
    if (!status && ((operation->reads == NAS__RESULTS && !s.n_in) ||
                    (operation->reads == NAS__ONE_RESULT && (s.n_in != 1 || nas__import_constant(p, 0))))) {
        status = nas__import_refuse(p, "its first input must be a result, and its weights constants");
    }
    status = status ? status : operation->read(p);
    if (!status && s.run && nas__grow(&p->m->steps, p->m->n_steps, sizeof s)) {
        p->m->steps[p->m->n_steps++] = s;
        p->m->n_values++;
        return nas__import_name(p, n->output[0], s.out, NULL);
    }
    free(s.in);
    return status ? status : nas_error_status();
}

static nas_status read_graph(nas__importer *p, const Onnx__GraphProto *g, int *ndim, int64_t *dims) {
    const char *input = NULL;
    nas_status status = nas__onnx_input(g, &input, ndim, dims);
    status = status ? status : nas__import_name(p, input, 0, NULL);
    p->m->n_values = 1;
    for (size_t i = 0; !status && i < g->n_initializer; i++) {
        status = g->initializer[i]->name ? nas__import_name(p, g->initializer[i]->name, NAS__NOTHING, g->initializer[i])
                                         : NAS_OK;
    }
    for (size_t i = 0; !status && i < g->n_node; i++) {
        status = read_node(p, g->node[i]);
    }
    const nas__known *output = status ? NULL : nas__import_find(p, g->output[0]->name);
    if (!status && (!output || output->constant)) {
        status = nas__fail(NAS_PARSE, "nothing gives its output \"%s\"", g->output[0]->name);
    }
    p->m->output = output ? output->value : 0;
    return status;
}

/* --- the module -------------------------------------------------------------------------------------------- */
static nas_tensor *imported_forward(nas_module *self, nas_tensor *x) {
    const nas__imported *m = (nas__imported *)self;
    nas_tensor **values = nas__alloc((size_t)m->n_values * sizeof *values), *y = NULL;
    nas_tensor *in[NAS__MOST_INPUTS];
    bool running = values != NULL;
    if (running) {
        values[0] = x;
    }
    for (size_t i = 0; running && i < m->n_steps; i++) {
        const nas__step *s = &m->steps[i];
        for (int k = 0; k < s->n_in; k++) {
            in[k] = values[s->in[k]];
        }
        values[s->out] = s->run(s, in);
        running = values[s->out] != NULL;
    }
    y = running ? values[m->output] : NULL;
    free(values);
    return y;
}

static void imported_release(nas_module *self) {
    nas__imported *m = (nas__imported *)self;
    for (size_t i = 0; i < m->n_steps; i++) {
        free(m->steps[i].in);
    }
    free(m->steps);
}

static nas_status write_values(nas__importer *p) {
    nas_status status = nas_initialise(&p->m->base, 0);
    for (size_t i = 0; !status && i < p->n_parameters; i++) {
        nas_tensor_write(p->parameters[i], p->values[i]);
        status = nas_error_status();
    }
    return status;
}

nas_module *nas_import_onnx(const char *path, int *ndim, int64_t sample_dims[NAS_MAX_DIMS - 1]) {
    Onnx__ModelProto *model = nas__onnx_open(path);
    int n = 0;
    int64_t dims[NAS_MAX_DIMS] = {0};
    nas__importer p = {.graph = model ? model->graph : NULL,
                       .m = model ? nas_module_alloc(sizeof *p.m, imported_forward, "imported network") : NULL};
    nas_status status = nas_error_status();
    if (p.m) {
        p.m->base.release = imported_release;
        status = read_graph(&p, model->graph, &n, dims);
        status = status ? nas__error_context("%s", path) : write_values(&p);
    }
    for (size_t i = 0; i < p.n_parameters; i++) {
        free(p.values[i]);
    }
    free(p.values);
    free(p.parameters);
    free(p.names);
    if (model) {
        onnx__model_proto__free_unpacked(model, NULL);
    }
    if (status) {
        nas_module_free(p.m ? &p.m->base : NULL);
        return NULL;
    }
    *ndim = n - 1;
    memcpy(sample_dims, dims + 1, (size_t)(n - 1) * sizeof *dims);
    return &p.m->base;
}
