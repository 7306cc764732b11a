/* guard.h - who may ask what: methods, hosts (against DNS rebinding), other sites' pages, tokens. */
#ifndef WEB_GUARD_H
#define WEB_GUARD_H

#include "web/web.h"

#include <microhttpd.h>
#include <pthread.h>

typedef struct nas__guard {
    nas__web_options options; /* texts of its own */
    pthread_mutex_t mutex;
    int64_t second; /* in which the last wrong tokens came */
    int failures;
} nas__guard;

typedef struct nas__verdict {
    int status; /* of HTTP; 0: may pass */
    const char *code, *message, *hint;
    const char *set_cookie; /* with 303: the token was in the URL and moves to a cookie */
} nas__verdict;

nas_status nas__guard_open(nas__guard *guard, const nas__web_options *options);
void nas__guard_close(nas__guard *guard);
nas__verdict nas__guard_check(nas__guard *guard, struct MHD_Connection *c, const char *url, const char *method);

#endif
