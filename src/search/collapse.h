/* collapse.h - has a search collapsed to skip connections? They have no weights to learn, so they help early and take
 * over, while the supernet's loss still falls: the best known failure of differentiable search (Zela et al., ICLR
 * 2020). */
#ifndef SEARCH_COLLAPSE_H
#define SEARCH_COLLAPSE_H

#include <espalier/strategy.h>

/* A candidate that hands its input on: its name says so, in all spaces. */
bool nas__is_skip(const char *candidate);

/* What an architecture is made of: its layer choices that matter, and how many of them are skips. Reduction cells
 * (keys that begin with "reduce/") do not count where there are others. */
typedef struct nas__skip_count {
    int layers, skips;
    double share; /* NaN without layers */
} nas__skip_count;
nas__skip_count nas__count_skips(const nas_architecture *a);

/* A layer choice that counts for that. */
bool nas__in_normal_cell(const nas_architecture *a, int choice);

/* Three skips among the eight operations of a normal cell of DARTS are the alarm, in any cell their share; one alone
 * never is. While the probabilities are almost uniform (mean entropy, 1 = uniform, above 0.99), what is derived is
 * chance. NaN: nothing drifts where a strategy has no probabilities. */
bool nas__has_collapsed(nas__skip_count count, double entropy);

/* Growth of the dominant eigenvalue (of d2 L/d alpha2, one per epoch): mean of the last 5 epochs over the mean of the 5
 * that ended 4 epochs earlier, which end in epoch `first` (counted from 1) or later; 0 while there are not enough.
 * Above NAS__SHARP a collapse is near (Zela et al. 2020). */
double nas__eigenvalue_growth(const double *history, int n, int first);
#define NAS__SHARP     1.3
#define NAS__UNDECIDED 0.99
enum { NAS__SHARP_WINDOW = 5, NAS__SHARP_LAG = 4, NAS__SHARP_FIRST = 10 };

#endif
