/* registry.c - all strategies: one line each. */
#include "search/registry.h"
#include "core/error.h"

#include <pthread.h>
#include <string.h>

extern const nas_strategy nas__strategy_darts;
extern const nas_strategy nas__strategy_enas;
extern const nas_strategy nas__strategy_fbnet;
extern const nas_strategy nas__strategy_gdas;
extern const nas_strategy nas__strategy_proxyless;
extern const nas_strategy nas__strategy_spos;
extern const nas_strategy nas__strategy_bender;
extern const nas_strategy nas__strategy_random;
extern const nas_strategy nas__strategy_grid;
extern const nas_strategy nas__strategy_evolution;
extern const nas_strategy nas__strategy_local;
extern const nas_strategy nas__strategy_tpe;
extern const nas_strategy nas__strategy_asha;
extern const nas_strategy nas__strategy_hyperband;
extern const nas_strategy nas__strategy_bohb;
extern const nas_strategy nas__strategy_rl;
extern const nas_strategy nas__strategy_single_path;
extern const nas_strategy nas__strategy_nsga2;
extern const nas_strategy nas__strategy_smash;

/* clang-format off */
const nas_strategy *const nas__strategies[] = {
    &nas__strategy_darts,
    &nas__strategy_enas,
    &nas__strategy_gdas,
    &nas__strategy_fbnet,
    &nas__strategy_proxyless,
    &nas__strategy_spos,
    &nas__strategy_bender,
    &nas__strategy_random,
    &nas__strategy_grid,
    &nas__strategy_evolution,
    &nas__strategy_local,
    &nas__strategy_tpe,
    &nas__strategy_asha,
    &nas__strategy_hyperband,
    &nas__strategy_bohb,
    &nas__strategy_rl,
    &nas__strategy_single_path,
    &nas__strategy_nsga2,
    &nas__strategy_smash,
    NULL,
};
/* clang-format on */

enum { N_STRATEGIES = sizeof nas__strategies / sizeof *nas__strategies - 1 };

const nas_strategy *nas__strategy_find(const char *name) {
    const char *names[N_STRATEGIES];
    for (int i = 0; i < N_STRATEGIES; i++) {
        names[i] = nas__strategies[i]->name;
        if (name && strcmp(names[i], name) == 0) {
            return nas__strategies[i];
        }
    }
    const char *near = name ? nas__nearest(name, names, N_STRATEGIES, sizeof *names) : NULL;
    return nas__fail_null(NAS_USAGE, "unknown strategy \"%s\"%s%s%s; `espalier list strategies` shows all",
                          name ? name : "", near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

bool nas__strategy_accepts(const nas_strategy *strategy, const nas_space *space) {
    if (!strategy->accepts || !strategy->accepts(space)) {
        return true;
    }
    nas_error_clear();
    return false;
}

static nas_strategy_info infos[N_STRATEGIES + 1];

static void fill_infos(void) {
    for (int i = 0; i < N_STRATEGIES; i++) {
        const nas_strategy *s = nas__strategies[i];
        infos[i] = (nas_strategy_info){s->name, s->summary, s->paper, s->options};
    }
}

const nas_strategy_info *nas_strategies(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_infos);
    return infos;
}
