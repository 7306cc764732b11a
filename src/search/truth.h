/* truth.h - tables of what networks are worth: one row for each architecture of a space, named by its canonical string,
 * with numbers that somebody measured. One number of a row is what a search may see, another the truth about it. */
#ifndef SEARCH_TRUTH_H
#define SEARCH_TRUTH_H

#include <espalier/space.h>

typedef struct nas__truth_row {
    const char *arch;
    double seen, truth;
    int64_t line; /* of the file */
} nas__truth_row;

typedef struct nas__truth {
    char *path;
    char *text;           /* of the file; the names point into it */
    nas__truth_row *rows; /* by name */
    int64_t n;
    bool lower_is_better;
} nas__truth;

/* Reads "FILE.csv[,seen=COL][,truth=COL+COL][,arch=COL]" (":" in place of "," is fine): comma-separated values with a
 * header line. arch: the column of the names, by default `arch` or else the first; seen: by default the first of the
 * others; truth: by default what is seen. Of several columns the mean is taken. NULL and an error that names file, line
 * and column. */
nas__truth *nas__truth_open(const char *spec, bool lower_is_better);
void nas__truth_free(nas__truth *t); /* NULL is fine */
/* The row of a canonical string; NULL, no error, when there is none. */
const nas__truth_row *nas__truth_find(const nas__truth *t, const char *arch);
/* The same for an architecture of a built-in space (NULL or another: its JSON is its name); none is an error. */
const nas__truth_row *nas__truth_of(const nas__truth *t, const char *space_name, const nas_architecture *a);
/* How many rows are truly better than this value; and how many at least as good. */
int64_t nas__truth_better(const nas__truth *t, double value);
int64_t nas__truth_as_good(const nas__truth *t, double value);
/* The best truth of all rows. */
double nas__truth_best(const nas__truth *t);
/* What n networks drawn at random without repetition lead to: the expected truth of the one that looks best. NaN when
 * memory is out. */
double nas__truth_best_of(const nas__truth *t, int64_t n);

/* The canonical string of an architecture of a built-in space, or its JSON in one line; new, to be freed. */
char *nas__canonical_name(const char *space_name, const nas_architecture *a);

#endif
