/* guard.c - numbers that break down in the middle of a run, and losses that leap. */
#include "search/guard.h"

#include "core/error.h"

#include <espalier/dist.h>

#include <stdio.h>

void nas__guard_state(nas__guard *g, nas_state *st) {
    bool loading = nas_state_is_loading(st);
    if (loading ? !nas__state_has(st, "guard.rate") : g->rollbacks == 0) {
        return;
    }
    nas_state_u64(st, "guard.breakdown", &g->rollbacks, 3);
    nas_state_f64(st, "guard.rate", &g->rate, 1);
}

bool nas__guard_catches(const nas__guard *g, nas_status status, const nas__run *run, int64_t step, int epoch) {
    if (status != NAS_NUMERIC) {
        return false;
    }
    if (run && g->rollbacks == 0 && nas_ranks() == 1) { /* ranks would have to go back together */
        return true;
    }
    if (g->rollbacks) {
        nas__error_context("for the second time, now in step %lld of epoch %d (the first time was step %llu of epoch "
                           "%llu, after which the learning rate was multiplied by %g)",
                           (long long)step + 1, epoch + 1, (unsigned long long)g->step, (unsigned long long)g->epoch,
                           g->rate);
    }
    return false;
}

void nas__guard_catch(nas__guard *g, int64_t step, int epoch, char *text, size_t size) {
    g->rollbacks++;
    g->epoch = (uint64_t)epoch + 1;
    g->step = (uint64_t)step + 1;
    g->rate = NAS__GUARD_RATE;
    snprintf(text, size, "%s", nas_error_message());
    nas_error_clear();
}

void nas__guard_tell(const nas__guard *g, nas__run *run, int epochs, int64_t total_step, double lr, const char *cause) {
    char text[768], from[64] = "the beginning";
    if (epochs > 0) {
        snprintf(from, sizeof from, "the state behind epoch %d", epochs);
    }
    snprintf(text, sizeof text,
             "went back to %s and multiplied the learning rate by %g, to %g at most (the next time ends the run): %s",
             from, g->rate, g->rate * lr, cause);
    nas__log(NAS_LOG_WARN, "%s", text);
    nas__run_event(run, NAS_LOG_WARN, "rollback", epochs + 1, total_step, text);
}

/* --- losses that leap ---------------------------------------------------------------------------------- */
enum { LEAST_SEEN = 16 };
static const double leap = 3;

void nas__guard_epoch(nas__guard *g) {
    g->seen = g->spikes = g->worst_step = 0;
    g->mean = g->worst = g->worst_ratio = 0;
}

void nas__guard_loss(nas__guard *g, double loss, int64_t step) {
    double ratio = g->seen >= LEAST_SEEN && g->mean > 0 ? loss / g->mean : 0;
    if (ratio > leap) {
        g->spikes++;
        if (ratio > g->worst_ratio) {
            g->worst_ratio = ratio;
            g->worst = loss;
            g->worst_step = step + 1;
        }
        return; /* the mean is that of ordinary losses */
    }
    g->seen++;
    g->mean += (loss - g->mean) / (double)g->seen;
}

void nas__guard_spikes(const nas__guard *g, nas__run *run, int epoch, int64_t total_step) {
    if (g->spikes == 0) {
        return;
    }
    char text[256];
    snprintf(text, sizeof text,
             "%lld training loss%s of epoch %d leapt above %g times the mean of those before; the most was %.4g, %.1f "
             "times the mean, in step %lld",
             (long long)g->spikes, g->spikes == 1 ? "" : "es", epoch + 1, leap, g->worst, g->worst_ratio,
             (long long)g->worst_step);
    nas__log(NAS_LOG_WARN, "%s", text);
    nas__run_event(run, NAS_LOG_WARN, "spike", epoch + 1, total_step, text);
}
