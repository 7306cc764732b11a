/* collapse.c - see collapse.h, and the look that every run takes at the end of each epoch. */
#include "search/collapse.h"
#include "search/trainer.h"
#include "space/space.h"

#include <math.h>
#include <string.h>

enum { TOLD_SKIPS = 1, TOLD_EIGENVALUE = 2 };

static const double alarm_share = 3.0 / 8;

bool nas__is_skip(const char *candidate) { return strstr(candidate, "skip") || strstr(candidate, "identity"); }

static bool in_reduction(const nas_choice *choice) { return strncmp(choice->key, "reduce/", 7) == 0; }

nas__skip_count nas__count_skips(const nas_architecture *a) {
    nas__skip_count normal = {0}, reduction = {0};
    const nas_space *space = a->space;
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *choice = nas_space_choice(space, i);
        if (choice->kind == NAS_LAYER && nas_architecture_reaches(a, i)) {
            nas__skip_count *count = in_reduction(choice) ? &reduction : &normal;
            count->layers++;
            count->skips += nas__is_skip(choice->names[__builtin_ctzll(nas_architecture_get(a, i))]);
        }
    }
    nas__skip_count count = normal.layers ? normal : reduction;
    count.share = count.layers ? (double)count.skips / count.layers : NAN;
    return count;
}

bool nas__in_normal_cell(const nas_architecture *a, int choice) {
    const nas_choice *c = nas_space_choice(a->space, choice);
    return c->kind == NAS_LAYER && !in_reduction(c) && nas_architecture_reaches(a, choice);
}

bool nas__has_collapsed(nas__skip_count count, double entropy) {
    return entropy <= NAS__UNDECIDED && count.skips > 1 && count.share >= alarm_share;
}

static double mean(const double *values, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / n;
}

double nas__eigenvalue_growth(const double *history, int n, int first) {
    int earlier = n - NAS__SHARP_LAG; /* epochs up to there */
    if (earlier < first || earlier < NAS__SHARP_WINDOW) {
        return 0;
    }
    double before = mean(history + earlier - NAS__SHARP_WINDOW, NAS__SHARP_WINDOW);
    return before > 0 ? mean(history + n - NAS__SHARP_WINDOW, NAS__SHARP_WINDOW) / before : 0;
}

/* --- in a run -------------------------------------------------------------------------------------- */
nas_status nas__watch_eigenvalue(nas_search *s, double value) {
    nas_trainer *t = nas__trainer_of(s);
    if (!nas__grow(&t->eigenvalues, t->n_eigenvalues, sizeof *t->eigenvalues)) {
        return nas_error_status();
    }
    t->eigenvalues[t->n_eigenvalues++] = value;
    return NAS_OK;
}

void nas__watch_collapse(nas_trainer *t, double entropy) {
    nas__skip_count count = nas__count_skips(t->derived);
    double growth = nas__eigenvalue_growth(t->eigenvalues, (int)t->n_eigenvalues, NAS__SHARP_FIRST);
    if (!(t->collapse_told & TOLD_SKIPS) && nas__has_collapsed(count, entropy)) {
        t->collapse_told |= TOLD_SKIPS;
        nas_search_note(&t->s, NAS_LOG_WARN, "collapse",
                        "the search collapses: %d of the %d operations that would be derived now are skip connections "
                        "(entropy %.3f). Such networks retrain badly; docs/strategies/darts.md says what helps",
                        count.skips, count.layers, entropy);
    }
    if (!(t->collapse_told & TOLD_EIGENVALUE) && growth > NAS__SHARP) {
        t->collapse_told |= TOLD_EIGENVALUE;
        nas_search_note(&t->s, NAS_LOG_WARN, "collapse",
                        "the search is about to collapse: the dominant eigenvalue of the validation loss grew by a "
                        "factor of %.2f in %d epochs (now %.3g); stop=eigenvalue ends a search there",
                        growth, NAS__SHARP_LAG, t->eigenvalues[t->n_eigenvalues - 1]);
    }
}
