/* mutable.c - what the three kinds of choice have in common: names, keys, and the decision in force. */
#include "space/space.h"

#include "nn/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool copy_names(nas_mutable *m, const char *const *names) {
    m->names = nas__alloc((size_t)m->n * sizeof *m->names);
    bool complete = m->names != NULL;
    for (int i = 0; complete && i < m->n; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        m->names[i] = nas__strdup(names && names[i] ? names[i] : number);
        complete = m->names[i] != NULL;
    }
    return complete;
}

static nas_status check_names(const nas_mutable *m) {
    const char *key = m->key ? m->key : "(no key)";
    for (int i = 0; i < m->n; i++) {
        if (!m->names[i][0]) {
            return nas__fail(NAS_INVALID, "choice \"%s\": candidate %d has an empty name", key, i);
        }
        for (int j = 0; j < i; j++) {
            if (strcmp(m->names[i], m->names[j]) == 0) {
                return nas__fail(NAS_INVALID,
                                 "choice \"%s\": candidates %d and %d are both named \"%s\"; names must differ", key, j,
                                 i, m->names[i]);
            }
        }
    }
    return NAS_OK;
}

nas_mutable *nas__mutable_new(nas_choice_kind kind, nas_module *owner, const char *key, int n,
                              const char *const *names) {
    if (n < 1 || n > NAS_MAX_CANDIDATES) {
        return nas__fail_null(NAS_INVALID, "choice \"%s\": %d candidates; there must be 1 to %d",
                              key ? key : "(no key)", n, NAS_MAX_CANDIDATES);
    }
    nas_mutable *m = nas__alloc(sizeof *m);
    if (!m) {
        return NULL;
    }
    *m = (nas_mutable){.kind = kind, .owner = owner, .n = n, .n_min = 1, .n_max = 1, .own = {.run = 1}};
    m->decision = &m->own;
    m->key = key ? nas__strdup(key) : NULL;
    if ((key && !m->key) || !copy_names(m, names) || check_names(m)) {
        nas__mutable_free(m);
        return NULL;
    }
    return m;
}

static void free_list(char **list, int n) {
    for (int i = 0; list && i < n; i++) {
        free(list[i]);
    }
    free(list);
}

void nas__mutable_free(nas_mutable *m) {
    if (!m) {
        return;
    }
    if (m->space) {
        m->space->sites[m->site].mutable_ = NULL;
    }
    free_list(m->names, m->n);
    free_list(m->edges, m->n);
    free(m->values);
    free(m->key);
    free(m);
}

char *nas__mutable_key(const nas_mutable *m) {
    static const char *const tails[] = {[NAS_LAYER] = "", [NAS_INPUT] = "inputs", [NAS_VALUE] = "value"};
    if (m->key) {
        return nas__strdup(m->key);
    }
    const char *path = nas_module_path(m->owner), *tail = tails[m->kind];
    char *key = nas__format("%s%s%s", path, *path && *tail ? "/" : "", tail);
    for (char *c = key; c && *c; c++) {
        *c = *c == '.' ? '/' : *c;
    }
    return key;
}

int nas__mutable_single(const nas_mutable *m) {
    return nas__bit_count(m->decision->run) == 1 ? __builtin_ctzll(m->decision->run) : -1;
}

static const char *const tag = "mutable";

static void free_attached(void *object) { nas__mutable_free(object); }

nas_mutable *nas__mutable_attach(nas_mutable *m) { return nas__attach(m->owner, tag, m, free_attached) ? NULL : m; }

nas_mutable *nas__attached_mutable(const nas_module *module, size_t index) { return nas__attached(module, tag, index); }
