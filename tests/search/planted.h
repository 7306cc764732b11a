/* planted.h - a search whose right answer is known. A sample is six quadrants of 2x2 pixels; each carries one bit about
 * the label, in one of four orthogonal patterns, and noise in the three others. Choice i sees quadrant i through one of
 * four detectors, one per pattern; what they see is summed before the head. A wrong candidate loses its quadrant's bit
 * and nothing else. */
#ifndef TESTS_PLANTED_H
#define TESTS_PLANTED_H

#include <espalier/search.h>

enum { PLANTED_CHOICES = 6, PLANTED_CANDIDATES = 4, PLANTED_VALUES = 24 };

/* A new network with the six choices "quadrant0" .. "quadrant5". */
nas_module *planted_model(int outputs);

/* The same network, but each candidate sees the pattern that carries the bit (of the data of this seed), through 1, 4,
 * 16 or 64 hidden numbers: equally good, of unequal cost. Which one is the cheapest of choice i, and how many of the
 * six are; in general the candidate at place `rank` in the order of costs. */
nas_module *planted_cost_model(int outputs, uint64_t seed);
int planted_by_cost(uint64_t seed, int i, int rank);
int planted_cheap_found(const nas_architecture *a, uint64_t seed);

/* The same choices on images of one pixel and eight channels, which show what the patterns have seen in a quadrant,
 * each twice, with a fifth candidate "skip_connect", which hands the image on. What the head reads is channel 0 of each
 * result: it comes from the candidates even when only half of the channels goes through them, and has a wrong pattern
 * behind the identity. */
enum { PLANTED_SKIP = 4, PLANTED_IMAGE_CHANNELS = 8 };
nas_module *planted_images(int outputs, uint64_t seed);

typedef enum planted_task { PLANTED_CLASSES, PLANTED_SHUFFLED, PLANTED_NUMBERS } planted_task;
/* n samples; the labels are two classes, the same without any relation to the pixels, or the sum of the six bits. */
nas_dataset *planted_data(planted_task task, int64_t n, uint64_t seed);
/* The pattern that carries the bit of quadrant i in the data of this seed. */
int planted_right(uint64_t seed, int i);
/* How many of the six an architecture of the model has right. */
int planted_found(const nas_architecture *a, uint64_t seed);
/* The right architecture as JSON; new, to be freed. */
char *planted_answer(uint64_t seed);

/* What most tests search with: half of the data for the weights, half for choices and scores. */
typedef struct planted {
    nas_module *model;
    nas_dataset *data, *parts[2];
    nas_trainer_config config; /* without an optimiser: it belongs to the trainer that is made from the configuration */
} planted;
planted planted_new(planted_task task, int64_t n, uint64_t seed);
/* The same with the cost model. */
planted planted_cost_new(planted_task task, int64_t n, uint64_t seed);
void planted_free(planted *p);

/* A search of six epochs over 3,000 samples: how many of the six the last derived architecture has right; and that all
 * are, for seeds 1 .. `seeds`. */
int planted_search(const char *strategy, const char *options, planted_task task, uint64_t seed);
void planted_finds_all(const char *strategy, const char *options, int seeds);

/* The same over 2,048 samples with the cost model: how many of what is derived last are the cheapest; and that all are.
 */
int planted_cheap_search(const char *strategy, const char *options, int epochs, uint64_t seed);
void planted_finds_cheapest(const char *strategy, const char *options, int epochs, int seeds);

/* That a search by trials over three epochs of shared weights, which ends with `trials` of them, is the same bit for
 * bit when it is stopped (after so many steps and trials) and resumed. */
void assert_trials_resume(nas_trainer *(*trainer_of)(planted *p, const char *options), const char *options,
                          size_t trials, int n_stops, const int *stops);

/* A hash of the parameters (NAS_ROLE_WEIGHT), buffers (NAS_ROLE_BUFFER) or both of a model, bit for bit. */
uint64_t weights_hash(nas_module *model, unsigned roles);
enum { EVERYTHING = NAS_ROLE_WEIGHT | NAS_ROLE_BUFFER };

/* The losses of all steps, recorded by on_step; to be given as .user. */
typedef struct step_losses {
    double values[1024];
    int n;
    int stop_at; /* stops after so many steps in all; 0 = never */
    int kill_at; /* the process kills itself there; 0 = never */
} step_losses;
bool record_loss(const nas_progress *progress, void *user);
void assert_same_losses(const double *a, const double *b, int n, const char *what);

/* Fails, with the number, unless a run under a budget of `budget` seconds took about as long; more than a little late
 * is allowed, since a test's machine may have others to serve. */
void assert_on_time(double seconds, double budget);

/* The content of a file below a directory; new. */
char *file_text(const char *directory, const char *name);

#endif
