/* picture_dot.c - pictures in the language of Graphviz, which lays them out itself. */
#include "io/picture.h"

#include "core/error.h"
#include "core/file.h"

#include <stdio.h>

/* A quoted text, in which a quote and a backslash are escaped. */
static void write_quoted(FILE *out, const char *text, const char *sub) {
    fputc('"', out);
    for (int part = 0; part < 2; part++) {
        const char *at = part ? sub : text;
        if (part && sub) {
            fputc('_', out);
        }
        for (; at && *at; at++) {
            if (*at == '"' || *at == '\\') {
                fputc('\\', out);
            }
            if (*at == '\n') {
                fputs("\\n", out);
            } else {
                fputc((unsigned char)*at < ' ' ? ' ' : *at, out);
            }
        }
    }
    fputc('"', out);
}

static void write_node(FILE *out, size_t figure, size_t i, const nas__picture_node *n) {
    static const char *const forms[] = {"box", "ellipse", "circle"};
    fprintf(out, "    n%zu_%zu [shape=%s, label=", figure, i, forms[n->form]);
    write_quoted(out, n->label, n->sub);
    if (n->name || n->shape) {
        fputs(", tooltip=", out);
        write_quoted(out, n->name ? n->name : n->shape, NULL);
    }
    fputs("];\n", out);
}

static void write_edge(FILE *out, size_t figure, const nas__picture_edge *e) {
    fprintf(out, "    n%zu_%d -> n%zu_%d", figure, e->from, figure, e->to);
    if (e->label) {
        fputs(" [label=", out);
        write_quoted(out, e->label, NULL);
        fputs(e->faint ? ", style=dashed]" : "]", out);
    }
    fputs(";\n", out);
}

static void write_figure(FILE *out, size_t index, const nas__figure *f) {
    fprintf(out, "  subgraph cluster_%zu {\n    label=", index);
    write_quoted(out, f->title, NULL);
    fputs(";\n", out);
    for (size_t i = 0; i < f->n_nodes; i++) {
        write_node(out, index, i, &f->nodes[i]);
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        write_edge(out, index, &f->edges[i]);
    }
    fputs("  }\n", out);
}

nas_status nas_picture_dot(const nas_picture *p, const char *path) {
    nas__atomic_file file;
    if (nas__atomic_open(&file, path)) {
        return nas_error_status();
    }
    FILE *out = file.stream;
    fputs("digraph ", out);
    write_quoted(out, p->title ? p->title : "network", NULL);
    fprintf(out, " {\n  rankdir=%s;\n  node [fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\"];\n",
            p->n_figures && p->figures[0].across ? "LR" : "TB");
    for (size_t i = 0; i < p->n_figures; i++) {
        write_figure(out, i, &p->figures[i]);
    }
    fputs("}\n", out);
    return nas__atomic_commit(&file);
}
