/* cost_table.h - what every candidate of every choice costs, as one sum: constant + one number per candidate chosen.
 *
 * A layer choice's candidate has what it costs where it stands, without the choices inside it, which have numbers of
 * their own; places that share a key are added up. Candidates of an input choice have the difference that taking them
 * makes (usually 0), those of a value choice the difference to its first value, other choices at their first
 * candidates. The constant is all that is not searched. Multiply-adds and parameters are exact for every architecture
 * in which a candidate's cost does not depend on other choices; latencies are measured here, one thing at a time. */
#ifndef HARDWARE_COST_TABLE_H
#define HARDWARE_COST_TABLE_H

#include <espalier/hardware.h>
#include <espalier/space.h>

/* The last two: bytes of the exported C file's arena, for which no sum stands, and of its weights. */
typedef enum nas__cost_kind {
    NAS__COST_MACS,
    NAS__COST_PARAMS,
    NAS__COST_LATENCY,
    NAS__COST_RAM,
    NAS__COST_FLASH
} nas__cost_kind;

typedef struct nas__cost_table {
    nas__cost_kind kind;
    int n; /* choices */
    double constant;
    int *first;   /* n+1: where the candidates of a choice begin in cost */
    double *cost; /* multiply-adds of one sample; parameters once fixed; microseconds for one sample; bytes */
} nas__cost_table;

/* By passes of the model over one sample (its decisions are as before afterwards); NULL and an error when they fail. A
 * latency is the median of several measurements at batch 1 with the process's threads, after a warm-up. */
nas__cost_table *nas__cost_table_new(nas_space *space, nas_module *model, int ndim, const int64_t *sample_dims,
                                     nas__cost_kind kind);
/* The same for what another pass counts. */
typedef struct nas__counter {
    nas_status (*pass)(void *user, nas_module *model, int ndim, const int64_t *sample_dims, uint64_t *all);
    double (*now)(void *user); /* so far, during the pass */
    void *user;
} nas__counter;
nas__cost_table *nas__cost_table_counted(nas_space *space, nas_module *model, int ndim, const int64_t *sample_dims,
                                         nas__cost_kind kind, const nas__counter *counter);
/* From a JSON file (cost_text.c); NULL and an error that names the file, the key and the candidate. */
nas__cost_table *nas__cost_table_read(const nas_space *space, const char *path);
nas_status nas__cost_table_write(const nas__cost_table *t, const nas_space *space, const char *path);
void nas__cost_table_free(nas__cost_table *t); /* NULL is fine */

double nas__cost_constant(const nas__cost_table *t);
double nas__cost_of(const nas__cost_table *t, int choice, int candidate);
/* constant + the sum over what an architecture of the space reaches. */
double nas__cost_of_architecture(const nas__cost_table *t, const nas_architecture *a);
/* "macs", "params", "latency", "ram" or "flash". */
const char *nas__cost_name(nas__cost_kind kind);
/* "12.3M", "431k", "5.2 ms", "262144 bytes (256KiB)" into text; returns text. */
const char *nas__cost_text(nas__cost_kind kind, double cost, char text[32]);
/* "30M", "431k", "1.5G", "5ms", "300us", "0.01s" (a latency needs its unit), "256KiB", "64kB", "512" into *cost, which
 * must be positive and finite; false, without an error, when it is nothing of that kind. */
bool nas__cost_parse(nas__cost_kind kind, const char *text, double *cost);

/* Inside of this room: a table of zeros, and (cost_latency.c) the measured ones. */
nas__cost_table *nas__cost_table_zero(const nas_space *space, nas__cost_kind kind);
nas_status nas__cost_measure(nas__cost_table *t, nas_space *space, nas_module *model, int ndim, const int64_t *dims);
/* Adds what a child of a layer choice's place costs to the candidates that it runs in. */
void nas__cost_add(nas__cost_table *t, const nas_space *space, int site, int child, double cost);
/* What the first candidates are but for the choices around choice `inside` (-1: none), which lead to it; all inputs. */
void nas__cost_decide_path(nas_space *space, int inside);
/* All candidates of layer and input choices, the first value, as far as a choice takes that. */
void nas__cost_decide_all(nas_space *space);

#endif
