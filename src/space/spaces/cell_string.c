/* cell_string.c - one-line strings of cells, normal=|op~0|op~1|+|...|;reduce=|...|, for the spaces of cells.h. */
#include "space/spaces/cells.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 2, KEY = 64, MOST_TERMS = 4 }; /* the first node: 0 and 1 are the cell's inputs */

static const char *const kinds[] = {"normal", "reduce"};
enum { KINDS = 2 };

/* The choice with key "KIND/WHAT_node_number", of "KIND/node_NODE/inputs" without a number; -1: there is none. */
static int find(const nas_space *space, const char *kind, const char *what, int node, int number) {
    char key[KEY];
    if (number < 0) {
        snprintf(key, sizeof key, "%s/%s_%d/inputs", kind, what, node);
    } else {
        snprintf(key, sizeof key, "%s/%s_%d_%d", kind, what, node, number);
    }
    return nas_space_find(space, key);
}

static bool has_node(const nas_space *space, const char *kind, int node) {
    return find(space, kind, "node", node, -1) >= 0 || find(space, kind, "op", node, 0) >= 0;
}

/* --- writing ---------------------------------------------------------------------------------------------- */
static const char *op_name(const nas_architecture *a, int choice) {
    return choice < 0 ? "?" : nas_space_choice(a->space, choice)->names[__builtin_ctzll(a->bits[choice])];
}

static void write_node(FILE *out, const nas_architecture *a, const char *kind, int node) {
    int inputs = find(a->space, kind, "node", node, -1);
    for (int from = 0; inputs >= 0 && from < node; from++) {
        if (a->bits[inputs] >> from & 1) {
            fprintf(out, "|%s~%d", op_name(a, find(a->space, kind, "edge", node, from)), from);
        }
    }
    for (int slot = 0, op; inputs < 0 && (op = find(a->space, kind, "op", node, slot)) >= 0; slot++) {
        fprintf(out, "|%s~%d", op_name(a, op), __builtin_ctzll(a->bits[find(a->space, kind, "input", node, slot)]));
    }
    fputs("|", out);
}

char *nas__cells_string(const nas_architecture *a) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int k = 0; out && k < KINDS; k++) {
        if (has_node(a->space, kinds[k], FIRST)) {
            fprintf(out, "%s%s=", k ? ";" : "", kinds[k]);
        }
        for (int node = FIRST; has_node(a->space, kinds[k], node); node++) {
            fputs(node > FIRST ? "+" : "", out);
            write_node(out, a, kinds[k], node);
        }
    }
    if (!out || fclose(out) != 0) {
        free(text);
        return nas__fail_null(NAS_NO_MEMORY, "no memory for an architecture's string");
    }
    return text;
}

/* --- reading ---------------------------------------------------------------------------------------------- */
typedef struct reader {
    const char *text, *at;
    nas_architecture *a;
    bool failed;
} reader;

static void refuse(reader *r, const char *expected) {
    if (!r->failed) {
        nas__fail(NAS_PARSE,
                  "\"%.400s\", at character %d: %s is expected; an architecture of this space is written like "
                  "normal=|op~0|op~1|+|op~0|op~2|;reduce=|op~0|op~1|+|op~0|op~2|",
                  r->text, (int)(r->at - r->text) + 1, expected);
        r->failed = true;
    }
}

static void literal(reader *r, const char *word) {
    if (!r->failed && strncmp(r->at, word, strlen(word)) == 0) {
        r->at += strlen(word);
    } else {
        char expected[32];
        snprintf(expected, sizeof expected, "\"%s\"", word);
        refuse(r, expected);
    }
}

/* Reads "|op~from"; the name stays in the text. */
static int read_term(reader *r, const char **name, size_t *length) {
    char *end;
    literal(r, "|");
    *name = r->at;
    *length = strcspn(r->at, "~|+;");
    if (!r->failed) {
        r->at += *length;
    }
    literal(r, "~");
    long from = r->failed ? 0 : strtol(r->at, &end, 10);
    if (!r->failed && (end == r->at || *r->at < '0' || *r->at > '9' || from > MOST_TERMS * 16)) {
        refuse(r, "the number of a value");
    } else if (!r->failed) {
        r->at = end;
    }
    return (int)from;
}

static void take_op(reader *r, int choice, const char *name, size_t length) {
    const nas_choice *c = choice < 0 ? NULL : nas_space_choice(r->a->space, choice);
    for (int i = 0; c && i < c->n; i++) {
        if (strlen(c->names[i]) == length && strncmp(c->names[i], name, length) == 0) {
            r->a->bits[choice] = (uint64_t)1 << i;
            return;
        }
    }
    char list[400], expected[448];
    r->at = name;
    snprintf(expected, sizeof expected, "one of %s", c ? nas__candidate_list(c, list, sizeof list) : "the operations");
    refuse(r, expected);
}

/* `order` of the term within the node. */
static void read_edge(reader *r, const char *kind, int node, uint64_t *taken) {
    const char *name, *start = r->at;
    size_t length;
    int from = read_term(r, &name, &length);
    if (!r->failed && (from >= node || (*taken >> from & 1))) {
        r->at = start;
        refuse(r, "another value before the node");
    }
    if (!r->failed) {
        *taken |= (uint64_t)1 << from;
        take_op(r, find(r->a->space, kind, "edge", node, from), name, length);
    }
}

static void read_slot(reader *r, const char *kind, int node, int slot) {
    const char *name, *start = r->at;
    size_t length;
    int from = read_term(r, &name, &length);
    if (!r->failed && from >= node) {
        r->at = start;
        refuse(r, "a value before the node");
    }
    if (!r->failed) {
        r->a->bits[find(r->a->space, kind, "input", node, slot)] = (uint64_t)1 << from;
        take_op(r, find(r->a->space, kind, "op", node, slot), name, length);
    }
}

static void read_node(reader *r, const char *kind, int node) {
    int inputs = find(r->a->space, kind, "node", node, -1);
    if (inputs >= 0) {
        uint64_t taken = 0;
        for (int i = 0; i < nas_space_choice(r->a->space, inputs)->n_max; i++) {
            read_edge(r, kind, node, &taken);
        }
        r->a->bits[inputs] = taken;
    }
    for (int slot = 0; inputs < 0 && find(r->a->space, kind, "op", node, slot) >= 0; slot++) {
        read_slot(r, kind, node, slot);
    }
    literal(r, "|");
}

nas_architecture *nas__cells_parse(const nas_space *space, const char *text) {
    reader r = {.text = text, .at = text, .a = nas_architecture_new(space)};
    if (!r.a) {
        return NULL;
    }
    for (int k = 0; k < KINDS; k++) {
        if (has_node(space, kinds[k], FIRST)) {
            literal(&r, k ? ";" : "");
            literal(&r, kinds[k]);
            literal(&r, "=");
        }
        for (int node = FIRST; !r.failed && has_node(space, kinds[k], node); node++) {
            literal(&r, node > FIRST ? "+" : "");
            read_node(&r, kinds[k], node);
        }
    }
    if (!r.failed && *r.at) {
        refuse(&r, "the end");
    }
    if (r.failed) {
        nas_architecture_free(r.a);
        return NULL;
    }
    return r.a;
}
