/* picture_cells.c - cells of nas_cell() as figures: values are nodes, the operations on them labelled edges. */
#include "io/picture.h"

#include "core/error.h"
#include "core/memory.h"
#include "nn/module.h"
#include "space/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KINDS = 64 };

typedef struct drawing {
    nas_picture *picture;
    const nas_architecture *a;
    nas__cell_view cell;
    nas__figure *figure;
    char prefix[64]; /* of the cell's keys, with its '/' */
    uint64_t read;   /* values that operations read */
    char done[MOST_KINDS][64];
    int n_done;
} drawing;

/* What stands behind the cell's prefix in a key; NULL: that is another cell's. */
static const char *tail_of(const drawing *d, const char *key) {
    size_t n = strlen(d->prefix);
    const char *slash = strchr(key, '/');
    bool mine = n ? !strncmp(key, d->prefix, n) : !slash;
    return mine ? key + n : NULL;
}

static int chosen(const drawing *d, int choice) {
    uint64_t bits = nas_architecture_get(d->a, choice);
    return bits ? __builtin_ctzll(bits) : 0;
}

static bool ends(const char *text, int used) { return used > 0 && !text[used]; }

/* "edge_2_0", and "op_2_0" with the value that "input_2_0" takes. */
static bool read_operation(const drawing *d, const char *tail, int *to, int *from) {
    int used = 0, slot;
    if (sscanf(tail, "edge_%9d_%9d%n", to, from, &used) == 2 && ends(tail, used)) {
        return true;
    }
    used = 0;
    if (sscanf(tail, "op_%9d_%9d%n", to, &slot, &used) != 2 || !ends(tail, used)) {
        return false;
    }
    char key[96];
    snprintf(key, sizeof key, "%sinput_%d_%d", d->prefix, *to, slot);
    int input = nas_space_find(d->a->space, key);
    *from = input < 0 ? -1 : chosen(d, input);
    return input >= 0;
}

static void draw_operation(drawing *d, int choice) {
    const nas_choice *c = nas_space_choice(d->a->space, choice);
    const char *tail = c->kind == NAS_LAYER ? tail_of(d, c->key) : NULL;
    int to, from, k = chosen(d, choice), n = d->cell.n_inputs + d->cell.n_nodes;
    if (!tail || !read_operation(d, tail, &to, &from) || to < d->cell.n_inputs || to >= n || from < 0 || from >= to ||
        !nas_architecture_reaches(d->a, choice)) {
        return;
    }
    bool zero = d->cell.zeros >> k & 1, plain = zero || (d->cell.identities >> k & 1);
    nas__picture_edge *e = nas__figure_edge(d->figure, from, to, c->names[k],
                                            plain ? NAS__NO_COLOUR : nas__picture_colour(d->picture, c->names[k]));
    if (e) {
        e->faint = zero;
    }
    d->read |= (uint64_t)1 << from;
}

static void draw_values(drawing *d) {
    int inputs = d->cell.n_inputs, n = inputs + d->cell.n_nodes;
    char text[16];
    for (int i = 0; i < n; i++) {
        bool last = i == n - 1 && d->cell.merge == NAS_CELL_LAST;
        snprintf(text, sizeof text, i < inputs || last ? "c" : "%d", i);
        nas__picture_node *node = nas__figure_node(d->figure, NAS__NODE_VALUE, text, NAS__NO_COLOUR);
        if (node && i < inputs) {
            node->sub = nas__format("k-%d", inputs - i);
        } else if (node && last) {
            node->sub = nas__strdup("k");
        }
    }
}

/* The cell's output, from what it hands on. */
static void draw_output(drawing *d) {
    int inputs = d->cell.n_inputs, n = inputs + d->cell.n_nodes;
    uint64_t given = nas__all_bits(n) & ~nas__all_bits(inputs);
    switch (d->cell.merge) {
    case NAS_CELL_LAST:
        return;
    case NAS_CELL_LOOSE_ENDS:
        given &= ~d->read;
        break;
    case NAS_CELL_UNREAD:
        given = nas__all_bits(n) & ~d->read;
        break;
    default:
        break;
    }
    nas__picture_node *node = nas__figure_node(d->figure, NAS__NODE_VALUE, "c", NAS__NO_COLOUR);
    if (node) {
        node->sub = nas__strdup("k");
        node->name = nas__strdup(d->cell.merge == NAS_CELL_SUM ? "sum" : "concat");
    }
    for (int i = 0; i < n; i++) {
        if (given >> i & 1) {
            nas__figure_edge(d->figure, i, n, NULL, NAS__NO_COLOUR);
        }
    }
}

/* One figure for all cells with these keys. */
static bool is_known(const drawing *d) {
    for (int i = 0; i < d->n_done; i++) {
        if (!strcmp(d->done[i], d->prefix)) {
            return true;
        }
    }
    return d->n_done == MOST_KINDS;
}

static nas_status draw_cell(nas_module *module, void *user) {
    drawing *d = user;
    if (!nas__cell_view_of(module, &d->cell)) {
        return NAS_OK;
    }
    const char *slash = strchr(d->cell.key, '/');
    snprintf(d->prefix, sizeof d->prefix, "%.*s", slash ? (int)(slash - d->cell.key) + 1 : 0, d->cell.key);
    if (is_known(d)) {
        return NAS_OK;
    }
    memcpy(d->done[d->n_done++], d->prefix, sizeof d->prefix);
    d->read = 0;
    char title[64];
    snprintf(title, sizeof title, "%.*s cell", (int)strcspn(d->prefix, "/"), d->prefix);
    d->figure = nas__picture_figure(d->picture, *d->prefix ? title : NULL, true);
    if (d->figure) {
        draw_values(d);
        for (int i = 0; i < nas_space_size(d->a->space); i++) {
            draw_operation(d, i);
        }
        draw_output(d);
    }
    return nas_error_status();
}

nas_status nas__picture_cells(nas_picture *p, const nas_architecture *a) {
    drawing d = {.picture = p, .a = a};
    return nas__module_walk(a->space->model, draw_cell, &d);
}
