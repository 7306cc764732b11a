/* guard.c - see guard.h */
#include "web/guard.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_URL = 4096, FAILURES_A_SECOND = 5 };
#define COOKIE "espalier_token"

static bool is_loopback(const char *host) {
    return !strcmp(host, "127.0.0.1") || !strcmp(host, "::1") || !strcasecmp(host, "localhost");
}

nas_status nas__guard_open(nas__guard *guard, const nas__web_options *options) {
    if (!is_loopback(options->host) && !(options->token && *options->token)) {
        return nas__fail(
            NAS_USAGE,
            "--host %s: whoever can reach this machine could look; say who may with --token TOKEN, or stay with "
            "127.0.0.1 and use `ssh -L`",
            options->host);
    }
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    enum { SHORTEST = 8, LONGEST = 256 };
    size_t n = options->token ? strlen(options->token) : 0;
    if (n && (n < SHORTEST || n > LONGEST || strspn(options->token, safe) != n)) {
        return nas__fail(NAS_USAGE, "--token: takes %d to %d letters, digits and any of . _ ~ -", SHORTEST, LONGEST);
    }
    *guard = (nas__guard){.options = *options};
    guard->options.host = nas__strdup(options->host);
    guard->options.token = options->token ? nas__strdup(options->token) : NULL;
    const char **names = nas__alloc((size_t)(options->n_allowed_hosts + 1) * sizeof *names);
    for (int i = 0; names && i < options->n_allowed_hosts; i++) {
        names[i] = nas__strdup(options->allowed_hosts[i]);
    }
    guard->options.allowed_hosts = names;
    pthread_mutex_init(&guard->mutex, NULL);
    return nas_error_status();
}

void nas__guard_close(nas__guard *guard) {
    for (int i = 0; guard->options.allowed_hosts && i < guard->options.n_allowed_hosts; i++) {
        free((char *)guard->options.allowed_hosts[i]);
    }
    free((char **)guard->options.allowed_hosts);
    free((char *)guard->options.host);
    free((char *)guard->options.token);
    pthread_mutex_destroy(&guard->mutex);
}

/* --- hosts ------------------------------------------------------------------------------------------------ */
/* Is it the name, with or without a port? IPv6 addresses stand in brackets. */
static bool names_host(const char *header, const char *host) {
    bool bracket = strchr(host, ':') != NULL;
    size_t n = strlen(host);
    if (bracket && *header++ != '[') {
        return false;
    }
    if (strncasecmp(header, host, n)) {
        return false;
    }
    const char *rest = header + n;
    if (bracket && *rest++ != ']') {
        return false;
    }
    return !*rest || (*rest == ':' && rest[1 + strspn(rest + 1, "0123456789")] == 0);
}

/* The port is not compared: SSH's forwarding changes it. */
static bool is_allowed_host(const nas__guard *guard, const char *header) {
    static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
    bool allowed = names_host(header, guard->options.host);
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        allowed = allowed || names_host(header, always[i]);
    }
    for (int i = 0; i < guard->options.n_allowed_hosts; i++) {
        allowed = allowed || names_host(header, guard->options.allowed_hosts[i]);
    }
    return allowed;
}

static bool is_own_origin(const char *origin, const char *host) {
    const char *name = strstr(origin, "://");
    return name && !strcasecmp(name + 3, host);
}

/* --- tokens ------------------------------------------------------------------------------------------------ */
/* Takes as long for a wrong one as for the right one. */
static bool is_token(const nas__guard *guard, const char *given) {
    const char *token = guard->options.token;
    size_t n = strlen(token), m = given ? strlen(given) : 0;
    unsigned different = n != m;
    for (size_t i = 0; i < m; i++) {
        different |= (unsigned char)given[i] ^ (unsigned char)token[i % n];
    }
    return m > 0 && !different;
}

static bool has_token(const nas__guard *guard, struct MHD_Connection *c) {
    static const char bearer[] = "Bearer ";
    const char *header = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
    if (header && !strncmp(header, bearer, sizeof bearer - 1)) {
        return is_token(guard, header + sizeof bearer - 1);
    }
    return is_token(guard, MHD_lookup_connection_value(c, MHD_COOKIE_KIND, COOKIE));
}

static bool may_try_again(nas__guard *guard) {
    int64_t now = nas__monotonic_ms() / 1000;
    pthread_mutex_lock(&guard->mutex);
    guard->failures = guard->second == now ? guard->failures + 1 : 1;
    guard->second = now;
    bool may = guard->failures <= FAILURES_A_SECOND;
    pthread_mutex_unlock(&guard->mutex);
    return may;
}

static nas__verdict check_token(nas__guard *guard, struct MHD_Connection *c, const char *url) {
    const char *given = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "token");
    if (!guard->options.token || has_token(guard, c)) {
        return (nas__verdict){0};
    }
    if (given && !strcmp(url, "/") && is_token(guard, given)) {
        return (nas__verdict){.status = MHD_HTTP_SEE_OTHER, .set_cookie = given};
    }
    if (!may_try_again(guard)) {
        return (nas__verdict){MHD_HTTP_TOO_MANY_REQUESTS, "too_many", "too many wrong tokens", "wait a second", NULL};
    }
    return (nas__verdict){MHD_HTTP_UNAUTHORIZED, "no_token", "the token is missing or wrong",
                          "open /?token=TOKEN, or send Authorization: Bearer TOKEN", NULL};
}

/* --- all of it ----------------------------------------------------------------------------------------------- */
static bool has_body(struct MHD_Connection *c) {
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    return (length && strtoll(length, NULL, 10) != 0) ||
           MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
}

nas__verdict nas__guard_check(nas__guard *guard, struct MHD_Connection *c, const char *url, const char *method) {
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");
    const char *origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin");
    const char *site = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Sec-Fetch-Site");
    if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
        return (nas__verdict){MHD_HTTP_METHOD_NOT_ALLOWED, "read_only", "this server only shows: GET and HEAD", "",
                              NULL};
    }
    if (strlen(url) > LONGEST_URL) {
        return (nas__verdict){MHD_HTTP_URI_TOO_LONG, "long_url", "the URL is too long", "", NULL};
    }
    if (has_body(c)) {
        return (nas__verdict){MHD_HTTP_CONTENT_TOO_LARGE, "body", "requests have no body here", "", NULL};
    }
    if (!host) {
        return (nas__verdict){MHD_HTTP_BAD_REQUEST, "no_host", "the header Host is missing", "", NULL};
    }
    if (!is_allowed_host(guard, host)) {
        return (nas__verdict){MHD_HTTP_FORBIDDEN, "host", "this server is not called by that name",
                              "start `espalier ui` with --allow-host NAME", NULL};
    }
    if ((origin && !is_own_origin(origin, host)) || (site && !strcmp(site, "cross-site"))) {
        return (nas__verdict){MHD_HTTP_FORBIDDEN, "origin", "requests of other sites' pages are not answered", "",
                              NULL};
    }
    return check_token(guard, c, url);
}
