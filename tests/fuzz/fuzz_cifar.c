/* Files of CIFAR-10 and CIFAR-100. */
#include "data_file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_data_file("train.bin", data, size);
    open_part("cifar10", "train");
    open_part("cifar100", "train");
    return 0;
}
