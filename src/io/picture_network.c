/* picture_network.c - a whole network as a figure: the operations of a dry pass, joined to the modules that they belong
 * to. A block is the largest module around an operation that has one layer choice at most. */
#include "io/picture.h"

#include "core/error.h"
#include "core/memory.h"
#include "io/graph.h"
#include "nn/module.h"
#include "space/space.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTHING = -1, INSIDE = -2 };

/* A choice, where it stands. */
typedef struct place {
    char *path, *text; /* of its module; the chosen candidates */
    char *tail;        /* of a number or inputs: what its key ends in */
    int choice;
    bool layer, reached;
    bool silent; /* edges show it */
} place;

typedef struct drawing {
    nas_picture *picture;
    nas__figure *figure;
    place *places;
    size_t n_places;
    const nas__graph *g;
    int *block;        /* per value: the node that makes it, or NOTHING */
    char *open;        /* path of the block that the last node of the figure is, or NULL */
    size_t first, end; /* operations: all, or of what repeats the first */
} drawing;

/* --- the choices ------------------------------------------------------------------------------------------ */
static char *names_of(const nas_choice *c, uint64_t bits) {
    char text[512];
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < c->n && used < sizeof text; i++) {
        if (bits >> i & 1) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "," : "", c->names[i]);
        }
    }
    return nas__strdup(text);
}

static void collect_choices(drawing *d, const nas_architecture *a) {
    for (int i = 0; i < a->space->n_sites; i++) {
        const nas__site *s = &a->space->sites[i];
        const nas_mutable *m = s->mutable_;
        if (!m || m->repeat || !nas__grow(&d->places, d->n_places, sizeof *d->places)) {
            continue;
        }
        const nas_choice *c = nas_space_choice(a->space, s->choice);
        const char *slash = strrchr(c->key, '/');
        d->places[d->n_places++] = (place){.path = nas__strdup(nas_module_path(m->owner)),
                                           .text = names_of(c, nas_architecture_get(a, s->choice)),
                                           .tail = nas__strdup(slash ? slash + 1 : c->key),
                                           .choice = s->choice,
                                           .layer = c->kind == NAS_LAYER,
                                           .silent = c->kind == NAS_INPUT && strcmp(c->names[0], "0") != 0,
                                           .reached = nas_architecture_reaches(a, s->choice)};
    }
}

static bool is_below(const char *path, const char *top, size_t length) {
    return !strncmp(path, top, length) && (!path[length] || path[length] == '.' || path[length] == '/');
}

/* --- blocks ----------------------------------------------------------------------------------------------- */
/* The only layer choice at a path or below; NULL with *n other than 1. */
static const place *choice_below(const drawing *d, const char *path, size_t length, int *n) {
    const place *found = NULL;
    *n = 0;
    for (size_t i = 0; i < d->n_places; i++) {
        if (d->places[i].layer && is_below(d->places[i].path, path, length)) {
            found = &d->places[i];
            ++*n;
        }
    }
    return *n == 1 ? found : NULL;
}

/* Length of the block's path in that of an operation; 0: the operation is its own. */
static size_t block_length(const drawing *d, const char *path, const place **choice) {
    size_t length = 0;
    for (const char *at = path; *at; at += *at == '.') {
        int n;
        at += strcspn(at, ".");
        length = (size_t)(at - path);
        *choice = choice_below(d, path, length, &n);
        if (n <= 1) {
            return length;
        }
    }
    *choice = NULL;
    return 0;
}

/* "3" of "block_3"; NULL: it ends in no number. */
static const char *number_of(const char *name, size_t length) {
    size_t digits = 0;
    while (digits < length && isdigit((unsigned char)name[length - digits - 1])) {
        digits++;
    }
    return digits ? name + length - digits : NULL;
}

/* A number that the network itself chooses for a block: "channels_3" for "block_3". */
static bool is_for(const place *p, const char *path, size_t length) {
    const char *mine = number_of(path, length), *other = number_of(p->tail, strlen(p->tail));
    size_t digits = mine ? (size_t)(path + length - mine) : 0;
    return !*p->path && mine && other && strlen(other) == digits && !strncmp(mine, other, digits);
}

/* The candidate, and numbers that are chosen inside of a block: a line for each module. */
static char *label_of(const drawing *d, const char *path, size_t length, const place *choice) {
    char *label = choice && choice->reached ? nas__strdup(choice->text) : NULL;
    const char *last = choice ? choice->path : NULL;
    for (size_t i = 0; i < d->n_places; i++) {
        const place *p = &d->places[i];
        bool inside = *p->path ? is_below(p->path, path, length) : is_for(p, path, length);
        if (p->layer || p->silent || !p->reached || !inside) {
            continue;
        }
        int used = (int)(strcspn(p->tail, "0123456789") - (*p->path ? 0 : 1));
        char *longer = nas__format("%s%s%.*s %s", label ? label : "",
                                   !label                           ? ""
                                   : last && !strcmp(last, p->path) ? ", "
                                                                    : "\n",
                                   used, p->tail, p->text);
        last = p->path;
        free(label);
        label = longer;
    }
    return label;
}

static char *shape_of(const nas__graph_value *v) {
    return v->ndim == 4
               ? nas__format("%lldx%lldx%lld", (long long)v->dims[1], (long long)v->dims[2], (long long)v->dims[3])
           : v->ndim == 3 ? nas__format("%lldx%lld", (long long)v->dims[1], (long long)v->dims[2])
                          : nas__format("%lld", (long long)v->dims[1]);
}

static int add_block(drawing *d, const char *path, size_t length, const place *choice) {
    char *name = nas__format("%.*s", (int)length, path), *label = label_of(d, path, length, choice);
    int colour = choice && choice->reached ? nas__picture_colour(d->picture, choice->text) : NAS__NO_COLOUR;
    nas__picture_node *n = name ? nas__figure_node(d->figure, NAS__NODE_BLOCK, label ? label : name, colour) : NULL;
    free(d->open);
    d->open = name;
    if (n && label) {
        n->name = nas__strdup(name);
    }
    free(label);
    return (int)d->figure->n_nodes - 1;
}

static int add_operation(drawing *d, nas__op_kind kind) {
    bool sum = kind == NAS__OP_SUM;
    free(d->open);
    d->open = NULL;
    nas__figure_node(d->figure, sum ? NAS__NODE_SUM : NAS__NODE_BLOCK, sum ? "+" : nas__op_name(kind), NAS__NO_COLOUR);
    return (int)d->figure->n_nodes - 1;
}

static void connect(drawing *d, int from, int to) {
    for (size_t i = 0; i < d->figure->n_edges; i++) {
        if (d->figure->edges[i].from == from && d->figure->edges[i].to == to) {
            return;
        }
    }
    if (from != to && from >= 0) {
        nas__figure_edge(d->figure, from, to, NULL, NAS__NO_COLOUR);
    }
}

/* --- operations ------------------------------------------------------------------------------------------- */
/* Of an operation's module. */
static size_t path_length(const nas__graph_node *n) {
    const char *end = strrchr(n->name, '/');
    return end ? (size_t)(end - n->name) : 0;
}

/* Length of the part of the network, a child of its root, that a path leads into. */
static size_t part_of(const char *path) { return strcspn(path, "./"); }

/* Is the operation in a part with choices that is not that one? */
static bool is_in_other(const drawing *d, const nas__graph_node *n, const char *part) {
    size_t length = part_of(n->name);
    bool choices = false;
    for (size_t i = 0; i < d->n_places && !choices; i++) {
        const char *path = d->places[i].path;
        choices = d->places[i].layer && part_of(path) == length && !strncmp(path, n->name, length);
    }
    return choices && (part_of(part) != length || strncmp(part, n->name, length) != 0);
}

/* Where the same choices stand in several parts, the first of these shows all: what is computed from where it begins to
 * where the next one does. */
static void find_repeated(drawing *d) {
    const char *part = NULL;
    for (size_t i = 0; i < d->n_places && !part; i++) {
        const place *p = &d->places[i];
        for (size_t k = i + 1; p->layer && k < d->n_places && !part; k++) {
            const place *o = &d->places[k];
            bool same = part_of(o->path) == part_of(p->path) && !strncmp(o->path, p->path, part_of(p->path));
            part = o->choice == p->choice && !same ? p->path : NULL;
        }
    }
    d->end = d->g->n_nodes;
    while (part && d->first < d->end && !is_below(d->g->nodes[d->first].name, part, part_of(part))) {
        d->first++;
    }
    for (size_t i = d->first; part && i < d->end; i++) {
        d->end = is_in_other(d, &d->g->nodes[i], part) ? i : d->end;
    }
}

/* What comes from outside: the network's input, or, of a part that repeats, what others have made, named by them. */
static void draw_inputs(drawing *d) {
    const nas__graph *g = d->g;
    for (size_t i = d->first; i < d->end; i++) {
        d->block[g->nodes[i].output] = INSIDE;
    }
    for (size_t i = d->first; i < d->end && !nas_error_status(); i++) {
        for (int k = 0; k < g->nodes[i].n_inputs; k++) {
            int value = g->nodes[i].inputs[k];
            if (value < 0 || d->block[value] != NOTHING || g->values[value].constant || g->values[value].zero) {
                continue;
            }
            char *name = nas__format("%.*s", (int)strcspn(g->values[value].name, "./"), g->values[value].name);
            nas__picture_node *n = nas__figure_node(d->figure, NAS__NODE_VALUE, name, NAS__NO_COLOUR);
            d->block[value] = (int)d->figure->n_nodes - 1;
            if (n) {
                n->shape = shape_of(&g->values[value]);
            }
            free(name);
        }
    }
}

static int block_of(drawing *d, const nas__graph_node *n, const char *path) {
    const place *choice = NULL;
    size_t length = block_length(d, path, &choice);
    if (length && d->open && strlen(d->open) == length && !strncmp(d->open, path, length)) {
        return (int)d->figure->n_nodes - 1;
    }
    return length ? add_block(d, path, length, choice) : add_operation(d, n->kind);
}

static void draw_operation(drawing *d, const nas__graph_node *n) {
    size_t length = path_length(n);
    char *path = nas__format("%.*s", (int)length, n->name);
    if (!length && n->kind == NAS__OP_RESHAPE) {
        d->block[n->output] = d->block[n->inputs[0]];
    } else if (path) {
        int to = block_of(d, n, path);
        for (int k = 0; k < n->n_inputs && !nas_error_status(); k++) {
            connect(d, n->inputs[k] < 0 ? NOTHING : d->block[n->inputs[k]], to);
        }
        d->block[n->output] = to;
        if (!nas_error_status()) {
            free(d->figure->nodes[to].shape);
            d->figure->nodes[to].shape = shape_of(&d->g->values[n->output]);
        }
    }
    free(path);
}

/* A shape is written where it changes. */
static void thin_shapes(nas__figure *f) {
    char *last = NULL;
    for (size_t i = 0; i < f->n_nodes; i++) {
        bool again = last && f->nodes[i].shape && !strcmp(last, f->nodes[i].shape);
        if (again || f->nodes[i].form == NAS__NODE_SUM) {
            free(f->nodes[i].shape);
            f->nodes[i].shape = NULL;
        }
        last = f->nodes[i].shape ? f->nodes[i].shape : last;
    }
}

/* A sum that one block alone reads is drawn as what the block reads. */
static void join_sums(nas__figure *f) {
    for (size_t i = f->n_nodes; i-- > 0;) {
        int reader = NOTHING, n_readers = 0;
        for (size_t e = 0; e < f->n_edges; e++) {
            reader = f->edges[e].from == (int)i ? f->edges[e].to : reader;
            n_readers += f->edges[e].from == (int)i;
        }
        if (f->nodes[i].form == NAS__NODE_SUM && n_readers == 1) {
            nas__figure_merge(f, (int)i, reader);
        }
    }
}

static void draw_graph(drawing *d) {
    d->figure = nas__picture_figure(d->picture, NULL, false);
    for (size_t i = 0; i < d->g->n_values; i++) {
        d->block[i] = NOTHING;
    }
    if (d->figure) {
        draw_inputs(d);
    }
    for (size_t i = d->first; d->figure && i < d->end && !nas_error_status(); i++) {
        draw_operation(d, &d->g->nodes[i]);
    }
    if (d->figure && !nas_error_status()) {
        join_sums(d->figure);
        thin_shapes(d->figure);
    }
}

nas_status nas__picture_network(nas_picture *p, nas_space *space, const nas_architecture *a,
                                const nas_export_config *config) {
    drawing d = {.picture = p};
    collect_choices(&d, a);
    nas_status status = nas_error_status();
    nas_module *model = space->model;
    status = status ? status : nas__fix(space, a);
    nas__graph *g = status ? NULL : nas__graph_new(model, config->ndim, config->dims);
    d.g = g;
    d.block = g ? nas__alloc(g->n_values * sizeof *d.block) : NULL;
    if (d.block) {
        find_repeated(&d);
        draw_graph(&d);
    }
    for (size_t i = 0; i < d.n_places; i++) {
        free(d.places[i].path);
        free(d.places[i].text);
        free(d.places[i].tail);
    }
    free(d.places);
    free(d.block);
    free(d.open);
    nas__graph_free(g);
    return nas_error_status();
}
