/* profile.h - what operations take on a device: one entry for each operation at each shape, however often and in
 * whichever space it stands. Times are those of whole fixed networks as they are deployed, in which each candidate's
 * share is taken: there it has the caches, the layouts and the fused neighbours that it will have. What a network takes
 * is predicted as a sum of entries with a fitted factor and overhead. */
#ifndef HARDWARE_PROFILE_H
#define HARDWARE_PROFILE_H

#include "hardware/cost_table.h"

/* What is computed ("conv 24-72 1x1, bn, relu6, ..."), at which shape: the two are the key. The parts of a network that
 * are not searched are an entry, too. */
typedef struct nas__profile_entry {
    char *op;
    int n_in, n_out; /* dimensions of one sample */
    int64_t in[NAS_MAX_DIMS], out[NAS_MAX_DIMS];
    int64_t macs, parameters, bytes; /* of one sample; bytes: weights, input and output */
    double *ns;                      /* samples: of one pass over a batch, as fast as the canary says */
    size_t n;
} nas__profile_entry;

/* A whole network that was measured. */
typedef struct nas__profile_network {
    int rest;           /* the entry of what is not searched: which space it is of */
    char *architecture; /* JSON */
    double ns;
} nas__profile_network;

typedef struct nas__profile {
    char *machine, *engine; /* "Intel(R) Xeon(R) CPU @ 2.00GHz, avx512", "espalier 0.1.0", "onnxruntime 1.20.1" */
    int batch, threads;
    double canary_ns; /* what the canary operation took while the table began; 0: nothing was measured yet */
    nas__profile_entry *entries;
    nas__profile_network *networks;
    size_t n_entries, n_networks;
} nas__profile;

/* An empty table; copies the texts. NULL and an error when memory is out. */
nas__profile *nas__profile_new(const char *machine, const char *engine, int batch, int threads);
void nas__profile_free(nas__profile *p);                    /* NULL is fine */
bool nas__profile_is_of_onnxruntime(const nas__profile *p); /* by its engine; else it is of this program */
/* The entry of that key, made when there is none; -1 and an error when memory is out. */
int nas__profile_entry_of(nas__profile *p, const nas__profile_entry *key);
int nas__profile_find(const nas__profile *p, const char *op, int n_in, const int64_t *in); /* or -1 */
nas_status nas__profile_sample(nas__profile *p, int entry, double ns);
/* Takes the architecture's text over. */
nas_status nas__profile_add_network(nas__profile *p, int rest, char *architecture, double ns);
double nas__entry_ns(const nas__profile_entry *e);     /* the median; 0 without samples */
double nas__entry_spread(const nas__profile_entry *e); /* between the quartiles */

/* profile_json.c: as a file. Reading refuses what is no such table, naming the file and the place. */
nas_status nas__profile_write(const nas__profile *p, const char *path);
nas__profile *nas__profile_read(const char *path);

/* --- the entries of a space (profile_space.c) ----------------------------------------------------------- */
/* One candidate at one place of the network. */
typedef struct nas__profile_place {
    int site, child, entry;
    char *path;  /* of its module, in the supernet and once fixed */
    bool chosen; /* in the network that is measured now */
} nas__profile_place;
typedef struct nas__profile_places {
    nas__profile_place *of;
    size_t n;
    int rest; /* the entry of what is not searched */
} nas__profile_places;
/* By a dry pass over one sample; entries that the table lacks are added without samples. */
nas_status nas__profile_places_find(nas__profile_places *places, nas__profile *p, nas_space *space, nas_module *model,
                                    int ndim, const int64_t *dims);
/* Sets `chosen` of each as in an architecture of the same space. */
nas_status nas__profile_choose(nas__profile_places *places, const nas_architecture *a);
void nas__profile_places_free(nas__profile_places *places);
/* "\"3e6\" of \"block_2\": conv 24-144 ... on 24x32x32" of a place without samples, into text; NULL: all have some. */
const char *nas__profile_missing(const nas__profile *p, const nas__profile_places *places, const nas_space *space,
                                 char *text, size_t size);
/* --- predictions (profile_fit.c) ------------------------------------------------------------------------ */
/* Latencies in microseconds as the table predicts them: the entries' medians, corrected by what the measured whole
 * networks of this space say of each (work that a neighbour does for it), and an overhead. NULL and an error when an
 * entry has no sample. */
typedef struct nas__profile_fit {
    int networks;  /* that it was fitted to */
    double factor; /* of all medians */
    double error;  /* mean relative error of networks that were left out */
} nas__profile_fit;
nas__cost_table *nas__profile_costs(const nas__profile *p, nas__profile_places *places, const nas_space *space,
                                    nas__profile_fit *fit); /* fit may be NULL */

typedef struct nas__profile_errors {
    double spearman, mean, bias, within; /* mean absolute, mean signed relative error; share within 10 % */
} nas__profile_errors;
void nas__profile_errors_of(nas__profile_errors *e, int n, const double *predicted, const double *measured);

/* --- measuring (profile_measure.c) ---------------------------------------------------------------------- */
typedef struct nas__profile_progress {
    int networks;
    double done, seconds; /* share of the samples; since the start */
} nas__profile_progress;
typedef struct nas__profile_config nas__profile_config;
/* A program that runs networks. */
typedef struct nas__profile_engine {
    /* A fixed model, ready to be run over one random batch; NULL and an error on failure. */
    void *(*open)(void *user, const nas__profile_config *config, nas_module *model, const nas__profile_places *places);
    /* Nanoseconds of one pass, and in it of the parts with these paths, each without those inside it; NaN for what did
     * not run. */
    nas_status (*pass)(void *opened, double *parts, double *whole);
    void (*close)(void *opened);     /* NULL is fine */
    double (*canary_ns)(void *user); /* of one run of a canary of its own; NULL: this program's */
    void *user;
} nas__profile_engine;
struct nas__profile_config {
    nas__profile *profile;
    nas_module *(*make)(void *user);                                     /* a new model of the space */
    bool (*progress)(const nas__profile_progress *progress, void *user); /* after every network; false: enough */
    void *user;                                                          /* of both */
    const nas__profile_engine *engine;                                   /* NULL: this program */
    int ndim;
    int64_t dims[NAS_MAX_DIMS]; /* of one sample */
    int samples;                /* that every entry should have */
    double seconds;             /* at most */
    uint64_t seed;
};
/* Measures random fixed networks of a space until every entry has its samples. What the table has already is kept. */
nas_status nas__profile_measure(const nas__profile_config *config);
/* Measures n further random networks, from another stream of random numbers, and predicts them; ns. */
nas_status nas__profile_validate(const nas__profile_config *config, int n, double *predicted, double *measured);
/* The same as nas__profile_measure for a model that cannot be made anew: paths of its supernet, whose batch norms are
 * not folded. Its decisions are others afterwards. */
nas_status nas__profile_supernet(const nas__profile_config *config, nas_space *space, nas_module *model);
/* A fixed model alone, as fast as the table's canary says. */
nas_status nas__profile_one(const nas__profile_config *config, nas_module *model, double *ns);
/* profile_engine.c: this program. */
extern const nas__profile_engine nas__profile_own_engine;

#endif
