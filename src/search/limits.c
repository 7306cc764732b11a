/* limits.c - reading limits, and asking what an architecture costs under them. */
#include "search/limits.h"

#include "io/plan.h"
#include "search/latency.h"
#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ---------------------------------------------------------------------------------------- */
static nas_status parse_one(char *item, nas__limits *limits) {
    char *value = strchr(item, '=');
    nas__limit limit = {.kind = NAS__COST_MACS};
    if (!value) {
        return nas__fail(NAS_USAGE, "limit \"%s\": write macs=30M, params=1M, latency=5ms, ram=256KiB or flash=4MiB",
                         item);
    }
    *value++ = 0;
    while ((int)limit.kind < NAS__COST_KINDS && strcmp(item, nas__cost_name(limit.kind)) != 0) {
        limit.kind++;
    }
    if ((int)limit.kind == NAS__COST_KINDS) {
        return nas__fail(NAS_USAGE, "limit \"%s\" is unknown; there are macs, params, latency, ram and flash", item);
    }
    for (int i = 0; i < limits->n; i++) {
        if (limits->of[i].kind == limit.kind) {
            return nas__fail(NAS_USAGE, "limit \"%s\" is given twice", item);
        }
    }
    if (!nas__cost_parse(limit.kind, value, &limit.most)) {
        bool bytes = limit.kind == NAS__COST_RAM || limit.kind == NAS__COST_FLASH;
        return bytes
                   ? nas__fail(NAS_USAGE, "limit %s=%s: a size above 0 is needed, as 256KiB, 4MiB or 64kB", item, value)
               : limit.kind == NAS__COST_LATENCY
                   ? nas__fail(NAS_USAGE, "limit latency=%s: a time above 0 with its unit is needed, as 5ms or 300us",
                               value)
                   : nas__fail(NAS_USAGE, "limit %s=%s: a number above 0 is needed, as 30M, 250k or 1.5G", item, value);
    }
    limits->of[limits->n++] = limit;
    return NAS_OK;
}

nas_status nas__limits_parse(const char *text, nas__limits *limits) {
    *limits = (nas__limits){0};
    char *copy = text ? nas__strdup(text) : NULL, *rest = copy;
    nas_status status = text && !copy ? nas_error_status() : NAS_OK;
    for (char *item; !status && (item = strsep(&rest, ",")) != NULL;) {
        status = parse_one(item, limits);
    }
    free(copy);
    return status;
}

/* --- asking ----------------------------------------------------------------------------------------- */
/* The decisions of an architecture in force, until they are given back. */
static nas_decision *decide(nas_trainer *t, const nas_architecture *a) {
    int n = nas_space_size(t->s.space);
    nas_decision *saved = nas__alloc((size_t)n * sizeof *saved);
    for (int c = 0; saved && c < n; c++) {
        saved[c] = nas_decision_of(t->s.space, c);
    }
    if (saved) {
        nas_architecture_apply(a, t->s.space);
    }
    return saved;
}

static void give_back(nas_trainer *t, nas_decision *saved) {
    for (int c = 0; saved && c < nas_space_size(t->s.space); c++) {
        nas_decide(t->s.space, c, saved[c]);
    }
    free(saved);
}

nas_status nas__exact_costs(nas_trainer *t, const nas_architecture *a, uint64_t *macs, int64_t *parameters) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    nas_decision *saved = decide(t, a);
    nas_status status =
        saved ? nas_model_cost(t->s.model, info->ndim, info->dims, macs, parameters) : nas_error_status();
    give_back(t, saved);
    return status;
}

nas_status nas__exact_memory(nas_trainer *t, const nas_architecture *a, nas_c_memory *memory, int64_t *computed) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    nas_decision *saved = decide(t, a);
    nas_status status =
        saved ? nas__count_memory(t->s.model, info->ndim, info->dims, memory, computed) : nas_error_status();
    give_back(t, saved);
    return status;
}

double nas__exact_cost(nas_trainer *t, nas__cost_kind kind, const nas_architecture *a) {
    uint64_t macs;
    int64_t parameters;
    nas_c_memory memory;
    bool counts_macs = kind == NAS__COST_MACS;
    if (kind == NAS__COST_RAM || kind == NAS__COST_FLASH) {
        return nas__exact_memory(t, a, &memory, NULL)
                   ? -1
                   : (double)(kind == NAS__COST_RAM ? memory.arena_bytes : memory.weight_bytes);
    }
    if (nas__exact_costs(t, a, counts_macs ? &macs : NULL, counts_macs ? NULL : &parameters)) {
        return -1;
    }
    return counts_macs ? (double)macs : (double)parameters;
}

double nas__limit_cost(nas_trainer *t, int i, const nas_architecture *a) {
    const nas__limit *limit = &t->limits.of[i];
    return limit->kind == NAS__COST_LATENCY ? nas__cost_of_architecture(limit->table, a)
                                            : nas__exact_cost(t, limit->kind, a);
}

bool nas__within_limits(nas_trainer *t, const nas_architecture *a) {
    bool within = true;
    for (int i = 0; within && i < t->limits.n; i++) {
        double cost = nas__limit_cost(t, i, a);
        within = cost >= 0 && cost <= t->limits.of[i].most;
    }
    return within;
}

/* --- opening ---------------------------------------------------------------------------------------- */
typedef struct cheapest {
    const nas__cost_table *table;
    const nas_space *space;
} cheapest;

static double cost_of_set(void *user, int choice, uint64_t set) {
    const cheapest *c = user;
    double sum = 0;
    for (int k = 0; k < nas_space_choice(c->space, choice)->n; k++) {
        sum += set >> k & 1 ? nas__cost_of(c->table, choice, k) : 0;
    }
    return sum;
}

static double nothing(void *user, int choice, uint64_t set) {
    (void)user;
    (void)choice;
    (void)set;
    return 0;
}

/* Alone and without its bound, limit i gives the cheapest architecture. */
static nas_status check_cheapest(nas_trainer *t, int i, nas_architecture *a) {
    nas__limits all = t->limits;
    char least[32], most[32];
    cheapest c = {all.of[i].table, t->s.space};
    t->limits.n = 0;
    bool found = all.of[i].least || nas__least_loss(t, cost_of_set, &c, false, a);
    t->limits = all;
    double cost = all.of[i].least ? c.table->constant : found ? nas__limit_cost(t, i, a) : -1;
    if (cost < 0 || cost <= all.of[i].most) {
        return nas_error_status();
    }
    return nas__fail(NAS_INVALID, "limit %s=%s cannot be met: the cheapest architecture of this space has %s",
                     nas__cost_name(c.table->kind), nas__cost_text(c.table->kind, all.of[i].most, most),
                     nas__cost_text(c.table->kind, cost, least));
}

/* The cheapest ones of a limit may meet the others, too. */
static bool a_cheapest_meets(nas_trainer *t, nas_architecture *a) {
    for (int i = 0; i < t->limits.n; i++) {
        const nas_architecture *least = t->limits.of[i].least;
        if (least && nas__within_limits(t, least)) {
            for (int k = 0; k < nas_space_size(t->s.space); k++) {
                nas_architecture_set(a, k, nas_architecture_get(least, k));
            }
            return true;
        }
    }
    return false;
}

static nas_status find_one_that_meets(nas_trainer *t) {
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_status status = a ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < t->limits.n; i++) {
        status = check_cheapest(t, i, a);
    }
    if (!status && !a_cheapest_meets(t, a) && !nas__least_loss(t, nothing, NULL, false, a)) {
        status = nas_error_status() ? nas_error_status()
                                    : nas__fail(NAS_INVALID,
                                                "limits %s: each can be met, but no architecture was found that meets "
                                                "all of them together; loosen one",
                                                t->config.limits);
    }
    if (status) {
        nas_architecture_free(a);
        return status;
    }
    t->limits.meets = a;
    return NAS_OK;
}

nas_status nas__limits_open(nas_trainer *t) {
    nas_status status = nas__limits_parse(t->config.limits, &t->limits);
    for (int i = 0; !status && i < t->limits.n; i++) {
        nas__limit *limit = &t->limits.of[i];
        if (limit->kind == NAS__COST_RAM || limit->kind == NAS__COST_FLASH) {
            status = nas__limit_memory(t, limit) ? nas__error_context("limit %s", nas__cost_name(limit->kind)) : NAS_OK;
        } else {
            limit->table = nas__search_costs(t, limit->kind);
            status = limit->table ? NAS_OK : nas_error_status();
        }
    }
    return status || !t->limits.n ? status : find_one_that_meets(t);
}

void nas__limits_close(nas__limits *limits) {
    for (int i = 0; i < limits->n; i++) {
        nas__cost_table_free(limits->of[i].table);
        nas_architecture_free(limits->of[i].least);
    }
    nas_architecture_free(limits->meets);
    *limits = (nas__limits){0};
}

void nas__limits_state(nas__limits *limits, nas_state *st) {
    for (int i = 0; i < limits->n; i++) {
        nas__cost_table *table = limits->of[i].table;
        if (table->kind == NAS__COST_LATENCY) {
            nas_state_f64(st, "limits.latency_constant", &table->constant, 1);
            nas_state_f64(st, "limits.latency", table->cost, (size_t)table->first[table->n]);
        }
    }
}
