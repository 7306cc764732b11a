/* Safetensors files: what is accepted has arrays that lie inside the file, found by their names. */
#include "data_file.h"
#include "fuzz.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nas__safetensors *file = nas__safetensors_read(write_data_file("in.safetensors", data, size));
    if (!file && (!nas_error_status() || !nas_error_message()[0])) {
        abort();
    }
    nas_error_clear();
    size_t total = 0;
    for (size_t i = 0; file && i < nas__safetensors_size(file); i++) {
        const nas__array *a = nas__safetensors_at(file, i);
        const volatile unsigned char *bytes = a->data;
        size_t n = nas__array_bytes(a);
        total += n;
        if (nas__safetensors_find(file, a->name) != a || (n && bytes[0] + bytes[n - 1] < 0) || !nas__array_text(a)[0]) {
            abort();
        }
    }
    if (file && total + 8 > size) {
        abort();
    }
    nas__safetensors_free(file);
    return 0;
}
