/* space.c - a space and its architectures as rows. */
#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "run/graph.h"
#include "run/run_private.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

/* --- colours of operations: slots 1 to 6 and on, 0 for nothing at all, -1 for the identity ------------- */
static const struct {
    const char *name;
    int slot;
} known_slots[] = {
    {"none", 0},         {"skip_connect", -1}, {"skip", -1},        {"identity", -1},    {"sep_conv_3x3", 1},
    {"sep3x3", 1},       {"sep_conv_5x5", 2},  {"sep5x5", 2},       {"dil_conv_3x3", 3}, {"dil3x3", 3},
    {"dil_conv_5x5", 4}, {"dil5x5", 4},        {"max_pool_3x3", 5}, {"max_pool", 5},     {"avg_pool_3x3", 6},
    {"avg_pool", 6},     {"nor_conv_3x3", 1},  {"conv3x3", 1},      {"nor_conv_1x1", 2}, {"conv1x1", 2},
    {"conv5x5", 3},
};

typedef struct slots {
    struct {
        const char *name;
        int slot;
    } * given;
    size_t n;
} slots;

static bool is_taken(const slots *s, int slot) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->given[i].slot == slot) {
            return true;
        }
    }
    return false;
}

enum { UNKNOWN = -2 };

static int known_slot(const char *name) {
    for (size_t i = 0; i < sizeof known_slots / sizeof *known_slots; i++) {
        if (!strcmp(known_slots[i].name, name)) {
            return known_slots[i].slot;
        }
    }
    return UNKNOWN;
}

/* One slot per name and, but for nothing and the identity, one name per slot: the usual one, or the next that is free.
 */
static int slot_of(slots *s, const char *name) {
    for (size_t i = 0; i < s->n; i++) {
        if (!strcmp(s->given[i].name, name)) {
            return s->given[i].slot;
        }
    }
    int slot = known_slot(name);
    slot = slot == UNKNOWN ? 1 : slot;
    while (slot > 0 && is_taken(s, slot)) {
        slot++;
    }
    if (nas__grow(&s->given, s->n, sizeof *s->given)) {
        s->given[s->n].name = name;
        s->given[s->n++].slot = slot;
    }
    return slot;
}

/* Known operations have the first pick; the others get their slots in the order in which they appear. */
static void assign_known(slots *s, const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        for (int k = 0; c->kind == NAS_LAYER && k < c->n; k++) {
            if (known_slot(c->names[k]) != UNKNOWN) {
                slot_of(s, c->names[k]);
            }
        }
    }
}

/* --- the space ---------------------------------------------------------------------------------------- */
static int code_bytes(const nas_choice *c) { return c->n_max == 1 ? 1 : (c->n + 7) / 8; }

static bool lay_out_code(nas__run *run, const nas_space *space) {
    int n = nas_space_size(space);
    int *offsets = nas__alloc(((size_t)n + 1) * sizeof *offsets);
    if (!offsets) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        offsets[i + 1] = offsets[i] + code_bytes(nas_space_choice(space, i));
    }
    free(run->code_offset);
    run->code_offset = offsets;
    run->n_choices = n;
    return true;
}

void nas__run_space(nas__run *run, const nas_space *space) {
    static const char *const kinds[] = {[NAS_LAYER] = "layer", [NAS_INPUT] = "input", [NAS_VALUE] = "value"};
    if (!run || !lay_out_code(run, space)) {
        return;
    }
    nas__rows rows = {0};
    slots given = {0};
    assign_known(&given, space);
    for (int i = 0; i < run->n_choices; i++) {
        const nas_choice *c = nas_space_choice(space, i);
        NAS__ROW(&rows, NAS__SQL_MUTABLE, false, nas__int(i + 1), nas__text(c->key), nas__text(kinds[c->kind]),
                 nas__int(c->n), nas__int(c->n_min), nas__int(c->n_max), nas__int(run->code_offset[i]),
                 nas__int(code_bytes(c)));
        for (int k = 0; k < c->n; k++) {
            NAS__ROW(&rows, NAS__SQL_CANDIDATE, false, nas__int(i + 1), nas__int(k), nas__text(c->names[k]),
                     nas__int(c->kind == NAS_LAYER ? slot_of(&given, c->names[k]) : k + 1), nas__null_value(),
                     nas__null_value(), nas__null_value());
        }
    }
    free(given.given);
    nas__graph_rows(&rows, space);
    nas__writer_push(run->writer, &rows, true);
}

/* --- architectures ------------------------------------------------------------------------------------ */
/* An unreachable choice is as if nothing were chosen, so that equal architectures have equal codes. */
static void encode(const nas__run *run, const nas_architecture *a, unsigned char *code) {
    for (int i = 0; i < run->n_choices; i++) {
        const nas_choice *c = nas_space_choice(a->space, i);
        uint64_t bits = nas_architecture_reaches(a, i) ? nas_architecture_get(a, i) : 0;
        unsigned char *at = code + run->code_offset[i];
        if (c->n_max == 1) {
            *at = bits ? (unsigned char)__builtin_ctzll(bits) : 255;
            continue;
        }
        for (int k = 0; k < run->code_offset[i + 1] - run->code_offset[i]; k++) {
            at[k] = (unsigned char)(bits >> (8 * k));
        }
    }
}

int64_t nas__run_architecture(nas__run *run, const nas_architecture *a, int64_t parameters, uint64_t macs, int epoch) {
    if (!run || !a || !run->code_offset) {
        return 0;
    }
    size_t n = (size_t)run->code_offset[run->n_choices];
    unsigned char *code = nas__alloc(n + 1);
    if (!code) {
        return 0;
    }
    encode(run, a, code);
    uint64_t hash = nas__hash_bytes(code, n);
    int64_t id = nas__run_known(run, hash);
    if (!id && nas__run_remember(run, hash, run->last_architecture + 1)) {
        id = ++run->last_architecture;
        nas__rows rows = {0};
        NAS__ROW(&rows, NAS__SQL_ARCHITECTURE, false, nas__int(id), nas__blob(&hash, sizeof hash), nas__blob(code, n),
                 parameters ? nas__int(parameters) : nas__null_value(),
                 macs ? nas__int((int64_t)macs) : nas__null_value(), nas__null_value(), nas__int(0), nas__int(epoch));
        nas__writer_push(run->writer, &rows, false);
    }
    free(code);
    return id;
}
