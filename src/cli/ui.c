/* ui.c - `espalier ui`: serves the page that shows runs, until it is told to end. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "web/web.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HOSTS = 16 };

/* The first line of the file; the token does not show in the list of processes then. */
static const char *read_token(const char *path) {
    char *text = nas__read_text(path);
    if (text) {
        text[strcspn(text, "\r\n")] = 0;
    }
    return text ? cli_keep(text) : NULL;
}

static nas_status read_hosts(const cli_args *a, const char **names, int *n) {
    char *text = nas__strdup(a->allow_host ? a->allow_host : ""), *rest = NULL;
    if (!text) {
        return nas_error_status();
    }
    cli_keep(text);
    for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        if (*n == MOST_HOSTS) {
            return nas__fail(NAS_USAGE, "--allow-host: more than %d names", MOST_HOSTS);
        }
        names[(*n)++] = name;
    }
    return NAS_OK;
}

static void tell(const cli_args *a, const nas__web *web, const char *directory, const char *token) {
    const char *host = strchr(a->host, ':') ? "[::1]" : !strcmp(a->host, "0.0.0.0") ? "localhost" : a->host;
    printf("Runs in %s: http://%s:%d/\n", directory, host, nas__web_port(web));
    if (token) {
        printf("  with the token: /?token=...; this is plain HTTP, prefer `ssh -L %d:localhost:%d`\n",
               nas__web_port(web), nas__web_port(web));
    }
    printf("  Ctrl-C ends it\n");
    fflush(stdout);
}

nas_status cli_ui(cli_args *a) {
    const char *names[MOST_HOSTS];
    const char *directory = a->n_names ? a->names[0] : "runs";
    nas__web_options options = {.directory = directory, .host = a->host, .port = (int)a->port, .allowed_hosts = names};
    options.exact_port = cli_given(a, "port");
    options.token = a->token ? a->token : a->token_file ? read_token(a->token_file) : getenv("ESPALIER_TOKEN");
    nas_status status = a->token_file && !options.token ? nas_error_status() : NAS_OK;
    status = status ? status : read_hosts(a, names, &options.n_allowed_hosts);
    if (!status && !nas__is_directory(directory)) {
        status =
            nas__fail(NAS_NOT_FOUND, "%s: is no directory; espalier ui DIR shows the runs in it and below", directory);
    }
    sigset_t ends; /* blocked before there are other threads, so that none of them is interrupted */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    nas__web *web = status ? NULL : nas__web_start(&options);
    if (!web) {
        return nas_error_status();
    }
    tell(a, web, directory, options.token);
    int number;
    sigwait(&ends, &number);
    nas__web_stop(web);
    return NAS_OK; /* that is how it is meant to end */
}
