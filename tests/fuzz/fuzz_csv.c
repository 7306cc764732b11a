/* CSV tables, as classes and as regression. */
#include "data_file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_data_file("in.csv", data, size);
    open_data("csv:in.csv,target=-1");
    open_data("csv:in.csv,target=0,task=regression");
    return 0;
}
