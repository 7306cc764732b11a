/* web.h - the server behind `espalier ui`. */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include <espalier/core.h>

typedef struct nas__web_options {
    const char *directory; /* runs are looked for in it and below it */
    const char *host;      /* address to listen at; "127.0.0.1" */
    int port;              /* 0: any that is free */
    bool exact_port;       /* fail when the port is taken, instead of trying the next 20 */
    const char *token;     /* who knows it may look; NULL: everybody who can connect */
    const char *const *allowed_hosts;
    int n_allowed_hosts; /* further names for the Host header */
} nas__web_options;

typedef struct nas__web nas__web;
/* Starts to serve, in threads of its own. NULL and an error: address taken, not a directory, ... */
nas__web *nas__web_start(const nas__web_options *options);
int nas__web_port(const nas__web *web);
/* Says good-bye to the streams and ends. NULL is fine. */
void nas__web_stop(nas__web *web);

#endif
