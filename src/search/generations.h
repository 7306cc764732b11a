/* generations.h - the evolutionary search of SPOS (Guo et al., ECCV 2020) as a policy of searches by trials: whole
 * generations, whose parents are the best architectures of all generations before. */
#ifndef SEARCH_GENERATIONS_H
#define SEARCH_GENERATIONS_H

#include "search/trials.h"

typedef struct nas__generations {
    int population, generations, top, mutants, children;
    double mutation;
} nas__generations;

/* With what the options of a strategy that uses the policy begin. */
typedef struct nas__generations_options {
    nas__trial_options trial;
    nas__generations search;
} nas__generations_options;

#define NAS__GENERATIONS_ROW(struct_type, name, type, ...)                                                             \
    { #name, type, offsetof(struct_type, search.name), __VA_ARGS__ }
#define NAS__GENERATIONS_ROWS(struct_type)                                                                             \
    NAS__GENERATIONS_ROW(struct_type, population, NAS_OPTION_INT, "50", 2, 100000, NULL,                               \
                         "architectures of a generation"),                                                             \
        NAS__GENERATIONS_ROW(struct_type, generations, NAS_OPTION_INT, "20", 0, 100000, NULL,                          \
                             "after the first, random one"),                                                           \
        NAS__GENERATIONS_ROW(struct_type, top, NAS_OPTION_INT, "10", 1, 100000, NULL,                                  \
                             "best architectures of all generations so far: the parents"),                             \
        NAS__GENERATIONS_ROW(struct_type, mutants, NAS_OPTION_INT, "25", 0, 100000, NULL,                              \
                             "of a generation, one parent with some choices drawn anew"),                              \
        NAS__GENERATIONS_ROW(struct_type, children, NAS_OPTION_INT, "25", 0, 100000, NULL,                             \
                             "of a generation, each choice from one of two parents; the rest is random"),              \
        NAS__GENERATIONS_ROW(struct_type, mutation, NAS_OPTION_FLOAT, "0.1", 0, 1, NULL,                               \
                             "probability that a mutant's choice is drawn anew")

extern const nas__policy nas__generations_policy;
/* The same number of trials, all random. */
extern const nas__policy nas__random_generations_policy;
/* How many trials that makes. */
int64_t nas__generations_trials(const nas__trials *t);

#endif
