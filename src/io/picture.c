/* picture.c - pictures of networks: what they consist of, and who draws which space. */
#include "io/picture.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text) { return text ? nas__strdup(text) : NULL; }

nas__figure *nas__picture_figure(nas_picture *p, const char *title, bool across) {
    if (!nas__grow(&p->figures, p->n_figures, sizeof *p->figures)) {
        return NULL;
    }
    nas__figure *f = &p->figures[p->n_figures++];
    *f = (nas__figure){.title = copy(title), .across = across};
    return f;
}

nas__picture_node *nas__figure_node(nas__figure *f, nas__node_form form, const char *label, int colour) {
    if (!nas__grow(&f->nodes, f->n_nodes, sizeof *f->nodes)) {
        return NULL;
    }
    nas__picture_node *n = &f->nodes[f->n_nodes++];
    *n = (nas__picture_node){.form = form, .label = copy(label), .colour = colour};
    return n;
}

nas__picture_edge *nas__figure_edge(nas__figure *f, int from, int to, const char *label, int colour) {
    if (!nas__grow(&f->edges, f->n_edges, sizeof *f->edges)) {
        return NULL;
    }
    nas__picture_edge *e = &f->edges[f->n_edges++];
    *e = (nas__picture_edge){.from = from, .to = to, .label = copy(label), .colour = colour, .at = -1};
    return e;
}

int nas__picture_colour(nas_picture *p, const char *candidate) {
    for (size_t i = 0; i < p->n_colours; i++) {
        if (!strcmp(p->colours[i], candidate)) {
            return (int)i;
        }
    }
    char *name = nas__grow(&p->colours, p->n_colours, sizeof *p->colours) ? nas__strdup(candidate) : NULL;
    if (!name) {
        return NAS__NO_COLOUR;
    }
    p->colours[p->n_colours] = name;
    return (int)p->n_colours++;
}

/* Colours are given in the order of the candidates, not of their use: two networks of a space are drawn alike. */
static void name_colours(nas_picture *p, const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        for (int k = 0; c->kind == NAS_LAYER && k < c->n; k++) {
            nas__picture_colour(p, c->names[k]);
        }
    }
}

nas_picture *nas_picture_new(nas_module *model, const nas_export_config *config) {
    if (!model || !config || !config->architecture) {
        return nas__fail_null(NAS_INVALID, "nas_picture_new: model, config or its architecture is NULL");
    }
    nas_space *space = nas_space_new(model);
    nas_architecture *a = space ? nas_architecture_parse(space, config->architecture) : NULL;
    nas_picture *p = a ? nas__alloc(sizeof *p) : NULL;
    if (p) {
        p->title = copy(config->space);
        name_colours(p, space);
        nas_status status = nas__picture_cells(p, a);
        if (!status && !p->n_figures) {
            status = nas__picture_network(p, space, a, config);
        }
        for (size_t i = 0; !status && i < p->n_figures; i++) {
            status = nas__figure_layout(&p->figures[i]);
        }
    }
    nas_architecture_free(a);
    nas_space_free(space);
    if (nas_error_status()) {
        nas_picture_free(p);
        p = NULL;
    }
    return p;
}

static void free_node(nas__picture_node *n) {
    free(n->label);
    free(n->sub);
    free(n->name);
    free(n->shape);
}

static void free_edge(nas__picture_edge *e) {
    free(e->label);
    free(e->line);
}

static bool has_edge(const nas__figure *f, size_t before, int from, int to) {
    for (size_t i = 0; i < before; i++) {
        if (f->edges[i].from == from && f->edges[i].to == to) {
            return true;
        }
    }
    return false;
}

void nas__figure_merge(nas__figure *f, int node, int into) {
    size_t kept = 0;
    for (size_t i = 0; i < f->n_edges; i++) {
        nas__picture_edge e = f->edges[i];
        e.to = e.to == node ? into : e.to;
        if (e.from == node || has_edge(f, kept, e.from - (e.from > node), e.to - (e.to > node))) {
            free_edge(&e);
            continue;
        }
        e.from -= e.from > node;
        e.to -= e.to > node;
        f->edges[kept++] = e;
    }
    f->n_edges = kept;
    free_node(&f->nodes[node]);
    memmove(f->nodes + node, f->nodes + node + 1, (f->n_nodes - (size_t)node - 1) * sizeof *f->nodes);
    f->n_nodes--;
}

static void free_figure(nas__figure *f) {
    for (size_t i = 0; i < f->n_nodes; i++) {
        free_node(&f->nodes[i]);
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        free_edge(&f->edges[i]);
    }
    free(f->nodes);
    free(f->edges);
    free(f->title);
}

void nas_picture_free(nas_picture *p) {
    if (!p) {
        return;
    }
    for (size_t i = 0; i < p->n_figures; i++) {
        free_figure(&p->figures[i]);
    }
    for (size_t i = 0; i < p->n_colours; i++) {
        free(p->colours[i]);
    }
    free(p->figures);
    free(p->colours);
    free(p->title);
    free(p);
}
