/* graph.h - the drawing of a space for the page: stages, nodes and edges. */
#ifndef RUN_GRAPH_H
#define RUN_GRAPH_H

#include "run/run_private.h"

/* Adds the rows of stage, node and edge. What precedes the first '/' of a key is its stage. In it, a layer choice whose
 * key ends in "edge_TO_FROM" is the edge between these two nodes; an input choice whose candidates are such edges is
 * drawn by them; any other is a node, reached from the one before it (an input choice: from the nodes that its
 * candidates are named after). */
void nas__graph_rows(nas__rows *rows, const nas_space *space);

#endif
