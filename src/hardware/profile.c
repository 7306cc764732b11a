/* profile.c - see profile.h: the table in memory. */
#include "hardware/profile.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/statistics.h"

#include <stdlib.h>
#include <string.h>

nas__profile *nas__profile_new(const char *machine, const char *engine, int batch, int threads) {
    nas__profile *p = nas__alloc(sizeof *p);
    if (!p) {
        return NULL;
    }
    *p = (nas__profile){
        .machine = nas__strdup(machine), .engine = nas__strdup(engine), .batch = batch, .threads = threads};
    if (!p->machine || !p->engine) {
        nas__profile_free(p);
        return NULL;
    }
    return p;
}

bool nas__profile_is_of_onnxruntime(const nas__profile *p) { return !strncmp(p->engine, "onnxruntime", 11); }

void nas__profile_free(nas__profile *p) {
    for (size_t i = 0; p && i < p->n_entries; i++) {
        free(p->entries[i].op);
        free(p->entries[i].ns);
    }
    for (size_t i = 0; p && i < p->n_networks; i++) {
        free(p->networks[i].architecture);
    }
    if (p) {
        free(p->entries);
        free(p->networks);
        free(p->machine);
        free(p->engine);
        free(p);
    }
}

/* --- entries ------------------------------------------------------------------------------------------- */
int nas__profile_find(const nas__profile *p, const char *op, int n_in, const int64_t *in) {
    for (size_t i = 0; i < p->n_entries; i++) {
        const nas__profile_entry *e = &p->entries[i];
        if (e->n_in == n_in && !memcmp(e->in, in, (size_t)n_in * sizeof *in) && !strcmp(e->op, op)) {
            return (int)i;
        }
    }
    return -1;
}

int nas__profile_entry_of(nas__profile *p, const nas__profile_entry *key) {
    int found = nas__profile_find(p, key->op, key->n_in, key->in);
    char *op = found < 0 ? nas__strdup(key->op) : NULL;
    if (found >= 0 || !op || !nas__grow(&p->entries, p->n_entries, sizeof *p->entries)) {
        free(op);
        return found;
    }
    nas__profile_entry *e = &p->entries[p->n_entries];
    *e = *key;
    e->op = op;
    e->ns = NULL;
    e->n = 0;
    return (int)p->n_entries++;
}

nas_status nas__profile_sample(nas__profile *p, int entry, double ns) {
    nas__profile_entry *e = &p->entries[entry];
    if (!nas__grow(&e->ns, e->n, sizeof *e->ns)) {
        return nas_error_status();
    }
    e->ns[e->n++] = ns;
    return NAS_OK;
}

nas_status nas__profile_add_network(nas__profile *p, int rest, char *architecture, double ns) {
    if (!architecture || !nas__grow(&p->networks, p->n_networks, sizeof *p->networks)) {
        free(architecture);
        return nas_error_status();
    }
    p->networks[p->n_networks++] = (nas__profile_network){rest, architecture, ns};
    return NAS_OK;
}

/* --- what the samples say ------------------------------------------------------------------------------ */
/* Sorted in place: their order says nothing. */
double nas__entry_ns(const nas__profile_entry *e) { return e->n ? nas__median((int)e->n, e->ns) : 0; }

double nas__entry_spread(const nas__profile_entry *e) {
    nas__entry_ns(e);
    return e->n ? e->ns[3 * (e->n - 1) / 4] - e->ns[(e->n - 1) / 4] : 0;
}
