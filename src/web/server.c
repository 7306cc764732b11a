/* server.c - listens, asks the guard, and hands each request to the page, to a stream or to a resource. */
#include "web/api.h"
#include "web/guard.h"
#include "web/hub.h"
#include "web/page.h"
#include "web/respond.h"
#include "web/web.h"

#include "core/error.h"
#include "core/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, MOST_CONNECTIONS = 256, IDLE_SECONDS = 30, HEADER_BYTES = 32 << 10, NEXT_PORTS = 20 };

struct nas__web {
    struct MHD_Daemon *daemon;
    nas__runs *runs;
    nas__hub *hub;
    nas__guard guard;
    int port;
};

/* --- requests ----------------------------------------------------------------------------------------------- */
static const char *parameter(void *user, const char *name) {
    return MHD_lookup_connection_value(user, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result answer_resource(nas__web *web, struct MHD_Connection *c, const char *url) {
    nas__call call = {.runs = web->runs, .parameter = parameter, .user = c};
    json_t *answer = nas__api_get(&call, url);
    if (!answer && !call.error) {
        return nas__respond_error(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "no_memory", "memory is out", "ask for less");
    }
    return nas__respond_json(c, call.status ? call.status : MHD_HTTP_OK, call.status ? call.error : answer);
}

/* "/api/stream?runs=a,b" or "/api/runs/ID/stream" */
static bool is_stream(struct MHD_Connection *c, const char *url, char *ids, size_t size) {
    static const char before[] = "/api/runs/", behind[] = "/stream";
    if (!strcmp(url, "/api/stream")) {
        const char *runs = parameter(c, "runs");
        return snprintf(ids, size, "%s", runs ? runs : "") < (int)size;
    }
    size_t n = strlen(url), id = sizeof before - 1 + NAS__RUN_ID - 1;
    if (n != id + sizeof behind - 1 || strncmp(url, before, sizeof before - 1) || strcmp(url + id, behind)) {
        return false;
    }
    snprintf(ids, size, "%.*s", NAS__RUN_ID - 1, url + sizeof before - 1);
    return true;
}

static enum MHD_Result answer_stream(nas__web *web, struct MHD_Connection *c, const char *ids) {
    int status;
    const char *last = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Last-Event-ID");
    struct MHD_Response *stream = nas__hub_open(web->hub, c, ids, last, &status);
    if (stream) {
        return nas__respond_stream(c, stream);
    }
    return status == MHD_HTTP_NOT_FOUND
               ? nas__respond_error(c, status, "run_not_found", "there is no run of this id",
                                    "/api/runs lists the runs")
               : nas__respond_error(c, status, "too_many", "there are too many streams already", "close some pages");
}

static enum MHD_Result answer(void *user, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state) {
    static int seen;
    nas__web *web = user;
    char ids[256];
    (void)version;
    (void)body;
    nas__verdict verdict = nas__guard_check(&web->guard, c, url, method);
    if (!*state && !verdict.status) { /* what is refused is refused before its body is read */
        *state = &seen;
        return MHD_YES;
    }
    if (*body_size) {
        *body_size = 0;
        return MHD_YES;
    }
    if (verdict.set_cookie) {
        char cookie[512];
        snprintf(cookie, sizeof cookie, "espalier_token=%s; HttpOnly; SameSite=Strict; Path=/", verdict.set_cookie);
        return nas__respond_redirect(c, "/", cookie);
    }
    if (verdict.status) {
        return nas__respond_error(c, verdict.status, verdict.code, verdict.message, verdict.hint);
    }
    if (!strcmp(url, "/") || !strcmp(url, "/index.html")) {
        return nas__respond_page(c, nas__page, nas__page_size, nas__page_policy);
    }
    return is_stream(c, url, ids, sizeof ids) ? answer_stream(web, c, ids) : answer_resource(web, c, url);
}

/* --- start ------------------------------------------------------------------------------------------------------ */
static struct MHD_Daemon *listen_at(nas__web *web, const nas__web_options *options, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const char *host = strcmp(options->host, "localhost") ? options->host : "127.0.0.1";
    bool six = inet_pton(AF_INET6, host, &address6.sin6_addr) == 1;
    if (!six && inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        return nas__fail_null(NAS_USAGE, "--host %s: is no address; 0.0.0.0 listens on all", options->host);
    }
    errno = 0;
    unsigned flags =
        MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | (six ? MHD_USE_IPv6 : 0);
    return MHD_start_daemon(flags, (uint16_t)port, NULL, NULL, answer, web, MHD_OPTION_SOCK_ADDR,
                            six ? (struct sockaddr *)&address6 : (struct sockaddr *)&address,
                            MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)MOST_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_END);
}

static nas_status start_daemon(nas__web *web, const nas__web_options *options) {
    int most = options->exact_port || !options->port ? 0 : NEXT_PORTS;
    for (int i = 0; i <= most && !web->daemon && !nas_error_status(); i++) {
        web->daemon = listen_at(web, options, options->port + i);
        if (!web->daemon && errno != EADDRINUSE) {
            break;
        }
    }
    if (!web->daemon) {
        return nas__fail(NAS_IO, "%s:%d: cannot be listened at: %s", options->host, options->port,
                         errno ? strerror(errno) : "the server does not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(web->daemon, MHD_DAEMON_INFO_BIND_PORT);
    web->port = info ? info->port : options->port;
    return NAS_OK;
}

static void wake(void *user) { nas__hub_wake(user); }

nas__web *nas__web_start(const nas__web_options *options) {
    nas__web *web = nas__alloc(sizeof *web);
    if (!web || nas__guard_open(&web->guard, options)) {
        free(web);
        return NULL;
    }
    web->hub = nas__hub_start();
    web->runs = web->hub ? nas__runs_start(options->directory, wake, web->hub) : NULL;
    if (web->runs) {
        nas__hub_watch(web->hub, web->runs);
    }
    if (!web->runs || start_daemon(web, options)) {
        nas__web_stop(web);
        return NULL;
    }
    return web;
}

int nas__web_port(const nas__web *web) { return web->port; }

void nas__web_stop(nas__web *web) {
    if (!web) {
        return;
    }
    if (web->hub) {
        nas__hub_finish(web->hub);
    }
    if (web->daemon) {
        MHD_stop_daemon(web->daemon); /* waits for the requests that are being answered */
    }
    nas__runs_stop(web->runs);
    nas__hub_free(web->hub);
    nas__guard_close(&web->guard);
    free(web);
}
