/* runs.c - see runs.h. One thread looks every two seconds: for directories that hold a run.sqlite, and for logs that
 * were written since. Whoever asks gets what the last look found. Given runs are looked at once, without a thread. */
#include "web/runs.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DEEPEST = 4, MOST_DIRECTORIES = 10000, LOOK_MS = 2000 };

typedef struct known_run {
    char id[NAS__RUN_ID];
    char *path, *below; /* below: the path below the directory that is shown */
    json_t *summary;    /* never changed, only replaced */
    struct timespec written;
    int64_t sequence; /* of its last change */
    bool alive, found, removed;
} known_run;

struct nas__runs {
    char *directory;
    nas__runs_changed *changed;
    void *user;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool scanning, threaded;
    atomic_bool stopping;
    known_run *run;
    size_t n;
    int64_t sequence;
    int looked_at; /* directories of this look */
};

/* --- ids ------------------------------------------------------------------------------------------------ */
/* Of the path: the same for the same run in every process. */
static void make_id(const char *below, char id[NAS__RUN_ID]) {
    uint64_t hash = nas__hash_text(below);
    hash ^= hash >> 33; /* the first digits must depend on the last letters */
    hash *= 0xff51afd7ed558ccdULL;
    hash ^= hash >> 29;
    snprintf(id, NAS__RUN_ID, "%012llx", (unsigned long long)(hash & 0xffffffffffffULL));
}

static known_run *find_id(nas__runs *runs, const char *id) {
    for (size_t i = 0; i < runs->n; i++) {
        if (!strcmp(runs->run[i].id, id) && !runs->run[i].removed) {
            return &runs->run[i];
        }
    }
    return NULL;
}

static known_run *find_below(nas__runs *runs, const char *below) {
    for (size_t i = 0; i < runs->n; i++) {
        if (!strcmp(runs->run[i].below, below)) {
            return &runs->run[i];
        }
    }
    return NULL;
}

/* --- one look --------------------------------------------------------------------------------------------- */
static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static json_t *unreadable(const char *path) {
    json_t *summary = json_pack("{s:s, s:s}", "status", nas__run_state_word(NAS__RUN_UNREADABLE), "status_detail",
                                nas_error_message());
    json_t *name = json_string(last_part(path));
    json_object_set_new(summary, "name", name ? name : json_string("(not UTF-8)"));
    nas_error_clear();
    return summary;
}

static json_t *summary_of(const char *path, nas__run_state *state) {
    nas__reader r;
    nas_error_clear();
    *state = NAS__RUN_UNREADABLE;
    json_t *summary = nas__reader_open(&r, path) ? NULL : nas__run_summary(&r, state);
    nas__reader_close(&r);
    return summary ? summary : unreadable(path);
}

/* When the log was last written, in its file or in the one of its journal. */
static struct timespec written_at(const char *path) {
    struct timespec latest = {0, 0};
    static const char *const names[] = {"run.sqlite", "run.sqlite-wal"};
    for (size_t i = 0; i < 2; i++) {
        char *file = nas__join(path, names[i]);
        struct stat st;
        if (file && !stat(file, &st) &&
            (st.st_mtim.tv_sec > latest.tv_sec ||
             (st.st_mtim.tv_sec == latest.tv_sec && st.st_mtim.tv_nsec > latest.tv_nsec))) {
            latest = st.st_mtim;
        }
        free(file);
    }
    return latest;
}

static known_run *add_run(nas__runs *runs, const char *path, const char *below) {
    if (!nas__grow(&runs->run, runs->n, sizeof *runs->run)) {
        return NULL;
    }
    known_run *run = &runs->run[runs->n];
    *run = (known_run){.path = nas__strdup(path), .below = nas__strdup(below)};
    make_id(below, run->id);
    runs->n++;
    return run;
}

/* Reads a run anew when it has been written, or when its process may have ended. The database is read outside the lock.
 */
static void look_at_run(nas__runs *runs, const char *path, const char *below) {
    struct timespec written = written_at(path);
    pthread_mutex_lock(&runs->mutex);
    known_run *run = find_below(runs, below);
    bool current = run && !run->removed && !run->alive && run->written.tv_sec == written.tv_sec &&
                   run->written.tv_nsec == written.tv_nsec;
    if (run) {
        run->found = true;
    }
    pthread_mutex_unlock(&runs->mutex);
    if (current) {
        return;
    }
    nas__run_state state;
    json_t *summary = summary_of(path, &state), *shown = json_string(below);
    pthread_mutex_lock(&runs->mutex);
    run = find_below(runs, below);
    run = run ? run : add_run(runs, path, below);
    if (run) {
        json_object_set_new(summary, "id", json_string(run->id));
        json_object_set_new(summary, "path", shown ? shown : json_string("(not UTF-8)"));
        if (run->removed || !run->summary || !json_equal(run->summary, summary)) {
            run->sequence = ++runs->sequence;
        }
        json_decref(run->summary);
        run->summary = json_incref(summary);
        run->written = written;
        run->alive = nas__run_is_alive(state);
        run->found = true;
        run->removed = false;
    }
    pthread_mutex_unlock(&runs->mutex);
    json_decref(summary);
}

/* Links are not followed: they could lead out of the directory, or round in a circle. */
static bool is_real_directory(const char *path) {
    struct stat st;
    return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

static void look_below(nas__runs *runs, const char *path, const char *below, int depth) {
    DIR *d = ++runs->looked_at <= MOST_DIRECTORIES ? opendir(path) : NULL;
    if (!d) {
        return;
    }
    char *log = nas__join(path, "run.sqlite");
    if (log && nas__exists(log)) {
        look_at_run(runs, path, below);
    }
    free(log);
    for (const struct dirent *e; depth < DEEPEST && !runs->stopping && (e = readdir(d));) {
        if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)) {
            continue;
        }
        char *inner = nas__join(path, e->d_name);
        char *shown = *below && strcmp(below, ".") ? nas__join(below, e->d_name) : nas__strdup(e->d_name);
        if (inner && shown && is_real_directory(inner)) {
            look_below(runs, inner, shown, depth + 1);
        }
        free(inner);
        free(shown);
    }
    closedir(d);
}

static void look(nas__runs *runs) {
    pthread_mutex_lock(&runs->mutex);
    for (size_t i = 0; i < runs->n; i++) {
        runs->run[i].found = false;
    }
    pthread_mutex_unlock(&runs->mutex);
    runs->looked_at = 0;
    look_below(runs, runs->directory, ".", 0);
    pthread_mutex_lock(&runs->mutex);
    for (size_t i = 0; i < runs->n; i++) {
        known_run *run = &runs->run[i];
        if (!run->found && !run->removed) {
            run->removed = true;
            run->sequence = ++runs->sequence;
        }
    }
    runs->scanning = false;
    pthread_mutex_unlock(&runs->mutex);
    nas_error_clear();
}

static void *keep_looking(void *user) {
    nas__runs *runs = user;
    for (bool stopping = false; !stopping;) {
        look(runs);
        runs->changed(runs->user);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_MS / 1000;
        pthread_mutex_lock(&runs->mutex);
        while (!runs->stopping && !pthread_cond_timedwait(&runs->wake, &runs->mutex, &until)) {
        }
        stopping = runs->stopping;
        pthread_mutex_unlock(&runs->mutex);
    }
    return NULL;
}

/* --- start and stop ---------------------------------------------------------------------------------------- */
static nas__runs *runs_new(const char *directory) {
    nas__runs *runs = nas__alloc(sizeof *runs);
    if (runs) {
        *runs = (nas__runs){.directory = nas__strdup(directory)};
        pthread_mutex_init(&runs->mutex, NULL);
        pthread_cond_init(&runs->wake, NULL);
    }
    return runs;
}

nas__runs *nas__runs_start(const char *directory, nas__runs_changed *changed, void *user) {
    if (!nas__is_directory(directory)) {
        return nas__fail_null(NAS_NOT_FOUND, "%s: is no directory", directory);
    }
    nas__runs *runs = runs_new(directory);
    if (!runs) {
        return NULL;
    }
    runs->changed = changed;
    runs->user = user;
    runs->scanning = true;
    runs->threaded = !pthread_create(&runs->thread, NULL, keep_looking, runs);
    if (!runs->threaded) {
        nas__runs_stop(runs);
        return nas__fail_null(NAS_IO, "no thread can be started");
    }
    return runs;
}

nas__runs *nas__runs_of(int n, const char *const *directories) {
    nas__runs *runs = runs_new("");
    for (int i = 0; runs && i < n; i++) {
        char *path = nas__strdup(directories[i]);
        size_t length = path ? strlen(path) : 0;
        while (length > 1 && path[length - 1] == '/') {
            path[--length] = 0;
        }
        if (path) {
            look_at_run(runs, path, path);
        }
        free(path);
    }
    return runs;
}

void nas__runs_stop(nas__runs *runs) {
    if (!runs) {
        return;
    }
    pthread_mutex_lock(&runs->mutex);
    runs->stopping = true;
    pthread_cond_signal(&runs->wake);
    pthread_mutex_unlock(&runs->mutex);
    if (runs->threaded) {
        pthread_join(runs->thread, NULL);
    }
    for (size_t i = 0; i < runs->n; i++) {
        json_decref(runs->run[i].summary);
        free(runs->run[i].path);
        free(runs->run[i].below);
    }
    pthread_cond_destroy(&runs->wake);
    pthread_mutex_destroy(&runs->mutex);
    free(runs->run);
    free(runs->directory);
    free(runs);
}

/* --- answers ------------------------------------------------------------------------------------------------ */
const char *nas__runs_directory(const nas__runs *runs) { return runs->directory; }

bool nas__runs_scanning(nas__runs *runs) {
    pthread_mutex_lock(&runs->mutex);
    bool scanning = runs->scanning;
    pthread_mutex_unlock(&runs->mutex);
    return scanning;
}

int nas__runs_count(nas__runs *runs) {
    int n = 0;
    pthread_mutex_lock(&runs->mutex);
    for (size_t i = 0; i < runs->n; i++) {
        n += !runs->run[i].removed;
    }
    pthread_mutex_unlock(&runs->mutex);
    return n;
}

char *nas__runs_path(nas__runs *runs, const char *id) {
    pthread_mutex_lock(&runs->mutex);
    const known_run *run = find_id(runs, id);
    char *path = run ? nas__strdup(run->path) : NULL;
    pthread_mutex_unlock(&runs->mutex);
    return path;
}

json_t *nas__runs_summary(nas__runs *runs, const char *id) {
    pthread_mutex_lock(&runs->mutex);
    const known_run *run = find_id(runs, id);
    json_t *summary = run ? json_incref(run->summary) : NULL;
    pthread_mutex_unlock(&runs->mutex);
    return summary;
}

json_t *nas__runs_list(nas__runs *runs) {
    json_t *list = json_array();
    pthread_mutex_lock(&runs->mutex);
    for (size_t i = 0; i < runs->n; i++) {
        if (!runs->run[i].removed) {
            json_array_append(list, runs->run[i].summary);
        }
    }
    pthread_mutex_unlock(&runs->mutex);
    return list;
}

json_t *nas__runs_news(nas__runs *runs, int64_t *sequence) {
    json_t *news = json_array();
    pthread_mutex_lock(&runs->mutex);
    for (size_t i = 0; i < runs->n; i++) {
        const known_run *run = &runs->run[i];
        if (run->sequence > *sequence) {
            json_array_append_new(news, run->removed ? json_pack("[s, {s:s}]", "removed", "id", run->id)
                                                     : json_pack("[s, O]", "changed", run->summary));
        }
    }
    *sequence = runs->sequence;
    pthread_mutex_unlock(&runs->mutex);
    return news;
}
