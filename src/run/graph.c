/* graph.c - see graph.h */
#include "run/graph.h"
#include "core/error.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct stage {
    const char *name; /* not terminated */
    size_t length;
    int last; /* node that the next one is reached from; 0: none yet */
} stage;

typedef struct node {
    int stage;
    char label[64];
} node;

typedef struct graph {
    nas__rows *rows;
    stage *stages; /* id - 1 is the index, as for nodes */
    node *nodes;
    size_t n_stages, n_nodes;
    int n_edges;
} graph;

static int stage_of(graph *g, const char *key) {
    const char *slash = strchr(key, '/');
    const char *name = slash ? key : "network";
    size_t length = slash ? (size_t)(slash - key) : strlen(name);
    for (size_t i = 0; i < g->n_stages; i++) {
        if (g->stages[i].length == length && !memcmp(g->stages[i].name, name, length)) {
            return (int)i + 1;
        }
    }
    if (!nas__grow(&g->stages, g->n_stages, sizeof *g->stages)) {
        return 0;
    }
    g->stages[g->n_stages++] = (stage){name, length, 0};
    NAS__ROW(g->rows, NAS__SQL_STAGE, false, nas__int((int64_t)g->n_stages), nas__null_value(),
             (nas__value){.type = SQLITE_TEXT, .data = name, .size = length}, nas__int(1));
    return (int)g->n_stages;
}

static int node_of(graph *g, int in_stage, const char *label, const char *kind) {
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].stage == in_stage && !strncmp(g->nodes[i].label, label, sizeof g->nodes[i].label - 1)) {
            return (int)i + 1;
        }
    }
    if (!nas__grow(&g->nodes, g->n_nodes, sizeof *g->nodes)) {
        return 0;
    }
    node *n = &g->nodes[g->n_nodes++];
    n->stage = in_stage;
    snprintf(n->label, sizeof n->label, "%s", label);
    NAS__ROW(g->rows, NAS__SQL_NODE, false, nas__int((int64_t)g->n_nodes), nas__int(in_stage), nas__text(label),
             nas__text(kind));
    return (int)g->n_nodes;
}

static void add_edge(graph *g, int in_stage, int source, int target, int choice, nas__value candidate) {
    NAS__ROW(g->rows, NAS__SQL_EDGE, false, nas__int(++g->n_edges), nas__int(in_stage), nas__int(source),
             nas__int(target), nas__int(choice + 1), candidate);
}

/* Key behind its stage. */
static const char *tail_of(const char *key) {
    const char *slash = strchr(key, '/');
    return slash ? slash + 1 : key;
}

static bool edge_of_key(const char *key, int *target, int *source) {
    const char *slash = strrchr(key, '/');
    int used = 0;
    const char *name = slash ? slash + 1 : key;
    return sscanf(name, "edge_%9d_%9d%n", target, source, &used) == 2 && used && !name[used];
}

static int numbered_node(graph *g, int in_stage, int number) {
    char label[16];
    snprintf(label, sizeof label, "%d", number);
    return node_of(g, in_stage, label, "node");
}

static void draw_choice(graph *g, const nas_space *space, int i) {
    const nas_choice *c = nas_space_choice(space, i);
    int in = stage_of(g, c->key), target, source;
    if (!in || c->edges) {
        return;
    }
    if (c->kind == NAS_LAYER && edge_of_key(c->key, &target, &source)) {
        int from = numbered_node(g, in, source);
        add_edge(g, in, from, numbered_node(g, in, target), i, nas__null_value());
        return;
    }
    int self = node_of(g, in, tail_of(c->key), "choice");
    if (c->kind == NAS_INPUT) { /* where it leads to, no key tells */
        for (int k = 0; k < c->n; k++) {
            add_edge(g, in, node_of(g, in, c->names[k], "node"), self, i, nas__int(k));
        }
        return;
    }
    int last = g->stages[in - 1].last;
    add_edge(g, in, last ? last : node_of(g, in, "input", "input"), self, i, nas__null_value());
    g->stages[in - 1].last = self;
}

void nas__graph_rows(nas__rows *rows, const nas_space *space) {
    graph g = {.rows = rows};
    for (int i = 0; i < nas_space_size(space); i++) {
        draw_choice(&g, space, i);
    }
    free(g.stages);
    free(g.nodes);
}
