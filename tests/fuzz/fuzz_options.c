/* Options as they come from a command line: "name=value", one per line. Whatever is accepted must be within its range.
 */
#include "fuzz.h"

#include <espalier/options.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fields {
    int order, mode;
    double xi;
    bool unrolled;
    char file[NAS_OPTION_TEXT_SIZE];
};

static const nas_option table[] = {
    {"order", NAS_OPTION_INT, offsetof(struct fields, order), "1", 1, 2, NULL, ""},
    {"xi", NAS_OPTION_FLOAT, offsetof(struct fields, xi), "0.01", 0, 1, NULL, ""},
    {"unrolled", NAS_OPTION_BOOL, offsetof(struct fields, unrolled), "yes", 0, 0, NULL, ""},
    {"file", NAS_OPTION_TEXT, offsetof(struct fields, file), "", 0, 0, NULL, ""},
    {"mode", NAS_OPTION_CHOICE, offsetof(struct fields, mode), "full", 0, 0, "path|two|full", ""},
    {NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fields fields;
    char *text = malloc(size + 1);
    if (!text || nas_options_default(table, &fields)) {
        abort();
    }
    memcpy(text, data, size);
    text[size] = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *value = strchr(line, '=');
        if (value) {
            *value++ = 0;
            if (nas_options_set(table, &fields, line, value) && !*nas_error_message()) {
                abort();
            }
            nas_error_clear();
        }
    }
    free(text);
    if (fields.order < 1 || fields.order > 2 || !(fields.xi >= 0 && fields.xi <= 1) || fields.mode < 0 ||
        fields.mode > 2 || !memchr(fields.file, 0, sizeof fields.file) || strchr(fields.file, ',')) {
        abort();
    }
    return 0;
}
