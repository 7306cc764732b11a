/* hub.c - see hub.h. A connection without news is suspended; one thread looks at the followed logs four times a second
 * and wakes those that may have some. */
#include "web/hub.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"
#include "web/api.h"
#include "web/news.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 250, SILENCE_MS = 15000, MOST_RUNS = 12, FAREWELL_MS = 1000 };

typedef struct client {
    nas__hub *hub;
    struct MHD_Connection *connection;
    nas__followed *run[MOST_RUNS];
    nas__cursor cursor[MOST_RUNS];
    int n;            /* 0: it follows the list of runs */
    int64_t sequence; /* of the list */
    char *text;       /* that has not been sent yet */
    size_t sent;
    int64_t spoke_ms;
    bool suspended, woken, finished;
    struct client *next;
} client;

struct nas__hub {
    nas__runs *runs;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    client *clients;
    int n_clients;
    nas__followed *followed;
    bool stopping;
};

/* --- waking ------------------------------------------------------------------------------------------------- */
/* With the mutex held. */
static void wake_client(client *c) {
    c->woken = true;
    if (c->suspended) {
        c->suspended = false;
        MHD_resume_connection(c->connection);
    }
}

void nas__hub_wake(nas__hub *hub) {
    pthread_mutex_lock(&hub->mutex);
    for (nas__followed *f = hub->followed; f; f = f->next) {
        nas__followed_forget(f);
    }
    for (client *c = hub->clients; c; c = c->next) {
        wake_client(c);
    }
    pthread_mutex_unlock(&hub->mutex);
}

static bool follows(const client *c, const nas__followed *f) {
    bool found = false;
    for (int i = 0; i < c->n; i++) {
        found = found || c->run[i] == f;
    }
    return found;
}

static void look(nas__hub *hub) {
    for (nas__followed *f = hub->followed; f; f = f->next) {
        bool changed = nas__followed_changed(f);
        for (client *c = hub->clients; changed && c; c = c->next) {
            if (follows(c, f)) {
                wake_client(c);
            }
        }
    }
    int64_t now = nas__monotonic_ms();
    for (client *c = hub->clients; c; c = c->next) {
        if (now - c->spoke_ms > SILENCE_MS) {
            wake_client(c);
        }
    }
}

static void *keep_looking(void *user) {
    nas__hub *hub = user;
    pthread_mutex_lock(&hub->mutex);
    while (!hub->stopping) {
        look(hub);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&hub->wake, &hub->mutex, &until);
    }
    pthread_mutex_unlock(&hub->mutex);
    return NULL;
}

/* --- what a client gets --------------------------------------------------------------------------------------- */
static void list_news(client *c) {
    json_t *news = nas__runs_news(c->hub->runs, &c->sequence), *entry;
    size_t i;
    json_array_foreach(news, i, entry) {
        const char *what = json_string_value(json_array_get(entry, 0));
        nas__event_append(&c->text, "run", NULL, json_pack("{s:O}", what, json_array_get(entry, 1)));
    }
    json_decref(news);
}

static void fill(client *c) {
    if (c->hub->stopping) {
        nas__event_append(&c->text, "bye", NULL, json_pack("{s:s}", "reason", "the server ends"));
        c->finished = true;
        return;
    }
    for (int i = 0; i < c->n; i++) {
        nas__followed_news(c->run[i], &c->cursor[i], &c->text);
    }
    if (!c->n) {
        list_news(c);
    }
    if (!c->text && nas__monotonic_ms() - c->spoke_ms > SILENCE_MS) {
        c->text = nas__strdup(":\n\n");
    }
}

static ssize_t read_stream(void *user, uint64_t position, char *buffer, size_t size) {
    client *c = user;
    (void)position;
    pthread_mutex_lock(&c->hub->mutex);
    if (!c->text && !c->finished) {
        c->woken = false;
        fill(c);
        c->sent = 0;
    }
    ssize_t n = 0;
    if (c->text) {
        size_t left = strlen(c->text + c->sent), take = left < size ? left : size;
        memcpy(buffer, c->text + c->sent, take);
        c->sent += take;
        c->spoke_ms = nas__monotonic_ms();
        if (take == left) {
            free(c->text);
            c->text = NULL;
        }
        n = (ssize_t)take;
    } else if (c->finished) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (!c->woken) {
        c->suspended = true;
        MHD_suspend_connection(c->connection);
    }
    pthread_mutex_unlock(&c->hub->mutex);
    return n;
}

/* --- clients -------------------------------------------------------------------------------------------------- */
static void unfollow(nas__hub *hub, nas__followed *f) {
    if (!f || --f->users > 0) {
        return;
    }
    nas__followed **at = &hub->followed;
    while (*at != f) {
        at = &(*at)->next;
    }
    *at = f->next;
    nas__followed_close(f);
}

static void free_client(void *user) {
    client *c = user;
    nas__hub *hub = c->hub;
    pthread_mutex_lock(&hub->mutex);
    for (client **at = &hub->clients; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            hub->n_clients--;
            break;
        }
    }
    for (int i = 0; i < c->n; i++) {
        unfollow(hub, c->run[i]);
    }
    pthread_mutex_unlock(&hub->mutex);
    free(c->text);
    free(c);
}

static nas__followed *follow(nas__hub *hub, const char *id) {
    for (nas__followed *f = hub->followed; f; f = f->next) {
        if (!strcmp(f->id, id)) {
            f->users++;
            return f;
        }
    }
    char *directory = nas__runs_path(hub->runs, id);
    nas__followed *f = directory ? nas__alloc(sizeof *f) : NULL;
    if (f && !nas__followed_open(f, id, directory)) {
        nas__followed_close(f);
        f = NULL;
    }
    free(directory);
    if (f) {
        f->users = 1;
        f->next = hub->followed;
        hub->followed = f;
    }
    return f;
}

/* "segment.epoch.event", one for each run, separated by commas: only one run's are in an event, so others begin anew.
 */
static void read_last_id(nas__cursor *c, const char *text) {
    long long segment, epoch, event;
    if (text && sscanf(text, "%lld.%lld.%lld", &segment, &epoch, &event) == 3) {
        *c = (nas__cursor){.segment = segment, .epoch = epoch, .event = event, .state = -1};
    }
}

static bool follow_all(client *c, const char *ids, const char *last_id) {
    for (const char *p = ids; *p; p += strcspn(p, ","), p += *p == ',') {
        char id[NAS__RUN_ID] = "";
        size_t n = strcspn(p, ",");
        if (c->n == MOST_RUNS || n != NAS__RUN_ID - 1) {
            return false;
        }
        memcpy(id, p, n);
        nas__followed *f = follow(c->hub, id);
        if (!f) {
            return false;
        }
        c->cursor[c->n] = (nas__cursor){.state = -1};
        c->run[c->n++] = f;
    }
    if (c->n == 1) {
        read_last_id(&c->cursor[0], last_id);
    }
    return true;
}

struct MHD_Response *nas__hub_open(nas__hub *hub, struct MHD_Connection *connection, const char *ids,
                                   const char *last_id, int *status) {
    client *c = nas__alloc(sizeof *c);
    *status = MHD_HTTP_SERVICE_UNAVAILABLE;
    if (!c) {
        return NULL;
    }
    *c = (client){
        .hub = hub, .connection = connection, .spoke_ms = nas__monotonic_ms(), .text = nas__strdup("retry: 2000\n\n")};
    pthread_mutex_lock(&hub->mutex);
    bool room = hub->n_clients < NAS__MOST_STREAMS && !hub->stopping, known = room && follow_all(c, ids, last_id);
    hub->n_clients++;
    c->next = hub->clients;
    hub->clients = c;
    pthread_mutex_unlock(&hub->mutex);
    struct MHD_Response *response =
        known ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, c, free_client) : NULL;
    if (!response) {
        *status = room ? MHD_HTTP_NOT_FOUND : MHD_HTTP_SERVICE_UNAVAILABLE;
        free_client(c);
        return NULL;
    }
    *status = MHD_HTTP_OK;
    return response;
}

/* --- start and stop -------------------------------------------------------------------------------------------- */
nas__hub *nas__hub_start(void) {
    nas__hub *hub = nas__alloc(sizeof *hub);
    if (!hub) {
        return NULL;
    }
    pthread_mutex_init(&hub->mutex, NULL);
    pthread_cond_init(&hub->wake, NULL);
    if (pthread_create(&hub->thread, NULL, keep_looking, hub)) {
        free(hub);
        return nas__fail_null(NAS_IO, "no thread can be started");
    }
    return hub;
}

void nas__hub_watch(nas__hub *hub, nas__runs *runs) { hub->runs = runs; }

static bool has_clients(nas__hub *hub) {
    pthread_mutex_lock(&hub->mutex);
    bool some = hub->n_clients > 0;
    pthread_mutex_unlock(&hub->mutex);
    return some;
}

void nas__hub_finish(nas__hub *hub) {
    pthread_mutex_lock(&hub->mutex);
    hub->stopping = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->mutex);
    pthread_join(hub->thread, NULL);
    nas__hub_wake(hub);
    for (int i = 0; i < FAREWELL_MS / 10 && has_clients(hub);
         i++) { /* whoever is too slow for it misses the farewell */
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

void nas__hub_free(nas__hub *hub) {
    if (hub) {
        pthread_cond_destroy(&hub->wake);
        pthread_mutex_destroy(&hub->mutex);
        free(hub);
    }
}
