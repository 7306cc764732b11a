/* picture_layout.c - a layered layout (Sugiyama, Tagawa and Toda 1981): each node in a layer behind all that it reads;
 * the order within layers from means of neighbours, with the fewest crossings that were seen; then places as near to
 * those of the neighbours as the order and the sizes allow (least squares). Labels of edges and the layers that long
 * edges pass are items of layers, too. */
#include "io/picture.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 24, PLACINGS = 40, NONE = -1 };
static const double between = 14, layer_gap = 22, block_height = 30, text_line = 14, pill_height = 20, margin = 12;

/* Of a layer: a node, the label of an edge (edge and at), or what an edge passes. */
typedef struct item {
    int node, edge, layer;
    double length, extent, at; /* along the layers' direction, within the layer; its centre there */
    double mean;               /* what it is sorted by */
} item;

typedef struct link {
    int from, to; /* items of neighbouring layers */
} link;

typedef struct layout {
    nas__figure *f;
    item *items;
    link *links;
    size_t n_items, n_links;
    int n_layers, *start, *order, *best; /* items of layer l: order[start[l] .. start[l + 1] - 1] */
    int *position;                       /* of an item in its layer */
    double *weight_sum, *sum;
} layout;

int nas__text_lines(const char *text) {
    int n = 1;
    for (; text && *text; text++) {
        n += *text == '\n';
    }
    return n;
}

double nas__text_width(const char *text) {
    size_t longest = 0;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        longest = strcspn(line, "\n") > longest ? strcspn(line, "\n") : longest;
    }
    return 6.6 * (double)longest;
}

char *nas__node_note(const nas__figure *f, const nas__picture_node *n) {
    bool both = n->name && n->shape;
    return f->column || f->across || n->form != NAS__NODE_BLOCK || (!n->name && !n->shape)
               ? NULL
               : nas__format("%s%s%s", n->name ? n->name : "", both ? ", " : "", n->shape ? n->shape : "");
}

/* --- sizes and layers ------------------------------------------------------------------------------------- */
static void size_node(const nas__figure *f, nas__picture_node *n) {
    char *note = nas__node_note(f, n);
    double text = nas__text_width(n->label) + 0.7 * nas__text_width(n->sub);
    text = fmax(text, 0.85 * nas__text_width(note));
    n->height = block_height + text_line * (nas__text_lines(n->label) - 1 + (note != NULL));
    n->width = n->form == NAS__NODE_BLOCK ? fmax(text + 24, 84) : n->form == NAS__NODE_SUM ? 20 : fmax(text + 14, 32);
    n->height = n->form == NAS__NODE_SUM ? 20 : n->height;
    free(note);
}

/* What it takes of its layer, with the texts beside it. */
static double full_width(const nas__figure *f, const nas__picture_node *n) {
    double side = f->column ? fmax(nas__text_width(n->name), nas__text_width(n->shape)) : 0;
    return n->width + (side > 0 ? 2 * (side + 6) : 0);
}

static int add_item(layout *l, int node, int edge, int layer, double length, double extent) {
    if (!nas__grow(&l->items, l->n_items, sizeof *l->items)) {
        return NONE;
    }
    l->items[l->n_items] = (item){.node = node, .edge = edge, .layer = layer, .length = length, .extent = extent};
    l->n_layers = layer + 1 > l->n_layers ? layer + 1 : l->n_layers;
    return (int)l->n_items++;
}

static void add_link(layout *l, int from, int to) {
    if (nas__grow(&l->links, l->n_links, sizeof *l->links)) {
        l->links[l->n_links++] = (link){from, to};
    }
}

/* The node's longest way from what reads nothing. */
static int earliest(const layout *l, int node, int step) {
    int layer = 0;
    for (size_t e = 0; e < l->f->n_edges; e++) {
        int before = l->f->edges[e].to == node ? l->items[l->f->edges[e].from].layer + step : 0;
        layer = before > layer ? before : layer;
    }
    return layer;
}

/* What more read than it reads stands before its first reader: shorter edges. */
static void sink_nodes(layout *l, int step) {
    for (size_t i = l->f->n_nodes; i-- > 0;) {
        int reads = 0, readers = 0, first = l->n_layers;
        for (size_t e = 0; e < l->f->n_edges; e++) {
            const nas__picture_edge *edge = &l->f->edges[e];
            reads += edge->to == (int)i;
            readers += edge->from == (int)i;
            first = edge->from == (int)i && l->items[edge->to].layer < first ? l->items[edge->to].layer : first;
        }
        if (reads && readers >= reads) {
            l->items[i].layer = first - step;
        }
    }
}

static void layer_nodes(layout *l, int step) {
    nas__figure *f = l->f;
    for (size_t i = 0; i < f->n_nodes; i++) {
        add_item(l, (int)i, NONE, earliest(l, (int)i, step), 0, 0);
    }
    if (nas_error_status()) {
        return;
    }
    f->column = !f->across && l->n_layers == (int)f->n_nodes;
    sink_nodes(l, step);
    for (size_t i = 0; i < f->n_nodes; i++) {
        nas__picture_node *n = &f->nodes[i];
        size_node(f, n);
        l->items[i].length = f->across ? n->width : n->height;
        l->items[i].extent = f->across ? n->height : full_width(f, n);
    }
}

/* The layer, of those that the edge passes and nodes are not in, that has the fewest labels yet. */
static int label_layer(int *labels, int from, int to) {
    int best = from + 1;
    for (int k = from + 1; k < to; k += 2) {
        best = labels[k] < labels[best] ? k : best;
    }
    labels[best]++;
    return best;
}

static nas_status pass_edges(layout *l, int step) {
    nas__figure *f = l->f;
    int *labels = nas__alloc(((size_t)l->n_layers + 1) * sizeof *labels);
    for (size_t i = 0; labels && i < f->n_edges && !nas_error_status(); i++) {
        nas__picture_edge *e = &f->edges[i];
        int from = l->items[e->from].layer, to = l->items[e->to].layer, last = e->from;
        int at = e->label && step == 2 ? label_layer(labels, from, to) : NONE;
        e->n_points = to - from + 1;
        e->at = at == NONE ? NONE : at - from;
        e->width = nas__text_width(e->label) + 12;
        e->height = pill_height;
        for (int k = from + 1; k < to; k++) {
            double length = k == at ? f->across ? e->width : e->height : 0;
            double extent = k == at ? f->across ? e->height : e->width : 4;
            int next = add_item(l, NONE, (int)i, k, length, extent);
            add_link(l, last, next);
            last = next;
        }
        add_link(l, last, e->to);
    }
    free(labels);
    return nas_error_status();
}

/* --- order ------------------------------------------------------------------------------------------------ */
static nas_status open_layers(layout *l) {
    size_t n = l->n_items + 1;
    l->start = nas__alloc(((size_t)l->n_layers + 1) * sizeof *l->start);
    l->order = nas__alloc(n * sizeof *l->order);
    l->best = nas__alloc(n * sizeof *l->best);
    l->position = nas__alloc(n * sizeof *l->position);
    l->sum = nas__alloc(n * sizeof *l->sum);
    l->weight_sum = nas__alloc(n * sizeof *l->weight_sum);
    int at = 0;
    for (int k = 0; !nas_error_status() && k < l->n_layers; k++) {
        l->start[k] = at;
        for (size_t i = 0; i < l->n_items; i++) {
            if (l->items[i].layer == k) {
                l->order[at++] = (int)i;
            }
        }
        l->start[k + 1] = at;
    }
    return nas_error_status();
}

static void number_positions(layout *l) {
    for (int k = 0; k < l->n_layers; k++) {
        for (int i = l->start[k]; i < l->start[k + 1]; i++) {
            l->position[l->order[i]] = i - l->start[k];
        }
    }
}

static long crossings(const layout *l) {
    long n = 0;
    for (size_t i = 0; i < l->n_links; i++) {
        const link *a = &l->links[i];
        for (size_t k = 0; k < i; k++) {
            const link *b = &l->links[k];
            if (l->items[a->from].layer == l->items[b->from].layer) {
                int from = l->position[a->from] - l->position[b->from], to = l->position[a->to] - l->position[b->to];
                n += (from < 0 && to > 0) || (from > 0 && to < 0);
            }
        }
    }
    return n;
}

static void sum_neighbours(layout *l, bool earlier, bool later, double (*value)(const layout *l, int item)) {
    for (size_t i = 0; i < l->n_items; i++) {
        l->sum[i] = l->weight_sum[i] = 0;
    }
    for (size_t i = 0; i < l->n_links; i++) {
        const link *k = &l->links[i];
        if (earlier) {
            l->sum[k->to] += value(l, k->from);
            l->weight_sum[k->to]++;
        }
        if (later) {
            l->sum[k->from] += value(l, k->to);
            l->weight_sum[k->from]++;
        }
    }
}

static double position_of(const layout *l, int i) { return l->position[i]; }
static double place_of(const layout *l, int i) { return l->items[i].at; }

static void sort_layer(layout *l, int layer) {
    int *order = l->order + l->start[layer], n = l->start[layer + 1] - l->start[layer];
    for (int i = 0; i < n; i++) {
        int k = order[i];
        l->items[k].mean = l->weight_sum[k] > 0 ? l->sum[k] / l->weight_sum[k] : l->position[k];
    }
    for (int i = 1; i < n; i++) { /* equal ones stay as they are */
        int moved = order[i], k = i;
        for (; k > 0 && l->items[order[k - 1]].mean > l->items[moved].mean; k--) {
            order[k] = order[k - 1];
        }
        order[k] = moved;
    }
    for (int i = 0; i < n; i++) {
        l->position[order[i]] = i;
    }
}

static void order_layers(layout *l) {
    number_positions(l);
    long fewest = crossings(l);
    memcpy(l->best, l->order, l->n_items * sizeof *l->best);
    for (int sweep = 0; sweep < SWEEPS && fewest; sweep++) {
        bool down = sweep % 2 == 0;
        for (int i = 0; i < l->n_layers; i++) {
            sum_neighbours(l, down, !down, position_of);
            sort_layer(l, down ? i : l->n_layers - 1 - i);
        }
        long now = crossings(l);
        if (now < fewest) {
            fewest = now;
            memcpy(l->best, l->order, l->n_items * sizeof *l->best);
        }
    }
    memcpy(l->order, l->best, l->n_items * sizeof *l->best);
    number_positions(l);
}

/* --- places ----------------------------------------------------------------------------------------------- */
/* The places of a layer's items nearest to `mean` that keep their order and distances: blocks of touching items are at
 * the mean of what they want (pool adjacent violators). weight_sum and sum serve as memory. */
static void settle(layout *l, int layer) {
    int *order = l->order + l->start[layer], n = l->start[layer + 1] - l->start[layer], n_blocks = 0;
    double offset = 0, *wanted = l->sum, *count = l->weight_sum; /* of blocks */
    for (int i = 0; i < n; i++) {
        item *it = &l->items[order[i]];
        offset += i ? (l->items[order[i - 1]].extent + it->extent) / 2 + between : 0;
        it->at = offset;
        wanted[n_blocks] = it->mean - offset;
        count[n_blocks++] = 1;
        while (n_blocks > 1 && wanted[n_blocks - 2] > wanted[n_blocks - 1]) {
            int a = n_blocks - 2, b = n_blocks - 1;
            wanted[a] = (wanted[a] * count[a] + wanted[b] * count[b]) / (count[a] + count[b]);
            count[a] += count[b];
            n_blocks--;
        }
    }
    for (int i = 0, b = 0, used = 0; i < n; i++) {
        l->items[order[i]].at += wanted[b];
        if (++used == (int)count[b]) {
            b++;
            used = 0;
        }
    }
}

static void place_items(layout *l) {
    for (int round = 0; round < PLACINGS; round++) {
        bool down = round % 2 == 0, both = round >= PLACINGS - 6;
        for (int i = 0; i < l->n_layers; i++) {
            int layer = down ? i : l->n_layers - 1 - i;
            sum_neighbours(l, down || both, !down || both, place_of);
            for (int k = l->start[layer]; k < l->start[layer + 1]; k++) {
                item *it = &l->items[l->order[k]];
                double n = l->weight_sum[l->order[k]];
                it->mean = n > 0 ? l->sum[l->order[k]] / n : it->at;
            }
            settle(l, layer);
        }
    }
}

/* --- the figure ------------------------------------------------------------------------------------------- */
static void put(nas__figure *f, double along, double within, double *x, double *y) {
    *x = f->across ? along : within;
    *y = f->across ? within : along;
}

static void write_place(layout *l, const item *it, double along, double half, int *seen) {
    nas__figure *f = l->f;
    if (it->node != NONE) {
        put(f, along, it->at, &f->nodes[it->node].x, &f->nodes[it->node].y);
    } else {
        nas__picture_edge *e = &f->edges[it->edge];
        int k = ++seen[it->edge];
        put(f, along, it->at, &e->line[k][0], &e->line[k][1]);
        e->line[k][2] = half;
    }
}

static void join_ends(nas__figure *f) {
    for (size_t i = 0; i < f->n_edges; i++) {
        nas__picture_edge *e = &f->edges[i];
        const nas__picture_node *from = &f->nodes[e->from], *to = &f->nodes[e->to];
        double(*last)[3] = e->line + e->n_points - 1;
        e->line[0][0] = from->x + (f->across ? from->width / 2 : 0);
        e->line[0][1] = from->y + (f->across ? 0 : from->height / 2);
        (*last)[0] = to->x - (f->across ? to->width / 2 : 0);
        (*last)[1] = to->y - (f->across ? 0 : to->height / 2);
    }
}

static nas_status write_places(layout *l) {
    nas__figure *f = l->f;
    double along = margin, least = INFINITY, most = -INFINITY;
    int *seen = nas__alloc((f->n_edges + 1) * sizeof *seen);
    for (size_t i = 0; i < f->n_edges; i++) {
        f->edges[i].line = nas__alloc(((size_t)f->edges[i].n_points + 1) * sizeof *f->edges[i].line);
    }
    for (size_t i = 0; i < l->n_items; i++) {
        least = fmin(least, l->items[i].at - l->items[i].extent / 2);
        most = fmax(most, l->items[i].at + l->items[i].extent / 2);
    }
    for (int k = 0; k < l->n_layers && !nas_error_status(); k++) {
        double length = 0;
        for (int i = l->start[k]; i < l->start[k + 1]; i++) {
            length = fmax(length, l->items[l->order[i]].length);
        }
        for (int i = l->start[k]; i < l->start[k + 1]; i++) {
            l->items[l->order[i]].at += margin - least;
            write_place(l, &l->items[l->order[i]], along + length / 2, length / 2, seen);
        }
        along += length + layer_gap;
    }
    free(seen);
    if (!nas_error_status()) {
        join_ends(f);
        put(f, along - layer_gap + margin, most - least + 2 * margin, &f->width, &f->height);
    }
    return nas_error_status();
}

nas_status nas__figure_layout(nas__figure *f) {
    layout l = {.f = f};
    int step = 1;
    for (size_t i = 0; i < f->n_edges; i++) {
        step = f->edges[i].label ? 2 : step;
    }
    layer_nodes(&l, step);
    nas_status status = f->n_nodes ? pass_edges(&l, step) : nas_error_status();
    status = status ? status : open_layers(&l);
    if (!status && l.n_items) {
        order_layers(&l);
        place_items(&l);
        status = write_places(&l);
    }
    free(l.items);
    free(l.links);
    free(l.start);
    free(l.order);
    free(l.best);
    free(l.position);
    free(l.sum);
    free(l.weight_sum);
    return status;
}
