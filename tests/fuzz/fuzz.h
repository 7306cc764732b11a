/* fuzz.h - the one function of a fuzz target (the interface of libFuzzer). It must return 0 and never crash, whatever
 * the bytes are. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
