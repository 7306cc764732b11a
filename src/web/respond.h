/* respond.h - answers as HTTP wants them: types, security headers, compression, entity tags. */
#ifndef WEB_RESPOND_H
#define WEB_RESPOND_H

#include <espalier/core.h>

#include <jansson.h>
#include <microhttpd.h>

/* Sends JSON; takes it over. */
enum MHD_Result nas__respond_json(struct MHD_Connection *c, int status, json_t *json);
/* {"error": {code, message, hint}} */
enum MHD_Result nas__respond_error(struct MHD_Connection *c, int status, const char *code, const char *message,
                                   const char *hint);
/* Sends bytes that outlive the server; gzipped: they are compressed already. */
enum MHD_Result nas__respond_page(struct MHD_Connection *c, const void *bytes, size_t size, const char *policy);
/* Sends an answer without content to another place. */
enum MHD_Result nas__respond_redirect(struct MHD_Connection *c, const char *location, const char *cookie);
/* Sends a stream of events, which is released. */
enum MHD_Result nas__respond_stream(struct MHD_Connection *c, struct MHD_Response *response);

#endif
