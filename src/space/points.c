/* points.c - the points of a space: random ones, all in order, and those one edit away. */
#include "space/space.h"

#include <math.h>
#include <stdlib.h>

/* --- random -------------------------------------------------------------------------------------------- */
/* How many are chosen, so that all permitted sets are equally likely: k with probability (n choose k) / all sets. */
static int random_count(const nas_choice *c, nas_rng *rng) {
    if (c->n_min == c->n_max) {
        return c->n_min;
    }
    double binomial[NAS_MAX_CANDIDATES + 1] = {1}, sets = 0;
    for (int k = 1; k <= c->n; k++) {
        binomial[k] = binomial[k - 1] * (c->n - k + 1) / k;
    }
    for (int k = c->n_min; k <= c->n_max; k++) {
        sets += binomial[k];
    }
    double u = nas_rng_uniform(rng) * sets;
    int k = c->n_min;
    for (; k < c->n_max && u >= binomial[k]; k++) {
        u -= binomial[k];
    }
    return k;
}

/* A uniform set of k among n (Floyd's algorithm). */
static uint64_t random_set(int n, int k, nas_rng *rng) {
    uint64_t set = 0;
    for (int top = n - k; top < n; top++) {
        uint64_t pick = (uint64_t)1 << nas_rng_below(rng, (uint32_t)top + 1);
        set |= set & pick ? (uint64_t)1 << top : pick;
    }
    return set;
}

uint64_t nas__choice_random(const nas_choice *c, nas_rng *rng) { return random_set(c->n, random_count(c, rng), rng); }

void nas_architecture_random(nas_architecture *a, nas_rng *rng) {
    for (int i = 0; i < a->space->n_choices; i++) {
        a->bits[i] = nas__choice_random(&a->space->choices[i].public_, rng);
    }
}

/* --- in order: sets by their size, equal sizes as binary numbers -------------------------------------------- */
/* n choose k, at most 2^62. */
static uint64_t choose(int n, int k) {
    double value = 1;
    for (int i = 1; i <= k; i++) {
        value = value * (n - k + i) / i;
    }
    return value < 0x1p62 ? (uint64_t)llround(value) : (uint64_t)1 << 62;
}

uint64_t nas__choice_sets(const nas_choice *c) {
    uint64_t sets = 0;
    for (int k = c->n_min; k <= c->n_max && sets < (uint64_t)1 << 62; k++) {
        sets += choose(c->n, k);
    }
    return sets < (uint64_t)1 << 62 ? sets : (uint64_t)1 << 62;
}

uint64_t nas__choice_set(const nas_choice *c, uint64_t index) {
    int k = c->n_min;
    for (; k < c->n_max && index >= choose(c->n, k); k++) {
        index -= choose(c->n, k);
    }
    uint64_t set = 0; /* the combinatorial number system */
    for (int element = c->n - 1; element >= 0 && k > 0; element--) {
        uint64_t below = choose(element, k);
        if (element >= k && index >= below) {
            index -= below;
        } else if (element >= k) {
            continue;
        }
        set |= (uint64_t)1 << element;
        k--;
    }
    return set;
}

uint64_t nas__choice_rank(const nas_choice *c, uint64_t set) {
    uint64_t rank = 0;
    int k = nas__bit_count(set);
    for (int smaller = c->n_min; smaller < k; smaller++) {
        rank += choose(c->n, smaller);
    }
    for (int element = c->n - 1; element >= 0; element--) {
        if (set >> element & 1) {
            rank += element >= k ? choose(element, k) : 0;
            k--;
        }
    }
    return rank;
}

bool nas__architecture_next(nas_architecture *a) {
    for (int i = a->space->n_choices - 1; i >= 0; i--) {
        const nas_choice *c = &a->space->choices[i].public_;
        uint64_t next = nas__choice_rank(c, a->bits[i]) + 1;
        bool carry = next >= nas__choice_sets(c);
        a->bits[i] = nas__choice_set(c, carry ? 0 : next);
        if (!carry) {
            return true;
        }
    }
    return false;
}

/* --- one edit away ------------------------------------------------------------------------------------------ */
enum { FEW_SETS = 64 };

bool nas__choice_neighbour(const nas_choice *c, uint64_t set, int index, uint64_t *neighbour) {
    if (nas__choice_sets(c) <= FEW_SETS) {
        uint64_t other = (uint64_t)index + ((uint64_t)index >= nas__choice_rank(c, set));
        *neighbour = other < nas__choice_sets(c) ? nas__choice_set(c, other) : 0;
        return other < nas__choice_sets(c);
    }
    for (int in = 0; in <= c->n; in++) { /* n: none is added */
        for (int out = 0; out <= c->n; out++) {
            uint64_t add = in < c->n ? (uint64_t)1 << in : 0, drop = out < c->n ? (uint64_t)1 << out : 0;
            int count = nas__bit_count((set | add) & ~drop);
            bool edits = (add | drop) && !(set & add) && (set & drop) == drop;
            if (edits && count >= c->n_min && count <= c->n_max && index-- == 0) {
                *neighbour = (set | add) & ~drop;
                return true;
            }
        }
    }
    return false;
}

int nas__choice_neighbours(const nas_choice *c, uint64_t set) {
    uint64_t ignored;
    int n = 0;
    while (nas__choice_neighbour(c, set, n, &ignored)) {
        n++;
    }
    return n;
}

void nas__architecture_cross(nas_architecture *a, const nas_architecture *other, nas_rng *rng) {
    for (int i = 0; i < a->space->n_choices; i++) {
        a->bits[i] = nas_rng_below(rng, 2) ? other->bits[i] : a->bits[i];
    }
}

void nas__architecture_redraw(nas_architecture *a, double probability, nas_rng *rng) {
    for (int i = 0; i < a->space->n_choices; i++) {
        if (nas_rng_uniform(rng) < probability) {
            a->bits[i] = nas__choice_random(&a->space->choices[i].public_, rng);
        }
    }
}

int nas__architecture_mutate(nas_architecture *a, nas_rng *rng) {
    int n = a->space->n_choices, n_open = 0, chosen = -1, *open = nas__alloc((size_t)n * sizeof *open);
    bool *reached = nas__reachable(a->space, a->bits);
    for (int i = 0; open && reached && i < n; i++) {
        if (reached[i] && nas__choice_sets(&a->space->choices[i].public_) > 1) {
            open[n_open++] = i;
        }
    }
    if (n_open > 0) {
        chosen = open[nas_rng_below(rng, (uint32_t)n_open)];
        const nas_choice *c = &a->space->choices[chosen].public_;
        int index = (int)nas_rng_below(rng, (uint32_t)nas__choice_neighbours(c, a->bits[chosen]));
        nas__choice_neighbour(c, a->bits[chosen], index, &a->bits[chosen]);
    }
    free(open);
    free(reached);
    return chosen;
}
