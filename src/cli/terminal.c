/* terminal.c - what people see: the bar, log lines, colour, numbers in words. Everything but results goes to stderr. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/memory.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static struct {
    nas_log_level least;
    bool quiet, live, drawn;
    struct timespec last;
    pthread_mutex_t lock; /* the loader's and the log's threads may speak, too */
} terminal = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool coloured(FILE *stream) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(stream)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

const char *cli_bold(FILE *stream) { return coloured(stream) ? "\033[1m" : ""; }
const char *cli_plain(FILE *stream) { return coloured(stream) ? "\033[0m" : ""; }

static void clear_bar(void) {
    if (terminal.drawn) {
        fputs("\r\033[K", stderr);
        terminal.drawn = false;
    }
}

static void on_log(nas_log_level level, const char *message, void *user) {
    (void)user;
    if (level < terminal.least) {
        return;
    }
    const char *mark = level >= NAS_LOG_ERROR ? "error: " : level >= NAS_LOG_WARN ? "warning: " : "";
    bool colour = *mark && coloured(stderr);
    pthread_mutex_lock(&terminal.lock);
    clear_bar();
    fprintf(stderr, "%s%s%s%s\n", colour ? "\033[33m" : "", mark, colour ? "\033[0m" : "", message);
    pthread_mutex_unlock(&terminal.lock);
}

void cli_terminal_open(const cli_args *a) {
    const char *term = getenv("TERM");
    terminal.least = a->quiet ? NAS_LOG_WARN : a->verbose ? NAS_LOG_DEBUG : NAS_LOG_INFO;
    terminal.quiet = a->quiet;
    terminal.live = !a->quiet && isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
    nas_set_log(on_log, NULL);
}

bool cli_terminal_is_live(void) { return terminal.live; }

void cli_note(const char *format, ...) {
    if (terminal.quiet) {
        return;
    }
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&terminal.lock);
    clear_bar();
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    pthread_mutex_unlock(&terminal.lock);
    va_end(args);
}

/* --- the bar ------------------------------------------------------------------------------------ */
enum { BAR = 24, LEAST_MS = 100 };

static bool too_soon(bool last_step) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed =
        1e3 * (double)(now.tv_sec - terminal.last.tv_sec) + 1e-6 * (double)(now.tv_nsec - terminal.last.tv_nsec);
    if (passed < LEAST_MS && !last_step) {
        return true;
    }
    terminal.last = now;
    return false;
}

static int columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* Of trials whose number is open there is no bar. */
static void draw_trial(const nas_progress *p, const char *bar) {
    char eta[32], line[256], of[32] = "";
    if (p->trials > 0) {
        snprintf(of, sizeof of, "/%lld [%s]", (long long)p->trials, bar);
    }
    snprintf(line, sizeof line, "trial %lld%s  %s %.4f, best %.4f  ETA %s", (long long)p->trial, of, p->metric,
             p->score, p->best_score, cli_duration(p->eta_seconds, eta, sizeof eta));
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, line);
}

static void draw_step(const nas_progress *p, const char *bar) {
    char eta[32], line[256];
    snprintf(line, sizeof line, "epoch %d/%d [%s] %lld/%lld  loss %.4f  %.0f images/s  ETA %s", p->epoch, p->epochs,
             bar, (long long)p->step, (long long)p->steps_per_epoch, p->loss, p->images_per_second,
             cli_duration(p->eta_seconds, eta, sizeof eta));
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, line);
}

static void draw(const nas_progress *p) {
    char bar[BAR + 1];
    int64_t at = p->trial > 0 ? p->trial : p->step, all = p->trial > 0 ? p->trials : p->steps_per_epoch;
    int full = all > 0 ? (int)(at * BAR / all) : 0;
    for (int i = 0; i < BAR; i++) {
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    }
    bar[BAR] = 0;
    (p->trial > 0 ? draw_trial : draw_step)(p, bar);
    fflush(stderr);
    terminal.drawn = true;
}

bool cli_progress(const nas_progress *progress, void *user) {
    (void)user;
    if (terminal.live && !too_soon(progress->step == progress->steps_per_epoch)) {
        pthread_mutex_lock(&terminal.lock);
        draw(progress);
        pthread_mutex_unlock(&terminal.lock);
    }
    return false;
}

void cli_progress_end(void) {
    pthread_mutex_lock(&terminal.lock);
    clear_bar();
    pthread_mutex_unlock(&terminal.lock);
}

/* --- numbers ------------------------------------------------------------------------------------ */
const char *cli_duration(double seconds, char *text, size_t size) {
    if (!isfinite(seconds)) {
        snprintf(text, size, "?");
    } else if (seconds < 10) {
        snprintf(text, size, "%.1f s", seconds);
    } else if (seconds < 100) {
        snprintf(text, size, "%.0f s", seconds);
    } else if (seconds < 5400) {
        snprintf(text, size, seconds < 600 ? "%.1f min" : "%.0f min", seconds / 60);
    } else {
        snprintf(text, size, "%d:%02d h", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    }
    return text;
}

const char *cli_count(double count, char *text, size_t size) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    int unit = 0;
    while (count >= 1000 && unit < 4) {
        count /= 1000;
        unit++;
    }
    snprintf(text, size, unit ? "%.3g%s" : "%.0f%s", count, units[unit]);
    return text;
}

nas_status cli_print_json(json_t *json) {
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(json);
    if (!text) {
        return nas__fail(NAS_NO_MEMORY, "the result cannot be written as JSON");
    }
    bool failed = printf("%s\n", text) < 0 || fflush(stdout);
    free(text);
    return failed ? nas__fail(NAS_IO, "stdout: %s", strerror(errno)) : NAS_OK;
}
