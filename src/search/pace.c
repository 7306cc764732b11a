/* pace.c - see pace.h */
#include "search/pace.h"

#include "core/memory.h"
#include "dist/ranks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double nas__clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double agreed; /* 0: not yet */

double nas__now(void) { return nas_ranks() > 1 && agreed > 0 ? agreed : nas__clock(); }

nas_status nas__agree(const volatile sig_atomic_t *wanted, volatile sig_atomic_t *stop) {
    if (nas_ranks() == 1) {
        *stop = *stop || (wanted && *wanted);
        return NAS_OK;
    }
    double own[] = {nas__clock(), wanted && *wanted}, *all = nas__alloc(2 * (size_t)nas_ranks() * sizeof *all);
    nas_status status = all ? nas__ranks_gather_each(2, own, all) : nas_error_status();
    for (int r = 0; !status && r < nas_ranks(); r++) {
        *stop = *stop || all[2 * r + 1] != 0;
    }
    agreed = status ? agreed : all[0];
    free(all);
    return status;
}

void nas__pace_start(nas__pace *p, double budget_minutes, int epochs, int64_t steps_per_epoch, int log_frequency,
                     double used_seconds) {
    double now = nas__now();
    *p = (nas__pace){.started = now - used_seconds,
                     .budget_seconds = budget_minutes * 60,
                     .epochs = epochs,
                     .steps_per_epoch = steps_per_epoch,
                     .epoch_started = now,
                     .step_started = now,
                     .last_time = now,
                     .last_line = now,
                     .log_frequency = log_frequency};
    p->reserve = fmin(0.06 * p->budget_seconds, 60); /* until the first epoch's end has been timed */
}

double nas__pace_seconds(const nas__pace *p) { return nas__now() - p->started; }

/* Under a budget: when the last step has to have begun, so that it does not end too late. */
static double last_start(const nas__pace *p) { return p->budget_seconds - p->reserve - p->step_seconds; }

double nas__pace_progress(nas__pace *p, int epoch, int64_t step) {
    double progress;
    if (p->budget_seconds > 0) {
        progress = nas__pace_seconds(p) / fmax(last_start(p), 1e-3);
    } else {
        progress = ((double)epoch + (double)step / (double)p->steps_per_epoch) / p->epochs;
    }
    p->progress = fmin(1, fmax(p->progress, progress));
    return p->progress;
}

bool nas__pace_out_of_time(const nas__pace *p) {
    return p->budget_seconds > 0 && nas__pace_seconds(p) >= last_start(p);
}

bool nas__pace_over(nas__pace *p, int epoch) {
    return p->budget_seconds > 0 ? nas__pace_out_of_time(p) : epoch >= p->epochs;
}

void nas__pace_epoch(nas__pace *p, int epoch, bool ends) {
    double now = nas__now();
    if (!ends) {
        p->epoch_started = p->step_started = now;
        return;
    }
    p->epoch_seconds = now - p->epoch_started;
    if (p->budget_seconds > 0) {
        double left = p->budget_seconds - p->reserve - (now - p->started);
        p->epochs = epoch + 1 + (left > 0 ? (int)ceil(left / fmax(p->epoch_seconds, 1e-3)) : 0);
    }
}

bool nas__pace_step(nas__pace *p, int64_t images) {
    double now = nas__now(), passed = now - p->last_time;
    if (images > 0) {
        p->step_seconds = now - p->step_started;
        p->step_started = now;
    }
    p->images_since += images;
    if (passed > 0.5 || (passed > 0 && p->images_per_second == 0)) {
        double rate = (double)p->images_since / fmax(passed, 1e-6);
        p->images_per_second = p->images_per_second > 0 ? 0.7 * p->images_per_second + 0.3 * rate : rate;
        p->images_since = 0;
        p->last_time = now;
    }
    p->steps_since_line++;
    bool due = p->log_frequency > 0 ? p->steps_since_line >= p->log_frequency
                                    : p->log_frequency == 0 && now - p->last_line >= 10;
    if (due) {
        p->last_line = now;
        p->steps_since_line = 0;
    }
    return due;
}

/* Seconds of a whole epoch, as far as known; 0: not yet. */
static double epoch_seconds(const nas__pace *p, double share) {
    return p->epoch_seconds > 0 ? p->epoch_seconds : share > 0 ? (nas__now() - p->epoch_started) / share : 0;
}

int nas__pace_epochs(const nas__pace *p, int epoch, int64_t step) {
    double share = fmin(1, (double)step / (double)p->steps_per_epoch), whole = epoch_seconds(p, share);
    if (p->budget_seconds <= 0 || whole <= 0) {
        return p->epochs;
    }
    double left = fmax(0, p->budget_seconds - p->reserve - nas__pace_seconds(p));
    return epoch + (int)ceil(fmax(share + left / whole, 1));
}

double nas__pace_eta(const nas__pace *p, int epoch, int64_t step) {
    if (p->budget_seconds > 0) {
        return fmax(0, p->budget_seconds - nas__pace_seconds(p));
    }
    double share = (double)step / (double)p->steps_per_epoch;
    return fmax(0, epoch_seconds(p, share) * (p->epochs - epoch - share));
}

double nas__pace_trials_eta(const nas__pace *p, double started, int64_t done, int64_t wanted) {
    double left = p->budget_seconds > 0 ? fmax(0, p->budget_seconds - nas__pace_seconds(p)) : INFINITY;
    double needed = wanted > 0 && done > 0 ? (nas__now() - started) / (double)done * (double)(wanted - done) : INFINITY;
    return fmin(left, needed);
}

const char *nas__pace_text(double seconds, char *text, size_t size) {
    if (seconds < 100) {
        snprintf(text, size, "%.0f s", seconds);
    } else if (seconds < 5400) {
        snprintf(text, size, "%.0f min", seconds / 60);
    } else {
        snprintf(text, size, "%d:%02d h", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    }
    return text;
}
