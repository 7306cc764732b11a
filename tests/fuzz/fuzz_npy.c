/* NumPy arrays: the input is the samples of 20 fixed targets, and then the targets of itself. */
#include "data_file.h"
#include "fuzz.h"

#include <string.h>

enum { N = 20, HEADER = 128 };

static void write_targets(void) {
    char file[HEADER + N] = "\x93NUMPY\1\0\x76\0{'descr': '|u1', 'fortran_order': False, 'shape': (20,), }";
    char *rest = memchr(file + 10, 0, HEADER - 10);
    memset(rest, ' ', (size_t)(file + HEADER - rest));
    for (int i = 0; i < N; i++) {
        file[HEADER + i] = (char)(i % 2);
    }
    write_data_file("y.npy", file, sizeof file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_data_file("x.npy", data, size);
    write_targets();
    open_data("npy:x.npy,y.npy");
    open_data("npy:y.npy,x.npy");
    return 0;
}
