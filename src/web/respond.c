/* respond.c - see respond.h */
#include "web/respond.h"
#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { WORTH_COMPRESSING = 16 << 10, GZIP = 16 };

static void add_common(struct MHD_Response *r) {
    static const char *const headers[][2] = {{"X-Content-Type-Options", "nosniff"},
                                             {"Referrer-Policy", "no-referrer"},
                                             {"Cross-Origin-Opener-Policy", "same-origin"},
                                             {"Cross-Origin-Resource-Policy", "same-origin"},
                                             {"Cache-Control", "no-cache"}};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        MHD_add_response_header(r, headers[i][0], headers[i][1]);
    }
}

static enum MHD_Result send_off(struct MHD_Connection *c, int status, struct MHD_Response *r) {
    if (!r) {
        return MHD_NO;
    }
    add_common(r);
    enum MHD_Result result = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return result;
}

/* "gzip" as a word of Accept-Encoding, not switched off by q=0. */
static bool accepts_gzip(struct MHD_Connection *c) {
    const char *accepted = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept-Encoding");
    const char *word = accepted ? strstr(accepted, "gzip") : NULL;
    return word && strncmp(word + 4, ";q=0", 4) != 0;
}

/* --- JSON ------------------------------------------------------------------------------------------------ */
static char *compress_text(const char *text, size_t n, size_t *size) {
    z_stream z = {0};
    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return NULL;
    }
    size_t bound = deflateBound(&z, n);
    char *out = malloc(bound);
    z.next_in = (unsigned char *)text;
    z.avail_in = (unsigned)n;
    z.next_out = (unsigned char *)out;
    z.avail_out = (unsigned)bound;
    bool whole = out && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *size = z.total_out;
    deflateEnd(&z);
    if (!whole) {
        free(out);
        return NULL;
    }
    return out;
}

static void tag_of(const char *text, size_t n, char *tag, size_t size) {
    snprintf(tag, size, "\"%016llx\"", (unsigned long long)nas__hash_bytes(text, n));
}

enum MHD_Result nas__respond_json(struct MHD_Connection *c, int status, json_t *json) {
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(json);
    if (!text) {
        return MHD_NO;
    }
    size_t n = strlen(text), size = n;
    char tag[24];
    tag_of(text, n, tag, sizeof tag);
    const char *known = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match");
    bool same = status == MHD_HTTP_OK && known && !strcmp(known, tag);
    char *packed = !same && n > WORTH_COMPRESSING && accepts_gzip(c) ? compress_text(text, n, &size) : NULL;
    char *body = packed ? packed : text;
    struct MHD_Response *r = MHD_create_response_from_buffer(same ? 0 : packed ? size : n, body, MHD_RESPMEM_MUST_FREE);
    if (packed) {
        free(text);
    }
    if (!r) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_add_response_header(r, "Vary", "Accept-Encoding");
    MHD_add_response_header(r, "ETag", tag);
    if (packed) {
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    }
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    }
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE || status == MHD_HTTP_TOO_MANY_REQUESTS) {
        MHD_add_response_header(r, "Retry-After", "2");
    }
    return send_off(c, same ? MHD_HTTP_NOT_MODIFIED : status, r);
}

enum MHD_Result nas__respond_error(struct MHD_Connection *c, int status, const char *code, const char *message,
                                   const char *hint) {
    return nas__respond_json(c, status,
                             json_pack("{s:{s:s, s:s, s:s}}", "error", "code", code, "message", message, "hint", hint));
}

/* --- the rest ---------------------------------------------------------------------------------------------- */
enum MHD_Result nas__respond_page(struct MHD_Connection *c, const void *bytes, size_t size, const char *policy) {
    if (!accepts_gzip(c)) {
        return nas__respond_error(c, MHD_HTTP_NOT_ACCEPTABLE, "gzip", "the page is sent compressed only",
                                  "send Accept-Encoding: gzip (curl: --compressed)");
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(size, (void *)bytes, MHD_RESPMEM_PERSISTENT);
    if (r) {
        MHD_add_response_header(r, "Content-Type", "text/html; charset=utf-8");
        MHD_add_response_header(r, "Content-Encoding", "gzip");
        MHD_add_response_header(r, "Content-Security-Policy", policy);
    }
    return send_off(c, MHD_HTTP_OK, r);
}

enum MHD_Result nas__respond_redirect(struct MHD_Connection *c, const char *location, const char *cookie) {
    struct MHD_Response *r = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (r) {
        MHD_add_response_header(r, "Location", location);
        MHD_add_response_header(r, "Set-Cookie", cookie);
    }
    return send_off(c, MHD_HTTP_SEE_OTHER, r);
}

enum MHD_Result nas__respond_stream(struct MHD_Connection *c, struct MHD_Response *response) {
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    return send_off(c, MHD_HTTP_OK, response);
}
