/* picture.h - what drawings show of a network: figures of nodes and edges, and where a layered layout puts them. */
#ifndef IO_PICTURE_H
#define IO_PICTURE_H

#include <espalier/io.h>
#include <espalier/space.h>

typedef enum nas__node_form { NAS__NODE_BLOCK, NAS__NODE_VALUE, NAS__NODE_SUM } nas__node_form;
enum { NAS__NO_COLOUR = -1 }; /* no colour */

/* A node, or (of the layout alone) the label of an edge, or a place where a long edge passes a layer. */
typedef struct nas__picture_node {
    char *label, *sub;  /* lines; sub: a subscript, or NULL */
    char *name, *shape; /* small; NULL: none */
    nas__node_form form;
    int colour; /* which of the candidates, or NAS__NO_COLOUR */
    double x, y, width, height;
} nas__picture_node;

typedef struct nas__picture_edge {
    int from, to;
    char *label; /* NULL: none */
    int colour;
    bool faint;        /* it hands nothing on */
    double (*line)[3]; /* of the layout: from, what it passes, to: x, y, and how far to both sides it goes straight */
    int n_points, at;  /* the point that is its label's centre; -1: none */
    double width, height;
} nas__picture_edge;

typedef struct nas__figure {
    char *title; /* NULL: none */
    bool across; /* from left to right, not from the top down */
    bool column; /* one below the other: names and shapes stand beside */
    nas__picture_node *nodes;
    nas__picture_edge *edges; /* from nodes to later ones */
    size_t n_nodes, n_edges;
    double width, height;
} nas__figure;

struct nas_picture {
    char *title, **colours; /* the candidate of each colour */
    nas__figure *figures;
    size_t n_figures, n_colours;
};

/* Adding: copies of the texts; NULL or -1 and an error when memory is out. A node keeps its address until the next. */
nas__figure *nas__picture_figure(nas_picture *p, const char *title, bool across);
nas__picture_node *nas__figure_node(nas__figure *f, nas__node_form form, const char *label, int colour);
nas__picture_edge *nas__figure_edge(nas__figure *f, int from, int to, const char *label, int colour);
/* A node goes; what it read another one, behind it, reads. */
void nas__figure_merge(nas__figure *f, int node, int into);
/* The colour of a candidate: the same name, the same colour. */
int nas__picture_colour(nas_picture *p, const char *candidate);

/* One figure for each kind of cell of nas_cell() in the space's model; none: it has no such cells. */
nas_status nas__picture_cells(nas_picture *p, const nas_architecture *a);
/* The whole network: what each module does, in the order in which it is computed. The space's model is fixed by this.
 */
nas_status nas__picture_network(nas_picture *p, nas_space *space, const nas_architecture *a,
                                const nas_export_config *config);

double nas__text_width(const char *text); /* of a drawing: of its longest line */
int nas__text_lines(const char *text);
/* What stands below a node's label outside of columns (new, free()), or NULL. */
char *nas__node_note(const nas__figure *f, const nas__picture_node *n);
nas_status nas__figure_layout(nas__figure *f);

#endif
