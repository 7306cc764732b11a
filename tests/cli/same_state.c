/* same_state A B: are two checkpoints the same, bit for bit, but for the seconds that their runs took? Prints what
 * differs. */
#include "io/safetensors.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    nas__safetensors *a = argc == 3 ? nas__safetensors_read(argv[1]) : NULL,
                     *b = a ? nas__safetensors_read(argv[2]) : NULL;
    if (!b) {
        return nas_print_error();
    }
    int differing = nas__safetensors_size(a) != nas__safetensors_size(b);
    for (size_t i = 0; i < nas__safetensors_size(a); i++) {
        const nas__array *x = nas__safetensors_at(a, i), *y = nas__safetensors_find(b, x->name);
        bool same = y && nas__array_bytes(x) == nas__array_bytes(y) && !memcmp(x->data, y->data, nas__array_bytes(x));
        if (!same && strcmp(x->name, "search.used_seconds") != 0) {
            printf("%s differs\n", x->name);
            differing++;
        }
    }
    nas__safetensors_free(a);
    nas__safetensors_free(b);
    return differing > 0;
}
