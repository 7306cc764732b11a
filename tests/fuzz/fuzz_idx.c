/* Idx files: the input as images of four fixed labels, and then as labels of four fixed images. */
#include "data_file.h"
#include "fuzz.h"

static const char images[] = "\0\0\x08\x03\0\0\0\4\0\0\0\1\0\0\0\1abcd", labels[] = "\0\0\x08\x01\0\0\0\4\0\1\2\3";

static void open_pair(const void *x, size_t x_size, const void *y, size_t y_size) {
    write_data_file("train-images-idx3-ubyte", x, x_size);
    write_data_file("train-labels-idx1-ubyte", y, y_size);
    open_part("fashion-mnist", "train");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_pair(data, size, labels, sizeof labels - 1);
    open_pair(images, sizeof images - 1, data, size);
    return 0;
}
