/* Strings of NAS-Bench-201's cells: what is accepted must be written back letter by letter. */
#include "fuzz.h"

#include "space/spaces/nb201.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) {
        abort();
    }
    memcpy(text, data, size);
    text[size] = 0;
    int code = nas__nb201_parse(text);
    if (code >= 0) {
        char *again = nas__nb201_string(code);
        if (!again || strcmp(again, text) != 0) {
            abort();
        }
        free(again);
    } else if (!*nas_error_message()) {
        abort();
    }
    nas_error_clear();
    free(text);
    return 0;
}
