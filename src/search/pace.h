/* pace.h - how far a run is: steps of planned steps, or time of a budget; speed, and when to print a line. */
#ifndef SEARCH_PACE_H
#define SEARCH_PACE_H

#include <espalier/search.h>

typedef struct nas__pace {
    double started;        /* monotonic seconds; a resumed run counts what it had used before */
    double budget_seconds; /* 0: by steps */
    double reserve;        /* seconds that the end of the run will need (scoring, saving) */
    int epochs;            /* planned; under a budget re-estimated after each epoch */
    int64_t steps_per_epoch;
    double epoch_started, epoch_seconds;
    double step_started, step_seconds; /* of the last step */
    double images_per_second, last_time, last_line;
    int64_t images_since;
    int64_t steps_since_line;
    int log_frequency;
    double progress; /* never falls */
} nas__pace;

double nas__clock(void); /* monotonic seconds of this process */
/* Those by which a run goes: of several ranks, rank 0's at the last nas__agree(), so that all decide alike. */
double nas__now(void);
/* Called by all ranks alike, often: sets the time, and *stop when any of them has *wanted (may be NULL) set. */
nas_status nas__agree(const volatile sig_atomic_t *wanted, volatile sig_atomic_t *stop);
void nas__pace_start(nas__pace *p, double budget_minutes, int epochs, int64_t steps_per_epoch, int log_frequency,
                     double used_seconds);
double nas__pace_seconds(const nas__pace *p);
/* Progress 0..1 before step `step` of epoch `epoch` (0-based). */
double nas__pace_progress(nas__pace *p, int epoch, int64_t step);
/* Is the run over before this epoch? Under a budget also inside one. */
bool nas__pace_over(nas__pace *p, int epoch);
bool nas__pace_out_of_time(const nas__pace *p);
void nas__pace_epoch(nas__pace *p, int epoch, bool ends);
/* After a step over `images` images; true when a log line is due. */
bool nas__pace_step(nas__pace *p, int64_t images);
/* Epochs that the run will have, the running one included: under a budget an estimate from the speed so far. */
int nas__pace_epochs(const nas__pace *p, int epoch, int64_t step);
double nas__pace_eta(const nas__pace *p, int epoch, int64_t step);
/* Of `wanted` trials (0: as many as the time allows), `done` since `started`. */
double nas__pace_trials_eta(const nas__pace *p, double started, int64_t done, int64_t wanted);
/* "1:02 h", "12 min", "43 s" into text */
const char *nas__pace_text(double seconds, char *text, size_t size);

#endif
