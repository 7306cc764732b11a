/* limits.h - hard limits of what a search may export: "macs=30M,params=1M,latency=5ms,ram=256KiB,flash=4MiB". */
#ifndef SEARCH_LIMITS_H
#define SEARCH_LIMITS_H

#include "hardware/cost_table.h"

#include <espalier/io.h>
#include <espalier/search.h>

enum { NAS__COST_KINDS = NAS__COST_FLASH + 1 };

typedef struct nas__limit {
    nas__cost_kind kind;
    double most;             /* multiply-adds, parameters, microseconds, bytes */
    nas__cost_table *table;  /* latencies are those that were measured when the search began. Of ram, which is no sum:
                                the least, and what it is with one candidate and else the cheapest ones */
    nas_architecture *least; /* ram: that has the least that was found; else NULL */
} nas__limit;

typedef struct nas__limits {
    int n;
    nas__limit of[NAS__COST_KINDS];
    nas_architecture *meets; /* one that does */
} nas__limits;

/* From a text (NULL: none), without tables. NAS_USAGE and the reason when it is none. */
nas_status nas__limits_parse(const char *text, nas__limits *limits);
/* The tables for the trainer's space; refuses what not even the cheapest architectures meet. */
nas_status nas__limits_open(nas_trainer *t);
void nas__limits_close(nas__limits *limits);
/* What was measured, for a resumed run. */
void nas__limits_state(nas__limits *limits, nas_state *st);

/* What an architecture costs under limit i: latency by the table, all else by a dry pass. Leaves
 * the decisions in force as they are. Negative, and an error, on failure. */
double nas__limit_cost(nas_trainer *t, int i, const nas_architecture *a);
/* Any but the latency, likewise; and both, either of which may be NULL. */
double nas__exact_cost(nas_trainer *t, nas__cost_kind kind, const nas_architecture *a);
nas_status nas__exact_costs(nas_trainer *t, const nas_architecture *a, uint64_t *macs, int64_t *parameters);
/* Bytes of the exported C file (nas_count_c), and of all that is computed (may be NULL). */
nas_status nas__exact_memory(nas_trainer *t, const nas_architecture *a, nas_c_memory *memory, int64_t *computed);
/* The tables of ram, with its `least`, and of flash (memory.c). */
nas_status nas__limit_memory(nas_trainer *t, nas__limit *limit);
bool nas__within_limits(nas_trainer *t, const nas_architecture *a);
/* The most probable architecture within the limits takes the place of a derived one that is beyond them
 * (within_limits.c). */
nas_status nas__derive_within_limits(nas_trainer *t, nas_architecture *a);

/* Inside: the architecture within limits whose choices' losses add up to the least; loss(user, choice, set) of each set
 * that a choice may take, 0 for choices that are not reached. relative: of each choice what exceeds its least. False:
 * none was found (or an error). */
typedef double (*nas__loss_of_set)(void *user, int choice, uint64_t set);
bool nas__least_loss(nas_trainer *t, nas__loss_of_set loss, void *user, bool relative, nas_architecture *best);

#endif
